"""Prove that a JPEG file is another one but for the blocks of a region.

Another libjpeg than the writer's reads the coefficients. OpenCV and Pillow read the pixels, Pillow
the markers.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from hmaca_arch.files.images import read_file
from hmaca_arch.files.jpeg_blocks import (
    OTHER_READER,
    Replaced,
    as_stored,
    read_coefficients,
    scales,
)
from hmaca_arch.files.jpeg_markers import MORE_IMAGES, frame_of
from hmaca_arch.files.opening import open_image
from hmaca_arch.files.verifying import pillow_reads, see


def verify_blocks(path: Path, source: bytes, done: Replaced, mask: np.ndarray, turn: int) -> None:
    """Read a written file back and prove it.

    Args:
        path: the written file.
        source: the file that was restored; the written one may have taken its place.
        done: which blocks and pixels may differ.
        mask: (h, w), upright, 0 = keep.
        turn: the source's EXIF orientation.

    Raises:
        ValueError: it is not so, saying what is different.
    """
    files = source, read_file(path)
    _verify_markers(path, *files)
    kept = [~blocks for blocks in done.replaced]
    if len({_digest_of_blocks(data, kept) for data in files}) > 1:
        raise ValueError(f'{path}: not verified: blocks or tables apart from the region differ')
    may_change = as_stored(done.may_change, turn)
    if (may_change & ~_near(as_stored(mask, turn), files[0])).any():
        raise ValueError(f'{path}: not verified: blocks that do not touch the region were replaced')
    for library, read in (('OpenCV', _opencv_reads), ('Pillow', pillow_reads)):
        if len({_digest([read(data, path)], [~may_change]) for data in files}) > 1:
            raise ValueError(
                f'{path}: not verified: {library} sees other pixels than in the input '
                'apart from the region'
            )


def _verify_markers(path: Path, before: bytes, after: bytes) -> None:
    """Compare markers; a list of further images may say that they moved."""
    found = []
    for data in (before, after):
        with open_image(data, str(path), max_pixels=2**62) as image:
            said = image.applist  # type: ignore[attr-defined]
            found.append([one for one in said if not one[1].startswith(MORE_IMAGES[1])])
    if found[0] != found[1]:
        raise ValueError(f'{path}: not verified: not the EXIF, profile and comments of the input')


def _near(mask: np.ndarray, source: bytes) -> np.ndarray:
    """Return the pixels (h, w) bool that a block which touches the mask can reach."""
    reach = [8 * max(one) for one in zip(*scales(frame_of(source)))]
    kernel = np.ones([2 * one + 1 for one in reach], np.uint8)
    return cv2.dilate((mask > 0).astype(np.uint8), kernel) > 0


def _digest_of_blocks(data: bytes, kept: Sequence[np.ndarray]) -> bytes:
    """Return a digest of a JPEG file's tables and of those blocks that are kept."""
    found = read_coefficients(data, OTHER_READER)
    tables = [table[None] for table in found.tables]
    return _digest([*found.channels, *tables], [*kept, *[np.ones((1, 8), bool)] * len(tables)])


def _digest(arrays: Sequence[np.ndarray], areas: Sequence[np.ndarray]) -> bytes:
    """Return a digest of what arrays hold in areas: two of a large file need too much memory."""
    made = hashlib.sha256()
    for array, area in zip(arrays, areas):
        made.update(str(array.shape).encode())
        if array.shape[:2] == area.shape:
            for values, inside in zip(array, area):
                made.update(values[inside].tobytes())
    return made.digest()


def _opencv_reads(data: bytes, path: Path) -> np.ndarray:
    seen = see(data)
    if seen is None:
        raise ValueError(f'{path}: not verified: OpenCV cannot read it')
    return seen.pixels
