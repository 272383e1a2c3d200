"""HMANet and HMACA against the oracle and the published network's outputs, and what holds for any
input and any setting.
"""

import copy
import os
from pathlib import Path

import pytest
import reference
import torch
from conftest import each_device
from reference import assert_close, randomised
from torch import nn

from hmaca_arch import HMACA, HMANet, build_network_from_state_dict
from hmaca_arch.networks.attention import DynamicPositionBias

FIXTURES = Path(
    os.environ.get('HMACA_FIXTURES', Path(__file__).resolve().parents[3] / 'shared' / 'fixtures')
)
TINY = {
    'embed_dim': 64,
    'depths': (2, 1),
    'num_heads': (4, 4),
    'window_size': 4,
    'interval_size': 2,
    'drop_path_rate': 0.0,
}
SMALL = {**TINY, 'depths': (1,), 'num_heads': (4,), 'mlp_ratio': 1}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def example(
    b: int, h: int, w: int, dtype=torch.float32, chans: int = 3
) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture and a mask with an interior rectangle in each sample, another one in each."""
    mask = torch.zeros(b, 1, h, w, dtype=dtype)
    for i in range(b):
        mask[i, :, h // 4 : h // 2 + i + 1, w // 4 : w // 2 + 1] = 1
    return torch.rand(b, chans, h, w, dtype=dtype), mask


@pytest.mark.parametrize(
    ('size', 'settings'),
    [
        ((7, 6), {}),
        ((4, 8), {'shifted_windows': 'strips', 'resi_connection': 'identity'}),
        ((3, 5), {'upscale': 2, 'in_chans': 1, 'img_range': 255.0}),
        ((3, 5), {'upscale': 3, 'keep_size': True, 'depths': (1,), 'num_heads': (4,)}),
        (
            (2, 3),
            {
                'upscale': 4,
                'keep_size': True,
                'image_residual': True,
                'depths': (1,),
                'num_heads': (4,),
            },
        ),
        ((1, 1), {'image_residual': True, 'depths': (1,), 'num_heads': (4,)}),
        ((5, 4), {'window_size': 3, 'interval_size': 2, 'mlp_ratio': 0.7}),
    ],
)
@each_device
def test_hmanet_against_the_oracle(size, settings):
    net = randomised(HMANet(**{**TINY, **settings}), std=0.2).eval()
    lq, _ = example(2, *size, torch.float64, net.in_chans)
    expected = reference.network(net.state_dict(), net.settings, lq)
    with torch.no_grad():
        assert_close(net(lq), expected, 1e-8)


@pytest.mark.parametrize('form', ['global', 'window'])
@pytest.mark.parametrize('residual', [True, False])
@each_device
def test_hmaca_against_the_oracle(form, residual):
    net = randomised(
        HMACA(
            **TINY, cross_attention=form, cross_attention_residual=residual, cross_attention_heads=2
        ),
        std=0.2,
    ).eval()
    lq, mask = example(2, 7, 6, torch.float64)
    mask[0, 0, 1:, 2:] = torch.rand(6, 4)  # a soft mask is the oracle's business too
    for masks in (mask, mask.round()):
        expected = reference.network(net.state_dict(), net.settings, lq, masks)
        with torch.no_grad():
            assert_close(net(lq, masks), expected, 1e-8)


@pytest.mark.parametrize('name', ['x1', 'x2'])
def test_the_published_networks_output(name, device):
    safetensors = pytest.importorskip('safetensors.torch')
    if not (FIXTURES / f'hmanet_{name}.io.safetensors').exists():
        pytest.skip(f'no fixtures in {FIXTURES} (HMACA_FIXTURES names another folder)')
    weights = safetensors.load_file(FIXTURES / f'hmanet_{name}.weights.safetensors')
    tensors = safetensors.load_file(FIXTURES / f'hmanet_{name}.io.safetensors')
    net = build_network_from_state_dict(weights).to(device)
    assert net.settings['upscale'] == int(name[1])
    given, expected = tensors['input'].to(device), tensors['output'].to(device)
    for grad in (False, True):  # inference in strips, and training's path
        with torch.set_grad_enabled(grad):
            assert (net(given) - expected).abs().max() < 1e-5


@pytest.mark.parametrize('form', ['global', 'window'])
@each_device
def test_the_mask_changes_the_output(form):
    net = HMACA(**SMALL, cross_attention=form).eval()
    lq, mask = example(1, 9, 10)
    with torch.no_grad():
        out = net(lq, mask)
        for other in (torch.zeros_like(mask), torch.ones_like(mask), mask / 2):
            assert (net(lq, other) - out).abs().max() > 1e-6


@each_device
def test_moving_the_square_matters_to_window_alone():
    lq, _ = example(1, 16, 16, torch.float64)
    here, there = torch.zeros(2, 1, 1, 16, 16, dtype=torch.float64)
    here[..., 2:6, 3:7], there[..., 9:13, 6:10] = 1, 1
    for form, matters in (('global', False), ('window', True)):
        net = randomised(HMACA(**SMALL, cross_attention=form), std=0.2).eval()
        difference = (net(lq, here) - net(lq, there)).abs().max()
        assert (difference > 1e-4) if matters else (difference < 1e-9)


@pytest.mark.parametrize('form', ['global', 'window'])
@each_device
def test_every_parameter_has_a_gradient(form):
    """The last bias of a position MLP moves every logit of a row alike, which softmax cancels: the
    one exception.
    """
    net = HMACA(
        **{**TINY, 'embed_dim': 96}, upscale=2, keep_size=True, cross_attention=form
    ).train()
    lq, mask = example(2, 12, 10)
    net(lq, mask).square().sum().backward()
    cancelled = {
        name + '.pos3.2.bias'
        for name, module in net.named_modules()
        if isinstance(module, DynamicPositionBias)
    }
    assert len(cancelled) == 4
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if name not in cancelled:
            assert parameter.grad.abs().max() > 1e-9, name


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (2, 3), (4, 4), (5, 17), (8, 4)])
@each_device
def test_any_size(size):
    net = HMACA(**SMALL, upscale=2).eval()
    lq, mask = example(1, *size)
    with torch.no_grad():
        out = net(lq, mask)
        assert out.shape == (1, 3, 2 * size[0], 2 * size[1]) and out.isfinite().all()
        assert torch.equal(net(lq, mask), out)


def test_padding_is_never_a_key_of_global_cross_attention():
    """A sample's mask beyond its picture does not exist: cutting a picture to a multiple of the
    window or not gives the same counts.
    """
    net = HMACA(**SMALL).eval()
    lq, mask = example(1, 5, 6)
    counted = []
    net.cross_attentions[0].register_forward_pre_hook(lambda _, inputs: counted.append(inputs[2]))
    net(lq, mask)
    frequencies = counted[0].exp()[0]
    assert torch.isclose(
        frequencies.sum() / frequencies[frequencies > 0].min(), torch.tensor(30.0)
    )  # 5 * 6, not 8 * 8


@pytest.mark.parametrize('form', ['global', 'window'])
@pytest.mark.parametrize('soft', [False, True])
@each_device
def test_samples_of_a_batch_do_not_influence_each_other(form, soft):
    net = randomised(HMACA(**SMALL, cross_attention=form), std=0.2).eval()
    lq, mask = example(3, 6, 7, torch.float64)
    if soft:
        mask[2] *= 0.5  # sends the others to the dense form as well
    with torch.no_grad():
        together = net(lq, mask)
        for i in range(3):
            assert_close(together[i : i + 1], net(lq[i : i + 1], mask[i : i + 1]), 1e-9)


@each_device
def test_masks_may_be_of_any_type():
    net = HMACA(**SMALL).eval()
    lq, mask = example(1, 6, 6)
    with torch.no_grad():
        assert torch.equal(net(lq, mask.bool()), net(lq, mask))
        assert torch.equal(net(lq, mask.to(torch.uint8)), net(lq, mask))


@pytest.mark.parametrize('form', ['global', 'window'])
@each_device
def test_checkpointing_changes_memory_not_gradients(form, monkeypatch):
    from hmaca_arch.networks import blocks

    recomputed = []
    real = blocks.checkpoint
    monkeypatch.setattr(
        blocks,
        'checkpoint',
        lambda block, *args, **kwargs: recomputed.append(block) or real(block, *args, **kwargs),
    )
    settings = {**TINY, 'drop_path_rate': 0.5, 'cross_attention': form}
    plain = HMACA(**settings).double().train()
    saving = HMACA(**settings, use_checkpoint=True).double().train()
    saving.load_state_dict(plain.state_dict())
    lq, mask = example(2, 6, 5, torch.float64)
    for net in (plain, saving):
        torch.manual_seed(1)  # the same samples are dropped
        net(lq, mask).square().mean().backward()
    # 2 FusedConv, 3 FAB, 2 GAB, 2 cross attentions
    assert len(recomputed) == 9
    for ours, expected in zip(saving.parameters(), plain.parameters()):
        assert torch.allclose(ours.grad, expected.grad, rtol=1e-9, atol=1e-12)
    saving.eval()(lq, mask)
    assert len(recomputed) == 9


def test_checkpointing_keeps_less():
    def kept(net: HMANet) -> int:
        """Elements that the graph of a forward pass holds."""
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.numel()) or t, lambda t: t
        ):
            net(torch.rand(1, 3, 8, 8))
        return sum(sizes)

    assert kept(HMANet(**TINY, use_checkpoint=True).train()) < kept(HMANet(**TINY).train()) / 4


@each_device
def test_weights_changed_behind_autograds_back_take_effect_at_once():
    """BasicSR averages weights through `.data`, which raises no version counter, into a network
    that is always in eval mode.
    """
    net, other = HMACA(**SMALL).eval(), HMACA(**SMALL)
    lq, mask = example(1, 8, 8)
    with torch.no_grad():
        before = net(lq, mask)
        for parameter, theirs in zip(net.parameters(), other.parameters()):
            parameter.data.mul_(0.5).add_(theirs.data, alpha=0.5)
        fresh = HMACA(**SMALL).eval()
        fresh.load_state_dict(net.state_dict())
        assert (net(lq, mask) - before).abs().max() > 1e-6
        assert torch.equal(net(lq, mask), fresh(lq, mask))
        for (
            name,
            parameter,
        ) in net.named_parameters():  # each bias by itself: nothing of them is remembered
            if 'bias_table' in name or name.endswith('bias1.pos3.2.weight'):
                before = net(lq, mask)
                parameter.data.normal_(std=3)
                assert (net(lq, mask) - before).abs().max() > 0, name


def test_nothing_but_parameters_and_the_description_is_saved():
    net = HMACA(**SMALL).eval()
    with torch.no_grad():
        net(*example(1, 8, 8))
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()} | {'_extra_state'}


def test_a_copy_is_independent():
    net = HMACA(**SMALL).eval()
    lq, mask = example(1, 6, 6)
    with torch.no_grad():
        before = net(lq, mask)
        twin = copy.deepcopy(net)
        for parameter in twin.parameters():
            parameter.add_(0.1)
        assert torch.equal(net(lq, mask), before)
        assert not torch.equal(twin(lq, mask), before)


@pytest.mark.parametrize('form', ['global', 'window'])
@pytest.mark.parametrize(
    ('kind', 'output', 'gradient'),
    [(torch.float32, 1e-5, 1e-4), (torch.bfloat16, 0.02, 0.1)],
    ids=['float32', 'bfloat16'],
)
def test_output_and_gradient_near_float64(on_device, form, kind, output, gradient):
    net = randomised(HMACA(**SMALL, cross_attention=form), std=0.1).train()
    lq, mask = example(2, 8, 12)

    def results(*given):
        out = net(*given)
        leaves = list(net.parameters())
        grads = torch.autograd.grad(out.double().square().mean(), leaves)
        return out.detach(), torch.cat([g.flatten() for g in grads])

    expected = results(lq.double(), mask.double())
    net.float()
    with torch.autocast(on_device.type, dtype=kind, enabled=kind != torch.float32):
        found = results(lq, mask)
        with torch.no_grad():
            inferred = net.eval()(lq, mask)
    for ours, theirs, most in (
        (found[0], expected[0], output),
        (found[1], expected[1], gradient),
        (inferred, expected[0], output),
    ):
        assert (ours - theirs).norm() < most * theirs.norm()


def test_initialisation():
    net = HMACA()
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear):
            assert module.bias is None or not module.bias.any(), name
            assert module.weight.abs().max() < 0.15, (
                name
            )  # three and more deviations of 0.02; torch's default reaches 1 / sqrt(96)
        elif isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all() and not module.bias.any()
    table = net.groups[0].blocks[1].attn.bias_table
    assert table.std().item() == pytest.approx(0.02, rel=0.1)
    assert net.cross_attentions[0].q.weight.std().item() == pytest.approx(0.02, rel=0.1)
    rates = [module.p for module in net.modules() if type(module).__name__ == 'StochasticDepth']
    assert rates == pytest.approx([0.1 * i / 23 for i in range(24)])


@pytest.mark.parametrize('settings', [{}, {'upscale': 2, 'keep_size': True}])
@each_device
def test_with_the_pictures_residual_a_network_begins_as_the_identity(settings):
    net = HMACA(
        **{**TINY, **settings},
        image_residual=True,
        cross_attention='window',
        cross_attention_heads=2,
    )
    lq, mask = example(2, 7, 6)
    output = net(lq, mask)
    assert torch.equal(output, lq)
    (output - 1).square().sum().backward()
    last = net.conv_resize if settings else net.conv_last
    assert last.weight.grad.abs().max() > 0  # and learns


def test_parameter_counts_of_the_papers_networks():
    paper = {'window_size': 32, 'mlp_ratio': 4}
    assert sum(p.numel() for p in HMANet(**paper).parameters()) == 14_949_379
    assert sum(p.numel() for p in HMACA(**paper).parameters()) == 15_099_715


@pytest.mark.parametrize(
    ('settings', 'named'),
    [
        ({'embed_dim': 62}, 'embed_dim'),
        ({'embed_dim': 28, 'num_heads': (2,)}, 'embed_dim'),
        ({'embed_dim': 64.0}, 'embed_dim'),
        ({'num_heads': (3,)}, 'num_heads'),
        ({'num_heads': (6,)}, 'num_heads'),
        ({'num_heads': (4, 4)}, 'num_heads'),
        ({'num_heads': 4}, 'num_heads'),
        ({'embed_dim': 96, 'num_heads': (32,)}, 'num_heads'),
        ({'depths': ()}, 'depths'),
        ({'depths': (0,)}, 'depths'),
        ({'window_size': 1}, 'window_size'),
        ({'interval_size': 0}, 'interval_size'),
        ({'upscale': 6}, 'upscale'),
        ({'upscale': 0}, 'upscale'),
        ({'mlp_ratio': 0}, 'mlp_ratio'),
        ({'mlp_ratio': '4'}, 'mlp_ratio'),
        ({'in_chans': 0}, 'in_chans'),
        ({'img_range': 0}, 'img_range'),
        ({'drop_path_rate': 1.0}, 'drop_path_rate'),
        ({'resi_connection': '3conv'}, 'resi_connection'),
        ({'shifted_windows': 'stripes'}, 'shifted_windows'),
        ({'keep_size': 'yes'}, 'keep_size'),
        ({'image_residual': True, 'upscale': 2}, 'image_residual'),
        ({'cross_attention': 'local'}, 'cross_attention'),
        ({'cross_attention_heads': 3}, 'cross_attention_heads'),
        ({'cross_attention_heads': 0}, 'cross_attention_heads'),
        ({'cross_attention_residual': 1}, 'cross_attention_residual'),
    ],
)
def test_impossible_settings_are_named(settings, named):
    with pytest.raises(ValueError, match=rf'^{named} is .*; expected '):
        HMACA(**{**SMALL, **settings})


def test_only_known_settings_and_only_by_name():
    for network in (HMANet, HMACA):
        with pytest.raises(TypeError, match='windw_size'):
            network(**SMALL, windw_size=8)
        with pytest.raises(TypeError):
            network(3, 64)


def test_wrong_inputs():
    net = HMACA(**SMALL).eval()
    lq, mask = example(2, 6, 7)
    with pytest.raises(ValueError, match='mask is missing'):
        net(lq)
    for wrong in (mask[:1], mask[:, 0], mask[..., :-1], mask.expand(-1, 3, -1, -1)):
        with pytest.raises(ValueError, match=r'mask is of shape .* expected \(2, 1, 6, 7\)'):
            net(lq, wrong)
    for network in (lambda x: net(x, mask), HMANet(**SMALL)):
        with pytest.raises(ValueError, match='in_chans'):
            network(lq[:, :1])
        with pytest.raises(ValueError, match='in_chans'):
            network(lq[0])


def test_registered():
    from basicsr.archs import build_network

    assert isinstance(build_network({'type': 'HMANet', **SMALL}), HMANet)
    assert isinstance(build_network({'type': 'HMACA', **SMALL}), HMACA)
