"""What both data sets share: checked options, pictures in folders or LMDB, and the random generator
of a sample.
"""

import os
import re
from abc import ABC, abstractmethod
from typing import ClassVar

import cv2
import lmdb
import numpy as np
import torch
from basicsr.utils import FileClient
from torch.utils.data import Dataset, get_worker_info

from datasets_ext.crops import draw_augmentation
from datasets_ext.recipe import one_of
from hmaca_arch.config.kinds import Kind, wrong_value
from hmaca_arch.config.schema import PHASES
from hmaca_arch.degradation import Degradation
from hmaca_arch.files.images import decode_picture, list_pictures, read_file
from hmaca_arch.files.masks import Doubt, read_mask
from hmaca_arch.messages import refuse

MOST_PIXELS = (
    2**25
)  # of a sample (8192x4096): degrading it takes 120 bytes a pixel, and seconds a megapixel

_lmdb_clients: dict[str, tuple[tuple[int, int], FileClient]] = {}


class Folder:
    """Pictures in a folder, by stem."""

    def __init__(self, root: str) -> None:
        self.paths = list_pictures(root)

    def names(self) -> list[str]:
        return list(self.paths)

    def path(self, name: str) -> str:
        return self.paths[name]

    where = path

    def read(self, name: str) -> bytes:
        return read_file(self.paths[name])


class SingleFile:
    """One picture that stands for every name: one mask for a whole folder."""

    def __init__(self, path: str) -> None:
        self.file = path

    def path(self, name: str) -> str:
        return self.file

    where = path

    def read(self, name: str) -> bytes:
        return read_file(self.file)


class Lmdb:
    """Pictures in an LMDB folder as BasicSR's tools make them, by key.

    An environment can be opened only once in a process, so they are kept by path for all data sets.
    They are read-only and without locks: those a forked worker inherits work; spawned workers open
    their own.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        meta_info = os.path.join(root, 'meta_info.txt')
        if not root.rstrip('/\\').endswith('.lmdb') or not os.path.isfile(meta_info):
            raise ValueError(
                f'{os.path.abspath(root)} is not an LMDB of pictures: X.lmdb with data.mdb and meta_info.txt is expected'
            )
        self.keys = [line.split('.')[0] for line in read_lines(meta_info)]  # as BasicSR reads it

    def names(self) -> list[str]:
        return sorted(self.keys)

    def path(self, name: str) -> str:
        return name

    def where(self, name: str) -> str:
        return f'{self.root}: key {name}'

    def read(self, name: str) -> bytes:
        try:
            data = self._client().get(name, 'picture')
        except lmdb.Error as error:
            raise ValueError(f'{self.where(name)}: the database cannot be read: {error}') from None
        if data is None:
            raise ValueError(f'{self.where(name)}: listed in meta_info.txt but not in the database')
        return bytes(data)

    def _client(self) -> FileClient:
        status = os.stat(os.path.join(self.root, 'data.mdb'))
        path, identity = os.path.realpath(self.root), (status.st_dev, status.st_ino)
        if (
            path not in _lmdb_clients or _lmdb_clients[path][0] != identity
        ):  # the second: it was replaced meanwhile
            client = FileClient('lmdb', db_paths=path, client_keys='picture')
            environment = client.client._client['picture']
            if (
                status.st_size < (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
            ):  # reading beyond the end kills
                raise ValueError(f'{self.root}: data.mdb is cut short; make it again')
            _lmdb_clients[path] = (identity, client)
        return _lmdb_clients[path][1]


def open_source(opt: dict, key: str) -> Folder | SingleFile | Lmdb:
    """The pictures that `opt[key]` names.

    Raises:
        FileNotFoundError: it does not exist; with what `opt['prepare']` says about making it.
        ValueError: the key is missing, or what is there holds no pictures.
    """
    root = opt.get(key)
    if not root:
        raise ValueError(f'{opt.get("name", opt.get("type"))}: the option {key} is missing')
    root = os.fspath(root)
    if not os.path.exists(root):
        hint = f'; to prepare it: {opt["prepare"]}' if opt.get('prepare') else ''
        raise FileNotFoundError(f'{key}: {os.path.abspath(root)} does not exist{hint}')
    if opt.get('io_backend', {}).get('type') == 'lmdb':
        return Lmdb(root)
    if os.path.isfile(root):
        if key != 'dataroot_mask':
            raise ValueError(
                f'{key}: {os.path.abspath(root)} is a file, expected a folder of pictures'
            )
        return SingleFile(root)
    return Folder(root)


def read_lines(path: str) -> list[str]:
    """The lines of a text file that are not blank, stripped; a ValueError names it if it is no
    text.
    """
    with open(path, encoding='utf-8') as file:
        try:
            return [line.strip() for line in file if line.strip()]
        except UnicodeDecodeError as error:
            raise ValueError(f'{path}: is not text in UTF-8: {error}') from None


def read_meta_info(path: str) -> list[str]:
    """Stems of the pictures that a BasicSR meta info file lists: `0001.png (480,480,3)`, one a
    line.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'meta_info_file: {os.path.abspath(path)} does not exist')
    lines = [re.sub(r'\s+\(\d.*$', '', line) for line in read_lines(path)]
    return [os.path.splitext(os.path.basename(line))[0] for line in lines]


def refuse_missing(wanted: list[str], present, what: str) -> None:
    """Raise the ValueError that names the first few of the wanted names that are not present."""
    present = set(present)
    missing = [name for name in wanted if name not in present]
    if missing:
        more = f' and {len(missing) - 5} more' if len(missing) > 5 else ''
        raise ValueError(
            f'{what}: {len(missing)} of {len(wanted)} missing: {", ".join(missing[:5])}{more}'
        )


def check_pixels(picture: np.ndarray, where: str) -> None:
    """Raise a ValueError for a picture that would take all memory: a file of some kilobytes can
    hold 170 megapixels.
    """
    height, width = picture.shape[:2]
    if height * width > MOST_PIXELS:
        raise ValueError(
            f'{where}: {height}x{width} pixels (height x width) are too many for a sample, at most {MOST_PIXELS}; cut it in pieces'
        )


def read_sound_mask(data: bytes, where: str, soft: bool) -> np.ndarray:
    """Read a mask file, (h, w, 1), as `read_mask` does.

    Raises:
        ValueError: it cannot be read, or nobody would see in a training that it is not what was
            meant.
    """
    mask, notes = read_mask(data, soft, where)
    for note in notes:
        if note.doubt in (Doubt.ZERO_ONE, Doubt.FAINT):
            raise ValueError(f'{where}: {note.text}; save it with white for what is restored')
    return mask[..., None]


class MaskedDataset(Dataset, ABC):
    """Common half of the two data sets. `hmaca_arch.config.schema` says what their options mean
    (docs/options.md).

    A sample's number is `index.number` where the sampler provides it (an int that carries the
    position of the sample in the whole training run) and the index itself otherwise. Outside of
    training nothing is cropped or flipped.
    """

    option_kinds: ClassVar[dict[str, Kind]]

    def __init__(self, opt: dict) -> None:
        super().__init__()
        self.opt = opt
        name = opt.get('name', type(self).__name__)
        for key, value in opt.items():
            one_of(f'{name}: option', key, self.option_kinds)
            refuse(wrong_value(f'{name}: {key}', value, self.option_kinds[key]))
        one_of(f'{name}: phase', opt.get('phase'), PHASES)
        one_of(
            f'{name}: io_backend: type',
            opt.get('io_backend', {'type': 'disk'}).get('type'),
            ('disk', 'lmdb'),
        )
        self.gt_size = opt.get('gt_size') if opt['phase'] == 'train' else None
        self.min_mask_ratio = opt.get('min_mask_ratio', 0.5)
        self.channels = opt.get('channels', 3)
        self.seed = opt.get('seed', 0)
        self.use_hflip, self.use_rot = (
            bool(opt.get('use_hflip', False)),
            bool(opt.get('use_rot', False)),
        )
        self.names: list[str] = []

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict:
        """lq, gt (3, h, w) RGB, or (1, h, w) gray, and mask (1, h, w), float32 in [0, 1], mask 1 =
        restore; degradation (see
        `degradation.FIELDS`); lq_path, gt_path, mask_path (LMDB: the key)."""
        if get_worker_info() is not None:
            cv2.setNumThreads(0)  # the workers are the parallelism
        rng = np.random.default_rng((self.seed, int(getattr(index, 'number', index))))
        name = self.names[int(index)]
        lq, mask, gt, degradation, paths = self.triplet(name, rng)
        if self.opt['phase'] == 'train':
            if self.gt_size is not None and min(gt.shape[:2]) < self.gt_size:
                raise ValueError(
                    f'{paths["gt_path"]}: {gt.shape[0]}x{gt.shape[1]} pixels are too few for crops of gt_size {self.gt_size}'
                )
            augmentation = draw_augmentation(
                mask,
                rng,
                size=self.gt_size,
                min_mask_ratio=self.min_mask_ratio,
                use_hflip=self.use_hflip,
                use_rot=self.use_rot,
            )
            degradation = augmentation.of_degradation(degradation, mask)
            lq, mask, gt = augmentation(lq), augmentation(mask), augmentation(gt)
        return {
            'lq': to_tensor(lq, np.iinfo(lq.dtype).max),
            'gt': to_tensor(gt, np.iinfo(gt.dtype).max),
            'mask': to_tensor(mask, 1),
            'degradation': torch.from_numpy(degradation.vector()),
            **paths,
        }

    def decoded(self, data: bytes, where: str) -> np.ndarray:
        """An image file's content as (h, w, `channels`)."""
        image = decode_picture(data, where)
        return image if self.channels == 3 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]

    @abstractmethod
    def triplet(
        self, name: str, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Degradation, dict[str, str]]:
        """lq, mask, gt as (h, w, c): integers (8 or 16 bits), 0/1 or float in [0, 1]; what was done
        to lq; and the three paths.
        """


def to_tensor(image: np.ndarray, peak: float) -> torch.Tensor:
    """(h, w, c) with values up to `peak` -> (c, h, w) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)).div_(
        peak
    )
