"""Classical methods: exact results where there are any, and gains elsewhere."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from datasets_ext import release_degradations
from datasets_ext.masks import SHAPES, draw_region
from hmaca_arch.degradation import pixels
from hmaca_arch.experiments.classical import (
    METHODS,
    around,
    bicubic,
    block_grids,
    gaussian,
    landweber,
    parameters_of,
    radial_basis,
)
from hmaca_arch.metrics import calculate_masked_psnr

KNOWN = {
    'pix': {'block': 5, 'centred': False},
    'blur': {'sigma': 1.0},
    'noise': {'sigma': 7.07},
    None: {},
}


def square(side: int, top: int, left: int, size: int) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[top : top + size, left : left + size] = True
    return mask


@pytest.fixture(scope='module')
def photograph() -> np.ndarray:
    """(128, 128, 3) uint8"""
    return cv2.resize(data.astronaut()[:256, 100:356], (128, 128), interpolation=cv2.INTER_AREA)


def ramp(side: int = 40) -> np.ndarray:
    """A colour gradient, linear in y and x; (side, side, 3) float32."""
    y, x = np.mgrid[:side, :side] / (2 * side)
    return np.stack([y + 0.1, x + 0.2, 0.8 - y / 2 - x / 3], axis=2).astype(np.float32)


@pytest.mark.parametrize('box', [(8, 12, 20), (8, 12, 17), (0, 23, 17), (15, 15, 3)])
def test_radial_basis_reproduces_a_linear_ramp_from_centres_and_ring(box):
    """With odd blocks each colour is its centre's, so a linear image is known exactly."""
    image, mask = ramp(), square(40, *box)
    top, left, size = box
    starts = range(0, size, 5)
    lq = image.copy()
    for y in starts:
        for x in starts:
            rows, columns = (
                slice(top + y, top + min(y + 5, size)),
                slice(left + x, left + min(x + 5, size)),
            )
            centre = (rows.start + rows.stop - 1) / 2, (columns.start + columns.stop - 1) / 2
            lq[rows, columns] = (
                image[0, 0]
                + centre[0] * (image[1, 0] - image[0, 0])
                + centre[1] * (image[0, 1] - image[0, 0])
            )
    assert np.abs(lq - image).max() > 0.005
    assert np.abs(radial_basis(lq, mask, block=5) - image).max() < 1e-5


def test_blocks_are_where_pixelization_puts_them(photograph):
    mask = square(128, 10, 20, 18) | square(128, 70, 30, 10)
    lq = pixels.pixelate(photograph, mask[..., None], 5, 'centre')
    (rows, columns, colours, inside), second = block_grids(lq, mask, 5, False)
    assert rows.tolist() == [12, 17, 22, 26] and columns.tolist() == [
        22,
        27,
        32,
        36,
    ]  # the last block is 3 pixels wide
    assert (colours == photograph[np.ix_(rows.astype(int), columns.astype(int))]).all()
    assert inside.all() and second[0].tolist() == [72, 77]
    (rows, *_), _ = block_grids(lq, mask, 5, True)
    assert rows.tolist() == [13.5, 18.5, 23.5]  # three whole blocks in the middle of 18 pixels


def test_bicubic_is_opencv_enlargement_of_the_blocks(photograph):
    mask = square(128, 10, 20, 20)
    lq = pixels.pixelate(photograph, mask[..., None], 5, 'centre').astype(np.float32) / 255
    expected = cv2.resize(lq[12:30:5, 22:40:5], (20, 20), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    restored = METHODS['bicubic'](lq, mask, KNOWN['pix'])
    assert np.allclose(restored[10:30, 20:40], expected, atol=1e-6)


@pytest.mark.parametrize('centred', [False, True])
@pytest.mark.parametrize('box', [(0, 0, 3), (0, 10, 4), (9, 0, 2)])
def test_bicubic_at_the_images_edge_is_that_in_the_middle(photograph, box, centred):
    """A region narrower than a block: its only block begins outside the image."""
    lq, mask = photograph[:32, :32].astype(np.float32) / 255, square(32, *box)
    inside = METHODS['bicubic'](lq, mask, {'block': 5, 'centred': centred})
    wide = np.pad(lq, ((8, 0), (8, 0), (0, 0)), 'edge'), np.pad(mask, ((8, 0), (8, 0)))
    assert np.array_equal(
        METHODS['bicubic'](*wide, {'block': 5, 'centred': centred})[8:, 8:], inside
    )
    assert (inside != lq)[mask].any()


def test_landweber_inverts_a_blur_that_was_not_rounded():
    """Without rounding there is no noise to amplify: the residual goes to zero."""
    rng = np.random.default_rng(0)
    image = cv2.resize(
        rng.random((12, 12, 3), dtype=np.float32), (48, 48), interpolation=cv2.INTER_CUBIC
    ).clip(0, 1)
    mask = square(48, 14, 20, 12)
    lq = np.where(mask[..., None], gaussian(image, 1.0), image)
    error = {
        count: np.abs(landweber(lq, mask, sigma=1.0, iterations=count) - image).mean()
        for count in (0, 1, 30, 3000)
    }
    assert error[3000] < error[30] / 10 < error[1] / 20 < error[0] / 20
    assert np.allclose(
        gaussian(landweber(lq, mask, sigma=1.0, iterations=3000), 1.0)[mask], lq[mask], atol=1e-3
    )  # a quarter of a grey level


def test_gaussian_is_that_of_the_data(photograph):
    everywhere = np.ones((128, 128, 1), bool)
    ours = np.rint(gaussian(photograph.astype(np.float32), 1.7))
    assert (ours == pixels.blur(photograph, everywhere, 1.7)).all()


def gain(key: str, photograph: np.ndarray, kind: str) -> float:
    """Return the gain inside the region over the input in dB, mean of four regions."""
    gains = []
    for number in range(4):
        rng = np.random.default_rng(number)
        mask = draw_region('square', 128, 128, 20, rng)
        degrade = {
            'pix': lambda mask=mask: pixels.pixelate(photograph, mask),
            'blur': lambda mask=mask: pixels.blur(photograph, mask),
            'noise': lambda mask=mask, rng=rng: pixels.noise(photograph, mask, rng),
        }
        lq = degrade[kind]()
        restored = METHODS[key](lq.astype(np.float32) / 255, mask[..., 0], KNOWN[kind])
        after, before = (
            calculate_masked_psnr(img, photograph, lq, mask.astype(float))
            for img in (np.rint(restored * 255), lq)
        )
        gains.append(after - before)
    return np.mean(gains)


@pytest.mark.parametrize(
    ('key', 'least'),
    [
        ('bicubic', 0.5),
        ('radial-basis', 2),
        ('unsharp', 1.5),
        ('landweber', 3),
        ('bilateral', 2.5),
        ('non-local-means', 2.5),
    ],
)
def test_each_gains_on_what_it_is_for(key, least, photograph):
    assert gain(key, photograph, METHODS[key].degradation) > least


@given(
    seed=st.integers(0, 10**6),
    shape=st.sampled_from(SHAPES),
    size=st.sampled_from([(33, 47), (12, 12), (64, 20)]),
)
@settings(max_examples=8)
def test_any_region_of_any_image(seed, shape, size):
    """Odd sizes and regions at the border give an image of lq's shape and type in [0, 1]."""
    rng = np.random.default_rng(seed)
    lq, mask = rng.random((*size, 3), dtype=np.float32), draw_region(shape, *size, 9, rng)[..., 0]
    for method in METHODS.values():
        restored = method(lq, mask, KNOWN[method.degradation])
        assert restored.shape == lq.shape and restored.dtype == np.float32, method.title
        assert np.isfinite(restored).all() and restored.min() >= 0 and restored.max() <= 1, (
            method.title
        )
        if method.function in (bicubic, radial_basis, landweber):
            assert (restored[~mask] == lq[~mask]).all()


@pytest.mark.parametrize('mask', [np.zeros((16, 16), bool), np.ones((16, 16), bool)])
def test_empty_and_full_masks(mask):
    lq = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)
    for method in METHODS.values():
        restored = method(lq, mask, KNOWN[method.degradation])
        assert restored.shape == lq.shape and np.isfinite(restored).all(), method.title
    assert around(np.zeros((4, 4), bool), 2) == (slice(0, 0), slice(0, 0))


def test_radial_basis_where_points_could_coincide_or_lie_on_a_line():
    """A region in another's notch, whose blocks cover it too; an image with one row of blocks."""
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:10] = mask[30:35, 5:35] = mask[5:15, 20:30] = True
    lq = np.random.default_rng(0).random((40, 40, 3), dtype=np.float32)
    restored = radial_basis(lq, mask, block=5)
    assert np.isfinite(restored).all() and (restored[mask] != lq[mask]).any()
    strip = lq[:5, :20]
    assert (
        radial_basis(strip, np.ones((5, 20), bool), block=5) == strip
    ).all()  # nothing to interpolate across: as it was


def test_what_a_manifest_tells():
    assert parameters_of({'type': 'pix', 'block': 7, 'pool': 'mean'}, 'clean', 20) == {
        'type': 'pix',
        'block': 7,
        'centred': False,
    }
    assert parameters_of({'type': 'pix', 'cells': 4}, 'release', 40) == {
        'type': 'pix',
        'block': 5,
        'centred': True,
    }
    assert parameters_of({'type': 'blur', 'kernel': 11, 'sigma': 2.0}, 'release', 40) == {
        'type': 'blur',
        'sigma': 1.0,
    }
    # white noise through the release's own resize
    grey = np.full((256, 256, 3), 128, np.uint8)
    noisy = release_degradations.release_noise(
        grey, np.ones((256, 256, 1), bool), np.random.default_rng(0)
    )
    measured = release_degradations.release_resize(noisy, 128, 128).astype(float).std()
    assert parameters_of({'type': 'noise', 'sigma': 20.0}, 'release', 40)['sigma'] == pytest.approx(
        measured, rel=0.03
    )
