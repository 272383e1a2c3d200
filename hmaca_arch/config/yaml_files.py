"""YAML for option files: texts, numbers, true and false, null, lists and sections.

This is PyYAML's YAML 1.1 with four differences. `1e-4` is a number. A float that is whole and
written without a point (`3e5`, `!!float 1600`) is an integer. A date and `=` are texts. A key is a
text and may not be given twice.

Files may come from strangers. What cannot be an option file is refused with one line, before it
takes time or memory.
"""

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from hmaca_arch.messages import reason_of, short_repr

LARGEST_FILE = 2**16  # bytes
MOST_VALUES = 20_000  # in a file, each counted as often as aliases repeat it
LARGEST_NUMBER = 2**63
PREFIX = 'tag:yaml.org,2002:'
READ_AS_TEXT = {f'{PREFIX}timestamp', f'{PREFIX}value'}
FLOAT = re.compile(r'^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$')
MANY_BRACKETS = re.compile(r'([\[{]\s*){50}')  # PyYAML's time grows with their square
EXPECTED = 'expected a text, a number, true, false, null, a list or a section'
# What PyYAML's constructors raise for a text that is not of the tag's type.
BAD_SCALAR = (ValueError, KeyError, OverflowError, IndexError, AttributeError)


def _at_line(node: yaml.Node) -> str:
    return f' (line {node.start_mark.line + 1})'


class Loader(yaml.SafeLoader):
    """Reads the kinds of values that are listed at the top of this file."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (as PyYAML has it)
        first: [pair for pair in pairs if pair[0] not in READ_AS_TEXT]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def value(self, node: yaml.Node, place: str = '') -> Any:
        """Return the value of a node; `place` is its key, for messages."""
        if isinstance(node, yaml.MappingNode):
            self.expect(node, 'map', place)
            return self.section(node, place)
        if isinstance(node, yaml.SequenceNode):
            self.expect(node, 'seq', place)
            return [self.value(item, place) for item in node.value]
        return self.scalar(node, place)

    def section(self, node: yaml.MappingNode, place: str) -> dict[str, Any]:
        """Return a section, with `<<` merged into it."""
        if any(not isinstance(key, yaml.ScalarNode) for key, _ in node.value):
            raise ValueError(
                f'{place}{_at_line(node)}: a key is a list or a section, expected a text'
            )
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                line = node.start_mark.line + 1
                raise ValueError(
                    f'{node.start_mark.name}: key {key.value!r} is given twice in the section at '
                    f'line {line}'
                )
            seen.add(key.value)
        self.flatten_mapping(node)
        result = {}
        for key, item in node.value:
            name = self.scalar(key, place)
            if not isinstance(name, str):
                raise ValueError(
                    f'{place}{_at_line(key)}: the key {short_repr(key.value)} is no text; '
                    'put it in quotes'
                )
            result[name] = self.value(item, f'{place}:{name}' if place else name)
        return result

    def scalar(self, node: yaml.Node, place: str) -> Any:
        """Return a text, a number, true, false or null."""
        kind, text = node.tag.removeprefix(PREFIX), node.value
        readers: dict[str, Callable[[Any], Any]] = {
            'str': lambda node: text,
            'float': self.number,
            'int': self.integer,
            'bool': self.construct_yaml_bool,
            'null': lambda node: None,
        }
        if kind not in readers:
            raise ValueError(
                f'{place}{_at_line(node)}: {short_repr(text)} is given as !!{kind}, {EXPECTED}'
            )
        try:
            return readers[kind](node)
        except BAD_SCALAR:
            raise ValueError(
                f'{place}{_at_line(node)}: {short_repr(text)} is no {kind} that can be used'
            ) from None

    def integer(self, node: yaml.ScalarNode) -> int:
        """Return a whole number.

        Raises:
            ValueError: it is too large, or no number.
        """
        value = self.construct_yaml_int(node)
        if abs(value) >= LARGEST_NUMBER:
            raise ValueError('too large')
        return value

    def number(self, node: yaml.ScalarNode) -> int | float:
        """Return a float, or an int for a whole number without a point, such as 3e5."""
        value, text = self.construct_yaml_float(node), node.value
        without_point = 'e' in text.lower() or '.' not in text
        if without_point and value.is_integer() and abs(value) < LARGEST_NUMBER:
            return int(value)
        return value

    def expect(self, node: yaml.Node, kind: str, place: str) -> None:
        """Raise a ValueError if a node has another tag than that of its kind."""
        if node.tag != PREFIX + kind:
            given = short_repr(node.tag.replace(PREFIX, '!!'))
            raise ValueError(f'{place}{_at_line(node)}: it is given as {given}, {EXPECTED}')


class Dumper(yaml.SafeDumper):
    """Writes what `Loader` reads back unchanged: texts such as '1e5' in quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        """Repeat values instead of writing aliases."""
        return True


def dump(options: dict) -> str:
    """Return options as YAML that reads back as the same."""
    return yaml.dump(options, Dumper=Dumper, sort_keys=False, allow_unicode=True)


for _class in (Loader, Dumper):
    _class.add_implicit_resolver(f'{PREFIX}float', FLOAT, list('-+.0123456789'))


def count(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for when its aliases are resolved.

    Args:
        node: the root of a document.
        known: counts by id of node; empty at the start.

    Raises:
        ValueError: there are more than MOST_VALUES, or a section contains itself.
    """
    where = f'the section at line {node.start_mark.line + 1}'
    if id(node) not in known:
        known[id(node)] = 0  # while it is counted
        total = 1 + sum(count(child, known) for child in _children(node))
        if total > MOST_VALUES:
            raise ValueError(f'{where} holds more than {MOST_VALUES} values, aliases resolved')
        known[id(node)] = total
    if not known[id(node)]:
        raise ValueError(f'{where} contains itself')
    return known[id(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return node.value
    if isinstance(node, yaml.MappingNode):
        return [*(key for key, _ in node.value), *(item for _, item in node.value)]
    return []


def _value_of(text: str, name: str) -> Any:
    """Read YAML; a ValueError names the key and the line, if there is one."""
    if len(text) > LARGEST_FILE:
        raise ValueError(f'has {len(text)} characters, expected at most {LARGEST_FILE}')
    if MANY_BRACKETS.search(text):
        raise ValueError('is nested too deeply')
    try:
        loader = Loader(text)  # which refuses control characters
        loader.name = name
        node = loader.get_single_node()
        if node is None:
            return None
        count(node, {})
        return loader.value(node)
    except yaml.YAMLError as error:
        raise ValueError(f'is not valid YAML: {reason_of(error)}') from None
    except RecursionError:
        raise ValueError('is nested too deeply') from None


def parse(text: str) -> Any:
    """Read the value of a command line override.

    Raises:
        ValueError: it is not YAML.
    """
    try:
        return _value_of(text, 'the value')
    except ValueError as error:
        raise ValueError(f'the value {str(error).strip()}') from None


def read_yaml(path: Path) -> dict:
    """Read a file that holds a section.

    Raises:
        OSError, ValueError: it cannot be read, is not YAML or holds something else.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = 'folder' if stat.S_ISDIR(status.st_mode) else 'pipe or a device'
        raise ValueError(f'option file {path} is a {kind}, expected a file')
    if status.st_size > LARGEST_FILE:
        raise ValueError(
            f'option file {path} has {status.st_size} bytes, expected at most {LARGEST_FILE}'
        )
    try:
        options = _value_of(path.read_text(encoding='utf-8'), str(path))
    except UnicodeDecodeError as error:
        raise ValueError(
            f'option file {path} is not UTF-8: byte {error.object[error.start]:#04x} at position '
            f'{error.start}; save it as UTF-8'
        ) from None
    except ValueError as error:
        colon = '' if str(error).startswith(('is ', 'has ')) else ':'
        raise ValueError(f'option file {path}{colon} {error}') from None
    if not isinstance(options, dict):
        raise ValueError(f'option file {path} holds no options')
    return options
