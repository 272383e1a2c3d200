"""From every picture's figures to a table: means over the same pictures, intervals by bootstrap, paired differences; as Markdown."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hmaca_arch.comparison.measure import METRICS, Result


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


class Comparison:
    """Results of several methods on the same pictures: the first one first, then by composite PSNR, the best first.

    A picture counts for a metric if every method's value is finite: not if one restored it exactly or its region is empty.

    Args:
        results: of the methods; the first is the unrestored input.
        against: label of the row that the others are compared with; None: the first.
        resamples, confidence, seed: of the bootstrap.
    """

    def __init__(
        self, results: Sequence[Result], against: str | None = None, resamples: int = 10000, confidence: float = 0.95, seed: int = 0
    ) -> None:
        self.metrics = [metric for metric in METRICS if all(metric in result.values for result in results)]
        values = {metric: np.stack([result.values[metric] for result in results]) for metric in self.metrics}
        usable = {metric: np.isfinite(rows).all(axis=0) for metric, rows in values.items()}
        finite = {metric: rows[:, usable[metric]] for metric, rows in values.items()}
        self.used = {metric: int(usable[metric].sum()) for metric in self.metrics}
        first = self.metrics[0]
        means = finite[first].mean(axis=1) if self.used[first] else np.zeros(len(results))
        order = [0, *sorted(range(1, len(results)), key=lambda row: -means[row])]
        self.results = [results[row] for row in order]
        self.against = against or results[0].label
        reference = next(row for row, result in enumerate(results) if result.label == self.against)
        self.confidence = confidence
        settings = {'resamples': resamples, 'confidence': confidence, 'seed': seed}
        self.estimates: dict[str, list[Estimate]] = {}
        self.differences: dict[str, list[Estimate]] = {}
        for metric, rows in finite.items():
            rows = rows[order]
            self.estimates[metric] = bootstrap(rows, **settings)
            self.differences[metric] = bootstrap(rows - finite[metric][reference], **settings)

    def markdown(self) -> str:
        """Three tables: means and cost, intervals of the means, paired differences; and what was left out."""
        titles, count = [METRICS[metric][0] for metric in self.metrics], len(self.results[0].names)
        share = f'{100 * self.confidence:g} %'
        main = [['method', *titles, 'parameters', 'GMAC', 'ms', 'MiB']]
        intervals, differences = [['method', *titles]], [['method', *titles]]
        for row, result in enumerate(self.results):
            means = [f'{self.estimates[metric][row].mean:.{METRICS[metric][1]}f}' for metric in self.metrics]
            main.append([result.label, *means, *(cost(result) if row else [''] * 4)])
            intervals.append([result.label, *(self.estimates[metric][row].text(METRICS[metric][1]) for metric in self.metrics)])
            if result.label != self.against:
                texts = (self.differences[metric][row].text(METRICS[metric][1], '+') for metric in self.metrics)
                differences.append([result.label, *texts])
        notes = [
            f'{METRICS[metric][0]}: over {used} of {count} pictures; in the others a method is exact, or there is no region.'
            for metric, used in self.used.items()
            if used < count
        ]
        parts = [aligned(main), f'Means with {share} intervals (bootstrap over pictures):', aligned(intervals)]
        if len(differences) > 1:
            parts += [f'Paired differences from "{self.against}", with {share} intervals:', aligned(differences)]
        return '\n\n'.join(parts + notes) + '\n'

    def csv(self) -> str:
        """A line a picture and method: every metric, and milliseconds."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['picture', 'method', *self.metrics, 'milliseconds'])
        for result in self.results:
            for index, name in enumerate(result.names):
                values = (f'{result.values[metric][index]:.6f}' for metric in self.metrics)
                writer.writerow([name, result.label, *values, f'{1e3 * result.seconds[index]:.3f}'])
        return file.getvalue()


def cost(result: Result) -> list[str]:
    """Parameters, GMAC, milliseconds and MiB, as text."""
    parameters = '' if result.parameters is None else f'{result.parameters:,}'
    macs = '' if result.macs is None else f'{result.macs / 1e9:.2f}'
    memory = '' if result.memory is None or np.isnan(result.memory) else f'{result.memory:.0f}'
    return [parameters, macs, f'{result.milliseconds:.1f}', memory]


def aligned(rows: list[list[str]]) -> str:
    """A Markdown table whose columns line up in a terminal too: the first to the left, the others to the right."""
    rows = [[cell.replace('|', '\\|') for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    rule = ['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])]
    lines = [[row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))] for row in rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in [lines[0], rule, *lines[1:]])
