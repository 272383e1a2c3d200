"""The argument `--import`: modules of the user's own, which register degradations."""

import argparse
import os
import sys
from collections.abc import Iterable
from importlib import import_module

from hmaca_arch.messages import one_line


def add_imports(parser: argparse.ArgumentParser) -> None:
    """Add the argument `--import`, for `import_modules`."""
    parser.add_argument(
        '--import',
        dest='modules',
        action='append',
        default=[],
        metavar='MODULE',
        help='a Python module of yours, here or installed, that registers degradations; '
        'may be repeated',
    )


def import_modules(names: Iterable[str]) -> None:
    """Import modules from the current folder, or installed ones.

    Only a command line names them, never a file, because importing a module runs it.

    Raises:
        ValueError: a module cannot be imported, in one line.
    """
    for name in names:
        if not all(part.isidentifier() for part in name.split('.')):
            raise ValueError(
                f'--import: got {name!r}, expected the name of a module, as Python has it: '
                'my_degradations'
            )
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # last: an installed module goes first
        try:
            import_module(name)
        except Exception as error:
            if os.environ.get('HMACA_TRACEBACK'):
                raise
            raise ValueError(
                f'--import: {name} cannot be imported: {type(error).__name__}: {one_line(error)}'
            ) from None
