"""The degradations of the authors' published code: protocol `release`.

It works on an image of twice the working size. The region is cut out and degraded by itself, the
image goes through JPEG, and image and ground truth are halved by an antialiased bilinear resize. lq
then differs from gt outside the region too. Protocol `clean`, which works at the working size and
without loss outside the region, is in `hmaca_arch.degradation.pixels`.

Images are (h, w, 3) RGB or (h, w, 1) grey uint8, masks (h, w, 1) bool. Each function returns a new
image of the same shape and type and leaves what lies outside the mask as it is.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torchvision.transforms.functional import resize as torchvision_resize

from datasets_ext.masks import components

RELEASE_CELLS = 4  # a region becomes 4x4 coloured cells
RELEASE_BLUR = (11, 2.0)  # kernel size, sigma
RELEASE_NOISE = 20.0


def _cut_and_paste(
    image: np.ndarray, mask: np.ndarray, change: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Change the bounding box of each connected region, cut out; keep it inside the region only."""
    result = image.copy()
    for top, left, height, width, inside in components(mask):
        box = result[top : top + height, left : left + width]
        cut = np.ascontiguousarray(image[top : top + height, left : left + width])
        box[...] = np.where(inside, change(cut), box)
    return result


def release_pixelate(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Shrink to 4x4 by INTER_LINEAR and enlarge again.

    That resize has no antialiasing: a cell is the mean of its middle 2x2 pixels only.
    """

    def change(cut: np.ndarray) -> np.ndarray:
        height, width = cut.shape[:2]
        cells = cv2.resize(
            cut,
            (min(width, RELEASE_CELLS), min(height, RELEASE_CELLS)),
            interpolation=cv2.INTER_LINEAR,
        )
        return cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST).reshape(
            cut.shape
        )

    return _cut_and_paste(image, mask, change)


def release_blur(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Blur by an 11x11 Gaussian that sees the cut-out region alone."""
    size, sigma = RELEASE_BLUR
    return _cut_and_paste(
        image, mask, lambda cut: cv2.GaussianBlur(cut, (size, size), sigma).reshape(cut.shape)
    )


def release_noise(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add noise of sigma 20, clip, then truncate to 8 bits: half a grey level darker on average."""
    noisy = np.clip(image + rng.normal(0.0, RELEASE_NOISE, image.shape), 0, 255).astype(np.uint8)
    return np.where(mask, noisy, image)


def release_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize by torchvision's antialiased bilinear filter, rounded as torchvision saves images."""
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255
    resized = torchvision_resize(tensor, [height, width], antialias=True)
    return np.ascontiguousarray(
        resized.mul(255).add(0.5).clamp(0, 255).byte().numpy().transpose(1, 2, 0)
    )


def release_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Mark every pixel into which `release_resize` carries anything from the region.

    A 40x40 region becomes 21 or 22 pixels wide, as it begins at an odd or an even pixel. The
    release's own masks came from JPEG files. Nearest neighbour would mark 20x20 and leave a
    degraded rim outside the mask.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(mask[None, ..., 0], dtype=np.float32))
    return (
        torchvision_resize(tensor, [height, width], antialias=True).numpy().transpose(1, 2, 0) > 0
    )


def square_of(image: np.ndarray, side: int) -> np.ndarray:
    """Return the central square, resized to side x side by the mean over areas.

    Raises:
        ValueError: the image is smaller than that; enlarged images have no detail to restore.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    if short < side:
        raise ValueError(
            f'the image is {height}x{width} (height x width), and {side}x{side} is needed'
        )
    top, left = (height - short) // 2, (width - short) // 2
    square = np.ascontiguousarray(image[top : top + short, left : left + short])
    if short == side:
        return square
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA).reshape(
        side, side, image.shape[2]
    )
