"""`basicsr tables`: train and test the networks of the paper's tables, and print the tables.

What is done is skipped: after a stop or a kill the same command goes on where it was.
"""

import argparse
import shlex
from pathlib import Path

from hmaca_arch.experiments.tables import plan
from hmaca_arch.experiments.tables.making import make


def positive(kind: type):
    """Make what reads a number above 0 for argparse."""

    def read(text: str):
        value = kind(text)
        if not 0 < value < float('inf'):
            raise ValueError
        return value

    read.__name__ = 'positive number'
    return read


def parse(argv: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog='basicsr tables', description=__doc__)
    parser.add_argument(
        '--table',
        nargs='+',
        choices=plan.TABLES,
        default=['1'],
        help='1: networks; 2, 3: alpha, Horse and ImageNet (1)',
    )
    parser.add_argument(
        '--preset',
        choices=plan.PRESETS,
        default='light',
        help="the paper's size, one for CPUs, or a try of this command (light)",
    )
    parser.add_argument(
        '--protocol',
        choices=('release', 'clean'),
        help='of the data (paper: release; light, smoke: clean)',
    )
    names = ', '.join([*plan.NETWORKS, *plan.ALIASES])
    parser.add_argument(
        '--networks', nargs='+', default=[], metavar='NETWORK', help=f"{names} (the table's)"
    )
    parser.add_argument('--sets', nargs='+', choices=plan.SETS, default=[], help="(the table's)")
    parser.add_argument(
        '--alphas',
        nargs='+',
        type=float,
        default=[],
        metavar='ALPHA',
        help="0 to 1; networks with a +, where alpha only scales the loss, keep their own (the table's)",
    )
    parser.add_argument(
        '--outside',
        nargs='+',
        choices=('complement', 'image'),
        default=[],
        help="of the loss (the option file's)",
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], metavar='SEED', help='(0)')
    parser.add_argument(
        '--iterations', type=positive(int), metavar='N', help="of each cell (the option file's)"
    )
    parser.add_argument(
        '--processes',
        type=positive(int),
        default=1,
        metavar='N',
        help='that share a cell, by torchrun (1)',
    )
    parser.add_argument(
        '--jobs',
        type=positive(int),
        metavar='N',
        help='cells at a time (as many as the GPUs serve; without GPUs 1)',
    )
    parser.add_argument(
        '--data',
        type=Path,
        default=Path('datasets'),
        help='what basicsr make-dataset -o has made (datasets)',
    )
    parser.add_argument(
        '-o',
        '--output',
        type=Path,
        default=Path('tables'),
        help='folder for everything that is written (tables)',
    )
    parser.add_argument(
        '--against',
        metavar='NETWORK',
        help='table 1: also show how far the others are ahead of it, with intervals',
    )
    parser.add_argument('--report', action='store_true', help='train nothing: print what there is')
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Make the tables; errors as in `make`."""
    return make(parse(argv), command=shlex.join(['basicsr', 'tables', *argv]))
