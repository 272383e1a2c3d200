"""The parser of every command line."""

import argparse
import re
from typing import NoReturn

from hmaca_arch.messages import printable, suggestion


class Parser(argparse.ArgumentParser):
    """A parser that ends with one line, which names the closest option to a misspelled one."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where the options are explained, and exit with 2."""
        unknown = re.match(r'unrecognized arguments: (--[\w-]+)', message)
        options = self._option_string_actions
        hint = suggestion(unknown[1], options, listed=False) if unknown else ''
        self.exit(2, f'{self.prog}: error: {printable(message)}{hint}; see {self.prog} --help\n')
