"""How users are told things: one line a mistake, with what was got, what is allowed and the closest
known name.

What reaches a terminal, a log or the page goes through here: names of files, keys and values may
hold control characters.
"""

import difflib
import logging
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any, TextIO

# Control characters (with them escape sequences), line separators, marks that change the direction
# of text, and halves of surrogate pairs, which stand for bytes that are no text.
UNPRINTABLE = re.compile(
    '[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]'
)


def printable(name: Any) -> str:
    """Write a name in one line that shows what it holds: what would act on a terminal stands as an
    escape.
    """
    return UNPRINTABLE.sub(lambda found: found[0].encode('unicode_escape').decode(), str(name))


def printable_lines(text: str) -> str:
    """Do the same with every line of a text; tabs stay."""
    return re.sub(r'[^\n\t]+', lambda found: printable(found[0]), text)


def say(text: str, file: TextIO | None = None) -> None:
    """Print a text, on stdout unless told otherwise. Nothing else in the package prints."""
    print(printable_lines(text), file=file or sys.stdout, flush=True)


class PrintableRecords(logging.Filter):
    """Writes what is logged as `say` writes what is printed."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record's message."""
        record.msg, record.args = printable_lines(record.getMessage()), ()
        return True


_PRINTABLE_RECORDS = PrintableRecords()


def keep_logs_printable() -> None:
    """Let BasicSR's logger and this project's write nothing that acts on a terminal."""
    for name in ('basicsr', 'hmaca_arch'):
        logging.getLogger(name).addFilter(_PRINTABLE_RECORDS)


class OptionError(ValueError):
    """All mistakes in an option file, one a line."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = list(lines)
        super().__init__('\n'.join(self.lines))


def refuse(lines: Iterable[str]) -> None:
    """Raise an OptionError if there are any lines."""
    lines = list(dict.fromkeys(lines))
    if lines:
        raise OptionError(lines)


def suggestion(name: Any, known: Iterable, listed: bool = True) -> str:
    """Return ' (did you mean X? known: ...)' for an error message; of many known names the closest.

    Args:
        name: what was got.
        known: what there is.
        listed: list what is known. Otherwise nothing is said where nothing is close.
    """
    known = {str(word).lower(): str(word) for word in known}
    closest = difflib.get_close_matches(str(name).lower(), known, n=8, cutoff=0.2)
    near = [
        known[word]
        for word in closest[:1]
        if difflib.get_close_matches(str(name).lower(), [word], cutoff=0.5)
    ]
    hint = f'did you mean {printable(near[0])}?' if near else ''
    if not listed:
        return f' ({hint})' if hint else ''
    names = sorted(known.values())
    if len(names) > 30:
        names = [*(known[word] for word in closest or list(known)[:8]), f'... {len(known)} in all']
    return f' ({hint}{" " if hint else ""}known: {", ".join(map(printable, names)) or "none"})'


def how_to_install(extra: str) -> str:
    """Return the command that brings the packages of an extra of setup.py.

    The package itself has no name on an index, so that only its requirements can be named there.
    """
    try:
        needed = metadata.requires('hmaca') or []
    except metadata.PackageNotFoundError:  # run from a clone that nobody installed
        needed = []
    packages = [
        f"'{name.strip()}'"
        for name, _, condition in (text.partition(';') for text in needed)
        if condition.split() == ['extra', '==', f'"{extra}"']
    ]
    if not packages:
        return f'python scripts/install.py {extra} (in a clone)'
    return f'pip install {" ".join(packages)}'


def show(value: Any) -> str:
    """A value for a message, not longer than a line."""
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


def one_line(error: BaseException) -> str:
    """Return what an error says in one line; of one in a loader's process, what stands at that
    process's traceback's end.
    """
    text, kind = str(error).strip(), type(error).__name__
    if text.startswith('Caught '):
        text = re.split(rf'^(?:[\w.]*\.)?{kind}: ', text, flags=re.MULTILINE)[
            -1
        ]  # a file's name may hold line breaks
    return printable(f'{kind} {text}' if isinstance(error, KeyError) else text or kind)
