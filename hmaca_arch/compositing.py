"""Compositing: paste a restored region back into the degraded image.

    composite = mask * restored + (1 - mask) * background

Where the mask is 0 the background is selected, not computed. So nothing that a network returns
outside the region, NaN included, reaches the result. Networks, metrics and files all use this.
"""

import numpy as np
import torch
from torch import Tensor


def composite(restored: Tensor, background: Tensor, mask: Tensor) -> Tensor:
    """Paste the masked region of `restored` into `background`.

    Args:
        restored: (b, c, h, w), a network's output, of any floating type.
        background: (b, c, h, w), the degraded image, which stays outside the region.
        mask: (b, 1, h, w) in [0, 1]. 1 takes `restored`; values between blend.

    Returns:
        (b, c, h, w) in float32, or float64 if an input is. Equal to `background` bit for bit where
        the mask is 0.

    Raises:
        ValueError: the sizes do not agree.
    """
    mask_shape = (*restored.shape[:1], 1, *restored.shape[2:])
    if restored.shape != background.shape or mask.shape != mask_shape:
        raise ValueError(
            f'composite: restored {tuple(restored.shape)}, background {tuple(background.shape)} '
            f'and mask {tuple(mask.shape)} do not agree: '
            'expected (b, c, h, w) twice and (b, 1, h, w)'
        )
    # Autocast would compute in half precision, which rounds the untouched pixels.
    with torch.autocast(restored.device.type, enabled=False):
        dtype = torch.promote_types(
            torch.promote_types(restored.dtype, background.dtype), torch.float32
        )
        restored, background, mask = restored.to(dtype), background.to(dtype), mask.to(dtype)
        return torch.where(mask > 0, mask * restored + (1 - mask) * background, background)


def composite_image(restored: np.ndarray, background: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Paste the masked region of `restored` into `background`, both images in memory.

    Args:
        restored: (h, w, c) or (h, w), of any type.
        background: of the same shape and type.
        mask: (h, w) or (h, w, 1), bool or float in [0, 1]; see `unit_mask` for 8-bit masks.

    Returns:
        The composite, in the type of the inputs. Integers are rounded where a soft mask blends.

    Raises:
        ValueError: the shapes or types do not agree.
    """
    if (
        restored.shape != background.shape
        or restored.dtype != background.dtype
        or mask.shape[:2] != restored.shape[:2]
    ):
        raise ValueError(
            f'composite_image: restored {restored.shape} {restored.dtype}, background '
            f'{background.shape} {background.dtype} and mask {mask.shape} do not agree'
        )
    mask = unit_mask(mask).reshape(mask.shape[:2] + (1,) * (restored.ndim - 2))
    blend = mask * restored.astype(np.float64) + (1 - mask) * background.astype(np.float64)
    if np.issubdtype(restored.dtype, np.integer):
        blend = np.rint(blend)
    blend = np.where(mask == 1, restored, blend.astype(restored.dtype))
    return np.where(mask > 0, blend, background)


def unit_mask(mask: np.ndarray) -> np.ndarray:
    """Return a mask as float64 in [0, 1].

    A mask with values above 1 is taken to be on the 8-bit scale, 0 to 255.
    """
    mask = np.asarray(mask, dtype=np.float64)
    return mask / 255 if mask.size and mask.max() > 1 else mask
