"""The parts of a JPEG file: which kind it is, its markers, and what follows its image.

A file is a list of segments. `APPn` and `COM` hold what is said about the image (EXIF with the
thumbnail, ICC, XMP, comments); the others are needed to decode it. Cameras put more after the end:
previews, a gain map, a short film.
"""

import mmap
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

EOI, SOS, COM, DHT, DQT = 0xD9, 0xDA, 0xFE, 0xC4, 0xDB
APP = range(0xE0, 0xF0)
JFIF, MORE_IMAGES, ADOBE = (0xE0, b'JFIF\0'), (0xE2, b'MPF\0'), (0xEE, b'Adobe')
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # these three are tables, and reserved
BASELINE, EXTENDED, PROGRESSIVE = 0xC0, 0xC1, 0xC2
ARITHMETIC = range(0xC9, 0xD0)
# What ends the coded pixels of a scan. Stuffed zeros and restart markers belong to them.
AFTER_SCAN = re.compile(rb'\xff[\x01-\xcf\xd8-\xfe]')
ENTRIES_TAG, ENTRY = 0xB002, 16  # the list of images in MORE_IMAGES, and its entries' size

Buffer = bytes | mmap.mmap


class Segment(NamedTuple):
    """A marker with its content, `data[start:end]`; of SOS the coded pixels as well."""

    marker: int
    start: int
    end: int

    def content(self, data: Buffer) -> bytes:
        """Return what follows the marker and its length."""
        return bytes(data[self.start + 4 : self.end])


class Component(NamedTuple):
    """A channel: its number in the file, and its samples across and down in each unit."""

    number: int
    across: int
    down: int


class Frame(NamedTuple):
    """The header of the image."""

    marker: int
    bits: int
    height: int
    width: int
    components: tuple[Component, ...]


def segments(data: Buffer) -> Iterator[Segment]:
    """Walk through a JPEG file from its first byte to the end of its first image.

    The last segment is EOI, unless the file ends without.

    Raises:
        ValueError: it is no JPEG file, or not built as one.
    """
    if data[:2] != b'\xff\xd8':
        raise ValueError('it is no JPEG file')
    place, size = 2, len(data)
    while place < size:
        if data[place] != 0xFF:
            raise ValueError(f'byte {place} begins no JPEG marker')
        while data[place + 1 : place + 2] == b'\xff':  # fill bytes
            place += 1
        marker = int.from_bytes(data[place + 1 : place + 2], 'big')
        if marker == EOI:
            yield Segment(EOI, place, place + 2)
            return
        length = int.from_bytes(data[place + 2 : place + 4], 'big')
        end = place + 2 + length
        if length < 2 or end > size:
            raise ValueError(f'the JPEG marker at byte {place} is cut off')
        if marker == SOS:
            found = AFTER_SCAN.search(data, end)
            end = found.start() if found else size
        yield Segment(marker, place, end)
        place = end


def frame_of(data: Buffer) -> Frame:
    """Read the header of the image.

    Raises:
        ValueError: there is none.
    """
    for segment in segments(data):
        if segment.marker in FRAMES:
            content = segment.content(data)
            try:
                bits, height, width, count = struct.unpack_from('>BHHB', content)
                found = [struct.unpack_from('BBB', content, 6 + 3 * i) for i in range(count)]
            except struct.error:
                break
            components = tuple(Component(n, both >> 4, both & 15) for n, both, _ in found)
            return Frame(segment.marker, bits, height, width, components)
    raise ValueError('the JPEG file has no image header')


def obstacle(frame: Frame) -> str | None:
    """Say why an image cannot stay a JPEG whose other blocks are the same; None if it can."""
    if frame.marker in ARITHMETIC:
        return 'it is coded arithmetically'
    if frame.bits != 8:
        return f'it has {frame.bits} bits'
    if frame.marker not in (BASELINE, EXTENDED, PROGRESSIVE):
        return 'it is of a rare kind of JPEG'
    if len(frame.components) == 4:
        return 'it is CMYK'
    sides = [(one.across, one.down) for one in frame.components]
    most = [max(side) for side in zip(*sides)]
    if len(sides) not in (1, 3) or 0 in {value for side in sides for value in side}:
        return 'it has an unusual number of channels'
    if any(whole % part for side in sides for whole, part in zip(most, side)):
        return 'its channels are subsampled in an unusual way'
    return None


def obstacle_of_file(path: Path) -> str | None:
    """Say why a file cannot stay a JPEG; None if it can, is of another format or unreadable."""
    try:
        with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _obstacle_of(data) if data[:2] == b'\xff\xd8' else None
    except (OSError, ValueError):  # ValueError: it is empty
        return None


def _obstacle_of(data: Buffer) -> str | None:
    try:
        return obstacle(frame_of(data)) if list(segments(data)) else None
    except ValueError:
        return 'it is damaged, or built in an unusual way'


def markers(data: bytes) -> list[bytes]:
    """Return the segments that say something about the image, each as it is in the file."""
    return [data[one.start : one.end] for one in segments(data) if _is_said(one)]


def without_markers(data: bytes) -> bytes:
    """Return the first image of a file alone, without what is said about it."""
    kept = [data[one.start : one.end] for one in segments(data) if not _is_said(one)]
    return b''.join([b'\xff\xd8', *kept])


def is_rgb(data: bytes) -> bool:
    """Tell whether the channels are red, green and blue instead of brightness and colour.

    As libjpeg does: JFIF files never are, and Adobe's marker says it.
    """
    found = [(one.marker, one.content(data)) for one in segments(data) if one.marker in APP]
    if any(marker == JFIF[0] and content.startswith(JFIF[1]) for marker, content in found):
        return False
    for marker, content in found:
        if marker == ADOBE[0] and content.startswith(ADOBE[1]) and len(content) >= 12:
            return content[11] == 0
    return bytes(one.number for one in frame_of(data).components) == b'RGB'


def with_markers(written: bytes, source: bytes) -> bytes:
    """Return a written image with all that the source says and has besides.

    Args:
        written: a JPEG file of the same channels.
        source: where markers, the channels' numbers and what follows the image are taken from.
    """
    numbers = {
        new.number: old.number
        for new, old in zip(frame_of(written).components, frame_of(source).components)
    }
    image = b''.join(
        _renumbered(written[one.start : one.end], one.marker, numbers)
        for one in segments(written)
        if not _is_said(one)
    )
    last = list(segments(source))[-1]
    more = source[last.end :] if last.marker == EOI else b''
    result = b''.join([b'\xff\xd8', *markers(source), image])
    return _with_moved_images(result, source, last.end) + more if more else result


def joined(source: bytes, grays: Mapping[int, bytes]) -> bytes:
    """Return an image whose channels come from files of one channel each.

    Args:
        source: an image of these channels: its header and tables are taken.
        grays: the baseline files, by the number of the channel.
    """
    parts = [b'\xff\xd8']
    for one in segments(source):
        if one.marker == DQT:
            parts.append(source[one.start : one.end])
        if one.marker in FRAMES:  # as baseline, or as what has more tables
            kind = BASELINE if one.marker == BASELINE else EXTENDED
            parts.append(bytes([0xFF, kind]) + source[one.start + 2 : one.end])
    for number, component in enumerate(frame_of(source).components):
        gray = grays[number]
        (old,) = frame_of(gray).components
        parts += [
            _renumbered(gray[one.start : one.end], one.marker, {old.number: component.number})
            for one in segments(gray)
            if one.marker in (DHT, SOS)
        ]
    return b''.join([*parts, b'\xff\xd9'])


def _is_said(segment: Segment) -> bool:
    return segment.marker in APP or segment.marker == COM


def _renumbered(segment: bytes, marker: int, numbers: dict[int, int]) -> bytes:
    """Give channels the numbers of another file, in the headers of the image and of its scans."""
    if marker not in (*FRAMES, SOS):
        return segment
    changed, (start, step) = bytearray(segment), (5, 2) if marker == SOS else (10, 3)
    for place in range(start, start + step * segment[start - 1], step):
        changed[place] = numbers[segment[place]]
    return bytes(changed)


def _with_moved_images(result: bytes, source: bytes, source_end: int) -> bytes:
    """Correct where a camera's list says that the images after the first one are.

    A list that is damaged stays as it is.
    """
    places = [_list_of_images(data) for data in (source, result)]
    if None in places:
        return result
    (old_base, _), (base, end) = places  # type: ignore[misc]
    changed = bytearray(result)
    try:
        order = '>' if result[base : base + 2] == b'MM' else '<'
        (first,) = struct.unpack_from(order + 'I', result, base + 4)
        (count,) = struct.unpack_from(order + 'H', result, base + first)
        for entry in range(base + first + 2, base + first + 2 + 12 * count, 12):
            tag, _, size, start = struct.unpack_from(order + 'HHII', result, entry)
            if tag != ENTRIES_TAG or base + start + size > end:
                continue
            struct.pack_into(order + 'I', changed, base + start + 4, len(result))
            for place in range(base + start + ENTRY, base + start + size, ENTRY):
                (offset,) = struct.unpack_from(order + 'I', result, place + 8)
                moved = old_base + offset - source_end + len(result) - base
                struct.pack_into(order + 'I', changed, place + 8, moved)
    except struct.error:
        return result
    return bytes(changed)


def _list_of_images(data: bytes) -> tuple[int, int] | None:
    """Return where the content of a camera's list of images begins and ends."""
    marker, name = MORE_IMAGES
    for one in segments(data):
        if one.marker == marker and one.content(data).startswith(name):
            return one.start + 4 + len(name), one.end
    return None
