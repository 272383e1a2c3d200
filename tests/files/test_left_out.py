"""Tags that a TIFF may leave out, and parts of it that are written again, by every kind of piece."""

import io
import struct

import numpy as np
import pytest
import tifffile
from picture_writers import tiff

from hmaca_arch.files import tiff_strips
from hmaca_arch.files.images import decode
from hmaca_arch.files.tiff import decode_float, read_tags, write_tiff
from hmaca_arch.files.tiff_layout import layout_of
from hmaca_arch.files.tiff_strips import decode_bytes, encode_bytes, read_part, write_part
from hmaca_arch.files.verifying import see

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
