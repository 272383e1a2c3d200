"""Kinds of values in option files.

A kind says which values are accepted, how an error names them and how a JSON schema says it.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

from hmaca_arch.messages import short_repr, suggestion


class Kind(NamedTuple):
    """A kind of value and, for a setting in `schema`, what the setting means.

    Attributes:
        words: what an error message says is expected.
        accepts: whether a value is of this kind.
        names: the texts that are accepted, if only some are.
        json: the kind as JSON schema.
        meaning: what the setting does, for docs/options.md.
        example: a value, as YAML.
        default: the default, as YAML or in words; '' if the setting is required.
    """

    words: str
    accepts: Callable[[Any], bool]
    names: tuple[str, ...] = ()
    json: Mapping[str, Any] = {}
    meaning: str = ''
    example: str = ''
    default: str = ''

    def described(self, meaning: str, example: str, default: str = '') -> 'Kind':
        """Return this kind with the description of a setting."""
        return self._replace(meaning=meaning, example=example, default=default)


def wrong_value(place: str, value: Any, kind: Kind) -> Iterator[str]:
    """Yield a line if a value is not of the expected kind."""
    if not kind.accepts(value):
        hint = suggestion(value, kind.names, listed=False)
        yield f'{place}: got {short_repr(value)}, expected {kind.words}{hint}'


def _range_in_words(least: float, most: float) -> str:
    if most < math.inf:
        return f' from {least} to {most}'
    return f' of at least {least}' if least > -math.inf else ''


def _numbers(words: str, json_type: str, kind: type, least: float, most: float) -> Kind:
    def accepts(value: Any) -> bool:
        is_number = isinstance(value, kind) and not isinstance(value, bool)
        return is_number and abs(value) < math.inf and least <= value <= most

    bounds = {'minimum': least, 'maximum': most}
    json = {key: value for key, value in bounds.items() if math.isfinite(value)}
    words += _range_in_words(least, most)
    return Kind(words, accepts, json={'type': json_type, **json})


def whole(least: float = -math.inf, most: float = math.inf) -> Kind:
    """Return the kind of whole numbers from `least` to `most`, both included."""
    return _numbers('a whole number', 'integer', Integral, least, most)


def number(least: float = -math.inf, most: float = math.inf) -> Kind:
    """Return the kind of finite numbers from `least` to `most`, both included."""
    return _numbers('a number', 'number', Real, least, most)


def _in_yaml(value: Any) -> str:
    if value is None:
        return 'null'
    return str(value).lower() if isinstance(value, bool) else str(value)


def choice(*values: Any) -> Kind:
    """Return the kind of these values only; 1 is not true."""

    def accepts(value: Any) -> bool:
        return any(value == known and type(value) is type(known) for known in values)

    *others, last = map(_in_yaml, values)
    words = f'{", ".join(others)} or {last}' if others else last
    return Kind(words, accepts, (*others, last), {'enum': list(values)})


def either(*kinds: Kind) -> Kind:
    """Return the kind of values that any of `kinds` accepts."""
    return Kind(
        ', or '.join(dict.fromkeys(kind.words for kind in kinds)),
        lambda value: any(kind.accepts(value) for kind in kinds),
        tuple(itertools.chain.from_iterable(kind.names for kind in kinds)),
        {'anyOf': [dict(kind.json) for kind in kinds]},
    )


def list_of(kind: Kind, length: int | None = None) -> Kind:
    """Return the kind of lists whose items are all of one kind; None allows any length."""

    def accepts(value: Any) -> bool:
        is_list = isinstance(value, list | tuple) and length in (None, len(value))
        return is_list and all(map(kind.accepts, value))

    size = {'minItems': length, 'maxItems': length} if length else {}
    json = {'type': 'array', 'items': dict(kind.json), **size}
    words = f'a list of {length}' if length else 'a list'
    return Kind(f'{words}, each {kind.words}', accepts, kind.names, json)


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
    """Return the kind that accepts null as well."""
    return either(kind, NOTHING)
