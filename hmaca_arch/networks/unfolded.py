"""A network unfolded with the equation of the degradation (the equations:
`hmaca_arch.degradation`).

    x_0 = start;    z_k = network(x_{k-1}, mask, condition_k);    x_k = solve(z_k, y, w_k),    k = 1
    .. steps

Zhang et al., "Deep Unfolding Network for Image Super-Resolution" (USRNet, CVPR 2020), Eq. 6 and 7,
for a masked region. The steps share one network, which is any that maps an image to one of its
size. It works as a denoiser: its condition is the noise level that remains in x_{k-1}, which falls
from step to step, and which pixels are known. So what it learns from noise serves every
degradation. The condition is added to its first convolution's output. Deviations: the start is the
mean of a Gaussian process; levels and w_k are learned, around an annealing; kind and strength of
the degradation are a second condition that begins at zero; of an unknown degradation nothing is
solved.
"""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmaca_arch.degradation import KINDS, Degradation, Equations, degradations_of
from hmaca_arch.networks.adapter import Adapter, padding
from hmaca_arch.networks.registry import is_section, register
from hmaca_arch.networks.settings import require, require_type
from hmaca_arch.networks.windows import check_mask
from hmaca_arch.networks.wrapping import Wrapping, widened

MOST_STEPS = 16
# how much faster than the network's weights the levels and the trust in its estimates are learned
FAST = 10
FACTS = len(KINDS) + 6
ITERATED = ('pix', 'blur')  # kinds that every step works on; the others are done after the first
QUIET = 1 / 16  # of the image's scale inside the network, as in `mask_position`


def strengths(degradations: Sequence[Degradation], like: Tensor) -> Tensor:
    """Put what is known of each degradation into numbers of order 1: (b, FACTS)."""
    rows = []
    for d in degradations:
        pix, blur, noise = (d.kind == kind for kind in ('pix', 'blur', 'noise'))
        rows.append(
            [
                *(d.kind == kind for kind in KINDS),
                pix * math.log2(max(d.block, 1)) / 3,
                pix * (d.pool == 'centre'),
                blur * math.log2(1 + d.sigma),
                noise * math.log2(1 + d.sigma) / 4,
                d.jpeg > 0,
                (100 - d.jpeg) / 50 if d.jpeg else 0,
            ]
        )
    return torch.tensor(rows, dtype=like.dtype, device=like.device)


def annealed(
    degradations: Sequence[Degradation], step: int, steps: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the logarithms of the noise level in grey levels and of w before anything is learned,
    (b, 1) each.

    The level falls geometrically, as in plug and play: pixelization from 30 to 2, blur from 10 to
    1. Noise is as strong as it is; what the network leaves of it is taken for a quarter.
    """
    rows = []
    for d in degradations:
        first, last = {'pix': (30, 2), 'blur': (10, 1), 'noise': (d.sigma, d.sigma)}.get(
            d.kind, (4, 4)
        )
        level = max(0.5, first * (last / max(first, 0.5)) ** ((step + 0.5) / steps))
        error, variance = (
            (level / 4, d.variance + d.sigma**2) if d.kind == 'noise' else (level, d.variance)
        )
        rows.append([math.log(level), math.log(0.5 * variance / error**2)])
    return torch.tensor(rows, dtype=like.dtype, device=like.device).split(1, dim=1)


@register
class Unfolded(Wrapping):
    """A network between data steps.

    Args:
        inner: the network's section: `type` and settings. It maps (b, c, h, w) to the same shape
            and may take the mask.
        steps: how often the network and the data step follow each other, 1 to 16.

    Raises:
        ValueError: for a setting that cannot work.
    """

    def __init__(self, *, inner: Mapping[str, Any], steps: int = 2) -> None:
        require_type('steps', steps, Integral)
        require(1 <= steps <= MOST_STEPS, 'steps', steps, f'1 to {MOST_STEPS}')
        if is_section(inner) and inner['type'] in ('Unfolded', 'MaskInput'):
            raise ValueError(
                f'inner is {inner["type"]!r}; expected a network that is not wrapped itself'
            )
        super().__init__(inner, steps=steps)
        self.steps, self.pad_to = steps, padding(inner)
        self.scale = getattr(self.network, 'img_range', 1.0) * QUIET
        self.conv_condition = self.convolution_beside(
            3, bias=True
        )  # the mask, the level, and whether it is unknown
        self.conv_facts = self.convolution_beside(
            FACTS + 3 + self.channels, bias=False
        )  # facts, place in the block, known pixels, y - x
        self.anneal = nn.Linear(
            FACTS + 1, 2
        )  # of the facts and the step: no shape depends on `steps`
        for parameter in (self.conv_facts.weight, self.anneal.weight, self.anneal.bias):
            nn.init.zeros_(parameter)

    def forward(self, lq: Tensor, mask: Tensor, degradation: Tensor | None = None) -> Tensor:
        """Restore the masked pixels.

        Args:
            lq: (b, c, h, w) in [0, 1].
            mask: (b, 1, h, w) in [0, 1]; above 0 is restored.
            degradation: (b, len(FIELDS)), see `degradation.FIELDS`; None: unknown.

        Returns:
            (b, c, h, w); lq where the mask is 0.
        """
        check_mask(lq, mask)
        adapted = Adapter(self.network, self.pad_to)
        degradations = degradations_of(degradation, len(lq))
        region = (mask > 0).to(lq.dtype)
        with torch.autocast(lq.device.type, enabled=False):
            equations = Equations(
                lq if lq.dtype == torch.float64 else lq.float(), region, degradations
            )
            x, facts = equations.start(), strengths(degradations, equations.y)
            unknown = region * (facts[:, :1, None, None] > 0)
            places = equations.blocks.phase.transpose(0, 1).to(facts)
            constant = torch.cat(
                [region * facts[:, :, None, None], places, equations.known()], dim=1
            )
        iterated = torch.tensor([d.kind in ITERATED for d in degradations], device=lq.device).view(
            -1, 1, 1, 1
        )
        for k in range(self.steps if bool(iterated.any()) else 1):
            with torch.autocast(lq.device.type, enabled=False):
                learned = FAST * F.linear(
                    torch.cat([facts, torch.full_like(facts[:, :1], k)], dim=1),
                    self.anneal.weight,
                    self.anneal.bias,
                )
                level, log_w = (
                    a + b
                    for a, b in zip(
                        annealed(degradations, k, self.steps, facts), learned.split(1, dim=1)
                    )
                )
                level = region * F.softplus(level)[:, :, None, None] / 2
                w = log_w.clamp(-12, 12).exp().view(-1, 1, 1, 1)
            told = torch.cat([region, level * (1 - unknown), unknown], dim=1)
            more = torch.cat([constant, equations.y - x], dim=1)
            condition = self.conv_condition(self.scale * told) + self.conv_facts(self.scale * more)
            z = self.adding(
                lambda given, made, added=condition: widened(added, made),
                adapted,
                x.to(lq.dtype),
                mask.to(lq.dtype),
            )
            with torch.autocast(lq.device.type, enabled=False):
                solved = equations.solve(z.to(equations.y.dtype), w)
            x = solved if k == 0 else torch.where(iterated, solved, x)
        return x
