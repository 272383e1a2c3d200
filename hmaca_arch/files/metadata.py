"""What image files say besides their pixels: orientation, EXIF, XMP, profile, resolution."""

import contextlib
import re
import struct
from collections.abc import Mapping

from PIL import Image

ORIENTATION = 0x0112
EXIF, GPS = 0x8769, 0x8825
EXIF_MARK = b'Exif\0\0'  # before a block in JPEG files
BYTE_ORDERS = {b'II*\0': '<', b'MM\0*': '>'}  # by a block's first bytes, as struct writes them
# Of EXIF's types these are whole numbers; orientation should be 3, and some write others.
WHOLE_NUMBERS = {1: 'B', 3: 'H', 4: 'I', 6: 'b', 7: 'B', 8: 'h', 9: 'i'}
# Description, make, model, resolution (x, y, unit), software, date, artist, copyright
TIFF_DESCRIPTION = (0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x8298)
IPTC = 0x83BB
PRIVATE = 32768  # the first tag of TIFF that is a maker's own
# Of these, what is kept or named elsewhere: IPTC, Photoshop's, ICC, EXIF, GPS, copyright.
KNOWN = (IPTC, 0x8649, 0x8773, EXIF, GPS, 0x8298)
MOST_TAGS = 5  # that are named
XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>)\s*)[2-8]')


def take_xmp(image: Image.Image) -> bytes | None:
    """Return the XMP packet of an image that was just opened, and hide it from Pillow.

    Pillow takes XMP's orientation where EXIF has none. Other readers do not, and then an image
    would lie in another way here than there.
    """
    xmp = image.info.pop('xmp', None)
    text = image.info.pop('XML:com.adobe.xmp', None)
    if xmp is None and isinstance(text, str):
        xmp = text.encode()
    return xmp or None


def orientation_of(image: Image.Image) -> int:
    """Read EXIF's orientation, from 1 to 8; 1 where it is none of these."""
    with contextlib.suppress(Exception):  # Pillow raises almost anything, the first time
        image.getexif()
    exif = image.getexif()
    if isinstance(exif.get(ORIENTATION), bytes):
        exif[ORIENTATION] = whole_orientation(exif[ORIENTATION])  # so that Pillow turns TIFF
    return whole_orientation(exif.get(ORIENTATION))


def whole_orientation(found: object) -> int:
    """Return an orientation that EXIF or TIFF stores as any type; 1 where it is none."""
    number = found[0] if isinstance(found, bytes) and len(found) == 1 else found
    return number if isinstance(number, int) and 1 <= number <= 8 else 1


def dpi_of(image: Image.Image) -> tuple[float, float] | None:
    """Read the resolution, where the file has one that can be.

    Pillow makes one up for JPEG and TIFF files without.
    """
    stored = 0x011A in image.getexif() or bool(image.info.get('jfif_unit'))
    if image.format in ('JPEG', 'MPO', 'TIFF') and not stored:
        return None
    dpi = tuple(map(float, image.info.get('dpi') or ()))
    return (dpi[0], dpi[1]) if len(dpi) == 2 and all(0 < value < 1e6 for value in dpi) else None


def exif_of(image: Image.Image) -> bytes | None:
    """Return the file's EXIF block.

    A TIFF file is one itself: of it, what describes the image and not how this file stores it.
    """
    if image.format != 'TIFF':
        raw = image.info.get('Raw profile type exif')  # as ImageMagick writes PNG
        if raw and not image.info.get('exif'):
            return bytes.fromhex(''.join(str(raw).split('\n')[3:]))
        return image.info.get('exif') or None
    return described_exif(image.getexif())


def described_exif(exif: Image.Exif) -> bytes | None:
    """Return a block of what describes the image, of a TIFF's directory or another block."""
    kept = Image.Exif()
    kept.update(_described(exif))
    return kept.tobytes() if kept else None


def texts_of(image: Image.Image) -> list[str]:
    """Name the texts of a file that are kept in no other file."""
    names = []
    photoshop = image.info.get('photoshop') or {}
    tags = getattr(image, 'tag_v2', {})
    if (isinstance(photoshop, dict) and 0x0404 in photoshop) or IPTC in tags:
        names.append('IPTC')
    if image.format in ('JPEG', 'MPO', 'GIF') and image.info.get('comment'):
        names.append('comment')
    return names + private_tags(tags)


def private_tags(tags: Mapping[int, object]) -> list[str]:
    """Name the private tags of a TIFF, which no other file keeps, in at most one item."""
    found = sorted(tag for tag in tags if tag >= PRIVATE and tag not in KNOWN)
    if not found:
        return []
    more = ', ...' if len(found) > MOST_TAGS else ''
    word = 'tag' if len(found) == 1 else 'tags'
    return [f'TIFF {word} {", ".join(map(str, found[:MOST_TAGS]))}{more}']


def upright_exif(exif: bytes | None) -> bytes | None:
    """Return an EXIF block with the orientation 1 (upright), and not another byte changed.

    A block without EXIF's first bytes is damaged. It is left out: no reader takes it for one, and
    Pillow does not open a PNG that holds it.
    """
    start = 6 if exif and exif.startswith(EXIF_MARK) else 0
    if not exif or exif[start : start + 4] not in BYTE_ORDERS:
        return None
    order = BYTE_ORDERS[exif[start : start + 4]]
    changed = bytearray(exif)
    try:
        (first,) = struct.unpack_from(order + 'I', exif, start + 4)
        (count,) = struct.unpack_from(order + 'H', exif, start + first)
        for entry in range(start + first + 2, start + first + 2 + 12 * count, 12):
            tag, kind, _ = struct.unpack_from(order + 'HHI', exif, entry)
            if tag == ORIENTATION and kind in WHOLE_NUMBERS:
                struct.pack_into(order + WHOLE_NUMBERS[kind], changed, entry + 8, 1)
    except struct.error:
        return None  # left out, rather than turning the image twice
    return bytes(changed)


def upright_xmp(xmp: bytes | None) -> bytes | None:
    """Return an XMP packet that says of an image that it is upright; some readers would turn it."""
    return XMP_ORIENTATION.sub(rb'\g<1>1', xmp) if xmp else xmp


def exif_tags(exif: bytes | None) -> dict[int, object]:
    """Return what a TIFF file takes over of an EXIF block: descriptions, and its directories."""
    block = Image.Exif()
    if exif:
        block.load(exif)
    return _described(block)


def _described(exif: Image.Exif) -> dict[int, object]:
    tags: dict[int, object] = {tag: exif[tag] for tag in TIFF_DESCRIPTION if tag in exif}
    directories = {directory: dict(exif.get_ifd(directory)) for directory in (EXIF, GPS)}
    return tags | {directory: found for directory, found in directories.items() if found}
