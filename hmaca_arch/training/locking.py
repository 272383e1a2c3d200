"""Locks that keep other runs out of an experiment's folder."""

from pathlib import Path

from hmaca_arch.files import locks

_locks: list[locks.Lock] = []  # that this process holds


def lock_experiment(folder: str, doing: str = 'training under this name') -> None:
    """Keep other runs out of a run's folder until this one ends.

    The lock lies beside the folder: BasicSR would move the folder aside while a run goes on
    writing to it.

    Args:
        folder: the run's folder.
        doing: what the other process does, for the message.

    Raises:
        ValueError: another process trains (or tests) under this name.
    """
    path = Path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    refusal = f'{folder}: another process is {doing}; wait for it, or choose another name'
    _locks.append(locks.take(path.with_name(f'.{path.name}.lock'), refusal))


def unlock() -> None:
    """Release all locks of this process."""
    while _locks:
        _locks.pop().release()
