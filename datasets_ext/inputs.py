"""The clean images that `make_dataset` starts from, in a folder or a zip file.

They may be split as trainA and testA (horse2zebra), as train and test, or not at all.
"""

import functools
import io
import itertools
import lzma
import os
import posixpath
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from datasets_ext.parallel import Workers
from datasets_ext.sources import pixel_digest
from hmaca_arch.files.images import decode_image
from hmaca_arch.files.opening import FORMATS
from hmaca_arch.files.reading import EXTENSIONS, LARGEST_FILE, list_images, read_file

# The first layout that is found counts.
SPLITS = ({'train': 'trainA', 'test': 'testA'}, {'train': 'train', 'test': 'test'})


class SourceImage(NamedTuple):
    """An image of the input.

    name: its stem, the triplet's name. root: the input, a folder or a zip file. member: its path
    below that, with forward slashes.
    """

    name: str
    root: str
    member: str

    def __str__(self) -> str:
        return os.path.join(self.root, *self.member.split('/'))

    @property
    def file_name(self) -> str:
        """Its name with the ending."""
        return posixpath.basename(self.member)

    def read(self) -> bytes:
        """Read the file; a ValueError names it if that fails."""
        if os.path.isdir(self.root):
            return read_file(str(self))
        try:
            archive = _open_zip(self.root, os.getpid())
            if archive.getinfo(self.member).file_size > LARGEST_FILE:
                raise ValueError(
                    f'{self}: cannot be read as an image: it has more than {LARGEST_FILE} bytes'
                )
            return archive.read(self.member)
        # RuntimeError: encrypted, or an unknown compression
        except (
            OSError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            RuntimeError,
        ) as error:
            raise ValueError(f'{self}: cannot be read from the zip file: {error}') from None


@functools.lru_cache(maxsize=4)
def _open_zip(path: str, process: int) -> zipfile.ZipFile:
    """Open a zip file once in each process: forked workers would share one file position."""
    return zipfile.ZipFile(path)


def _in_folder(root: Path, folder: Path) -> list[SourceImage]:
    return [
        SourceImage(name, str(root), Path(path).relative_to(root).as_posix())
        for name, path in list_images(folder).items()
    ]


def _in_zip(path: Path) -> dict[str, list[SourceImage]]:
    """Return {folder inside the zip file: its images}."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile as error:
        raise ValueError(f'{path} is neither a folder nor a readable zip file: {error}') from None
    folders: dict[str, list[SourceImage]] = {}
    for member in sorted(members):
        folder, file = posixpath.split(member)
        stem, extension = posixpath.splitext(file)
        hidden = file.startswith('.') or member.startswith('__MACOSX/')
        if extension.lower() in EXTENSIONS and not hidden:
            folders.setdefault(folder, []).append(SourceImage(stem, str(path), member))
    return folders


def find_images(root: str | os.PathLike) -> dict[str, list[SourceImage]]:
    """Find the images of an input.

    Returns:
        {'train': [...], 'test': [...]} where folders trainA and testA, or train and test, lie in
        the input or one level below, otherwise {'': [...]}; sorted by name.

    Raises:
        FileNotFoundError: the input does not exist.
        ValueError: it holds no images, or two that differ only by the ending.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f'{root.absolute()} does not exist')
    return _splits_of_folder(root) if root.is_dir() else _splits_of_zip(root)


def _splits_of_folder(root: Path) -> dict[str, list[SourceImage]]:
    parents = (root, *sorted(entry for entry in root.iterdir() if entry.is_dir()))
    for layout, parent in itertools.product(SPLITS, parents):
        if all((parent / folder).is_dir() for folder in layout.values()):
            return {split: _in_folder(root, parent / folder) for split, folder in layout.items()}
    return {'': _in_folder(root, root)}


def _splits_of_zip(root: Path) -> dict[str, list[SourceImage]]:
    folders = _in_zip(root)

    def images_of(name: str | None) -> list[SourceImage]:
        parts = [part for path, part in folders.items() if posixpath.basename(path) == name]
        return list(itertools.chain.from_iterable(folders.values() if name is None else parts))

    splits = {'': images_of(None)}
    for layout in SPLITS:
        found = {split: images_of(name) for split, name in layout.items()}
        if all(found.values()):
            splits = found
            break
    for images in splits.values():
        if not images:
            raise ValueError(f'{root.absolute()} holds no images ({", ".join(EXTENSIONS)})')
        images.sort()
        for first, second in itertools.pairwise(images):
            if first.name == second.name:
                raise ValueError(
                    f'{first} and {second} have the same name; triplets could not be told apart'
                )
    return splits


def without(
    splits: dict[str, list[SourceImage]], excluded: Collection[str], source: str | os.PathLike
) -> dict[str, list[SourceImage]]:
    """Leave out the images that `excluded` names, by stem or by file name.

    Raises:
        ValueError: `source` has no image of such a name.
    """
    images = list(itertools.chain.from_iterable(splits.values()))
    known = {image.name for image in images} | {image.file_name for image in images}
    for name in excluded:
        if name not in known:
            raise ValueError(f'--exclude {name}: there is no such image in {source}')
    return {
        split: [
            image
            for image in part
            if image.name not in excluded and image.file_name not in excluded
        ]
        for split, part in splits.items()
    }


def hold_out(splits: dict[str, list[SourceImage]], every: int) -> dict[str, list[SourceImage]]:
    """Hold out every Nth image by name for testing. Images that are split already stay so.

    Raises:
        ValueError: `every` is less than 2, or more than there are images.
    """
    if '' not in splits:
        return splits
    images = splits['']
    if not 2 <= every <= len(images):
        raise ValueError(
            f'one image in {every!r} cannot be held out of {len(images)}; '
            f'expected a whole number from 2 to {len(images)}'
        )
    test = images[every - 1 :: every]
    return {'train': [image for image in images if image not in test], 'test': test}


def _digest(image: SourceImage) -> str | None:
    """Return the image's digest; None if it cannot be read, which making its triplet reports."""
    try:
        return pixel_digest(decode_image(image.read(), str(image)))
    except ValueError:
        return None


def find_twins(train: list[SourceImage], test: list[SourceImage], pool: Workers) -> dict[str, str]:
    """Return {name of a training image: name of the test image with the same pixels}."""
    digests = list(pool.map(_digest, [*train, *test]))
    tested = {digest: image.name for digest, image in zip(digests[len(train) :], test) if digest}
    return {image.name: tested[digest] for image, digest in zip(train, digests) if digest in tested}


def _short_side(image: SourceImage) -> float:
    try:
        with Image.open(io.BytesIO(image.read()), formats=FORMATS) as opened:
            return min(opened.size)
    # Of a damaged file Pillow raises almost anything. Making its triplet reports it.
    except Exception:
        return float('inf')


def check_sides(images: list[SourceImage], side: int, reason: str) -> None:
    """Raise a ValueError if images are smaller than side x side pixels."""
    sides = {image: _short_side(image) for image in images}
    small = [image for image in images if sides[image] < side]
    if small:
        raise ValueError(
            f'{len(small)} of {len(images)} images are smaller than {side}x{side}, '
            f'such as {small[0]} (side {sides[small[0]]}): {reason}'
        )
