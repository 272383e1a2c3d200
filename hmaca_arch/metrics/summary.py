"""Means over images that stay meaningful.

A perfect image has a PSNR of inf and an empty mask one of nan. They are counted instead of spoiling
the mean.
"""

import csv
import io
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from hmaca_arch.files.atomic import write_atomically


def mean_of_finite(values: Iterable[float]) -> float:
    """Return the mean of the finite values.

    If none is finite: inf if some image is exact, else nan (every mask is empty).
    """
    array = np.asarray(list(values), dtype=np.float64)
    finite = array[np.isfinite(array)]
    if finite.size:
        return float(finite.mean())
    return float('inf') if np.isposinf(array).any() else float('nan')


class ValidationTable:
    """The metrics of every image of a data set, of the unrestored input and of the result.

    Args:
        metrics: their names, as in the option file.
    """

    ROWS = ('input', 'result')

    def __init__(self, metrics: Iterable[str]) -> None:
        self.metrics = tuple(metrics)
        self.names: list[str] = []
        self.values: dict[tuple[str, str], list[float]] = {}
        for row in self.ROWS:
            self.values.update({(row, metric): [] for metric in self.metrics})

    def add(self, name: str, values: Mapping[tuple[str, str], float]) -> None:
        """Add an image with a value for each (row, metric)."""
        self.names.append(name)
        for key, value in values.items():
            self.values[key].append(float(value))

    def rows(self, metric: str) -> np.ndarray:
        """Return a metric's values, (rows, images)."""
        return np.asarray([self.values[row, metric] for row in self.ROWS], dtype=np.float64)

    def mean(self, row: str, metric: str) -> float:
        """Return the mean over the images in which every row is finite, so that rows compare.

        If there are none, the mean over all images of the row.
        """
        rows = self.rows(metric)
        together = np.isfinite(rows).all(axis=0)
        values = rows[self.ROWS.index(row)]
        return mean_of_finite(values[together] if together.any() else values)

    def gain(self, metric: str) -> float:
        """Return the mean of result - input over the images in which both are finite, else nan."""
        rows = self.rows(metric)
        together = np.isfinite(rows).all(axis=0)
        return mean_of_finite(rows[1][together] - rows[0][together])

    def left_out(self, metric: str) -> dict[str, int]:
        """Count the images that are not in the means: exact in some row, or without a region."""
        rows = self.rows(metric)
        return {
            'exact': int(np.isposinf(rows).any(axis=0).sum()),
            'without a region': int(np.isnan(rows).any(axis=0).sum()),
        }

    def record(self) -> dict[str, Any]:
        """Return the means for JSON, with None for what is not finite.

        The form is {'images': n, 'metrics': {name: {input, result, gain, exact, without_region}}}.
        """
        metrics = {}
        for metric in self.metrics:
            means = {row: self.mean(row, metric) for row in self.ROWS}
            means['gain'] = self.gain(metric)
            finite = {key: value if np.isfinite(value) else None for key, value in means.items()}
            left_out = self.left_out(metric)
            counts = {'exact': left_out['exact'], 'without_region': left_out['without a region']}
            metrics[metric] = {**finite, **counts}
        return {'images': len(self.names), 'metrics': metrics}

    def notes(self, metric: str) -> str:
        """Return ' (left out: 2 of 120 exact, 1 of 120 without a region)', or nothing."""
        left_out = self.left_out(metric).items()
        notes = [f'{count} of {len(self.names)} {what}' for what, count in left_out if count]
        return f' (left out: {", ".join(notes)})' if notes else ''

    def __str__(self) -> str:
        width = max(map(len, self.metrics), default=0)
        return '\n'.join(
            f'\t{metric:<{width}}  input {self.mean("input", metric):8.4f}'
            f'  result {self.mean("result", metric):8.4f}'
            f'  gain {self.gain(metric):+.4f}{self.notes(metric)}'
            for metric in self.metrics
        )

    def write_csv(self, path: str | os.PathLike) -> None:
        """Write a line for each image: its name, the metrics of the input, those of the result.

        Names keep their bytes, which need not be text.
        """
        file = io.StringIO(newline='')
        writer = csv.writer(file)
        writer.writerow(['picture', *(f'{row}_{metric}' for row, metric in self.values)])
        for name, *values in zip(self.names, *self.values.values()):
            writer.writerow([name, *(f'{value:.6f}' for value in values)])
        write_atomically(path, file.getvalue().encode(errors='surrogateescape'))
