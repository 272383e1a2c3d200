"""Writing checkpoints so that a file under its final name is always a whole one."""

import os
from typing import Any

import torch


def save_atomically(data: Any, path: str | os.PathLike) -> None:
    """`torch.save` to a temporary file beside `path`, flushed to the disk, then renamed onto it.

    Raises:
        OSError, or what torch.save raises: whatever went wrong; `path` then is what it was before, and no temporary file is left.
    """
    path = os.fspath(path)
    temporary = f'{path}.{os.getpid()}.tmp'
    try:
        with open(temporary, 'wb') as file:
            torch.save(data, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if os.path.exists(temporary):
            os.remove(temporary)
        if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
            raise error.__context__ from None  # torch's own complaint hides that the disk is full
        raise
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)
