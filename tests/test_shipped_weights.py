"""The weights that ship with the package restore photographs that they were not trained on, with
nothing else at hand.
"""

import numpy as np
import pytest
from skimage import data

from hmaca_arch.degradation import pixels
from hmaca_arch.inference import SHIPPED_WEIGHTS, load_restorer
from hmaca_arch.metrics import calculate_masked_psnr

DAMAGES = {  # and the gain in dB that must at least come out: 3.15, 3.13 and 7.90 were measured
    'pixelized': (lambda picture, mask: pixels.pixelate(picture, mask, 5, 'centre'), 2.5),
    'blurred': (lambda picture, mask: pixels.blur(picture, mask, 1.5), 2.5),
    'noisy': (lambda picture, mask: pixels.noise(picture, mask, np.random.default_rng(0), 15), 7.0),
}


@pytest.fixture(scope='module')
def restorer():
    return load_restorer(device='cpu')


def test_they_are_small_enough_to_ship():
    assert SHIPPED_WEIGHTS.stat().st_size < 12e6


@pytest.mark.parametrize('damage', DAMAGES)
def test_they_restore(restorer, damage):
    picture = np.ascontiguousarray(data.chelsea()[70:182, 80:200])
    mask = np.zeros((*picture.shape[:2], 1), bool)
    mask[40:80, 40:84] = True
    make, least = DAMAGES[damage]
    lq = make(picture, mask)
    restored = restorer.restore(lq, mask[..., 0])
    before, after = (
        calculate_masked_psnr(version, picture, lq, mask.astype(np.float64))
        for version in (lq, restored)
    )
    assert after - before > least, f'{before:.2f} -> {after:.2f} dB'
    assert (restored[~mask[..., 0]] == lq[~mask[..., 0]]).all()


@pytest.mark.parametrize('kind', ['grey', 'rgb', 'shared'])
def test_noise_that_all_channels_share(restorer, kind):
    picture = np.ascontiguousarray(data.chelsea()[70:182, 80:200])
    if kind != 'shared':
        picture = picture.mean(axis=2, keepdims=True).astype(np.uint8)
    mask = np.zeros((*picture.shape[:2], 1), bool)
    mask[40:80, 40:84] = True
    noise = np.random.default_rng(0).normal(0, 15, (*picture.shape[:2], 1))
    noisy = np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)
    lq = np.where(mask, noisy, picture)
    if kind == 'rgb':
        picture, lq = picture.repeat(3, axis=2), lq.repeat(3, axis=2)
    gains = {}
    for told in ('auto', 'unknown'):
        restored = restorer.restore(lq, mask[..., 0], told)
        before, gains[told] = (
            calculate_masked_psnr(version, picture, lq, mask.astype(np.float64))
            for version in (lq, restored)
        )
        gains[told] -= before
    assert gains['auto'] > max(6.5, gains['unknown']), gains
