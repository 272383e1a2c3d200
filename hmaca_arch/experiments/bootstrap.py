"""How certain a mean over images is: percentile intervals by bootstrap.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
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
        """Return the estimate as text: `2.21 [1.98, 2.45]`."""
        mean, low, high = (f'{x:{sign}.{decimals}f}' for x in (self.mean, self.low, self.high))
        return f'{mean} [{low}, {high}]'


def bootstrap(
    values: np.ndarray, resamples: int = 10000, confidence: float = 0.95, seed: int = 0
) -> list[Estimate]:
    """Estimate the mean of each row over the images.

    A resample draws the same images for every row, so that rows of differences are paired.

    Args:
        values: (rows, images).
        resamples: number of resamples.
        confidence: of the intervals, between 0 and 1.
        seed: of the resampling.

    Returns:
        An estimate for each row; nan without images.
    """
    count = values.shape[1]
    means = values.mean(axis=1) if values.size else np.full(len(values), np.nan)
    low = high = means
    if count > 1:  # scipy refuses one image, whose mean is the same in every resample
        low, high = scipy.stats.bootstrap(
            (values,),
            np.mean,
            axis=1,
            vectorized=True,
            n_resamples=resamples,
            confidence_level=confidence,
            method='percentile',
            batch=max(1, 2**23 // values.size),
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    return [Estimate(*map(float, row)) for row in zip(means, low, high)]
