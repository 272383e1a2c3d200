"""The one reader of masks: white is restored, black is kept.

A mask may be readable and still doubtful. The reader then says so in notes, and the caller decides:
a data set refuses what would train wrongly, a restoration goes on and shows the note.
"""

import enum
import struct
from typing import NamedTuple

import numpy as np

from hmaca_arch.files.depth import peak_of
from hmaca_arch.files.images import decode, refuse_transparency

LOSSY_TINT = 16  # of 255: how far lossy compression may move the channels of black and white apart
MOSTLY = 0.9  # share of white from which a mask was probably meant the other way round


class Doubt(enum.Enum):
    """What may be wrong with a mask that can be read."""

    LOSSY = enum.auto()  # stored with loss: the border is not exactly what was drawn
    ZERO_ONE = enum.auto()  # 0 and 1 instead of 0 and 255; 1 is taken for white
    FAINT = enum.auto()  # not black, but so dark that nothing is restored
    MOSTLY_WHITE = enum.auto()  # only of files
    EMPTIED = enum.auto()  # nothing is left of the image where it is masked


class Note(NamedTuple):
    """A doubt, and what to tell the user about it."""

    doubt: Doubt
    text: str


def check_mask(mask: np.ndarray) -> np.ndarray:
    """Return a mask of shape (h, w) or (h, w, 1) as (h, w).

    Raises:
        ValueError: another shape or type, or floating point values outside [0, 1].
    """
    if mask.ndim == 3 and mask.shape[2] == 1:
        mask = mask[..., 0]
    if mask.ndim != 2:
        raise ValueError(f'the mask has shape {mask.shape}; expected (h, w), as the image')
    if mask.dtype.name not in ('bool', 'uint8', 'uint16') and mask.dtype.kind != 'f':
        raise ValueError(
            f'the mask is of type {mask.dtype}; '
            'expected bool, uint8, uint16 or floating point in [0, 1]'
        )
    if mask.dtype.kind == 'f' and mask.size and not 0 <= mask.min() <= mask.max() <= 1:  # or NaN
        raise ValueError(
            f'the mask has values from {mask.min()} to {mask.max()}; '
            'expected 0 (keep) to 1 (restore)'
        )
    return mask


def read_mask(
    given: bytes | np.ndarray, soft: bool = False, name: str = 'the mask'
) -> tuple[np.ndarray, list[Note]]:
    """Read a mask, from a file's bytes or from an array.

    Args:
        given: a file's content; or (h, w) or (h, w, 1) of bool, uint8, uint16 (white = restore) or
            floating point in [0, 1].
        soft: keep the values between. Otherwise pixels above the middle (127 of 255) are restored.
        name: what errors about a file start with.

    Returns:
        (h, w): uint8 of 0 and 1, or if soft float32 in [0, 1]; and what is doubtful about it.

    Raises:
        ValueError: it cannot be read, or it has colours or transparent pixels; or see `check_mask`.
    """
    pixels, notes = _decoded(given, name) if isinstance(given, bytes) else (check_mask(given), [])
    whole = pixels.dtype.kind == 'u'
    peak, brightest = peak_of(pixels.dtype), pixels.max(initial=0)
    if whole and brightest == 1:
        notes.append(
            Note(
                Doubt.ZERO_ONE,
                f'the mask holds 0 and 1 instead of 0 and {peak}; 1 is taken for white',
            )
        )
        peak = 1
    middle = peak // 2 if whole else 0.5
    if 0 < brightest <= (peak // 255 if soft else middle):
        text = (
            f'the mask is nowhere above the threshold, its brightest value is {brightest} of {peak}'
        )
        notes.append(Note(Doubt.FAINT, text))
    if soft:
        mask = pixels.astype(np.float32) / np.float32(peak)
    elif pixels.dtype == bool:
        mask = pixels.view(np.uint8)
    else:
        mask = (pixels > middle).view(np.uint8)
    return mask, notes + (note_mostly_white(mask) if isinstance(given, bytes) else [])


def percent_white(mask: np.ndarray) -> int:
    """Return how much of a mask (h, w) of 0 to 1 is white; 100 means all."""
    return int(100 * round(float(mask.mean()), 6)) if mask.size else 0


def note_mostly_white(mask: np.ndarray) -> list[Note]:
    """Return a note if a mask (h, w) of 0 to 1 was probably meant the other way round."""
    percent = percent_white(mask)
    if percent < 100 * MOSTLY:
        return []
    text = f'{percent}% of the mask is white, which is restored; if black is, use --invert-mask'
    return [Note(Doubt.MOSTLY_WHITE, text)]


def _decoded(data: bytes, name: str) -> tuple[np.ndarray, list[Note]]:
    """Decode a mask file to (h, w) uint8 or uint16, upright."""
    found = decode(data, name)
    refuse_transparency(found, name)
    pixels = found.colours
    lossy = found.format in ('JPEG', 'MPO') or (found.format == 'WEBP' and _is_lossy_webp(data))
    if pixels.shape[2] == 3 and np.ptp(pixels, axis=2).max() > (LOSSY_TINT if lossy else 0):
        raise ValueError(f'{name}: a mask must be black and white, this image has colours')
    text = f'the mask is stored with loss ({found.format}): its border is not as drawn; use PNG'
    notes = [Note(Doubt.LOSSY, text)] if lossy else []
    return np.ascontiguousarray(pixels[..., pixels.shape[2] // 2]), notes  # gray, or green


def _is_lossy_webp(data: bytes) -> bool:
    """Tell whether a WebP file holds a chunk of pixels with loss; a profile may come before it."""
    place = 12
    while place + 8 <= len(data):
        kind, size = struct.unpack_from('<4sI', data, place)
        if kind == b'VP8 ':
            return True
        place += 8 + size + size % 2
    return False
