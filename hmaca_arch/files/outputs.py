"""What commands share: how they end (a user's mistake in one line, not in a traceback), and places to write to that are tried out first."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2


def run_command(name: str, run: Callable[[list[str] | None], None], argv: list[str] | None) -> int:
    """Call `run(argv)`: 0 when done, 1 after a user's mistake (HMACA_TRACEBACK=1 shows where it came from), 130 after Ctrl-C."""
    if hasattr(sys.stdout, 'reconfigure'):
        sys.stdout.reconfigure(errors='backslashreplace')  # file names need not be text, as on stderr
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


def output_folder(folder: Path, option: str = '--output') -> None:
    """Make a folder for results, unless it is there: before the work, so that none is done in vain.

    Raises:
        ValueError: it cannot be made, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = f'{folder} cannot be written to ({error.strerror})'
        raise ValueError(f'{option}: {reason}; expected a folder, or the name of a new one') from None


def output_picture(path: Path, option: str = '--output') -> None:
    """Raise a ValueError for a file that OpenCV could not write a picture to."""
    if not cv2.haveImageWriter(str(path.absolute())) or path.is_dir() or not path.absolute().parent.is_dir():
        raise ValueError(f'{option}: {path} cannot be written; expected the name of a picture, as a.png, in a folder that exists')
