"""Find the degraded part of a mask that is too wide.

It ends where the local statistics change along its border.
"""

from collections.abc import Callable

import cv2
import numpy as np

from hmaca_arch.restoring.regions import Box, marked_box

WIDEST = 16  # pixels by which a mask may be too wide
LEAST = 12  # shortest side that is left of it, in pixels
END_GAP = 5  # pixels; up to such a gap, what is smooth is taken to reach the mask's end
SHARED = 3  # neighbouring pixels whose odds are one piece of evidence
# Log likelihoods, chosen on training images.
GAINED = 20.0  # that a smaller area must gain
GAINED_BY_SIDE = 20.0  # that each side that moves must gain, in rectangles


def is_rectangle(mask: np.ndarray) -> bool:
    """Tell whether a mask (h, w) bool, not empty, fills its bounding box."""
    return bool(mask[marked_box(mask).area].mean() > 0.98)


def depth_of(mask: np.ndarray) -> np.ndarray:
    """Return the distance (h, w) in pixels (chessboard) to the nearest pixel outside the mask.

    Beyond the image's edge goes on what is at the edge.
    """
    padded = np.pad(mask, WIDEST + 1, mode='edge').astype(np.uint8)
    inside = slice(WIDEST + 1, -WIDEST - 1)
    return cv2.distanceTransform(padded, cv2.DIST_C, 3)[inside, inside]


def find_area(activity: np.ndarray, mask: np.ndarray, band: np.ndarray) -> np.ndarray:
    """Split the mask where the mean activity changes.

    Args:
        activity: (h, w) not negative, its mean differs between what is degraded and what is not.
        mask: (h, w) bool, one region.
        band: (h, w) bool, pixels around it that are known to be clean.

    Returns:
        (h, w) bool, inside the mask: the mask itself unless a smaller area fits much better.
    """
    if not band.any():
        return mask
    depth = depth_of(mask)
    clean, cleans = float(activity[band].sum()), int(band.sum())
    whole, pixels = float(activity[mask].sum()), int(mask.sum())

    def cost(total: float, count: int) -> float:
        others, rest = clean + whole - total, cleans + pixels - count
        return count * np.log(total / max(1, count) + 1e-6) + rest * np.log(others / rest + 1e-6)

    plain = cost(whole, pixels)
    best, at = plain, 0
    for erosion in range(1, WIDEST + 1):
        inner = depth > erosion
        if inner.sum() < LEAST**2:
            break
        value = cost(float(activity[inner].sum()), int(inner.sum()))
        if value < best:
            best, at = value, erosion
    if not is_rectangle(mask):
        return depth > at if plain - best > GAINED else mask
    # a rectangle may have holes
    sums = tuple(cv2.integral((values * mask).astype(np.float64)) for values in (activity, 1))
    found = _best_box(marked_box(mask), at, sums, cost)
    gained = plain - cost(*_box_sum(found, sums))
    if gained <= GAINED:
        return mask
    return found.filled(*mask.shape) & mask


def likely_area(odds: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the part of a mask that is likely to be degraded; all of it if there is none.

    It is a smaller rectangle of a rectangle. Other masks are taken to be too wide by the same
    everywhere.

    Args:
        odds: (h, w), logarithms of the odds that a pixel is degraded. 0 where they are not known:
            such pixels count as degraded.
        mask: (h, w) bool, one region.
    """
    if not is_rectangle(mask):
        depth = depth_of(mask)
        inner = [depth > wider for wider in range(WIDEST + 1)]
        return max((one for one in inner if one.any()), key=lambda one: odds[one].sum())
    evidence = np.where(mask, odds, 0) / SHARED
    sums = tuple(cv2.integral(values.astype(np.float64)) for values in (evidence, mask))
    found = _best_box(marked_box(mask), 0, sums, lambda total, count: -total)
    return found.filled(*mask.shape) & mask


def _box_sum(box: Box, sums: tuple[np.ndarray, ...]) -> tuple[float, int]:
    """Return the sum of the activity in a box, and how many masked pixels it holds."""
    top, left, bottom, right = box
    total, count = (
        float(one[bottom, right] - one[top, right] - one[bottom, left] + one[top, left])
        for one in sums
    )
    return total, round(count)


def _best_box(
    box: Box, start: int, sums: tuple[np.ndarray, ...], cost: Callable[..., float]
) -> Box:
    """Move the four sides inwards, one after the other, to where the cost is least.

    Each side that moves must lower it by GAINED_BY_SIDE.
    """
    best = None
    for at in {start, 0}:
        insets = [at] * 4
        for _ in range(3):
            for side in range(4):
                options = []
                for inset in range(WIDEST + 1):
                    tried = [*insets[:side], inset, *insets[side + 1 :]]
                    top, left, bottom, right = tried
                    inner = Box(
                        box.top + top, box.left + left, box.bottom - bottom, box.right - right
                    )
                    if min(inner.shape) >= min(LEAST, *box.shape):
                        moved = GAINED_BY_SIDE * sum(pixels > 0 for pixels in tried)
                        options.append((cost(*_box_sum(inner, sums)) + moved, inset, inner))
                value, insets[side], inner = min(options, default=(np.inf, insets[side], box))
        if best is None or value < best[0]:
            best = (value, inner)
    assert best is not None
    return best[1]
