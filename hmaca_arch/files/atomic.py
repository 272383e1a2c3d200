"""The one way to write a file: the whole of it or nothing, on every system. Logs grow."""

import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

# What file systems answer that cannot sync a folder, or a file: Windows does not open folders,
# FUSE, VirtualBox and some network shares refuse the call.
CANNOT_SYNC = {
    errno.EINVAL, errno.EACCES, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS,
    errno.EISDIR, errno.EBADF,
}  # fmt: skip
IN_USE = {errno.EACCES, errno.EPERM, errno.EBUSY}  # a virus scanner or an indexer has it open
FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, 'EDQUOT', errno.ENOSPC)}
WAITS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)  # seconds between the tries


def write_atomically(
    path: str | os.PathLike, content: bytes | Callable[[BinaryIO], object], durable: bool = True
) -> None:
    """Write a temporary file beside `path` and rename it to `path`.

    A pipe or a device is written to as it is: nothing may take its place.

    Args:
        path: where the file goes. An existing file is replaced.
        content: the bytes, or a function that writes them into an open binary file.
        durable: wait until the disk has them. Without it a power cut may leave an empty file.

    Raises:
        OSError, or what `content` raises: `path` is what it was before, and no temporary file
            is left. An OSError names `path`; of a full disk it gives the bytes as well.
    """
    path = os.fspath(path)
    fill = content if callable(content) else lambda file: file.write(content)
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        with open(path, 'wb') as device:
            fill(device)
        return
    # Short: a long name may be at its system's limit already. Hidden: nothing takes it for data.
    temporary = os.path.join(os.path.dirname(path), f'.{secrets.token_hex(4)}.tmp')
    written = 0
    try:
        with open(temporary, 'xb') as file:
            try:
                fill(file)
                file.flush()
            finally:
                written = _position(file)
            if durable:
                _sync(file.fileno())
        replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            _patiently(os.remove, temporary)
        needed = f'more than {written:,}' if callable(content) else f'{len(content):,}'
        raise _explained(error, path, temporary, needed) from None
    if durable:  # the rename as well
        sync(os.path.dirname(os.path.abspath(path)))


def replace(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Rename a file or a folder as `os.replace` does, and wait for whoever has it open.

    Raises:
        OSError: it is still refused after 1.6 seconds, or fails for another reason.
    """
    _patiently(os.replace, source, target)


def append(path: str | os.PathLike, text: str) -> None:
    """Add text to the end of a log, in one write: a kill tears the last line at most.

    Raises:
        OSError: it names `path`, and of a full disk the bytes.
    """
    data = text.encode()
    try:
        with open(path, 'ab') as file:
            file.write(data)
    except OSError as error:
        path = os.fspath(path)
        raise _explained(error, path, path, f'{len(data):,}') from None


def sync(path: str | os.PathLike) -> None:
    """Wait until the disk has a file or a folder, where the system can say so.

    Raises:
        OSError: it does not exist, or the disk is broken or full. It names `path`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise
        return
    try:
        _sync(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
    finally:
        os.close(descriptor)


def _patiently(call: Callable[..., Any], *arguments) -> None:
    """Call again while the file is in use; on Windows open files can't be renamed or removed."""
    for seconds in WAITS:
        try:
            return call(*arguments)
        except OSError as error:
            if error.errno not in IN_USE:
                raise
        time.sleep(seconds)
    return call(*arguments)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def _position(file: BinaryIO) -> int:
    try:
        return file.tell()
    except (OSError, ValueError):  # closed by `content`, or the flush that it makes fails
        return 0


def _explained(error: BaseException, path: str, temporary: str, needed: str) -> BaseException:
    """Give the error to raise: one that names `path`, and of a full disk the bytes."""
    if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
        error = error.__context__  # torch's own complaint hides that the disk is full
    if not isinstance(error, OSError) or not error.errno or error.filename not in (None, temporary):
        return error
    reason = error.strerror or ''
    if error.errno in FULL:
        with suppress(OSError):
            free = shutil.disk_usage(os.path.dirname(os.path.abspath(path))).free
            reason += f' ({needed} bytes to write, {free:,} bytes free)'
    return OSError(error.errno, reason, path)
