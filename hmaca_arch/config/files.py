"""Option files: YAML with bases, a data set by name, command line overrides and names that are
checked before anything is built.

Unlike in BasicSR a file may name another as its `base:` and its data set by `data:`, `1e-4` is a
number, and `--force_yml` is read as YAML instead of evaluated.
"""

import argparse
import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from hmaca_arch.config import checks as option_checks
from hmaca_arch.config import paths, shipped
from hmaca_arch.config.schema import DATA_FILE, DATASETS, PROTOCOLS
from hmaca_arch.config.yaml_files import parse, read_yaml
from hmaca_arch.messages import refuse, suggestion
from hmaca_arch.networks.channels import GRAY, image_channels

NOT_GIVEN = object()


def merge(base: dict, changes: dict) -> dict:
    """`base` with `changes` on top, section by section. A section of another `type` replaces the
    base's: other settings belong to it.
    """
    merged = deepcopy(base)
    for key, value in changes.items():
        old = merged.get(key)
        sections = isinstance(value, dict) and isinstance(old, dict)
        if sections and not ('type' in value and 'type' in old and value['type'] != old['type']):
            merged[key] = merge(old, value)
        else:
            merged[key] = deepcopy(value)
    return merged


def _with_bases(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict, dict]:
    """Return what the bases of a file say, each on top of those before it, and what the file says
    itself.
    """
    if path.resolve() in above:
        raise ValueError(f'{path}: is a base of itself, by way of {above[-1]}')
    own = read_yaml(path)
    bases = own.pop('base', [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(name, str) for name in bases):
        raise ValueError(f'{path}: base: got {bases!r}, expected an option file or a list of them')
    merged: dict = {}
    for name in bases:
        merged = merge(
            merged, merge(*_with_bases(shipped.find(name, path.parent), (*above, path.resolve())))
        )
    return merged, own


def _data_part(name: object) -> tuple[str, dict]:
    """Return what `{data}` stands for and what the data file says, given the value of `data:`."""
    if not isinstance(name, str):
        raise ValueError(
            f'data: got {name!r}, expected the name of a data set ({", ".join(shipped.data_sets())}) or a data file'
        )
    path = shipped.find_data(name)
    part = read_yaml(path)
    for key in part:
        if key not in DATA_FILE:
            raise ValueError(
                f'data file {path}: {key}: there is no such section{suggestion(key, DATA_FILE)}'
            )
    return path.stem, part


def read(path: str | os.PathLike, data: object = NOT_GIVEN) -> dict:
    """Read an option file together with its bases and its data set.

    `base: other.yml` (or a list) is relative to the file or the name of a shipped file. `data:
    horse_pix` names a data file, which is merged on top of the bases; on top of both comes what the
    file says itself. In its texts `{data}` stands for the data set's name.

    Args:
        path: a path or the name of a shipped file.
        data: the data set, instead of the one that the file names.

    Raises:
        FileNotFoundError, ValueError: a file is missing, is not YAML, or names no data set that
            could be replaced.
    """
    path = shipped.find(path)
    bases, own = _with_bases(path)
    of_base = bases.pop('data', None)
    named = own.pop('data', of_base)
    if named is None and data is not NOT_GIVEN:
        raise ValueError(
            f'data: {path} has data of its own and no key `data` to change; files that have one: train_HMACA1 and others'
        )
    named = named if data is NOT_GIVEN else data
    if named is None:
        options = merge(bases, own)
        if '{data}' in str(options.get('name')):
            raise ValueError(
                f'{path}: name: {options["name"]} stands for the name of a data set, and the file has no key `data`'
            )
        return options
    name, part = _data_part(named)
    return _replace(merge(merge(bases, part), own), {'{data}': name})


def _replace(value, texts: dict[str, str]):
    """Return options with `texts` replaced in everything that is text."""
    if isinstance(value, dict):
        return {key: _replace(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace(item, texts) for item in value]
    if isinstance(value, str):
        for old, new in texts.items():
            value = value.replace(old, new)
    return value


def fill_protocol(options: dict) -> dict:
    """With `protocol: release | clean`, replace `{protocol}` in the texts by it, and `{paste}` by
    what its metric pastes.

    Raises:
        ValueError: there is no such protocol, or none and a data set needs one.
    """
    protocol = options.get('protocol')
    if protocol is None and '{protocol}' not in str(options.get('datasets')):
        return options
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        raise ValueError(f'protocol: there is no {protocol!r}{suggestion(protocol, PROTOCOLS)}')
    return _replace(options, {'{protocol}': protocol, '{paste}': PROTOCOLS[protocol]})


def _changed(path: str | os.PathLike, force_yml: list[str]) -> tuple[dict, set[str]]:
    """Return a file's options with overrides, the protocol not filled in yet, and the places that
    only the overrides have.
    """
    entries, data = [], NOT_GIVEN
    for entry in force_yml:
        key, equals, value = entry.partition('=')
        if key.strip() == 'data' and equals:
            data = parse(value)
        else:
            entries.append(entry)
    given = read(path, data)
    options = override(given, entries)
    return options, _places(options) - _places(given)


def load(path: str | os.PathLike, force_yml: Sequence[str] = ()) -> dict:
    """Load an option file with its bases, data set, overrides and protocol; it is not checked.
    Errors as in `read` and `override`.
    """
    return paths.expanded(fill_protocol(_changed(path, list(force_yml))[0]))


def override(options: dict, entries: list[str]) -> dict:
    """Apply `section:key=value` entries; values are YAML (`1e-4`, `true`, `[2, 2]`, `~`) and may
    contain `=`. Sections must exist.

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
    target[key] = parse(value)


def _places(options: dict, inside: str = '') -> set[str]:
    """'train:total_iter' of every key."""
    found = set()
    for key, value in options.items():
        found |= {
            f'{inside}{key}',
            *(_places(value, f'{inside}{key}:') if isinstance(value, dict) else ()),
        }
    return found


def resolve(path: str | os.PathLike, force_yml: list[str], is_train: bool | None = None) -> dict:
    """An option file with its bases, overrides and protocol, checked: what it says, before anything
    of this machine enters.

    Args:
        path: the file.
        force_yml: `section:key=value` entries.
        is_train: whether what a training or what a test needs has to be there; by default a file
            that has data named `train` and none named `test` is a training's.

    Raises:
        FileNotFoundError, ValueError: the file, or one entry, cannot be read.
        OptionError: with every mistake in it.
    """
    try:
        options, created = _changed(path, force_yml)
        try:
            options = fill_protocol(options)
        except ValueError:  # the check below tells, with the other mistakes
            options = {
                **fill_protocol({**options, 'protocol': 'clean'}),
                'protocol': options.get('protocol'),
            }
    except RecursionError:
        raise ValueError(f'option file {path}: a section contains itself') from None
    options = paths.expanded(options)
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
    """What a section `path` says of weights when the file is tested: those it names; of a
    training's file, what it trained.

    Raises:
        ValueError: a training's file names weights to begin with, and it has trained some.
    """
    path = options.get('path') or {}
    trained = os.path.join(
        root_path, 'experiments', str(options['name']), 'models', 'net_g_latest.pth'
    )
    named = path.get('pretrain_network_g')
    if not named:  # BasicSR takes params where a run kept no average
        return {'pretrain_network_g': trained, 'param_key_g': path.get('param_key_g', 'params_ema')}
    if (
        is_training(options)
        and os.path.isfile(trained)
        and not (os.path.isfile(named) and os.path.samefile(named, trained))
    ):
        raise ValueError(
            f'path:pretrain_network_g: names {named}, and this training has made {trained}: to test what it trained, '
            'say path:pretrain_network_g=~ path:param_key_g=params_ema; to test what it began with, give the test a name of its own'
        )
    return {}


def complete(options: dict, is_train: bool, root_path: str) -> dict:
    """Resolved options with what BasicSR's pipelines read without asking whether it is there."""
    opt = {
        'num_gpu': 'auto',
        'manual_seed': None,
        'path': {},
        **deepcopy(options),
        'is_train': is_train,
    }
    prepare = opt['datasets'].get('train', {}).get('prepare')
    for dataset in opt['datasets'].values() if prepare else ():
        dataset.setdefault('prepare', prepare)  # one command makes both
    if is_train:
        opt['logger'].setdefault('use_tb_logger', False)
    else:  # a test file inherits from the training's
        opt['datasets'] = {
            phase: dataset
            for phase, dataset in opt['datasets'].items()
            if phase.split('_')[0] in ('val', 'test')
        }
    if opt.get('val'):
        opt['val'].setdefault('save_img', not is_train)
    if not is_train:
        opt['path'].update(weights_to_test(options, root_path))
    for phase, dataset in opt['datasets'].items():
        dataset['phase'] = phase.split('_')[0]
        if 'scale' in opt:
            dataset['scale'] = opt['scale']
        if dataset['type'] in DATASETS and image_channels(opt['network_g']) == GRAY:
            dataset['channels'] = GRAY
        texts = {key: value for key, value in dataset.items() if isinstance(value, str)}
        dataset.update(
            {
                key: os.path.expanduser(text)
                for key, text in texts.items()
                if key.startswith(('dataroot', 'meta_info_file'))
            }
        )
    for key, value in opt['path'].items():
        if isinstance(value, str) and ('resume_state' in key or 'pretrain_network' in key):
            opt['path'][key] = os.path.expanduser(value)
    return opt


def read_network(path: str | os.PathLike) -> dict:
    """The checked section `network_g` of an option file, as the options that `load_restorer` takes.

    Raises:
        FileNotFoundError, ValueError: the file, or the section in it, is missing or wrong.
    """
    section = load(path).get('network_g')
    if not isinstance(section, dict):
        raise ValueError(f'{path}: the option file has no section network_g')
    option_checks.check_network(section)
    return {'network_g': section}
