"""The option files that come with the package: where they lie, their names, and what replaced those
of earlier versions.
"""

import os
import re
from pathlib import Path

from hmaca_arch.messages import suggestion

_PACKAGE = Path(__file__).resolve().parents[1]
# Installed they lie inside the package (setup.py), in a checkout beside it.
FOLDER = next(
    folder
    for folder in (_PACKAGE / 'option_files', _PACKAGE.parent / 'options')
    if folder.is_dir() or folder.name == 'options'
)

_SETS = r'(?:horse|imagenet)_(?:pix|blur|noise)'
_RENAMED = {
    'test_quickstart': 'train_quickstart',
    'train_HMACAplus_light_mixed': 'train_mixed_light',
}


def option_files() -> dict[str, Path]:
    """Return {name: path} of the trainings."""
    return {
        path.stem: path
        for path in sorted([*FOLDER.glob('train_*.yml'), *FOLDER.glob('train/*.yml')])
    }


def data_sets() -> dict[str, Path]:
    """Return {name: path} of the data files."""
    return {path.stem: path for path in sorted(FOLDER.glob('data/*.yml'))}


def _replacement(path: Path) -> tuple[str, str | None] | None:
    """Return the file that replaced one of an earlier version, as a path or name to type, and its
    data set if any.
    """
    stem, names, data = path.stem, option_files(), None
    if stem in _RENAMED:
        new = _RENAMED[stem]
    elif path.parent.name == 'networks':
        new = f'train_{stem}'
    elif match := re.fullmatch(rf'(?:train|test)_(\w+?)_({_SETS})', stem):
        new, data = f'train_{match[1]}', match[2]
    else:
        return None
    if new not in names:
        return None
    beside = path.parent.parent / 'train' / f'{new}.yml'
    return str(beside) if beside.is_file() else new, data


def find(name: str | os.PathLike, beside: Path | None = None) -> Path:
    """Return the path of an option file.

    Args:
        name: a path, or the name of a shipped file where there is no such path: `train_HMACA1`,
            with or without `.yml`.
        beside: the folder of the file that names it as its base; paths are relative to it. None: to
            the current folder.

    Raises:
        FileNotFoundError: there is none; the message has the closest name, or what replaced a file
            of an earlier version.
    """
    given = Path(name).expanduser()
    path = given if beside is None else beside / given
    if path.exists() and not path.is_dir():
        return path
    known = option_files()
    bare = given.name.removesuffix('.yml')
    if given.parent == Path() and bare in known:
        return known[bare]
    if replaced := _replacement(path):
        new, data = replaced
        if beside is not None:
            instead = f'base: {new}' + (f' and data: {data}' if data else '')
        else:
            command = 'test' if path.stem.startswith('test_') else 'train'
            instead = f'basicsr {command} -opt {new}' + (
                f' --force_yml data={data}' if data else ''
            )
        raise FileNotFoundError(f'option file {path} is no more; instead: {instead}')
    if given.parent == Path() and given.suffix == '':
        raise FileNotFoundError(f'option file {path} does not exist{suggestion(bare, known)}')
    raise FileNotFoundError(f'option file {path} does not exist{_neighbour(path)}')


def _neighbour(path: Path) -> str:
    there = [other.name for other in path.parent.glob('*.yml')] if path.parent.is_dir() else []
    return suggestion(path.name, there, listed=False)


def find_data(name: str) -> Path:
    """Return the path of a data file: a shipped one by its name, or one's own by its path, relative
    to the current folder.

    Raises:
        FileNotFoundError, ValueError: there is none; the message has the closest name.
    """
    known = data_sets()
    if name in known:
        return known[name]
    path = Path(name).expanduser()
    if path.suffix not in ('.yml', '.yaml'):
        raise ValueError(
            f'data: there is no {name!r}{suggestion(name, known)}; data of your own are a data file, FILE.yml'
        )
    if not path.is_file():
        raise FileNotFoundError(f'data: {path} does not exist{_neighbour(path)}')
    return path
