"""How many channels the images of a network have, by its section of an option file."""

from collections.abc import Mapping
from typing import Any

NAMES = (
    'in_chans',
    'num_in_ch',
    'in_channels',
    'inp_channels',
    'img_channel',
    'in_nc',
    'num_ch',
)  # what networks call the setting
GRAY, RGB = 1, 3


def setting_of(section: Mapping[str, Any]) -> str | None:
    """The key of a section `network_g` that says how many channels its images have; None if none
    does.
    """
    return next((name for name in NAMES if name in section), None)


def image_channels(section: Mapping[str, Any]) -> int:
    """The number of channels that a section `network_g` says; RGB if it says none."""
    name = setting_of(section)
    return RGB if name is None else section[name]
