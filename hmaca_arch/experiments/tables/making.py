"""`basicsr tables`: trains and tests the networks of the paper's tables, and prints the tables.

A cell of a table is a training and a test in processes of their own (`basicsr train`, `basicsr
test`). What is done is skipped: after a stop or a kill the same command goes on where it was.
Everything is written below one folder, the tables as tableN_*.md and .csv, with figures.
"""

import argparse
import signal
from pathlib import Path

import cv2

from hmaca_arch.experiments.tables import figures, job, plan, report, results, runner
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.messages import one_line, printable, say


def root() -> Path:
    """The checkout, whose option files are run.

    Raises:
        ValueError: this is an installation without one.
    """
    folder = Path(__file__).resolve().parents[3]
    if not (folder / 'options').is_dir():
        raise ValueError(
            'the tables are made from the option files of a checkout, and this is an installation without one'
        )
    return folder


def write_tables(args: argparse.Namespace, cells: dict[str, list[plan.Cell]], command: str) -> None:
    """Print every table, and write it as Markdown, CSV and pictures.

    Besides the cells of this command it has what earlier ones left in the folder at the same scale
    (in I without alpha, in II and III over alpha on their data sets), if the option file and the
    data are still the same: it grows.
    """
    for number, chosen in cells.items():
        earlier = [
            cell
            for cell in job.known_cells(args.output, chosen[0].scale)
            if plan.belongs(number, cell) and cell not in chosen
        ]
        of_table = list(chosen)
        for cell in earlier:
            try:
                job.Job(cell, args.output, root(), args.data).check_identity()
                of_table.append(cell)
            except ValueError as error:
                say(f'left out: {one_line(error)}')
        found = results.collect(of_table, args.output, root())
        text = report.document(
            f'Table {"I" * int(number)}', found, command, number != '1', args.against
        )
        base = args.output / f'table{number}_{of_table[0].scale}'
        written = {
            base.with_name(f'{base.name}.md'): text,
            base.with_name(f'{base.name}.csv'): report.table_csv(found),
        }
        for path, content in written.items():
            write_atomically(path, content.encode())
        try:
            chart = figures.alpha_plot(found)
        except ValueError as error:  # matplotlib is missing: the table is worth more than the chart
            say(f'left out: {one_line(error)}')
            chart = None
        if chart is not None:
            written[args.output / f'{base.name}_alpha.png'] = ''
            write_atomically(
                args.output / f'{base.name}_alpha.png',
                lambda file, chart=chart: chart.savefig(file, format='png'),
            )
        for (dataset,), group in report.grouped(found, 'dataset').items():
            sheet = figures.sheet(group, args.output, args.data)
            if sheet is not None:
                written[args.output / f'{base.name}_{dataset}.png'] = ''
                write_atomically(
                    args.output / f'{base.name}_{dataset}.png',
                    cv2.imencode('.png', sheet)[1].tobytes(),
                )
        say(f'\n{text}\nwritten: {", ".join(map(printable, written))}')


def make(args: argparse.Namespace, command: str) -> int:
    """Run what is not done yet, and write the tables; returns 1 if a cell could not be done.

    Args:
        args: as `commands.tables` parses them.
        command: the command line, for whoever reads the tables.

    Raises:
        KeyboardInterrupt: interrupted, or told to end; the tables of what is done are written.
        ValueError, OSError: a user's mistake, in one line.
    """
    args.output, args.data = args.output.expanduser().resolve(), args.data.expanduser().resolve()
    if args.report and not args.output.is_dir():
        raise ValueError(
            f'--report: there is nothing to report, the folder {args.output} does not exist'
        )
    if args.against:
        args.against = plan.network_name(args.against)
        if '1' not in args.table:
            raise ValueError(
                f'--against {args.against}: only table 1 compares networks; add --table 1'
            )
    cells = {
        table: plan.plan(
            table, args.preset, protocol=args.protocol, networks=args.networks, sets=args.sets, alphas=args.alphas,
            outside=args.outside, seeds=args.seeds,
            processes=args.processes, iterations=args.iterations,
        )
        for table in dict.fromkeys(args.table)
    }  # fmt: skip
    every = list(dict.fromkeys(cell for of_table in cells.values() for cell in of_table))
    before = signal.signal(signal.SIGTERM, _stop)
    interrupted = False
    try:
        if not args.report:
            runner.run(every, args.output, root(), args.data, args.jobs)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        signal.signal(signal.SIGTERM, before)
    write_tables(args, cells, command)
    if interrupted:
        raise KeyboardInterrupt('the same command goes on from here')
    return int(not args.report and not all(job.is_done(args.output, cell) for cell in every))


def _stop(*_) -> None:
    raise KeyboardInterrupt(
        'the same command goes on from here'
    )  # so that the cells' processes are ended too
