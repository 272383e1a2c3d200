"""The standard streams, where nobody reads them or they are closed."""

import errno
import os
import sys
from typing import TextIO


def complete() -> None:
    """Open the streams that are closed (`2>&-`, services, pythonw), so that they lead nowhere.

    Otherwise a file would get the number of a stream, and C libraries would write messages into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))  # noqa: SIM115


def write_line(stream: TextIO, text: str) -> None:
    """Write a line now. If the stream's reader has gone (`| head`), write nothing.

    Raises:
        OSError: stdout cannot be written, for example to a full disk.
    """
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        _refused(stream, error)


def flush() -> None:
    """Write what stdout and stderr still hold, with the errors of `write_line`."""
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
