"""Find the images that files, folders and patterns stand for, and account for every other file."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hmaca_arch.files.formats import IMAGE_ENDINGS, hint_for_ending

SKIPPED, REFUSED = 'skipped', 'refused'


class Found(NamedTuple):
    """An image file.

    Attributes:
        path: as the user would name it.
        below: the folder that it lies in, relative to the folder that was asked for.
    """

    path: Path
    below: Path


class Left(NamedTuple):
    """A file or folder that is not restored.

    Attributes:
        path: as the user would name it.
        status: SKIPPED (nothing is wrong) or REFUSED (something is).
        reason: for people.
    """

    path: Path
    status: str
    reason: str


def real_path(path: Path) -> Path:
    """Follow links. A link to itself, at which `Path.resolve` raises, stays as it is."""
    return Path(os.path.realpath(path))


def find_images(
    inputs: Sequence[Path], recursive: bool = False, apart: Iterable[tuple[Path, str]] = ()
) -> tuple[list[Found], list[Left]]:
    """List what files, folders and patterns (`*`, `?`, `[...]`, `**`) stand for.

    Args:
        inputs: a file that is named is taken for an image whatever its ending says.
        recursive: go into subfolders.
        apart: folders that are not gone into, as the output's, each with the reason.

    Returns:
        The images, each once and sorted by name within a folder, and everything else.

    Raises:
        FileNotFoundError: an input does not exist, or no file matches it.
    """
    reasons = {real_path(path): reason for path, reason in apart}
    images: dict[Path, Found] = {}
    left: dict[Path, Left] = {}
    for path in _expanded(inputs):
        if not path.is_dir():
            images.setdefault(path.absolute(), Found(path, Path()))
            continue
        for one in _inside(path, Path(), recursive, reasons):
            if isinstance(one, Found):
                images.setdefault(one.path.absolute(), one)
            else:
                left.setdefault(one.path.absolute(), one)
    return list(images.values()), [one for path, one in left.items() if path not in images]


def _expanded(inputs: Sequence[Path]) -> Iterator[Path]:
    """Yield the inputs, with patterns replaced by what they match."""
    for path in inputs:
        if os.path.lexists(path):
            yield path
            continue
        pattern = str(path)
        matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []
        if not matches:
            what = 'matches no file' if glob.has_magic(pattern) else 'does not exist'
            raise FileNotFoundError(f'--input: {path.absolute()} {what}')
        yield from map(Path, matches)


def _inside(
    root: Path, below: Path, recursive: bool, apart: dict[Path, str]
) -> Iterator[Found | Left]:
    """Yield every file and folder in root/below."""
    folder = root / below
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        yield Left(folder, REFUSED, f'cannot be listed: {error.strerror or error}')
        return
    for name in names:
        path = folder / name
        if name.startswith('.'):
            yield Left(path, SKIPPED, 'its name starts with a dot')
        elif path.is_dir():
            yield from _subfolder(root, below / name, recursive, apart)
        elif (hint := hint_for_ending(path.suffix.lower())) is not None:
            yield Left(path, REFUSED, f'cannot be read as an image: {hint}')
        elif path.suffix.lower() in IMAGE_ENDINGS:
            yield Found(path, below)
        else:
            yield Left(path, SKIPPED, 'its ending is not one of an image')


def _subfolder(
    root: Path, below: Path, recursive: bool, apart: dict[Path, str]
) -> Iterator[Found | Left]:
    """Yield what a subfolder holds, or one line about it."""
    path = root / below
    if (real := real_path(path)) in apart:
        yield Left(path, SKIPPED, apart[real])
    elif path.is_symlink() and recursive:
        yield Left(path, SKIPPED, 'a link to a folder; name it as an input of its own')
    elif recursive:
        yield from _inside(root, below, True, apart)
    elif _holds_images(path):
        yield Left(path, REFUSED, 'a folder with images; --recursive goes into it')
    else:
        yield Left(path, SKIPPED, 'a folder without images')


def _holds_images(folder: Path) -> bool:
    for _, _, names in os.walk(folder):
        shown = (name for name in names if not name.startswith('.'))
        if any(Path(name).suffix.lower() in IMAGE_ENDINGS for name in shown):
            return True
    return False
