"""Degradations that a user adds to the data sets.

    from hmaca_arch.degradation import register_degradation

    @register_degradation('scratches')
    def scratches(image, mask, rng, count=5):
        ...

`basicsr train --import my_degradations` imports `my_degradations.py`. An option file can then say
`degradation: {type: scratches, count: [1, 9]}`. No file names the module, because importing it runs
it. To a network such a degradation is unknown.
"""

import inspect
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from hmaca_arch.degradation.description import KINDS

Degrader = Callable[..., np.ndarray]
DEGRADERS: dict[str, Degrader] = {}
TAKEN = ('weight', 'type')  # keys that every entry of an option file has


def register_degradation(name: str) -> Callable[[Degrader], Degrader]:
    """Register a function as the degradation `name`.

    The function is called with an image (h, w, c) uint8, c being 3 or 1, a mask (h, w, 1) bool, a
    NumPy random generator, and its own parameters by name. Each parameter has a number as its
    default. An option file may give another number, or a range [low, high] to draw from. The
    function returns an image of the same shape and type. Outside the mask, what it returns is
    replaced by the given image.

    Raises:
        ValueError: the name is taken or is no word, or the function takes something else.
    """

    def register(function: Degrader) -> Degrader:
        known = DEGRADERS.get(name)
        if not name.isidentifier() or name in (*KINDS, 'auto'):
            raise ValueError(f'degradation {name!r}: expected a new name of letters and digits')
        if known is not None and known.__module__ != function.__module__:
            raise ValueError(f'degradation {name!r}: {known.__module__} has registered it already')
        parameters_of(function, name)
        DEGRADERS[name] = function
        return function

    return register


def parameters_of(function: Degrader, name: str) -> dict[str, float]:
    """Return the parameters of a function after image, mask and rng, with their defaults.

    Raises:
        ValueError: it does not take image, mask and rng, or a default is no number.
    """
    given = list(inspect.signature(function).parameters.values())
    if len(given) < 3 or any(one.default is not inspect.Parameter.empty for one in given[:3]):
        raise ValueError(f'degradation {name!r}: expected a function of image, mask and rng')
    for one in given[3:]:
        number = isinstance(one.default, Real) and not isinstance(one.default, bool)
        if not number or one.name in TAKEN:
            raise ValueError(
                f'degradation {name!r}: its parameter {one.name} needs a number as its default, '
                f'and another name than {" and ".join(TAKEN)}'
            )
    return {one.name: one.default for one in given[3:]}


def degrade(
    function: Degrader,
    image: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator,
    parameters: Mapping[str, Any],
) -> np.ndarray:
    """Call a registered function, and restore the pixels outside the mask.

    Raises:
        ValueError: it returns something else than an image like the given one.
    """
    made = function(image.copy(), mask.copy(), rng, **parameters)
    if not isinstance(made, np.ndarray):
        raise ValueError(f'{_name(function)} returned {type(made).__name__}, expected an array')
    if (made.shape, made.dtype) != (image.shape, image.dtype):
        raise ValueError(
            f'{_name(function)} returned {made.shape} {made.dtype}, '
            f'expected {image.shape} {image.dtype}'
        )
    return np.where(mask, made, image)


def _name(function: Degrader) -> str:
    return f'the degradation {function.__module__}.{function.__qualname__}'
