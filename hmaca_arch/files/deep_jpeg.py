"""JPEG files of 12 bits: imagecodecs decodes the pixels, Pillow reads what is said about them."""

import importlib.util
import io
from contextlib import suppress

import numpy as np
from PIL import Image

from hmaca_arch.files.jpeg_markers import EOI, frame_of, segments, with_markers
from hmaca_arch.files.opening import check_pixels, open_image
from hmaca_arch.messages import how_to_install

NOTE = 'a JPEG of 12 bits, written with 16'
MOST = 4095  # of a pixel


def is_deep_jpeg(data: bytes) -> bool:
    """Tell whether a file is a JPEG of 12 bits."""
    with suppress(ValueError):
        return data[:2] == b'\xff\xd8' and frame_of(data).bits == 12
    return False


def decode_deep_jpeg(data: bytes, name: str, max_pixels: int) -> tuple[np.ndarray, Image.Image]:
    """Decode a JPEG of 12 bits.

    Returns:
        (h, w, 1 or 3) uint16, scaled to 16 bits, as stored; and an image of other pixels with the
        same metadata.

    Raises:
        ValueError: it is too large, CMYK or damaged, or imagecodecs is not there.
    """
    frame = frame_of(data)
    check_pixels(frame.width, frame.height, max_pixels)
    channels = len(frame.components)
    if channels not in (1, 3):
        raise ValueError(f'a JPEG of 12 bits and {channels} channels; expected gray or colours')
    if importlib.util.find_spec('imagecodecs') is None:
        raise ValueError(f'a JPEG of 12 bits needs imagecodecs: {how_to_install("jpeg")}')
    if list(segments(data))[-1].marker != EOI:
        raise ValueError('the file is cut short')
    import imagecodecs

    pixels = imagecodecs.jpeg8_decode(data).reshape(frame.height, frame.width, channels)
    tiny = io.BytesIO()
    Image.new('L' if channels == 1 else 'RGB', (8, 8)).save(tiny, 'JPEG')
    scaled = (pixels.astype(np.uint32) * 65535 + MOST // 2) // MOST
    return scaled.astype(np.uint16), open_image(with_markers(tiny.getvalue(), data), name)
