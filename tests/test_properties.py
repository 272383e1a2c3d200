"""What holds for any picture, mask and parameter: degradations, crops, compositing, restoring
region by region, files of any bytes.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import gaussian
from torch import nn

from datasets_ext.crops import draw_augmentation
from datasets_ext.masks import SHAPES, components, draw_region
from datasets_ext.recipe import Recipe
from datasets_ext.recipe_settings import DEGRADATIONS
from hmaca_arch.compositing import composite, composite_image
from hmaca_arch.degradation import POOLS, pixels
from hmaca_arch.files.images import decode, decode_image, encode_png
from hmaca_arch.files.masks import read_mask
from hmaca_arch.files.metadata import upright_exif
from hmaca_arch.inference import Restorer

RNG = np.random.default_rng
SEEDS = st.integers(0, 2**32)
SIDES = st.integers(1, 40)


def drawn(
    seed: int, height: int, width: int, shape: str, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """A picture of noise, and a region."""
    rng = RNG(seed)
    return rng.integers(0, 256, (height, width, 3), np.uint8), draw_region(
        shape, height, width, side, rng
    )


def pixelated(picture: np.ndarray, mask: np.ndarray, block: int, pool: str) -> np.ndarray:
    """Plain loops over the pixels of each region: which block of the region's box a pixel is in,
    and that block's colour.
    """
    result = picture.copy()
    for top, left, height, width, inside in components(mask):
        for y, x in np.argwhere(inside[..., 0]):
            first_y, first_x = y // block * block, x // block * block
            last_y, last_x = min(first_y + block, height) - 1, min(first_x + block, width) - 1
            if pool == 'mean':
                rows, columns = range(first_y, last_y + 1), range(first_x, last_x + 1)
            else:  # the middle one, or both of an even number
                rows, columns = (
                    {(a + b) // 2, (a + b + 1) // 2}
                    for a, b in ((first_y, last_y), (first_x, last_x))
                )
            colours = [
                picture[top + row, left + column].astype(float)
                for row in rows
                for column in columns
            ]
            result[top + y, left + x] = np.rint(np.mean(colours, axis=0))
    return result


@given(
    SEEDS,
    SIDES,
    SIDES,
    st.sampled_from(SHAPES),
    st.integers(1, 40),
    st.integers(1, 9),
    st.sampled_from(POOLS),
)
@settings(max_examples=60)
def test_pixelization_is_that_of_the_loops(seed, height, width, shape, side, block, pool):
    picture, mask = drawn(seed, height, width, shape, side)
    before = picture.copy()
    result = pixels.pixelate(picture, mask, block, pool)
    expected = pixelated(picture, mask, block, pool)
    assert np.abs(result.astype(int) - expected).max() <= (
        1 if pool == 'mean' else 0
    )  # a mean that ends in a half
    np.testing.assert_array_equal(picture, before)
    if shape == 'square':
        np.testing.assert_array_equal(pixels.pixelate(result, mask, block, pool), result)


@given(SEEDS, SIDES, SIDES, st.sampled_from(SHAPES), st.integers(1, 40), st.floats(0.3, 4))
@settings(max_examples=40)
def test_blur_is_scikit_images_inside_and_nothing_outside(seed, height, width, shape, side, sigma):
    picture, mask = drawn(seed, height, width, shape, side)
    result = pixels.blur(picture, mask, sigma)
    outside = ~mask[..., 0]
    np.testing.assert_array_equal(result[outside], picture[outside])
    radius = int(np.ceil(4 * sigma))
    if (
        min(height, width) > radius
    ):  # smaller ones are mirrored more than once, which the two do alike only in principle
        oracle = gaussian(
            picture.astype(float),
            sigma=sigma,
            mode='mirror',
            truncate=radius / sigma,
            channel_axis=-1,
            preserve_range=True,
        )
        assert np.abs(result[~outside] - oracle[~outside]).max() <= 0.51


@given(SEEDS, SIDES, SIDES, st.sampled_from(SHAPES), st.integers(1, 40), st.floats(0, 80))
@settings(max_examples=40)
def test_noise_is_added_inside_and_nowhere_else(seed, height, width, shape, side, sigma):
    picture, mask = drawn(seed, height, width, shape, side)
    numbers = RNG(seed + 1).normal(0, sigma, picture.shape)
    expected = np.where(mask, np.clip(np.rint(picture + numbers), 0, 255), picture)
    np.testing.assert_array_equal(pixels.noise(picture, mask, RNG(seed + 1), sigma), expected)


@given(
    SEEDS,
    SIDES,
    SIDES,
    st.sampled_from(SHAPES),
    st.sampled_from(DEGRADATIONS),
    st.sampled_from(('clean', 'release')),
    st.booleans(),
)
@settings(max_examples=80)
def test_triplets_of_any_picture(seed, height, width, shape, kind, protocol, sized):
    """Shapes and types agree, the mask marks something, outside of it nothing differs, and twice is
    the same.
    """
    picture = RNG(seed).integers(0, 256, (height, width, 3), np.uint8)
    factor = 2 if protocol == 'release' else 1
    size = min(height, width) // factor if sized else None
    if min(height, width) < factor:
        with pytest.raises(ValueError, match='pixels'):
            Recipe(protocol=protocol)(picture, RNG(seed))
        return
    recipe = Recipe(
        protocol=protocol, degradation=kind, region=shape, region_size=0.4, size=size, jpeg=0
    )
    lq, mask, gt, record = recipe(picture, RNG(seed))
    assert (
        lq.shape
        == gt.shape
        == ((size, size, 3) if sized else (height // factor, width // factor, 3))
    )
    assert (
        mask.shape == (*gt.shape[:2], 1)
        and mask.dtype == bool
        and mask.any()
        and lq.dtype == gt.dtype == np.uint8
    )
    np.testing.assert_array_equal(lq[~mask[..., 0]], gt[~mask[..., 0]])
    for one, other in zip((lq, mask, gt), recipe(picture, RNG(seed))):
        np.testing.assert_array_equal(one, other)
    assert len(record['region']['boxes']) >= 1


@given(SEEDS, SIDES, SIDES, st.floats(0, 1))
@settings(max_examples=60)
def test_components_of_any_mask_are_apart_and_make_it_up(seed, height, width, density):
    mask = RNG(seed).random((height, width, 1)) < density
    owner = np.zeros((height + 2, width + 2), int)
    for number, (top, left, rows, columns, inside) in enumerate(components(mask), start=1):
        owner[1 + top : 1 + top + rows, 1 + left : 1 + left + columns][inside[..., 0]] = number
    np.testing.assert_array_equal(owner[1:-1, 1:-1, None] > 0, mask)
    for y, x in ((0, 1), (1, 0), (1, 1), (1, -1)):  # neighbours belong together, diagonal ones too
        here, there = owner[1:-1, 1:-1], owner[1 + y : height + 1 + y, 1 + x : width + 1 + x]
        assert (here == there)[(here > 0) & (there > 0)].all()


@given(
    SEEDS,
    st.integers(1, 14),
    st.integers(1, 14),
    st.integers(1, 14),
    st.booleans(),
    st.booleans(),
    st.floats(0, 1),
)
@settings(max_examples=60)
def test_an_augmentation_is_a_crop_whose_pixels_are_moved(
    seed, height, width, size, hflip, rot, ratio
):
    size = min(size, height, width)
    numbers = np.arange(height * width).reshape(height, width, 1)
    mask = (RNG(seed).random((height, width, 1)) < 0.2).astype(np.uint8)
    augmentation = draw_augmentation(
        mask, RNG(seed), size=size, min_mask_ratio=ratio, use_hflip=hflip, use_rot=rot
    )
    moved = augmentation(numbers)
    crop = numbers[
        augmentation.top : augmentation.top + size, augmentation.left : augmentation.left + size
    ]
    assert moved.shape == crop.shape == (size, size, 1)
    np.testing.assert_array_equal(np.sort(moved, axis=None), np.sort(crop, axis=None))
    down, right = np.diff(moved[..., 0], axis=0), np.diff(moved[..., 0], axis=1)
    assert len(set(down.flat)) <= 1 and len(set(right.flat)) <= 1  # neighbours stay neighbours
    np.testing.assert_array_equal(augmentation(mask), mask.reshape(-1)[moved])


@given(
    SEEDS,
    SIDES,
    SIDES,
    st.sampled_from([np.uint8, np.uint16, np.float32]),
    st.sampled_from([None, 1, 3]),
    st.booleans(),
)
@settings(max_examples=60)
def test_compositing_is_the_formula_and_never_touches_the_outside(
    seed, height, width, dtype, channels, soft
):
    rng = RNG(seed)
    shape = (height, width) if channels is None else (height, width, channels)
    peak = 1 if dtype == np.float32 else np.iinfo(dtype).max
    restored, background = ((rng.random(shape) * peak).astype(dtype) for _ in range(2))
    mask = np.where(
        rng.random((height, width)) < 0.5, 0, rng.random((height, width)) if soft else 1.0
    )
    wide = mask.reshape(mask.shape + (1,) * (len(shape) - 2))
    if dtype == np.float32:
        restored[np.broadcast_to(wide == 0, shape)] = np.nan
    result = composite_image(restored, background, mask)
    assert result.dtype == dtype and result.shape == shape
    np.testing.assert_array_equal(result[mask == 0], background[mask == 0])
    np.testing.assert_array_equal(result[mask == 1], restored[mask == 1])
    formula = (wide * restored.astype(float) + (1 - wide) * background)[mask > 0]
    assert np.abs(result[mask > 0] - formula).max(initial=0) <= (
        1e-6 if dtype == np.float32 else 0.5
    )
    if channels:
        tensors = [
            torch.from_numpy(value.astype(np.float32)).permute(2, 0, 1)[None]
            for value in (restored, background, wide)
        ]
        again = composite(*tensors)[0].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(again[mask == 0], background[mask == 0].astype(np.float32))
        np.testing.assert_allclose(again[mask > 0], formula, rtol=1e-5, atol=1e-6 * peak)


class Negative(nn.Module):
    """A network whose pixels depend on themselves alone, so that cutting into pieces must not
    matter.
    """

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        return 1 - lq


@given(
    SEEDS, st.integers(1, 150), st.integers(1, 150), st.sampled_from(SHAPES), st.integers(1, 150), st.integers(0, 12), st.integers(48, 70),
    st.integers(1, 3), st.sampled_from([np.uint8, np.uint16]), st.integers(1, 4),
)  # fmt: skip
@settings(max_examples=50)
def test_restoring_piece_by_piece_is_restoring_the_whole(
    seed, height, width, shape, side, context, tile, batch, dtype, channels
):
    """Exactly what the mask marks is restored, alpha excepted, whatever regions, tiles and batches
    it goes through.
    """
    rng = RNG(seed)
    mask = draw_region(shape, height, width, side, rng)[..., 0] | (
        rng.random((height, width)) < 0.0005
    )
    picture = rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)
    expected = np.where(mask[..., None], np.iinfo(dtype).max - picture, picture)
    if channels in (2, 4):
        expected[..., -1] = picture[..., -1]
    result = Restorer(Negative()).run(picture, mask, context=context, batch=batch, tile=tile).image
    assert result.dtype == dtype
    np.testing.assert_array_equal(result[~mask], picture[~mask])
    assert np.abs(result.astype(int) - expected.astype(int)).max() <= (
        1 if dtype == np.uint16 else 0
    )  # float32 has 24 bits


@given(SEEDS, SIDES, SIDES, st.sampled_from([1, 3]), st.sampled_from([np.uint8, np.uint16]))
@settings(max_examples=40)
def test_what_is_written_as_png_is_read_back(seed, height, width, channels, dtype):
    pixels = RNG(seed).integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)
    found = decode(encode_png(pixels), 'a')
    assert found.pixels.dtype == dtype
    np.testing.assert_array_equal(found.pixels, pixels)


@given(
    st.binary(max_size=200),
    st.sampled_from(
        [b'', b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff', b'GIF89a', b'II*\0', b'MM\0*', b'BM', b'RIFF']
    ),
)
@settings(max_examples=150)
@pytest.mark.filterwarnings('ignore::UserWarning')
def test_any_bytes_are_a_picture_or_an_error_that_names_them(content, start):
    for read in (decode_image, lambda data, name: read_mask(data, name=name)[0]):
        try:
            pixels = read(start + content, 'the/name')
        except ValueError as error:
            assert str(error).startswith('the/name: ') and '\n' not in str(error)
        else:
            assert pixels.ndim in (2, 3) and pixels.size


@given(
    st.binary(max_size=80), st.sampled_from([b'', b'Exif\0\0II*\0', b'MM\0*', b'II*\0\x08\0\0\0'])
)
@settings(max_examples=150)
def test_any_bytes_of_exif(content, start):
    block = upright_exif(start + content)
    assert block is None or len(block) == len(start + content)
