"""Measure blur: sigma of a Gaussian, or another kernel, and where it begins.

Patches of the region are compared with sharp ones, see `patches`. First the region's border is
looked for, see `blur_border`.
"""

from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import erf, expit

from hmaca_arch.degradation import Degradation
from hmaca_arch.restoring.measuring.blur_border import (
    ALONG,
    STEP,
    PatchComparison,
    find_box,
    patches_at,
    weaker,
)
from hmaca_arch.restoring.measuring.border import WIDEST, depth_of, is_rectangle
from hmaca_arch.restoring.measuring.candidates import (
    GAUSSIAN,
    GAUSSIANS,
    SIGMAS,
    SOMETHING_ELSE,
    Candidate,
    other_kernel,
)
from hmaca_arch.restoring.measuring.patches import HALF, SIDE, Parts, cut_patches, split
from hmaca_arch.restoring.measuring.starts import LONGEST, unexplained
from hmaca_arch.restoring.regions import Box, marked_box

LEAST = 0.62  # sigma below which natural softness is as likely
OUTLIERS = 0.05  # part of the inner patches that may be sharp
TRUST = 0.1  # of a log likelihood: patches are not independent, nor images Gaussian
FINE = np.linspace(np.log(SIGMAS[0]), np.log(SIGMAS[-1]), 400)
# Ratios to sigma at which it is checked how much of the region stays unexplained. That is over what
# the first of them leaves, which is 0.3 grey levels for most images and more for black on white.
# The part of it above 1 is as likely as an exponential of mean SCALE.
CHECKED, EXPLAINED, SCALE = (0.8, 0.9, 1.0, 1.1), 0.3, 0.4
EXACT = 1e-3  # grey levels; less counts as that
UNEXPLAINED = 0.7  # grey levels that a kernel other than a Gaussian must not leave unexplained
LARGE = 4096  # pixels, from which patches that are no rectangle's need not lie so dense
# Spreads by which blur is taken for weaker: sharpening too much costs more.
CAUTION = 0.25
# By what the measured sigma is to be multiplied, so that training images come back best.
MEASURED, FACTOR = (0.7, 1.0, 1.8, 2.4, 3.0, 4.0), (1.0, 1.025, 1.02, 1.01, 1.014, 0.995)
# Log likelihoods by side and in all that blur must gain; and in all where the mask is no rectangle,
# so that there are few patches. These and the figures above were chosen on training images.
BY_SIDE, IN_ALL, IN_A_SHAPE = 45.0, 250.0, 100.0


class Blurred(NamedTuple):
    """A blur.

    Attributes:
        kernel: the measured one.
        confidence: 0 to 1, that there is a blur and the kernel is right, sigma within 10 %.
        evidence: below 1: no blur.
        box: beyond the mask if that is too narrow.
    """

    kernel: Candidate
    confidence: float
    evidence: float
    box: Box


class _Patches:
    """The patches of a box that are compared: inside, and across each of its sides."""

    def __init__(self, region: PatchComparison, box: Box) -> None:
        self.region = region
        self.parts: list[Parts] = []
        inside = box.filled(*region.values.shape)
        whole = not (region.unclear & inside).any()
        self.step = STEP if whole or inside.sum() > LARGE else ALONG
        inner = split(cut_patches(region.values, inside & ~region.unclear, self.step))
        for side in range(4):
            (values, unclear, _), first, left, right = region.strips(box, side)
            places = range(left, right - SIDE + 1, ALONG)
            if HALF <= first <= len(values) - HALF and len(places):
                clear = ~patches_at(unclear, [first - HALF], places)[0].any(axis=(1, 2))
                if clear.any():
                    self.parts.append(split(patches_at(values, [first - HALF], places)[0][clear]))
        self.sides = len(self.parts)
        self.parts.append(inner)
        self.none = [region.fits(part, GAUSSIANS[0], SIDE).sum() for part in self.parts]

    def gained(self, blur: Candidate) -> np.ndarray:
        """Return the log likelihoods of a blur less those of none, (sides + 1,)."""
        sharp, weights = [HALF] * self.sides + [0], [ALONG / SIDE] * self.sides
        found = [self.region.fits(*args).sum() for args in zip(self.parts, [blur] * 5, sharp)]
        return (np.array(found) - self.none) * [*weights, (self.step / SIDE) ** 2]

    def compare(self) -> tuple[np.ndarray, float]:
        """Return the sum of `gained` by sigma, (SIGMAS,), and what the best one gains by side."""
        found = np.array([self.gained(blur) for blur in GAUSSIANS])
        total = found.sum(axis=1)
        best = int(total.argmax())
        return total, float(found[best, :-1].mean() if self.sides else total[best] / 4)


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


def _explains(kernel: Candidate, image: np.ndarray, area: np.ndarray) -> bool:
    """Tell whether a kernel that can be told explains a region, up to rounding."""
    if not kernel.told:
        return False
    way = Degradation('kernel', kernel=kernel.told)
    return bool(unexplained(image / 255, area, [way])[0] < UNEXPLAINED)


def _corrected(sigma: float) -> float:
    return float(sigma * np.interp(sigma, MEASURED, FACTOR))


def measure_blur(
    image: np.ndarray, mask: np.ndarray, every: np.ndarray, outside: np.ndarray
) -> Blurred:
    """Measure the blur in a mask.

    Args:
        image: (h, w, c) in grey levels of 0 to 255.
        mask: (h, w) bool, one region that may be degraded in a part.
        every: (h, w) bool, all masked pixels.
        outside: (h, w) bool, pixels that are not degraded.
    """
    region = PatchComparison(image, mask, every, outside)
    box, rectangle = marked_box(mask), is_rectangle(mask)
    short = min(box.shape)
    margin = min(WIDEST, short // 4)
    core = split(cut_patches(region.values, depth_of(mask) > margin, STEP if short > 50 else 2))
    sharp = region.fits(core, GAUSSIANS[0], SIDE) + np.log(OUTLIERS)
    core_fits = [np.logaddexp(region.fits(core, blur, 0), sharp).sum() for blur in GAUSSIANS]
    at = int(np.argmax(core_fits))
    for _ in range(2):
        found = find_box(region, box, weaker(at), margin)
        patches = _Patches(region, found)
        gained, by_side = patches.compare()
        mean, spread = _sigma(gained)
        new = int(np.abs(np.log(SIGMAS) - mean).argmin())
        if abs(new - at) <= 1:
            break
        at, margin = new, 0
    evidence = min(by_side / BY_SIDE, float(gained.max()) / IN_ALL)
    if not rectangle:
        evidence = float(gained.max()) / IN_A_SHAPE
    if evidence >= 1:
        other, ahead = other_kernel(
            lambda blur: float(patches.gained(blur).sum()), gained.max(), rectangle
        )
        if other and (other.told or np.exp(mean) >= LEAST):
            if not rectangle or not _explains(other, image, found.filled(*mask.shape)):
                return Blurred(SOMETHING_ELSE, 0.0, evidence, found)
            return Blurred(other, float(expit(TRUST * ahead)), evidence, found)
    if evidence >= 1 and short <= LONGEST:
        area = found.filled(*mask.shape)
        mean, spread = _sigma(gained, _too_wide(image, area, float(np.exp(mean))))
    evidence = min(evidence, 0.99) if np.exp(mean) < LEAST else evidence
    right = erf(0.1 / (np.sqrt(2) * max(spread, 1e-3)))
    confidence = float(right * expit(4 * np.log(max(evidence, 1e-3)) + 2))
    sigma = _corrected(float(np.exp(mean - CAUTION * spread)))
    return Blurred(Candidate(GAUSSIAN, sigma), confidence, evidence, found)
