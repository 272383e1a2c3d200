"""What is to become of an option file or a checkpoint, whoever wrote it: it is taken, or refused in
lines that say why, soon and with little memory.
"""

import contextlib
import io
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import datasets_ext  # noqa: F401  (registers the data sets)
import losses_ext  # noqa: F401
from hmaca_arch.commands import check
from hmaca_arch.inference import load_restorer
from hmaca_arch.messages import UNPRINTABLE, printable

# Of processor time and memory beyond a sound file's. The limits in docs/security.md are 1 s and
# 100 MB; machines differ, and an input that breaks them does so by far.
SECONDS = 20
MEGABYTES = 500
LONGEST = 2000  # characters of a line


class TooLong(BaseException):
    """Raised by an alarm; nothing that handles errors handles it."""


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Raise TooLong or an AssertionError for what takes too much."""

    def stop(*_):
        raise TooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    assert grown < MEGABYTES, f'{grown:.0f} MB more'


def fate(call: Callable[[], object]) -> str:
    """Make the call: 'accepted', or 'refused' in printable lines.

    Raises:
        AssertionError, TooLong, or whatever is no user's error.
    """
    start = time.process_time()
    with _limited(), contextlib.redirect_stdout(io.StringIO()):
        try:
            call()
            return 'accepted'
        except (ValueError, OSError) as error:
            lines = getattr(error, 'lines', [str(error)])
    assert lines and all(lines), 'a refusal without a word'
    for line in map(printable, lines):
        assert not UNPRINTABLE.search(line) and len(line) < LONGEST, line
    assert time.process_time() - start < SECONDS
    return 'refused'


def check_options(data: bytes, folder: Path) -> str:
    """What `basicsr check` makes of an option file."""
    path = folder / 'odd.yml'
    path.write_bytes(data)
    here = os.getcwd()
    os.chdir(folder)
    try:
        return fate(lambda: check.main(['-opt', str(path)]))
    finally:
        os.chdir(here)


def check_checkpoint(data: bytes, folder: Path) -> str:
    """What `basicsr restore --weights` makes of a checkpoint."""
    path = folder / 'odd.pth'
    path.write_bytes(data)
    image = np.zeros((20, 24, 3), np.uint8)
    mask = np.zeros((20, 24), bool)
    mask[5:9, 5:9] = True

    def use() -> None:
        restored = load_restorer(path, 'cpu').restore(image, mask)
        assert not restored[~mask].any() and restored.shape == image.shape

    return fate(use)
