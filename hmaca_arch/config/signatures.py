"""What a constructor may be given, read from its signature (of BasicSR's models and data sets: from their source); and whether it takes
what a section gives."""

import ast
import functools
import inspect
import itertools
import json
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, Literal, Union, get_args, get_origin

import torch
from basicsr.archs import build_network

from hmaca_arch.config.kinds import ANY, FLAG, LIST, NOTHING, SECTION, Kind, choice, either, list_of, number, optional, whole
from hmaca_arch.networks import mask_input
from hmaca_arch.networks.described import MOST_ELEMENTS, MOST_IN_MEMORY, Bounded, TooLarge, trial

_TEXT = Kind('a text', lambda value: isinstance(value, str), json={'type': 'string'})  # '' too
_PLAIN = {bool: FLAG, int: whole(), float: number(), str: _TEXT, type(None): NOTHING, dict: SECTION, Mapping: SECTION}


def _annotated(annotation: Any) -> Kind | None:
    """The kind of value that an annotation allows; None for what no option file can hold, such as a tensor."""
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


@functools.cache
def keys_read(cls: type) -> frozenset[str]:
    """What the methods of one of BasicSR's classes read from dictionaries: `opt['x']`, `opt.get('x')`, `opt.pop('x')`."""
    found = set()
    for part in cls.__mro__:
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(part)))) if part.__module__.startswith('basicsr.') else ():
            if isinstance(node, ast.Subscript):
                found.add(node.slice)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ('get', 'pop') and node.args:
                found.add(node.args[0])
    return frozenset(node.value for node in found if isinstance(node, ast.Constant) and isinstance(node.value, str))


def foreign_keys(cls: type | None) -> tuple[frozenset[str], bool]:
    """What a model or data set that has no schema here reads besides, and whether it may read anything."""
    if cls is None or not cls.__module__.startswith('basicsr.'):
        return frozenset(), True
    return keys_read(cls), False


def network_without_weights(section: Mapping[str, Any]) -> torch.nn.Module:
    """A network as its section says, no memory for its weights; the random numbers that come next stay as they are.

    Raises:
        Exception: whatever the constructor refuses the section with.
    """
    section = mask_input.network_section(section)
    with trial():
        try:
            with Bounded():
                network = build_network(section)
            if sum(value.numel() for value in itertools.chain(network.parameters(), network.buffers())) > MOST_ELEMENTS:
                raise TooLarge(f'the network has more than {MOST_ELEMENTS} weights: a setting is too large')
            return network
        except TooLarge:
            raise
        except Exception:  # a constructor that computes with its weights: only a real one can tell
            with Bounded(elements=MOST_IN_MEMORY, memory=True):
                return build_network(section)


def try_network(section: Mapping[str, Any]) -> int:
    """The number of parameters of a network; errors as in `network_without_weights`. A section is tried once."""
    return _try_network(json.dumps(section, sort_keys=True))


@functools.cache
def _try_network(section: str) -> int:
    return sum(parameter.numel() for parameter in network_without_weights(json.loads(section)).parameters())
