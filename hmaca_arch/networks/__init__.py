"""The networks: HMANet, HMACA, those they are compared with, and their checkpoints.

Importing this room registers all of them (see `registry`). Nothing in it needs BasicSR but the
networks that are BasicSR's.
"""

from hmaca_arch.networks.baselines import DRCT, HAT
from hmaca_arch.networks.hmaca import HMACA, HMANet
from hmaca_arch.networks.loading import build_network_from_state_dict
from hmaca_arch.networks.mask_input import MaskInput
from hmaca_arch.networks.registry import add_to_basicsr
from hmaca_arch.networks.unfolded import Unfolded

__all__ = [
    'DRCT',
    'HAT',
    'HMACA',
    'HMANet',
    'MaskInput',
    'Unfolded',
    'add_to_basicsr',
    'build_network_from_state_dict',
]
