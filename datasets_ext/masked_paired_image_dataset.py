"""Prepared (lq, mask, gt) triplets."""

import logging

import numpy as np
from basicsr.utils.registry import DATASET_REGISTRY

from datasets_ext.recipe import read_degradations
from datasets_ext.sources import (
    Lmdb,
    MaskedDataset,
    SingleFile,
    check_pixels,
    open_source,
    read_meta_info,
    read_sound_mask,
    refuse_missing,
)
from hmaca_arch.config.schema import DATASETS
from hmaca_arch.degradation import UNKNOWN, Degradation
from hmaca_arch.messages import printable


@DATASET_REGISTRY.register()
class MaskedPairedImageDataset(MaskedDataset):
    """Triplets from folders or LMDB, matched by name whatever the files' endings.

    `schema.DATASETS` says what its options mean (docs/options.md).

    gt's names decide: every one needs its lq and mask; further files are ignored. The three LMDBs'
    keys must agree. 8- and 16-bit pictures are scaled to [0, 1] at their own depth.

    Raises:
        FileNotFoundError: a folder is missing; with its option, its absolute path and how to
            prepare it.
        ValueError: unknown options, missing files or keys; and, when an item is read, damaged files
            or sizes that differ. One line each.
    """

    option_kinds = DATASETS['MaskedPairedImageDataset']

    def __init__(self, opt: dict) -> None:
        super().__init__(opt)
        self.soft_mask = bool(opt.get('soft_mask', False))
        self.sources = {kind: open_source(opt, f'dataroot_{kind}') for kind in ('lq', 'mask', 'gt')}
        names = self.sources['gt'].names()
        if isinstance(self.sources['gt'], Lmdb):
            for kind in ('lq', 'mask'):
                differing = sorted(set(names) ^ set(self.sources[kind].names()))
                if differing:
                    raise ValueError(
                        f'dataroot_{kind} and dataroot_gt: {len(differing)} keys are in one LMDB only: {", ".join(differing[:5])}'
                        + (' ...' if len(differing) > 5 else '')
                    )
        if opt.get('meta_info_file'):
            wanted = read_meta_info(opt['meta_info_file'])
            refuse_missing(
                wanted, names, f'dataroot_gt ({opt["dataroot_gt"]}), as meta_info_file lists it'
            )
            names = wanted
        for kind in ('lq', 'mask'):
            if not isinstance(self.sources[kind], SingleFile):
                refuse_missing(
                    names,
                    self.sources[kind].names(),
                    f'dataroot_{kind} ({opt[f"dataroot_{kind}"]}), for dataroot_gt',
                )
        self.names = names
        self.degradations = read_degradations(opt['dataroot_gt'])
        lossy = [
            name
            for name in names
            if self.sources['mask']
            .path(name)
            .lower()
            .endswith(('.jpg', '.jpeg', '.jpe', '.jfif', '.mpo'))
        ]
        if lossy:
            logging.getLogger('basicsr').warning(
                f'dataroot_mask: {len(lossy)} masks are JPEG files, e.g. {printable(lossy[0])}: JPEG blurs the edge of a mask, use PNG'
            )

    def triplet(
        self, name: str, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Degradation, dict[str, str]]:
        lq, gt = (
            self.decoded(self.sources[kind].read(name), self.sources[kind].where(name))
            for kind in ('lq', 'gt')
        )
        check_pixels(gt, self.sources['gt'].where(name))
        mask_source = self.sources['mask']
        mask = read_sound_mask(mask_source.read(name), mask_source.where(name), self.soft_mask)
        for kind, image in (('lq', lq), ('mask', mask)):
            if image.shape[:2] != gt.shape[:2]:
                sizes = [f'{height}x{width}' for height, width in (image.shape[:2], gt.shape[:2])]
                where = [self.sources[key].where(name) for key in (kind, 'gt')]
                raise ValueError(
                    f'{where[0]}: {sizes[0]} pixels (height x width), but gt, {where[1]}, has {sizes[1]}'
                )
        degradation = self.degradations.get(name, UNKNOWN)
        return (
            lq,
            mask,
            gt,
            degradation,
            {f'{kind}_path': self.sources[kind].path(name) for kind in ('lq', 'gt', 'mask')},
        )
