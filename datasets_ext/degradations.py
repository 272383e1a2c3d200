"""Degrade the pixels of a region: pixelization, Gaussian blur, Gaussian noise.

There are two protocols. `release` is what the authors' published code does, on an image of twice
the working size. The region is cut out and degraded by itself, the image goes through JPEG, and
image and ground truth are halved by an antialiased bilinear resize. lq then differs from gt outside
the region too. `clean` works at the working size, without loss. Outside the region lq equals gt bit
for bit.

Images are (h, w, 3) RGB or (h, w, 1) gray uint8, masks (h, w, 1) bool. Each function returns a new
image of the same shape and type, and leaves what lies outside the mask as it is.
"""

import itertools
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torchvision.transforms.functional import resize as torchvision_resize

from datasets_ext.masks import components

RELEASE_CELLS = 4  # a region becomes 4x4 coloured cells
RELEASE_BLUR = (11, 2.0)  # kernel size, sigma
RELEASE_NOISE = 20.0
POOLS = ('mean', 'centre')


def _cut_and_paste(
    image: np.ndarray, mask: np.ndarray, change: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Apply `change` to the bounding box of each connected region.

    The box is cut out, and the result is kept inside the region only.
    """
    result = image.copy()
    for top, left, height, width, inside in components(mask):
        box = result[top : top + height, left : left + width]
        cut = np.ascontiguousarray(image[top : top + height, left : left + width])
        box[...] = np.where(inside, change(cut), box)
    return result


def _round(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _cells(image: np.ndarray, rows: np.ndarray, columns: np.ndarray, pool: str) -> np.ndarray:
    """Return the colours (rows, columns, 3) of blocks that begin at these rows and columns.

    The blocks cover the image.
    """
    heights, widths = np.diff(rows, append=image.shape[0]), np.diff(columns, append=image.shape[1])
    if pool == 'mean':
        sums = np.add.reduceat(
            np.add.reduceat(image.astype(np.int64), rows, axis=0), columns, axis=1
        )
        return _round(sums / (heights[:, None, None] * widths[None, :, None]))
    # the middle pixel of an odd block; the mean of the middle two (by direction) of an even one
    ys = rows + (heights - 1) // 2, rows + heights // 2
    xs = columns + (widths - 1) // 2, columns + widths // 2
    four = [image[np.ix_(y, x)] for y, x in itertools.product(ys, xs)]
    return _round(np.asarray(np.sum(four, axis=0, dtype=np.int64)) / 4)


def _pixelate_box(cut: np.ndarray, block: int, pool: str) -> np.ndarray:
    height, width = cut.shape[:2]
    colours = _cells(cut, np.arange(0, height, block), np.arange(0, width, block), pool)
    return np.repeat(np.repeat(colours, block, axis=0), block, axis=1)[:height, :width]


def pixelate(
    image: np.ndarray, mask: np.ndarray, block: int = 5, pool: str = 'centre'
) -> np.ndarray:
    """Pixelate as protocol `clean`: a grid begins at each connected region's bounding box.

    Args:
        image: see above.
        mask: see above.
        block: side of the squares in pixels, >= 1. The last ones of a row or column are cut at the
            bounding box.
        pool: `mean` gives a square its mean colour (the paper's text), `centre` the colour of its
            middle pixel, or of the middle four if the side is even. `centre` is what the release's
            resize amounts to. It keeps less of the image, so restoring it is harder.

    Raises:
        ValueError: unknown pool, or block < 1.
    """
    if pool not in POOLS:
        raise ValueError(f'pixelization: pool is {pool!r}, expected mean or centre')
    if block < 1:
        raise ValueError(f'pixelization: block is {block}, expected at least 1 pixel')
    return _cut_and_paste(image, mask, lambda cut: _pixelate_box(cut, int(block), pool))


def pixelate_grid(
    image: np.ndarray, mask: np.ndarray, block: int, pool: str, offset: Sequence[int]
) -> np.ndarray:
    """As `pixelate`, but in whole blocks of a grid over the image.

    `offset` is the (row, column) of a block's corner. Blocks are cut at the image's edge alone.
    """
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


def blur(image: np.ndarray, mask: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Blur as protocol `clean`: a Gaussian that sees the region's surroundings.

    It is cut at 4 sigma and mirrored at the image's edge.
    """
    if sigma <= 0:
        raise ValueError(f'blur: sigma is {sigma}, expected more than 0 pixels')
    size = 2 * int(np.ceil(4 * sigma)) + 1
    blurred = cv2.GaussianBlur(
        image.astype(np.float32), (size, size), float(sigma), borderType=cv2.BORDER_REFLECT_101
    )
    return np.where(
        mask, _round(blurred).reshape(image.shape), image
    )  # OpenCV drops a single channel


def noise(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, sigma: float = 7.07
) -> np.ndarray:
    """Add noise as protocol `clean`: normal, independent by pixel and channel, in 8 bits.

    `sigma` is on the scale of 0 to 255.
    """
    if sigma < 0:
        raise ValueError(f'noise: sigma is {sigma}, expected 0 or more grey levels')
    return np.where(mask, _round(image + rng.normal(0.0, sigma, image.shape)), image)


def release_pixelate(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Pixelate as protocol `release`: down to 4x4 by INTER_LINEAR without antialiasing.

    So a cell is the mean of its middle 2x2 pixels only.
    """

    def change(cut: np.ndarray) -> np.ndarray:
        height, width = cut.shape[:2]
        cells = cv2.resize(
            cut,
            (min(width, RELEASE_CELLS), min(height, RELEASE_CELLS)),
            interpolation=cv2.INTER_LINEAR,
        )
        return cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST).reshape(
            cut.shape
        )

    return _cut_and_paste(image, mask, change)


def release_blur(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Protocol `release`: an 11x11 Gaussian that sees the cut-out region alone."""
    size, sigma = RELEASE_BLUR
    return _cut_and_paste(
        image, mask, lambda cut: cv2.GaussianBlur(cut, (size, size), sigma).reshape(cut.shape)
    )


def release_noise(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add noise as protocol `release`: sigma 20, clipped, then truncated to 8 bits.

    It is not rounded, so it is half a grey level darker on average.
    """
    noisy = np.clip(image + rng.normal(0.0, RELEASE_NOISE, image.shape), 0, 255).astype(np.uint8)
    return np.where(mask, noisy, image)


def jpeg(image: np.ndarray, quality: int = 95, subsampled: bool = True) -> np.ndarray:
    """Return the image after one round of JPEG, 4:2:0 or, not `subsampled`, 4:4:4."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    if not subsampled:
        settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    if image.shape[2] == 1:
        data = cv2.imencode('.jpg', image, settings[:2])[1]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))[..., None]
    data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)[1]
    return cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)


def release_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Halve as protocol `release`: torchvision's antialiased bilinear resize.

    It computes in floating point and rounds to 8 bits as torchvision saves images.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255
    resized = torchvision_resize(tensor, [height, width], antialias=True)
    return np.ascontiguousarray(
        resized.mul(255).add(0.5).clamp(0, 255).byte().numpy().transpose(1, 2, 0)
    )


def release_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a mask as protocol `release`: it marks every pixel that the region reaches.

    A 40x40 region becomes 21 or 22 pixels wide, as it begins at an odd or an even pixel. The
    release's own masks came from JPEG files. Nearest neighbour would mark 20x20 and leave a
    degraded rim outside the mask.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(mask[None, ..., 0], dtype=np.float32))
    return (
        torchvision_resize(tensor, [height, width], antialias=True).numpy().transpose(1, 2, 0) > 0
    )


def square_of(image: np.ndarray, side: int) -> np.ndarray:
    """Return the image's central square, resized to side x side by the mean over areas.

    For 256 to 128 that is the mean over 2x2 pixels.

    Raises:
        ValueError: the image is smaller than that. Enlarged images have no detail to restore.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    if short < side:
        raise ValueError(
            f'the image is {height}x{width} (height x width), and {side}x{side} is needed'
        )
    top, left = (height - short) // 2, (width - short) // 2
    square = np.ascontiguousarray(image[top : top + short, left : left + short])
    if short == side:
        return square
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA).reshape(
        side, side, image.shape[2]
    )
