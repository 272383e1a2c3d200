"""Means over pictures that stay meaningful: perfect pictures and empty masks are counted instead of
spoiling them.
"""

import csv
import io
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from hmaca_arch.files.atomic import write_atomically


def mean_of_finite(values: Iterable[float]) -> float:
    """Mean over the finite values; if none is finite, inf when some picture is exact, else nan
    (every mask is empty).
    """
    values = np.asarray(list(values), dtype=np.float64)
    finite = values[np.isfinite(values)]
    return (
        float(finite.mean())
        if finite.size
        else float('inf')
        if np.isposinf(values).any()
        else float('nan')
    )


class ValidationTable:
    """The metrics of every picture of a data set, of the unrestored input and of the result.

    Args:
        metrics: their names, as in the option file.
    """

    ROWS = ('input', 'result')

    def __init__(self, metrics: Iterable[str]):
        self.metrics = tuple(metrics)
        self.names: list[str] = []
        self.values = {(row, metric): [] for row in self.ROWS for metric in self.metrics}

    def add(self, name: str, values: dict[tuple[str, str], float]) -> None:
        """One picture: a value for each (row, metric)."""
        self.names.append(name)
        for key, value in values.items():
            self.values[key].append(float(value))

    def rows(self, metric: str) -> np.ndarray:
        """(rows, pictures)"""
        return np.asarray([self.values[row, metric] for row in self.ROWS], dtype=np.float64)

    def mean(self, row: str, metric: str) -> float:
        """Mean over the pictures in which every row is finite, so that rows compare; over the row's
        own if there are none.
        """
        rows = self.rows(metric)
        together = np.isfinite(rows).all(axis=0)
        return mean_of_finite(
            rows[self.ROWS.index(row)][together if together.any() else slice(None)]
        )

    def gain(self, metric: str) -> float:
        """Mean of result - input over the pictures in which both are finite (a paired comparison);
        nan if there are none.
        """
        rows = self.rows(metric)
        together = np.isfinite(rows).all(axis=0)
        return mean_of_finite(rows[1][together] - rows[0][together])

    def left_out(self, metric: str) -> dict[str, int]:
        """Count the pictures that are not in the means: exact in some row, or without a region."""
        rows = self.rows(metric)
        return {
            'exact': int(np.isposinf(rows).any(axis=0).sum()),
            'without a region': int(np.isnan(rows).any(axis=0).sum()),
        }

    def record(self) -> dict[str, Any]:
        """Return the means for JSON: {'images': n, 'metrics': {name: {input, result, gain, exact,
        without_region}}}.

        What is not finite is None, as JSON has no other numbers.
        """
        metrics = {}
        for metric in self.metrics:
            means = {
                **{row: self.mean(row, metric) for row in self.ROWS},
                'gain': self.gain(metric),
            }
            counts = {
                what.replace(' a ', '_'): count for what, count in self.left_out(metric).items()
            }
            metrics[metric] = {
                key: value if np.isfinite(value) else None for key, value in means.items()
            } | counts
        return {'images': len(self.names), 'metrics': metrics}

    def notes(self, metric: str) -> str:
        """' (left out: 2 of 120 exact, 1 of 120 without a region)', or nothing."""
        notes = [
            f'{count} of {len(self.names)} {what}'
            for what, count in self.left_out(metric).items()
            if count
        ]
        return f' (left out: {", ".join(notes)})' if notes else ''

    def __str__(self) -> str:
        width = max(map(len, self.metrics), default=0)
        return '\n'.join(
            f'\t{metric:<{width}}  input {self.mean("input", metric):8.4f}  result {self.mean("result", metric):8.4f}'
            f'  gain {self.gain(metric):+.4f}{self.notes(metric)}'
            for metric in self.metrics
        )

    def write_csv(self, path: str | os.PathLike) -> None:
        """One line a picture: its name (in the bytes of the file's, which need not be text), every
        metric of the input, of the result.
        """
        file = io.StringIO(newline='')
        writer = csv.writer(file)
        writer.writerow(['picture', *(f'{row}_{metric}' for row, metric in self.values)])
        for name, *values in zip(self.names, *self.values.values()):
            writer.writerow([name, *(f'{value:.6f}' for value in values)])
        write_atomically(path, file.getvalue().encode(errors='surrogateescape'))
