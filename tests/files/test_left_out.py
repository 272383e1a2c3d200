"""Tags that a TIFF may leave out, and parts of it that are written again."""

import io
import struct

import numpy as np
import pytest
import tifffile
from picture_writers import exif_of, saved, tiff

from hmaca_arch.files import tiff_strips
from hmaca_arch.files.image_files import read_image, write_image
from hmaca_arch.files.images import decode
from hmaca_arch.files.tiff import decode_float, from_full_page, read_tags, write_tiff
from hmaca_arch.files.tiff_layout import layout_of
from hmaca_arch.files.tiff_strips import decode_bytes, encode_bytes, read_part, write_part
from hmaca_arch.files.verifying import see, verify

RNG = np.random.default_rng(0)
COMPRESSION, ORIENTATION, SAMPLES, ROWS, PLANAR, FORMAT = 259, 274, 277, 278, 284, 339


def without(data: bytes, *tags: int) -> bytes:
    """Leave entries out of a directory; nothing is moved."""
    start = struct.unpack_from('<I', data, 4)[0]
    (count,) = struct.unpack_from('<H', data, start)
    entries = [data[start + 2 + 12 * i :][:12] for i in range(count)]
    kept = [one for one in entries if struct.unpack_from('<H', one)[0] not in tags]
    made = struct.pack('<H', len(kept)) + b''.join(kept)
    return data[:start] + made.ljust(2 + 12 * count, b'\0') + data[start + 2 + 12 * count :]


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('kind', ['u1', 'u2', 'f4'])
@pytest.mark.parametrize('tag', [COMPRESSION, ORIENTATION, SAMPLES, ROWS, PLANAR, FORMAT])
def test_a_tag_that_is_left_out_has_the_value_of_the_standard(tmp_path, channels, kind, tag):
    if (kind, tag) == ('f4', FORMAT) or (channels, tag) == (3, SAMPLES):
        return
    pixels = (RNG.random((5, 4, channels)) * 200).astype(kind)
    data = without(tiff(pixels, 1 if channels == 1 else 2, more={ORIENTATION: 1}), tag)
    assert tag not in read_tags(io.BytesIO(data))
    found = decode(data, 'a', convert=True)
    np.testing.assert_array_equal(found.pixels, pixels)
    assert found.pixels.dtype == pixels.dtype and found.orientation == 1
    np.testing.assert_array_equal(see(data).pixels, pixels)
    path = tmp_path / 'a.tif'
    path.write_bytes(data)
    layout = layout_of(path, 20)
    assert layout.shape == (5, 4, channels) and layout.dtype == np.dtype('<' + kind)
    assert (layout.rows, layout.columns, layout.compression) == (1, 4, 1)
    assert not layout.differences and not layout.tiled


def test_floating_point_without_a_depth_is_said():
    data = without(tiff(np.zeros((2, 3, 3), np.float32), 2), 258)
    with pytest.raises(ValueError, match='^floating point of 1 bits, 3 channels; expected 32'):
        decode_float(data)


def test_places_in_a_file_have_32_bits():
    for height in (1, 3):
        file = io.BytesIO()
        write_tiff(file, np.zeros((height, 2, 3), np.uint8), None, None, None, None)
        assert read_tags(file).tagtype[273] == 4


KINDS = {
    'rows': {'rowsperstrip': 4},
    'strips': {'rowsperstrip': 4, 'compression': 'zlib'},
    'differences': {'rowsperstrip': 4, 'compression': 'zlib', 'predictor': 2},
    'tiles': {'tile': (16, 16)},
    'packed tiles': {'tile': (16, 16), 'compression': 'zlib'},
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('order', ['<', '>'])
def test_any_part_is_read_and_written(tmp_path, kind, order):
    path = tmp_path / 'a.tif'
    deep = RNG.integers(0, 65536, (18, 35, 3), np.uint16)
    tifffile.imwrite(path, deep, byteorder=order, photometric='rgb', metadata=None, **KINDS[kind])
    layout, before = layout_of(path, 10**4), path.read_bytes()
    ends = [(0, 18), (0, 1), (17, 18), (3, 5), (4, 8), (15, 17)]
    sides = [(0, 35), (0, 1), (34, 35), (15, 17), (16, 32), (5, 9)]
    for top, bottom in ends:
        for left, right in sides:
            bounds = (top, left, bottom, right)
            found = np.zeros_like(deep)
            read_part(layout, bounds, found)
            part = slice(top, bottom), slice(left, right)
            np.testing.assert_array_equal(found[part], deep[part])
            same, file = io.BytesIO(), io.BytesIO()
            write_part(layout, same, bounds, deep[part])
            assert same.getvalue() == before
            meant = deep.copy()
            meant[part] ^= 257
            write_part(layout, file, bounds, meant[part])
            np.testing.assert_array_equal(tifffile.imread(io.BytesIO(file.getvalue())), meant)
            path.with_name('b.tif').write_bytes(file.getvalue())
            after = layout_of(path.with_name('b.tif'), 10**4)
            touched = set(layout.pieces(bounds))
            for piece in range(len(layout.starts)):
                moved = after.starts[piece] != layout.starts[piece]
                assert moved == (piece in touched and layout.compression != 1)
                assert not moved or after.starts[piece] % 2 == 0
            last = int((after.starts + after.counts).max())
            assert len(file.getvalue()) == max(len(before), last)


@pytest.mark.parametrize('codec', [5, 8, 32773])
def test_pieces_of_any_size_are_one_strip(codec):
    for row, rows in ((1, 1), (70000, 2), (3, 30000)):
        data = RNG.integers(0, 3, row * rows, np.uint8).tobytes()
        packed = encode_bytes(data, rows, codec)
        assert decode_bytes(packed, row, rows, codec) == data


@pytest.mark.parametrize('size', [80, 81])
def test_why_a_piece_is_damaged_is_cut(tmp_path, monkeypatch, size):
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, np.zeros((4, 4), np.uint8), compression='zlib')

    def fail(*_):
        raise RuntimeError('a' * size)

    monkeypatch.setattr(tiff_strips, 'decode_bytes', fail)
    with pytest.raises(ValueError) as caught:
        read_part(layout_of(path, 16), (0, 0, 1, 1), np.zeros((4, 4, 1), np.uint8))
    start = f'{path}: cannot be read as an image: its strip or tile 0 is damaged ({"a" * 77}'
    assert str(caught.value).startswith(start) and len(str(caught.value)) == len(start) + 4


@pytest.mark.parametrize('tile', [None, (16, 16)])
def test_floating_point_that_lacks_a_byte_is_cut_short(tmp_path, tile):
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, RNG.random((20, 20), np.float32), tile=tile, metadata=None)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        end = page.dataoffsets[-1] + page.databytecounts[-1]
    data = path.read_bytes()
    assert decode_float(data[:end]).shape == (20, 20, 1)
    with pytest.raises(OSError, match='^the file is cut short$'):
        decode_float(data[: end - 1])


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('copies', [0, 1, 2, 15, 16, 17])
def test_a_file_begins_at_its_first_full_page(order, copies):
    """Each page has one tag: 1 for a reduced copy. So many are passed over at most."""
    data, page = {'<': b'II*\0', '>': b'MM\0*'}[order] + struct.pack(order + 'I', 8), 2 + 12 + 4
    for number in range(copies + 1):
        reduced = int(number < copies)
        data += struct.pack(order + 'HHHII', 1, 254, 4, 1, reduced)
        data += struct.pack(order + 'I', 8 + page * (number + 1) if reduced else 0)
    found = from_full_page(data)
    first = 8 + page * min(copies, 16)
    assert found == data[:4] + struct.pack(order + 'I', first) + data[8:]


def test_exif_of_which_a_tiff_takes_nothing_is_not_missed(tmp_path):
    """An orientation alone is undone, and not described."""
    source, path = tmp_path / 'a.png', tmp_path / 'b.tif'
    pixels = RNG.integers(0, 256, (4, 5, 3), np.uint8)
    source.write_bytes(saved(pixels, exif=exif_of(1)))
    before = read_image(source)
    assert before.exif
    write_image(path, before)
    assert verify(path, source, before, pixels, np.zeros((4, 5), np.uint8)) == []


@pytest.mark.parametrize('tag', [256, 257])
def test_floating_point_without_a_size_is_not_decoded(tag):
    data = without(tiff(np.zeros((2, 3, 1), np.float32), 1), tag)
    with pytest.raises(
        ValueError,
        match='^a: cannot be read as an image: it is damaged, or compressed in a way that OpenCV',
    ):
        decode(data, 'a', convert=True)
