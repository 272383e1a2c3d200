"""What the proof of a TIFF reads of both files, part by part."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from hmaca_arch.files import tiff_verifying
from hmaca_arch.files.tiff_layout import layout_of
from hmaca_arch.files.tiff_verifying import verify_part

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (7, 20, 3), np.uint8)


def write(path: Path, pixels: np.ndarray, **options) -> Path:
    photometric = 'rgb' if pixels.ndim == 3 else 'minisblack'
    tifffile.imwrite(path, pixels, photometric=photometric, **options)
    return path


def parts(before: Path, after: Path, bounds=(0, 0, 1, 1)) -> list[tuple]:
    with tifffile.TiffFile(before) as one, tifffile.TiffFile(after) as other:
        layout = layout_of(before, 10**6)
        return list(tiff_verifying._parts(one.pages.first, other.pages.first, layout, bounds))


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('kind', ['u1', 'u2', 'f4'])
@pytest.mark.parametrize('rows', [1, 3, 7, 9])
def test_all_rows_that_are_not_compressed(tmp_path, monkeypatch, order, kind, rows):
    monkeypatch.setattr(tiff_verifying, 'ROWS', rows)
    pixels = RNG.integers(0, 250, (7, 5, 3)).astype(kind)
    before = write(tmp_path / 'a.tif', pixels, byteorder=order)
    after = write(tmp_path / 'b.tif', pixels + 1, byteorder=order)
    found = parts(before, after)
    assert [(top, left) for top, left, *_ in found] == [(top, 0) for top in range(0, 7, rows)]
    np.testing.assert_array_equal(np.vstack([old for *_, old, _ in found]), pixels)
    np.testing.assert_array_equal(np.vstack([new for *_, new in found]), pixels + 1)


@pytest.mark.parametrize('packed', [('a', 'b'), ('a',)])
def test_strips_where_one_file_is_compressed(tmp_path, packed):
    """A strip counts if its bytes differ or it meets the bounds."""
    changed = PIXELS.copy()
    changed[6, 3, 1] ^= 1
    files = [
        write(
            tmp_path / name, pixels, rowsperstrip=2, compression='zlib' if name in packed else None
        )
        for name, pixels in (('a', PIXELS), ('b', changed))
    ]
    found = parts(*files, bounds=(2, 0, 3, 1))
    tops = [2, 6] if len(packed) == 2 else [0, 2, 4, 6]
    assert [(top, left) for top, left, *_ in found] == [(top, 0) for top in tops]
    for top, _, old, new in found:
        np.testing.assert_array_equal(old, PIXELS[top : top + 2])
        np.testing.assert_array_equal(new, changed[top : top + 2])


def test_tiles_that_end_outside_the_image(tmp_path):
    before = write(tmp_path / 'a', PIXELS, tile=(16, 16), compression='zlib')
    after = write(tmp_path / 'b', 255 - PIXELS, tile=(16, 16), compression='zlib')
    found = parts(before, after)
    assert [(top, left) for top, left, *_ in found] == [(0, 0), (0, 16)]
    for _, left, old, new in found:
        inside = PIXELS[:, left : left + 16]
        np.testing.assert_array_equal(old[:7, : inside.shape[1]], inside)
        np.testing.assert_array_equal(new[:7, : inside.shape[1]], 255 - inside)


def test_a_strip_that_is_damaged_is_said_shortly(tmp_path):
    path = write(tmp_path / 'a', PIXELS, compression='zlib')
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        np.testing.assert_array_equal(
            tiff_verifying._decoded(page, tiff_verifying._bytes(page, 0), 0), PIXELS
        )
        with pytest.raises(tiff_verifying._Unreadable) as caught:
            tiff_verifying._decoded(page, b'damaged', 0)
    assert 0 < len(str(caught.value)) <= 80 and str(caught.value) != 'None'


@pytest.mark.parametrize('size', [80, 81])
def test_a_long_reason_is_cut(size):
    class Page:
        def decode(self, data, number):
            assert (data, number) == (b'x', 3)
            raise RuntimeError('a' * size)

    with pytest.raises(tiff_verifying._Unreadable) as caught:
        tiff_verifying._decoded(Page(), b'x', 3)
    assert str(caught.value).startswith('a' * 77) and len(str(caught.value)) == 80


@pytest.mark.parametrize('channels', [1, 3])
def test_rows_as_opencv_reads_them(tmp_path, monkeypatch, channels):
    monkeypatch.setattr(tiff_verifying, 'ROWS', 3)
    pixels = PIXELS[..., 0] if channels == 1 else PIXELS
    files = [
        write(tmp_path / name, values, metadata=None)
        for name, values in (('a', pixels), ('b', 255 - pixels))
    ]
    found = list(tiff_verifying._rows(*files, Path('c')))
    assert [top for top, *_ in found] == [0, 3, 6]
    old, new = (np.vstack([one[place] for one in found]) for place in (1, 2))
    np.testing.assert_array_equal(old, pixels.reshape(7, 20, channels))
    np.testing.assert_array_equal(new, 255 - old)
    deep = (pixels * np.uint16(257)).astype(np.uint16)
    path = write(tmp_path / 'deep', deep)
    assert next(tiff_verifying._rows(path, path, path))[1].dtype == np.uint16
    (tmp_path / 'b').write_bytes(b'no image')
    with pytest.raises(ValueError) as caught:
        list(tiff_verifying._rows(*files, Path('c')))
    assert str(caught.value) == 'c: not verified: neither tifffile nor OpenCV can read it'


@pytest.mark.parametrize('name', [None, Path('c')])
@pytest.mark.parametrize('readable', [True, False])
def test_a_part_is_proved_by_either_reader(tmp_path, monkeypatch, name, readable):
    """Of rows 2 to 4 and columns 5 to 9 one pixel is kept."""
    monkeypatch.setattr(tiff_verifying, 'ROWS', 2)
    bounds, mask = (2, 5, 5, 10), np.ones((3, 5), np.uint8)
    mask[1, 1] = 0
    meant = PIXELS.copy()
    meant[2:5, 5:10] = 255 - meant[2:5, 5:10]
    meant[3, 6] = PIXELS[3, 6]
    before = write(tmp_path / 'a', PIXELS, rowsperstrip=2, compression='zlib')
    layout, called = layout_of(before, 10**6), name or tmp_path / 'b'
    if not readable:

        def decode(*_):
            raise ValueError('it needs a package')

        monkeypatch.setattr(tifffile.TiffPage, 'decode', decode)

    def said(place=None, **tags) -> str:
        written = meant.copy()
        if place is not None:
            written[place] ^= 8
        path = write(tmp_path / 'b', written, rowsperstrip=2, compression='zlib', **tags)
        try:
            verify_part(path, layout, bounds, meant[2:5, 5:10], mask, name)
        except ValueError as error:
            return str(error)
        return ''

    differ = f'{called}: not verified: pixels outside the mask differ from the input by up to 8'
    assert said() == ''
    for place in ((0, 0, 0), (6, 19, 2), (3, 6, 1), (2, 4, 0), (4, 10, 2)):
        assert said(place) == differ
    for place in ((2, 5, 0), (4, 9, 2), (3, 7, 1)):
        assert (
            said(place) == f'{called}: not verified: the restored pixels are not what was written'
        )
    assert (
        said(software='another') == f'{called}: not verified: its tags are not those of the input'
    )


def test_tags_but_for_the_places_of_pixels(tmp_path):
    packed = write(tmp_path / 'a', PIXELS, compression='zlib', description='a', metadata=None)
    tiled = write(tmp_path / 'b', PIXELS, tile=(16, 16), metadata=None)
    for path in (packed, tiled):
        with tifffile.TiffFile(path) as file:
            tags, page = tiff_verifying._tags(file.pages.first), file.pages.first
            assert tags[256] == 20 and tags[257] == 7
            assert set(tags) == {tag.code for tag in page.tags} - {273, 279, 324, 325}
