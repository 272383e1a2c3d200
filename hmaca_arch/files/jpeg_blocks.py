"""Change a region of a JPEG file, and let all other blocks be the same numbers.

A JPEG stores blocks of 8x8 samples as quantized coefficients of a cosine transform (DCT). Blocks
that touch no changed pixel keep their coefficients. The others are computed with the file's own
quantization tables and subsampling. Nothing is turned: the pixels are turned back to how the file
stores them. jpeglib (libjpeg) reads and writes the coefficients; the markers are copied.
"""

import importlib.util
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from scipy import fft

from hmaca_arch.files.images import UPRIGHT
from hmaca_arch.files.jpeg_markers import (
    PROGRESSIVE,
    Frame,
    frame_of,
    is_rgb,
    with_markers,
    without_markers,
)
from hmaca_arch.messages import how_to_install

# Libraries inside jpeglib. Only mozjpeg's writes a progressive file of coefficients.
READER, PROGRESSIVE_WRITER, OTHER_READER = 'turbo210', 'mozjpeg403', '9f'
CHANNELS = ('Y', 'Cb', 'Cr')  # jpeglib's names, whatever the channels are
TURNED_BACK = {6: 8, 8: 6}  # orientation -> the one that undoes it, where it is another
TO_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]],
    np.float32,
)
LARGEST = 1023  # what the codes of 8-bit files hold

_lock = threading.Lock()  # the library inside jpeglib is a setting of all the process


class Coefficients(NamedTuple):
    """What a JPEG file stores of its pixels.

    Attributes:
        channels: of each (rows, columns, 8, 8) int16, quantized.
        tables: of each channel the quantization table (8, 8).
    """

    channels: list[np.ndarray]
    tables: list[np.ndarray]


class Replaced(NamedTuple):
    """A JPEG file of which some blocks were replaced.

    Attributes:
        data: the file.
        replaced: (rows, columns) bool for each channel: the blocks that were replaced.
        may_change: (h, w) bool, upright: the pixels of these blocks, and one pixel around them in
            the directions in which a channel is subsampled, as decoders interpolate there.
    """

    data: bytes
    replaced: list[np.ndarray]
    may_change: np.ndarray


def missing() -> str | None:
    """Return the command that installs jpeglib; None if it is there."""
    return None if importlib.util.find_spec('jpeglib') else how_to_install('jpeg')


def read_coefficients(data: bytes, library: str = READER) -> Coefficients:
    """Read the coefficients and tables of a JPEG file.

    Raises:
        ValueError: it cannot be read.
    """
    opened = _opened(without_markers(data), library)
    names = CHANNELS[: len(opened.samp_factor)]
    tables = [opened.qt[number] for number in opened.quant_tbl_no]
    return Coefficients([getattr(opened, name) for name in names], tables)


def replace_blocks(source: bytes, before: np.ndarray, after: np.ndarray, turn: int) -> Replaced:
    """Put changed pixels into a JPEG file.

    Args:
        source: the file; `obstacle` has nothing against it.
        before: (h, w, 1 or 3) uint8, upright: what it holds, as decoded.
        after: the same with changes.
        turn: the file's EXIF orientation.

    Raises:
        ValueError: the file cannot be read, or what was written is not what was to be.
    """
    stored = as_stored(after, turn)
    changed = as_stored((before != after).any(axis=2), turn)
    frame, rgb = frame_of(source), is_rgb(source)
    opened = _opened(without_markers(source), READER)
    sizes, replaced = scales(frame), []
    for number, scale in enumerate(sizes):
        blocks = getattr(opened, CHANNELS[number])
        weights = TO_YCBCR[number] if len(sizes) == 3 and not rgb else np.eye(len(sizes))[number]
        table = opened.qt[opened.quant_tbl_no[number]].astype(np.float32)
        offset = 0 if number and not rgb else 128  # colours of YCbCr lie around 0
        replaced.append(
            _replace(blocks, table, stored, changed, scale, weights.astype(np.float32), offset)
        )
    shape = stored.shape[:2]
    may_change = np.zeros(shape, bool)
    for touched, scale in zip(replaced, sizes):
        may_change |= _pixels_of(touched, scale, shape)
    upright = np.ascontiguousarray(UPRIGHT.get(turn, lambda as_is: as_is)(may_change))
    if not changed.any():
        return Replaced(source, replaced, upright)
    result = with_markers(_written(opened, frame), source)
    _check(result, opened, len(sizes))
    return Replaced(result, replaced, upright)


def scales(frame: Frame) -> list[tuple[int, int]]:
    """Return the pixels per sample, down and across, of each channel."""
    down = max(one.down for one in frame.components)
    across = max(one.across for one in frame.components)
    return [(down // one.down, across // one.across) for one in frame.components]


def as_stored(upright: np.ndarray, turn: int) -> np.ndarray:
    """Turn an array (h, w, ...) to how a file with an EXIF orientation stores it."""
    return UPRIGHT.get(TURNED_BACK.get(turn, turn), lambda as_is: as_is)(upright)


def boxes_of(area: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Return the boxes (top, left, bottom, right) around the parts of an area (h, w) bool."""
    _, _, found, _ = cv2.connectedComponentsWithStats(area.view(np.uint8), connectivity=8)
    return sorted((int(y), int(x), int(y + h), int(x + w)) for x, y, w, h, _ in found[1:])


def _replace(
    blocks: np.ndarray,
    table: np.ndarray,
    stored: np.ndarray,
    changed: np.ndarray,
    scale: tuple[int, int],
    weights: np.ndarray,
    offset: int,
) -> np.ndarray:
    """Replace the blocks of one channel that touch a changed pixel.

    Samples without a changed pixel keep their value as far as quantization allows. Of a sample
    with some, the changed pixels count with their share. Behind the border the last pixel goes on.

    Args:
        blocks: (rows, columns, 8, 8), changed in place.
        table: (8, 8).
        stored: (h, w, c) uint8.
        changed: (h, w) bool.
        scale: pixels per sample, down and across.
        weights: (c,): of the colours in the channel.
        offset: what the transform subtracts.

    Returns:
        (rows, columns) bool: the blocks that were replaced.
    """
    (height, width), (down, across) = changed.shape, scale
    touched = np.zeros(blocks.shape[:2], bool)
    for row in range(len(blocks)):
        lines = np.minimum(np.arange(row * 8 * down, (row + 1) * 8 * down), height - 1)
        places = np.flatnonzero(changed[lines[0] : lines[-1] + 1].any(axis=0))
        if not len(places):
            continue
        first, last = places[0] // (8 * across), places[-1] // (8 * across) + 1
        columns = np.minimum(np.arange(first * 8 * across, last * 8 * across), width - 1)
        strip = np.ix_(lines, columns)
        inside = changed[strip].astype(np.float32)
        share, values = _mean(inside, scale), (stored[strip] @ weights - offset) * inside
        found = blocks[row, first:last]
        old = _samples(found * table)
        new = old * (1 - share) + _mean(values, scale)
        hit = share.reshape(8, -1, 8).any(axis=(0, 2))
        coefficients = np.rint(_blocks(new) / table)
        found[hit] = np.clip(coefficients, -LARGEST, LARGEST).astype(np.int16)[hit]
        touched[row, first:last] = hit
    return touched


def _mean(values: np.ndarray, scale: tuple[int, int]) -> np.ndarray:
    """Average (h, w) over the pixels of each sample."""
    height, width = values.shape
    return values.reshape(height // scale[0], scale[0], width // scale[1], scale[1]).mean((1, 3))


def _samples(blocks: np.ndarray) -> np.ndarray:
    """Transform a row of blocks (n, 8, 8) to samples (8, 8 n)."""
    return fft.idctn(blocks, axes=(1, 2), norm='ortho').swapaxes(0, 1).reshape(8, -1)


def _blocks(samples: np.ndarray) -> np.ndarray:
    """Transform samples (8, 8 n) to a row of blocks (n, 8, 8)."""
    return fft.dctn(samples.reshape(8, -1, 8).swapaxes(0, 1), axes=(1, 2), norm='ortho')


def _pixels_of(touched: np.ndarray, scale: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels (h, w) bool that depend on blocks of a channel."""
    area = np.repeat(np.repeat(touched, 8 * scale[0], axis=0), 8 * scale[1], axis=1)
    kernel = np.ones([3 if one > 1 else 1 for one in scale], np.uint8)
    return cv2.dilate(area[: shape[0], : shape[1]].astype(np.uint8), kernel) > 0


def _opened(data: bytes, library: str) -> Any:
    """Read a JPEG file without markers by jpeglib.

    Raises:
        ValueError: it cannot be read.
    """
    import jpeglib  # an extra

    with tempfile.TemporaryDirectory(prefix='hmaca') as folder, _lock, jpeglib.version(library):
        path = Path(folder) / 'image.jpg'
        path.write_bytes(data)
        try:
            opened = jpeglib.read_dct(path)
            opened.load()
        except OSError as error:
            raise ValueError(f'libjpeg cannot read its blocks: {error}') from None
    return opened


def _written(opened: Any, frame: Frame) -> bytes:
    import jpeglib

    library = PROGRESSIVE_WRITER if frame.marker == PROGRESSIVE else READER
    with tempfile.TemporaryDirectory(prefix='hmaca') as folder, _lock, jpeglib.version(library):
        path = Path(folder) / 'image.jpg'
        opened.write_dct(path, flags=['+OPTIMIZE_CODING'])
        return path.read_bytes()


def _check(result: bytes, meant: Any, count: int) -> None:
    """Read a written file again.

    Raises:
        ValueError: its coefficients or tables are not what was to be written.
    """
    found = read_coefficients(result)
    same = all(
        np.array_equal(found.channels[i], getattr(meant, CHANNELS[i]))
        and np.array_equal(found.tables[i], meant.qt[meant.quant_tbl_no[i]])
        for i in range(count)
    )
    if not same:
        raise ValueError('libjpeg wrote other blocks than it was given')
