"""Measure Gaussian blur: sigma, and where it begins.

Patches of the region are compared with sharp ones, see `patches`. The patches across the region's
border are the most informative: the same edges are sharp outside and blurred inside. So the border
is looked for first, up to 16 pixels inside the mask and 2 outside of it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import erf, expit

from hmaca_arch.degradation import Degradation
from hmaca_arch.restoring.measuring.border import WIDEST, depth_of
from hmaca_arch.restoring.measuring.patches import (
    HALF,
    SIDE,
    SIGMAS,
    Parts,
    cut_patches,
    fits,
    learn_weights,
    split,
)
from hmaca_arch.restoring.measuring.starts import LONGEST, unexplained
from hmaca_arch.restoring.regions import Box, marked_box

NARROWEST = 2  # pixels by which a mask may be too narrow
LEAST = 0.62  # sigma below which natural softness is as likely
SHORTEST = 12  # side of a blurred region in pixels
STEP, ALONG = 5, 2  # pixels between patches: inside, and along the border
OUTLIERS = 0.05  # part of the inner patches that may be sharp
SURPRISE = np.log(1e-5)  # most that one patch may count against a border position
SHARED = 10  # pixels whose odds are one piece of evidence
MOVED = 5.0  # log likelihood that another place than the mask's border must gain
TRUST = 0.1  # of a log likelihood: patches are not independent, nor images Gaussian
FINE = np.linspace(np.log(SIGMAS[0]), np.log(SIGMAS[-1]), 400)
# Ratios to sigma at which it is checked how much of the region stays unexplained. That is over what
# the first of them leaves, which is 0.3 grey levels for most images and more for black on white.
# The part of it above 1 is as likely as an exponential of mean SCALE.
CHECKED, EXPLAINED, SCALE = (0.8, 0.9, 1.0, 1.1), 0.3, 0.4
EXACT = 1e-3  # grey levels; less counts as that
# Spreads by which blur is taken for weaker: sharpening too much costs more.
CAUTION = 0.25
# By what the measured sigma is to be multiplied, so that training images come back best.
MEASURED, FACTOR = (0.7, 1.0, 1.8, 2.4, 3.0, 4.0), (1.0, 1.025, 1.02, 1.01, 1.014, 0.995)
# Log likelihoods by side and in all that blur must gain; these, and the figures above, were chosen
# on training images.
BY_SIDE, IN_ALL = 45.0, 250.0


class Blurred(NamedTuple):
    """A blur.

    Attributes:
        sigma: in pixels.
        confidence: 0 to 1, that there is a blur and sigma is right within 10 %.
        evidence: below 1: no blur.
        box: beyond the mask if that is too narrow.
    """

    sigma: float
    confidence: float
    evidence: float
    box: Box


class Lossy(NamedTuple):
    """What is known of a blur before JPEG.

    Attributes:
        floor: variance of the brightness that is not the image's, in square grey levels.
        odds: (h, w), logarithms of the odds that a pixel is blurred, 0 where they are not known.
    """

    floor: float
    odds: np.ndarray


class _Region:
    """What is compared with what: brightness, and the weights of the surroundings."""

    def __init__(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        every: np.ndarray,
        outside: np.ndarray,
        lossy: Lossy | None = None,
    ) -> None:
        self.values = np.rint(image).mean(axis=2).astype(np.float32)
        coloured = image.shape[2] == 3 and np.ptp(image[mask], axis=1).mean() > 1
        self.floor = 1 / 36 if coloured else 1 / 12
        self.odds = np.zeros(mask.shape)
        if lossy is not None:
            self.floor, self.odds = lossy
        others = (every & ~mask).astype(np.uint8)
        self.unclear = cv2.dilate(others, np.ones((7, 7), np.uint8)) > 0
        share = (4 / SIDE) ** 2
        self.weights = learn_weights(split(cut_patches(self.values, outside, 4)), self.floor, share)

    def fits(self, parts: Parts, at: int, sharp: int) -> np.ndarray:
        """Log likelihood (n,) of patches; see `patches.fits`."""
        return fits(parts, at, sharp, self.floor, self.weights)

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


def _at(values: np.ndarray, rows: Sequence[int], columns: Sequence[int]) -> np.ndarray:
    """Patches (rows, columns, SIDE, SIDE) that begin there."""
    view = np.lib.stride_tricks.sliding_window_view(values, (SIDE, SIDE))
    return view[np.asarray(rows)[:, None], np.asarray(columns)]


def _place(region: _Region, box: Sequence[int], side: int, at: int, margin: int) -> int:
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
    clear = ~_at(unclear, rows, columns).any(axis=(2, 3))
    parts = split(_at(values, rows, columns).reshape(-1, SIDE, SIDE))
    found = np.array([region.fits(parts, at, sharp) for sharp in range(SIDE + 1)])
    found = np.logaddexp(found, found.max(axis=0) + SURPRISE)
    found = np.where(clear, found.reshape(SIDE + 1, *clear.shape), 0).sum(axis=2)
    index = np.arange(len(rows))
    at_move = [np.clip(first + move - np.array(rows), 0, SIDE) for move in moves]
    scores = np.array([found[at, index].sum() for at in at_move]) * (2 * STEP / SIDE**2)
    sharp = np.cumsum(odds[first : first + WIDEST, left + margin : right - margin].sum(axis=1))
    scores -= [sharp[move - 1] / SHARED if move > 0 else 0 for move in moves]
    best = int(scores.argmax())
    return moves[best] if scores[best] - scores[moves.index(0)] > MOVED else 0


def _find_box(region: _Region, box: Sequence[int], at: int, margin: int) -> Box:
    """Move each side of the mask's box to where the blur begins."""
    moves = [_place(region, box, side, at, margin) for side in range(4)]
    found = [
        int(place + move * (1 if side < 2 else -1))
        for side, (place, move) in enumerate(zip(box, moves))
    ]
    for axis in (0, 1):  # two sides that were moved past one another
        if found[axis + 2] - found[axis] < SHORTEST:
            found[axis], found[axis + 2] = box[axis], box[axis + 2]
    return Box(*found)


def _compare(region: _Region, inner: Parts, sides: list[Parts]) -> tuple[np.ndarray, float]:
    """Log likelihood by sigma against none: (sigmas,); and what the best gains by side."""
    weights = [(STEP / SIDE) ** 2, *[ALONG / SIDE] * len(sides)]
    sharp = [0, *[HALF] * len(sides)]
    gained = np.array(
        [
            [region.fits(parts, at, rows).sum() for parts, rows in zip([inner, *sides], sharp)]
            for at in range(len(SIGMAS))
        ]
    )
    gained -= [region.fits(parts, 0, SIDE).sum() for parts in [inner, *sides]]
    gained *= weights
    total = gained.sum(axis=1)
    by_side = gained[total.argmax(), 1:].mean() if sides else total.max() / 4
    return total, float(by_side)


def _sigma(gained: np.ndarray, less: np.ndarray | float = 0) -> tuple[float, float]:
    """Return the mean and the spread of the logarithm of sigma.

    Args:
        gained: (sigmas,), log likelihoods.
        less: (FINE,), what the log likelihoods of finer steps lose.
    """
    curve = TRUST * PchipInterpolator(np.log(SIGMAS), gained)(FINE) - less
    likely = np.exp(curve - curve.max())
    likely /= likely.sum()
    mean = float(likely @ FINE)
    return mean, float(np.sqrt(likely @ (FINE - mean) ** 2))


def _too_wide(image: np.ndarray, area: np.ndarray, sigma: float) -> np.ndarray:
    """Return what the log likelihoods of _sigma lose where sigma would explain the region badly.

    Args:
        image: (h, w, c) in grey levels.
        area: (h, w) bool, what is blurred.
        sigma: the measured one, without its correction by FACTOR.

    Returns:
        (FINE,)
    """
    tried = [Degradation('blur', sigma=_corrected(sigma * ratio)) for ratio in CHECKED]
    found = np.log(np.maximum(EXACT, unexplained(image / 255, area, tried)))
    places, steps = np.log(CHECKED), FINE - np.log(sigma)
    beyond = np.maximum(0, steps - places[-1]) * (found[-1] - found[-2]) / (places[-1] - places[-2])
    left = np.exp(np.interp(steps, places, found) + np.maximum(0, beyond))
    usual = max(EXPLAINED, np.exp(found[0]))
    return np.maximum(0, left / usual - 1) / SCALE


def _corrected(sigma: float) -> float:
    return float(sigma * np.interp(sigma, MEASURED, FACTOR))


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
    region = _Region(image, mask, every, outside, lossy)
    box = marked_box(mask)
    at = int(np.abs(np.log(SIGMAS) - np.log(sigma)).argmin())
    found = _find_box(region, box, max(0, at - 1), min(WIDEST, min(box.shape) // 4))
    return found.filled(*mask.shape) & mask


def measure_blur(
    image: np.ndarray, mask: np.ndarray, every: np.ndarray, outside: np.ndarray
) -> Blurred:
    """Measure Gaussian blur in a mask.

    Args:
        image: (h, w, c) in grey levels of 0 to 255.
        mask: (h, w) bool, one region that may be degraded in a part.
        every: (h, w) bool, all masked pixels.
        outside: (h, w) bool, pixels that are not degraded.
    """
    region = _Region(image, mask, every, outside)
    box = marked_box(mask)
    short = min(box.shape)
    margin = min(WIDEST, short // 4)
    core = split(cut_patches(region.values, depth_of(mask) > margin, STEP if short > 50 else 2))
    sharp = region.fits(core, 0, SIDE) + np.log(OUTLIERS)
    core_fits = [np.logaddexp(region.fits(core, at, 0), sharp).sum() for at in range(len(SIGMAS))]
    at = int(np.argmax(core_fits))
    for _ in range(2):
        # a sigma that is too large explains nothing; one step below it is safe
        found = _find_box(region, box, max(0, at - 1), margin)
        area = found.filled(*mask.shape)
        sides = []
        for side in range(4):
            (values, unclear, _), first, left, right = region.strips(found, side)
            places = range(left, right - SIDE + 1, ALONG)
            if HALF <= first <= len(values) - HALF and len(places):
                clear = ~_at(unclear, [first - HALF], places)[0].any(axis=(1, 2))
                if clear.any():
                    sides.append(split(_at(values, [first - HALF], places)[0][clear]))
        gained, by_side = _compare(region, split(cut_patches(region.values, area, STEP)), sides)
        mean, spread = _sigma(gained)
        new = int(np.abs(np.log(SIGMAS) - mean).argmin())
        if abs(new - at) <= 1:
            break
        at, margin = new, 0
    evidence = min(by_side / BY_SIDE, float(gained.max()) / IN_ALL)
    if evidence >= 1 and short <= LONGEST:
        mean, spread = _sigma(gained, _too_wide(image, area, float(np.exp(mean))))
    evidence = min(evidence, 0.99) if np.exp(mean) < LEAST else evidence
    right = erf(0.1 / (np.sqrt(2) * max(spread, 1e-3)))
    confidence = float(right * expit(4 * np.log(max(evidence, 1e-3)) + 2))
    return Blurred(_corrected(float(np.exp(mean - CAUTION * spread))), confidence, evidence, found)
