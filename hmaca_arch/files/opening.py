"""Open image files with Pillow: only formats that are meant, only as large as wanted."""

import contextlib
import ctypes
import importlib.util
import io
import logging
import threading
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError, _imaging, features

from hmaca_arch.files.formats import BIG_TIFF_MARKS, CONVERT, TIFF_MARKS, hint_for
from hmaca_arch.files.jpeg_markers import frame_of
from hmaca_arch.files.png import PNG
from hmaca_arch.files.tiff import check_tags, read_tags
from hmaca_arch.messages import how_to_install

# What is tried on a file's content. Others that Pillow knows take any bytes for an image (TGA),
# lose depth silently (PPM, JPEG 2000) or run a program (EPS).
FORMATS = ('PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF', 'GIF')
HEIC_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1')
AVIF_BRANDS = (b'avif', b'avis')
MAX_PIXELS = 2**28  # of an image, unless more are allowed
UNLIMITED = 2**62

# What Pillow, its libtiff and tifffile find odd in a file is an error or a note here. Where libtiff
# is linked into Pillow (Windows), it cannot be reached.
for _name in ('PIL', 'tifffile'):
    logging.getLogger(_name).addHandler(logging.NullHandler())
with contextlib.suppress(OSError, AttributeError):
    _library = ctypes.CDLL(_imaging.__file__)
    for _set in (_library.TIFFSetErrorHandler, _library.TIFFSetWarningHandler):
        _set.restype = ctypes.c_void_p
        _set(None)

_lock = threading.Lock()
_inside = 0  # of `_without_pillows_limit`
_limit: int | None = None  # Pillow's own, meanwhile


def open_image(
    data: bytes, name: str, lossy_depth: bool = False, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Open an image file; its pixels are not decoded yet.

    Args:
        data: the file's content.
        name: of the file. Raw files of cameras are told from TIFF by their endings too.
        lossy_depth: open AVIF and HEIC too, which are read with 8 bits.
        max_pixels: more are refused.

    Raises:
        ValueError: it is of no format that is read, or too large; without the name.
        What Pillow raises for damaged files, which is almost anything.
    """
    hint = hint_for(data, name)
    if hint is not None:
        raise ValueError(hint)
    formats = (*FORMATS, *_formats_with_loss(data)) if lossy_depth else FORMATS
    try:
        with _without_pillows_limit():
            image = Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        raise ValueError(_why_not(data, lossy_depth)) from None
    check_pixels(image.width, image.height, max_pixels)
    return image


def _why_not(data: bytes, lossy_depth: bool) -> str:
    """Say why Pillow does not know a file; see `open_image`."""
    if not data:
        return 'the file is empty'
    if data[:4] in (*TIFF_MARKS, *BIG_TIFF_MARKS):
        damaged = 'it is damaged, or a kind of TIFF that is not supported; convert it to PNG'
        try:
            check_tags(read_tags(io.BytesIO(data)))
        except ValueError:
            raise
        except Exception:  # what Pillow raises for damaged files
            return damaged
        return damaged
    if data.startswith(PNG):
        return 'it is damaged, or a kind of PNG that there is not'
    with contextlib.suppress(ValueError):
        if (bits := frame_of(data).bits) != 8:
            return f'it is a JPEG of {bits} bits, which is not read here; {CONVERT}'
    return 'its content is none of ' + ', '.join(readable() if lossy_depth else FORMATS)


def check_pixels(width: int, height: int, most: int) -> None:
    """Raise a ValueError for an image with too many pixels."""
    if width * height > most:
        raise ValueError(
            f'{width}x{height} pixels are more than {most}; basicsr restore --max-pixels '
            'allows more'
        )


def load_image(image: Image.Image) -> None:
    """Decode the pixels of an opened image. Of TIFF Pillow looks at the size here once more."""
    with _without_pillows_limit():
        image.load()


@contextlib.contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Switch off Pillow's own limit of pixels, which is a setting of all the process.

    It comes back when the last of several threads leaves.
    """
    global _inside, _limit
    with _lock:
        if not _inside:
            _limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                Image.MAX_IMAGE_PIXELS = _limit


def _formats_with_loss(data: bytes) -> tuple[str, ...]:
    """Return the format of AVIF or HEIC data, once what decodes it is there.

    Raises:
        ValueError: it is not there.
    """
    brand = data[8:12] if data[4:8] == b'ftyp' else b''
    if brand in AVIF_BRANDS:
        if not features.check('avif'):
            raise ValueError('it is AVIF, which needs Pillow 11.3 or newer')
        return ('AVIF',)
    if brand in HEIC_BRANDS:
        need_heic()
        return ('HEIF',)
    return ()


def readable() -> list[str]:
    """Name the formats that are read here."""
    names = list(FORMATS)
    if features.check('avif'):
        names.append('AVIF')
    if importlib.util.find_spec('pillow_heif') is not None:
        names.append('HEIC')
    return names


def need_heic() -> None:
    """Make Pillow read and write HEIC.

    Raises:
        ValueError: pillow-heif is not installed.
    """
    if importlib.util.find_spec('pillow_heif') is None:
        raise ValueError(f'HEIC needs pillow-heif: {how_to_install("heic")}')
    from pillow_heif import register_heif_opener

    register_heif_opener()
