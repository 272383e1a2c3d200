"""JPEG files that Pillow does not decode: those of 12 bits, and those coded arithmetically.

imagecodecs decodes the pixels. Pillow reads what the file says about them.
"""

import importlib.util
import io
from contextlib import suppress

import numpy as np
from PIL import Image

from hmaca_arch.files.jpeg_markers import ARITHMETIC, EOI, frame_of, segments, with_markers
from hmaca_arch.files.jpeg_scans import MISSING, with_longer_scans
from hmaca_arch.files.opening import check_pixels, open_image
from hmaca_arch.messages import how_to_install

MOST = 4095  # of a pixel of 12 bits


def rarity(data: bytes) -> str | None:
    """Name the kind of a JPEG that Pillow does not decode; None for every other file."""
    with suppress(ValueError):
        if data[:2] == b'\xff\xd8':
            frame = frame_of(data)
            if frame.bits == 12:
                return 'a JPEG of 12 bits'
            if frame.marker in ARITHMETIC:
                return 'a JPEG that is coded arithmetically'
    return None


def decode_rare_jpeg(
    data: bytes, name: str, max_pixels: int
) -> tuple[np.ndarray, Image.Image, list[str]]:
    """Decode a JPEG that has a `rarity`.

    Returns:
        (h, w, 1 or 3) uint8, or uint16 of 12 bits scaled to 16; as stored. An image of other pixels
        with the same metadata. What is not as in the file, a sentence each.

    Raises:
        ValueError: it is too large, CMYK or damaged, or imagecodecs is not there.
    """
    frame, kind = frame_of(data), rarity(data)
    check_pixels(frame.width, frame.height, max_pixels)
    channels = len(frame.components)
    if channels not in (1, 3):
        raise ValueError(f'{kind}, with {channels} channels (CMYK has 4); convert it to PNG first')
    if importlib.util.find_spec('imagecodecs') is None:
        raise ValueError(f'{kind} needs imagecodecs: {how_to_install("jpeg")}')
    if list(segments(data))[-1].marker != EOI:
        raise ValueError('the file is cut short')
    import imagecodecs

    pixels = imagecodecs.jpeg8_decode(data).reshape(frame.height, frame.width, channels)
    if frame.marker not in ARITHMETIC:  # whose coded pixels may end early
        more = imagecodecs.jpeg8_decode(with_longer_scans(data))
        if not np.array_equal(more.reshape(pixels.shape), pixels):
            raise ValueError(MISSING)
    tiny = io.BytesIO()
    Image.new('L' if channels == 1 else 'RGB', (8, 8)).save(tiny, 'JPEG')
    stand_in = open_image(with_markers(tiny.getvalue(), data), name)
    if frame.bits == 8:
        return pixels, stand_in, []
    scaled = (pixels.astype(np.uint32) * 65535 + MOST // 2) // MOST
    return scaled.astype(np.uint16), stand_in, [f'{kind}, written with 16']
