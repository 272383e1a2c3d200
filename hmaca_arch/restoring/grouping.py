"""Group the masked pixels of an image into regions, so that few pixels go through the network.

Pixels close to each other are one group. Groups are joined where one crop takes fewer pixels than
two. The cost follows the groups and not the image, but for two looks at each pixel of the mask.
"""

import cv2
import numpy as np

from hmaca_arch.restoring.regions import Box, Own, Region, marked_box

CELL = 4  # pixels; painted masks have ragged borders, and a speck beside one is not on its own
MOST_GROUPS = 4000  # joining them takes seconds; more are put together on a coarser grid
# Sides of crops are multiples of it where the image allows. Networks pad to their windows anyway,
# and crops of one size share a batch.
EVEN = 8
NO_LIMIT = 2**31


class Groups:
    """Groups of masked pixels on a grid of square cells.

    Pixels belong together if they lie in one cell or in cells that touch, corners included.

    Args:
        mask: (h, w), 0 = keep.
        step: side of a cell in pixels. It is doubled until there are few enough groups.

    Attributes:
        boxes: around the pixels of each group. Groups are numbered from 1.
    """

    def __init__(self, mask: np.ndarray, step: int) -> None:
        self.mask, self.window, self.step = mask, marked_box(mask), step
        self.boxes: list[Box] = []
        if not self.window.bottom:
            return
        while True:
            count, self.labels, stats, _ = cv2.connectedComponentsWithStats(
                self._grid(), connectivity=8
            )
            if count <= MOST_GROUPS:
                break
            self.step *= 2
        for number, (x, y, w, h) in enumerate(stats[1:, :4].tolist(), start=1):
            cells = Box(y, x, y + h, x + w)
            self.boxes.append(self._tight(number, Box(*(self.step * side for side in cells))))

    def _grid(self) -> np.ndarray:
        """Return (rows, columns) uint8, 1 for cells with masked pixels."""
        marked = self.mask[self.window.area]
        marked = marked.view(np.uint8) if marked.itemsize == 1 else (marked > 0).view(np.uint8)
        rows, columns = (np.arange(0, side, self.step) for side in marked.shape)
        grid = np.maximum.reduceat(np.maximum.reduceat(marked, rows, axis=0), columns, axis=1)
        return np.minimum(grid, 1)

    def _tight(self, number: int, cells: Box) -> Box:
        """Return the box around a group's pixels from that around its cells, in the window."""
        box = cells.moved(*self.window[:2]).grown(0, *self.window[2:])
        own, pixels = self.own((number,), box), self.mask[box.area]
        if own is not None:
            pixels = (pixels > 0) & own.of(box)
        return marked_box(pixels).moved(*box[:2])

    def own(self, numbers: tuple[int, ...], box: Box) -> Own | None:
        """Return which pixels in a box belong to some groups; None if no others lie there."""
        top, left, bottom, right = box.within(self.window)
        top, left = top // self.step, left // self.step
        bottom, right = -(-bottom // self.step), -(-right // self.step)
        labels = self.labels[top:bottom, left:right]
        mine = np.isin(labels, numbers)
        if (mine | (labels == 0)).all():
            return None
        corner = self.window.top + top * self.step, self.window.left + left * self.step
        return Own(mine, self.step, *corner)


def find_regions(
    mask: np.ndarray, context: int, tile: int = NO_LIMIT, whole: bool = False
) -> list[Region]:
    """Find the regions of a mask, from top to bottom.

    Args:
        mask: (h, w), 0 = keep.
        context: pixels around each region that the network sees, at least.
        tile: longest side of what goes through the network at once. Groups are joined only if the
            region's crop is not longer.
        whole: join regions until no crop cuts through the box of another, however many pixels that
            takes. Block grids that are counted from a box need it.
    """
    context = min(context, max(mask.shape))  # that is all there is
    crops = _Crops(context, tile, mask.shape)
    if whole:
        return [Region(box, crops.around(box)) for box in find_clusters(mask, context + EVEN)]
    groups = Groups(mask, min(CELL, max(1, context // 4)))
    found = [
        Region(box, crops.around(box), groups.own(numbers, box))
        for box, numbers in _joined(groups.boxes, crops)
    ]
    return sorted(found, key=lambda region: region.box)


class _Crops:
    """The crops around boxes of an image of a shape (height, width)."""

    def __init__(self, context: int, tile: int, shape: tuple[int, ...]) -> None:
        self.context, self.tile, self.shape = context, tile, np.array(shape)

    def sides(self, boxes: np.ndarray) -> np.ndarray:
        """Return heights and widths (..., 2) of the crops of boxes (..., 4)."""
        low = np.maximum(boxes[..., :2] - self.context, 0)
        sides = np.minimum(boxes[..., 2:] + self.context, self.shape) - low
        even = np.minimum(-(-sides // EVEN) * EVEN, self.shape)
        return np.where(even > self.tile, sides, even)

    def around(self, box: Box) -> Box:
        """Return the crop of one box."""
        height, width = self.shape.tolist()
        rows, columns = self.sides(np.array(box)).tolist()
        least = box.grown(self.context, height, width)
        top = least.top - (rows - least.shape[0]) // 2
        left = least.left - (columns - least.shape[1]) // 2
        top, left = max(0, min(top, height - rows)), max(0, min(left, width - columns))
        return Box(top, left, top + rows, left + columns)


def _joined(boxes: list[Box], crops: _Crops) -> list[tuple[Box, tuple[int, ...]]]:
    """Join boxes while one crop takes fewer pixels than two, the most saving first.

    Returns:
        Boxes with the numbers, from 1, of those that were joined.
    """
    waiting: list[tuple[np.ndarray, tuple[int, ...]]] = [
        (np.array(box), (number,)) for number, box in enumerate(boxes, start=1)
    ]
    apart: dict[int, tuple[int, ...]] = {}  # by their rows of `corners`
    corners, pixels = np.zeros((len(boxes), 4), int), np.zeros(len(boxes), int)
    free = list(range(len(boxes)))
    while waiting:
        box, numbers = waiting.pop()
        own_pixels = int(crops.sides(box).prod())
        union = np.hstack(
            [np.minimum(corners[:, :2], box[:2]), np.maximum(corners[:, 2:], box[2:])]
        )
        sides = crops.sides(union)
        saved = pixels + own_pixels - sides.prod(axis=1)
        saved[(pixels == 0) | (sides.max(axis=1) > crops.tile)] = 0
        best = int(saved.argmax())
        if saved[best] > 0:
            waiting.append((union[best], numbers + apart.pop(best)))
            pixels[best] = 0
            free.append(best)
        else:
            row = free.pop()
            corners[row], pixels[row], apart[row] = box, own_pixels, numbers
    return [(Box(*corners[row].tolist()), numbers) for row, numbers in apart.items()]


def find_clusters(mask: np.ndarray, distance: int) -> list[Box]:
    """Return boxes that hold all of a mask (h, w) and are at least `distance` pixels apart."""
    waiting = Groups(mask, max(1, distance // 4)).boxes
    found: list[Box] = []
    while waiting:
        box = waiting.pop()
        near = [other for other in found if box.common(other.grown(distance, NO_LIMIT, NO_LIMIT))]
        if near:
            found = [other for other in found if other not in near]
            tops, lefts, bottoms, rights = zip(box, *near)
            waiting.append(Box(min(tops), min(lefts), max(bottoms), max(rights)))
        else:
            found.append(box)
    return sorted(found)
