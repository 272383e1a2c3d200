"""Prepared (lq, mask, gt) triplets."""

import logging
from typing import Any

import numpy as np
from basicsr.utils.registry import DATASET_REGISTRY

from datasets_ext.manifest import read_degradations
from datasets_ext.masked_dataset import MaskedDataset, Triplet
from datasets_ext.sources import (
    Lmdb,
    SingleFile,
    check_pixels,
    chosen_names,
    open_source,
    read_sound_mask,
    refuse_missing,
)
from hmaca_arch.config.dataset_schema import DATASETS
from hmaca_arch.degradation import UNKNOWN
from hmaca_arch.messages import printable

JPEG_ENDINGS = ('.jpg', '.jpeg', '.jpe', '.jfif', '.mpo')


@DATASET_REGISTRY.register()
class MaskedPairedImageDataset(MaskedDataset):
    """Triplets from folders or LMDBs, matched by name whatever the files' endings.

    docs/options.md explains its options. The names of gt decide: each needs its lq and mask, and
    further files are ignored. The keys of the three LMDBs must agree. 8- and 16-bit images are
    scaled to [0, 1] at their own depth.

    Raises:
        FileNotFoundError: a folder is missing; the message says how to prepare it.
        ValueError: unknown options, missing files or keys; and, when a sample is read, damaged
            files or sizes that differ. One line each.
    """

    option_kinds = DATASETS['MaskedPairedImageDataset']

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.soft_mask = bool(opt.get('soft_mask', False))
        self.sources = {kind: open_source(opt, f'dataroot_{kind}') for kind in ('lq', 'mask', 'gt')}
        names = self.sources['gt'].names()
        if isinstance(self.sources['gt'], Lmdb):
            self._refuse_other_keys(names)
        self.names = chosen_names(opt, names)
        for kind in ('lq', 'mask'):
            source = self.sources[kind]
            if not isinstance(source, SingleFile):
                place = f'dataroot_{kind} ({opt[f"dataroot_{kind}"]}), for dataroot_gt'
                refuse_missing(self.names, source.names(), place)
        self.degradations = read_degradations(opt['dataroot_gt'])
        self._warn_of_jpeg_masks()

    def _refuse_other_keys(self, names: list[str]) -> None:
        """Raise a ValueError if the LMDBs of lq or mask have other keys than gt's."""
        for kind in ('lq', 'mask'):
            differing = sorted(set(names) ^ set(self.sources[kind].names()))
            if differing:
                more = ' ...' if len(differing) > 5 else ''
                raise ValueError(
                    f'dataroot_{kind} and dataroot_gt: {len(differing)} keys are in one LMDB only: '
                    f'{", ".join(differing[:5])}{more}'
                )

    def _warn_of_jpeg_masks(self) -> None:
        masks = self.sources['mask']
        lossy = [name for name in self.names if masks.path(name).lower().endswith(JPEG_ENDINGS)]
        if lossy:
            logging.getLogger('basicsr').warning(
                f'dataroot_mask: {len(lossy)} masks are JPEG files, e.g. {printable(lossy[0])}: '
                'JPEG blurs the edge of a mask, use PNG'
            )

    def triplet(self, name: str, rng: np.random.Generator) -> Triplet:
        """Read the triplet `name`."""
        data = {kind: source.read(name) for kind, source in self.sources.items()}
        where = {kind: source.where(name) for kind, source in self.sources.items()}
        lq, gt = (self.decode(data[kind], where[kind]) for kind in ('lq', 'gt'))
        check_pixels(gt, where['gt'])
        mask = read_sound_mask(data['mask'], where['mask'], self.soft_mask)
        height, width = gt.shape[:2]
        for kind, image in (('lq', lq), ('mask', mask)):
            if image.shape[:2] != (height, width):
                raise ValueError(
                    f'{where[kind]}: {image.shape[0]}x{image.shape[1]} pixels (height x width), '
                    f'but gt, {where["gt"]}, has {height}x{width}'
                )
        paths = {f'{kind}_path': source.path(name) for kind, source in self.sources.items()}
        return Triplet(lq, mask, gt, self.degradations.get(name, UNKNOWN), paths)
