import numpy as np
import pytest
import torch

from hmaca_arch.compositing import composite, composite_image, unit_mask


def test_outside_is_bit_equal_to_the_background_even_if_the_network_returns_nan():
    generator = torch.Generator().manual_seed(0)
    background = torch.rand(2, 3, 8, 8, generator=generator)
    restored = torch.rand(2, 3, 8, 8, generator=generator)
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, 2:5, 3:6] = 1
    outside = (mask == 0).expand_as(restored)
    restored[outside] = float('nan')
    result = composite(restored.requires_grad_(), background, mask)
    assert torch.equal(result[outside], background[outside])
    assert torch.equal(result[~outside], restored[~outside])
    result.sum().backward()
    assert torch.equal(restored.grad, mask.expand_as(restored))


def test_half_precision_is_composited_in_float32_under_autocast():
    background = torch.rand(1, 3, 4, 4)
    restored = torch.rand(1, 3, 4, 4).bfloat16()
    mask = torch.zeros(1, 1, 4, 4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result = composite(restored, background, mask)
    assert result.dtype == torch.float32 and torch.equal(result, background)


def test_soft_masks_blend():
    result = composite(torch.full((1, 1, 1, 1), 0.8), torch.full((1, 1, 1, 1), 0.4), torch.full((1, 1, 1, 1), 0.25))
    assert result.item() == pytest.approx(0.25 * 0.8 + 0.75 * 0.4)


@pytest.mark.parametrize('mask_shape', [(1, 3, 4, 4), (1, 1, 4, 5), (2, 1, 4, 4)])
def test_sizes_that_do_not_agree_are_refused(mask_shape):
    with pytest.raises(ValueError, match='do not agree'):
        composite(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), torch.zeros(mask_shape))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_integer_pictures_keep_their_depth_and_every_value(dtype):
    rng = np.random.default_rng(0)
    restored, background = rng.integers(0, np.iinfo(dtype).max, (2, 6, 6, 3), dtype=dtype, endpoint=True)
    mask = rng.integers(0, 2, (6, 6)).astype(bool)
    result = composite_image(restored, background, mask)
    assert result.dtype == dtype
    assert (result[mask] == restored[mask]).all() and (result[~mask] == background[~mask]).all()


def test_soft_blend_of_integers_is_rounded():
    result = composite_image(np.full((1, 1), 10, np.uint8), np.full((1, 1), 13, np.uint8), np.full((1, 1), 0.5))
    assert result.item() == 12  # 11.5, to even


def test_masks_on_either_scale():
    assert unit_mask(np.array([0, 255], np.uint8)).tolist() == [0, 1]
    assert unit_mask(np.array([0, 1], np.uint8)).tolist() == [0, 1]
    assert unit_mask(np.array([0, 0.5])).tolist() == [0, 0.5]
    assert unit_mask(np.array([False, True])).tolist() == [0, 1]
