"""From a mask to the pieces of a picture that a network sees, and back.

A region is a group of masked pixels whose surroundings (`context`) overlap. Its crop is its
bounding box with the context around it; crops of different regions never overlap, so each holds its
own masked pixels and no others. A crop larger than the tile limit is cut into overlapping tiles of
equal size, of which those without a masked pixel are left out, and the tiles are blended by ramps
over the overlap. The cost of everything here, but for reading the mask once, follows the regions
and not the picture.
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

    def moved(self, down: int, right: int) -> 'Box':
        """Return the box so many pixels further down and to the right."""
        return Box(self.top + down, self.left + right, self.bottom + down, self.right + right)

    def within(self, other: 'Box') -> 'Box':
        """Return the same pixels, counted from the corner of `other`."""
        return self.moved(-other.top, -other.left)


class Region(NamedTuple):
    """box: around the masked pixels; crop: with the context."""

    box: Box
    crop: Box


def marked_box(mask: np.ndarray) -> Box:
    """Return the box around what is not 0 in a mask (h, w) of any type.

    It is empty if there is nothing. It costs one look at each pixel, and no copy of an 8-bit mask.
    """
    left, top, columns, rows = cv2.boundingRect(
        mask.view(np.uint8) if mask.itemsize == 1 else (mask > 0).view(np.uint8)
    )
    return Box(top, left, top + rows, left + columns)


def find_regions(mask: np.ndarray, context: int) -> list[Region]:
    """Return the regions of a mask (h, w), 0 = keep, with `context` pixels around them.

    Their crops do not overlap.
    """
    height, width = mask.shape
    marked = mask if mask.dtype == np.uint8 else (mask > 0).view(np.uint8)
    bounds = marked_box(marked)
    if not bounds.bottom:
        return []
    top, left = bounds[:2]
    marked = marked[bounds.area]
    # Grown by twice the context towards one side, pixels whose context overlaps are neighbours:
    # thousands of specks become few boxes.
    more = min(max(0, 2 * context - 1), max(marked.shape))  # that far, everything meets everything
    near = cv2.copyMakeBorder(
        (marked > 0).view(np.uint8), more, 0, more, 0, cv2.BORDER_CONSTANT, value=0
    )
    # sums, and not cv2.dilate, whose time grows with the context
    near = cv2.boxFilter(
        near,
        cv2.CV_32S,
        (more + 1, more + 1),
        anchor=(0, 0),
        normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )
    near = (near > 0).view(np.uint8)
    boxes = [
        Box(top + y, left + x, top + y + h - more, left + x + w - more)
        for x, y, w, h in cv2.connectedComponentsWithStats(near, connectivity=8)[2][1:, :4].tolist()
    ]
    return [
        Region(box, box.grown(context, height, width))
        for box in sorted(_merged(boxes, 2 * context))
    ]


def _merged(boxes: list[Box], distance: int) -> list[Box]:
    """Join boxes closer than `distance`, until there are none.

    A speck may lie inside a ring, and two joined boxes may meet a third.
    """
    waiting, apart = list(boxes), np.empty((len(boxes), 4), int)
    count = 0
    while waiting:
        box = waiting.pop()
        top, left, bottom, right = apart[:count].T
        rows_meet = (top < box.bottom + distance) & (box.top < bottom + distance)
        meeting = rows_meet & (left < box.right + distance) & (box.left < right + distance)
        if meeting.any():
            joined, others = np.vstack([apart[:count][meeting], box]), apart[:count][~meeting]
            count = len(others)
            apart[:count] = others
            waiting.append(
                Box(*joined[:, :2].min(axis=0).tolist(), *joined[:, 2:].max(axis=0).tolist())
            )
        else:
            apart[count] = box
            count += 1
    return [Box(*row) for row in apart[:count].tolist()]


def cut(region: Region, mask: np.ndarray, limit: int, overlap: int) -> list[Box]:
    """Return the tiles of a region, each with some masked pixel.

    They are of equal size, at most limit x limit, and have at least `overlap` pixels in common with
    the next. A region that is not larger than the limit is one tile.

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
    return [tile for tile in tiles if mask[tile.area].any()]


def _starts(length: int, size: int, overlap: int) -> list[int]:
    """Where pieces of `size` begin that cover `length`, evenly spread."""
    if length == size:
        return [0]
    last = -(-(length - size) // (size - overlap))
    return [round(i * (length - size) / last) for i in range(last + 1)]


class Blend:
    """Put the restored tiles of one region together.

    A pixel is the mean of its tiles, weighted by ramps that fall off over the overlap. At a tile's
    border, where the network knew least of the surroundings, a tile counts for little. At the
    crop's border it counts in full.
    """

    def __init__(self, region: Region, channels: int, overlap: int) -> None:
        self.crop, self.overlap = region.crop, overlap
        self.sum = np.zeros((*region.crop.shape, channels), np.float32)
        self.weight = np.zeros((*region.crop.shape, 1), np.float32)

    def add(self, tile: Box, values: np.ndarray) -> None:
        """Add a tile: values (h, w, c) float."""
        inside = tile.within(self.crop)
        rows = _ramp(inside.top, inside.bottom, self.crop.shape[0], self.overlap)
        columns = _ramp(inside.left, inside.right, self.crop.shape[1], self.overlap)
        weight = rows[:, None, None] * columns[None, :, None]
        self.sum[inside.area] += weight * values
        self.weight[inside.area] += weight

    def result(self) -> np.ndarray:
        """Return the crop, (h, w, c) float32.

        It is 0 where there was no tile, which is nowhere inside the mask.
        """
        return np.divide(self.sum, self.weight, out=np.zeros_like(self.sum), where=self.weight > 0)


def _ramp(start: int, stop: int, length: int, overlap: int) -> np.ndarray:
    """Return weights along one side of a tile from start to stop of `length` pixels.

    They are 1, but fall towards ends that are not the whole's.
    """
    position = np.arange(stop - start, dtype=np.float32)
    weight = np.ones_like(position)
    if start > 0:
        weight = np.minimum(weight, (position + 1) / (overlap + 1))
    if stop < length:
        weight = np.minimum(weight, (stop - start - position) / (overlap + 1))
    return weight


def paste_weights(mask: np.ndarray, region: Region, feather: int) -> np.ndarray:
    """Return how much of the restored pixels is taken: the mask's crop (h, w), float64.

    It fades over `feather` pixels towards the region's border, inside the mask. The image's own
    border is none of the region's.
    """
    weights = mask[region.crop.area].astype(np.float64)
    if not feather:
        return weights
    wider = region.crop.grown(
        1, *mask.shape
    )  # context 0: pixels just outside the crop are outside the mask
    distance = cv2.distanceTransform(
        (mask[wider.area] > 0).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    distance = distance[region.crop.within(wider).area]
    return weights * np.minimum(1, distance / (feather + 1))
