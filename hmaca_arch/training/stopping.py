"""Graceful shutdown of a training: finish the iteration, save, and exit with a distinct status.

SIGTERM (a scheduler's, or `kill`) and SIGUSR1 (Slurm's `--signal=USR1@60`, some time before the
end) end the process with status 75 ("try again later": `--auto_resume` goes on), Ctrl-C with 130.
So `basicsr train ... && basicsr test ...` tests nothing half-trained. A second Ctrl-C does not wait
for the iteration (`hmaca_arch.interrupts`).
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hmaca_arch import interrupts

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 75}
if hasattr(signal, 'SIGUSR1'):  # not on Windows
    EXIT_CODES[signal.SIGUSR1] = 75

_received: list[int] = []


class Stopped(SystemExit):
    """The run has been saved and ends before its last iteration."""


def received() -> int:
    """The number of the signal that asks this process to stop, or 0."""
    return _received[0] if _received else 0


def exit_code(number: int) -> int:
    return EXIT_CODES[signal.Signals(number)]


def _note(number: int, frame) -> None:
    if number == signal.SIGINT and _received and not interrupts.watching():
        raise KeyboardInterrupt  # of a program of somebody's own, which calls `pipeline.run`
    if not _received:  # os.write: a signal may arrive while something else is being printed
        os.write(
            2,
            f'\n{signal.Signals(number).name}: saving after this iteration (Ctrl-C once more: leave at once)\n'.encode(),
        )
    _received.append(number)


@contextmanager
def listening() -> Iterator[None]:
    """Note those signals instead of dying of them."""
    _received.clear()
    heard = [
        number for number in EXIT_CODES if signal.getsignal(number) != signal.SIG_IGN
    ]  # nohup and `&` ignore some on purpose
    before = {number: signal.signal(number, _note) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


def leave_to_main_process() -> None:
    """In a loader's worker: a terminal and Slurm signal all processes, but the main one still needs
    this one's samples.
    """
    for number in EXIT_CODES:
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = _say_unless_hung_up


def _say_unless_hung_up(kind, error, traceback) -> None:
    """For the thread that hands samples over: a main process that ends hangs up on it, and says
    itself why it ends.
    """
    if not isinstance(error, (EOFError, ConnectionError)):
        sys.__excepthook__(kind, error, traceback)


def end_workers() -> None:
    """End the loaders' workers, which obey nothing gentler, once training has ended in whatever
    way.
    """
    workers = multiprocessing.active_children()
    if workers and hasattr(signal, 'SIGCHLD'):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would call this a failure
    for worker in workers:
        worker.kill()
