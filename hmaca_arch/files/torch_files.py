"""Files of torch: saved whole or not at all, and read although they may be anything."""

import os
import stat
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.claims import DAMAGED, refuse_claims, refuse_odd_tensors
from hmaca_arch.messages import reason_of


def save_atomically(data: Any, path: str | os.PathLike) -> None:
    """Write `data` with `torch.save`; errors as in `write_atomically`."""
    write_atomically(path, lambda file: torch.save(data, file))


def load_safely(path: str | os.PathLike) -> Any:
    """Load what `torch.save` wrote, on the CPU, without executing anything in it.

    That holds whatever torch's version and environment are.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is torn or something else, claims more than it has, or holds more than
            tensors and plain values; in one short line, without the path.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError('it is no file')  # opening a pipe would wait for whoever writes to it
    with open(path, 'rb') as file:
        whole = refuse_claims(file)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # of formats that are refused anyway
                return torch.load(whole, map_location='cpu', weights_only=True)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # whatever a torn file makes the reader raise
            text = reason_of(error)
    if 'weights_only' in text:  # torch goes on with advice to load it all the same
        raise ValueError(DAMAGED)
    raise ValueError(text[:120] or DAMAGED)


def read_checkpoint(
    path: Path, keys: Iterable[str] = ('params_ema', 'params')
) -> tuple[dict[str, Tensor], str | None]:
    """Return a checkpoint's weights, without the `module.` of a wrapped network.

    The second value is under which of `keys` they are, the first that is there, or None if the
    checkpoint holds nothing else.

    Raises:
        FileNotFoundError, ValueError: in one line.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f'weights: {path.absolute()} does not exist; expected a checkpoint, '
            'experiments/NAME/models/net_g_*.pth'
        )
    try:
        checkpoint = load_safely(path)
    except ValueError as error:
        raise ValueError(f'{path}: not a checkpoint that can be read: {error}') from None
    return weights_in(checkpoint, path, keys)


def weights_in(
    checkpoint: Any, path: Path, keys: Iterable[str]
) -> tuple[dict[str, Tensor], str | None]:
    """As `read_checkpoint`, of what was loaded from `path`."""
    key = next((key for key in keys if isinstance(checkpoint, dict) and key in checkpoint), None)
    weights = checkpoint[key] if key else checkpoint
    if (
        not isinstance(weights, dict)
        or not weights
        or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
        )
    ):
        raise ValueError(
            f'{path}: holds no weights; expected a checkpoint net_g_*.pth with params or params_ema'
        )
    try:
        refuse_odd_tensors(weights)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    return {name.removeprefix('module.'): value for name, value in weights.items()}, key
