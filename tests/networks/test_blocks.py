"""FusedConv, FAB, GAB and RHTB against their oracles; stochastic depth; inference in strips."""

import pytest
import reference
import torch
from conftest import each_device
from reference import assert_close, randomised, weights

from hmaca_arch.networks import strips as tuning
from hmaca_arch.networks.blocks import FAB, GAB, RHTB, FusedConv


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def picture(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@each_device
def test_fused_conv():
    layer, x = randomised(FusedConv(8)), picture(2, 5, 7, 8)
    expected = reference.fused_conv(x, weights(layer, 'at'), 'at')
    assert_close(layer(x), expected)
    assert (expected - x).abs().max() > 0.1


def test_fused_conv_keeps_half_precision_under_autocast(device, monkeypatch):
    """What is widened is most of the network's memory in training. On a GPU autocast would turn
    LayerNorm's result, and all that follows, into float32.
    """
    layer = FusedConv(32).to(device)
    x = torch.randn(2, 9, 8, 32, device=device)
    expected = layer.double()(x.double())
    layer.float()
    real, kinds = layer.widened, []

    def widened(x):
        strips = real(x)
        kinds.extend(strip.dtype for strip in strips)
        return strips

    monkeypatch.setattr(layer, 'widened', widened)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        out = layer(x)
    assert kinds == [torch.bfloat16]
    gradients = torch.autograd.grad(out.square().mean(), list(layer.parameters()))
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients)
    assert (out - expected).norm() < 0.01 * (expected - x).norm()


@pytest.mark.parametrize('shift', [0, 2])
@each_device
def test_fab(shift):
    layer, x = randomised(FAB(8, 2, 4, shift, 12, 0.0)), picture(2, 4, 8, 8)
    assert_close(layer(x), reference.fab(x, weights(layer, 'at'), 'at', 4, shift))


@pytest.mark.parametrize('strips', [False, True])
@each_device
def test_gab(strips):
    layer, x = randomised(GAB(64, 4, 4, 2, 80, strips)), picture(1, 8, 4, 64)
    assert_close(layer(x), reference.gab(x, weights(layer, 'at'), 'at', 4, 4, 2, strips))


@pytest.mark.parametrize(('depth', 'conv'), [(3, True), (1, False)])
@each_device
def test_rhtb(depth, conv):
    layer = randomised(RHTB(32, 2, 4, 2, 40, False, [0.0] * depth, conv, use_checkpoint=False))
    x = picture(1, 4, 8, 32)
    settings = {
        'window_size': 4,
        'interval_size': 2,
        'shifted_windows': 'windows',
        'resi_connection': '1conv' if conv else 'identity',
    }
    assert_close(layer(x), reference.rhtb(x, weights(layer, 'at'), 'at', depth, 2, settings))


def test_inference_in_strips_is_the_same(monkeypatch):
    layer, x = (
        randomised(RHTB(32, 2, 4, 2, 40, False, [0.0], True, use_checkpoint=False)),
        picture(2, 8, 4, 32),
    )
    whole = layer(x)
    hidden = 6 * 32
    assert len(tuning.strips(x, hidden, 1)) == 1
    for elements, heights in ((1, [1] * 8), (2 * 4 * hidden * 3, [3, 3, 2])):  # unequal ones too
        monkeypatch.setattr(tuning, 'STRIP_ELEMENTS', elements)
        monkeypatch.setattr(tuning, 'CONV_STRIP_ELEMENTS', 2 * elements)
        with torch.no_grad():
            assert [
                rows.stop - rows.start for rows in tuning.strips(x, hidden, elements)
            ] == heights
            assert_close(layer(x), whole, 1e-12)


@each_device
def test_drop_path_drops_whole_samples_of_a_branch_and_scales_the_rest():
    layer, x = randomised(FAB(8, 2, 4, 0, 12, 0.5)).train(), picture(64, 4, 4, 8)
    attended = x + 2 * layer.attn(layer.norm1(x), layer.qkv)
    outcomes = (
        x,
        x + 2 * layer.mlp(layer.norm2(x)),
        attended,
        attended + 2 * layer.mlp(layer.norm2(attended)),
    )
    out = layer(x)
    found = torch.stack([(out - outcome).abs().amax((1, 2, 3)) < 1e-9 for outcome in outcomes])
    assert (found.sum(0) == 1).all()  # each sample is one of: neither branch, one of them, both
    assert found.any(1).all()  # and in 64 samples each occurs


def test_the_blocks_of_an_rhtb_and_their_shifts():
    group = RHTB(32, 2, 4, 2, 40, False, [0.0, 0.1, 0.2, 0.3], True, use_checkpoint=False)
    assert [type(block).__name__ for block in group.blocks] == [
        'FusedConv',
        'FAB',
        'FAB',
        'FusedConv',
        'FAB',
        'FAB',
    ]
    fabs = [block for block in group.blocks if isinstance(block, FAB)]
    assert [fab.attn.shift for fab in fabs] == [0, 2, 0, 2]
    assert [fab.drop_path.p for fab in fabs] == [0.0, 0.1, 0.2, 0.3]
