"""Checks of a training state, before a run resumes from it.

A state may be a stranger's, or of another network. What does not fit is one line at the start, and
not a traceback at the first step or the first save.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hmaca_arch.files.claims import refuse_odd_tensors
from hmaca_arch.messages import short_repr

LARGEST = 1e30  # number that a step multiplies in float32


def check_state(state: Any) -> None:
    """Raise a ValueError, KeyError or TypeError for anything that is no training state."""
    for key in ('epoch', 'iter'):
        _check_whole(state[key], key)
    for key in ('optimizers', 'schedulers'):
        parts = state[key]
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise ValueError(f'{key} is no list of states')
    for key in ('sampling', 'best', 'scaler'):
        _check_section(state.get(key, {}), key)
    _check_sampling(state.get('sampling', {}))
    for key, value in state.get('scaler', {}).items():
        _check_number(value, f'scaler:{key}')
    for scheduler in state['schedulers']:
        _check_scheduler(scheduler)
    for dataset, metrics in state.get('best', {}).items():
        _check_section(metrics, f'best:{dataset}')
        for metric, record in metrics.items():
            _check_record(record, f'best:{dataset}:{metric}')


def _check_sampling(sampling: Mapping[str, Any]) -> None:
    for key, value in sampling.items():
        if not isinstance(value, (int, str, type(None))):
            raise ValueError(f'sampling:{key} is {short_repr(value)}; expected a number or a name')
    if 'seed' in sampling:
        _check_whole(sampling['seed'], 'sampling:seed')


def _check_scheduler(scheduler: Mapping[str, Any]) -> None:
    for key in ('last_epoch', '_step_count'):
        _check_whole(scheduler.get(key, 0), f'schedulers:{key}')
    rates = scheduler.get('_last_lr', [0])
    if not isinstance(rates, list) or not rates:
        raise ValueError(f'schedulers:_last_lr is {short_repr(rates)}; expected a list of rates')
    for rate in rates:
        _check_number(rate, 'schedulers:_last_lr')


def _check_record(record: Any, place: str) -> None:
    """Check the best value of a metric."""
    _check_section(record, place)
    if record.keys() != {'better', 'val', 'iter'}:
        raise ValueError(f'{place} has {short_repr(list(record))}')
    _check_whole(record['iter'], f'{place}:iter')
    _check_number(record['val'], f'{place}:val', finite=False)
    if record['better'] not in ('higher', 'lower'):
        raise ValueError(f'{place}:better is {short_repr(record["better"])}')


def check_optimizer(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Compare an optimizer's saved state with the parameters that it has here.

    Raises:
        ValueError: it has other parameters, a tensor is missing or of another shape, or a learning
            rate is no number.
        KeyError, TypeError, AttributeError: it has another form.
    """
    name, groups = type(optimizer).__name__, saved['param_groups']
    if len(groups) != len(optimizer.param_groups):
        raise ValueError(f'{name}: {len(groups)} groups, here {len(optimizer.param_groups)}')
    expected: dict[tuple, dict[str, Any]] = {}
    for ours, theirs in zip(optimizer.param_groups, groups):
        for key in ('lr', 'initial_lr'):
            if key in theirs:
                _check_number(theirs[key], f'{name}:{key}')
        if len(theirs['params']) != len(ours['params']):
            raise ValueError(
                f'{name}: {len(theirs["params"])} parameters, here {len(ours["params"])}'
            )
        for number, parameter in zip(theirs['params'], ours['params']):
            if not isinstance(number, int):
                raise ValueError(f'{name}: parameter {short_repr(number)} has no number')
            entry = saved['state'].get(number, {})
            _check_section(entry, f'{name}: parameter {number}')
            if entry:  # empty for a parameter without gradient
                kind = (tuple(parameter.shape), parameter.dtype)
                if kind not in expected:
                    expected[kind] = _first_state(optimizer, ours, parameter)
                _compare(entry, expected[kind], f'{name}: parameter {number}')


def _compare(entry: Mapping[str, Any], expected: Mapping[str, Any], place: str) -> None:
    refuse_odd_tensors({key: value for key, value in entry.items() if isinstance(value, Tensor)})
    for key, value in expected.items():
        if value is None:
            continue
        if key not in entry:
            raise ValueError(f'{place}: {key} is missing')
        found = entry[key]
        if not torch.is_tensor(value) or value.ndim == 0:  # torch's versions count in either
            _check_number(found, f'{place}: {key}')
            continue
        if not torch.is_tensor(found):
            raise ValueError(f'{place}: {key} is {short_repr(found)}')
        shapes = [tuple(item.shape) for item in (found, value)]
        if shapes[0] != shapes[1]:
            raise ValueError(f'{place}: {key} has shape {shapes[0]}, here {shapes[1]}')


def _first_state(optimizer: Optimizer, group: Mapping[str, Any], parameter: Tensor) -> dict:
    """Return the state that an optimizer keeps of a parameter of this shape after a step.

    Empty if the optimizer needs more than gradients for a step.
    """
    twin = torch.zeros_like(parameter, device='cpu').requires_grad_()
    twin.grad = torch.zeros_like(twin)
    known = inspect.signature(type(optimizer)).parameters
    settings = {key: group[key] for key in group if key in known and key != 'params'}
    try:
        other = type(optimizer)([twin], **settings)
        other.step()
    except (RuntimeError, TypeError, ValueError):
        return {}
    return dict(other.state[twin])


def _check_whole(value: Any, place: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f'{place} is {short_repr(value)}; expected a whole number')


def _check_number(value: Any, place: str, finite: bool = True) -> None:
    if torch.is_tensor(value) and value.numel() == 1 and value.layout == torch.strided:
        value = value.item()
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or (finite and not 0 <= value <= LARGEST)
        or (isinstance(value, int) and abs(value) > LARGEST)
    ):
        raise ValueError(f'{place} is {short_repr(value)}; expected a number from 0 to {LARGEST:g}')


def _check_section(value: Any, place: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f'{place} is {short_repr(value)}; expected a section')
