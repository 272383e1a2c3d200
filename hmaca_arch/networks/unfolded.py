"""A network unfolded with the equation of the degradation (spec of the equations: `degradation`).

    x_0 = start;    z_k = network(x_{k-1}, mask, condition_k);    x_k = solve(z_k, y, w_k),    k = 1 .. steps

Zhang et al., "Deep Unfolding Network for Image Super-Resolution" (USRNet, CVPR 2020), Eq. 6 and 7, for a masked region. The steps share one
network, which is any that maps an image to one of its size. It is told by a condition, added to its first convolution's output, what was
done, how strongly, which pixels are known, and where in its block a pixel lies. Deviations: the start is the mean of a Gaussian process,
w_k is learned, and `unknown` is one of the degradations, for which nothing is solved.
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

MOST_STEPS = 8
FAST = 10  # how much faster than the network's weights the trust in its estimates is learned
QUIET = 1 / 16  # of the image's scale inside the network, as in `mask_position`


def strengths(degradations: Sequence[Degradation], like: Tensor) -> Tensor:
    """What is known of each degradation, in numbers of order 1: (b, len(KINDS) + 6)."""
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


def first_trust(degradations: Sequence[Degradation], like: Tensor) -> Tensor:
    """log w before anything is learned, (b, 1): an estimate is off by 4 grey levels, rounding by sqrt(1 / 12), JPEG by 0.15 a quality."""
    values = []
    for d in degradations:
        variance = d.variance + d.sigma**2 * (d.kind == 'noise')
        values.append([math.log(variance / 16)])
    return torch.tensor(values, dtype=like.dtype, device=like.device)


@register
class Unfolded(Wrapping):
    """A network between data steps.

    Args:
        inner: the network's section: `type` and settings. It maps (b, c, h, w) to the same shape and may take the mask.
        steps: how often the network and the data step follow each other, 1 to 8.

    Raises:
        ValueError: for a setting that cannot work.
    """

    def __init__(self, *, inner: Mapping[str, Any], steps: int = 2) -> None:
        require_type('steps', steps, Integral)
        require(1 <= steps <= MOST_STEPS, 'steps', steps, f'1 to {MOST_STEPS}')
        if is_section(inner) and inner['type'] in ('Unfolded', 'MaskInput'):
            raise ValueError(f'inner is {inner["type"]!r}; expected a network that is not wrapped itself')
        super().__init__(inner, steps=steps)
        self.steps, self.pad_to = steps, padding(inner)
        facts = len(KINDS) + 6
        self.scale = getattr(self.network, 'img_range', 1.0) * QUIET
        self.conv_condition = self.convolution_beside(5 + self.channels + facts, bias=True)
        self.trust = nn.Linear(facts + 1, 1)  # of the facts and the step: the weights' shapes do not depend on `steps`
        nn.init.zeros_(self.trust.weight)
        nn.init.zeros_(self.trust.bias)

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
            equations = Equations(lq.float() if lq.dtype != torch.float64 else lq, region, degradations)
            facts = strengths(degradations, equations.y)
            first = first_trust(degradations, equations.y)
            maps = [region, equations.known(), equations.blocks.phase.transpose(0, 1).to(equations.y.dtype)]
            x = equations.start()
        for k in range(self.steps):
            known = torch.cat([facts, torch.full_like(first, k)], dim=1)
            constant = region * known[:, :, None, None]
            condition = self.conv_condition(self.scale * torch.cat([*maps, equations.y - x, constant], dim=1))
            z = self.adding(lambda given, made, added=condition: widened(added, made), adapted, x.to(lq.dtype), mask.to(lq.dtype))
            with torch.autocast(lq.device.type, enabled=False):
                log_w = first + FAST * F.linear(known, self.trust.weight, self.trust.bias)
                x = equations.solve(z.to(equations.y.dtype), log_w.clamp(-12, 12).exp().view(-1, 1, 1, 1))
        return x
