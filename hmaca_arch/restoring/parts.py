"""Restore a region of an image of which the rest stays on disk: TIFF, and large PNG files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.formats import BY_ENDING
from hmaca_arch.files.image_files import largest_change, losses
from hmaca_arch.files.images import StoredImage
from hmaca_arch.files.large_png import large_png, read_rows, write_rows
from hmaca_arch.files.large_png_verifying import verify_rows
from hmaca_arch.files.tiff_layout import Bounds, layout_of
from hmaca_arch.files.tiff_strips import read_part, write_part
from hmaca_arch.files.tiff_verifying import verify_part
from hmaca_arch.restoring.patches import Patch
from hmaca_arch.restoring.planning import Job, Request
from hmaca_arch.restoring.storing import Stored


class InParts(NamedTuple):
    """An image file of which a part is read, and a copy written that differs in this part.

    Attributes:
        file: a `Layout` or a `LargePng`, which the functions take.
        image: what is known of it; its pixels are 0, and take memory where they are set.
        read: read_part or read_rows.
        write: write_part or write_rows.
        verify: verify_part or verify_rows.
    """

    file: Any
    image: StoredImage
    read: Callable[[Any, Bounds, np.ndarray], None]
    write: Callable[[Any, BinaryIO, Bounds, np.ndarray], None]
    verify: Callable[[Path, Any, Bounds, np.ndarray, np.ndarray, Path], None]


def source_in_parts(job: Job, request: Request) -> InParts | None:
    """Return an image file that is restored in parts.

    None: all of the image is needed, or it stays no such file.
    """
    if job.mask is None and not request.masks.boxes:  # the mask is made of all pixels
        return None
    kind = BY_ENDING[job.output.suffix.lower()]
    if kind == 'tif' and (layout := layout_of(job.image, request.max_pixels)):
        pixels = np.zeros(layout.shape, layout.dtype.newbyteorder('='))
        unread = StoredImage(pixels, None, None, [], format='TIFF')
        return InParts(layout, unread, read_part, write_part, verify_part)
    if kind == 'png' and (png := large_png(job.image, request.max_pixels)):
        return InParts(png, png.image, read_rows, write_rows, verify_rows)
    return None


def store_part(
    job: Job, request: Request, source: InParts, before: np.ndarray, patch: Patch, mask: np.ndarray
) -> Stored:
    """Write a copy of a file that differs in a part of its pixels.

    Args:
        job: where to.
        request: how.
        source: what is copied.
        before: (h, w, c), what the source holds in the patch's box.
        patch: what it is to hold there.
        mask: (h, w) of the image, 0 = keep.

    Raises:
        OSError, ValueError: it was not written, or could not be verified.
    """
    inside = mask[patch.box.area]

    def fill(file: BinaryIO) -> None:
        source.write(source.file, file, patch.box, patch.pixels)
        if request.verify:  # now: the source may be what is replaced
            file.flush()
            written = Path(file.name)
            source.verify(written, source.file, patch.box, patch.pixels, inside, job.output)

    write_atomically(job.output, fill)
    notes = [*job.notes, *losses(job.output, source.image)]
    return Stored(largest_change(before, patch.pixels, inside), notes)
