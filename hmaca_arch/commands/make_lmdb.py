"""`basicsr make-lmdb`: pack triplets, or any folder of images, as LMDBs in BasicSR's layout."""

import argparse

from datasets_ext.make_lmdb import make_lmdb
from datasets_ext.parallel import default_workers
from hmaca_arch.commands.parsing import Parser
from hmaca_arch.messages import printable, say


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = Parser(
        prog='basicsr make-lmdb',
        description='Pack triplets or a folder of images as LMDBs, for BasicSR.',
    )
    parser.add_argument(
        'root',
        help='a triplet folder (lq/, mask/, gt/), a folder of those (train/, test/), '
        'or any folder of images',
    )
    parser.add_argument(
        '-o',
        '--output',
        help='folder for the LMDBs (default: ROOT); '
        'for a folder of images the LMDB (default: ROOT.lmdb)',
    )
    parser.add_argument(
        '--workers', type=int, default=default_workers(), help='processes (default: %(default)s)'
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace LMDBs that exist, once the new ones are verified',
    )
    return parser


def main(argv: list[str]) -> None:
    """Pack and report; errors as in `make_lmdb`."""
    args = parser().parse_args(argv)
    counts = make_lmdb(args.root, args.output, workers=args.workers, overwrite=args.overwrite)
    for path, count in counts.items():
        say(f'{printable(path)}: {count} images, each read back and compared')
