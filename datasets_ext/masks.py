"""Random region masks. The paper draws one square; the other shapes are extensions.

A mask is (h, w, 1) bool. True marks a degraded pixel, to be restored. Every drawn region has at
least one pixel and lies inside the image.
"""

import cv2
import numpy as np


def _square(height: int, width: int, side: int, rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    mask[top : top + side, left : left + side] = 1
    return mask


def _aspect(rng: np.random.Generator) -> float:
    """Draw the square root of a ratio of sides between 1/3 and 3."""
    return float(np.exp(rng.uniform(-0.5, 0.5) * np.log(3)))


def _rectangles(height: int, width: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one to three rectangles, which cover side * side pixels unless they overlap."""
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
    """Draw one to three rotated ellipses of together about side * side pixels."""
    mask = np.zeros((height, width), np.uint8)
    count = int(rng.integers(1, 4))
    for _ in range(count):
        aspect = _aspect(rng)
        radius, longest = side / (count * np.pi) ** 0.5, min(height, width) / 2
        axes = [int(min(longest, radius * factor)) for factor in (aspect, 1 / aspect)]
        margin = min(max(axes), (min(height, width) - 1) // 2)  # keeps the ellipse inside the image
        x, y = rng.integers(margin, width - margin), rng.integers(margin, height - margin)
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(mask, (int(x), int(y)), axes, angle, 0, 360, color=1, thickness=-1)
    return mask


def _strokes(height: int, width: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one to three brush strokes with three to eight bends."""
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
        corners = np.rint(points).astype(np.int32)
        cv2.polylines(mask, [corners], isClosed=False, color=1, thickness=thickness)
    return mask


def _several(height: int, width: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw two to four regions of the other shapes, each of half to full size. They may touch."""
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(2, 5))):
        draw = (_square, _rectangles, _ellipses, _strokes)[rng.integers(4)]
        mask |= draw(height, width, max(1, round(side * rng.uniform(0.5, 1.0))), rng)
    return mask


_DRAW = {
    'square': _square,
    'rectangles': _rectangles,
    'ellipses': _ellipses,
    'strokes': _strokes,
    'several': _several,
}
SHAPES = tuple(_DRAW)


def draw_region(
    shape: str, height: int, width: int, side: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw a region at a random place.

    Args:
        shape: one of SHAPES. A `square` has exactly side x side pixels. The other shapes cover
            about as many, `several` up to four times as many.
        height: of the image in pixels, >= 1.
        width: of the image in pixels, >= 1.
        side: in pixels, >= 1; at most the image's shorter side is used.
        rng: the source of randomness.

    Returns:
        (height, width, 1) bool, True inside the region.

    Raises:
        ValueError: `shape` is unknown, or `side` is less than 1.
    """
    if shape not in _DRAW:
        raise ValueError(f'region: there is no shape {shape!r}; known: {", ".join(SHAPES)}')
    if side < 1:
        raise ValueError(f'region: the side is {side}, expected at least 1 pixel')
    return _DRAW[shape](height, width, min(side, height, width), rng).astype(bool)[..., None]


def components(mask: np.ndarray) -> list[tuple[int, int, int, int, np.ndarray]]:
    """Find the connected regions (8 neighbours) of a mask (h, w, 1), from top to bottom.

    Returns:
        For each region: top, left, height and width of its bounding box in pixels; and
        (height, width, 1) bool, True where a pixel of the box belongs to the region.
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
