"""Locks that keep other runs out of a run's folder until this one ends."""

from pathlib import Path

from hmaca_arch.files import locks

_locks: list[locks.Lock] = []  # of this process


def lock_experiment(folder: str, doing: str = 'training under this name') -> None:
    """Lock a run's folder.

    The lock lies beside the folder: BasicSR moves the folder aside while another run writes to it.

    Args:
        folder: the run's folder, which need not exist.
        doing: what another process that holds the lock does, for the message.

    Raises:
        ValueError: another process holds it.
    """
    path = Path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    refusal = f'{folder}: another process is {doing}; wait for it, or choose another name'
    _locks.append(locks.take(path.with_name(f'.{path.name}.lock'), refusal))


def unlock() -> None:
    """Release all locks of this process."""
    while _locks:
        _locks.pop().release()
