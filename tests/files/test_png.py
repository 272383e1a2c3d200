"""PNG chunk by chunk, and its filters: hand values, and a plain reading of the standard."""

import io
import struct
import zlib

import numpy as np
import pytest
from picture_writers import chunk, png, saved, with_chunk

from hmaca_arch.files import png as writer
from hmaca_arch.files.images import can_read_png
from hmaca_arch.files.png import (
    Chunk,
    check_png,
    chunks,
    chunks_of_metadata,
    kept_chunks,
    only_pixels,
    with_alpha_of,
    write_png,
    xmp_of,
)

RAW = bytes([0, 7, 8, 0, 9, 10])
PLAIN = png(2, 2, 8, 0, RAW)
HARMLESS = (b'tEXt', b'zTXt', b'iTXt', b'tIME', b'pHYs', b'bKGD', b'hIST', b'sPLT')
COLOURS = (b'gAMA', b'cHRM', b'sRGB', b'cICP', b'mDCV', b'cLLI', b'iCCP', b'eXIf')
NEEDED = (b'tRNS', b'acTL', b'fcTL', b'fdAT', b'PLTE')


def damaged(kind: bytes) -> bytes:
    return with_chunk(PLAIN, kind, b'content').replace(b'content', b'CONTENT')


@pytest.mark.parametrize('lenient', [False, True])
def test_a_damaged_chunk_is_left_out_where_no_pixel_depends_on_it(lenient):
    assert check_png(PLAIN, lenient) == (PLAIN, [])
    for kind in HARMLESS + COLOURS:
        if lenient or kind in HARMLESS:
            note = f'its {kind.decode()} chunk is damaged and left out'
            assert check_png(damaged(kind), lenient) == (PLAIN, [note])
        else:
            with pytest.raises(OSError, match='a checksum does not match, the file is damaged'):
                check_png(damaged(kind), lenient)
    for kind in NEEDED:
        with pytest.raises(OSError, match='a checksum does not match'):
            check_png(damaged(kind), lenient)
    assert check_png(damaged(b't\xe4x\x07'), True)[1] == [
        'its t\u00e4x\\x07 chunk is damaged and left out'
    ]
    two = with_chunk(damaged(b'tEXt'), b'tIME', b'sound')
    assert check_png(two, lenient) == (
        with_chunk(PLAIN, b'tIME', b'sound'),
        ['its tEXt chunk is damaged and left out'],
    )


def test_so_many_chunks_and_no_more(monkeypatch):
    monkeypatch.setattr(writer, 'MOST_CHUNKS', 5)
    four, five = (with_chunks(PLAIN, count) for count in (3, 4))
    assert check_png(four, True) == (four, [])
    with pytest.raises(ValueError, match='it has more than 5 chunks besides its pixels'):
        check_png(five, True)
    split = PLAIN[:-12] + 9 * chunk(b'IDAT', b'') + PLAIN[-12:]
    assert check_png(split, True) == (split, [])


def with_chunks(data: bytes, count: int) -> bytes:
    for _ in range(count):
        data = with_chunk(data, b'tIME', b'')
    return data


def test_what_is_cut_short_at_any_byte():
    for length in range(8, len(PLAIN)):
        with pytest.raises(OSError, match='the file is cut short'):
            check_png(PLAIN[:length], True)
    data, notes = check_png(PLAIN + b'behind', True)
    assert data == PLAIN + b'behind' and not notes


def test_what_pixels_depend_on_and_what_is_kept():
    data = PLAIN
    for kind in HARMLESS + COLOURS + (b'tRNS', b'prVt'):
        data = with_chunk(data, kind, b'x')
    xmp = writer.XMP + b'\0\0\0\0packet'
    data = with_chunk(data, b'iTXt', xmp)
    assert {one.kind for one in chunks(data)} == {
        *HARMLESS, *COLOURS, b'tRNS', b'prVt', b'IHDR', b'IEND',
    }  # fmt: skip
    assert only_pixels(data) == with_chunk(PLAIN, b'tRNS', b'x')
    kept = kept_chunks(data)
    expected = {*COLOURS[:6], b'tEXt', b'zTXt', b'iTXt', b'tIME'}
    assert {one.kind for one in kept} == expected and len(kept) == len(expected)
    assert Chunk(b'tRNS', b'x').packed() == chunk(b'tRNS', b'x')
    assert [one.kind for one in chunks(PLAIN + b'more behind')] == [b'IHDR', b'IEND']


@pytest.mark.parametrize('compressed', [0, 1])
def test_xmp_in_both_ways_to_store_it(compressed):
    text = zlib.compress(b'pack\0et') if compressed else b'pack\0et'
    content = writer.XMP + bytes([compressed, 0]) + b'en\0translated\0' + text
    other = with_chunk(PLAIN, b'iTXt', b'other\0\0\0\0\0packet')
    assert xmp_of(with_chunk(other, b'iTXt', content)) == b'pack\0et'
    assert xmp_of(other) is None and xmp_of(with_chunk(PLAIN, b'tEXt', content)) is None


def test_chunks_of_metadata_by_hand():
    assert chunks_of_metadata(None, None, None, None) == []
    found = chunks_of_metadata(b'icc', b'Exif\0\0block', b'xmp', (300, 72.009))
    assert found == [
        Chunk(b'pHYs', struct.pack('>IIB', 11811, 2835, 1)),
        Chunk(b'iCCP', b'ICC Profile\0\0' + zlib.compress(b'icc')),
        Chunk(b'eXIf', b'block'),
        Chunk(b'iTXt', b'XML:com.adobe.xmp\0\0\0\0\0xmp'),
    ]


def test_one_colour_is_transparent_by_the_bits_that_pixels_have():
    pixels = np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8)
    found = with_alpha_of(pixels, np.array([257, 2, 3]))
    assert found.tolist() == [[[1, 2, 3, 0], [1, 2, 4, 255]]] and found.dtype == np.uint8
    deep = with_alpha_of(np.array([[[7], [263]]], np.uint16), np.array([263]))
    assert deep.tolist() == [[[7, 65535], [263, 0]]]


def unfiltered(data: bytes, step: int, size: int) -> tuple[list[int], np.ndarray]:
    """Undo the filters as the standard says: their numbers, and the rows of bytes."""
    numbers, rows, above = [], [], [0] * size
    for start in range(0, len(data), size + 1):
        kind, row = data[start], list(data[start + 1 : start + 1 + size])
        for at in range(size):
            a = row[at - step] if at >= step else 0
            b, c = above[at], above[at - step] if at >= step else 0
            p = a + b - c
            nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            row[at] = (row[at] + (0, a, b, (a + b) // 2, nearest)[kind]) % 256
        numbers.append(kind)
        rows.append(row)
        above = row
    return numbers, np.array(rows, np.uint8)


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
@pytest.mark.parametrize(('channels', 'colour'), [(1, 0), (2, 4), (3, 2), (4, 6)])
@pytest.mark.parametrize('strip', [1, 100, 1 << 20])
def test_what_is_written_is_read_by_the_standard(kind, channels, colour, strip, monkeypatch):
    monkeypatch.setattr(writer, 'STRIP', strip)
    rng = np.random.default_rng(channels)
    pixels = rng.integers(0, np.iinfo(kind).max + 1, (9, 7, channels)).astype(kind)
    pixels[2:6] = (np.arange(7)[:, None] * 9 + np.arange(4)[:, None, None] * 20).astype(kind)
    file = io.BytesIO()
    write_png(file, pixels, [Chunk(b'tEXt', b'a\0b')])
    data = file.getvalue()
    assert check_png(data, False) == (data, [])
    header = struct.pack('>IIBBBBB', 7, 9, 8 * pixels.itemsize, colour, 0, 0, 0)
    assert list(chunks(data)) == [(b'IHDR', header), (b'tEXt', b'a\0b'), (b'IEND', b'')]
    packed = b''.join(data[a:b] for kind, a, b in writer.places(data) if kind == b'IDAT')
    size = 7 * channels * pixels.itemsize
    numbers, rows = unfiltered(zlib.decompress(packed), channels * pixels.itemsize, size)
    found = rows.view('>u2' if kind is np.uint16 else np.uint8).reshape(9, 7, channels)
    np.testing.assert_array_equal(found, pixels)
    assert len(set(numbers)) > 1


@pytest.mark.parametrize('step', [1, 3])
def test_each_row_takes_the_first_filter_that_leaves_least(step):
    """Compare with all five as the standard has them, on rows of every kind."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (40, 24)) * (rng.random((40, 1)) < 0.3)
    rows[8:] += np.arange(24) * rng.integers(0, 4, (32, 1)) + rng.integers(0, 3, (32, 24))
    rows[12:30] = np.cumsum(rows[12:30] // 3, axis=0)
    raw = np.concatenate([rows[:1], rows]).astype(np.uint8)
    found = writer._filtered(raw, step)
    assert found.dtype == np.uint8 and len(set(found[:, 0].tolist())) >= 4
    for above, row, filtered in zip(raw.astype(int), raw[1:].astype(int), found):
        ways = []
        for kind in range(5):
            values = []
            for at in range(24):
                a = row[at - step] if at >= step else 0
                b, c = above[at], above[at - step] if at >= step else 0
                p = a + b - c
                nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
                values.append((row[at] - (0, a, b, (a + b) // 2, nearest)[kind]) % 256)
            ways.append((sum(min(value, 256 - value) for value in values), kind, values))
        _, kind, values = min(ways)
        assert filtered.tolist() == [kind, *values]


def test_a_written_image_is_small():
    """A gradient compresses well, by its filters."""
    rows, columns = np.indices((200, 200))
    pixels = ((rows * 3 + columns * 5) % 256).astype(np.uint8)[..., None]
    file = io.BytesIO()
    write_png(file, pixels, [])
    assert len(file.getvalue()) < 1000 < len(saved(pixels, compress_level=0))


def test_what_pillow_reads():
    empty = with_chunk(PLAIN, b'iTXt', writer.XMP + b'\0\0\0\0')
    assert can_read_png(PLAIN) and not can_read_png(empty) and not can_read_png(PLAIN[:40])
    assert can_read_png(with_chunk(PLAIN, b'iTXt', writer.XMP + b'\0\0\0\0packet'))
