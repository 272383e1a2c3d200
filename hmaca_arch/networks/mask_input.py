"""What a section `network_g` states beyond the network's settings: how the mask enters, and sizes.

    network_g: {type: SwinIR, mask_input: channel, pad_to: 16, ...}

mask_input: `none` (default): the network sees the image alone, or takes a mask by itself as HMACA
does. `channel`: the mask is one more channel of the network's input.

pad_to: images are padded to multiples of it, and the output is cropped. The default is the
network's `window_size`, if it has such a setting and does not pad by itself.
"""

from collections.abc import Callable, Mapping
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
    """Any network of RGB images, with the mask as an additional input channel.

    A first convolution of in_chans + 1 channels would compute a part from the mask. Here that part
    is added to the output of the network's own first convolution. The network stays unchanged, and
    so does what it does with RGB (its mean, a residual). The part starts at zero, so that training
    starts from the network without a mask.

    Args:
        inner: the network's section, see `Wrapping`.
        mask_input: 'channel'.
        pad_to: the section's, for programs that have only the checkpoint. This class does not pad.
            None: not stated.

    Raises:
        ValueError: the network has a mask input already, or no convolution to add the part to.
    """

    def __init__(
        self, *, inner: Mapping[str, Any], mask_input: str = 'channel', pad_to: int | None = None
    ) -> None:
        only = "'channel'; without it the network needs no MaskInput"
        require(mask_input == 'channel', 'mask_input', mask_input, only)
        check_pad_to(pad_to)
        super().__init__(inner, mask_input=mask_input, pad_to=pad_to)
        refuse_mask_network(inner['type'], self.network)
        self.conv_mask = self.convolution_beside(1, bias=False)
        nn.init.zeros_(self.conv_mask.weight)

    def forward(self, lq: Tensor, mask: Tensor) -> Tensor:
        """Run the network.

        Args:
            lq: (b, in_chans, h, w).
            mask: (b, 1, h, w) in [0, 1], 1 = restore.

        Returns:
            What the network returns for lq.
        """
        check_mask(lq, mask)
        mask = mask.to(lq.dtype)

        def addition(given: Tensor, made: Tensor) -> Tensor:
            return self.conv_mask(widened(mask, given))

        return self.adding(addition, self.network, lq)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights as torch does, but refuse those of a network without this input."""
        check_mask_input(self, state_dict)
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


def refuse_mask_network(name: str, network: nn.Module | Callable[..., nn.Module]) -> None:
    """Raise a ValueError if a network takes a mask by itself."""
    if 'mask' in takes(network):
        raise ValueError(
            f'mask_input: channel, but {name} has a mask input of its own; leave mask_input out'
        )


def check_mask_input(network: nn.Module, state_dict: Mapping[str, Any]) -> None:
    """Raise a ValueError if the mask enters a network and a checkpoint's network differently."""
    description = description_of(state_dict)
    named = description['network'] if description else None
    theirs = 'channel' if named == MaskInput.__name__ else 'none'
    ours = 'channel' if isinstance(network, MaskInput) else 'none'
    if theirs != ours:
        raise ValueError(
            f'the checkpoint is of a network with mask_input: {theirs}, '
            f'this one has mask_input: {ours}; set mask_input: {theirs}'
        )


def check_section(section: Mapping[str, Any]) -> None:
    """Raise a ValueError for a value of `KEYS` that cannot work with the section's network."""
    mask_input = section.get('mask_input', 'none')
    require(mask_input in MASK_INPUTS, 'mask_input', mask_input, ' or '.join(MASK_INPUTS))
    check_pad_to(section.get('pad_to'))
    network = baselines.constructor(section['type'])
    if mask_input == 'channel':
        refuse_mask_network(section['type'], network)


def network_section(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `registry.build` builds for a section: the network, or `MaskInput` around it.

    Raises:
        ValueError: a value of `KEYS` cannot work with the network.
    """
    baselines.provide(section['type'])
    check_section(section)
    network = {key: value for key, value in section.items() if key not in KEYS}
    if section.get('mask_input', 'none') == 'none':
        return network
    stated = {'mask_input': 'channel', 'pad_to': section.get('pad_to')}
    return {'type': MaskInput.__name__, **stated, 'inner': network}


def section_of(network: SelfDescribing) -> dict[str, Any]:
    """Return the section of an option file that a network was built from, with all settings."""
    if not isinstance(network, MaskInput):
        return {'type': type(network).__name__, **network.settings}
    stated = {key: network.settings[key] for key in KEYS if network.settings[key] is not None}
    return {**network.settings['inner'], **stated}
