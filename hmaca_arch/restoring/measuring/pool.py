"""Tell blocks coloured by their mean from blocks coloured by their middle pixels.

Known pixels inside a block decide exactly: the middle ones have the block's colour, or not.
Otherwise means vary less from block to block, and from their surroundings, than single pixels do.
How much less follows from how pixels outside vary with distance: both are compared as Gaussian
processes with that covariance, given the known pixels around the region.
"""

import cv2
import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.ndimage import uniform_filter1d

from hmaca_arch.restoring.measuring.blocks import Grid
from hmaca_arch.restoring.regions import Box, marked_box

LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # distances at which pixels outside are compared
MOST_CELLS, MOST_KNOWN = 144, 120
SCALES, SCALE_SPREAD = (
    np.linspace(-2, 2, 9),
    0.5,
)  # logarithms: the region's variance over that of the surroundings
OWN = 0.3  # variance of a pixel by itself, such as rounding
CERTAIN = 50.0  # log likelihood ratio of what is known exactly
# brightness and two colour differences
COLOURS = np.array([[1, 1, 1], [1, 0, -1], [-0.5, 1, -0.5]]) / np.sqrt(np.array([[3], [2], [1.5]]))


def _cells(grid: Grid) -> np.ndarray:
    """(n, 2) corners of the blocks that the area meets; they may begin outside the image."""
    rows, columns = np.nonzero(grid.area)
    corners = np.stack(
        [
            rows - (rows - grid.offset[0]) % grid.block,
            columns - (columns - grid.offset[1]) % grid.block,
        ],
        axis=1,
    )
    return np.unique(corners, axis=0)


def _middle(block: int) -> tuple[int, int]:
    """First of the middle pixels in one direction, and their number."""
    return (block - 1) // 2, 2 - block % 2


def known_middles(image: np.ndarray, grid: Grid) -> float:
    """Return the evidence of blocks whose middle is not degraded.

    It is positive for `centre`, 0 if there are no such blocks.
    """
    first, count = _middle(grid.block)
    equal, tested = 0, 0
    for top, left in _cells(grid):
        middle = slice(top + first, top + first + count), slice(left + first, left + first + count)
        block = slice(max(0, top), top + grid.block), slice(max(0, left), left + grid.block)
        inside = grid.area[middle]
        if min(top, left) + first < 0 or inside.shape != (count, count) or inside.any():
            continue
        colour = image[block][grid.area[block]][0].astype(float)
        known = image[block][~grid.area[block]]
        if len(known) > 4 and known.std(axis=0).max() > 2:  # in a flat one everything fits
            tested += 1
            equal += bool((np.abs(image[middle].mean(axis=(0, 1)) - colour) <= 0.75).all())
    if tested < 2:
        return 0.0
    return CERTAIN if equal > 0.7 * tested else -CERTAIN


def _variogram(values: np.ndarray, known: np.ndarray) -> tuple[float, float]:
    """Return scale and exponent of half the mean squared difference of known pixels.

    At a distance it is scale * distance ** exponent.
    """
    found = []
    for lag in LAGS:
        squares, number = 0.0, 0
        for one, other in ((np.s_[lag:], np.s_[:-lag]), (np.s_[:, lag:], np.s_[:, :-lag])):
            both = known[one] & known[other]
            squares += float(((values[one] - values[other])[both] ** 2).sum())
            number += int(both.sum())
        if number > 50:
            found.append((np.log(lag), np.log(max(squares / number / 2 - OWN, 0.05))))
    if len(found) < 3:
        return 1.0, 0.8
    lags, differences = np.array(found, np.float64).T
    exponent, constant = np.polyfit(lags, differences, 1)
    return float(np.exp(constant)), float(np.clip(exponent, 0.2, 1.8))


def _tables(exponent: float, reach: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return covariances by displacement, (2 reach + 1)^2 each.

    They are of two pixels, of a square of `size` (its first pixel counts) with a pixel, and of two
    squares.
    """
    line = np.arange(-reach, reach + 1)
    pixels = 2.0 * (2 * reach) ** exponent - np.hypot(line[:, None], line[None]) ** exponent
    square = pixels
    for axis in (0, 1):
        square = uniform_filter1d(
            square, size, axis, mode='nearest', origin=-(size // 2)
        )  # from here onwards
    squares = square
    for axis in (0, 1):
        squares = uniform_filter1d(
            squares, size, axis, mode='nearest', origin=(size - 1) // 2
        )  # up to here
    return pixels, square, squares


def _look_up(table: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Covariances of places (n, 2) and (m, 2)."""
    reach = len(table) // 2
    delta = first[:, None] - second[None] + reach
    return table[delta[..., 0], delta[..., 1]]


def _likelihood(
    known: np.ndarray,
    cells: np.ndarray,
    tables: tuple,
    points: np.ndarray,
    corners: np.ndarray,
    scale: float,
) -> float:
    """Return log p(cells | known) at the best scale.

    Args:
        known: (m,) values.
        cells: (n,) values.
        tables: see `_tables`.
        points: places of `known`.
        corners: places of `cells`.
        scale: of the surroundings.
    """
    pixels, square, squares = tables
    best = -np.inf
    k_known, k_cross, k_cells = (
        _look_up(pixels, points, points),
        _look_up(square, corners, points),
        _look_up(squares, corners, corners),
    )
    own = OWN / scale  # at the surroundings' scale
    factor = cho_factor(k_known + own * np.eye(len(known)))
    weights = cho_solve(factor, k_cross.T)
    inner = k_cells - k_cross @ weights
    inner = cho_factor(inner + (own / 10 + 1e-9 * k_cells[0, 0]) * np.eye(len(cells)))
    error = cells - weights.T @ known
    distance = float(error @ cho_solve(inner, error)) / scale
    determinant = 2 * np.log(np.diag(inner[0])).sum() + len(cells) * np.log(scale)
    for gain in SCALES:
        fit = (
            -0.5 * (distance * np.exp(-gain) + determinant + len(cells) * gain)
            - 0.5 * (gain / SCALE_SPREAD) ** 2
        )
        best = max(best, fit)
    return best


def pool_evidence(
    image: np.ndarray, grid: Grid, known: np.ndarray, cut: bool, exact: bool = True
) -> float:
    """Compare the two pools.

    Args:
        image: (h, w, c) in grey levels.
        grid: the grid and its area.
        known: (h, w) bool, pixels that are not degraded.
        cut: blocks are cut at the area's box, and not whole.
        exact: no JPEG changed the colours.

    Returns:
        log likelihood of `centre` less that of `mean`.
    """
    if exact and not cut:
        certain = known_middles(image, grid)
        if certain:
            return certain
    block = grid.block
    corners = _cells(grid)
    limits = marked_box(grid.area) if cut else Box(0, 0, *grid.area.shape)
    whole = (corners >= limits[:2]).all(axis=1) & (corners + block <= limits[2:]).all(axis=1)
    corners = corners[whole]
    if len(corners) < 4:
        return 0.0
    rng = np.random.default_rng(0)
    if len(corners) > MOST_CELLS:
        corners = corners[np.sort(rng.choice(len(corners), MOST_CELLS, replace=False))]
    shown = []
    for top, left in corners:
        inside = grid.area[top : top + block, left : left + block]
        shown.append(image[top : top + block, left : left + block][inside][0])
    distance = cv2.distanceTransform((~grid.area).astype(np.uint8), cv2.DIST_C, 3)
    near = np.argwhere(known & (distance <= 2))
    far = np.argwhere(known & (distance > 2) & (distance <= block + 4))
    points = np.concatenate(
        [part[rng.permutation(len(part))[: MOST_KNOWN // 2]] for part in (near, far)]
    )
    if len(points) < 8:
        return 0.0
    reach = int(np.ptp(np.concatenate([points, corners]), axis=0).max()) + 2 * block
    first, count = _middle(block)
    middle = corners + first
    evidence = 0.0
    for colour in COLOURS if image.shape[2] == 3 else np.ones((1, 1)):
        values = image @ colour
        scale, exponent = _variogram(values, known)
        cells = np.array(shown) @ colour
        at = values[points[:, 0], points[:, 1]]
        centre = float(at.mean())
        means, centres = (
            _likelihood(
                at - centre, cells - centre, _tables(exponent, reach, size), points, places, scale
            )
            for size, places in ((block, corners), (count, middle))
        )
        evidence += centres - means
    return evidence
