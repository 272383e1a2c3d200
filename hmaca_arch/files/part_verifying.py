"""Compare a part of a written file with its source and with what was to be written."""

from pathlib import Path

import numpy as np

from hmaca_arch.files.image_files import largest_change
from hmaca_arch.files.tiff_layout import Bounds


def compare_part(
    name: Path,
    corner: tuple[int, int],
    old: np.ndarray,
    new: np.ndarray,
    bounds: Bounds,
    intended: np.ndarray,
    mask: np.ndarray,
) -> None:
    """Prove that a part of a written file is what it should be.

    Args:
        name: what errors call the file.
        corner: the part's first row and column.
        old: (h, w, c), the part in the source.
        new: (h, w, c), the part in the written file.
        bounds: of the pixels that may differ.
        intended: (h, w, c), what is to be there.
        mask: (h, w) of the same, 0 = keep.

    Raises:
        ValueError: it is not so, saying what is different.
    """
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
            f'{name}: not verified: pixels outside the mask differ from the input by up to {change}'
        )
    if not np.array_equal(found, intended[inside], equal_nan=found.dtype.kind == 'f'):
        raise ValueError(f'{name}: not verified: the restored pixels are not what was written')
