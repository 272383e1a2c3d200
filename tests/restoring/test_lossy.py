"""Measuring what was done before JPEG: blocks by their coefficients, noise and blur by a network."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, environment
from skimage import data

from hmaca_arch.degradation import pixels
from hmaca_arch.restoring.measuring import measure
from hmaca_arch.restoring.measuring.jpeg import DCT, coefficients, in_blocks, luma
from hmaca_arch.restoring.measuring.lossy import (
    KINDS,
    LEAST,
    MOST,
    NEAR,
    LossyEstimator,
    estimate,
    planes_of,
    window,
)
from hmaca_arch.restoring.measuring.lossy_blocks import Fit, lossy_grid

TOP, LEFT = 61, 90
SHIPPED = ROOT / 'hmaca_arch' / 'weights' / 'lossy_estimator.pth'


@pytest.fixture(scope='module')
def photo() -> np.ndarray:
    return data.astronaut()[40:280, 120:360]


def square(image, side=56, top=TOP, left=LEFT):
    mask = np.zeros((*image.shape[:2], 1), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_the_transform_is_orthonormal_and_that_of_opencv():
    values = np.random.default_rng(0).uniform(0, 255, (16, 24)).astype(np.float32)
    blocks = in_blocks(values)
    assert blocks.shape == (2, 3, 8, 8) and (blocks[1, 2] == values[8:, 16:]).all()
    found = coefficients(values, np.ones(values.shape, bool))
    for block, one in zip(blocks.reshape(-1, 8, 8), found):
        assert np.abs(cv2.dct(block - 128) - one).max() < 1e-2
    assert np.abs(DCT @ DCT.T - np.eye(8)).max() < 1e-6


@pytest.mark.parametrize('quality', [30, 75, 95])
@pytest.mark.parametrize(
    ('block', 'offset'), [(4, (3, 1)), (7, (5, 0)), (12, (1, 6)), (18, (9, 4))]
)
def test_the_grid_is_found_wherever_it_lies(photo, quality, block, offset):
    mask = square(photo)
    pixelized = pixels.pixelate_grid(photo, mask, block, 'mean', offset)
    compressed = pixels.jpeg(pixelized, quality)
    grid = lossy_grid(compressed, mask[..., 0], quality)
    assert grid is not None and (grid.block, grid.offset) == (block, offset)
    assert (grid.area == mask[..., 0]).all()


def test_only_the_right_grid_has_the_coefficients_of_the_file(photo):
    mask = np.ones((*photo.shape[:2], 1), bool)
    values = luma(pixels.jpeg(pixels.pixelate_grid(photo, mask, 10, 'centre', (3, 7)), 60))
    fit = Fit(values[40:136, 40:136], mask[40:136, 40:136, 0], 60)
    at = ((3 - 40) % 10, (7 - 40) % 10)
    assert fit.share(10, at) > 0.9 and fit.share(5, (at[0] % 5, at[1] % 5)) > 0.9
    others = [fit.share(10, (row, column)) for row in range(10) for column in range(10)]
    assert sorted(others)[-2] < 0.5


def test_a_mask_that_is_too_wide_finds_the_same_grid(photo):
    compressed = pixels.jpeg(pixels.pixelate(photo, square(photo), 8, 'mean'), 75)
    wide = square(photo, 80, TOP - 9, LEFT - 15)[..., 0]
    grid = lossy_grid(compressed, wide, 75)
    assert grid is not None and (grid.block, grid.offset) == (8, (TOP % 8, LEFT % 8))
    area = square(photo)[..., 0]
    assert (grid.area & area).sum() > 0.6 * (grid.area | area).sum()


@pytest.mark.parametrize('quality', [40, 75, 92])
def test_no_grid_where_there_is_none(photo, quality):
    mask, rng = square(photo), np.random.default_rng(0)
    degraded = [photo, pixels.blur(photo, mask, 2.0), pixels.noise(photo, mask, rng, 25)]
    for image in degraded:
        assert lossy_grid(pixels.jpeg(image, quality), mask[..., 0], quality) is None


@pytest.mark.parametrize('quality', [50, 75, 90])
@pytest.mark.parametrize('wider', [(0, 0, 0, 0), (12, 0, 3, 9), (9, 9, 9, 9)])
def test_blur_before_jpeg_ends_where_the_image_is_sharp(photo, quality, wider):
    compressed = pixels.jpeg(pixels.blur(photo, square(photo), 2.5), quality)
    top, left, bottom, right = wider
    mask = np.zeros(photo.shape[:2], bool)
    mask[TOP - top : TOP + 56 + bottom, LEFT - left : LEFT + 56 + right] = True
    found, area = measure(compressed, mask, quality)[0], square(photo)[..., 0]
    assert found.degradation.kind == 'blur'
    assert (found.area & area).sum() > 0.85 * (found.area | area).sum()


@pytest.mark.parametrize('told', [98, None])
def test_fine_jpeg_is_no_reason_to_see_nothing(photo, told):
    blurred = pixels.blur(photo, square(photo), 2.0)
    found = measure(pixels.jpeg(blurred, 98), square(photo), told)[0].degradation
    assert found.kind == 'blur' and found.jpeg == 98 and 1.6 < found.sigma < 2.4
    assert measure(blurred, square(photo))[0].degradation.jpeg == 0
    assert measure(photo, square(photo))[0].degradation.kind == 'none'
    noisy = pixels.noise(photo, square(photo), np.random.default_rng(0), 15)
    found = measure(pixels.jpeg(noisy, 98), square(photo), 98)[0].degradation
    assert found.kind == 'noise' and 12 < found.sigma < 18


def test_an_ellipse_in_an_ellipse_painted_wider_is_found(photo):
    degraded, painted = np.zeros((2, *photo.shape[:2]), np.uint8)
    cv2.ellipse(degraded, (118, 90), (34, 26), 20, 0, 360, 1, -1)
    cv2.ellipse(painted, (118, 90), (46, 38), 20, 0, 360, 1, -1)
    image = pixels.jpeg(pixels.blur(photo, degraded[..., None] > 0, 2.0), 80)
    found = measure(image, painted, 80)[0]
    assert found.degradation.kind == 'blur'
    before, after = (
        (area & (degraded > 0)).sum() / (area | (degraded > 0)).sum()
        for area in (painted > 0, found.area)
    )
    assert before < 0.55 and after > 0.75


@pytest.mark.parametrize('gray', [False, True])
def test_noise_and_blur_are_told_apart_and_measured(photo, gray):
    image = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None] if gray else photo
    rng, errors = np.random.default_rng(0), []
    for top, left in ((24, 24), (60, 150), (150, 40)):
        mask = square(image, 64, top, left)
        for sigma in (15, 40):
            found = measure(pixels.jpeg(pixels.noise(image, mask, rng, sigma), 75), mask, 75)[0]
            assert found.degradation.kind == 'noise' and found.degradation.jpeg == 75
            errors.append(abs(np.log(found.degradation.sigma / sigma)))
        found = measure(pixels.jpeg(pixels.blur(image, mask, 2.5), 75), mask, 75)[0]
        assert found.degradation.kind == 'blur'
        errors.append(abs(np.log(found.degradation.sigma / 2.5)))
    assert np.median(errors) < 0.2


@pytest.mark.parametrize(
    ('shape', 'top', 'side'),
    [((240, 240), 90, 40), ((240, 240), 0, 12), ((240, 240), 233, 7), ((500, 480), 150, 300)],
)
def test_whole_blocks_around_a_mask_are_looked_at(shape, top, side):
    mask = np.zeros(shape, bool)
    mask[top : top + side, top : top + side] = True
    box = window(mask)
    assert all(at % 8 == 0 and 0 <= at <= length for at, length in zip(box, shape * 2))
    sides = box.shape
    assert sides[0] == sides[1] and min(LEAST, side) <= sides[0] <= MOST
    if side + 2 * NEAR <= MOST:
        assert mask[box.area].sum() == side**2
    else:
        assert 0.4 < mask[box.area].mean() < 0.7


@pytest.mark.parametrize('ends', [((400, 60), (100, 360)), ((100, 60), (400, 360))])
def test_of_a_long_stroke_a_part_is_looked_at(ends):
    stroke = cv2.line(np.zeros((512, 512), np.uint8), *ends, 1, 20) > 0
    box = window(stroke)
    assert box.shape == (MOST, MOST) and stroke[box.area].sum() > 4000
    noisy = pixels.noise(data.astronaut(), stroke[..., None], np.random.default_rng(0), 40)
    found = measure(pixels.jpeg(noisy, 75), stroke, 75)[0].degradation
    assert found.kind == 'noise' and 30 < found.sigma < 50


@pytest.mark.parametrize('degrade', ['blur', 'noise'])
def test_what_is_too_far_to_be_looked_at_counts_as_degraded(degrade):
    image = data.astronaut()
    mask = cv2.ellipse(np.zeros((512, 512), np.uint8), (256, 256), (150, 150), 0, 0, 360, 1, -1) > 0
    degraded = (
        pixels.blur(image, mask[..., None], 2.0)
        if degrade == 'blur'
        else pixels.noise(image, mask[..., None], np.random.default_rng(0), 25)
    )
    found = measure(pixels.jpeg(degraded, 80), mask, 80)[0]
    assert found.degradation.kind == degrade and found.area.sum() > 0.95 * mask.sum()


def test_small_images_are_looked_at_as_far_as_they_go():
    mask = np.ones((30, 17), bool)
    assert window(mask) == (0, 0, 24, 16)
    guess = estimate(np.zeros((9, 8, 3), np.uint8), *[np.ones((9, 8), bool)] * 2, 75)
    assert guess.kind in KINDS and 0 < guess.confidence <= 1 and guess.sigma > 0
    assert guess.odds.shape == (9, 8) and not guess.odds[8].any()


def test_brightness_and_colours_are_those_of_jpeg(photo):
    found = planes_of(photo)
    assert found.shape == (3, *photo.shape[:2]) and found.dtype == np.float32
    ycc = cv2.cvtColor(photo, cv2.COLOR_RGB2YCrCb).astype(float)
    assert np.abs(found[0] - ycc[..., 0]).max() < 1
    assert np.abs(found[1] * 0.564 + 128 - ycc[..., 2]).max() < 1.5
    assert np.abs(found[2] * 0.713 + 128 - ycc[..., 1]).max() < 1.5
    grey = planes_of(photo[..., :1])
    assert (grey[0] == photo[..., 0]).all() and not grey[1:].any()


def test_the_network_sees_the_coefficients_of_the_file(photo):
    values = luma(photo)[:96, :104]
    expected = np.abs(coefficients(values, np.ones(values.shape, bool))).reshape(12, 13, 64)
    table = torch.full((1, 64), 10.0)
    given = torch.from_numpy(values)[None, None]
    found = LossyEstimator().coefficients(given, table)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found[..., 64:], np.tanh(expected / 10), atol=1e-3)


def test_the_network_is_trained_by_a_script(tmp_path, photo):
    (tmp_path / 'photos').mkdir()
    for at in range(2):
        part = photo[64 * at : 64 * at + 128, 60:188, ::-1]
        cv2.imwrite(str(tmp_path / 'photos' / f'{at}.png'), part)
    command = [sys.executable, str(ROOT / 'scripts' / 'train_estimator.py')]
    command += [str(tmp_path / 'photos'), '-o', str(tmp_path / 'new.pth')]
    command += ['-n', '40', '--iterations', '2', '--workers', '1']
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    assert 'iteration 2 of 2' in done.stdout and 'new.pth' in done.stdout
    new, shipped = (torch.load(one, weights_only=True) for one in (tmp_path / 'new.pth', SHIPPED))
    assert {name: value.shape for name, value in new.items()} == {
        name: value.shape for name, value in shipped.items()
    }
    assert not any(torch.equal(new[name], shipped[name]) for name in new)


@pytest.mark.parametrize('shape', [(70, 70), (9, 200), (7, 90), (64, 61)])
def test_masks_at_the_edges_hold_no_whole_blocks(photo, shape):
    image = pixels.jpeg(np.ascontiguousarray(photo[: shape[0], : shape[1]]), 75)
    for area in (np.s_[:, -5:], np.s_[-5:], np.s_[:3, :3], np.s_[:]):
        mask = np.zeros(shape, bool)
        mask[area] = True
        assert lossy_grid(image, mask, 75) is None
        assert measure(image, mask, 75)[0].degradation.jpeg == 75


def test_the_clean_ring_of_a_wide_mask_around_a_large_region_is_left_out():
    image = cv2.resize(data.astronaut(), (600, 600), interpolation=cv2.INTER_CUBIC)
    region, wide = square(image, 140, 101, 90), square(image, 172, 85, 74)[..., 0]
    compressed = pixels.jpeg(pixels.pixelate(image, region, 10, 'mean'), 80)
    grid = lossy_grid(compressed, wide, 80)
    assert grid is not None and (grid.block, grid.offset) == (10, (1, 0))
    area = region[..., 0]
    assert (grid.area & area).sum() > 0.85 * (grid.area | area).sum()


def test_coarse_jpeg_hides_noise_and_a_full_mask_has_no_surroundings(photo):
    noisy = pixels.noise(photo, square(photo), np.random.default_rng(0), 25)
    assert measure(pixels.jpeg(noisy, 10), square(photo), 10)[0].degradation.kind == 'unknown'
    bars = np.zeros(photo.shape[:2], bool)
    bars[:, :100] = bars[:, 106:] = True  # no clean pixel is far enough from the mask
    for image in (photo, pixels.jpeg(photo, 75)):
        assert len(measure(image, bars)) == 2
