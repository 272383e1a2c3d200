"""One declaration gives the constructor's signature and checks, and the description."""

import inspect
import json
from dataclasses import FrozenInstanceError, fields
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


def test_settings_do_not_change():
    with pytest.raises(FrozenInstanceError):
        HMANetSettings().embed_dim = 32
