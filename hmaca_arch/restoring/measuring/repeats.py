"""Find regions that were enlarged from fewer pixels, or coded in blocks by themselves.

Interpolation leaves fine detail that is stronger at some of the new pixels than at others, and so
does coding at the borders of blocks (Kirchner, "Fast and reliable resampling detection by spectral
analysis of fixed linear predictor residue", MM&Sec 2008). What repeats in the image itself repeats
with its sign, and does not count. Neither does what repeats around the region as well.
"""

import numpy as np

from hmaca_arch.restoring.regions import Box, marked_box

ORDERS = (3, 4)  # of the differences between pixels
FREQUENCIES = np.linspace(0.11, 0.5, 40)  # per pixel
# Most images are enlarged by whole numbers or simple fractions. Elsewhere the image itself is as
# likely to repeat.
WHOLE = np.unique([at / whole for whole in (2, 3, 4, 5, 6, 8) for at in range(1, whole)])
NEARLY, ELSEWHERE = 0.006, 0.5  # per pixel; what counts of the strength
WEIGHTS = np.where(np.abs(FREQUENCIES[:, None] - WHOLE).min(axis=1) < NEARLY, 1, ELSEWHERE)
ROUNDING = 1.5  # grey levels in a difference below which rounding hides the rest
SMOOTH = 7  # pixels over which the profile may vary by itself
SHORTEST, LONGEST = 20, 256  # sides of what is looked at, in pixels
GAP = 3  # pixels between the region and what is looked at beside it
BESIDE = 2.0  # how much that counts against the region
# Strength from which a region counts as made of fewer pixels, over its side in pixels: what repeats
# by chance grows with it. Chosen on training images.
LEAST, LEAST_SIDE = 0.8, 40.0


def _strengths(values: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return how strongly the detail repeats, (FREQUENCIES,); about 2 if it does not."""
    total = np.zeros(len(FREQUENCIES))
    for turned, inside in ((values, area), (values.T, area.T)):
        for order in ORDERS:
            change, length = np.diff(turned, order, axis=1), turned.shape[1] - order
            whole = np.all([inside[:, at : at + length] for at in range(order + 1)], axis=0)
            count = np.maximum(1, whole.sum(axis=0))
            change = change - (change * whole).sum(axis=0) / count
            energy = np.log(change**2 + ROUNDING**2)
            if whole.sum() < SHORTEST**2 or not energy[whole].var():
                continue
            profile = ((energy - energy[whole].mean()) * whole).sum(axis=0) / count
            padded = np.pad(profile, SMOOTH // 2, mode='edge')
            profile -= np.convolve(padded, np.ones(SMOOTH) / SMOOTH, 'valid')
            weights = np.hanning(length + 2)[1:-1]
            waves = np.exp(-2j * np.pi * FREQUENCIES[:, None] * np.arange(length))
            chance = energy[whole].var() * (weights**2 / count).sum()
            total += np.abs(waves @ (profile * weights)) ** 2 / chance / 2
    return total


def _places(box: Box, shape: tuple[int, int]) -> list[Box]:
    """Return the middle of a box, and what lies above, below, left and right of the box."""
    height, width = (min(length, LONGEST) for length in box.shape)
    top, left = (box.top + box.bottom - height) // 2, (box.left + box.right - width) // 2
    corners = [
        (top, left),
        (box.top - GAP - height, left),
        (box.bottom + GAP, left),
        (top, box.left - GAP - width),
        (top, box.right + GAP),
    ]
    return [
        Box(max(0, y), max(0, x), min(shape[0], y + height), min(shape[1], x + width))
        for y, x in corners
    ]


def repeats(image: np.ndarray, area: np.ndarray, outside: np.ndarray) -> bool:
    """Tell whether the detail of a region repeats every few pixels, and only there.

    Args:
        image: (h, w, c) in grey levels of 0 to 255.
        area: (h, w) bool, the region.
        outside: (h, w) bool, pixels that are not degraded.
    """
    middle, *beside = _places(marked_box(area), area.shape)
    beside = [place for place in beside if min(place.shape) >= SHORTEST]
    if min(middle.shape) < SHORTEST or not beside:
        return False
    values = np.rint(image).mean(axis=2, dtype=np.float64)
    strength = _strengths(values[middle.area], area[middle.area])
    others = [_strengths(values[place.area], outside[place.area]) for place in beside]
    side = max(LEAST_SIDE, float(np.sqrt(area[middle.area].sum())))
    left = WEIGHTS * (strength - BESIDE * np.max(others, axis=0))
    return bool(left.max() > LEAST * side)
