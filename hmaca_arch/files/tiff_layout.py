"""How a TIFF file stores its pixels: where its strips or tiles are, and how they are encoded."""

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from hmaca_arch.files.formats import TIFF_MARKS
from hmaca_arch.files.tiff import (
    BITS,
    COMPRESSION,
    COUNTS,
    DNG,
    EXTRA,
    FLOAT,
    FORMAT,
    HEIGHT,
    LARGEST,
    OFFSETS,
    ORIENTATION,
    PHOTOMETRIC,
    PLANAR,
    ROWS,
    SAMPLES,
    SUBFILE,
    TILE_COUNTS,
    TILE_HEIGHT,
    TILE_OFFSETS,
    TILE_WIDTH,
    UNKNOWN,
    UNSIGNED,
    WIDTH,
    Tags,
    read_tags,
)

FILL_ORDER, PREDICTOR = 266, 317
RAW, DIFFERENCES = 1, 2  # values of COMPRESSION and PREDICTOR
# Of COMPRESSION, with Pillow's names. All compress bytes without knowing what they mean.
CODECS = {5: 'tiff_lzw', 8: 'tiff_adobe_deflate', 32946: 'tiff_adobe_deflate', 32773: 'packbits'}
EXTRAS: dict[int, list[tuple]] = {1: [()], 3: [()], 4: [(2,), (UNKNOWN,)]}  # by channels
DTYPES = {(8, UNSIGNED): 'u1', (16, UNSIGNED): 'u2', (32, FLOAT): 'f4'}
LARGEST_PIECE = 1 << 26  # bytes; larger strips are no use
MOST_ROWS = 1 << 20  # that are replaced one by one

Bounds = tuple[int, int, int, int]  # top, left, bottom, right


class Layout(NamedTuple):
    """How a TIFF file stores its pixels.

    Attributes:
        path: the file.
        shape: (h, w, c).
        dtype: of a pixel, in the file's order of bytes.
        order: of bytes: 'little' or 'big'.
        compression: a key of CODECS, or RAW.
        differences: whether rows hold the differences of neighbours.
        rows: of a piece: a strip or a tile; 1 where nothing is compressed in strips.
        columns: of a piece.
        tiled: whether pieces at the image's edge are as large as the others.
        starts: of the pieces in the file, row by row.
        counts: of their bytes.
        tables: where the file says so, of starts and counts: position and bytes of a number.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    order: Literal['little', 'big']
    compression: int
    differences: bool
    rows: int
    columns: int
    tiled: bool
    starts: np.ndarray
    counts: np.ndarray
    tables: tuple[tuple[int, int], tuple[int, int]]

    @property
    def across(self) -> int:
        """The number of pieces beside each other."""
        return -(-self.shape[1] // self.columns)

    def bounds(self, piece: int) -> Bounds:
        """Return the rows and columns of a piece; those of a tile may end outside the image."""
        top, left = piece // self.across * self.rows, piece % self.across * self.columns
        bottom = top + self.rows
        return top, left, bottom if self.tiled else min(bottom, self.shape[0]), left + self.columns

    def pieces(self, bounds: Bounds) -> Iterator[int]:
        """Yield the pieces that hold pixels within bounds."""
        top, left, bottom, right = bounds
        for row in range(top // self.rows, -(-bottom // self.rows)):
            for column in range(left // self.columns, -(-right // self.columns)):
                yield row * self.across + column


def layout_of(path: Path, most: int) -> Layout | None:
    """Return how a TIFF stores its pixels; None if it has to be read whole, or is no such file.

    Args:
        path: the file.
        most: pixels of an image.
    """
    if not path.is_file():  # a pipe might never end
        return None
    try:
        with open(path, 'rb') as file:
            if file.read(4) not in TIFF_MARKS:
                return None
            file.seek(0)
            tags = read_tags(file)
            if not _is_plain(tags, most):
                return None
            layout = _layout(path, file, tags)
            return layout if _holds(layout, file.seek(0, io.SEEK_END)) else None
    except Exception:  # Pillow raises almost anything; whoever reads all of it says what is wrong
        return None


def _holds(layout: Layout, size: int) -> bool:
    """Tell whether all pieces are in a file of that size, apart, and can be written again."""
    ends = layout.starts + layout.counts
    order = np.argsort(layout.starts)
    apart = (ends[order][:-1] <= layout.starts[order][1:]).all()
    number = -(-layout.shape[0] // layout.rows) * layout.across
    if not len(layout.starts) == len(layout.counts) == number or not apart or ends.max() > size:
        return False
    longest = 3 * _piece_bytes(layout) // 2 + 1024  # of what compression may make longer
    start, count = (256**length - 1 for _, length in layout.tables)
    return layout.compression == RAW or (
        longest <= count and size + number * longest <= min(start, LARGEST)
    )


def _is_plain(tags: Tags, most: int) -> bool:
    """Tell whether a file holds one upright image of gray, RGB or RGBA, as it is."""
    samples, bits = tags.get(SAMPLES, 1), set(tags.get(BITS, ()))
    kind = set(tags.get(FORMAT, (UNSIGNED,)))
    compression, predictor = tags.get(COMPRESSION, RAW), tags.get(PREDICTOR, 1)
    differences = compression != RAW and kind == {UNSIGNED} and predictor == DIFFERENCES
    return (
        not tags.next
        and DNG not in tags
        and not tags.get(SUBFILE, 0)
        and tags.get(ORIENTATION, 1) == tags.get(PLANAR, 1) == tags.get(FILL_ORDER, 1) == 1
        and tags[PHOTOMETRIC] == (1 if samples == 1 else 2)
        and tuple(tags.get(EXTRA, ())) in EXTRAS.get(samples, [])
        and len(bits) == len(kind) == 1
        and (min(bits), min(kind)) in DTYPES
        and (compression == RAW or compression in CODECS)
        and (predictor == 1 or differences)
        and 0 < tags[WIDTH] * tags[HEIGHT] <= most
    )


def _layout(path: Path, file: BinaryIO, tags: Tags) -> Layout:
    """Return a plain file's layout.

    Raises:
        What is raised for damaged files, which is almost anything.
    """
    order = '<' if tags.prefix == b'II' else '>'
    height, width, samples = tags[HEIGHT], tags[WIDTH], tags.get(SAMPLES, 1)
    kind = DTYPES[tags[BITS][0], tags.get(FORMAT, (UNSIGNED,))[0]]
    tiled = TILE_OFFSETS in tags
    starts_tag, counts_tag = (TILE_OFFSETS, TILE_COUNTS) if tiled else (OFFSETS, COUNTS)
    rows = tags[TILE_HEIGHT] if tiled else min(tags.get(ROWS, height), height)
    layout = Layout(
        path,
        (height, width, samples),
        np.dtype(order + kind),
        'little' if order == '<' else 'big',
        tags.get(COMPRESSION, RAW),
        tags.get(PREDICTOR, 1) == DIFFERENCES,
        rows,
        tags[TILE_WIDTH] if tiled else width,
        tiled,
        np.array(tags[starts_tag], np.int64),
        np.array(tags[counts_tag], np.int64),
        (_table(file, order, starts_tag), _table(file, order, counts_tag)),
    )
    if layout.compression == RAW and not tiled:
        return _by_rows(layout)
    if layout.compression == RAW and (layout.counts != _piece_bytes(layout)).any():
        raise ValueError('tiles are not as long as their pixels')
    if _piece_bytes(layout) > LARGEST_PIECE:
        raise ValueError('pieces are too large')
    return layout


def _by_rows(layout: Layout) -> Layout:
    """Return the layout of strips that are not compressed, row by row."""
    height, row = layout.shape[0], _piece_bytes(layout) // layout.rows
    if height > MOST_ROWS:
        raise ValueError('there are too many rows')
    first = np.arange(0, height, layout.rows)
    if (layout.counts != np.minimum(layout.rows, height - first) * row).any():
        raise ValueError('strips are not as long as their pixels')
    number = np.arange(height)
    starts = layout.starts[number // layout.rows] + number % layout.rows * row
    return layout._replace(rows=1, starts=starts, counts=np.full(height, row))


def _piece_bytes(layout: Layout) -> int:
    return layout.rows * layout.columns * layout.shape[2] * layout.dtype.itemsize


def _table(file: BinaryIO, order: str, tag: int) -> tuple[int, int]:
    """Return where the numbers of a tag are, and how many bytes each has."""
    file.seek(4)
    (directory,) = struct.unpack(order + 'I', file.read(4))
    file.seek(directory)
    (entries,) = struct.unpack(order + 'H', file.read(2))
    for number in range(entries):
        found, kind, count = struct.unpack(order + 'HHI', file.read(8))
        value = file.read(4)
        if found == tag:
            size = {3: 2, 4: 4}[kind]
            at = directory + 2 + 12 * number + 8
            return (
                at if count * size <= len(value) else struct.unpack(order + 'I', value)[0]
            ), size
    raise KeyError(tag)
