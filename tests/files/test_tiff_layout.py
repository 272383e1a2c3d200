"""Strips and tiles of a TIFF by hand: where they lie, which files are plain, what is proved."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile

from hmaca_arch.files import tiff_layout, tiff_verifying
from hmaca_arch.files.part_verifying import compare_part
from hmaca_arch.files.tiff_layout import Layout, layout_of
from hmaca_arch.files.tiff_strips import decode_bytes, encode_bytes
from hmaca_arch.files.tiff_verifying import verify_part

PLAIN = {256: 5, 257: 4, 258: (8, 8, 8), 262: 2, 277: 3}


class Directory(dict):
    """What Pillow reads of a directory."""

    next = 0


def plain(most: int = 20, *without: int, **more) -> bool:
    tags = Directory(PLAIN | {int(tag[1:]): value for tag, value in more.items()})
    for tag in without:
        del tags[tag]
    return tiff_layout._is_plain(tags, most)


def test_one_upright_image_as_it_is():
    assert plain() and not plain(19) and plain(t339=(1, 1, 1)) and plain(t274=1, t284=1, t266=1)
    for more in (
        {'t50706': 1}, {'t254': 1}, {'t274': 2}, {'t284': 2}, {'t266': 2}, {'t262': 1},
        {'t277': 1}, {'t277': 4}, {'t277': 2, 't262': 1}, {'t338': (2,)}, {'t258': (8, 8, 16)},
        {'t258': (12,)}, {'t258': ()}, {'t339': (2,)}, {'t339': (1, 3)}, {'t339': (3,)},
        {'t259': 7}, {'t317': 2}, {'t256': 0}, {'t257': 0}, {'t317': 3, 't259': 5},
    ):  # fmt: skip
        assert not plain(**more), more
    several = Directory(PLAIN)
    several.next = 8
    assert not tiff_layout._is_plain(several, 20)
    assert plain(t254=0) and plain(t258=(16,) * 3) and plain(t258=(32,), t339=(3,))
    for codec in (1, 5, 8, 32946, 32773):
        assert plain(t259=codec) and plain(t259=codec, t317=2) == (codec != 1)
    assert not plain(t259=5, t317=2, t258=(32,), t339=(3,)), 'differences of floating point'
    assert plain(t262=1, t277=1) and plain(20, 277, t262=1), 'gray'
    assert plain(t277=4, t338=(2,)) and not plain(t277=4, t338=(1,)), 'alpha, not associated'


def layout(tiled: bool, rows: int = 4, columns: int = 8) -> Layout:
    """Return a layout of 10 rows and 19 columns: 3 pieces, or 3 x 3."""
    number = 9 if tiled else 3
    columns = columns if tiled else 19
    size = rows * columns * 3
    starts = 100 + np.arange(number) * size
    return Layout(
        Path('a'), (10, 19, 3), np.dtype('u1'), 'little', 8, False, rows, columns, tiled,
        starts, np.full(number, size), ((8, 4), (60, 4)),
    )  # fmt: skip


def test_where_pieces_lie():
    strips, tiles = layout(False), layout(True)
    assert (strips.across, tiles.across) == (1, 3)
    assert [strips.bounds(piece) for piece in range(3)] == [
        (0, 0, 4, 19),
        (4, 0, 8, 19),
        (8, 0, 10, 19),
    ]
    assert [tiles.bounds(piece) for piece in (0, 2, 5, 8)] == [
        (0, 0, 4, 8),
        (0, 16, 4, 24),
        (4, 16, 8, 24),
        (8, 16, 12, 24),
    ]
    assert list(strips.pieces((3, 5, 4, 6))) == [0] and list(strips.pieces((3, 5, 5, 6))) == [0, 1]
    assert list(tiles.pieces((4, 8, 8, 16))) == [4]
    assert list(tiles.pieces((3, 7, 9, 17))) == list(range(9))


def test_pieces_are_in_the_file_and_apart(monkeypatch):
    holds, one = tiff_layout._holds, layout(True)
    end = int(one.starts[-1] + one.counts[-1])
    raw = one._replace(compression=1)
    assert holds(one, end) and holds(raw, end) and not holds(raw, end - 1)
    turned = raw._replace(starts=raw.starts[::-1])
    assert holds(turned, end), 'in any order'
    for starts in (raw.starts[:-1], raw.starts - np.eye(9, dtype=int)[4]):
        assert not holds(raw._replace(starts=starts, counts=raw.counts[: len(starts)]), end)
    assert not holds(raw._replace(counts=raw.counts[:-1], starts=raw.starts[:-1]), end)
    longest = 3 * 96 // 2 + 1024
    largest = end + 9 * longest
    for size, fits in ((largest, True), (largest - 1, False)):
        monkeypatch.setattr(tiff_layout, 'LARGEST', size)
        assert holds(one, end) is fits and holds(raw, end)
    monkeypatch.undo()
    short = one._replace(tables=((8, 2), (60, 4)))
    assert holds(short, 65535 - 9 * longest) and not holds(short, 65536 - 9 * longest)
    assert not holds(one._replace(tables=((8, 4), (60, 1))), end)


def test_strips_that_are_not_compressed_are_rows():
    one = layout(False)._replace(compression=1, counts=np.array([228, 228, 114]))
    rows = tiff_layout._by_rows(one)
    assert rows.rows == 1 and (rows.counts == 57).all() and len(rows.counts) == 10
    assert rows.starts.tolist() == [
        *(100 + 57 * np.arange(4)),
        *(328 + 57 * np.arange(4)),
        *(556 + 57 * np.arange(2)),
    ]
    with pytest.raises(ValueError, match='strips are not as long as their pixels'):
        tiff_layout._by_rows(one._replace(counts=np.array([228, 228, 228])))


def test_limits_of_rows_and_pieces(tmp_path, monkeypatch):
    path, pixels = tmp_path / 'a.tif', np.zeros((40, 48), np.uint8)
    for options, name, least in (
        ({'rowsperstrip': 7}, 'MOST_ROWS', 40),
        ({'rowsperstrip': 7, 'compression': 'zlib'}, 'LARGEST_PIECE', 7 * 48),
        ({'tile': (16, 32)}, 'LARGEST_PIECE', 16 * 32),
    ):
        tifffile.imwrite(path, pixels, **options)
        for limit in (least, least - 1):
            with monkeypatch.context() as patch:
                patch.setattr(tiff_layout, name, limit)
                assert (layout_of(path, 10**6) is not None) == (limit == least)
    found = layout_of(path, 40 * 48)
    assert found.shape == (40, 48, 1) and (found.rows, found.columns, found.tiled) == (16, 32, True)
    assert layout_of(path, 40 * 48 - 1) is None and layout_of(tmp_path, 10**6) is None


@pytest.mark.parametrize('codec', [5, 8, 32773])
def test_bytes_are_compressed_and_back(codec):
    data = bytes(range(60)) * 3 + bytes(60)
    packed = encode_bytes(data, 4, codec)
    assert decode_bytes(packed, 60, 4, codec) == data
    with tifffile.TiffFile(io.BytesIO(as_tiff(packed, codec))) as file:
        np.testing.assert_array_equal(file.asarray(), np.frombuffer(data, np.uint8).reshape(4, 60))


def as_tiff(packed: bytes, codec: int) -> bytes:
    """Return a file of 4 rows and 60 columns with one strip."""
    file = io.BytesIO()
    kinds = {5: 'lzw', 8: 'zlib', 32773: 'packbits'}
    tifffile.imwrite(file, iter([packed]), shape=(4, 60), dtype=np.uint8, compression=kinds[codec])
    return file.getvalue()


BOUNDS = (10, 20, 14, 26)


def compared(corner, shape=(8, 9), inside=None, outside=None, masked=(), kind=np.uint8) -> str:
    """Compare a part at a corner: pixels are changed inside and outside of BOUNDS, by 1."""
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 100, (40, 50, 2)).astype(kind)
    new = whole.copy()
    top, left, bottom, right = BOUNDS
    mask = np.ones((4, 6), np.uint8)
    new[top:bottom, left:right] += 5
    intended = new[top:bottom, left:right].copy()
    for place in masked:
        mask[place] = 0
    for place in (inside, outside):
        if place is not None:
            new[place] += 1
    area = slice(corner[0], corner[0] + shape[0]), slice(corner[1], corner[1] + shape[1])
    try:
        compare_part(Path('a'), corner, whole[area], new[area], BOUNDS, intended, mask)
    except ValueError as error:
        return str(error).removeprefix('a: not verified: ')
    return ''


@pytest.mark.parametrize(
    'corner',
    [
        *((4, 13), (10, 20), (12, 23), (5, 22), (12, 15), (0, 0), (30, 3)),
        *((30, 20), (14, 20), (2, 20), (1, 20), (10, 26), (10, 11), (10, 10), (31, 40)),
    ],
)
@pytest.mark.parametrize('kind', [np.uint8, np.float32])
def test_a_part_that_meets_the_region_anywhere(corner, kind):
    outside, written = 'pixels outside the mask differ from the input by up to ', 'the restored'
    assert compared(corner, kind=kind) == ''
    for row, column in ((10, 20), (13, 25), (12, 23), (9, 20), (10, 19), (14, 25), (13, 26)):
        seen = 0 <= row - corner[0] < 8 and 0 <= column - corner[1] < 9
        within = 10 <= row < 14 and 20 <= column < 26
        if within:
            said = compared(corner, inside=(row, column, 1), kind=kind)
            assert said.startswith(written) == seen
            said = compared(corner, masked=[(row - 10, column - 20)], kind=kind)
            assert said.startswith(outside + '5') == seen
        else:
            said = compared(corner, outside=(row, column, 0), kind=kind)
            assert said.startswith(outside + '1') == seen


def test_parts_that_meet():
    meet = tiff_verifying._meet
    assert meet(BOUNDS, BOUNDS) and meet((13, 25, 99, 99), BOUNDS) and meet((0, 0, 11, 21), BOUNDS)
    for other in ((14, 0, 99, 99), (0, 26, 99, 99), (0, 0, 10, 99), (0, 0, 99, 20)):
        assert not meet(other, BOUNDS) and not meet(BOUNDS, other)


def test_what_no_library_reads_is_not_verified(tmp_path, monkeypatch):
    def decode(*_):
        raise ValueError('it needs a package')

    monkeypatch.setattr(tifffile.TiffPage, 'decode', decode)
    path = tmp_path / 'a.tif'
    for channels in (3, 4):
        pixels = np.zeros((20, 20, channels), np.uint8)
        extra = {'extrasamples': ['unassalpha']} if channels == 4 else {}
        tifffile.imwrite(path, pixels, photometric='rgb', compression='zlib', **extra)
        monkeypatch.setattr(tiff_verifying.cv2, 'imdecode', lambda *_: None)
        with pytest.raises(ValueError) as caught:
            verify_part(
                path,
                layout_of(path, 400),
                (0, 0, 9, 9),
                pixels[:9, :9],
                np.zeros((9, 9)),
                Path('b'),
            )
        assert str(caught.value) == 'b: not verified: ' + (
            'tifffile cannot read it (it needs a package)'
            if channels == 4
            else 'neither tifffile nor OpenCV can read it'
        )


@pytest.mark.parametrize(
    ('options', 'name', 'words'),
    [
        ({'rowsperstrip': 7}, 'MOST_ROWS', 'there are too many rows'),
        ({'compression': 'zlib'}, 'LARGEST_PIECE', 'pieces are too large'),
        ({'tile': (16, 16)}, '', 'tiles are not as long as their pixels'),
    ],
)
def test_why_a_file_is_read_whole(tmp_path, monkeypatch, options, name, words):
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, np.zeros((40, 48), np.uint8), **options)
    with open(path, 'rb') as file:
        tags = tiff_layout.read_tags(file)
        assert tiff_layout._layout(path, file, tags).shape == (40, 48, 1)
        if name:
            monkeypatch.setattr(tiff_layout, name, 7)
        else:
            tags[325] = (16 * 16 + 1,) * 9
        with pytest.raises(ValueError, match=f'^{words}$'):
            tiff_layout._layout(path, file, tags)
