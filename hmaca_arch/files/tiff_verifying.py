"""Prove that a TIFF file is another one but for the pixels of a region.

tifffile reads both, or OpenCV where tifffile lacks the codec.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile

from hmaca_arch.files.part_verifying import compare_part
from hmaca_arch.files.tiff import swap_red_and_blue
from hmaca_arch.files.tiff_layout import Bounds, Layout
from hmaca_arch.messages import reason_of

ROWS = 256
PLACES = {273, 279, 324, 325}  # tags that say where pixels are


def verify_part(
    path: Path,
    layout: Layout,
    bounds: Bounds,
    intended: np.ndarray,
    mask: np.ndarray,
    name: Path | None = None,
) -> None:
    """Read a written TIFF back and prove it; memory follows the region.

    Args:
        path: the written file.
        layout: of the source.
        bounds: rows and columns that may differ.
        intended: (h, w, c), what is to be there.
        mask: (h, w) of the same part, 0 = keep.
        name: what errors call the file; None: `path`.

    Raises:
        ValueError: it is not so, saying what is different.
    """
    name = name or path
    with tifffile.TiffFile(layout.path) as source, tifffile.TiffFile(path) as written:
        before, after = source.pages.first, written.pages.first
        if _tags(before) != _tags(after):
            raise ValueError(f'{name}: not verified: its tags are not those of the input')
        try:
            for top, left, old, new in _parts(before, after, layout, bounds):
                compare_part(name, (top, left), old, new, bounds, intended, mask)
        except _Unreadable as error:
            if layout.shape[2] == 4:  # OpenCV multiplies colours by alpha
                raise ValueError(
                    f'{name}: not verified: tifffile cannot read it ({error})'
                ) from None
            for top, old, new in _rows(layout.path, path, name):
                compare_part(name, (top, 0), old, new, bounds, intended, mask)


class _Unreadable(Exception):
    """tifffile does not decode a strip or tile: it is damaged, or a package is missing."""


def _tags(page: tifffile.TiffPage) -> dict[int, object]:
    return {tag.code: tag.value for tag in page.tags if tag.code not in PLACES}


def _parts(
    before: tifffile.TiffPage, after: tifffile.TiffPage, layout: Layout, bounds: Bounds
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Yield each part of two files that has other bytes or lies within bounds.

    Yields:
        The part's first row and column, and its pixels (h, w, c) in both.

    Raises:
        _Unreadable: such a part cannot be decoded.
    """
    if before.is_memmappable and after.is_memmappable:
        height, width, samples = layout.shape
        for top in range(0, height, ROWS):
            rows = (min(ROWS, height - top), width, samples)
            yield top, 0, _read(before, top, rows), _read(after, top, rows)
        return
    for number in range(len(before.dataoffsets)):
        data = [_bytes(page, number) for page in (before, after)]
        top, left, bottom, right = layout.bounds(number)
        if data[0] != data[1] or _meet((top, left, bottom, right), bounds):
            old, new = (_decoded(page, one, number) for page, one in zip((before, after), data))
            yield top, left, old, new


def _decoded(page: tifffile.TiffPage, data: bytes, number: int) -> np.ndarray:
    """Return a piece's pixels (h, w, c) in the image."""
    try:
        found, _, (_, height, width, _) = page.decode(data, number)
        return np.asarray(found)[0, :height, :width]
    except Exception as error:  # each codec raises its own
        raise _Unreadable(reason_of(error, 80)) from None


def _rows(source: Path, written: Path, name: Path) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield rows of two files as OpenCV reads them, with the first; all are in memory."""
    files = []
    for path in (source, written):
        data = np.fromfile(path, np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None:
            raise ValueError(f'{name}: not verified: neither tifffile nor OpenCV can read it')
        files.append(swap_red_and_blue(np.atleast_3d(pixels)))
    for top in range(0, len(files[0]), ROWS):
        yield top, files[0][top : top + ROWS], files[1][top : top + ROWS]


def _read(page: tifffile.TiffPage, top: int, shape: tuple[int, ...]) -> np.ndarray:
    """Read rows that lie one after the other; a mapped file would count as memory."""
    dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    start = page.dataoffsets[0] + top * shape[1] * shape[2] * dtype.itemsize
    pixels = np.fromfile(page.parent.filehandle.path, dtype, math.prod(shape), offset=start)
    return pixels.reshape(shape)


def _bytes(page: tifffile.TiffPage, number: int) -> bytes:
    page.parent.filehandle.seek(page.dataoffsets[number])
    return page.parent.filehandle.read(page.databytecounts[number])


def _meet(one: Bounds, other: Bounds) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
