"""`basicsr train`: train the network of an option file."""

import argparse
import os

import datasets_ext  # noqa: F401  (registers the data sets)
import losses_ext  # noqa: F401  (registers the losses)
from hmaca_arch.commands.importing import add_imports, import_modules
from hmaca_arch.commands.parsing import Parser
from hmaca_arch.config.overrides import add_overrides
from hmaca_arch.training.pipeline import run_pipeline

DESCRIPTIONS = {
    'train': 'Train the network of an option file.',
    'test': 'Measure the trained network of an option file and save the restored images.',
}


def add_option_file(parser: argparse.ArgumentParser) -> None:
    """Add the arguments `-opt`, `--force_yml` and `--import`."""
    parser.add_argument(
        '-opt',
        required=True,
        metavar='FILE',
        help='option file: a path, or the name of a shipped one (train_HMACA1)',
    )
    add_overrides(parser)
    add_imports(parser)


def arguments(argv: list[str] | None, command: str = 'train') -> argparse.Namespace:
    """Parse the command line of `basicsr train` or `basicsr test`."""
    parser = Parser(prog=f'basicsr {command}', description=DESCRIPTIONS[command])
    add_option_file(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm'],
        default='none',
        help='what started the processes',
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
    # Older launchers pass it.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Train, and write to the current folder; errors as in `run_pipeline`."""
    args = arguments(argv, 'train')
    import_modules(args.modules)
    run_pipeline('train', args, root_path=os.getcwd())
