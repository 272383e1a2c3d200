"""Measure Gaussian blur: how the region's spectrum falls off, against the spectra of its
surroundings.

A blur multiplies the spectrum by the squared response of its kernel, which falls to the floor that
rounding leaves. What the image was before is unknown. Its spectrum is one of those of the
surroundings, from smooth to textured, up to a gain and a tilt. The likelihood is Whittle's. The
Laplacian goes first, so that little leaks from the low frequencies through the window.
"""

import functools

import cv2
import numpy as np
from scipy import fft

from hmaca_arch.restoring.measuring.border import depth_of

SIGMAS = np.concatenate([[0], np.exp(np.linspace(np.log(0.3), np.log(5.2), 60))])
RINGS, FINE = 28, 56  # of frequencies, 0 to pi: of what is observed, and of what is expected
PATCH, STEP, CLASSES = (
    32,
    8,
    4,
)  # of the surroundings, in pixels; and in how many classes they are sorted
GAINS, GAIN_SPREAD = (
    np.linspace(-3, 3, 13),
    0.6,
)  # logarithms; chosen on training images, as are the others
TILTS, TILT_SPREAD = np.linspace(-1, 1, 5), 0.3
FLOORS = (1 / 36, 1 / 28)  # variance of rounding in the mean of three channels
TRUST = 0.15  # of a frequency against what is expected of natural images
_FREQUENCY = (np.arange(FINE) + 0.5) * np.pi / FINE


def blur_activity(image: np.ndarray) -> np.ndarray:
    """(h, w) of what a blur removes first: the Laplacian's Laplacian of the mean of the channels."""
    values = image.mean(axis=2, dtype=np.float32)
    for _ in range(2):
        values = cv2.Laplacian(values, cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REFLECT_101)
    return np.abs(values)


def _laplacian(wide: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Its squared response."""
    return (2 * np.cos(high) + 2 * np.cos(wide) - 4) ** 2


def _frequencies(size: int, half: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows' and columns' frequencies (size, 1), (1, size or half of it), in radians by pixel."""
    columns = fft.rfftfreq(size) if half else fft.fftfreq(size)
    return fft.fftfreq(size)[:, None] * 2 * np.pi, columns[None] * 2 * np.pi


@functools.lru_cache(maxsize=64)
def _rings(size: int, half: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By ring: (pixels, rings) weights that average over it; frequencies in it; and the Laplacian's
    mean response.
    """
    rows, columns = _frequencies(size, half)
    ring = (np.sqrt(rows**2 + columns**2) / np.pi * RINGS).astype(int).ravel()
    twice = (columns > 0) & (columns < np.pi - 1e-9) & half
    weight = np.broadcast_to(1.0 + twice, (size, columns.size)).ravel()
    inside = np.flatnonzero(ring < RINGS)
    average = np.zeros((len(ring), RINGS))
    average[inside, ring[inside]] = weight[inside]
    count = average.sum(axis=0)
    average /= np.maximum(count, 1)
    return average, count, _laplacian(columns, rows).ravel() @ average


@functools.lru_cache(maxsize=1)
def _responses() -> np.ndarray:
    """(sigmas, fine rings): squared response of the kernels, averaged over directions."""
    found = []
    for sigma in SIGMAS:
        reach = int(np.ceil(4 * sigma))
        x = np.arange(-reach, reach + 1)
        kernel = np.exp(-(x**2) / (2 * sigma**2)) if sigma else np.ones(1)
        kernel /= kernel.sum()
        total = np.zeros(FINE)
        for angle in np.linspace(0, np.pi / 4, 5):
            along, across = (
                kernel @ np.cos(np.outer(x, _FREQUENCY * part))
                for part in (np.cos(angle), np.sin(angle))
            )
            total += (along * across) ** 2
        found.append(total / 5)
    return np.array(found)


def _smear(window: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """What the Laplacian and the window make of a spectrum: (rings, fine rings); and what they make
    of white noise, (rings,).
    """
    rows, columns = _frequencies(size, half=False)
    response = _laplacian(columns, rows)
    ring = (np.sqrt(rows**2 + columns**2) / np.pi * FINE).astype(int)
    average = _rings(size, half=False)[0]
    kernel = np.abs(fft.fft2(window, (size, size))) ** 2
    kernel = fft.rfft2(kernel / kernel.sum())
    layers = np.where(ring == np.arange(FINE)[:, None, None], response, 0).astype(np.float32)
    through = fft.irfft2(fft.rfft2(layers) * kernel, (size, size)).reshape(FINE, -1) @ average
    white = fft.irfft2(fft.rfft2(response) * kernel, (size, size)).ravel() @ average
    matrix = through.T
    matrix[:, -1] += np.maximum(white - matrix.sum(axis=1), 0)  # the corners beyond pi
    return matrix, white


def _observed(values: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, ...]:
    """The spectrum of an area: by ring its power, how many frequencies that is worth; and `_smear`
    of its window.
    """
    ramp = np.clip((depth_of(area) - 1) / 14, 0, 1)
    window = np.sin(ramp * np.pi / 2) ** 2
    size = fft.next_fast_len(max(48, *area.shape))
    average, count, _ = _rings(size, half=True)
    energy = (window**2).sum()
    power = (np.abs(fft.rfft2(values * window, (size, size))) ** 2).ravel() @ average / energy
    return power, count / size**2 * window.sum() ** 2 / energy, *_smear(window, size)


def _surroundings(values: np.ndarray, outside: np.ndarray, patch: int = PATCH) -> np.ndarray | None:
    """Spectra (classes + 1, fine rings) of patches outside: of all, and by how much they vary. None
    without a patch.
    """
    fits = cv2.erode(
        outside.astype(np.uint8),
        np.ones((patch, patch)),
        anchor=(0, 0),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    step = max(1, STEP * patch // PATCH)
    rows, columns = (place * step for place in np.nonzero(fits[::step, ::step]))
    if not len(rows):
        return _surroundings(values, outside, patch // 2) if patch > 6 else None
    line = np.hanning(patch + 2)[1:-1]
    window = np.outer(line, line)
    patches = (
        np.lib.stride_tricks.sliding_window_view(values, (patch, patch))[rows, columns] * window
    )
    average, count, laplacian = _rings(patch, half=True)
    used = (count > 0) & (laplacian > 0)
    power = (
        (np.abs(fft.rfft2(patches)) ** 2).reshape(len(patches), -1) @ average / (window**2).sum()
    )
    power = np.maximum(power - laplacian * FLOORS[0], laplacian * 1e-3)[:, used] / laplacian[used]
    order = np.argsort(np.log(power[:, 3:]).mean(axis=1))
    groups = [order, *np.array_split(order, min(CLASSES, len(order)))]
    centres = (np.arange(RINGS)[used] + 0.5) * np.pi / RINGS
    return np.array(
        [
            np.exp(np.interp(_FREQUENCY, centres, np.log(power[group].mean(axis=0))))
            for group in groups
        ]
    )


def measure_blur(
    image: np.ndarray, area: np.ndarray, outside: np.ndarray
) -> tuple[float, float, float]:
    """Measure Gaussian blur in an area.

    Args:
        image: (h, w, c) in grey levels of 0 to 255.
        area, outside: (h, w) bool: what may be degraded, and what is not.

    Returns:
        sigma in pixels; the cost that it saves against no blur; and the cost that remains, by
        frequency (0: a perfect fit).
    """
    values = cv2.Laplacian(
        image.mean(axis=2, dtype=np.float32), cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REFLECT_101
    )
    spectra = _surroundings(values, outside)
    if spectra is None:
        return 0.0, 0.0, 0.0
    rows, columns = np.flatnonzero(area.any(axis=1)), np.flatnonzero(area.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    power, count, matrix, white = _observed(values[box], area[box])
    used = (count > 0) & (np.arange(RINGS) > 0)
    power, weight, matrix, white = power[used], TRUST * count[used], matrix[used], white[used]
    floors = np.array(FLOORS) * (
        1 if np.ptp(image[area], axis=1).mean() > 1 else 3
    )  # grey: three equal channels are one
    tilts = np.exp(TILTS[:, None] * np.log(_FREQUENCY))
    prior = (
        0.5 * (TILTS / TILT_SPREAD)[:, None, None] ** 2 + 0.5 * (GAINS / GAIN_SPREAD)[:, None] ** 2
    )
    costs = []
    for spectrum in spectra:
        shape = (_responses()[:, None] * tilts * spectrum) @ matrix.T
        model = shape[:, :, None, None] * np.exp(GAINS)[:, None, None] + floors[:, None] * white
        costs.append(((power / model + np.log(model)) @ weight + prior).reshape(len(SIGMAS), -1))
    cost = np.concatenate(costs, axis=1)
    least = cost.min()
    likely = np.exp(least - cost[1:]).sum(axis=1)
    sigma = float(np.exp((likely * np.log(SIGMAS[1:])).sum() / likely.sum()))
    return (
        sigma,
        float(cost[0].min() - least),
        float((least - weight @ (1 + np.log(power))) / weight.sum()),
    )
