"""PSNR and SSIM of a restored region, called as BasicSR calls metrics.

All of them take:

- `img`, `img2` and `lq`: the restored image, the ground truth and the degraded image, BGR, uint8 or
  float in [0, 255], laid out as `input_order`;
- `mask`: (h, w) or (h, w, 1), 1 (or 255) in the restored region;
- `crop_border`: pixels at each side that are not measured;
- `input_order`: 'HWC' or 'CHW';
- `test_y_channel`: measure luma only;
- other arguments, which are ignored, as BasicSR's own metrics do.
"""

from typing import Any, Literal

import numpy as np
from basicsr.metrics.metric_util import reorder_image, to_y_channel
from basicsr.utils.registry import METRIC_REGISTRY
from scipy.ndimage import distance_transform_edt
from skimage.metrics import structural_similarity

from hmaca_arch.compositing import composite_image, unit_mask

Order = Literal['HWC', 'CHW']
WINDOW = 11  # side of SSIM's window, in pixels


def _prepare(
    img: np.ndarray,
    img2: np.ndarray,
    lq: np.ndarray,
    mask: np.ndarray,
    crop_border: int,
    input_order: str,
    test_y_channel: bool,
    paste: str = 'lq',
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paste `img` into lq or img2 as `paste` says; crop, and convert to luma, as asked.

    Returns:
        The composite and img2, (h, w, c) float64 in [0, 255]; and the mask, (h, w, 1) in [0, 1].

    Raises:
        ValueError: the sizes do not agree.
    """
    images = [
        reorder_image(np.asarray(image), input_order=input_order).astype(np.float64)
        for image in (img, img2, lq)
    ]
    shapes = {image.shape for image in images}
    if len(shapes) > 1 or mask is None or np.shape(mask)[:2] != images[0].shape[:2]:
        mask_shape = None if mask is None else np.shape(mask)
        raise ValueError(
            f'masked metric: images {sorted(shapes)} and mask {mask_shape} do not agree'
        )
    mask = unit_mask(mask).reshape(*images[0].shape[:2], 1)
    if crop_border:
        inner = slice(crop_border, -crop_border)
        images, mask = [image[inner, inner] for image in images], mask[inner, inner]
    if test_y_channel:
        images = [to_y_channel(image) for image in images]
    img, img2, lq = images
    return composite_image(img, lq if paste == 'lq' else img2, mask), img2, mask


def _psnr(mse: float) -> float:
    return float('inf') if mse == 0 else float(10 * np.log10(255.0**2 / mse))


def _weighted_psnr(img: np.ndarray, img2: np.ndarray, weights: np.ndarray) -> float:
    """Return the PSNR of the weighted mean square error; nan if all weights (h, w, 1) are 0."""
    if not weights.any():
        return float('nan')
    error = (img - img2) ** 2
    return _psnr((weights * error).sum() / (weights.sum() * error.shape[2]))


@METRIC_REGISTRY.register()
def calculate_composite_psnr(
    img: np.ndarray,
    img2: np.ndarray,
    lq: np.ndarray,
    mask: np.ndarray,
    crop_border: int = 0,
    input_order: Order = 'HWC',
    test_y_channel: bool = False,
    paste: Literal['lq', 'gt'] = 'lq',
    **kwargs: Any,
) -> float:
    """Compute the PSNR of the whole image, with `paste` outside the mask.

    Arguments as at the top of this file. `paste` is 'lq' in the paper's text, which is what users
    see. 'gt' is what the authors' release measures. It is needed where lq differs from gt outside
    the region, as under the protocol `release`.

    Returns:
        PSNR in dB; inf for a perfect image.

    Raises:
        ValueError: the sizes do not agree, or `paste` is unknown.
    """
    if paste not in ('lq', 'gt'):
        raise ValueError(f'calculate_composite_psnr: paste is {paste!r}, expected lq or gt')
    pasted, img2, _ = _prepare(img, img2, lq, mask, crop_border, input_order, test_y_channel, paste)
    return _psnr(float(np.mean((pasted - img2) ** 2)))


@METRIC_REGISTRY.register()
def calculate_masked_psnr(
    img: np.ndarray,
    img2: np.ndarray,
    lq: np.ndarray,
    mask: np.ndarray,
    crop_border: int = 0,
    input_order: Order = 'HWC',
    test_y_channel: bool = False,
    **kwargs: Any,
) -> float:
    """Compute the PSNR of the masked pixels, weighted by the mask's values.

    Arguments as at the top of this file.

    Returns:
        PSNR in dB; inf if the masked pixels are perfect, nan if there are none.

    Raises:
        ValueError: the sizes do not agree.
    """
    pasted, img2, mask = _prepare(img, img2, lq, mask, crop_border, input_order, test_y_channel)
    return _weighted_psnr(pasted, img2, mask)


@METRIC_REGISTRY.register()
def calculate_boundary_psnr(
    img: np.ndarray,
    img2: np.ndarray,
    lq: np.ndarray,
    mask: np.ndarray,
    crop_border: int = 0,
    input_order: Order = 'HWC',
    test_y_channel: bool = False,
    width: float = 8,
    **kwargs: Any,
) -> float:
    """Compute the PSNR of the masked pixels next to the edge of the region, where seams are.

    Arguments as at the top of this file. `width` is the largest distance to a pixel outside the
    region, in pixels (Euclidean).

    Returns:
        PSNR in dB; nan if there are no such pixels. That is so for an empty mask, and for one that
        covers the whole image: the image's border is no edge of the region.

    Raises:
        ValueError: the sizes do not agree.
    """
    pasted, img2, mask = _prepare(img, img2, lq, mask, crop_border, input_order, test_y_channel)
    inside = mask[..., 0] > 0
    if inside.all():
        return float('nan')
    band = mask * (distance_transform_edt(inside) <= width)[..., None]
    return _weighted_psnr(pasted, img2, band)


@METRIC_REGISTRY.register()
def calculate_masked_ssim(
    img: np.ndarray,
    img2: np.ndarray,
    lq: np.ndarray,
    mask: np.ndarray,
    crop_border: int = 0,
    input_order: Order = 'HWC',
    test_y_channel: bool = False,
    **kwargs: Any,
) -> float:
    """Compute the SSIM of the composite, averaged over the masked pixels.

    It uses an 11x11 Gaussian window with sigma 1.5 and a reflected border. At the region's edge the
    window includes the untouched surroundings. That is intended: seams count.

    Arguments as at the top of this file.

    Returns:
        SSIM; nan if there are no masked pixels.

    Raises:
        ValueError: the sizes do not agree, or the image is smaller than the window.
    """
    pasted, img2, mask = _prepare(img, img2, lq, mask, crop_border, input_order, test_y_channel)
    if not mask.any():
        return float('nan')
    height, width = img2.shape[:2]
    if min(height, width) < WINDOW:
        raise ValueError(
            f'calculate_masked_ssim: an image of {height}x{width} is smaller than the '
            f'{WINDOW}x{WINDOW} window'
        )
    _, similarity = structural_similarity(
        pasted,
        img2,
        channel_axis=2,
        data_range=255,
        full=True,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float((mask * similarity).sum() / (mask.sum() * similarity.shape[2]))
