"""How certain a mean over pictures is: percentile intervals by bootstrap (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993).
"""

from dataclasses import dataclass

import numpy as np
import scipy.stats


@dataclass(frozen=True)
class Estimate:
    """A mean and the ends of its interval."""

    mean: float
    low: float
    high: float

    def text(self, decimals: int, sign: str = '') -> str:
        """`2.21 [1.98, 2.45]`"""
        return f'{self.mean:{sign}.{decimals}f} [{self.low:{sign}.{decimals}f}, {self.high:{sign}.{decimals}f}]'


def bootstrap(
    values: np.ndarray, resamples: int = 10000, confidence: float = 0.95, seed: int = 0
) -> list[Estimate]:
    """Return the means of the rows of (rows, pictures), with percentile intervals over resamples of
    the pictures.

    A resample draws the same pictures for every row, so that rows of differences are paired.
    Without pictures all is nan.
    """
    means, count = (
        values.mean(axis=1) if values.size else np.full(len(values), np.nan),
        values.shape[1],
    )
    ends = means, means
    if count > 1:  # scipy refuses one picture, whose mean is the same in every resample
        ends = scipy.stats.bootstrap(
            (values,), np.mean, axis=1, vectorized=True, n_resamples=resamples, confidence_level=confidence, method='percentile',
            batch=max(1, 2**23 // values.size), random_state=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
    return [Estimate(*map(float, row)) for row in zip(means, *ends)]
