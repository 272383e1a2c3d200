"""What was measured of one region, and how it is said."""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hmaca_arch.degradation import Degradation

SURE = ((0.9, 'sure'), (0.6, 'likely'), (0.0, 'a guess'))
LOSSY_CAUTION = 0.5  # spreads by which blur before JPEG is taken for weaker


class Measured(NamedTuple):
    """What was measured of one region.

    Attributes:
        degradation: what was done; its grid and sigma belong to `area`.
        confidence: 0 (guessed) to 1 (sure) that kind and parameters are right.
        area: (h, w) bool, the degraded pixels; those beyond the mask as well, where spill says so.
        spill: pixels by which the degraded area reaches beyond the mask; 0 if it does not, or if
            that is not known.
        words: the same for people.
        spread: standard deviation of the logarithm of sigma before JPEG; 0 if it does not matter.
    """

    degradation: Degradation
    confidence: float
    area: np.ndarray
    spill: int
    words: str
    spread: float = 0.0

    @property
    def cautious(self) -> Degradation:
        """What restores best: blur before JPEG a little weaker. Sharpening too much costs more."""
        found = self.degradation
        if found.kind != 'blur' or not self.spread:
            return found
        return replace(found, sigma=round(found.sigma * math.exp(-LOSSY_CAUTION * self.spread), 3))


def words_of(one: Measured) -> str:
    """Say what was measured, how sure it is, and how the mask fits."""
    found = one.degradation
    text = one.words or {'none': 'nothing wrong', 'unknown': 'something else'}.get(found.kind, '')
    if found.kind == 'pix':
        colour = 'mean' if found.pool == 'mean' else 'middle pixel'
        y, x = found.offset
        text = f'blocks of {found.block} pixels, coloured by their {colour}, grid at {y},{x}'
    elif found.kind == 'blur':
        text = f'Gaussian blur of {found.sigma:.2g} pixels'
    elif found.kernel:
        kind, size, *hard = found.kernel.name.split(':')
        text = f'blur by a box of {size} pixels'
        if kind == 'disc':
            text = f'blur by a disc of radius {size} pixels' + ' with a hard border' * len(hard)
    elif found.kind == 'noise' and not one.words:
        text = f'Gaussian noise of {found.sigma:.3g} grey levels'
    if found.jpeg:
        text += f', JPEG of quality {found.jpeg}'
    if found.kind != 'unknown':
        text += next(f'; {word}' for least, word in SURE if one.confidence >= least)
    if one.spill:
        text += f'; the mask is {one.spill} {"pixel" if one.spill == 1 else "pixels"} too narrow'
    return text
