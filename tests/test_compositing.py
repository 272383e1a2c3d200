import numpy as np
import pytest
import torch
from conftest import each_device

from hmaca_arch.compositing import composite, composite_image, unit_mask


@each_device
def test_outside_is_bit_equal_to_the_background_even_if_the_network_returns_nan():
    torch.manual_seed(0)
    background, restored = torch.rand(2, 2, 3, 8, 8)
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, 2:5, 3:6] = 1
    outside = (mask == 0).expand_as(restored)
    restored[outside] = float('nan')
    result = composite(restored.requires_grad_(), background, mask)
    assert torch.equal(result[outside], background[outside])
    assert torch.equal(result[~outside], restored[~outside])
    result.sum().backward()
    assert torch.equal(restored.grad, mask.expand_as(restored))


def test_half_precision_is_composited_in_float32_under_autocast(on_device):
    background = torch.rand(1, 3, 4, 4)
    restored = torch.rand(1, 3, 4, 4).bfloat16()
    mask = torch.zeros(1, 1, 4, 4)
    with torch.autocast(on_device.type, dtype=torch.bfloat16):
        result = composite(restored, background, mask)
    assert result.dtype == torch.float32 and torch.equal(result, background)


@each_device
def test_soft_masks_blend():
    result = composite(
        torch.full((1, 1, 1, 1), 0.8), torch.full((1, 1, 1, 1), 0.4), torch.full((1, 1, 1, 1), 0.25)
    )
    assert result.item() == pytest.approx(0.25 * 0.8 + 0.75 * 0.4)


@pytest.mark.parametrize('mask_shape', [(1, 3, 4, 4), (1, 1, 4, 5), (2, 1, 4, 4)])
def test_sizes_that_do_not_agree_are_refused(mask_shape):
    with pytest.raises(ValueError) as caught:
        composite(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), torch.zeros(mask_shape))
    assert str(caught.value) == (
        f'composite: restored (1, 3, 4, 4), background (1, 3, 4, 4) and mask {mask_shape} do not agree: '
        'expected (b, c, h, w) twice and (b, 1, h, w)'
    )


def test_pictures_that_do_not_agree_are_refused():
    with pytest.raises(ValueError, match=r'background \(1, 1, 4, 4\)'):
        composite(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize('kind', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize('mask_kind', [torch.bool, torch.float16, torch.float32])
@each_device
def test_types(kind, mask_kind):
    restored, background = (
        torch.full((1, 1, 1, 2), 0.3).to(kind),
        torch.full((1, 1, 1, 2), 0.7).to(kind),
    )
    result = composite(restored, background, torch.tensor([[[[0.0, 1.0]]]]).to(mask_kind))
    assert result.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    assert result.flatten().tolist() == [background[0, 0, 0, 0].item(), restored[0, 0, 0, 0].item()]
    soft = torch.tensor([[[[0.1, 0.1]]]]).half()
    value = soft[0, 0, 0, 0].item()
    expected = value * restored[0, 0, 0, 0].item() + (1 - value) * background[0, 0, 0, 0].item()
    assert composite(restored, background, soft)[0, 0, 0, 0].item() == pytest.approx(
        expected, rel=1e-6
    )


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_integer_pictures_keep_their_depth_and_every_value(dtype):
    rng = np.random.default_rng(0)
    restored, background = rng.integers(
        0, np.iinfo(dtype).max, (2, 6, 6, 3), dtype=dtype, endpoint=True
    )
    mask = rng.integers(0, 2, (6, 6)).astype(bool)
    result = composite_image(restored, background, mask)
    assert result.dtype == dtype
    assert (result[mask] == restored[mask]).all() and (result[~mask] == background[~mask]).all()


def test_soft_blend_of_integers_is_rounded():
    result = composite_image(
        np.full((1, 1), 10, np.uint8), np.full((1, 1), 13, np.uint8), np.full((1, 1), 0.5)
    )
    assert result.item() == 12  # 11.5, to even


def test_only_what_is_asked_for_comes_from_either_picture():
    """What is not finite in the one never reaches what is taken from the other."""
    restored, background = np.array([[1.0, np.nan]]), np.array([[np.inf, 2.0]])
    assert composite_image(restored, background, np.array([[1, 0]], np.uint8)).tolist() == [[1, 2]]
    assert composite_image(
        restored[..., None], background[..., None], np.array([[True, False]])
    ).tolist() == [[[1], [2]]]


@pytest.mark.parametrize('channels', [(), (1,), (3,)])
def test_masks_with_and_without_a_last_axis(channels):
    rng = np.random.default_rng(0)
    restored, background = rng.random((2, 3, 4, *channels))
    mask = rng.integers(0, 2, (3, 4)).astype(np.uint8)
    expected = restored.copy()
    expected[mask == 0] = background[mask == 0]
    for given in (mask, mask[..., None], 255 * mask, mask.astype(np.float32)):
        result = composite_image(restored, background, given)
        assert result.shape == (3, 4, *channels) and (result == expected).all()


@pytest.mark.parametrize(
    ('restored', 'background', 'mask'),
    [
        (np.zeros((4, 4, 3)), np.zeros((4, 4, 1)), np.zeros((4, 4))),
        (np.zeros((4, 4, 3)), np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4))),
        (np.zeros((4, 4, 3)), np.zeros((4, 4, 3)), np.zeros((4, 5))),
    ],
)
def test_pictures_and_masks_that_do_not_agree(restored, background, mask):
    with pytest.raises(ValueError) as caught:
        composite_image(restored, background, mask)
    assert str(caught.value) == (
        f'composite_image: restored {restored.shape} float64, background {background.shape} {background.dtype} and '
        f'mask {mask.shape} do not agree'
    )


def test_masks_on_either_scale():
    assert unit_mask(np.array([0, 2], np.uint8)).tolist() == [0, 2 / 255] and unit_mask(
        np.zeros((0, 4))
    ).shape == (0, 4)
    assert {unit_mask(np.zeros(2, kind)).dtype for kind in (bool, np.uint8, np.float32)} == {
        np.dtype(np.float64)
    }
    assert unit_mask(np.array([0, 255], np.uint8)).tolist() == [0, 1]
    assert unit_mask(np.array([0, 1], np.uint8)).tolist() == [0, 1]
    assert unit_mask(np.array([0, 0.5])).tolist() == [0, 0.5]
    assert unit_mask(np.array([False, True])).tolist() == [0, 1]
