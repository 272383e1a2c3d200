"""Get the pixels of an opened image: every depth, straight alpha, other colour spaces as RGB."""

import contextlib
import io

import cv2
import numpy as np
from PIL import Image, ImageCms

from hmaca_arch.files.png import PNG, transparent_colour, with_alpha_of
from hmaca_arch.files.png_strips import decode_strips, is_in_strips
from hmaca_arch.files.tiff import (
    BITS,
    CANNOT_DECODE,
    REDUCED,
    SUBFILE,
    swap_red_and_blue,
    with_alpha_alone,
)

PIXELS = 1 << 20  # that are converted at once
DEPTH_BOX = b'av1C'  # of AVIF
CONVERTED = {
    'CMYK': 'CMYK was converted to RGB',
    'LAB': 'CIELAB was converted to RGB (sRGB)',
    'YCbCr': 'YCbCr was converted to RGB',
}
SIMPLE = {'1': 'L', 'L': 'L', 'RGB': 'RGB', 'P': 'RGB'}


def is_deep(image: Image.Image, data: bytes) -> bool:
    """Tell whether a PNG or a TIFF has 16 bits."""
    if image.format == 'PNG':
        return data[24] == 16  # IHDR's bit depth
    return image.format == 'TIFF' and max(image.tag_v2.get(BITS, (8,))) == 16  # type: ignore[attr-defined]


def pixels_of(image: Image.Image, data: bytes, convert: bool) -> tuple[np.ndarray, list[str]]:
    """Return the pixels of an image that Pillow has loaded.

    Args:
        image: of 8 bits. Of 16 bits Pillow has decoded a part, which shows that a TIFF is whole.
        data: the file's content.
        convert: turn CMYK, CIELAB and YCbCr into RGB.

    Returns:
        (h, w, c) uint8 or uint16: gray, gray and alpha, RGB or RGBA; and what was done, a sentence
        each. A TIFF is upright.

    Raises:
        ValueError: the colour space is not supported.
    """
    if is_in_strips(data):
        return _with_transparency(decode_strips(data), data), []
    if is_deep(image, data):
        return _deep_pixels(image, data), []
    mode = image.mode
    if data.startswith(PNG) and mode in ('1', 'L'):  # Pillow mistakes a tRNS of few bits
        return _with_transparency(_as_array(image, 'L'), data), []
    if image.has_transparency_data:
        return _as_array(image, 'LA' if mode in ('1', 'L', 'LA', 'La') else 'RGBA'), []
    if mode in SIMPLE:
        return _as_array(image, SIMPLE[mode]), []
    if convert and mode in CONVERTED:
        return _as_array(_converted(image), 'RGB'), [CONVERTED[mode]]
    raise ValueError(
        f'images of mode {mode} are not supported; convert it to 8- or 16-bit RGB or grayscale'
    )


def _as_array(image: Image.Image, mode: str) -> np.ndarray:
    """Convert in strips: Pillow's own way needs the memory twice."""
    width, height = image.size
    result = np.empty((height, width, len(mode)), np.uint8)
    rows = max(1, PIXELS // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(height, top + rows)))
        strip = strip if strip.mode == mode else strip.convert(mode)
        result[top : top + rows] = np.atleast_3d(np.asarray(strip))
    return result


def _deep_pixels(image: Image.Image, data: bytes) -> np.ndarray:
    """Decode 16 bits by OpenCV; Pillow reduces colours to 8."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError(CANNOT_DECODE)
    pixels = swap_red_and_blue(np.atleast_3d(pixels))
    if data.startswith(PNG):
        gray_and_alpha = data[25] == 4  # IHDR's colour type
        if gray_and_alpha:  # OpenCV makes RGBA of it
            return np.ascontiguousarray(pixels[..., [0, -1]])
        return _with_transparency(pixels, data)
    return with_alpha_alone(pixels, image.tag_v2)  # type: ignore[attr-defined]


def _with_transparency(pixels: np.ndarray, data: bytes) -> np.ndarray:
    """Add the alpha channel that a PNG's tRNS stands for."""
    transparent = transparent_colour(data)
    return pixels if transparent is None else with_alpha_of(pixels, transparent)


def _converted(image: Image.Image) -> Image.Image:
    """Convert to RGB, by the file's profile if it has one that fits; CIELAB by its definition."""
    if image.mode != 'LAB':
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info.get('icc_profile') or b''))
            srgb = ImageCms.createProfile('sRGB')
            transform = ImageCms.buildTransform(profile, srgb, image.mode, 'RGB')
            return ImageCms.applyTransform(image, transform)  # type: ignore[return-value]
    return image.convert('RGB')


def depth_note(image: Image.Image, data: bytes) -> list[str]:
    """Say so if a file has more bits than are read."""
    bits = 8
    if image.format == 'HEIF':
        bits = int(image.info.get('bit_depth') or 8)
    elif image.format == 'AVIF' and (place := data.find(DEPTH_BOX)) >= 0:
        flags = data[place + len(DEPTH_BOX) + 2]
        bits = (12 if flags & 0x20 else 10) if flags & 0x40 else 8
    return [f'its {bits} bits were read as 8'] if bits > 8 else []


def page_count(image: Image.Image) -> int:
    """Count the images of a file, without previews.

    Previews are those of phones' JPEG (MPO) and HEIC, and reduced copies in a TIFF. Its first page
    is none (`from_full_page`).
    """
    if image.format in ('MPO', 'HEIF'):
        return 1
    count = getattr(image, 'n_frames', 1)
    if image.format != 'TIFF' or count == 1:
        return count

    def reduced(page: int) -> bool:
        image.seek(page)
        return bool(image.tag_v2.get(SUBFILE, 0) & REDUCED)  # type: ignore[attr-defined]

    return 1 + sum(not reduced(page) for page in range(1, count))
