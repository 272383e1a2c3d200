"""Tell degradations apart by how the starts of their equations fit.

Pools: a Gaussian process that takes colours for those of the wrong pool joins the pixels around the
region less smoothly, and is rougher inside than its surroundings let expect, see `Equations.start`.
Blur: told too wide a blur, the start overshoots black and white, and explains the region badly.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from hmaca_arch.degradation import Degradation, Equations
from hmaca_arch.restoring.regions import marked_box

# Of `describe`, and the offset; the score is the logarithm of the odds. Printed by
# `scripts/train_pool.py`, for blocks of SMALLEST to LARGEST pixels; larger ones count as LARGEST.
WEIGHTS = np.array([1.27, 4.29, 4.63, -0.33, -0.33, 1.37, -6.58])
SMALLEST, LARGEST = 6, 24
# The same for smaller blocks, which the others were not fitted to; chosen by hand.
SMALL = np.array([3.5, 11.2, 0, 0, 0, 0, -2.4])
EVIDENCE = 5.0  # log likelihood ratio beyond which more evidence hardly counts
OPEN = 16.0  # log likelihood ratio from which the pool is not open
LONGEST = 256  # side in pixels: larger regions take long, and have many blocks to tell from
AROUND = 24  # pixels around the region that are looked at
LEAST = 1e-4  # root mean square of a step; smaller ones are rounding


def mean_step(image: np.ndarray, pixels: np.ndarray, both: bool) -> float:
    """Return the mean square difference of neighbouring pixels.

    Args:
        image: (h, w, c).
        pixels: (h, w) bool.
        both: of pairs that lie in `pixels`; otherwise of those across the border.

    Returns:
        LEAST squared if there are none.
    """
    squares, count = 0.0, 0
    for axis in (0, 1):
        pairs = np.lib.stride_tricks.sliding_window_view(pixels, 2, axis).sum(axis=-1)
        used = pairs == 1 + both
        squares += float(np.square(np.diff(image, axis=axis)[used]).mean(axis=-1).sum())
        count += int(used.sum())
    return squares / max(count, 1) + LEAST**2


def _tensors(image: np.ndarray, area: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image (h, w, c) and area (h, w) as (1, c, h, w) and (1, 1, h, w), float32."""
    y = torch.from_numpy(image).float().permute(2, 0, 1)[None]
    return y, torch.from_numpy(area).float()[None, None]


def starts_of(image: np.ndarray, area: np.ndarray, ways: Sequence[Degradation]) -> list[np.ndarray]:
    """Return the start for each degradation, (h, w, c) in [0, 1].

    Args:
        image: (h, w, c) in [0, 1].
        area: (h, w) bool, what is degraded.
        ways: degradations it may have.
    """
    y, region = _tensors(image, area)
    starts = [Equations(y, region, [way]).start()[0].permute(1, 2, 0).numpy() for way in ways]
    return [np.where(area[..., None], one, image) for one in starts]


def unexplained(image: np.ndarray, area: np.ndarray, ways: Sequence[Degradation]) -> np.ndarray:
    """Return how much of a blurred region the start for each degradation leaves unexplained.

    The start is clipped to black and white. Told a blur that is too wide, it overshoots both.

    Args:
        image: (h, w, c) in [0, 1].
        area: (h, w) bool, what is blurred.
        ways: blurs it may have.

    Returns:
        (ways,), root mean square in grey levels.
    """
    place = marked_box(area).grown(AROUND // 2, *area.shape)  # half, as four of these take long
    y, region = _tensors(image[place.area], area[place.area])
    left = []
    for way in ways:
        equations = Equations(y, region, [way])
        again = equations.blurs[way.kind](equations.start())
        inside = equations.mask.expand_as(y)
        left.append(255 * float((again - y)[inside].square().mean().sqrt()))
    return np.array(left)


def describe(
    image: np.ndarray, area: np.ndarray, known: np.ndarray, found: Degradation, evidence: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Describe blocks in six numbers.

    They are the evidence; of the steps of the start for `mean` over those of the start for
    `centre`, at the region's border and inside; of the latter's inside over steps outside, and over
    the variance outside; and the block. All but the first are logarithms.

    Args:
        image: (h, w, c) in [0, 1].
        area: (h, w) bool, the blocks.
        known: (h, w) bool, pixels that are not degraded.
        found: the blocks; their pool does not count.
        evidence: see `pool_evidence`.

    Returns:
        The numbers, and the starts of AROUND pixels around the area, for `mean` and `centre`.
    """
    outside = mean_step(image, known, True)
    variance = float(image[known].var(axis=0).mean()) if known.any() else 0.0
    place = marked_box(area).grown(AROUND, *area.shape)
    inner = area[place.area]
    offset = (found.offset[0] - place.top, found.offset[1] - place.left)
    ways = [replace(found, pool=pool, offset=offset) for pool in ('mean', 'centre')]
    starts = starts_of(image[place.area], inner, ways)
    border, inside = ([mean_step(start, inner, both) for start in starts] for both in (False, True))
    ratios = [
        border[0] / border[1],
        inside[0] / inside[1],
        inside[1] / outside,
        inside[1] / (variance + LEAST**2),
        found.block / 8,
    ]
    return np.array([np.tanh(evidence / EVIDENCE), *np.log(ratios)]), starts


def decide_pool(
    image: np.ndarray, area: np.ndarray, known: np.ndarray, found: Degradation, evidence: float
) -> tuple[str, float]:
    """Decide the pool of blocks whose colours leave it open; arguments as of `describe`.

    Returns:
        The pool, and the logarithm of the odds for it.
    """
    numbers = describe(image, area, known, found, evidence)[0]
    numbers[-1] = min(numbers[-1], np.log(LARGEST / 8))
    score = float((WEIGHTS if found.block >= SMALLEST else SMALL) @ [*numbers, 1])
    return ('centre' if score > 0 else 'mean'), abs(score)
