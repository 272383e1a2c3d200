"""Read and write what a JPEG file stores: blocks of 8x8 quantized coefficients.

jpeglib does it, which has several libjpegs inside. Each of them holds all coefficients of a file
once more while it reads or writes.
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

from hmaca_arch.files.jpeg_markers import PROGRESSIVE, frame_of, with_markers, without_markers
from hmaca_arch.messages import how_to_install

# Libraries inside jpeglib. Only mozjpeg's writes a progressive file of coefficients.
READER, PROGRESSIVE_WRITER, OTHER_READER = 'turbo210', 'mozjpeg403', '9f'
CHANNELS = ('Y', 'Cb', 'Cr')  # jpeglib's names, whatever the channels are

_lock = threading.Lock()  # the library inside jpeglib is a setting of all the process


class Coefficients(NamedTuple):
    """What a JPEG file stores of its pixels.

    Attributes:
        channels: of each (rows, columns, 8, 8) int16, quantized; may be changed in place.
        tables: of each channel the quantization table (8, 8).
        opened: jpeglib's image, which has the same arrays.
    """

    channels: list[np.ndarray]
    tables: list[np.ndarray]
    opened: Any


class _Uncopied(np.ndarray):
    """An array of int16 that is not copied where jpeglib converts it to int16."""

    def astype(self, *args: Any, **more: Any) -> np.ndarray:  # type: ignore[override]
        """Convert, and copy only if the type is another."""
        return super().astype(*args, **{**more, 'copy': False})


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
            opened.load()
        except OSError as error:
            raise ValueError(f'libjpeg cannot read its blocks: {error}') from None
    names = CHANNELS[: len(opened.samp_factor)]
    for name in names:
        setattr(opened, name, getattr(opened, name).view(_Uncopied))
    tables = [opened.qt[number] for number in opened.quant_tbl_no]
    return Coefficients([getattr(opened, name) for name in names], tables, opened)


def write_coefficients(found: Coefficients, source: bytes) -> bytes:
    """Return a JPEG file with these coefficients.

    Args:
        found: read from `source`, and changed.
        source: where all else is taken from.
    """
    library = PROGRESSIVE_WRITER if frame_of(source).marker == PROGRESSIVE else READER
    with _with_library(library) as path:
        found.opened.write_dct(path, flags=['+OPTIMIZE_CODING'])
        written = path.read_bytes()
    return with_markers(written, source)


def digest_of(found: Coefficients, apart_from: Sequence[np.ndarray] | None = None) -> bytes:
    """Return a digest of coefficients and tables: two sets of a large file need too much memory.

    Args:
        found: the coefficients.
        apart_from: (rows, columns) bool for each channel: blocks that do not count.
    """
    none = [np.zeros((1, 8), bool)] * len(found.tables)
    if apart_from is None:
        apart_from = [np.zeros(one.shape[:2], bool) for one in found.channels]
    tables = [table[None] for table in found.tables]
    return digest([*found.channels, *tables], [*apart_from, *none])


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
