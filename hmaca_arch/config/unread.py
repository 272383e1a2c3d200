"""Keys in option files of BasicSR's own models that have no effect, because nothing reads them."""

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import basicsr

from hmaca_arch.messages import suggestion

FOLDERS = ('models', 'data', 'utils', 'losses', '.')  # of BasicSR, where options are read


@functools.cache
def words_in_basicsr() -> frozenset[str]:
    """Return every one-word string in BasicSR's code. The keys that it reads are among them."""
    root = Path(basicsr.__file__).parent
    words: set[str] = set()
    for folder in FOLDERS:
        for path in sorted((root / folder).glob('*.py')):
            words.update(re.findall(r"""['"](\w+)['"]""", path.read_text(encoding='utf-8')))
    return frozenset(words)


def unread(place: str, section: Mapping[str, Any], known: Collection[str]) -> Iterator[str]:
    """Yield a line for each key that is neither in `known` nor anywhere in BasicSR's code."""
    for key in section:
        if key not in known and key not in words_in_basicsr():
            yield f'{place}{key}: nothing reads it{suggestion(key, known)}'
