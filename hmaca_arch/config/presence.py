"""What a run needs to find on this machine: GPUs, data, checkpoints. It is looked for before
BasicSR makes folders and moves an earlier
experiment of the same name aside."""

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
    """A line for everything that is not there or cannot be used.

    Args:
        opt: complete options (`options.complete`).
        distributed: a launcher started the processes: each has one GPU, and `num_gpu` only says
            whether to use them (0: the CPU).
        open_data: also whether a data set can be opened, which finds files without a partner.
        resumes: the run goes on from checkpoints of its own and needs no weights to begin with.
    """
    lines, gpus = [], torch.cuda.device_count()
    if opt['num_gpu'] != 'auto' and opt['num_gpu'] > gpus and not (distributed and gpus):
        lines.append(
            f'num_gpu: the file asks for {opt["num_gpu"]}, torch sees {gpus}; set num_gpu: auto (or 0 for the CPU)'
        )
    for phase, dataset in opt['datasets'].items():
        absent = no_folder(f'datasets:{phase}', dataset)
        lines += [absent] if absent else _opened(f'datasets:{phase}', dataset) if open_data else ()
    for name, section in opt.items():
        if name.startswith('network_') and isinstance(section, Mapping):
            lines += [
                f'{name}:{key}: {os.path.abspath(section[key])} does not exist; expected the weights that {section["type"]} begins with'
                for key in absent_files(section)
            ]
    for key, value in opt['path'].items():
        if isinstance(value, str) and (
            'resume_state' in key or ('pretrain_network' in key and not resumes)
        ):
            if not os.path.isfile(value):
                what = (
                    'training_states/N.state'
                    if 'resume' in key
                    else 'a checkpoint: train it first, or name another'
                )
                lines.append(
                    f'path:{key}: {os.path.abspath(value)} does not exist; expected {what}'
                )
            elif 'pretrain_network' in key:
                lines += weights_that_do_not_fit(opt, key)
    return lines


def not_in_one_process(opt: Mapping[str, Any]) -> Iterator[str]:
    """A line if a training without a launcher, whose one process feeds all GPUs, would not compute
    as asked.
    """
    gpus = torch.cuda.device_count() if opt['num_gpu'] == 'auto' else opt['num_gpu']
    if (
        opt['is_train'] and gpus > 1 and opt['train'].get('amp') == 'bf16'
    ):  # torch's DataParallel forgets which type autocast was asked for
        yield (
            f'train:amp: bf16 becomes float16 where one process feeds {gpus} GPUs; start one for each (torchrun, --launcher pytorch), or '
            'set num_gpu: 1'
        )


def no_folder(place: str, dataset: Mapping[str, Any]) -> str | None:
    """A line where folders or files that a data set names do not exist."""
    roots = [
        key
        for key in dataset
        if (key.startswith('dataroot') or key == 'meta_info_file') and isinstance(dataset[key], str)
    ]
    gone = [key for key in roots if not os.path.exists(os.path.expanduser(dataset[key]))]
    if not gone:
        return None
    also = f' (nor {", ".join(gone[1:])})' if gone[1:] else ''
    hint = f'; to prepare it: {dataset["prepare"]}' if dataset.get('prepare') else ''
    return f'{place}:{gone[0]}: {os.path.abspath(os.path.expanduser(dataset[gone[0]]))} does not exist{also}{hint}'


def _opened(place: str, dataset: Mapping[str, Any]) -> Iterator[str]:
    try:
        with quiet_construction():
            pictures = len(DATASET_REGISTRY.get(dataset['type'])(deepcopy(dict(dataset))))
    except Exception as error:  # of a class that may raise anything
        yield f'{place}: {one_line(error)}'
    else:
        if pictures == 0:
            yield f'{place}: no pictures found'


def weights_that_do_not_fit(opt: Mapping[str, Any], key: str) -> Iterator[str]:
    """Whether a checkpoint can be read, has the weights that are asked for, and is of that network."""
    path, part = opt['path'], key.removeprefix('pretrain_network_')
    file, param_key = path[key], path.get(f'param_key_{part}', 'params')
    try:
        states = load_safely(file)
    except (OSError, ValueError) as error:
        yield f'path:{key}: {os.path.abspath(file)} cannot be read as a checkpoint: {error}'
        return
    if not isinstance(states, Mapping):
        yield f'path:{key}: {os.path.abspath(file)} holds {type(states).__name__}, expected the weights of a network'
    # params_ema: a run that kept no average has its plain weights taken
    elif (
        param_key is not None
        and param_key not in states
        and not (param_key == 'params_ema' and 'params' in states)
    ):
        names = [name for name, value in states.items() if isinstance(value, Mapping)]
        place = f'path:param_key_{part}'
        yield f'{place}: there is no {param_key!r} in {os.path.abspath(file)}{suggestion(param_key, names)}'
    elif isinstance(opt.get(f'network_{part}'), Mapping):
        try:
            weights, _ = weights_in(states, Path(file), (param_key, 'params') if param_key else ())
            check_weights(
                built(opt[f'network_{part}']), weights, path.get(f'strict_load_{part}', True)
            )
        except ValueError as error:
            yield f'path:{key}: {one_line(error)}'
