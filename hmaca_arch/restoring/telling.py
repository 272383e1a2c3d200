"""What a network is told about each region, when the degradation is measured and not given.

Masks are painted by hand. Of a mask only the part that is degraded is restored, and a region with
nothing wrong is left as it is.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hmaca_arch.degradation import UNKNOWN, Degradation
from hmaca_arch.restoring.measuring import measure
from hmaca_arch.restoring.regions import Box

AROUND = 72  # pixels around the regions that measuring looks at
MOST = 24  # regions; more are restored as if their degradation were unknown
# confidence below which a measurement is not used, except of blocks: taken for the other pool they
# still gain
SURE = 0.5
NOTHING = 'no degradation found: nothing is restored'
ALIKE = 1.15  # ratio of two sigmas that are taken for one


class Told(NamedTuple):
    """One region's degradation and the box around its degraded pixels, both in the image's
    coordinates.
    """

    box: Box
    degradation: Degradation


class Look(NamedTuple):
    """mask: (h, w) bool, what is to be restored. told: by region. notes: what was found, a sentence
    each.
    """

    mask: np.ndarray
    told: list[Told]
    notes: list[str]


def as_measurable(image: np.ndarray) -> np.ndarray:
    """(h, w, c) of any type, floating point in [0, 1] -> uint8 or uint16."""
    if image.dtype in (np.uint8, np.uint16):
        return image
    return np.rint(np.clip(image, 0, 1) * 65535).astype(np.uint16)


def look(image: np.ndarray, mask: np.ndarray, place: Box, jpeg: int | None = None) -> Look:
    """Measure the regions of a part of an image.

    Args:
        image: (h, w, c), see `as_measurable`.
        mask: (h, w), above 0 is masked.
        place: where in the image this part lies.
        jpeg: quality of the file's JPEG, 0 for none, None if that is not known.
    """
    masked = mask > 0
    corner = (place.top, place.left)
    found = measure(as_measurable(image), masked, jpeg, corner) if masked.any() else []
    if len(found) > MOST:
        return Look(
            masked,
            [],
            [
                f'{len(found)} regions are too many to measure: their degradation is taken for unknown'
            ],
        )
    degraded, told, notes = np.zeros_like(masked), [], []
    for one in found:
        rows, columns = np.flatnonzero(one.area.any(axis=1)), np.flatnonzero(one.area.any(axis=0))
        if not len(rows):
            continue
        box = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        box = box.moved(place.top, place.left)
        notes.append(f'measured at {box.left},{box.top}: {one.words}')
        if (
            one.degradation.kind == 'none' and one.confidence >= SURE and not one.degradation.jpeg
        ):  # JPEG hides too much
            continue
        degraded |= one.area
        sure = one.confidence >= SURE and one.degradation.kind != 'none'
        d = one.degradation if sure or one.degradation.kind == 'pix' else UNKNOWN
        told.append(Told(box, d))
    if found and not degraded.any():
        notes.append(NOTHING)
    return Look(degraded, told, notes)


def told_of(box: Box, told: Sequence[Told]) -> Degradation:
    """What holds of all regions inside a box: their common degradation, or unknown if they differ."""
    inside = [one.degradation for one in told if _overlap(one.box, box)]
    if not inside:
        return UNKNOWN
    first = inside[0]
    if all(one == first for one in inside):
        return first
    sigmas = [one.sigma for one in inside]
    same_kind = all(replace(one, sigma=first.sigma) == first for one in inside)
    if first.kind in ('blur', 'noise') and same_kind and max(sigmas) <= ALIKE * min(sigmas):
        return replace(first, sigma=float(np.mean(sigmas)))
    return UNKNOWN


def _overlap(one: Box, other: Box) -> bool:
    return (
        one.top < other.bottom
        and other.top < one.bottom
        and one.left < other.right
        and other.left < one.right
    )
