"""Write the tables: CSV with a line for each cell, and Markdown in the form of the paper's."""

import csv
import io
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from statistics import mean
from typing import Any

from hmaca_arch.experiments.markdown import aligned
from hmaca_arch.experiments.tables.cell import SETS, Cell, exact
from hmaca_arch.experiments.tables.results import METRICS, CellResult, difference

FORMS = {'composite_psnr': '.2f', 'masked_psnr': '.2f', 'masked_ssim': '.4f'}
HEAD = (
    'composite PSNR',
    'gain',
    'paper',
    'masked PSNR',
    'masked SSIM',
    'parameters',
    'iterations',
    'minutes',
    'seeds',
)  # by network
# The state has the iterations, also where a cell leaves them to its option file.
SETTINGS = tuple(field.name for field in fields(Cell) if field.name != 'iterations')


def shown(value: float | None, form: str = '.2f') -> str:
    """Format a number; nothing if there is none."""
    return '' if value is None or math.isnan(value) else format(value, form)


def table_csv(results: Iterable[CellResult]) -> str:
    """Write a line for each cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    figures = list(itertools.product(METRICS, ('input', 'result')))
    head = [*SETTINGS, 'status', 'iterations', 'training_minutes', 'parameters']
    head += [f'{row}_{metric}' for metric, row in figures]
    writer.writerow([*head, 'gain', 'paper', 'option_file', 'error'])
    for result in results:
        state = result.state
        line = [getattr(result.cell, key) for key in SETTINGS]
        line += [result.status, state.get('iterations')]
        line += [shown(state.get('training_seconds', math.nan) / 60, '.1f')]
        line += [state.get('parameters')]
        line += [shown(result.mean(row, metric), '.6f') for metric, row in figures]
        line += [shown(result.gain, '.6f'), shown(result.paper)]
        writer.writerow([*line, f'options/{result.cell.option_file}', state.get('error')])
    return text.getvalue()


def grouped(results: Iterable[CellResult], *keys: str) -> dict[tuple[Any, ...], list[CellResult]]:
    """Group results by these settings of their cells, in the order of the first of each."""
    groups: dict[tuple[Any, ...], list[CellResult]] = {}
    for result in results:
        groups.setdefault(tuple(getattr(result.cell, key) for key in keys), []).append(result)
    return groups


def over_seeds(group: Sequence[CellResult], figures: Iterable[float], form: str) -> str:
    """Write the mean, and with several seeds the range; the status if no seed is done."""
    values = [value for value in figures if not math.isnan(value)]
    if not values:
        return 'no figures' if any(result.table for result in group) else group[0].status
    spread = f' ({min(values):{form}} to {max(values):{form}})' if len(values) > 1 else ''
    return f'{mean(values):{form}}{spread}'


def distinct(results: Iterable[CellResult], key: str) -> str:
    """Write '1,500', or several numbers if the cells differ; nothing if it is not known."""
    return ' / '.join(
        f'{number:,}'
        for number in sorted({result.state[key] for result in results if result.state.get(key)})
    )


def label(network: str, alpha: float | None, outside: str | None) -> str:
    """Name a row."""
    parts = [] if alpha is None else [f'alpha {exact(alpha)}']
    parts += [] if outside is None else [f'outside: {outside}']
    return ', '.join([network, *parts])


def by_network(results: Sequence[CellResult], against: str | None = None) -> str:
    """Write a table for each data set, as Table I: a row for each network.

    Args:
        results: of the cells.
        against: a network's name; how far the others are ahead of it is one more column.
    """
    parts = []
    for (dataset,), chosen in grouped(results, 'dataset').items():
        rows = [[SETS[dataset], *HEAD, *([f'less {against}'] if against else [])]]
        first = next((result for result in chosen if result.table), chosen[0])
        psnr, *more = [shown(first.mean('input', metric), FORMS[metric]) for metric in METRICS]
        rows.append(['unrestored input', psnr or 'not run', '', '', *more])
        groups = grouped(chosen, 'network', 'alpha', 'outside')
        reference = groups.get((against, None, None), [])
        for settings, group in groups.items():
            row = [label(*settings), *of_network(group)]
            if against and group is not reference and any(result.table for result in group):
                row.append(lead(group, reference, against))
            rows.append(row)
        parts.append(aligned([row + [''] * (len(rows[0]) - len(row)) for row in rows]))
    return '\n\n'.join(parts)


def of_network(group: Sequence[CellResult]) -> list[str]:
    """Write the columns of HEAD for the cells of one network."""
    done = [result for result in group if result.table]
    paper = shown(group[0].paper)
    if not done:
        return [group[0].status, '', paper]
    psnr, masked, ssim = (
        over_seeds(group, [r.mean('result', metric) for r in group], FORMS[metric])
        for metric in METRICS
    )
    return [
        psnr,
        over_seeds(group, [r.gain for r in group], '+.2f'),
        paper,
        masked,
        ssim,
        distinct(done, 'parameters'),
        distinct(done, 'iterations'),
        shown(mean(r.state['training_seconds'] for r in done) / 60, '.1f'),
        ', '.join(str(r.cell.seed) for r in done),
    ]


def lead(group: Sequence[CellResult], reference: Sequence[CellResult], against: str) -> str:
    """Write how far one network is ahead of another, or why that is not known."""
    ahead = difference(group, reference)
    if ahead:
        return ahead.text(2, '+')
    there = any(result.table for result in reference)
    return 'no common seed' if there else f'{against} not run'


def by_alpha(results: Sequence[CellResult]) -> str:
    """Write a table with a column for each alpha, as Tables II and III.

    Each data set has rows for the input, the result, its gain, its iterations and the paper's
    figure.
    """
    found = {result.cell.alpha for result in results}
    alphas = sorted(found, key=lambda alpha: -1 if alpha is None else alpha)
    rows = [['alpha', *map(alpha_head, alphas)]]
    for (dataset,), chosen in grouped(results, 'dataset').items():
        first = next((result for result in chosen if result.table), chosen[0])
        unrestored = shown(first.mean('input', 'composite_psnr')) or 'not run'
        rows.append([f'{SETS[dataset]}: unrestored input', *[unrestored] * len(alphas)])
        for (network, outside), same in grouped(chosen, 'network', 'outside').items():
            cells = {alpha: group for (alpha,), group in grouped(same, 'alpha').items()}
            groups = [cells.get(alpha, []) for alpha in alphas]
            rows += rows_by_alpha(label(network, None, outside), groups)
    return aligned(rows)


def alpha_head(alpha: float | None) -> str:
    """Write an alpha above its column."""
    if alpha is None:
        return 'as in its file'
    return f'{alpha:.1f}' if round(alpha, 1) == alpha else f'{alpha:g}'


def rows_by_alpha(name: str, groups: Sequence[Sequence[CellResult]]) -> list[list[str]]:
    """Write the rows of one network; `groups` are its results by alpha, some of them empty."""

    def psnr(group: Sequence[CellResult]) -> str:
        values = [result.mean('result', 'composite_psnr') for result in group]
        return over_seeds(group, values, '.2f') if group else ''

    def gain(group: Sequence[CellResult]) -> str:
        done = any(result.table for result in group)
        return over_seeds(group, [result.gain for result in group], '+.2f') if done else ''

    def iterations(group: Sequence[CellResult]) -> str:
        return distinct([result for result in group if result.table], 'iterations')

    rows = [
        [name, *map(psnr, groups)],
        [f'{name}: gain', *map(gain, groups)],
        [f'{name}: iterations', *map(iterations, groups)],
    ]
    if any(group and group[0].paper for group in groups):
        rows.append([f'{name}: paper', *(shown(g[0].paper) if g else '' for g in groups)])
    return rows


def document(
    title: str,
    results: Sequence[CellResult],
    command: str,
    alphas: bool,
    against: str | None = None,
) -> str:
    """Write a table as Markdown, with what one has to know to read it and to run it again.

    Args:
        title: of the table.
        results: of its cells.
        command: that made it.
        alphas: a column for each alpha, instead of a row for each network.
        against: see `by_network`.
    """
    cell, done = results[0].cell, [result for result in results if result.table]
    lines = [f'## {title}: preset {cell.preset}, protocol {cell.protocol}', '', f'`{command}`', '']
    lines += [by_alpha(results) if alphas else by_network(results, against), '']
    counted = {len(result.table.names) for result in results if result.table}
    images = f', {counted.pop()} test images' if len(counted) == 1 else ''
    arithmetic = f'Trained in {", ".join(cell.arithmetic)}. ' if cell.arithmetic else ''
    lines.append(
        f'Composite PSNR in dB{images}; gains over the unrestored input are paired. '
        "The paper's figures are from networks of its own size, on images and regions that it "
        f'does not state. {arithmetic}Cells: {counts(results)}. Processes: {cell.processes}.'
    )
    if against:
        lines.append(
            f'less {against}: difference in composite PSNR, paired over images and the seeds that '
            'both have, with 95 % intervals by bootstrap over images. The intervals do not cover '
            'other seeds.'
        )
    for (dataset,), group in grouped(done, 'dataset').items():
        table = group[0].table
        exact = sum(map(math.isnan, table.values['result', METRICS[0]])) if table else 0
        if exact:
            lines.append(
                f'{SETS[dataset]}: {exact} images that some network restored exactly are left out '
                'for all.'
            )
    if tested := machines(done):
        lines.append(f'Tested with: {"; ".join(tested)}.')
    failed = [result for result in results if result.status == 'failed']
    lines += [f'- {result.cell.name}: {result.state["error"]}' for result in failed]
    return '\n'.join(lines) + '\n'


def counts(results: Sequence[CellResult]) -> str:
    """Write how many cells there are of each status."""
    found = Counter(result.status for result in results)
    order = ('done', 'not finished', 'failed', 'not run')
    return ', '.join(f'{found[status]} {status}' for status in order if found[status])


def machines(done: Sequence[CellResult]) -> list[str]:
    """List what the cells were tested with."""
    keys = ('commit', 'torch', 'gpu', 'machine')
    found = set()
    for result in done:
        versions = [f'{key} {result.versions[key]}' for key in keys if result.versions.get(key)]
        found.add(', '.join(versions))
    return sorted(found - {''})
