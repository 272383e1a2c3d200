"""Pictures and masks in memory: numpy or torch, of any depth, as (h, w, c) arrays and back."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def size_of(array: np.ndarray) -> str:
    """Width and height of (h, w, ...), as people write them."""
    return f'{array.shape[1]}x{array.shape[0]}'


def mask_array(mask: np.ndarray | Tensor) -> np.ndarray:
    """A mask of any kind as numpy has it: (h, w) or (h, w, 1)."""
    if not isinstance(mask, Tensor):
        return np.asarray(mask)
    mask = mask.detach().float() if mask.is_floating_point() else mask.detach()
    return (mask[0] if mask.ndim == 3 and mask.shape[0] == 1 else mask).cpu().numpy()


def picture_array(
    image: np.ndarray | Tensor,
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray | Tensor]]:
    """A picture as (h, w, c), and what makes the given kind of such an array again.

    Raises:
        ValueError: it is not one.
    """
    if isinstance(image, Tensor):
        if image.ndim != 3 or not 1 <= image.shape[0] <= 4 or 0 in image.shape:
            raise ValueError(
                f'the picture is a tensor of shape {tuple(image.shape)}; expected (c, h, w), c from 1 to 4'
            )
        # numpy has no bfloat16; float32 holds all of its values
        array = (
            (image.detach().float() if image.dtype == torch.bfloat16 else image.detach())
            .permute(1, 2, 0)
            .cpu()
            .numpy()
        )

        def as_given(result: np.ndarray) -> Tensor:
            return (
                torch.from_numpy(result)
                .permute(2, 0, 1)
                .contiguous()
                .to(device=image.device, dtype=image.dtype)
            )
    else:
        image = np.asarray(image)
        if (
            not (image.ndim == 2 or (image.ndim == 3 and 1 <= image.shape[2] <= 4))
            or 0 in image.shape
        ):
            raise ValueError(
                f'the picture has shape {image.shape}; expected (h, w) or (h, w, c), c from 1 to 4'
            )
        array = image.reshape(*image.shape[:2], -1)

        def as_given(result: np.ndarray) -> np.ndarray:
            return result.reshape(image.shape)

    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != 'f':
        raise ValueError(
            f'the picture is of type {array.dtype}; expected uint8, uint16 or floating point in [0, 1]'
        )
    return array, as_given


def as_unit(pixels: np.ndarray) -> np.ndarray:
    """As float32 in [0, 1]."""
    return pixels.astype(np.float32) / np.float32(
        np.iinfo(pixels.dtype).max if pixels.dtype.kind == 'u' else 1
    )


def as_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float32 in [0, 1] -> the picture's own depth."""
    return (
        np.rint(values * np.float64(np.iinfo(dtype).max)).astype(dtype)
        if dtype.kind == 'u'
        else values.astype(dtype)
    )
