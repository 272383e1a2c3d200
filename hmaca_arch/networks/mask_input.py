"""What a section `network_g` says beyond the network's own settings: how the mask enters, and what
sizes the network needs.

    network_g: {type: SwinIR, mask_input: channel, pad_to: 16, ...}

mask_input: `none` (default: the network sees the picture alone, or has a mask input of its own as
HMACA has), or `channel`: the mask is one more channel of the network's input. pad_to: pictures are
padded to multiples of it and the output is cropped; by default of the network's `window_size`, if
it has such a setting and does not pad by itself.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from hmaca_arch.networks import baselines
from hmaca_arch.networks.adapter import check_pad_to, takes
from hmaca_arch.networks.checkpoints import SelfDescribing, description_of
from hmaca_arch.networks.registry import register
from hmaca_arch.networks.settings import require
from hmaca_arch.networks.windows import check_mask
from hmaca_arch.networks.wrapping import Wrapping, widened

KEYS = ('mask_input', 'pad_to')  # of a section, for the model and not for the network
MASK_INPUTS = ('none', 'channel')


@register
class MaskInput(Wrapping):
    """Any network of RGB pictures, with the mask as an additional input channel.

    The network itself is unchanged, and so is what it does with RGB (its mean, a residual): the
    mask's part of what a first convolution of in_chans + 1 channels would compute is added to the
    first convolution's output, which is the same. That part starts at zero: the first step is that
    of the network without a mask, with which it is compared, and the weights get gradient from then
    on all the same.

    Args:
        inner: the network's section, see `Wrapping`.
        mask_input: 'channel'.
        pad_to: the section's, for whoever runs the network from its checkpoint alone; this class
            does not pad. None: it says nothing.

    Raises:
        ValueError: the network has a mask input already, or no convolution to add the mask's part
            to.
    """

    def __init__(
        self, *, inner: Mapping[str, Any], mask_input: str = 'channel', pad_to: int | None = None
    ) -> None:
        require(
            mask_input == 'channel',
            'mask_input',
            mask_input,
            "'channel'; without it the network needs no MaskInput",
        )
        check_pad_to(pad_to)
        super().__init__(inner, mask_input=mask_input, pad_to=pad_to)
        refuse_mask_network(inner['type'], self.network)
        self.conv_mask = self.convolution_beside(1, bias=False)
        nn.init.zeros_(self.conv_mask.weight)

    def forward(self, lq: Tensor, mask: Tensor) -> Tensor:
        """lq (b, in_chans, h, w) and mask (b, 1, h, w) in [0, 1], 1 = restore -> what the network
        returns.
        """
        check_mask(lq, mask)
        mask = mask.to(lq.dtype)
        return self.adding(
            lambda given, made: self.conv_mask(widened(mask, given)), self.network, lq
        )

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As torch's; a checkpoint of a network without this input is refused, with and without
        `strict`.
        """
        check_mask_input(self, state_dict)
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


def refuse_mask_network(name: str, network: nn.Module | type) -> None:
    """Raise a ValueError if a network has a mask input of its own."""
    if 'mask' in takes(network):
        raise ValueError(
            f'mask_input: channel, but {name} has a mask input of its own; leave mask_input out'
        )


def check_mask_input(network: nn.Module, state_dict: Mapping[str, Any]) -> None:
    """Raise a ValueError if the mask enters `network` and the network of a checkpoint in different
    ways.
    """
    description = description_of(state_dict)
    theirs, ours = (
        'channel' if kind else 'none'
        for kind in (
            bool(description) and description['network'] == MaskInput.__name__,
            isinstance(network, MaskInput),
        )
    )
    if theirs != ours:
        raise ValueError(
            f'the checkpoint is of a network with mask_input: {theirs}, this one has mask_input: {ours}; set mask_input: {theirs}'
        )


def check_section(section: Mapping[str, Any]) -> None:
    """Raise a ValueError for a value of `KEYS` that cannot work with the section's network."""
    mask_input = section.get('mask_input', 'none')
    require(mask_input in MASK_INPUTS, 'mask_input', mask_input, ' or '.join(MASK_INPUTS))
    check_pad_to(section.get('pad_to'))
    network = baselines.constructor(section['type'])
    if mask_input == 'channel' and hasattr(network, 'forward'):
        refuse_mask_network(section['type'], network)


def network_section(section: Mapping[str, Any]) -> dict[str, Any]:
    """What `registry.build` builds for a section: the network, or `MaskInput` around it; its own
    copy.
    """
    baselines.provide(section['type'])
    check_section(section)
    network = {key: value for key, value in section.items() if key not in KEYS}
    if section.get('mask_input', 'none') == 'none':
        return network
    return {
        'type': MaskInput.__name__,
        'mask_input': 'channel',
        'pad_to': section.get('pad_to'),
        'inner': network,
    }


def section_of(network: SelfDescribing) -> dict[str, Any]:
    """The section of an option file that a network was built from, with all settings that it has."""
    if not isinstance(network, MaskInput):
        return {'type': type(network).__name__, **network.settings}
    said = {key: network.settings[key] for key in KEYS if network.settings[key] is not None}
    return {**network.settings['inner'], **said}
