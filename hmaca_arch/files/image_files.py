"""Image files with everything that has to survive a restoration: depth, alpha, profile, EXIF, XMP.

PNG and TIFF are written by this project, all other formats by Pillow. WebP and HEIC are written
without loss, unless a quality is asked for; JPEG and AVIF with loss. What a format cannot hold is
refused if it is pixels, and said if it is something else.
"""

import io
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.formats import BY_ENDING, FORMATS
from hmaca_arch.files.gif import as_palette
from hmaca_arch.files.images import MAX_PIXELS, StoredImage, decode
from hmaca_arch.files.metadata import EXIF_MARK, upright_exif, upright_xmp
from hmaca_arch.files.opening import need_heic
from hmaca_arch.files.png import HEADER, Chunk, write_png
from hmaca_arch.files.png import chunks_of_metadata as png_metadata
from hmaca_arch.files.reading import read_file
from hmaca_arch.files.tiff import write_tiff
from hmaca_arch.messages import reason_of

QUALITY = 95  # of JPEG and AVIF
ROWS = 256  # that are compared at once
# Pillow's settings. exact: colours under transparent pixels as well.
WITHOUT_LOSS: dict[str, dict[str, Any]] = {
    'bmp': {},
    'webp': {'lossless': True, 'exact': True},
    'heic': {'quality': -1, 'chroma': 444, 'matrix_coefficients': 0},
}
WITH_LOSS: dict[str, dict[str, Any]] = {'jpg': {'subsampling': 0}, 'avif': {'subsampling': '4:4:4'}}
MARK = Chunk(b'tEXt', b'hmaca\0restored')  # tells an earlier output from an image of that name
DEEP = ('png', 'tif')  # formats of 16 bits
GRAY = ('png', 'tif', 'jpg', 'bmp', 'gif')
ALPHA = ('png', 'tif', 'webp', 'gif', 'avif', 'heic')
LARGEST_SIDE = {'jpg': 65500, 'webp': 16383, 'gif': 65535}


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> StoredImage:
    """Read an image; its EXIF and XMP say that it is upright.

    Raises:
        ValueError: it cannot be read, is damaged or of a kind that is not supported; in one line
            that starts with the path.
    """
    return image_of(read_file(path), str(path), max_pixels)


def image_of(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> StoredImage:
    """Decode an image; see `read_image`."""
    found = decode(data, name, convert=True, max_pixels=max_pixels)
    kind = {
        'P': ['a palette image, written with full colours'],
        '1': ['a 1-bit image, written as 8-bit gray'],
    }
    exif = upright_exif(found.exif)
    damaged = ['its EXIF block is damaged and left out'] if found.exif and not exif else []
    return found._replace(
        exif=exif,
        notes=[*kind.get(found.mode, []), *found.notes, *damaged],
        xmp=upright_xmp(found.xmp),
    )


def format_of(path: Path) -> str:
    """Return the format that a file's ending names, a key of FORMATS.

    Raises:
        ValueError: it is not known.
    """
    ending = path.suffix.lower()
    if ending not in BY_ENDING:
        known = ', '.join(one.endings[0] for one in FORMATS.values())
        raise ValueError(
            f'{path}: cannot write {ending or "a file without ending"}; expected {known}'
        )
    return BY_ENDING[ending]


def is_lossy(path: Path, quality: int | None = None) -> bool:
    """Tell whether a file with that name is written with loss."""
    kind = BY_ENDING.get(path.suffix.lower())
    return kind in ('jpg', 'avif') or (quality is not None and kind in ('webp', 'heic'))


def check_output(path: Path, pixels: np.ndarray | None = None) -> None:
    """Refuse a file whose format is not known, or cannot hold the pixels.

    Raises:
        ValueError: it is so.
    """
    kind = format_of(path)
    if pixels is None:
        return
    height, width, channels = pixels.shape
    png, tif = path.with_suffix('.png').name, path.with_suffix('.tif').name
    if pixels.dtype.kind == 'f' and kind != 'tif':
        raise ValueError(f'{path}: floating point is written as TIFF only; choose {tif}')
    if pixels.dtype == np.uint16 and kind not in DEEP:
        raise ValueError(f'{path}: 16 bits are written as PNG and TIFF only; choose {png}')
    if channels == 2 and kind == 'tif' and pixels.dtype != np.uint8:
        raise ValueError(f'{path}: deep gray with alpha is written as PNG only; choose {png}')
    name = FORMATS[kind].pillow
    if channels < 3 and kind not in GRAY:
        raise ValueError(f'{path}: {name} has no grayscale; choose {png}')
    if channels in (2, 4) and kind not in ALPHA:
        raise ValueError(f'{path}: {name} has no alpha channel; choose {png}')
    if kind in LARGEST_SIDE and max(height, width) > LARGEST_SIDE[kind]:
        raise ValueError(
            f'{path}: {name} holds at most {LARGEST_SIDE[kind]} pixels a side, '
            f'the image is {width}x{height}; choose {png}'
        )


def losses(path: Path, stored: StoredImage) -> list[str]:
    """Say what a file with that name does not keep besides pixels, in at most one sentence."""
    kind = format_of(path)
    keeps = FORMATS[kind].keeps
    given = {'EXIF': stored.exif, 'ICC profile': stored.icc, 'XMP': stored.xmp}
    lost = [name for name, value in given.items() if value and name not in keeps]
    if stored.dpi and 'dpi' not in keeps:
        lost.append('resolution')
    lost += stored.texts
    if kind != 'png':
        lost += sorted({f'{chunk.kind.decode()} chunk' for chunk in stored.chunks})
    return [f'not kept in {path.name}: {", ".join(lost)}'] if lost else []


def write_image(path: Path, stored: StoredImage, quality: int | None = None) -> None:
    """Write an image, whole or not at all, in the format of the file's ending.

    Args:
        path: where to.
        stored: what.
        quality: of lossy formats, 1 to 100; None: without loss where the format can, else QUALITY.

    Raises:
        OSError, ValueError: it cannot be written.
    """
    check_output(path, stored.pixels)
    kind = format_of(path)
    try:
        write_atomically(path, lambda file: _write(file, kind, marked(stored), quality))
    except Exception as error:  # of a damaged EXIF block Pillow raises almost anything
        if not stored.exif or isinstance(error, (ValueError, OSError)):
            raise
        raise ValueError(
            f'{path}: the EXIF block is damaged and {FORMATS[kind].pillow} cannot hold it '
            f'({reason_of(error)}); choose {path.with_suffix(".png").name}'
        ) from None


def encode(ending: str, stored: StoredImage, quality: int | None = None) -> bytes:
    """Return the bytes of a file with that ending, such as `.png`."""
    buffer = io.BytesIO()
    _write(buffer, BY_ENDING[ending], stored, quality)
    return buffer.getvalue()


def marked(stored: StoredImage) -> StoredImage:
    """Let a PNG of it tell that it is an output; see `is_own_output`."""
    return stored._replace(chunks=[MARK, *(chunk for chunk in stored.chunks if chunk != MARK)])


def png_chunks(stored: StoredImage) -> list[Chunk]:
    """Return what stands before the pixels of a PNG that is written here."""
    return [*stored.chunks, *png_metadata(stored.icc, stored.exif, stored.xmp, stored.dpi)]


def is_own_output(path: Path) -> bool:
    """Tell whether a file is a PNG that `write_image` made."""
    mark = MARK.packed()
    try:
        with open(path, 'rb') as file:
            return file.read(HEADER + len(mark))[HEADER:] == mark
    except OSError:
        return False


def _write(file: BinaryIO, kind: str, stored: StoredImage, quality: int | None) -> None:
    pixels, exif, icc, xmp = stored.pixels, stored.exif, stored.icc, stored.xmp
    if kind == 'png':
        write_png(file, pixels, png_chunks(stored))
    elif kind == 'tif':
        write_tiff(file, pixels, exif, icc, xmp, stored.dpi)
    elif kind == 'gif':
        as_palette(pixels).save(file, FORMATS[kind].pillow, optimize=False)
    else:
        _write_by_pillow(file, kind, stored, quality)


def _write_by_pillow(file: BinaryIO, kind: str, stored: StoredImage, quality: int | None) -> None:
    settings: dict[str, Any] = WITHOUT_LOSS.get(kind, {})
    if quality is not None or kind not in WITHOUT_LOSS:
        settings = {'quality': quality or QUALITY, **WITH_LOSS.get(kind, {})}
    if kind == 'heic':
        need_heic()
    keeps = FORMATS[kind].keeps
    values = {
        'exif': ('EXIF', stored.exif),
        'icc_profile': ('ICC profile', stored.icc),
        'xmp': ('XMP', stored.xmp),
        'dpi': ('dpi', stored.dpi),
    }
    more = {key: value for key, (name, value) in values.items() if value and name in keeps}
    if kind == 'jpg' and stored.exif:  # a block of WebP comes without the mark
        more['exif'] = EXIF_MARK + stored.exif.removeprefix(EXIF_MARK)
    pixels = stored.pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(file, FORMATS[kind].pillow, **settings, **more)


def largest_change(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> int | float:
    """Return the largest difference of any channel, alpha included, where the mask (h, w) is 0.

    It is in the image's own units. A NaN that stays one is no difference, any other is infinite.
    """
    largest: int | float = 0
    for top in range(0, len(before), ROWS):
        rows = slice(top, top + ROWS)
        changed = (before[rows] != after[rows]) & (mask[rows] == 0)[..., None]
        if before.dtype.kind == 'f':
            changed &= ~(np.isnan(before[rows]) & np.isnan(after[rows]))
        if changed.any():
            kind = np.float64 if before.dtype.kind == 'f' else np.int64
            apart = np.abs(before[rows][changed].astype(kind) - after[rows][changed]).max().item()
            largest = max(largest, math.inf if math.isnan(apart) else apart)
    return largest
