"""Boxes and tiles: hand values."""

import numpy as np
import pytest

from hmaca_arch.restoring.regions import Box, Region, cut, marked_box


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
