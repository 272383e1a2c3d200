"""Places to write to, tried out before the work."""

import tempfile
from pathlib import Path

import cv2


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


def output_image(path: Path) -> None:
    """Raise a ValueError for a file that OpenCV could not write an image to."""
    if (
        not cv2.haveImageWriter(str(path.absolute()))
        or path.is_dir()
        or not path.absolute().parent.is_dir()
    ):
        raise ValueError(
            f'--output: {path} cannot be written; expected the name of an image, as a.png, in '
            'a folder that exists'
        )
