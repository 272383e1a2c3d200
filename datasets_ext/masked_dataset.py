"""The base class of both data sets: checked options, cropped samples, their random generators."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from datasets_ext.crops import draw_augmentation
from datasets_ext.recipe_settings import require_one_of
from hmaca_arch.config.dataset_schema import PHASES
from hmaca_arch.config.kinds import Kind, wrong_value
from hmaca_arch.degradation import Degradation
from hmaca_arch.files.images import decode_image
from hmaca_arch.messages import refuse


class Triplet(NamedTuple):
    """One sample before augmentation.

    lq and gt: (h, w, c), uint8 or uint16. mask: (h, w, 1), 0 and 1 or float in [0, 1].
    degradation: of lq. paths: lq_path, gt_path and mask_path; an LMDB's are its keys.
    """

    lq: np.ndarray
    mask: np.ndarray
    gt: np.ndarray
    degradation: Degradation
    paths: dict[str, str]


class MaskedDataset(Dataset, ABC):
    """What both data sets share. docs/options.md explains their options.

    A sample's random generator starts from the seed and the sample's number. The number is
    `index.number` where the sampler provides it, the position in the whole training, and the index
    itself otherwise. Outside of training nothing is cropped or flipped.
    """

    option_kinds: ClassVar[dict[str, Kind]]

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        name = opt.get('name', type(self).__name__)
        for key, value in opt.items():
            require_one_of(f'{name}: option', key, self.option_kinds)
            refuse(wrong_value(f'{name}: {key}', value, self.option_kinds[key]))
        require_one_of(f'{name}: phase', opt.get('phase'), PHASES)
        backend = opt.get('io_backend', {'type': 'disk'}).get('type')
        require_one_of(f'{name}: io_backend: type', backend, ('disk', 'lmdb'))
        self.is_training = opt['phase'] == 'train'
        self.gt_size = opt.get('gt_size') if self.is_training else None
        self.channels = opt.get('channels', 3)
        self.seed = opt.get('seed', 0)
        self.names: list[str] = []

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample.

        Returns:
            lq and gt (3, h, w) RGB or (1, h, w) gray, and mask (1, h, w), 1 = restore: float32 in
            [0, 1]. degradation: a vector, see `degradation.FIELDS`. lq_path, gt_path, mask_path.
        """
        if get_worker_info() is not None:
            cv2.setNumThreads(0)  # the workers are the parallelism
        rng = np.random.default_rng((self.seed, int(getattr(index, 'number', index))))
        sample = self.triplet(self.names[int(index)], rng)
        if self.is_training:
            sample = self.augmented(sample, rng)
        lq, mask, gt, degradation, paths = sample
        return {
            'lq': to_tensor(lq, np.iinfo(lq.dtype).max),
            'gt': to_tensor(gt, np.iinfo(gt.dtype).max),
            'mask': to_tensor(mask, 1),
            'degradation': torch.from_numpy(degradation.vector()),
            **paths,
        }

    def augmented(self, sample: Triplet, rng: np.random.Generator) -> Triplet:
        """Crop and flip a triplet.

        Raises:
            ValueError: the images are smaller than the crop.
        """
        lq, mask, gt, degradation, paths = sample
        if self.gt_size is not None and min(gt.shape[:2]) < self.gt_size:
            raise ValueError(
                f'{paths["gt_path"]}: {gt.shape[0]}x{gt.shape[1]} pixels are too few '
                f'for crops of gt_size {self.gt_size}'
            )
        augment = draw_augmentation(
            mask,
            rng,
            size=self.gt_size,
            min_mask_ratio=self.opt.get('min_mask_ratio', 0.5),
            use_hflip=bool(self.opt.get('use_hflip')),
            use_rot=bool(self.opt.get('use_rot')),
        )
        degradation = augment.of_degradation(degradation, mask)
        return Triplet(augment(lq), augment(mask), augment(gt), degradation, paths)

    def decode(self, data: bytes, where: str) -> np.ndarray:
        """Decode an image file to (h, w, `channels`), uint8 or uint16.

        Raises:
            ValueError: in one line that starts with `where`.
        """
        image = decode_image(data, where)
        return image if self.channels == 3 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]

    @abstractmethod
    def triplet(self, name: str, rng: np.random.Generator) -> Triplet:
        """Return the triplet `name`, not yet augmented."""


def to_tensor(image: np.ndarray, peak: float) -> torch.Tensor:
    """Turn (h, w, c) with values up to `peak` into (c, h, w) float32 in [0, 1]."""
    values = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    return torch.from_numpy(values).div_(peak)
