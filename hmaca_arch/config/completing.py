"""Completing checked options with what BasicSR's pipelines expect to be there."""

import os
from copy import deepcopy

from hmaca_arch.config.dataset_schema import DATASETS
from hmaca_arch.networks.channels import GRAY, image_channels


def phase_of(name: str) -> str:
    """Return the phase of a data set's section: 'val' of 'val_2'."""
    return str(name).split('_')[0]


def is_training(options: dict) -> bool:
    """Tell whether a file configures a training: it has data for `train` and none for `test`."""
    datasets = options.get('datasets')
    if not isinstance(datasets, dict):
        return True
    return 'train' in datasets and 'test' not in map(phase_of, datasets)


def weights_to_test(options: dict, root_path: str) -> dict:
    """Return the changes to the section `path` of a file that is tested.

    A test measures the weights that the file names, or else those that its training has made.

    Args:
        options: the file's options.
        root_path: the folder with `experiments/`.

    Raises:
        ValueError: a training's file names weights to begin with, and the training has made some:
            either could be meant.
    """
    path = options.get('path') or {}
    trained = os.path.join(
        root_path, 'experiments', str(options['name']), 'models', 'net_g_latest.pth'
    )
    named = path.get('pretrain_network_g')
    if not named:  # without averaged weights in the file, BasicSR falls back to params
        return {'pretrain_network_g': trained, 'param_key_g': path.get('param_key_g', 'params_ema')}
    is_same = os.path.isfile(named) and os.path.isfile(trained) and os.path.samefile(named, trained)
    if is_training(options) and os.path.isfile(trained) and not is_same:
        raise ValueError(
            f'path:pretrain_network_g: names {named}, and this training has made {trained}: '
            'to test what it trained, say path:pretrain_network_g=~ path:param_key_g=params_ema; '
            'to test what it began with, give the test a name of its own'
        )
    return {}


def complete(options: dict, is_train: bool, root_path: str) -> dict:
    """Return checked options with every key that BasicSR's pipelines read without a default.

    Args:
        options: as `files.resolve` returns them.
        is_train: whether they are for `basicsr train` or `basicsr test`.
        root_path: the folder below which `experiments/` and `results/` go.
    """
    opt = {
        'num_gpu': 'auto',
        'manual_seed': None,
        'path': {},
        **deepcopy(options),
        'is_train': is_train,
    }
    _complete_datasets(opt)
    if is_train:
        opt['logger'].setdefault('use_tb_logger', False)
    else:
        opt['path'].update(weights_to_test(options, root_path))
    if opt.get('val'):
        opt['val'].setdefault('save_img', not is_train)
    return opt


def _complete_datasets(opt: dict) -> None:
    prepare = opt['datasets'].get('train', {}).get('prepare')
    if not opt['is_train']:
        opt['datasets'] = {
            name: dataset
            for name, dataset in opt['datasets'].items()
            if phase_of(name) in ('val', 'test')
        }
    for name, dataset in opt['datasets'].items():
        dataset['phase'] = phase_of(name)
        if prepare:  # one command makes the data of every phase
            dataset.setdefault('prepare', prepare)
        if 'scale' in opt:
            dataset['scale'] = opt['scale']
        if dataset['type'] in DATASETS and image_channels(opt['network_g']) == GRAY:
            dataset['channels'] = GRAY
