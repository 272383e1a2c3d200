"""Restore one file: read it and its mask, restore, write, verify."""

import time
from typing import Any

from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.depth import peak_of
from hmaca_arch.files.formats import BY_ENDING, BY_PILLOW
from hmaca_arch.files.gif import fit_colours
from hmaca_arch.files.image_files import check_output, read_image
from hmaca_arch.files.images import read_file
from hmaca_arch.files.jpeg_blocks import changes_of
from hmaca_arch.files.outputs import output_folder
from hmaca_arch.restoring.batching import Progress
from hmaca_arch.restoring.measuring.jpeg import quality_of_file
from hmaca_arch.restoring.planning import Job, Request
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
        raise ValueError(f'{job.output} exists; --overwrite replaces it')
    if job.copied:
        return _copy(job, ['it has no mask'])
    image = read_image(job.image, request.max_pixels)
    check_output(job.output, image.pixels)
    mask, doubts = request.masks.read(image, job.mask)
    output_folder(job.output.parent)
    start = time.perf_counter()
    done = restorer.run(
        image.pixels,
        mask if request.masks.soft else mask.view(bool),
        request.degradation,
        progress,
        jpeg=quality_of_file(read_file(job.image)),
        **request.settings,
    )
    seconds = time.perf_counter() - start
    kind = BY_ENDING[job.output.suffix.lower()]
    if not done.regions and kind == BY_PILLOW.get(image.format):
        return _copy(job, [*doubts, *done.notes])
    result = done.image
    if job.mask is None and request.masks.kind == 'alpha' and not request.masks.boxes:
        result[..., -1][mask > 0] = peak_of(result.dtype)  # opaque where transparency was the mask
    if kind == 'gif':
        result = fit_colours(result, mask)
    regions, notes = done.regions, [*image.notes, *doubts, *done.notes]
    if keeps_blocks(job, request, image):
        changes = changes_of(read_file(job.image), image.pixels, result, image.orientation)
        del image, done, result  # beside them, the coefficients of a large image need too much
        stored = store_blocks(job, request, changes, mask)
    else:
        stored = store(job, request, image, result, mask)
    status = DONE if regions else COPIED
    notes += stored.notes
    return _entry(status, job, regions, seconds, stored, request.verify, notes)


def _copy(job: Job, notes: list[str]) -> dict[str, Any]:
    """Copy the file, of which nothing is to be restored."""
    output_folder(job.output.parent)
    write_atomically(job.output, read_file(job.image))
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
