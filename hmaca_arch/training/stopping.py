"""Graceful shutdown: on a signal, finish the iteration, save a checkpoint and exit.

SIGTERM (from a scheduler, or `kill`) and SIGUSR1 (Slurm's `--signal=USR1@60`, some time before the
end) end the process with status 75 ("try again later": `--auto_resume` continues). Ctrl-C ends it
with 130. So `basicsr train ... && basicsr test ...` tests nothing half-trained. A second Ctrl-C
does not wait for the iteration (`hmaca_arch.interrupts`).
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hmaca_arch import interrupts

EXIT_CODES: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 75}
if hasattr(signal, 'SIGUSR1'):  # not on Windows
    EXIT_CODES[signal.SIGUSR1] = 75

_received: list[int] = []


class Stopped(SystemExit):
    """The run ends before its last iteration, and what was to be saved is saved.

    Attributes:
        together: whether all processes do.
    """

    def __init__(self, status: int, together: bool = True) -> None:
        super().__init__(status)
        self.together = together


def received() -> int:
    """Return the number of the signal that asks this process to stop, or 0."""
    return _received[0] if _received else 0


def _note(number: int, frame) -> None:
    if number == signal.SIGINT and _received and not interrupts.watching():
        raise KeyboardInterrupt  # in a program of the user's that calls `run_pipeline`
    if not _received:  # os.write, because the signal may interrupt a print
        name = signal.Signals(number).name
        message = f'\n{name}: saving after this iteration (Ctrl-C once more: leave at once)\n'
        os.write(2, message.encode())
    _received.append(number)


@contextmanager
def noting_signals() -> Iterator[None]:
    """Context in which the signals are noted, see `received`, instead of ending the process."""
    _received.clear()
    # nohup and `&` ignore some signals on purpose.
    numbers = [number for number in EXIT_CODES if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, _note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Context in which a signal ends the process: nothing is begun that could be saved.

    Raises:
        Stopped: a signal came before.
    """
    with interrupts.leaving_at_first(EXIT_CODES):
        if received():
            raise Stopped(EXIT_CODES[received()])
        yield


def ignore_signals_in_worker() -> None:
    """Make a loader's worker ignore the signals; the main process still needs its samples.

    A terminal and Slurm send signals to all processes.
    """
    for number in EXIT_CODES:
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = _print_unless_disconnected


def end_with_parent() -> None:
    """Have this process end when the one that started it has ended, however that was.

    torch's workers look for the parent too. They take another process for it if it ended before
    they first looked.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _print_unless_disconnected(kind, error, traceback) -> None:
    """Print no traceback if the main process has ended; it reports why itself."""
    if not isinstance(error, (EOFError, ConnectionError)):
        sys.__excepthook__(kind, error, traceback)


def end_workers() -> None:
    """Kill the loaders' workers, which ignore all other signals, after training has ended."""
    if hasattr(signal, 'SIGCHLD') and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would report a failure
    for worker in multiprocessing.active_children():
        worker.kill()
