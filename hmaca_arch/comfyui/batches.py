"""ComfyUI's batches of images and masks, one by one as the restorer takes them."""

from collections.abc import Iterator

import torch
from torch import Tensor

ON_A_LEVEL = 1e-3  # of 255: how far a value may be from its level in an image of 8 bits


def pairs(images: Tensor, masks: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pair each image of a batch with its mask.

    Args:
        images: (b, h, w, c), as ComfyUI's IMAGE.
        masks: (b, h, w), (1, h, w) or (h, w), as ComfyUI's MASK. One mask serves all images.

    Returns:
        An iterator over images (h, w, c) and masks (h, w) in [0, 1].

    Raises:
        ValueError: at once, if sizes or numbers do not agree.
    """
    masks = masks.reshape(-1, *masks.shape[-2:])
    if masks.shape[1:] != images.shape[1:3]:
        sizes = [f'{w}x{h}' for h, w in (masks.shape[1:], images.shape[1:3])]
        raise ValueError(
            f'the mask has {sizes[0]} pixels, the image {sizes[1]}; expected equal sizes '
            '(Load Image gives an empty mask of 64x64 where none was painted)'
        )
    if len(masks) not in (1, len(images)):
        raise ValueError(
            f'got {len(masks)} masks for {len(images)} images; expected one for all or one for each'
        )
    masks = masks.clamp(0, 1).expand(len(images), -1, -1)
    return zip(images, masks)


def as_stored(image: Tensor) -> Tensor:
    """Return an image as the file had it that it was read from, as far as that can be told.

    Args:
        image: (h, w, c) floating point, nominally in [0, 1].

    Returns:
        (h, w, c) uint8 if all values are levels of 8 bits, else floating point in [0, 1]. The
        restored pixels of the former are levels too, so that Save Image, which cuts off the
        fraction, writes them unchanged.
    """
    image = image.clamp(0, 1)
    levels = (image * 255).round()
    if bool(((image * 255 - levels).abs() < ON_A_LEVEL).all()):
        return levels.to(torch.uint8)
    return image


def with_changes(image: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Take from `after` what differs from `before`, and all else from `image`, bit for bit.

    Args:
        image: (h, w, c) floating point.
        before: `as_stored` of it.
        after: the same, restored.
    """
    values = after.to(image) / 255 if after.dtype == torch.uint8 else after.to(image)
    return torch.where(after == before, image, values)
