"""Check the settings of a `Recipe` and bring each into one form: numbers become (low, high)."""

import os
from collections.abc import Collection, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from hmaca_arch.degradation import POOLS
from hmaca_arch.degradation.custom import DEGRADERS, parameters_of
from hmaca_arch.degradation.description import LARGEST_SIGMA
from hmaca_arch.files.reading import list_images
from hmaca_arch.messages import suggestion

DEGRADATIONS = ('pix', 'blur', 'noise')  # the paper's
_DEFAULTS: dict[str, dict[str, Any]] = {
    'pix': {'block': 5, 'pool': 'centre', 'offset': 'region'},
    'blur': {'sigma': 1.0},
    'noise': {'sigma': 7.07},
    'none': {},
    'kernel': {'path': ''},
}
_SMALLEST_SIGMA = {'blur': 0.05, 'noise': 0.0}
NO_COMPRESSION = {'before': 0.0, 'after': 0.0, 'quality': (30, 100)}


def require_one_of(name: str, value: Any, known: Collection[Any]) -> None:
    """Raise a ValueError with the closest known value if `value` is not known."""
    if value not in known:
        raise ValueError(f'{name}: there is no {value!r}{suggestion(value, known)}')


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number; a bool is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def number_range(name: str, value: Any, lowest: float, whole: bool = False) -> tuple[float, float]:
    """Return a number, or [low, high], as (low, high).

    Args:
        name: the setting, for error messages.
        value: the setting's value.
        lowest: the smallest number allowed.
        whole: whether only whole numbers are allowed.

    Raises:
        ValueError: the value is no such range.
    """
    ends = tuple(value) if isinstance(value, list | tuple) else (value, value)
    numbers = all(isinstance(end, Real) and not isinstance(end, bool) for end in ends)
    if len(ends) != 2 or not numbers or (whole and not all(map(is_whole, ends))):
        kind = 'a whole number' if whole else 'a number'
        raise ValueError(f'{name} is {value!r}, expected {kind} or [low, high]')
    low, high = (int(end) if is_whole(end) else float(end) for end in ends)
    if not lowest <= low <= high < float('inf'):
        raise ValueError(f'{name} is {value!r}, expected at least {lowest}, and low <= high')
    return low, high


def draw_number(ends: tuple[float, float], rng: np.random.Generator) -> float:
    """Draw from low to high, both included; a whole number if both ends are."""
    low, high = ends
    if low == high:
        return low
    if isinstance(low, int) and isinstance(high, int):
        return int(rng.integers(low, high + 1))
    return float(rng.uniform(low, high))


def check_degradation(entry: str | Mapping[str, Any], protocol: str) -> dict[str, Any]:
    """Check one entry of the setting `degradation`.

    Returns:
        {'type', 'weight'} and the parameters as ranges; `pool` is a tuple of choices.

    Raises:
        ValueError: naming what cannot work.
    """
    if not isinstance(entry, str | Mapping):
        raise ValueError(f'degradation is {entry!r}, expected a name, a mapping or a list of these')
    given: dict[str, Any] = {'type': entry} if isinstance(entry, str) else dict(entry)
    kind, weight = given.pop('type', ''), given.pop('weight', 1.0)
    require_one_of('degradation', kind, (*_DEFAULTS, *DEGRADERS))
    if not isinstance(weight, Real) or not 0 < float(weight) < float('inf'):
        raise ValueError(f'degradation {kind}: weight is {weight!r}, expected a number above 0')
    checked = {'type': kind, 'weight': float(weight)}
    if protocol == 'release':
        require_one_of('degradation (protocol release)', kind, DEGRADATIONS)
        if given:
            raise ValueError(
                f'degradation {kind}: protocol release fixes its parameters, '
                f'remove {", ".join(sorted(given))}'
            )
        return checked
    defaults = _DEFAULTS[kind] if kind in _DEFAULTS else parameters_of(DEGRADERS[kind], kind)
    for key in given:
        require_one_of(f'degradation {kind}', key, defaults)
    given = defaults | given
    if kind == 'pix':
        return checked | _check_pixelization(given)
    if kind == 'kernel':
        return checked | {'path': _kernel_files(given['path'])}
    if kind in DEGRADERS:
        return checked | {
            key: number_range(f'degradation {kind}: {key}', value, float('-inf'))
            for key, value in given.items()
        }
    if kind != 'none':
        name = f'degradation {kind}: sigma'
        checked['sigma'] = number_range(name, given['sigma'], _SMALLEST_SIGMA[kind])
        if checked['sigma'][1] > LARGEST_SIGMA[kind]:
            raise ValueError(
                f'{name} is {given["sigma"]!r}, expected at most {LARGEST_SIGMA[kind]}'
            )
    return checked


def _check_pixelization(given: Mapping[str, Any]) -> dict[str, Any]:
    block = number_range('degradation pix: block', given['block'], 1, whole=True)
    require_one_of('degradation pix: pool', given['pool'], (*POOLS, 'both'))
    require_one_of('degradation pix: offset', given['offset'], ('region', 'any'))
    pools = POOLS if given['pool'] == 'both' else (given['pool'],)
    checked = {'block': block, 'pool': pools}
    return checked | {'offset': 'any'} if given['offset'] == 'any' else checked


def _kernel_files(path: Any) -> tuple[str, ...]:
    """Return the image files that the setting `path` of a kernel names."""
    if not isinstance(path, str) or not os.path.exists(path):
        raise ValueError(
            f'degradation kernel: path is {path!r}, expected an image file or a folder of them'
        )
    return tuple(list_images(path).values()) if os.path.isdir(path) else (path,)


def check_compression(entry: Mapping[str, Any] | None, protocol: str) -> dict[str, Any]:
    """Check the setting `compression` and fill in its defaults.

    Raises:
        ValueError: naming what cannot work.
    """
    if entry and protocol == 'release':
        raise ValueError(
            'compression: protocol release has its own JPEG; '
            'use protocol clean, or leave compression out'
        )
    given = dict(entry or {})
    for key in given:
        require_one_of('compression', key, NO_COMPRESSION)
    checked: dict[str, Any] = NO_COMPRESSION | given
    for key in ('before', 'after'):
        share = checked[key]
        if not isinstance(share, Real) or not 0 <= float(share) <= 1:
            raise ValueError(f'compression: {key} is {share!r}, expected 0 to 1: how often')
    checked['quality'] = number_range('compression: quality', checked['quality'], 1, whole=True)
    if checked['quality'][1] > 100:
        raise ValueError(f'compression: quality is {given["quality"]!r}, expected at most 100')
    return checked
