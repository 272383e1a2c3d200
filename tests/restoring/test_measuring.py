"""Measuring a degradation: degrade a region of a real image, measure it, and compare."""

import io
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFilter
from skimage import data
from skimage.morphology import disk

from hmaca_arch.degradation import Degradation, pixels, shapes
from hmaca_arch.restoring.measuring import as_grey_levels, measure, one_region
from hmaca_arch.restoring.measuring.border import WIDEST, depth_of, find_area, likely_area
from hmaca_arch.restoring.measuring.candidates import GAUSSIAN, Candidate
from hmaca_arch.restoring.measuring.jpeg import (
    quality_of_file,
    quality_of_pixels,
    quality_of_tables,
    table_of,
)
from hmaca_arch.restoring.measuring.noise import clipped_variance

TOP, LEFT = 61, 90  # no multiple of a block


@pytest.fixture(scope='module')
def clean() -> np.ndarray:
    return data.chelsea()[20:220, 100:320]


def box(image: np.ndarray, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((*image.shape[:2], 1), bool)
    mask[top:bottom, left:right] = True
    return mask


def square(image: np.ndarray, side: int = 48, wider: int = 0) -> np.ndarray:
    return box(image, TOP - wider, LEFT - wider, TOP + side + wider, LEFT + side + wider)


def only(image: np.ndarray, mask: np.ndarray, jpeg: int | None = None):
    found = measure(image, mask, jpeg)
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize('pool', ['mean', 'centre'])
@pytest.mark.parametrize('block', [4, 6, 8])
def test_blocks_that_fill_the_mask_are_written_from_its_corner(clean, block, pool):
    mask = square(clean)
    found = only(pixels.pixelate(clean, mask, block, pool), mask)
    assert str(found.degradation) == f'pix:{block}:{pool}'
    assert (found.area == mask[..., 0]).all() and found.spill == 0
    assert (
        f'blocks of {block} pixels' in found.words
        and f'grid at {TOP % block},{LEFT % block}' in found.words
    )


def test_blocks_cut_at_the_region_are_told_from_whole_ones(clean):
    mask = square(clean)
    cut = only(pixels.pixelate(clean, mask, 7, 'mean'), mask).degradation  # 48 = 6 * 7 + 6
    whole = only(pixels.pixelate_grid(clean, mask, 7, 'mean', (2, 5)), mask).degradation
    assert cut.block == 7 and cut.anchor == ('start', 'start')
    assert str(whole) == 'pix:7:mean@2,5'


def test_known_pixels_inside_blocks_tell_the_pool_exactly(clean):
    mask = square(clean, 45)
    for pool in ('mean', 'centre'):
        found = only(pixels.pixelate_grid(clean, mask, 9, pool, (4, 7)), mask)
        assert str(found.degradation) == f'pix:9:{pool}@4,7' and found.confidence > 0.99


@pytest.mark.parametrize('wider', [1, 5, 16])
def test_blocks_inside_a_mask_that_is_too_wide(clean, wider):
    region = square(clean)
    found = only(pixels.pixelate(clean, region, 8, 'mean'), square(clean, wider=wider))
    assert str(found.degradation) == f'pix:8:mean@{TOP % 8},{LEFT % 8}'
    assert (found.area == region[..., 0]).all()


def test_a_mask_that_is_too_narrow_for_its_blocks_is_reported(clean):
    region, mask = square(clean), square(clean, wider=-2)
    found = only(pixels.pixelate(clean, region, 8, 'mean'), mask)
    assert str(found.degradation) == f'pix:8:mean@{TOP % 8},{LEFT % 8}'
    assert found.spill == 2 and 'the mask is 2 pixels too narrow' in found.words
    assert (found.area == region[..., 0]).all()


@pytest.mark.parametrize('hole', [(30, 30), (0, 0)])
def test_a_hole_in_a_rectangle_is_no_degraded_pixel(clean, hole):
    mask = square(clean, side=100)
    top, left = TOP + hole[0], LEFT + hole[1]
    mask[top : top + 8, left : left + 8] = False
    found = only(pixels.blur(clean, mask, 2.0), mask)
    assert found.degradation.kind == 'blur' and found.spill == 0
    assert not found.area[~mask[..., 0]].any()


@pytest.mark.parametrize('sigma', [6, 20, 60])
def test_noise(clean, sigma):
    mask = square(clean)
    found = only(pixels.noise(clean, mask, np.random.default_rng(sigma), sigma), mask)
    assert found.degradation.kind == 'noise' and found.degradation.sigma == pytest.approx(
        sigma, rel=0.1
    )


@pytest.mark.parametrize('grain', [4, 10])
def test_noise_beside_grain(clean, grain):
    rng = np.random.default_rng(grain)
    grainy = np.clip(np.rint(clean + rng.normal(0, grain, clean.shape)), 0, 255).astype(np.uint8)
    mask = square(clean)
    assert only(grainy, mask).degradation.kind == 'none'
    found = only(pixels.noise(grainy, mask, rng, 25), mask)
    assert found.degradation.kind == 'noise' and found.words.endswith('; sure')
    assert found.degradation.sigma == pytest.approx(25, rel=0.1)


def test_a_coloured_spot_elsewhere_changes_nothing_about_grey_noise(clean):
    grey = clean.mean(axis=2, keepdims=True).astype(np.uint8)
    mask = square(clean)
    noisy = pixels.noise(grey, mask, np.random.default_rng(0), 25).repeat(3, axis=2)
    spotted = noisy.copy()
    spotted[10:22, 10:50] = (220, 20, 20)
    for image in (noisy, spotted):
        found = only(image, mask).degradation
        assert found.kind == 'noise' and 22 < found.sigma < 28


def test_strong_noise_of_grey_images(clean):
    grey = clean.mean(axis=2).astype(np.uint8)
    mask = box(clean, 50, 80, 130, 170)
    found = only(pixels.noise(grey[..., None], mask, np.random.default_rng(0), 80), mask)
    assert found.degradation.kind == 'noise' and 70 < found.degradation.sigma < 90


@pytest.mark.filterwarnings('error::RuntimeWarning')
def test_strips_of_two_pixels_are_measured_without_a_warning(clean):
    mask = box(clean, 60, 10, 62, 200)
    only(pixels.noise(clean, mask, np.random.default_rng(0), 60), mask)


def test_noise_that_is_clipped_in_nearly_half_of_its_pixels_is_not_underestimated(clean):
    dark = (clean // 12).astype(np.uint8)
    mask = square(clean)
    degraded = pixels.noise(dark, mask, np.random.default_rng(0), 30)
    assert (degraded[mask[..., 0]] == 0).mean() > 0.35 and degraded[mask[..., 0]].std() < 23
    assert only(degraded, mask).degradation.sigma == pytest.approx(30, rel=0.1)


def test_variance_of_clipped_noise_agrees_with_draws():
    draws = np.clip(40 + 50 * np.random.default_rng(0).standard_normal(400_000), 0, 255)
    assert clipped_variance(np.array([draws.mean()]), 50.0)[0] == pytest.approx(
        draws.var(), rel=0.01
    )


@pytest.mark.parametrize('sigma', [0.8, 1.5, 3.0])
def test_blur(clean, sigma):
    mask = square(clean, 64)
    found = only(pixels.blur(clean, mask, sigma), mask)
    assert found.degradation.kind == 'blur' and found.degradation.sigma == pytest.approx(
        sigma, rel=0.1
    )


def blurred(image: np.ndarray, mask: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Blur the masked pixels by a kernel, as OpenCV does it."""
    values = cv2.filter2D(image.astype(np.float64), -1, kernel / kernel.sum())
    return np.where(mask, np.clip(np.rint(values), 0, 255).astype(np.uint8), image)


@pytest.mark.parametrize(
    ('kernel', 'text'),
    [(disk(3), 'disc:3:hard'), (np.ones((5, 5)), 'box:5'), (np.ones((9, 9)), 'box:9')],
)
@pytest.mark.parametrize('wider', [0, 5])
def test_discs_and_boxes_are_told(clean, kernel, text, wider):
    found = only(blurred(clean, square(clean), kernel), square(clean, wider=wider))
    told = found.degradation.kernel
    assert str(found.degradation) == text and (told.values == kernel / kernel.sum()).all()
    assert found.words.startswith('blur by a') and '; sure' in found.words
    assert (found.area & square(clean)[..., 0]).sum() > 0.97 * found.area.sum()


@pytest.mark.parametrize('radius', [1.7, 3.4, 5.2])
def test_the_radius_of_a_smooth_disc(clean, radius):
    degraded = blurred(clean, square(clean), shapes.disc(radius).values)
    name = only(degraded, square(clean)).degradation.kernel.name
    assert float(name.removeprefix('disc:')) == pytest.approx(radius, rel=0.03)


OVAL = cv2.getGaussianKernel(21, 3.0) * cv2.getGaussianKernel(21, 1.0).T


@pytest.mark.parametrize('kernel', [OVAL, np.ones((4, 4))])
def test_other_kernels_are_unknown(clean, kernel):
    found = only(blurred(clean, square(clean), kernel), square(clean))
    assert found.degradation.kind == 'unknown' and 'not by a Gaussian' in found.words


def test_a_gaussian_may_be_cut_or_made_of_boxes(clean):
    mask = square(clean)
    cut = np.where(mask, cv2.GaussianBlur(clean, (15, 15), 0), clean)
    boxes = np.asarray(Image.fromarray(clean).filter(ImageFilter.GaussianBlur(2.6)))
    for image in (cut, np.where(mask, boxes, clean)):  # OpenCV gives 15 pixels a sigma of 2.6
        found = only(image, mask).degradation
        assert found.kind == 'blur' and found.sigma == pytest.approx(2.6, rel=0.1)


@pytest.mark.parametrize('sigma', [1.5, 2.5])
def test_blur_of_an_ellipse(clean, sigma):
    mask = cv2.ellipse(np.zeros(clean.shape[:2]), (115, 90), (34, 27), 20, 0, 360, 1, -1)[..., None]
    found = only(pixels.blur(clean, mask > 0, sigma), mask > 0)
    assert found.degradation.kind == 'blur' and (found.area == (mask[..., 0] > 0)).all()
    assert found.degradation.sigma == pytest.approx(sigma, rel=0.1)
    assert only(clean, mask > 0).degradation.kind == 'none'


def test_other_blur_of_an_ellipse_is_unknown():
    image = data.coffee()[60:300, 100:350]
    mask = cv2.ellipse(np.zeros(image.shape[:2]), (125, 120), (50, 50), 0, 0, 360, 1, -1)[..., None]
    found = only(blurred(image, mask > 0, np.ones((9, 9))), mask > 0)
    assert found.degradation.kind == 'unknown' and 'not by a Gaussian' in found.words


def test_a_box_larger_than_those_that_are_told_is_unknown():
    image = data.coffee()[60:300, 100:350]
    mask = box(image, 70, 70, 140, 150)
    assert only(blurred(image, mask, np.ones((25, 25))), mask).degradation.kind == 'unknown'


def test_what_is_too_thin_to_be_measured_is_unknown(clean):
    mask = cv2.line(np.zeros(clean.shape[:2]), (60, 60), (170, 150), 1, 8)[..., None] > 0
    found = only(pixels.blur(clean, mask, 2.5), mask)
    assert found.degradation.kind == 'unknown' and 'its shape' in found.words


def test_a_few_flat_pixels_where_white_is_cut_are_no_blocks():
    bright = np.clip(data.rocket()[126:246, 37:157] * 1.8, 0, 255).astype(np.uint8)
    mask = box(bright, 40, 40, 80, 80)
    given = pixels.apply(bright, mask, Degradation.parse('blur:1.5'), np.random.default_rng(0))
    assert only(given, mask, 0).degradation.kind == 'blur'


@pytest.mark.parametrize('kind', ['noise', 'blur'])
def test_the_degraded_part_of_a_wide_mask(clean, kind):
    region, mask = square(clean), square(clean, wider=9)
    change = {
        'noise': lambda: pixels.noise(clean, region, np.random.default_rng(1), 25),
        'blur': lambda: pixels.blur(clean, region, 2.0),
    }
    found = only(change[kind](), mask)
    assert found.degradation.kind == kind
    inside, overlap = region[..., 0], (found.area & region[..., 0]).sum()
    assert overlap / (found.area | inside).sum() > 0.85 and overlap / mask.sum() < 0.7
    assert not (found.area & ~mask[..., 0]).any()


def test_find_area_moves_each_side_by_itself():
    activity, mask = np.ones((80, 80)), np.zeros((80, 80), bool)
    activity[20:50, 22:60] = 6
    mask[12:53, 20:75] = True
    area = find_area(activity, mask, ~mask)
    assert np.array_equal(np.argwhere(area).min(axis=0), [20, 22]) and np.array_equal(
        np.argwhere(area).max(axis=0), [49, 59]
    )


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ValueError, match='expected pixels'):
        measure(np.zeros((0, 0, 3), np.uint8), np.zeros((0, 0), bool))


def test_a_rectangle_may_have_a_hole():
    image, mask = data.astronaut()[:200, :168], np.zeros((200, 168), bool)
    mask[:196] = True
    mask[80:94, 70:90] = False
    for quality in (0, 75, None):
        found = measure(image, mask, quality)[0]
        assert found.area.any() and not found.area[~mask].any()


def test_find_area_keeps_a_side_that_little_speaks_against():
    activity, mask = np.ones((80, 80)), np.zeros((80, 80), bool)
    activity[20:50, 20:60] = 6
    mask[20:60, 20:60] = True
    activity[20:22, 20:60] = 2  # a log likelihood of about 10 speaks for leaving it out
    area = find_area(activity, mask, ~mask)
    assert np.array_equal(np.argwhere(area).min(axis=0), [20, 20])
    assert np.array_equal(np.argwhere(area).max(axis=0), [49, 59])


def test_the_likely_part_of_a_rectangle_is_a_rectangle():
    odds, mask = np.full((80, 80), -3.0), np.zeros((80, 80), bool)
    mask[20:60, 20:60] = True
    odds[24:52, 20:58] = 3.0
    expected = odds > 0
    odds[30:34, 30:34], odds[56:58, 40:44] = -4.0, 5.0  # pixels that err
    assert np.array_equal(likely_area(odds, mask), expected)
    odds[24:52, 20] = -0.5  # little speaks for moving this side
    assert np.array_equal(likely_area(odds, mask), expected)


def test_the_likely_part_of_another_shape_is_as_far_from_its_border_everywhere():
    y, x = np.mgrid[:90, :90]
    mask = np.maximum(abs(y - 45), abs(x - 45)) + np.minimum(abs(y - 45), abs(x - 45)) // 2 < 40
    degraded = depth_of(mask) > 5
    odds = np.where(degraded, 1.0, -1.0)
    odds[40:44, 40:60] = -1  # a few that are wrong
    assert np.array_equal(likely_area(odds, mask), degraded)
    assert np.array_equal(likely_area(np.full(mask.shape, -1.0), mask), depth_of(mask) > WIDEST)


def test_an_images_edge_is_no_border_of_a_mask():
    mask = np.zeros((40, 50), bool)
    mask[:, :20] = True
    assert (depth_of(mask)[:, :20] == np.arange(20, 0, -1)).all()


@pytest.mark.parametrize('wider', [0, 8, -6])
def test_nothing_wrong(clean, wider):
    assert str(only(clean, square(clean, wider=wider)).degradation) == 'none'


def test_one_colour_and_too_few_pixels_are_unknown(clean):
    black = np.where(square(clean), 0, clean).astype(np.uint8)
    assert str(only(black, square(clean)).degradation) == 'unknown'
    found = only(clean, box(clean, 50, 50, 58, 58))
    assert (
        str(found.degradation) == 'unknown'
        and found.confidence == 0
        and 'too few pixels' in found.words
    )


def test_an_enlarged_image_is_not_a_pixelized_region(clean):
    large = np.repeat(np.repeat(clean[:100, :100], 3, axis=0), 3, axis=1)
    found = only(large, square(large))
    assert found.degradation.kind == 'unknown' and 'mask all that is pixelized' in found.words


def test_a_mask_of_a_part_of_what_is_pixelized_is_noticed(clean):
    degraded = pixels.pixelate(clean, np.ones_like(clean[..., :1], bool), 8, 'mean')
    found = only(degraded, box(clean, 61, 70, 103, 133))
    assert found.degradation.kind == 'unknown' and 'blocks of 8 pixels, as all' in found.words


def test_regions_are_measured_one_by_one_from_top_to_bottom(clean):
    first, second = box(clean, 20, 120, 68, 168), box(clean, 110, 30, 158, 78)
    degraded = pixels.pixelate(clean, first, 8, 'mean')
    degraded = pixels.noise(degraded, second, np.random.default_rng(0), 20)
    found = measure(degraded, first | second)
    assert [one.degradation.kind for one in found] == ['pix', 'noise']
    assert (found[0].area == first[..., 0]).all() and not (found[1].area & ~second[..., 0]).any()


def test_grey_deep_and_transparent_images(clean):
    mask = square(clean)
    grey = pixels.pixelate(clean, mask, 6, 'mean')[..., 1]
    for image in (
        grey,
        grey[..., None],
        grey.astype(np.uint16) * 257,
        np.dstack([grey, np.full_like(grey, 255)]),
    ):
        assert str(only(image, mask).degradation) == 'pix:6:mean'
    assert only(
        pixels.noise(clean, mask, np.random.default_rng(0), 25)[..., :1], mask
    ).degradation.sigma == pytest.approx(25, rel=0.1)


def test_half_precision_is_measured_as_well(clean):
    pixelized = pixels.pixelate(clean, square(clean), 8, 'mean')
    half = (pixelized / 255).astype(np.float16)
    assert np.abs(as_grey_levels(half) - pixelized).max() < 0.1
    assert np.abs(as_grey_levels(np.ones((9, 9), np.float16)) - 255).max() == 0


def test_mistakes_are_named(clean):
    with pytest.raises(ValueError, match=r'mask is \(5, 5\).*equal heights'):
        measure(clean, np.ones((5, 5), bool))
    with pytest.raises(ValueError, match='expected .* uint8, uint16'):
        measure(clean.astype(np.int16), square(clean))
    for quality in (101, 75.5, True):
        with pytest.raises(ValueError, match=f'JPEG quality {quality}, expected 1 to 100'):
            measure(clean, square(clean), jpeg=quality)
    assert measure(clean, np.zeros(clean.shape[:2], bool)) == []


@pytest.mark.parametrize('quality', [1, 30, 49, 50, 75, 95, 100])
def test_quality_of_a_jpeg_file_from_its_tables(clean, quality):
    file = io.BytesIO()
    Image.fromarray(clean).save(file, 'JPEG', quality=quality)
    tables = Image.open(file).quantization
    assert quality_of_tables(tables) == quality
    assert sorted(tables[0]) == sorted(table_of(quality).ravel())


@pytest.mark.parametrize('quality', [40, 75, 90])
def test_quality_of_a_jpeg_from_its_pixels(clean, quality):
    everywhere = np.ones(clean.shape[:2], bool)
    assert abs(quality_of_pixels(pixels.jpeg(clean, quality), everywhere) - quality) <= 1
    assert quality_of_pixels(clean, everywhere) == 0
    assert quality_of_pixels(pixels.jpeg(clean, quality)[3:, 5:], everywhere[3:, 5:]) == 0, (
        'another grid than the corner'
    )


@pytest.mark.parametrize('told', [True, False])
def test_blocks_before_jpeg(clean, told):
    mask = square(clean)
    degraded = pixels.jpeg(pixels.pixelate(clean, mask, 12, 'mean'), 75)
    found = only(degraded, mask, 75 if told else None).degradation
    assert found.kind == 'pix' and found.block == 12 and found.jpeg in (74, 75)
    assert (found.offset[0] % 12, found.offset[1] % 12) == (TOP % 12, LEFT % 12)


@pytest.mark.parametrize('quality', [75, 88])
def test_most_sound_regions_of_a_jpeg_count_as_such(clean, quality):
    compressed, found = pixels.jpeg(clean, quality), []
    for top in (8, 70, 130):
        for left in (20, 90, 150):
            mask = box(clean, top, left, top + 56, left + 56)
            found.append(str(only(compressed, mask, quality).degradation))
    assert found.count(f'none+jpeg:{quality}') >= 6


def save(path, pixels: np.ndarray) -> str:
    Image.fromarray(pixels).save(path)
    return str(path)


def test_the_command_prints_a_line_a_region_and_json(tmp_path, clean):
    mask = square(clean)
    files = [
        '-i', save(tmp_path / 'image.png', pixels.pixelate(clean, mask, 8, 'mean')),
        '-m', save(tmp_path / 'mask.png', mask[..., 0].astype(np.uint8) * 255),
    ]  # fmt: skip
    command = [sys.executable, '-m', 'hmaca_arch', 'estimate', *files]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (
        text.startswith(f'{TOP},{LEFT},{TOP + 48},{LEFT + 48}  pix:8:mean  ')
        and text.count('\n') == 1
    )
    (entry,) = json.loads(
        subprocess.run([*command, '--json'], capture_output=True, text=True, check=True).stdout
    )
    assert (
        Degradation.parse(entry['degradation']) == Degradation('pix', block=8)
        and entry['degraded_pixels'] == 48 * 48
    )


def test_the_command_reads_the_quality_of_a_jpeg_file_and_names_mistakes(tmp_path, clean, capsys):
    from hmaca_arch.commands import estimate

    Image.fromarray(clean).save(tmp_path / 'image.jpg', quality=88)
    mask = save(tmp_path / 'mask.png', square(clean)[..., 0].astype(np.uint8) * 255)
    assert estimate.main(['-i', str(tmp_path / 'image.jpg'), '-m', mask]) == 0
    assert '+jpeg:88  ' in capsys.readouterr().out
    small = save(tmp_path / 'small.png', np.full((5, 7), 255, np.uint8))
    with pytest.raises(ValueError, match='7x5 pixels, the image 220x200'):
        estimate.main(['-i', str(tmp_path / 'image.jpg'), '-m', small])
    black = save(tmp_path / 'black.png', np.zeros(clean.shape[:2], np.uint8))
    with pytest.raises(ValueError, match='nothing to measure'):
        estimate.main(['-i', str(tmp_path / 'image.jpg'), '-m', black])


def test_floating_point_is_measured_as_its_16_bits_are(clean):
    mask = square(clean)
    image = pixels.pixelate(clean, mask, 8, 'mean')
    wanted = [str(one.degradation) for one in measure(image.astype(np.uint16) * 257, mask)]
    found = [str(one.degradation) for one in measure(image.astype(np.float32) / 255, mask)]
    assert found == wanted and wanted[0].startswith('pix:8')


@pytest.mark.parametrize('kind', ['float', 'jpeg', 'png', 'none'])
def test_the_quality_of_a_file(clean, kind):
    if kind == 'float':
        file = io.BytesIO()
        tifffile.imwrite(file, clean.astype(np.float32))
        data = file.getvalue()
    else:
        ending = {'jpeg': '.jpg', 'png': '.png', 'none': '.png'}[kind]
        data = cv2.imencode(ending, clean, [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes()
    data = b'' if kind == 'none' else data
    assert quality_of_file(data) == (70 if kind == 'jpeg' else None)


@pytest.mark.parametrize('shape', [(3, 200), (200, 9), (1, 200)])
def test_images_narrower_than_a_patch_are_unknown(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    mask = np.zeros((*shape, 1), bool)
    mask[shape[0] // 3 : -(shape[0] // 3) or None, shape[1] // 3 : -(shape[1] // 3)] = True
    assert only(image, mask, 0).degradation.kind == 'unknown'


@pytest.mark.parametrize('at', [(57, 3, 60, 57), (0, 57, 60, 60), (0, 0, 3, 60)])
def test_narrow_regions_at_an_edge_are_measured(at):
    image = np.random.default_rng(0).normal(128, 6, (60, 60, 3)).cumsum(0) % 256
    assert only(image.astype(np.uint8), box(image, *at)).area.any()


def test_a_blur_of_next_to_nothing_is_none(clean, monkeypatch):
    real = one_region.measure_blur

    def next_to_nothing(*args):
        return real(*args)._replace(evidence=2.0, kernel=Candidate(GAUSSIAN, 0.0002))

    monkeypatch.setattr(one_region, 'measure_blur', next_to_nothing)
    mask = square(clean)
    assert str(only(pixels.blur(clean, mask, 1.5), mask, 0).degradation) == 'none'
