"""Changes of options on the command line: `--force_yml train:total_iter=100`."""

import argparse
from collections.abc import Iterable
from copy import deepcopy

from hmaca_arch.config.yaml_files import parse
from hmaca_arch.messages import refuse, suggestion


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add the argument `--force_yml`."""
    parser.add_argument(
        '--force_yml',
        nargs='+',
        action='extend',
        default=[],
        metavar='SECTION:KEY=VALUE',
        help='change options, for example train:total_iter=100',
    )


def override(options: dict, entries: Iterable[str]) -> dict:
    """Return a copy of options with `section:key=value` entries applied.

    Values are YAML (`1e-4`, `true`, `[2, 2]`, `~`) and may contain `=`; unlike in BasicSR they are
    never evaluated as Python. Sections must exist, keys need not.

    Raises:
        OptionError: with every entry that cannot be applied.
    """
    options = deepcopy(options)
    lines = []
    for entry in entries:
        try:
            _apply(options, entry)
        except ValueError as error:
            lines.append(f'--force_yml {entry!r}: {error}')
    refuse(lines)
    return options


def _apply(options: dict, entry: str) -> None:
    place, equals, value = entry.partition('=')
    *sections, key = place.strip().split(':')
    if not equals or not key:
        raise ValueError('expected section:key=value, for example train:total_iter=100')
    target = options
    for section in sections:
        if not isinstance(target.get(section), dict):
            raise ValueError(f'there is no section {section!r}{suggestion(section, target)}')
        target = target[section]
    target[key] = parse(value)


def places(options: dict, inside: str = '') -> set[str]:
    """Return the place of every key, such as 'train:total_iter'."""
    found = set()
    for key, value in options.items():
        found.add(f'{inside}{key}')
        if isinstance(value, dict):
            found |= places(value, f'{inside}{key}:')
    return found
