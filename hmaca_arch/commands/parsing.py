"""The parser of every command line."""

import argparse
import re
from pathlib import Path
from typing import Any, NoReturn

from hmaca_arch.messages import printable, shortened, suggestion


def path_of(text: str) -> Path:
    """Make a path of an argument. An empty one would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError('the path is empty')
    return Path(text)


class Parser(argparse.ArgumentParser):
    """A parser that ends with one line, which names the closest option to a misspelled one."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.register('type', Path, path_of)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where the options are explained, and exit with 2."""
        unknown = re.match(r'unrecognized arguments: (--[\w-]+)', message)
        options = self._option_string_actions
        hint = suggestion(unknown[1], options, listed=False) if unknown else ''
        line = shortened(printable(message)) + hint
        self.exit(2, f'{self.prog}: error: {line}; see {self.prog} --help\n')
