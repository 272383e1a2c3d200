"""The settings of a constructor, read from its signature, and trial construction of networks."""

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
_PLAIN: dict[Any, Kind] = {
    bool: FLAG,
    int: whole(),
    float: number(),
    str: _TEXT,
    type(None): NOTHING,
    dict: SECTION,
    Mapping: SECTION,
    Any: ANY,  # which is a type from Python 3.11 on
}


def _kind_of_annotation(annotation: Any) -> Kind | None:
    """Return the kind of value that an annotation allows.

    None for what no option file can hold, such as a tensor.
    """
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return choice(*arguments)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in map(_kind_of_annotation, arguments) if kind is not None]
        return ANY if ANY in kinds or not kinds else either(*kinds)
    container = origin or annotation
    if container in (dict, Mapping):
        return SECTION
    if container in (list, tuple, Sequence, Iterable):
        return _kind_of_list(container, arguments)
    return None if isinstance(annotation, type) else ANY


def _kind_of_list(container: Any, arguments: tuple) -> Kind:
    items = [argument for argument in arguments if argument is not Ellipsis]
    kind = _kind_of_annotation(items[0]) if len({*items}) == 1 else None
    if kind is None:
        return LIST
    return list_of(kind, len(items) if container is tuple and Ellipsis not in arguments else None)


def _kind_of_default(default: Any) -> Kind:
    """Return the kind of a parameter without annotation.

    It refuses only what plainly differs from the default: BasicSR's functions take more than their
    defaults show.
    """
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
    """Return the kind of value that a parameter takes, by its annotation or else its default."""
    if parameter.annotation is parameter.empty:
        return _kind_of_default(parameter.default)
    kind = _kind_of_annotation(parameter.annotation) or ANY
    return optional(kind) if parameter.default is None and kind is not ANY else kind


def parameters(called: Callable) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function, with annotations evaluated where they can be."""
    try:
        return dict(inspect.signature(called, eval_str=True).parameters)
    except NameError:
        return dict(inspect.signature(called).parameters)


def absent_files(section: Mapping[str, Any]) -> list[str]:
    """Return the keys of a network's section that name files (weights) which do not exist."""
    files = {key: value for key, value in section.items() if str(key).endswith('path')}
    return [
        key
        for key, value in files.items()
        if isinstance(value, str) and value and not os.path.isfile(value)
    ]


def built(section: Mapping[str, Any]) -> torch.nn.Module:
    """Build a network for inspection only; the random number generator stays unchanged.

    Its weights have no memory if the constructor allows it, so that no setting can ask for all of
    the machine's.

    Args:
        section: `network_g` of an option file.

    Raises:
        Exception: what the constructor raises.
    """
    section = mask_input.network_section(section)
    with quiet_construction():
        try:
            with Bounded():
                network = build_network(section)
            weights = itertools.chain(network.parameters(), network.buffers())
            if sum(value.numel() for value in weights) > MOST_ELEMENTS:
                raise TooLarge(
                    f'the network has more than {MOST_ELEMENTS} weights: a setting is too large'
                )
            return network
        except TooLarge:
            raise
        except Exception:  # some constructors compute with their weights: try with real ones
            with Bounded(elements=MOST_IN_MEMORY, memory=True):
                return build_network(section)


def count_parameters(section: Mapping[str, Any]) -> int:
    """Return a network's number of parameters; errors as in `built`. Results are cached."""
    return _count_parameters(json.dumps(section, sort_keys=True))


@functools.cache
def _count_parameters(section: str) -> int:
    return sum(parameter.numel() for parameter in built(json.loads(section)).parameters())
