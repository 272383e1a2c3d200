"""Picture files with everything that has to survive a restoration: depth, gray, alpha, EXIF, ICC
profile.

Read: what `files.images` decodes, with or without alpha; upright, as the EXIF orientation says.
Palette and 1-bit files come out as RGB(A) and gray, which a note says.

Written: PNG, 8-bit TIFF and WebP without loss, the last two by Pillow; JPEG with one. XMP and PNG's
texts are not kept.
"""

import io
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.images import PNG, decode, read_file

LOSSLESS = ('.png', '.tif', '.tiff', '.webp')
LOSSY = ('.jpg', '.jpeg', '.jpe', '.jfif', '.mpo')
MARK = (b'tEXt', b'hmaca\0restored')  # tells an earlier output from an image of the same name
ORIENTATION = 0x0112
WHOLE_NUMBERS = {
    1: 'B',
    3: 'H',
    4: 'I',
    6: 'b',
    8: 'h',
    9: 'i',
}  # EXIF's types; orientation should be 3, and some write others


class Picture(NamedTuple):
    """An image with what has to survive a restoration.

    pixels: (h, w, c) uint8 or uint16: gray, gray and alpha, RGB or RGBA; upright. exif (orientation
    1), icc: bytes or None. notes: what is not as in the file, a sentence each. turned: the file
    stores it in another orientation. dpi: across and down, or None.
    """

    pixels: np.ndarray
    exif: bytes | None
    icc: bytes | None
    notes: list[str]
    turned: bool
    dpi: tuple[float, float] | None = None
    format: str = ''


def read_picture(path: str | Path) -> Picture:
    """Read a picture; its pixels are read-only.

    Raises:
        ValueError: it cannot be read, is damaged or of a kind that is not supported; in one line
            that starts with the path.
    """
    found = decode(read_file(path), str(path))
    notes = {
        'P': ['a palette picture, written with full colours'],
        '1': ['a 1-bit picture, written as 8-bit gray'],
    }.get(found.mode, [])
    pixels = found.pixels.copy()
    pixels.setflags(write=False)
    return Picture(
        pixels,
        upright_exif(found.exif),
        found.icc,
        [*notes, *found.notes],
        found.orientation != 1,
        found.dpi,
        found.format,
    )


def upright_exif(exif: bytes | None) -> bytes | None:
    """An EXIF block with the orientation set to 1 (upright), and not another byte changed."""
    start = 6 if exif and exif.startswith(b'Exif\0\0') else 0
    if not exif or len(exif) < start + 8 or exif[start : start + 2] not in (b'II', b'MM'):
        return exif
    order = '<' if exif[start : start + 2] == b'II' else '>'
    changed = bytearray(exif)
    try:
        (first,) = struct.unpack_from(order + 'I', exif, start + 4)
        (count,) = struct.unpack_from(order + 'H', exif, start + first)
        for entry in range(start + first + 2, start + first + 2 + 12 * count, 12):
            tag, kind, _ = struct.unpack_from(order + 'HHI', exif, entry)
            if tag == ORIENTATION and kind in WHOLE_NUMBERS:
                struct.pack_into(order + WHOLE_NUMBERS[kind], changed, entry + 8, 1)
    except struct.error:
        return None  # damaged: left out, rather than turning the picture twice
    return bytes(changed)


def check_output(path: Path, pixels: np.ndarray | None = None) -> None:
    """Raise a ValueError if the format that the file's ending names is not known, or cannot hold
    the pixels.
    """
    ending = path.suffix.lower()
    if ending not in LOSSLESS + LOSSY:
        raise ValueError(
            f'{path}: cannot write {ending or "a file without ending"}; expected {", ".join(LOSSLESS)}, or with loss .jpg'
        )
    if pixels is None or ending == '.png':
        return
    if pixels.dtype == np.uint16:
        raise ValueError(
            f'{path}: 16 bits are written as PNG only; choose {path.with_suffix(".png").name}'
        )
    if pixels.shape[2] < 3 and ending == '.webp':
        raise ValueError(f'{path}: WebP has no grayscale; choose {path.with_suffix(".png").name}')
    if pixels.shape[2] in (2, 4) and ending in LOSSY:
        raise ValueError(
            f'{path}: JPEG has no alpha channel; choose {path.with_suffix(".png").name}'
        )


def write_picture(path: Path, picture: Picture) -> None:
    """Write a picture, whole or not at all, in the format of the file's ending.

    Raises:
        OSError, ValueError: it cannot be written.
    """
    check_output(path, picture.pixels)
    data = encode(path.suffix.lower(), picture)
    if data.startswith(PNG):
        data = data[:33] + _chunk(*MARK) + data[33:]
    write_atomically(path, data)


def is_own_output(path: Path) -> bool:
    """Tell whether a file is a PNG that `write_picture` made."""
    try:
        with open(path, 'rb') as file:
            return _chunk(*MARK) == file.read(33 + 12 + len(MARK[1]))[33:]
    except OSError:
        return False


def encode(ending: str, picture: Picture) -> bytes:
    """The bytes of a file with that ending: `.png`, `.tif`, `.webp` or `.jpg`."""
    pixels = picture.pixels
    if ending == '.png' and pixels.dtype == np.uint16:
        return _deep_png(picture)
    kind, settings = {
        '.png': ('PNG', {}),
        '.webp': (
            'WEBP',
            {'lossless': True, 'exact': True},
        ),  # exact: colours under transparent pixels as well
        **dict.fromkeys(LOSSY, ('JPEG', {'quality': 95, 'subsampling': 0})),
    }.get(ending, ('TIFF', {}))  # uncompressed: compressed ones lose EXIF in Pillow
    more = {
        key: value
        for key, value in (
            ('exif', picture.exif),
            ('icc_profile', picture.icc),
            ('dpi', picture.dpi),
        )
        if value
    }
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(
        buffer, kind, **settings, **more
    )
    return buffer.getvalue()


def _deep_png(picture: Picture) -> bytes:
    """16 bits, which Pillow writes for gray only: by OpenCV, with the profile and EXIF put in as
    PNG's chunks.
    """
    pixels = picture.pixels
    if pixels.shape[2] == 2:  # OpenCV has no gray with alpha
        pixels = pixels[..., [0, 0, 0, 1]]
    if pixels.shape[2] > 1:
        pixels = cv2.cvtColor(
            pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        )
    _, data = cv2.imencode('.png', pixels)
    data = data.tobytes()
    header = len(PNG) + 25  # IHDR
    chunks = b''
    if picture.dpi:
        chunks += _chunk(
            b'pHYs', struct.pack('>IIB', *(round(value / 0.0254) for value in picture.dpi), 1)
        )  # a metre
    if picture.icc:
        chunks += _chunk(b'iCCP', b'ICC Profile\0\0' + zlib.compress(picture.icc))
    if picture.exif:
        chunks += _chunk(b'eXIf', picture.exif.removeprefix(b'Exif\0\0'))
    return data[:header] + chunks + data[header:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack('>I', len(content))
        + kind
        + content
        + struct.pack('>I', zlib.crc32(kind + content))
    )


def largest_change(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> int:
    """The largest difference of any channel, alpha included, where the mask (h, w) is 0; in the
    picture's own units.
    """
    changed = (before != after) & (mask == 0)[..., None]
    return int(np.abs(before[changed].astype(np.int64) - after[changed]).max(initial=0))


def verify(path: Path, before: Picture, intended: np.ndarray, mask: np.ndarray) -> int:
    """Read a written file back and prove it: everything outside the mask as in `before`, everything
    inside as intended.

    Returns:
        The largest change outside the mask, which is 0.

    Raises:
        ValueError: it is not so, saying what is different.
    """
    after = read_picture(path)
    pixels = after.pixels
    if (
        pixels.shape[2] == 4
        and intended.shape[2] == 2
        and (pixels[..., 0:1] == pixels[..., 1:3]).all()
    ):
        pixels = pixels[..., [0, 3]]  # 16-bit gray with alpha, which is stored as RGBA
    if pixels.shape != before.pixels.shape or pixels.dtype != before.pixels.dtype:
        raise ValueError(
            f'{path}: not verified: {pixels.shape} {pixels.dtype} was read back, not {before.pixels.shape} {before.pixels.dtype}'
        )
    change = largest_change(before.pixels, pixels, mask)
    if change:
        raise ValueError(
            f'{path}: not verified: pixels outside the mask differ from the input by up to {change}'
        )
    if not np.array_equal(pixels, intended):
        raise ValueError(f'{path}: not verified: the restored pixels are not what was written')
    if after.icc != before.icc:
        raise ValueError(f'{path}: not verified: the ICC profile differs from that of the input')
    if bool(after.exif) != bool(before.exif):
        raise ValueError(f'{path}: not verified: the EXIF block was lost')
    return change
