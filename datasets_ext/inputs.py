"""Where `make_dataset` finds its pictures: a folder or a zip file, split as trainA and testA
(horse2zebra) or train and test, or not.
"""

import functools
import hashlib
import io
import itertools
import lzma
import os
import posixpath
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from datasets_ext.parallel import Workers
from hmaca_arch.files.images import (
    EXTENSIONS,
    FORMATS,
    LARGEST_FILE,
    decode_picture,
    list_pictures,
    read_file,
)

SPLITS = (
    {'train': 'trainA', 'test': 'testA'},
    {'train': 'train', 'test': 'test'},
)  # the first that is there


class Picture(NamedTuple):
    """A picture of the input.

    name: its stem, the triplet's name. root: the input, a folder or a zip file. member: its path
    below that, with forward slashes.
    """

    name: str
    root: str
    member: str

    def __str__(self) -> str:
        return os.path.join(self.root, *self.member.split('/'))

    def read(self) -> bytes:
        """The file's bytes; a ValueError names it if they cannot be read."""
        if os.path.isdir(self.root):
            return read_file(str(self))
        try:
            archive = _open_zip(self.root, os.getpid())
            if archive.getinfo(self.member).file_size > LARGEST_FILE:
                raise ValueError(
                    f'{self}: cannot be read as an image: it has more than {LARGEST_FILE} bytes'
                )
            return archive.read(self.member)
        except (
            OSError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            RuntimeError,
        ) as error:  # RuntimeError: encrypted, or an unknown compression
            raise ValueError(f'{self}: cannot be read from the zip file: {error}') from None


@functools.lru_cache(maxsize=4)
def _open_zip(path: str, process: int) -> zipfile.ZipFile:
    """By process: forked workers would share one file position."""
    return zipfile.ZipFile(path)


def _in_folder(root: Path, folder: Path) -> list[Picture]:
    return [
        Picture(name, str(root), Path(path).relative_to(root).as_posix())
        for name, path in list_pictures(folder).items()
    ]


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
        if (
            extension.lower() in EXTENSIONS
            and not file.startswith('.')
            and not member.startswith('__MACOSX/')
        ):
            folders.setdefault(folder, []).append(Picture(stem, str(path), member))
    return folders


def find_pictures(root: str | os.PathLike) -> dict[str, list[Picture]]:
    """The pictures of an input.

    Returns:
        {'train': [...], 'test': [...]} where folders trainA and testA, or train and test, lie in
        the input or one level below, otherwise {'': [...]}; by name.

    Raises:
        FileNotFoundError: the input does not exist.
        ValueError: it holds no pictures, or two that differ only by the ending.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f'{root.absolute()} does not exist')
    if root.is_dir():
        parents = (root, *sorted(entry for entry in root.iterdir() if entry.is_dir()))
        for layout, parent in itertools.product(SPLITS, parents):
            if all((parent / folder).is_dir() for folder in layout.values()):
                return {
                    split: _in_folder(root, parent / folder) for split, folder in layout.items()
                }
        return {'': _in_folder(root, root)}
    folders = _in_zip(root)
    splits = {'': [item for items in folders.values() for item in items]}
    for layout in SPLITS:
        found = {split: [item for path, items in folders.items() if posixpath.basename(path) == name for item in items]
                 for split, name in layout.items()}  # fmt: skip
        if all(found.values()):
            splits = found
            break
    for pictures in splits.values():
        if not pictures:
            raise ValueError(f'{root.absolute()} holds no pictures ({", ".join(EXTENSIONS)})')
        pictures.sort()
        for first, second in itertools.pairwise(pictures):
            if first.name == second.name:
                raise ValueError(
                    f'{first} and {second} have the same name; triplets could not be told apart'
                )
    return splits


def without(pictures: list[Picture], exclude: list[str]) -> list[Picture]:
    """The pictures but for those that `exclude` names, by stem or by file name."""
    return [
        item
        for item in pictures
        if item.name not in exclude and posixpath.basename(item.member) not in exclude
    ]


def fingerprint(picture: Picture) -> str | None:
    """A digest of size and pixels; None if the picture cannot be read (making its triplet will say
    why).
    """
    try:
        pixels = decode_picture(picture.read(), str(picture))
    except ValueError:
        return None
    return hashlib.sha256(
        repr((pixels.shape, pixels.dtype.str)).encode() + pixels.tobytes()
    ).hexdigest()


def hold_out(splits: dict[str, list[Picture]], every: int) -> dict[str, list[Picture]]:
    """Pictures that are not split yet: every `every`-th by name (the fifth, the tenth, ...) for
    testing, the others for training.
    """
    if '' not in splits:
        return splits
    pictures = splits['']
    if not 2 <= every <= len(pictures):
        raise ValueError(
            f'one picture in {every!r} cannot be held out of {len(pictures)}; expected a whole number from 2 to {len(pictures)}'
        )
    test = pictures[every - 1 :: every]
    return {'train': [picture for picture in pictures if picture not in test], 'test': test}


def twins(train: list[Picture], test: list[Picture], pool: Workers) -> dict[str, str]:
    """{name of a training picture: name of the test picture that has the same pixels}"""
    digests = list(pool.map(fingerprint, [*train, *test]))
    tested = {
        digest: picture.name for digest, picture in zip(digests[len(train) :], test) if digest
    }
    return {
        picture.name: tested[digest] for picture, digest in zip(train, digests) if digest in tested
    }


def _short_side(picture: Picture) -> int | None:
    try:
        with Image.open(io.BytesIO(picture.read()), formats=FORMATS) as image:
            return min(image.size)
    except Exception:  # whatever a damaged file makes Pillow raise; making its triplet will say why
        return None


def check_sides(pictures: list[Picture], side: int, why: str) -> None:
    """Raise a ValueError if pictures are smaller than side x side, before anything is made of them."""
    small = [
        (picture, found)
        for picture in pictures
        if (found := _short_side(picture)) is not None and found < side
    ]
    if small:
        picture, found = small[0]
        raise ValueError(
            f'{len(small)} of {len(pictures)} pictures are smaller than {side}x{side}, such as {picture} (side {found}): {why}'
        )
