"""Prove that a TIFF file is another one but for the pixels of a region.

tifffile reads both, or OpenCV where tifffile lacks the codec.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile

from hmaca_arch.files.image_files import largest_change
from hmaca_arch.files.tiff import swap_red_and_blue
from hmaca_arch.files.tiff_layout import Bounds, Layout

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
    paths = layout.path, path, layout.shape[2]
    with tifffile.TiffFile(layout.path) as source, tifffile.TiffFile(path) as written:
        before, after = source.pages.first, written.pages.first
        if _tags(before) != _tags(after):
            raise ValueError(f'{name or path}: not verified: its tags are not those of the input')
        parts = _parts(before, after, bounds) if _decodes(before) else _rows(*paths)
        for top, left, old, new in parts:
            _compare(name or path, (top, left), old, new, bounds, intended, mask)


def _tags(page: tifffile.TiffPage) -> dict[int, object]:
    return {tag.code: tag.value for tag in page.tags if tag.code not in PLACES}


def _parts(
    before: tifffile.TiffPage, after: tifffile.TiffPage, bounds: Bounds
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Yield each part of two files that has other bytes or lies within bounds.

    Yields:
        The part's first row and column, and its pixels (h, w, c) in both.
    """
    if before.is_memmappable and after.is_memmappable:
        height, width, samples = before.imagelength, before.imagewidth, before.samplesperpixel
        for top in range(0, height, ROWS):
            rows = (min(ROWS, height - top), width, samples)
            yield top, 0, _read(before, top, rows), _read(after, top, rows)
        return
    for number in range(len(before.dataoffsets)):
        data = [_bytes(page, number) for page in (before, after)]
        top, left, old = _decoded(before, data[0], number)
        if data[0] != data[1] or _meet((top, left, top + len(old), left + old.shape[1]), bounds):
            yield top, left, old, _decoded(after, data[1], number)[2]


def _decoded(page: tifffile.TiffPage, data: bytes, number: int) -> tuple[int, int, np.ndarray]:
    """Return a piece's first row and column, and its pixels (h, w, c) in the image."""
    found, (_, _, top, left, _), (_, height, width, _) = page.decode(data, number)
    if found is None:
        raise ValueError(f'{page.parent.filename}: not verified: a strip or tile is empty')
    return top, left, found[0, :height, :width]


def _decodes(page: tifffile.TiffPage) -> bool:
    """Tell whether tifffile has the codec; for some it needs a package."""
    try:
        return page.is_memmappable or page.decode(_bytes(page, 0), 0)[0] is not None
    except ValueError:
        return False


def _rows(
    source: Path, written: Path, channels: int
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Yield the rows of two files as OpenCV reads them, see `_parts`; all of them are in memory."""
    if channels == 4:  # OpenCV multiplies colours by alpha
        raise ValueError(f'{written}: not verified: tifffile needs the package imagecodecs for it')
    files = []
    for path in (source, written):
        data = np.fromfile(path, np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None:
            raise ValueError(f'{path}: not verified: neither tifffile nor OpenCV can read it')
        files.append(swap_red_and_blue(pixels.reshape(*pixels.shape[:2], -1)))
    for top in range(0, len(files[0]), ROWS):
        yield top, 0, files[0][top : top + ROWS], files[1][top : top + ROWS]


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


def _compare(
    path: Path,
    corner: tuple[int, int],
    old: np.ndarray,
    new: np.ndarray,
    bounds: Bounds,
    intended: np.ndarray,
    mask: np.ndarray,
) -> None:
    """Raise a ValueError unless a part (h, w, c) of the written file is what it should be."""
    top, left, bottom, right = bounds
    rows = slice(max(top - corner[0], 0), max(bottom - corner[0], 0))
    columns = slice(max(left - corner[1], 0), max(right - corner[1], 0))
    outside = np.zeros(old.shape[:2], np.uint8)
    found = new[rows, columns]
    first = max(corner[0] - top, 0), max(corner[1] - left, 0)
    inside = tuple(slice(start, start + size) for start, size in zip(first, found.shape))
    outside[rows, columns] = mask[inside] > 0
    change = largest_change(old, new, outside)
    if change:
        raise ValueError(
            f'{path}: not verified: pixels outside the mask differ from the input by up to {change}'
        )
    if not np.array_equal(found, intended[inside], equal_nan=found.dtype.kind == 'f'):
        raise ValueError(f'{path}: not verified: the restored pixels are not what was written')
