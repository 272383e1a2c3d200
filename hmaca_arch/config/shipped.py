"""The option files that come with the package, and what replaced those of earlier versions."""

import os
import re
from pathlib import Path

from hmaca_arch.messages import suggestion

_PACKAGE = Path(__file__).resolve().parents[1]
# An installation has them inside the package (setup.py), a checkout has them beside it.
_INSTALLED = _PACKAGE / 'option_files'
FOLDER = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / 'options'

_SETS = r'(?:horse|imagenet)_(?:pix|blur|noise)'
_RENAMED = {
    'test_quickstart': 'train_quickstart',
    'train_HMACAplus_light_mixed': 'train_mixed_light',
}


def option_files() -> dict[str, Path]:
    """Return {name: path} of the files that configure a training."""
    paths = sorted([*FOLDER.glob('train_*.yml'), *FOLDER.glob('train/*.yml')])
    return {path.stem: path for path in paths}


def data_sets() -> dict[str, Path]:
    """Return {name: path} of the data files."""
    return {path.stem: path for path in sorted(FOLDER.glob('data/*.yml'))}


def _replacement(path: Path) -> tuple[str, str | None] | None:
    """Return what replaced a file of an earlier version: a path or name, and a data set if any."""
    stem, data = path.stem, None
    if stem in _RENAMED:
        new = _RENAMED[stem]
    elif path.parent.name == 'networks':
        new = f'train_{stem}'
    elif match := re.fullmatch(rf'(?:train|test)_(\w+?)_({_SETS})', stem):
        new, data = f'train_{match[1]}', match[2]
    else:
        return None
    if new not in option_files():
        return None
    beside = path.parent.parent / 'train' / f'{new}.yml'
    return str(beside) if beside.is_file() else new, data


def _say_replacement(path: Path, new: str, data: str | None, is_base: bool) -> str:
    if is_base:
        instead = f'base: {new}' + (f' and data: {data}' if data else '')
    else:
        command = 'test' if path.stem.startswith('test_') else 'train'
        override = f' --force_yml data={data}' if data else ''
        instead = f'basicsr {command} -opt {new}{override}'
    return f'option file {path} is no more; instead: {instead}'


def find(name: str | os.PathLike, beside: Path | None = None) -> Path:
    """Return the path of an option file.

    Args:
        name: a path, or the name of a shipped file, with or without `.yml`. A path wins.
        beside: the folder that relative paths start from: that of the file whose base this is.
            None: the current folder.

    Raises:
        FileNotFoundError: there is none. The message has the closest name, or what replaced a file
            of an earlier version.
    """
    given = Path(os.path.expanduser(name))
    path = given if beside is None else beside / given
    if path.exists() and not path.is_dir():
        return path
    known = option_files()
    bare, is_name = given.name.removesuffix('.yml'), given.parent == Path()
    if is_name and bare in known:
        return known[bare]
    if replacement := _replacement(path):
        raise FileNotFoundError(_say_replacement(path, *replacement, beside is not None))
    hint = suggestion(bare, known) if is_name and not given.suffix else _neighbour(path)
    raise FileNotFoundError(f'option file {path} does not exist{hint}')


def _neighbour(path: Path) -> str:
    there = [other.name for other in path.parent.glob('*.yml')]  # none, if there is no folder
    return suggestion(path.name, there, listed=False)


def find_data(name: str) -> Path:
    """Return the path of a data file.

    Args:
        name: the name of a shipped one, or a path, relative to the current folder.

    Raises:
        FileNotFoundError, ValueError: there is none; the message has the closest name.
    """
    known = data_sets()
    if name in known:
        return known[name]
    path = Path(os.path.expanduser(name))
    if path.suffix not in ('.yml', '.yaml'):
        raise ValueError(
            f'data: there is no {name!r}{suggestion(name, known)}; '
            'data of your own are a data file, FILE.yml'
        )
    if not path.is_file():
        raise FileNotFoundError(f'data: {path} does not exist{_neighbour(path)}')
    return path
