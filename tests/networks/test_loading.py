"""From a checkpoint file to a network with its weights, by its description or by a section."""

import pytest
import torch
from samples import SECTIONS, as_release

from hmaca_arch import HMANet, build_network_from_state_dict
from hmaca_arch.networks.loading import load_network
from hmaca_arch.networks.mask_input import network_section, section_of
from hmaca_arch.networks.registry import build

HMACA = {
    'type': 'HMACA', 'embed_dim': 32, 'depths': [1], 'num_heads': [2], 'window_size': 4, 'interval_size': 3, 'cross_attention': 'none',
    'mask_position': True,
}  # fmt: skip
SWINIR = SECTIONS['SwinIR']
CHANNEL = {**SWINIR, 'mask_input': 'channel', 'pad_to': 12}
UNFOLDED = {'type': 'Unfolded', 'inner': SWINIR, 'steps': 1}
DESCRIBED = {
    'own': (HMACA, 1),
    'channel': (CHANNEL, 12),
    'window': ({**SWINIR, 'mask_input': 'channel'}, 4),
    'unfolded': (UNFOLDED, 1),
}


def saved(path, section, **others):
    """Build a network of a section and save its weights under `params_ema`."""
    network = build(network_section(section)).eval()
    torch.save({'params': {}, 'params_ema': network.state_dict(), **others}, path)
    return network


def assert_same(adapter, network, pad_to):
    assert type(adapter.network) is type(network) and adapter.pad_to == pad_to
    assert not any(module.training for module in adapter.modules())
    ours, theirs = network.state_dict(), adapter.network.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize('kind', DESCRIBED)
def test_what_a_checkpoint_says_and_what_a_section_says_are_one_network(tmp_path, kind):
    section, pad_to = DESCRIBED[kind]
    network = saved(tmp_path / 'net.pth', section)
    assert_same(load_network(tmp_path / 'net.pth'), network, pad_to)
    assert_same(load_network(tmp_path / 'net.pth', section), network, pad_to)
    again = section_of(network)
    assert again['type'] == section['type'] and all(
        again[key] == section[key] for key in section if key != 'inner'
    )
    assert_same(load_network(tmp_path / 'net.pth', again), network, pad_to)


@pytest.mark.parametrize(('more', 'pad_to'), [({}, 4), ({'pad_to': 6}, 6)])
def test_another_network_needs_its_section(tmp_path, more, pad_to):
    network = saved(tmp_path / 'net.pth', SWINIR)
    loaded = load_network(tmp_path / 'net.pth', {**SWINIR, **more})
    assert_same(loaded, network, pad_to)
    assert loaded.network.in_chans == 3
    with pytest.raises(
        ValueError, match=r'net\.pth: .* does not say which network .* need the option file'
    ) as error:
        load_network(tmp_path / 'net.pth')
    assert '\n' not in str(error.value)


def test_published_weights(tmp_path):
    network = HMANet(
        embed_dim=32, depths=[1], num_heads=[2], window_size=4, shifted_windows='strips'
    )
    torch.save({'params_ema': as_release(network)}, tmp_path / 'net.pth')
    assert_same(load_network(tmp_path / 'net.pth'), network, 1)


@pytest.mark.parametrize(
    ('section', 'message'),
    [
        ({'type': 'SwinIRR'}, r"^network_g:type: there is no network 'SwinIRR'"),
        (
            {**SWINIR, 'windowsize': 4},
            r'^network_g:windowsize: SwinIR has no such setting .did you mean window_size',
        ),
        (
            {**SWINIR, 'embed_dim': 24},
            r'net\.pth: the checkpoint is of another network: .* have another shape',
        ),
        (
            CHANNEL,
            r'net\.pth: the checkpoint is of a network with mask_input: none, this one has mask_input: channel',
        ),
        (HMACA, r'net\.pth: the checkpoint is of another network: '),
        ({**SWINIR, 'pad_to': 0}, r'net\.pth: pad_to is 0'),
    ],
)
def test_a_section_of_another_network_is_one_line(tmp_path, section, message):
    saved(tmp_path / 'net.pth', SWINIR)
    with pytest.raises(ValueError, match=message) as error:
        load_network(tmp_path / 'net.pth', section)
    assert '\n' not in str(error.value)


def test_the_inner_half_gives_the_network_itself(tmp_path):
    network = saved(tmp_path / 'net.pth', HMACA)
    again = build_network_from_state_dict(network.state_dict())
    assert type(again) is type(network) and not again.training
