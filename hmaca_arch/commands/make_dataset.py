"""`basicsr make-dataset`: (lq, mask, gt) triplets from clean images."""

import argparse
from typing import Any

from datasets_ext import make_dataset, paper_sets
from datasets_ext.masks import SHAPES
from datasets_ext.parallel import default_workers
from datasets_ext.recipe import REGION_SIZE
from datasets_ext.recipe_settings import DEGRADATIONS, require_one_of
from hmaca_arch.commands.importing import add_imports, import_modules
from hmaca_arch.commands.parsing import Parser
from hmaca_arch.config.schema import PROTOCOLS

# What may go with --horse and --imagenet; the paper fixes the other options.
WITH_PAPER_SETS = (
    'horse',
    'imagenet',
    'output',
    'protocol',
    'degradation',
    'seed',
    'workers',
    'overwrite',
)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = Parser(
        prog='basicsr make-dataset',
        description='Make (lq, mask, gt) triplets from clean images: one data set from INPUT, or '
        "the paper's from --horse and --imagenet. The same command continues an interrupted run.",
    )
    _add_files(parser.add_argument_group('files').add_argument)
    _add_degradation(parser.add_argument_group('degradation').add_argument)
    add_imports(parser)
    return parser


def _add_files(add: Any) -> None:
    add(
        'input',
        nargs='?',
        help='folder or zip file of images; splits (trainA and testA, or train and test) are kept',
    )
    add(
        '--horse',
        help='instead of INPUT: horse2zebra, as folder or zip file; '
        'makes horse_{pix,blur,noise} at 128 pixels, and their LMDBs',
    )
    add(
        '--imagenet',
        help='instead of INPUT: images, or train/ and test/ of them; '
        'makes imagenet_{pix,blur,noise} at 64 pixels, and their LMDBs',
    )
    add(
        '-o',
        '--output',
        required=True,
        help='folder for lq/, mask/, gt/ and the manifest, or for train/ and test/ with these; '
        'with --horse or --imagenet for PROTOCOL/SET/{train,test}/',
    )
    add(
        '--exclude',
        nargs='+',
        default=[],
        metavar='NAME',
        help='images to leave out, by name with or without ending',
    )
    add(
        '--hold-out',
        type=int,
        default=0,
        metavar='N',
        help='use every Nth image by name for testing, if INPUT is not split',
    )
    add(
        '--overwrite',
        action='store_true',
        help='replace what an earlier run with other settings made there',
    )
    add(
        '--workers',
        type=int,
        default=default_workers(),
        help='processes (default: %(default)s); the result is the same',
    )


def _add_degradation(add: Any) -> None:
    add(
        '--protocol',
        choices=PROTOCOLS,
        required=True,
        help='release: as the authors did; clean: lossless, at working size',
    )
    add(
        '--degradation',
        metavar='NAME',
        help='pix, blur, noise, kernel, or one that --import registers; required with INPUT; '
        'otherwise the first three',
    )
    add(
        '--pool',
        choices=('centre', 'mean'),
        help='pix, protocol clean: colour of a block (default: centre)',
    )
    add('--block', type=int, help='pix, protocol clean: side of a block in pixels (default: 5)')
    add(
        '--sigma',
        type=float,
        help='blur (default 1.0 pixels) and noise (default 7.07 grey levels), protocol clean',
    )
    add(
        '--kernel',
        dest='path',
        metavar='PATH',
        help='kernel, protocol clean: a small grey image of what a point of light becomes, or a '
        'folder of them, of which each image gets one',
    )
    add('--size', type=int, default=128, help='working size in pixels (default: %(default)s)')
    add('--region', choices=SHAPES, default='square', help='shape (default: %(default)s)')
    add(
        '--region-size',
        type=float,
        default=REGION_SIZE,
        metavar='X',
        help='side of the region: part of the working size if below 1, otherwise pixels '
        '(default: 20/128)',
    )
    add('--seed', type=int, default=0, help='of all randomness (default: %(default)s)')
    add('--no-jpeg', action='store_true', help='protocol release: leave out the JPEG step')


def main(argv: list[str]) -> None:
    """Make the data set or the paper's, and report on them.

    Raises:
        FileNotFoundError, ValueError: as in `make_dataset` and `make_paper_sets`, or options do
            not go together.
    """
    args = parser().parse_args(argv)
    import_modules(args.modules)
    if args.horse or args.imagenet:
        _make_paper_sets(args)
        return
    if not (args.input and args.degradation):
        raise ValueError(
            'expected INPUT and --degradation, or --horse and/or --imagenet; see --help'
        )
    given = {key: getattr(args, key) for key in ('pool', 'block', 'sigma', 'path')}
    parameters = {key: value for key, value in given.items() if value is not None}
    results = make_dataset.make_dataset(
        args.input,
        args.output,
        seed=args.seed,
        exclude=tuple(args.exclude),
        every=args.hold_out,
        workers=args.workers,
        overwrite=args.overwrite,
        protocol=args.protocol,
        degradation={'type': args.degradation, **parameters},
        region=args.region,
        region_size=args.region_size,
        size=args.size,
        jpeg=0 if args.no_jpeg else 95,
    )
    make_dataset.report(results, args.output, args.protocol)


def _make_paper_sets(args: argparse.Namespace) -> None:
    default = parser().get_default
    changed = [name for name, value in vars(args).items() if value != default(name)]
    foreign = [name for name in changed if name not in WITH_PAPER_SETS]
    if foreign:
        options = {'input': 'INPUT', 'path': '--kernel'}
        words = [options.get(name, f'--{name.replace("_", "-")}') for name in foreign]
        raise ValueError(
            f'{", ".join(words)} cannot be used with --horse and --imagenet, '
            "whose settings are the paper's"
        )
    if args.degradation:
        require_one_of('--degradation', args.degradation, DEGRADATIONS)
    sources = {name: getattr(args, name) for name in paper_sets.SIZES if getattr(args, name)}
    paper_sets.make_paper_sets(
        sources,
        args.output,
        args.protocol,
        (args.degradation,) if args.degradation else DEGRADATIONS,
        seed=args.seed,
        workers=args.workers,
        overwrite=args.overwrite,
    )
