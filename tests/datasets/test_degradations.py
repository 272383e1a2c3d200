"""Degradations against values computed by hand, and both protocols as the data sets use them."""

import cv2
import numpy as np
import pytest
from skimage import data
from skimage.filters import gaussian

from datasets_ext import release_degradations
from datasets_ext.recipe import Recipe
from hmaca_arch.degradation import pixels

RNG = np.random.default_rng


def box_mask(height: int, width: int, top: int, left: int, rows: int, columns: int) -> np.ndarray:
    mask = np.zeros((height, width, 1), bool)
    mask[top : top + rows, left : left + columns] = True
    return mask


def gray(values) -> np.ndarray:
    """Return (h, w) as (h, w, 3); the channels differ by 1."""
    return np.stack([np.asarray(values) + channel for channel in range(3)], axis=-1).astype(
        np.uint8
    )


@pytest.fixture(scope='module')
def photograph() -> np.ndarray:
    return np.ascontiguousarray(data.astronaut()[:256, 100:356])


def test_pixelate_mean_and_centre_by_hand():
    image = gray(np.arange(16).reshape(4, 4) * 10)
    mask = box_mask(4, 4, 0, 0, 4, 4)
    # 2x2 blocks of 0 10 / 40 50 ...: mean 25 = the mean of the middle four of an even block
    expected = gray(np.kron([[25, 45], [105, 125]], np.ones((2, 2))))
    np.testing.assert_array_equal(pixels.pixelate(image, mask, 2, 'mean'), expected)
    np.testing.assert_array_equal(pixels.pixelate(image, mask, 2, 'centre'), expected)
    # 3x3 blocks: the middle one, then what is left at the right (two by height: 30 and 40+30 ->
    # rows 0..2, column 3)
    centre = pixels.pixelate(image, mask, 3, 'centre')
    assert centre[0, 0, 0] == 50 and centre[2, 2, 0] == 50  # the middle of rows and columns 0..2
    assert centre[1, 3, 0] == 70  # row 1, column 3
    assert centre[3, 1, 0] == 130  # row 3, column 1
    assert centre[3, 3, 0] == 150
    mean = pixels.pixelate(image, mask, 3, 'mean')
    assert (
        mean[0, 0, 0] == 50
        and mean[0, 3, 0] == 70
        and mean[3, 0, 0] == 130
        and mean[3, 3, 0] == 150
    )


def test_pixelate_centre_of_a_block_of_four_is_the_mean_of_its_middle_2x2():
    image = gray(np.zeros((4, 4)))
    image[1:3, 1:3, 0] = [[10, 20], [30, 44]]
    assert (pixels.pixelate(image, box_mask(4, 4, 0, 0, 4, 4), 4, 'centre')[..., 0] == 26).all()


def test_each_region_has_its_own_grid():
    image = gray(np.arange(100).reshape(10, 10))
    mask = box_mask(10, 10, 0, 0, 2, 2) | box_mask(10, 10, 5, 3, 2, 2)
    result = pixels.pixelate(image, mask, 2, 'mean')
    assert (result[0:2, 0:2, 0] == round((0 + 1 + 10 + 11) / 4)).all()
    assert (result[5:7, 3:5, 0] == round((53 + 54 + 63 + 64) / 4)).all()
    assert (result != image).any(axis=-1).sum() <= 8


def test_blur_is_scikit_images_and_sees_the_surroundings(photograph):
    mask = box_mask(256, 256, 100, 60, 20, 20)
    result = pixels.blur(photograph, mask, 1.0)
    oracle = gaussian(
        photograph.astype(float),
        sigma=1.0,
        mode='mirror',
        truncate=4.0,
        channel_axis=-1,
        preserve_range=True,
    )
    assert np.abs(result[100:120, 60:80] - oracle[100:120, 60:80]).max() <= 0.51
    black = photograph.copy()
    black[~mask[..., 0]] = 0
    assert (
        pixels.blur(black, mask, 1.0)[100, 60] < result[100, 60]
    ).all()  # the black surroundings bleed in


def test_noise_has_the_deviation_asked_for_and_is_rounded():
    image = np.full((200, 200, 3), 128, np.uint8)
    mask = box_mask(200, 200, 0, 0, 200, 200)
    difference = pixels.noise(image, mask, RNG(0), 7.07).astype(float) - 128
    assert difference.std() == pytest.approx(np.hypot(7.07, 12**-0.5), rel=0.01)
    assert abs(difference.mean()) < 0.06
    channels = difference.reshape(-1, 3)
    assert abs(np.corrcoef(channels.T)[0, 1]) < 0.02


def test_release_noise_is_truncated():
    image = np.full((200, 200, 3), 128, np.uint8)
    difference = (
        release_degradations.release_noise(
            image, box_mask(200, 200, 0, 0, 200, 200), RNG(0)
        ).astype(float)
        - 128
    )
    assert difference.mean() == pytest.approx(-0.5, abs=0.2)
    assert difference.std() == pytest.approx(20, rel=0.01)


def test_noise_is_clipped_not_wrapped():
    image = np.full((50, 50, 3), 250, np.uint8)
    mask = box_mask(50, 50, 0, 0, 50, 50)
    for noisy in (
        pixels.noise(image, mask, RNG(0), 20.0),
        release_degradations.release_noise(image, mask, RNG(0)),
    ):
        assert noisy.min() > 100 and noisy.max() == 255


def test_release_pixelization_takes_the_middle_2x2_of_each_10_pixel_cell(photograph):
    mask = box_mask(256, 256, 31, 77, 40, 40)
    result = release_degradations.release_pixelate(photograph, mask)
    cut = photograph[31:71, 77:117].astype(float)
    for row in range(4):
        for column in range(4):
            middle = cut[10 * row + 4 : 10 * row + 6, 10 * column + 4 : 10 * column + 6].mean(
                axis=(0, 1)
            )
            cell = result[31 + 10 * row : 41 + 10 * row, 77 + 10 * column : 87 + 10 * column]
            assert (cell == cell[0, 0]).all()
            assert np.abs(cell[0, 0] - middle).max() <= 0.5


def test_release_blur_does_not_see_the_surroundings(photograph):
    mask = box_mask(256, 256, 31, 77, 40, 40)
    black = photograph.copy()
    black[~mask[..., 0]] = 0
    inside = slice(31, 71), slice(77, 117)
    result = release_degradations.release_blur(photograph, mask)
    np.testing.assert_array_equal(
        result[inside], release_degradations.release_blur(black, mask)[inside]
    )
    oracle = gaussian(
        photograph[inside].astype(float),
        sigma=2.0,
        mode='mirror',
        truncate=2.5,
        channel_axis=-1,
        preserve_range=True,
    )
    assert np.abs(result[inside] - oracle).max() <= 1.5  # OpenCV works in fixed point


def test_release_jpeg_and_resize_are_the_libraries_own(photograph, tmp_path):
    from PIL import Image
    from torchvision.transforms.functional import resize, to_tensor
    from torchvision.utils import save_image

    Image.fromarray(photograph).save(tmp_path / 'a.jpg', quality=95)
    np.testing.assert_array_equal(
        pixels.jpeg(photograph), np.asarray(Image.open(tmp_path / 'a.jpg'))
    )
    save_image(resize(to_tensor(photograph), [128, 128], antialias=True), tmp_path / 'a.png')
    np.testing.assert_array_equal(
        release_degradations.release_resize(photograph, 128, 128),
        np.asarray(Image.open(tmp_path / 'a.png')),
    )


@pytest.mark.parametrize('top', [30, 31])
def test_release_mask_marks_exactly_what_the_resize_carries_from_the_region(top):
    image = np.zeros((256, 256, 3), np.uint8)
    mask = box_mask(256, 256, top, 50, 40, 40)
    changed = np.where(mask, np.uint8(255), image)
    reached = release_degradations.release_resize(changed, 128, 128).any(axis=-1, keepdims=True)
    np.testing.assert_array_equal(release_degradations.release_mask(mask, 128, 128), reached)


@pytest.mark.parametrize('kind', ['pix', 'blur', 'noise'])
@pytest.mark.parametrize('region', ['square', 'rectangles', 'ellipses', 'strokes', 'several'])
def test_clean_leaves_every_pixel_outside_as_it_was(photograph, kind, region):
    lq, mask, gt, record = Recipe(degradation=kind, region=region, size=128)(photograph, RNG(3))
    assert (
        lq.shape == gt.shape == (128, 128, 3) and mask.shape == (128, 128, 1) and mask.dtype == bool
    )
    np.testing.assert_array_equal(
        gt, cv2.resize(photograph, (128, 128), interpolation=cv2.INTER_AREA)
    )
    outside = ~mask[..., 0]
    np.testing.assert_array_equal(lq[outside], gt[outside])
    assert (lq[~outside] != gt[~outside]).any()
    assert record['region']['shape'] == region and record['degradations'][0]['type'] == kind
    if region == 'square':
        assert mask.sum() == 400


@pytest.mark.parametrize('kind', ['pix', 'blur', 'noise'])
def test_release_differs_outside_too_unless_jpeg_is_off(photograph, kind):
    make = Recipe(protocol='release', degradation=kind, size=128)
    lq, mask, gt, record = make(photograph, RNG(3))
    np.testing.assert_array_equal(gt, release_degradations.release_resize(photograph, 128, 128))
    outside = ~mask[..., 0]
    mse = np.mean((lq[outside].astype(float) - gt[outside]) ** 2)
    assert 42 < 10 * np.log10(255**2 / mse) < 52
    (top, left, height, width) = record['region']['boxes'][0]
    assert (height, width) == (40, 40)
    rows, columns = (side.nonzero()[0] for side in (mask.any(axis=(1, 2)), mask.any(axis=(0, 2))))
    assert len(rows) == (22 if top % 2 == 0 else 21) and len(columns) == (
        22 if left % 2 == 0 else 21
    )
    lossless, same_mask, _, _ = Recipe(protocol='release', degradation=kind, size=128, jpeg=0)(
        photograph, RNG(3)
    )
    np.testing.assert_array_equal(mask, same_mask)
    np.testing.assert_array_equal(lossless[outside], gt[outside])
    assert (lossless[~outside] != gt[~outside]).any()


def test_working_size_64_scales_the_region():
    image = np.ascontiguousarray(data.astronaut())
    assert Recipe(size=64)(image, RNG(0))[1].sum() == 100
    assert Recipe(size=64, protocol='release')(image, RNG(0))[3]['region']['boxes'][0][2:] == [
        20,
        20,
    ]


def test_ranges_mixtures_and_chains_are_drawn(photograph):
    make = Recipe(
        degradation=[
            {'type': 'pix', 'block': [3, 12], 'pool': 'both'},
            {'type': 'blur', 'sigma': [0.6, 3]},
            {'type': 'noise', 'sigma': [3, 25], 'weight': 3},
        ],
        degradation_count=[1, 2],
        region=['square', 'ellipses'],
        region_size=[8, 40],
        size=128,
    )
    records = [make(photograph, RNG((0, i)))[3] for i in range(150)]
    drawn = [entry for record in records for entry in record['degradations']]
    by_kind = {
        kind: [entry for entry in drawn if entry['type'] == kind]
        for kind in ('pix', 'blur', 'noise')
    }
    assert {entry['block'] for entry in by_kind['pix']} == set(range(3, 13))
    assert {entry['pool'] for entry in by_kind['pix']} == {'mean', 'centre'}
    assert (
        all(0.6 <= entry['sigma'] <= 3 for entry in by_kind['blur'])
        and len({entry['sigma'] for entry in by_kind['blur']}) > 20
    )
    assert all(3 <= entry['sigma'] <= 25 for entry in by_kind['noise'])
    assert len(by_kind['noise']) > 1.5 * len(by_kind['pix'])
    assert {len(record['degradations']) for record in records} == {1, 2}
    assert {record['region']['shape'] for record in records} == {'square', 'ellipses'}
    sides = {record['region']['side'] for record in records}
    assert min(sides) >= 8 and max(sides) <= 40 and len(sides) > 20


def test_equal_generators_give_equal_regions_to_all_degradations(photograph):
    masks = [
        Recipe(degradation=kind, size=128)(photograph, RNG(5))[1]
        for kind in ('pix', 'blur', 'noise')
    ]
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'protocol': 'cleen'}, 'did you mean clean'),
        ({'degradation': 'blurr'}, 'did you mean blur'),
        ({'degradation': []}, 'empty'),
        ({'degradation': {'type': 'pix', 'blok': 3}}, 'did you mean block'),
        ({'degradation': {'type': 'pix', 'block': 0}}, 'block is 0'),
        ({'degradation': {'type': 'pix', 'block': 2.5}}, 'whole number'),
        ({'degradation': {'type': 'pix', 'pool': 'max'}}, 'pool'),
        ({'degradation': {'type': 'blur', 'sigma': [3, 1]}}, 'low <= high'),
        ({'degradation': {'type': 'noise', 'sigma': -1}}, 'sigma is -1'),
        ({'degradation': {'type': 'noise', 'weight': 0}}, 'weight'),
        (
            {'protocol': 'release', 'degradation': {'type': 'blur', 'sigma': 3}},
            'protocol release fixes',
        ),
        ({'degradation_count': 2}, 'only 1'),
        ({'region': 'squares'}, 'did you mean square'),
        ({'region': []}, 'region'),
        ({'region_size': 0}, 'region_size'),
        ({'region_size': [0.5, 20]}, 'cannot be both'),
        ({'size': 1.5}, 'size is 1.5'),
        ({'jpeg': 101}, 'jpeg is 101'),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


def test_small_images_are_refused_not_enlarged():
    with pytest.raises(ValueError, match='100x200.*128x128 is needed'):
        Recipe(size=64, protocol='release')(np.zeros((100, 200, 3), np.uint8), RNG(0))
    with pytest.raises(ValueError, match='too few'):
        Recipe(protocol='release')(np.zeros((1, 9, 3), np.uint8), RNG(0))
