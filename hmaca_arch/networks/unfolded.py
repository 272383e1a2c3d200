"""A network unfolded with the equation of the degradation.

    x_0 = start
    z_k = network(x_{k-1}, mask, condition_k)
    x_k = solve(z_k, y, w_k)            k = 1 .. steps

Zhang et al., "Deep Unfolding Network for Image Super-Resolution" (USRNet, CVPR 2020), Eq. 6 and 7,
for a masked region. `hmaca_arch.degradation` has the equations. The steps share one network, which
is any that maps an image to one of its size. It works as a denoiser: its condition is the noise
level that remains in x_{k-1}, which falls from step to step, and which pixels are known. The
condition is added to its first convolution's output.

Deviations:

* The start is the mean of a Gaussian process.
* Levels and w_k are learned, around an annealing.
* Kind and strength of the degradation are a second condition, which begins at zero. A kernel is
  described as the Gaussian that is as wide.
* If the degradation is unknown, nothing is solved.
* Noise of grey regions counts as stronger, as all three channels share it.
* w is larger where the network's estimate leaves nothing but rounding: see `Equations.least_w`.
* Some kinds of degradation may have separate networks: specialists.
* In evaluation more may follow, which nothing was trained for: see `refining`.
"""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmaca_arch.degradation import Degradation, Equations, degradations_of
from hmaca_arch.networks.adapter import Adapter, padding
from hmaca_arch.networks.conditions import (
    DESCRIBED,
    FACTS,
    annealed,
    as_independent,
    seen_kind,
    strengths,
)
from hmaca_arch.networks.refining import ITERATED, NEAR, around, refine, refining_levels, solve
from hmaca_arch.networks.registry import is_section, register
from hmaca_arch.networks.settings import require, require_type
from hmaca_arch.networks.windows import check_mask
from hmaca_arch.networks.wrapping import Wrapping, widened

MOST_STEPS = 16
# Levels and w are learned so many times faster than the network's weights.
FAST = 10
QUIET = 1 / 16  # of the image's scale inside the network, as in `mask_position`


# The equations look at values to choose their way, which `torch.compile` cannot follow.
@torch.compiler.disable
def started(
    y: Tensor, region: Tensor, degradations: Sequence[Degradation]
) -> tuple[Equations, Tensor]:
    """Set up the equations of a batch and compute where they start, (b, c, h, w)."""
    equations = Equations(y, region, degradations)
    return equations, equations.start()


@register
class Unfolded(Wrapping):
    """A network between steps that solve the degradation's equation.

    Args:
        inner: the network's section: `type` and settings. It maps (b, c, h, w) to the same shape
            and may take the mask.
        steps: how often the network runs and the equation of blocks or blur is solved, 1 to 16.
            Noise, none and unknown take one step.
        passes: how often plug and play goes on after the steps, in evaluation, 0 to 16. Noise takes
            one at most. With passes, all after the first step see only the region and 4 pixels
            around it.
        specialists: kinds of degradation that get a separate network: any of `unknown`, `none`,
            `pix`, `blur` and `noise`. That of blur restores kernels too. That of noise is the
            denoiser in all passes.

    Raises:
        ValueError: a setting cannot work.
    """

    def __init__(
        self,
        *,
        inner: Mapping[str, Any],
        steps: int = 2,
        passes: int = 0,
        specialists: Sequence[str] = (),
    ) -> None:
        require_type('steps', steps, Integral)
        require(1 <= steps <= MOST_STEPS, 'steps', steps, f'1 to {MOST_STEPS}')
        require_type('passes', passes, Integral)
        require(0 <= passes <= MOST_STEPS, 'passes', passes, f'0 to {MOST_STEPS}')
        if is_section(inner) and inner['type'] in ('Unfolded', 'MaskInput'):
            raise ValueError(
                f'inner is {inner["type"]!r}; expected a network that is not wrapped itself'
            )
        expected = f'a list of kinds out of {", ".join(DESCRIBED)}, each at most once'
        require(isinstance(specialists, list | tuple), 'specialists', specialists, expected)
        kinds = [kind for kind in DESCRIBED if kind in specialists]
        require(len(kinds) == len(specialists), 'specialists', specialists, expected)
        super().__init__(inner, steps=steps, passes=passes, specialists=kinds)
        self.steps, self.passes, self.pad_to = steps, passes, padding(inner)
        self.scale = getattr(self.network, 'img_range', 1.0) * QUIET
        # the mask, the level, and whether it is unknown
        self.conv_condition = self.convolution_beside(3, bias=True)
        # facts, place in the block, known pixels, y - x
        self.conv_facts = self.convolution_beside(FACTS + 3 + self.channels, bias=False)
        # of the facts and the step: no shape depends on `steps`
        self.anneal = nn.Linear(FACTS + 1, 2)
        for parameter in (self.conv_facts.weight, self.anneal.weight, self.anneal.bias):
            nn.init.zeros_(parameter)
        self.specialists = nn.ModuleDict(
            {kind: Unfolded(inner=inner, steps=steps, passes=passes) for kind in kinds}
        )

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights, see `SelfDescribing`.

        Without `strict`, specialists that the checkpoint lacks begin with its general weights.
        """
        state_dict = dict(state_dict)
        if not strict:
            common = {key: v for key, v in state_dict.items() if not key.startswith('specialists.')}
            for kind in self.specialists:
                place = f'specialists.{kind}.'
                if not any(key.startswith(place) for key in state_dict):
                    state_dict.update({place + key: value for key, value in common.items()})
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

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
        degradations = degradations_of(degradation, len(lq))
        degradations = [as_independent(*one) for one in zip(degradations, lq, mask)]
        x = self.unfold(lq, mask, degradations)
        return x if self.training else self.refined(x, lq, mask, degradations)

    def unfold(self, lq: Tensor, mask: Tensor, degradations: Sequence[Degradation]) -> Tensor:
        """Restore by the trained steps of the network that each degradation has."""
        networks = [self.network_for(told) for told in degradations]
        if len(set(networks)) == 1:
            return networks[0].take_steps(lq, mask, degradations)
        rows = {
            network: [i for i, its in enumerate(networks) if its is network]
            for network in dict.fromkeys(networks)
        }
        parts = [
            network.take_steps(lq[chosen], mask[chosen], [degradations[i] for i in chosen])
            for network, chosen in rows.items()
        ]
        return torch.cat(parts)[np.argsort(np.concatenate(list(rows.values())))]

    def network_for(self, told: Degradation) -> 'Unfolded':
        """Return the specialist for a degradation, or this network if it has none."""
        kind = seen_kind(told)
        return cast(Unfolded, self.specialists[kind]) if kind in self.specialists else self

    def take_steps(self, lq: Tensor, mask: Tensor, degradations: Sequence[Degradation]) -> Tensor:
        """Restore by the trained steps, without specialists."""
        region = (mask > 0).to(lq.dtype)
        with torch.autocast(lq.device.type, enabled=False):
            precise = torch.promote_types(lq.dtype, torch.float32)
            equations, x = started(lq.to(precise), region, degradations)
            facts = strengths(degradations, equations.y)
            constant = self.constant_facts(equations, region, facts)
        kinds = torch.tensor([d.kind in ITERATED for d in degradations], device=lq.device)
        iterated = kinds.view(-1, 1, 1, 1)
        for step in range(self.steps if bool(iterated.any()) else 1):
            with torch.autocast(lq.device.type, enabled=False):
                level, w = self.level_and_trust(degradations, facts, step)
            condition = self.embed_condition(region, level, facts)
            condition = condition + self.embed_facts(torch.cat([constant, equations.y - x], dim=1))
            inputs = x.to(lq.dtype), mask.to(lq.dtype), condition
            if step == 0:
                z = self.estimate(*inputs)
            elif self.passes and not self.training:
                z = self.estimate_near(*inputs, kinds)
            else:
                z = self.estimate(*(value[kinds] for value in inputs))
                z = x.index_put((kinds,), z.to(x.dtype))
            with torch.autocast(lq.device.type, enabled=False):
                solved = solve(equations, z.to(equations.y.dtype), w)
            x = solved if step == 0 else torch.where(iterated, solved, x)
        return x

    def refined(
        self, x: Tensor, lq: Tensor, mask: Tensor, degradations: Sequence[Degradation]
    ) -> Tensor:
        """Go on from x (b, c, h, w) as `refining` says, each image by itself."""
        if not any(refining_levels(told, self.passes) for told in degradations):
            return x  # an exported graph may have any number of images
        images = zip(x.split(1), lq.to(x.dtype).split(1), mask.split(1), degradations)
        denoise = self.network_for(Degradation('noise', sigma=1)).denoise
        return torch.cat([refine(denoise, *image, self.passes) for image in images])

    def denoise(self, x: Tensor, mask: Tensor, level: float) -> Tensor:
        """Take x (1, c, h, w) for noisy in the mask, at a level in grey levels."""
        return self.take_steps(x.to(mask.dtype), mask, [Degradation('noise', sigma=level)])

    def constant_facts(self, equations: Equations, region: Tensor, facts: Tensor) -> Tensor:
        """Collect what no step changes: facts, places in the blocks, known pixels."""
        places = equations.blocks.phase.transpose(0, 1).to(facts)
        return torch.cat([region * facts[:, :, None, None], places, equations.known()], dim=1)

    def level_and_trust(
        self, degradations: Sequence[Degradation], facts: Tensor, step: int
    ) -> tuple[Tensor, Tensor]:
        """Compute the level of a step as the network sees it, and w: (b, 1, 1, 1) each."""
        numbered = torch.cat([facts, torch.full_like(facts[:, :1], step)], dim=1)
        learned = FAST * F.linear(
            numbered, self.anneal.weight.to(numbered), self.anneal.bias.to(numbered)
        )
        log_level, log_w = annealed(degradations, step, self.steps, facts)
        level = F.softplus(log_level + learned[:, :1]) / 2
        w = (log_w + learned[:, 1:]).clamp(-12, 12).exp()
        return level[:, :, None, None], w[:, :, None, None]

    def embed_condition(self, region: Tensor, level: Tensor, facts: Tensor) -> Tensor:
        """Embed the region, the level in it, and whether the degradation is unknown."""
        unknown = region * (facts[:, :1, None, None] > 0)
        inputs = torch.cat([region, region * level * (1 - unknown), unknown], dim=1)
        conv = self.conv_condition
        embedded: Tensor = conv((self.scale * inputs).to(conv.weight.dtype))
        return embedded

    def embed_facts(self, inputs: Tensor) -> Tensor:
        """Embed `constant_facts` and y - x."""
        conv = self.conv_facts
        embedded: Tensor = conv((self.scale * inputs).to(conv.weight.dtype))
        return embedded

    def estimate_near(self, x: Tensor, mask: Tensor, condition: Tensor, chosen: Tensor) -> Tensor:
        """Run `estimate` on some images, each on its region and what is near it."""
        z = x.clone()
        for i in chosen.nonzero()[:, 0].tolist():
            one = slice(i, i + 1)
            if bool((mask[one] > 0).any()):
                box = around(mask[one], NEAR)
                z[one][box] = self.estimate(x[one][box], mask[one][box], condition[one][box])
        return z

    def estimate(self, x: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        """Run the network on x, with the condition added after its first convolution."""

        def add(given: Tensor, made: Tensor) -> Tensor:
            return widened(condition, made)

        return self.adding(add, Adapter(self.network, self.pad_to), x, mask)
