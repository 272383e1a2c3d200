"""Decode a PNG of 16 bits, or a large one, strip by strip.

OpenCV decodes a whole one into two images, Pillow into one of four bytes a pixel. A strip of the
filtered rows, behind the row above them, is a PNG file of its own, which OpenCV decodes. So the
image is in memory once.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from hmaca_arch.files.png import COLOUR_TYPES, HEADER, PNG, Chunk, chunks, places

STRIP = 1 << 22  # bytes that are decoded at once
LARGE = 1 << 25  # pixels of an image of 8 bits that is decoded so
LONGEST = 10**6  # pixels a side of what libpng decodes
FRAMES = (b'acTL', b'fcTL', b'fdAT')  # of an animation
FILTERS = 5  # how many there are
CHANNELS = {colour: channels for channels, colour in COLOUR_TYPES.items()}


def is_in_strips(data: bytes) -> bool:
    """Tell whether a sound PNG is decoded here: no animation, and its rows follow each other."""
    if not data.startswith(PNG) or len(data) < HEADER or data[28] or data[25] not in CHANNELS:
        return False
    (width, height), depth = size_of_png(data), data[24]
    fits = 0 < width <= LONGEST and height
    if not fits or not (depth == 16 or (depth == 8 and width * height >= LARGE)):
        return False
    return not any(kind in FRAMES for kind, _, _ in places(data))


def size_of_png(data: bytes) -> tuple[int, int]:
    """Return width and height, as a PNG claims them."""
    width, height = struct.unpack_from('>II', data, 16)
    return width, height


def without_pixels(data: bytes) -> bytes:
    """Return a PNG of one pixel with all else that one says which `is_in_strips`."""
    header = struct.pack('>II', 1, 1) + data[24 : HEADER - 4]
    pixel = zlib.compress(bytes(1 + CHANNELS[data[25]] * data[24] // 8))
    kept = [chunk.packed() for chunk in chunks(data) if chunk.kind not in (b'IHDR', b'IEND')]
    first, last = Chunk(b'IHDR', header).packed(), Chunk(b'IDAT', pixel).packed()
    return b''.join([PNG, first, *kept, last, Chunk(b'IEND', b'').packed()])


def decode_strips(data: bytes) -> np.ndarray:
    """Decode the pixels of a sound PNG that `is_in_strips`, without tRNS.

    Returns:
        (h, w, c) uint8 or uint16: gray, gray and alpha, RGB or RGBA.

    Raises:
        ValueError, OSError: it is damaged.
    """
    result = np.empty(shape_of_png(data), np.uint16 if data[24] == 16 else np.uint8)
    top = 0
    for strip in decoded_strips(data[:HEADER], _contents(data), STRIP):
        result[top : top + len(strip)] = strip
        top += len(strip)
    return result


def shape_of_png(data: bytes) -> tuple[int, int, int]:
    """Return the shape (h, w, c) of the pixels of a PNG that `is_in_strips`."""
    width, height = size_of_png(data)
    return height, width, CHANNELS[data[25]]


def decoded_strips(
    header: bytes, contents: Iterable[bytes | memoryview], size: int
) -> Iterator[np.ndarray]:
    """Decode a PNG strip by strip.

    Args:
        header: the file's first bytes, up to the end of IHDR.
        contents: parts of the compressed pixels, in order.
        size: about how many bytes are decoded at once.

    Yields:
        (rows, w, c) uint8 or uint16, as in `decode_strips`.

    Raises:
        ValueError, OSError: it is damaged.
    """
    height, width, channels = shape_of_png(header)
    stored = np.dtype('>u2' if header[24] == 16 else 'u1')
    row = 1 + stored.itemsize * width * channels
    rows = min(max(1, size // row), LONGEST // 2)
    above = bytes(row)
    for filtered in _strips(contents, row, rows, height):
        count = len(filtered) // row
        if max(filtered[::row]) >= FILTERS:
            raise OSError('a row has an unknown filter, the file is damaged')
        strip = _decoded(above + filtered, width, count + 1, header[24:26])[1:]
        yield strip
        above = b'\0' + strip[-1].astype(stored).tobytes()


def _strips(
    contents: Iterable[bytes | memoryview], row: int, rows: int, height: int
) -> Iterator[bytes]:
    """Yield the filtered rows of an image, some at a time."""
    unpacker, waiting, left = zlib.decompressobj(), bytearray(), height
    for content in contents:
        rest: bytes | memoryview = content
        while left:  # also where no input is left: the unpacker may still hold rows
            wanted = min(rows, left) * row
            waiting += unpacker.decompress(rest, wanted - len(waiting))
            rest = unpacker.unconsumed_tail
            if len(waiting) < wanted:
                break
            left -= wanted // row
            yield bytes(waiting)
            waiting.clear()
    if left:
        raise OSError('the file is cut short')


def _contents(data: bytes) -> Iterator[memoryview]:
    """Yield the parts of the compressed pixels."""
    view = memoryview(data)
    for kind, start, end in places(data):
        if kind == b'IDAT':
            yield view[start:end]


def _decoded(filtered: bytes, width: int, height: int, kind: bytes) -> np.ndarray:
    """Decode filtered rows -> (h, w, c), colours as RGB; kind: depth and colour type."""
    header = struct.pack('>II', width, height) + kind + bytes(3)
    packed = zlib.compress(filtered, 0)
    file = [Chunk(b'IHDR', header), Chunk(b'IDAT', packed), Chunk(b'IEND', b'')]
    buffer = np.frombuffer(PNG + b''.join(chunk.packed() for chunk in file), np.uint8)
    pixels = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
    if pixels is None or 8 * pixels.itemsize != kind[0]:
        raise ValueError('OpenCV cannot decode it')
    # OpenCV has BGR, and makes four channels of gray and alpha
    order = {1: [0], 2: [0, -1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[CHANNELS[kind[1]]]
    return np.atleast_3d(pixels)[..., order]
