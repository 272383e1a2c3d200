"""Find blocks in a region that went through JPEG after it was pixelized.

Evened out over the blocks of the right grid, the pixels have the coefficients of the file but for
the rounding to JPEG's steps. Those of another grid are off by more. A grid of smaller blocks whose
side divides that of the right ones fits as well, so that the largest that fits is the right one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from hmaca_arch.restoring.measuring.blocks import Grid, off_grid
from hmaca_arch.restoring.measuring.border import depth_of, find_area
from hmaca_arch.restoring.measuring.jpeg import DCT, in_blocks, luma, table_of
from hmaca_arch.restoring.regions import Box, marked_box

LARGEST = 32  # pixels, the longest side of a block
# Each side from 3 to LARGEST is a multiple of one of these.
FIRST = (3, 4, 5, 7, 11, 13, 17, 19, 23, 29, 31)
# Mean square error of a block's coefficients, beyond rounding, up to which it fits.
FITTING = 0.15
# Blocks of the JPEG that must fit the best offset alone: how many, and which part of all. The mask
# may be too wide. Chosen on training images.
FEWEST, LEAST = 4, 0.1
# The right grid fits at least this part of the blocks that a grid of smaller blocks fits, which
# divide its own.
NEARLY = 0.6
STANDS_OUT = 0.5  # part of the blocks that fit an offset which few others may fit
WHOLE = 0.9  # part of the JPEG's blocks in a mask that fit if all of it is pixelized
SURE, EDGE = 0.5, 2  # part of the blocks that must fit, so many pixels inside what is pixelized
SHARE = 0.6  # of a mask's shorter side, which a block may take
EROSIONS = (0, 4, 8, 12)  # pixels by which the mask may be too wide on all sides
WINDOW = 96  # pixels, of a large region, that are looked at
ALONG = 5  # pixels over which differences are averaged along a line
PART = 0.4  # of a block's masked pixels, above which it belongs to the area


def _evened(values: np.ndarray, core: np.ndarray, block: int, offsets: Sequence[int]) -> np.ndarray:
    """Replace pixels of the core by their mean over `block` rows of a column.

    Returns:
        (offsets, h, w), for each row at which the first whole block begins.
    """
    height = len(values)
    inside, count = np.where(core, values, 0), core.astype(np.float32)
    result = np.empty((len(offsets), *values.shape), np.float32)
    for at, offset in enumerate(offsets):
        starts = np.unique([0, *range(offset, height, block)])
        sums, counts = (np.add.reduceat(one, starts, axis=0) for one in (inside, count))
        means = np.repeat(sums / np.maximum(counts, 1), np.diff([*starts, height]), axis=0)
        result[at] = np.where(core, means, values)
    return result


class Offset(NamedTuple):
    """Where blocks begin along one axis.

    Attributes:
        place: of the first whole block.
        fits: blocks of the JPEG that fit it.
        alone: how many more these are than fit the median place.
    """

    place: int
    fits: int
    alone: int


class Fit:
    """How well grids fit along the rows of a part of an image.

    Args:
        values: (h, w) of 0 to 255, whole blocks of the JPEG.
        core: (h, w) bool, pixels that may be pixelized.
        quality: of the JPEG.
    """

    def __init__(self, values: np.ndarray, core: np.ndarray, quality: int) -> None:
        self.values, self.core, self.whole = values, core, in_blocks(core).all(axis=(2, 3))
        self.half = table_of(quality).astype(np.float32) / 2

    def fitting(
        self, block: int, transposed: bool, offsets: Sequence[int] | None = None
    ) -> np.ndarray:
        """Return how many blocks of the JPEG fit each offset; None: all that a block has."""
        values, core, whole, half = self.values, self.core, self.whole, self.half
        if transposed:
            values, core, whole, half = values.T, core.T, whole.T, half.T
        moved = in_blocks(_evened(values, core, block, offsets or range(block)) - values)[:, whole]
        excess = np.maximum(np.abs(DCT @ moved @ DCT.T) - half, 0)
        return np.asarray((np.square(excess).mean(axis=(2, 3)) < FITTING).sum(axis=1))

    def offset(self, block: int, transposed: bool) -> Offset:
        """Return the offset that most blocks of the JPEG fit."""
        counts = self.fitting(block, transposed)
        at = int(counts.argmax())
        return Offset(at, int(counts[at]), int(counts[at] - np.median(counts)))

    def share(self, block: int, offset: tuple[int, int]) -> float:
        """Return which part of the JPEG's blocks fits a grid, along rows and columns."""
        counts = [int(self.fitting(block, axis == 1, [at])[0]) for axis, at in enumerate(offset)]
        return float(min(counts) / max(1, self.whole.sum()))

    def grid(self) -> tuple[int, tuple[int, int]] | None:
        """Return the block that most blocks of the JPEG fit alone, and its offset; or None."""
        fewest = max(FEWEST, round(LEAST * self.whole.sum()))
        longest = min(LARGEST, int(SHARE * min(marked_box(self.core).shape)))
        found = {}
        for block in self._candidates(longest, fewest):
            rows, columns = (self.offset(block, transposed) for transposed in (False, True))
            if all(one.alone >= fewest and self._stands_out(one) for one in (rows, columns)):
                found[block] = rows.alone + columns.alone, (rows.place, columns.place)
        if not found:
            return None
        most, best = max((alone, block) for block, (alone, _) in found.items())
        fits = [b for b in found if b % best == 0 and found[b][0] >= NEARLY * most]
        return max(fits), found[max(fits)][1]

    def _stands_out(self, one: Offset) -> bool:
        """Tell whether an offset fits all of the mask, or far more of it than others do.

        Soft images fit many grids in a part of their blocks.
        """
        return one.fits > WHOLE * self.whole.sum() or one.alone > STANDS_OUT * one.fits

    def _candidates(self, longest: int, fewest: int) -> list[int]:
        """Return the blocks of which a part that divides them fits in enough blocks."""
        first = [b for b in FIRST if b <= longest and self.offset(b, False).fits >= fewest]
        return sorted({block for b in first for block in range(b, longest + 1, b)})


def _window(core: np.ndarray) -> Box:
    """Return whole blocks of the JPEG around the middle of the core, WINDOW pixels at most."""
    sides = []
    box = marked_box(core)
    for axis in (0, 1):
        low, high = box[axis], box[axis + 2]
        first = max(low, (low + high - WINDOW) // 2) // 8 * 8
        sides.append((first, min(core.shape[axis] // 8 * 8, first + WINDOW, -(-high // 8) * 8)))
    (top, bottom), (left, right) = sides
    return Box(top, left, bottom, right)


def lossy_grid(image: np.ndarray, mask: np.ndarray, quality: int) -> Grid | None:
    """Find a block grid, or None.

    Args:
        image: (h, w, c) of 0 to 255; its first pixel begins a block of the JPEG.
        mask: (h, w) bool, one region, which may be too wide.
        quality: of the JPEG.
    """
    values, depth = luma(image), depth_of(mask)
    for erosion in EROSIONS:
        core = depth > erosion
        if not core.any():
            break
        grid = _grid_of(values, mask, core, quality)
        if grid is not None:
            return grid
    return None


def _grid_of(values: np.ndarray, mask: np.ndarray, core: np.ndarray, quality: int) -> Grid | None:
    """Find the block grid of a core, and the part of the mask that it covers; or None."""
    window = _window(core)
    fit = Fit(values[window.area], core[window.area], quality)
    found = fit.grid() if fit.whole.sum() >= FEWEST else None
    if found is None:
        return None
    block, (row, column) = found
    offset = ((row + window.top) % block, (column + window.left) % block)
    if Fit(values, mask, quality).share(block, offset) > WHOLE:
        return Grid(block, offset, mask, 0)
    area = _covered(values, mask, block, offset)
    sure = Fit(values, depth_of(area) > EDGE, quality).share(block, offset) > SURE
    return Grid(block, offset, area, 0) if sure else None


def _covered(
    values: np.ndarray, mask: np.ndarray, block: int, offset: tuple[int, int]
) -> np.ndarray:
    """Return the masked pixels that are pixelized: inside blocks they hardly differ."""
    inner = off_grid(mask.shape, block, offset)
    activity = np.zeros_like(values)
    # Along a block's side all steps are equal.
    steps = np.abs(cv2.blur(np.diff(values, axis=0), (ALONG, 1)))
    activity[1:] += np.where(inner[0][1:], steps, 0)
    steps = np.abs(cv2.blur(np.diff(values, axis=1), (1, ALONG)))
    activity[:, 1:] += np.where(inner[1][:, 1:], steps, 0)
    area = find_area(activity, mask, depth_of(mask) == 0)
    return _whole_blocks(area, mask, block, offset)


def _block_numbers(shape: tuple[int, int], block: int, offset: tuple[int, int]) -> np.ndarray:
    """Return the number of the block that each pixel lies in, (h, w)."""
    rows, columns = ((np.arange(side) - at) // block + 1 for side, at in zip(shape, offset))
    return np.asarray(rows[:, None] * (shape[1] // block + 3) + columns)


def flattened(image: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the image with each block's pixels in the area replaced by their mean, float32."""
    number = _block_numbers(grid.area.shape, grid.block, grid.offset)[grid.area]
    result = image.astype(np.float32)
    count = np.maximum(np.bincount(number), 1)
    for channel in range(image.shape[2]):
        means = np.bincount(number, weights=image[..., channel][grid.area]) / count
        result[..., channel][grid.area] = means[number]
    return result


def _whole_blocks(
    area: np.ndarray, mask: np.ndarray, block: int, offset: tuple[int, int]
) -> np.ndarray:
    """Return the masked pixels of the blocks of which `area` has a good part."""
    number = _block_numbers(area.shape, block, offset)
    masked = np.maximum(np.bincount(number[mask], minlength=number.max() + 1), 1)
    part = np.bincount(number[area & mask], minlength=len(masked)) / masked
    return (part > PART)[number] & mask
