"""Picture files as their standards say them, for the corpus of files: kinds that Pillow and OpenCV
do not write.
"""

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from PIL import Image

PNG = b'\x89PNG\r\n\x1a\n'


def saved(pixels: np.ndarray | Image.Image, kind: str = 'PNG', **options) -> bytes:
    if isinstance(pixels, np.ndarray):
        pixels = Image.fromarray(
            pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
        )
    buffer = io.BytesIO()
    pixels.save(buffer, kind, **options)
    return buffer.getvalue()


def pillow_reads(data: bytes) -> np.ndarray:
    """(h, w, 3 or 1): the plain reading of an 8-bit file, for those whose pixels are not known
    beforehand.
    """
    with Image.open(io.BytesIO(data)) as image:
        orientation = image.getexif().get(0x0112)
        image.load()
        if image.format != 'TIFF' and orientation in range(2, 9):
            turn = (None, None, 0, 3, 1, 5, 4, 6, 2)[orientation]  # Image.Transpose, by orientation
            image = image.transpose(turn)
        return np.asarray(image.convert('RGB'))


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return (
        struct.pack('>I', len(content))
        + kind
        + content
        + struct.pack('>I', zlib.crc32(kind + content))
    )


def png(width: int, height: int, bits: int, colour: int, rows: bytes, before: bytes = b'') -> bytes:
    """A PNG file of raw rows, each with its filter byte; `before`: chunks between the header and
    the pixels.
    """
    header = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)
    return (
        PNG
        + chunk(b'IHDR', header)
        + before
        + chunk(b'IDAT', zlib.compress(rows))
        + chunk(b'IEND', b'')
    )


def with_chunk(data: bytes, kind: bytes, content: bytes) -> bytes:
    """A PNG file with a chunk more behind its header."""
    return data[:33] + chunk(kind, content) + data[33:]


def tiff(
    pixels: np.ndarray,
    photometric: int,
    order: str = '<',
    planar: bool = False,
    more: dict | None = None,
) -> bytes:
    """An uncompressed TIFF file of pixels (h, w, c) of any type, as the standard says it; more:
    {tag: number} on top.
    """
    height, width, channels = pixels.shape
    raw = (
        (pixels.transpose(2, 0, 1) if planar else pixels)
        .astype(pixels.dtype.newbyteorder(order))
        .tobytes()
    )
    bits, sample = pixels.dtype.itemsize * 8, {'u': 1, 'i': 2, 'f': 3}[pixels.dtype.kind]
    strips = channels if planar else 1
    tags: dict[int, tuple[str, Any]] = {
        256: ('I', [width]), 257: ('I', [height]), 258: ('H', [bits] * channels), 259: ('H', [1]), 262: ('H', [photometric]),
        273: ('I', None), 277: ('H', [channels]), 278: ('I', [height]), 279: ('I', [len(raw) // strips] * strips),
        284: ('H', [2 if planar else 1]), 339: ('H', [sample] * channels),
    }  # fmt: skip
    if channels == 4 and photometric == 2:
        tags[338] = ('H', [2])  # unassociated alpha
    tags |= {tag: ('H', [value]) for tag, value in (more or {}).items()}
    data_at = 8 + 2 + 12 * len(tags) + 4
    tags[273] = ('I', [data_at + i * (len(raw) // strips) for i in range(strips)])
    extra_at, extra, entries = data_at + len(raw), b'', b''
    for tag, (code, values) in sorted(tags.items()):
        packed = struct.pack(f'{order}{len(values)}{code}', *values)
        if len(packed) > 4:
            packed, extra = struct.pack(f'{order}I', extra_at + len(extra)), extra + packed
        entries += struct.pack(
            f'{order}HHI', tag, 3 if code == 'H' else 4, len(values)
        ) + packed.ljust(4, b'\0')
    mark = b'II*\0' if order == '<' else b'MM\0*'
    return mark + struct.pack(f'{order}IH', 8, len(tags)) + entries + b'\0\0\0\0' + raw + extra


def deep(pixels: np.ndarray) -> np.ndarray:
    """uint16 whose low bytes are not those of a stretched 8-bit picture."""
    return pixels.astype(np.uint16) * 256 + 93


def opencv(ending: str, pixels: np.ndarray) -> bytes:
    """(h, w, 1, 3 or 4) as OpenCV writes it."""
    codes = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    return cv2.imencode(
        ending, cv2.cvtColor(pixels, codes[pixels.shape[2]]) if pixels.shape[2] in codes else pixels
    )[1].tobytes()


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What a viewer shows of a picture stored with that orientation (TIFF 6.0, page 36)."""
    flipped = {2: (0, 1), 3: (1, 1), 4: (1, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}.get(
        orientation, (0, 0)
    )
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: -1 if flipped[0] else 1, :: -1 if flipped[1] else 1]
