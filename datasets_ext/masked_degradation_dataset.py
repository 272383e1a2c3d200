"""Triplets made on the fly from clean images."""

from typing import Any

import numpy as np
from basicsr.utils.registry import DATASET_REGISTRY

from datasets_ext.manifest import degradation_of
from datasets_ext.masked_dataset import MaskedDataset, Triplet
from datasets_ext.recipe import Recipe
from datasets_ext.sources import check_pixels, chosen_names, open_source
from hmaca_arch.config.dataset_schema import DATASETS
from hmaca_arch.degradation import UNKNOWN
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
)


@DATASET_REGISTRY.register()
class MaskedDegradationDataset(MaskedDataset):
    """Clean images from a folder or LMDB, degraded in a random region at each visit.

    docs/options.md explains its options. 16-bit images are rounded to 8 bits. The triplet is made
    on the whole image (of `size`), then cropped: regions lie anywhere, and blur sees their
    surroundings. lq_path and mask_path are the clean image's path.

    Raises:
        FileNotFoundError, ValueError: as for `MaskedPairedImageDataset`.
    """

    option_kinds = DATASETS['MaskedDegradationDataset']

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.recipe, self.unknown = self.check(opt), opt.get('unknown', 0)
        self.source = open_source(opt, 'dataroot_gt')
        self.names = chosen_names(opt, self.source.names())

    @staticmethod
    def check(opt: dict[str, Any]) -> Recipe:
        """Return the recipe of the options; a ValueError names the setting that cannot work."""
        return Recipe(**{key: opt[key] for key in RECIPE_KEYS if key in opt})

    def triplet(self, name: str, rng: np.random.Generator) -> Triplet:
        """Make a triplet from the clean image `name`."""
        where = self.source.where(name)
        image = to_8_bit(self.decode(self.source.read(name), where))
        if self.recipe.size is None:
            check_pixels(image, where)
        try:
            lq, mask, gt, record = self.recipe(image, rng)
        except ValueError as error:
            raise ValueError(f'{where}: {error}') from None
        degradation = degradation_of(record | {'protocol': self.recipe.protocol})
        if self.unknown > 0 and rng.random() < self.unknown:
            degradation = UNKNOWN
        path = self.source.path(name)
        paths = {'lq_path': path, 'gt_path': path, 'mask_path': path}
        return Triplet(lq, mask, gt, degradation, paths)
