"""Restore the masked region of an image and leave every other pixel as it is.

    restorer = load_restorer()                      # the weights that ship with the package
    restorer = load_restorer('net_g_latest.pth')    # or your own
    restored = restorer.restore(image, mask)        # numpy, PIL or torch in, the same out

Only crops around the regions go through the network, so the cost follows the regions' area.
"""

import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from hmaca_arch.degradation import UNKNOWN, Degradation
from hmaca_arch.degradation.kernel_files import read_degradation
from hmaca_arch.devices import choose_device
from hmaca_arch.files.masks import check_mask, read_mask
from hmaca_arch.networks.adapter import Adapter
from hmaca_arch.networks.ensemble import Ensemble
from hmaca_arch.networks.loading import load_network
from hmaca_arch.networks.registry import is_section
from hmaca_arch.restoring.batching import (
    PRECISIONS,
    CropNetwork,
    Crops,
    Progress,
    Sizes,
    check_settings,
    usual_batch,
)
from hmaca_arch.restoring.blending import Paste
from hmaca_arch.restoring.grouping import EVEN, find_regions
from hmaca_arch.restoring.image_arrays import image_array, mask_array, size_of
from hmaca_arch.restoring.measuring_masks import measure_mask
from hmaca_arch.restoring.patches import Patch
from hmaca_arch.restoring.regions import Box, Region, marked_box
from hmaca_arch.restoring.telling import Told, counts_from_box, told_of

logger = logging.getLogger('hmaca_arch')

SHIPPED_WEIGHTS = Path(__file__).parent / 'weights' / 'unfolded_light.pth'
# Larger crops are tiled: grid attention takes time with the square of the number of pixels.
TILE = 192
CONTEXT = 24  # pixels around a region that the network sees

AnImage = TypeVar('AnImage', np.ndarray, Tensor, Image.Image)
AMask = np.ndarray | Tensor | Image.Image


class Restoration(NamedTuple):
    """What `Restorer.run` returns.

    Attributes:
        image: as the input, restored.
        regions: what was restored.
        notes: what the user should know, a sentence each.
    """

    image: Any
    regions: list[Region]
    notes: list[str]


class Restorer:
    """A network with what it takes to run it on images of any kind and size.

    `load_restorer` makes one from a checkpoint.

    Args:
        network: maps (b, 3, h, w) in [0, 1], and a mask (b, 1, h, w) if its `forward` has an
            argument of that name, to (b, 3, h, w). It has 1 channel instead of 3 if an attribute
            `in_chans` says so. An `Adapter` around such a network is taken as it is.
        device: where it runs.
        precision: 'fp32' or 'bf16' (mixed precision). What is not finite in bf16 is computed again
            in fp32.
        ensemble: restore each crop in its eight orientations and take the mean, see `Ensemble`.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device | str = 'cpu',
        precision: str = 'fp32',
        ensemble: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f'precision is {precision!r}; expected {" or ".join(PRECISIONS)}')
        self.device, self.precision = torch.device(device), precision
        adapter = network if isinstance(network, Adapter) else Adapter(network)
        self.adapter = adapter.to(self.device).eval()
        self.network = self.adapter.network
        self.channels = 1 if getattr(self.network, 'in_chans', 3) == 1 else 3
        runs = Ensemble(self.adapter) if ensemble else self.adapter
        self.crops = CropNetwork(runs, self.device, precision, self.channels)

    def restore(
        self,
        image: AnImage,
        mask: AMask,
        degradation: str | Degradation = 'auto',
        progress: Progress | None = None,
        **settings: Any,
    ) -> AnImage:
        """Restore the masked region of one image.

        What is doubtful is logged as a warning, by the logger `hmaca_arch`.

        Args:
            image: a NumPy array (h, w) or (h, w, c): gray, gray and alpha, RGB or RGBA, c from 1 to
                4, as uint8, uint16 or floating point in [0, 1]. A torch tensor (c, h, w) of the
                same. Or a PIL image of mode L, LA, RGB, RGBA, I;16 or 1. Alpha stays as it is.
            mask: (h, w), white = restore: bool, uint8 0..255, uint16 or floating point 0..1, from
                NumPy, torch or PIL; it need not be of the image's kind.
            degradation: what was done to the region, such as 'pix:8:mean', 'blur:1.5+jpeg:75',
                'noise:15', 'disc:3', 'box:5', 'kernel:FILE' (see `read_degradation`), 'none' or
                'unknown'. The region is then the whole mask. 'auto' measures each region, and
                restores the part of the mask that is degraded.
            progress: called as `progress(done, total)` with numbers of tiles: with (0, total) at
                the start and after each tile. The count starts again if memory runs out. Raise any
                exception in it to cancel; it reaches the caller.
            settings: see `patch`.

        Returns:
            A new image of the same kind, shape, type and device; equal to `image`, bit for bit,
            where the mask is 0.

        Raises:
            ValueError: for an image, mask or number that cannot work; for an output that is not
                finite; where memory does not suffice for the smallest tile.
        """
        done = self.run(image, mask, degradation, progress, **settings)
        for note in done.notes:
            logger.warning(note)
        return done.image

    def run(
        self,
        image: AnImage,
        mask: AMask,
        degradation: str | Degradation = 'auto',
        progress: Progress | None = None,
        **settings: Any,
    ) -> Restoration:
        """Do as `restore`, and return the regions and the notes as well.

        Args:
            image: see `restore`.
            mask: see `restore`.
            degradation: see `restore`.
            progress: see `restore`.
            settings: see `patch`.

        Raises:
            ValueError: see `restore`.
        """
        pixels, as_given = image_array(image)
        done = self.patch(pixels, mask_array(mask), degradation, progress, **settings)
        restored = pixels.copy()
        restored[done.box.area] = done.pixels
        return Restoration(as_given(restored), done.regions, done.notes)

    def patch(
        self,
        pixels: np.ndarray,
        mask: np.ndarray,
        degradation: str | Degradation = 'auto',
        progress: Progress | None = None,
        *,
        context: int = CONTEXT,
        feather: int = 0,
        soft_mask: bool = False,
        batch: int | None = None,
        tile: int = TILE,
        jpeg: int | None = None,
    ) -> Patch:
        """Do as `restore`, and return the part of the image that may have changed.

        Of the image only the pixels within `pixels_seen` of the masked ones are looked at.

        Args:
            pixels: (h, w, c), see `image_array`.
            mask: (h, w), see `restore`.
            degradation: see `restore`.
            progress: see `restore`.
            context: pixels around a region that the network sees.
            feather: pixels over which the restored region fades in, inside the mask.
            soft_mask: blend by the mask's gray values. Otherwise pixels above the middle are
                restored and all others left.
            batch: most crops of equal size that go through the network at once; None: 8, on a CPU
                1.
            tile: longest side of what goes through the network at once; larger regions are tiled.
            jpeg: for 'auto': the quality of the JPEG file that the image is from, 0 if it is from
                none, None to find out.

        Raises:
            ValueError: see `restore`.
        """
        check_settings(context, feather, batch, tile)
        batch = usual_batch(self.device) if batch is None else batch
        given = check_mask(mask)
        if given.shape != pixels.shape[:2]:
            raise ValueError(
                f'the mask has {size_of(given)} pixels, the image {size_of(pixels)}; '
                'expected equal sizes'
            )
        # From here on only a part of the image: copies of all of a large one cost more than its
        # region. Crops fit into it, and feathering sees where regions end.
        window: Box = marked_box(given).grown(context + EVEN, *given.shape)
        marked, doubts = read_mask(given[window.area], soft_mask)
        notes = [note.text for note in doubts]
        told, takes = _parsed(degradation), 'degradation' in self.adapter.takes
        seen = [Told(Box(0, 0, *given.shape), told or UNKNOWN)]
        written = marked
        if takes and told is None:
            marked, seen, found = measure_mask(pixels, marked, window, jpeg)
            written = np.minimum(written, marked)  # not what is degraded beyond the mask
            notes += found
        whole = takes and any(counts_from_box(one.degradation) for one in seen)
        regions = find_regions(marked, context, tile, whole)
        explained = bool(regions) or (takes and told is None and bool(notes))
        notes += self._doubts(written, given, told or UNKNOWN, explained)
        restored = pixels[window.area].copy()
        without_alpha = slice(1 if pixels.shape[2] < 3 else 3)
        colours, target = pixels[window.area][..., without_alpha], restored[..., without_alpha]
        if self.channels < colours.shape[2]:
            raise ValueError('the network restores gray images, and this one has colours')
        in_image = [region.moved(*window[:2]) for region in regions]
        by_region = [told_of(r.crop, seen).seen_from(*window, given.shape) for r in in_image]
        crops = Crops(colours, marked, regions, by_region)

        @functools.lru_cache(maxsize=1)  # of one region at a time: they may be large
        def paste_of(number: int) -> Paste:
            return Paste(colours, written, regions[number], feather)

        def write(number: int, rows: Box, values: np.ndarray) -> None:
            paste_of(number).write(target, rows, values)

        self.crops.restore(crops, Sizes(batch, tile), notes, write, progress)
        return Patch(window, restored, in_image, list(dict.fromkeys(notes)))

    def _doubts(
        self, mask: np.ndarray, given: np.ndarray, told: Degradation, explained: bool
    ) -> list[str]:
        """Say what is odd: nothing or everything is masked, or the network ignores what is told."""
        notes = []
        if not explained:
            notes.append('the mask is empty (black): nothing is restored')
        elif mask.shape == given.shape and mask.min(initial=1) == 1:
            notes.append('the mask is full (white): the whole image is restored')
        if told.kind != 'unknown' and 'degradation' not in self.adapter.takes:
            notes.append(
                f'this network is not told the degradation ({told}); '
                'it restores as if it were unknown'
            )
        return notes


def _parsed(degradation: str | Degradation) -> Degradation | None:
    """Return a degradation, None for 'auto'."""
    if isinstance(degradation, Degradation):
        return degradation
    return None if degradation == 'auto' else read_degradation(degradation)


def load_restorer(
    weights: str | Path | None = None,
    device: str | torch.device = 'auto',
    precision: str = 'fp32',
    opt: Mapping[str, Any] | None = None,
    ensemble: bool = False,
) -> Restorer:
    """Return a `Restorer` from a checkpoint.

    Args:
        weights: a checkpoint of this project, which says which network it belongs to, or of the
            published HMA. None: the weights that ship with the package.
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda', 'cuda:N' or 'mps' (Apple's GPUs).
        precision: 'fp32' or 'bf16'.
        opt: for networks whose checkpoints do not describe themselves (SwinIR, HAT, DRCT): the
            options of their training, of which only the section `network_g` is used.
        ensemble: see `Restorer`.

    Raises:
        FileNotFoundError, ValueError: in one line.
    """
    device = choose_device(device)
    if weights is None and opt is not None:
        raise ValueError(
            'an option file says which network it is; its weights have to be given as well '
            '(--weights)'
        )
    path = Path(os.path.expanduser(SHIPPED_WEIGHTS if weights is None else weights))
    if weights is None and not path.is_file():
        raise FileNotFoundError(
            'this installation has no weights of its own, give some (--weights)'
        )
    adapter = load_network(path, None if opt is None else _read_section(opt))
    return Restorer(adapter, device, precision, ensemble)


def _read_section(opt: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the section `network_g` of a training's options."""
    if not isinstance(opt, Mapping):
        raise ValueError(
            f'opt is {opt!r}; expected the options themselves: '
            f'opt=hmaca_arch.config.files.load({str(opt)!r})'
        )
    if not is_section(opt.get('network_g')):
        raise ValueError('the option file has no section network_g with a type')
    return opt['network_g']
