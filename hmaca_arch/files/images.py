"""Reading and writing pictures and masks without losing anything silently.

Pillow decodes: unlike OpenCV's `imdecode` in many versions it raises where a file is cut short, and
it is about as fast (0.5 ms for 128x128). Only 16 bits, which Pillow reduces to 8 in colour
pictures, are decoded by OpenCV, after Pillow found the file whole.

What is accepted: PNG, JPEG, WebP, BMP, TIFF and GIF, whatever the file's ending says; 8 and 16
bits, RGB, grayscale (replicated), palette, 1 bit, an alpha channel that is opaque throughout. The
EXIF orientation is applied. Refused, with the file named: real transparency, CMYK and other modes,
signed and floating point numbers, animations and files of several pages, damaged files, and what is
no file at all.
"""

import io
import os
import stat
import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from hmaca_arch.files.formats import hint_for

EXTENSIONS = (
    '.png',
    '.jpg',
    '.jpeg',
    '.jpe',
    '.jfif',
    '.mpo',
    '.webp',
    '.bmp',
    '.tif',
    '.tiff',
    '.gif',
)

# What is tried on a file's content. Others that Pillow knows take any bytes for a picture (TGA),
# lose depth silently (PPM, JPEG 2000, AVIF) or run a program (EPS).
FORMATS = ('PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF', 'GIF')

LARGEST_FILE = 2**31 - 1  # bytes; the largest picture that Pillow opens has 1.4 GB in 16-bit RGBA

PNG = b'\x89PNG\r\n\x1a\n'
HARMLESS_CHUNKS = (
    b'tEXt',
    b'zTXt',
    b'iTXt',
    b'tIME',
    b'pHYs',
    b'bKGD',
    b'hIST',
    b'sPLT',
)  # no pixel depends on them

# Description, make, model, resolution (x, y, unit), software, date, artist, copyright
TIFF_DESCRIPTION = (0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x8298)

# EXIF orientation -> what undoes it (the values that are missing mean: as it is)
_UPRIGHT = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: lambda image: np.rot90(image, 1),
}


def list_pictures(folder: str | os.PathLike) -> dict[str, str]:
    """The pictures directly inside a folder: {stem: path}, sorted by stem.

    Raises:
        ValueError: two pictures share a stem (they could not be told apart as triplets or LMDB
            keys), or there are none.
    """
    found: dict[str, str] = {}
    with os.scandir(folder) as entries:
        for name in sorted(entry.name for entry in entries):
            stem, extension = os.path.splitext(name)
            if extension.lower() not in EXTENSIONS or name.startswith('.'):
                continue
            path = os.path.join(folder, name)
            if stem in found:
                raise ValueError(
                    f'{found[stem]} and {path} have the same name but for the ending; rename one of them'
                )
            found[stem] = path
    if not found:
        raise ValueError(f'{os.path.abspath(folder)} holds no pictures ({", ".join(EXTENSIONS)})')
    return dict(sorted(found.items()))


def read_file(path: str | os.PathLike) -> bytes:
    """A picture file's bytes.

    Raises:
        ValueError: it cannot be read, or is no ordinary file (a pipe or a device might never end),
            or is too large to be a picture; in one line that starts with the path.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            found = 'a folder' if stat.S_ISDIR(status.st_mode) else 'a pipe, socket or device'
            raise ValueError(f'{path}: cannot be read as a picture: it is {found}, expected a file')
        if status.st_size > LARGEST_FILE:
            raise ValueError(
                f'{path}: cannot be read as a picture: it has {status.st_size} bytes, expected at most {LARGEST_FILE}'
            )
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f'{path}: cannot be read: {error.strerror or error}') from None


def _is_16_bit(image: Image.Image, data: bytes) -> bool:
    if image.format == 'PNG':
        return data[24] == 16  # IHDR's bit depth
    return image.format == 'TIFF' and max(image.tag_v2.get(258, (8,))) == 16  # BitsPerSample


def _check_tiff(image: Image.Image, deep: bool) -> None:
    """Raise a ValueError for a TIFF file whose numbers the decoders would take for others."""
    if set(image.tag_v2.get(339, (1,))) != {1}:  # SampleFormat
        raise ValueError(
            f'signed and floating point numbers (mode {image.mode}) are not supported; convert it to unsigned 8 or 16 bits'
        )
    if deep and (
        image.tag_v2.get(262) not in (1, 2) or image.tag_v2.get(284, 1) != 1
    ):  # PhotometricInterpretation, PlanarConfiguration
        raise ValueError(
            'a TIFF file of 16 bits has to be RGB or gray with black as 0, without separate planes; convert it to PNG'
        )


def _check_png(data: bytes) -> tuple[bytes, list[str]]:
    """Return a PNG without damaged texts and the like, and a note for each.

    Pillow refuses files that have any, and does not check the last chunk that matters.

    Raises:
        OSError: it is cut short, or another chunk does not match its checksum.
    """
    position, kind, kept, notes = len(PNG), b'', [PNG], []
    while kind != b'IEND':
        length, kind = (
            int.from_bytes(data[position : position + 4], 'big'),
            data[position + 4 : position + 8],
        )
        end = position + 8 + length
        if end + 4 > len(data):
            raise OSError('the file is cut short')
        if zlib.crc32(memoryview(data)[position + 4 : end]) == int.from_bytes(
            data[end : end + 4], 'big'
        ):
            kept.append(data[position : end + 4])
        elif kind in HARMLESS_CHUNKS:
            notes.append(f'its {kind.decode()} chunk is damaged and left out')
        else:
            raise OSError('a checksum does not match, the file is damaged')
        position = end + 4
    return (b''.join(kept) if notes else data), notes


class Decoded(NamedTuple):
    """A picture file's content.

    pixels: (h, w, c) uint8 or uint16, upright: gray, gray and alpha, RGB, or RGBA; palettes are
    resolved. 16-bit gray with alpha is RGBA. mode, format: Pillow's names of what the file holds.
    orientation: of EXIF, already undone. exif, icc: as in the file, or None. dpi: dots per inch,
    across and down, or None. notes: what was damaged and is left out, a sentence each.
    """

    pixels: np.ndarray
    mode: str
    format: str
    orientation: int
    exif: bytes | None
    icc: bytes | None
    dpi: tuple[float, float] | None
    notes: list[str]

    @property
    def alpha(self) -> np.ndarray | None:
        """(h, w), or None where the file has no transparency."""
        return self.pixels[..., -1] if self.pixels.shape[2] in (2, 4) else None

    @property
    def colours(self) -> np.ndarray:
        """(h, w, 1 or 3): the pixels without alpha."""
        return self.pixels if self.alpha is None else self.pixels[..., :-1]


def decode(data: bytes, name: str) -> Decoded:
    """Bytes of a picture file -> everything that is kept of it.

    Raises:
        ValueError: in one line that starts with `name`.
    """
    hint = hint_for(data, name)
    if hint is not None:
        raise ValueError(f'{name}: cannot be read as an image: {hint}')
    try:
        data, notes = _check_png(data) if data.startswith(PNG) else (data, [])
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            deep = _is_16_bit(image, data)
            if image.format == 'TIFF':
                _check_tiff(image, deep)
            stored = _orientation(image)
            image.load()  # which turns TIFF, and then says that nothing is left to undo
            mode, orientation = image.mode, _orientation(image)
            if deep:
                pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
                if pixels is not None and pixels.ndim == 3:
                    pixels = cv2.cvtColor(
                        pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
                    )
                if (
                    image.format == 'TIFF'
                    and 1 in image.tag_v2.get(338, ())
                    and pixels is not None
                    and pixels.ndim == 3
                ):  # ExtraSamples
                    pixels = _straight(pixels)
            elif image.has_transparency_data:
                pixels = np.asarray(image.convert('LA' if mode in ('1', 'L', 'LA') else 'RGBA'))
            elif mode in ('1', 'L'):
                pixels = np.asarray(image.convert('L'))
            elif mode in ('RGB', 'P'):
                pixels = np.asarray(image.convert('RGB') if mode == 'P' else image)
            else:
                raise ValueError(
                    f'pictures of mode {mode} are not supported; convert it to 8- or 16-bit RGB or grayscale'
                )
            facts = (
                mode,
                image.format,
                stored,
                _exif(image),
                image.info.get('icc_profile') or None,
                _dpi(image),
                notes,
            )
            count = _pages(image)
            if count > 1:
                raise ValueError(
                    f'holds {count} pictures; animations and files of several pages are not supported'
                )
    except UnidentifiedImageError:
        found = 'its content is none of ' + ', '.join(FORMATS) if data else 'the file is empty'
        raise ValueError(f'{name}: cannot be read as a picture: {found}') from None
    # of damaged files the decoders raise almost anything: struct.error, TypeError, MemoryError,
    # cv2.error
    except Exception as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(f'{name}: cannot be read as a picture: {reason}') from None
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f'{name}: cannot be read as a picture')
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return Decoded(_UPRIGHT.get(orientation, lambda image: image)(pixels), *facts)


def _straight(pixels: np.ndarray) -> np.ndarray:
    """Undo associated alpha: colours that were multiplied by it, (h, w, 4) uint16; black where all
    is transparent.
    """
    alpha = pixels[..., 3:].astype(np.float64)
    colours = np.divide(
        pixels[..., :3] * 65535.0, alpha, out=np.zeros(pixels[..., :3].shape), where=alpha > 0
    )
    return np.dstack([np.rint(colours.clip(0, 65535)).astype(np.uint16), pixels[..., 3:]])


def _orientation(image: Image.Image) -> int:
    """Read EXIF's orientation, from 1 to 8; 1 where it is none of these."""
    found = image.getexif().get(0x0112)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """Read the resolution, where the file has one that can be; Pillow makes up 72 for JPEG files
    without.
    """
    if (
        image.format in ('JPEG', 'MPO')
        and not image.info.get('jfif_unit')
        and 0x011A not in image.getexif()
    ):
        return None
    dpi = tuple(map(float, image.info.get('dpi') or ()))
    return dpi if len(dpi) == 2 and all(0 < value < 1e6 for value in dpi) else None


def _pages(image: Image.Image) -> int:
    """Count the images of a file, without previews: of phones' JPEG (MPO), and reduced copies after
    the first page of a TIFF.
    """
    count = 1 if image.format == 'MPO' else getattr(image, 'n_frames', 1)
    if image.format != 'TIFF' or count == 1:
        return count

    def reduced(page: int) -> bool:
        image.seek(page)
        return bool(image.tag_v2.get(254, 0) & 1)  # NewSubfileType

    return count if reduced(0) else 1 + sum(not reduced(page) for page in range(1, count))


def _exif(image: Image.Image) -> bytes | None:
    """The file's EXIF block. A TIFF file *is* one: of it, what describes the picture and not how
    this file stores it.
    """
    exif = image.getexif()
    if image.format != 'TIFF':
        return image.info.get('exif') or None
    kept = Image.Exif()
    for tag in TIFF_DESCRIPTION:
        if tag in exif:
            kept[tag] = exif[tag]
    for block in (0x8769, 0x8825):  # Exif, GPS
        if exif.get_ifd(block):
            kept[block] = dict(exif.get_ifd(block))
    return kept.tobytes() if kept else None


def refuse_transparency(found: Decoded, name: str) -> None:
    """Raise a ValueError that starts with `name` if any pixel is transparent."""
    if found.alpha is not None and found.alpha.min() != np.iinfo(found.pixels.dtype).max:
        raise ValueError(
            f'{name}: has transparent pixels, whose colour is undefined; flatten it first'
        )


def decode_as_stored(data: bytes, name: str) -> tuple[np.ndarray, bool]:
    """Bytes of a picture file -> (h, w, 1 or 3) uint8 or uint16, RGB, upright; and whether any
    simpler reader would see the same.

    The second is False where the file has an alpha channel, a palette or an orientation other than
    upright.

    Raises:
        ValueError: in one line that starts with `name`.
    """
    picture = decode(data, name)
    refuse_transparency(picture, name)
    return (
        picture.colours,
        picture.orientation == 1 and picture.alpha is None and picture.mode not in ('1', 'P'),
    )


def decode_picture(data: bytes, name: str) -> np.ndarray:
    """Bytes of a picture file -> (h, w, 3) RGB, uint8 or uint16 as in the file.

    Args:
        data: the file's content.
        name: what errors call it: the path, or the LMDB and key.

    Raises:
        ValueError: in one line that starts with `name`.
    """
    pixels, _ = decode_as_stored(data, name)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def to_8_bit(picture: np.ndarray) -> np.ndarray:
    """uint16 -> the nearest uint8 (65535 -> 255); uint8 as it is."""
    return (
        ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)
        if picture.dtype == np.uint16
        else picture
    )


def encode_png(pixels: np.ndarray) -> bytes:
    """(h, w, 3) RGB, or (h, w, 1) or (h, w) gray, uint8 or uint16 -> PNG bytes; the same bytes for
    the same pixels.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode('.png', np.ascontiguousarray(pixels))
    if not done:
        raise ValueError(f'cannot encode {pixels.dtype} pixels of shape {pixels.shape} as PNG')
    return data.tobytes()
