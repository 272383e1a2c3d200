"""The tables as people read them: CSV with a line a cell, and Markdown in the form of the paper's."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from statistics import mean

from hmaca_arch.experiments.markdown import aligned
from hmaca_arch.experiments.tables.plan import SETS, exact
from hmaca_arch.experiments.tables.results import METRICS, Result, difference

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
SETTINGS = ('network', 'dataset', 'preset', 'protocol', 'alpha', 'outside', 'seed', 'processes')


def shown(value: float | None, form: str = '.2f') -> str:
    return '' if value is None or math.isnan(value) else format(value, form)


def table_csv(results: Iterable[Result]) -> str:
    """A line a cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    figures = [(metric, row) for metric in METRICS for row in ('input', 'result')]
    head = [
        *SETTINGS,
        'status',
        'iterations',
        'training_minutes',
        'parameters',
        *(f'{row}_{metric}' for metric, row in figures),
    ]
    writer.writerow([*head, 'gain', 'paper', 'option_file', 'error'])
    for result in results:
        state = result.state
        writer.writerow(
            [
                *(getattr(result.cell, key) for key in SETTINGS),
                result.status,
                state.get('iterations'),
            ]
            + [shown(state.get('training_seconds', math.nan) / 60, '.1f'), state.get('parameters')]
            + [shown(result.mean(row, metric), '.6f') for metric, row in figures]
            + [
                shown(result.gain, '.6f'),
                shown(result.paper),
                f'options/{result.cell.option_file}',
                state.get('error'),
            ]
        )
    return text.getvalue()


def grouped(results: Iterable[Result], *keys: str) -> dict[tuple, list[Result]]:
    """By these settings of the cells, in the order of their first one."""
    groups: dict[tuple, list[Result]] = {}
    for result in results:
        groups.setdefault(tuple(getattr(result.cell, key) for key in keys), []).append(result)
    return groups


def over_seeds(group: Sequence[Result], figures: Iterable[float], form: str) -> str:
    """The mean, and with several seeds the range; what the state is if no seed is done."""
    values = [value for value in figures if not math.isnan(value)]
    if not values:
        return 'no figures' if any(result.table for result in group) else group[0].status
    spread = f' ({min(values):{form}} to {max(values):{form}})' if len(values) > 1 else ''
    return f'{mean(values):{form}}{spread}'


def distinct(results: Iterable[Result], key: str) -> str:
    """'1,500', or more than one if the cells differ; empty where it is not known."""
    return ' / '.join(
        f'{number:,}'
        for number in sorted({result.state[key] for result in results if result.state.get(key)})
    )


def label(network: str, alpha: float | None, outside: str | None) -> str:
    parts = [] if alpha is None else [f'alpha {exact(alpha)}']
    parts += [] if outside is None else [f'outside: {outside}']
    return ', '.join([network, *parts])


def by_network(results: Sequence[Result], against: str | None = None) -> str:
    """As Table I: a row a network; a table a data set. With `against`, a network's name, also how
    far the others are ahead of it.
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
            done = [result for result in group if result.table]
            figures = {
                metric: over_seeds(group, [r.mean('result', metric) for r in group], FORMS[metric])
                for metric in METRICS
            }
            if not done:
                rows.append([label(*settings), group[0].status, '', shown(group[0].paper)])
                continue
            cells = [
                label(*settings), figures['composite_psnr'], over_seeds(group, [r.gain for r in group], '+.2f'), shown(group[0].paper),
                figures['masked_psnr'], figures['masked_ssim'], distinct(done, 'parameters'), distinct(done, 'iterations'),
                shown(mean(r.state['training_seconds'] for r in done) / 60, '.1f'), ', '.join(str(r.cell.seed) for r in done),
            ]  # fmt: skip
            if against and group is not reference:
                ahead = difference(group, reference)
                there = any(result.table for result in reference)
                cells.append(
                    ahead.text(2, '+')
                    if ahead
                    else 'no common seed'
                    if there
                    else f'{against} not run'
                )
            rows.append(cells)
        parts.append(aligned([row + [''] * (len(rows[0]) - len(row)) for row in rows]))
    return '\n\n'.join(parts)


def by_alpha(results: Sequence[Result]) -> str:
    """As Tables II and III: a column an alpha, and for each data set the input, the result, its
    gain, its iterations and the
    paper's figure."""
    alphas = sorted(
        {result.cell.alpha for result in results}, key=lambda alpha: -1 if alpha is None else alpha
    )
    rows = [
        [
            'alpha',
            *(
                'as in its file'
                if alpha is None
                else f'{alpha:.1f}'
                if round(alpha, 1) == alpha
                else f'{alpha:g}'
                for alpha in alphas
            ),
        ]
    ]
    for (dataset,), chosen in grouped(results, 'dataset').items():
        first = next((result for result in chosen if result.table), chosen[0])
        unrestored = shown(first.mean('input', 'composite_psnr')) or 'not run'
        rows.append([f'{SETS[dataset]}: unrestored input', *[unrestored] * len(alphas)])
        for (network, outside), of_network in grouped(chosen, 'network', 'outside').items():
            cells = {alpha: group for (alpha,), group in grouped(of_network, 'alpha').items()}
            groups = [cells.get(alpha, []) for alpha in alphas]
            name = label(network, None, outside)
            rows.append(
                [
                    name,
                    *(
                        over_seeds(g, [r.mean('result', 'composite_psnr') for r in g], '.2f')
                        if g
                        else ''
                        for g in groups
                    ),
                ]
            )
            rows.append(
                [
                    f'{name}: gain',
                    *(
                        over_seeds(g, [r.gain for r in g], '+.2f')
                        if g and any(r.table for r in g)
                        else ''
                        for g in groups
                    ),
                ]
            )
            rows.append(
                [
                    f'{name}: iterations',
                    *(distinct([r for r in g if r.table], 'iterations') for g in groups),
                ]
            )
            if any(g and g[0].paper for g in groups):
                rows.append([f'{name}: paper', *(shown(g[0].paper) if g else '' for g in groups)])
    return aligned(rows)


def document(
    title: str, results: Sequence[Result], command: str, alphas: bool, against: str | None = None
) -> str:
    """A table as Markdown with what one has to know to read it and to run it again."""
    cell, done = results[0].cell, [result for result in results if result.table]
    counts = ', '.join(
        f'{len(group)} {status}'
        for status in ('done', 'not finished', 'failed', 'not run')
        if (group := [r for r in results if r.status == status])
    )
    lines = [f'## {title}: preset {cell.preset}, protocol {cell.protocol}', '', f'`{command}`', '']
    lines += [by_alpha(results) if alphas else by_network(results, against), '']
    counted = {len(result.table.names) for result in done}
    pictures = f', {counted.pop()} test pictures' if len(counted) == 1 else ''
    lines.append(
        f'Composite PSNR in dB{pictures}; gains over the unrestored input are paired. '
        "The paper's figures are from networks of its own size, on pictures and regions that it does not state. "
        f'Cells: {counts}. Processes: {cell.processes}.'
    )
    if against:
        lines.append(
            f'less {against}: difference in composite PSNR, paired over pictures and the seeds that both have, with 95 % intervals by '
            'bootstrap over pictures: what other seeds would give, they do not know.'
        )
    for (dataset,), group in grouped(done, 'dataset').items():
        exact = sum(math.isnan(value) for value in group[0].table.values['result', METRICS[0]])
        if exact:
            lines.append(
                f'{SETS[dataset]}: {exact} pictures that some network restored exactly are left out for all.'
            )
    machines = sorted(
        {
            ', '.join(
                f'{key} {v[key]}' for key in ('commit', 'torch', 'gpu', 'machine') if v.get(key)
            )
            for v in (r.versions for r in done)
            if v
        }
    )
    lines += [f'Tested with: {"; ".join(machines)}.'] if machines else []
    lines += [
        f'- {result.cell.name}: {result.state["error"]}'
        for result in results
        if result.status == 'failed'
    ]
    return '\n'.join(lines) + '\n'
