"""`basicsr check`: check an option file, and its data, before a run does."""

from hmaca_arch.commands.importing import import_modules
from hmaca_arch.commands.parsing import Parser
from hmaca_arch.commands.train import add_option_file
from hmaca_arch.experiments.check import check_experiment


def main(argv: list[str]) -> None:
    """Check, and write to the current folder; errors as in `check_experiment`."""
    parser = Parser(
        prog='basicsr check',
        description='Check an option file, as `basicsr train` and `basicsr test` do when they '
        'start, without starting a run.',
    )
    add_option_file(parser)
    parser.add_argument(
        '--print',
        action='store_true',
        help='print the options with base files and changes in place, as YAML',
    )
    parser.add_argument(
        '--data',
        action='store_true',
        help='also read every image and mask, time a training step, and draw the first batch: '
        'checks/NAME/',
    )
    parser.add_argument(
        '--workers',
        type=int,
        metavar='N',
        help='processes that read images (default: one for each core, at most 8)',
    )
    args = parser.parse_args(argv)
    import_modules(args.modules)
    check_experiment(
        args.opt,
        args.force_yml,
        print_options=args.print,
        read_data=args.data,
        workers=args.workers,
    )
