"""Keep a second process out of a folder that a first one writes to.

A lock is a file that the system locks. On a file system without locks (some shares) the file's
existence is the lock, and it names the process that made it.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hmaca_arch.messages import printable

if sys.platform == 'win32':
    import msvcrt
else:
    import fcntl

NAME = '.lock'  # inside a folder
SETTLE = 0.2  # seconds after which a claim that somebody took for a dead one's is gone


class Lock:
    """A lock that is held until `release`, or until the process ends in whatever way."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.descriptor = path, descriptor

    def release(self) -> None:
        """Remove the file first: who opened it meanwhile sees that it is gone, and tries again."""
        if sys.platform == 'win32':  # where a file that anybody has open is not removed
            os.close(self.descriptor)
        with suppress(OSError):
            self.path.unlink()
        if sys.platform != 'win32':
            os.close(self.descriptor)


def take(path: Path, refusal: str) -> Lock:
    """Take the lock `path`, whose folder exists.

    Raises:
        ValueError: another process holds it; the message is `refusal` and who that is.
        OSError: nothing can be written there.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            free = _lock(descriptor)
            is_mine = free and _is(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if is_mine:
            return _signed(path, descriptor)
        os.close(descriptor)
        if free is None:
            path.unlink(missing_ok=True)
            return _claim(path, refusal)
        if not free:
            raise ValueError(f'{refusal} ({_holder(path)})')
        # Its holder has ended since, and removed it.


@contextmanager
def only_here(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which exists, while a command writes there.

    Raises:
        ValueError, OSError: as `take`.
    """
    lock = take(
        folder / NAME, f'{folder}: another process writes there; wait for it, or choose another'
    )
    try:
        yield
    finally:
        lock.release()


def _lock(descriptor: int) -> bool | None:
    """Lock an open file: whether that worked; None if the file system has no locks."""
    try:
        if sys.platform == 'win32':
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # past what is written: that stays readable
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            # Not flock: a worker that outlives a killed process for some seconds would hold it.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held = PermissionError if sys.platform == 'win32' else BlockingIOError
        return False if isinstance(error, held) else None
    return True


def _is(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _claim(path: Path, refusal: str) -> Lock:
    """Take a lock by making a file, after removing one whose process has ended."""
    own = path.with_name(f'{path.name}.owner')
    for _ in range(2):
        try:
            descriptor = os.open(own, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            if not _has_ended(own):
                raise ValueError(
                    f'{refusal} ({_holder(own)}; if that has ended, delete {own})'
                ) from None
            with suppress(FileNotFoundError):
                own.unlink()
            continue
        lock = _signed(own, descriptor)
        time.sleep(SETTLE)
        if _is(own, descriptor):
            return lock
        os.close(descriptor)
    raise ValueError(f'{refusal} ({_holder(own)})')


def _signed(path: Path, descriptor: int) -> Lock:
    """Write into an open lock file which process holds it.

    Raises:
        OSError: the disk is full; the file is removed, and the error names it.
    """
    lock = Lock(path, descriptor)
    me = f'{socket.gethostname()} {os.getpid()} {_started(os.getpid())}\n'
    try:
        os.ftruncate(descriptor, os.write(descriptor, me.encode()))
    except OSError as error:
        lock.release()
        raise OSError(error.errno, error.strerror, str(path)) from None
    return lock


def _started(pid: int) -> str:
    """When a process began, in the system's own count; '-' where that is not to be had."""
    try:
        return Path(f'/proc/{pid}/stat').read_text('utf-8').rpartition(')')[2].split()[19]
    except (OSError, IndexError):
        return '-'


def _words(path: Path) -> list[str]:
    return path.read_bytes().decode(errors='replace').split()


def _holder(path: Path) -> str:
    """Say which process holds a lock."""
    try:
        host, pid, _ = _words(path)
    except (OSError, ValueError):
        return 'which one is not known'
    return printable(f'process {pid} on {host}')


def _has_ended(path: Path) -> bool:
    """Whether the process that made a file is known to have ended: one of this machine."""
    try:
        host, number, started = _words(path)
        pid = int(number)
    except OSError:
        return False
    except ValueError:  # cut short by a full disk, or being written
        return time.time() - path.stat().st_mtime > 60
    if host != socket.gethostname() or sys.platform == 'win32':  # where os.kill would end it
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _started(pid) != started
