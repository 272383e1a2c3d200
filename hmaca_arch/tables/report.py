"""The tables as people read them: CSV with a line a cell, and Markdown in the form of the paper's."""

import csv
import io
import math
from pathlib import Path

from hmaca_arch.tables.plan import SETS, paper_figure
from hmaca_arch.tables.results import METRICS, Result


def shown(value: float | None, form: str = '.2f') -> str:
    return '' if value is None or math.isnan(value) else format(value, form)


def table_csv(results: list[Result], root: Path) -> str:
    """A line a cell.

    Args:
        root: the folder `options`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    keys = ('network', 'dataset', 'preset', 'protocol', 'alpha', 'outside', 'seed', 'processes')
    figures = [f'{kind}_{metric}' for metric in METRICS for kind in ('input', 'result')]
    writer.writerow([*keys, 'status', 'iterations', 'training_minutes', 'parameters', *figures, 'gain', 'paper', 'option_file'])
    for result in results:
        state = result.state
        values = [shown(result.mean(kind, metric), '.4f') for metric in METRICS for kind in ('input', 'result')]
        minutes = shown(state.get('training_seconds', math.nan) / 60, '.1f')
        writer.writerow(
            [*(getattr(result.cell, key) for key in keys), result.status, state.get('iterations'), minutes, state.get('parameters')]
            + [*values, shown(result.gain, '.4f'), shown(paper_figure(result.cell, root)), f'options/{result.cell.option_file}']
        )
    return text.getvalue()


def markdown(rows: list[list[str]]) -> str:
    """Rows of cells, the first one the head, padded so that a terminal shows columns too. All columns but the first are figures."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [[cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))] for row in rows]
    rule = ['-' * max(3, widths[0]), *('-' * max(2, width - 1) + ':' for width in widths[1:])]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in [lines[0], rule, *lines[1:]])


def by_network(results: list[Result], root: Path) -> str:
    """Table I: a row a network, one table a data set."""
    parts = []
    for dataset in dict.fromkeys(result.cell.dataset for result in results):
        chosen = [result for result in results if result.cell.dataset == dataset]
        head = [
            SETS[dataset],
            'seed',
            'composite PSNR',
            'gain',
            'paper',
            'masked PSNR',
            'masked SSIM',
            'parameters',
            'iterations',
            'minutes',
        ]
        first = next((result for result in chosen if result.values), None)
        inputs = (
            [shown(first.mean('input', metric), form) for metric, form in zip(METRICS, ('.2f', '.2f', '.4f'))]
            if first
            else ['not run', '', '']
        )
        rows = [head, ['unrestored input', '', inputs[0], '', '', inputs[1], inputs[2], '', '', '']]
        for result in chosen:
            state, paper = result.state, shown(paper_figure(result.cell, root))
            label = result.cell.network if result.cell.alpha is None else f'{result.cell.network}, alpha {result.cell.alpha:g}'
            if not result.values:
                status = 'not run' if result.status == 'not run' else 'failed' if 'error' in state else 'not finished'
                rows.append([label, str(result.cell.seed), status, '', paper, '', '', '', '', ''])
                continue
            rows.append(
                [
                    label, str(result.cell.seed), shown(result.mean('result', 'composite_psnr')), shown(result.gain, '+.2f'), paper,
                    shown(result.mean('result', 'masked_psnr')), shown(result.mean('result', 'masked_ssim'), '.4f'),
                    f'{state["parameters"]:,}' if state.get('parameters') else '', str(state['iterations']),
                    shown(state['training_seconds'] / 60, '.1f'),
                ]
            )  # fmt: skip
        parts.append(markdown(rows))
    return '\n\n'.join(parts)
