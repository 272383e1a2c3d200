"""Random crops, flips and rotations: drawn once, applied to every image of a triplet."""

from dataclasses import dataclass

import cv2
import numpy as np

from hmaca_arch.degradation import Degradation


def crop_position(
    mask: np.ndarray, size: int, min_mask_ratio: float, rng: np.random.Generator
) -> tuple[int, int]:
    """Draw the top left corner of a size x size crop.

    The area of a mask is the sum of its values. A position is valid if the crop holds at least
    `min_mask_ratio` times the area of the whole mask. All valid positions are equally likely. If
    there is none, because the region is larger than the crop or in several parts, the positions
    with the largest area are drawn from. With an empty mask every position is valid.

    Args:
        mask: (h, w, 1), values in [0, 1], h and w >= size.
        size: side of the crop in pixels.
        min_mask_ratio: in [0, 1]; 0 ignores the mask.
        rng: the source of randomness.

    Returns:
        top, left.
    """
    height, width = mask.shape[:2]
    rows, columns = height - size + 1, width - size + 1
    if min_mask_ratio > 0:
        sums = cv2.integral(np.ascontiguousarray(mask[..., 0], dtype=np.float64))  # (h + 1, w + 1)
        lower, upper = sums[size:], sums[:-size]
        areas = lower[:, size:] - upper[:, size:] - lower[:, :-size] + upper[:, :-size]
        needed = min(min_mask_ratio * sums[-1, -1], areas.max())
        valid = np.flatnonzero(areas >= needed - 1e-6 * max(1.0, needed))
        position = valid[rng.integers(len(valid))]
    else:
        position = rng.integers(rows * columns)
    top, left = divmod(int(position), columns)
    return top, left


@dataclass(frozen=True)
class Augmentation:
    """A crop, flips and a transposition. Both flips together give every rotation by 90 degrees.

    Args:
        top: first row of the crop.
        left: first column of the crop.
        size: side of the crop in pixels; None: no crop.
        hflip: mirror left and right.
        vflip: mirror top and bottom.
        transpose: swap rows and columns, after the flips.
    """

    top: int = 0
    left: int = 0
    size: int | None = None
    hflip: bool = False
    vflip: bool = False
    transpose: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return an image (h, w, c) cropped and flipped, as a view."""
        if self.size is not None:
            image = image[self.top : self.top + self.size, self.left : self.left + self.size]
        if self.hflip:
            image = image[:, ::-1]
        if self.vflip:
            image = image[::-1]
        return image.swapaxes(0, 1) if self.transpose else image

    def of_degradation(self, degradation: Degradation, mask: np.ndarray) -> Degradation:
        """Return the degradation of the augmented image; `mask` (h, w, 1) is the whole image's."""
        height, width = mask.shape[:2]
        if self.size is not None:
            height = width = self.size
            region = mask[..., 0] > 0
            degradation = degradation.cropped(region, self.top, self.left, height, width)
        if self.hflip:
            degradation = degradation.flipped(1, width)
        if self.vflip:
            degradation = degradation.flipped(0, height)
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
    """Draw one augmentation for a triplet.

    Args:
        mask: (h, w, 1), values in [0, 1].
        rng: the source of randomness.
        size: side of the crop in pixels; None: no crop.
        min_mask_ratio: see `crop_position`.
        use_hflip: flip horizontally with probability 1/2.
        use_rot: as in BasicSR, flip vertically and transpose, each with probability 1/2.
    """
    top, left = (0, 0) if size is None else crop_position(mask, size, min_mask_ratio, rng)
    hflip, vflip, transpose = (bool(value < 0.5) for value in rng.random(3))
    return Augmentation(
        top, left, size, use_hflip and hflip, use_rot and vflip, use_rot and transpose
    )
