"""A network around another one, with something added to the output of that one's first convolution:
`MaskInput` and `Unfolded`.
"""

import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from hmaca_arch.networks import baselines
from hmaca_arch.networks.channels import image_channels
from hmaca_arch.networks.checkpoints import DESCRIPTION, SelfDescribing
from hmaca_arch.networks.registry import build, is_section
from hmaca_arch.networks.settings import require

# What the hook adds in this thread during `Wrapping.adding`: a function of the first convolution's
# input and output. A context variable, so that neither threads, nor replicas (DataParallel), nor
# deep copies see another's. torch.compile breaks its graph around the first convolution because of
# it.
_addition: ContextVar[Callable[[Tensor, Tensor], Tensor] | None] = ContextVar(
    'addition', default=None
)


def _add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Forward hook of the first convolution."""
    addition = _addition.get()
    if addition is None:
        raise RuntimeError(
            'the first convolution ran outside the network around it, with nothing to add (recomputed by a checkpoint?)'
        )
    return output + addition(inputs[0], output)


def widened(x: Tensor, like: Tensor) -> Tensor:
    """`x` with zeros at its bottom and right up to the size of `like`: the network inside may have
    padded its image by itself.
    """
    bottom, right = (wanted - given for wanted, given in zip(like.shape[-2:], x.shape[-2:]))
    if bottom < 0 or right < 0:
        raise ValueError(
            f'the first convolution sees {tuple(like.shape)}, less than what is added to it, {tuple(x.shape)}'
        )
    return F.pad(x, (0, right, 0, bottom))


class Wrapping(SelfDescribing):
    """A network whose setting `inner` is the section of the network inside, `type` and settings.

    Args:
        inner: of this network the first convolution, in order of registration, that takes in_chans
            (3, if the section does not say) channels must be the one that takes the image.
        settings: the other settings, as JSON holds them.

    Raises:
        ValueError: there is no such network, or it has no such convolution.
    """

    def __init__(self, inner: Mapping[str, Any], **settings: Any) -> None:
        super().__init__()
        require(is_section(inner), 'inner', inner, "the network's section, with its type")
        if not baselines.provide(inner['type']):
            hint = (
                '' if baselines.has_spandrel() else f"; spandrel's networks need {baselines.EXTRA}"
            )
            raise ValueError(f'inner: there is no network {inner["type"]!r}{hint}')
        self.settings = {**settings, 'inner': with_defaults(inner)}
        self.network = build(inner)
        self.channels = self.in_chans = image_channels(inner)
        self.first_convolution().register_forward_hook(_add)

    def first_convolution(self) -> nn.Conv2d:
        """The convolution of the network inside that takes the image."""
        for module in self.network.modules():
            if isinstance(module, nn.Conv2d) and module.in_channels == self.channels:
                return module
        name = self.settings['inner']['type']
        raise ValueError(
            f'inner: {name} has no convolution that takes the {self.channels} channels of the image'
        )

    def convolution_beside(self, channels: int, bias: bool) -> nn.Conv2d:
        """A new convolution of so many channels that is otherwise as the first one."""
        first = self.first_convolution()
        return nn.Conv2d(
            channels, first.out_channels, first.kernel_size, first.stride, first.padding, first.dilation, bias=bias,
            padding_mode=first.padding_mode,
        )  # fmt: skip

    def adding(
        self, addition: Callable[[Tensor, Tensor], Tensor], network: nn.Module, *inputs: Tensor
    ) -> Tensor:
        """Run the network inside, or what is around it, with `addition(input, output)` added to the
        first convolution's output.
        """
        token = _addition.set(addition)
        try:
            return network(*inputs)
        finally:
            _addition.reset(token)

    def known(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """As `SelfDescribing`'s, with the settings of the network inside beside those of this one."""
        known = super().known(description)
        if description['network'] != type(self).__name__:
            return known
        inner = known.pop('inner', None)
        if not is_section(inner):
            raise ValueError(
                f'{DESCRIPTION} of the checkpoint names no network inside {type(self).__name__}'
            )
        same = inner['type'] == self.settings['inner']['type']
        return {**known, **(with_defaults(inner) if same else inner)}


def with_defaults(section: Mapping[str, Any]) -> dict[str, Any]:
    """A network's section with its constructor's defaults filled in, as JSON holds it; defaults
    that it cannot hold are left out.
    """
    filled = {}
    for name, parameter in baselines.parameters(section['type']).items():
        try:
            filled[name] = json.loads(json.dumps(parameter.default))
        except TypeError:  # a class, or no default
            continue
    return filled | json.loads(json.dumps(dict(section)))
