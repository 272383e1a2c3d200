"""State dicts that describe themselves, and those of the published release."""

import copy
import io
import logging
from collections import OrderedDict

import pytest
import torch
from samples import as_release

from hmaca_arch import HMACA, HMANet, build_network_from_state_dict

SMALL = {
    'embed_dim': 64,
    'depths': (2, 1),
    'num_heads': (4, 2),
    'window_size': 4,
    'interval_size': 4,
    'mlp_ratio': 1.5,
}


def save_and_load(state_dict):
    """Save as BasicSR does, and load as torch does without trusting the file."""
    for key, value in state_dict.items():
        state_dict[key] = value.cpu()
    file = io.BytesIO()
    torch.save({'params': state_dict}, file)
    file.seek(0)
    return torch.load(file, weights_only=True)['params']


@pytest.mark.parametrize(
    'network',
    [
        lambda: HMANet(**SMALL, upscale=2, keep_size=True, img_range=255.0, use_checkpoint=True),
        lambda: HMANet(**SMALL, upscale=3, resi_connection='identity', in_chans=1),
        lambda: HMACA(
            **SMALL, image_residual=True, shifted_windows='strips', cross_attention_residual=False
        ),
        lambda: HMACA(
            **SMALL, cross_attention='window', cross_attention_heads=2, drop_path_rate=0.3
        ),
    ],
)
def test_a_network_is_rebuilt_from_its_weights_alone(network):
    net = network().eval()
    state_dict = save_and_load(copy.deepcopy(net.state_dict()))
    rebuilt = build_network_from_state_dict(state_dict)
    assert type(rebuilt) is type(net) and rebuilt.settings == net.settings and not rebuilt.training
    inputs = [torch.rand(1, net.in_chans, 6, 5)] + (
        [torch.ones(1, 1, 6, 5)] if isinstance(net, HMACA) else []
    )
    with torch.no_grad():
        assert torch.equal(rebuilt(*inputs), net(*inputs))


def test_the_description_is_a_tensor_that_every_saver_can_handle():
    state = HMACA(**SMALL).state_dict()['_extra_state']
    assert state.dtype == torch.uint8 and state.ndim == 1
    assert b'"network": "HMACA"' in bytes(state.tolist())


@pytest.mark.parametrize(
    ('here', 'there', 'listed'),
    [
        ({'shifted_windows': 'strips'}, {}, ['shifted_windows']),
        ({'interval_size': 2, 'img_range': 255.0}, {}, ['interval_size', 'img_range']),
        ({'mlp_ratio': 2}, {}, ['mlp_ratio']),
        ({}, {'image_residual': True}, ['image_residual']),
    ],
)
def test_other_structural_settings_are_an_error_that_lists_them(here, there, listed):
    net = HMANet(**{**SMALL, **here})
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match='another network') as caught:
        net.load_state_dict(HMANet(**{**SMALL, **there}).state_dict())
    mentioned = [name for name in net.settings if f'{name} is ' in str(caught.value)]
    assert sorted(mentioned) == sorted(listed)
    assert all(
        torch.equal(before[key], value) for key, value in net.state_dict().items()
    )  # nothing was copied


def test_another_class_is_an_error():
    with pytest.raises(ValueError, match="network is 'HMACA' in the checkpoint, 'HMANet' here"):
        HMANet(**SMALL).load_state_dict(HMACA(**SMALL).state_dict())


def test_a_wrapped_network_checks_as_well():
    wrapped, other = (
        torch.nn.Sequential(HMANet(**SMALL, shifted_windows=kind)) for kind in ('windows', 'strips')
    )
    wrapped.load_state_dict(copy.deepcopy(wrapped).state_dict())
    with pytest.raises(ValueError, match='shifted_windows'):
        wrapped.load_state_dict(other.state_dict())


def test_settings_of_training_may_differ():
    net = HMANet(**SMALL, drop_path_rate=0.2, use_checkpoint=True)
    net.load_state_dict(HMANet(**SMALL, drop_path_rate=0.0).state_dict())
    assert net.settings['drop_path_rate'] == 0.2


def test_strict_is_strict_about_parameters():
    net = HMANet(**SMALL)
    missing = net.state_dict()
    del missing['groups.0.scale']
    with pytest.raises(RuntimeError, match=r'Missing key.*groups\.0\.scale'):
        net.load_state_dict(missing)
    with pytest.raises(RuntimeError, match=r'Unexpected key.*something'):
        net.load_state_dict({**net.state_dict(), 'something': torch.zeros(1)})
    for weights in (net.state_dict(), as_release(net)):
        weights['conv_first.weight'] = torch.zeros(64, 3, 1, 1)
        with pytest.raises(RuntimeError, match='size mismatch'):
            net.load_state_dict(weights)


def test_without_strict_other_settings_are_a_warning(caplog):
    net, other = HMACA(**SMALL), HMANet(**SMALL)
    with caplog.at_level(logging.WARNING):
        result = net.load_state_dict(other.state_dict(), strict=False)
    assert "network is 'HMANet' in the checkpoint" in caplog.text
    assert torch.equal(net.conv_first.weight, other.conv_first.weight)
    assert all(
        key.startswith(('cross_attentions.', 'mask_encoder.', '_extra_state'))
        for key in result.missing_keys
    )


@pytest.mark.parametrize('upscale', [1, 2, 3, 4])
@pytest.mark.parametrize('resi_connection', ['1conv', 'identity'])
def test_release_checkpoints(upscale, resi_connection, caplog):
    settings = {
        **SMALL,
        'upscale': upscale,
        'resi_connection': resi_connection,
        'shifted_windows': 'strips',
    }
    net = HMANet(**settings).eval()
    release = as_release(net)
    assert not set(release) & {
        key for key in net.state_dict() if key.startswith(('groups.', 'norm_'))
    }
    rebuilt = build_network_from_state_dict(release)
    assert rebuilt.settings == net.settings
    assert all(
        torch.equal(value, net.state_dict()[key]) for key, value in rebuilt.state_dict().items()
    )
    fresh = HMANet(**settings)
    fresh.load_state_dict(OrderedDict(release))
    assert all(
        torch.equal(value, net.state_dict()[key]) for key, value in fresh.state_dict().items()
    )
    assert not caplog.records


def test_release_weights_in_real_windows_are_a_warning(caplog):
    strips, windows = (HMANet(**SMALL, shifted_windows=kind) for kind in ('strips', 'windows'))
    windows.load_state_dict(as_release(strips))
    assert 'strips' in caplog.text and len(caplog.records) == 1
    assert torch.equal(windows.groups[1].scale, strips.groups[1].scale)


def test_canonical_keys_are_those_of_the_network():
    net = HMANet(**SMALL, shifted_windows='strips')
    state_dict = net.state_dict()
    canonical = net.canonical_state_dict(as_release(net))
    assert set(canonical) == set(state_dict)
    assert all(torch.equal(canonical[key], value) for key, value in state_dict.items())
    unchanged = net.canonical_state_dict(state_dict)
    assert list(unchanged) == list(state_dict) and all(
        unchanged[key] is value for key, value in state_dict.items()
    )
    assert '_extra_state' not in as_release(net)  # was filled in


def test_a_state_dict_of_something_else_cannot_be_built():
    with pytest.raises(ValueError, match='does not say which network'):
        build_network_from_state_dict({'weight': torch.zeros(1)})
    weights = HMANet(**SMALL).state_dict()
    weights['_extra_state'] = torch.tensor(
        list(b'{"network": "SwinIR", "settings": {}}'), dtype=torch.uint8
    )
    with pytest.raises(ValueError, match=r"'SwinIR'; expected HMANet or HMACA"):
        build_network_from_state_dict(weights)
    nested = torch.tensor(list(b'[' * 60000), dtype=torch.uint8)
    large, huge = (
        torch.zeros(2**20, dtype=torch.uint8),
        torch.tensor(2**50),
    )  # bytes(2**50) would be a petabyte
    for garbage in (
        torch.zeros(4, dtype=torch.uint8),
        torch.zeros(2, 2),
        'text',
        nested,
        large,
        huge,
    ):
        weights['_extra_state'] = garbage
        with pytest.raises(ValueError, match='not a description'):
            build_network_from_state_dict(weights)
