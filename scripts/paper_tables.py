#!/usr/bin/env python
"""Train and test the networks of the paper's tables, and print the tables.

What is done is skipped: after a stop or a kill the same command goes on where it was. Everything is written below one folder.
"""

import argparse
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # last: an installed package goes first

from hmaca_arch.tables import plan, report, results, runner  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--table', choices=plan.TABLES, default='1', help='1: networks; 2, 3: alpha, on the Horse and the ImageNet sets')
    parser.add_argument('--preset', choices=plan.PRESETS, default='light', help="the paper's size, one for CPUs, or a try of this script")
    parser.add_argument('--protocol', choices=('release', 'clean'), help='default: paper: release; light, smoke: clean')
    parser.add_argument('--networks', nargs='+', default=[], help=f"default: the table's; {', '.join([*plan.NETWORKS, *plan.ALIASES])}")
    parser.add_argument('--sets', nargs='+', choices=plan.SETS, default=[], help="default: the table's")
    parser.add_argument('--alphas', nargs='+', type=float, default=[], help="default: the table's")
    parser.add_argument('--outside', nargs='+', choices=('complement', 'image'), default=[], help="default: the option file's")
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--iterations', type=int, help="default: the option file's")
    parser.add_argument('--processes', type=int, default=1, help='that train and test a cell together (torchrun)')
    parser.add_argument('--jobs', type=int, help='cells at a time; default: as many as the GPUs serve, or 1')
    parser.add_argument('--data', type=Path, default=Path('datasets'), help='what make-dataset --horse ... -o DATA has made')
    parser.add_argument('-o', '--output', type=Path, default=Path('tables'), help='folder for everything that is written')
    parser.add_argument('--report', action='store_true', help='train nothing: print what there is')
    return parser.parse_args()


def main() -> int:
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that the cells' processes are ended too
    folder, data = args.output.resolve(), args.data.resolve()
    cells = plan.plan(
        args.table, args.preset, protocol=args.protocol, networks=args.networks, sets=args.sets, alphas=args.alphas,
        outside=args.outside, seeds=args.seeds, processes=args.processes, iterations=args.iterations,
    )  # fmt: skip
    failed = 0
    if not args.report:
        failed = runner.run(cells, folder, ROOT, data, args.jobs)
    found = results.collect(cells, folder, ROOT, data)
    text = report.by_network(found, ROOT / 'options')
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / f'table{args.table}_{cells[0].scale}'
    base.with_name(base.name + '.csv').write_text(report.table_csv(found, ROOT / 'options'))
    base.with_name(base.name + '.md').write_text(text + '\n')
    print(f'\n{text}\n\n{base}.csv, {base}.md')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
