"""Measure what was done to the masked regions of an image, from the image and the mask alone.

`measure` answers for each connected region: pixelized (block, offset, pool), blurred (sigma, or a
disc or box), noisy (sigma), nothing, or unknown. Masks need not be exact: the degraded part of a
mask is found as well.
Every threshold was chosen on training images; `scripts/measure_accuracy.py` measures how often the
answers are right.
"""

import math
from dataclasses import replace

import cv2
import numpy as np

from hmaca_arch.degradation import Degradation, regions
from hmaca_arch.restoring.measuring.blocks import Grid, exact_grid
from hmaca_arch.restoring.measuring.blur import measure_blur
from hmaca_arch.restoring.measuring.blur_border import Lossy, blurred_part
from hmaca_arch.restoring.measuring.border import depth_of, find_area, is_rectangle, likely_area
from hmaca_arch.restoring.measuring.candidates import GAUSSIAN
from hmaca_arch.restoring.measuring.jpeg import quality_of_pixels, table_of
from hmaca_arch.restoring.measuring.lossy import estimate
from hmaca_arch.restoring.measuring.lossy_blocks import flattened, lossy_grid
from hmaca_arch.restoring.measuring.measured import Measured, words_of
from hmaca_arch.restoring.measuring.noise import covariance, measure_noise, residual
from hmaca_arch.restoring.measuring.patches import SIDE
from hmaca_arch.restoring.measuring.pool import pool_evidence
from hmaca_arch.restoring.measuring.starts import LONGEST, OPEN, decide_pool
from hmaca_arch.restoring.regions import Box, marked_box

POOL_TRUST = 0.3  # of the evidence about how blocks are coloured
CONTEXT = 64  # pixels around a region that are looked at
GAP = 3  # pixels around a mask that may be degraded as well
SMALLEST = 144  # pixels; a smaller region says too little about noise and blur
# Log likelihood by pixel, and grey levels, below which there is no noise.
NOISE_GAIN, NOISE_LEAST = 0.25, 2.5
BLUR_LEAST, BLUR_MOST = 0.1, 5.0  # pixels
# Variance that JPEG adds to the brightness, over the mean of its steps, as far as it matters for
# where a blur ends. Chosen on training images.
JPEG_ERROR = 0.45
CLOSE = 0.3  # error of the logarithm of sigma before JPEG that still helps
COARSEST = 30  # quality below which noise and blur are not measured
# The quality that a JPEG may have had whose steps are too fine to be seen in the pixels, and the
# confidence that what was done before it has to have. Chosen on training images.
UNSEEN, CERTAIN = 98, 0.9
# The same for the second opinion on a region that is no rectangle, and the confidence that the
# measured kernel has to have there: it rests on few patches. Chosen on training images.
SHAPE_CERTAIN, SHAPE_SURE = 0.75, 0.7
FITS = 0.85  # part of such a mask that must be degraded, or the mask is too wide to be measured
VAGUE = 'not like its surroundings, but its shape leaves open why'


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
        one = _measure_region(levels[part], labels[part] == label, mask[part], jpeg)
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


def _measure_region(
    image: np.ndarray, mask: np.ndarray, every: np.ndarray, jpeg: int | None
) -> Measured:
    """Measure one region of a crop. every: (h, w) bool, all masked pixels of the crop."""
    grid = exact_grid(image, mask) if not jpeg else None
    if grid is not None and grid.everywhere:
        words = f'blocks of {grid.block} pixels, as all around it: mask all that is pixelized'
        return Measured(Degradation(jpeg=jpeg or 0), 0.0, mask, 0, words)
    if grid is not None:
        return _pixelized(image, mask, every, grid)
    near = cv2.dilate(every.astype(np.uint8), np.ones((2 * GAP + 1, 2 * GAP + 1), np.uint8)) > 0
    doubt = ''
    if min(mask.shape) < SIDE or min(mask.sum(), (~near).sum()) < SMALLEST:
        doubt = 'too few pixels to tell what was done'
    elif not np.ptp(image[mask], axis=0).any():
        doubt = 'one colour throughout: nothing is left of the image'
    if doubt:
        return Measured(Degradation(jpeg=jpeg or 0), 0.0, mask, 0, doubt)
    quality = quality_of_pixels(image, mask) if jpeg is None else jpeg
    if quality:
        grid = lossy_grid(image, mask, quality)
        if grid is not None:
            if not is_rectangle(mask) and (grid.area & mask).sum() < FITS * mask.sum():
                return Measured(Degradation(jpeg=quality), 0.0, mask, 0, VAGUE)
            one = _pixelized(flattened(image, grid), mask, every, grid, exact=False)
            return one._replace(degradation=replace(one.degradation, jpeg=quality))
        one = _lossy(image, mask, every, ~near, quality)
    elif not is_rectangle(mask):
        one = _of_a_shape(image, mask, every, ~near)
    else:
        one = _noisy_or_blurred(image, mask, every, ~near)
        if jpeg is None and one.degradation.kind == 'none':
            again = _lossy(image, mask, every, ~near, UNSEEN)
            if again.degradation.kind in ('noise', 'blur') and again.confidence > CERTAIN:
                one, quality = again, UNSEEN
    return one._replace(degradation=replace(one.degradation, jpeg=quality))


def _pixelized(
    image: np.ndarray, mask: np.ndarray, every: np.ndarray, grid: Grid, exact: bool = True
) -> Measured:
    """Complete a grid: where its blocks are cut, and how they were coloured."""
    box = marked_box(grid.area)
    block, offset = grid.block, grid.offset
    at_corner = all((box[axis] - offset[axis]) % block == 0 for axis in (0, 1))
    cut = at_corner and any((box[axis + 2] - offset[axis]) % block for axis in (0, 1))
    known = ~(every & ~mask) & ~grid.area
    same_box = bool((grid.area == mask).all())
    anchor = (
        ('start', 'start')
        if cut or (at_corner and (same_box or grid.spill))
        else ('offset', 'offset')
    )
    evidence = pool_evidence(image.astype(np.float32), grid, known, cut, exact)
    pool, odds = 'centre' if evidence > 0 else 'mean', POOL_TRUST * abs(evidence)
    found = Degradation('pix', block=block, pool=pool, anchor=anchor, offset=offset)
    if abs(evidence) < OPEN and max(box.shape) <= LONGEST:
        pool, odds = decide_pool(image / 255, grid.area, known, found, evidence)
    confidence = float(1 / (1 + np.exp(-min(odds, 30)))) * (1 if exact else 0.85)
    if grid.spill:  # the mask's corner is not the grid's
        found = replace(found, anchor=('offset', 'offset'))
    return Measured(replace(found, pool=pool), confidence, grid.area, grid.spill, '')


def _activity(image: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return how far each pixel's second differences are from 0, (h, w).

    The unit is the standard deviation of those outside.
    """
    values = residual(image)
    inverse = np.linalg.inv(covariance(values[outside]) + np.eye(values.shape[2]) / 12)
    return np.sqrt(np.maximum(np.einsum('hwi,ij,hwj->hw', values, inverse, values), 0))


def _band(mask: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """(h, w) bool, the clean pixels within 20 of the mask."""
    return outside & (cv2.dilate(mask.astype(np.uint8), np.ones((41, 41), np.uint8)) > 0)


def _noisy_or_blurred(
    image: np.ndarray, mask: np.ndarray, every: np.ndarray, outside: np.ndarray
) -> Measured:
    """Measure noise or blur of pixels that no JPEG changed."""
    band = _band(mask, outside)
    area = find_area(_activity(image, outside), mask, band)
    sigma, gained = measure_noise(image, depth_of(area) > 1, outside)
    if gained > NOISE_GAIN and sigma > NOISE_LEAST:
        found = Degradation('noise', sigma=round(sigma, 2))
        return Measured(found, min(1.0, gained / NOISE_GAIN / 2), area, 0, '')
    blur = measure_blur(image, mask, every, outside)
    gaussian, size = blur.kernel.kind == GAUSSIAN, blur.kernel.size
    if blur.evidence < 1 or (gaussian and size < BLUR_LEAST):
        confidence = 0.9 - 0.4 * min(1.0, max(0.0, blur.evidence))
        return Measured(Degradation('none'), confidence, mask, 0, '')
    area = blur.box.filled(*mask.shape)
    beyond = area & ~marked_box(mask).filled(*mask.shape) & is_rectangle(mask)
    spill = int(depth_of(~mask)[beyond].max(initial=0))
    found, words = Degradation(), ''
    if gaussian and size <= BLUR_MOST:
        found = Degradation('blur', sigma=round(size, 3))
    elif blur.kernel.told:
        found = Degradation('kernel', kernel=blur.kernel.told)
    elif not gaussian:
        words = 'blurred, but not by a Gaussian, a disc or a box'
    return Measured(found, blur.confidence, (area & mask) | beyond, spill, words)


def _of_a_shape(
    image: np.ndarray, mask: np.ndarray, every: np.ndarray, outside: np.ndarray
) -> Measured:
    """Measure noise or blur of a region that is no rectangle.

    The network of `lossy` tells where it is, and whether there is any; the rest tells how strong.
    """
    guess = estimate(image, mask, outside, UNSEEN)
    area = likely_area(guess.odds, mask) if guess.kind == 'blur' else mask
    one = _noisy_or_blurred(image, area, every, outside)
    fits = area.sum() >= FITS * mask.sum()
    vague = one.degradation.kind == 'blur' and not (fits and one.confidence >= SHAPE_SURE)
    missed = one.degradation.kind == 'none' and guess.kind in ('blur', 'noise')
    if vague or (missed and guess.confidence > SHAPE_CERTAIN):
        return Measured(Degradation(), 0.0, mask, 0, VAGUE)
    return one


def _lossy(
    image: np.ndarray, mask: np.ndarray, every: np.ndarray, outside: np.ndarray, quality: int
) -> Measured:
    """Measure noise or blur before JPEG."""
    if quality < COARSEST:
        words = 'JPEG of this quality hides what was done'
        return Measured(Degradation(), 0.0, mask, 0, words)
    found = estimate(image, mask, outside, quality)
    if found.kind == 'none':
        words = 'nothing that can be seen through the JPEG'
        return Measured(Degradation('none'), found.confidence, mask, 0, words)
    if found.kind == 'pix':
        words = 'not like its surroundings, but JPEG hides why'
        return Measured(Degradation(), 0.0, mask, 0, words)
    sigma, area = found.sigma, likely_area(found.odds, mask)
    if found.kind == 'noise' and not is_rectangle(mask) and area.sum() < FITS * mask.sum():
        return Measured(Degradation(), 0.0, mask, 0, VAGUE)
    confidence = found.confidence * math.erf(CLOSE / (math.sqrt(2) * found.spread))
    measured = Degradation(found.kind, sigma=round(sigma, 3))
    one = Measured(measured, confidence, area, 0, '', found.spread)
    if found.kind == 'blur' and is_rectangle(mask):
        lossy = Lossy(JPEG_ERROR * float(table_of(quality).mean()), found.odds)
        one = one._replace(
            area=blurred_part(image, mask, every, outside, one.cautious.sigma, lossy)
        )
    return one
