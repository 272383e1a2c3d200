"""Prove that a large PNG is another one but for the pixels of a region. OpenCV reads both."""

from pathlib import Path

import numpy as np

from hmaca_arch.files.large_png import LargePng, large_png
from hmaca_arch.files.opening import UNLIMITED
from hmaca_arch.files.part_verifying import compare_part
from hmaca_arch.files.png_strips import STRIP
from hmaca_arch.files.tiff_layout import Bounds
from hmaca_arch.files.verifying import verify_metadata

OTHER_STRIPS = 3 * STRIP // 4  # a mistake at the edge of a strip is then seen


def verify_rows(
    path: Path, png: LargePng, bounds: Bounds, intended: np.ndarray, mask: np.ndarray, name: Path
) -> None:
    """Read a written PNG back and prove it; memory follows the region.

    Args:
        path: the written file.
        png: the source.
        bounds: of the pixels that may differ.
        intended: (h, w, c), what is to be there.
        mask: (h, w) of the same part, 0 = keep.
        name: what errors call the file.

    Raises:
        ValueError: it is not so, saying what is different.
    """
    written = large_png(path, UNLIMITED, UNLIMITED)
    if written is None or written.header != png.header:
        raise ValueError(f'{name}: not verified: it is no PNG of the size and depth of the input')
    top = 0
    for old, new in zip(png.strips(OTHER_STRIPS), written.strips(OTHER_STRIPS)):
        compare_part(name, (top, 0), old, new, bounds, intended, mask)
        top += len(old)
    verify_metadata(written.said, name, png.image)
