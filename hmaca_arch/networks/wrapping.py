"""The base of `MaskInput` and `Unfolded`: a network around another one.

Something is added to the output of the inner network's first convolution.
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

# What the hook adds during `Wrapping.adding`: a function of the first convolution's input and
# output. As a context variable it is separate for threads, replicas (DataParallel) and deep copies.
# torch.compile breaks its graph around the first convolution because of it.
_addition: ContextVar[Callable[[Tensor, Tensor], Tensor] | None] = ContextVar(
    'addition', default=None
)


def _add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Add to the first convolution's output, as its forward hook."""
    addition = _addition.get()
    if addition is None:
        raise RuntimeError(
            'the first convolution ran outside the network around it, with nothing to add '
            '(recomputed by a checkpoint?)'
        )
    return output + addition(inputs[0], output)


def widened(x: Tensor, like: Tensor) -> Tensor:
    """Pad x (..., h, w) with zeros at its bottom and right to the height and width of `like`.

    The inner network may have padded its image by itself.

    Raises:
        ValueError: `like` is smaller than x.
    """
    bottom, right = (wanted - given for wanted, given in zip(like.shape[-2:], x.shape[-2:]))
    if bottom < 0 or right < 0:
        raise ValueError(
            f'the first convolution sees {tuple(like.shape)}, '
            f'less than what is added to it, {tuple(x.shape)}'
        )
    return F.pad(x, (0, right, 0, bottom))


class Wrapping(SelfDescribing):
    """A network whose setting `inner` is the section (`type` and settings) of the inner network.

    Args:
        inner: the section. The inner network's first convolution, in order of registration, that
            takes in_chans channels (3, if the section does not say) must take the image.
        settings: the other settings, as JSON holds them.

    Raises:
        ValueError: there is no such network, or it has no such convolution.
    """

    def __init__(self, inner: Mapping[str, Any], **settings: Any) -> None:
        super().__init__()
        require(is_section(inner), 'inner', inner, "the network's section, with its type")
        if not baselines.provide(inner['type']):
            hint = f"; spandrel's networks need {baselines.EXTRA}"
            raise ValueError(
                f'inner: there is no network {inner["type"]!r}'
                f'{"" if baselines.has_spandrel() else hint}'
            )
        self.settings = {**settings, 'inner': with_defaults(inner)}
        self.network = build(inner)
        self.channels = self.in_chans = image_channels(inner)
        self.first_convolution().register_forward_hook(_add)

    def first_convolution(self) -> nn.Conv2d:
        """Return the convolution of the inner network that takes the image."""
        for module in self.network.modules():
            if isinstance(module, nn.Conv2d) and module.in_channels == self.channels:
                return module
        raise ValueError(
            f'inner: {self.settings["inner"]["type"]} has no convolution that takes the '
            f'{self.channels} channels of the image'
        )

    def convolution_beside(self, channels: int, bias: bool) -> nn.Conv2d:
        """Return a new convolution like the first one, but with `channels` input channels."""
        first = self.first_convolution()
        same = ('kernel_size', 'stride', 'padding', 'dilation', 'padding_mode')
        geometry: dict[str, Any] = {name: getattr(first, name) for name in same}
        return nn.Conv2d(channels, first.out_channels, bias=bias, **geometry)

    def adding(
        self, addition: Callable[[Tensor, Tensor], Tensor], network: nn.Module, *inputs: Tensor
    ) -> Tensor:
        """Run a network with something added to the first convolution's output.

        Args:
            addition: a function of the first convolution's input and output.
            network: the inner network, or a module around it.
            inputs: of `network`.
        """
        token = _addition.set(addition)
        try:
            return network(*inputs)
        finally:
            _addition.reset(token)

    def known(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of both networks in one dictionary, for `differences`."""
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
    """Return a network's section with its constructor's defaults, as JSON holds it.

    Defaults that JSON cannot hold are left out.
    """
    filled = {}
    for name, parameter in baselines.parameters(section['type']).items():
        try:
            filled[name] = json.loads(json.dumps(parameter.default))
        except TypeError:  # a class, or no default
            continue
    return filled | json.loads(json.dumps(dict(section)))
