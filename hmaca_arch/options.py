"""Option files: YAML with one level of inheritance, command line overrides and names that are checked before anything is built.

`parse` takes the place of `basicsr.utils.options.parse_options` and returns what that returns; the differences are that a file may name
another as its `base:`, that `1e-4` is a number, that `--force_yml` is read as YAML instead of evaluated, that processes are joined as
`distributed.py` says, and that a user's mistake ends in one line.
"""

import argparse
import difflib
import os
import random
import re
from copy import deepcopy
from pathlib import Path

import torch
import yaml
from basicsr.utils import set_random_seed
from basicsr.utils.dist_util import get_dist_info

from hmaca_arch import distributed
from hmaca_arch.option_checks import check_names, check_numbers, check_sections, suggestion

PASTE = {'release': 'gt', 'clean': 'lq'}  # what each protocol's composite PSNR pastes outside the region


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but `1e-4` is a number and a key given twice is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f'{node.start_mark.name}: key {twice[0]!r} is given twice in the section at line {node.start_mark.line + 1}')
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    'tag:yaml.org,2002:float', re.compile(r'^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$'), list('-+.0123456789')
)  # fmt: skip


def _read_yaml(path: Path) -> dict:
    try:
        with open(path, encoding='utf-8') as file:
            options = yaml.load(file, Loader=_Loader)
    except (FileNotFoundError, IsADirectoryError):
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob('*.yml')], n=1) if path.parent.is_dir() else []
        hint = f' (did you mean {path.parent / near[0]}?)' if near else ''
        raise FileNotFoundError(f'option file {path} does not exist{hint}') from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'option file {path} is not valid YAML: {" ".join(str(error).split())}') from None
    if not isinstance(options, dict):
        raise ValueError(f'option file {path} holds no options')
    return options


def merge(base: dict, changes: dict) -> dict:
    """`base` with `changes` on top, section by section. A section of another `type` replaces the base's: other settings belong to it."""
    merged = deepcopy(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and value.get('type', old.get('type')) == old.get('type'):
            merged[key] = merge(old, value)
        else:
            merged[key] = deepcopy(value)
    return merged


def load(path: str | os.PathLike) -> dict:
    """Read an option file. `base: other.yml`, relative to the file, is read first, or a list of files, each on top of those before it; a
    base has no base of its own."""
    path = Path(path).expanduser()
    options = _read_yaml(path)
    bases = options.pop('base', [])
    merged: dict = {}
    for name in [bases] if isinstance(bases, str) else bases:
        base = _read_yaml(path.parent / name)
        if 'base' in base:
            raise ValueError(f'{path}: its base {path.parent / name} has a base itself; inheritance goes one level deep')
        merged = merge(merged, base)
    return merge(merged, options)


def fill_protocol(options: dict) -> dict:
    """With `protocol: release | clean`, `{protocol}` and `{paste}` in the file's texts stand for it and for what its metric pastes."""
    protocol = options.get('protocol')
    if protocol is None:
        return options
    if protocol not in PASTE:
        raise ValueError(f'protocol: there is no {protocol!r}{suggestion(protocol, PASTE)}')

    def filled(value):
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [filled(item) for item in value]
        return value.replace('{protocol}', protocol).replace('{paste}', PASTE[protocol]) if isinstance(value, str) else value

    return filled(options)


def override(options: dict, entries: list[str]) -> dict:
    """Apply `section:key=value` entries; values are YAML (`1e-4`, `true`, `[2, 2]`, `~`). Sections must exist."""
    options = deepcopy(options)
    for entry in entries:
        keys, equals, value = entry.partition('=')
        *sections, key = keys.strip().split(':')
        if not equals or not key:
            raise ValueError(f'--force_yml {entry!r}: expected section:key=value, for example train:total_iter=100')
        target = options
        for section in sections:
            if not isinstance(target.get(section), dict):
                raise ValueError(f'--force_yml {entry!r}: there is no section {section!r}{suggestion(section, target)}')
            target = target[section]
        try:
            target[key] = yaml.load(value, Loader=_Loader)
        except yaml.YAMLError as error:
            raise ValueError(f'--force_yml {entry!r}: the value is not valid YAML: {" ".join(str(error).split())}') from None
    return options


def _arguments(argv: list[str], command: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f'basicsr {command}', description=f'{command} as an option file says.')
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file (YAML), for example options/train_hmaca_horse_pix.yml')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none', help='how the processes were started')
    parser.add_argument('--auto_resume', action='store_true', help='continue from the newest complete checkpoint of this experiment')
    parser.add_argument('--debug', action='store_true', help='as debug_NAME: log every iteration, validate and save every eighth')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)  # older launchers pass it
    parser.add_argument(
        '--force_yml', nargs='+', default=[], metavar='SECTION:KEY=VALUE', help='change options, for example train:total_iter=100'
    )
    return parser.parse_args(argv)


def _count_gpus(opt: dict) -> None:
    """Resolve `num_gpu`. With a launcher a process has one GPU, and the number only says whether to use them (0: the CPU)."""
    gpus = torch.cuda.device_count()
    if opt.setdefault('num_gpu', 'auto') == 'auto':
        opt['num_gpu'] = gpus
    elif opt['num_gpu'] > gpus and not (opt['dist'] and gpus):
        raise ValueError(f'num_gpu: the file asks for {opt["num_gpu"]}, torch sees {gpus}; set num_gpu: auto (or 0 for the CPU)')


def _check_folder(place: str, folder: str, prepare: str | None) -> None:
    """Data are looked for before BasicSR makes folders and moves an earlier experiment of this name aside."""
    if not os.path.exists(folder):
        hint = f'; to prepare it: {prepare}' if prepare else ''
        raise FileNotFoundError(f'{place}: {os.path.abspath(folder)} does not exist{hint}')


def parse(root_path: str, is_train: bool, argv: list[str]) -> tuple[dict, argparse.Namespace]:
    """Read the command line and the option file into BasicSR's `opt`.

    Args:
        root_path: the folder below which `experiments/`, `results/` and `tb_logger/` go.
        is_train: `basicsr train` or `basicsr test`.
        argv: the command line after the command's name.

    Returns:
        The options as BasicSR's pipelines expect them, and the parsed arguments.

    Raises:
        FileNotFoundError, ValueError: the file is missing or wrong, or asks for a device that is not there.
    """
    args = _arguments(argv, 'train' if is_train else 'test')
    opt = fill_protocol(override(load(args.opt), args.force_yml))
    if not is_train and 'datasets' in opt:  # a test file inherits from the training's
        opt['datasets'] = {phase: dataset for phase, dataset in opt['datasets'].items() if phase.split('_')[0] in ('val', 'test')}
    opt.setdefault('path', {})
    for key in ('name', 'model_type'):
        if not isinstance(opt.get(key), str):
            raise ValueError(f'{args.opt}: {key!r} is missing')
    check_sections(opt, args.opt, 'datasets', 'network_g', 'path', *(['train', 'logger'] if is_train else ['val']))
    check_numbers(opt, is_train)
    check_names(opt)
    if is_train:
        opt['logger'].setdefault('use_tb_logger', False)
    if opt.get('val'):
        opt['val'].setdefault('save_img', not is_train)
    if not is_train and not opt['path'].get('pretrain_network_g'):  # a training's own file tests what it trained
        opt['path']['pretrain_network_g'] = os.path.join(root_path, 'experiments', opt['name'], 'models', 'net_g_latest.pth')
        opt['path'].setdefault('param_key_g', 'params_ema')  # BasicSR takes params where a run kept no average

    opt['dist'] = args.launcher != 'none'
    _count_gpus(opt)
    if opt['dist']:
        distributed.start(args.launcher, opt.get('dist_params'), use_gpu=opt['num_gpu'] > 0)
    opt['rank'], opt['world_size'] = get_dist_info()
    opt['auto_resume'], opt['is_train'] = args.auto_resume, is_train
    if opt.get('manual_seed') is None:
        opt['seed_drawn'] = True
        opt['manual_seed'] = distributed.from_first(random.randint(1, 10000))
    set_random_seed(opt['manual_seed'] + opt['rank'])

    for phase, dataset in opt['datasets'].items():
        dataset['phase'] = phase.split('_')[0]
        # runs of any seed are validated on the same draws
        dataset.setdefault('seed', opt['manual_seed'] if dataset['phase'] == 'train' else 0)
        if 'scale' in opt:
            dataset['scale'] = opt['scale']
        for key, value in dataset.items():
            if key.startswith('dataroot') and isinstance(value, str):
                dataset[key] = os.path.expanduser(value)
                _check_folder(f'datasets:{phase}:{key}', dataset[key], dataset.get('prepare'))
    for key, value in opt['path'].items():
        if isinstance(value, str) and ('resume_state' in key or 'pretrain_network' in key):
            opt['path'][key] = os.path.expanduser(value)
            if not os.path.isfile(opt['path'][key]):
                raise FileNotFoundError(f'path:{key}: {os.path.abspath(opt["path"][key])} does not exist')

    if args.debug and not opt['name'].startswith('debug'):
        opt['name'] = 'debug_' + opt['name']
    root = os.path.join(root_path, 'experiments' if is_train else 'results', opt['name'])
    opt['path']['experiments_root' if is_train else 'results_root'] = opt['path']['log'] = root
    for folder in ('models', 'training_states', 'visualization') if is_train else ('visualization',):
        opt['path'][folder] = os.path.join(root, folder)
    if is_train and 'debug' in opt['name']:
        opt['logger'].update(print_freq=1, save_checkpoint_freq=8)
        if opt.get('val'):
            opt['val']['val_freq'] = 8
    return opt, args
