"""What a run needs from this machine: GPUs, data, checkpoints.

It is looked for before BasicSR makes folders and moves an earlier experiment of that name aside.
"""

import importlib.util
import os
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import DATASET_REGISTRY

from hmaca_arch.config.signatures import absent_files, built
from hmaca_arch.files.torch_files import load_safely, weights_in
from hmaca_arch.messages import one_line, suggestion
from hmaca_arch.networks.described import quiet_construction
from hmaca_arch.networks.loading import check_weights


def missing(
    opt: Mapping[str, Any], distributed: bool = False, open_data: bool = True, resumes: bool = False
) -> list[str]:
    """Return a line for everything that does not exist or cannot be used.

    Args:
        opt: complete options, as `completing.complete` returns them.
        distributed: whether a launcher started the processes. Each then has one GPU, and `num_gpu`
            only says whether to use it (0: the CPU).
        open_data: whether to open the data sets, which finds files without a partner.
        resumes: whether the run continues from its own checkpoints. It then needs no weights to
            begin with.
    """
    lines, gpus = [], torch.cuda.device_count()
    wanted = opt['num_gpu']
    if wanted != 'auto' and wanted > gpus and not (distributed and gpus):
        lines.append(
            f'num_gpu: the file asks for {wanted}, torch sees {gpus}; '
            'set num_gpu: auto (or 0 for the CPU)'
        )
    wandb = (opt.get('logger') or {}).get('wandb') or {}
    if wandb.get('project') is not None and importlib.util.find_spec('wandb') is None:
        lines.append('logger:wandb: the package wandb is not installed: pip install wandb')
    for phase, dataset in opt['datasets'].items():
        place = f'datasets:{phase}'
        if absent := absent_folder(place, dataset):
            lines.append(absent)
        elif open_data:
            lines += _unusable_dataset(place, dataset)
    for name, section in opt.items():
        if name.startswith('network_') and isinstance(section, Mapping):
            lines += [
                f'{name}:{key}: {os.path.abspath(section[key])} does not exist; '
                f'expected the weights that {section["type"]} begins with'
                for key in absent_files(section)
            ]
    for key, value in opt['path'].items():
        if isinstance(value, str) and 'resume_state' in key:
            lines += _absent_file(f'path:{key}', value, 'training_states/N.state')
        elif isinstance(value, str) and 'pretrain_network' in key and not resumes:
            what = 'a checkpoint: train it first, or name another'
            absent_weights = list(_absent_file(f'path:{key}', value, what))
            lines += absent_weights or misfit_of_weights(opt, key)
    return lines


def _absent_file(place: str, path: str, expected: str) -> Iterator[str]:
    if not os.path.isfile(path):
        yield f'{place}: {os.path.abspath(path)} does not exist; expected {expected}'


def not_in_one_process(opt: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line if a training without a launcher would not compute as asked.

    Its one process then feeds all GPUs through torch's DataParallel, which forgets the type that
    autocast was asked for.
    """
    gpus = torch.cuda.device_count() if opt['num_gpu'] == 'auto' else opt['num_gpu']
    if opt['is_train'] and gpus > 1 and opt['train'].get('amp') == 'bf16':
        yield (
            f'train:amp: bf16 becomes float16 where one process feeds {gpus} GPUs; '
            'start one for each (torchrun, --launcher pytorch), or set num_gpu: 1'
        )


def absent_folder(place: str, dataset: Mapping[str, Any]) -> str | None:
    """Return a line if folders or files that a data set names do not exist."""
    absent = {
        key: os.path.abspath(value)
        for key, value in dataset.items()
        if (key.startswith('dataroot') or key == 'meta_info_file') and isinstance(value, str)
    }
    absent = {key: path for key, path in absent.items() if not os.path.exists(path)}
    if not absent:
        return None
    first, *others = absent
    also = f' (nor {", ".join(others)})' if others else ''
    hint = f'; to prepare it: {dataset["prepare"]}' if dataset.get('prepare') else ''
    return f'{place}:{first}: {absent[first]} does not exist{also}{hint}'


def _unusable_dataset(place: str, dataset: Mapping[str, Any]) -> Iterator[str]:
    try:
        with quiet_construction():
            images = len(DATASET_REGISTRY.get(dataset['type'])(deepcopy(dict(dataset))))
    except Exception as error:  # a data set may raise anything
        yield f'{place}: {one_line(error)}'
    else:
        if images == 0:
            yield f'{place}: no images found'


def misfit_of_weights(opt: Mapping[str, Any], key: str) -> Iterator[str]:
    """Yield a line if a checkpoint cannot be read or does not fit its network.

    Args:
        opt: complete options.
        key: a key of the section `path`, such as 'pretrain_network_g'.
    """
    path, part = opt['path'], key.removeprefix('pretrain_network_')
    file, param_key = path[key], path.get(f'param_key_{part}', 'params')
    full_path = os.path.abspath(file)
    try:
        states = load_safely(file)
    except (OSError, ValueError) as error:
        yield f'path:{key}: {full_path} cannot be read as a checkpoint: {error}'
        return
    if not isinstance(states, Mapping):
        kind = type(states).__name__
        yield f'path:{key}: {full_path} holds {kind}, expected the weights of a network'
        return
    # A run without averaged weights has no params_ema; BasicSR then takes params.
    falls_back = param_key == 'params_ema' and 'params' in states
    if param_key is not None and param_key not in states and not falls_back:
        names = [name for name, value in states.items() if isinstance(value, Mapping)]
        hint = suggestion(param_key, names)
        yield f'path:param_key_{part}: there is no {param_key!r} in {full_path}{hint}'
    elif isinstance(network := opt.get(f'network_{part}'), Mapping):
        try:
            weights, _ = weights_in(states, Path(file), (param_key, 'params') if param_key else ())
            check_weights(built(network), weights, path.get(f'strict_load_{part}', True))
        except ValueError as error:
            yield f'path:{key}: {one_line(error)}'
