"""Regions and tiles: hand values, and properties on random masks."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmaca_arch.restoring import blending, regions
from hmaca_arch.restoring.blending import Blend, Patch, PasteWeights, make_patch
from hmaca_arch.restoring.regions import Box, Region, cut, find_clusters, find_regions, marked_box


def mask_of(height: int, width: int, *boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    for box in boxes:
        mask[Box(*box).area] = 1
    return mask


@st.composite
def masks(draw) -> np.ndarray:
    """Specks and rectangles on images of all proportions."""
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


def test_context_is_cut_at_the_image():
    (region,) = find_regions(mask_of(100, 80, (2, 60, 12, 70)), 16)
    assert region == Region(Box(2, 60, 12, 70), Box(0, 44, 28, 80))


@pytest.mark.parametrize('swap', [False, True], ids=['rows', 'columns'])
@pytest.mark.parametrize(('gap', 'count'), [(15, 1), (16, 2)])
def test_regions_are_joined_where_that_saves_pixels(swap, gap, count):
    """Crops of 21x26 and 21x31: one of 21x(41 + gap) saves as long as the gap is below 16."""
    mask = mask_of(60, 120, (20, 20, 25, 30), (20, 30 + gap, 25, 45 + gap))
    found = find_regions(np.ascontiguousarray(mask.T) if swap else mask, 8)
    assert len(found) == count
    box = (20, 20, 25, 45 + gap) if count == 1 else (20, 20, 25, 30)
    assert found[0].box == (Box(box[1], box[0], box[3], box[2]) if swap else Box(*box))


def test_regions_beside_each_other_are_not_joined_across_the_corner():
    """One crop of 100x100 takes more than two of 58x58, though these overlap."""
    mask = mask_of(200, 200, (50, 50, 92, 92), (94, 94, 136, 136))
    first, second = find_regions(mask, 8)
    assert first.crop == Box(42, 42, 100, 100) and second.crop == Box(86, 86, 144, 144)
    assert len(find_regions(mask, 60)) == 1, 'with so much context it saves'


def test_what_is_joined_fits_into_one_tile():
    mask = mask_of(60, 200, (20, 20, 25, 60), (20, 70, 25, 110))
    assert len(find_regions(mask, 8)) == 1 and len(find_regions(mask, 8, tile=105)) == 2


def test_diagonal_neighbours_are_one_region_without_context():
    assert len(find_regions(mask_of(9, 9, (1, 1, 2, 2), (2, 2, 3, 3)), 0)) == 1
    assert len(find_regions(mask_of(9, 9, (1, 1, 2, 2), (3, 3, 4, 4)), 0)) == 2


def test_pixels_of_others_inside_a_box_are_told_apart():
    mask = mask_of(90, 90, (5, 5, 80, 8), (5, 5, 8, 80), (60, 60, 64, 64))
    corner, speck = find_regions(mask, 4, tile=30)
    assert (corner.box, speck.box) == (Box(5, 5, 80, 80), Box(60, 60, 64, 64))
    assert not corner.own[55:59, 55:59].any() and corner.own[0].all() and speck.own is None
    assert (corner.own_in(mask, corner.box) > 0).sum() == 75 * 3 * 2 - 9
    assert (speck.own_in(mask, speck.box) > 0).all()
    tiles = cut(corner, mask, 30, 4)
    assert not any(tile.top > 40 and tile.left > 40 for tile in tiles), 'the speck needs no tile'


def test_dust_is_many_small_crops():
    """300 spots on a scan: as many pixels as their crops have, and not all of the image."""
    rng = np.random.default_rng(0)
    mask = np.zeros((3000, 4000), np.uint8)
    for top, left in zip(rng.integers(0, 2990, 300), rng.integers(0, 3990, 300)):
        mask[top : top + 10, left : left + 10] = 1
    found = find_regions(mask, 32, tile=192)
    pixels = sum(np.prod(region.crop.shape) for region in found)
    assert 250 <= len(found) <= 300 and pixels <= 300 * 74 * 74 < 0.14 * mask.size
    assert max(max(region.crop.shape) for region in found) <= 192


def test_specks_without_number_are_found_in_bounded_time():
    rng = np.random.default_rng(0)
    mask = (rng.random((2000, 3000)) < 0.01).astype(np.uint8)
    start = time.process_time()
    found = find_regions(mask, 32, tile=192)
    assert time.process_time() - start < 60
    covered = np.zeros(mask.shape, bool)
    for region in found:
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
    assert find_regions(mask, 2) == [Region(Box(4, 5, 5, 6), Box(2, 3, 7, 8))]


def test_thousands_of_specks():
    mask = np.zeros((1000, 1000), np.uint8)
    mask[::20, ::20] = 1
    assert len(find_regions(mask, 4)) == 2500
    crops = [region.crop.shape for region in find_regions(mask, 32, tile=192)]
    assert sum(np.prod(crop) for crop in crops) < 2 * mask.size and len(crops) < 100


def test_a_context_beyond_the_image_is_all_of_it():
    mask = np.zeros((3000, 3000), np.uint8)
    mask[40:60, 70:80] = mask[2000:2010, 2500:2600] = 1
    assert find_regions(mask, 10**6) == [Region(Box(40, 70, 2010, 2600), Box(0, 0, 3000, 3000))]


@settings(max_examples=40)
@given(masks(), st.integers(0, 20))
def test_each_masked_pixel_belongs_to_exactly_one_region(mask, context):
    owners = np.zeros(mask.shape, int)
    for region in find_regions(mask, context):
        assert region.crop == region.box.grown(context, *mask.shape)
        own = region.own_in(mask, region.box) > 0
        rows, columns = np.nonzero(own)
        assert {0, region.box.shape[0] - 1} <= set(rows.tolist()), 'the box is tight'
        assert {0, region.box.shape[1] - 1} <= set(columns.tolist()), 'the box is tight'
        owners[region.box.area] += own
    np.testing.assert_array_equal(owners, mask > 0)


@settings(max_examples=40)
@given(masks(), st.integers(0, 20), st.integers(40, 80))
def test_joining_never_takes_more_pixels(mask, context, tile):
    def pixels(found: list[Region]) -> int:
        return sum(int(np.prod(region.crop.shape)) for region in found)

    alone = [
        Region(box, box.grown(context, *mask.shape))
        for box in (regions.Groups(mask, max(1, context // 4)).boxes() if mask.any() else ())
    ]
    assert pixels(find_regions(mask, context, tile)) <= pixels(alone)


def rows_of(crop: Box, channels: int) -> tuple[np.ndarray, list[Box], blending.Rows]:
    """Return an array of the image's size that collects rows, and their boxes."""
    result, boxes = np.zeros((crop.bottom, crop.right, channels), np.float32), []

    def keep(box: Box, values: np.ndarray) -> None:
        boxes.append(box)
        result[box.area] = values

    return result, boxes, keep


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
        assert all(a.bottom <= b.top for a, b in zip(boxes, boxes[1:])), 'each row once'
        own = region.own_in(mask, region.box) > 0
        found = result[region.box.area][own]
        np.testing.assert_allclose(found, image[region.box.area][own], atol=1e-5)


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


def weights_of(mask: np.ndarray, region: Region, feather: int) -> np.ndarray:
    """Return a mask's weights, 0 outside the region's box."""
    weights = np.zeros(mask.shape)
    weights[region.box.area] = PasteWeights(mask, region, feather).of(region.box)
    return weights


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


def test_patches_hold_only_pixels_of_their_region():
    mask = mask_of(90, 90, (5, 5, 80, 8), (5, 5, 8, 80), (60, 60, 64, 64))
    image = np.zeros((90, 90, 4), np.uint8)
    for number, region in enumerate(find_regions(mask, 4, tile=30), start=1):
        weights = PasteWeights(mask, region, 0)
        for top in range(region.crop.top, region.crop.bottom, 7):
            rows = Box(top, region.crop.left, min(top + 7, region.crop.bottom), region.crop.right)
            values = np.full((*rows.shape, 3), number / 255, np.float32)
            patch = make_patch(image[..., :3], weights, rows, values)
            if patch is not None:
                patch.paste(image)
    assert (image[..., 0][mask_of(90, 90, (60, 60, 64, 64)) > 0] == 2).all()
    assert ((image[..., 0] > 0) == (mask > 0)).all() and not image[..., 3].any()
    assert Patch(Box(1, 2, 3, 4), image[:2, :2], mask[:2, :2] > 0).moved(1, 1).box[:2] == (2, 3)
