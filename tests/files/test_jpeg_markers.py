"""The segments of a JPEG file: files built by hand."""

import itertools
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hmaca_arch.files import rare_jpeg
from hmaca_arch.files.jpeg_markers import (
    Component,
    Frame,
    Segment,
    frame_of,
    is_rgb,
    markers,
    obstacle,
    obstacle_of_file,
    segments,
    with_markers,
    without_markers,
)
from hmaca_arch.files.rare_jpeg import rarity


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack('>H', 2 + len(content)) + content


def frame(*channels: tuple[int, int, int], marker: int = 0xC0, bits: int = 8) -> bytes:
    content = struct.pack('>BHHB', bits, 300, 500, len(channels))
    content += b''.join(bytes([n, across << 4 | down, 7]) for n, across, down in channels)
    return segment(marker, content)


def scan(*numbers: int, pixels: bytes = b'pixels') -> bytes:
    content = bytes([len(numbers), *(byte for n in numbers for byte in (n, 0x11)), 0, 63, 0])
    return segment(0xDA, content) + pixels


START, END, TABLE = b'\xff\xd8', b'\xff\xd9', segment(0xDB, b'table')
GRAY = START + TABLE + frame((1, 1, 1)) + scan(1) + END


def test_segments_up_to_the_end_of_the_image():
    found = list(segments(GRAY + b'behind'))
    assert [one.marker for one in found] == [0xDB, 0xC0, 0xDA, 0xD9]
    assert found[0] == Segment(0xDB, 2, 11) and found[0].content(GRAY) == b'table'
    assert found[-1] == Segment(0xD9, len(GRAY) - 2, len(GRAY))
    assert all(one.end == other.start for one, other in itertools.pairwise(found))
    filled = START + b'\xff\xff' + GRAY[2:]
    assert [one.start for one in segments(filled)][:2] == [4, 13], 'fill bytes'
    assert [one.marker for one in segments(GRAY[:-2])] == [0xDB, 0xC0, 0xDA], 'without an end'
    assert list(segments(START)) == []


@pytest.mark.parametrize('inside', [b'\xff\x00', b'\xff\xd0', b'\xff\xd7'])
def test_what_belongs_to_the_pixels_of_a_scan(inside):
    data = START + scan(1, pixels=b'a' + inside + b'b') + END
    assert [one.marker for one in segments(data)] == [0xDA, 0xD9]


@pytest.mark.parametrize('after', [0x01, 0xC4, 0xCF, 0xD8, 0xDA, 0xFE])
def test_what_ends_the_pixels_of_a_scan(after):
    data = START + scan(1) + segment(after, b'x') + END
    assert [one.marker for one in segments(data)][:2] == [0xDA, after]


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'it is no JPEG file'),
        (b'\xff\xd9', 'it is no JPEG file'),
        (START + b'x', 'byte 2 begins no JPEG marker'),
        (START + TABLE + b'\xfe', 'byte 11 begins no JPEG marker'),
        (START + TABLE[:-1], 'the JPEG marker at byte 2 is cut off'),
        (START + b'\xff\xdb\0\1', 'the JPEG marker at byte 2 is cut off'),
        (START + b'\xff\xdb\0', 'the JPEG marker at byte 2 is cut off'),
        (START + b'\xff', 'the JPEG marker at byte 2 is cut off'),
    ],
)
def test_what_is_built_otherwise(data, message):
    with pytest.raises(ValueError) as caught:
        list(segments(data))
    assert str(caught.value) == message
    assert next(segments(START + b'\xff\xdb\0\2' + END)) == Segment(0xDB, 2, 6), 'empty'


def test_the_header_of_the_image():
    data = START + TABLE + frame((3, 2, 1), (5, 1, 1), marker=0xC2, bits=12) + scan(3) + END
    channels = (Component(3, 2, 1), Component(5, 1, 1))
    assert frame_of(data) == Frame(0xC2, 12, 300, 500, channels)
    for marker in (0xC4, 0xC8, 0xCC, 0xBF, 0xD0):
        with pytest.raises(ValueError, match='the JPEG file has no image header'):
            frame_of(START + frame((1, 1, 1), marker=marker) + END)
    assert frame_of(START + segment(0xC4, b'table') + GRAY[2:]).bits == 8
    largest = segment(0xC0, b'\xff\xff\xff\xff\xfe\1\xff\x42\0')
    expected = Frame(0xC0, 255, 65535, 65534, (Component(255, 4, 2),))
    assert frame_of(START + largest + END) == expected
    cut = segment(0xC0, frame((1, 1, 1))[4:-1])
    with pytest.raises(ValueError, match='the JPEG file has no image header'):
        frame_of(START + cut + END)


YCC = ((1, 2, 2), (2, 1, 1), (3, 1, 1))


@pytest.mark.parametrize(
    ('channels', 'marker', 'bits', 'why'),
    [
        (YCC, 0xC0, 8, None),
        (YCC, 0xC1, 8, None),
        (YCC, 0xC2, 8, None),
        (((1, 1, 1),), 0xC0, 8, None),
        (((1, 2, 3),), 0xC0, 8, None),
        (((1, 4, 2), (2, 2, 1), (3, 1, 1)), 0xC0, 8, None),
        (YCC, 0xC3, 8, 'it is of a rare kind of JPEG'),
        (YCC, 0xC9, 12, 'it is coded arithmetically'),
        (YCC, 0xCF, 8, 'it is coded arithmetically'),
        (YCC, 0xC3, 12, 'it has 12 bits'),
        (YCC, 0xC0, 7, 'it has 7 bits'),
        ((*YCC, (4, 2, 2)), 0xC0, 8, 'it is CMYK'),
        (YCC[:2], 0xC0, 8, 'it has an unusual number of channels'),
        ((*YCC, (4, 1, 1), (5, 1, 1)), 0xC0, 8, 'it has an unusual number of channels'),
        (((1, 0, 1), *YCC[1:]), 0xC0, 8, 'it has an unusual number of channels'),
        (((1, 2, 2), (2, 1, 0), (3, 1, 1)), 0xC0, 8, 'it has an unusual number of channels'),
        (((1, 3, 1), (2, 2, 1), (3, 1, 1)), 0xC0, 8, 'its channels are subsampled in an unus'),
        (((1, 1, 3), (2, 1, 1), (3, 1, 2)), 0xC0, 8, 'its channels are subsampled in an unus'),
    ],
)
def test_what_cannot_stay_a_jpeg(tmp_path, channels, marker, bits, why):
    data = START + frame(*channels, marker=marker, bits=bits) + scan(1) + END
    found = obstacle(frame_of(data))
    assert found == why or found.startswith(why)
    path = tmp_path / 'a.jpg'
    path.write_bytes(data)
    assert obstacle_of_file(path) == found


def test_files_without_an_obstacle_of_their_own(tmp_path):
    path = tmp_path / 'a.jpg'
    for data, why in (
        (b'', None),
        (b'text', None),
        (START, None),
        (START + END, 'it is damaged, or built in an unusual way'),
        (GRAY[:-4] + b'\xff\xdb\xff', 'it is damaged, or built in an unusual way'),
    ):
        path.write_bytes(data)
        assert obstacle_of_file(path) == why
    assert obstacle_of_file(Path(tmp_path, 'none')) is obstacle_of_file(tmp_path) is None


def said(*contents: bytes) -> list[bytes]:
    return [segment(marker, b'x' + text) for marker, text in zip((0xE0, 0xEF, 0xFE), contents)]


def test_what_is_said_is_kept_apart_from_the_image():
    parts = said(b'one', b'two', b'three')
    data = START + parts[0] + TABLE + parts[1] + frame((1, 1, 1)) + parts[2] + scan(1) + END
    assert markers(data + b'behind') == parts
    assert without_markers(data + b'behind') == GRAY
    others = segment(0xDF, b'no') + segment(0xF0, b'no')
    assert markers(START + others + GRAY[2:]) == []


def test_markers_and_numbers_and_what_follows_come_from_the_source():
    parts = said(b'one', b'two', b'three')
    source = START + b''.join(parts) + frame((7, 1, 1), (8, 1, 1), (9, 1, 1)) + scan(7, 8, 9) + END
    other = said(b'of the encoder')[0] + TABLE + frame((1, 1, 1), (2, 1, 1), (3, 1, 1))
    written = START + other + scan(1) + scan(2, 3) + END
    expected = START + b''.join(parts) + TABLE + frame((7, 1, 1), (8, 1, 1), (9, 1, 1))
    expected += scan(7) + scan(8, 9) + END
    assert with_markers(written, source) == expected
    assert with_markers(written, source + b'more') == expected + b'more'
    assert with_markers(written, source[:-2]) == expected, 'a source without an end'


@pytest.mark.parametrize(
    ('marks', 'numbers', 'rgb'),
    [
        ([], b'RGB', True),
        ([], b'RGb', False),
        ([], b'\x01\x02\x03', False),
        ([(0xE0, b'JFIF\0\1\2')], b'RGB', False),
        ([(0xE1, b'JFIF\0\1\2')], b'RGB', True),
        ([(0xE0, b'JFXX\0')], b'RGB', True),
        ([(0xEE, b'Adobe\0\x64\0\0\0\0\0')], b'\x01\x02\x03', True),
        ([(0xEE, b'Adobe\0\x64\0\0\0\0\1')], b'RGB', False),
        ([(0xEE, b'Adobe\0\x64\0\0\0\0')], b'\x01\x02\x03', False),
        ([(0xED, b'Adobe\0\x64\0\0\0\0\1')], b'RGB', True),
        ([(0xEE, b'adobe\0\x64\0\0\0\0\1')], b'RGB', True),
        ([(0xEE, b'Adobe\0\x64\0\0\0\0\0'), (0xE0, b'JFIF\0')], b'RGB', False),
        ([(0xEE, b'Adobe\0\x64\0\0\0\0\1'), (0xEE, b'Adobe\0\x64\0\0\0\0\0')], b'RGB', False),
    ],
)
def test_red_green_and_blue_by_marker_or_number(marks, numbers, rgb):
    data = START + b''.join(segment(*mark) for mark in marks)
    data += frame(*((number, 1, 1) for number in numbers)) + scan(*numbers) + END
    assert is_rgb(data) is rgb


@pytest.mark.parametrize(
    ('marker', 'bits', 'kind'),
    [
        (0xC0, 8, None),
        (0xC1, 12, 'a JPEG of 12 bits'),
        (0xC9, 12, 'a JPEG of 12 bits'),
        (0xC9, 8, 'a JPEG that is coded arithmetically'),
        (0xCE, 8, 'a JPEG that is coded arithmetically'),
        (0xC7, 8, None),
    ],
)
def test_kinds_that_pillow_does_not_decode(marker, bits, kind):
    data = START + frame((1, 1, 1), marker=marker, bits=bits) + scan(1) + END
    assert rarity(data) == kind
    assert rarity(data[:4]) is None and rarity(b'\x89PNG' + data) is None


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('bits', [8, 12])
def test_pixels_of_a_rare_jpeg_by_a_stand_in_of_its_decoder(monkeypatch, channels, bits):
    most = 2**bits - 1
    pixels = np.linspace(0, most, 300 * 500 * channels).astype(np.uint16 if bits > 8 else np.uint8)
    shape = (300, 500) if channels == 1 else (300, 500, 3)
    decoder = SimpleNamespace(jpeg8_decode=lambda data: pixels.reshape(shape))
    monkeypatch.setitem(sys.modules, 'imagecodecs', decoder)
    monkeypatch.setattr(rare_jpeg.importlib.util, 'find_spec', lambda name: True)
    numbers = (1, 2, 3)[:channels]
    image = frame(*((n, 1, 1) for n in numbers), marker=0xC9, bits=bits) + scan(*numbers)
    data = START + segment(0xFE, b'a comment') + image + END
    found, stand_in, notes = rare_jpeg.decode_rare_jpeg(data, 'a', 300 * 500)
    assert found.shape == (300, 500, channels) and stand_in.size == (8, 8)
    assert stand_in.info['comment'] == b'a comment' and len(stand_in.getbands()) == channels
    if bits == 8:
        assert found.dtype == np.uint8 and not notes
        np.testing.assert_array_equal(found.ravel(), pixels)
    else:
        assert found.dtype == np.uint16 and notes == ['a JPEG of 12 bits, written with 16']
        np.testing.assert_array_equal(found.ravel(), np.rint(pixels / 4095 * 65535))
    with pytest.raises(ValueError, match='500x300 pixels are more than 149999'):
        rare_jpeg.decode_rare_jpeg(data, 'a', 300 * 500 - 1)
    with pytest.raises(ValueError, match='the file is cut short'):
        rare_jpeg.decode_rare_jpeg(data[:-2], 'a', 300 * 500)
    monkeypatch.setattr(rare_jpeg.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match=' needs imagecodecs: '):
        rare_jpeg.decode_rare_jpeg(data, 'a', 300 * 500)
    cmyk = START + frame(*((n, 1, 1) for n in range(4)), marker=0xC9) + scan(1) + END
    with pytest.raises(ValueError, match=r'arithmetically, with 4 channels \(CMYK has 4\)'):
        rare_jpeg.decode_rare_jpeg(cmyk, 'a', 300 * 500)


IMAGES = [(1, 0), (6, 500), (5, 2**31)]  # bytes and place, counted from the list


def listed(order: str, images=IMAGES, tag: int = 0xB002, size: int = 48) -> bytes:
    """Return the content of a camera's list of images, which has two other tags."""
    entries = [(0xB000, 7, 4, 0x30313030), (0xB001, 4, 1, 3), (tag, 7, size, 54)]
    data = {'<': b'II*\0', '>': b'MM\0*'}[order] + struct.pack(order + 'I', 12) + b'gap.'
    data += struct.pack(order + 'H', 3)
    data += b''.join(struct.pack(order + 'HHII', *entry) for entry in entries) + bytes(4)
    return data + b''.join(struct.pack(order + 'IIII', 7, *one, 9) for one in images)


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize(
    'more', [{}, {'tag': 0xB003}, {'size': 49}, {'size': 2**31}, {'size': 32}, {'size': 16}]
)
def test_places_of_further_images_move_with_the_end_of_the_first(order, more):
    """A list of another tag, or that is said to end behind its segment, stays as it is."""
    behind, numbered = b'second and third', frame((1, 1, 1))
    said = segment(0xE1, b'others'), segment(0xE2, b'MPF\0' + listed(order, **more))
    source = START + b''.join(said) + numbered + scan(1) + END + behind
    written = START + segment(0xE0, b'of the encoder') + numbered + scan(1, pixels=bytes(99)) + END
    first = START + b''.join(said) + numbered + scan(1, pixels=bytes(99)) + END
    images, longer = IMAGES, 99 - len(b'pixels')
    count = more.get('size', 48) // 16 if 'tag' not in more else 0
    if 0 < count <= 3 and more != {'size': 49}:
        moved = [(size, place + longer) for size, place in IMAGES[1:count]]
        images = [(len(first), 0), *moved, *IMAGES[count:]]
    expected = first.replace(listed(order, **more), listed(order, images, **more))
    assert with_markers(written, source) == expected + behind
    other = source.replace(b'MPF\0', b'MPG\0')
    assert with_markers(written, other) == first.replace(b'MPF\0', b'MPG\0') + behind
