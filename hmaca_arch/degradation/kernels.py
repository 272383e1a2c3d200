"""Blur kernels other than a Gaussian: motion, a disc, or whatever was measured.

A degradation's vector has no room for a kernel, so it has the kernel's number, which follows from
its content. `add_kernel` makes the number known to this process. The process that reads the vectors
has read every kernel itself, when it made the data set or read the command line.
"""

import base64
import functools
import zlib
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

LARGEST = 127  # side in pixels
FORM = (
    f'a grey image of odd sides, at most {LARGEST}x{LARGEST} pixels: what a point of light in the '
    'middle becomes'
)
FINEST = 65535  # the largest value of a kernel


@dataclass(frozen=True)
class Kernel:
    """What a point of light becomes.

    Args:
        shape: height and width in pixels, both odd. The point was in the middle.
        data: uint16 values, row by row, of which the largest is FINEST.
        name: for the written form. Kernels that differ in it alone are equal.
    """

    shape: tuple[int, int]
    data: bytes
    name: str = field(default='FILE', compare=False)

    @classmethod
    def of(cls, values: np.ndarray, name: str = 'FILE') -> 'Kernel':
        """Make a kernel of an array (h, w) >= 0 of any scale. A margin of zeros is cut off.

        Raises:
            ValueError: it cannot be a kernel, in one line.
        """
        if values.ndim != 2 or not all(side % 2 for side in values.shape):
            size = 'x'.join(map(str, values.shape[::-1]))
            raise ValueError(f'kernel: got {size} pixels, expected {FORM}')
        values = np.asarray(values, np.float64)
        if not np.isfinite(values).all() or values.min() < 0:
            raise ValueError(f'kernel: got numbers below 0 or not finite, expected {FORM}')
        if not values.any():
            raise ValueError(f'kernel: it is black, expected {FORM}')
        for axis in (0, 1):  # the middle stays the middle
            middle = values.shape[axis] // 2
            reach = int(np.abs(np.flatnonzero(values.any(axis=1 - axis)) - middle).max())
            values = np.take(values, range(middle - reach, middle + reach + 1), axis)
        height, width = values.shape
        if max(height, width) > LARGEST:
            raise ValueError(f'kernel: got {width}x{height} pixels, expected {FORM}')
        whole = np.rint(values * (FINEST / values.max())).astype('<u2')
        return cls((height, width), whole.tobytes(), name)

    @classmethod
    def from_text(cls, text: str, name: str = 'FILE') -> 'Kernel':
        """Read what `text` wrote.

        Raises:
            ValueError: it is something else.
        """
        size, _, packed = text.partition(':')
        unpack = zlib.decompressobj()
        try:
            width, height = map(int, size.split('x'))
            data = unpack.decompress(base64.b64decode(packed, validate=True), 2 * LARGEST**2)
        except (ValueError, zlib.error) as error:
            raise ValueError(f'kernel: got {text[:40]!r}, which cannot be read: {error}') from None
        if len(data) != 2 * width * height:
            raise ValueError(f'kernel: got {len(data)} bytes, expected {2 * width * height}')
        return cls.of(np.frombuffer(data, '<u2').reshape(height, width), name)

    @property
    def text(self) -> str:
        """The kernel in letters, for a manifest."""
        packed = base64.b64encode(zlib.compress(self.data, 9)).decode('ascii')
        return f'{self.shape[1]}x{self.shape[0]}:{packed}'

    @property
    def whole(self) -> np.ndarray:
        """The values (h, w) uint16."""
        return np.frombuffer(self.data, '<u2').reshape(self.shape)

    @property
    def values(self) -> np.ndarray:
        """The values (h, w) float64, whose sum is 1."""
        return self.whole / self.whole.sum(dtype=np.int64)

    @functools.cached_property
    def sigma(self) -> float:
        """Sigma in pixels of the Gaussian of the same second moment, the mean of both axes."""
        moment = 0.0
        for axis, length in enumerate(self.shape):
            line, place = self.values.sum(axis=1 - axis), np.arange(length)
            moment += float(line @ place**2 - (line @ place) ** 2)
        return max(moment / 2, 0.0) ** 0.5

    @functools.cached_property
    def number(self) -> tuple[int, int]:
        """Two numbers of 24 bits, which float32 holds exactly."""
        digest = sha256(repr(self.shape).encode() + self.data).digest()
        return int.from_bytes(digest[:3], 'big'), int.from_bytes(digest[3:6], 'big')

    def flipped(self, axis: int) -> 'Kernel':
        """Return the kernel of an image that is flipped along an axis."""
        return Kernel(self.shape, np.flip(self.whole, axis).tobytes(), self.name)

    def transposed(self) -> 'Kernel':
        """Return the kernel of an image whose rows and columns are exchanged."""
        height, width = self.shape
        return Kernel((width, height), self.whole.T.tobytes(), self.name)


_KNOWN: dict[tuple[int, int], Kernel] = {}


def add_kernel(kernel: Kernel) -> None:
    """Make the numbers of a kernel, and of all that it becomes by flips, known."""
    if kernel.number in _KNOWN:
        return
    for turned in (kernel, kernel.transposed()):
        for one in (turned, turned.flipped(0), turned.flipped(1), turned.flipped(0).flipped(1)):
            _KNOWN[one.number] = one


def kernel_of(number: tuple[int, int]) -> Kernel:
    """Return the kernel of a number.

    Raises:
        ValueError: this process has not read it.
    """
    if number not in _KNOWN:
        raise ValueError(
            f'degradation: got the number {number} of a kernel, expected one that was read before'
        )
    return _KNOWN[number]
