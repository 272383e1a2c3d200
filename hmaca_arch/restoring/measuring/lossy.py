"""Measure a region of an image that went through JPEG after it was degraded.

Quantisation removes what the exact methods look at. So blocks are found by the energy of the
differences between neighbouring pixels, and noise and blur by trying: the surroundings are degraded
by every sigma, compressed with the same quality, and compared by the energy of their coefficients.
"""

import cv2
import numpy as np

from hmaca_arch.restoring.measuring.blocks import Grid, off_grid
from hmaca_arch.restoring.measuring.border import depth_of, find_area
from hmaca_arch.restoring.measuring.jpeg import coefficients, luma

BLOCKS = range(3, 33)
ALONG = 5  # pixels over which differences are averaged along a line
PART = 0.4  # of a block's masked pixels, above which it belongs to the area
GRID_GAIN = 0.28  # log likelihood by pixel that a grid must gain; chosen on training images
AT_CORNER, CORNER_GAIN = 0.1, 0.1  # a grid that begins at the mask's corner is more likely
NOISES = np.exp(np.linspace(np.log(2.5), np.log(110), 16))
BLURS = np.exp(np.linspace(np.log(0.4), np.log(5.2), 12))
GAINS, GAIN_SPREAD = np.linspace(-2.4, 2.4, 13), 0.7  # logarithms
BLUR_BIAS = 1.1  # by how much trying overestimates; measured on training images
CONTRASTS = (0.4, 0.65, 1.0, 1.6, 2.5)
TRUST = 0.3
FEWEST_BLOCKS = 9
STRONG = 22.0  # noise that outweighs texture, in grey levels
BANDS = 12  # groups of coefficients, by the sum of row and column
_BAND = np.minimum(np.add.outer(np.arange(8), np.arange(8)), BANDS).ravel()
_AVERAGE = (_BAND[:, None] == np.arange(1, BANDS + 1)).astype(np.float32)
_PER_BLOCK = _AVERAGE.sum(axis=0)
_AVERAGE /= _PER_BLOCK


def blur_activity(image: np.ndarray) -> np.ndarray:
    """Return what a blur removes first, (h, w): the Laplacian's Laplacian of the brightness."""
    values = image.mean(axis=2, dtype=np.float32)
    for _ in range(2):
        values = cv2.Laplacian(values, cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REFLECT_101)
    return np.abs(values)


def compressed(values: np.ndarray, quality: int) -> np.ndarray:
    """Return grey values (h, w) of 0 to 255 after one round of JPEG."""
    pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    data = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.float32)


def _by_block(values: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return the mean square of a band's coefficients in each block of the area.

    It has the shape (blocks, bands). The block's mean is left out.
    """
    found = coefficients(values, area)
    return (found**2).reshape(len(found), 64) @ _AVERAGE + 0.1


def _energies(values: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return the mean of `_by_block`, (bands,)."""
    return _by_block(values, area).mean(axis=0)


def _classes(energies: np.ndarray) -> np.ndarray:
    """Return the mean of all blocks, and of a third of them each, from smooth to textured.

    It has the shape (classes, bands).
    """
    order = np.argsort(np.log(energies[:, :4]).sum(axis=1))
    groups = [order, *np.array_split(order, min(3, len(order)))]
    return np.array([energies[group].mean(axis=0) for group in groups])


def _cost(observed: np.ndarray, model: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Whittle's likelihood over bands (last axis), 0 for a perfect fit."""
    ratio = observed / model
    return TRUST * ((ratio - 1 - np.log(ratio)) * np.sqrt(size) * 2).sum(axis=-1)


def _best(costs: np.ndarray, sigmas: np.ndarray) -> float:
    """Return the sigma of least cost, between the ones that were tried."""
    at = int(costs.argmin())
    if not 0 < at < len(costs) - 1:
        return float(sigmas[at])
    left, middle, right = costs[at - 1 : at + 2]
    shift = 0.5 * (left - right) / max(left - 2 * middle + right, 1e-9)
    return float(sigmas[at] * (sigmas[1] / sigmas[0]) ** np.clip(shift, -1, 1))


def _tried(
    values: np.ndarray,
    mean: np.ndarray,
    area: np.ndarray,
    quality: int,
    noise: np.ndarray | float = 0,
) -> np.ndarray:
    """(models, bands): the energies of values and noise, at several contrasts, after JPEG."""
    made = (mean + contrast * (values - mean) + noise for contrast in CONTRASTS)
    return np.concatenate([_classes(_by_block(compressed(one, quality), area)) for one in made])


def _blocks_in(area: np.ndarray) -> int:
    """How many whole blocks the area has."""
    return len(coefficients(area.astype(np.float32), area))


def lossy_noise(
    image: np.ndarray, area: np.ndarray, outside: np.ndarray, quality: int
) -> tuple[float, float, float]:
    """Measure noise before JPEG.

    Args:
        image: (h, w, c) of 0 to 255; its first pixel begins a block of the JPEG.
        area: (h, w) bool, what may be degraded.
        outside: (h, w) bool, what is not.
        quality: of the JPEG.

    Returns:
        sigma in grey levels, the cost that it saves against none, and the cost that remains.
    """
    if min(_blocks_in(area), _blocks_in(outside)) < FEWEST_BLOCKS:
        return 0.0, 0.0, 0.0
    values = luma(image)
    observed, size = _energies(values, area), _PER_BLOCK * _blocks_in(area)
    texture = np.exp(GAINS)[:, None] * _energies(values, outside)
    rng = np.random.default_rng(0)
    mean = cv2.GaussianBlur(values, (0, 0), 12.0)
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 4.0).reshape(image.shape)
    flat = _energies(compressed(luma(smooth), quality), area)
    draw = rng.standard_normal(image.shape).astype(np.float32)
    prior = 0.5 * (GAINS / GAIN_SPREAD) ** 2
    costs = [_cost(observed, _tried(values, mean, outside, quality), size).min()]
    for sigma in NOISES:
        if sigma < STRONG:  # what it does depends on the texture below it
            models = _tried(values, mean, outside, quality, sigma * luma(draw))
            costs.append(_cost(observed, models, size).min())
        else:  # what it does depends on how much of it is clipped
            noisy = luma(np.clip(smooth + sigma * draw, 0, 255))
            noise = np.maximum(_energies(compressed(noisy, quality), area) - flat, 0.01)
            costs.append((_cost(observed, texture + noise, size) + prior).min())
    plain, *noisier = costs
    least = float(min(noisier))
    return _best(np.array(noisier), NOISES), float(plain) - least, least


def lossy_blur(
    image: np.ndarray, area: np.ndarray, outside: np.ndarray, quality: int
) -> tuple[float, float, float]:
    """Measure blur before JPEG: as `lossy_noise`, sigma in pixels."""
    if min(_blocks_in(area), _blocks_in(outside)) < FEWEST_BLOCKS:
        return 0.0, 0.0, 0.0
    values = luma(image)
    observed, size = _energies(values, area), _PER_BLOCK * _blocks_in(area)
    mean = cv2.GaussianBlur(values, (0, 0), 12.0)
    costs = []
    for sigma in [0.0, *BLURS]:
        blurred = cv2.GaussianBlur(values, (0, 0), sigma) if sigma else values
        costs.append(_cost(observed, _tried(blurred, mean, outside, quality), size).min())
    plain, *blurrier = costs
    least = float(min(blurrier))
    return _best(np.array(blurrier), BLURS) / BLUR_BIAS, float(plain) - least, least


def _block_numbers(shape: tuple[int, int], block: int, offset: tuple[int, int]) -> np.ndarray:
    """Give the pixels of each block of a grid a number of its own, (h, w)."""
    rows, columns = ((np.arange(side) - at) // block + 1 for side, at in zip(shape, offset))
    return np.asarray(rows[:, None] * (shape[1] // block + 3) + columns)


def flattened(image: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the image with each block's pixels in the area replaced by their mean, float32."""
    number = _block_numbers(grid.area.shape, grid.block, grid.offset)[grid.area]
    result = image.astype(np.float32)
    count = np.maximum(np.bincount(number), 1)
    for channel in range(image.shape[2]):
        means = np.bincount(number, weights=image[..., channel][grid.area]) / count
        result[..., channel][grid.area] = means[number]
    return result


def lossy_grid(image: np.ndarray, mask: np.ndarray) -> Grid | None:
    """Find a block grid by the energy of the differences between neighbours, or None."""
    values = luma(image)
    steps = [np.zeros_like(values), np.zeros_like(values)]
    # Along a block's side all steps are equal.
    steps[0][1:] = np.abs(cv2.blur(np.diff(values, axis=0), (ALONG, 1)))
    steps[1][:, 1:] = np.abs(cv2.blur(np.diff(values, axis=1), (1, ALONG)))
    depth = depth_of(mask)
    best, most = None, 0.0
    for erosion in (0, 3, 6, 10, 16):
        core = depth > erosion
        if core.sum() < 300:
            break
        gained, block, offset = _best_grid(steps, core, np.argwhere(mask).min(axis=0))
        if gained / core.sum() ** 0.75 > most:
            best, most = (gained / core.sum(), block, offset), gained / core.sum() ** 0.75
    if best is None:
        return None
    gained, block, offset = best
    # Whether the lines are also those of JPEG's blocks.
    own = block % 8 == 0 and offset[0] % 8 == offset[1] % 8 == 0
    if gained < GRID_GAIN * (2 if own else 1):
        return None
    inner = off_grid(mask.shape, block, offset)
    activity = np.where(inner[0], steps[0], 0) + np.where(inner[1], steps[1], 0)
    area = find_area(activity, mask, depth == 0)
    return Grid(block, offset, _whole_blocks(area, mask, block, offset), 0)


def _whole_blocks(
    area: np.ndarray, mask: np.ndarray, block: int, offset: tuple[int, int]
) -> np.ndarray:
    """Return the masked pixels of the blocks of which `area` has a good part."""
    number = _block_numbers(area.shape, block, offset)
    masked = np.maximum(np.bincount(number[mask], minlength=number.max() + 1), 1)
    part = np.bincount(number[area & mask], minlength=len(masked)) / masked
    return (part > PART)[number] & mask


def _best_grid(
    steps: list[np.ndarray], core: np.ndarray, corner: np.ndarray
) -> tuple[float, int, tuple[int, int]]:
    """Return the grid on whose lines the differences are largest.

    Returns:
        The log likelihood gained, the block and the offset.
    """
    sums, counts = [], []
    for axis, step in enumerate(steps):
        pairs = core & (depth_of(core) > 1)
        sums.append(np.where(pairs, step, 0).sum(axis=1 - axis))
        counts.append(pairs.sum(axis=1 - axis))
    total, number = sum(one.sum() for one in sums), sum(one.sum() for one in counts)
    plain = number * np.log(total / number + 0.05)
    best = (-np.inf, 0, (0, 0))
    for block in BLOCKS:
        offset: list[int] = []
        on, on_count, aligned = 0.0, 0, 0
        for one, count in zip(sums, counts):
            phase = np.arange(len(one)) % block
            energy, pixels = (
                np.bincount(phase, weights=what, minlength=block) for what in (one, count)
            )
            excess = energy - total / number * pixels
            excess[corner[len(offset)] % block] += AT_CORNER * max(0.0, excess.max())
            at = int(excess.argmax())
            aligned += at == corner[len(offset)] % block
            offset.append(at)
            on, on_count = on + energy[at], on_count + pixels[at]
        rest = number - on_count
        if on_count < 20 or rest < 20:
            continue
        fit = on_count * np.log(on / on_count + 0.05) + rest * np.log((total - on) / rest + 0.05)
        fit -= CORNER_GAIN * (plain - fit) * (aligned == 2)
        best = max(best, (float(plain - fit), block, (offset[0], offset[1])))
    return best
