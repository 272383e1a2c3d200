"""Region masks: where a picture is degraded. The paper has one square; everything else here is an
extension.

A mask is (h, w, 1) bool, True = degraded = to be restored. Every draw marks at least one pixel and
lies inside the picture.
"""

import cv2
import numpy as np

SHAPES = ('square', 'rectangles', 'ellipses', 'strokes', 'several')


def _square(height: int, width: int, side: int, rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    mask[top : top + side, left : left + side] = 1
    return mask


def _aspect(rng: np.random.Generator) -> float:
    """Square root of a ratio of sides between 1/3 and 3."""
    return float(np.exp(rng.uniform(-0.5, 0.5) * np.log(3)))


def _rectangles(height: int, width: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """One to three rectangles, together about side * side pixels where they do not overlap."""
    mask = np.zeros((height, width), np.uint8)
    count = int(rng.integers(1, 4))
    for _ in range(count):
        aspect = _aspect(rng)
        rows = min(height, max(1, round(side / count**0.5 * aspect)))
        columns = min(width, max(1, round(side / count**0.5 / aspect)))
        top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
        mask[top : top + rows, left : left + columns] = 1
    return mask


def _ellipses(height: int, width: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """One to three rotated ellipses, together about side * side pixels."""
    mask = np.zeros((height, width), np.uint8)
    count = int(rng.integers(1, 4))
    for _ in range(count):
        aspect = _aspect(rng)
        axes = [
            min(min(height, width) / 2, side / (count * np.pi) ** 0.5 * factor)
            for factor in (aspect, 1 / aspect)
        ]
        reach = min(
            int(max(axes)), (min(height, width) - 1) // 2
        )  # keeps the ellipse inside the picture
        centre = int(rng.integers(reach, width - reach)), int(rng.integers(reach, height - reach))
        cv2.ellipse(
            mask,
            centre,
            (int(axes[0]), int(axes[1])),
            float(rng.uniform(0, 180)),
            0,
            360,
            color=1,
            thickness=-1,
        )
    return mask


def _strokes(height: int, width: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """One to three brush strokes with three to eight bends."""
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        thickness = max(1, round(side * rng.uniform(0.1, 0.3)))
        point = np.array([rng.integers(width), rng.integers(height)], float)
        angle = rng.uniform(0, 2 * np.pi)
        points = [point]
        for _ in range(int(rng.integers(3, 9))):
            angle += rng.normal(0, 0.8)
            step = side * rng.uniform(0.2, 0.6) * np.array([np.cos(angle), np.sin(angle)])
            point = np.clip(point + step, 0, (width - 1, height - 1))
            points.append(point)
        cv2.polylines(
            mask, [np.rint(points).astype(np.int32)], isClosed=False, color=1, thickness=thickness
        )
    return mask


def _several(height: int, width: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Two to four regions of any of the other shapes, each of half to full size. They may touch."""
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(2, 5))):
        draw = (_square, _rectangles, _ellipses, _strokes)[rng.integers(4)]
        mask |= draw(height, width, max(1, round(side * rng.uniform(0.5, 1.0))), rng)
    return mask


_DRAW = dict(zip(SHAPES, (_square, _rectangles, _ellipses, _strokes, _several)))


def draw_region(
    shape: str, height: int, width: int, side: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw a region at a random place.

    Args:
        shape: one of SHAPES. `square` is exactly side x side; the others cover about as much
            (`several`: two to four times half of it).
        height, width: the picture's size in pixels, each >= 1.
        side: in pixels; cut to the picture's shorter side.
        rng: where all randomness comes from.

    Returns:
        (height, width, 1) bool, True inside the region.

    Raises:
        ValueError: unknown shape, or side < 1.
    """
    if shape not in _DRAW:
        raise ValueError(f'region: there is no shape {shape!r}; known: {", ".join(SHAPES)}')
    if side < 1:
        raise ValueError(f'region: a side of {side} pixels was asked for, expected at least 1')
    return _DRAW[shape](height, width, min(side, height, width), rng).astype(bool)[..., None]


def components(mask: np.ndarray) -> list[tuple[int, int, int, int, np.ndarray]]:
    """The connected regions (8 neighbours) of a mask, top to bottom.

    Returns:
        For each: top, left, height and width of its bounding box, and (height, width, 1) bool, True
        where the box belongs to it.
    """
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(mask[..., 0], dtype=np.uint8), connectivity=8
    )
    found = []
    for label in range(1, count):
        left, top, width, height = (int(value) for value in boxes[label, :4])
        inside = labels[top : top + height, left : left + width, None] == label
        found.append((top, left, height, width, inside))
    return sorted(found, key=lambda item: item[:4])
