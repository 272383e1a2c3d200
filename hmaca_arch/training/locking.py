"""Locks that keep other runs out of an experiment's folder."""

import os
from types import ModuleType
from typing import IO

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_locks: list[IO[str]] = []  # open files, each with a lock of this process


def lock_experiment(folder: str) -> None:
    """Keep other runs out of an experiment's folder until this one ends.

    Without it BasicSR would move the folder aside while this run goes on writing to it. Windows and
    file systems without locks do not have it.

    Raises:
        ValueError: another process trains under this name.
    """
    if fcntl is None:
        return
    parent, name = os.path.split(folder)
    os.makedirs(parent, exist_ok=True)
    file = open(os.path.join(parent, f'.{name}.lock'), 'w', encoding='utf-8')  # noqa: SIM115
    _locks.append(file)
    try:
        # lockf, not flock: a worker that outlives a killed run for some seconds must not inherit
        # its lock.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise ValueError(
            f'{folder}: another process is training under this name; '
            'wait for it, or choose another name'
        ) from None
    except OSError:
        pass  # a file system without locks


def unlock() -> None:
    """Release all locks of this process."""
    while _locks:
        _locks.pop().close()
