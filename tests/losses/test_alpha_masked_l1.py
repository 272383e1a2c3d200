import pytest
import torch
from conftest import each_device
from torch.autograd import gradcheck

from losses_ext import AlphaMaskedL1Loss, alpha_masked_l1
from losses_ext.alpha_masked_l1 import bounding_box


def by_loops(pred, target, mask, alpha, inside, outside):
    """Eq. 7, sample by sample and pixel by pixel."""
    total = 0.0
    b, c, h, w = pred.shape
    for n in range(b):
        on = [(y, x) for y in range(h) for x in range(w) if mask[n, 0, y, x] > 0]
        if inside == 'bbox' and on:
            ys, xs = [y for y, _ in on], [x for _, x in on]
            on = [(y, x) for y in range(min(ys), max(ys) + 1) for x in range(min(xs), max(xs) + 1)]
        off = [(y, x) for y in range(h) for x in range(w) if outside == 'image' or (y, x) not in on]
        for weight, region in ((alpha, on), (1 - alpha, off)):
            if region:
                total += (
                    weight
                    * sum(
                        abs(float(pred[n, k, y, x] - target[n, k, y, x]))
                        for k in range(c)
                        for y, x in region
                    )
                    / (c * len(region))
                )
    return total / b


@pytest.mark.parametrize('alpha', [0.0, 0.3, 1.0])
@pytest.mark.parametrize('inside', ['mask', 'bbox'])
@pytest.mark.parametrize('outside', ['complement', 'image'])
@each_device
def test_against_loops(region_batch, alpha, inside, outside):
    expected = by_loops(*region_batch, alpha, inside, outside)
    assert alpha_masked_l1(*region_batch, alpha, inside, outside).item() == pytest.approx(
        expected, abs=1e-12
    )


@pytest.mark.parametrize('inside', ['mask', 'bbox'])
@pytest.mark.parametrize('outside', ['complement', 'image'])
def test_the_loss_of_an_option_file_is_the_function_with_its_settings(
    region_batch, inside, outside
):
    expected = by_loops(*region_batch, 0.3, inside, outside)
    assert AlphaMaskedL1Loss(alpha=0.3, inside=inside, outside=outside)(
        *region_batch
    ).item() == pytest.approx(expected)


def test_defaults_are_those_of_the_paper(region_batch):
    expected = pytest.approx(by_loops(*region_batch, 0.5, 'mask', 'complement'))
    assert (
        AlphaMaskedL1Loss()(*region_batch).item() == expected
        and alpha_masked_l1(*region_batch).item() == expected
    )


@each_device
def test_by_hand():
    pred = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    target = torch.zeros(1, 1, 2, 2)
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    assert AlphaMaskedL1Loss(alpha=0.25, loss_weight=2)(pred, target, mask).item() == pytest.approx(
        2 * (0.25 * 1 + 0.75 * 3)
    )


def test_alpha_zero_over_the_image_is_plain_l1(region_batch):
    pred, target, mask = region_batch
    assert alpha_masked_l1(pred, target, mask, 0.0, 'mask', 'image').item() == pytest.approx(
        (pred - target).abs().mean().item()
    )


@each_device
def test_soft_masks_weight_pixels():
    pred, target = torch.tensor([[[[1.0, 3.0]]]]), torch.zeros(1, 1, 1, 2)
    mask = torch.tensor([[[[0.25, 0.75]]]])
    assert alpha_masked_l1(pred, target, mask, 1.0).item() == pytest.approx(0.25 * 1 + 0.75 * 3)
    assert alpha_masked_l1(pred, target, mask, 0.0).item() == pytest.approx(0.75 * 1 + 0.25 * 3)


@each_device
def test_an_empty_region_contributes_zero_and_keeps_the_graph(region_batch):
    pred, target, mask = region_batch
    pred = pred.requires_grad_()
    empty = alpha_masked_l1(pred, target, torch.zeros_like(mask), 1.0)
    assert empty.item() == 0
    empty.backward()
    assert torch.equal(pred.grad, torch.zeros_like(pred))


def test_a_full_mask_is_not_renormalised(region_batch):
    pred, target, mask = region_batch
    full = alpha_masked_l1(pred, target, torch.ones_like(mask), 0.3)
    assert full.item() == pytest.approx(0.3 * (pred - target).abs().mean().item())


@each_device
def test_samples_do_not_mix(region_batch):
    pred, target, mask = region_batch
    alone = [
        alpha_masked_l1(pred[i : i + 1], target[i : i + 1], mask[i : i + 1], 0.7) for i in range(3)
    ]
    assert alpha_masked_l1(pred, target, mask, 0.7).item() == pytest.approx(sum(alone).item() / 3)


@pytest.mark.parametrize('inside', ['mask', 'bbox'])
@pytest.mark.parametrize('outside', ['complement', 'image'])
@each_device
def test_gradients(region_batch, inside, outside):
    pred, target, mask = region_batch
    assert gradcheck(
        lambda p: alpha_masked_l1(p, target, mask, 0.4, inside, outside), (pred.requires_grad_(),)
    )


@each_device
def test_bounding_box_spans_all_regions():
    mask = torch.zeros(1, 1, 4, 5)
    mask[0, 0, 1, 3] = mask[0, 0, 2, 1] = 0.5
    assert bounding_box(mask)[0, 0].tolist() == [[0] * 5, [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0] * 5]
    assert not bounding_box(torch.zeros(1, 1, 4, 5)).any()


def test_an_area_below_one_pixel_is_divided_by_all_the_same():
    mask = torch.tensor([[[[0.5, 0.0]]]])
    assert alpha_masked_l1(
        torch.tensor([[[[3.0, 7.0]]]]), torch.zeros(1, 1, 1, 2), mask, 1.0
    ).item() == pytest.approx(3)


@pytest.mark.parametrize('inside', ['mask', 'bbox'])
@pytest.mark.parametrize('kind', [torch.bool, torch.float16, torch.uint8])
@each_device
def test_masks_and_pictures_of_any_type_are_summed_in_float32(kind, inside):
    """90000 pixels are more than float16 can count (65504)."""
    pred, target = (
        torch.ones(1, 1, 300, 300, dtype=torch.float16),
        torch.zeros(1, 1, 300, 300, dtype=torch.float16),
    )
    loss = alpha_masked_l1(pred, target, torch.ones(1, 1, 300, 300).to(kind), 0.25, inside)
    assert loss.dtype == torch.float32 and loss.item() == 0.25
    assert (
        alpha_masked_l1(pred.double(), target, torch.ones(1, 1, 300, 300), 0.25).dtype
        == torch.float64
    )


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'alpha': 1.5}, 'alpha is 1.5, expected a number from 0 to 1'),
        ({'alpha': -0.1}, 'alpha is -0.1, expected a number from 0 to 1'),
        ({'inside': 'box'}, "inside is 'box', expected one of mask, bbox"),
        ({'outside': 'all'}, "outside is 'all', expected one of complement, image"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(ValueError) as caught:
        AlphaMaskedL1Loss(**settings)
    assert str(caught.value) == f'AlphaMaskedL1Loss: {message}'


def test_both_ends_of_alpha_are_possible(region_batch):
    for alpha in (0, 1):
        assert AlphaMaskedL1Loss(alpha=alpha)(*region_batch).item() == pytest.approx(
            by_loops(*region_batch, alpha, 'mask', 'complement')
        )


@pytest.mark.parametrize('shape', [(3, 1, 5, 5), (3, 3, 5, 6), (1, 1, 5, 6)])
def test_sizes_that_do_not_agree_are_refused(region_batch, shape):
    with pytest.raises(ValueError) as caught:
        alpha_masked_l1(region_batch[0], region_batch[1], torch.ones(shape))
    assert str(caught.value) == (
        f'alpha_masked_l1: pred (3, 3, 5, 6), target (3, 3, 5, 6) and mask {shape} do not agree: '
        'expected (b, c, h, w) twice and (b, 1, h, w)'
    )


def test_pictures_that_do_not_agree_are_refused(region_batch):
    with pytest.raises(ValueError, match=r'target \(3, 1, 5, 6\)'):
        alpha_masked_l1(region_batch[0], region_batch[1][:, :1], region_batch[2])
