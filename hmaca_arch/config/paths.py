"""Environment variables in the paths of option files: `${DATA}/horse`."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hmaca_arch.messages import refuse

VARIABLE = re.compile(r'\$\{(\w+)\}')


def is_path(place: str) -> bool:
    """Tell whether a key, such as 'datasets:train:dataroot_gt', names a file or a folder."""
    section, _, key = place.rpartition(':')
    if section.startswith('datasets:'):
        return key.startswith(('dataroot', 'meta_info'))
    if section == 'path':
        return key == 'resume_state' or key.startswith('pretrain_network')
    return section.startswith('network_') and key.endswith('path')


def expand_variables(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with the environment variables in paths replaced by their values.

    Raises:
        OptionError: with every variable that is not set.
    """
    lines: list[str] = []
    expanded = _expand(options, lines)
    refuse(lines)
    return expanded


def _expand(options: Mapping[str, Any], lines: list[str], inside: str = '') -> dict[str, Any]:
    expanded = {}
    for key, value in options.items():
        place = f'{inside}{key}'
        if isinstance(value, dict):
            value = _expand(value, lines, f'{place}:')
        elif isinstance(value, str) and is_path(place):
            lines += _unset(place, value)
            value = VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), value)
        expanded[key] = value
    return expanded


def _unset(place: str, text: str) -> Iterator[str]:
    for name in VARIABLE.findall(text):
        if name not in os.environ:
            yield (
                f'{place}: {text}: the environment variable {name} is not set; '
                f'export {name}=..., or write the path itself'
            )
