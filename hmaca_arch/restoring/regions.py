"""The pieces of an image that a network has to see.

A region is a group of masked pixels that are restored together. Its crop is its bounding box with
the context around it. Crops of different regions may overlap: each region owns its pixels, and all
others stay masked. A crop larger than the tile limit is cut into overlapping tiles of equal size.
Tiles without pixels of the region are left out.
"""

from typing import NamedTuple

import cv2
import numpy as np


class Box(NamedTuple):
    """Rows top to bottom and columns left to right of an image, in pixels.

    Bottom and right are the first ones outside.
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    @property
    def area(self) -> tuple[slice, slice]:
        """What to index an array with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def grown(self, by: int, height: int, width: int) -> 'Box':
        """Return the box with `by` more pixels on each side, inside an image of that size."""
        return Box(
            max(0, self.top - by),
            max(0, self.left - by),
            min(height, self.bottom + by),
            min(width, self.right + by),
        )

    def filled(self, height: int, width: int) -> np.ndarray:
        """Return (height, width) bool, True inside the box, of an image of that size."""
        result = np.zeros((height, width), bool)
        result[self.grown(0, height, width).area] = True
        return result

    def from_blocks(self) -> 'Box':
        """Return the box from the corner of the JPEG block that it begins in."""
        return self._replace(top=self.top // 8 * 8, left=self.left // 8 * 8)

    def moved(self, down: int, right: int) -> 'Box':
        """Return the box so many pixels further down and to the right."""
        return Box(self.top + down, self.left + right, self.bottom + down, self.right + right)

    def within(self, other: 'Box') -> 'Box':
        """Return the same pixels, counted from the corner of `other`."""
        return self.moved(-other.top, -other.left)

    def common(self, other: 'Box') -> 'Box | None':
        """Return the pixels that two boxes share, or None."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Box(top, left, bottom, right) if top < bottom and left < right else None


class Own(NamedTuple):
    """Which pixels belong to a region, where others lie in its box.

    Attributes:
        cells: (rows, columns) bool, one for each square of `step` pixels.
        step: side of the squares.
        top: first row of the squares in the image.
        left: first column.
    """

    cells: np.ndarray
    step: int
    top: int
    left: int

    def of(self, part: Box) -> np.ndarray:
        """Return (h, w) bool of a part of the image that the squares cover."""
        rows = (np.arange(part.top, part.bottom) - self.top) // self.step
        columns = (np.arange(part.left, part.right) - self.left) // self.step
        return self.cells[rows[:, None], columns]


class Region(NamedTuple):
    """Masked pixels that are restored together.

    Attributes:
        box: around its pixels.
        crop: with the context.
        own: its own pixels; None if no others lie in the box.
    """

    box: Box
    crop: Box
    own: Own | None = None

    def moved(self, down: int, right: int) -> 'Region':
        """Return the region so many pixels further down and to the right."""
        own = self.own
        if own is not None:
            own = own._replace(top=own.top + down, left=own.left + right)
        return Region(self.box.moved(down, right), self.crop.moved(down, right), own)

    def own_in(self, mask: np.ndarray, part: Box) -> np.ndarray:
        """Return the values of a mask (h, w) in a part of the box, 0 for pixels of others."""
        values = mask[part.area]
        return values if self.own is None else values * self.own.of(part).astype(values.dtype)


def marked_box(mask: np.ndarray) -> Box:
    """Return the box around what is not 0 in a mask (h, w) of any type.

    It is empty if there is nothing. It costs one look at each pixel, and no copy of an 8-bit mask.
    """
    left, top, columns, rows = cv2.boundingRect(
        mask.view(np.uint8) if mask.itemsize == 1 else (mask > 0).view(np.uint8)
    )
    return Box(top, left, top + rows, left + columns)


def cut(region: Region, mask: np.ndarray, limit: int, overlap: int) -> list[Box]:
    """Cut a region's crop into tiles, row by row.

    They are of equal size, at most limit x limit, with at least `overlap` pixels in common with the
    next, and each has some pixel of the region. A crop that is not larger is one tile.

    Raises:
        ValueError: overlap >= limit.
    """
    if not 0 <= overlap < limit:
        raise ValueError(f'tiles of {limit} pixels cannot overlap by {overlap}')
    top, left = region.crop[:2]
    rows, columns = region.crop.shape
    height, width = min(rows, limit), min(columns, limit)
    tiles = [
        Box(top + y, left + x, top + y + height, left + x + width)
        for y in _starts(rows, height, overlap)
        for x in _starts(columns, width, overlap)
    ]
    return [tile for tile in tiles if _is_needed(region, mask, tile)]


def _is_needed(region: Region, mask: np.ndarray, tile: Box) -> bool:
    """Tell whether a tile has pixels of the region."""
    part = tile.common(region.box)
    return part is not None and bool(region.own_in(mask, part).any())


def _starts(length: int, size: int, overlap: int) -> list[int]:
    """Return where pieces of `size` begin that cover `length`, evenly spread."""
    if length == size:
        return [0]
    last = -(-(length - size) // (size - overlap))
    return [round(i * (length - size) / last) for i in range(last + 1)]
