"""The one way from a checkpoint to a network with its weights: `load_network`, of a file, and its
inner half, of a state dict.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hmaca_arch.files.claims import refuse_odd_tensors
from hmaca_arch.files.torch_files import read_checkpoint
from hmaca_arch.networks import baselines, described
from hmaca_arch.networks.adapter import Adapter, padding
from hmaca_arch.networks.channels import image_channels
from hmaca_arch.networks.checkpoints import (
    DESCRIPTION,
    describe_release,
    description_of,
    is_release,
    refuse_misfit,
)
from hmaca_arch.networks.mask_input import KEYS, check_mask_input, network_section, section_of
from hmaca_arch.networks.registry import build

UNDESCRIBED = 'SwinIR, HAT, DRCT and others need the option file of their training as well (-opt FILE; to compare: FILE.yml,WEIGHTS.pth)'


def load_network(path: Path, section: Mapping[str, Any] | None = None) -> Adapter:
    """Load the network of a checkpoint file with its averaged weights, or its only ones.

    Args:
        path: of a checkpoint.
        section: `network_g` of its training, for networks whose checkpoints do not say which they
            are of.

    Returns:
        The network in an `Adapter` that pads as it needs, on the CPU and in eval mode.

    Raises:
        FileNotFoundError, ValueError: in one line.
    """
    if section is not None:
        if not baselines.provide(section['type']):
            raise ValueError(f'network_g:type: there is no network {section["type"]!r}')
        baselines.refuse_unknown(section, KEYS)
    state_dict, _ = read_checkpoint(path)
    try:
        network = (
            build_network_from_state_dict(state_dict)
            if section is None
            else _built(section, state_dict)
        )
        if section:
            network.in_chans = image_channels(section)
        return Adapter(network, padding(section or section_of(network))).eval()
    except (RuntimeError, TypeError, ValueError) as error:  # TypeError: a setting is missing
        hint = '' if section or DESCRIPTION in state_dict else f'; {UNDESCRIBED}'
        raise ValueError(f'{path}: {" ".join(str(error).split())[:700]}{hint}') from None


def build_network_from_state_dict(state_dict: Mapping[str, Tensor]) -> nn.Module:
    """The network that a state dict (`params` or `params_ema` of a checkpoint) belongs to, with its
    weights, in eval mode.

    A checkpoint of HMA's published release does not describe itself: what its shapes do not say is
    assumed, shifted_windows 'strips', interval_size 4 and img_range 1.

    Raises:
        ValueError: the state dict neither describes itself nor has the release's keys, or it is not
            what it says.
    """
    description = description_of(state_dict)
    refuse_odd_tensors(state_dict)
    if description is None and is_release(state_dict):
        description = {'network': 'HMANet', 'settings': describe_release(state_dict)}
    if description is None:
        keys = ', '.join(key[:80] for key in list(state_dict)[:3])
        raise ValueError(
            f'the state dict (keys {keys}, ...) does not say which network it belongs to; expected the params of a checkpoint of HMANet, '
            'HMACA or a network with mask_input: channel as state_dict() gives them, or of the published HMA. Otherwise build the network '
            'and use load_state_dict'
        )
    network = described.build(description, state_dict)
    network.load_state_dict(state_dict)
    return network.eval()


def _built(section: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> nn.Module:
    network = build(network_section(section))
    check_weights(network, state_dict)
    network.load_state_dict(state_dict)
    return network


def check_weights(
    network: nn.Module, state_dict: Mapping[str, Tensor], strict: bool = True
) -> None:
    """Raise a ValueError unless a state dict is of this network; without `strict`, unless the mask
    enters both in the same way.
    """
    check_mask_input(network, state_dict)
    if strict:
        refuse_misfit(network, state_dict)
