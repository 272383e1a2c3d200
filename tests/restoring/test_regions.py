"""Regions and tiles: hand values, and properties on random masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmaca_arch.restoring import regions
from hmaca_arch.restoring.regions import (
    Blend,
    Box,
    Region,
    cut,
    find_regions,
    marked_box,
    paste_weights,
)


def mask_of(height: int, width: int, *boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    for box in boxes:
        mask[Box(*box).area] = 1
    return mask


@st.composite
def masks(draw) -> np.ndarray:
    """Specks and rectangles on pictures of all proportions."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = draw(st.integers(1, 120)), draw(st.integers(1, 120))
    mask = (rng.random((height, width)) < draw(st.sampled_from([0, 0.0005, 0.005]))).astype(
        np.uint8
    )
    for _ in range(draw(st.integers(0, 4))):
        top, left = rng.integers(height), rng.integers(width)
        mask[top : top + rng.integers(1, 30), left : left + rng.integers(1, 30)] = 1
    return mask


@pytest.mark.parametrize(
    ('kind', 'value'),
    [(bool, 1), (np.uint8, 1), (np.uint16, 1), (np.uint16, 256), (np.float32, 0.01), (float, 1)],
)
def test_the_box_around_marked_pixels_of_any_type(kind, value):
    mask = np.zeros((9, 12), kind)
    assert marked_box(mask) == Box(0, 0, 0, 0)
    mask[3, 5] = mask[6, 2] = value
    assert marked_box(mask) == Box(3, 2, 7, 6)


@pytest.mark.parametrize('swap', [False, True], ids=['rows', 'columns'])
@pytest.mark.parametrize('order', [1, -1])
@pytest.mark.parametrize(('gap', 'count'), [(3, 1), (4, 2)])
def test_boxes_merge_below_the_distance_and_not_at_it(swap, order, gap, count):
    """Whichever of two comes first, along either axis; side by side on the other."""
    boxes = [Box(10, 10, 20, 20), Box(20 + gap, 10, 30, 20)]
    if swap:
        boxes = [Box(box.left, box.top, box.right, box.bottom) for box in boxes]
    assert len(regions._merged(boxes[::order], 4)) == count


def test_context_is_cut_at_the_picture():
    (region,) = find_regions(mask_of(100, 80, (2, 60, 12, 70)), 16)
    assert region == Region(Box(2, 60, 12, 70), Box(0, 44, 28, 80))


@pytest.mark.parametrize(('gap', 'count'), [(7, 1), (8, 2)])
def test_regions_merge_where_their_context_overlaps(gap, count):
    mask = mask_of(40, 100, (10, 20, 15, 30), (10, 30 + gap, 15, 50))
    found = find_regions(mask, 4)
    assert len(found) == count
    assert found[0].box == (Box(10, 20, 15, 50) if count == 1 else Box(10, 20, 15, 30))
    assert len(find_regions(np.ascontiguousarray(mask.T), 4)) == count


def test_diagonal_neighbours_are_one_region_without_context():
    assert len(find_regions(mask_of(9, 9, (1, 1, 2, 2), (2, 2, 3, 3)), 0)) == 1
    assert len(find_regions(mask_of(9, 9, (1, 1, 2, 2), (3, 3, 4, 4)), 0)) == 2


def test_merging_goes_on_until_nothing_overlaps():
    # the third lies in the box of the first two, whose own context is far away from it
    corner = mask_of(90, 90, (5, 5, 80, 8), (5, 5, 8, 80), (60, 60, 64, 64))
    assert [region.box for region in find_regions(corner, 4)] == [Box(5, 5, 80, 80)]


def test_no_mask_no_region():
    assert find_regions(np.zeros((5, 7), np.uint8), 32) == []


def test_a_faint_soft_mask_is_a_region():
    mask = np.zeros((30, 30), np.float32)
    mask[4, 5] = 0.001
    assert find_regions(mask, 2) == [Region(Box(4, 5, 5, 6), Box(2, 3, 7, 8))]


def test_thousands_of_specks():
    mask = np.zeros((1000, 1000), np.uint8)
    mask[::20, ::20] = 1
    assert len(find_regions(mask, 4)) == 2500
    assert [region.box for region in find_regions(mask, 10)] == [Box(0, 0, 981, 981)]


def test_a_context_beyond_the_picture_is_all_of_it():
    mask = np.zeros((3000, 3000), np.uint8)
    mask[40:60, 70:80] = mask[2000:2010, 2500:2600] = 1
    assert find_regions(mask, 10**6) == [Region(Box(40, 70, 2010, 2600), Box(0, 0, 3000, 3000))]


@settings(max_examples=40)
@given(masks(), st.integers(0, 20))
def test_each_masked_pixel_is_in_exactly_one_crop(mask, context):
    covered = np.zeros(mask.shape, int)
    for region in find_regions(mask, context):
        assert region.crop == region.box.grown(context, *mask.shape)
        rows, columns = np.nonzero(mask[region.box.area])
        assert {0, region.box.shape[0] - 1} <= set(rows) and {0, region.box.shape[1] - 1} <= set(
            columns
        ), 'the box is tight'
        covered[region.crop.area] += 1
    assert covered.max(initial=0) <= 1 and (covered[mask > 0] == 1).all()


@settings(max_examples=40)
@given(masks(), st.integers(0, 10), st.integers(20, 60), st.integers(0, 19))
def test_tiles_cover_the_mask_and_blend_to_what_they_were_cut_from(mask, context, limit, overlap):
    picture = np.random.default_rng(0).random((*mask.shape, 3), dtype=np.float32)
    for region in find_regions(mask, context):
        blend = Blend(region, 3, overlap)
        tiles = cut(region, mask, limit, overlap)
        assert len({tile.shape for tile in tiles}) == 1 and max(tiles[0].shape) <= limit
        for tile in tiles:
            assert mask[tile.area].any() and tile == tile.grown(0, *mask.shape)
            blend.add(tile, picture[tile.area])
        inside = mask[region.crop.area] > 0
        np.testing.assert_allclose(
            blend.result()[inside], picture[region.crop.area][inside], atol=1e-5
        )


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


def test_ramps_by_hand():
    for arguments, expected in (
        ((0, 4, 4, 3), [1, 1, 1, 1]),
        ((0, 4, 9, 3), [1, 0.75, 0.5, 0.25]),
        ((1, 5, 5, 3), [0.25, 0.5, 0.75, 1]),
        ((3, 7, 9, 1), [0.5, 1, 1, 0.5]),
    ):
        ramp = regions._ramp(*arguments)
        assert ramp.tolist() == expected and ramp.dtype == np.float32


def test_nothing_was_there_is_zero_and_in_float32():
    blend = Blend(Region(Box(0, 0, 4, 8), Box(0, 0, 4, 8)), 3, 0)
    assert blend.sum.dtype == blend.weight.dtype == np.float32
    blend.add(Box(0, 0, 4, 4), np.ones((4, 4, 3)))
    used = np.full((4, 8, 3), 7, np.float32)  # numpy hands out this memory again
    del used
    with np.errstate(all='raise'):
        result = blend.result()
    assert result.dtype == np.float32 and (result[:, :4] == 1).all() and (result[:, 4:] == 0).all()


@pytest.mark.parametrize('upright', [False, True])
def test_tiles_that_differ_meet_without_a_step(upright):
    """What two tiles disagree about is spread evenly over the overlap: no step between neighbours
    is larger than a fraction of it.
    """
    box = Box(0, 0, 140, 40) if upright else Box(0, 0, 40, 140)
    blend = Blend(Region(box, box), 1, 20)
    for value, tile in enumerate(cut(Region(box, box), np.ones(box.shape, np.uint8), 80, 20)):
        blend.add(tile, np.full((*tile.shape, 1), value + 1, np.float32))
    line = blend.result()[:, 20, 0] if upright else blend.result()[20, :, 0]
    assert (
        line[0] == 1
        and line[-1] == 2
        and (np.diff(line) >= 0).all()
        and np.diff(line).max() < 1.01 / 21
    )


def test_one_tile_is_taken_as_it_is():
    region = Region(Box(3, 3, 20, 20), Box(0, 0, 23, 23))
    values = np.random.default_rng(0).random((23, 23, 3), dtype=np.float32)
    blend = Blend(region, 3, 8)
    blend.add(region.crop, values)
    np.testing.assert_array_equal(blend.result(), values)


def test_feathering_is_inside_the_mask_only():
    mask = mask_of(40, 40, (10, 10, 30, 30))
    region = find_regions(mask, 4)[0]
    weights = np.zeros(mask.shape)
    weights[region.crop.area] = paste_weights(mask, region, 3)
    np.testing.assert_allclose(weights[20, 8:16], [0, 0, 0.25, 0.5, 0.75, 1, 1, 1])
    assert (weights[mask == 0] == 0).all() and (weights[mask == 1] > 0).all()


def test_feathering_takes_the_true_distance():
    mask = np.ones((30, 30), np.uint8)
    mask[:10, :10] = 0
    weights = paste_weights(mask, find_regions(mask, 0)[0], 9)
    for y, x in ((13, 14), (12, 20), (29, 29)):
        distance = np.hypot(y - 9, x - 9) if x > 9 and y > 9 else 0
        assert weights[y, x] == pytest.approx(min(1, distance / 10), abs=1e-6)


def test_the_pictures_border_does_not_fade_and_a_crop_without_context_does():
    mask = mask_of(20, 20, (0, 0, 20, 10))
    weights = paste_weights(mask, find_regions(mask, 0)[0], 1)
    np.testing.assert_allclose(weights[0], [1] * 9 + [0.5])
