"""Masks for tests of regions and tiles."""

import numpy as np
from hypothesis import strategies as st

from hmaca_arch.restoring.regions import Box


def mask_of(height: int, width: int, *boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    for box in boxes:
        mask[Box(*box).area] = 1
    return mask


@st.composite
def masks(draw) -> np.ndarray:
    """Specks and rectangles on images of all proportions."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = draw(st.integers(1, 120)), draw(st.integers(1, 120))
    mask = (rng.random((height, width)) < draw(st.sampled_from([0, 0.0005, 0.005]))).astype(
        np.uint8
    )
    for _ in range(draw(st.integers(0, 4))):
        top, left = rng.integers(height), rng.integers(width)
        mask[top : top + rng.integers(1, 30), left : left + rng.integers(1, 30)] = 1
    return mask
