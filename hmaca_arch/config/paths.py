"""Paths in option files: `${DATA}/horse`, `${DATA:-datasets}/horse` and `~/horse`."""

import os
import re
from collections.abc import Mapping
from typing import Any

from hmaca_arch.messages import refuse

# As shells write it; after `:-` stands what is taken if the variable is not set, or empty.
VARIABLE = re.compile(r'\$\{(\w+)(?::-([^{}]*))?\}')


def is_path(place: str) -> bool:
    """Tell whether a key, such as 'datasets:train:dataroot_gt', names a file or a folder."""
    section, _, key = place.rpartition(':')
    if section.startswith('datasets:'):
        return key.startswith(('dataroot', 'meta_info')) or key.endswith('_path')
    if section == 'path':
        return key == 'resume_state' or key.startswith('pretrain_network')
    return section.startswith('network_') and key.endswith('path')


def expand(place: str, path: str) -> str:
    """Return a path with `${NAME}` and a leading `~` replaced.

    Args:
        place: where the path stands, for the message.
        path: as it is written there.

    Raises:
        OptionError: an environment variable is not set.
    """
    lines: list[str] = []
    expanded = _expand_text(place, path, lines)
    refuse(lines)
    return expanded


def _value(match: re.Match) -> str:
    value = os.environ.get(match[1], '')
    return value if value or match[2] is None else match[2]


def expand_paths(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in which every path is expanded.

    Raises:
        OptionError: with every environment variable that is not set.
    """
    lines: list[str] = []
    expanded = _expand(options, '', lines)
    refuse(lines)
    return expanded


def _expand(options: Mapping[str, Any], inside: str, lines: list[str]) -> dict[str, Any]:
    """Expand the paths of a section; `lines` gets a line for each variable that is not set."""
    expanded = {}
    for key, value in options.items():
        place = f'{inside}{key}'
        if isinstance(value, dict):
            value = _expand(value, f'{place}:', lines)
        elif is_path(place) and isinstance(value, list):
            value = [_expand_text(place, item, lines) for item in value]
        elif is_path(place):
            value = _expand_text(place, value, lines)
        expanded[key] = value
    return expanded


def _expand_text(place: str, text: Any, lines: list[str]) -> Any:
    if not isinstance(text, str):
        return text
    for match in VARIABLE.finditer(text):
        name, default = match.groups()
        if name not in os.environ and default is None:
            lines.append(
                f'{place}: {text}: the environment variable {name} is not set; '
                f'export {name}=..., or write the path itself'
            )
    return os.path.expanduser(VARIABLE.sub(_value, text))
