"""Measure Gaussian noise.

It varies from channel to channel or from pixel to pixel, and the surroundings' texture does not
explain it.
"""

import cv2
import numpy as np
from scipy.special import chdtri, ndtr

ROUNDING = 1 / 12  # variance of rounding to whole grey levels
# The region's texture over that of its surroundings.
GAINS = np.exp(np.linspace(np.log(0.02), np.log(20), 29))
GAIN_SPREAD = 1.2  # of the logarithm of that, before anything is measured
SIGMAS = np.exp(np.linspace(np.log(0.5), np.log(110), 90))
RARE = 0.001  # part of the noise that is left out as edges
# Surroundings with grain: the least of the eigenvalues of their covariance over the mean one. It is
# below the first number in 95 of 100 photographs, and near 1 where all is independent noise.
GRAIN = (0.1, 0.3)
MOST_GRAIN = 2.0  # of the surroundings' variance, that a region has without being degraded


def residual(image: np.ndarray) -> np.ndarray:
    """Return what filters that see no even ground leave of an image.

    It is (h, w, 3) of three channels, (h, w, 4) of one. White noise of the image is white in it,
    and as strong. Three channels are told from texture by their independence; one channel by four
    filters, of which texture passes the coarser ones more.
    """
    values = image.astype(np.float32)
    fine, coarse = (
        np.array(line, np.float32) / np.sqrt(np.square(line).sum())
        for line in ([1, -2, 1], [1, 0, -1])
    )
    pairs = (
        [(fine, fine)]
        if image.shape[2] == 3
        else [(fine, fine), (fine, coarse), (coarse, fine), (coarse, coarse)]
    )
    filtered = [
        cv2.sepFilter2D(values, cv2.CV_32F, *pair, borderType=cv2.BORDER_REFLECT_101)
        for pair in pairs
    ]
    return np.stack(filtered, axis=2) if len(pairs) > 1 else filtered[0]


def covariance(values: np.ndarray) -> np.ndarray:
    """(c, c) of values (n, c) whose mean is 0."""
    return values.T @ values / max(1, len(values))


def clipped_variance(mean: np.ndarray, sigma: float) -> np.ndarray:
    """Return the variance of clip(x + sigma * n, 0, 255).

    `mean` is what the clipped values average to.
    """
    x = np.linspace(0, 255, 256)
    low, high = -x / sigma, (255 - x) / sigma
    inside = ndtr(high) - ndtr(low)
    density_low, density_high = (np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi) for t in (low, high))
    first = x * inside + sigma * (density_low - density_high) + 255 * ndtr(-high)
    second = (x**2 + sigma**2) * inside + 2 * x * sigma * (density_low - density_high)
    second += sigma**2 * (low * density_low - high * density_high) + 255**2 * ndtr(-high)
    return np.interp(mean, first, second - first**2)


def grain_of(texture: np.ndarray) -> float:
    """Return how much of a covariance (c, c) is grain: a variance, independent in all channels."""
    values = np.linalg.eigvalsh(texture)
    first, last = GRAIN
    share = (values[0] / max(values.mean(), 1e-6) - first) / (last - first)
    return float(values[0] * np.clip(share, 0, 1))


def _fit(inside: np.ndarray, texture: np.ndarray, noise: np.ndarray) -> tuple[float, float]:
    """Return the best sigma, and the log likelihood by pixel that it gains over no noise.

    Grain of the surroundings is not taken for texture, of which a region may have more.

    Args:
        inside: (c, c) covariance of the region.
        texture: (c, c) covariance of the surroundings.
        noise: (sigmas, c) variances by sigma; the first is none.
    """
    eye, grain = np.eye(len(inside)), grain_of(texture)

    def fit(gains: np.ndarray, texture: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return the log likelihood of each noise (n, c) with its best gain: (n,)."""
        model = gains[None, :, None, None] * texture + (noise[:, None, :, None] + ROUNDING) * eye
        wanted = np.broadcast_to(inside, model.shape)
        spread = np.trace(np.linalg.solve(model, wanted), axis1=2, axis2=3)
        likelihood = -0.5 * (np.linalg.slogdet(model)[1] + spread)
        return (likelihood - 0.5 * (np.log(gains) / GAIN_SPREAD) ** 2 / 100).max(axis=1)

    best = fit(GAINS, texture - grain * eye, noise + grain)
    if grain:
        best[0] = max(best[0], fit(GAINS[GAINS <= MOST_GRAIN], texture, noise[:1])[0])
    at = int(best.argmax())
    gained = best[at] - best[0]
    if at < 2 or at == len(best) - 1:
        return (0.0 if at == 0 else float(SIGMAS[at - 1])), float(gained)
    left, middle, right = best[at - 1 : at + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    step = shift * np.log(SIGMAS[1] / SIGMAS[0])
    return float(np.exp(np.log(SIGMAS[at - 1]) + step)), float(gained)


def measure_noise(image: np.ndarray, area: np.ndarray, outside: np.ndarray) -> tuple[float, float]:
    """Measure white noise in an area.

    Args:
        image: (h, w, c) in grey levels of 0 to 255.
        area: (h, w) bool, what may be degraded.
        outside: (h, w) bool, what is not.

    Returns:
        sigma in grey levels, and the log likelihood by pixel that noise gains over texture alone.
    """
    values = residual(image)
    texture = covariance(values[outside])
    inner = values[area]
    means = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 2.0).reshape(image.shape)[area]
    means = means[:: max(1, len(means) // 500)]
    noise = np.array(
        [
            np.zeros(image.shape[2]),
            *(clipped_variance(means, sigma).mean(axis=0) for sigma in SIGMAS),
        ]
    )
    noise = np.broadcast_to(noise, (len(noise), values.shape[2]))
    limit = chdtri(values.shape[2], RARE)
    kept = inner
    for _ in range(3):
        inverse = np.linalg.inv(covariance(kept) + 1e-3 * np.eye(values.shape[2]))
        near = np.einsum('ni,ij,nj->n', inner, inverse, inner) < limit
        if near.sum() < 30:
            break
        kept = inner[near]
    return _fit(covariance(kept), texture, noise)
