"""Tell what was done to one region of an image.

Blocks are looked for first. Then come noise and blur: by the pixels if no JPEG changed them, else
by the network of `lossy`. That network also tells what is neither.
"""

import math
from dataclasses import replace

import cv2
import numpy as np

from hmaca_arch.degradation import Degradation
from hmaca_arch.networks.conditions import GREY_NOISE
from hmaca_arch.restoring.measuring.blocks import Grid, exact_grid
from hmaca_arch.restoring.measuring.blur import measure_blur
from hmaca_arch.restoring.measuring.blur_border import Lossy, blurred_part
from hmaca_arch.restoring.measuring.border import depth_of, find_area, is_rectangle, likely_area
from hmaca_arch.restoring.measuring.candidates import GAUSSIAN
from hmaca_arch.restoring.measuring.jpeg import quality_of_pixels, table_of
from hmaca_arch.restoring.measuring.lossy import MOST_NOISE, UNSEEN, Guess, estimate
from hmaca_arch.restoring.measuring.lossy_blocks import flattened, lossy_grid
from hmaca_arch.restoring.measuring.measured import Measured
from hmaca_arch.restoring.measuring.noise import covariance, measure_noise, residual
from hmaca_arch.restoring.measuring.patches import SIDE
from hmaca_arch.restoring.measuring.pool import pool_evidence
from hmaca_arch.restoring.measuring.repeats import repeats
from hmaca_arch.restoring.measuring.starts import LONGEST, OPEN, decide_pool
from hmaca_arch.restoring.regions import marked_box

POOL_TRUST = 0.3  # of the evidence about how blocks are coloured
GAP = 3  # pixels around a mask that may be degraded as well
SMALLEST = 144  # pixels; a smaller region says too little about noise and blur
# Log likelihood by pixel, that of noise that all channels share, and grey levels, below which there
# is no noise.
NOISE_GAIN, SHARED_GAIN, NOISE_LEAST = 0.25, 1.0, 2.5
BLUR_LEAST, BLUR_MOST = 0.1, 5.0  # pixels
# Variance that JPEG adds to the brightness, over the mean of its steps, as far as it matters for
# where a blur ends. Chosen on training images.
JPEG_ERROR = 0.45
CLOSE = 0.3  # error of the logarithm of sigma before JPEG that still helps
COARSEST = 30  # quality below which noise and blur are not measured
# The confidence that noise or blur must have if only the network of `lossy` finds it. Chosen on
# training images.
CERTAIN = 0.6
# The same for the second opinion on a region that is no rectangle, and the confidence that the
# measured kernel has to have there: it rests on few patches. Chosen on training images.
SHAPE_CERTAIN, SHAPE_SURE = 0.75, 0.7
FITS = 0.85  # part of such a mask that must be degraded, or the mask is too wide to be measured
VAGUE = 'not like its surroundings, but its shape leaves open why'
ENLARGED = 'its detail repeats, as if enlarged from fewer pixels or coded in blocks by itself'
OTHER = 'not like its surroundings, but neither blocks nor Gaussian blur or noise'
# By what was measured, the probability from which it was something else. Chosen on training images.
DOUBT = {'none': 0.75, 'noise': 0.75, 'blur': 0.8}


def measure_region(
    image: np.ndarray, mask: np.ndarray, every: np.ndarray, jpeg: int | None
) -> Measured:
    """Measure one region of a crop.

    Args:
        image: (h, w, 1 or 3) of 0 to 255; its first pixel begins a block of a JPEG.
        mask: (h, w) bool, the region.
        every: (h, w) bool, all masked pixels.
        jpeg: as of `measure`.

    Returns:
        The measurement, in the coordinates of the crop. It has words only where they say more than
        the degradation.
    """
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
            if not is_rectangle(mask) and not _fits(image, mask, grid.area, ~near, quality):
                return Measured(Degradation(jpeg=quality), 0.0, mask, 0, VAGUE)
            one = _pixelized(flattened(image, grid), mask, every, grid, exact=False)
            return one._replace(degradation=replace(one.degradation, jpeg=quality))
        guess = estimate(image, mask, ~near, quality)
        one = _lossy(image, mask, every, ~near, quality, guess)
    else:
        guess = estimate(image, mask, ~near, UNSEEN)
        one = _without_jpeg(image, mask, every, ~near, guess)
        # A JPEG that is not seen may hide either. Noise of grey images is missed without one, too.
        hidden = guess.kind == 'noise' or (guess.kind == 'blur' and jpeg is None)
        if one.degradation.kind == 'none' and hidden and is_rectangle(mask):
            again = _lossy(image, mask, every, ~near, UNSEEN, guess)
            if again.confidence > CERTAIN:
                one, quality = again, UNSEEN if jpeg is None else 0
    return one._replace(degradation=replace(one.degradation, jpeg=quality))


def _fits(
    image: np.ndarray, mask: np.ndarray, area: np.ndarray, outside: np.ndarray, quality: int
) -> bool:
    """Tell whether blocks before JPEG fill a mask, by their area and by the network of `lossy`."""
    likely = likely_area(estimate(image, mask, outside, quality).odds, mask)
    return bool(min((area & mask).sum(), likely.sum()) >= FITS * mask.sum())


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


def _without_jpeg(
    image: np.ndarray, mask: np.ndarray, every: np.ndarray, outside: np.ndarray, guess: Guess
) -> Measured:
    """Measure noise or blur of pixels that no JPEG changed, unless it was something else."""
    if is_rectangle(mask):
        one = _noisy_or_blurred(image, mask, every, outside)
    else:
        one = _of_a_shape(image, mask, every, outside, guess)
    kind, kernel = one.degradation.kind, one.degradation.kernel
    # Large boxes leave a pattern of their own. Enlarged parts are taken for the smallest.
    patterned = kind == 'noise' or (kernel is not None and kernel.name != 'box:3')
    if not patterned and repeats(image, one.area, outside):
        return Measured(Degradation(), 0.0, mask, 0, ENLARGED)
    doubted = one.degradation.sigma <= MOST_NOISE  # the network was not trained beyond that
    if doubted and guess.kind == 'unknown' and guess.confidence > DOUBT.get(kind, 1):
        return Measured(Degradation(), 0.0, mask, 0, OTHER)
    return one


def _noisy(
    image: np.ndarray, mask: np.ndarray, outside: np.ndarray, times: float = 1
) -> tuple[float, Measured]:
    """Measure noise, and the log likelihood by pixel that it gains, 0 if too little.

    The degradation has `times` the measured sigma.
    """
    area = find_area(_activity(image, outside), mask, _band(mask, outside))
    inner = depth_of(area) > 1
    sigma, gained = measure_noise(image, inner if inner.any() else area, outside)
    found = Degradation('noise', sigma=round(sigma * times, 2))
    words = ''
    if times > 1:
        words = f'Gaussian noise of {sigma:.3g} grey levels, the same in all channels'
        words += f', told as {found.sigma:.3g}'
    least = NOISE_GAIN if times == 1 else SHARED_GAIN
    one = Measured(found, min(1.0, gained / least / 2), area, 0, words)
    return (gained if sigma > NOISE_LEAST and gained > least else 0.0), one


def _noisy_or_blurred(
    image: np.ndarray, mask: np.ndarray, every: np.ndarray, outside: np.ndarray
) -> Measured:
    """Measure noise or blur of pixels that no JPEG changed."""
    noisy = [_noisy(image, mask, outside)]
    if image.shape[2] == 3:
        grey = not np.ptp(image[mask], axis=1).any()  # the network knows what that means
        brightness = image.mean(axis=2, keepdims=True)
        noisy.append(_noisy(brightness, mask, outside, 1 if grey else GREY_NOISE))
    gained, one = max(noisy, key=lambda pair: pair[0])
    if gained > 0:
        return one
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
    image: np.ndarray, mask: np.ndarray, every: np.ndarray, outside: np.ndarray, guess: Guess
) -> Measured:
    """Measure noise or blur of a region that is no rectangle.

    The guess tells where it is, and whether there is any; the rest tells how strong.
    """
    area = likely_area(guess.odds, mask) if guess.kind == 'blur' else mask
    one = _noisy_or_blurred(image, area, every, outside)
    fits = area.sum() >= FITS * mask.sum()
    vague = one.degradation.kind == 'blur' and not (fits and one.confidence >= SHAPE_SURE)
    missed = one.degradation.kind == 'none' and guess.kind in ('blur', 'noise')
    if vague or (missed and guess.confidence > SHAPE_CERTAIN):
        return Measured(Degradation(), 0.0, mask, 0, VAGUE)
    return one


def _lossy(
    image: np.ndarray,
    mask: np.ndarray,
    every: np.ndarray,
    outside: np.ndarray,
    quality: int,
    found: Guess,
) -> Measured:
    """Measure noise or blur before JPEG."""
    if quality < COARSEST:
        words = 'JPEG of this quality hides what was done'
        return Measured(Degradation(), 0.0, mask, 0, words)
    if found.kind == 'none':
        words = 'nothing that can be seen through the JPEG'
        return Measured(Degradation('none'), found.confidence, mask, 0, words)
    if found.kind in ('pix', 'unknown'):
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
