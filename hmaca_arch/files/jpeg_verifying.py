"""Prove that a JPEG file is another one but for the blocks of a region.

Another libjpeg than the writer's reads the coefficients. OpenCV and Pillow read the pixels, Pillow
the markers.
"""

from pathlib import Path

import cv2
import numpy as np

from hmaca_arch.files.images import decode
from hmaca_arch.files.jpeg_blocks import Changes, as_stored, scales
from hmaca_arch.files.jpeg_coefficients import OTHER_READER, digest, digest_of, read_coefficients
from hmaca_arch.files.jpeg_markers import MORE_IMAGES, frame_of
from hmaca_arch.files.opening import UNLIMITED, open_image
from hmaca_arch.files.reading import read_file
from hmaca_arch.files.verifying import see


def verify_blocks(path: Path, source: bytes, changes: Changes, mask: np.ndarray) -> None:
    """Read a written file back and prove it.

    Args:
        path: the written file.
        source: the file that was restored; the written one may have taken its place.
        changes: which blocks and pixels may differ.
        mask: (h, w), upright, 0 = keep.

    Raises:
        ValueError: it is not so, saying what is different.
    """
    files = source, read_file(path)
    _verify_markers(path, *files)
    blocks = {digest_of(read_coefficients(one, OTHER_READER), changes.touched) for one in files}
    if len(blocks) > 1:
        raise ValueError(f'{path}: not verified: blocks or tables apart from the region differ')
    may_change = as_stored(changes.may_change, changes.turn)
    if (may_change & ~_near(as_stored(mask, changes.turn), source)).any():
        raise ValueError(f'{path}: not verified: blocks that do not touch the region were replaced')
    for library, read in (('OpenCV', _opencv_reads), ('Pillow', _pillow_reads)):
        if len({digest([read(one, path, changes.turn)], [may_change]) for one in files}) > 1:
            raise ValueError(
                f'{path}: not verified: {library} sees other pixels than in the input '
                'apart from the region'
            )


def _verify_markers(path: Path, before: bytes, after: bytes) -> None:
    """Compare markers; a list of further images may say that they moved."""
    found = []
    for data in (before, after):
        with open_image(data, str(path), max_pixels=UNLIMITED) as image:
            said = image.applist  # type: ignore[attr-defined]
            found.append([one for one in said if not one[1].startswith(MORE_IMAGES[1])])
    if found[0] != found[1]:
        raise ValueError(f'{path}: not verified: not the EXIF, profile and comments of the input')


def _near(mask: np.ndarray, source: bytes) -> np.ndarray:
    """Return the pixels (h, w) bool that a block which touches the mask can reach."""
    reach = [8 * max(one) for one in zip(*scales(frame_of(source)))]
    kernel = np.ones([2 * one + 1 for one in reach], np.uint8)
    return cv2.dilate((mask > 0).view(np.uint8), kernel).view(bool)


def _opencv_reads(data: bytes, path: Path, turn: int) -> np.ndarray:
    """Return the pixels (h, w, c) as stored; `turn` does not matter."""
    seen = see(data)
    if seen is None:
        raise ValueError(f'{path}: not verified: OpenCV cannot read it')
    return seen.pixels


def _pillow_reads(data: bytes, path: Path, turn: int) -> np.ndarray:
    """Return the pixels (h, w, c) as stored, of a file with an EXIF orientation."""
    return as_stored(decode(data, str(path), max_pixels=UNLIMITED).pixels, turn)
