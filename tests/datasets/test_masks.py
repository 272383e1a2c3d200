"""Region masks and the crops around them: properties over many draws, and brute-force oracles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_ext.crops import Augmentation, crop_position, draw_augmentation
from datasets_ext.masks import SHAPES, components, draw_region

RNG = np.random.default_rng
SIDES = st.integers(1, 40)


@given(st.sampled_from(SHAPES), SIDES, SIDES, st.integers(1, 60), st.integers(0, 2**32))
@settings(max_examples=300)
def test_every_shape_marks_something_inside_any_image(shape, height, width, side, seed):
    mask = draw_region(shape, height, width, side, RNG(seed))
    assert mask.shape == (height, width, 1) and mask.dtype == bool
    assert mask.any()
    np.testing.assert_array_equal(mask, draw_region(shape, height, width, side, RNG(seed)))
    if shape == 'square':
        side = min(side, height, width)
        rows, columns = mask.any(axis=(1, 2)).nonzero()[0], mask.any(axis=(0, 2)).nonzero()[0]
        assert mask.sum() == side * side and np.ptp(rows) == np.ptp(columns) == side - 1


@pytest.mark.parametrize('shape', SHAPES)
def test_areas_are_about_what_was_asked_for(shape):
    areas = [draw_region(shape, 128, 128, 20, RNG(i)).sum() for i in range(200)]
    assert 200 < np.mean(areas) < 900
    assert len({draw_region(shape, 128, 128, 20, RNG(i)).tobytes() for i in range(200)}) > 190


def test_squares_reach_every_position_equally():
    seen = np.zeros((12, 9), int)
    for i in range(3000):
        mask = draw_region('square', 12, 9, 4, RNG(i))[..., 0]
        top, left = (axis.nonzero()[0][0] for axis in (mask.any(axis=1), mask.any(axis=0)))
        seen[top, left] += 1
    assert (seen[9:] == 0).all() and (seen[:, 6:] == 0).all()
    assert seen[:9, :6].min() > 25 and seen[:9, :6].max() < 100  # 3000 / 54 = 56


def test_shapes_are_what_they_are_called():
    several = [len(components(draw_region('several', 128, 128, 20, RNG(i)))) for i in range(50)]
    assert max(several) >= 3
    box_of = components(draw_region('ellipses', 128, 128, 60, RNG(1)))[0]
    assert 0.4 < box_of[4].mean() < 0.95  # neither a box nor a line


@given(st.integers(0, 2**32), st.sampled_from(SHAPES))
@settings(max_examples=60)
def test_components_put_together_are_the_mask(seed, shape):
    mask = draw_region(shape, 40, 50, 15, RNG(seed))
    again = np.zeros_like(mask)
    for top, left, height, width, inside in components(mask):
        box = again[top : top + height, left : left + width]
        assert not (box & inside).any()
        assert (
            inside.any(axis=(1, 2))[[0, -1]].all() and inside.any(axis=(0, 2))[[0, -1]].all()
        )  # tight
        box |= inside
    np.testing.assert_array_equal(mask, again)


def test_components_of_nothing_and_of_everything():
    assert components(np.zeros((5, 6, 1), bool)) == []
    assert components(np.ones((5, 6, 1), bool))[0][:4] == (0, 0, 5, 6)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [(('circle', 8, 8, 3), 'no shape'), (('square', 8, 8, 0), 'at least 1')],
)
def test_wrong_regions_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_region(*arguments, RNG(0))


def crop_areas(mask: np.ndarray, size: int) -> dict[tuple[int, int], float]:
    """Plain loops: the mask's area in every crop."""
    height, width = mask.shape[:2]
    return {
        (y, x): float(mask[y : y + size, x : x + size].sum())
        for y in range(height - size + 1)
        for x in range(width - size + 1)
    }


@given(
    st.integers(0, 2**32), st.integers(1, 14), st.integers(1, 14), st.integers(1, 14),
    st.sampled_from([0, 0.01, 0.5, 0.9, 1]), st.sampled_from(['binary', 'soft', 'empty', 'full']),
)  # fmt: skip
@settings(max_examples=250)
def test_crops_hold_what_they_must_or_the_most_there_is(seed, height, width, size, ratio, kind):
    size = min(size, height, width)
    rng = RNG(seed)
    mask = {
        'binary': (rng.random((height, width, 1)) < 0.1).astype(np.uint8),
        'soft': rng.random((height, width, 1)).astype(np.float32),
        'empty': np.zeros((height, width, 1), np.uint8),
        'full': np.ones((height, width, 1), np.uint8),
    }[kind]
    areas = crop_areas(mask, size)
    position = crop_position(mask, size, ratio, rng)
    assert position in areas
    needed = min(ratio * mask.sum(dtype=float), max(areas.values()))
    assert areas[position] >= needed - 1e-4


def test_every_valid_crop_is_drawn_and_no_other():
    mask = np.zeros((10, 11, 1), np.uint8)
    mask[3:6, 4:7] = 1
    for ratio in (0, 0.3, 0.6, 1.0):
        areas = crop_areas(mask, 5)
        valid = {position for position, area in areas.items() if area >= ratio * 9 - 1e-9}
        drawn = [crop_position(mask, 5, ratio, RNG(i)) for i in range(1500)]
        assert set(drawn) == valid
        counts = [drawn.count(position) for position in valid]
        assert max(counts) < 1500 / len(valid) + 6 * (1500 / len(valid)) ** 0.5


def test_a_region_larger_than_the_crop_falls_back_to_the_fullest_crops():
    mask = np.zeros((20, 20, 1), np.uint8)
    mask[4:16, 4:16] = 1
    drawn = {crop_position(mask, 6, 1.0, RNG(i)) for i in range(600)}
    assert drawn == {(y, x) for y in range(4, 11) for x in range(4, 11)}


@given(st.integers(0, 2**32), st.booleans(), st.booleans())
@settings(max_examples=40)
def test_one_augmentation_moves_all_images_alike(seed, use_hflip, use_rot):
    image = np.arange(12 * 9).reshape(12, 9, 1)
    mask = (image % 7 == 0).astype(np.uint8)
    augmentation = draw_augmentation(
        mask, RNG(seed), size=5, min_mask_ratio=0.2, use_hflip=use_hflip, use_rot=use_rot
    )
    moved = augmentation(image)
    assert moved.shape == (5, 5, 1)
    np.testing.assert_array_equal(augmentation(mask), (moved % 7 == 0).astype(np.uint8))
    assert use_hflip or not augmentation.hflip
    assert use_rot or not (augmentation.vflip or augmentation.transpose)


def test_flips_make_all_eight_orientations():
    image = np.arange(9).reshape(3, 3, 1)
    seen = {
        draw_augmentation(image, RNG(i), size=None, min_mask_ratio=0, use_hflip=True, use_rot=True)(
            image
        ).tobytes()
        for i in range(100)
    }
    expected = {
        np.ascontiguousarray(np.rot90(side, turns)).tobytes()
        for side in (image, image[:, ::-1])
        for turns in range(4)
    }
    assert seen == expected


def test_whole_images_pass_through():
    image = np.arange(6).reshape(2, 3, 1)
    np.testing.assert_array_equal(Augmentation()(image), image)
