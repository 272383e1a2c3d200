"""Find JPEG files of which coded pixels are missing, though the file has an end marker.

libjpeg makes up what is missing, and Pillow does not pass on its warning. So the image is decoded
once more, with other bytes behind each part of the coded pixels. The decoder reads those only if
something is missing, and then it sees other pixels.
"""

import re
from contextlib import suppress

from PIL import Image

from hmaca_arch.files.jpeg_markers import SOS, Segment, segments
from hmaca_arch.files.opening import UNLIMITED, load_image, open_image

# Where bits are missing, libjpeg takes zeros. These begin with a one.
MORE = bytes.fromhex('b66d db5a a53c c396 690f f05a') * 3
MORE_RESTARTS = MORE + b''.join(bytes([0xFF, marker]) + MORE for marker in range(0xD0, 0xD8))
RESTART = re.compile(rb'\xff+[\xd0-\xd7]')
MISSING = 'it is damaged: coded pixels are missing'
ROWS = 256  # that are compared at once


def check_scans(data: bytes, image: Image.Image) -> None:
    """Raise a ValueError if coded pixels of a JPEG file are missing.

    Args:
        data: the file.
        image: what Pillow reads of it, loaded.
    """
    if not _same_pixels(image, with_longer_scans(data)):
        raise ValueError(MISSING)


def with_longer_scans(data: bytes) -> bytes:
    """Return a JPEG file with more at the end of each part of its coded pixels.

    Raises:
        ValueError: a part is missing, as the restart markers count.
    """
    scans: list[Segment] = []
    # Where pixels were overwritten, what follows is built as no JPEG. There the decoder ends too.
    with suppress(ValueError):
        for one in segments(data):
            if one.marker == SOS:
                scans.append(one)
    parts, place = [], 0
    for one in scans:
        coded = one.start + 2 + int.from_bytes(data[one.start + 2 : one.start + 4], 'big')
        scan = data[coded : one.end].rstrip(b'\xff')  # which may stand before a marker
        parts += [data[place:coded], _longer(scan)]
        place = one.end
    return b''.join([*parts, data[place:]])


def _longer(scan: bytes) -> bytes:
    restarts = [found[0][-1] & 7 for found in RESTART.finditer(scan)]
    if restarts != [number % 8 for number in range(len(restarts))]:
        raise ValueError(MISSING)
    return RESTART.sub(lambda found: MORE + found[0], scan) + MORE_RESTARTS


def _same_pixels(image: Image.Image, data: bytes) -> bool:
    """Compare a loaded image with a JPEG file of the same size, some rows at a time."""
    width, height = image.size
    boxes = [(0, top, width, min(top + ROWS, height)) for top in range(0, height, ROWS)]
    try:
        with open_image(data, '', max_pixels=UNLIMITED) as other:
            load_image(other)
            return all(image.crop(box).tobytes() == other.crop(box).tobytes() for box in boxes)
    except MemoryError:
        raise
    except Exception:  # what Pillow raises for damaged files
        return False
