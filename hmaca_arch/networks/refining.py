"""What an unfolded network does after its trained steps, in evaluation. Nothing is trained for it.

Told noise, the network is a denoiser.

* Blocks and blur: plug and play. The denoiser and the equation take turns, and the level falls
  (Zhang et al., "Plug-and-Play Image Restoration with Deep Denoiser Prior", TPAMI 2021, Eq. 6).
  Each pass sees the image in another orientation, as theirs do, so that errors of one side cancel.
* Noise: the low frequencies come from coarser scales, where noise is weaker and the network sees
  further (Facciolo, Pierazzo and Morel, "Conservative Scale Recomposition for Multiscale
  Denoising", SIAM J. Imaging Sciences 2017). Then the region is denoised once more.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hmaca_arch.degradation import Degradation, Equations

# (image, mask, level in grey levels) -> the image, whose region is denoised
Denoise = Callable[[Tensor, Tensor, float], Tensor]

ITERATED = ('pix', 'blur', 'kernel')  # every step works on these; others end after the first
# First and last level of plug and play, in grey levels, by what is known of the pixels.
# They hold where the steps changed the region by USUAL_CHANGE, root mean square, or more. They are
# in proportion to less: weak contrast would be lost, and brightness near black or white.
LEVELS = {'averages': (24, 3), 'centres': (6, 2)}
USUAL_CHANGE = 8
LARGE = 8  # blocks of which the middle is known gain less than 0.04 dB from here on
LEFT = 0.2  # of the noise's sigma: the level at which a noisy region is denoised again
NEAR = 4  # pixels around the region that a pass looks at
TRUST = 0.5  # w of a pass is this times the variance of y over the square of the level
SCALES = 2  # coarser ones that noise is denoised at
LEAST_LEVEL = 0.5  # that the network was trained for, in grey levels
LEAST_SIDE = 8  # of an image that is still denoised
# Noise is clipped at black and white, so its mean is not 0 there, which a coarser scale cannot see.
# Nor is what the second denoising sees there clipped noise. Either counts fully so many sigmas away
# from both, and not at all at the first number.
CLIPPED = 1, 2


def refining_levels(degradation: Degradation, passes: int) -> list[float]:
    """Return the levels of the passes, in grey levels.

    None before JPEG, whose error is not known well enough, but for noise.
    """
    if degradation.kind == 'noise' and passes:
        return [LEFT * degradation.sigma]
    centres = degradation.pool == 'centre'
    large = centres and degradation.block >= LARGE
    if degradation.kind not in ITERATED or degradation.jpeg or large:
        return []
    first, last = LEVELS['centres' if centres else 'averages']
    return [float(level) for level in np.geomspace(first, last, passes)]


def refine(
    denoise: Denoise, x: Tensor, y: Tensor, mask: Tensor, told: Degradation, passes: int
) -> Tensor:
    """Go on from an estimate.

    Args:
        denoise: the network that denoises.
        x: the estimate (1, c, h, w) in [0, 1].
        y: the degraded image, equal to x outside the mask.
        mask: (1, 1, h, w); above 0 is restored.
        told: the degradation.
        passes: how many passes blocks and blur take.

    Returns:
        The refined estimate (1, c, h, w); x where the mask is 0.
    """
    levels = refining_levels(told, passes)
    if not levels or not bool((mask > 0).any()):
        return x
    if told.kind == 'noise':
        x = with_coarser(denoise, x, y, (mask > 0).to(mask.dtype), told.sigma, SCALES)
    else:
        smaller = min(1, change(x, y, mask) / USUAL_CHANGE)
        levels = [max(LEAST_LEVEL, level * smaller) for level in levels]
    box, equations = around(mask, NEAR), Equations(y, mask, [told])
    for number, level in enumerate(levels):
        turned, region = (orientation(value[box], number) for value in (x.clamp(0, 1), mask))
        z = orientation(denoise(turned, region, level), number).to(x.dtype)
        x = x.clone()
        if told.kind == 'noise':
            x[box] = torch.lerp(x[box], z, unclipped(x[box], level))
        else:
            x[box] = z
            w = torch.full_like(x[:, :1, :1, :1], TRUST * told.variance / level**2)
            with torch.autocast(x.device.type, enabled=False):
                x = solve(equations, x, w)
    return x


def change(x: Tensor, y: Tensor, mask: Tensor) -> float:
    """Return the root mean square difference in the region, in grey levels."""
    region = (mask > 0).to(x.dtype)
    squared = (region * (x - y).detach().square()).sum() / (region.sum() * x.shape[1])
    return 255 * float(squared.sqrt())


def unclipped(x: Tensor, sigma: float) -> Tensor:
    """Return how far noise of a sigma is not clipped at the values x in [0, 1]: 0 to 1."""
    distance = torch.minimum(x, 1 - x) * 255 / sigma
    first, last = CLIPPED
    return ((distance - first) / (last - first)).clamp(0, 1)


def orientation(x: Tensor, number: int) -> Tensor:
    """Turn x by half a turn, or mirror it. Each of the four symmetries is its own inverse."""
    turned: Tensor = (x.flip(2, 3), x.mT, x.flip(3), x.flip(2, 3).mT)[number % 4]
    return turned


# Where the region lies decides about shapes, which `torch.compile` cannot follow.
@torch.compiler.disable
def around(mask: Tensor, near: int) -> tuple[slice, ...]:
    """Return the box of the masked pixels of (1, 1, h, w), grown by some pixels."""
    rows, columns = ((mask > 0).any(dim=dim)[0, 0].nonzero() for dim in (3, 2))
    return (
        slice(None),
        slice(None),
        *(
            slice(max(0, int(marked.min()) - near), int(marked.max()) + near + 1)
            for marked in (rows, columns)
        ),
    )


# The equations look at values to choose their way, which `torch.compile` cannot follow.
@torch.compiler.disable
def solve(equations: Equations, z: Tensor, w: Tensor) -> Tensor:
    """Solve the equations for the estimate z (b, c, h, w) with the weights w (b, 1, 1, 1)."""
    return equations.solve(z, torch.maximum(w, equations.least_w(z)) if equations.blurs else w)


def with_coarser(
    denoise: Denoise, x: Tensor, y: Tensor, region: Tensor, sigma: float, scales: int
) -> Tensor:
    """Take the low frequencies of a denoised image from coarser scales.

    Args:
        denoise: the network, told noise.
        x: the denoised image (1, c, h, w) in [0, 1].
        y: the noisy image.
        region: (1, 1, h, w), 1 where it is noisy, else 0.
        sigma: of the noise in y, in grey levels.
        scales: how often the size is halved, at most.
    """
    height, width = (side - side % 2 for side in x.shape[2:])
    if not scales or min(height, width) < 2 * LEAST_SIDE or sigma < 2 * LEAST_LEVEL:
        return x
    even = (..., slice(height), slice(width))
    small_x, small_y = (F.avg_pool2d(value[even], 2) for value in (x, y))
    small_region = F.max_pool2d(region[even].to(x.dtype), 2).to(region.dtype)
    z = denoise(small_y, small_region, sigma / 2).to(x.dtype)
    z = with_coarser(denoise, z, small_y, small_region, sigma / 2, scales - 1)
    counts = small_region * unclipped(small_x, sigma)
    with torch.autocast(x.device.type, enabled=False):
        low = F.interpolate(smooth(counts * (z - small_x)), scale_factor=2, mode='bilinear')
    x = x.clone()
    x[even] += region[even] * low
    return x


def smooth(x: Tensor) -> Tensor:
    """Convolve each channel of (b, c, h, w) with the 3x3 binomial filter."""
    row = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
    kernel = (row[:, None] * row).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode='replicate'), kernel, groups=x.shape[1])
