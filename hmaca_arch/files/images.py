"""Read images and masks without losing anything silently.

Pillow decodes: unlike OpenCV's `imdecode` in many versions it raises where a file is cut short, and
it is about as fast (0.5 ms for 128x128). OpenCV decodes 16 bits, which Pillow reduces to 8 in
colour images, floating point, and large PNG files. Those are checked to be whole as well.

What is accepted: PNG, JPEG, WebP, BMP, TIFF and GIF, whatever the file's ending says; 8 and 16
bits, RGB, grayscale (replicated), palette, 1 bit, an alpha channel that is opaque throughout. The
EXIF orientation is applied. Refused, with the file named: real transparency, signed numbers,
animations and files of several pages, damaged files, and what is no file at all. Restoring keeps
transparency, and converts CMYK, CIELAB, floating point, rare kinds of JPEG, AVIF and HEIC.
"""

import io
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from hmaca_arch.files.depth import peak_of
from hmaca_arch.files.formats import TIFF_MARKS
from hmaca_arch.files.jpeg_scans import check_scans
from hmaca_arch.files.metadata import (
    IPTC,
    described_exif,
    dpi_of,
    exif_of,
    orientation_of,
    private_tags,
    take_xmp,
    texts_of,
    whole_orientation,
)
from hmaca_arch.files.opening import MAX_PIXELS, check_pixels, load_image, open_image
from hmaca_arch.files.pixels import depth_note, page_count, pixels_of
from hmaca_arch.files.png import PNG, Chunk, check_png, check_rows, kept_chunks, xmp_of
from hmaca_arch.files.png_strips import is_in_strips, size_of_png, without_pixels
from hmaca_arch.files.rare_jpeg import decode_rare_jpeg, rarity
from hmaca_arch.files.tiff import (
    HEIGHT,
    ICC,
    ORIENTATION,
    REDUCED,
    SUBFILE,
    WIDTH,
    XMP,
    check_pieces,
    check_tags,
    decode_float,
    from_full_page,
    further_pages,
    is_float,
    left_out,
    read_tags,
)
from hmaca_arch.messages import reason_of

MOST_ASKED = 1000  # chunks of a PNG that are tried one by one
# EXIF orientation -> what undoes it (the values that are missing mean: as it is)
UPRIGHT = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: lambda image: np.rot90(image, 1),
}


class StoredImage(NamedTuple):
    """An image file's content.

    Attributes:
        pixels: (h, w, c) uint8 or uint16, or float32 if that is converted: gray, gray and alpha,
            RGB or RGBA; upright. Palettes are resolved.
        exif: the block, or None.
        icc: the profile, or None.
        notes: what is not as in the file, a sentence each.
        dpi: dots per inch, across and down, or None.
        mode: Pillow's name of what the file holds.
        format: Pillow's name of the file's format.
        orientation: of EXIF, already undone.
        xmp: the packet, or None.
        chunks: of a PNG: what a copy keeps.
        texts: names of what is kept in no copy.
    """

    pixels: np.ndarray
    exif: bytes | None
    icc: bytes | None
    notes: list[str]
    dpi: tuple[float, float] | None = None
    mode: str = ''
    format: str = ''
    orientation: int = 1
    xmp: bytes | None = None
    chunks: Sequence[Chunk] = ()
    texts: Sequence[str] = ()

    @property
    def turned(self) -> bool:
        """Whether the file stores the pixels in another orientation."""
        return self.orientation != 1

    @property
    def alpha(self) -> np.ndarray | None:
        """(h, w), or None where the file has no transparency."""
        return self.pixels[..., -1] if self.pixels.shape[2] in (2, 4) else None

    @property
    def colours(self) -> np.ndarray:
        """(h, w, 1 or 3): the pixels without alpha."""
        return self.pixels if self.alpha is None else self.pixels[..., :-1]


def decode(
    data: bytes, name: str, convert: bool = False, max_pixels: int = MAX_PIXELS
) -> StoredImage:
    """Decode an image file, with everything that is kept of it.

    Args:
        data: the file's content.
        name: what errors call it.
        convert: accept what has to be converted: CMYK, CIELAB, floating point, rare kinds of
            JPEG, AVIF, HEIC. A JPEG is also asked whether coded pixels are missing.
        max_pixels: larger images are refused.

    Raises:
        ValueError: in one line that starts with `name`.
    """
    try:
        return _decode(data, name, convert, max_pixels)
    # of damaged files the decoders raise almost anything: struct.error, TypeError, MemoryError,
    # cv2.error
    except Exception as error:
        reason = reason_of(error)
        if not reason or reason.startswith('decoder error'):  # and a number: of libtiff
            reason = 'it is damaged'
        if isinstance(error, MemoryError):
            reason = 'it is damaged, or too large for the memory'
        raise ValueError(f'{name}: cannot be read as an image: {reason}') from None


def _decode(data: bytes, name: str, convert: bool, max_pixels: int) -> StoredImage:
    if not data.startswith(PNG):
        return _decode_checked(data, [], name, convert, max_pixels)
    sound, notes = check_png(data, convert)
    try:
        return _decode_checked(sound, notes, name, convert, max_pixels)
    except Exception:
        fewer = len(notes)
        asked = itertools.count()
        sound, notes = check_png(
            data, convert, lambda file: next(asked) >= MOST_ASKED or can_read_png(file)
        )
        if len(notes) == fewer:  # no chunk that may be left out is the reason
            raise
        return _decode_checked(sound, notes, name, convert, max_pixels)


def _decode_checked(
    data: bytes, notes: list[str], name: str, convert: bool, max_pixels: int
) -> StoredImage:
    data = from_full_page(data) if data[:4] in TIFF_MARKS else data
    if convert and is_float(data):
        return _decode_float(data, max_pixels)
    if kind := rarity(data):
        if not convert:
            raise ValueError(f'{kind}; convert it to PNG first')
        pixels, stand_in, notes = decode_rare_jpeg(data, name, max_pixels)
        found = _decode_opened(stand_in, data, notes, convert)
        turn = UPRIGHT.get(found.orientation, lambda as_is: as_is)
        return found._replace(pixels=turn(pixels))
    stored = data
    if is_in_strips(data):
        check_pixels(*size_of_png(data), max_pixels)
        stored = without_pixels(data)
    with open_image(stored, name, convert, max_pixels) as image:
        if convert and image.format in ('JPEG', 'MPO'):  # it would slow down training threefold
            load_image(image)
            check_scans(data, image)
        return _decode_opened(image, data, notes, convert)


def _decode_opened(image: Image.Image, data: bytes, notes: list[str], convert: bool) -> StoredImage:
    is_png = data.startswith(PNG)
    if is_png:
        load_image(image)  # for what stands behind the pixels
    xmp = take_xmp(image)
    if image.format == 'TIFF':
        check_tags(image.tag_v2)  # type: ignore[attr-defined]
    orientation = orientation_of(image)
    load_image(image)  # which turns TIFF
    if is_png and not is_in_strips(data) and (data[28] or _ends_in_black(image)):
        check_rows(data)
    mode, kind = image.mode, image.format or ''
    pixels, done = pixels_of(image, data, convert)
    if image.format == 'TIFF':
        notes = [*notes, *left_out(image.tag_v2, pixels.shape[2])]  # type: ignore[attr-defined]
    found = StoredImage(
        pixels if kind == 'TIFF' else UPRIGHT.get(orientation, lambda as_is: as_is)(pixels),
        exif_of(image),
        None if done else image.info.get('icc_profile') or None,
        [*notes, *done, *depth_note(image, data)],
        dpi_of(image),
        mode,
        kind,
        orientation,
        xmp_of(data) if is_png else xmp,
        kept_chunks(data) if is_png else (),
        texts_of(image),
    )
    count = page_count(image)
    if count > 1:
        raise ValueError(
            f'holds {count} images; animations and files of several pages are not supported'
        )
    return found


def _ends_in_black(image: Image.Image) -> bool:
    return not any(image.crop((0, image.height - 1, image.width, image.height)).tobytes())


def can_read_png(data: bytes) -> bool:
    """Tell whether Pillow reads a PNG, with all that it says besides the pixels."""
    try:
        with open_image(data, 'a.png') as image:
            load_image(image)
            image.getexif()
            return xmp_of(data) != b''
    except Exception:  # Pillow raises almost anything
        return False


def _decode_float(data: bytes, max_pixels: int) -> StoredImage:
    """Decode a TIFF of floating point numbers, of which Pillow reads gray only."""
    tags = read_tags(io.BytesIO(data))
    check_pixels(tags.get(WIDTH, 0), tags.get(HEIGHT, 0), max_pixels)
    check_pieces(tags)
    if any(not page.get(SUBFILE, 0) & REDUCED for page in further_pages(data, tags)):
        raise ValueError('holds several images; files of several pages are not supported')
    pixels, exif = decode_float(data), Image.Exif()
    exif.load(data)
    dpi = tuple(float(tags.get(side, 0)) for side in (0x011A, 0x011B))
    return StoredImage(
        pixels,
        described_exif(exif),
        tags.get(ICC),
        left_out(tags, pixels.shape[2]),
        (dpi[0], dpi[1]) if all(dpi) and tags.get(0x0128, 2) == 2 else None,
        f'{pixels.shape[2]} channels of floating point',
        'TIFF',
        whole_orientation(tags.get(ORIENTATION, 1)),
        tags.get(XMP),
        texts=['IPTC'] * (IPTC in tags) + private_tags(tags),
    )


def refuse_transparency(found: StoredImage, name: str) -> None:
    """Raise a ValueError that starts with `name` if any pixel is transparent."""
    if found.alpha is not None and found.alpha.min() != peak_of(found.pixels.dtype):
        raise ValueError(
            f'{name}: has transparent pixels, whose colour is undefined; flatten it first'
        )


def decode_as_stored(data: bytes, name: str) -> tuple[np.ndarray, bool]:
    """Decode an image file without transparency.

    Returns:
        (h, w, 1 or 3) uint8 or uint16, RGB, upright; and whether any simpler reader would see the
        same. It would not where the file has an alpha channel, a palette or an orientation other
        than upright.

    Raises:
        ValueError: in one line that starts with `name`.
    """
    image = decode(data, name)
    refuse_transparency(image, name)
    return (
        image.colours,
        not image.turned and image.alpha is None and image.mode not in ('1', 'P'),
    )


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode an image file as (h, w, 3) RGB, uint8 or uint16 as in the file.

    Args:
        data: the file's content.
        name: what errors call it: the path, or the LMDB and key.

    Raises:
        ValueError: in one line that starts with `name`.
    """
    pixels, _ = decode_as_stored(data, name)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def to_8_bit(pixels: np.ndarray) -> np.ndarray:
    """Convert uint16, or floating point in [0, 1], to the nearest uint8; leave uint8 as it is."""
    if np.issubdtype(pixels.dtype, np.floating):
        return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    if pixels.dtype != np.uint16:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode pixels as PNG: the same bytes for the same pixels.

    Args:
        pixels: (h, w, 3) RGB, or (h, w, 1) or (h, w) gray, uint8 or uint16.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode('.png', np.ascontiguousarray(pixels))
    if not done:
        raise ValueError(f'cannot encode {pixels.dtype} pixels of shape {pixels.shape} as PNG')
    return data.tobytes()
