import math

import pytest
import torch
from conftest import each_device
from torch.autograd import gradcheck

from losses_ext import RegionPSNRLoss


@each_device
def test_is_minus_the_psnr_of_the_region(region_batch):
    pred, target, mask = region_batch
    by_hand = 0
    for n in range(2):
        inside = mask[n, 0] > 0
        error = (pred[n][:, inside] - target[n][:, inside]).square().mean().item()
        by_hand += 10 * math.log10(error + 1e-5)
    assert RegionPSNRLoss()(*region_batch).item() == pytest.approx(by_hand / 3, abs=1e-10)


def test_a_perfect_sample_reaches_the_limit():
    image, mask = torch.rand(1, 3, 4, 4), torch.ones(1, 1, 4, 4)
    assert RegionPSNRLoss(limit=60)(image, image, mask).item() == pytest.approx(-60, abs=1e-4)


def test_half_the_error_is_worth_the_same_at_any_strength():
    target, mask = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    loss = RegionPSNRLoss(limit=200, loss_weight=2)
    for error in (0.2, 0.02, 0.002):
        gained = loss(target + error, target, mask) - loss(target + error / 2, target, mask)
        assert gained.item() == pytest.approx(2 * 20 * math.log10(2), abs=1e-4)


@each_device
def test_outside_does_not_count(region_batch):
    pred, target, mask = region_batch
    loss = RegionPSNRLoss()
    assert loss(torch.where(mask > 0, pred, 9), target, mask) == loss(pred, target, mask)


@each_device
def test_gradient(region_batch):
    pred, target, mask = region_batch
    assert gradcheck(lambda p: RegionPSNRLoss()(p, target, mask), pred.requires_grad_())


@pytest.mark.parametrize('kind', [torch.float16, torch.bfloat16])
@each_device
def test_half_precision_gives_float32(region_batch, kind):
    pred, target, mask = (tensor.to(kind) for tensor in region_batch)
    loss = RegionPSNRLoss()(pred, target, mask)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(RegionPSNRLoss()(*region_batch).item(), abs=0.05)


def test_what_does_not_fit_is_refused(region_batch):
    pred, target, mask = region_batch
    with pytest.raises(ValueError, match='limit is 0, expected a number of dB above 0'):
        RegionPSNRLoss(limit=0)
    with pytest.raises(ValueError, match='do not agree'):
        RegionPSNRLoss()(pred, target, mask.expand(3, 3, 5, 6))
