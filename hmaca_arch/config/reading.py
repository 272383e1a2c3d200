"""Reading an option file together with its bases, its data set and its protocol.

Unlike BasicSR, a file may build on others (`base:`), name its data set (`data:`) and say how the
data were degraded (`protocol:`).
"""

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

from hmaca_arch.config import shipped
from hmaca_arch.config.paths import expand
from hmaca_arch.config.schema import DATA_FILE, PROTOCOLS
from hmaca_arch.config.yaml_files import read_yaml
from hmaca_arch.messages import short_repr, suggestion

NOT_GIVEN = object()


def merge(base: dict, changes: dict) -> dict:
    """Return `base` with `changes` on top, section by section.

    A section of another `type` replaces the one in `base`, whose settings belong to the old type.
    """
    merged = deepcopy(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and not _changes_type(old, value):
            merged[key] = merge(old, value)
        else:
            merged[key] = deepcopy(value)
    return merged


def _changes_type(old: dict, new: dict) -> bool:
    return 'type' in old and 'type' in new and old['type'] != new['type']


def _read_with_bases(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict, dict]:
    """Return the merged options of a file's bases, and the file's own options.

    Args:
        path: the file.
        above: the files whose base this is, to find circles.
    """
    if path.resolve() in above:
        raise ValueError(f'{path}: is a base of itself, by way of {above[-1]}')
    own = read_yaml(path)
    bases = own.pop('base', [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(name, str) for name in bases):
        raise ValueError(
            f'{path}: base: got {short_repr(bases)}, expected an option file or a list of them'
        )
    merged: dict = {}
    for name in bases:
        base = shipped.find(expand(f'{path}: base', name), path.parent)
        merged = merge(merged, merge(*_read_with_bases(base, (*above, path.resolve()))))
    return merged, own


def _read_data_file(name: Any) -> tuple[str, dict]:
    """Return what `{data}` stands for, and the content of the data file that `data:` names."""
    if not isinstance(name, str):
        names = ', '.join(shipped.data_sets())
        raise ValueError(
            f'data: got {short_repr(name)}, '
            f'expected the name of a data set ({names}) or a data file'
        )
    path = shipped.find_data(expand('data', name))
    part = read_yaml(path)
    for key in part:
        if key not in DATA_FILE:
            hint = suggestion(key, DATA_FILE)
            raise ValueError(f'data file {path}: {key}: there is no such section{hint}')
    return path.stem, part


def read(path: str | os.PathLike, data: Any = NOT_GIVEN) -> dict:
    """Read an option file together with its bases and its data set.

    `base: other.yml` (or a list) is relative to the file, or the name of a shipped file.
    `data: horse_pix` names a data file, which is merged on top of the bases. The file's own options
    come last. In its texts `{data}` stands for the data set's name.

    Args:
        path: a path or the name of a shipped file.
        data: the data set, instead of the one that the file names.

    Raises:
        FileNotFoundError, ValueError: a file is missing or is not YAML, or `data` is given and the
            file names no data set that it could replace.
    """
    path = shipped.find(path)
    bases, own = _read_with_bases(path)
    of_base = bases.pop('data', None)
    named = own.pop('data', of_base)
    if named is None and data is not NOT_GIVEN:
        raise ValueError(
            f'data: {path} has data of its own and no key `data` to change; '
            'files that have one: train_HMACA1 and others'
        )
    named = named if data is NOT_GIVEN else data
    if named is None:
        options = merge(bases, own)
        if '{data}' in str(options.get('name')):
            raise ValueError(
                f'{path}: name: {options["name"]} stands for the name of a data set, '
                'and the file has no key `data`'
            )
        return options
    name, part = _read_data_file(named)
    return _replace(merge(merge(bases, part), own), {'{data}': name})


def _replace(value: Any, texts: dict[str, str]) -> Any:
    """Return options with `texts` replaced in every text."""
    if isinstance(value, dict):
        return {key: _replace(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace(item, texts) for item in value]
    if isinstance(value, str):
        for old, new in texts.items():
            value = value.replace(old, new)
    return value


def fill_protocol(options: dict) -> dict:
    """Return options with `{protocol}` and `{paste}` replaced in their texts.

    `{protocol}` becomes the value of the key `protocol`, and `{paste}` what the metric of that
    protocol pastes (lq or gt).

    Raises:
        ValueError: there is no such protocol, or none is given and a data set needs one.
    """
    protocol = options.get('protocol')
    if protocol is None and '{protocol}' not in str(options.get('datasets')):
        return options
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        raise ValueError(f'protocol: there is no {protocol!r}{suggestion(protocol, PROTOCOLS)}')
    return _replace(options, {'{protocol}': protocol, '{paste}': PROTOCOLS[protocol]})
