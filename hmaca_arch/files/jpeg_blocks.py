"""Change a region of a JPEG file, and let all other blocks be the same numbers.

A JPEG stores blocks of 8x8 samples as quantized coefficients of a cosine transform (DCT). Blocks
that touch no changed pixel keep their coefficients. The others are computed with the file's own
quantization tables and subsampling. Nothing is turned: the pixels are turned back to how the file
stores them. The markers are copied.

All coefficients of a file are in memory at once, unless it is very large. What was decoded does not
have to be: `changes_of` takes out what is needed of it.
"""

from typing import NamedTuple

import cv2
import numpy as np
from scipy import fft

from hmaca_arch.files.images import UPRIGHT
from hmaca_arch.files.jpeg_coefficients import (
    digest_of,
    digest_of_channel,
    read_coefficients,
    write_coefficients,
)
from hmaca_arch.files.jpeg_markers import Frame, frame_of, is_rgb

TURNED_BACK = {6: 8, 8: 6}  # orientation -> the one that undoes it, where it is another
TO_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]]
)
LARGEST = 1023  # what the codes of 8-bit files hold
ROWS = 256  # of pixels that are compared at once


class Changes(NamedTuple):
    """Which pixels of a JPEG file change, and which blocks that concerns.

    Attributes:
        turn: the file's EXIF orientation.
        changed: (h, w) bool, as the file stores it: the pixels that change.
        values: (n, 1 or 3) uint8: what they become, in the order of `changed`.
        touched: (rows, columns) bool for each channel: the blocks that hold one of them.
        may_change: (h, w) bool, upright: the pixels of these blocks, and one pixel around them in
            the directions in which a channel is subsampled, as decoders interpolate there.
        before: (m, 1 or 3) uint8: what these are, in the order of `may_change`.
    """

    turn: int
    changed: np.ndarray
    values: np.ndarray
    touched: list[np.ndarray]
    may_change: np.ndarray
    before: np.ndarray


def changes_of(
    source: bytes, before: np.ndarray, patch: np.ndarray, corner: tuple[int, int], turn: int
) -> Changes:
    """Compare the pixels of a JPEG file with what a part of them is to be.

    Of the areas that are returned, only what is true takes memory.

    Args:
        source: the file; `obstacle` has nothing against it.
        before: (h, w, 1 or 3) uint8, upright: what it holds, as decoded.
        patch: what a part of that is to be.
        corner: the part's first row and column.
        turn: the file's EXIF orientation.
    """
    (top, left), (height, width) = corner, patch.shape[:2]
    differs = np.zeros(before.shape[:2], bool)
    for row in range(0, height, ROWS):
        new = patch[row : row + ROWS]
        part = slice(top + row, top + row + len(new)), slice(left, left + width)
        (before[part] != new).any(axis=2, out=differs[part])
    changed, sizes = as_stored(differs, turn), scales(frame_of(source))
    touched = [_touched(changed, scale) for scale in sizes]
    area = np.zeros(changed.shape, bool)
    for blocks, scale in zip(touched, sizes):
        _add_pixels_of(blocks, scale, area)
    may_change = UPRIGHT.get(turn, lambda as_is: as_is)(area)
    inside = differs[top : top + height, left : left + width]
    values = as_stored(patch, turn)[as_stored(inside, turn)]
    return Changes(turn, changed, values, touched, may_change, before[may_change])


def replace_blocks(source: bytes, changes: Changes) -> bytes:
    """Return a JPEG file in which pixels are changed.

    Args:
        source: the file that `changes_of` was given.
        changes: what it returned.

    Raises:
        ValueError: the file cannot be read, or what was written is not what was to be.
    """
    if not len(changes.values):
        return source
    sizes, rgb = scales(frame_of(source)), is_rgb(source)
    found, meant = read_coefficients(source), []
    for number, scale in enumerate(sizes):
        weights = TO_YCBCR if len(sizes) == 3 and not rgb else np.eye(len(sizes))
        offset = 0 if number and not rgb else 128  # colours of YCbCr lie around 0
        blocks, table = found.channels[number], found.tables[number]
        _replace(blocks, table, changes, number, scale, weights[number], offset)
        meant.append(digest_of_channel(blocks, table))
        found.channels[number] = blocks
        del blocks  # a large one is read again
    result = write_coefficients(found, source)
    del found  # else it is in memory a second time
    if digest_of(read_coefficients(result)) != tuple(meant):
        raise ValueError('libjpeg wrote other blocks than it was given')
    return result


def scales(frame: Frame) -> list[tuple[int, int]]:
    """Return the pixels per sample, down and across, of each channel."""
    down = max(one.down for one in frame.components)
    across = max(one.across for one in frame.components)
    return [(down // one.down, across // one.across) for one in frame.components]


def as_stored(upright: np.ndarray, turn: int) -> np.ndarray:
    """Turn an array (h, w, ...) to how a file with an EXIF orientation stores it."""
    return UPRIGHT.get(TURNED_BACK.get(turn, turn), lambda as_is: as_is)(upright)


def boxes_of(area: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Return the boxes (top, left, bottom, right) around the parts of an area (h, w) bool."""
    rows, columns = (np.flatnonzero(area.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    part = np.ascontiguousarray(area[top : rows[-1] + 1, left : columns[-1] + 1])
    _, _, found, _ = cv2.connectedComponentsWithStats(part.view(np.uint8), connectivity=8)
    return sorted(
        (y + top, x + left, y + top + h, x + left + w) for x, y, w, h, _ in found[1:].tolist()
    )


def _touched(changed: np.ndarray, scale: tuple[int, int]) -> np.ndarray:
    """Return which blocks (rows, columns) of a channel hold a changed pixel (h, w)."""
    for axis, factor in enumerate(scale):
        starts = np.arange(0, changed.shape[axis], 8 * factor)
        changed = np.logical_or.reduceat(changed, starts, axis=axis)
    return changed


def _replace(
    blocks: np.ndarray,
    table: np.ndarray,
    changes: Changes,
    number: int,
    scale: tuple[int, int],
    weights: np.ndarray,
    offset: int,
) -> None:
    """Replace the blocks of one channel that touch a changed pixel.

    Samples without a changed pixel keep their value as far as quantization allows. Of a sample
    with some, the changed pixels count with their share. Behind the border the last pixel goes on.

    Args:
        blocks: (rows, columns, 8, 8), changed in place.
        table: (8, 8).
        changes: what changes.
        number: of the channel.
        scale: pixels per sample, down and across.
        weights: (c,): of the colours in the channel.
        offset: what the transform subtracts.
    """
    (height, width), (down, across) = changes.changed.shape, scale
    starts = np.append(0, np.cumsum(np.count_nonzero(changes.changed, axis=1)))
    for row in np.flatnonzero(changes.touched[number].any(axis=1)):
        hit = np.flatnonzero(changes.touched[number][row])
        first, last = hit[0], hit[-1] + 1
        lines = np.minimum(np.arange(row * 8 * down, (row + 1) * 8 * down), height - 1)
        columns = np.minimum(np.arange(first * 8 * across, last * 8 * across), width - 1)
        inside = changes.changed[lines]
        which = starts[lines, None] + np.cumsum(inside, axis=1) - 1  # of the values
        inside, which = inside[:, columns], which[:, columns]
        share, values = _mean(inside, scale), (changes.values[which] @ weights - offset) * inside
        old = _samples(blocks[row, first:last] * table)
        new = old * (1 - share) + _mean(values, scale)
        # tables of damaged files hold zeros
        coefficients = np.rint(_blocks(new) / np.where(table, table, 1))[hit - first]
        blocks[row, hit] = np.clip(coefficients, -LARGEST, LARGEST)


def _mean(values: np.ndarray, scale: tuple[int, int]) -> np.ndarray:
    """Average (h, w) over the pixels of each sample."""
    height, width = values.shape
    return values.reshape(height // scale[0], scale[0], width // scale[1], scale[1]).mean((1, 3))


def _samples(blocks: np.ndarray) -> np.ndarray:
    """Transform a row of blocks (n, 8, 8) to samples (8, 8 n)."""
    return fft.idctn(blocks, axes=(1, 2), norm='ortho').swapaxes(0, 1).reshape(8, -1)


def _blocks(samples: np.ndarray) -> np.ndarray:
    """Transform samples (8, 8 n) to a row of blocks (n, 8, 8)."""
    return fft.dctn(samples.reshape(8, -1, 8).swapaxes(0, 1), axes=(1, 2), norm='ortho')


def _add_pixels_of(touched: np.ndarray, scale: tuple[int, int], area: np.ndarray) -> None:
    """Add the pixels that depend on blocks of a channel to an area (h, w) bool."""
    down, across = scale
    for row in np.flatnonzero(touched.any(axis=1)):
        columns = np.repeat(touched[row], 8 * across)
        if across > 1:
            columns[1:-1] = columns[:-2] | columns[1:-1] | columns[2:]
        around = int(down > 1)
        lines = slice(max(row * 8 * down - around, 0), (row + 1) * 8 * down + around)
        area[lines] |= columns[: area.shape[1]]
