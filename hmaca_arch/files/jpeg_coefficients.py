"""Read and write what a JPEG file stores: blocks of 8x8 quantized coefficients.

jpeglib does it, which has several libjpegs inside. Each of them holds all coefficients of a file
once more while it reads or writes. Of a large file, only one channel is taken from it at a time,
and the changed ones wait as gray JPEG files.
"""

import contextlib
import hashlib
import importlib.util
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hmaca_arch.files.jpeg_markers import (
    PROGRESSIVE,
    frame_of,
    joined,
    with_markers,
    without_markers,
)
from hmaca_arch.messages import how_to_install

# Libraries inside jpeglib. Only mozjpeg's writes a progressive file of coefficients.
READER, PROGRESSIVE_WRITER, OTHER_READER = 'turbo210', 'mozjpeg403', '9f'
CHANNELS = ('Y', 'Cb', 'Cr')  # jpeglib's names, whatever the channels are
LARGE = 10**9  # bytes of coefficients that are not held twice
BLOCK = 128  # bytes

_lock = threading.Lock()  # the library inside jpeglib is a setting of all the process


class Coefficients(NamedTuple):
    """What a JPEG file stores of its pixels.

    Attributes:
        channels: of each (rows, columns, 8, 8) int16, quantized; what is changed in one has to be
            assigned to its place.
        tables: of each channel the quantization table (8, 8).
        opened: jpeglib's image, which has the same arrays, unless it is large.
    """

    channels: 'list[np.ndarray] | Apart'
    tables: list[np.ndarray]
    opened: Any


class _Uncopied(np.ndarray):
    """An array of int16 that is not copied where jpeglib converts it to int16."""

    def astype(self, *args: Any, **more: Any) -> np.ndarray:  # type: ignore[override]
        """Convert, and copy only if the type is another."""
        return super().astype(*args, **{**more, 'copy': False})


class Apart:
    """The channels of a large file. Each is read where it is asked for: that takes longer."""

    def __init__(self, opened: Any, library: str) -> None:
        """Read nothing."""
        self._opened, self._library = opened, library
        self.changed: dict[int, bytes] = {}  # a gray JPEG file for each channel

    def __getitem__(self, number: int) -> np.ndarray:
        """Read a channel of the file.

        Raises:
            ValueError: it cannot be read.
        """
        self.load(number)
        name = CHANNELS[number]
        result = getattr(self._opened, name).view(_Uncopied)
        setattr(self._opened, name, NOTHING)
        return result

    def __setitem__(self, number: int, blocks: np.ndarray) -> None:
        """Put a changed channel away."""
        import jpeglib

        table = self._opened.qt[self._opened.quant_tbl_no[number]]
        with _with_library(READER) as path:
            gray = jpeglib.from_dct(Y=blocks, qt=table[None])
            gray.write_dct(path, flags=['+OPTIMIZE_CODING'])
            self.changed[number] = path.read_bytes()

    def load(self, number: int | None = None) -> None:
        """Let jpeglib read the tables and at most one channel."""
        opened = self._opened
        for other, name in enumerate(CHANNELS):
            setattr(opened, name, None if other == number else NOTHING)
        allocate = type(opened)._alloc_dct_component
        opened._alloc_dct_component = (  # libjpeg leaves out what has no place
            lambda other: allocate(opened, other) if other == number else None
        )
        try:
            with _with_library(self._library):
                _load(opened)
        finally:
            del opened._alloc_dct_component  # it holds the image, which would outlive its last use

    def write(self, path: Path, source: bytes) -> None:
        """Write a file of all channels, which were put away, with the library that is set."""
        import jpeglib

        opened = self._opened
        kept = Path(path.parent, 'gray.jpg')
        kept.write_bytes(self.changed[0])
        first = jpeglib.read_dct(kept)
        first.load()
        opened.content, opened.Cb, opened.Cr = joined(source, self.changed), None, None
        opened.Y, opened.load = first.Y.view(_Uncopied), lambda: None  # the others stay as they are
        opened.write_dct(path, flags=['+OPTIMIZE_CODING'])


NOTHING = np.zeros((0, 0, 8, 8), np.int16)


def missing() -> str | None:
    """Return the command that installs jpeglib; None if it is there."""
    return None if importlib.util.find_spec('jpeglib') else how_to_install('jpeg')


@contextlib.contextmanager
def _with_library(name: str) -> Iterator[Path]:
    """Let jpeglib use one of its libraries, and give it a place for a file."""
    import jpeglib  # an extra

    with tempfile.TemporaryDirectory(prefix='hmaca') as folder, _lock, jpeglib.version(name):
        yield Path(folder, 'image.jpg')


def read_coefficients(data: bytes, library: str = READER) -> Coefficients:
    """Read the coefficients and tables of a JPEG file.

    Raises:
        ValueError: it cannot be read.
    """
    import jpeglib

    with _with_library(library) as path:
        path.write_bytes(without_markers(data))
        try:
            opened = jpeglib.read_dct(path)
        except OSError as error:
            raise ValueError(f'libjpeg cannot read its blocks: {error}') from None
        names = CHANNELS[: len(opened.samp_factor)]
        can_skip = hasattr(opened, '_alloc_dct_component')  # a private name of jpeglib 1.0
        is_large = can_skip and len(names) > 1 and _size_of(opened) > LARGE
        if not is_large:
            _load(opened)
    channels: list[np.ndarray] | Apart
    if is_large:
        channels = Apart(opened, library)
        channels.load()
    else:
        for name in names:
            setattr(opened, name, getattr(opened, name).view(_Uncopied))
        channels = [getattr(opened, name) for name in names]
    tables = [opened.qt[number] for number in opened.quant_tbl_no]
    return Coefficients(channels, tables, opened)


def _size_of(opened: Any) -> int:
    """Return how many bytes the coefficients of an image have."""
    return BLOCK * sum(int(rows) * int(columns) for rows, columns in opened.block_dims)


def _load(opened: Any) -> None:
    try:
        opened.load()
    except OSError as error:
        raise ValueError(f'libjpeg cannot read its blocks: {error}') from None


def write_coefficients(found: Coefficients, source: bytes) -> bytes:
    """Return a JPEG file with these coefficients.

    Args:
        found: read from `source`, and changed.
        source: where all else is taken from.
    """
    library = PROGRESSIVE_WRITER if frame_of(source).marker == PROGRESSIVE else READER
    with _with_library(library) as path:
        if isinstance(found.channels, Apart):
            found.channels.write(path, source)
        else:
            found.opened.write_dct(path, flags=['+OPTIMIZE_CODING'])
        written = path.read_bytes()
    return with_markers(written, source)


def digest_of(
    found: Coefficients, apart_from: Sequence[np.ndarray] | None = None
) -> tuple[bytes, ...]:
    """Return a digest of each channel: two sets of a large file need too much memory.

    Args:
        found: the coefficients.
        apart_from: (rows, columns) bool for each channel: blocks that do not count.
    """
    areas = dict(enumerate(apart_from or ()))
    return tuple(
        digest_of_channel(found.channels[number], table, areas.get(number))
        for number, table in enumerate(found.tables)
    )


def digest_of_channel(
    blocks: np.ndarray, table: np.ndarray, apart_from: np.ndarray | None = None
) -> bytes:
    """Return a digest of a channel (rows, columns, 8, 8) and its quantization table (8, 8)."""
    area = np.zeros(blocks.shape[:2], bool) if apart_from is None else apart_from
    return digest([blocks, table[None]], [area, np.zeros((1, 8), bool)])


def digest(arrays: Sequence[np.ndarray], apart_from: Sequence[np.ndarray]) -> bytes:
    """Return a digest of what arrays (h, w, ...) hold outside of areas (h, w) bool.

    Of an array that has another shape than its area, only the shape counts.
    """
    made = hashlib.sha256()
    for array, area in zip(arrays, apart_from):
        made.update(str(array.shape).encode())
        if array.shape[:2] == area.shape:
            for values, left_out in zip(array, area):
                made.update(np.ascontiguousarray(values[~left_out]).tobytes())
    return made.digest()
