"""Measure the regions of a large image without looking at all of it at once."""

import numpy as np

from hmaca_arch.restoring.regions import Box, find_clusters
from hmaca_arch.restoring.telling import AROUND, MOST, NOTHING, Told, look


def measure_mask(
    pixels: np.ndarray, mask: np.ndarray, window: Box, jpeg: int | None
) -> tuple[np.ndarray, list[Told], list[str]]:
    """Measure the degradation of all regions, cluster by cluster.

    Args:
        pixels: (h, w, c), the image.
        mask: (h, w) of a window of it.
        window: where that is.
        jpeg: quality of the image's JPEG file, 0 if it is from none, None to find out.

    Returns:
        The degraded part of the mask, what is told of each region, and notes.
    """
    told: list[Told] = []
    notes: list[str] = []
    clusters = [box.moved(window.top, window.left) for box in find_clusters(mask, 2 * AROUND)]
    if len(clusters) > MOST:
        text = f'more than {MOST} regions are too many to measure: '
        return mask, [], [text + 'their degradation is taken for unknown']
    mask = mask.copy()
    for box in clusters:
        around = box.grown(AROUND, *pixels.shape[:2])
        inside = box.within(around).area
        part = mask[box.within(window).area]
        binary = np.zeros(around.shape, bool)
        binary[inside] = part > 0
        degraded, seen, found = look(pixels[around.area], binary, around, jpeg)
        part *= degraded[inside].astype(mask.dtype)
        told += seen
        notes += found
    if mask.any():
        notes = [note for note in notes if note != NOTHING]
    return mask, told, notes
