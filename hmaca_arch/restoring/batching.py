"""Send the crops of regions through a network: in batches, in tiles, within the memory there is."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hmaca_arch.degradation import Degradation
from hmaca_arch.messages import reason_of
from hmaca_arch.restoring.blending import Blend
from hmaca_arch.restoring.grouping import NO_LIMIT
from hmaca_arch.restoring.image_arrays import as_unit
from hmaca_arch.restoring.regions import Box, Region, cut

PRECISIONS = {'fp32': None, 'bf16': torch.bfloat16}
SMALLEST_TILE = 48
# Crops at once. A CPU is as fast with one by one, and progress shows more often.
BATCH, BATCH_ON_CPU = 8, 1
OVERLAP = 32  # of tiles
# What networks raise for settings that no constructor checks.
FAILURES = (RuntimeError, TypeError, AssertionError, IndexError, ZeroDivisionError)

Progress = Callable[[int, int], object]


def usual_batch(device: torch.device) -> int:
    """Return how many crops of equal size go through the network at once, if nobody says."""
    return BATCH_ON_CPU if device.type == 'cpu' else BATCH


def check_settings(context: int, feather: int, batch: int | None, tile: int) -> None:
    """Raise a ValueError for the first number that cannot work."""
    for name, value, least in (
        ('context', context, 0),
        ('feather', feather, 0),
        ('batch', BATCH if batch is None else batch, 1),
        ('tile', tile, SMALLEST_TILE),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f'{name} is {value!r}; expected a whole number, at least {least}')


class OutOfMemory(Exception):
    """One tile alone does not fit."""


class Sizes(NamedTuple):
    """How much goes through the network at once: crops of equal size, and pixels a side."""

    batch: int
    tile: int


class Crops(NamedTuple):
    """What is to be restored.

    Attributes:
        colours: (h, w, 1 or 3), the image without its alpha channel.
        mask: (h, w), 0 = keep; uint8 of 0 and 1, or float32 in [0, 1].
        regions: in coordinates of the two.
        told: the degradation of each region.
    """

    colours: np.ndarray
    mask: np.ndarray
    regions: Sequence[Region]
    told: Sequence[Degradation]


class Piece(NamedTuple):
    """A tile of a region, or all of it.

    Attributes:
        number: of the region.
        box: of the tile.
        told: the degradation, as it is in the tile.
        last: whether it is the region's last.
    """

    number: int
    box: Box
    told: Degradation
    last: bool


# Takes rows of a region's crop that are final: the region's number, their box, and (h, w, c).
Rows = Callable[[int, Box, np.ndarray], object]


class CropNetwork:
    """Run a network on crops of any size.

    Args:
        adapter: maps (b, channels, h, w), a mask (b, 1, h, w) and a degradation (b, fields) to
            (b, channels, h, w), all float32.
        device: where it runs.
        precision: a key of PRECISIONS.
        channels: 1 or 3.
    """

    def __init__(
        self, adapter: nn.Module, device: torch.device, precision: str, channels: int
    ) -> None:
        self.adapter, self.device = adapter, device
        self.precision, self.channels = precision, channels
        # What is known to fit into memory: less after running out of it.
        self.fitting = Sizes(NO_LIMIT, NO_LIMIT)

    def restore(
        self,
        crops: Crops,
        sizes: Sizes,
        notes: list[str],
        rows: Rows,
        progress: Progress | None = None,
    ) -> None:
        """Restore the crops of all regions; out of memory, halve the batch and then the tile.

        Args:
            crops: what is to be restored.
            sizes: the most that goes through the network at once.
            notes: gets a sentence for each thing that the user should know.
            rows: called with the number of a region, the box of rows of its crop, and their values
                (h, w, c) float32, which are 0 where there is no tile. Rows without any tile may be
                left out. If memory runs out, a region may come again.
            progress: called with the number of tiles done and of all, first (0, all).

        Raises:
            ValueError: the smallest tile does not fit, the image has values outside [0, 1], or the
                network fails or gives values that are not finite.
            What `progress` raises.
        """
        while True:
            limit = min(sizes.tile, self.fitting.tile)
            batch = min(sizes.batch, self.fitting.batch)
            try:
                return self._attempt(crops, Sizes(batch, limit), notes, rows, progress)
            except OutOfMemory:
                pass  # leaving the handler frees what the traceback holds
            if limit // 2 < SMALLEST_TILE:
                raise ValueError(
                    f'out of memory on {self.device} even with one tile of {limit} pixels; '
                    'use the CPU (--device cpu)'
                )
            self.fitting = self.fitting._replace(tile=limit // 2)
            notes.append(
                f'out of memory on {self.device}: tiles of {limit // 2} pixels instead of {limit}'
            )
            self._free_memory()

    def _attempt(
        self, crops: Crops, sizes: Sizes, notes: list[str], rows: Rows, progress: Progress | None
    ) -> None:
        """Restore with tiles of `sizes.tile`; raise `OutOfMemory` if one alone does not fit."""
        piles = _piles(crops, sizes.tile)
        done, total, batch = 0, sum(map(len, piles)), sizes.batch
        blends: dict[int, Blend] = {}
        if total and progress:
            progress(0, total)
        for pile in piles:
            while pile:
                now = pile[:batch]
                outputs = self._outputs(crops, now, notes)
                if outputs is None:
                    batch = self._smaller_batch(len(now), notes)
                    continue
                for piece, output in zip(now, outputs):
                    _blend(blends, crops.regions, piece, output, sizes.tile, rows)
                    done += 1
                    if progress:
                        progress(done, total)
                del pile[:batch]

    def _smaller_batch(self, tried: int, notes: list[str]) -> int:
        """Halve a batch that did not fit."""
        if tried == 1:
            raise OutOfMemory
        self.fitting = self.fitting._replace(batch=tried // 2)
        notes.append(f'out of memory on {self.device}: batches of {tried // 2} instead of {tried}')
        self._free_memory()
        return tried // 2

    def _outputs(
        self, crops: Crops, pieces: Sequence[Piece], notes: list[str]
    ) -> np.ndarray | None:
        """Run pieces of one size -> (b, h, w, c) float32 in [0, 1]; None out of memory."""
        areas = [piece.box.area for piece in pieces]
        lq = np.stack([as_unit(crops.colours[area]) for area in areas])
        if not (np.isfinite(lq).all() and lq.min() >= 0 and lq.max() <= 1):
            raise ValueError(
                f'the image has values from {lq.min()} to {lq.max()} around the region; '
                'expected 0 to 1'
            )
        masks = np.stack([crops.mask[area] for area in areas]).astype(np.float32)
        told = np.stack([piece.told.vector() for piece in pieces])
        try:
            output = self._forward(lq, masks, told, notes)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            return None
        if lq.shape[3] == 1:
            output = output.mean(dim=1, keepdim=True)
        return output.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()

    def _forward(
        self, lq: np.ndarray, masks: np.ndarray, told: np.ndarray, notes: list[str]
    ) -> Tensor:
        """Run the network on lq (b, h, w, c), masks (b, h, w) and told (b, fields)."""
        image = torch.from_numpy(lq).permute(0, 3, 1, 2).to(self.device)
        image = image.expand(-1, self.channels, -1, -1).contiguous()
        mask = torch.from_numpy(masks)[:, None].to(self.device)
        degradation = torch.from_numpy(told).to(self.device)
        output = self._call(image, mask, degradation, self.precision)
        if not torch.isfinite(output).all() and self.precision != 'fp32':
            notes.append(
                f'output that was not finite in {self.precision} was computed again in fp32'
            )
            output = self._call(image, mask, degradation, 'fp32')
        if not torch.isfinite(output).all():
            raise ValueError(
                "the network's output is not finite; its weights are damaged, "
                'or belong to other settings'
            )
        return output

    @torch.inference_mode()
    def _call(self, lq: Tensor, mask: Tensor, degradation: Tensor, precision: str) -> Tensor:
        dtype = PRECISIONS[precision]
        try:
            with torch.autocast(self.device.type, dtype=dtype) if dtype else nullcontext():
                return self.adapter(lq, mask, degradation).float()
        except FAILURES as error:
            if _is_out_of_memory(error):
                raise
            reason = reason_of(error, 200)
            raise ValueError(
                f'the network failed on this image ({type(error).__name__}: {reason})'
            ) from error

    def _free_memory(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()
        elif self.device.type == 'mps':
            torch.mps.empty_cache()


def _overlap(tile: int) -> int:
    return min(OVERLAP, tile // 3)


def _blend(
    blends: dict[int, Blend],
    regions: Sequence[Region],
    piece: Piece,
    output: np.ndarray,
    tile: int,
    rows: Rows,
) -> None:
    """Add a tile to its region's others, of which `blends` has those that are not complete."""
    number = piece.number
    if number not in blends:
        height, _, channels = output.shape
        blends[number] = Blend(
            regions[number],
            channels,
            _overlap(tile),
            height,
            lambda box, values: rows(number, box, values),
        )
    blends[number].add(piece.box, output)
    if piece.last:
        blends.pop(number).finish()


def _piles(crops: Crops, tile: int) -> list[list[Piece]]:
    """Cut regions into tiles and pile up what can share a batch, row by row of each region.

    Soft masks and binary ones never share a batch: networks treat them in different ways.
    """
    piles: dict[tuple, list[Piece]] = {}
    for number, (region, told) in enumerate(zip(crops.regions, crops.told)):
        boxes = cut(region, crops.mask, tile, _overlap(tile))
        binary = crops.mask.dtype == np.uint8 or all(
            np.isin(crops.mask[box.area], (0, 1)).all() for box in boxes
        )
        pile = piles.setdefault((boxes[0].shape, binary), [])
        for box in boxes:
            here = tile_degradation(told, crops.mask, region, box)
            pile.append(Piece(number, box, here, box == boxes[-1]))
    return list(piles.values())


def tile_degradation(told: Degradation, mask: np.ndarray, region: Region, tile: Box) -> Degradation:
    """Return what holds in a tile of a region; mask (h, w) of the array that `told` is about."""
    told = told.seen_from(*region.crop, mask.shape)
    if tile == region.crop:
        return told
    inside = tile.within(region.crop)
    return told.cropped(mask[region.crop.area] > 0, inside.top, inside.left, *tile.shape)


def _is_out_of_memory(error: Exception) -> bool:
    """Tell whether memory ran out: only of CUDA torch has a class of errors for it."""
    said = ("can't allocate memory", 'not enough memory', 'MPS backend out of memory')
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in said)
