"""The lines about data sets, networks, training and metrics, to the letter; and their limits."""

import logging

import pytest
import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import registry
from conftest import changed, tiny_options
from samples import SECTIONS

import datasets_ext  # noqa: F401  (registers the data sets)
import losses_ext  # noqa: F401
from hmaca_arch.config import checks, network_checks, training_checks
from hmaca_arch.config.checker import Checker
from hmaca_arch.config.kinds import whole
from hmaca_arch.messages import OptionError
from hmaca_arch.networks import baselines


def lines(changes, is_train=True, opt=None, tmp_path=''):
    try:
        checks.check(changed(opt or tiny_options(tmp_path), changes), is_train)
    except OptionError as error:
        return error.lines
    return []


SECOND = {'name': 'b', 'type': 'MaskedPairedImageDataset', 'dataroot_lq': 'l', 'dataroot_mask': 'm', 'dataroot_gt': 'g'}  # fmt: skip
RECIPE = {'name': 'a', 'type': 'MaskedDegradationDataset', 'dataroot_gt': 'g', 'batch_size_per_gpu': 1, 'num_worker_per_gpu': 0}  # fmt: skip
COSINE = {'type': 'CosineAnnealingRestartLR', 'periods': [2, 3], 'restart_weights': [1, 1]}
PERCEPTUAL = {'type': 'PerceptualLoss', 'layer_weights': {'conv5_4': 1}}
NOTHING = 'train:composite: leaves gradient only inside the mask, pixel_opt (alpha 0, outside complement) only outside it: nothing would be learned; set alpha: 1'
NO_LOSS = 'train:pixel_opt: is missing, expected a section with a loss here or in perceptual_opt'
KNOWN_DATA = 'known: MaskedDegradationDataset, MaskedPairedImageDataset'


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        # data sets
        ({'datasets:val_2': SECOND}, []),
        ({'datasets:val_2': {**SECOND, 'name': 'tiny_test'}},
         ["datasets: two are called 'tiny_test'; results go by that name, so give each its own"]),
        ({'datasets:train': 3}, ['datasets:train: got 3, expected a section']),
        ({'datasets': {}}, ['datasets: there is no section train, got none']),
        ({'datasets:train': ..., 'datasets:val_2': SECOND}, ['datasets: there is no section train, got val, val_2']),
        ({'datasets:test': SECOND}, ['datasets:test: expected train, val or val_NAME: a training validates on val (known: train, val)']),
        ({'datasets:train_2': SECOND}, ['datasets:train_2: expected train, val or val_NAME (did you mean train? known: train, val)']),
        ({'network_g:in_chans': 1}, []),
        ({'network_g:in_chans': 4}, ['network_g:in_chans: got 4, expected 1 (gray) or 3 (RGB): the data sets give such images']),
        ({'network_g:in_chans': 1, 'datasets:val:channels': 3, 'datasets:train:channels': 1},
         ['datasets:val:channels: got 3, expected 1, what network_g takes; leave it out']),
        ({'network_g:in_chans': 'x'}, ["network_g:in_chans: got 'x', expected a whole number", "network_g: HMACA: in_chans is 'x'; expected a whole number"][:1]),
        ({'datasets:train:persistent_workers': True}, []),
        ({'datasets:val:persistent_workers': True},
         ['datasets:val:persistent_workers: for datasets:train alone; validation and tests read images without worker processes']),
        ({'datasets:val:use_shuffle': False, 'datasets:train:use_shuffle': True}, []),
        ({'datasets:train:use_shuffle': False},
         ['datasets:train:use_shuffle: got false, expected true: the sequence of samples is shuffled, by manual_seed']),
        ({'datasets:val:io_backend': {}}, ['datasets:val:io_backend:type: is missing, expected disk or lmdb']),
        ({'datasets:val:num_worker_per_gpu': 0, 'datasets:train:num_worker_per_gpu': ...},
         ['datasets:train:num_worker_per_gpu: is missing, expected a whole number of at least 0']),
        ({'datasets:val:name': ...}, ['datasets:val:name: is missing, expected a name for a folder: a text of up to 200 bytes without / and not beginning with a dot']),
        ({'datasets:val:dataroot_gt': ...}, ['datasets:val:dataroot_gt: is missing, expected a text']),
        ({'scale': 1}, []),
        ({'scale': 2}, ['scale: got 2, expected 1: in MaskedPairedImageDataset lq, mask and gt have one size'] ),
        ({'datasets:train': {**RECIPE, 'degradation': 'pix'}}, []),
        ({'datasets:train': {**RECIPE, 'degradation': 'x'}}, ["datasets:train: MaskedDegradationDataset: degradation: there is no 'x' ("]),
        # training
        ({'train:pixel_opt': ..., 'train:perceptual_opt': PERCEPTUAL}, []),
        ({'train:pixel_opt': ...}, [NO_LOSS]),
        ({'train:pixel_opt': {}}, ['train:pixel_opt:type: there is no None (known: ', NO_LOSS]),
        ({'train:composite': True, 'train:pixel_opt:alpha': 0}, [NOTHING]),
        ({'train:composite': True, 'train:pixel_opt:alpha': 0, 'train:pixel_opt:outside': 'complement'}, [NOTHING]),
        ({'train:composite': True, 'train:pixel_opt:alpha': 0, 'train:pixel_opt:outside': 'image'}, []),
        ({'train:composite': False, 'train:pixel_opt:alpha': 0}, []),
        ({'train:composite': True, 'train:pixel_opt:alpha': 0.1}, []),
        ({'train:composite': True, 'train:pixel_opt:alpha': 0, 'train:perceptual_opt': PERCEPTUAL}, []),
        ({'train:scheduler': COSINE}, []),
        ({'train:scheduler': COSINE, 'train:total_iter': 6},
         ['train:scheduler:periods: add up to 5 iterations, but train:total_iter is 6; the schedule has to last as long as the run']),
        ({'train:scheduler': {**COSINE, 'periods': 5}}, ["train:scheduler:periods: got 5, expected a list, each "]),
        ({'train:scheduler': {**COSINE, 'restart_weights': [1]}}, ['train:scheduler: CosineAnnealingRestartLR: periods and restart_weights should have the same length.']),
        ({'train:scheduler': {'type': None}}, ['train:scheduler:type: there is no None (known: CosineAnnealingRestartLR, MultiStepLR, MultiStepRestartLR)']),
        ({'train:scheduler:gamma': -1}, ['train:scheduler:gamma: got -1, expected a number of at least 0']),
        ({'train:scheduler:optimizer': 3}, ['train:scheduler:optimizer: MultiStepLR has no such setting (known: ']),
        ({'train:optim_g': {'type': 'Adamm', 'lr': 1.0}}, ["train:optim_g:type: there is no 'Adamm' (did you mean Adam? known: "]),
        ({'train:optim_g:params': 1}, ['train:optim_g:params: AdamW has no such setting (known: ']),
        ({'train:optim_g': {'type': 'Adam', 'lr': 1e-3, 'capturable': True}}, []),
        ({'train:optim_g': {'type': 'SGD', 'lr': 1e-3, 'nesterov': True}}, ['train:optim_g: SGD: Nesterov momentum requires a momentum and zero dampening']),
        ({'train:compile': {'backend': 'eager', 'dynamic': True}}, []),
        ({'train:compile': {'model': 1}}, ['train:compile:model: torch.compile has no such setting (']),
        # metrics
        ({'val:metrics:m': {'type': 'calculate_masked_psnr', 'better': 'lower'}}, []),
        ({'val:metrics:m': {'type': 'calculate_masked_psnr', 'better': 'less'}}, ["val:metrics:m:better: got 'less', expected higher or lower"]),
        ({'val:metrics:m': {'type': 'calculate_masked_psnr', 'mask': 1}}, ['val:metrics:m:mask: calculate_masked_psnr has no such setting (known: better, ']),
        ({'val:metrics:m': {'type': 'nothing', 'better': 'less'}}, ["val:metrics:m:type: there is no 'nothing' (known: ", "val:metrics:m:better: got 'less', expected higher or lower"]),
        ({'val:metrics:m': {}}, ['val:metrics:m:type: there is no None (known: ']),
        # the rest
        ({'model_type': 'Modle'}, ["model_type: there is no 'Modle' ("]),
        ({'dist_params': {'port': 'x'}}, ["dist_params:port: got 'x', expected "]),
        ({'logger:wandb': {'project': None}}, []),
        ({'logger:wandb': {'project': 'p'}, 'logger:use_tb_logger': True}, []),
        ({'logger:wandb': {'project': 'p'}}, ['logger:use_tb_logger: wandb copies what TensorBoard is given, set use_tb_logger: true']),
        ({'logger:wandb': {'projekt': 'p'}}, ['logger:wandb:projekt: there is no such setting (did you mean project? known: project, resume_id)']),
        ({'path:pretrain_network_g': None, 'path:param_key_g': 'params', 'path:strict_load_g': True}, []),
        ({'path:pretrain_g': None}, ['path:pretrain_g: there is no such setting (did you mean pretrain_network_g? known: ']),
        ({'path:param_key_network_g': None}, ['path:param_key_network_g: there is no such setting (did you mean ']),
        ({'val:val_freq': ...}, ['val:val_freq: is missing, expected a whole number of at least 1']),
    ],
)  # fmt: skip
def test_every_mistake_has_its_line(tmp_path, changes, expected):
    found = lines(changes, tmp_path=tmp_path)
    assert len(found) == len(expected), found
    for line, start in zip(found, expected):
        assert line == start or (start[-1] in ' (' and line.startswith(start))


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({}, []),
        ({'datasets:val': ...}, ['datasets: there is no section val or test, got none']),
        ({'datasets:val': ..., 'datasets:test_2': SECOND}, []),
        ({'datasets:tset': SECOND}, ['datasets:tset: expected train, val, test or val_NAME (did you mean test? known: test, train, val)']),
        ({'val': ...}, ['val: is missing, expected a section, or null']),
        ({'val': None}, ['val: got None, expected a section: a test reads it']),
        ({'network_g': ..., 'path': ...}, ['network_g: is missing, expected a section']),
        ({'val:val_freq': ...}, []),
    ],
)  # fmt: skip
def test_a_test_needs_less_than_a_training(tmp_path, changes, expected):
    opt = changed(tiny_options(tmp_path), {'datasets:train': ..., 'train': ..., 'logger': ...})
    assert lines(changes, False, opt) == expected
    assert lines({'datasets:train': {}, 'datasets:val:batch_size_per_gpu': 1}, False, opt) != []


def test_fifty_mistakes_are_told_at_once(tmp_path):
    opt = tiny_options(tmp_path)
    fifty = lines({f'wrong{number}': 1 for number in range(50)}, opt=opt)
    assert len(fifty) == 50 and fifty[-1].startswith('wrong49: ')
    more = lines({f'wrong{number}': 1 for number in range(52)}, opt=opt)
    assert more == [*fifty, 'and more']


def test_what_is_only_odd_is_logged(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(checks, '_mistakes', lambda checker: checker.warnings.extend('ab') or [])
    with caplog.at_level(logging.WARNING):
        checks.check({})
    assert [record.getMessage() for record in caplog.records] == ['a', 'b']


def test_a_network_is_checked_alone(tmp_path):
    section = tiny_options(tmp_path)['network_g']
    checks.check_network(section)
    checks.check_network({**section, 'mask_input': 'none', 'pad_to': None})
    with pytest.raises(OptionError) as caught:
        checks.check_network(
            {**section, 'embed_dim': 2**20 + 4, 'mask_input': 'chanel', 'dephts': 1}
        )
    assert [line.split(' (')[0] for line in caught.value.lines] == [
        'network_g:dephts: HMACA has no such setting',
        'network_g:embed_dim: got 1048580, expected numbers up to 1048576',
        "network_g: HMACA: mask_input is 'chanel'; expected none or channel",
    ]


class Strings(torch.nn.Module):
    """A network whose annotations are texts, as `from __future__ import annotations` makes them."""

    def __init__(self, width: 'int' = 3, **more):
        super().__init__()


@pytest.mark.parametrize(
    ('section', 'expected'),
    [
        ({'width': 4}, []),
        ({'width': 4, 'more': 1, 'other': 2}, []),
        ({'width': 'x'}, ["network_g:width: got 'x', expected a whole number"]),
        ({'pad_to': 0}, ['network_g: Strings: pad_to is 0; expected 1 to 1024']),
    ],
)
def test_a_network_from_elsewhere_is_checked_by_its_annotations(section, expected):
    registry.ARCH_REGISTRY._obj_map['Strings'] = Strings
    try:
        checker = Checker({}, True)
        section = {'type': 'Strings', **section}
        assert list(network_checks.check_network_section(checker, 'network_g', section)) == expected
        assert checker.warnings == []
    finally:
        del registry.ARCH_REGISTRY._obj_map['Strings']


def test_swinir_ignores_what_it_does_not_know_and_basicsrs_models_let_it():
    section = {**SECTIONS['SwinIR'], 'windowsize': 4}
    checker = Checker({}, True)
    (line,) = network_checks.check_network_section(checker, 'network_g', section)
    assert line.startswith(
        'network_g:windowsize: SwinIR has no such setting (did you mean window_size?'
    )
    checker.model = SRModel
    assert list(network_checks.check_network_section(checker, 'network_g', section)) == []
    (line,) = checker.warnings
    assert line.startswith('network_g:windowsize: nothing reads it (did you mean window_size?')


def test_a_package_that_cannot_be_imported_is_one_line(monkeypatch):
    def provide(name):
        raise ImportError(f'no {name}\nhere')

    monkeypatch.setattr(baselines, 'provide', provide)
    found = list(
        network_checks.check_network_section(Checker({}, True), 'network_g', {'type': 'HAT'})
    )
    assert found == ['network_g: no HAT\\nhere']


def test_optimizers_are_torchs():
    known = training_checks.optimizers()
    assert known['AdamW'] is torch.optim.AdamW and torch.optim.Optimizer in known.values()
    assert 'lr_scheduler' not in known and 'Any' not in known


@pytest.mark.parametrize('total', [None, 'x', 0, True])
def test_periods_are_compared_with_a_sound_number_only(total):
    schedule = {'scheduler': {'periods': [0]}, 'total_iter': total}
    assert list(training_checks._check_periods(schedule)) == (
        [
            'train:scheduler:periods: add up to 0 iterations, but train:total_iter is True; the schedule has to last as long as the run'
        ]
        if total is True
        else []
    )
    assert (
        list(training_checks._check_periods({'scheduler': {'periods': ['x']}, 'total_iter': 9}))
        == []
    )
    assert list(training_checks._check_periods({'scheduler': 3, 'total_iter': 9})) == []
    assert whole().accepts(9)
