"""Images and masks in memory: NumPy, torch or PIL, of any depth, as (h, w, c) arrays and back."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hmaca_arch.files.depth import peak_of

PIL_MODES = ('L', 'LA', 'RGB', 'RGBA', 'I;16')


def size_of(array: np.ndarray) -> str:
    """Write width and height of (h, w, ...) as people do: 640x480."""
    return f'{array.shape[1]}x{array.shape[0]}'


def mask_array(mask: np.ndarray | Tensor | Image.Image) -> np.ndarray:
    """Return a mask of any kind as numpy has it: (h, w) or (h, w, 1)."""
    if not isinstance(mask, Tensor):
        return np.asarray(mask)
    mask = mask.detach().float() if mask.is_floating_point() else mask.detach()
    return (mask[0] if mask.ndim == 3 and mask.shape[0] == 1 else mask).cpu().numpy()


def image_array(
    image: np.ndarray | Tensor | Image.Image,
) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
    """Return an image as (h, w, c), and a function that converts back to the given type.

    Raises:
        ValueError: it is no image.
    """
    as_given: Callable[[np.ndarray], Any]
    if isinstance(image, Tensor):
        array, as_given = _of_tensor(image)
    elif isinstance(image, Image.Image):
        array, as_given = _of_pil(image)
    else:
        array, as_given = _of_numpy(np.asarray(image))
    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != 'f':
        raise ValueError(
            f'the image is of type {array.dtype}; '
            'expected uint8, uint16 or floating point in [0, 1]'
        )
    return array, as_given


def _of_tensor(image: Tensor) -> tuple[np.ndarray, Callable[[np.ndarray], Tensor]]:
    if image.ndim != 3 or not 1 <= image.shape[0] <= 4 or 0 in image.shape:
        raise ValueError(
            f'the image is a tensor of shape {tuple(image.shape)}; '
            'expected (c, h, w), c from 1 to 4'
        )
    # numpy has no bfloat16; float32 holds all of its values
    values = image.detach().float() if image.dtype == torch.bfloat16 else image.detach()

    def as_given(result: np.ndarray) -> Tensor:
        made = torch.from_numpy(result).permute(2, 0, 1).contiguous()
        return made.to(device=image.device, dtype=image.dtype)

    return values.permute(1, 2, 0).cpu().numpy(), as_given


def _of_pil(image: Image.Image) -> tuple[np.ndarray, Callable[[np.ndarray], Image.Image]]:
    """Convert a PIL image; its metadata (`info`) goes along."""
    if image.mode not in PIL_MODES:
        raise ValueError(
            f"the image is of PIL's mode {image.mode}; expected {', '.join(PIL_MODES)}: "
            "convert it, as in image.convert('RGB')"
        )
    array = np.asarray(image)

    def as_given(result: np.ndarray) -> Image.Image:
        made = Image.fromarray(np.ascontiguousarray(result.reshape(array.shape)))
        made.info = dict(image.info)
        return made

    return array.reshape(*array.shape[:2], -1), as_given


def _of_numpy(image: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    if not (image.ndim == 2 or (image.ndim == 3 and 1 <= image.shape[2] <= 4)) or 0 in image.shape:
        raise ValueError(
            f'the image has shape {image.shape}; expected (h, w) or (h, w, c), c from 1 to 4'
        )
    return image.reshape(*image.shape[:2], -1), lambda result: result.reshape(image.shape)


def as_unit(pixels: np.ndarray) -> np.ndarray:
    """Scale to float32 in [0, 1]."""
    return pixels.astype(np.float32) / np.float32(peak_of(pixels.dtype))


def as_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Scale float32 in [0, 1] to the image's own depth."""
    if dtype.kind != 'u':
        return values.astype(dtype)
    return np.rint(values * np.float64(peak_of(dtype))).astype(dtype)
