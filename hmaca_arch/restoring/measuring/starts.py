"""Tell pools apart by how the starts of their equations fit the surroundings.

A Gaussian process that takes colours for those of the wrong pool joins the pixels around the region
less smoothly, see `Equations.start`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from hmaca_arch.degradation import Degradation, Equations

# of the score, which is positive for `centre`: what lost the fewest dB on training images. The
# start for `centre` fits better in any case, hence the offset.
EVIDENCE, STEP, OFFSET = 5.2, 11.2, -2.4
CALIBRATED = 0.4  # of the score: the logarithm of the odds
LARGE = 10.0  # log likelihood ratio beyond which more evidence hardly counts
OPEN = 16.0  # log likelihood ratio from which the pool is not open
LONGEST = 256  # side in pixels: larger regions take long, and have many blocks to tell from
LEAST = 1e-4  # root mean square of a step; smaller ones are rounding


def step_at_border(image: np.ndarray, region: np.ndarray) -> float:
    """Return the mean square of the differences across a region's border.

    Args:
        image: (h, w, c).
        region: (h, w) bool.
    """
    squares, count = 0.0, 0
    for axis in (0, 1):
        border = np.diff(region, axis=axis)
        squares += float(np.square(np.diff(image, axis=axis)[border]).mean(axis=-1).sum())
        count += int(border.sum())
    return squares / max(count, 1)


def steps_of(image: np.ndarray, area: np.ndarray, ways: Sequence[Degradation]) -> list[float]:
    """Return `step_at_border` of the start for each degradation.

    Args:
        image: (h, w, c) in [0, 1].
        area: (h, w) bool, what is degraded.
        ways: degradations it may have.
    """
    y = torch.from_numpy(image).float().permute(2, 0, 1)[None]
    region = torch.from_numpy(area).float()[None, None]
    starts = [Equations(y, region, [way]).start()[0].permute(1, 2, 0).numpy() for way in ways]
    return [step_at_border(np.where(area[..., None], one, image), area) for one in starts]


def decide_pool(
    image: np.ndarray, area: np.ndarray, found: Degradation, evidence: float
) -> tuple[str, float]:
    """Decide the pool of blocks whose colours leave it open.

    Args:
        image: (h, w, c) in [0, 1].
        area: (h, w) bool, the blocks.
        found: the blocks; their pool does not count.
        evidence: see `pool_evidence`, less than `OPEN` in size.

    Returns:
        The pool, and the logarithm of the odds for it.
    """
    mean, centre = steps_of(image, area, [replace(found, pool=way) for way in ('mean', 'centre')])
    ratio = float(np.log((mean + LEAST**2) / (centre + LEAST**2)))
    score = EVIDENCE * np.tanh(evidence / LARGE) + STEP * ratio + OFFSET
    return ('centre' if score > 0 else 'mean'), CALIBRATED * abs(score)
