"""Keys of an option file of BasicSR's own model that nothing reads: it runs, and they have no
effect.
"""

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import basicsr

from hmaca_arch.messages import suggestion

FOLDERS = ('models', 'data', 'utils', 'losses', '.')  # of BasicSR, whose files read options


@functools.cache
def words_in_basicsr() -> frozenset[str]:
    """Every text of one word in BasicSR's code; the keys that it reads are among them."""
    root = Path(basicsr.__file__).parent
    sources = (
        path.read_text(encoding='utf-8')
        for folder in FOLDERS
        for path in sorted((root / folder).glob('*.py'))
    )
    return frozenset(
        word for source in sources for word in re.findall(r"""['"](\w+)['"]""", source)
    )


def unread(place: str, section: Mapping[str, Any], known: Collection[str]) -> Iterator[str]:
    """A line for each key that neither `known` nor BasicSR's code names."""
    for key in section:
        if key not in known and key not in words_in_basicsr():
            yield f'{place}{key}: nothing reads it{suggestion(key, known)}'
