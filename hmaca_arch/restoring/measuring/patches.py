"""How likely a small patch is, sharp, blurred or half of each, as a mixture of Gaussians.

Each component has a power-law spectrum: an exponent and a gain. The weights of the components are
learned from the sharp surroundings. A known blur turns every covariance into another one, also
where the border of the blurred region runs through the patch. Rounding adds white noise, which
limits what a blur can hide.
"""

import functools

import cv2
import numpy as np

from hmaca_arch.restoring.measuring.candidates import GAUSSIANS, Candidate

SIDE = 10  # of a patch, in pixels
HALF = SIDE // 2
EXPONENTS = np.array([1.4, 2.0, 2.6, 3.2, 4.0])
GAINS = np.exp(np.linspace(np.log(0.02), np.log(3e4), 14)).astype(np.float32)
COMPONENTS = len(EXPONENTS) * len(GAINS)
TORUS = 64  # pixels, on which the covariances are computed
PSEUDO = 20.0  # patches that the flat weights are worth
ROUNDS = 8  # of expectation maximisation
Parts = tuple[np.ndarray, np.ndarray]


def cut_patches(values: np.ndarray, inside: np.ndarray, step: int) -> np.ndarray:
    """Return the patches (n, SIDE, SIDE) of (h, w) that lie inside, at every `step` pixels."""
    fits = cv2.erode(
        inside.astype(np.uint8),
        np.ones((SIDE, SIDE)),
        anchor=(0, 0),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    rows, columns = (place * step for place in np.nonzero(fits[::step, ::step]))
    if not len(rows):
        return np.zeros((0, SIDE, SIDE), np.float32)
    return np.lib.stride_tricks.sliding_window_view(values, (SIDE, SIDE))[rows, columns]


def split(patches: np.ndarray) -> Parts:
    """Split patches (n, SIDE, SIDE), less their means, into two parts, (n, SIDE * HALF) each.

    A left-right flip keeps one and negates the other. Every covariance keeps the two apart.
    """
    patches = patches.astype(np.float32) - patches.mean(axis=(1, 2), keepdims=True)
    left, right = patches[:, :, :HALF], patches[:, :, : HALF - 1 : -1]
    root = np.float32(np.sqrt(0.5))
    return tuple(
        ((left + sign * right) * root).reshape(len(patches), SIDE * HALF) for sign in (1, -1)
    )


@functools.lru_cache(maxsize=1)
def _spectra() -> np.ndarray:
    """Return power laws (exponents, TORUS, TORUS).

    Their neighbouring pixels differ by 1, root mean square.
    """
    frequency = np.fft.fftfreq(TORUS) * 2 * np.pi
    radius = np.hypot(frequency[:, None], frequency)
    radius[0, 0] = np.inf
    spectra = radius ** -EXPONENTS[:, None, None]
    return spectra / (spectra * (2 - 2 * np.cos(frequency))).mean(axis=(1, 2), keepdims=True)


def _responses(blur: Candidate) -> tuple[np.ndarray, np.ndarray]:
    """Return a kernel's frequency response and its power, (TORUS, TORUS) each.

    Of even sides the response is the mean of both places that the kernel may have.
    """
    kernel = blur.values()
    response = np.fft.fft2(kernel, (TORUS, TORUS))
    power = np.square(np.abs(response))
    frequency = np.fft.fftfreq(TORUS) * 2 * np.pi
    for length, along in zip(kernel.shape, (frequency[:, None], frequency)):
        response = response * np.exp(0.5j * (length - 1) * along)
        response = response * (1 if length % 2 else np.cos(along / 2))
    return response.real, power


@functools.lru_cache(maxsize=256)
def _covariances(blur: Candidate) -> list[np.ndarray]:
    """Return covariances (exponents, 2 SIDE - 1, 2 SIDE - 1) by displacement.

    They are of two sharp pixels, of a sharp and a blurred one, and of two blurred ones. Those of a
    slanted motion are the mean with those of its mirror image, as `split` needs it.
    """
    shift = np.arange(1 - SIDE, SIDE)
    found = [
        np.fft.ifft2(_spectra() * gain).real[:, shift[:, None], shift]
        for gain in (1, *_responses(blur))
    ]
    return [(one + one[..., ::-1]) / 2 for one in found]


@functools.lru_cache(maxsize=1)
def _without_mean() -> np.ndarray:
    """Return an orthonormal basis of the patches that are equal when flipped and have mean 0."""
    size = SIDE * HALF
    return np.linalg.qr(np.c_[np.ones(size), np.eye(size)[:, 1:]])[0][:, 1:]


@functools.lru_cache(maxsize=1024)
def _tables(blur: Candidate, sharp: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return variances (exponents, n) and axes (exponents, pixels, n) of both parts of a patch.

    Its first `sharp` rows are sharp, the others are blurred.
    """
    row, column = np.divmod(np.arange(SIDE * HALF), HALF)
    blurred = (row >= sharp).astype(int)
    pairs = blurred[:, None] + blurred
    down, across = row[:, None] - row + SIDE - 1, column[:, None] - column + SIDE - 1
    mirrored = column[:, None] + column
    found = []
    for sign, basis in ((1, _without_mean()), (-1, np.eye(SIDE * HALF))):
        matrix = np.zeros(())
        for kind, covariance in enumerate(_covariances(blur)):
            part = covariance[:, down, across] + sign * covariance[:, down, mirrored]
            matrix = matrix + np.where(pairs == kind, part, 0)
        variance, axes = np.linalg.eigh(basis.T @ matrix @ basis)
        found.append((variance, (basis @ axes).astype(np.float32)))
    variances = np.maximum(np.concatenate([one[0] for one in found], axis=1), 0)
    return variances.astype(np.float32), found[0][1], found[1][1]


def component_fits(parts: Parts, blur: Candidate, sharp: int, floor: float) -> np.ndarray:
    """Return the log likelihood (n, COMPONENTS) of patches, see `split`.

    Args:
        parts: of the patches.
        blur: the kernel.
        sharp: how many rows are not blurred.
        floor: variance of the rounding.
    """
    variances, *axes = _tables(blur, sharp)
    energy = np.square(np.concatenate([part @ axis for part, axis in zip(parts, axes)], axis=2))
    model = GAINS[:, None] * variances[:, None] + np.float32(floor)
    fit = energy @ (1 / model).transpose(0, 2, 1) + np.log(model).sum(axis=2)[:, None]
    return -0.5 * fit.transpose(1, 0, 2).reshape(len(parts[0]), COMPONENTS)


def fits(
    parts: Parts, blur: Candidate, sharp: int, floor: float, weights: np.ndarray
) -> np.ndarray:
    """Return the log likelihood (n,) of patches under the mixture with these weights."""
    logs = component_fits(parts, blur, sharp, floor) + np.log(weights)
    most = logs.max(axis=1)
    return most + np.log(np.exp(logs - most[:, None]).sum(axis=1))


def learn_weights(parts: Parts, floor: float, share: float) -> np.ndarray:
    """Fit the weights (COMPONENTS,) to sharp patches, each worth `share` of an independent one."""
    flat = np.full(COMPONENTS, 1 / COMPONENTS)
    if not len(parts[0]):
        return flat
    logs, weights = component_fits(parts, GAUSSIANS[0], SIDE, floor).astype(np.float64), flat
    for _ in range(ROUNDS):
        belongs = logs + np.log(weights)
        belongs = np.exp(belongs - belongs.max(axis=1, keepdims=True))
        counts = (belongs / belongs.sum(axis=1, keepdims=True)).sum(axis=0) * share
        weights = (counts + PSEUDO * flat) / (counts.sum() + PSEUDO)
    return weights
