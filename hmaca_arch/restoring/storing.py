"""Write a restored image, and prove it. A JPEG that stays one gets new blocks in the region."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hmaca_arch.files import jpeg_blocks
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.formats import BY_ENDING, BY_PILLOW
from hmaca_arch.files.image_files import image_of, is_lossy, largest_change, losses, write_image
from hmaca_arch.files.images import StoredImage, read_file
from hmaca_arch.files.jpeg_verifying import verify_blocks
from hmaca_arch.files.verifying import verify
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


def store(
    job: Job, request: Request, image: StoredImage, result: np.ndarray, mask: np.ndarray
) -> Stored:
    """Write a restored image.

    Args:
        job: where to.
        request: how.
        image: what was read.
        result: (h, w, c), restored.
        mask: (h, w), 0 = keep.

    Raises:
        OSError, ValueError: it was not written, or could not be verified.
    """
    notes = list(job.notes)
    kind = BY_ENDING[job.output.suffix.lower()]
    stays_jpeg = kind == BY_PILLOW.get(image.format) == 'jpg'  # the plan makes others PNG
    if stays_jpeg and request.quality is None:  # a quality asks for encoding all of it
        install = jpeg_blocks.missing()
        if install is None:
            return _store_blocks(job, request, image, result, mask)
        notes.append(f'with jpeglib all other blocks would stay as they are: {install}')
    notes += losses(job.output, image)
    if is_lossy(job.output, request.quality):
        notes.append(
            f'{job.output.name} is stored with loss: pixels outside the mask change as well'
        )
    write_image(job.output, image._replace(pixels=result), request.quality)
    change = largest_change(image.pixels, result, mask)
    if request.verify:
        notes += verify(job.output, job.image, image, result, mask)
    return Stored(change, notes)


def _store_blocks(
    job: Job, request: Request, image: StoredImage, result: np.ndarray, mask: np.ndarray
) -> Stored:
    """Write a JPEG in which only the blocks that touch the region differ from the source."""
    source = read_file(job.image)
    done = jpeg_blocks.replace_blocks(source, image.pixels, result, image.orientation)
    write_atomically(job.output, done.data)
    if request.verify:
        verify_blocks(job.output, source, done, mask, image.orientation)
    found = image_of(done.data, str(job.output), request.max_pixels).pixels
    boxes = jpeg_blocks.boxes_of(done.may_change)
    notes = [_said_of_blocks(done, boxes, mask)]
    changed = (image.pixels != result).any(axis=2)
    if changed.any():
        notes.append(_said_of_loss(job.output, found[changed], result[changed]))
    return Stored(largest_change(image.pixels, found, mask), notes, boxes)


def _said_of_blocks(
    done: jpeg_blocks.Replaced, boxes: Sequence[tuple[int, int, int, int]], mask: np.ndarray
) -> str:
    """Say which pixels may differ."""
    count = sum(int(touched.sum()) for touched in done.replaced)
    total = sum(touched.size for touched in done.replaced)
    outside = int((done.may_change & (mask == 0)).sum())
    named = [f'{x},{y},{right - x},{bottom - y}' for y, x, bottom, right in boxes[:MOST_BOXES]]
    if len(boxes) > MOST_BOXES:
        named.append(f'{len(boxes) - MOST_BOXES} more (--json lists all)')
    return (
        f'{count} of {total} JPEG blocks were encoded again, all others are as they were; '
        f'pixels may change in {"; ".join(named) or "no place"} (x,y,w,h), '
        f'{outside} of them outside the mask'
    )


def _said_of_loss(path: Path, found: np.ndarray, meant: np.ndarray) -> str:
    """Say what the encoding costs inside; both (n, c) uint8."""
    error = float(np.square(found.astype(np.float32) - meant).mean())
    psnr = f'{10 * math.log10(255**2 / error):.1f}' if error else 'infinitely many'
    return f'inside, {path.name} is {psnr} dB (PSNR) from what was restored, by its JPEG encoding'
