"""Measure noise and blur of a region that went through JPEG after it was degraded.

Quantisation removes what the exact methods look at. So the energies of coefficients inside and
outside are given to a small network. `scripts/train_estimator.py` has trained it on images that
were degraded and compressed. `lossy_blocks` finds blocks.
"""

import functools
import importlib.resources
from typing import NamedTuple

import cv2
import numpy as np
from scipy.special import erf, softmax

from hmaca_arch.restoring.measuring.jpeg import coefficients, luma, table_of

KINDS = ('none', 'noise', 'blur', 'pix')
WEIGHTS = 'lossy_estimator.npz'
FEWEST_BLOCKS = 4  # whole blocks of the JPEG, inside and outside
BANDS = 12  # groups of coefficients, by the sum of row and column
LEAST = 0.1  # energy that is added to each, in square grey levels
LEAST_SIGMA, MOST_NOISE, MOST_BLUR = 0.4, 75, 5
NOTHING = 0.3  # probability from which a region counts as clean; weak noise hardly matters
CLASSES = 3  # of blocks, from smooth to textured
_BAND = np.minimum(np.add.outer(np.arange(8), np.arange(8)), BANDS).ravel()
_AVERAGE = (_BAND[:, None] == np.arange(1, BANDS + 1)).astype(np.float32)
_AVERAGE /= _AVERAGE.sum(axis=0)


class Guess(NamedTuple):
    """What the network takes a region for.

    Attributes:
        kind: one of KINDS.
        confidence: the probability of the kind.
        sigma: of noise in grey levels, or of blur in pixels.
        spread: standard deviation of the logarithm of sigma.
    """

    kind: str
    confidence: float
    sigma: float
    spread: float


def blur_activity(image: np.ndarray) -> np.ndarray:
    """Return what a blur removes first, (h, w): the Laplacian's Laplacian of the brightness."""
    values = image.mean(axis=2, dtype=np.float32)
    for _ in range(2):
        values = cv2.Laplacian(values, cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REFLECT_101)
    return np.abs(values)


def _planes(image: np.ndarray) -> list[np.ndarray]:
    """Return the brightness, and of a colour image the two differences of JPEG, (h, w) each."""
    brightness = luma(image)
    if image.shape[2] == 1:
        return [brightness]
    values = image.astype(np.float32)
    blue, red = ((values[..., at] - brightness) * part for at, part in ((2, 0.564), (0, 0.713)))
    return [brightness, blue + 128, red + 128]


def _energies(values: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return the mean square of each band in each block of the area, (blocks, BANDS)."""
    found = coefficients(values, area)
    return (found**2).reshape(len(found), 64) @ _AVERAGE + LEAST


def _classes(energies: np.ndarray) -> np.ndarray:
    """Return the mean of all blocks, and of a third of them each, (1 + CLASSES, BANDS)."""
    order = np.argsort(np.log(energies[:, :4]).sum(axis=1))
    groups = [order, *np.array_split(order, CLASSES)]
    return np.array([energies[group].mean(axis=0) for group in groups])


def _kept(values: np.ndarray, area: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return which part of each band's coefficients JPEG has not made 0, (BANDS,)."""
    found = coefficients(values, area)
    kept = np.abs(found.reshape(len(found), 64)) > table.ravel() / 2
    return np.asarray((kept @ _AVERAGE).mean(axis=0))


def features(
    image: np.ndarray, rough: np.ndarray, smooth: np.ndarray, outside: np.ndarray, quality: int
) -> np.ndarray | None:
    """Describe a region in numbers of order 1; None if it is too small.

    Args:
        image: (h, w, 1 or 3) of 0 to 255; its first pixel begins a block of the JPEG.
        rough: (h, w) bool, what may be noisy.
        smooth: (h, w) bool, what may be blurred.
        outside: (h, w) bool, what is not degraded.
        quality: of the JPEG.
    """
    planes, table = _planes(image), table_of(quality)
    values = planes[0]
    areas = (rough, smooth, outside)
    by_block = [_energies(values, area) for area in areas]
    if min(map(len, by_block)) < FEWEST_BLOCKS:
        return None
    noisy, blurred, clean = by_block
    found = [
        np.log(noisy.mean(axis=0)),
        np.log(np.median(noisy, axis=0)),
        np.log(blurred.mean(axis=0)),
        np.log(_classes(clean)).ravel(),
        *(_kept(values, area, table) for area in areas),
    ]
    for plane in range(1, 3):
        for area in (rough, outside):
            gray = plane >= len(planes)
            energy = np.full(BANDS, LEAST) if gray else _energies(planes[plane], area).mean(axis=0)
            found.append(np.log(energy))
    activity = blur_activity(image)
    found.append(
        np.array(
            [
                np.log(activity[smooth].mean() + 0.1),
                np.log(activity[outside].mean() + 0.1),
                np.log(values[rough].std() + 1),
                np.log(values[outside].std() + 1),
                values[rough].mean() / 128,
                (values[rough] < 2).mean(),
                (values[rough] > 253).mean(),
                *(np.log(len(energies)) for energies in by_block),
                quality / 50,
                np.log(table.mean()),
                np.log(table[-1, -1]),
                len(planes) > 1,
            ]
        )
    )
    return np.concatenate(found).astype(np.float32)


@functools.cache
def _weights() -> dict[str, np.ndarray]:
    """Load the network's weights."""
    with (
        importlib.resources.files('hmaca_arch.weights').joinpath(WEIGHTS).open('rb') as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        return {name: arrays[name].astype(np.float32) for name in arrays}


def estimate(described: np.ndarray) -> Guess:
    """Tell what was done to a region, from its `features`."""
    weights = _weights()
    x = (described - weights['mean']) / weights['scale']
    for layer in range(3):
        if layer:
            x = x / 2 * (1 + erf(x / np.sqrt(2)))  # GELU
        x = weights[f'weight{layer}'] @ x + weights[f'bias{layer}']
    odds, (noise, blur), spreads = softmax(x[:4]), np.exp(x[4:6]), np.exp(x[6:8])
    kind = KINDS[0 if odds[0] > NOTHING else int(odds.argmax())]
    most = MOST_BLUR if kind == 'blur' else MOST_NOISE
    sigma, spread = (blur, spreads[1]) if kind == 'blur' else (noise, spreads[0])
    sigma = np.clip(sigma, LEAST_SIGMA, most)  # what it was trained on
    return Guess(kind, float(odds[KINDS.index(kind)]), float(sigma), float(spread))
