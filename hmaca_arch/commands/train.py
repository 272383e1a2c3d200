"""`basicsr train`: train a network as an option file says."""

import argparse
import os

import datasets_ext  # noqa: F401  (registers the data sets)
import losses_ext  # noqa: F401
from hmaca_arch.config import files as options
from hmaca_arch.training import pipeline


def arguments(argv: list[str] | None, command: str = 'train') -> argparse.Namespace:
    """Parse the command line of `basicsr train` or `basicsr test`."""
    parser = argparse.ArgumentParser(
        prog=f'basicsr {command}', description=f'{command} as an option file says.'
    )
    parser.add_argument(
        '-opt',
        required=True,
        metavar='FILE',
        help='option file: a path, or a shipped one by name (train_HMACA1)',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm'],
        default='none',
        help='how the processes were started',
    )
    parser.add_argument(
        '--auto_resume',
        action='store_true',
        help='continue from the newest complete checkpoint of this experiment',
    )
    parser.add_argument(
        '--debug',
        action='store_true',
        help='as debug_NAME: log every iteration, validate and save every eighth',
    )
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS
    )  # older launchers pass it
    options.add_overrides(parser)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Train below the current folder; errors as in `training.pipeline.run`."""
    pipeline.run('train', arguments(argv, 'train'), root_path=os.getcwd())
