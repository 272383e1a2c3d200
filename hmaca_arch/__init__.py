"""HMANet and HMACA for BasicSR. Importing this package makes BasicSR importable and registers what it brings."""

from hmaca_arch import compat

compat.apply()

from hmaca_arch import baselines, mask_input, metrics, models  # noqa: E402
from hmaca_arch.hmaca import HMACA, HMANet, build_network_from_state_dict  # noqa: E402

compat.load_safely_everywhere()

__all__ = ['HMACA', 'HMANet', 'baselines', 'build_network_from_state_dict', 'mask_input', 'metrics', 'models']
