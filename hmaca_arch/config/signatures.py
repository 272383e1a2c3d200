"""What a constructor may be given, read from its signature; and whether it takes what a section
gives.
"""

import functools
import inspect
import itertools
import json
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, Literal, Union, get_args, get_origin

import torch
from basicsr.archs import build_network

from hmaca_arch.config.kinds import (
    ANY,
    FLAG,
    LIST,
    NOTHING,
    SECTION,
    Kind,
    choice,
    either,
    list_of,
    number,
    optional,
    whole,
)
from hmaca_arch.networks import mask_input
from hmaca_arch.networks.described import (
    MOST_ELEMENTS,
    MOST_IN_MEMORY,
    Bounded,
    TooLarge,
    quiet_construction,
)

_TEXT = Kind('a text', lambda value: isinstance(value, str), json={'type': 'string'})  # '' too
_PLAIN = {
    bool: FLAG,
    int: whole(),
    float: number(),
    str: _TEXT,
    type(None): NOTHING,
    dict: SECTION,
    Mapping: SECTION,
}


def _annotated(annotation: Any) -> Kind | None:
    """The kind of value that an annotation allows; None for what no option file can hold, such as a
    tensor.
    """
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return choice(*arguments)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in map(_annotated, arguments) if kind is not None]
        return ANY if ANY in kinds or not kinds else either(*kinds)
    container = origin or annotation
    if container in (dict, Mapping):
        return SECTION
    if container in (list, tuple, Sequence, Iterable):
        items = [argument for argument in arguments if argument is not Ellipsis]
        kind = _annotated(items[0]) if items and len({*items}) == 1 else None
        fixed = len(items) if container is tuple and Ellipsis not in arguments else None
        return LIST if kind is None else list_of(kind, fixed)
    return None if isinstance(annotation, type) else ANY


def _like(default: Any) -> Kind:
    """Where nothing is annotated, only what is plainly something else than the default is refused."""
    if isinstance(default, bool):
        return FLAG
    if isinstance(default, Real):
        return Kind('a number', lambda value: not isinstance(value, str | Mapping))
    if isinstance(default, str):
        return Kind('a text', lambda value: isinstance(value, str | None))
    if isinstance(default, list | tuple):
        return Kind('a list', lambda value: not isinstance(value, str | Mapping | bool))
    return ANY


def kind_of(parameter: inspect.Parameter) -> Kind:
    """The kind of value that a parameter takes, from its annotation or else its default."""
    if parameter.annotation is parameter.empty:
        return _like(parameter.default)
    kind = _annotated(parameter.annotation) or ANY
    return optional(kind) if parameter.default is None and kind is not ANY else kind


def parameters(called: Callable) -> dict[str, inspect.Parameter]:
    """Its parameters, annotations that are texts evaluated where they can be."""
    try:
        return dict(inspect.signature(called, eval_str=True).parameters)
    except NameError:
        return dict(inspect.signature(called).parameters)


def absent_files(section: Mapping[str, Any]) -> list[str]:
    """The keys of a network's section that name files (weights to begin with) which are not there."""
    named = {
        key: value
        for key, value in section.items()
        if str(key).endswith('path') and isinstance(value, str) and value
    }
    return [key for key, value in named.items() if not os.path.isfile(os.path.expanduser(value))]


def built(section: Mapping[str, Any]) -> torch.nn.Module:
    """Build a network as its section says, only to look at it; the random numbers that come next
    stay as they are.

    Its weights have no memory where the constructor allows it, so that no setting can ask for all
    there is.

    Raises:
        Exception: whatever the constructor refuses the section with.
    """
    section = mask_input.network_section(section)
    with quiet_construction():
        try:
            with Bounded():
                network = build_network(section)
            if (
                sum(
                    value.numel()
                    for value in itertools.chain(network.parameters(), network.buffers())
                )
                > MOST_ELEMENTS
            ):
                raise TooLarge(
                    f'the network has more than {MOST_ELEMENTS} weights: a setting is too large'
                )
            return network
        except TooLarge:
            raise
        except Exception:  # a constructor that computes with its weights: only a real one can tell
            with Bounded(elements=MOST_IN_MEMORY, memory=True):
                return build_network(section)


def try_network(section: Mapping[str, Any]) -> int:
    """The number of parameters of a network; errors as in `built`. A section is tried once."""
    return _try_network(json.dumps(section, sort_keys=True))


@functools.cache
def _try_network(section: str) -> int:
    return sum(parameter.numel() for parameter in built(json.loads(section)).parameters())
