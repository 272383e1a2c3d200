"""A contact sheet: the region in every method's version, its error below it."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from hmaca_arch.messages import printable
from hmaca_arch.restoring.sheets import contact_sheet

CELL = 192  # pixels of the sheet: side of a cell


def crop_of(mask: np.ndarray, margin: float = 0.6) -> tuple[slice, slice]:
    """A square around a region with some surroundings, inside the picture as far as that is large
    enough; (h, w), above 0 inside.
    """
    rows, columns = (np.flatnonzero((mask > 0).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        rows, columns = (np.arange(side) for side in mask.shape)
    side = int(np.ceil((1 + margin) * max(np.ptp(rows) + 1, np.ptp(columns) + 1)))
    boxes = []
    for places, whole in zip((rows, columns), mask.shape):
        start = int(np.clip((places[0] + places[-1] + 1 - side) // 2, 0, max(0, whole - side)))
        boxes.append(slice(start, start + side))
    return tuple(boxes)


def error_map(picture: np.ndarray, gt: np.ndarray, peak: float) -> np.ndarray:
    """Mean absolute error over the channels, in false colours: dark is 0, bright is `peak` grey
    levels or more.
    """
    error = np.abs(picture.astype(float) - gt).mean(axis=2)
    return cv2.applyColorMap(
        np.clip(np.rint(error * 255 / peak), 0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO
    )


def comparison_sheet(
    versions: Sequence[tuple[str, Mapping[str, np.ndarray]]],
    gt: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Show every version's crop around the region, the ground truth last; below each its error map,
    of one scale a row.

    Args:
        versions: (title, {name: picture}), the input first: its error sets the scale.
        gt: {name: picture}; pictures are (h, w, 3) BGR uint8.
        masks: {name: (h, w)}, above 0 inside the region.

    Returns:
        (height, width, 3) BGR uint8.
    """
    rows, captions = [], []
    for name in gt:
        box = crop_of(masks[name])
        truth = gt[name][box]
        shown = [*(pictures[name][box] for _, pictures in versions), truth]
        peak = max(1.0, float(np.abs(shown[0].astype(float) - truth).mean(axis=2).max()))
        rows += [shown, [error_map(picture, truth, peak) for picture in shown]]
        captions += [
            '',
            f'{printable(name)}: error from 0 (black) to {peak:.0f} of 255 grey levels or more (bright)',
        ]
    return contact_sheet(rows, [*(title for title, _ in versions), 'ground truth'], captions, CELL)
