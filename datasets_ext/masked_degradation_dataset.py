"""Triplets made on the fly from clean pictures."""

import numpy as np
from basicsr.utils.registry import DATASET_REGISTRY

from datasets_ext.recipe import Recipe, degradation_of
from datasets_ext.sources import (
    MaskedDataset,
    check_pixels,
    open_source,
    read_meta_info,
    refuse_missing,
)
from hmaca_arch.config.schema import DATASETS
from hmaca_arch.degradation import UNKNOWN, Degradation
from hmaca_arch.files.images import to_8_bit

RECIPE_KEYS = (
    'protocol',
    'degradation',
    'degradation_count',
    'region',
    'region_size',
    'size',
    'jpeg',
    'compression',
    'unknown',
)


@DATASET_REGISTRY.register()
class MaskedDegradationDataset(MaskedDataset):
    """Clean pictures from a folder or LMDB, degraded in a random region at each visit.

    `schema.DATASETS` and `recipe.Recipe` say what its options mean (docs/options.md). 16-bit
    pictures are rounded to 8 bits.

    The triplet is made on the whole picture (of `size`), then cropped: regions lie anywhere, and
    blur sees its surroundings. lq_path and mask_path are the clean picture's path.

    Raises:
        FileNotFoundError, ValueError: as for `MaskedPairedImageDataset`.
    """

    option_kinds = DATASETS['MaskedDegradationDataset']

    def __init__(self, opt: dict) -> None:
        super().__init__(opt)
        self.recipe, self.hidden = self.check(opt), opt.get('unknown', 0)
        self.source = open_source(opt, 'dataroot_gt')
        self.names = self.source.names()
        if opt.get('meta_info_file'):
            wanted = read_meta_info(opt['meta_info_file'])
            refuse_missing(
                wanted,
                self.names,
                f'dataroot_gt ({opt["dataroot_gt"]}), as meta_info_file lists it',
            )
            self.names = wanted

    @staticmethod
    def check(opt: dict) -> Recipe:
        """The options' recipe; a ValueError names the setting that cannot work."""
        return Recipe(**{key: opt[key] for key in RECIPE_KEYS if key in opt and key != 'unknown'})

    def triplet(
        self, name: str, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Degradation, dict[str, str]]:
        where = self.source.where(name)
        picture = to_8_bit(self.decoded(self.source.read(name), where))
        if self.recipe.size is None:
            check_pixels(picture, where)
        try:
            lq, mask, gt, record = self.recipe(picture, rng)
            record['protocol'] = self.recipe.protocol
        except ValueError as error:
            raise ValueError(f'{where}: {error}') from None
        path = self.source.path(name)
        hidden = self.hidden > 0 and rng.random() < self.hidden
        return (
            lq,
            mask,
            gt,
            UNKNOWN if hidden else degradation_of(record),
            {'lq_path': path, 'gt_path': path, 'mask_path': path},
        )
