"""The quality of a JPEG file, from its quantisation tables or from its pixels."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import JpegImagePlugin
from scipy import fft

# Annex K of the JPEG standard, luminance, row by row; the Independent JPEG Group's library scales
# it by quality.
LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
DCT = fft.dct(np.eye(8, dtype=np.float32), axis=0, norm='ortho')
FEWEST_VALUES = 60  # coefficients that are not 0 and coarse enough to tell
# mean distance to the nearest step, over that of values that know no steps; chosen on training
# images
CLEAR = 0.55
COARSE = 3  # steps below this are lost in the rounding of the pixels


def table_of(quality: int) -> np.ndarray:
    """Return the 8x8 luminance table of a quality from 1 to 100."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((LUMINANCE * scale + 50) // 100, 1, 255)


def quality_of_tables(tables: Mapping[int, Sequence[int]]) -> int:
    """Return the quality, 1 to 100, whose luminance table is nearest to a file's first one.

    Tables are as Pillow's `image.quantization` has them.
    """
    # Sorted: older versions of Pillow give them in zigzag order.
    own = np.sort(np.maximum(tables[0], 1).astype(float))  # a damaged table may hold 0
    distances = [
        np.abs(np.log(own) - np.log(np.sort(table_of(quality), axis=None))).sum()
        for quality in range(1, 101)
    ]
    return 1 + int(np.argmin(distances))


def quality_of_file(data: bytes) -> int | None:
    """Read the quality of a JPEG file, 1 to 100, from its tables; None for another format."""
    try:
        with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as image:
            tables = getattr(image, 'quantization', None)
    except SyntaxError:  # Pillow's word for another format
        return None
    return quality_of_tables(tables) if tables else None


def luma(image: np.ndarray) -> np.ndarray:
    """Return the brightness (h, w) float32, as JPEG defines it, of (h, w, 1 or 3) RGB."""
    values = image.astype(np.float32)
    return (
        values[..., 0]
        if image.shape[2] == 1
        else values @ np.array([0.299, 0.587, 0.114], np.float32)
    )


def in_blocks(array: np.ndarray) -> np.ndarray:
    """Split (..., h, w) into its whole 8x8 blocks: (..., h // 8, w // 8, 8, 8)."""
    height, width = (side // 8 for side in array.shape[-2:])
    whole = array[..., : 8 * height, : 8 * width]
    return whole.reshape(*array.shape[:-2], height, 8, width, 8).swapaxes(-3, -2)


def coefficients(values: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return the DCT (n, 8, 8) of the whole 8x8 blocks that lie in the area (h, w) bool.

    Blocks are counted from the first pixel.
    """
    blocks = in_blocks(values)[in_blocks(area).all(axis=(2, 3))]
    return DCT @ (blocks - 128) @ DCT.T


def quality_of_pixels(image: np.ndarray, area: np.ndarray) -> int:
    """Return the quality of the JPEG that the pixels of an area come from.

    It is found by the steps that their coefficients keep to. It is conservative: fine steps (a
    quality of about 93 and more), another grid than that of the image's corner, and small or flat
    areas count as no JPEG.

    Args:
        image: (h, w, 1 or 3) of 0 to 255; its first pixel begins a block.
        area: (h, w) bool.

    Returns:
        1 to 100, or 0 for none.
    """
    found = coefficients(luma(image), area)
    best, at = CLEAR, 0
    for quality in range(1, 101):
        table = table_of(quality)
        steps = np.broadcast_to(table, found.shape)
        used = (steps >= COARSE) & (np.abs(found) > steps / 2)
        used[:, 0, 0] = False
        if used.sum() < FEWEST_VALUES:
            continue
        ratio = found[used] / steps[used]
        distance = float(np.abs(ratio - np.round(ratio)).mean() * 4)  # 1 where values know no steps
        if distance < best:
            best, at = distance, quality
    return at
