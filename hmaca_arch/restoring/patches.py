"""The part of an image that a restoration changes, and how much around it is looked at."""

from typing import NamedTuple

import numpy as np

from hmaca_arch.restoring.grouping import EVEN
from hmaca_arch.restoring.regions import Box, Region
from hmaca_arch.restoring.telling import AROUND

BLOCK = 8  # of a JPEG: measuring begins at one


class Patch(NamedTuple):
    """What `Restorer.patch` returns.

    Attributes:
        box: the part of the image that may have changed.
        pixels: (h, w, c) of that part, restored.
        regions: what was restored, in the image.
        notes: what the user should know, a sentence each.
    """

    box: Box
    pixels: np.ndarray
    regions: list[Region]
    notes: list[str]


def pixels_seen(context: int) -> int:
    """Return how far from the masked pixels a restoration looks at an image."""
    return max(context + EVEN, AROUND + BLOCK - 1)
