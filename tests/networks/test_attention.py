"""Every attention against its plain-loop oracle, and the exact short form of global cross attention
against the dense one.
"""

import math
from unittest.mock import Mock

import pytest
import reference
import torch
from conftest import each_device
from reference import assert_close, randomised, weights
from torch import nn

from hmaca_arch.networks import biased_attention
from hmaca_arch.networks.attention import (
    DynamicPositionBias,
    GridAttention,
    MaskCrossAttention,
    WindowAttention,
    WindowMaskCrossAttention,
)
from hmaca_arch.networks.mask_keys import MaskEncoder, MaskKeys

IDENTITY = nn.Identity()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ('h', 'w', 'size', 'shift'),
    [
        (4, 8, 4, 0),
        (8, 8, 4, 2),
        (8, 12, 4, 2),
        (4, 4, 4, 2),
        (4, 12, 4, 2),
        (6, 9, 3, 1),
        (5, 10, 5, 2),
        (2, 4, 2, 1),
        (8, 8, 4, 3),
    ],
)
@each_device
def test_window_attention(h, w, size, shift):
    layer = randomised(WindowAttention(dim=6, heads=2, size=size, shift=shift))
    qkv = torch.randn(2, h, w, 18, dtype=torch.float64)
    assert_close(
        layer(qkv, IDENTITY), reference.window_layer(qkv, weights(layer, 'at'), 'at', size, shift)
    )


@pytest.mark.parametrize(
    ('h', 'w', 'size', 'shift'), [(8, 8, 4, 2), (4, 8, 4, 2), (9, 6, 3, 1), (8, 12, 4, 2)]
)
@each_device
def test_strips(h, w, size, shift):
    layer = randomised(WindowAttention(dim=6, heads=2, size=size, shift=shift, strips=True))
    qkv = torch.randn(2, h, w, 18, dtype=torch.float64)
    expected = reference.window_layer(qkv, weights(layer, 'at'), 'at', size, shift, strips=True)
    assert_close(layer(qkv, IDENTITY), expected)
    layer.strips = False
    assert (layer(qkv, IDENTITY) - expected).abs().max() > 0.1  # strips are something else


@each_device
def test_window_attention_gradients_equal_the_oracles():
    layer = randomised(WindowAttention(dim=4, heads=2, size=2, shift=1))
    qkv = torch.randn(1, 4, 6, 12, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 4, 6, 4, dtype=torch.float64)
    ours = torch.autograd.grad(
        (layer(qkv, IDENTITY) * weight).sum(), [qkv, layer.bias_table, layer.proj.weight]
    )
    sd = {f'at.{name}': value for name, value in layer.named_parameters()}
    expected = (reference.window_layer(qkv, sd, 'at', 2, 1) * weight).sum()
    for a, b in zip(
        ours, torch.autograd.grad(expected, [qkv, layer.bias_table, layer.proj.weight])
    ):
        assert_close(a, b)


def test_training_and_inference_take_different_ways_to_the_same_result(monkeypatch):
    q, k, v = torch.randn(3, 2, 5, 12, 6, dtype=torch.float64).unbind(0)
    table = torch.randn(7, 9, 2, dtype=torch.float64)
    monkeypatch.setattr(
        biased_attention, 'explicit', counted := Mock(wraps=biased_attention.explicit)
    )
    training = biased_attention.attend(q, k, v, table, 3, 4)
    assert counted.call_count == 1
    with torch.no_grad():
        assert_close(biased_attention.attend(q, k, v, table, 3, 4), training)
    assert counted.call_count == 1


@each_device
def test_a_bias_in_parts_is_the_whole_one(monkeypatch):
    layer = randomised(WindowAttention(dim=4, heads=2, size=4, shift=2))
    qkv = torch.randn(1, 8, 8, 12, dtype=torch.float64)
    whole = layer(qkv, IDENTITY)
    for most in (1, 3 * 2 * 4 * 4 * 4):  # one row of queries at a time; three
        monkeypatch.setattr(biased_attention, 'BIAS_ELEMENTS', most)
        monkeypatch.setattr(biased_attention, 'BIAS_ELEMENTS_CPU_INFERENCE', most)
        assert_close(layer(qkv, IDENTITY), whole, 1e-12)
        with torch.no_grad():
            assert_close(layer(qkv, IDENTITY), whole, 1e-12)


def test_a_bias_never_exists_per_window_or_larger_than_allowed(monkeypatch):
    seen = []
    real = torch.nn.functional.scaled_dot_product_attention

    def spy(q, k, v, attn_mask=None):
        seen.append(attn_mask)
        return real(q, k, v, attn_mask=attn_mask)

    monkeypatch.setattr(torch.nn.functional, 'scaled_dot_product_attention', spy)
    monkeypatch.setattr(biased_attention, 'BIAS_ELEMENTS_CPU_INFERENCE', 2 * 8 * 16)
    with torch.no_grad():
        WindowAttention(dim=4, heads=2, size=4, shift=2)(torch.randn(2, 12, 12, 12), IDENTITY)
    assert seen
    for bias in seen:
        assert bias.shape[0] == 2  # heads
        assert bias.shape[1] == 1  # one for all windows
        assert bias.numel() <= 2 * 8 * 16


@each_device
def test_position_mlp():
    mlp = randomised(DynamicPositionBias(hidden=3, heads=2))
    sd = weights(mlp, 'at')
    bias = mlp(2, 3)
    assert bias.shape == (3, 5, 2)
    expected = [
        [reference.position_mlp(dy, dx, sd, 'at') for dx in range(-2, 3)] for dy in range(-1, 2)
    ]
    assert_close(bias, torch.stack([torch.stack(row) for row in expected]))


def test_position_mlp_is_not_rounded_under_autocast(on_device):
    mlp = randomised(DynamicPositionBias(hidden=3, heads=2)).float()
    with torch.autocast(on_device.type, dtype=torch.bfloat16):
        bias = mlp(9, 9)
    assert torch.equal(bias, mlp(9, 9))


@pytest.mark.parametrize(('h', 'w', 'interval'), [(4, 8, 4), (6, 4, 2), (2, 3, 1)])
@each_device
def test_grid_attention(h, w, interval):
    layer = randomised(GridAttention(heads=2, interval=interval, hidden=3))
    qkv, grid = (
        torch.randn(2, h, w, 12, dtype=torch.float64),
        torch.randn(2, h, w, 4, dtype=torch.float64),
    )
    assert_close(
        layer(qkv, grid), reference.grid_layer(qkv, grid, weights(layer, 'at'), 'at', 2, interval)
    )


def square(h: int, w: int, top: int, left: int, size: int, dtype=torch.float64) -> torch.Tensor:
    mask = torch.zeros(1, 1, h, w, dtype=dtype)
    mask[..., top : top + size, left : left + size] = 1
    return mask


def random_masks(*shape, dtype=torch.float64) -> torch.Tensor:
    return (torch.rand(shape) < 0.4).to(dtype)


@each_device
def test_distinct_neighbourhoods_by_hand():
    encoder = MaskEncoder(2).double()

    def log_count(mask):
        return encoder.distinct(mask, present_only=False).log_count[0]

    empty = log_count(torch.zeros(1, 1, 3, 4, dtype=torch.float64))
    assert empty[0] == 0 and torch.isinf(empty[1:]).all()  # a single pattern, that of nothing
    row = log_count(torch.ones(1, 1, 1, 3, dtype=torch.float64))
    # in one row of three, neighbours 3, 4, 5 are left, centre, right: each of 4+5, 3+4+5 and 3+4
    # once
    assert set(row.isfinite().nonzero().flatten().tolist()) == {
        2**4 + 2**5,
        2**3 + 2**4 + 2**5,
        2**3 + 2**4,
    }
    inside = log_count(square(20, 20, 5, 5, 6))
    assert inside.isfinite().sum() == 26  # what an interior square has
    assert inside[0] == 0
    assert torch.isclose(
        inside[511], torch.tensor(4 * 4 / (400 - 8 * 8), dtype=torch.float64).log()
    )


@each_device
def test_leaving_out_absent_neighbourhoods_changes_nothing():
    layer, encoder = randomised(MaskCrossAttention(8, heads=2)), randomised(MaskEncoder(8))
    x = torch.randn(2, 9, 9, 8, dtype=torch.float64)
    masks = torch.cat((square(9, 9, 2, 3, 4), torch.zeros(1, 1, 9, 9, dtype=torch.float64)))
    few, all_of_them = (encoder.distinct(masks, present_only) for present_only in (True, False))
    assert few.embedding.shape == (1, 26, 8) and all_of_them.embedding.shape == (1, 512, 8)
    assert few.log_count.shape == (2, 26) and few.log_count[1].isfinite().sum() == 1
    assert_close(layer(x, *few), layer(x, *all_of_them))


@each_device
def test_the_embedding_of_a_pattern_is_the_convolution_at_a_pixel_that_has_it():
    encoder = MaskEncoder(3).double()
    mask = random_masks(1, 1, 9, 11)
    dense = encoder.pixels(mask)
    keys = encoder.keys(mask)
    present = keys.embedding[0][keys.log_count[0].isfinite()]
    distance = (dense.reshape(-1, 1, 3) - present).abs().amax(-1)
    assert distance.min(dim=1).values.max() < 1e-12  # every pixel's embedding is one of them
    assert distance.min(dim=0).values.max() < 1e-12  # and the other way round


def cross_attend(layer, encoder, x, mask, dense):
    keys = MaskKeys(encoder.pixels(mask).flatten(1, 2)) if dense else encoder.keys(mask)
    assert (keys.log_count is None) == dense
    return layer(x, *keys)


@pytest.mark.parametrize('residual', [True, False])
@pytest.mark.parametrize('kind', ['square', 'random', 'mixed batch', 'one pixel', 'full', 'empty'])
@each_device
def test_distinct_and_dense_cross_attention_agree(kind, residual):
    masks = {
        'square': square(10, 13, 2, 3, 5).expand(2, -1, -1, -1),
        'random': random_masks(2, 1, 10, 13),
        'mixed batch': torch.cat((torch.zeros(1, 1, 10, 13).double(), random_masks(1, 1, 10, 13))),
        'one pixel': random_masks(2, 1, 1, 1),
        'full': torch.ones(2, 1, 10, 13, dtype=torch.float64),
        'empty': torch.zeros(2, 1, 10, 13, dtype=torch.float64),
    }
    mask = masks[kind]
    layer, encoder = (
        randomised(MaskCrossAttention(8, heads=2, residual=residual)),
        randomised(MaskEncoder(8)),
    )
    x = torch.randn(
        2, 12, 16, 8, dtype=torch.float64, requires_grad=True
    )  # larger than the mask: padded
    weight = torch.randn(2, 12, 16, 8, dtype=torch.float64)
    leaves = [x, *layer.parameters(), *encoder.parameters()]
    results = {}
    for dense in (False, True):
        out = cross_attend(layer, encoder, x, mask, dense)
        results[dense] = [out, *torch.autograd.grad((out * weight).sum(), leaves)]
    scale = max(t.abs().max() for t in results[True][1:])
    for ours, expected in zip(results[False], results[True]):
        assert (ours - expected).abs().max() <= 1e-10 * max(
            expected.abs().max(), scale if ours is not results[False][0] else 0
        )


@each_device
def test_distinct_and_dense_agree_in_float32():
    layer, encoder = (
        randomised(MaskCrossAttention(16, heads=4)).float(),
        randomised(MaskEncoder(16)).float(),
    )
    x, mask = torch.randn(2, 40, 40, 16), random_masks(2, 1, 40, 40, dtype=torch.float32)
    leaves = [*layer.parameters(), *encoder.parameters()]
    out = {dense: cross_attend(layer, encoder, x, mask, dense) for dense in (False, True)}
    assert_close(out[False], out[True], 1e-5)
    gradients = {
        dense: torch.autograd.grad(out[dense].square().mean(), leaves) for dense in (False, True)
    }
    scale = max(g.abs().max() for g in gradients[True])
    for ours, expected in zip(gradients[False], gradients[True]):
        assert (ours - expected).abs().max() <= 1e-5 * scale


@each_device
def test_cross_attention_against_the_oracle():
    layer, encoder = randomised(MaskCrossAttention(8, heads=2)), randomised(MaskEncoder(8))
    x, mask = torch.randn(2, 4, 6, 8, dtype=torch.float64), random_masks(2, 1, 3, 5)
    sd = {**weights(layer, 'at'), **weights(encoder, 'mask_encoder')}
    s = {'cross_attention': 'global', 'cross_attention_heads': 2, 'cross_attention_residual': True}
    expected = reference.cross_attention(x, mask.permute(0, 2, 3, 1), sd, 'at', 0, s)
    assert_close(layer(x, *encoder.keys(mask)), expected)


@each_device
def test_one_soft_mask_sends_the_whole_batch_to_the_dense_form():
    encoder = MaskEncoder(4)
    masks = torch.zeros(3, 1, 6, 6)
    assert encoder.keys(masks).log_count is not None
    masks[1, 0, 2, 2] = 0.999
    keys = encoder.keys(masks)
    assert keys.log_count is None and keys.embedding.shape == (3, 36, 4)
    masks[1, 0, 2, 2] = math.nan
    assert encoder.keys(masks).log_count is None


def test_numbers_of_patterns_survive_autocast(on_device):
    encoder, mask = MaskEncoder(4), random_masks(2, 1, 30, 30, dtype=torch.float32)
    expected = encoder.keys(mask).log_count
    with torch.autocast(on_device.type, dtype=torch.bfloat16):
        assert torch.equal(encoder.keys(mask).log_count, expected)


@pytest.mark.parametrize('shift', [0, 2])
@each_device
def test_window_cross_attention_against_the_oracle(shift):
    layer, encoder = (
        randomised(WindowMaskCrossAttention(8, 2, size=4, shift=shift)),
        randomised(MaskEncoder(8)),
    )
    x, mask = torch.randn(2, 8, 12, 8, dtype=torch.float64), random_masks(2, 1, 8, 12)
    sd = {**weights(layer, 'at'), **weights(encoder, 'mask_encoder')}
    s = {
        'cross_attention': 'window',
        'cross_attention_heads': 2,
        'cross_attention_residual': True,
        'window_size': 4,
    }
    expected = reference.cross_attention(x, mask.permute(0, 2, 3, 1), sd, 'at', int(shift > 0), s)
    assert_close(layer(x, encoder.pixels(mask)), expected)


@each_device
def test_moving_the_square_changes_nothing_for_global_and_something_for_window():
    encoder = randomised(MaskEncoder(8))
    over_all, inside = (
        randomised(MaskCrossAttention(8, 2)),
        randomised(WindowMaskCrossAttention(8, 2, size=4, shift=0)),
    )
    x = torch.randn(1, 12, 12, 8, dtype=torch.float64)
    here, there, at_the_edge, larger = (
        square(12, 12, 2, 3, 4),
        square(12, 12, 7, 6, 4),
        square(12, 12, 0, 3, 4),
        square(12, 12, 2, 3, 5),
    )
    assert_close(over_all(x, *encoder.keys(here)), over_all(x, *encoder.keys(there)))
    for other in (at_the_edge, larger):
        assert (
            over_all(x, *encoder.keys(here)) - over_all(x, *encoder.keys(other))
        ).abs().max() > 1e-3
    assert (inside(x, encoder.pixels(here)) - inside(x, encoder.pixels(there))).abs().max() > 1e-3


def test_without_residual_a_uniform_mask_hides_the_picture():
    """Fact 1 of Eq. 5: with one neighbourhood everywhere, the softmax weights, all that the picture
    decides, play no part.
    """
    encoder, x = randomised(MaskEncoder(8)), torch.randn(2, 4, 4, 8, dtype=torch.float64)
    mask = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    literal = randomised(MaskCrossAttention(8, 2, residual=False))(x, *encoder.keys(mask))
    assert (literal - literal[:1, :1, :1]).abs().max() < 1e-12
    with_residual = randomised(MaskCrossAttention(8, 2))(x, *encoder.keys(mask))
    assert (with_residual - with_residual[:1, :1, :1]).abs().max() > 0.1
    assert not any(
        'norm' in name for name, _ in MaskCrossAttention(8, 2, residual=False).named_parameters()
    )
