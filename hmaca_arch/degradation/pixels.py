"""Degrade the masked pixels of an image: what the equations are about, before and with rounding.

Data sets, networks and commands all degrade by `apply`. Images are (h, w, 3) RGB or (h, w, 1) grey
uint8, masks (h, w, 1) bool. Each function returns a new image of the same shape and type, and
leaves what lies outside the mask as it is; JPEG alone changes every pixel.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from hmaca_arch.degradation.description import POOLS, Degradation, regions

REACH = 4  # standard deviations at which a Gaussian is cut


def rounded(values: np.ndarray) -> np.ndarray:
    """Round to uint8, 0 to 255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def apply(
    image: np.ndarray,
    mask: np.ndarray,
    degradation: Degradation,
    rng: np.random.Generator | None = None,
    subsampled: bool = True,
) -> np.ndarray:
    """Degrade the masked pixels of an image as a degradation says.

    Args:
        image: (h, w, 1 or 3) uint8.
        mask: (h, w, 1) bool.
        degradation: what to do; `none` alone does nothing.
        rng: where noise comes from; a fixed seed if it is None.
        subsampled: JPEG after it is 4:2:0, otherwise 4:4:4.

    Raises:
        ValueError: for `unknown`, for block grids that begin elsewhere than at a region's corner or
            at an offset, and for an array that is a crop of the image.
    """
    kind = degradation.kind
    if kind == 'unknown' or not all(degradation.edges):
        raise ValueError(f'degradation: got {degradation}, expected one that can be applied')
    if kind == 'pix':
        image = _pixelated(image, mask, degradation)
    elif kind == 'blur':
        image = blur(image, mask, degradation.sigma)
    elif degradation.kernel is not None:
        image = convolve(image, mask, degradation.kernel.values)
    elif kind == 'noise':
        image = noise(image, mask, rng or np.random.default_rng(0), degradation.sigma)
    return jpeg(image, degradation.jpeg, subsampled) if degradation.jpeg else image.copy()


def _pixelated(image: np.ndarray, mask: np.ndarray, degradation: Degradation) -> np.ndarray:
    if degradation.anchor == ('start', 'start'):
        return pixelate(image, mask, degradation.block, degradation.pool)
    if degradation.anchor == ('offset', 'offset'):
        return pixelate_grid(image, mask, degradation.block, degradation.pool, degradation.offset)
    raise ValueError(f'degradation: got blocks from {degradation.anchor}, expected from a corner')


def _cells(image: np.ndarray, rows: np.ndarray, columns: np.ndarray, pool: str) -> np.ndarray:
    """Return the colours (rows, columns, c) of blocks that begin there and cover the image."""
    heights, widths = np.diff(rows, append=image.shape[0]), np.diff(columns, append=image.shape[1])
    if pool == 'mean':
        sums = np.add.reduceat(
            np.add.reduceat(image.astype(np.int64), rows, axis=0), columns, axis=1
        )
        return rounded(sums / (heights[:, None, None] * widths[None, :, None]))
    # the middle pixel of an odd block; the mean of the middle two (by direction) of an even one
    first_y, last_y = rows + (heights - 1) // 2, rows + heights // 2
    first_x, last_x = columns + (widths - 1) // 2, columns + widths // 2
    middles = [image[np.ix_(y, x)] for y in (first_y, last_y) for x in (first_x, last_x)]
    return rounded(np.asarray(np.sum(middles, axis=0, dtype=np.int64)) / 4)


def pixelate(
    image: np.ndarray, mask: np.ndarray, block: int = 5, pool: str = 'centre'
) -> np.ndarray:
    """Pixelize each connected region in a grid that starts at the corner of its bounding box.

    Args:
        image: (h, w, c) uint8.
        mask: (h, w, 1) bool.
        block: side of the squares in pixels, >= 1. The last ones of a row or column are cut at the
            bounding box.
        pool: `mean` gives a square its mean colour (the paper's text), `centre` the colour of its
            middle pixel, or of the middle four where the side is even (what the release's resize
            amounts to; less is left of the image, so restoring it is harder).

    Raises:
        ValueError: unknown pool, or block < 1.
    """
    _check_blocks(block, pool)
    result = image.copy()
    labels, boxes = regions(mask[..., 0])
    for label, (top, left, bottom, right) in enumerate(boxes, start=1):
        box = image[top:bottom, left:right]
        rows, columns = (np.arange(0, side, block) for side in box.shape[:2])
        colours = _cells(box, rows, columns, pool)
        blocks = np.repeat(np.repeat(colours, block, axis=0), block, axis=1)
        inside = labels[top:bottom, left:right, None] == label
        target = result[top:bottom, left:right]
        target[...] = np.where(inside, blocks[: box.shape[0], : box.shape[1]], target)
    return result


def _check_blocks(block: int, pool: str) -> None:
    if pool not in POOLS:
        raise ValueError(f'pixelization: pool is {pool!r}, expected mean or centre')
    if block < 1:
        raise ValueError(f'pixelization: block is {block}, expected at least 1 pixel')


def pixelate_grid(
    image: np.ndarray, mask: np.ndarray, block: int, pool: str, offset: Sequence[int]
) -> np.ndarray:
    """Pixelize as `pixelate`, but in whole blocks of a grid over the image.

    `offset` is the (row, column) of a block's corner. Blocks are cut at the image's edge alone.
    """
    _check_blocks(block, pool)
    low = [place % block for place in offset]
    rows, columns = (
        np.unique([0, *range(place, side, block)]) for place, side in zip(low, image.shape)
    )
    cells = _cells(image, rows, columns, pool)
    heights, widths = (
        np.diff(rows, append=image.shape[0]),
        np.diff(columns, append=image.shape[1]),
    )
    return np.where(mask, np.repeat(np.repeat(cells, heights, axis=0), widths, axis=1), image)


def gaussian(values: np.ndarray, sigma: float) -> np.ndarray:
    """Blur an array (h, w) or (h, w, c) by a Gaussian that is cut at REACH sigma.

    The array is mirrored at its sides (REFLECT_101). Nothing is rounded.
    """
    size = 2 * int(np.ceil(REACH * sigma)) + 1
    blurred = cv2.GaussianBlur(
        values, (size, size), float(sigma), borderType=cv2.BORDER_REFLECT_101
    )
    return blurred.reshape(values.shape)  # OpenCV drops a single channel


def blur(image: np.ndarray, mask: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Blur by `gaussian`, which sees the region's surroundings; sigma in pixels."""
    if sigma <= 0:
        raise ValueError(f'blur: sigma is {sigma}, expected more than 0 pixels')
    return np.where(mask, rounded(gaussian(image.astype(np.float32), sigma)), image)


def convolve(image: np.ndarray, mask: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve with a kernel (h, w) of odd sides; surroundings and edges as in `gaussian`."""
    turned = np.ascontiguousarray(kernel[::-1, ::-1])  # OpenCV correlates
    blurred = cv2.filter2D(image.astype(np.float64), -1, turned, borderType=cv2.BORDER_REFLECT_101)
    return np.where(mask, rounded(blurred).reshape(image.shape), image)


def noise(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, sigma: float = 7.07
) -> np.ndarray:
    """Add normal noise, independent by pixel and channel; sigma on the scale of 0 to 255."""
    if sigma < 0:
        raise ValueError(f'noise: sigma is {sigma}, expected 0 or more grey levels')
    return np.where(mask, rounded(image + rng.normal(0.0, sigma, image.shape)), image)


def jpeg(image: np.ndarray, quality: int = 95, subsampled: bool = True) -> np.ndarray:
    """Compress the image once as JPEG, 4:2:0 or, not `subsampled`, 4:4:4."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    if not subsampled:
        settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    if image.shape[2] == 1:
        data = cv2.imencode('.jpg', image, settings[:2])[1]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))[..., None]
    data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)[1]
    return cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
