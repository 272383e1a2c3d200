"""How masked pixels become regions: hand values, and properties on random masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from region_masks import mask_of, masks

from hmaca_arch.restoring import grouping
from hmaca_arch.restoring.grouping import EVEN, Groups, find_clusters, find_regions
from hmaca_arch.restoring.regions import Box, Region, cut


def pixels_of(found: list[Region]) -> int:
    return sum(int(np.prod(region.crop.shape)) for region in found)


def test_crops_are_even_and_inside_the_image():
    (region,) = find_regions(mask_of(100, 80, (2, 60, 12, 70)), 16)
    assert region == Region(Box(2, 60, 12, 70), Box(0, 40, 32, 80)), '28 x 36, made 32 x 40'
    (region,) = find_regions(mask_of(100, 80, (40, 30, 51, 41)), 16)
    assert region.crop == Box(22, 12, 70, 60), '43 x 43, two pixels more above and three below'
    (region,) = find_regions(mask_of(45, 46, (20, 20, 30, 30)), 16)
    assert region.crop == Box(0, 0, 45, 46), 'the image has no more'
    assert find_regions(mask_of(45, 46, (20, 20, 30, 30)), 10**30) == [region]


def test_crops_do_not_grow_beyond_a_tile():
    (region,) = find_regions(mask_of(200, 200, (90, 90, 101, 101)), 16, tile=46)
    assert region.crop == Box(74, 74, 117, 117)
    (region,) = find_regions(mask_of(200, 200, (90, 90, 101, 101)), 16, tile=48)
    assert region.crop == Box(72, 72, 120, 120), 'as long as a tile'


@pytest.mark.parametrize('swap', [False, True], ids=['rows', 'columns'])
@pytest.mark.parametrize(('gap', 'count'), [(8, 1), (9, 2)])
def test_regions_are_joined_where_that_saves_pixels(swap, gap, count):
    """Crops of 24x32 twice: one of 24x56 saves, and one of 24x64 does not."""
    mask = mask_of(60, 160, (20, 20, 28, 36), (20, 36 + gap, 28, 52 + gap))
    found = find_regions(np.ascontiguousarray(mask.T) if swap else mask, 8)
    assert len(found) == count and pixels_of(found) == (24 * 56 if count == 1 else 24 * 64)


def test_regions_beside_each_other_are_not_joined_across_the_corner():
    """One crop of 102x102 takes more than two of 58x58, though these overlap."""
    mask = mask_of(200, 200, (50, 50, 92, 92), (98, 98, 140, 140))
    first, second = find_regions(mask, 8)
    assert first.crop == Box(39, 39, 103, 103) and second.crop == Box(87, 87, 151, 151)
    assert len(find_regions(mask, 60)) == 1, 'with so much context it saves'


def test_what_is_joined_fits_into_one_tile():
    mask = mask_of(60, 200, (20, 20, 25, 60), (20, 64, 25, 104))
    assert len(find_regions(mask, 8)) == 1 and len(find_regions(mask, 8, tile=99)) == 2


def test_diagonal_neighbours_are_one_region_without_context():
    assert len(find_regions(mask_of(9, 9, (1, 1, 2, 2), (2, 2, 3, 3)), 0)) == 1


def test_pixels_of_others_inside_a_box_are_told_apart():
    mask = mask_of(90, 90, (5, 5, 80, 8), (5, 5, 8, 80), (60, 60, 64, 64))
    corner, speck = find_regions(mask, 4, tile=30)
    assert (corner.box, speck.box) == (Box(5, 5, 80, 80), Box(60, 60, 64, 64))
    assert speck.own is None and corner.moved(3, 4).own.of(Box(8, 9, 9, 84)).all()
    assert (corner.own_in(mask, corner.box) > 0).sum() == 75 * 3 * 2 - 9
    assert (speck.own_in(mask, speck.box) > 0).all()
    tiles = cut(corner, mask, 30, 4)
    assert not any(tile.top > 40 and tile.left > 40 for tile in tiles), 'the speck needs no tile'


def test_no_crop_cuts_another_region_where_blocks_count_from_the_box():
    mask = mask_of(200, 200, (50, 50, 92, 92), (98, 98, 140, 140))
    assert len(find_regions(mask, 8, whole=True)) == 1
    apart = mask_of(300, 300, (50, 50, 92, 92), (98 + EVEN, 98 + EVEN, 150, 150))
    assert len(find_regions(apart, 6, whole=True)) == 2


def test_dust_is_many_small_crops():
    """300 spots on a scan take the pixels of their crops, and not those of the image."""
    rng = np.random.default_rng(0)
    mask = np.zeros((3000, 4000), np.uint8)
    for top, left in zip(rng.integers(0, 2990, 300), rng.integers(0, 3990, 300)):
        mask[top : top + 10, left : left + 10] = 1
    found = find_regions(mask, 32, tile=192)
    assert 230 <= len(found) <= 300 and pixels_of(found) <= 300 * 80 * 80 < 0.17 * mask.size
    assert max(max(region.crop.shape) for region in found) <= 192


def test_specks_without_number_are_put_together(monkeypatch):
    monkeypatch.setattr(grouping, 'MOST_GROUPS', 50)
    mask = (np.random.default_rng(0).random((400, 600)) < 0.002).astype(np.uint8)
    assert len(Groups(mask, 1).boxes) < 50 < mask.sum()
    covered = np.zeros(mask.shape, bool)
    for region in find_regions(mask, 32, tile=192):
        covered[region.box.area] |= region.own_in(mask, region.box) > 0
    assert (covered == (mask > 0)).all()


def test_clusters_are_apart_and_hold_everything():
    mask = mask_of(500, 500, (10, 10, 20, 20), (90, 10, 95, 30), (300, 400, 310, 470))
    assert find_clusters(mask, 100) == [Box(10, 10, 95, 30), Box(300, 400, 310, 470)]
    assert find_clusters(mask, 400) == [Box(10, 10, 310, 470)]
    assert find_clusters(0 * mask, 100) == []


def test_no_mask_no_region():
    assert find_regions(np.zeros((5, 7), np.uint8), 32) == []


def test_a_faint_soft_mask_is_a_region():
    mask = np.zeros((30, 30), np.float32)
    mask[4, 5] = 0.001
    assert find_regions(mask, 2) == [Region(Box(4, 5, 5, 6), Box(1, 2, 9, 10))]


def test_thousands_of_specks():
    mask = np.zeros((1000, 1000), np.uint8)
    mask[::20, ::20] = 1
    found = find_regions(mask, 32, tile=192)
    assert pixels_of(found) < 2 * mask.size and len(found) < 100


def test_a_context_beyond_the_image_is_all_of_it():
    mask = np.zeros((3000, 3000), np.uint8)
    mask[40:60, 70:80] = mask[2000:2010, 2500:2600] = 1
    assert find_regions(mask, 10**6) == [Region(Box(40, 70, 2010, 2600), Box(0, 0, 3000, 3000))]


@settings(max_examples=40, deadline=None)
@given(masks(), st.integers(0, 20), st.booleans())
def test_each_masked_pixel_belongs_to_exactly_one_region(mask, context, whole):
    owners = np.zeros(mask.shape, int)
    for region in find_regions(mask, context, whole=whole):
        least = region.box.grown(context, *mask.shape)
        assert least.common(region.crop) == least and region.crop.grown(0, *mask.shape)
        for axis, side in enumerate(region.crop.shape):
            assert side % EVEN == 0 or side == mask.shape[axis]
        own = region.own_in(mask, region.box) > 0
        rows, columns = np.nonzero(own)
        assert {0, region.box.shape[0] - 1} <= set(rows.tolist()), 'the box is tight'
        assert {0, region.box.shape[1] - 1} <= set(columns.tolist()), 'the box is tight'
        owners[region.box.area] += own
    np.testing.assert_array_equal(owners, mask > 0)


@settings(max_examples=40, deadline=None)
@given(masks(), st.integers(0, 20))
def test_whole_regions_do_not_meet_crops_of_others(mask, context):
    found = find_regions(mask, context, whole=True)
    for region in found:
        others = [other for other in found if other != region]
        assert not any(region.crop.common(other.box) for other in others)


@settings(max_examples=40, deadline=None)
@given(masks(), st.integers(0, 20), st.integers(40, 80))
def test_joining_saves_pixels_until_no_pair_does(mask, context, tile):
    found = find_regions(mask, context, tile)
    crops = grouping._Crops(context, tile, mask.shape)
    groups = Groups(mask, min(grouping.CELL, max(1, context // 4)))
    alone = [Region(box, crops.around(box)) for box in groups.boxes]
    assert pixels_of(found) <= pixels_of(alone)
    for number, one in enumerate(found):
        for other in found[:number]:
            pair = zip(one.box, other.box, (min, min, max, max))
            union = crops.around(Box(*(choose(a, b) for a, b, choose in pair)))
            saves = np.prod(union.shape) < pixels_of([one, other])
            assert not saves or max(union.shape) > tile
