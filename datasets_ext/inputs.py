"""Where `make_dataset` finds its pictures: a folder or a zip file, with trainA and testA (horse2zebra's layout) or without."""

import functools
import hashlib
import itertools
import os
import posixpath
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from datasets_ext.images import EXTENSIONS, decode_picture, list_pictures

SPLITS = {'train': 'trainA', 'test': 'testA'}


class Picture(NamedTuple):
    """A picture of the input.

    name: its stem, the triplet's name. root: the input, a folder or a zip file. member: its path below that, with forward slashes.
    """

    name: str
    root: str
    member: str

    def __str__(self) -> str:
        return os.path.join(self.root, *self.member.split('/'))

    def read(self) -> bytes:
        """The file's bytes."""
        if os.path.isdir(self.root):
            return Path(str(self)).read_bytes()
        try:
            return _open_zip(self.root, os.getpid()).read(self.member)
        except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:  # RuntimeError: encrypted, or an unknown compression
            raise ValueError(f'{self}: cannot be read from the zip file: {error}') from None


@functools.lru_cache(maxsize=4)
def _open_zip(path: str, process: int) -> zipfile.ZipFile:
    """By process: forked workers would share one file position."""
    return zipfile.ZipFile(path)


def _in_folder(root: Path, folder: Path) -> list[Picture]:
    return [Picture(name, str(root), Path(path).relative_to(root).as_posix()) for name, path in list_pictures(folder).items()]


def _in_zip(path: Path) -> dict[str, list[Picture]]:
    """{folder inside the zip file: its pictures}"""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile as error:
        raise ValueError(f'{path} is neither a folder nor a readable zip file: {error}') from None
    folders: dict[str, list[Picture]] = {}
    for member in sorted(members):
        folder, file = posixpath.split(member)
        stem, extension = posixpath.splitext(file)
        if extension.lower() in EXTENSIONS and not file.startswith('.') and not member.startswith('__MACOSX/'):
            folders.setdefault(folder, []).append(Picture(stem, str(path), member))
    return folders


def find_pictures(root: str | os.PathLike) -> dict[str, list[Picture]]:
    """The pictures of an input.

    Returns:
        {'train': [...], 'test': [...]} where folders trainA and testA lie in the input or one level below, otherwise {'': [...]}; by name.

    Raises:
        FileNotFoundError: the input does not exist.
        ValueError: it holds no pictures, or two that differ only by the ending.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f'{root.absolute()} does not exist')
    if root.is_dir():
        for parent in (root, *sorted(entry for entry in root.iterdir() if entry.is_dir())):
            if all((parent / folder).is_dir() for folder in SPLITS.values()):
                return {split: _in_folder(root, parent / folder) for split, folder in SPLITS.items()}
        return {'': _in_folder(root, root)}
    folders = _in_zip(root)
    splits = {split: [item for path, items in folders.items() if posixpath.basename(path) == name for item in items]
              for split, name in SPLITS.items()}  # fmt: skip
    if not all(splits.values()):
        splits = {'': [item for items in folders.values() for item in items]}
    for pictures in splits.values():
        if not pictures:
            raise ValueError(f'{root.absolute()} holds no pictures ({", ".join(EXTENSIONS)})')
        pictures.sort()
        for first, second in itertools.pairwise(pictures):
            if first.name == second.name:
                raise ValueError(f'{first} and {second} have the same name; triplets could not be told apart')
    return splits


def without(pictures: list[Picture], exclude: list[str]) -> list[Picture]:
    """The pictures but for those that `exclude` names, by stem or by file name."""
    return [item for item in pictures if item.name not in exclude and posixpath.basename(item.member) not in exclude]


def fingerprint(picture: Picture) -> str | None:
    """A digest of size and pixels; None if the picture cannot be read (making its triplet will say why)."""
    try:
        pixels = decode_picture(picture.read(), str(picture))
    except ValueError:
        return None
    return hashlib.sha256(repr((pixels.shape, pixels.dtype.str)).encode() + pixels.tobytes()).hexdigest()
