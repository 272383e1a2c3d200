"""A network unfolded with the equation of the degradation (the equations: `hmaca_arch.degradation`).

    x_0 = start;    z_k = network(x_{k-1}, mask, condition_k);    x_k = solve(z_k, y, w_k),    k = 1 .. steps

Zhang et al., "Deep Unfolding Network for Image Super-Resolution" (USRNet, CVPR 2020), Eq. 6 and 7, for a masked region. The steps share one
network, which is any that maps an image to one of its size. It works as a denoiser: its condition is the noise level that remains in
x_{k-1}, which falls from step to step, and which pixels are known. So what it learns from noise serves every degradation. The condition is
added to its first convolution's output. Deviations: the start is the mean of a Gaussian process; levels and w_k are learned, around an
annealing; kind and strength of the degradation are a second condition that begins at zero; of an unknown degradation nothing is solved.
"""

import math
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmaca_arch.degradation import KINDS, Degradation, Equations, degradations_of
from hmaca_arch.networks.checkpoints import FREE_SETTINGS, SelfDescribing
from hmaca_arch.networks.mask_input import call, padding, takes_mask, with_defaults
from hmaca_arch.networks.registry import build, register
from hmaca_arch.networks.settings import require, require_type

MOST_STEPS = 16
FAST = 10  # how much faster than the network's weights the levels and the trust in its estimates are learned
FACTS = len(KINDS) + 6
ITERATED = ('pix', 'blur')  # kinds that every step works on; the others are done after the first
QUIET = 1 / 16  # of the image's scale inside the network, as in `mask_position`

# What the hook adds to the first convolution's output, in this thread, while the network runs.
_condition: ContextVar[Tensor | None] = ContextVar('condition', default=None)


def _add_condition(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Forward hook of the first convolution; the network may have padded its image at the bottom and right."""
    condition = _condition.get()
    if condition is None:
        raise RuntimeError('the first convolution ran outside Unfolded.forward, where there is no condition')
    bottom, right = (there - here for there, here in zip(output.shape[-2:], condition.shape[-2:]))
    return output + F.pad(condition, (0, right, 0, bottom))


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


def annealed(degradations: Sequence[Degradation], step: int, steps: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of the noise level in grey levels and of w before anything is learned, (b, 1) each.

    The level falls geometrically, as in plug and play: pixelization from 30 to 2, blur from 10 to 1. Noise is as strong as it is; what
    the network leaves of it is taken for a quarter.
    """
    rows = []
    for d in degradations:
        first, last = {'pix': (30, 2), 'blur': (10, 1), 'noise': (d.sigma, d.sigma)}.get(d.kind, (4, 4))
        level = max(0.5, first * (last / max(first, 0.5)) ** ((step + 0.5) / steps))
        error, variance = (level / 4, d.variance + d.sigma**2) if d.kind == 'noise' else (level, d.variance)
        rows.append([math.log(level), math.log(0.5 * variance / error**2)])
    return torch.tensor(rows, dtype=like.dtype, device=like.device).split(1, dim=1)


@register
class Unfolded(SelfDescribing):
    """A network between data steps.

    Args:
        inner: the network's section: `type` and settings. It maps (b, c, h, w) to the same shape and may take the mask.
        steps: how often the network and the data step follow each other, 1 to 16.

    Raises:
        ValueError: for a setting that cannot work.
    """

    def __init__(self, *, inner: Mapping[str, Any], steps: int = 2) -> None:
        super().__init__()
        require_type('steps', steps, Integral)
        require(1 <= steps <= MOST_STEPS, 'steps', steps, f'1 to {MOST_STEPS}')
        named = isinstance(inner, Mapping) and isinstance(inner.get('type'), str)
        require(named, 'inner', inner, "the network's section, with its type")
        require(inner['type'] not in ('Unfolded', 'MaskInput'), 'inner', inner['type'], 'a network that is not wrapped itself')
        self.settings = {'steps': steps, 'inner': with_defaults(inner)}
        self.steps, self.pad_to = steps, padding(dict(inner))
        self.network = build(inner)
        self.takes_mask = takes_mask(self.network)
        channels = inner.get('in_chans', 3)
        first = next((m for m in self.network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == channels), None)
        require(first is not None, 'inner', inner['type'], f'a network with a convolution that takes the {channels} channels of the image')
        first.register_forward_hook(_add_condition)
        self.scale = getattr(self.network, 'img_range', 1.0) * QUIET
        shape = (first.out_channels, first.kernel_size, first.stride, first.padding, first.dilation)
        self.conv_condition = nn.Conv2d(3, *shape)  # the mask, the level, and whether it is unknown
        self.conv_facts = nn.Conv2d(FACTS + 3 + channels, *shape, bias=False)  # the facts, place in the block, known pixels, y - x
        self.anneal = nn.Linear(FACTS + 1, 2)  # of the facts and the step: no shape depends on `steps`
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
        expected = (lq.shape[0], 1, *lq.shape[2:])
        if mask.shape != expected:
            raise ValueError(f'the mask is of shape {tuple(mask.shape)}; expected {expected}: one channel, 1 = restore, in the size of lq')
        degradations = degradations_of(degradation, len(lq))
        region = (mask > 0).to(lq.dtype)
        with torch.autocast(lq.device.type, enabled=False):
            equations = Equations(lq if lq.dtype == torch.float64 else lq.float(), region, degradations)
            x, facts = equations.start(), strengths(degradations, equations.y)
            unknown = region * (facts[:, :1, None, None] > 0)
            places = equations.blocks.phase.transpose(0, 1).to(facts)
            constant = torch.cat([region * facts[:, :, None, None], places, equations.known()], dim=1)
        iterated = torch.tensor([d.kind in ITERATED for d in degradations], device=lq.device).view(-1, 1, 1, 1)
        for k in range(self.steps if bool(iterated.any()) else 1):
            with torch.autocast(lq.device.type, enabled=False):
                learned = FAST * F.linear(torch.cat([facts, torch.full_like(facts[:, :1], k)], dim=1), self.anneal.weight, self.anneal.bias)
                level, log_w = (a + b for a, b in zip(annealed(degradations, k, self.steps, facts), learned.split(1, dim=1)))
                level = region * F.softplus(level)[:, :, None, None] / 2
                w = log_w.clamp(-12, 12).exp().view(-1, 1, 1, 1)
            told = torch.cat([region, level * (1 - unknown), unknown], dim=1)
            more = torch.cat([constant, equations.y - x], dim=1)
            condition = self.conv_condition(self.scale * told) + self.conv_facts(self.scale * more)
            token = _condition.set(condition)
            try:
                z = call(self.network, x.to(lq.dtype), mask.to(lq.dtype), takes_mask=self.takes_mask, pad_to=self.pad_to)
            finally:
                _condition.reset(token)
            with torch.autocast(lq.device.type, enabled=False):
                solved = equations.solve(z.to(equations.y.dtype), w)
            x = solved if k == 0 else torch.where(iterated, solved, x)
        return x

    def differences(self, description: Mapping[str, Any]) -> list[str]:
        """What in a checkpoint's description is not as here; settings that it leaves out have their defaults."""
        settings = description['settings']
        if description['network'] != type(self).__name__ or not isinstance(settings.get('inner'), Mapping):
            return super().differences(description)
        inner = settings['inner']
        same = inner.get('type') == self.settings['inner']['type']
        theirs = {'steps': settings.get('steps'), **(with_defaults(inner) if same else inner)}
        ours = {'steps': self.steps, **self.settings['inner']}
        return [
            f'{key} is {theirs.get(key)!r} in the checkpoint, {ours.get(key)!r} here'
            for key in sorted({*theirs, *ours}.difference(FREE_SETTINGS))
            if theirs.get(key) != ours.get(key)
        ]
