"""TIFF files: what can be read of them, and a writer for every depth."""

import io
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import TiffImagePlugin

from hmaca_arch.files.depth import peak_of
from hmaca_arch.files.formats import TIFF_MARKS
from hmaca_arch.files.metadata import exif_tags

Tags = TiffImagePlugin.ImageFileDirectory_v2

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, ORIENTATION, SAMPLES, ROWS, COUNTS, PLANAR = 273, 274, 277, 278, 279, 284
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
EXTRA, FORMAT = 338, 339
XMP, ICC, DNG, SUBFILE = 700, 34675, 50706, 254
REDUCED = 1  # bit of SUBFILE
CANNOT_DECODE = 'it is damaged, or compressed in a way that OpenCV does not read'
MOST_COPIES = 16  # before the full page
UNSIGNED, FLOAT = 1, 3  # values of FORMAT
UNKNOWN, ASSOCIATED = 0, 1  # values of EXTRA: no alpha; colours are multiplied by alpha
STRIP = 1 << 20  # bytes
AT_ONCE = 256  # rows
LARGEST = 2**32 - 2**16  # bytes that offsets of 32 bits can tell apart, less the directory


def read_tags(file: BinaryIO) -> Tags:
    """Return the first directory of a TIFF file.

    Raises:
        What Pillow raises for damaged files, which is almost anything.
    """
    file.seek(0)
    tags = Tags(file.read(8))
    file.seek(tags.next)
    tags.load(file)
    return tags


def from_full_page(data: bytes) -> bytes:
    """Return a TIFF file that begins at its first page that is no reduced copy of another.

    Such a copy, a thumbnail, may come first. The file's header then points to the next page.
    """
    with suppress(Exception):  # damaged: whoever decodes it says how
        file, start = io.BytesIO(data), 0
        tags = read_tags(file)
        for _ in range(MOST_COPIES):  # pages may form a circle
            if not tags.get(SUBFILE, 0) & REDUCED or not tags.next:
                break
            start = tags.next
            file.seek(start)
            tags.load(file)
        if start:
            order = '<' if data[:2] == b'II' else '>'
            return data[:4] + struct.pack(order + 'I', start) + data[8:]
    return data


def check_tags(tags: Tags) -> None:
    """Raise a ValueError for a TIFF file whose numbers the decoders would take for others."""
    if DNG in tags:
        raise ValueError('it is a raw file of a camera (DNG); develop it first')
    if set(tags.get(FORMAT, (UNSIGNED,))) != {UNSIGNED}:
        raise ValueError(
            'signed and floating point numbers are not supported; '
            'convert it to unsigned 8 or 16 bits'
        )
    check_pieces(tags)
    deep = max(tags.get(BITS, (8,))) == 16
    if deep and (tags.get(PHOTOMETRIC) not in (1, 2) or tags.get(PLANAR, 1) != 1):
        raise ValueError(
            'a TIFF file of 16 bits has to be RGB or gray with black as 0, '
            'without separate planes; convert it to PNG'
        )


def check_pieces(tags: Tags) -> None:
    """Raise an OSError if a TIFF file names fewer strips or tiles than its pixels need."""
    height, width = tags.get(HEIGHT, 0), tags.get(WIDTH, 0)
    planes = tags.get(SAMPLES, 1) if tags.get(PLANAR, 1) == 2 else 1
    if TILE_OFFSETS in tags:
        down, across = tags.get(TILE_HEIGHT, 0), tags.get(TILE_WIDTH, 0)
        names = (TILE_OFFSETS, TILE_COUNTS)
    else:
        down, across, names = tags.get(ROWS, height), width, (OFFSETS, COUNTS)
    if not down or not across:
        return  # whoever decodes it says what is wrong
    needed = planes * -(-height // down) * -(-width // across)
    if any(name in tags and len(tags[name]) < needed for name in names):
        raise OSError('the file is cut short: it holds fewer rows than it claims')


def further_pages(data: bytes, tags: Tags) -> Iterator[Tags]:
    """Yield the directories of a TIFF file behind its first one, at most MOST_COPIES."""
    file, page = io.BytesIO(data), tags
    for _ in range(MOST_COPIES):
        if not page.next:
            return
        file.seek(page.next)
        page = Tags(data[:8])
        page.load(file)
        yield page


def is_float(data: bytes) -> bool:
    """Tell whether a file is a TIFF of floating point numbers."""
    if data[:4] not in TIFF_MARKS:
        return False
    try:
        return set(read_tags(io.BytesIO(data)).get(FORMAT, ())) == {FLOAT}
    except Exception:  # damaged: whoever decodes it says how
        return False


def decode_float(data: bytes) -> np.ndarray:
    """Decode a TIFF of 32-bit floating point numbers -> (h, w, 1 to 4) float32, upright.

    Raises:
        ValueError, OSError: it is damaged, or stored in a way that is not supported.
    """
    tags = read_tags(io.BytesIO(data))
    bits, samples = set(tags.get(BITS, (1,))), tags.get(SAMPLES, 1)
    if bits != {32} or not 1 <= samples <= 4 or tags.get(PLANAR, 1) != 1:
        raise ValueError(
            f'floating point of {max(bits)} bits, {samples} channels; '
            'expected 32 bits, 1 to 4 channels, without separate planes'
        )
    places = zip(
        tags.get(OFFSETS) or tags.get(TILE_OFFSETS) or (),
        tags.get(COUNTS) or tags.get(TILE_COUNTS) or (),
    )
    if any(start + count > len(data) for start, count in places):
        raise OSError('the file is cut short')
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.float32:
        raise OSError(CANNOT_DECODE)
    pixels = swap_red_and_blue(np.atleast_3d(pixels))
    return with_alpha_alone(pixels, tags)


def swap_red_and_blue(pixels: np.ndarray) -> np.ndarray:
    """Swap the channels of (h, w, c) BGR(A) in place, without a second image in memory."""
    if pixels.shape[2] >= 3:
        for top in range(0, len(pixels), AT_ONCE):
            strip = pixels[top : top + AT_ONCE]
            strip[..., [0, 2]] = strip[..., [2, 0]]
    return pixels


def with_alpha_alone(pixels: np.ndarray, tags: Tags) -> np.ndarray:
    """Return pixels (h, w, c) with alpha not associated, and without a channel that is no alpha.

    Photoshop stores selections in such channels.
    """
    extra = tags.get(EXTRA, ())[:1] if pixels.shape[2] in (2, 4) else ()
    if extra == (ASSOCIATED,):
        return straight(pixels)
    return np.ascontiguousarray(pixels[..., :-1]) if extra == (UNKNOWN,) else pixels


def left_out(tags: Tags, channels: int) -> list[str]:
    """Say so if a file has more channels than are read."""
    more = tags.get(SAMPLES, 1) - channels if tags.get(PHOTOMETRIC) in (0, 1, 2) else 0
    return [f'left out: {more} of its channels, neither colour nor alpha'] if more > 0 else []


def straight(pixels: np.ndarray) -> np.ndarray:
    """Undo associated alpha: colours that were multiplied by it, (h, w, 2 or 4).

    Where all is transparent the colours are black.
    """
    peak = peak_of(pixels.dtype)
    alpha = pixels[..., -1:].astype(np.float64)
    colours = np.divide(
        pixels[..., :-1] * float(peak), alpha, out=np.zeros(pixels[..., :-1].shape), where=alpha > 0
    )
    if pixels.dtype.kind == 'u':
        colours = np.rint(colours.clip(0, peak))
    return np.dstack([colours.astype(pixels.dtype), pixels[..., -1:]])


def write_tiff(
    file: BinaryIO,
    pixels: np.ndarray,
    exif: bytes | None,
    icc: bytes | None,
    xmp: bytes | None,
    dpi: tuple[float, float] | None,
) -> None:
    """Write an uncompressed TIFF.

    Args:
        file: open for writing, empty.
        pixels: (h, w, 1 to 4) uint8, uint16 or float32: gray, gray and alpha, RGB or RGBA.
        exif: block to keep, or None.
        icc: profile to keep, or None.
        xmp: packet to keep, or None.
        dpi: dots per inch, across and down.

    Raises:
        ValueError: it would be larger than a TIFF can be.
    """
    height, width, channels = pixels.shape
    row = width * channels * pixels.itemsize
    if row * height > LARGEST:
        raise ValueError(f'{row * height} bytes are too many for a TIFF file; choose PNG')
    tags, rows = Tags(), max(1, STRIP // row)
    content: dict[int, Any] = exif_tags(exif)
    starts = range(0, height, rows)
    content |= {
        WIDTH: width,
        HEIGHT: height,
        BITS: (8 * pixels.itemsize,) * channels,
        COMPRESSION: 1,
        PHOTOMETRIC: 1 if channels < 3 else 2,
        SAMPLES: channels,
        PLANAR: 1,
        ROWS: rows,
        OFFSETS: tuple(row * start for start in starts),  # moved behind the directory by Pillow
        COUNTS: tuple(row * min(rows, height - start) for start in starts),
    }
    if channels in (2, 4):
        content[EXTRA] = 2  # alpha, not associated
    if pixels.dtype.kind == 'f':
        content[FORMAT] = (FLOAT,) * channels
    if dpi:
        content |= {0x0128: 2, 0x011A: dpi[0], 0x011B: dpi[1]}
    content |= {tag: value for tag, value in ((ICC, icc), (XMP, xmp)) if value}
    tags.tagtype[OFFSETS] = 4  # 32 bits
    for tag, value in content.items():
        tags[tag] = value
    file.seek(tags.save(file))
    for start in starts:
        file.write(pixels[start : start + rows].astype(pixels.dtype.newbyteorder('<')).tobytes())
