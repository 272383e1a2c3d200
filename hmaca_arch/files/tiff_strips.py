"""Change a region of a TIFF file, and let everything else be the same bytes.

A TIFF stores strips or tiles of pixels, each compressed for itself. Only those that hold a changed
pixel are encoded again, as the file does it, and added at the end. Rows that are not compressed
are replaced in place. So memory and time follow the region, and every tag is kept.
"""

import io
import shutil
from typing import BinaryIO

import numpy as np
from PIL import Image

from hmaca_arch.files.tiff import (
    BITS,
    COMPRESSION,
    COUNTS,
    HEIGHT,
    OFFSETS,
    PHOTOMETRIC,
    ROWS,
    SAMPLES,
    WIDTH,
    Tags,
    read_tags,
)
from hmaca_arch.files.tiff_layout import CODECS, RAW, Bounds, Layout
from hmaca_arch.messages import reason_of


def read_part(layout: Layout, bounds: Bounds, pixels: np.ndarray) -> None:
    """Read the pieces that hold pixels within bounds into (h, w, c) pixels of the whole image.

    Raises:
        OSError, ValueError: it cannot be read; in one line that starts with the path.
    """
    height, width, _ = layout.shape
    with open(layout.path, 'rb') as file:
        for piece in layout.pieces(bounds):
            top, left, bottom, right = layout.bounds(piece)
            found = _decoded(layout, file, piece)[: height - top, : width - left]
            pixels[top:bottom, left:right] = found


def write_part(layout: Layout, file: BinaryIO, bounds: Bounds, pixels: np.ndarray) -> None:
    """Write a copy of a file, with other pixels within bounds.

    Args:
        layout: of the file that is copied.
        file: open for writing, empty.
        bounds: of the pixels that may differ.
        pixels: (h, w, c) of these.

    Raises:
        OSError, ValueError: see `read_part`.
    """
    with open(layout.path, 'rb') as source:
        shutil.copyfileobj(source, file)
        for piece in layout.pieces(bounds):
            found = _decoded(layout, source, piece)
            top, left, bottom, right = _common(layout.bounds(piece), bounds)
            first_row, first_column, *_ = layout.bounds(piece)
            part = found[top - first_row : bottom - first_row, left - first_column :]
            part = part[:, : right - left]
            new = pixels[top - bounds[0] : bottom - bounds[0], left - bounds[1] : right - bounds[1]]
            if part.tobytes() != new.tobytes():  # NaN is not equal to itself
                part[:] = new
                _replace(layout, file, piece, found)


def _common(one: Bounds, other: Bounds) -> Bounds:
    top, left, bottom, right = zip(one, other)
    return max(top), max(left), min(bottom), min(right)


def _replace(layout: Layout, file: BinaryIO, piece: int, pixels: np.ndarray) -> None:
    """Write one piece, in place or at the end."""
    data = pixels.astype(layout.dtype)
    if layout.compression == RAW:
        file.seek(int(layout.starts[piece]))
        file.write(data.tobytes())
        return
    if layout.differences:
        data[:, 1:] -= data[:, :-1].copy()
    encoded = encode_bytes(data.tobytes(), len(data), layout.compression)
    start = file.seek(0, io.SEEK_END)
    start += file.write(bytes(start % 2))  # TIFF wants even positions
    file.write(encoded)
    for (position, size), value in zip(layout.tables, (start, len(encoded))):
        file.seek(position + piece * size)
        file.write(value.to_bytes(size, layout.order))


def _decoded(layout: Layout, file: BinaryIO, piece: int) -> np.ndarray:
    """Read the pixels of a piece (h, w, c).

    Raises:
        ValueError: it is damaged.
    """
    top, _, bottom, _ = layout.bounds(piece)
    shape = (bottom - top, layout.columns, layout.shape[2])
    file.seek(int(layout.starts[piece]))
    data = file.read(int(layout.counts[piece]))
    try:
        if layout.compression != RAW:
            row = layout.columns * layout.shape[2] * layout.dtype.itemsize
            data = decode_bytes(data, row, shape[0], layout.compression)
        found = np.frombuffer(data, layout.dtype).reshape(shape)
    except Exception as error:  # the decoders raise almost anything
        raise ValueError(
            f'{layout.path}: cannot be read as an image: its strip or tile {piece} is damaged '
            f'({reason_of(error, 80)})'
        ) from None
    found = found.astype(layout.dtype.newbyteorder('='))
    return np.add.accumulate(found, axis=1, dtype=found.dtype) if layout.differences else found


def encode_bytes(data: bytes, rows: int, compression: int) -> bytes:
    """Compress the rows of a strip or tile, as a TIFF of one strip that Pillow writes."""
    file = io.BytesIO()
    image = Image.frombytes('L', (len(data) // rows, rows), data)
    image.save(file, 'TIFF', compression=CODECS[compression], strip_size=len(data))
    tags = read_tags(file)
    (start,), (count,) = tags[OFFSETS], tags[COUNTS]
    return file.getvalue()[start : start + count]


def decode_bytes(data: bytes, row: int, rows: int, compression: int) -> bytes:
    """Undo `encode_bytes`, for rows of so many bytes."""
    tags = Tags()
    content = {
        WIDTH: row,
        HEIGHT: rows,
        BITS: 8,
        COMPRESSION: compression,
        PHOTOMETRIC: 1,
        OFFSETS: 0,  # moved behind the directory by Pillow
        SAMPLES: 1,
        ROWS: rows,
        COUNTS: len(data),
    }
    for tag, value in content.items():
        tags[tag] = value
    file = io.BytesIO()
    file.seek(tags.save(file))
    file.write(data)
    with Image.open(file) as image:
        return image.tobytes()
