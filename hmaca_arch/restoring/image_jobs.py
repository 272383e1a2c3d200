"""Restore one file: read it and its mask, restore, write, verify."""

import time
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.formats import BY_ENDING, BY_PILLOW
from hmaca_arch.files.gif import fit_colours
from hmaca_arch.files.image_files import check_output, is_lossy, losses, read_image, write_image
from hmaca_arch.files.images import read_file
from hmaca_arch.files.outputs import output_folder
from hmaca_arch.files.verifying import verify
from hmaca_arch.restoring.measuring.jpeg import quality_of_file
from hmaca_arch.restoring.planning import Job, Request

DONE, COPIED = 'done', 'copied'

Progress = Callable[[int, int], object]


class Restores(Protocol):
    """What is needed of a `Restorer`."""

    network: Any
    device: Any

    @property
    def run(self) -> Callable[..., Any]:
        """Restore, with the arguments of `Restorer.run`."""


def restore_file(
    job: Job, restorer: Restores, request: Request, progress: Progress | None = None
) -> dict[str, Any]:
    """Restore and write one image.

    Args:
        job: what to restore, and where to.
        restorer: has the network.
        request: how.
        progress: told the number of tiles done, and of all.

    Returns:
        Its entry in the report.

    Raises:
        OSError, ValueError: it was not done. Nothing was written, unless it was written and could
            not be verified.
    """
    if job.output.exists() and not request.overwrite:
        raise ValueError(f'{job.output} exists; --overwrite replaces it')
    if job.copied:
        return _copy(job, ['it has no mask'])
    image = read_image(job.image, request.max_pixels)
    check_output(job.output, image.pixels)
    mask, doubts = request.masks.read(image, job.mask)
    output_folder(job.output.parent)
    before, start = digest_outside(image.pixels, mask), time.perf_counter()
    done = restorer.run(
        image.pixels,
        mask if request.masks.soft else mask.view(bool),
        request.degradation,
        progress,
        in_place=True,
        jpeg=quality_of_file(read_file(job.image)) if image.format in ('JPEG', 'MPO') else None,
        **request.settings,
    )
    seconds = time.perf_counter() - start
    kind = BY_ENDING[job.output.suffix.lower()]
    if not done.regions and kind == BY_PILLOW.get(image.format):
        return _copy(job, [*doubts, *done.notes])
    result = done.image
    if _of_alpha(job, request):
        result[..., -1][mask > 0] = 1 if result.dtype.kind == 'f' else np.iinfo(result.dtype).max
    if kind == 'gif':
        result = fit_colours(result, mask)
    if digest_outside(result, mask) != before:
        raise ValueError('pixels outside the mask changed; nothing was written')
    notes = [*image.notes, *doubts, *done.notes, *losses(job.output, image)]
    lossy = is_lossy(job.output, request.quality)
    if lossy:
        notes.append(
            f'{job.output.name} is stored with loss: pixels outside the mask change as well'
        )
    write_image(job.output, image._replace(pixels=result), request.quality)
    if request.verify:
        notes += verify(job.output, job.image, image, result, mask)
    entry = _entry(DONE if done.regions else COPIED, job, notes)
    return entry | {
        'regions': len(done.regions),
        'boxes': [list(region.box) for region in done.regions],
        'seconds': round(seconds, 3),
        'max_change_outside': None if lossy else 0,
        'verified': request.verify,
    }


def digest_outside(pixels: np.ndarray, mask: np.ndarray) -> int:
    """Return a checksum of the pixels (h, w, c) where the mask (h, w) is 0."""
    found = 0
    for top in range(0, len(pixels), 256):
        rows = slice(top, top + 256)
        found = zlib.crc32(np.where((mask[rows] == 0)[..., None], pixels[rows], 0).tobytes(), found)
    return found


def _copy(job: Job, notes: list[str]) -> dict[str, Any]:
    """Copy the file, of which nothing is to be restored."""
    output_folder(job.output.parent)
    write_atomically(job.output, read_file(job.image))
    return _entry(COPIED, job, [*notes, 'copied as it is'])


def _of_alpha(job: Job, request: Request) -> bool:
    """Tell whether the mask is the image's own alpha channel."""
    return job.mask is None and request.masks.kind == 'alpha' and not request.masks.boxes


def _entry(status: str, job: Job, notes: list[str]) -> dict[str, Any]:
    """Return what the report says about a file that was written."""
    return {
        'file': str(job.image),
        'status': status,
        'mask': job.mask and str(job.mask),
        'output': str(job.output),
        'regions': 0,
        'boxes': [],
        'seconds': 0.0,
        'max_change_outside': 0,
        'verified': True,
        'notes': notes,
    }
