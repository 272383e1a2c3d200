"""Messages to users: one line for each mistake, and names that cannot act on a terminal.

File names, keys and values from outside may hold control characters. Everything that is printed,
logged or shown on the page goes through this module.
"""

import difflib
import errno
import logging
import os
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any, TextIO

# Control characters (escape sequences begin with one), line separators, marks that change the
# direction of text, and lone surrogates, which stand for bytes that are no text.
UNPRINTABLE = re.compile(
    '[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]'
)
LONGEST_NAME, LONGEST_LINE = 400, 4000


def printable(name: Any) -> str:
    """Return a name as one line in which characters that act on a terminal are escaped."""
    return UNPRINTABLE.sub(lambda found: found[0].encode('unicode_escape').decode(), str(name))


def printable_lines(text: str) -> str:
    """Make each line of a text printable. Line breaks and tabs stay."""
    return re.sub(r'[^\n\t]+', lambda found: printable(found[0]), text)


def shortened(line: str) -> str:
    """Return a line in which the middle of names that are too long is left out."""
    line = re.sub(rf'\S{{{LONGEST_NAME},}}', lambda found: _ends(found[0], LONGEST_NAME), line)
    return _ends(line, LONGEST_LINE)


def _ends(text: str, most: int) -> str:
    half = most // 2
    return text if len(text) <= most else f'{text[:half]}...{text[-half:]}'


def say(text: str, file: TextIO | None = None) -> None:
    """Print a text to stdout, or to `file`, now. Nothing else in the package prints.

    If the stream's reader has gone (`| head`), nothing is written.

    Raises:
        OSError: stdout cannot be written, for example to a full disk.
    """
    stream = file or sys.stdout
    try:
        print(printable_lines(text), file=stream, flush=True)
    except OSError as error:
        _refused(stream, error)


def complete_streams() -> None:
    """Open the streams that are closed (`2>&-`, services, pythonw), so that they lead nowhere.

    Otherwise a file would get the number of a stream, and C libraries would write messages into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))  # noqa: SIM115


def flush_streams() -> None:
    """Write what stdout and stderr still hold, with the errors of `say`."""
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except OSError as error:
            _refused(stream, error)


def _refused(stream: TextIO, error: OSError) -> None:
    """Let the stream lead nowhere, and raise the error if it matters.

    Work goes on without a reader. Nobody can be told that stderr is full.
    """
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, stream.fileno())
    os.close(descriptor)
    reader_has_gone = error.errno in (errno.EPIPE, errno.EINVAL)  # the latter on Windows
    if not reader_has_gone and stream is not sys.stderr:
        raise OSError(error.errno, error.strerror, stream.name) from None


class PrintableRecords(logging.Filter):
    """Makes log messages printable."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record's message."""
        record.msg, record.args = printable_lines(record.getMessage()), ()
        return True


_PRINTABLE_RECORDS = PrintableRecords()


def keep_logs_printable() -> None:
    """Filter the messages of BasicSR's logger and of this project's."""
    for name in ('basicsr', 'hmaca_arch'):
        logging.getLogger(name).addFilter(_PRINTABLE_RECORDS)


class OptionError(ValueError):
    """All mistakes in an option file, one line each."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = list(lines)
        super().__init__('\n'.join(self.lines))


def refuse(lines: Iterable[str]) -> None:
    """Raise an OptionError if there are any lines."""
    lines = list(dict.fromkeys(lines))
    if lines:
        raise OptionError(lines)


def closest_to(name: str, known: Iterable[str], most: int) -> list[str]:
    """Return at most so many of the known names that are like a name, the closest first."""
    return difflib.get_close_matches(name, known, n=most, cutoff=0.2)


def suggestion(name: Any, known: Iterable, listed: bool = True) -> str:
    """Return ' (did you mean X? known: ...)' for an error message.

    Args:
        name: what was got.
        known: the names that exist. If they are more than 30, only the closest are listed.
        listed: list the known names. If false and no name is close, the result is empty.
    """
    known = {str(word).lower(): str(word) for word in known}
    wanted = str(name).lower()
    closest = closest_to(wanted, known, 8)
    near = difflib.get_close_matches(wanted, closest[:1], cutoff=0.5)
    hint = f'did you mean {printable(known[near[0]])}?' if near else ''
    if not listed:
        return f' ({hint})' if hint else ''
    names = sorted(known.values())
    if len(names) > 30:
        names = [*(known[word] for word in closest or list(known)[:8]), f'... {len(known)} in all']
    return f' ({hint}{" " if hint else ""}known: {", ".join(map(printable, names)) or "none"})'


def how_to_install(extra: str) -> str:
    """Return the command that installs the packages of an extra of setup.py.

    It names the packages, because this one is on no index.
    """
    try:
        needed = metadata.requires('hmaca') or []
    except metadata.PackageNotFoundError:  # a clone that is not installed
        needed = []
    packages = []
    for text in needed:
        name, _, condition = text.partition(';')
        if condition.split() == ['extra', '==', f'"{extra}"']:
            packages.append(f"'{name.strip()}'")
    if not packages:
        return f'python scripts/install.py {extra} (in a clone)'
    return f'pip install {" ".join(packages)}'


def short_repr(value: Any) -> str:
    """Return the repr of a value on one line, cut to 80 characters."""
    text = re.sub(r'\s*\n\s*', ' ', repr(value))  # a tensor's has several lines
    return text if len(text) <= 80 else f'{text[:77]}...'


def reason_of(error: BaseException, most: int | None = None) -> str:
    """Return what another package's error says: lines joined by blanks, at most so many characters.

    The result is not printable yet, and empty if the error says nothing.
    """
    return ' '.join(str(error).split())[:most]


def one_line(error: BaseException) -> str:
    """Return the message of an error as one printable line.

    Line breaks are escaped, as they may belong to a file's name. torch puts a traceback before an
    error that a data loader's worker raised; it is left out.
    """
    text, kind = str(error).strip(), type(error).__name__
    if text.startswith('Caught '):
        text = re.split(rf'^(?:[\w.]*\.)?{kind}: ', text, flags=re.MULTILINE)[-1]
    return shortened(printable(f'{kind} {text}' if isinstance(error, KeyError) else text or kind))
