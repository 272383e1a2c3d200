"""How mistakes are told: one line each, with what was got, what is allowed and the closest known name."""

import difflib
from collections.abc import Iterable
from typing import Any


class OptionError(ValueError):
    """All mistakes in an option file, one a line."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = list(lines)
        super().__init__('\n'.join(self.lines))


def refuse(lines: Iterable[str]) -> None:
    """Raise an OptionError if there are any lines."""
    lines = list(dict.fromkeys(lines))
    if lines:
        raise OptionError(lines)


def suggestion(name: Any, known: Iterable) -> str:
    """' (did you mean X? known: ...)' for an error message; of many known names the closest."""
    known = {str(word).lower(): str(word) for word in known}
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    names = sorted(known.values())
    if len(names) > 30:
        closest = difflib.get_close_matches(str(name).lower(), known, n=8, cutoff=0.2) or list(known)[:8]
        names = [*(known[word] for word in closest), f'... {len(known)} in all']
    return f' ({f"did you mean {known[near[0]]}? " if near else ""}known: {", ".join(names) or "none"})'


def how_to_install(extra: str) -> str:
    """The command that brings an extra of setup.py."""
    return f"pip install 'hmaca[{extra}]' (in a clone: '.[{extra}]')"


def show(value: Any) -> str:
    """A value for a message, not longer than a line."""
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


def one_line(error: Exception) -> str:
    """What an error says, without line breaks."""
    text = ' '.join(str(error).split()) or type(error).__name__
    return f'{type(error).__name__} {text}' if isinstance(error, KeyError) else text
