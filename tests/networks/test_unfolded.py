"""Unfolded networks: their settings, the inner network's input, and their checkpoints."""

import numpy as np
import pytest
import torch
from conftest import each_device

from hmaca_arch import build_network_from_state_dict
from hmaca_arch.degradation import Degradation, Equations
from hmaca_arch.degradation.kernels import Kernel
from hmaca_arch.networks.conditions import DESCRIBED, GREY_NOISE, as_independent, strengths
from hmaca_arch.networks.registry import build
from hmaca_arch.networks.unfolded import Unfolded

HMACA = {
    'type': 'HMACA', 'embed_dim': 32, 'depths': [2], 'num_heads': [2], 'window_size': 4, 'interval_size': 2, 'mlp_ratio': 1,
    'drop_path_rate': 0, 'cross_attention': 'none', 'mask_position': True, 'image_residual': True, 'img_range': 16,
}  # fmt: skip
SWINIR = {
    'type': 'SwinIR',
    'embed_dim': 12,
    'depths': [2],
    'num_heads': [2],
    'window_size': 4,
    'upscale': 1,
    'upsampler': '',
}
TEXTS = ['pix:3:mean', 'pix:4:centre', 'blur:1', 'noise:20', 'unknown', 'none', 'blur:1+jpeg:50']


def inputs(size: int = 13):
    torch.manual_seed(0)
    lq = torch.rand(len(TEXTS), 3, size, size + 2)
    mask = torch.zeros(len(TEXTS), 1, size, size + 2)
    mask[:, :, 3:10, 2:11] = 1
    told = torch.from_numpy(np.stack([Degradation.parse(text).vector() for text in TEXTS]))
    return lq, mask, told.to(lq.device)


@pytest.mark.parametrize('inner', [HMACA, SWINIR], ids=['HMACA', 'SwinIR'])
@pytest.mark.parametrize('steps', [1, 3])
@each_device
def test_known_pixels_stay_and_every_weight_learns(inner, steps):
    torch.manual_seed(0)
    network = Unfolded(inner=inner, steps=steps)
    lq, mask, told = inputs()
    restored = network(lq, mask, told)
    known = (mask == 0).expand_as(lq)
    assert torch.equal(restored[known], lq[known])
    for _ in range(
        2
    ):  # the network's last convolution begins at zero, and lets nothing through in the first step
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        optimizer.zero_grad()
        (network(lq, mask, told) - 0.5).square().mean().backward()
        optimizer.step()
    dead = [
        name
        for name, p in network.named_parameters()
        if p.grad is None or not torch.isfinite(p.grad).all() or not p.grad.any()
    ]
    # a position MLP of one channel is constant behind its LayerNorm, and softmax cancels constants
    assert not [
        name
        for name in dead
        if '.bias1.' not in name and '.bias2.' not in name and 'relative_position' not in name
    ]


@each_device
def test_what_is_told_reaches_the_result():
    torch.manual_seed(0)
    network = Unfolded(inner=SWINIR, steps=1).eval()
    torch.nn.init.normal_(network.conv_condition.weight)
    lq, mask, told = inputs()
    unknown = network(lq, mask)
    assert torch.equal(unknown[4], network(lq, mask, told)[4])
    for i in (0, 1, 2, 3, 5, 6):
        assert not torch.equal(unknown[i], network(lq, mask, told)[i])


@torch.no_grad()
@each_device
def test_noise_of_a_grey_region_counts_as_stronger():
    network = moved()
    torch.nn.init.normal_(network.conv_condition.weight)
    lq, mask, told = (value[3:4] for value in inputs())  # noise:20
    grey = torch.where(mask > 0, lq[:, :1], lq)
    for image, sigma in ((lq, 20), (grey, 20 * 3**0.5)):
        expected = network.unfold(image, mask, [Degradation('noise', sigma=sigma)])
        assert torch.equal(network(image, mask, told), expected)
    noise, blur = Degradation('noise', sigma=200), Degradation('blur', sigma=2)
    assert as_independent(noise, grey[0], mask[0]).sigma == 255  # the most that there is
    assert as_independent(noise, grey[0, :1], mask[0]) == noise
    assert as_independent(blur, grey[0], mask[0]) == blur
    assert pytest.approx(3) == GREY_NOISE**2


@pytest.mark.parametrize('passes', [0, 2])
@each_device
def test_an_image_does_not_depend_on_its_batch(passes):
    torch.manual_seed(0)
    network = Unfolded(inner=HMACA, steps=2, passes=passes).eval()
    torch.nn.init.normal_(network.network.conv_last.weight, std=0.01)
    lq, mask, told = inputs()
    together = network(lq, mask, told)
    for i in range(len(lq)):
        assert torch.allclose(
            together[i : i + 1], network(lq[i : i + 1], mask[i : i + 1], told[i : i + 1]), atol=2e-3
        )  # the start is solved to 1e-3, and rounding decides how many iterations that takes


def moved(**settings) -> Unfolded:
    """Return a network that changes what it is given, ready to evaluate."""
    torch.manual_seed(0)
    network = Unfolded(inner=HMACA, **settings).eval()
    torch.nn.init.normal_(network.network.conv_last.weight, std=0.01)
    return network


TURNED = [
    lambda x: x.rot90(2, (2, 3)),
    lambda x: x.transpose(2, 3),
    lambda x: x.flip(3),
    lambda x: x.rot90(2, (2, 3)).transpose(2, 3),
]


@torch.no_grad()
def test_refining_is_plug_and_play_with_the_network_told_noise():
    plain, refining = moved(steps=1), moved(steps=1, passes=4)
    lq, mask, told = inputs()
    after, refined = plain(lq, mask, told), refining(lq, mask, told)
    falling, lower = np.geomspace(24, 3, 4), np.geomspace(6, 2, 4)
    levels = dict(zip(TEXTS, [falling, lower, falling, [4.0], [], [], []]))
    for i, text in enumerate(TEXTS):
        what, x, region = Degradation.parse(text), after[i : i + 1], mask[i : i + 1]
        equations = Equations(lq[i : i + 1], region, [what])
        rows, columns = (np.nonzero(region[0, 0].amax(dim).numpy())[0] for dim in (1, 0))
        top, left = max(0, rows[0] - 4), max(0, columns[0] - 4)
        box = (..., slice(top, rows[-1] + 5), slice(left, columns[-1] + 5))
        for level, turned in zip(levels[text], TURNED):
            noise = torch.from_numpy(Degradation('noise', sigma=level).vector())[None]
            x = x.clone()
            near = turned(plain(turned(x[box].clamp(0, 1)), turned(region[box]), noise))
            if what.kind == 'noise':  # less so near black and white
                distance = x[box].minimum(1 - x[box]) * 255 / level
                x[box] += (distance - 1).clamp(0, 1) * (near - x[box])
            else:
                x[box] = near
                w = torch.full((1, 1, 1, 1), 0.5 * what.variance / level**2)
                x = equations.solve(x, w.maximum(equations.least_w(x)))
        assert torch.allclose(refined[i : i + 1], x, atol=2e-3), text
        assert len(levels[text]) or torch.equal(refined[i], after[i]), text
    assert (refined - after).abs().amax(dim=(1, 2, 3))[:4].min() > 0.01
    known = (mask == 0).expand_as(lq)
    assert torch.equal(refined[known], lq[known])


@torch.no_grad()
def test_with_passes_the_second_step_looks_near_the_region(monkeypatch):
    lq, mask, told = inputs(size=21)
    plain, refining = moved(), moved(passes=1)
    seen, estimate = [], refining.estimate
    monkeypatch.setattr(
        refining, 'estimate', lambda x, *rest: seen.append(tuple(x.shape)) or estimate(x, *rest)
    )
    iterated = torch.tensor([0, 1, 2, 6])
    once = Unfolded.unfold(refining, lq, mask, [Degradation.from_vector(v) for v in told])
    assert seen == [tuple(lq.shape), *[(1, 3, 14, 15)] * 4]  # rows 3 to 9, columns 2 to 10, and 4
    plainly = plain(lq, mask, told)
    assert not torch.equal(once[iterated], plainly[iterated])
    assert torch.allclose(once, plainly, atol=0.02)  # what lies further away matters little


def test_an_empty_mask_takes_no_passes():
    lq, mask, told = inputs()
    assert torch.equal(moved(passes=4)(lq, 0 * mask, told), lq)


def test_training_ends_after_the_steps():
    lq, mask, told = inputs()
    plain, refining = moved().train(), moved(passes=4).train()
    refining.load_state_dict(plain.state_dict())  # passes have no weights
    assert torch.equal(plain(lq, mask, told), refining(lq, mask, told))


def test_a_checkpoint_describes_itself():
    network = build({'type': 'Unfolded', 'steps': 2, 'inner': HMACA})
    again = build_network_from_state_dict(network.state_dict())
    assert isinstance(again, Unfolded) and again.settings == network.settings
    lq, mask, told = inputs()
    assert torch.equal(again(lq, mask, told), network.eval()(lq, mask, told))
    other = Unfolded(inner={**HMACA, 'window_size': 8})
    with pytest.raises(ValueError, match='window_size is 4 in the checkpoint, 8 here'):
        other.load_state_dict(network.state_dict())


def with_specialists(**settings) -> Unfolded:
    """Return a network whose specialists differ from it, ready to evaluate."""
    network = moved(specialists=['noise', 'unknown', 'blur'], **settings)
    for specialist in network.specialists.values():
        torch.nn.init.normal_(specialist.network.conv_last.weight, std=0.02)
    return network


def alone(network: Unfolded, text: str) -> Unfolded:
    """Return a network of one kind with the weights that serve a degradation."""
    plain = moved()
    weights = network.network_for(Degradation.parse(text)).state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()}, strict=False)
    return plain


@torch.no_grad()
def test_specialists_serve_their_kinds():
    network = with_specialists()
    lq, mask, told = inputs()
    restored = network(lq, mask, told)
    for i, text in enumerate(TEXTS):
        one = alone(network, text)(lq[i : i + 1], mask[i : i + 1], told[i : i + 1])
        assert torch.allclose(restored[i : i + 1], one, atol=2e-3), text
        others = alone(network, 'none')(lq[i : i + 1], mask[i : i + 1], told[i : i + 1])
        served = text.split(':')[0].split('+')[0] in network.specialists
        assert torch.allclose(one, others, atol=2e-3) is not served, text


@torch.no_grad()
def test_the_specialist_of_noise_denoises_in_all_passes(monkeypatch):
    network, (lq, mask, told) = with_specialists(passes=2), inputs()
    rows = [TEXTS.index('noise:20'), TEXTS.index('pix:3:mean'), TEXTS.index('blur:1')]

    def restored():
        return [network(lq[i : i + 1], mask[i : i + 1], told[i : i + 1]) for i in rows]

    before = restored()
    monkeypatch.setattr(network, 'denoise', None)
    assert all(map(torch.equal, restored(), before))
    monkeypatch.undo()
    monkeypatch.setattr(network.specialists['noise'], 'denoise', network.denoise)
    assert not any(torch.allclose(*pair, atol=1e-3) for pair in zip(restored(), before))


def test_kernels_have_the_specialist_of_blur():
    network, kernel = Unfolded(inner=SWINIR, specialists=['blur']), Kernel.of(np.ones((1, 3)))
    assert network.network_for(Degradation('kernel', kernel=kernel)) is network.specialists['blur']


def test_a_specialist_learns_from_its_kind_only():
    network = with_specialists().train()
    lq, mask, told = inputs()
    noise = [TEXTS.index('noise:20')]
    (network(lq[noise], mask[noise], told[noise]) - 0.5).square().mean().backward()
    learned = {name for name, p in network.named_parameters() if p.grad is not None}
    assert learned
    assert all(name.startswith('specialists.noise.') for name in learned)


def test_a_checkpoint_describes_specialists():
    network = with_specialists()
    again = build_network_from_state_dict(network.state_dict())
    lq, mask, told = inputs()
    assert torch.equal(again(lq, mask, told), network(lq, mask, told))
    with pytest.raises(ValueError, match=r"specialists is \['unknown', 'blur', 'noise'\] in the"):
        moved().load_state_dict(network.state_dict())
    before = moved()
    del before.settings['specialists']  # as files of earlier versions
    moved().load_state_dict(before.state_dict())


def test_specialists_begin_with_the_general_weights():
    general, network = moved(steps=1), moved(steps=2, specialists=['noise'])
    network.load_state_dict(general.state_dict(), strict=False)
    for part in (network, network.specialists['noise']):
        weights = dict(part.named_parameters())
        assert all(torch.equal(value, weights[name]) for name, value in general.named_parameters())
    again = with_specialists()
    noise = again.specialists['noise'].network.conv_last.weight.clone()
    wider = moved(steps=3, specialists=['noise', 'none'])
    wider.load_state_dict(again.state_dict(), strict=False)
    assert torch.equal(wider.specialists['noise'].network.conv_last.weight, noise)
    assert torch.equal(
        wider.specialists['none'].network.conv_last.weight, again.network.conv_last.weight
    )


def test_all_kinds_may_have_specialists_and_their_order_does_not_matter():
    one, other = (
        Unfolded(inner=SWINIR, specialists=kinds) for kinds in (DESCRIBED, DESCRIBED[::-1])
    )
    one.load_state_dict(other.state_dict())


def test_more_steps_take_the_same_weights():
    one, three = Unfolded(inner=SWINIR, steps=1), Unfolded(inner=SWINIR, steps=3)
    assert {name: value.shape for name, value in one.named_parameters()} == {
        name: value.shape for name, value in three.named_parameters()
    }


@pytest.mark.parametrize(
    ('section', 'words'),
    [
        ({'inner': SWINIR, 'steps': 0}, 'steps is 0'),
        ({'inner': SWINIR, 'steps': True}, 'steps is True'),
        ({'inner': SWINIR, 'passes': -1}, 'passes is -1'),
        ({'inner': {'type': 'Unfolded', 'inner': SWINIR}}, 'not wrapped'),
        ({'inner': 'SwinIR'}, 'inner is'),
        ({'inner': SWINIR, 'specialists': 'noise'}, 'specialists is'),
        ({'inner': SWINIR, 'specialists': ['noise', 'noise']}, 'at most once'),
        ({'inner': SWINIR, 'specialists': ['kernel']}, 'specialists is'),
        ({'inner': SWINIR, 'specialists': [['noise']]}, 'specialists is'),
        ({'inner': SWINIR, 'specialists': 1}, 'specialists is'),
    ],
)
def test_settings_that_cannot_work(section, words):
    with pytest.raises(ValueError, match=words):
        Unfolded(**section)


def test_a_mask_of_another_size():
    with pytest.raises(ValueError, match='the mask is of shape'):
        Unfolded(inner=SWINIR)(torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 9))


def test_strengths_are_of_order_one():
    extremes = [
        'pix:32:centre',
        'blur:5',
        'noise:75',
        'none+jpeg:30',
        'pix:2:mean',
        'blur:0.3',
        'noise:1',
    ]
    assert strengths([Degradation.parse(text) for text in extremes], torch.zeros(1)).abs().max() < 3
