"""Colours that fit into a palette, function by function."""

import numpy as np
import pytest

from hmaca_arch.files import gif
from hmaca_arch.files.gif import as_palette, fit_colours

RNG = np.random.default_rng(0)


@pytest.mark.parametrize('number', [1, 4095, 4096, 4097, 9000])
def test_the_nearest_colour_of_each(number):
    palette = np.array([[0, 0], [0, 255], [200, 0], [200, 200]], np.uint8)
    colours = RNG.integers(0, 256, (number, 2), np.uint8)
    apart = ((colours[:, None].astype(int) - palette) ** 2).sum(axis=2)
    np.testing.assert_array_equal(gif._nearest(colours, palette), apart.argmin(axis=1))


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('count', [0, 1, 2, 7])
def test_typical_colours_are_opaque_and_at_most_so_many(channels, count):
    colours = np.zeros((60, channels), np.uint8)
    colours[:, 0] = np.repeat((10, 120, 230), 20)
    found = gif._typical(colours, count)
    assert found.shape == (min(count, len(found)), channels) and found.dtype == np.uint8
    assert len(found) >= min(count, 1) and (channels in (1, 3) or (found[:, -1] == 255).all())
    if count == 7:
        assert {10, 120, 230} <= set(found[:, 0].tolist()), 'all are there'


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_a_palette_of_exactly_the_colours(channels):
    pixels = np.full((4, 64, channels), 255, np.uint8)
    pixels[..., 0].reshape(-1)[:] = np.arange(256)
    image = as_palette(pixels)
    assert image.size == (64, 4) and image.mode == 'P' and 'transparency' not in image.info
    seen = np.asarray(image.convert('RGB'))
    np.testing.assert_array_equal(
        seen, np.broadcast_to(pixels[..., : 1 if channels < 3 else 3], seen.shape)
    )
    if channels != 1:
        pixels = np.vstack([pixels, np.full((1, 64, channels), 254, np.uint8)])
        with pytest.raises(ValueError) as caught:
            as_palette(pixels)
        assert str(caught.value) == 'GIF holds 256 colours, this image has 257; choose .png'


@pytest.mark.parametrize('channels', [2, 4])
def test_one_colour_may_be_transparent(channels):
    pixels = np.full((2, 3, channels), 255, np.uint8)
    pixels[0, 1] = 7
    pixels[0, 1, -1] = 0
    assert as_palette(pixels).info['transparency'] == 0
    pixels[1, 1, 0] = 3
    assert as_palette(pixels).info['transparency'] == 1, 'its number in the palette'
    for value in (1, 128, 254):
        pixels[1, 2, -1] = value
        with pytest.raises(ValueError) as caught:
            as_palette(pixels)
        assert str(caught.value) == (
            'GIF has one transparent colour and none in between; choose .png'
        )


def test_as_many_colours_as_are_left():
    """Outside are 250; of more than 6 inside, the nearest of what is there are taken."""
    pixels = np.zeros((2, 250, 3), np.uint8)
    pixels[0, :, 0] = np.arange(250)
    mask = np.zeros((2, 250), np.uint8)
    mask[1] = 1
    pixels[1, :6, 1] = 9 + np.arange(6)
    assert fit_colours(pixels, mask) is pixels, '256 in all'
    pixels[1, 6, 1] = 99
    found = fit_colours(pixels, mask)
    assert found is not pixels and len(np.unique(found.reshape(-1, 3), axis=0)) <= 256
    np.testing.assert_array_equal(found[0], pixels[0])
    np.testing.assert_array_equal(found[1, 7:], pixels[1, 7:])
    mask[:] = 1
    assert len(np.unique(fit_colours(pixels, mask).reshape(-1, 3), axis=0)) <= 256
