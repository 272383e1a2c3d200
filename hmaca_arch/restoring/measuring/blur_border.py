"""Find where a blur begins.

The patches across the region's border are the most informative: the same edges are sharp outside
and blurred inside. The border is looked for up to 16 pixels inside the mask and 2 outside of it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from hmaca_arch.restoring.measuring.border import WIDEST
from hmaca_arch.restoring.measuring.candidates import GAUSSIANS, SIGMAS, Candidate
from hmaca_arch.restoring.measuring.patches import (
    SIDE,
    Parts,
    cut_patches,
    fits,
    learn_weights,
    split,
)
from hmaca_arch.restoring.regions import Box, marked_box

NARROWEST = 2  # pixels by which a mask may be too narrow
SHORTEST = 12  # side of a blurred region in pixels
STEP, ALONG = 5, 2  # pixels between patches: inside, and along the border
SURPRISE = np.log(1e-5)  # most that one patch may count against a border position
SHARED = 10  # pixels whose odds are one piece of evidence
MOVED = 5.0  # log likelihood that another place than the mask's border must gain


class Lossy(NamedTuple):
    """What is known of a blur before JPEG.

    Attributes:
        floor: variance of the brightness that is not the image's, in square grey levels.
        odds: (h, w), logarithms of the odds that a pixel is blurred, 0 where they are not known.
    """

    floor: float
    odds: np.ndarray


class PatchComparison:
    """What is compared with what: brightness, and the weights of the surroundings.

    Patches with `unclear` pixels are left out: those of other regions, and those without mask
    inside the box of the mask.
    """

    def __init__(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        every: np.ndarray,
        outside: np.ndarray,
        lossy: Lossy | None = None,
    ) -> None:
        self.values = np.rint(image).mean(axis=2, dtype=np.float32)
        coloured = image.shape[2] == 3 and np.ptp(image[mask], axis=1).mean() > 1
        self.floor = 1 / 36 if coloured else 1 / 12
        self.odds = np.zeros(mask.shape)
        if lossy is not None:
            self.floor, self.odds = lossy
        others = (every & ~mask).astype(np.uint8)
        self.unclear = cv2.dilate(others, np.ones((7, 7), np.uint8)) > 0
        self.unclear |= marked_box(mask).filled(*mask.shape) & ~mask
        share = (4 / SIDE) ** 2
        self.weights = learn_weights(split(cut_patches(self.values, outside, 4)), self.floor, share)

    def fits(self, parts: Parts, blur: Candidate, sharp: int) -> np.ndarray:
        """Log likelihood (n,) of patches; see `patches.fits`."""
        return fits(parts, blur, sharp, self.floor, self.weights)

    def strips(self, box: Sequence[int], side: int) -> tuple[list[np.ndarray], int, int, int]:
        """Turn the image so that the region begins below.

        Returns:
            Values, unclear pixels and odds, the first row of the box, its left and right.
        """
        top, left, bottom, right = box
        height, width = self.values.shape
        turned = [self.values, self.unclear, self.odds]
        if side % 2:
            turned = [one.T for one in turned]
            top, left, bottom, right, height = left, top, right, bottom, width
        if side < 2:
            return turned, top, left, right
        return [one[::-1] for one in turned], height - bottom, left, right


def patches_at(values: np.ndarray, rows: Sequence[int], columns: Sequence[int]) -> np.ndarray:
    """Patches (rows, columns, SIDE, SIDE) that begin there."""
    view = np.lib.stride_tricks.sliding_window_view(values, (SIDE, SIDE))
    return view[np.asarray(rows)[:, None], np.asarray(columns)]


def _place(
    region: PatchComparison, box: Sequence[int], side: int, blur: Candidate, margin: int
) -> int:
    """How far inside the mask's box the blur begins on one side; below 0: outside."""
    (values, unclear, odds), first, left, right = region.strips(box, side)
    margin = max(0, min(margin, (right - left - SIDE) // 2))
    columns = range(left + margin, right - margin - SIDE + 1, STEP)
    rows = [
        row
        for row in range(first - SIDE - NARROWEST, first + WIDEST + 1, 2)
        if 0 <= row <= len(values) - SIDE
    ]
    length = box[side % 2 + 2] - box[side % 2]
    moves = [
        move
        for move in range(-NARROWEST, WIDEST + 1)
        if first + move >= 0 and (move <= 0 or length - move >= SHORTEST)
    ]
    if not len(columns) or not rows:
        return 0
    clear = ~patches_at(unclear, rows, columns).any(axis=(2, 3))
    parts = split(patches_at(values, rows, columns).reshape(-1, SIDE, SIDE))
    found = np.array([region.fits(parts, blur, sharp) for sharp in range(SIDE + 1)])
    found = np.logaddexp(found, found.max(axis=0) + SURPRISE)
    found = np.where(clear, found.reshape(SIDE + 1, *clear.shape), 0).sum(axis=2)
    index = np.arange(len(rows))
    at_move = [np.clip(first + move - np.array(rows), 0, SIDE) for move in moves]
    scores = np.array([found[at, index].sum() for at in at_move]) * (2 * STEP / SIDE**2)
    sharp = np.cumsum(odds[first : first + WIDEST, left + margin : right - margin].sum(axis=1))
    scores -= [sharp[move - 1] / SHARED if move > 0 else 0 for move in moves]
    best = int(scores.argmax())
    return moves[best] if scores[best] - scores[moves.index(0)] > MOVED else 0


def find_box(region: PatchComparison, box: Sequence[int], blur: Candidate, margin: int) -> Box:
    """Move each side of the mask's box to where the blur begins."""
    moves = [_place(region, box, side, blur, margin) for side in range(4)]
    found = [
        int(place + move * (1 if side < 2 else -1))
        for side, (place, move) in enumerate(zip(box, moves))
    ]
    for axis in (0, 1):  # two sides that were moved past one another
        if found[axis + 2] - found[axis] < SHORTEST:
            found[axis], found[axis + 2] = box[axis], box[axis + 2]
    return Box(*found)


def weaker(at: int) -> Candidate:
    """Return the Gaussian one step below: a sigma that is too large explains nothing."""
    return GAUSSIANS[max(0, at - 1)]


def blurred_part(
    image: np.ndarray,
    mask: np.ndarray,
    every: np.ndarray,
    outside: np.ndarray,
    sigma: float,
    lossy: Lossy,
) -> np.ndarray:
    """Return the part of a rectangular mask that was blurred before JPEG, (h, w) bool.

    Args:
        image: (h, w, c) in grey levels of 0 to 255.
        mask: (h, w) bool, one region.
        every: (h, w) bool, all masked pixels.
        outside: (h, w) bool, pixels that are not degraded.
        sigma: in pixels.
        lossy: see there.
    """
    region = PatchComparison(image, mask, every, outside, lossy)
    box = marked_box(mask)
    at = int(np.abs(np.log(SIGMAS) - np.log(sigma)).argmin())
    found = find_box(region, box, weaker(at), min(WIDEST, min(box.shape) // 4))
    return found.filled(*mask.shape) & mask
