"""Writing files so that what stands under the final name is always a whole one, and reading weights that may be anything."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor


def save_atomically(data: Any, path: str | os.PathLike) -> None:
    """`torch.save`, whole or not at all (see `write_durably`)."""
    write_durably(path, lambda file: torch.save(data, file))


def write_durably(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then rename it onto `path`.

    Raises:
        OSError, or what torch.save raises: whatever went wrong; `path` then is what it was before, and no temporary file is left.
    """
    path = os.fspath(path)
    parent, name = os.path.split(path)
    temporary = os.path.join(parent, f'{name[:60]}.{os.getpid()}.tmp')  # cut, as names have at most 255 bytes
    try:
        with open(temporary, 'wb') as file:
            write(file)
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


def read_weights(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint file, or its only ones; errors as in `read_checkpoint`."""
    return read_checkpoint(path)[0]


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """A checkpoint's weights, and under which key they are: averaged ones first; None where it holds nothing else. Nothing is executed.

    Raises:
        FileNotFoundError, ValueError: in one line.
    """
    if not path.is_file():
        raise FileNotFoundError(f'weights: {path.absolute()} does not exist; expected a checkpoint, experiments/NAME/models/net_g_*.pth')
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        reason = (str(error).strip() or 'the file is cut short').splitlines()[0]
        raise ValueError(f'{path}: not a checkpoint that torch can read: {reason}') from None
    key = next((key for key in ('params_ema', 'params') if isinstance(checkpoint, dict) and key in checkpoint), None)
    weights = checkpoint[key] if key else checkpoint
    if not isinstance(weights, dict) or not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f'{path}: holds no weights; expected a checkpoint net_g_*.pth with params or params_ema')
    return weights, key
