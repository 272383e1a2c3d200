"""Train and test the networks of the paper's tables, and print the tables.

Finished cells are skipped: after a stop or a kill the same command continues.
"""

import argparse
import shlex
from pathlib import Path
from typing import Any

from hmaca_arch.commands.parsing import Parser
from hmaca_arch.experiments.tables import plan
from hmaca_arch.experiments.tables.cell import NETWORKS, SETS
from hmaca_arch.experiments.tables.making import make


def positive(text: str) -> int:
    """Read a whole number above 0, for argparse."""
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f'{text} is not above 0')
    return value


def parse(argv: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(prog='basicsr tables', description=__doc__)
    _add_matrix(parser.add_argument_group('experiments').add_argument)
    _add_training(parser.add_argument_group('training').add_argument)
    _add_files(parser.add_argument_group('files').add_argument)
    return parser.parse_args(argv)


def _add_matrix(add: Any) -> None:
    add(
        '--table',
        nargs='+',
        choices=plan.TABLES,
        default=['1'],
        help='1: networks; 2, 3: alpha, Horse and ImageNet (1)',
    )
    add(
        '--preset',
        choices=plan.PRESETS,
        default='light',
        help="the paper's size, one for CPUs, or a try of this command (light)",
    )
    add(
        '--protocol',
        choices=('release', 'clean'),
        help='of the data (paper: release; light, smoke: clean)',
    )
    names = ', '.join([*NETWORKS, *plan.ALIASES])
    add('--networks', nargs='+', default=[], metavar='NETWORK', help=f"{names} (the table's)")
    add('--sets', nargs='+', choices=SETS, default=[], help="(the table's)")
    add(
        '--alphas',
        nargs='+',
        type=float,
        default=[],
        metavar='ALPHA',
        help="0 to 1; networks with a + keep their own, as it only scales their loss (the table's)",
    )
    add(
        '--outside',
        nargs='+',
        choices=('complement', 'image'),
        default=[],
        help="of the loss (the option file's)",
    )
    add('--seeds', nargs='+', type=int, default=[0], metavar='SEED', help='(0)')
    add('--iterations', type=positive, metavar='N', help="of each cell (the option file's)")


def _add_training(add: Any) -> None:
    add(
        '--processes',
        type=positive,
        default=1,
        metavar='N',
        help='that share a cell, by torchrun (1)',
    )
    add(
        '--jobs',
        type=positive,
        metavar='N',
        help='cells at a time (as many as the GPUs serve; without GPUs 1)',
    )
    add(
        '--amp',
        choices=('bf16', 'fp16', 'false'),
        default='false',
        help='mixed precision in training (false); tests are in float32',
    )
    add('--tf32', action='store_true', help='round to TF32 in training, on a GPU')
    add('--compile', action='store_true', help='train compiled networks')


def _add_files(add: Any) -> None:
    add(
        '--data',
        type=Path,
        default=Path('datasets'),
        help='what basicsr make-dataset -o has made (datasets)',
    )
    add(
        '-o',
        '--output',
        type=Path,
        default=Path('tables'),
        help='folder for everything that is written (tables)',
    )
    add(
        '--against',
        metavar='NETWORK',
        help='table 1: also show how far the others are ahead of it, with intervals',
    )
    add('--report', action='store_true', help='train nothing: print what there is')


def main(argv: list[str]) -> int:
    """Make the tables; errors as in `make`."""
    return make(parse(argv), command=shlex.join(['basicsr', 'tables', *argv]))
