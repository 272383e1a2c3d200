"""Option files: YAML with one level of inheritance, command line overrides and names that are checked before anything is built.

Unlike in BasicSR a file may name another as its `base:`, `1e-4` is a number, and `--force_yml` is read as YAML instead of evaluated.
"""

import argparse
import os
import re
from copy import deepcopy
from pathlib import Path

import yaml

from hmaca_arch.config import checks as option_checks
from hmaca_arch.config.schema import PROTOCOLS
from hmaca_arch.messages import refuse, suggestion


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but `1e-4` is a number and a key given twice is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f'{node.start_mark.name}: key {twice[0]!r} is given twice in the section at line {node.start_mark.line + 1}')
        return super().construct_mapping(node, deep)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    value = loader.construct_yaml_float(node)
    return int(value) if 'e' in node.value.lower() and value.is_integer() else value  # 3e5 iterations are whole


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads as the same: texts such as '1e5' in quotes."""

    def ignore_aliases(self, data) -> bool:
        return True


def dump(options: dict) -> str:
    """Options as YAML that reads back as they are."""
    return yaml.dump(options, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


_Loader.add_constructor('tag:yaml.org,2002:float', _float)
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver('tag:yaml.org,2002:float', re.compile(r'^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$'), list('-+.0123456789'))


def _read_yaml(path: Path) -> dict:
    try:
        with open(path, encoding='utf-8') as file:
            options = yaml.load(file, Loader=_Loader)
    except (FileNotFoundError, IsADirectoryError):
        there = [other.name for other in path.parent.glob('*.yml')]
        raise FileNotFoundError(f'option file {path} does not exist{suggestion(path.name, there, listed=False)}') from None
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
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(name, str) for name in bases):
        raise ValueError(f'{path}: base: got {bases!r}, expected an option file or a list of them')
    merged: dict = {}
    for name in bases:
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
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        raise ValueError(f'protocol: there is no {protocol!r}{suggestion(protocol, PROTOCOLS)}')

    def filled(value):
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [filled(item) for item in value]
        return value.replace('{protocol}', protocol).replace('{paste}', PROTOCOLS[protocol]) if isinstance(value, str) else value

    return filled(options)


def override(options: dict, entries: list[str]) -> dict:
    """Apply `section:key=value` entries; values are YAML (`1e-4`, `true`, `[2, 2]`, `~`) and may contain `=`. Sections must exist.

    Raises:
        OptionError: with every entry that cannot be applied.
    """
    options = deepcopy(options)
    lines = []
    for entry in entries:
        try:
            _apply(options, entry)
        except ValueError as error:
            lines.append(f'--force_yml {entry!r}: {error}')
    refuse(lines)
    return options


def _apply(options: dict, entry: str) -> None:
    place, equals, value = entry.partition('=')
    *sections, key = place.strip().split(':')
    if not equals or not key:
        raise ValueError('expected section:key=value, for example train:total_iter=100')
    target = options
    for section in sections:
        if not isinstance(target.get(section), dict):
            raise ValueError(f'there is no section {section!r}{suggestion(section, target)}')
        target = target[section]
    try:
        target[key] = yaml.load(value, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f'the value is not valid YAML: {" ".join(str(error).split())}') from None


def _places(options: dict, inside: str = '') -> set[str]:
    """'train:total_iter' of every key."""
    found = set()
    for key, value in options.items():
        found |= {f'{inside}{key}', *(_places(value, f'{inside}{key}:') if isinstance(value, dict) else ())}
    return found


def resolve(path: str | os.PathLike, force_yml: list[str], is_train: bool | None = None) -> dict:
    """An option file with its bases, overrides and protocol, checked: what it says, before anything of this machine enters.

    Args:
        path: the file.
        force_yml: `section:key=value` entries.
        is_train: whether what a training or what a test needs has to be there; by default a file that has data named `train` and none
            named `test` is a training's.

    Raises:
        FileNotFoundError, ValueError: the file, or one entry, cannot be read.
        OptionError: with every mistake in it.
    """
    try:
        given = load(path)
        options = override(given, force_yml)
        created = _places(options) - _places(given)
        try:
            options = fill_protocol(options)
        except ValueError:  # the check below tells, with the other mistakes
            options = {**fill_protocol({**options, 'protocol': 'clean'}), 'protocol': options['protocol']}
    except RecursionError:
        raise ValueError(f'option file {path}: a section contains itself') from None
    option_checks.check(options, is_training(options) if is_train is None else is_train, created)
    return options


def is_training(options: dict) -> bool:
    """Whether a file configures a training: it has data named `train` and none named `test`."""
    phases = options['datasets'] if isinstance(options.get('datasets'), dict) else {'train': {}}
    return 'train' in phases and not any(str(phase).split('_')[0] == 'test' for phase in phases)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """The argument `--force_yml`."""
    parser.add_argument(
        '--force_yml',
        nargs='+',
        action='extend',
        default=[],
        metavar='SECTION:KEY=VALUE',
        help='change options, for example train:total_iter=100',
    )


def weights_to_test(options: dict, root_path: str) -> dict:
    """What a section `path` says of weights when the file is tested: those it names; of a training's file, what it trained.

    Raises:
        ValueError: a training's file names weights to begin with, and it has trained some.
    """
    path = options.get('path') or {}
    trained = os.path.join(root_path, 'experiments', str(options['name']), 'models', 'net_g_latest.pth')
    named = path.get('pretrain_network_g')
    if not named:  # BasicSR takes params where a run kept no average
        return {'pretrain_network_g': trained, 'param_key_g': path.get('param_key_g', 'params_ema')}
    if is_training(options) and os.path.isfile(trained) and not (os.path.isfile(named) and os.path.samefile(named, trained)):
        raise ValueError(
            f'path:pretrain_network_g: names {named}, and this training has made {trained}: to test what it trained, '
            'say path:pretrain_network_g=~ path:param_key_g=params_ema; to test what it began with, give the test a name of its own'
        )
    return {}


def complete(options: dict, is_train: bool, root_path: str) -> dict:
    """Resolved options with what BasicSR's pipelines read without asking whether it is there."""
    opt = {'num_gpu': 'auto', 'manual_seed': None, 'path': {}, **deepcopy(options), 'is_train': is_train}
    prepare = opt['datasets'].get('train', {}).get('prepare')
    for dataset in opt['datasets'].values() if prepare else ():
        dataset.setdefault('prepare', prepare)  # one command makes both
    if is_train:
        opt['logger'].setdefault('use_tb_logger', False)
    else:  # a test file inherits from the training's
        opt['datasets'] = {phase: dataset for phase, dataset in opt['datasets'].items() if phase.split('_')[0] in ('val', 'test')}
    if opt.get('val'):
        opt['val'].setdefault('save_img', not is_train)
    if not is_train:
        opt['path'].update(weights_to_test(options, root_path))
    for phase, dataset in opt['datasets'].items():
        dataset['phase'] = phase.split('_')[0]
        if 'scale' in opt:
            dataset['scale'] = opt['scale']
        texts = {key: value for key, value in dataset.items() if isinstance(value, str)}
        dataset.update({key: os.path.expanduser(text) for key, text in texts.items() if key.startswith(('dataroot', 'meta_info_file'))})
    for key, value in opt['path'].items():
        if isinstance(value, str) and ('resume_state' in key or 'pretrain_network' in key):
            opt['path'][key] = os.path.expanduser(value)
    return opt


def read_network(path: str | os.PathLike) -> dict:
    """The checked section `network_g` of an option file, as the options that `load_restorer` takes.

    Raises:
        FileNotFoundError, ValueError: the file, or the section in it, is missing or wrong.
    """
    section = fill_protocol(load(path)).get('network_g')
    if not isinstance(section, dict):
        raise ValueError(f'{path}: the option file has no section network_g')
    option_checks.check_network(section)
    return {'network_g': section}
