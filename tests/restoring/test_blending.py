"""Tiles that are put together, and how they fade into the image: hand values, properties."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from region_masks import mask_of, masks

from hmaca_arch.restoring import blending
from hmaca_arch.restoring.blending import Blend, Paste
from hmaca_arch.restoring.grouping import find_regions
from hmaca_arch.restoring.regions import Box, Region, cut


def rows_of(crop: Box, channels: int) -> tuple[np.ndarray, list[Box], blending.Rows]:
    """Return an array of the image's size that collects rows, and their boxes."""
    result, boxes = np.zeros((crop.bottom, crop.right, channels), np.float32), []

    def keep(box: Box, values: np.ndarray) -> None:
        boxes.append(box)
        result[box.area] = values

    return result, boxes, keep


def weights_of(mask: np.ndarray, region: Region, feather: int) -> np.ndarray:
    """Return a mask's weights, 0 outside the region's box."""
    weights = np.zeros(mask.shape)
    weights[region.box.area] = Paste(mask[..., None], mask, region, feather).weights(region.box)
    return weights


def test_ramps_by_hand():
    for arguments, expected in (
        ((0, 4, 4, 3), [1, 1, 1, 1]),
        ((0, 4, 9, 3), [1, 0.75, 0.5, 0.25]),
        ((1, 5, 5, 3), [0.25, 0.5, 0.75, 1]),
        ((3, 7, 9, 1), [0.5, 1, 1, 0.5]),
    ):
        ramp = blending._ramp(*arguments)
        assert ramp.tolist() == expected and ramp.dtype == np.float32


def test_rows_are_handed_out_as_soon_as_they_are_final():
    region = Region(Box(0, 0, 100, 40), Box(0, 0, 100, 40))
    result, boxes, keep = rows_of(region.crop, 1)
    blend = Blend(region, 1, 10, 40, keep)
    for number, top in enumerate((0, 30, 60)):
        blend.add(Box(top, 0, top + 40, 40), np.full((40, 40, 1), number, np.float32))
        assert [box.bottom for box in boxes] == [30, 60][:number]
    blend.finish()
    assert [(box.top, box.bottom) for box in boxes] == [(0, 30), (30, 60), (60, 100)]
    assert result[:30].max() == 0 and (result[70:] == 2).all() and 0 < result[35, 0, 0] < 1


def test_where_no_tile_was_there_is_zero():
    crop = Box(0, 0, 60, 8)
    result, _, keep = rows_of(crop, 3)
    result[:] = 7
    blend = Blend(Region(crop, crop), 3, 0, 4, keep)
    assert blend.sum.dtype == blend.weight.dtype == np.float32
    blend.add(Box(0, 0, 4, 4), np.ones((4, 4, 3)))
    blend.add(Box(50, 0, 54, 4), np.ones((4, 4, 3)))
    with np.errstate(all='raise'):
        blend.finish()
    assert (result[:4, :4] == 1).all() and (result[:4, 4:] == 0).all()
    assert (result[50:54, :4] == 1).all() and (result[4:50] == 7).all(), 'rows without tiles'


@pytest.mark.parametrize('upright', [False, True])
def test_tiles_that_differ_meet_without_a_step(upright):
    """What two tiles disagree about is spread evenly over the overlap."""
    box = Box(0, 0, 140, 40) if upright else Box(0, 0, 40, 140)
    region = Region(box, box)
    result, _, keep = rows_of(box, 1)
    tiles = cut(region, np.ones(box.shape, np.uint8), 80, 20)
    blend = Blend(region, 1, 20, tiles[0].shape[0], keep)
    for value, tile in enumerate(tiles):
        blend.add(tile, np.full((*tile.shape, 1), value + 1, np.float32))
    blend.finish()
    line = result[:, 20, 0] if upright else result[20, :, 0]
    assert line[0] == 1 and line[-1] == 2
    assert (np.diff(line) >= 0).all() and np.diff(line).max() < 1.01 / 21


def test_one_tile_is_taken_as_it_is():
    region = Region(Box(3, 3, 20, 20), Box(0, 0, 23, 23))
    values = np.random.default_rng(0).random((23, 23, 3), dtype=np.float32)
    result, _, keep = rows_of(region.crop, 3)
    blend = Blend(region, 3, 8, 23, keep)
    blend.add(region.crop, values)
    blend.finish()
    np.testing.assert_array_equal(result, values)


def test_feathering_is_inside_the_mask_only():
    mask = mask_of(40, 40, (10, 10, 30, 30))
    weights = weights_of(mask, find_regions(mask, 4)[0], 3)
    np.testing.assert_allclose(weights[20, 8:16], [0, 0, 0.25, 0.5, 0.75, 1, 1, 1])
    assert (weights[mask == 0] == 0).all() and (weights[mask == 1] > 0).all()


def test_feathering_takes_the_true_distance():
    mask = np.ones((30, 30), np.uint8)
    mask[:10, :10] = 0
    weights = weights_of(mask, find_regions(mask, 0)[0], 9)
    for y, x in ((13, 14), (12, 20), (29, 29)):
        distance = np.hypot(y - 9, x - 9) if x > 9 and y > 9 else 0
        assert weights[y, x] == pytest.approx(min(1, distance / 10), abs=1e-6)


def test_the_images_border_does_not_fade_and_a_crop_without_context_does():
    mask = mask_of(20, 20, (0, 0, 20, 10))
    weights = weights_of(mask, find_regions(mask, 0)[0], 1)
    np.testing.assert_allclose(weights[0], [1] * 9 + [0.5] + [0] * 10)


def test_only_pixels_of_the_region_are_written():
    mask = mask_of(90, 90, (5, 5, 80, 8), (5, 5, 8, 80), (60, 60, 64, 64))
    colours, target = np.zeros((90, 90, 3), np.uint8), np.zeros((90, 90, 3), np.uint8)
    for number, region in enumerate(find_regions(mask, 4, tile=30), start=1):
        paste = Paste(colours, mask, region, 0)
        for top in range(region.crop.top, region.crop.bottom, 7):
            rows = Box(top, region.crop.left, min(top + 7, region.crop.bottom), region.crop.right)
            paste.write(target, rows, np.full((*rows.shape, 3), number / 255, np.float32))
    assert (target[60:64, 60:64] == 2).all() and not colours.any()
    assert ((target[..., 0] > 0) == (mask > 0)).all()


@settings(max_examples=40)
@given(masks(), st.integers(0, 10), st.integers(20, 60), st.integers(0, 19))
def test_tiles_cover_the_mask_and_blend_to_what_they_were_cut_from(mask, context, limit, overlap):
    image = np.random.default_rng(0).random((*mask.shape, 3), dtype=np.float32)
    for region in find_regions(mask, context, limit):
        tiles = cut(region, mask, limit, overlap)
        assert len({tile.shape for tile in tiles}) == 1 and max(tiles[0].shape) <= limit
        result, boxes, keep = rows_of(region.crop, 3)
        blend = Blend(region, 3, overlap, tiles[0].shape[0], keep)
        for tile in tiles:
            assert region.own_in(mask, region.box).any() and tile == tile.grown(0, *mask.shape)
            blend.add(tile, image[tile.area])
        blend.finish()
        assert all(a.bottom <= b.top for a, b in itertools.pairwise(boxes)), 'each row once'
        own = region.own_in(mask, region.box) > 0
        found = result[region.box.area][own]
        np.testing.assert_allclose(found, image[region.box.area][own], atol=1e-5)
