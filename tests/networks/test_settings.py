"""One declaration gives the constructor's signature and checks, and the description."""

import inspect
import json
from dataclasses import FrozenInstanceError, asdict, fields
from typing import Literal

import pytest

from hmaca_arch import HMACA, HMANet
from hmaca_arch.networks.checkpoints import description_of
from hmaca_arch.networks.settings import HMACASettings, HMANetSettings

TINY = {'embed_dim': 32, 'depths': (1,), 'num_heads': (2,), 'window_size': 4}
HMANET = {  # the public signature
    'in_chans': 3, 'embed_dim': 96, 'depths': (6, 6, 6, 6), 'num_heads': (6, 6, 6, 6), 'window_size': 16, 'interval_size': 4,
    'mlp_ratio': 2.0, 'upscale': 1, 'keep_size': False, 'img_range': 1.0, 'drop_path_rate': 0.1, 'resi_connection': '1conv',
    'shifted_windows': 'windows', 'image_residual': False, 'use_checkpoint': False,
}  # fmt: skip
MASK = {
    'cross_attention': 'global',
    'cross_attention_heads': 4,
    'cross_attention_residual': True,
    'mask_position': False,
}


@pytest.mark.parametrize(('network', 'expected'), [(HMANet, HMANET), (HMACA, {**HMANET, **MASK})])
def test_constructors_show_their_settings_and_take_no_others(network, expected):
    parameters = inspect.signature(network, eval_str=True).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == expected
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert parameters['resi_connection'].annotation == Literal['1conv', 'identity']
    with pytest.raises(TypeError, match="unexpected keyword argument 'embed_dims'"):
        network(**TINY, embed_dims=32)
    with pytest.raises(TypeError, match='positional'):
        network(3)


def test_only_hmaca_has_settings_of_the_mask():
    with pytest.raises(TypeError, match='cross_attention'):
        HMANet(**TINY, cross_attention='window')


@pytest.mark.parametrize(('network', 'expected'), [(HMANet, HMANET), (HMACA, {**HMANET, **MASK})])
def test_a_description_holds_every_setting_in_plain_json(network, expected):
    description = description_of(network(**TINY).state_dict())
    assert description == {
        'network': network.__name__,
        'settings': json.loads(json.dumps({**expected, **TINY})),
    }


def test_the_description_does_not_follow_the_callers_list():
    depths = [1]
    network = HMANet(**{**TINY, 'depths': depths})
    depths.append(2)
    assert network.settings['depths'] == [1]


WRONG = {int: 1.5, float: 'much', bool: 1}


@pytest.mark.parametrize('name', [field.name for field in fields(HMACASettings)])
def test_every_setting_is_checked_for_its_kind(name):
    kind = next(field.type for field in fields(HMACASettings) if field.name == name)
    with pytest.raises(ValueError, match=f'^{name} is .*; expected'):
        HMACASettings(**{name: WRONG.get(kind, 'other')})


def test_names_are_listed_in_words():
    with pytest.raises(
        ValueError, match="^cross_attention is 'local'; expected 'global', 'window' or 'none'$"
    ):
        HMACASettings(cross_attention='local')


FITS_96 = 'numbers that fit embed_dim 96 (even, dividing embed_dim, and half of them dividing embed_dim / 4): any of [2, 4, 6, 8, 12, 16, 24, 48]'
USELESS = 'at least 32 (the position MLP has embed_dim / 32 channels; 96 or more is useful)'
RESIDUAL = 'false, or output in the size of the input: upscale 1, not 2, or keep_size true'
NO_MASK = "'global' or 'window', or mask_position true (HMANet is the network without a mask)"
LIST = 'a list of whole numbers >= 1, one for each RHTB'


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        ({'in_chans': 0}, '1 to 256'), ({'in_chans': 257}, '1 to 256'),
        ({'embed_dim': 98}, 'a multiple of 4'), ({'embed_dim': 28}, USELESS),
        ({'embed_dim': 2**14 + 4}, 'at most 16384'),
        ({'num_heads': (6, 6, 6)}, 'as many numbers as depths has, 4'),
        ({'num_heads': (6, 6, 6, 3)}, FITS_96), ({'num_heads': (6, 32, 6, 6)}, FITS_96), ({'num_heads': (10, 6, 6, 6)}, FITS_96),
        ({'mlp_ratio': 0}, 'above 0 and at most 16384'), ({'mlp_ratio': 16384.5}, 'above 0 and at most 16384'),
        ({'mlp_ratio': float('nan')}, 'above 0 and at most 16384'), ({'mlp_ratio': 0.01}, 'at least 0.0104, one hidden channel'),
        ({'window_size': 1}, 'at least 2'), ({'window_size': 1025}, 'at most 1024'), ({'interval_size': 0}, 'at least 1'),
        ({'interval_size': 65}, 'no common multiple with window_size 16 above 1024'),
        ({'upscale': 5}, '1, 3 or a power of two up to 16'), ({'upscale': 32}, '1, 3 or a power of two up to 16'),
        ({'img_range': 0}, 'a positive number'), ({'img_range': float('inf')}, 'a positive number'),
        ({'image_residual': True, 'upscale': 2}, RESIDUAL),
        ({'drop_path_rate': -0.1}, 'at least 0 and less than 1'), ({'drop_path_rate': 1}, 'at least 0 and less than 1'),
        ({'cross_attention_heads': 0}, 'a number that divides embed_dim 96'),
        ({'cross_attention_heads': 5}, 'a number that divides embed_dim 96'), ({'cross_attention': 'none'}, NO_MASK),
        ({'depths': ()}, LIST), ({'depths': '6666'}, LIST), ({'depths': (1, 0)}, LIST), ({'depths': (True,)}, LIST), ({'depths': (1.5,)}, LIST),
        ({'keep_size': 1}, 'true or false'), ({'upscale': True}, 'a whole number'), ({'upscale': 1.0}, 'a whole number'),
        ({'img_range': True}, 'a number'), ({'img_range': '1'}, 'a number'),
    ],
)  # fmt: skip
def test_what_is_refused_is_named_with_what_would_work(settings, expected):
    name, value = next(iter(settings.items()))
    with pytest.raises(ValueError) as caught:
        HMACASettings(**settings)
    assert str(caught.value) == f'{name} is {value!r}; expected {expected}'


@pytest.mark.parametrize(
    'settings',
    [
        {'in_chans': 1}, {'in_chans': 256}, {'embed_dim': 2**14, 'num_heads': (2, 4, 8, 16)}, {'embed_dim': 32, 'num_heads': (2, 4, 8, 16)},
        {'num_heads': (2, 16, 24, 48)}, {'mlp_ratio': 16384}, {'mlp_ratio': 1 / 96}, {'window_size': 2}, {'window_size': 1024},
        {'interval_size': 1}, {'interval_size': 64}, {'upscale': 3}, {'upscale': 16}, {'img_range': 1e-9}, {'drop_path_rate': 0},
        {'drop_path_rate': 0.999}, {'image_residual': True}, {'image_residual': True, 'upscale': 2, 'keep_size': True},
        {'cross_attention_heads': 1}, {'cross_attention_heads': 96}, {'cross_attention': 'none', 'mask_position': True},
        {'depths': [1, 1, 1, 1]}, {'depths': (1,), 'num_heads': (2,)},
    ],
)  # fmt: skip
def test_what_just_works_is_accepted(settings):
    assert {**asdict(HMACASettings(**settings)), **settings} == asdict(HMACASettings(**settings))


def test_settings_do_not_change():
    with pytest.raises(FrozenInstanceError):
        HMANetSettings().embed_dim = 32
