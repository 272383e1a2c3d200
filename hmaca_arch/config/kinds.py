"""Kinds of values in option files: what is accepted, how an error names it, and how a JSON schema
says it.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

from hmaca_arch.messages import show, suggestion


class Kind(NamedTuple):
    """A kind of value; in a section of `schema`, with what the setting means.

    words: what an error says is expected. accepts: whether a value is of the kind. names: the texts
    it may be, if only some. json: the kind as JSON schema. meaning, example, default: of a setting,
    as docs/options.md prints them; the default is '' where the setting is required.
    """

    words: str
    accepts: Callable[[Any], bool]
    names: tuple = ()
    json: Mapping[str, Any] = {}
    meaning: str = ''
    example: str = ''
    default: str = ''

    def says(self, meaning: str, example: str, default: str = '') -> 'Kind':
        """Return this kind with what a setting means."""
        return self._replace(meaning=meaning, example=example, default=default)


def wrong_value(place: str, value: Any, kind: Kind) -> Iterator[str]:
    """A line if a value is not of the kind that is expected at its place."""
    if not kind.accepts(value):
        yield f'{place}: got {show(value)}, expected {kind.words}{suggestion(value, kind.names, listed=False)}'


def _in_words(least: float, most: float) -> str:
    if most < math.inf:
        return f' from {least} to {most}'
    return f' of at least {least}' if least > -math.inf else ''


def _bounds(least: float, most: float) -> dict[str, float]:
    bounds = {'minimum': least, 'maximum': most}
    return {key: value for key, value in bounds.items() if math.isfinite(value)}


def whole(least: float = -math.inf, most: float = math.inf) -> Kind:
    def accepts(value):
        return (
            isinstance(value, Integral) and not isinstance(value, bool) and least <= value <= most
        )

    return Kind(
        f'a whole number{_in_words(least, most)}',
        accepts,
        json={'type': 'integer', **_bounds(least, most)},
    )


def number(least: float = -math.inf, most: float = math.inf) -> Kind:
    def accepts(value):
        return (
            isinstance(value, Real)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and least <= value <= most
        )

    return Kind(
        f'a number{_in_words(least, most)}',
        accepts,
        json={'type': 'number', **_bounds(least, most)},
    )


def choice(*values) -> Kind:
    def accepts(value):
        return any(value == known and type(value) is type(known) for known in values)

    words = [
        str(value).lower() if isinstance(value, bool) else 'null' if value is None else str(value)
        for value in values
    ]
    return Kind(
        ' or '.join([', '.join(words[:-1]), words[-1]] if len(words) > 1 else words),
        accepts,
        tuple(words),
        {'enum': list(values)},
    )


def either(*kinds: Kind) -> Kind:
    return Kind(
        ', or '.join(dict.fromkeys(kind.words for kind in kinds)),
        lambda value: any(kind.accepts(value) for kind in kinds),
        tuple(name for kind in kinds for name in kind.names),
        {'anyOf': [dict(kind.json) for kind in kinds]},
    )


def list_of(kind: Kind, length: int | None = None) -> Kind:
    """A list whose items are all of one kind."""

    def accepts(value):
        return (
            isinstance(value, list | tuple)
            and length in (None, len(value))
            and all(map(kind.accepts, value))
        )

    size = {'minItems': length, 'maxItems': length} if length else {}
    json = {'type': 'array', 'items': dict(kind.json), **size}
    return Kind(
        f'a list{f" of {length}" if length else ""}, each {kind.words}', accepts, kind.names, json
    )


FLAG = choice(True, False)
TEXT = Kind(
    'a text',
    lambda value: isinstance(value, str) and value != '',
    json={'type': 'string', 'minLength': 1},
)
SECTION = Kind('a section', lambda value: isinstance(value, Mapping), json={'type': 'object'})
LIST = Kind('a list', lambda value: isinstance(value, list | tuple), json={'type': 'array'})
ANY = Kind('anything', lambda value: True)
NOTHING = Kind('null', lambda value: value is None, json={'type': 'null'})
FOLDER_NAME = Kind(
    'a name for a folder: a text of up to 200 bytes without / and not beginning with a dot',
    lambda value: (
        isinstance(value, str)
        and bool(re.fullmatch(r'[^./\\\x00-\x1f][^/\\\x00-\x1f]*', value))
        and len(value.encode(errors='replace')) <= 200
    ),
    json={'type': 'string', 'pattern': r'^[^./\\][^/\\]*$', 'maxLength': 200},
)


def optional(kind: Kind) -> Kind:
    return either(kind, NOTHING)
