"""A schedule of the learning rate that was changed between a run and its continuation."""

from collections.abc import Mapping
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

SETTINGS = ('milestones', 'gamma', 'restarts', 'restart_weights', 'periods', 'eta_min')


def settings_of(schedule: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the option file sets of one of BasicSR's schedules.

    Args:
        schedule: its attributes, or its state.
    """
    found = {key: schedule[key] for key in SETTINGS if key in schedule}
    return {key: list(value) if type(value) is tuple else value for key, value in found.items()}


def share(settings: Mapping[str, Any], at: int, warmup: int) -> float:
    """Return the share of the first rate that BasicSR's MultiStepRestartLR has left.

    Args:
        settings: see `settings_of`.
        at: the iteration, counted from 0.
        warmup: `train: warmup_iter`. Until then the rate does not depend on the schedule, and what
            it has reached then is multiplied.
    """
    since, weight = warmup - 2, (warmup - 1) / warmup if warmup > 1 else 1.0
    for start, its_weight in sorted(zip(settings['restarts'], settings['restart_weights'])):
        if since < start <= at:
            since, weight = start, its_weight
    passed = {key: many for key, many in settings['milestones'].items() if since < key <= at}
    return float(weight * settings['gamma'] ** sum(passed.values()))


def go_on(schedule: LRScheduler, saved: Mapping[str, Any], warmup: int) -> str:
    """Set the rate of a resumed optimizer as its schedule has it, which may have changed.

    Only MultiStepRestartLR needs that: it multiplies the current rate. The others compute the rate
    from the iteration.

    Args:
        schedule: of the option file, at the resumed iteration.
        saved: the schedule's state in the checkpoint.
        warmup: `train: warmup_iter`.

    Returns:
        What changed, for the log; '' if nothing did.
    """
    now, before = settings_of(vars(schedule)), settings_of(saved)
    if not before or now == before:
        return ''
    if 'milestones' in now:
        at = schedule.last_epoch
        new = share(now, at, warmup)
        old = share(before, at, warmup) if 'milestones' in before else 0
        for group in schedule.optimizer.param_groups:
            group['lr'] = group['lr'] * new / old if old else group['initial_lr'] * new
    return '; '.join(
        f'{key} {_shown(before.get(key))}, now {_shown(now.get(key))}'
        for key in SETTINGS
        if before.get(key) != now.get(key)
    )


def _shown(value: Any) -> Any:
    return sorted(value) if isinstance(value, Mapping) else value
