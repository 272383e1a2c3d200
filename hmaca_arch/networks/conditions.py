"""The degradation in numbers: the conditions of an unfolded network."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hmaca_arch.degradation import Degradation
from hmaca_arch.degradation.description import LARGEST_SIGMA

# The kinds that a network can see. A kernel is described as the Gaussian of the same second moment,
# which networks trained without kernels understand. `solve` has the exact kernel.
DESCRIBED = ('unknown', 'none', 'pix', 'blur', 'noise')
FACTS = len(DESCRIBED) + 6
# First and last level, in grey levels.
ANNEALING = {'pix': (30, 2), 'blur': (10, 1), 'kernel': (10, 1)}


# Noise that three channels share is as strong in brightness as independent noise of sigma times
# this.
GREY_NOISE = math.sqrt(3)


@torch.compiler.disable
def as_independent(told: Degradation, image: Tensor, mask: Tensor) -> Degradation:
    """Return noise as a network sees it that knows independent noise in three channels.

    That of a grey region is the same in all three.

    Args:
        told: the degradation.
        image: (c, h, w).
        mask: (1, h, w), above 0 is restored.
    """
    if told.kind != 'noise' or len(image) != 3:
        return told
    if bool((image != image[:1])[:, mask[0] > 0].any()):
        return told
    return replace(told, sigma=min(told.sigma * GREY_NOISE, LARGEST_SIGMA['noise']))


def seen_kind(told: Degradation) -> str:
    """Return the kind, out of `DESCRIBED`, as which a network sees a degradation."""
    return 'blur' if told.kind == 'kernel' else told.kind


def strengths(degradations: Sequence[Degradation], like: Tensor) -> Tensor:
    """Describe each degradation in numbers of order 1: (b, FACTS)."""
    rows = []
    for d in degradations:
        seen = seen_kind(d)
        sigma = d.sigma if d.kernel is None else d.kernel.sigma
        pix, blur, noise = (seen == kind for kind in ('pix', 'blur', 'noise'))
        rows.append(
            [
                *(seen == kind for kind in DESCRIBED),
                pix * math.log2(max(d.block, 1)) / 3,
                pix * (d.pool == 'centre'),
                blur * math.log2(1 + sigma),
                noise * math.log2(1 + d.sigma) / 4,
                d.jpeg > 0,
                (100 - d.jpeg) / 50 if d.jpeg else 0,
            ]
        )
    return torch.tensor(rows, dtype=like.dtype, device=like.device)


def annealed(
    degradations: Sequence[Degradation], step: int, steps: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the noise level and w of a step, before anything is learned.

    The level falls geometrically, as in plug and play: see `ANNEALING`. Noise is as strong as it
    is, and the network is assumed to leave a quarter of it.

    Args:
        degradations: of the b samples.
        step: from 0.
        steps: how many there are.
        like: a tensor of the wanted type and device.

    Returns:
        The logarithms of the level in grey levels and of w, (b, 1) each.
    """
    rows = []
    for d in degradations:
        noise = d.kind == 'noise'
        first, last = (d.sigma, d.sigma) if noise else ANNEALING.get(d.kind, (4, 4))
        level = max(0.5, first * (last / max(first, 0.5)) ** ((step + 0.5) / steps))
        error = level / 4 if noise else level
        variance = d.variance + d.sigma**2 if noise else d.variance
        rows.append([math.log(level), math.log(0.5 * variance / error**2)])
    log_level, log_w = torch.tensor(rows, dtype=like.dtype, device=like.device).split(1, dim=1)
    return log_level, log_w
