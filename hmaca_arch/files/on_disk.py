"""Large pixels that wait on disk while others need the memory."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROWS = 256  # that are read or compared at once
LARGE = 1 << 29  # bytes of pixels of which no two images are in memory


def parts(height: int) -> Iterator[slice]:
    """Yield some rows after the other."""
    return (slice(top, top + ROWS) for top in range(0, height, ROWS))


class OnDisk:
    """Pixels (h, w, c) in a file without a name, of which some rows are read at a time."""

    def __init__(self, pixels: np.ndarray, folder: Path) -> None:
        """Write them.

        Raises:
            OSError: it cannot be done.
        """
        self.shape, self.dtype = pixels.shape, pixels.dtype
        self._row = pixels[:1].nbytes
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        for rows in parts(len(pixels)):
            self._file.write(np.ascontiguousarray(pixels[rows]).data)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Read rows that follow each other."""
        first, last, _ = rows.indices(len(self))
        result = np.empty((max(last - first, 0), *self.shape[1:]), self.dtype)
        self._file.seek(first * self._row)
        if self._file.readinto(result.data) != result.nbytes:  # type: ignore[attr-defined]
            raise OSError('the temporary file is cut short')
        return result


Rows = np.ndarray | OnDisk


def set_aside(pixels: np.ndarray, folder: Path) -> Rows:
    """Put large pixels on disk, so that others fit into memory; return them where it is full."""
    if pixels.nbytes <= LARGE:
        return pixels
    try:
        return OnDisk(pixels, folder)
    except OSError:
        return pixels
