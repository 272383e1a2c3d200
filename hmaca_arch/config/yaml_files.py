"""YAML as option files have it: texts, numbers, true and false, null, lists and sections.

As PyYAML reads YAML 1.1, with these differences: `1e-4` is a number; a float that says a whole
number without a point (`3e5`, `!!float 1600`) is one; a date and `=` are texts; a key is a text,
and given once. Files come from strangers: what cannot be an option file is refused in one line,
before it takes time or memory.
"""

import re
import stat
from pathlib import Path
from typing import Any

import yaml

from hmaca_arch.messages import show

LARGEST_FILE = 2**16  # bytes
MOST_VALUES = 20_000  # of a file, each counted as often as aliases repeat it
LARGEST_NUMBER = 2**63
PREFIX = 'tag:yaml.org,2002:'
TEXT_INSTEAD = {f'{PREFIX}timestamp', f'{PREFIX}value'}
FLOAT = re.compile(r'^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$')
EXPECTED = 'expected a text, a number, true, false, null, a list or a section'


class Loader(yaml.SafeLoader):
    """Reads the kinds of values that the module's docstring names."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (as PyYAML has it)
        first: [pair for pair in pairs if pair[0] not in TEXT_INSTEAD]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def value(self, node: yaml.Node, place: str = '') -> Any:
        """Make the value of a node; `place` is its key, for messages."""
        if isinstance(node, yaml.MappingNode):
            self.expect(node, 'map', place)
            return self.section(node, place)
        if isinstance(node, yaml.SequenceNode):
            self.expect(node, 'seq', place)
            return [self.value(item, place) for item in node.value]
        return self.scalar(node, place)

    def section(self, node: yaml.MappingNode, place: str) -> dict[str, Any]:
        keys = [key.value for key, _ in node.value]
        if any(not isinstance(key, yaml.ScalarNode) for key, _ in node.value):
            raise ValueError(
                f'{place}{self.at_line(node)}: a key is a list or a section, expected a text'
            )
        twice = (
            sorted({key for key in keys if keys.count(key) > 1})
            if len(set(keys)) < len(keys)
            else []
        )
        if twice:
            raise ValueError(
                f'{node.start_mark.name}: key {twice[0]!r} is given twice in the section at line {node.start_mark.line + 1}'
            )
        self.flatten_mapping(node)  # `<<`
        result = {}
        for key, item in node.value:
            name = self.scalar(key, place)
            if not isinstance(name, str):
                raise ValueError(
                    f'{place}{self.at_line(key)}: the key {show(key.value)} is no text; put it in quotes'
                )
            result[name] = self.value(item, f'{place}:{name}' if place else name)
        return result

    def scalar(self, node: yaml.ScalarNode, place: str) -> Any:
        kind, text = node.tag.removeprefix(PREFIX), node.value
        if kind == 'str':
            return text
        try:
            if kind == 'float':
                value = self.construct_yaml_float(node)
                whole = (
                    value.is_integer()
                    and abs(value) < LARGEST_NUMBER
                    and ('e' in text.lower() or '.' not in text)
                )
                return int(value) if whole else value  # 3e5 iterations are whole
            if kind == 'int':
                value = self.construct_yaml_int(node)
                if abs(value) >= LARGEST_NUMBER:
                    raise ValueError('too large')
                return value
            if kind in ('bool', 'null'):
                return self.construct_yaml_bool(node) if kind == 'bool' else None
        except (ValueError, KeyError, OverflowError, IndexError, AttributeError):
            raise ValueError(
                f'{place}{self.at_line(node)}: {show(text)} is no {kind} that can be used'
            ) from None
        raise ValueError(
            f'{place}{self.at_line(node)}: {show(text)} is given as !!{kind}, {EXPECTED}'
        )

    def expect(self, node: yaml.Node, kind: str, place: str) -> None:
        if node.tag != PREFIX + kind:
            raise ValueError(
                f'{place}{self.at_line(node)}: it is given as {show(node.tag.replace(PREFIX, "!!"))}, {EXPECTED}'
            )

    @staticmethod
    def at_line(node: yaml.Node) -> str:
        return f' (line {node.start_mark.line + 1})'


class Dumper(yaml.SafeDumper):
    """Writes what `Loader` reads as the same: texts such as '1e5' in quotes."""

    def ignore_aliases(self, data) -> bool:
        return True


def dump(options: dict) -> str:
    """Write options as YAML that reads back as they are."""
    return yaml.dump(options, Dumper=Dumper, sort_keys=False, allow_unicode=True)


for _class in (Loader, Dumper):
    _class.add_implicit_resolver(f'{PREFIX}float', FLOAT, list('-+.0123456789'))


def count(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for, aliases resolved. `known` begins empty.

    Raises:
        ValueError: more than MOST_VALUES, or a section contains itself.
    """
    if id(node) not in known:
        known[id(node)] = -1
        inside = (
            node.value
            if isinstance(node, yaml.SequenceNode)
            else [item for pair in node.value for item in pair]
        )
        total = (
            1
            if isinstance(node, yaml.ScalarNode)
            else 1 + sum(count(item, known) for item in inside)
        )
        if total > MOST_VALUES:
            raise ValueError(
                f'the section at line {node.start_mark.line + 1} holds more than {MOST_VALUES} values, aliases resolved'
            )
        known[id(node)] = total
    if known[id(node)] < 0:
        raise ValueError(f'the section at line {node.start_mark.line + 1} contains itself')
    return known[id(node)]


def _value_of(text: str, name: str) -> Any:
    """Read YAML; a ValueError says what is wrong, with the key and the line where there is one."""
    if len(text) > LARGEST_FILE:
        raise ValueError(f'has {len(text)} characters, expected at most {LARGEST_FILE}')
    try:
        loader = Loader(text)  # which refuses control characters
        loader.name = name
        node = loader.get_single_node()
        if node is None:
            return None
        count(node, {})
        return loader.value(node)
    except yaml.YAMLError as error:
        raise ValueError(f'is not valid YAML: {" ".join(str(error).split())}') from None
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
        OSError, ValueError: it cannot be read, is not YAML or holds something else; in one line.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(
            f'option file {path} is a {"folder" if stat.S_ISDIR(status.st_mode) else "pipe or a device"}, expected a file'
        )
    if status.st_size > LARGEST_FILE:
        raise ValueError(
            f'option file {path} has {status.st_size} bytes, expected at most {LARGEST_FILE}'
        )
    try:
        options = _value_of(path.read_text(encoding='utf-8'), str(path))
    except UnicodeDecodeError as error:
        raise ValueError(f'option file {path} is not valid YAML: {error}') from None
    except ValueError as error:
        colon = '' if str(error).startswith(('is ', 'has ')) else ':'
        raise ValueError(f'option file {path}{colon} {error}') from None
    if not isinstance(options, dict):
        raise ValueError(f'option file {path} holds no options')
    return options
