"""`Adapter`: the inputs and sizes that a network gets, and its output."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hmaca_arch.networks.adapter import Adapter, takes
from hmaca_arch.networks.unfolded import Unfolded


class Blind(nn.Module):
    def forward(self, lq):
        self.seen = {'lq': lq}
        return lq


class Seeing(nn.Module):
    def forward(self, lq, mask):
        self.seen = {'lq': lq, 'mask': mask}
        return lq + mask


class Told(nn.Module):
    def forward(self, lq, degradation=None, mask=None):  # by name: the order says nothing
        self.seen = {'lq': lq, 'mask': mask, 'degradation': degradation}
        return lq


class ToldAlone(nn.Module):
    def forward(self, lq, degradation=None):
        self.seen = {'lq': lq, 'degradation': degradation}
        return lq


class Doubling(nn.Module):
    def forward(self, lq):
        return lq.repeat(1, 1, 2, 2)


def batch(h=5, w=7):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.rand(2, 3, h, w, generator=generator),
        torch.rand(2, 1, h, w, generator=generator),
        torch.rand(2, 4, generator=generator),
    )


@pytest.mark.parametrize(
    ('network', 'names'),
    [
        (Blind, ()),
        (Seeing, ('mask',)),
        (Told, ('mask', 'degradation')),
        (ToldAlone, ('degradation',)),
    ],
)
@pytest.mark.parametrize('told', [True, False])
def test_a_network_gets_what_it_takes_by_name(network, names, told):
    lq, mask, degradation = batch()
    adapter = Adapter(network())
    assert adapter.takes == takes(network) == names
    adapter(lq, mask, degradation if told else None)
    seen = adapter.network.seen
    assert seen.keys() == {'lq', *names} and torch.equal(seen['lq'], lq)
    assert 'mask' not in names or torch.equal(seen['mask'], mask)
    assert 'degradation' not in names or seen['degradation'] is (degradation if told else None)


def test_images_are_mirrored_masks_are_not_and_the_output_is_cropped():
    lq, mask, _ = batch()
    adapter = Adapter(Seeing(), pad_to=4)
    output = adapter(lq, mask)
    assert torch.equal(adapter.network.seen['lq'], F.pad(lq, (0, 1, 0, 3), mode='reflect'))
    assert torch.equal(adapter.network.seen['mask'], F.pad(mask, (0, 1, 0, 3)))
    assert torch.equal(output, lq + mask)


def test_another_size_is_named():
    with pytest.raises(ValueError, match=r'makes \(2, 3, 10, 14\) of \(2, 3, 5, 7\).*upscale: 1'):
        Adapter(Doubling())(*batch())


@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_weights_devices_and_modes_are_the_networks(mode):
    inner = nn.Conv2d(3, 3, 3)
    adapter = Adapter(inner)
    getattr(adapter, mode)()
    adapter.double()
    assert inner.training == (mode == 'train') and inner.weight.dtype == torch.float64
    assert [id(parameter) for parameter in adapter.parameters()] == [
        id(parameter) for parameter in inner.parameters()
    ]


@pytest.mark.slow
def test_a_compiled_adapter_computes_the_same():
    network = Unfolded(
        inner={
            'type': 'HMANet',
            'embed_dim': 32,
            'depths': [1],
            'num_heads': [2],
            'window_size': 4,
        },
        steps=2,
    ).eval()
    adapter = Adapter(network)
    compiled = torch.compile(adapter, backend='eager')
    lq, mask, _ = batch(8, 8)
    with torch.no_grad():
        torch.testing.assert_close(compiled(lq, mask), adapter(lq, mask))
