"""The log file and TensorBoard's files of a run. What cannot be written ends the run in one line.

Python's logging prints a traceback for each line that a full disk refuses. TensorBoard's thread
prints another, and no error names a file.
"""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Let an OSError that names no file name this one."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, path) from None


class _Passing(logging.Handler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Raise what torch's signal handler raises in the middle of a line: a worker is gone."""
        if isinstance(sys.exc_info()[1], RuntimeError):
            raise
        super().handleError(record)


class Console(_Passing, logging.StreamHandler):
    """A log on the terminal."""


class LogFile(_Passing, logging.FileHandler):
    """A log in UTF-8, as names need not be ASCII."""

    def __init__(self, path: str) -> None:
        """Empty the log."""
        super().__init__(path, 'w', encoding='utf-8', errors='backslashreplace')

    def handleError(self, record: logging.LogRecord) -> None:
        """Raise the OSError of writing a line; called while it is handled."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
            return
        with suppress(OSError):
            self.close()  # the line is in its buffer, and would be refused again at the end
        with _naming(self.baseFilename):
            raise


def root_logger(*args: Any, **kwargs: Any) -> logging.Logger:
    """Return BasicSR's root logger, whose handlers are a `Console` and a `LogFile`."""
    logger = get_root_logger(*args, **kwargs)
    for handler in list(logger.handlers):
        ours: logging.Handler
        if type(handler) is logging.FileHandler:
            handler.close()
            ours = LogFile(handler.baseFilename)
        elif type(handler) is logging.StreamHandler:
            ours = Console(handler.stream)
        else:
            continue
        logger.removeHandler(handler)
        ours.setFormatter(handler.formatter)
        ours.setLevel(handler.level)
        logger.addHandler(ours)
    return logger


@master_only
def start_tensorboard(log_dir: str) -> Any:
    """Return TensorBoard's writer, whose errors name its folder."""
    from torch.utils.tensorboard import SummaryWriter

    class Writer(SummaryWriter):
        add_scalar = _naming(log_dir)(SummaryWriter.add_scalar)
        add_image = _naming(log_dir)(SummaryWriter.add_image)
        close = _naming(log_dir)(SummaryWriter.close)

    with _naming(log_dir):
        return Writer(log_dir=log_dir)


@contextmanager
def quiet_threads() -> Iterator[None]:
    """Print no traceback of an OSError in a thread: TensorBoard raises it in the next call too."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, OSError):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
