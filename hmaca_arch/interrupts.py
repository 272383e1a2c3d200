"""Ctrl-C, once and twice.

The first one is the command's to answer: it gets a KeyboardInterrupt, or does what
`training.stopping` says. The second one ends the process from a thread, whatever the main thread
is in. That may be a library which neither returns nor lets a KeyboardInterrupt through.
"""

import atexit
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NoReturn

STATUS = 130  # of a process that Ctrl-C ended, as shells have it
# After any of these, one Ctrl-C is already the second.
STOPS = {signal.SIGINT, signal.SIGTERM, getattr(signal, 'SIGUSR1', signal.SIGTERM)}

_last_calls: list[Callable[[], object]] = []
_watching = False
_asked = False  # to stop, by a signal
_raised = False
_mask_before: set[int] = set()
_statuses_at_first: Mapping[int, int] = {}


def watching() -> bool:
    """Return whether a second Ctrl-C ends this process by itself."""
    return _watching


def asked() -> bool:
    """Return whether a signal has asked this process to stop while it was watched."""
    return _asked


def raised() -> bool:
    """Return whether a first Ctrl-C was raised in the main thread, as whatever it came out."""
    return _raised


@contextmanager
def watched(name: str) -> Iterator[None]:
    """Watch for Ctrl-C while a command runs; `name` is the command, for the line at the end.

    Where SIGINT is ignored (nohup, `&`) or somebody else's, and outside the main thread, nothing
    is watched.
    """
    global _watching, _asked, _raised
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    reader, writer = socket.socketpair()  # a pipe would not do on Windows
    writer.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(reader, name), daemon=True)
    watcher.start()
    _watching, _asked, _raised = True, False, False
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, _interrupt_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.set_wakeup_fd(wakeup)
        _watching = False
        writer.close()  # which ends the thread
        watcher.join()
        reader.close()


def _interrupt_once(number: int, frame) -> None:
    """Interrupt the main thread. What comes later is the watching thread's to answer."""
    global _asked, _raised
    if not _raised:
        _asked = _raised = True
        raise KeyboardInterrupt


def _watch(reader: socket.socket, name: str) -> None:
    """Read the numbers of signals as they arrive: C writes them, whatever Python is doing."""
    global _asked
    asked = False  # not the other: the main thread may have been told of the first one before
    while number := reader.recv(1):
        if asked and number[0] == signal.SIGINT:
            leave(STATUS, f'{name}: left at once; every file under its final name is whole\n')
        if number[0] in _statuses_at_first:
            line = f'{name}: left before it began; nothing has changed\n'
            leave(_statuses_at_first[number[0]], line)
        if number[0] in STOPS:
            asked = _asked = True


@contextmanager
def leaving_at_first(statuses: Mapping[int, int]) -> Iterator[None]:
    """Context in which the first signal already ends a watched process.

    It is for calls that may never return, before there is anything to save.

    Args:
        statuses: the status to end with, by the number of the signal.
    """
    global _statuses_at_first
    _statuses_at_first = statuses
    try:
        yield
    finally:
        _statuses_at_first = {}


def at_last(call: Callable[[], object]) -> None:
    """Have this called when the process leaves at once, to end what it started."""
    _last_calls.append(call)


def stay_quiet_at_exit() -> None:
    """Have Ctrl-C end Python's own way out, which would show a traceback and go on."""
    atexit.unregister(_let_go)
    atexit.register(_let_go)  # what is registered last is called first


def _let_go() -> None:
    """Leave Ctrl-C to the system, unless it is ignored or somebody else's."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def leave(status: int, line: str = '') -> NoReturn:
    """End the process now: no finally, no destructor and no other thread is waited for."""
    if threading.current_thread() is threading.main_thread():
        _let_go()  # or another Ctrl-C would show a traceback
    for call in _last_calls:
        with suppress(Exception):
            call()
    processes = sys.modules.get('multiprocessing')
    if processes is not None:
        with suppress(Exception):
            for child in processes.active_children():
                child.kill()
    # In a thread, as whoever reads stderr may have stopped reading.
    teller = threading.Thread(target=os.write, args=(2, line.encode()), daemon=True)
    with suppress(RuntimeError):
        teller.start()
        teller.join(1)
    os._exit(status)


def _before_fork() -> None:
    """Hold signals back: a child that is being made would write to this process's thread."""
    if _watching:
        _mask_before.clear()
        _mask_before.update(signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}))


def _after_fork() -> None:
    if _watching:
        signal.pthread_sigmask(signal.SIG_SETMASK, _mask_before)


def _after_fork_in_child() -> None:
    """Ignore Ctrl-C: a terminal sends it to children too, and they are their parent's to end."""
    global _watching
    if _watching:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _after_fork()
        _watching = False


if hasattr(os, 'register_at_fork'):  # not on Windows
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
    )
