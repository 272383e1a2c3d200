"""Options are completed with what BasicSR's pipelines expect to be there."""

from copy import deepcopy

import pytest

from hmaca_arch.config import completing

GRAY = {'type': 'HMACA', 'in_chans': 1}
PAIRS = {'type': 'MaskedPairedImageDataset'}


@pytest.mark.parametrize(
    ('name', 'phase'),
    [('train', 'train'), ('val_2', 'val'), ('test_a_b', 'test'), (3, '3'), ('value', 'value')],
)
def test_the_phase_of_a_section(name, phase):
    assert completing.phase_of(name) == phase


@pytest.mark.parametrize(
    ('options', 'is_training'),
    [
        ({}, True),
        ({'datasets': []}, True),
        ({'datasets': {}}, False),
        ({'datasets': {'train': {}}}, True),
        ({'datasets': {'train': {}, 'val': {}}}, True),
        ({'datasets': {'train': {}, 'test_2': {}}}, False),
        ({'datasets': {'val': {}}}, False),
    ],
)
def test_a_file_with_data_to_train_and_none_to_test_is_of_a_training(options, is_training):
    assert completing.is_training(options) is is_training


def test_a_training_is_completed():
    given = {
        'name': 'n',
        'scale': 2,
        'datasets': {'train': {**PAIRS, 'prepare': 'make'}, 'val': {**PAIRS, 'prepare': 'own'}, 'val_2': {'type': 'Other'}},
        'network_g': GRAY,
        'logger': {},
        'val': {'metrics': {}},
    }  # fmt: skip
    before = deepcopy(given)
    gray = {**PAIRS, 'scale': 2, 'channels': 1}
    assert completing.complete(given, True, '/root') == {
        'num_gpu': 'auto',
        'manual_seed': None,
        'path': {},
        'is_train': True,
        'name': 'n',
        'scale': 2,
        'network_g': GRAY,
        'datasets': {
            'train': {**gray, 'prepare': 'make', 'phase': 'train'},
            'val': {**gray, 'prepare': 'own', 'phase': 'val'},
            'val_2': {'type': 'Other', 'scale': 2, 'prepare': 'make', 'phase': 'val'},
        },
        'logger': {'use_tb_logger': False},
        'val': {'metrics': {}, 'save_img': False},
    }
    assert given == before
    kept = {**given, 'num_gpu': 1, 'manual_seed': 3, 'logger': {'use_tb_logger': True}, 'val': {'save_img': True}}  # fmt: skip
    found = completing.complete(kept, True, '/root')
    assert {key: found[key] for key in ('num_gpu', 'manual_seed', 'logger', 'val')} == {
        key: kept[key] for key in ('num_gpu', 'manual_seed', 'logger', 'val')
    }


def test_a_test_is_completed():
    given = {
        'name': 'n',
        'datasets': {'train': {**PAIRS, 'prepare': 'make'}, 'val': {**PAIRS}, 'test_2': {**PAIRS}, 'other': {}},
        'network_g': {'type': 'HMACA'},
        'val': {'metrics': {}},
    }  # fmt: skip
    found = completing.complete(given, False, '/root')
    assert found['datasets'] == {
        'val': {**PAIRS, 'prepare': 'make', 'phase': 'val'},
        'test_2': {**PAIRS, 'prepare': 'make', 'phase': 'test'},
    }
    trained = '/root/experiments/n/models/net_g_latest.pth'
    assert found['path'] == {'pretrain_network_g': trained, 'param_key_g': 'params_ema'}
    assert found['val'] == {'metrics': {}, 'save_img': True} and found['is_train'] is False
    assert 'logger' not in found and 'logger' not in given
    assert completing.complete({**given, 'val': None}, False, '/root')['val'] is None


def test_which_weights_a_test_measures(tmp_path):
    root = str(tmp_path)
    training = {'name': 'n', 'datasets': {'train': {}}}
    trained = tmp_path / 'experiments' / 'n' / 'models' / 'net_g_latest.pth'
    latest = {'pretrain_network_g': str(trained), 'param_key_g': 'params_ema'}
    assert completing.weights_to_test(training, root) == latest
    for path in (None, {}, {'pretrain_network_g': None}):
        assert completing.weights_to_test({**training, 'path': path}, root) == latest
    by_hand = {**training, 'path': {'param_key_g': 'params'}}
    assert completing.weights_to_test(by_hand, root) == {**latest, 'param_key_g': 'params'}
    other = tmp_path / 'other.pth'
    named = {**training, 'path': {'pretrain_network_g': str(other)}}
    assert completing.weights_to_test(named, root) == {}
    trained.parent.mkdir(parents=True)
    trained.touch()
    for is_there in (False, True):
        if is_there:
            other.touch()
        with pytest.raises(
            ValueError,
            match=f'^path:pretrain_network_g: names {other}, and this training has made {trained}: to test',
        ):
            completing.weights_to_test(named, root)
    test = {**named, 'datasets': {'val': {}}}
    same = {
        **training,
        'path': {'pretrain_network_g': f'{trained.parent}/../models/{trained.name}'},
    }
    assert completing.weights_to_test(test, root) == completing.weights_to_test(same, root) == {}
