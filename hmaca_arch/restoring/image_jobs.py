"""Restore one file: read it and its mask, restore, write, verify."""

import shutil
import time
from typing import Any

import numpy as np

from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.depth import peak_of
from hmaca_arch.files.formats import BY_ENDING, BY_PILLOW
from hmaca_arch.files.gif import fit_colours
from hmaca_arch.files.image_files import check_output, largest_change, read_image
from hmaca_arch.files.images import StoredImage
from hmaca_arch.files.jpeg_blocks import changes_of
from hmaca_arch.files.on_disk import set_aside
from hmaca_arch.files.outputs import output_folder
from hmaca_arch.files.reading import open_file, read_file
from hmaca_arch.files.verifying import verify
from hmaca_arch.restoring.batching import Progress
from hmaca_arch.restoring.measuring.jpeg import quality_of_file
from hmaca_arch.restoring.parts import source_in_parts, store_part
from hmaca_arch.restoring.patches import Patch, pixels_seen
from hmaca_arch.restoring.planning import Job, Request
from hmaca_arch.restoring.regions import marked_box
from hmaca_arch.restoring.storing import Stored, keeps_blocks, store, store_blocks

DONE, COPIED = 'done', 'copied'


def restore_file(job: Job, restorer: Any, request: Request, progress: Progress) -> dict[str, Any]:
    """Restore and write one image.

    Args:
        job: what to restore, and where to.
        restorer: a `Restorer`.
        request: how.
        progress: told the number of tiles done, and of all.

    Returns:
        Its entry in the report.

    Raises:
        OSError, ValueError: it was not done. Nothing is left behind, except an output that failed
            verification.
    """
    if job.output.exists() and not request.overwrite:
        why = ''.join(f' ({note})' for note in job.notes)  # that it is another file than asked for
        raise ValueError(f'{job.output} exists; --overwrite replaces it{why}')
    if job.copied:
        return _copy(job, ['it has no mask'])
    source = source_in_parts(job, request)
    image = source.image if source else read_image(job.image, request.max_pixels)
    check_output(job.output, image.pixels)
    mask, doubts = request.masks.read(image, job.mask)
    if source is not None:
        seen = marked_box(mask).grown(pixels_seen(request.settings['context']), *mask.shape)
        source.read(source.file, seen, image.pixels)
    output_folder(job.output.parent)
    start = time.perf_counter()
    done = restorer.patch(
        image.pixels,
        mask if request.masks.soft else mask.view(bool),
        request.degradation,
        progress,
        jpeg=None if source else quality_of_file(read_file(job.image)),
        **request.settings,
    )
    seconds = time.perf_counter() - start
    kind = BY_ENDING[job.output.suffix.lower()]
    if not done.regions and kind == BY_PILLOW.get(image.format):
        return _copy(job, [*doubts, *done.notes])
    regions, notes = done.regions, [*image.notes, *doubts, *done.notes]
    if source is not None:
        stored = store_part(job, request, source, image.pixels[done.box.area], done, mask)
    elif keeps_blocks(job.image, job.output, image, request.quality):
        data, corner = read_file(job.image), (done.box.top, done.box.left)
        changes = changes_of(data, image.pixels, done.pixels, corner, image.orientation)
        inside = np.zeros(mask.shape, mask.dtype)  # takes memory where something is written
        inside[done.box.area] = mask[done.box.area]
        del data, image, done, mask  # the coefficients of a large image need as much
        stored = store_blocks(job, request, changes, inside)
    else:
        inside = mask[done.box.area]
        change = largest_change(image.pixels[done.box.area], done.pixels, inside)
        restored = _restored(job, request, image, done, mask)
        del image, done
        stored = store(job, request, restored, change)
        if request.verify:
            meant = set_aside(restored.pixels, job.output.parent)
            before = restored._replace(pixels=restored.pixels[:0].copy())
            del restored  # the pixels that are read back need as much
            stored.notes.extend(verify(job.output, job.image, before, meant, mask))
    status = DONE if regions else COPIED
    notes += stored.notes
    return _entry(status, job, regions, seconds, stored, request.verify, notes)


def _restored(
    job: Job, request: Request, image: StoredImage, done: Patch, mask: np.ndarray
) -> StoredImage:
    """Return the image with all restored pixels, as the output's format holds them.

    They take the place of those that were read, where that is possible.
    """
    pixels = image.pixels if image.pixels.flags.writeable else image.pixels.copy()
    pixels[done.box.area] = done.pixels
    if job.mask is None and request.masks.kind == 'alpha' and not request.masks.boxes:
        pixels[..., -1][mask > 0] = peak_of(pixels.dtype)  # opaque where transparency was the mask
    if job.output.suffix.lower() == '.gif':
        pixels = fit_colours(pixels, mask)
    return image._replace(pixels=pixels)


def _copy(job: Job, notes: list[str]) -> dict[str, Any]:
    """Copy the file, of which nothing is to be restored."""
    output_folder(job.output.parent)
    with open_file(job.image) as source:
        write_atomically(job.output, lambda file: shutil.copyfileobj(source, file))
    return _entry(COPIED, job, [], 0.0, Stored(0, []), True, [*notes, 'copied as it is'])


def _entry(
    status: str,
    job: Job,
    regions: list[Any],
    seconds: float,
    stored: Stored,
    verified: bool,
    notes: list[str],
) -> dict[str, Any]:
    """Return what the report says about a file that was written."""
    entry = {
        'file': str(job.image),
        'status': status,
        'mask': job.mask and str(job.mask),
        'output': str(job.output),
        'regions': len(regions),
        'boxes': [list(region.box) for region in regions],
        'seconds': round(seconds, 3),
        'max_change_outside': stored.change,
        'verified': verified,
        'notes': notes,
    }
    return entry if stored.may_change is None else entry | {'may_change': stored.may_change}
