"""What a network is told about each region, when the degradation is measured and not given.

Masks are painted by hand. Of a mask only the part that is degraded is restored, and a region with
nothing wrong is left as it is, but not in a JPEG file, which hides weak noise.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hmaca_arch.degradation import UNKNOWN, Degradation, regions
from hmaca_arch.restoring.measuring import measure
from hmaca_arch.restoring.regions import Box, marked_box

AROUND = 72  # pixels around the regions that measuring looks at
MOST = 24  # regions; more are restored as if their degradation were unknown
# confidence below which a measurement is not used, except of blocks: taken for the other pool they
# still gain
SURE = 0.5
NOTHING = 'no degradation found: nothing is restored'
# Pixels beyond a mask up to which the network does not see degraded ones. Where they reach
# further, it sees some of them, and the degradation counts as unknown.
BEYOND = 8
ALIKE = 1.15  # ratio of two sigmas that are taken for one


class Told(NamedTuple):
    """One region's degradation and the box around its degraded pixels, in the image."""

    box: Box
    degradation: Degradation


class Look(NamedTuple):
    """What was found in a part of an image.

    Attributes:
        mask: (h, w) bool, what is degraded, also beyond the given mask where that is too narrow.
        told: by region.
        notes: what was found, a sentence each.
    """

    mask: np.ndarray
    told: list[Told]
    notes: list[str]


def surroundings(box: Box, height: int, width: int) -> Box:
    """Return the part of an image of that size that `look` takes for the regions in a box."""
    return box.grown(AROUND, height, width).from_blocks()


def look(image: np.ndarray, mask: np.ndarray, place: Box, jpeg: int | None = None) -> Look:
    """Measure the regions of a part of an image.

    Args:
        image: (h, w, c), see `measure`.
        mask: (h, w), above 0 is masked.
        place: where in the image this part lies.
        jpeg: quality of the file's JPEG, 0 for none, None if that is not known.
    """
    masked = mask > 0
    corner = (place.top, place.left)
    count = len(regions(masked)[1])
    if count > MOST:
        return Look(masked, [], [too_many(count)])
    found = measure(image, masked, jpeg, corner) if count else []
    degraded, told, notes = np.zeros_like(masked), [], []
    for one in found:
        if not one.area.any():
            continue
        box = marked_box(one.area).moved(*corner)
        notes.append(f'measured at {box.left},{box.top}: {one.words}')
        if one.degradation.kind == 'none' and one.confidence >= SURE and not jpeg:
            continue  # in a JPEG file weak noise may be hidden
        degraded |= one.area
        kind = one.degradation.kind
        sure = (one.confidence >= SURE and kind != 'none') or kind == 'pix'
        d = one.cautious if sure and one.spill <= BEYOND else UNKNOWN
        told.append(Told(box, _from_corner(d, box) if one.spill else d))
    if found and not degraded.any():
        notes.append(NOTHING)
    return Look(degraded, told, notes)


def _from_corner(told: Degradation, box: Box) -> Degradation:
    """Count blocks from the corner of their box if they begin there: the last ones may be cut."""
    if told.kind != 'pix' or any((box[axis] - told.offset[axis]) % told.block for axis in (0, 1)):
        return told
    return replace(told, anchor=('start', 'start'))


def too_many(count: int) -> str:
    """Say that more than `MOST` regions are not measured."""
    return f'{count} regions are too many to measure: their degradation is taken for unknown'


def counts_from_box(told: Degradation) -> bool:
    """Tell whether blocks are counted from a region's box, which a crop must not cut."""
    return told.kind == 'pix' and told.anchor != ('offset', 'offset')


def told_of(box: Box, told: Sequence[Told]) -> Degradation:
    """Return what holds of all regions inside a box, or unknown if they differ."""
    inside = [one.degradation for one in told if one.box.common(box)]
    if not inside:
        return UNKNOWN
    first = inside[0]
    if all(one == first for one in inside):
        return first
    if first.kind not in ('blur', 'noise') or any(one.kind != first.kind for one in inside):
        return UNKNOWN
    sigmas = [one.sigma for one in inside]
    alike = all(replace(one, sigma=first.sigma) == first for one in inside)
    if alike and max(sigmas) <= ALIKE * min(sigmas):
        return replace(first, sigma=float(np.mean(sigmas)))
    return UNKNOWN
