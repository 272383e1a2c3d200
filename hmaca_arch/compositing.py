"""The one place where a restored region is pasted back (spec of every network, metric and picture
alike).

    composite = mask * restored + (1 - mask) * background

taken by *selection* where the mask is 0, so that whatever a network does outside the region, NaN
included, never reaches the result.
"""

import numpy as np
import torch
from torch import Tensor


def composite(restored: Tensor, background: Tensor, mask: Tensor) -> Tensor:
    """Paste the masked region of `restored` into `background`.

    Args:
        restored: (b, c, h, w), a network's output in any floating type.
        background: (b, c, h, w), what stays outside the region: the degraded picture.
        mask: (b, 1, h, w) in [0, 1], 1 = take `restored`. Soft values blend.

    Returns:
        (b, c, h, w) in float32 (float64 if an input is), bit-equal to `background` where the mask
        is 0.

    Raises:
        ValueError: the three do not agree in size.
    """
    if restored.shape != background.shape or mask.shape != (
        *restored.shape[:1],
        1,
        *restored.shape[2:],
    ):
        raise ValueError(
            f'composite: restored {tuple(restored.shape)}, background {tuple(background.shape)} and mask {tuple(mask.shape)} do not agree: '
            'expected (b, c, h, w) twice and (b, 1, h, w)'
        )
    # Half precision would round the untouched pixels; the sum is taken in float32, whatever
    # autocast says.
    with torch.autocast(restored.device.type, enabled=False):
        dtype = torch.promote_types(
            torch.promote_types(restored.dtype, background.dtype), torch.float32
        )
        restored, background, mask = restored.to(dtype), background.to(dtype), mask.to(dtype)
        return torch.where(mask > 0, mask * restored + (1 - mask) * background, background)


def composite_image(restored: np.ndarray, background: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`composite` for pictures (h, w, c) or (h, w) of any depth; integers stay integers, rounded
    where a soft mask blends.

    Args:
        restored, background: equal shape and type.
        mask: (h, w) or (h, w, 1), bool or float in [0, 1] (see `unit_mask` for 8-bit masks).

    Raises:
        ValueError: shapes or types do not agree.
    """
    if (
        restored.shape != background.shape
        or restored.dtype != background.dtype
        or mask.shape[:2] != restored.shape[:2]
    ):
        raise ValueError(
            f'composite_image: restored {restored.shape} {restored.dtype}, background {background.shape} {background.dtype} and '
            f'mask {mask.shape} do not agree'
        )
    mask = unit_mask(mask).reshape(mask.shape[:2] + (1,) * (restored.ndim - 2))
    blend = mask * restored.astype(np.float64) + (1 - mask) * background.astype(np.float64)
    if np.issubdtype(restored.dtype, np.integer):
        blend = np.rint(blend)
    blend = np.where(mask == 1, restored, blend.astype(restored.dtype))
    return np.where(mask > 0, blend, background)


def unit_mask(mask: np.ndarray) -> np.ndarray:
    """A mask as float64 in [0, 1]: values above 1 mean that it is on the 8-bit scale, 0 to 255."""
    mask = np.asarray(mask, dtype=np.float64)
    return mask / 255 if mask.size and mask.max() > 1 else mask
