"""How the data commands end: a user's mistake in one line, not in a traceback."""

import os
import sys
from collections.abc import Callable


def run_command(name: str, run: Callable[[list[str] | None], None], argv: list[str] | None) -> int:
    """Call `run(argv)`: 0 when done, 1 after a user's mistake (HMACA_TRACEBACK=1 shows where it came from), 130 after Ctrl-C."""
    try:
        run(argv)
    except (ValueError, OSError) as error:
        if os.environ.get('HMACA_TRACEBACK'):
            raise
        print(f'{name}: error: {" ".join(str(error).split())}', file=sys.stderr)  # names of files may hold line breaks
        return 1
    except KeyboardInterrupt:
        print(f'{name}: interrupted', file=sys.stderr)
        return 130
    return 0
