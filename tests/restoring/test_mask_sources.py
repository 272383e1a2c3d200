"""Masks from alpha channels, colours and boxes: hand values."""

import numpy as np
import pytest

from hmaca_arch.files.images import StoredImage
from hmaca_arch.files.masks import Doubt
from hmaca_arch.restoring.mask_sources import (
    MaskSource,
    colour_of,
    grown,
    of_alpha,
    of_boxes,
    of_colour,
    parse_box,
)


@pytest.mark.parametrize('channels', [2, 4])
@pytest.mark.parametrize('channel', [0, -2])
def test_one_colour_under_transparent_pixels_is_doubtful_and_two_are_not(channels, channel):
    pixels = np.full((4, 5, channels), 255, np.uint8)
    pixels[1:3, 1:4, -1] = 0
    mask, notes = of_alpha(pixels, 'a', soft=False)
    assert mask.sum() == 6 and [note.doubt for note in notes] == [Doubt.EMPTIED]
    pixels[2, 3, channel] = 254
    assert of_alpha(pixels, 'a', soft=False)[1] == []
    pixels[..., -1] = 255
    pixels[1, 1, -1] = 0
    assert of_alpha(pixels, 'a', soft=False)[1] == [], 'one pixel has one colour in any case'


@pytest.mark.parametrize(
    ('kind', 'peak', 'last'), [(np.uint8, 255, 127), (np.uint16, 65535, 32767), (float, 1.0, 0.5)]
)
def test_from_which_alpha_a_pixel_is_restored(kind, peak, last):
    alpha = np.array([[0, last, np.nextafter(0.5, 1) if kind is float else last + 1, peak]], kind)
    pixels = np.dstack([alpha, alpha])
    mask = of_alpha(pixels, 'a', soft=False)[0]
    assert mask.tolist() == [[1, 1, 0, 0]] and mask.dtype == np.uint8
    soft = of_alpha(pixels, 'a', soft=True)[0]
    np.testing.assert_allclose(soft, 1 - alpha / peak, atol=1e-6)
    assert soft.dtype == np.float32
    with pytest.raises(ValueError, match='^a has no alpha channel'):
        of_alpha(np.zeros((1, 4, 3), kind), 'a', soft=False)


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
@pytest.mark.parametrize(('name', 'far'), [('PNG', 0), ('JPEG', 24)])
def test_how_far_a_painted_colour_may_be_off(kind, name, far):
    scale = np.iinfo(kind).max // 255
    painted = np.array([250, 3, 100]) * scale
    off = np.array([0, far, far + 1 / scale]).reshape(-1, 1) * scale
    low = np.array([[255 * scale, 0, 100 * scale]] * 3)
    for channel in range(3):
        pixels = np.repeat(painted[None], 3, axis=0)
        sign = 1 if channel == 1 else -1
        pixels[:, channel] += (sign * off[:, 0]).astype(int)
        image = StoredImage(pixels[None].astype(kind), None, None, [], format=name)
        mask, notes = of_colour(image, (250, 3, 100), 'a')
        assert mask.tolist() == [[1, 1, 0]] and mask.dtype == np.uint8
        assert [note.doubt for note in notes] == [Doubt.LOSSY] * (far > 0)
    image = image._replace(pixels=low[None].astype(kind))
    assert of_colour(image, (250, 3, 100), 'a')[0].all() == (far > 0)


def test_a_colour_in_gray_and_in_floating_point():
    gray = StoredImage(np.array([[[7, 0], [8, 9]]], np.uint8), None, None, [], format='PNG')
    assert of_colour(gray, (7, 7, 7), 'a')[0].tolist() == [[1, 0]]
    assert not of_colour(gray, (7, 7, 8), 'a')[0].any()
    with pytest.raises(ValueError, match='^a is of floating point'):
        of_colour(gray._replace(pixels=gray.pixels.astype(np.float16)), (7, 7, 7), 'a')


def test_boxes_may_touch_the_border_and_no_more():
    assert of_boxes([(3, 0, 2, 4)], (4, 5)).tolist() == [[0, 0, 0, 1, 1]] * 4
    for box in ((4, 0, 2, 4), (3, 1, 2, 4)):
        with pytest.raises(ValueError, match=r'reaches beyond the image, which has 5x4'):
            of_boxes([box], (4, 5))
    assert parse_box('0, 0,10,1') == (0, 0, 10, 1)
    for text in ('1,1,00,5', '1,1,5,0', '1,1,5', f'1,1,5,{"9" * 5000}', '٣,1,5,5', '-1,1,5,5'):
        with pytest.raises(ValueError, match='^--box: got .*; expected x,y,width,height'):
            parse_box(text)


def test_spellings_of_a_colour():
    assert colour_of('color:#ff00A1') == colour_of('colour:ff00A1') == (255, 0, 161)
    for kind in ('color:#ff00a', 'color:#ff00a1b', 'gray', 'Color:#ff00a1'):
        assert colour_of(kind) is None


@pytest.mark.parametrize('kind', [np.uint8, np.float32])
def test_a_mask_is_widened_by_so_many_pixels_in_every_direction(kind):
    mask = np.zeros((12, 14), kind)
    mask[5, 6] = 1
    found = grown(mask, 2)
    assert found.dtype == kind and found[5].tolist() == [0] * 4 + [1] * 5 + [0] * 5
    assert found[:, 6].tolist() == [0] * 3 + [1] * 5 + [0] * 4 and found[3, 4] == 0
    assert found.sum() == 13  # a disc
    assert mask.sum() == 1 and grown(mask, 0) is mask and grown(0 * mask, 3).sum() == 0
    mask[11, 0] = mask[0, 13] = 1
    more = grown(mask, 2)
    assert np.array_equal(more[3:8, 3:10], found[3:8, 3:10])


def test_a_soft_mask_keeps_its_values_when_it_is_widened():
    mask = np.zeros((5, 9), np.float32)
    mask[2, 4] = 0.25
    assert grown(mask, 1)[2].tolist() == [0, 0, 0, 0.25, 0.25, 0.25, 0, 0, 0]


def test_an_inverted_soft_mask_keeps_its_gray_values():
    pixels = np.zeros((2, 2, 2), np.uint8)
    pixels[0, 0, 1] = 51
    image = StoredImage(pixels, None, None, [], format='PNG')
    mask, notes = MaskSource('alpha', soft=True, invert=True).read(image, None)
    np.testing.assert_allclose(mask, [[0.2, 0], [0, 0]])
    assert not any('white' in note for note in notes)
    assert any('white' in note for note in MaskSource('alpha', soft=True).read(image, None)[1])
