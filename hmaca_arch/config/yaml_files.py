"""YAML as option files have it: `1e-4` is a number, and a key given twice is an error."""

import re
from pathlib import Path

import yaml


class Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but `1e-4` is a number and a key given twice is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f'{node.start_mark.name}: key {twice[0]!r} is given twice in the section at line {node.start_mark.line + 1}')
        return super().construct_mapping(node, deep)


def _float(loader: Loader, node: yaml.ScalarNode) -> float:
    value = loader.construct_yaml_float(node)
    return int(value) if 'e' in node.value.lower() and value.is_integer() else value  # 3e5 iterations are whole


class Dumper(yaml.SafeDumper):
    """Writes what `Loader` reads as the same: texts such as '1e5' in quotes."""

    def ignore_aliases(self, data) -> bool:
        return True


def dump(options: dict) -> str:
    """Write options as YAML that reads back as they are."""
    return yaml.dump(options, Dumper=Dumper, sort_keys=False, allow_unicode=True)


Loader.add_constructor('tag:yaml.org,2002:float', _float)
for _class in (Loader, Dumper):
    _class.add_implicit_resolver('tag:yaml.org,2002:float', re.compile(r'^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$'), list('-+.0123456789'))


def parse(text: str):
    """Read the value of a command line override.

    Raises:
        ValueError: it is not YAML.
    """
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise ValueError(f'the value is not valid YAML: {" ".join(str(error).split())}') from None


def read_yaml(path: Path) -> dict:
    """Read a file that holds a section.

    Raises:
        OSError, ValueError: it cannot be read, is not YAML or holds something else; in one line.
    """
    try:
        with open(path, encoding='utf-8') as file:
            options = yaml.load(file, Loader=Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'option file {path} is not valid YAML: {" ".join(str(error).split())}') from None
    if not isinstance(options, dict):
        raise ValueError(f'option file {path} holds no options')
    return options
