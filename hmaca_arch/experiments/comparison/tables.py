"""From each image's figures to tables: means, intervals by bootstrap, paired differences."""

import csv
import io
from collections.abc import Sequence

import numpy as np

from hmaca_arch.experiments.bootstrap import Estimate, bootstrap
from hmaca_arch.experiments.comparison.measure import METRICS, MethodFigures
from hmaca_arch.experiments.markdown import aligned


class Comparison:
    """Results of several methods on the same images.

    The first result stays first. The others are ordered by composite PSNR, the best first. An image
    counts for a metric if every method's value is finite. It is not if one restored the image
    exactly, or if its region is empty.

    Args:
        results: of the methods; the first is the unrestored input.
        against: label of the row that the others are compared with; None: the first.
        resamples: of the bootstrap.
        confidence: of the intervals, between 0 and 1.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        results: Sequence[MethodFigures],
        against: str | None = None,
        resamples: int = 10000,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> None:
        self.metrics = [
            metric for metric in METRICS if all(metric in result.values for result in results)
        ]
        finite = {}
        for metric in self.metrics:
            rows = np.stack([result.values[metric] for result in results])
            finite[metric] = rows[:, np.isfinite(rows).all(axis=0)]
        self.used = {metric: rows.shape[1] for metric, rows in finite.items()}
        first = self.metrics[0]
        means = finite[first].mean(axis=1) if self.used[first] else np.zeros(len(results))
        order = [0, *sorted(range(1, len(results)), key=lambda row: -means[row])]
        self.results = [results[row] for row in order]
        self.against = against or results[0].label
        reference = next(row for row, result in enumerate(results) if result.label == self.against)
        self.confidence = confidence
        self.estimates: dict[str, list[Estimate]] = {}
        self.differences: dict[str, list[Estimate]] = {}
        for metric, rows in finite.items():
            paired = rows - rows[reference]
            self.estimates[metric] = bootstrap(rows[order], resamples, confidence, seed)
            self.differences[metric] = bootstrap(paired[order], resamples, confidence, seed)

    def markdown(self) -> str:
        """Return three tables, and notes on images that were left out.

        The tables are means and cost, intervals of the means, and paired differences.
        """
        titles = [METRICS[metric][0] for metric in self.metrics]
        share, count = f'{100 * self.confidence:g} %', len(self.results[0].names)
        main = [['method', *titles, 'parameters', 'GMAC', 'ms', 'MiB']]
        intervals, differences = [['method', *titles]], [['method', *titles]]
        for row, result in enumerate(self.results):
            means, ranges, gains = [], [], []
            for metric in self.metrics:
                decimals, estimate = METRICS[metric][1], self.estimates[metric][row]
                means.append(f'{estimate.mean:.{decimals}f}')
                ranges.append(estimate.text(decimals))
                gains.append(self.differences[metric][row].text(decimals, '+'))
            main.append([result.label, *means, *(cost(result) if row else [''] * 4)])
            intervals.append([result.label, *ranges])
            if result.label != self.against:
                differences.append([result.label, *gains])
        parts = [
            aligned(main),
            f'Means with {share} intervals (bootstrap over images):',
            aligned(intervals),
        ]
        if len(differences) > 1:
            title = f'Paired differences from "{self.against}", with {share} intervals:'
            parts += [title, aligned(differences)]
        parts += [
            f'{METRICS[metric][0]}: over {used} of {count} images; '
            'in the others a method is exact, or there is no region.'
            for metric, used in self.used.items()
            if used < count
        ]
        return '\n\n'.join(parts) + '\n'

    def csv(self) -> str:
        """Return a CSV with a line for each image and method: every metric, and milliseconds."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['picture', 'method', *self.metrics, 'milliseconds'])
        for result in self.results:
            for index, name in enumerate(result.names):
                values = (f'{result.values[metric][index]:.6f}' for metric in self.metrics)
                writer.writerow([name, result.label, *values, f'{1e3 * result.seconds[index]:.3f}'])
        return file.getvalue()


def cost(result: MethodFigures) -> list[str]:
    """Return parameters, GMAC, milliseconds and MiB as text."""
    parameters = '' if result.parameters is None else f'{result.parameters:,}'
    macs = '' if result.macs is None else f'{result.macs / 1e9:.2f}'
    memory = '' if result.memory is None or np.isnan(result.memory) else f'{result.memory:.0f}'
    return [parameters, macs, f'{result.milliseconds:.1f}', memory]
