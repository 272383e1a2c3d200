"""Degradations that no equation describes, and their rows in the table."""

import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT
from skimage import data

sys.path.append(str(ROOT / 'scripts'))

import other_degradations
import restoration_table

PHOTO = data.astronaut()[60:156, 150:246]


@pytest.mark.parametrize('gray', [False, True])
@pytest.mark.parametrize('way', other_degradations.SHARES, ids=lambda way: way.__name__)
def test_a_way_changes_the_region_alone_and_is_drawn_by_the_seed(way, gray):
    image = PHOTO[..., :1] if gray else PHOTO
    mask = np.zeros((*image.shape[:2], 1), bool)
    mask[20:70, 30:80] = True
    found, again, other = (
        other_degradations.degrade(image, mask, [way], np.random.default_rng(seed))
        for seed in (0, 0, 1)
    )
    assert found.shape == image.shape and found.dtype == np.uint8
    outside = ~mask[..., 0]
    assert (found == image)[outside].all() and (found != image).any()
    assert (found == again).all() and (found != other).any()


def test_a_flat_image_that_most_ways_leave_as_it_is_does_not_hang():
    flat, mask = np.full((96, 96, 3), 128, np.uint8), np.ones((96, 96, 1), bool)
    ways = [other_degradations.sharpened]
    assert (other_degradations.degrade(flat, mask, ways, np.random.default_rng(0)) == flat).all()


def test_a_row_of_the_table_may_be_something_else(tmp_path):
    cv2.imwrite(str(tmp_path / 'photo.png'), PHOTO)
    what, way = restoration_table.parse('else:speckled+jpeg:75')
    assert str(what) == 'none+jpeg:75' and way is other_degradations.speckled
    name, clean, given, mask = restoration_table.samples(tmp_path, what, 40, 0, way)[0]
    assert name == 'photo' and mask.sum() == 1600
    inside, outside = (restoration_table.psnr(given, clean, one) for one in (mask, ~mask))
    assert inside < outside - 3
    assert restoration_table.parse('blur:2')[1] is None
    with pytest.raises(ValueError, match='expected else: and one of enlarged'):
        restoration_table.parse('else:nothing')
