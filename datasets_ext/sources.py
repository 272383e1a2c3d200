"""Where data sets read their images: folders, single files and LMDBs."""

import hashlib
import os
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

import lmdb
import numpy as np
from basicsr.utils import FileClient

from hmaca_arch.files.masks import Doubt, read_mask
from hmaca_arch.files.reading import list_images, read_file

# The largest sample (8192x4096). Degrading takes 120 bytes a pixel and seconds a megapixel.
MOST_PIXELS = 2**25

_lmdb_clients: dict[str, tuple[tuple[int, int], FileClient]] = {}


class Source(ABC):
    """Images by name."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return all names, sorted."""

    @abstractmethod
    def path(self, name: str) -> str:
        """Return the path of an image, or its key in an LMDB."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Read an image's file or value; a ValueError names it if that fails."""

    def where(self, name: str) -> str:
        """Return what error messages call an image."""
        return self.path(name)


class Folder(Source):
    """Images in a folder, by stem."""

    def __init__(self, root: str) -> None:
        self.paths = list_images(root)

    def names(self) -> list[str]:
        """Return the stems of all images, sorted."""
        return list(self.paths)

    def path(self, name: str) -> str:
        """Return the path of an image."""
        return self.paths[name]

    def read(self, name: str) -> bytes:
        """Read the content of an image's file."""
        return read_file(self.paths[name])


class SingleFile(Source):
    """One image that stands for every name, such as one mask for a whole folder."""

    def __init__(self, path: str) -> None:
        self.file = path

    def names(self) -> list[str]:
        """Return no names: the other sources decide."""
        return []

    def path(self, name: str) -> str:
        """Return the file's path."""
        return self.file

    def read(self, name: str) -> bytes:
        """Read the file's content."""
        return read_file(self.file)


class Lmdb(Source):
    """Images in an LMDB folder as BasicSR's tools make them, by key.

    A process can open an LMDB only once, so open ones are kept for all data sets. They are
    read-only and without locks. Those that a forked worker inherits work; spawned workers open
    their own.

    Args:
        root: path of NAME.lmdb.

    Raises:
        ValueError: it is no such folder.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        meta_info = os.path.join(root, 'meta_info.txt')
        if not root.rstrip('/\\').endswith('.lmdb') or not os.path.isfile(meta_info):
            raise ValueError(
                f'{os.path.abspath(root)} is not an LMDB of images: '
                'X.lmdb with data.mdb and meta_info.txt is expected'
            )
        self.keys = [line.split('.')[0] for line in read_lines(meta_info)]  # as BasicSR reads it

    def names(self) -> list[str]:
        """Return all keys, sorted."""
        return sorted(self.keys)

    def path(self, name: str) -> str:
        """Return the key of an image."""
        return name

    def where(self, name: str) -> str:
        """Return what error messages call an image."""
        return f'{self.root}: key {name}'

    def read(self, name: str) -> bytes:
        """Read an image's value.

        Raises:
            ValueError: the database cannot be read, or lacks the key.
        """
        try:
            data = self._client().get(name, 'image')
        except lmdb.Error as error:
            raise ValueError(f'{self.where(name)}: the database cannot be read: {error}') from None
        if data is None:
            raise ValueError(f'{self.where(name)}: listed in meta_info.txt but not in the database')
        return bytes(data)

    def _client(self) -> FileClient:
        status = os.stat(os.path.join(self.root, 'data.mdb'))
        path, identity = os.path.realpath(self.root), (status.st_dev, status.st_ino)
        if path in _lmdb_clients and _lmdb_clients[path][0] == identity:
            return _lmdb_clients[path][1]
        client = FileClient('lmdb', db_paths=path, client_keys='image')
        environment = client.client._client['image']
        pages = environment.info()['last_pgno'] + 1
        if status.st_size < pages * environment.stat()['psize']:
            # Reading beyond the end of the file would kill the process.
            raise ValueError(f'{self.root}: data.mdb is cut short; make it again')
        _lmdb_clients[path] = (identity, client)
        return client


def open_source(opt: dict[str, Any], key: str) -> Source:
    """Open the images that `opt[key]` names.

    Args:
        opt: options of a data set.
        key: `dataroot_gt`, `dataroot_lq` or `dataroot_mask`. Only a mask may be a single file.

    Raises:
        FileNotFoundError: the path does not exist; the message includes `opt['prepare']`.
        ValueError: the key is missing, or there are no images.
    """
    if not opt.get(key):
        raise ValueError(f'{opt.get("name", opt.get("type"))}: the option {key} is missing')
    root = os.fspath(opt[key])
    if not os.path.exists(root):
        hint = f'; to prepare it: {opt["prepare"]}' if opt.get('prepare') else ''
        raise FileNotFoundError(f'{key}: {os.path.abspath(root)} does not exist{hint}')
    if opt.get('io_backend', {}).get('type') == 'lmdb':
        return Lmdb(root)
    if not os.path.isfile(root):
        return Folder(root)
    if key != 'dataroot_mask':
        raise ValueError(f'{key}: {os.path.abspath(root)} is a file, expected a folder of images')
    return SingleFile(root)


def read_lines(path: str) -> list[str]:
    """Read the lines of a UTF-8 text file that are not blank, stripped.

    Raises:
        ValueError: the file is no text.
    """
    with open(path, encoding='utf-8') as file:
        try:
            return [line.strip() for line in file if line.strip()]
        except UnicodeDecodeError as error:
            raise ValueError(f'{path}: is not text in UTF-8: {error}') from None


def read_meta_info(path: str) -> list[str]:
    """Read the stems of the images in a BasicSR meta info file.

    Each line names one image: `0001.png (480,480,3)`.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'meta_info_file: {os.path.abspath(path)} does not exist')
    lines = [re.sub(r'\s+\(\d.*$', '', line) for line in read_lines(path)]
    return [os.path.splitext(os.path.basename(line))[0] for line in lines]


def chosen_names(opt: dict[str, Any], names: list[str]) -> list[str]:
    """Return the names that `opt['meta_info_file']` lists, or all names of gt without one.

    Raises:
        ValueError: gt lacks a listed name.
    """
    if not opt.get('meta_info_file'):
        return names
    wanted = read_meta_info(opt['meta_info_file'])
    place = f'dataroot_gt ({opt["dataroot_gt"]}), as meta_info_file lists it'
    refuse_missing(wanted, names, place)
    return wanted


def refuse_missing(wanted: list[str], present: Collection[str], place: str) -> None:
    """Raise a ValueError that lists the first five wanted names that are not present."""
    present = set(present)
    missing = [name for name in wanted if name not in present]
    if missing:
        more = f' and {len(missing) - 5} more' if len(missing) > 5 else ''
        composed = {unicodedata.normalize('NFC', name) for name in present}
        hint = ''
        if any(unicodedata.normalize('NFC', name) in composed for name in missing):
            hint = '; files of this name are there, with accents stored in another way: rename them'
        raise ValueError(
            f'{place}: {len(missing)} of {len(wanted)} missing: '
            f'{", ".join(missing[:5])}{more}{hint}'
        )


def pixel_digest(pixels: np.ndarray) -> str:
    """Return a digest of an image's size, depth and pixels."""
    shape = repr((pixels.shape, pixels.dtype.str)).encode()
    return hashlib.sha256(shape + pixels.tobytes()).hexdigest()


def check_pixels(image: np.ndarray, where: str) -> None:
    """Raise a ValueError for an image (h, w, c) with more than MOST_PIXELS pixels.

    A file of some kilobytes can hold 170 megapixels and take all memory.
    """
    height, width = image.shape[:2]
    if height * width > MOST_PIXELS:
        raise ValueError(
            f'{where}: {height}x{width} pixels (height x width) are too many for a sample, '
            f'at most {MOST_PIXELS}; cut it in pieces'
        )


def read_sound_mask(data: bytes, where: str, soft: bool) -> np.ndarray:
    """Read a mask file as (h, w, 1), see `read_mask`.

    Raises:
        ValueError: the mask cannot be read, or is so dark that it marks nothing, or holds 0 and 1
            instead of 0 and 255. Restoring only warns about these; a training has no one to warn.
    """
    mask, notes = read_mask(data, soft, where)
    for note in notes:
        if note.doubt in (Doubt.ZERO_ONE, Doubt.FAINT):
            raise ValueError(f'{where}: {note.text}; save it with white for what is restored')
    return mask[..., None]
