"""Run the experiments of the paper's tables, and write the tables.

A cell of a table is one `basicsr train` and one `basicsr test`, each in a process. Finished cells
are skipped: after a stop or a kill the same command continues. Everything is written below one
folder, the tables as tableN_*.md and .csv, with figures.
"""

import argparse
import itertools
import os
import signal
from pathlib import Path
from typing import NoReturn

from hmaca_arch.experiments.tables import figures, plan, report, results, runner, state
from hmaca_arch.experiments.tables.cell import Cell
from hmaca_arch.experiments.tables.job import CellJob
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.images import encode_png
from hmaca_arch.messages import one_line, printable, say

GO_ON = 'the same command continues from here'


def write_tables(args: argparse.Namespace, cells: dict[str, list[Cell]], command: str) -> None:
    """Print every table, and write it as Markdown, CSV and images.

    A table also has the cells that earlier commands left in the folder at the same scale, if their
    option files and data are still the same.
    """
    for number, chosen in cells.items():
        found = results.collect([*chosen, *earlier_cells(args, number, chosen)], args.output)
        title = f'Table {"I" * int(number)}'
        text = report.document(title, found, command, number != '1', args.against)
        stem = f'table{number}_{chosen[0].scale}'
        written = [args.output / f'{stem}.md', args.output / f'{stem}.csv']
        for path, content in zip(written, (text, report.table_csv(found)), strict=True):
            write_atomically(path, content.encode())
        written += write_images(args, stem, found)
        say(f'\n{text}\nwritten: {", ".join(map(printable, written))}')


def earlier_cells(args: argparse.Namespace, number: str, chosen: list[Cell]) -> list[Cell]:
    """List the cells of a table that earlier commands left in the folder, except `chosen`.

    A line names those whose option file or data have changed.
    """
    cells = []
    for cell in state.known_cells(args.output, chosen[0].scale):
        if not plan.belongs(number, cell) or cell in chosen:
            continue
        try:
            CellJob(cell, args.output, args.data).check_identity()
            cells.append(cell)
        except ValueError as error:
            say(f'left out: {one_line(error)}')
    return cells


def write_images(
    args: argparse.Namespace, stem: str, found: list[results.CellResult]
) -> list[Path]:
    """Write the chart over alpha and the sheets of a table; return their paths."""
    written = []
    try:
        chart = figures.alpha_plot(found)
    except ValueError as error:  # no matplotlib: write the rest
        say(f'left out: {one_line(error)}')
        chart = None
    if chart is not None:
        written.append(args.output / f'{stem}_alpha.png')
        write_atomically(written[-1], lambda file: chart.savefig(file, format='png'))
    for (dataset,), group in report.grouped(found, 'dataset').items():
        sheet = figures.sheet(group, args.output, args.data)
        if sheet is not None:
            written.append(args.output / f'{stem}_{dataset}.png')
            write_atomically(written[-1], encode_png(sheet))
    return written


def make(args: argparse.Namespace, command: str) -> int:
    """Run what is not done yet, and write the tables.

    Args:
        args: as `commands.tables` parses them.
        command: the command line, for the tables.

    Returns:
        1 if a cell could not be done, else 0.

    Raises:
        KeyboardInterrupt: interrupted, or told to end; the tables of what is done are written.
        ValueError: a user's mistake.
        OSError: a file cannot be read or written.
    """
    args.output, args.data = (
        Path(os.path.expanduser(path)).resolve() for path in (args.output, args.data)
    )
    if args.report and not args.output.is_dir():
        raise ValueError(
            f'--report: there is nothing to report, as the folder {args.output} does not exist'
        )
    if args.against:
        args.against = plan.network_name(args.against)
        if '1' not in args.table:
            raise ValueError(
                f'--against {args.against}: only table 1 compares networks; add --table 1'
            )
    cells = {
        table: plan.plan(
            table,
            args.preset,
            protocol=args.protocol,
            networks=args.networks,
            sets=args.sets,
            alphas=args.alphas,
            outside=args.outside,
            seeds=args.seeds,
            processes=args.processes,
            iterations=args.iterations,
            amp=None if args.amp == 'false' else args.amp,
            tf32=args.tf32,
            compiled=args.compile,
        )
        for table in dict.fromkeys(args.table)
    }
    every = list(dict.fromkeys(itertools.chain(*cells.values())))
    before = signal.signal(signal.SIGTERM, _stop)
    interrupted = False
    try:
        if not args.report:
            runner.run_cells(every, args.output, args.data, args.jobs)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        signal.signal(signal.SIGTERM, before)
    write_tables(args, cells, command)
    if interrupted:
        raise KeyboardInterrupt(GO_ON)
    return int(not args.report and not all(state.is_done(args.output, cell) for cell in every))


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt(GO_ON)  # as Ctrl-C, which ends the cells' processes too
