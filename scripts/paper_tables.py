#!/usr/bin/env python
"""Train and test the networks of the paper's tables, and print the tables.

A cell of a table is a training and a test in processes of their own (`basicsr train`, `basicsr test`). What is done is skipped: after a
stop or a kill the same command goes on where it was. Everything is written below one folder, the tables as tableN_*.md and .csv, with
figures.
"""

import argparse
import shlex
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # last: an installed package goes first

from hmaca_arch.experiments.tables import figures, job, plan, report, results, runner  # noqa: E402


def positive(kind: type):
    def read(text: str):
        value = kind(text)
        if not 0 < value < float('inf'):
            raise ValueError
        return value

    read.__name__ = 'positive number'
    return read


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--table', nargs='+', choices=plan.TABLES, default=['1'], help='1: networks; 2, 3: alpha, Horse and ImageNet (1)')
    parser.add_argument(
        '--preset', choices=plan.PRESETS, default='light', help="the paper's size, one for CPUs, or a try of this script (light)"
    )
    parser.add_argument('--protocol', choices=('release', 'clean'), help='of the data (paper: release; light, smoke: clean)')
    names = ', '.join([*plan.NETWORKS, *plan.ALIASES])
    parser.add_argument('--networks', nargs='+', default=[], metavar='NETWORK', help=f"{names} (the table's)")
    parser.add_argument('--sets', nargs='+', choices=plan.SETS, default=[], help="(the table's)")
    parser.add_argument(
        '--alphas',
        nargs='+',
        type=float,
        default=[],
        metavar='ALPHA',
        help="0 to 1; networks with a +, where alpha only scales the loss, keep their own (the table's)",
    )
    parser.add_argument('--outside', nargs='+', choices=('complement', 'image'), default=[], help="of the loss (the option file's)")
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], metavar='SEED', help='(0)')
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument('--iterations', type=positive(int), metavar='N', help="of each cell (the option file's)")
    budget.add_argument(
        '--minutes-per-cell', type=positive(float), metavar='M', help='train each cell for about so long, as a short run measures'
    )
    parser.add_argument('--processes', type=positive(int), default=1, metavar='N', help='that share a cell, by torchrun (1)')
    parser.add_argument('--jobs', type=positive(int), metavar='N', help='cells at a time (as many as the GPUs serve; without GPUs 1)')
    parser.add_argument('--data', type=Path, default=Path('datasets'), help='what basicsr make-dataset -o has made (datasets)')
    parser.add_argument('-o', '--output', type=Path, default=Path('tables'), help='folder for everything that is written (tables)')
    parser.add_argument('--against', metavar='NETWORK', help='table 1: also show how far the others are ahead of it, with intervals')
    parser.add_argument('--report', action='store_true', help='train nothing: print what there is')
    return parser.parse_args(argv)


def write_tables(args: argparse.Namespace, cells: dict[str, list[plan.Cell]], command: str) -> None:
    """Print every table, and write it as Markdown, CSV and pictures.

    Besides the cells of this command it has what earlier ones left in the folder at the same scale (in I without alpha, in II and III over
    alpha on their data sets), if the option file and the data are still the same: it grows.
    """
    for number, chosen in cells.items():
        earlier = [cell for cell in job.known_cells(args.output, chosen[0].scale) if plan.belongs(number, cell) and cell not in chosen]
        of_table = list(chosen)
        for cell in earlier:
            try:
                job.Job(cell, args.output, ROOT, args.data).check_identity()
                of_table.append(cell)
            except ValueError as error:
                print(f'left out: {error}')
        found = results.collect(of_table, args.output, ROOT)
        text = report.document(f'Table {"I" * int(number)}', found, command, number != '1', args.against)
        base = args.output / f'table{number}_{of_table[0].scale}'
        written = {base.with_name(f'{base.name}.md'): text, base.with_name(f'{base.name}.csv'): report.table_csv(found)}
        for path, content in written.items():
            path.write_text(content, encoding='utf-8')
        pictures = {f'{base.name}_alpha.png': figures.alpha_plot(found)}
        for (dataset,), group in report.grouped(found, 'dataset').items():
            pictures[f'{base.name}_{dataset}.png'] = figures.sheet(group, args.output, args.data)
        for name, picture in pictures.items():
            if picture is not None:
                picture.save(args.output / name)
                written[args.output / name] = ''
        print(f'\n{text}\nwritten: {", ".join(str(path) for path in written)}')


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    command = shlex.join(['python', 'scripts/paper_tables.py', *(sys.argv[1:] if argv is None else argv)])
    args.output, args.data = args.output.expanduser().resolve(), args.data.expanduser().resolve()
    try:
        if args.report and not args.output.is_dir():
            raise ValueError(f'--report: there is nothing to report, the folder {args.output} does not exist')
        if args.against:
            args.against = plan.network_name(args.against)
            if '1' not in args.table:
                raise ValueError(f'--against {args.against}: only table 1 compares networks; add --table 1')
        cells = {
            table: plan.plan(
                table, args.preset, protocol=args.protocol, networks=args.networks, sets=args.sets, alphas=args.alphas,
                outside=args.outside, seeds=args.seeds,
                processes=args.processes, iterations=args.iterations, minutes=args.minutes_per_cell,
            )
            for table in dict.fromkeys(args.table)
        }  # fmt: skip
        every = list(dict.fromkeys(cell for of_table in cells.values() for cell in of_table))
        interrupted = False
        if not args.report:
            try:
                runner.run(every, args.output, ROOT, args.data, args.jobs)
            except KeyboardInterrupt:
                interrupted = True
        write_tables(args, cells, command)
    except KeyboardInterrupt:
        interrupted = True
    except (ValueError, OSError) as error:
        print(f'paper_tables.py: error: {error}', file=sys.stderr)
        return 1
    if interrupted:
        print('paper_tables.py: interrupted; the same command goes on from here', file=sys.stderr)
        return 130
    undone = [cell.name for cell in every if not job.is_done(args.output, cell)]
    return 1 if undone and not args.report else 0


def stop(*_) -> None:
    raise KeyboardInterrupt  # so that the cells' processes are ended too


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, stop)
    sys.exit(main())
