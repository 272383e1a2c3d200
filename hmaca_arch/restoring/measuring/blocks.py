"""Measure pixelization: the block grid, where it lies, and which pixels it covers."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from hmaca_arch.restoring.measuring.border import WIDEST, depth_of, is_rectangle
from hmaca_arch.restoring.regions import marked_box

LARGEST = 64  # longest block side that is looked for, in pixels
ON_GRID = 0.97  # part of all colour changes that lie on the lines of a grid
FLAT = 0.95  # part of the pixels that lie in runs of equal colour, at least FEWEST of them
FEWEST = 4
# Evidence by pixel of the mask that a few flat pixels reach by chance, where black or white is cut.
CHANCE = 0.025


class Grid(NamedTuple):
    """A block grid.

    Attributes:
        block: side of a block in pixels.
        offset: row and column of a block's corner, below `block`.
        area: (h, w) bool, the pixels it covers, inside the mask and beyond.
        spill: pixels by which it reaches beyond the mask.
        everywhere: whether all that surrounds the mask lies on it as well, as in an enlarged image,
            or where only a part of what is pixelized was masked.
    """

    block: int
    offset: tuple[int, int]
    area: np.ndarray
    spill: int
    everywhere: bool = False


def _changes(image: np.ndarray, axis: int) -> np.ndarray:
    """Return where a pixel's colour differs from the one before it along the axis, (h, w) bool.

    The first of each line does not.
    """
    changed = np.zeros(image.shape[:2], bool)
    differs = (np.diff(image, axis=axis) != 0).any(axis=2)
    changed[(slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))] = differs
    return changed


def _before(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the value of the pixel before each, False for the first."""
    moved = np.zeros_like(values)
    if axis == 0:
        moved[1:] = values[:-1]
    else:
        moved[:, 1:] = values[:, :-1]
    return moved


def _flat_runs(changed: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Label the 4-connected runs of equal pixels.

    Returns:
        Labels (h, w), and the number of pixels of each label.
    """
    shape = changed[0].shape
    index = np.arange(changed[0].size).reshape(shape)
    down, right = ~changed[0][1:], ~changed[1][:, 1:]
    first = np.concatenate([index[:-1][down], index[:, :-1][right]])
    second = np.concatenate([index[1:][down], index[:, 1:][right]])
    graph = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(index.size, index.size))
    labels = connected_components(graph, directed=False)[1]
    return labels.reshape(shape), np.bincount(labels)


def _extent(labels: np.ndarray, core: np.ndarray, sizes: np.ndarray) -> int:
    """Return the longest side of the runs that touch the core."""
    touching = np.unique(labels[core])
    touching = touching[sizes[touching] >= FEWEST]
    places: np.ndarray = np.indices(labels.shape)
    longest = 0
    inside = np.isin(labels, touching)
    for place in (places[0], places[1]):
        high = np.zeros(len(sizes), int)
        low = np.full(len(sizes), max(labels.shape), int)
        np.maximum.at(high, labels[inside], place[inside])
        np.minimum.at(low, labels[inside], place[inside])
        lengths = np.asarray(high - low + 1)
        longest = max(longest, int(lengths[touching].max(initial=0)))
    return longest


def _fit_lines(counts: list[np.ndarray], longest: int) -> tuple[int, tuple[int, int]] | None:
    """Return the largest block, and its offset, on whose lines nearly all colour changes lie.

    Args:
        counts: of changes, by row and by column.
        longest: the largest block that is tried.
    """
    total = sum(int(count.sum()) for count in counts)
    for block in range(min(longest, LARGEST), 1, -1):
        offset, on_grid = [], 0.0
        for count in counts:
            by_phase = np.bincount(np.arange(len(count)) % block, weights=count, minlength=block)
            offset.append(int(by_phase.argmax()))
            on_grid += by_phase.max()
        if on_grid >= ON_GRID * total:
            return block, (offset[0], offset[1])
    return None


def exact_grid(image: np.ndarray, mask: np.ndarray) -> Grid | None:
    """Find the grid of blocks of equal pixels; None if there is none.

    Args:
        image: (h, w, c) integers.
        mask: (h, w) bool, one region.
    """
    changed = [_changes(image, axis) for axis in (0, 1)]
    labels, sizes = _flat_runs(changed)
    flat = sizes[labels] >= FEWEST
    best: tuple[np.ndarray, int, tuple[int, int]] | None = None
    most = 0.0
    for core in _cores(mask, sizes[labels]):
        if not core.any() or flat[core].mean() < FLAT or len(np.unique(labels[core])) < FEWEST:
            continue
        counts = [
            (change & core & _before(core, axis)).sum(axis=1 - axis)
            for axis, change in enumerate(changed)
        ]
        found = _fit_lines(counts, _extent(labels, core, sizes))
        if found is None:
            continue
        changes = sum(int(count.sum()) for count in counts)
        evidence = changes * np.log(found[0])
        least = CHANCE * mask.sum()
        if evidence > max(most, least) and changes >= max(12, 3 * found[0]):
            best, most = (core, *found), evidence
    if best is None:
        return None
    if _continues(changed, ~mask, *best[1:]):
        return Grid(*best[1:], mask, 0, everywhere=True)
    area, spill = _grow(changed, labels, mask, *best)
    return Grid(*best[1:], area, spill)


def _cores(mask: np.ndarray, run: np.ndarray) -> Iterator[np.ndarray]:
    """Yield parts of the mask that may be degraded throughout.

    They are what is left if the mask is too wide, and where the runs of equal pixels are long.

    Args:
        mask: (h, w) bool.
        run: (h, w) number of pixels of the run that each pixel belongs to.
    """
    depth = depth_of(mask)
    for erosion in range(WIDEST + 1):
        yield depth > erosion
    for length in (FEWEST, 9, 20, 50):
        long = cv2.morphologyEx(
            (mask & (run >= length)).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)
        )
        count, labels, boxes, _ = cv2.connectedComponentsWithStats(long, connectivity=4)
        if count > 1:
            yield labels == 1 + int(boxes[1:, cv2.CC_STAT_AREA].argmax())


def off_grid(shape: tuple[int, int], block: int, offset: tuple[int, int]) -> list[np.ndarray]:
    """(h, w) bool for rows and for columns: this pixel and the one before it lie in one block."""
    rows = (np.arange(shape[0]) - offset[0]) % block != 0
    columns = (np.arange(shape[1]) - offset[1]) % block != 0
    return [np.broadcast_to(rows[:, None], shape), np.broadcast_to(columns[None], shape)]


def _continues(
    changed: list[np.ndarray], outside: np.ndarray, block: int, offset: tuple[int, int]
) -> bool:
    """Tell whether the surroundings lie on the same grid."""
    away = cv2.erode(outside.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    inner = off_grid(outside.shape, block, offset)
    pairs = [away & _before(away, axis) for axis in (0, 1)]
    within = sum(
        int((change & pair & inside).sum()) for change, pair, inside in zip(changed, pairs, inner)
    )
    every = sum(int((change & pair).sum()) for change, pair in zip(changed, pairs))
    return every > 100 and within < (1 - ON_GRID) * every


def _grow(
    changed: list[np.ndarray],
    labels: np.ndarray,
    mask: np.ndarray,
    core: np.ndarray,
    block: int,
    offset: tuple[int, int],
) -> tuple[np.ndarray, int]:
    """Return the pixels that the grid covers, from a core that it does.

    The second value is by how much they reach beyond the mask.
    """
    inner = off_grid(mask.shape, block, offset)
    torn = [change & inside for change, inside in zip(changed, inner)]
    if not is_rectangle(core):
        area = (core | (np.isin(labels, np.unique(labels[core])) & mask)) & mask
        edge = [
            (area & ~_before(mask, axis), ~area & _before(area, axis) & ~mask) for axis in (0, 1)
        ]
        pairs = [(a | b) & inside for (a, b), inside in zip(edge, inner)]
        count = sum(int(pair.sum()) for pair in pairs)
        equal = sum(int((pair & ~change).sum()) for pair, change in zip(pairs, changed))
        return area, int(count > 8 and equal > 0.8 * count)
    box = list(marked_box(core))
    for _ in range(2):
        for side in range(4):
            _push(box, side, torn)
    area = np.zeros_like(mask)
    area[box[0] : box[2], box[1] : box[3]] = True
    outside = area & ~mask
    depth = cv2.distanceTransform((~np.pad(mask, 1)).astype(np.uint8), cv2.DIST_C, 3)[1:-1, 1:-1]
    return (area, int(depth[outside].max())) if outside.sum() > 8 else (area & mask, 0)


def _push(box: list[int], side: int, torn: list[np.ndarray]) -> None:
    """Move one side of the box outwards while the next line of pixels lies in the blocks."""
    axis, last = side % 2, side >= 2
    while True:
        line = box[side] if last else box[side] - 1
        if not 0 <= line < torn[0].shape[axis]:
            return
        along = slice(box[1 - axis] + 1, box[3 - axis])
        across = slice(box[1 - axis], box[3 - axis])
        pick = (lambda i, part: (i, part)) if axis == 0 else (lambda i, part: (part, i))
        tears = torn[1 - axis][pick(line, along)].mean()
        seam = torn[axis][pick(line if last else line + 1, across)].mean()
        if tears > 0.02 or seam > 0.02:
            return
        box[side] += 1 if last else -1
