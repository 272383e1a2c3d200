"""Prove that a written file holds what it should, with another library than the one that wrote it.

This project writes PNG and TIFF itself and the rest by Pillow; Pillow reads the source. Here
OpenCV and tifffile read both files. JPEG files of which blocks were replaced: jpeg_verifying.py.
"""

import io
import math
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tifffile

from hmaca_arch.files.depth import peak_of
from hmaca_arch.files.formats import FORMATS, LOSSY, TIFF_MARKS
from hmaca_arch.files.image_files import format_of, largest_change
from hmaca_arch.files.images import UPRIGHT, StoredImage, decode
from hmaca_arch.files.metadata import dpi_of, exif_of, exif_tags, orientation_of, take_xmp
from hmaca_arch.files.on_disk import LARGE, Rows, parts
from hmaca_arch.files.opening import UNLIMITED, load_image, open_image
from hmaca_arch.files.pixels import CONVERTED
from hmaca_arch.files.png import PNG, only_pixels, transparent_colour
from hmaca_arch.files.png_strips import is_in_strips, size_of_png, without_pixels
from hmaca_arch.files.reading import read_file
from hmaca_arch.files.tiff import ASSOCIATED, UNKNOWN, from_full_page, is_float

DECODERS_APART = 3  # of 255: how far decoders of a lossy format may be apart
COPIED = 1 << 26  # bytes of the largest PNG of which libpng, which prints, sees the pixels only
# How many channels OpenCV makes of a PNG's colour types.
OPENCV_CHANNELS = {b'\0': 1, b'\2': 3, b'\3': 3, b'\4': 4, b'\6': 4}


class Seen(NamedTuple):
    """What another library reads.

    Attributes:
        pixels: (h, w, c), as stored.
        library: that read it.
        associated: whether the colours are multiplied by alpha.
    """

    pixels: np.ndarray
    library: str
    associated: bool = False


def see(data: bytes, path: Path | None = None) -> Seen | None:
    """Read an image file with tifffile or OpenCV; None if neither can.

    Args:
        data: what it holds.
        path: where it is; a large PNG then takes half the memory.
    """
    if data[:4] in TIFF_MARKS:
        return _see_tiff(data)
    if data.startswith(b'BM') and data[28:30] == b'\x10\0':
        return None  # OpenCV takes the 5 bits of a colour for the upper ones of 8
    if data.startswith(b'GIF') and _is_partial_gif(data):
        return None  # OpenCV fills the rest with another colour than viewers and Pillow
    as_stored = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = None if path is None else _large_png(path, data, as_stored)
    if pixels is None:
        alone = only_pixels(data) if data.startswith(PNG) and len(data) <= COPIED else data
        pixels = cv2.imdecode(np.frombuffer(alone, np.uint8), as_stored)
    if pixels is None:
        return None
    pixels = np.atleast_3d(pixels)
    if pixels.shape[2] == 3:
        pixels = pixels[..., ::-1]  # a view: large images are in memory often enough
    elif pixels.shape[2] == 4:
        pixels = pixels[..., [2, 1, 0, 3]]
    if data.startswith(PNG) and pixels.shape[2] in (1, 3):
        pixels = _with_transparent_colour(pixels, data)
    if data.startswith(b'GIF') and pixels.shape[2] == 4:
        _set_hidden_colour(pixels, data)
    return Seen(pixels, 'OpenCV')


def _large_png(path: Path, data: bytes, flags: int) -> np.ndarray | None:
    """Let OpenCV decode a large PNG into an array of numpy's: its own would be copied.

    Returns:
        None if it is no such file, or this OpenCV is too old for it or cannot read the file.
    """
    if not data.startswith(PNG) or data[25:26] not in OPENCV_CHANNELS:
        return None
    width, height = size_of_png(data)
    shape = height, width, OPENCV_CHANNELS[data[25:26]]
    kind = np.dtype(np.uint16 if data[24] == 16 else np.uint8)
    if math.prod(shape) * kind.itemsize <= LARGE:
        return None
    try:
        return cv2.imread(str(path), np.empty(shape, kind), flags)
    except (cv2.error, TypeError):
        return None


def _is_partial_gif(data: bytes) -> bool:
    """Tell whether the first frame of a GIF is smaller than its screen."""
    with open_image(data, '', max_pixels=UNLIMITED) as image:
        return image.tile[0][1] != (0, 0, *image.size)  # type: ignore[attr-defined]


def _set_hidden_colour(pixels: np.ndarray, data: bytes) -> None:
    """Give transparent pixels of a GIF their colour of its palette; OpenCV makes one up."""
    palette = 3 * 2 ** (1 + (data[10] & 7))
    control = data.find(b'\x21\xf9\x04', 13 + palette)
    if data[10] & 0x80 and control != -1:
        colour = data[13 + 3 * data[control + 6] :][:3]
        pixels[pixels[..., 3] == 0, :3] = np.frombuffer(colour, np.uint8)


def _see_tiff(data: bytes) -> Seen | None:
    try:
        with tifffile.TiffFile(io.BytesIO(from_full_page(data))) as file:
            page = file.pages.first
            if page.photometric not in (1, 2) or page.planarconfig != 1:
                return None
            pixels = page.asarray()
            extra = [int(value) for value in page.extrasamples]
            if extra:  # a channel that is no alpha is not read
                alpha = int(extra[0] != UNKNOWN)
                pixels = pixels[..., : pixels.shape[-1] - len(extra) + alpha]
    except Exception:  # what it raises for compression that it does not know
        return None
    pixels = pixels.astype(pixels.dtype.newbyteorder('='), copy=False)
    return Seen(np.atleast_3d(pixels), 'tifffile', extra[:1] == [ASSOCIATED])


def _with_transparent_colour(pixels: np.ndarray, data: bytes) -> np.ndarray:
    """Add the alpha that a PNG's tRNS stands for, where OpenCV does not."""
    colour = transparent_colour(data)
    if colour is None:
        return pixels
    values = colour.astype(pixels.dtype)
    shown = (pixels != values).any(axis=2, keepdims=True)
    alpha = np.where(shown, peak_of(pixels.dtype), 0).astype(pixels.dtype)
    return np.concatenate([pixels, alpha], axis=2)


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray | None:
    """Return pixels (h, w, c) with another number of channels, if they hold the same."""
    peak = peak_of(pixels.dtype)
    colours, alpha = pixels, None
    if pixels.shape[2] in (2, 4):
        colours, alpha = pixels[..., :-1], pixels[..., -1:]
    if channels < 3 and colours.shape[2] == 3:
        if (colours != colours[..., :1]).any():
            return None
        colours = colours[..., :1]
    if channels >= 3 and colours.shape[2] == 1:
        colours = np.repeat(colours, 3, axis=2)
    if channels in (1, 3):
        return colours if alpha is None or (alpha == peak).all() else None
    if alpha is None:
        alpha = np.full((*pixels.shape[:2], 1), peak, pixels.dtype)
    return np.concatenate([colours, alpha], axis=2)


def verify(
    path: Path, source: Path, before: StoredImage, intended: Rows, mask: np.ndarray
) -> list[str]:
    """Read a written file back and prove it.

    Everything outside the mask has to be as in the source, and everything inside as intended.

    Args:
        path: the written file.
        source: the file that was restored.
        before: what was read of it; its pixels do not matter.
        intended: (h, w, c), what was to be written.
        mask: (h, w), 0 = keep.

    Returns:
        What could not be proved, a sentence each.

    Raises:
        ValueError: it is not so, saying what is different.
    """
    notes = _verify_pixels(path, intended, mask)
    notes += _verify_against_source(path, source, before, intended, mask)
    verify_metadata(read_file(path), path, before)
    return notes


def _verify_pixels(path: Path, intended: Rows, mask: np.ndarray) -> list[str]:
    data, notes = read_file(path), []
    seen = see(data, path)
    if seen is None:
        seen = Seen(pillow_reads(data, path), 'Pillow')
        notes = [f'{path.name} was read back by the library that wrote it; no other here reads it']
    del data
    found = with_channels(seen.pixels, intended.shape[2])
    if found is None or found.shape != intended.shape or found.dtype != intended.dtype:
        raise ValueError(
            f'{path}: not verified: {seen.library} read {seen.pixels.shape} {seen.pixels.dtype}, '
            f'expected {intended.shape} {intended.dtype}'
        )
    change = max(largest_change(intended[at], found[at], mask[at]) for at in parts(len(found)))
    if change:
        raise ValueError(
            f'{path}: not verified: pixels outside the mask differ from the input by up to {change}'
        )
    if not _equal(found, intended):
        raise ValueError(f'{path}: not verified: the restored pixels are not what was written')
    return notes


def _equal(one: np.ndarray, other: Rows) -> bool:
    """Compare pixels (h, w, c), some rows at a time; NaN equals NaN."""
    nan = other.dtype.kind == 'f'
    return all(np.array_equal(one[rows], other[rows], nan) for rows in parts(len(one)))


def _verify_against_source(
    path: Path, source: Path, before: StoredImage, intended: Rows, mask: np.ndarray
) -> list[str]:
    """Compare with the source, as another library reads it."""
    seen = None if before.mode in CONVERTED else see(read_file(source), source)
    if seen is None or seen.pixels.dtype != intended.dtype:
        return ['the input was read by one library alone; no other here reads it']
    turned = UPRIGHT.get(before.orientation, lambda as_is: as_is)(seen.pixels)
    pixels = turned if seen.associated else with_channels(turned, intended.shape[2])
    if pixels is None or pixels.shape != intended.shape:
        raise ValueError(
            f'{path}: not verified: {seen.library} sees {turned.shape} in {source.name}, '
            f'and {intended.shape} was written'
        )
    allowed = DECODERS_APART if before.format in LOSSY else int(seen.associated)
    change: int | float = 0
    for rows in parts(len(pixels)):
        written = _multiplied(intended[rows]) if seen.associated else intended[rows]
        change = max(change, largest_change(pixels[rows], written, mask[rows]))
    if change > allowed:
        raise ValueError(
            f'{path}: not verified: {seen.library} sees other pixels in {source.name}, '
            f'by up to {change} outside the mask'
        )
    return []


def _multiplied(pixels: np.ndarray) -> np.ndarray:
    """Multiply colours (h, w, 2 or 4) by alpha, as such a TIFF stores them."""
    peak = peak_of(pixels.dtype)
    colours = pixels[..., :-1] * (pixels[..., -1:].astype(np.float64) / peak)
    if pixels.dtype.kind == 'u':
        colours = np.rint(colours)
    return np.dstack([colours.astype(pixels.dtype), pixels[..., -1:]])


def verify_metadata(data: bytes, path: Path, before: StoredImage) -> None:
    """Prove that a written file says what the source says besides its pixels.

    Args:
        data: the written file; of a PNG its pixels do not matter.
        path: where it is.
        before: what was read of the source.

    Raises:
        ValueError: it is not so.
    """
    found = _metadata(data, str(path))
    kind = format_of(path)
    described = exif_tags(before.exif) if kind == 'tif' else before.exif
    same = {
        'ICC profile': not before.icc or found.icc == before.icc,
        'EXIF': not described or bool(found.exif),
        'XMP': not before.xmp or bool(found.xmp),
        'dpi': not before.dpi or np.allclose(found.dpi or 0, before.dpi, atol=0.5),
    }
    lost = [name for name in FORMATS[kind].keeps if not same[name]]
    if lost:
        raise ValueError(f'{path}: not verified: not the {" and not the ".join(lost)} of the input')
    if found.orientation != 1:
        raise ValueError(f'{path}: not verified: viewers would turn it, by its EXIF orientation')


class Metadata(NamedTuple):
    """What a written file says besides its pixels."""

    icc: bytes | None
    exif: bool
    xmp: bool
    dpi: tuple[float, float] | None
    orientation: int


def _metadata(data: bytes, name: str) -> Metadata:
    if is_float(data):
        read = decode(data, name, convert=True, max_pixels=UNLIMITED)
        return Metadata(read.icc, bool(read.exif), bool(read.xmp), read.dpi, read.orientation)
    said = without_pixels(data) if is_in_strips(data) else data
    with open_image(said, name, lossy_depth=True, max_pixels=UNLIMITED) as image:
        icc, turn = image.info.get('icc_profile'), orientation_of(image)
        exif, dpi = bool(exif_of(image)), dpi_of(image)
        return Metadata(icc, exif, bool(take_xmp(image)), dpi, turn)


def pillow_reads(data: bytes, path: Path) -> np.ndarray:
    """Return what Pillow reads of an image file (h, w, c), as stored."""
    with open_image(data, str(path), lossy_depth=True, max_pixels=UNLIMITED) as image:
        load_image(image)
        return np.atleast_3d(np.asarray(image))
