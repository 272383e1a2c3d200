import json
import math

import numpy as np
import pytest
from basicsr.metrics import calculate_metric
from basicsr.metrics.psnr_ssim import calculate_psnr
from scipy.ndimage import correlate1d

from hmaca_arch.metrics import (
    calculate_boundary_psnr,
    calculate_composite_psnr,
    calculate_masked_psnr,
    calculate_masked_ssim,
)
from hmaca_arch.metrics.summary import ValidationTable, mean_of_finite


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    gt = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
    img, lq = (
        np.clip(gt.astype(int) + rng.integers(-spread, spread + 1, gt.shape), 0, 255).astype(
            np.uint8
        )
        for spread in (10, 40)
    )
    mask = np.zeros((24, 20))
    mask[5:13, 6:12] = 1
    return dict(img=img, img2=gt, lq=lq, mask=mask)


def psnr(mse):
    return 10 * math.log10(255**2 / mse)


@pytest.mark.parametrize('paste', ['lq', 'gt'])
def test_composite_psnr_is_psnr_after_pasting(pictures, paste):
    inside = pictures['mask'].astype(bool)
    pasted = pictures['lq' if paste == 'lq' else 'img2'].copy()
    pasted[inside] = pictures['img'][inside]
    expected = calculate_psnr(pasted, pictures['img2'], crop_border=0)
    assert calculate_composite_psnr(**pictures, paste=paste) == pytest.approx(expected, abs=1e-9)


def test_masked_psnr_counts_the_masked_pixels_alone(pictures):
    inside = pictures['mask'].astype(bool)
    mse = np.mean((pictures['img'][inside].astype(float) - pictures['img2'][inside]) ** 2)
    assert calculate_masked_psnr(**pictures) == pytest.approx(psnr(mse))
    pictures['img'][~inside] = 0  # what lies outside plays no part
    assert calculate_masked_psnr(**pictures) == pytest.approx(psnr(mse))


def test_the_two_differ_by_the_area_alone_when_the_outside_is_intact(pictures):
    pictures['lq'] = pictures['img2']
    difference = calculate_composite_psnr(**pictures) - calculate_masked_psnr(**pictures)
    assert difference == pytest.approx(10 * math.log10(24 * 20 / (8 * 6)))


def test_masked_ssim_against_its_definition(pictures):
    """Wang et al. 2004: 11 taps, sigma 1.5, edges mirrored with the edge pixel repeated; the map is
    averaged over the region.
    """
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    taps /= taps.sum()

    def smooth(x):
        return correlate1d(correlate1d(x, taps, 0, mode='reflect'), taps, 1, mode='reflect')

    inside = pictures['mask'].astype(bool)
    pasted = np.where(inside[..., None], pictures['img'], pictures['lq']).astype(float)
    values = []
    for c in range(3):
        x, y = pasted[..., c], pictures['img2'][..., c].astype(float)
        mx, my = smooth(x), smooth(y)
        vx, vy, vxy = smooth(x * x) - mx**2, smooth(y * y) - my**2, smooth(x * y) - mx * my
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        values.append(
            ((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))[
                inside
            ].mean()
        )
    assert calculate_masked_ssim(**pictures) == pytest.approx(np.mean(values), abs=1e-9)


def test_a_perfect_picture_and_an_empty_mask(pictures):
    pictures['img'] = pictures['lq'] = pictures['img2']
    assert calculate_composite_psnr(**pictures) == calculate_masked_psnr(**pictures) == math.inf
    assert calculate_masked_ssim(**pictures) == pytest.approx(1)
    pictures['mask'] = np.zeros_like(pictures['mask'])
    assert math.isnan(calculate_masked_psnr(**pictures)) and math.isnan(
        calculate_masked_ssim(**pictures)
    )
    assert calculate_composite_psnr(**pictures) == math.inf


def test_boundary_psnr_counts_a_band_inside_the_edge():
    """A 20x20 square: of 8 pixels from each side everything but the middle 4x4, 384 pixels."""
    gt, mask = np.full((40, 40, 3), 100, np.uint8), np.zeros((40, 40))
    mask[10:30, 10:30] = 1
    img = gt.copy()
    img[18:22, 18:22] += 50  # the middle does not count
    img[:10] += 50  # nor does what lies outside
    assert calculate_boundary_psnr(img, gt, gt, mask) == math.inf
    img[10, 10] += 9  # one pixel of the band
    assert calculate_boundary_psnr(img, gt, gt, mask) == pytest.approx(psnr(81 / 384))
    assert calculate_boundary_psnr(img, gt, gt, mask, width=1) == pytest.approx(psnr(81 / 76))
    assert calculate_boundary_psnr(img, gt, gt, mask, width=10) == pytest.approx(
        calculate_masked_psnr(img, gt, gt, mask)
    )
    # the picture's border is no edge of the region, and without an edge there is no band
    mask[:] = 0
    mask[:20] = 1
    band = np.zeros((40, 40))
    band[18:20] = 1
    assert calculate_boundary_psnr(img, gt, gt, mask, width=2) == pytest.approx(
        calculate_masked_psnr(img, gt, gt, band)
    )
    assert math.isnan(calculate_boundary_psnr(img, gt, gt, np.ones((40, 40)))) and math.isnan(
        calculate_boundary_psnr(img, gt, gt, mask * 0)
    )
    # a soft mask blends once, and weights
    mask = np.zeros((40, 40))
    mask[10:12, 10:12] = 0.5
    img = gt + np.uint8(10)
    assert calculate_boundary_psnr(img, gt, gt, mask) == pytest.approx(psnr(25))


def test_layouts_scales_and_masks_of_either_form_agree(pictures):
    for metric in (calculate_composite_psnr, calculate_masked_psnr, calculate_masked_ssim):
        expected = metric(**pictures)
        as_float = {key: pictures[key].astype(np.float32) for key in ('img', 'img2', 'lq')}
        assert metric(
            **as_float, mask=(pictures['mask'] * 255).astype(np.uint8)[..., None]
        ) == pytest.approx(expected)
        chw = {key: pictures[key].transpose(2, 0, 1) for key in ('img', 'img2', 'lq')}
        assert metric(**chw, mask=pictures['mask'], input_order='CHW') == pytest.approx(expected)


def test_border_and_luma(pictures):
    inner = {key: value[2:-2, 2:-2] for key, value in pictures.items()}
    assert calculate_composite_psnr(**pictures, crop_border=2) == pytest.approx(
        calculate_composite_psnr(**inner)
    )
    assert calculate_composite_psnr(**pictures, test_y_channel=True) > calculate_composite_psnr(
        **pictures
    )  # luma averages noise out


def test_through_basicsr_with_arguments_nobody_asked_for(pictures):
    value = calculate_metric(
        {**pictures, 'more': 1}, {'type': 'calculate_masked_psnr', 'better': 'higher'}
    )
    assert value == pytest.approx(calculate_masked_psnr(**pictures))


def test_mistakes_are_named(pictures):
    with pytest.raises(ValueError, match='paste'):
        calculate_composite_psnr(**pictures, paste='mask')
    with pytest.raises(ValueError, match='do not agree'):
        calculate_masked_psnr(**{**pictures, 'mask': np.zeros((3, 3))})
    with pytest.raises(ValueError, match='11x11'):
        calculate_masked_ssim(**{key: value[:10, :10] for key, value in pictures.items()})


def test_summary_counts_what_it_leaves_out(tmp_path):
    table = ValidationTable(['psnr'])
    inf, nan = math.inf, math.nan
    for name, before, after in (
        ('a', 30.0, 32.0),
        ('b', 40.0, inf),
        ('c', nan, nan),
        ('d', 20.0, 21.0),
        ('e', inf, 50.0),
    ):
        table.add(name, {('input', 'psnr'): before, ('result', 'psnr'): after})
    assert (
        table.mean('input', 'psnr') == 25 and table.mean('result', 'psnr') == 26.5
    )  # exact pictures are dropped from both rows
    assert table.gain('psnr') == 1.5
    assert 'left out: 2 of 5 exact, 1 of 5 without a region' in str(table)
    found = {'input': 25, 'result': 26.5, 'gain': 1.5, 'exact': 2, 'without_region': 1}
    assert json.loads(json.dumps(table.record(), allow_nan=False)) == {
        'images': 5,
        'metrics': {'psnr': found},
    }
    table.write_csv(tmp_path / 'table.csv')
    lines = (tmp_path / 'table.csv').read_text().splitlines()
    assert (
        lines[0] == 'picture,input_psnr,result_psnr'
        and lines[2] == 'b,40.000000,inf'
        and len(lines) == 6
    )


def test_a_pictures_name_need_not_be_text(tmp_path):
    table = ValidationTable(['psnr'])
    table.add('caf\udce9', {('input', 'psnr'): 1.0, ('result', 'psnr'): 2.0})
    table.write_csv(tmp_path / 'table.csv')
    assert (tmp_path / 'table.csv').read_bytes().splitlines()[1] == b'caf\xe9,1.000000,2.000000'


def test_what_is_not_finite_is_null_in_json():
    table = ValidationTable(['psnr'])
    table.add('a', {('input', 'psnr'): 30.0, ('result', 'psnr'): math.inf})
    found = {'input': 30, 'result': None, 'gain': None, 'exact': 1, 'without_region': 0}
    assert table.record() == {'images': 1, 'metrics': {'psnr': found}}


def test_mean_of_finite():
    assert mean_of_finite([1.0, math.inf, 3.0, math.nan]) == 2
    assert mean_of_finite([math.inf, math.nan]) == math.inf
    assert math.isnan(mean_of_finite([math.nan])) and math.isnan(mean_of_finite([]))
