"""The device that a network runs on, chosen by name."""

import re

import torch

EXPECTED = 'auto, cpu, cuda, cuda:N or mps'
HELP = f'{EXPECTED}; auto (the default): an NVIDIA or Apple GPU if there is one'


def choose_device(name: str | torch.device = 'auto') -> torch.device:
    """Return the device of that name. `auto` prefers CUDA, then Apple's GPU (mps), then the CPU.

    Raises:
        ValueError: the name is unknown, or torch sees no such device.
    """
    name = str(name)
    has_mps = torch.backends.mps.is_available()
    if name == 'auto' and torch.cuda.is_available():
        return torch.device('cuda')
    if name == 'auto':
        return torch.device('mps' if has_mps else 'cpu')
    if not re.fullmatch(r'cpu|mps|cuda(:\d+)?', name):
        raise ValueError(f'device is {name!r}; expected {EXPECTED}')
    if name == 'mps' and not has_mps:
        raise ValueError("device is 'mps', but torch sees no Apple GPU; use auto or cpu")
    if name.startswith('cuda') and not torch.cuda.is_available():
        raise ValueError(f'device is {name!r}, but torch sees no GPU; use auto or cpu')
    device = torch.device(name)
    if device.type == 'cuda' and (device.index or 0) >= (count := torch.cuda.device_count()):
        gpus = 'GPUs' if count > 1 else 'GPU'
        raise ValueError(f'device is {name!r}, but torch sees {count} {gpus}; the first is cuda:0')
    return device
