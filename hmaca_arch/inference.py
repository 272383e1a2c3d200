"""A trained network, a picture and a mask -> the picture with its masked region restored and every
other pixel as it was.

    restorer = load_restorer()                  # the weights that ship with the package; or
    load_restorer('net_g_latest.pth') restored = restorer.restore(picture, mask)  # numpy or torch
    in, the same out

Only crops around the regions (see `regions`) go through the network, at native resolution, so the
cost follows the regions' area.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hmaca_arch.compositing import composite_image
from hmaca_arch.degradation import UNKNOWN, Degradation
from hmaca_arch.devices import choose_device
from hmaca_arch.files.masks import check_mask, read_mask
from hmaca_arch.networks.adapter import Adapter
from hmaca_arch.networks.loading import load_network
from hmaca_arch.networks.registry import is_section
from hmaca_arch.restoring.image_arrays import as_type, as_unit, mask_array, picture_array, size_of
from hmaca_arch.restoring.regions import (
    Blend,
    Box,
    Region,
    cut,
    find_regions,
    marked_box,
    paste_weights,
)
from hmaca_arch.restoring.telling import AROUND, Told, look, told_of

logger = logging.getLogger('hmaca_arch')

SHIPPED_WEIGHTS = Path(__file__).parent / 'weights' / 'hmaca_plus_light.pth'
PRECISIONS = {'fp32': None, 'bf16': torch.bfloat16}
TILE = (
    192  # larger crops are tiled: grid attention takes time with the square of the number of pixels
)
SMALLEST_TILE = 48
OVERLAP = 32  # of tiles


class Restoration(NamedTuple):
    """picture: as the input, restored. regions: what was restored. notes: what the user should
    know, a sentence each.
    """

    picture: Any
    regions: list[Region]
    notes: list[str]


class _OutOfMemory(Exception):
    """One tile alone does not fit."""


class Restorer:
    """A network with what it takes to run it on pictures of any kind and size; made by
    `load_restorer`.

    Args:
        network: maps (b, 3, h, w) in [0, 1], and a mask (b, 1, h, w) if its `forward` has an
            argument of that name, to (b, 3, h, w); or 1 channel instead of 3, if it has an
            attribute `in_chans` that says so. An `Adapter` around such a network is taken as it is.
        device: where it runs.
        precision: 'fp32' or 'bf16' (mixed precision; what is not finite then is computed again in
            fp32).
    """

    def __init__(
        self, network: nn.Module, device: torch.device | str = 'cpu', precision: str = 'fp32'
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f'precision is {precision!r}; expected {" or ".join(PRECISIONS)}')
        self.device, self.precision = torch.device(device), precision
        self.adapter = (
            (network if isinstance(network, Adapter) else Adapter(network)).to(self.device).eval()
        )
        self.network = self.adapter.network
        self.channels = 1 if getattr(self.network, 'in_chans', 3) == 1 else 3
        self.fitting_batch = self.fitting_tile = (
            2**31
        )  # what is known to fit into memory; less after running out of it

    def restore(
        self,
        image: np.ndarray | Tensor,
        mask: np.ndarray | Tensor,
        context: int = 32,
        feather: int = 0,
        soft_mask: bool = False,
        batch: int = 8,
        tile: int = TILE,
        degradation: str | Degradation = 'auto',
        jpeg: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray | Tensor:
        """Restore the masked region of one picture. What is doubtful is logged as a warning (logger
        `hmaca_arch`).

        Args:
            image: numpy (h, w), (h, w, 1 to 4): gray, gray and alpha, RGB, RGBA; uint8, uint16 or
                floating point in [0, 1]. Or a torch tensor (c, h, w) of such values. Alpha is left
                as it is.
            mask: (h, w), white = restore: bool, uint8 0..255, uint16 or floating point 0..1; numpy
                or torch.
            context: pixels around a region that the network sees.
            feather: pixels over which the restored region fades in, inside the mask.
            soft_mask: blend by the mask's gray values; otherwise pixels above the middle are
                restored, all others left.
            batch: most crops of equal size that go through the network at once.
            tile: longest side of what goes through the network at once; larger regions are tiled.
            degradation: what was done to the region, such as 'pix:8:mean', 'blur:1.5', 'noise:15'
                or 'noise:15+jpeg:75' (see `Degradation.parse`); 'none' or 'unknown'. The region is
                then the whole mask. 'auto' measures each region, and restores the part of the mask
                that is degraded.
            jpeg: for 'auto': the quality of the JPEG file that the image is from, 0 if it is from
                none, None to find out.
            progress: is called with the number of tiles done and of all tiles, first with 0. What
                it raises ends the restoration.

        Returns:
            A new picture of the same type, shape, dtype and device; bit-identical to `image` where
            the mask is 0.

        Raises:
            ValueError: for a picture, mask or number that cannot work; for an output that is not
                finite; where memory does not suffice for the smallest tile.
        """
        done = self.run(
            image, mask, context, feather, soft_mask, batch, tile, degradation, jpeg, progress
        )
        for note in done.notes:
            logger.warning(note)
        return done.picture

    def run(
        self,
        image: np.ndarray | Tensor,
        mask: np.ndarray | Tensor,
        context: int = 32,
        feather: int = 0,
        soft_mask: bool = False,
        batch: int = 8,
        tile: int = TILE,
        degradation: str | Degradation = 'auto',
        jpeg: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Restoration:
        """As `restore`, with the regions and what the user should know instead of logging it."""
        check_settings(context, feather, batch, tile)
        measured, told = degradation == 'auto' and 'degradation' in self.adapter.takes, UNKNOWN
        if degradation != 'auto':
            told = Degradation.parse(degradation) if isinstance(degradation, str) else degradation
        pixels, as_given = picture_array(image)
        given = check_mask(mask_array(mask))
        if given.shape != pixels.shape[:2]:
            raise ValueError(
                f'the mask has {size_of(given)} pixels, the picture {size_of(pixels)}; expected equal sizes'
            )
        # From here on only this part of the picture: copies of all of a large one cost more than
        # its region. One pixel more than the context, so that feathering sees where the region
        # ends.
        window = marked_box(given).grown(context + 1, *given.shape)
        mask, doubts = read_mask(given[window.area], soft_mask)
        notes = [note.text for note in doubts]
        seen: list[Told] = []
        if measured:
            around = marked_box(given).grown(AROUND, *given.shape)
            inside = window.within(around).area
            binary = np.zeros(around.shape, bool)
            binary[inside] = mask > 0
            degraded, seen, found = look(pixels[around.area], binary, around, jpeg)
            mask = mask * degraded[inside].astype(mask.dtype)
            notes += found
        regions = find_regions(mask, context)
        if not regions and not seen and not (measured and notes):
            notes.append('the mask is empty (black): nothing is restored')
        elif mask.shape == given.shape and mask.min() == 1:
            notes.append('the mask is full (white): the whole picture is restored')
        if told.kind != 'unknown' and 'degradation' not in self.adapter.takes:
            notes.append(
                f'this network is not told the degradation ({told}); it restores as if it were unknown'
            )
        by_region = [
            (
                told_of(region.box.moved(window.top, window.left), seen) if measured else told
            ).seen_from(*window, given.shape)
            for region in regions
        ]
        colours = pixels[window.area][..., : 1 if pixels.shape[2] < 3 else 3]  # without alpha
        if self.channels < colours.shape[2]:
            raise ValueError('the network restores gray pictures, and this one has colours')
        restored = pixels.copy()
        target = restored[window.area][..., : colours.shape[2]]
        for region, values in zip(
            regions, self._restored(colours, mask, by_region, regions, batch, tile, notes, progress)
        ):
            crop = colours[region.crop.area]
            target[region.crop.area] = composite_image(
                as_type(values, crop.dtype), crop, paste_weights(mask, region, feather)
            )
        regions = [
            Region(*(box.moved(window.top, window.left) for box in region)) for region in regions
        ]
        return Restoration(as_given(restored), regions, list(dict.fromkeys(notes)))

    def _restored(
        self,
        colours: np.ndarray,
        mask: np.ndarray,
        told: list[Degradation],
        regions: list[Region],
        batch: int,
        tile: int,
        notes: list[str],
        progress: Callable[[int, int], None] | None,
    ) -> list[np.ndarray]:
        """The crops of all regions through the network: (h, w, c) float32 each. Out of memory, the
        batch and then the tile is halved.
        """
        while True:
            limit = min(tile, self.fitting_tile)
            try:
                fitting = min(batch, self.fitting_batch)
                return self._attempt(colours, mask, told, regions, fitting, limit, notes, progress)
            except _OutOfMemory:
                pass  # leaving the handler frees what the traceback holds
            if limit // 2 < SMALLEST_TILE:
                raise ValueError(
                    f'out of memory on {self.device} even with one tile of {limit} pixels; use the CPU (--device cpu)'
                )
            self.fitting_tile = limit // 2
            notes.append(
                f'out of memory on {self.device}: tiles of {self.fitting_tile} pixels instead of {limit}'
            )
            self._free_memory()

    def _attempt(
        self,
        colours: np.ndarray,
        mask: np.ndarray,
        told: list[Degradation],
        regions: list[Region],
        batch: int,
        limit: int,
        notes: list[str],
        progress: Callable[[int, int], None] | None,
    ) -> list[np.ndarray]:
        """`_restored` with tiles of `limit`; raises `_OutOfMemory` if one of them alone does not
        fit.
        """
        overlap = min(OVERLAP, limit // 3)
        blends = [Blend(region, colours.shape[2], overlap) for region in regions]
        pieces: dict[tuple, list[tuple[Blend, Box, Degradation]]] = {}
        for region, blend, degradation in zip(regions, blends, told):
            for box in cut(region, mask, limit, overlap):
                # networks treat soft masks in another way than binary ones: they never share a
                # batch
                binary = mask.dtype == np.uint8 or bool(np.isin(mask[box.area], (0, 1)).all())
                pieces.setdefault((box.shape, binary), []).append(
                    (blend, box, tile_degradation(degradation, mask, region, box))
                )
        done, total = 0, sum(map(len, pieces.values()))
        report = progress or (lambda done, total: None)
        report(done, total)
        for waiting in pieces.values():
            while waiting:
                now = waiting[:batch]
                try:
                    areas = [box.area for _, box, _ in now]
                    outputs = self._forward(
                        [colours[area] for area in areas],
                        [mask[area] for area in areas],
                        [d for *_, d in now],
                        notes,
                    )
                except (torch.OutOfMemoryError, RuntimeError) as error:
                    if not _is_out_of_memory(error):
                        raise
                    outputs = None
                if outputs is None:
                    if len(now) == 1:
                        raise _OutOfMemory
                    batch = self.fitting_batch = len(now) // 2
                    notes.append(
                        f'out of memory on {self.device}: batches of {batch} instead of {len(now)}'
                    )
                    self._free_memory()
                    continue
                for (blend, box, _), output in zip(now, outputs):
                    blend.add(box, output)
                del waiting[: len(now)]
                done += len(now)
                report(done, total)
        return [blend.result() for blend in blends]

    def _forward(
        self,
        crops: list[np.ndarray],
        masks: list[np.ndarray],
        told: list[Degradation],
        notes: list[str],
    ) -> np.ndarray:
        """Crops (h, w, c) of one size, of any type, and masks (h, w) -> (b, h, w, c) float32 in [0,
        1].
        """
        lq = np.stack([as_unit(crop) for crop in crops])
        if not (np.isfinite(lq).all() and lq.min() >= 0 and lq.max() <= 1):
            raise ValueError(
                f'the picture has values from {lq.min()} to {lq.max()} around the region; expected 0 to 1'
            )
        gray = lq.shape[3] == 1
        lq = torch.from_numpy(lq).permute(0, 3, 1, 2).to(self.device)
        lq = lq.expand(-1, self.channels, -1, -1).contiguous()
        mask = torch.from_numpy(np.stack(masks).astype(np.float32))[:, None].to(self.device)
        vectors = torch.from_numpy(np.stack([d.vector() for d in told])).to(self.device)
        output = self._call(lq, mask, vectors, self.precision)
        if not torch.isfinite(output).all() and self.precision != 'fp32':
            notes.append(
                f'output that was not finite in {self.precision} was computed again in fp32'
            )
            output = self._call(lq, mask, vectors, 'fp32')
        if not torch.isfinite(output).all():
            raise ValueError(
                "the network's output is not finite; its weights are damaged, or belong to other settings"
            )
        if gray:
            output = output.mean(dim=1, keepdim=True)
        return output.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()

    @torch.inference_mode()
    def _call(self, lq: Tensor, mask: Tensor, degradation: Tensor, precision: str) -> Tensor:
        dtype = PRECISIONS[precision]
        try:
            with torch.autocast(self.device.type, dtype=dtype) if dtype else nullcontext():
                return self.adapter(lq, mask, degradation).float()
        except (
            RuntimeError,
            TypeError,
            AssertionError,
            IndexError,
            ZeroDivisionError,
        ) as error:  # settings that no constructor checks
            if _is_out_of_memory(error):
                raise
            reason = ' '.join(str(error).split())[:200]
            raise ValueError(
                f'the network failed on this image ({type(error).__name__}: {reason})'
            ) from error

    def _free_memory(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()
        elif self.device.type == 'mps':
            torch.mps.empty_cache()


def tile_degradation(told: Degradation, mask: np.ndarray, region: Region, tile: Box) -> Degradation:
    """Return what holds in a tile of a region; mask (h, w) of the array that `told` is about."""
    told = told.seen_from(*region.crop, mask.shape)
    if tile == region.crop:
        return told
    inside = tile.within(region.crop)
    return told.cropped(mask[region.crop.area] > 0, inside.top, inside.left, *tile.shape)


def check_settings(context: int, feather: int, batch: int, tile: int) -> None:
    """Raise a ValueError for the first number that cannot work."""
    for name, value, least in (
        ('context', context, 0),
        ('feather', feather, 0),
        ('batch', batch, 1),
        ('tile', tile, SMALLEST_TILE),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f'{name} is {value!r}; expected a whole number, at least {least}')


def _is_out_of_memory(error: Exception) -> bool:
    """torch has a class for CUDA; the allocators of the CPU and of Apple's GPUs raise a plain
    RuntimeError.
    """
    said = ("can't allocate memory", 'not enough memory', 'MPS backend out of memory')
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in said)


def load_restorer(
    weights: str | Path | None = None,
    device: str | torch.device = 'auto',
    precision: str = 'fp32',
    opt: Mapping[str, Any] | None = None,
) -> Restorer:
    """A `Restorer` from a checkpoint.

    Args:
        weights: a checkpoint of this project, which says which network it belongs to, or of the
            published HMA. None: the weights that ship with the package.
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda', 'cuda:N' or 'mps' (Apple's GPUs).
        precision: 'fp32' or 'bf16'.
        opt: for networks whose checkpoints do not describe themselves (SwinIR, HAT, DRCT): the
            options of their training, of which only the section `network_g` is used.

    Raises:
        FileNotFoundError, ValueError: in one line.
    """
    device = choose_device(device)
    if weights is None and opt is not None:
        raise ValueError(
            'an option file says which network it is; its weights have to be given as well (--weights)'
        )
    path = Path(SHIPPED_WEIGHTS if weights is None else weights).expanduser()
    if weights is None and not path.is_file():
        raise FileNotFoundError(
            'this installation has no weights of its own, give some (--weights)'
        )
    adapter = load_network(path, None if opt is None else _read_section(opt))
    return Restorer(adapter, device, precision)


def _read_section(opt: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section `network_g` of a training's options."""
    if not isinstance(opt, Mapping):
        raise ValueError(
            f'opt is {opt!r}; expected the options themselves: opt=hmaca_arch.config.files.load({str(opt)!r})'
        )
    if not is_section(opt.get('network_g')):
        raise ValueError('the option file has no section network_g with a type')
    return opt['network_g']
