"""A contact sheet: the region as every method restored it, and the error below it."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from hmaca_arch.messages import printable
from hmaca_arch.restoring.regions import Box, marked_box
from hmaca_arch.restoring.sheets import contact_sheet

CELL = 192  # side of a cell in pixels


def crop_of(mask: np.ndarray, margin: float = 0.6) -> tuple[slice, slice]:
    """Return a square around a region with some surroundings.

    It lies inside the image as far as the image is large enough.

    Args:
        mask: (h, w), above 0 inside the region. An empty one counts as full.
        margin: surroundings, in units of the region's longer side.
    """
    box = marked_box(mask) if mask.any() else Box(0, 0, *mask.shape)
    side = int(np.ceil((1 + margin) * max(box.shape)))

    def extent(first: int, last: int, whole: int) -> slice:
        start = int(np.clip((first + last - side) // 2, 0, max(0, whole - side)))
        return slice(start, start + side)

    height, width = mask.shape
    return extent(box.top, box.bottom, height), extent(box.left, box.right, width)


def error_map(image: np.ndarray, gt: np.ndarray, peak: float) -> np.ndarray:
    """Return the mean absolute error over the channels (h, w, c) in false colours.

    Dark is 0, bright is `peak` grey levels or more.
    """
    error = np.abs(image.astype(float) - gt).mean(axis=2)
    levels = np.clip(np.rint(error * 255 / peak), 0, 255).astype(np.uint8)
    return cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)


def comparison_sheet(
    versions: Sequence[tuple[str, Mapping[str, np.ndarray]]],
    gt: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Lay out each version's crop around the region, the ground truth last, error maps below.

    Args:
        versions: (title, {name: image}), the input first: its error sets the scale of a row.
        gt: {name: image}; images are (h, w, 3) BGR uint8.
        masks: {name: (h, w)}, above 0 inside the region.

    Returns:
        (height, width, 3) BGR uint8.
    """
    rows, captions = [], []
    for name in gt:
        box = crop_of(masks[name])
        truth = gt[name][box]
        crops = [*(images[name][box] for _, images in versions), truth]
        peak = max(1.0, float(np.abs(crops[0].astype(float) - truth).mean(axis=2).max()))
        rows += [crops, [error_map(crop, truth, peak) for crop in crops]]
        scale = f'error from 0 (black) to {peak:.0f} of 255 grey levels or more (bright)'
        captions += ['', f'{printable(name)}: {scale}']
    return contact_sheet(rows, [*(title for title, _ in versions), 'ground truth'], captions, CELL)
