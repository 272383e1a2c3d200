"""Writing files so that what stands under the final name is always a whole one."""

import os
from collections.abc import Callable
from typing import Any, BinaryIO

import torch


def save_atomically(data: Any, path: str | os.PathLike) -> None:
    """`torch.save`, whole or not at all (see `write_durably`)."""
    write_durably(path, lambda file: torch.save(data, file))


def write_durably(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then rename it onto `path`.

    Raises:
        OSError, RuntimeError: whatever went wrong; `path` then is what it was before, and no temporary file is left.
    """
    path = os.fspath(path)
    temporary = f'{path}.{os.getpid()}.tmp'
    try:
        with open(temporary, 'wb') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)
