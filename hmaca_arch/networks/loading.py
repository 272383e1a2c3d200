"""From a checkpoint to a network with its weights: `load_network`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hmaca_arch.files.claims import refuse_odd_tensors
from hmaca_arch.files.torch_files import read_checkpoint
from hmaca_arch.messages import reason_of
from hmaca_arch.networks import baselines, described
from hmaca_arch.networks.adapter import Adapter, padding
from hmaca_arch.networks.channels import image_channels
from hmaca_arch.networks.checkpoints import DESCRIPTION, description_of, refuse_misfit
from hmaca_arch.networks.mask_input import KEYS, check_mask_input, network_section, section_of
from hmaca_arch.networks.registry import build
from hmaca_arch.networks.release import describe_release, is_release

UNDESCRIBED = (
    'SwinIR, HAT, DRCT and others need the option file of their training as well '
    '(-opt FILE; to compare: FILE.yml,WEIGHTS.pth)'
)


def load_network(path: Path, section: Mapping[str, Any] | None = None) -> Adapter:
    """Load the network of a checkpoint file with its averaged weights, or its only ones.

    Args:
        path: of a checkpoint.
        section: `network_g` of its training, for networks whose checkpoints do not describe them.

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
        if section is None:
            described_network = build_network_from_state_dict(state_dict)
            return Adapter(described_network, padding(section_of(described_network))).eval()
        network: Any = build(network_section(section))
        check_weights(network, state_dict)
        network.load_state_dict(state_dict)
        network.in_chans = image_channels(section)
        return Adapter(network, padding(section)).eval()
    except (RuntimeError, TypeError, ValueError) as error:  # TypeError: a setting is missing
        hint = '' if section or DESCRIPTION in state_dict else f'; {UNDESCRIBED}'
        raise ValueError(f'{path}: {reason_of(error, 700)}{hint}') from None


def build_network_from_state_dict(state_dict: Mapping[str, Tensor]) -> Any:
    """Build the network that a state dict belongs to, with its weights, in eval mode.

    Args:
        state_dict: `params` or `params_ema` of a checkpoint. One of HMA's published release does
            not describe itself; see `release` for what is assumed.

    Returns:
        An nn.Module with the `settings` that it was built with.

    Raises:
        ValueError: the state dict neither describes itself nor has the release's keys, or it does
            not fit its description.
    """
    description = description_of(state_dict)
    refuse_odd_tensors(state_dict)
    if description is None and is_release(state_dict):
        description = {'network': 'HMANet', 'settings': describe_release(state_dict)}
    if description is None:
        keys = ', '.join(key[:80] for key in list(state_dict)[:3])
        raise ValueError(
            f'the state dict (keys {keys}, ...) does not say which network it belongs to; '
            'expected the params of a checkpoint of HMANet, HMACA or a network with mask_input: '
            'channel as state_dict() gives them, or of the published HMA. '
            'Otherwise build the network and use load_state_dict'
        )
    network = described.build(description, state_dict)
    network.load_state_dict(state_dict)
    return network.eval()


def check_weights(
    network: nn.Module, state_dict: Mapping[str, Tensor], strict: bool = True
) -> None:
    """Check that a state dict is of this network.

    Args:
        network: the network.
        state_dict: the weights.
        strict: without it, only the way in which the mask enters must be the same.

    Raises:
        ValueError: it is of another network.
    """
    check_mask_input(network, state_dict)
    if strict:
        refuse_misfit(network, state_dict)
