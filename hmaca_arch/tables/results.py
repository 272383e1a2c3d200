"""What the finished cells of a plan measured, on the pictures that all of them share."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmaca_arch.metrics.summary import mean_of_finite
from hmaca_arch.tables.plan import Cell
from hmaca_arch.tables.runner import Job, is_done, read_state

METRICS = ('composite_psnr', 'masked_psnr', 'masked_ssim')


@dataclass
class Result:
    """A cell's figures, or why there are none.

    values: (kind, metric) -> {picture: value}, kind input or result.
    """

    cell: Cell
    state: dict
    values: dict[tuple[str, str], dict[str, float]]

    @property
    def status(self) -> str:
        return 'done' if self.values else self.state.get('error', 'not finished' if self.state else 'not run')

    def mean(self, kind: str, metric: str) -> float:
        """Over the pictures in which input and result are finite, so that the two compare; nan without figures."""
        if not self.values:
            return math.nan
        pairs = np.array([[self.values[k, metric][name] for k in ('input', 'result')] for name in self.values[kind, metric]])
        together = np.isfinite(pairs).all(axis=1)
        return mean_of_finite(pairs[together if together.any() else slice(None), ('input', 'result').index(kind)])

    @property
    def gain(self) -> float:
        return self.mean('result', 'composite_psnr') - self.mean('input', 'composite_psnr')


def collect(cells: list[Cell], folder: Path, root: Path, data: Path) -> list[Result]:
    """A result for every cell, in their order."""
    found = []
    for cell in cells:
        values = {}
        if is_done(folder, root, data, cell):
            with open(Job(cell, folder, root, data).results, encoding='utf-8') as file:
                rows = list(csv.DictReader(file))
            values = {
                (kind, metric): {row['picture']: float(row[f'{kind}_{metric}']) for row in rows}
                for kind in ('input', 'result')
                for metric in METRICS
            }
        found.append(Result(cell, read_state(folder, cell), values))
    return found
