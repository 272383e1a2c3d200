"""PSNR and SSIM of a restored region, in BasicSR's calling convention.

Common arguments: `img` (the restored picture), `img2` (ground truth) and `lq` (degraded picture),
uint8 or float in [0, 255], BGR, laid out as `input_order` says; `mask` (h, w) or (h, w, 1), 1 (or
255) = restored region. What BasicSR passes besides is ignored, as its own metrics do.
"""

from typing import Literal

import numpy as np
from basicsr.metrics.metric_util import reorder_image, to_y_channel
from basicsr.utils.registry import METRIC_REGISTRY
from scipy.ndimage import distance_transform_edt
from skimage.metrics import structural_similarity

from hmaca_arch.compositing import composite_image, unit_mask

Order = Literal['HWC', 'CHW']


def _prepare(
    images: list[np.ndarray],
    mask: np.ndarray,
    crop_border: int,
    input_order: str,
    test_y_channel: bool,
):
    """Lay pictures out as (h, w, c) float64 in [0, 255], crop, convert to luma if asked; the mask
    as (h, w, 1) in [0, 1].
    """
    images = [
        reorder_image(np.asarray(image), input_order=input_order).astype(np.float64)
        for image in images
    ]
    shapes = {image.shape for image in images}
    if len(shapes) > 1 or mask is None or np.shape(mask)[:2] != images[0].shape[:2]:
        raise ValueError(
            f'masked metric: pictures {sorted(shapes)} and mask {None if mask is None else np.shape(mask)} do not agree'
        )
    mask = unit_mask(mask).reshape(*images[0].shape[:2], 1)
    if crop_border:
        inner = slice(crop_border, -crop_border)
        images, mask = [image[inner, inner] for image in images], mask[inner, inner]
    if test_y_channel:
        images = [to_y_channel(image) for image in images]
    return images, mask


def _psnr(mse: float) -> float:
    return float('inf') if mse == 0 else float(10 * np.log10(255.0**2 / mse))


def _weighted_psnr(img: np.ndarray, img2: np.ndarray, weights: np.ndarray) -> float:
    """PSNR of the weighted mean square error; weights (h, w, 1). nan if they are all 0."""
    error = (img - img2) ** 2
    return (
        _psnr((weights * error).sum() / (weights.sum() * error.shape[2]))
        if weights.any()
        else float('nan')
    )


@METRIC_REGISTRY.register()
def calculate_composite_psnr(
    img,
    img2,
    lq,
    mask,
    crop_border: int = 0,
    input_order: Order = 'HWC',
    test_y_channel: bool = False,
    paste: Literal['lq', 'gt'] = 'lq',
    **kwargs,
) -> float:
    """PSNR in dB over the whole picture after `paste` replaced everything outside the mask; inf for
    a perfect picture.

    `paste='lq'` is the paper's text (and what its users see); `paste='gt'` is what the authors'
    release measures: needed where lq differs from gt outside the region, as under the protocol
    `release`.

    Raises:
        ValueError: sizes that do not agree, or an unknown `paste`.
    """
    if paste not in ('lq', 'gt'):
        raise ValueError(f'calculate_composite_psnr: paste is {paste!r}, expected lq or gt')
    (img, img2, lq), mask = _prepare(
        [img, img2, lq], mask, crop_border, input_order, test_y_channel
    )
    pasted = composite_image(img, lq if paste == 'lq' else img2, mask)
    return _psnr(np.mean((pasted - img2) ** 2))


@METRIC_REGISTRY.register()
def calculate_masked_psnr(
    img,
    img2,
    lq,
    mask,
    crop_border: int = 0,
    input_order: Order = 'HWC',
    test_y_channel: bool = False,
    **kwargs,
) -> float:
    """PSNR in dB over the masked pixels alone (weighted by a soft mask's value); inf if they are
    perfect, nan if there are none.
    """
    (img, img2, lq), mask = _prepare(
        [img, img2, lq], mask, crop_border, input_order, test_y_channel
    )
    return _weighted_psnr(composite_image(img, lq, mask), img2, mask)


@METRIC_REGISTRY.register()
def calculate_boundary_psnr(
    img, img2, lq, mask, crop_border=0, input_order='HWC', test_y_channel=False, width=8, **kwargs
) -> float:
    """`calculate_masked_psnr` over the masked pixels at most `width` pixels (Euclidean) from one
    that is not: where seams are.

    nan if there are none: an empty mask, or one that covers the whole picture (the picture's border
    is no edge of the region).
    """
    (img, img2, lq), mask = _prepare(
        [img, img2, lq], mask, crop_border, input_order, test_y_channel
    )
    inside = mask[..., 0] > 0
    if inside.all():
        return float('nan')
    band = mask * (distance_transform_edt(inside) <= width)[..., None]
    pasted = composite_image(img, lq, mask)  # by the mask itself: the band only says where to look
    return _weighted_psnr(pasted, img2, band)


@METRIC_REGISTRY.register()
def calculate_masked_ssim(
    img,
    img2,
    lq,
    mask,
    crop_border: int = 0,
    input_order: Order = 'HWC',
    test_y_channel: bool = False,
    **kwargs,
) -> float:
    """SSIM (11x11 Gaussian window, sigma 1.5, reflected border) of the composite, averaged over the
    masked pixels; nan if there are none.

    The window of a pixel near the region's edge looks beyond it, into the untouched surroundings:
    that is meant, seams count.

    Raises:
        ValueError: sizes that do not agree, or a picture smaller than the window.
    """
    (img, img2, lq), mask = _prepare(
        [img, img2, lq], mask, crop_border, input_order, test_y_channel
    )
    if not mask.any():
        return float('nan')
    if min(img.shape[:2]) < 11:
        raise ValueError(
            f'calculate_masked_ssim: a picture of {img.shape[0]}x{img.shape[1]} is smaller than the 11x11 window'
        )
    _, similarity = structural_similarity(
        composite_image(img, lq, mask), img2, channel_axis=2, data_range=255, full=True,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    return float((mask * similarity).sum() / (mask.sum() * similarity.shape[2]))
