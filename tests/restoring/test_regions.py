"""Boxes and tiles: hand values."""

import numpy as np
import pytest

from hmaca_arch.restoring.regions import Box, Own, Region, cut, marked_box


@pytest.mark.parametrize(
    ('kind', 'value'),
    [(bool, 1), (np.uint8, 1), (np.uint16, 1), (np.uint16, 256), (np.float32, 0.01), (float, 1)],
)
def test_the_box_around_marked_pixels_of_any_type(kind, value):
    mask = np.zeros((9, 12), kind)
    assert marked_box(mask) == Box(0, 0, 0, 0)
    mask[3, 5] = mask[6, 2] = value
    assert marked_box(mask) == Box(3, 2, 7, 6)


def test_tiles_overlap_and_end_with_the_region():
    region = Region(Box(0, 0, 100, 230), Box(0, 0, 100, 230))
    tiles = cut(region, np.ones((100, 230), np.uint8), 100, 30)
    assert [tile.left for tile in tiles] == [0, 65, 130] and tiles[-1] == Box(0, 130, 100, 230)


def test_tiles_that_cannot_overlap_so_much():
    region = Region(Box(0, 0, 50, 50), Box(0, 0, 50, 50))
    for overlap in (20, 21, -1):
        with pytest.raises(ValueError) as caught:
            cut(region, np.ones((50, 50), np.uint8), 20, overlap)
        assert str(caught.value) == f'tiles of 20 pixels cannot overlap by {overlap}'
    assert len(cut(region, np.ones((50, 50), np.uint8), 20, 0)) == 9


def test_boxes_by_hand():
    box = Box(17, 33, 25, 40)
    assert box.shape == (8, 7) and box.area == (slice(17, 25), slice(33, 40))
    assert box.from_blocks() == Box(16, 32, 25, 40) == Box(16, 32, 25, 40).from_blocks()
    assert Box(63, 79, 99, 99).from_blocks() == Box(56, 72, 99, 99)
    assert box.grown(2, 26, 90) == Box(15, 31, 26, 42) and box.grown(50, 99, 41)[:2] == (0, 0)
    assert box.moved(1, -2) == Box(18, 31, 26, 38) and box.within(Box(10, 20, 0, 0))[:2] == (7, 13)
    assert box.common(Box(24, 39, 90, 90)) == Box(24, 39, 25, 40)
    for other in (Box(25, 0, 90, 90), Box(0, 40, 90, 90), Box(0, 0, 17, 90), Box(0, 0, 90, 33)):
        assert box.common(other) is None and other.common(box) is None


def test_own_pixels_by_the_squares_that_hold_them():
    own = Own(np.array([[True, False], [False, True]]), 3, 10, 20)
    found = own.of(Box(11, 22, 14, 25))
    assert found.tolist() == [[True, False, False], [True, False, False], [False, True, True]]
    moved = Region(Box(10, 20, 16, 26), Box(9, 19, 17, 27), own).moved(2, 5)
    assert moved[:2] == (Box(12, 25, 18, 31), Box(11, 24, 19, 32))
    np.testing.assert_array_equal(moved.own.of(Box(13, 27, 16, 30)), found)
    mask = np.full((20, 30), 0.5, np.float32)
    values = Region(Box(10, 20, 16, 26), Box(9, 19, 17, 27), own).own_in(mask, Box(11, 22, 14, 25))
    np.testing.assert_array_equal(values, found * np.float32(0.5))
    assert values.dtype == np.float32
