"""Find image files, and read their bytes: no pipe, no device, nothing too large."""

import os
import stat
from typing import BinaryIO

from hmaca_arch.files.formats import FORMATS

EXTENSIONS = ('.png', *FORMATS['jpg'].endings, '.webp', '.bmp', *FORMATS['tif'].endings, '.gif')
LARGEST_FILE = 2**31 - 1  # bytes; the largest picture that Pillow opens has 1.4 GB in 16-bit RGBA


def list_images(folder: str | os.PathLike) -> dict[str, str]:
    """List the images directly inside a folder: {stem: path}, sorted by stem.

    Raises:
        ValueError: two images share a stem (they could not be told apart as triplets or LMDB keys),
            or there are none.
    """
    folder = os.fspath(folder)
    found: dict[str, str] = {}
    for name in sorted(os.listdir(folder)):
        stem, extension = os.path.splitext(name)
        if extension.lower() not in EXTENSIONS or name.startswith('.'):
            continue
        path = os.path.join(folder, name)
        if stem in found:
            raise ValueError(
                f'{found[stem]} and {path} have the same name but for the ending; '
                'rename one of them'
            )
        found[stem] = path
    if not found:
        raise ValueError(f'{os.path.abspath(folder)} holds no images ({", ".join(EXTENSIONS)})')
    return dict(sorted(found.items()))


def read_file(path: str | os.PathLike) -> bytes:
    """Return an image file's bytes.

    Raises:
        ValueError: see `open_file`, or it cannot be read.
    """
    try:
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        raise ValueError(f'{path}: cannot be read: {error.strerror or error}') from None


def open_file(path: str | os.PathLike) -> BinaryIO:
    """Open an image file.

    Raises:
        ValueError: it cannot be read, is no ordinary file (a pipe or a device might never end), or
            is too large to be an image; in one line that starts with the path.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            found = 'a folder' if stat.S_ISDIR(status.st_mode) else 'a pipe, socket or device'
            raise ValueError(f'{path}: cannot be read as an image: it is {found}, expected a file')
        if status.st_size > LARGEST_FILE:
            raise ValueError(
                f'{path}: cannot be read as an image: it has {status.st_size} bytes, '
                f'expected at most {LARGEST_FILE}'
            )
        return open(path, 'rb')
    except OSError as error:
        raise ValueError(f'{path}: cannot be read: {error.strerror or error}') from None
