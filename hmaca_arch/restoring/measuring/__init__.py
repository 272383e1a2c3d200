"""Measure what was done to the masked regions of an image, from the image and the mask alone.

`measure` answers for each connected region: pixelized (block, offset, pool), blurred (sigma, or a
disc or box), noisy (sigma), nothing, or unknown. Masks need not be exact: the degraded part of a
mask is found as well.
Every threshold was chosen on training images; `scripts/measure_accuracy.py` measures how often the
answers are right.
"""

from dataclasses import replace

import numpy as np

from hmaca_arch.degradation import Degradation as Degradation
from hmaca_arch.degradation import regions
from hmaca_arch.restoring.measuring.measured import Measured, words_of
from hmaca_arch.restoring.measuring.one_region import measure_region
from hmaca_arch.restoring.regions import Box

CONTEXT = 64  # pixels around a region that are looked at


def as_grey_levels(image: np.ndarray) -> np.ndarray:
    """Scale an image to (h, w, 1 or 3) of 0 to 255, without its alpha channel.

    Args:
        image: (h, w) or (h, w, 1 to 4): uint8, uint16, or floating point in [0, 1].

    Raises:
        ValueError: another shape or type.
    """
    image = image[..., None] if image.ndim == 2 else image
    floating = np.issubdtype(image.dtype, np.floating)
    if (
        image.ndim != 3
        or image.shape[2] not in (1, 2, 3, 4)
        or not (floating or image.dtype in (np.uint8, np.uint16))
    ):
        raise ValueError(
            f'measure: got an image of shape {image.shape} and type {image.dtype}, expected '
            '(h, w, 1 to 4): uint8, uint16, or floating point in [0, 1]'
        )
    if floating:
        image = np.rint(np.clip(image.astype(np.float32), 0, 1) * 65535).astype(np.uint16)
    image = image[..., : 1 if image.shape[2] < 3 else 3]
    if image.shape[2] == 3 and (image == image[..., :1]).all():
        image = image[..., :1]  # grey
    return image if image.dtype == np.uint8 else image / np.float32(257)


def measure(
    image: np.ndarray, mask: np.ndarray, jpeg: int | None = None, corner: tuple[int, int] = (0, 0)
) -> list[Measured]:
    """Measure each 8-connected region of a mask.

    Args:
        image: see `as_grey_levels`; RGB or grey, an alpha channel last.
        mask: (h, w) or (h, w, 1), what is not 0 is masked.
        jpeg: quality of the JPEG file that the image comes from; 0 if it is known that there was
            none; None to find out.
        corner: row and column of the first pixel in a larger image, from which block grids are
            counted; multiples of 8 if that is a JPEG.

    Returns:
        One measurement for each region, from top to bottom; none for an empty mask.

    Raises:
        ValueError: shapes or types do not fit.
    """
    levels = as_grey_levels(np.asarray(image))
    mask = np.asarray(mask)
    mask = (mask[..., 0] if mask.ndim == 3 else mask) > 0
    if not levels.size:
        raise ValueError(f'measure: got an image of shape {levels.shape}, expected pixels')
    if mask.shape != levels.shape[:2]:
        raise ValueError(
            f'measure: the mask is {mask.shape}, the image {levels.shape[:2]}; expected equal '
            'heights and widths'
        )
    if jpeg is not None and (jpeg is True or jpeg not in range(101)):
        raise ValueError(
            f'measure: got the JPEG quality {jpeg!r}, expected 1 to 100, 0 for no JPEG or None '
            'to find out'
        )
    labels, boxes = regions(mask)
    found = []
    for label, box in sorted(enumerate(boxes, start=1), key=lambda item: item[1]):
        place = Box(*box).grown(CONTEXT, *mask.shape).from_blocks()
        part = place.area
        one = measure_region(levels[part], labels[part] == label, mask[part], jpeg)
        found.append(_in_image(one, mask.shape, place, corner))
    return found


def _in_image(
    one: Measured, shape: tuple[int, int], place: Box, corner: tuple[int, int]
) -> Measured:
    """Return the measurement of a crop in the coordinates of the image, with the words for it."""
    area = np.zeros(shape, bool)
    area[place.area] = one.area
    degradation = one.degradation
    if degradation.kind == 'pix':
        block = degradation.block
        row, column = degradation.offset
        row, column = row + place.top + corner[0], column + place.left + corner[1]
        degradation = replace(degradation, offset=(row % block, column % block))
    one = one._replace(area=area, degradation=degradation)
    return one._replace(words=words_of(one))
