"""From every picture's figures to a table: means over the same pictures, intervals by bootstrap,
paired differences; as Markdown.
"""

import csv
import io
from collections.abc import Sequence

import numpy as np

from hmaca_arch.experiments.bootstrap import Estimate, bootstrap
from hmaca_arch.experiments.comparison.measure import METRICS, Result
from hmaca_arch.experiments.markdown import aligned


class Comparison:
    """Results of several methods on the same pictures: the first one first, then by composite PSNR,
    the best first.

    A picture counts for a metric if every method's value is finite: not if one restored it exactly
    or its region is empty.

    Args:
        results: of the methods; the first is the unrestored input.
        against: label of the row that the others are compared with; None: the first.
        resamples, confidence, seed: of the bootstrap.
    """

    def __init__(
        self,
        results: Sequence[Result],
        against: str | None = None,
        resamples: int = 10000,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> None:
        self.metrics = [
            metric for metric in METRICS if all(metric in result.values for result in results)
        ]
        values = {
            metric: np.stack([result.values[metric] for result in results])
            for metric in self.metrics
        }
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
        """Three tables: means and cost, intervals of the means, paired differences; and what was
        left out.
        """
        titles, count = [METRICS[metric][0] for metric in self.metrics], len(self.results[0].names)
        share = f'{100 * self.confidence:g} %'
        main = [['method', *titles, 'parameters', 'GMAC', 'ms', 'MiB']]
        intervals, differences = [['method', *titles]], [['method', *titles]]
        for row, result in enumerate(self.results):
            means = [
                f'{self.estimates[metric][row].mean:.{METRICS[metric][1]}f}'
                for metric in self.metrics
            ]
            main.append([result.label, *means, *(cost(result) if row else [''] * 4)])
            intervals.append(
                [
                    result.label,
                    *(
                        self.estimates[metric][row].text(METRICS[metric][1])
                        for metric in self.metrics
                    ),
                ]
            )
            if result.label != self.against:
                texts = (
                    self.differences[metric][row].text(METRICS[metric][1], '+')
                    for metric in self.metrics
                )
                differences.append([result.label, *texts])
        notes = [
            f'{METRICS[metric][0]}: over {used} of {count} pictures; in the others a method is exact, or there is no region.'
            for metric, used in self.used.items()
            if used < count
        ]
        parts = [
            aligned(main),
            f'Means with {share} intervals (bootstrap over pictures):',
            aligned(intervals),
        ]
        if len(differences) > 1:
            parts += [
                f'Paired differences from "{self.against}", with {share} intervals:',
                aligned(differences),
            ]
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
