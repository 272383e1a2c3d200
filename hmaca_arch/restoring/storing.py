"""Write a restored image as a whole, or a JPEG that stays one with new blocks in the region."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hmaca_arch.files import jpeg_coefficients
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.formats import is_jpeg_to_jpeg
from hmaca_arch.files.image_files import image_of, is_lossy, losses, write_image
from hmaca_arch.files.images import StoredImage
from hmaca_arch.files.jpeg_blocks import Changes, as_stored, boxes_of, replace_blocks
from hmaca_arch.files.jpeg_markers import obstacle_of_file
from hmaca_arch.files.jpeg_verifying import verify_blocks
from hmaca_arch.files.reading import read_file
from hmaca_arch.restoring.planning import Job, Request

MOST_BOXES = 3  # that a line names; the report has all


class Stored(NamedTuple):
    """What became of an image that was written.

    Attributes:
        change: the largest change outside the mask.
        notes: what the user should know, a sentence each.
        may_change: of a JPEG that stayed one: boxes (top, left, bottom, right) of the pixels that
            belong to replaced blocks; None where pixels change inside the mask alone, or anywhere.
    """

    change: int | float
    notes: list[str]
    may_change: Sequence[tuple[int, int, int, int]] | None = None


def store(job: Job, request: Request, restored: StoredImage, change: int | float) -> Stored:
    """Write a restored image.

    Args:
        job: where to.
        request: how.
        restored: what was read, with the restored pixels.
        change: the largest change outside the mask.

    Raises:
        OSError, ValueError: it was not written.
    """
    notes = [*job.notes, *said_of_loss(job.image, job.output, restored, request.quality)]
    write_image(job.output, restored, request.quality)
    return Stored(change, notes)


def keeps_blocks(
    source: Path, output: Path, image: StoredImage, quality: int | None = None
) -> bool:
    """Tell whether only some blocks of a JPEG are to change, as in `replace_blocks`.

    Args:
        source: the file that was read.
        output: the file to write; its ending counts.
        image: what was read.
        quality: None, or what asks for encoding all of it.
    """
    stays = is_jpeg_to_jpeg(image.format, output.suffix) and quality is None
    return stays and jpeg_coefficients.missing() is None and obstacle_of_file(source) is None


def said_of_loss(
    source: Path, output: Path, image: StoredImage, quality: int | None = None
) -> list[str]:
    """Say what a file does not keep that is encoded as a whole, a sentence each.

    Arguments are those of `keeps_blocks`, which has returned False.
    """
    notes = []
    if is_jpeg_to_jpeg(image.format, output.suffix) and quality is None:
        obstacle, install = obstacle_of_file(source), jpeg_coefficients.missing()
        if obstacle is not None:
            notes.append(f'{obstacle}, so that as JPEG all of it is compressed again')
        elif install is not None:
            notes.append(f'with jpeglib all other blocks would stay as they are: {install}')
    notes += losses(output, image)
    if is_lossy(output, quality):
        notes.append(f'{output.name} is stored with loss: pixels outside the mask change as well')
    return notes


def store_blocks(job: Job, request: Request, changes: Changes, mask: np.ndarray) -> Stored:
    """Write a JPEG in which only the blocks that touch the region differ from the source.

    Args:
        job: where to.
        request: how.
        changes: to the source. Its pixels as a whole should be in memory no more.
        mask: (h, w), 0 = keep.

    Raises:
        OSError, ValueError: it was not written, or could not be verified.
    """
    source = read_file(job.image)
    data = replace_blocks(source, changes)
    write_atomically(job.output, data)
    if request.verify:
        verify_blocks(job.output, source, changes, mask)
    del source
    found = image_of(data, str(job.output), request.max_pixels).pixels
    return stored_blocks(job.output.name, changes, found, mask, ' (--json lists all)')


def stored_blocks(
    name: str, changes: Changes, found: np.ndarray, mask: np.ndarray, hint: str = ''
) -> Stored:
    """Say what became of a JPEG in which blocks were replaced.

    Args:
        name: of the file.
        changes: to the source.
        found: (h, w, 1 or 3) uint8, upright: what the file holds, as decoded.
        mask: (h, w), 0 = keep.
        hint: where those boxes are listed that the note leaves out.
    """
    boxes, outside = boxes_of(changes.may_change), mask[changes.may_change] == 0
    notes = [_said_of_blocks(changes, boxes, int(outside.sum()), hint)]
    if len(changes.values):
        inside = as_stored(found, changes.turn)[changes.changed]
        notes.append(_said_of_encoding(name, inside, changes.values))
    apart = changes.before[outside].astype(np.int16) - found[changes.may_change][outside]
    return Stored(int(np.abs(apart).max(initial=0)), notes, boxes)


def _said_of_blocks(
    changes: Changes, boxes: Sequence[tuple[int, int, int, int]], outside: int, hint: str
) -> str:
    """Say which pixels may differ, of which some are outside the mask."""
    count = sum(int(touched.sum()) for touched in changes.touched)
    total = sum(touched.size for touched in changes.touched)
    named = [f'{x},{y},{right - x},{bottom - y}' for y, x, bottom, right in boxes[:MOST_BOXES]]
    if len(boxes) > MOST_BOXES:
        named.append(f'{len(boxes) - MOST_BOXES} more{hint}')
    return (
        f'{count} of {total} JPEG blocks were encoded again, all others are as they were; '
        f'pixels may change in {"; ".join(named) or "no place"} (x,y,w,h), '
        f'{outside} of them outside the mask'
    )


def _said_of_encoding(name: str, found: np.ndarray, meant: np.ndarray) -> str:
    """Say what the encoding costs inside; both (n, c) uint8."""
    error = float(np.square(found.astype(np.float32) - meant).mean())
    psnr = f'{10 * math.log10(255**2 / error):.1f}' if error else 'infinitely many'
    return f'inside, {name} is {psnr} dB (PSNR) from what was restored, by its JPEG encoding'
