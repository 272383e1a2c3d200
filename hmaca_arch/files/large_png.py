"""Change a region of a large PNG that is read and written some rows at a time.

A PNG is one compressed stream, so all of it is decoded and compressed again. But only the rows of
the region stay in memory.
"""

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from hmaca_arch.files.image_files import image_of, marked, png_chunks
from hmaca_arch.files.images import StoredImage
from hmaca_arch.files.png import HEADER, PNG, Chunk, check_png, transparent_colour, write_png_strips
from hmaca_arch.files.png_strips import (
    LARGE,
    STRIP,
    decoded_strips,
    is_in_strips,
    shape_of_png,
    size_of_png,
    without_pixels,
)
from hmaca_arch.files.reading import open_file
from hmaca_arch.files.tiff_layout import Bounds
from hmaca_arch.messages import reason_of

AT_ONCE = 1 << 20  # bytes of compressed pixels that are read at once
MOST_SAID = 1 << 22  # bytes of all chunks but those of pixels


class LargePng(NamedTuple):
    """A sound PNG whose pixels stay on disk.

    Attributes:
        path: the file.
        said: the same file with a single pixel.
        image: what it says besides its pixels; these are 0, and take no memory until set.
        header: its first bytes, up to the end of IHDR.
    """

    path: Path
    said: bytes
    image: StoredImage
    header: bytes

    def strips(self, size: int) -> Iterator[np.ndarray]:
        """Decode the pixels (rows, w, c) from the top, about so many bytes at once.

        Raises:
            OSError, ValueError: they are damaged; in one line that starts with the path.
        """
        try:
            with open(self.path, 'rb') as file:
                yield from decoded_strips(self.header, _compressed(file), size)
        except Exception as error:  # zlib.error, cv2.error
            reason = reason_of(error, 80)
            raise ValueError(f'{self.path}: cannot be read as an image: {reason}') from None


def large_png(path: Path, most: int, most_said: int = MOST_SAID) -> LargePng | None:
    """Open a large PNG; None if it has to be read whole, or is no such file.

    Args:
        path: the file.
        most: pixels of an image.
        most_said: bytes of all chunks but those of pixels.
    """
    try:
        with open_file(path) as file:
            header = file.read(HEADER)
            if not _is_plain(header) or not LARGE <= math.prod(size_of_png(header)) <= most:
                return None
            said = _without_compressed(file, most_said)
            if said is None or not is_in_strips(said) or check_png(said, lenient=True)[1]:
                return None
            if transparent_colour(said) is not None:
                return None
            alone = without_pixels(said)
            image = image_of(alone, str(path))
            pixels = np.zeros(shape_of_png(said), image.pixels.dtype)
            png = LargePng(path, alone, image._replace(pixels=pixels), said[:HEADER])
            return None if image.turned else png
    except Exception:  # whoever reads all of it says what is wrong
        return None


def _is_plain(header: bytes) -> bool:
    """Tell whether a file begins as a PNG does, with the one way of compressing that there is."""
    starts = header[: len(PNG)] == PNG and header[8:16] == b'\0\0\0\x0dIHDR'
    return len(header) == HEADER and starts and header[26:28] == bytes(2)


def read_rows(png: LargePng, bounds: Bounds, pixels: np.ndarray) -> None:
    """Read what is within bounds into (h, w, c) pixels of the whole image.

    All rows are decoded, so that damage anywhere is found.

    Raises:
        OSError, ValueError: see `LargePng.strips`.
    """
    top, left, bottom, right = bounds
    first = 0
    for strip in png.strips(STRIP):
        rows = slice(max(top - first, 0), max(bottom - first, 0))
        found = strip[rows, left:right]
        start = max(top, first)
        pixels[start : start + len(found), left:right] = found
        first += len(strip)


def write_rows(png: LargePng, file: BinaryIO, bounds: Bounds, pixels: np.ndarray) -> None:
    """Write a copy of a file, with other pixels within bounds.

    Args:
        png: the file that is copied.
        file: open for writing, empty.
        bounds: of the pixels that may differ.
        pixels: (h, w, c) of these.

    Raises:
        OSError, ValueError: see `LargePng.strips`.
    """
    shape, dtype = png.image.pixels.shape, png.image.pixels.dtype
    strips = _changed(png.strips(STRIP), bounds, pixels)
    write_png_strips(file, shape, dtype, strips, png_chunks(marked(png.image)))


def _changed(
    strips: Iterator[np.ndarray], bounds: Bounds, pixels: np.ndarray
) -> Iterator[np.ndarray]:
    """Yield strips with other pixels within bounds."""
    top, left, bottom, right = bounds
    first = 0
    for strip in strips:
        start, stop = max(top, first), min(bottom, first + len(strip))
        if start < stop:
            strip = strip.copy()
            strip[start - first : stop - first, left:right] = pixels[start - top : stop - top]
        first += len(strip)
        yield strip


def _compressed(file: BinaryIO) -> Iterator[bytes]:
    """Yield the parts of a PNG's compressed pixels."""
    for kind, length in _walk(file):
        while kind == b'IDAT' and length:
            content = file.read(min(length, AT_ONCE))
            if not content:
                return
            length -= len(content)
            yield content


def _walk(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield the kind and length of each chunk, with the file at its content."""
    position, kind = len(PNG), b''
    file.seek(position)
    while kind != b'IEND' and len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], 'big'), head[4:]
        yield kind, length
        position += 12 + length
        file.seek(position)


def _without_compressed(file: BinaryIO, most: int) -> bytes | None:
    """Return a PNG without the chunks of its pixels, at most so many bytes.

    None: there are more, or a chunk does not fit its checksum.
    """
    said, left = [PNG], most
    for kind, length in _walk(file):
        if kind == b'IDAT':
            if not _is_sound(file, length):
                return None
            continue
        left -= length + 12
        if left < 0:
            return None
        chunk = Chunk(kind, file.read(length)).packed()
        if file.read(4) != chunk[-4:]:
            return None
        said.append(chunk)
    return b''.join(said)


def _is_sound(file: BinaryIO, length: int) -> bool:
    """Tell whether a chunk of compressed pixels is whole and fits its checksum."""
    checksum = zlib.crc32(b'IDAT')
    while length:
        content = file.read(min(length, AT_ONCE))
        if not content:
            return False
        checksum = zlib.crc32(content, checksum)
        length -= len(content)
    return file.read(4) == checksum.to_bytes(4, 'big')
