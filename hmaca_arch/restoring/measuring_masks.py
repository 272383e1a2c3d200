"""Measure the regions of a large image, one cluster of regions at a time."""

import numpy as np

from hmaca_arch.degradation import regions
from hmaca_arch.restoring.grouping import find_clusters
from hmaca_arch.restoring.regions import Box
from hmaca_arch.restoring.telling import (
    AROUND,
    BEYOND,
    MOST,
    NOTHING,
    Look,
    Told,
    look,
    surroundings,
    too_many,
)


def measure_mask(pixels: np.ndarray, mask: np.ndarray, window: Box, jpeg: int | None) -> Look:
    """Measure the degradation of all regions, cluster by cluster.

    The memory follows the largest cluster, and not the image.

    Args:
        pixels: (h, w, c), the image.
        mask: (h, w) of a window of it, 0 = keep.
        window: where that is.
        jpeg: quality of the image's JPEG file, 0 if it is from none, None to find out.

    Returns:
        What was found; its mask is the degraded part of the given one, of the same type. Where the
        given one is too narrow, it has the degraded pixels beyond it as well.
    """
    clusters = find_clusters(mask, 2 * AROUND)
    count = len(clusters)
    if count <= MOST:
        count = sum(len(regions(mask[box.area] > 0)[1]) for box in clusters)
    if count > MOST:
        return Look(mask, [], [too_many(count)])
    mask, told, notes = mask.copy(), list[Told](), list[str]()
    for box in clusters:
        around = surroundings(box.moved(*window[:2]), *pixels.shape[:2])
        wider = box.grown(BEYOND, *mask.shape)
        inside = wider.moved(*window[:2]).within(around).area
        part = mask[wider.area]
        binary = np.zeros(around.shape, bool)
        binary[inside] = part > 0
        found = look(pixels[around.area], binary, around, jpeg)
        degraded = found.mask[inside]
        part *= degraded.astype(mask.dtype)
        part[degraded & ~binary[inside]] = 1
        told += found.told
        notes += found.notes
    if mask.any():
        notes = [note for note in notes if note != NOTHING]
    return Look(mask, told, list(dict.fromkeys(notes)))
