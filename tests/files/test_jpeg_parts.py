"""Single steps of replacing blocks of a JPEG and of proving it, by plain loops."""

from pathlib import Path

import numpy as np
import pytest
from picture_writers import exif_of, saved
from scipy import fft

from hmaca_arch.files import jpeg_blocks, jpeg_coefficients, jpeg_verifying
from hmaca_arch.files.images import UPRIGHT
from hmaca_arch.files.jpeg_blocks import Changes, as_stored, boxes_of, scales
from hmaca_arch.files.jpeg_markers import Component, Frame

RNG = np.random.default_rng(0)
SCALES = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 4), (4, 1)]


def naive_touched(changed: np.ndarray, scale: tuple[int, int]) -> np.ndarray:
    down, across = 8 * scale[0], 8 * scale[1]
    shape = -(-changed.shape[0] // down), -(-changed.shape[1] // across)
    found = np.zeros(shape, bool)
    for y, x in zip(*np.nonzero(changed)):
        found[y // down, x // across] = True
    return found


@pytest.mark.parametrize('scale', SCALES)
@pytest.mark.parametrize('shape', [(1, 1), (16, 32), (33, 65), (35, 50)])
def test_blocks_and_the_pixels_that_depend_on_them(scale, shape):
    for place in ((0, 0), (shape[0] - 1, shape[1] - 1), (shape[0] // 2, shape[1] // 2)):
        changed = np.zeros(shape, bool)
        changed[place] = True
        touched = jpeg_blocks._touched(changed, scale)
        np.testing.assert_array_equal(touched, naive_touched(changed, scale))
        area, expected = np.zeros(shape, bool), np.zeros(shape, bool)
        jpeg_blocks._add_pixels_of(touched, scale, area)
        for row, column in zip(*np.nonzero(touched)):
            more = int(scale[0] > 1), int(scale[1] > 1)
            top, left = 8 * scale[0] * row, 8 * scale[1] * column
            bottom, right = top + 8 * scale[0] + more[0], left + 8 * scale[1] + more[1]
            expected[max(top - more[0], 0) : bottom, max(left - more[1], 0) : right] = True
        np.testing.assert_array_equal(area, expected)
    area[:] = True
    jpeg_blocks._add_pixels_of(np.zeros_like(touched), scale, area)
    assert area.all(), 'nothing is taken away'


@pytest.mark.parametrize('scale', SCALES)
def test_means_of_samples(scale):
    values = RNG.random((8 * scale[0], 16 * scale[1]))
    found = jpeg_blocks._mean(values, scale)
    assert found.shape == (8, 16)
    for y, x in ((0, 0), (7, 15), (3, 4)):
        part = values[y * scale[0] : (y + 1) * scale[0], x * scale[1] : (x + 1) * scale[1]]
        assert found[y, x] == pytest.approx(part.mean())


def test_the_transform_and_back():
    blocks = RNG.random((3, 8, 8))
    samples = jpeg_blocks._samples(blocks)
    assert samples.shape == (8, 24)
    for number, block in enumerate(blocks):
        expected = fft.idctn(block, norm='ortho')
        np.testing.assert_allclose(samples[:, 8 * number : 8 * number + 8], expected)
    np.testing.assert_allclose(jpeg_blocks._blocks(samples), blocks)


@pytest.mark.parametrize('scale', SCALES)
@pytest.mark.parametrize('offset', [0, 128])
@pytest.mark.parametrize('shape', [(64, 64), (61, 39), (5, 3)])
def test_blocks_are_replaced_as_by_plain_loops(scale, offset, shape):
    (height, width), (down, across) = shape, scale
    changed = RNG.random(shape) < 0.02
    changed[height // 2, width // 2] = changed[-1, -1] = True
    values = RNG.integers(0, 256, (np.count_nonzero(changed), 3), np.uint8)
    touched = [np.zeros((1, 1), bool), naive_touched(changed, scale)]
    blocks = RNG.integers(-9, 10, (*touched[1].shape, 8, 8)).astype(np.int16)
    table = RNG.integers(5, 40, (8, 8)).astype(np.float32)
    weights = np.array([0.5, 0.25, 0.25], np.float32)
    pixels = np.zeros((*shape, 3))
    pixels[changed] = values
    expected = blocks.copy()
    for row, column in zip(*np.nonzero(touched[1])):
        old = fft.idctn(blocks[row, column] * table, norm='ortho')
        new = np.empty((8, 8))
        bottom = min(8 * down * (row + 1), height) - 1
        for y in range(8):
            for x in range(8):
                cells = [
                    (min(8 * down * row + down * y + i, bottom),
                     min(8 * across * column + across * x + j, width - 1))
                    for i in range(down) for j in range(across)
                ]  # fmt: skip
                seen = [pixels[cell] @ weights - offset for cell in cells if changed[cell]]
                share = len(seen) / len(cells)
                new[y, x] = old[y, x] * (1 - share) + sum(seen) / len(cells)
        expected[row, column] = np.rint(fft.dctn(new, norm='ortho') / table)
    changes = Changes(1, changed, values, touched, changed, values)
    found = blocks.copy()
    jpeg_blocks._replace(found, table, changes, 1, scale, weights, offset)
    untouched = ~touched[1]
    np.testing.assert_array_equal(found[untouched], blocks[untouched])
    assert np.abs(found.astype(int) - expected).max() <= 1 and (found != expected).mean() < 0.001


def test_coefficients_are_cut_on_both_sides():
    for value, edge in ((255, 1023), (0, -1023)):
        changed, touched = np.ones((8, 8), bool), [np.ones((1, 1), bool)]
        values = np.full((64, 1), value, np.uint8)
        blocks = np.zeros((1, 1, 8, 8), np.int16)
        changes = Changes(1, changed, values, touched, changed, values)
        table = np.full((8, 8), 0.5, np.float32)
        jpeg_blocks._replace(blocks, table, changes, 0, (1, 1), np.ones(1, np.float32), 128)
        assert blocks[0, 0, 0, 0] == edge and not blocks[0, 0].reshape(-1)[1:].any()


def test_scales_are_counted_from_the_channel_with_most_samples():
    def found(*channels: tuple[int, int]) -> list[tuple[int, int]]:
        components = tuple(Component(1, across, down) for across, down in channels)
        return scales(Frame(0xC0, 8, 9, 9, components))

    assert found((1, 1)) == found((2, 3)) == [(1, 1)]
    assert found((2, 2), (1, 1), (1, 1)) == [(1, 1), (2, 2), (2, 2)]
    assert found((4, 1), (1, 1), (2, 1)) == [(1, 1), (1, 4), (1, 2)]
    assert found((1, 1), (1, 2), (1, 1)) == [(2, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize('turn', [0, *range(1, 10)])
def test_what_was_turned_is_turned_back(turn):
    pixels = RNG.integers(0, 9, (3, 4, 2))
    upright = UPRIGHT.get(turn, lambda as_is: as_is)(pixels)
    np.testing.assert_array_equal(as_stored(upright, turn), pixels)


def test_boxes_around_each_part():
    area = np.zeros((20, 30), bool)
    assert boxes_of(area) == []
    area[19, 29] = True
    assert boxes_of(area) == [(19, 29, 20, 30)]
    area[0, 0] = area[1, 1] = area[4:6, 3:9] = True
    assert boxes_of(area) == [(0, 0, 2, 2), (4, 3, 6, 9), (19, 29, 20, 30)]
    area[6, 9] = True  # a corner joins
    assert boxes_of(area)[1] == (4, 3, 7, 10)


@pytest.mark.parametrize(
    ('sampling', 'reach'), [('4:4:4', (8, 8)), ('4:2:2', (8, 16)), ('4:2:0', (16, 16))]
)
def test_how_far_a_block_reaches_that_touches_the_mask(sampling, reach):
    source = saved(np.zeros((80, 90, 3), np.uint8), 'JPEG', subsampling=sampling)
    mask = np.zeros((80, 90), np.uint8)
    mask[40, 50] = 255
    expected = np.zeros((80, 90), bool)
    expected[40 - reach[0] : 41 + reach[0], 50 - reach[1] : 51 + reach[1]] = True
    np.testing.assert_array_equal(jpeg_verifying._near(mask, source), expected)
    assert not jpeg_verifying._near(0 * mask, source).any()


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (2 + len(content)).to_bytes(2, 'big') + content


@pytest.mark.filterwarnings('ignore:Image appears to be a malformed MPO:UserWarning')
def test_what_is_said_but_for_where_more_images_are():
    plain = saved(np.zeros((8, 8, 3), np.uint8), 'JPEG')
    comment, other = segment(0xFE, b'a'), segment(0xE5, b'b')
    images = segment(0xE2, b'MPF\0' + bytes(9))

    def compare(before: bytes, after: bytes) -> str:
        files = (plain[:2] + said + plain[2:] for said in (before, after))
        try:
            jpeg_verifying._verify_markers(Path('a'), *files)
        except ValueError as error:
            return str(error)
        return ''

    message = 'a: not verified: not the EXIF, profile and comments of the input'
    assert compare(comment + other, comment + other) == ''
    for after in (other, comment, other + comment, comment + other * 2):
        assert compare(comment + other, after) == message
    assert compare(images, b'') == '', 'the list of images may have moved'


def test_each_reader_of_a_jpeg(tmp_path, monkeypatch):
    path = tmp_path / 'b'
    pixels = RNG.integers(0, 256, (24, 16, 3), np.uint8)
    data = saved(pixels, 'JPEG', exif=exif_of(6), subsampling=0)
    by_opencv = jpeg_verifying._opencv_reads(data, path, 6)
    by_pillow = jpeg_verifying._pillow_reads(data, path, 6)
    assert by_opencv.shape == by_pillow.shape == (24, 16, 3)
    assert np.abs(by_opencv.astype(int) - by_pillow).max() <= 3
    monkeypatch.setattr(jpeg_verifying, 'see', lambda data: None)
    with pytest.raises(ValueError) as caught:
        jpeg_verifying._opencv_reads(data, Path('b'), 6)
    assert str(caught.value) == 'b: not verified: OpenCV cannot read it'


def test_blocks_are_verified_by_another_libjpeg_than_wrote_them(tmp_path, monkeypatch):
    path, used = tmp_path / 'b', []
    source = saved(np.full((24, 24, 3), 90, np.uint8), 'JPEG', subsampling=0)
    path.write_bytes(source)
    none = np.zeros((24, 24), bool)
    changes = Changes(1, none, none[:0], [np.zeros((3, 3), bool)] * 3, none, none[:0])
    read = jpeg_verifying.read_coefficients

    def noted(data, *library):
        used.extend(library)
        return read(data, *library)

    monkeypatch.setattr(jpeg_verifying, 'read_coefficients', noted)
    jpeg_verifying.verify_blocks(path, source, changes, none)
    assert used == [jpeg_coefficients.OTHER_READER] * 2
    assert jpeg_coefficients.OTHER_READER not in (
        jpeg_coefficients.READER,
        jpeg_coefficients.PROGRESSIVE_WRITER,
    )


@pytest.mark.parametrize('library', ['OpenCV', 'Pillow'])
def test_other_pixels_are_told_with_the_library_that_sees_them(tmp_path, monkeypatch, library):
    path = tmp_path / 'b'
    source = saved(np.full((24, 24, 3), 90, np.uint8), 'JPEG', subsampling=0)
    path.write_bytes(source)
    none = np.zeros((24, 24), bool)
    changes = Changes(1, none, none[:0], [np.zeros((3, 3), bool)] * 3, none, none[:0])
    jpeg_verifying.verify_blocks(path, source, changes, none)
    name = f'_{library.lower()}_reads'
    seen = iter([np.zeros((24, 24, 3), np.uint8), np.ones((24, 24, 3), np.uint8)])
    monkeypatch.setattr(jpeg_verifying, name, lambda *_: next(seen))
    with pytest.raises(ValueError) as caught:
        jpeg_verifying.verify_blocks(path, source, changes, none)
    assert str(caught.value) == (
        f'{path}: not verified: {library} sees other pixels than in the input apart from the region'
    )


@pytest.mark.parametrize('rows', [1, 2, 3, 5, 256])
@pytest.mark.parametrize('corner', [(0, 0), (3, 4), (9, 1)])
def test_pixels_that_differ_are_found_some_rows_at_a_time(monkeypatch, rows, corner):
    monkeypatch.setattr(jpeg_blocks, 'ROWS', rows)
    before = RNG.integers(0, 250, (16, 24, 3), np.uint8)
    source = saved(before, 'JPEG', subsampling=0)
    patch = before[corner[0] : corner[0] + 7, corner[1] : corner[1] + 9].copy()
    places = [(row, column) for row in range(7) for column in range(row % 2, 9, 4)]
    for number, (row, column) in enumerate(places):
        patch[row, column, number % 3] += 1
    found = jpeg_blocks.changes_of(source, before, patch, corner, 1)
    expected = [(corner[0] + row, corner[1] + column) for row, column in places]
    assert list(zip(*(axis.tolist() for axis in np.nonzero(found.changed)))) == expected
    np.testing.assert_array_equal(found.values, [patch[place] for place in places])
    np.testing.assert_array_equal(found.before, before[found.may_change])
    assert found.turn == 1 and found.touched[0].shape == (2, 3)


def test_coefficients_are_neither_copied_nor_larger_than_they_have_to_be(tmp_path):
    values = np.arange(4, dtype=np.int16).view(jpeg_coefficients._Uncopied)
    assert np.shares_memory(values, values.astype(np.int16))
    assert values.astype(np.float32).dtype == np.float32
    pixels = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    for options in ({}, {'progressive': True}):
        best = saved(pixels, 'JPEG', optimize=True, **options)
        plain = saved(pixels, 'JPEG', **options)
        found = jpeg_coefficients.read_coefficients(plain)
        assert len(jpeg_coefficients.write_coefficients(found, plain)) <= len(best) + 64
