"""Find the pieces of an image that a network has to see, from a mask.

A region is a group of masked pixels that are restored together. Its crop is its bounding box with
the context around it. Groups are joined where one crop takes fewer pixels than two. Crops of
different regions may overlap: each region knows its own pixels, and all others stay masked. A crop
larger than the tile limit is cut into overlapping tiles of equal size, of which those without
pixels of the region are left out. The cost of everything here, but for reading the mask once,
follows the regions and not the image.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

MOST_GROUPS = 4000  # beyond that neighbours are joined without counting pixels


class Box(NamedTuple):
    """A rectangle of an image, in pixels; bottom and right are the first ones outside."""

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
        """Return it with `by` more pixels on each side, as far as an image has them."""
        return Box(
            max(0, self.top - by),
            max(0, self.left - by),
            min(height, self.bottom + by),
            min(width, self.right + by),
        )

    def moved(self, down: int, right: int) -> 'Box':
        """Return it elsewhere."""
        return Box(self.top + down, self.left + right, self.bottom + down, self.right + right)

    def within(self, other: 'Box') -> 'Box':
        """Return the same pixels, counted from the corner of `other`."""
        return self.moved(-other.top, -other.left)


class Region(NamedTuple):
    """Masked pixels that are restored together.

    Attributes:
        box: around its pixels.
        crop: with the context.
        own: (height, width) bool of the box, its own pixels; None if no others lie in the box.
    """

    box: Box
    crop: Box
    own: np.ndarray | None = None

    def moved(self, down: int, right: int) -> 'Region':
        """Return it elsewhere."""
        return Region(self.box.moved(down, right), self.crop.moved(down, right), self.own)

    def own_in(self, mask: np.ndarray, part: Box) -> np.ndarray:
        """Return the values of a mask (h, w) in a part of the box, 0 for pixels of others."""
        values = mask[part.area]
        if self.own is None:
            return values
        return values * self.own[part.within(self.box).area].astype(values.dtype)


def marked_box(mask: np.ndarray) -> Box:
    """Return the box around what is not 0 in a mask (h, w) of any type; empty if nothing is.

    It costs one look at each pixel, and no copy of an 8-bit mask.
    """
    left, top, columns, rows = cv2.boundingRect(
        mask.view(np.uint8) if mask.itemsize == 1 else (mask > 0).view(np.uint8)
    )
    return Box(top, left, top + rows, left + columns)


class Groups:
    """Connected pixels of a mask, told apart on a grid of square cells.

    Pixels in the same cell or in cells that touch belong together.

    Args:
        mask: (h, w), 0 = keep.
        step: side of a cell in pixels; doubled until there are few enough groups.
    """

    def __init__(self, mask: np.ndarray, step: int) -> None:
        self.mask = mask
        while True:
            self.step = step
            rows, columns = (np.arange(0, side, step) for side in mask.shape)
            marked = mask.view(np.uint8) if mask.itemsize == 1 else (mask > 0).view(np.uint8)
            grid = np.maximum.reduceat(np.maximum.reduceat(marked, rows, axis=0), columns, axis=1)
            count, self.labels, stats, _ = cv2.connectedComponentsWithStats(
                np.minimum(grid, 1), connectivity=8
            )
            if count <= MOST_GROUPS:
                break
            step *= 2
        self.cells = [
            Box(y * step, x * step, (y + h) * step, (x + w) * step).grown(0, *mask.shape)
            for x, y, w, h in stats[1:, :4].tolist()
        ]

    def own(self, numbers: tuple[int, ...], box: Box) -> np.ndarray:
        """Return (height, width) bool of a box: the cells of some groups."""
        top, left = box.top // self.step, box.left // self.step
        part = self.labels[self._cells_of(box)]
        rows = np.arange(box.top, box.bottom) // self.step - top
        columns = np.arange(box.left, box.right) // self.step - left
        return np.isin(part, numbers)[rows[:, None], columns]

    def _cells_of(self, box: Box) -> tuple[slice, slice]:
        """Return what to index the grid with for the cells that a box touches."""
        bottom, right = ((end - 1) // self.step + 1 for end in (box.bottom, box.right))
        return slice(box.top // self.step, bottom), slice(box.left // self.step, right)

    def boxes(self) -> Iterator[Box]:
        """Yield the box around the pixels of each group."""
        for number, cells in enumerate(self.cells, start=1):
            pixels = self.mask[cells.area]
            if self._others(cells, (number,)):
                pixels = (pixels > 0) & self.own((number,), cells)
            yield marked_box(pixels).moved(cells.top, cells.left)

    def region(self, numbers: tuple[int, ...], box: Box, context: int) -> Region:
        """Return the region of some groups."""
        others = self._others(box, numbers)
        own = self.own(numbers, box) if others else None
        return Region(box, box.grown(context, *self.mask.shape), own)

    def _others(self, box: Box, numbers: tuple[int, ...]) -> bool:
        """Tell whether cells of other groups lie in a box."""
        return bool((~np.isin(self.labels[self._cells_of(box)], (0, *numbers))).any())


def find_regions(mask: np.ndarray, context: int, tile: int = 2**31) -> list[Region]:
    """Find the regions of a mask.

    Args:
        mask: (h, w), 0 = keep.
        context: pixels around the regions.
        tile: regions are joined only if the result is restored in one piece.
    """
    if not mask.any():
        return []
    whole = marked_box(mask)
    groups = Groups(mask[whole.area], max(1, context // 4))
    height, width = mask.shape
    joined = _joined(list(groups.boxes()), context, tile, whole, (height, width))
    found = [groups.region(numbers, box, 0).moved(whole.top, whole.left) for box, numbers in joined]
    return sorted(
        (region._replace(crop=region.box.grown(context, height, width)) for region in found),
        key=lambda region: region.box,
    )


def _joined(
    boxes: list[Box], context: int, tile: int, whole: Box, shape: tuple[int, int]
) -> list[tuple[Box, tuple[int, ...]]]:
    """Join boxes while one crop takes fewer pixels than two, the most saving first.

    Returns:
        Boxes with the numbers, from 1, of those that were joined.
    """
    low = np.array([-whole.top, -whole.left])  # where the image begins, seen from the boxes
    high = low + shape
    waiting: list[tuple[np.ndarray, tuple[int, ...]]] = [
        (np.array(box), (number,)) for number, box in enumerate(boxes, start=1)
    ]
    apart = np.zeros((len(boxes), 4), int)
    members: list[tuple[int, ...]] = [()] * len(boxes)
    alive = np.zeros(len(boxes), bool)

    def crops(corners: np.ndarray) -> np.ndarray:
        sizes = np.minimum(corners[..., 2:] + context, high)
        return sizes - np.maximum(corners[..., :2] - context, low)

    while waiting:
        box, numbers = waiting.pop()
        union = np.hstack([np.minimum(apart[:, :2], box[:2]), np.maximum(apart[:, 2:], box[2:])])
        sides = crops(union)
        saved = crops(apart).prod(axis=1) + crops(box).prod() - sides.prod(axis=1)
        saved[~alive | (sides.max(axis=1) > tile)] = 0
        best = int(saved.argmax()) if len(saved) else 0
        if saved[best] > 0:
            alive[best] = False
            waiting.append((union[best], numbers + members[best]))
        else:
            place = int(np.argmin(alive))
            apart[place], members[place], alive[place] = box, numbers, True
    return [(Box(*apart[i].tolist()), members[i]) for i in np.flatnonzero(alive)]


def find_clusters(mask: np.ndarray, distance: int) -> list[Box]:
    """Return boxes that hold all of a mask (h, w) and are at least `distance` pixels apart."""
    if not mask.any():
        return []
    waiting = list(Groups(mask, max(1, distance // 4)).boxes())
    found: list[Box] = []
    while waiting:
        box = waiting.pop()
        near = [other for other in found if _near(box, other, distance)]
        if near:
            found = [other for other in found if other not in near]
            tops, lefts, bottoms, rights = zip(box, *near)
            waiting.append(Box(min(tops), min(lefts), max(bottoms), max(rights)))
        else:
            found.append(box)
    return sorted(found)


def _near(one: Box, other: Box, distance: int) -> bool:
    rows = one.top < other.bottom + distance and other.top < one.bottom + distance
    return rows and one.left < other.right + distance and other.left < one.right + distance


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
    return [tile for tile in tiles if _needed(region, mask, tile)]


def _needed(region: Region, mask: np.ndarray, tile: Box) -> bool:
    """Tell whether a tile has pixels of the region."""
    box = region.box
    part = Box(
        max(tile.top, box.top),
        max(tile.left, box.left),
        min(tile.bottom, box.bottom),
        min(tile.right, box.right),
    )
    return min(part.shape) > 0 and bool(region.own_in(mask, part).any())


def _starts(length: int, size: int, overlap: int) -> list[int]:
    """Return where pieces of `size` begin that cover `length`, evenly spread."""
    if length == size:
        return [0]
    last = -(-(length - size) // (size - overlap))
    return [round(i * (length - size) / last) for i in range(last + 1)]
