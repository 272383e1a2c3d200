"""What a section `network_g` says beyond the network's own settings: how the mask enters, and what sizes the network needs.

    network_g: {type: SwinIR, mask_input: channel, pad_to: 16, ...}

mask_input: `none` (default: the network sees the picture alone, or has a mask input of its own as HMACA has), or `channel`: the mask is
one more channel of the network's input. pad_to: pictures are padded to multiples of it and the output is cropped; by default of the
network's `window_size`, if it has such a setting and does not pad by itself.
"""

import inspect
import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from numbers import Integral
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from hmaca_arch.messages import printable
from hmaca_arch.networks import baselines
from hmaca_arch.networks.checkpoints import DESCRIPTION, FREE_SETTINGS, SelfDescribing, description_of
from hmaca_arch.networks.registry import build, register
from hmaca_arch.networks.settings import require, require_type
from hmaca_arch.networks.windows import pad_to_multiple

logger = logging.getLogger('hmaca_arch')

KEYS = ('mask_input', 'pad_to')  # of a section, for the model and not for the network
MASK_INPUTS = ('none', 'channel')
MOST_PADDED = 1024  # pixels: no network has larger windows, and a stranger's checkpoint may say anything

# What the hook on the first convolution adds, in this thread, during `MaskInput.forward`: the mask and what to convolve it with.
# A context variable, so that neither threads, nor replicas (DataParallel), nor deep copies see another's. torch.compile breaks its graph
# around the first convolution because of it.
_mask: ContextVar[tuple[Tensor, nn.Conv2d] | None] = ContextVar('mask', default=None)


def _add_mask(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Forward hook: the first convolution's output with the mask channel's part added."""
    if _mask.get() is None:
        raise RuntimeError('the first convolution ran outside MaskInput.forward, where no mask is known (recomputed by a checkpoint?)')
    mask, conv = _mask.get()
    bottom, right = (inside - given for inside, given in zip(inputs[0].shape[-2:], mask.shape[-2:]))
    if bottom < 0 or right < 0:
        raise ValueError(f'the first convolution sees {tuple(inputs[0].shape)}, less than the mask, {tuple(mask.shape)}')
    return output + conv(F.pad(mask, (0, right, 0, bottom)))  # the network may have padded the picture by itself


@register
class MaskInput(SelfDescribing):
    """Any network of RGB pictures, with the mask as an additional input channel.

    The network itself is unchanged, and so is what it does with RGB (its mean, a residual): the mask's part of what a first convolution of
    in_chans + 1 channels would compute is added to the first convolution's output, which is the same. That part starts at zero: the
    first step is that of the network without a mask, with which it is compared, and the weights get gradient from then on all the same.

    Args:
        inner: the network's section: `type` and settings. Its first convolution in order of registration that takes in_chans (3, if the
            section does not say) channels must be the one that takes the picture.
        mask_input: 'channel'.
        pad_to: the section's, for whoever runs the network from its checkpoint alone; this class does not pad. None: it says nothing.

    Raises:
        ValueError: the network has a mask input already, or no such convolution.
    """

    def __init__(self, *, inner: Mapping[str, Any], mask_input: str = 'channel', pad_to: int | None = None) -> None:
        super().__init__()
        require(mask_input == 'channel', 'mask_input', mask_input, "'channel'; without it the network needs no MaskInput")
        named = isinstance(inner, Mapping) and isinstance(inner.get('type'), str)
        require(named, 'inner', inner, "the network's section, with its type")
        check_pad_to(pad_to)
        if not baselines.provide(inner['type']):
            hint = '' if baselines.has_spandrel() else f"; spandrel's networks need {baselines.EXTRA}"
            raise ValueError(f'mask_input: there is no network {inner["type"]!r}{hint}')
        self.settings = {'mask_input': mask_input, 'pad_to': pad_to, 'inner': with_defaults(inner)}
        self.network = build(inner)
        refuse_mask_network(inner['type'], self.network)
        in_chans = inner.get('in_chans', 3)
        first = next((m for m in self.network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == in_chans), None)
        if first is None:
            raise ValueError(f'mask_input: {inner["type"]} has no convolution that takes the {in_chans} channels of the picture')
        self.conv_mask = nn.Conv2d(
            1, first.out_channels, first.kernel_size, first.stride, first.padding, first.dilation, bias=False,
            padding_mode=first.padding_mode,
        )  # fmt: skip
        nn.init.zeros_(self.conv_mask.weight)
        first.register_forward_hook(_add_mask)

    def forward(self, lq: Tensor, mask: Tensor) -> Tensor:
        """lq (b, in_chans, h, w) and mask (b, 1, h, w) in [0, 1], 1 = restore -> what the network returns."""
        expected = (lq.shape[0], 1, *lq.shape[2:])
        if mask.shape != expected:
            raise ValueError(f'the mask is of shape {tuple(mask.shape)}; expected {expected}: one channel, 1 = restore, in the size of lq')
        token = _mask.set((mask.to(lq.dtype), self.conv_mask))
        try:
            return self.network(lq)
        finally:
            _mask.reset(token)

    def differences(self, description: Mapping[str, Any]) -> list[str]:
        """What in a checkpoint's description is not as here; settings that it leaves out have their defaults."""
        if description['network'] != type(self).__name__:
            return super().differences(description)
        inner = description['settings'].get('inner')
        if not isinstance(inner, Mapping) or not isinstance(inner.get('type'), str):
            raise ValueError(f'{DESCRIPTION} of the checkpoint names no network inside {type(self).__name__}')
        theirs, ours = {**inner} if inner['type'] != self.settings['inner']['type'] else with_defaults(inner), self.settings['inner']
        keys = sorted({*theirs, *ours}.difference(FREE_SETTINGS))
        return [
            f'{key} is {theirs.get(key)!r} in the checkpoint, {ours.get(key)!r} here' for key in keys if theirs.get(key) != ours.get(key)
        ]

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch's; a checkpoint of a network without this input is refused, with and without `strict`."""
        check_mask_input(self, state_dict)
        differences = self.differences(description_of(state_dict))
        if differences and not strict:
            logger.warning('loading part of the weights of another network: %s', printable('; '.join(differences)))
            state_dict = {key: value for key, value in state_dict.items() if key != DESCRIPTION}
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


def with_defaults(section: Mapping[str, Any]) -> dict[str, Any]:
    """A network's section with its constructor's defaults filled in, as JSON holds it; defaults that it cannot hold are left out."""
    filled = {}
    for name, parameter in baselines.parameters(section['type']).items():
        try:
            filled[name] = json.loads(json.dumps(parameter.default))
        except TypeError:  # a class, or no default
            continue
    return filled | json.loads(json.dumps(dict(section)))


def refuse_mask_network(name: str, network: nn.Module | type) -> None:
    """Raise a ValueError if a network has a mask input of its own."""
    if takes_mask(network):
        raise ValueError(f'mask_input: channel, but {name} has a mask input of its own; leave mask_input out')


def check_mask_input(network: nn.Module, state_dict: Mapping[str, Any]) -> None:
    """Raise a ValueError if the mask enters `network` and the network of a checkpoint in different ways."""
    description = description_of(state_dict)
    theirs, ours = (
        'channel' if kind else 'none'
        for kind in (bool(description) and description['network'] == MaskInput.__name__, isinstance(network, MaskInput))
    )
    if theirs != ours:
        raise ValueError(
            f'the checkpoint is of a network with mask_input: {theirs}, this one has mask_input: {ours}; set mask_input: {theirs}'
        )


def check_pad_to(pad_to: Any) -> None:
    """Raise a ValueError for a number that pictures cannot be padded to multiples of; None: nothing is said."""
    if pad_to is not None:
        require_type('pad_to', pad_to, Integral)
        require(1 <= pad_to <= MOST_PADDED, 'pad_to', pad_to, f'1 to {MOST_PADDED}')


def check_section(section: Mapping[str, Any]) -> None:
    """Raise a ValueError for a value of `KEYS` that cannot work with the section's network."""
    mask_input = section.get('mask_input', 'none')
    require(mask_input in MASK_INPUTS, 'mask_input', mask_input, ' or '.join(MASK_INPUTS))
    check_pad_to(section.get('pad_to'))
    network = baselines.constructor(section['type'])
    if mask_input == 'channel' and hasattr(network, 'forward'):
        refuse_mask_network(section['type'], network)


def network_section(section: Mapping[str, Any]) -> dict[str, Any]:
    """What `registry.build` builds for a section: the network, or `MaskInput` around it; its own copy."""
    baselines.provide(section['type'])
    check_section(section)
    network = {key: value for key, value in section.items() if key not in KEYS}
    if section.get('mask_input', 'none') == 'none':
        return network
    return {'type': MaskInput.__name__, 'mask_input': 'channel', 'pad_to': section.get('pad_to'), 'inner': network}


def described_section(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The section of an option file that a `MaskInput` with these settings was built from."""
    said = {key: settings[key] for key in KEYS if settings.get(key) is not None}
    return {**settings['inner'], **said}


def call(
    network: nn.Module, lq: Tensor, mask: Tensor, *, takes_mask: bool, pad_to: int, degradation: Tensor | None = None
) -> Tensor:
    """Run a network on lq (b, c, h, w) and, if it takes one, mask (b, 1, h, w), padded as it needs them -> (b, c, h, w).

    degradation: (b, fields), for networks that take it.

    Raises:
        ValueError: its output is not of the input's size.
    """
    h, w = lq.shape[-2:]
    lq, mask = pad_to_multiple(lq, pad_to, 'picture'), pad_to_multiple(mask, pad_to, 'mask')
    told = () if degradation is None else (degradation,)
    output = network(lq, mask, *told) if takes_mask else network(lq)
    if output.shape != lq.shape:
        raise ValueError(
            f'the network makes {tuple(output.shape)} of {tuple(lq.shape)}; expected equal sizes: set upscale: 1 if it has that setting'
        )
    return output[..., :h, :w]


def takes_mask(network: nn.Module | type) -> bool:
    """Whether a network's `forward` has an argument `mask`."""
    return 'mask' in inspect.signature(network.forward).parameters


def takes_degradation(network: nn.Module | type) -> bool:
    """Whether a network's `forward` has an argument `degradation`."""
    return 'degradation' in inspect.signature(network.forward).parameters


def padding(section: Mapping[str, Any]) -> int:
    """To multiples of which number of pixels a section's network needs its pictures padded; 1 if to none, or if it pads by itself."""
    if section.get('pad_to') is not None:
        return section['pad_to']
    network = baselines.constructor(section['type'])
    if isinstance(network, type) and issubclass(network, SelfDescribing):
        return 1
    default = baselines.parameters(section['type']).get('window_size')
    window = section.get('window_size', default.default if default else 1)
    if not isinstance(window, Integral):
        return 1
    require(1 <= window <= MOST_PADDED, 'window_size', window, f'1 to {MOST_PADDED}')
    return window
