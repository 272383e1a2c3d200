"""How certain a mean over pictures is: percentile intervals by bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean and the ends of its interval."""

    mean: float
    low: float
    high: float

    def text(self, decimals: int, sign: str = '') -> str:
        """`2.21 [1.98, 2.45]`"""
        return f'{self.mean:{sign}.{decimals}f} [{self.low:{sign}.{decimals}f}, {self.high:{sign}.{decimals}f}]'


def resampled_means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means over pictures drawn with replacement, the same ones for every row: (rows, pictures) -> (resamples, rows)."""
    rng, count = np.random.default_rng(seed), values.shape[1]
    return np.array([values[:, rng.integers(count, size=count)].mean(axis=1) for _ in range(resamples)])


def bootstrap(values: np.ndarray, resamples: int = 10000, confidence: float = 0.95, seed: int = 0) -> list[Estimate]:
    """Means of the rows of (rows, pictures), with percentile intervals over resamples of the pictures; nan without pictures."""
    if not values.shape[1]:
        return [Estimate(*[float('nan')] * 3)] * len(values)
    tail = (1 - confidence) / 2
    ends = np.quantile(resampled_means(values, resamples, seed), [tail, 1 - tail], axis=0)
    return [Estimate(*map(float, row)) for row in zip(values.mean(axis=1), *ends)]
