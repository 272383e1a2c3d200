"""What the page does with an image: restore a region, show the result, write it as a file."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from hmaca_arch.degradation import regions
from hmaca_arch.files.formats import BY_ENDING
from hmaca_arch.files.image_files import check_output, encode, image_of, largest_change, read_image
from hmaca_arch.files.images import StoredImage, to_8_bit
from hmaca_arch.files.jpeg_blocks import Changes, changes_of, replace_blocks
from hmaca_arch.files.masks import Doubt, percent_white, read_mask
from hmaca_arch.files.opening import MAX_PIXELS
from hmaca_arch.files.reading import read_file
from hmaca_arch.files.tiff_layout import layout_of
from hmaca_arch.files.tiff_strips import write_part
from hmaca_arch.inference import Restorer
from hmaca_arch.metrics import calculate_masked_psnr
from hmaca_arch.page.jobs import PageJob
from hmaca_arch.page.uploads import MOST_PIXELS, Upload, check_pixels
from hmaca_arch.restoring.measuring import measure
from hmaca_arch.restoring.measuring.jpeg import quality_of_file
from hmaca_arch.restoring.regions import marked_box
from hmaca_arch.restoring.storing import keeps_blocks, said_of_loss, stored_blocks
from hmaca_arch.restoring.telling import MOST, surroundings

# What is written, with the media types.
FORMATS = {'.png': 'image/png', '.tif': 'image/tiff', '.webp': 'image/webp', '.jpg': 'image/jpeg'}


def read_upload_mask(data: bytes, name: str, upload: Upload) -> tuple[np.ndarray, list[str]]:
    """Read a mask for an image, as `basicsr restore` does.

    Returns:
        (h, w) uint8, 1 = restore; and what is doubtful about it, a sentence each.

    Raises:
        ValueError: it cannot be read, is no mask, or has another size; in one line.
    """
    check_pixels(data, name)
    mask, notes = read_mask(data, name=name)
    if mask.shape != (upload.height, upload.width):
        raise ValueError(
            f'{name}: the mask has {mask.shape[1]}x{mask.shape[0]} pixels, the image '
            f'{upload.width}x{upload.height}; expected equal sizes'
        )
    inverted = (
        f'{percent_white(mask)}% of the mask is white, which is restored; if black is, invert it'
    )
    return mask, [inverted if note.doubt is Doubt.MOSTLY_WHITE else note.text for note in notes]


def restore(restorer: Restorer, job: PageJob) -> None:
    """Restore a job's region: fills in its box, regions and notes, and writes its patch.

    Raises:
        ValueError, OSError: what cannot work, in one line.
    """
    image, settings = job.upload.read(), job.settings
    jpeg = quality_of_file(read_file(job.upload.path))
    notes = [*job.notes, *image.notes]
    if settings.degradation == 'auto' and 'degradation' not in restorer.adapter.takes:
        notes += describe_degradation(image.pixels, job.mask, jpeg)
    done = restorer.patch(
        image.pixels,
        job.mask.astype(bool),
        settings.degradation,
        job.progress,
        context=settings.context,
        feather=settings.feather,
        jpeg=jpeg,
    )
    job.box, job.regions = marked_box(job.mask), len(done.regions)
    restored, mask = done.pixels[job.box.within(done.box).area], job.mask[job.box.area]
    area = done.box.area
    change = largest_change(image.pixels[area], done.pixels, job.mask[area])
    notes += [*done.notes, f'before saving, the largest change outside the mask is {change}']
    if job.upload.truth.exists():
        notes.append(compare(job, image.pixels[job.box.area], restored))
    job.notes = list(dict.fromkeys(notes))
    np.savez(job.patch, pixels=restored, mask=mask)


def describe_degradation(pixels: np.ndarray, mask: np.ndarray, jpeg: int | None) -> list[str]:
    """Say what was done to each region, for a network that does not take it as an input.

    Args:
        pixels: (h, w, c), see `measure`.
        mask: (h, w) uint8, 1 = restore.
        jpeg: quality of the image's JPEG file, None if it is none.
    """
    around = surroundings(marked_box(mask), *mask.shape)
    if len(regions(mask[around.area])[1]) > MOST:
        return []
    found = measure(pixels[around.area], mask[around.area], jpeg, around[:2])
    return [f'measured: {one.words}' for one in found]


def compare(job: PageJob, before: np.ndarray, after: np.ndarray) -> str:
    """Return the PSNR of an example's region, before and after; both (h, w, 3) uint8 of the box."""
    truth = read_image(job.upload.truth).pixels[job.box.area]
    weights = job.mask[job.box.area][..., None].astype(np.float64)
    degraded, restored = (
        calculate_masked_psnr(version, truth, before, weights) for version in (before, after)
    )
    return f'PSNR of the region: {degraded:.2f} dB degraded, {restored:.2f} dB restored'


def preview(upload: Upload) -> bytes:
    """Return an image as a PNG of 8 bits, upright, with its profile: what a browser can show."""
    image = upload.read()
    return as_png(to_8_bit(image.pixels), image.icc)


def show_patch(job: PageJob) -> bytes:
    """Return the restored box as a PNG of 8 bits that is transparent outside the mask."""
    image = job.upload.read()
    with np.load(job.patch) as patch:
        pixels, mask = to_8_bit(patch['pixels']), patch['mask']
    opaque = pixels.shape[2] in (1, 3)
    colours = pixels if opaque else pixels[..., :-1]
    alpha = 255 * mask if opaque else pixels[..., -1] * mask
    return as_png(np.dstack([colours, alpha]), image.icc)


def as_png(pixels: np.ndarray, icc: bytes | None) -> bytes:
    """Encode (h, w, 1 to 4) uint8, quickly."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(buffer, 'PNG', compress_level=1, **({'icc_profile': icc} if icc else {}))
    return buffer.getvalue()


def check_format(ending: str) -> None:
    """Raise a ValueError unless files with this ending, such as .png, can be written."""
    if ending not in FORMATS:
        names = ', '.join(name[1:] for name in FORMATS)
        raise ValueError(f'format is {ending[1:][:20]!r}; expected {names}')


def restored_pixels(job: PageJob, image: StoredImage) -> np.ndarray:
    """Return the pixels of a job's image with its patch."""
    pixels = image.pixels.copy()
    with np.load(job.patch) as patch:
        pixels[job.box.area] = patch['pixels']
    return pixels


def restored_file(job: PageJob, ending: str) -> tuple[bytes, list[str]]:
    """Return the restored image as a file, of the same depth and with the same metadata.

    A JPEG that stays one differs in the blocks of the region alone, a TIFF in its strips or tiles,
    where that is possible.

    Returns:
        The file, and what it does not hold as it was restored, a sentence each.

    Raises:
        ValueError: this format cannot be written, or cannot hold the image.
    """
    check_format(ending)
    layout = layout_of(job.upload.path, MAX_PIXELS) if BY_ENDING[ending] == 'tif' else None
    if layout is not None:
        buffer = io.BytesIO()
        with np.load(job.patch) as patch:
            write_part(layout, buffer, job.box, patch['pixels'])
        return buffer.getvalue(), []
    image, output = job.upload.read(), Path(job.upload.file_name('restored', ending))
    check_output(output, image.pixels)
    if keeps_blocks(job.upload.path, output, image):
        changes = _changes(job, image)
        del image  # the coefficients take as much memory again
        return _with_blocks(job, changes, output.name)
    notes = said_of_loss(job.upload.path, output, image)
    return encode(ending, image._replace(pixels=restored_pixels(job, image))), notes


def _changes(job: PageJob, image: StoredImage) -> Changes:
    source, corner = read_file(job.upload.path), (job.box.top, job.box.left)
    with np.load(job.patch) as patch:
        return changes_of(source, image.pixels, patch['pixels'], corner, image.orientation)


def _with_blocks(job: PageJob, changes: Changes, name: str) -> tuple[bytes, list[str]]:
    """Return a JPEG that keeps its other blocks, and its notes."""
    data = replace_blocks(read_file(job.upload.path), changes)
    mask = np.zeros(changes.may_change.shape, np.uint8)
    with np.load(job.patch) as patch:
        mask[job.box.area] = patch['mask']
    found = image_of(data, name, MOST_PIXELS).pixels
    return data, stored_blocks(name, changes, found, mask).notes
