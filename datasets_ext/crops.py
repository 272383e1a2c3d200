"""Random crops, flips and rotations: drawn once, applied to every picture of a triplet."""

from dataclasses import dataclass

import cv2
import numpy as np

from hmaca_arch.degradation import Degradation


def crop_position(
    mask: np.ndarray, size: int, min_mask_ratio: float, rng: np.random.Generator
) -> tuple[int, int]:
    """Draw where a size x size crop begins.

    The area of a mask is the sum of its values (so half-masked pixels of a soft mask count half). A
    position is valid if the crop holds at least `min_mask_ratio` times the area of the whole mask;
    every valid position is equally likely. If there is none (the region is larger than the crop, or
    several lie too far apart), the positions that hold the most are drawn from instead. An empty
    mask makes all valid.

    Args:
        mask: (h, w, 1), values in [0, 1], h and w >= size.
        size: side of the crop in pixels.
        min_mask_ratio: in [0, 1]; 0 ignores the mask.
        rng: where the randomness comes from.

    Returns:
        top, left.
    """
    height, width = mask.shape[:2]
    rows, columns = height - size + 1, width - size + 1
    if min_mask_ratio > 0:
        sums = cv2.integral(np.ascontiguousarray(mask[..., 0], dtype=np.float64))  # (h + 1, w + 1)
        areas = (
            sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
        )  # (rows, columns)
        needed = min(min_mask_ratio * sums[-1, -1], areas.max())
        valid = np.flatnonzero(areas >= needed - 1e-6 * max(1.0, needed))
        position = valid[rng.integers(len(valid))]
    else:
        position = rng.integers(rows * columns)
    return divmod(int(position), columns)


@dataclass(frozen=True)
class Augmentation:
    """A crop (size None: none), flips and a transposition; with both flips this is every rotation
    by 90 degrees.
    """

    top: int = 0
    left: int = 0
    size: int | None = None
    hflip: bool = False
    vflip: bool = False
    transpose: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(h, w, c) -> the cropped, flipped view of it."""
        if self.size is not None:
            image = image[self.top : self.top + self.size, self.left : self.left + self.size]
        if self.hflip:
            image = image[:, ::-1]
        if self.vflip:
            image = image[::-1]
        return image.swapaxes(0, 1) if self.transpose else image

    def of_degradation(self, degradation: Degradation, mask: np.ndarray) -> Degradation:
        """What holds of an image's degradation after this; mask (h, w, 1) is the whole image's."""
        size = mask.shape[:2] if self.size is None else (self.size, self.size)
        if self.size is not None:
            degradation = degradation.cropped(mask[..., 0] > 0, self.top, self.left, *size)
        if self.hflip:
            degradation = degradation.flipped(1, size[1])
        if self.vflip:
            degradation = degradation.flipped(0, size[0])
        return degradation.transposed() if self.transpose else degradation


def draw_augmentation(
    mask: np.ndarray,
    rng: np.random.Generator,
    *,
    size: int | None,
    min_mask_ratio: float,
    use_hflip: bool,
    use_rot: bool,
) -> Augmentation:
    """Draw one augmentation for a triplet. As in BasicSR, `use_rot` flips vertically and
    transposes, each with probability 1/2.
    """
    top, left = (0, 0) if size is None else crop_position(mask, size, min_mask_ratio, rng)
    hflip, vflip, transpose = rng.random(3) < 0.5
    return Augmentation(
        top,
        left,
        size,
        bool(use_hflip and hflip),
        bool(use_rot and vflip),
        bool(use_rot and transpose),
    )
