"""Places to write to, tried out before the work."""

import tempfile
from pathlib import Path


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
        raise ValueError(
            f'{option}: {reason}; expected a folder, or the name of a new one'
        ) from None
