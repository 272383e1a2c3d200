"""The PSNR loss by hand values and gradcheck."""

import math

import pytest
import torch

from losses_ext import MaskedPSNRLoss


def test_a_value_by_hand():
    target = torch.zeros(2, 3, 4, 4)
    pred = target.clone()
    pred[0, :, :2] = 0.1  # half of the masked pixels are off by 0.1: a mean square of 0.005
    pred[1] = 1.0
    mask = torch.ones(2, 1, 4, 4)
    mask[1, 0, 1:] = 0
    floor = (0.3 / 255) ** 2
    expected = (math.log10(0.005 + floor) + math.log10(1 + floor)) / 2
    assert MaskedPSNRLoss()(pred, target, mask).item() == pytest.approx(expected, abs=1e-6)
    assert MaskedPSNRLoss(loss_weight=3)(pred, target, mask).item() == pytest.approx(3 * expected, abs=1e-5)


def test_what_lies_outside_and_empty_masks_count_for_nothing():
    pred, mask = torch.rand(1, 3, 4, 4, requires_grad=True), torch.zeros(1, 1, 4, 4)
    loss = MaskedPSNRLoss()(pred, torch.rand(1, 3, 4, 4), mask)
    loss.backward()
    assert loss.item() == 0 and not pred.grad.any()


def test_gradients():
    pred = torch.rand(2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 1, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda pred: MaskedPSNRLoss()(pred, torch.zeros_like(pred), mask), (pred,))


def test_mistakes():
    with pytest.raises(ValueError, match='least is 0'):
        MaskedPSNRLoss(least=0)
    with pytest.raises(ValueError, match='do not agree'):
        MaskedPSNRLoss()(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), torch.ones(1, 1, 4, 5))
