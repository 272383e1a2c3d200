"""The device that a name stands for, on machines that this one is not."""

import numpy as np
import pytest
import torch

from hmaca_arch.devices import choose_device
from hmaca_arch.inference import load_restorer
from hmaca_arch.restoring import batching


@pytest.fixture
def machine(monkeypatch):
    """Let torch see so many NVIDIA GPUs, and an Apple GPU or none."""

    def machine(gpus: int, apple: bool) -> None:
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: apple)

    return machine


@pytest.mark.parametrize(
    ('gpus', 'apple', 'name', 'device'),
    [
        (0, False, 'auto', 'cpu'),
        (0, True, 'auto', 'mps'),
        (2, False, 'auto', 'cuda'),
        (2, True, 'auto', 'cuda'),
        (2, True, 'cpu', 'cpu'),
        (0, True, 'mps', 'mps'),
        (1, False, 'cuda', 'cuda'),
        (2, False, 'cuda:1', 'cuda:1'),
        (2, False, torch.device('cuda', 0), 'cuda:0'),
    ],
)
def test_names_of_devices(machine, gpus, apple, name, device):
    machine(gpus, apple)
    assert choose_device(name) == torch.device(device)


@pytest.mark.parametrize(
    ('gpus', 'apple', 'name', 'message'),
    [
        (0, True, 'cuda', "device is 'cuda', but torch sees no GPU; use auto or cpu"),
        (0, False, 'cuda:1', "device is 'cuda:1', but torch sees no GPU; use auto or cpu"),
        (2, False, 'cuda:2', "device is 'cuda:2', but torch sees 2 GPUs; the first is cuda:0"),
        (1, False, 'mps', "device is 'mps', but torch sees no Apple GPU; use auto or cpu"),
        (2, True, 'gpu', "device is 'gpu'; expected auto, cpu, cuda, cuda:N or mps"),
        (2, True, 'cuda:', "device is 'cuda:'; expected auto, cpu, cuda, cuda:N or mps"),
        (2, True, 'mps:1', "device is 'mps:1'; expected auto, cpu, cuda, cuda:N or mps"),
    ],
)
def test_devices_that_are_not_there(machine, gpus, apple, name, message):
    machine(gpus, apple)
    with pytest.raises(ValueError) as caught:
        choose_device(name)
    assert str(caught.value) == message


@pytest.mark.parametrize('command', ['restore', 'demo', 'compare'])
def test_every_command_says_so_in_one_line(
    command, machine, basicsr_here, triplets, tiny_checkpoint
):
    machine(0, False)
    files = (
        '-i',
        triplets / 'test' / 'lq' / '0000.png',
        '-m',
        triplets / 'test' / 'mask' / '0000.png',
        '-o',
        'out.png',
    )
    arguments = {
        'restore': (*files, '--weights', tiny_checkpoint),
        'demo': (),
        'compare': (triplets / 'test', '-c', 'none'),
    }[command]
    code, line = basicsr_here(command, *arguments, '--device', 'mps')
    assert (
        code == 1
        and line
        == f"basicsr {command}: error: device is 'mps', but torch sees no Apple GPU; use auto or cpu"
    )


def test_an_apple_gpu_is_what_the_network_goes_to(machine, monkeypatch, tiny_checkpoint):
    """Where the network and the tensors go is noted; the computing is the CPU's, as there is no
    Apple GPU here.
    """
    machine(0, True)
    asked = []

    def to(self, *arguments, real=torch.nn.Module.to, **more):
        asked.append(arguments[0])
        return self

    monkeypatch.setattr(torch.nn.Module, 'to', to)
    restorer = load_restorer(tiny_checkpoint)
    assert restorer.device.type == 'mps' and asked == [torch.device('mps')]


def test_memory_of_an_apple_gpu_that_runs_out_is_told_from_other_errors(
    machine, monkeypatch, tiny_checkpoint
):
    """As on other devices: regions go one by one then, and the GPU's cache is emptied."""
    restorer = load_restorer(tiny_checkpoint, device='cpu')
    emptied, calls, real = [], [], restorer.crops._call

    def call(lq, *others):
        calls.append(len(lq))
        if len(lq) > 1:
            raise RuntimeError(
                'MPS backend out of memory (MPS allocated: 9.00 GB, max allowed: 9.07 GB)'
            )
        return real(lq, *others)

    monkeypatch.setattr(restorer.crops, '_call', call)
    monkeypatch.setattr(restorer.crops, '_free_memory', lambda: emptied.append(True))
    mask = np.zeros((40, 120), np.uint8)
    mask[16:24, 16:24] = mask[16:24, 96:104] = 255
    image = np.random.default_rng(0).integers(0, 256, (40, 120, 3), dtype=np.uint8)
    restored = restorer.restore(image, mask, context=4, batch=2)
    assert calls == [2, 1, 1] and emptied and (restored != image).any()
    assert not batching._is_out_of_memory(RuntimeError('MPS backend: something else'))
