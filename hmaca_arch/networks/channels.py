"""The number of image channels that a section `network_g` states."""

from collections.abc import Mapping
from typing import Any

# What networks call the setting.
NAMES = ('in_chans', 'num_in_ch', 'in_channels', 'inp_channels', 'img_channel', 'in_nc', 'num_ch')
GRAY, RGB = 1, 3


def setting_of(section: Mapping[str, Any]) -> str | None:
    """Return the key that states the number of channels; None if the section has none.

    In a network around another it is the other's: `inner:in_chans`.
    """
    if isinstance(section.get('inner'), Mapping):
        key = setting_of(section['inner'])
        return f'inner:{key}' if key else None
    return next((name for name in NAMES if name in section), None)


def image_channels(section: Mapping[str, Any]) -> int:
    """Return the number of channels that a section states, or else RGB's 3."""
    if isinstance(section.get('inner'), Mapping):
        return image_channels(section['inner'])
    name = setting_of(section)
    return RGB if name is None else section[name]
