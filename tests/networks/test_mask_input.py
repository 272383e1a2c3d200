"""The mask as an additional input channel, and padding for networks that do not pad."""

import copy
import re
import threading

import pytest
import torch
import torch.nn.functional as F
from basicsr.archs import build_network
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY
from conftest import each_device, tiny_options
from samples import SECTIONS
from torch import nn

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch import build_network_from_state_dict
from hmaca_arch.config import checks as option_checks
from hmaca_arch.networks import baselines
from hmaca_arch.networks.adapter import padding
from hmaca_arch.networks.checkpoints import refuse_misfit
from hmaca_arch.networks.mask_input import network_section
from hmaca_arch.training import pipeline as training

SECTIONS = {
    **SECTIONS,
    'HMANet': {
        'type': 'HMANet',
        'embed_dim': 32,
        'depths': [1],
        'num_heads': [2],
        'window_size': 4,
    },
}
SWINIR = SECTIONS['SwinIR']
PADS_ITSELF = ('HAT', 'NAFNet', 'HMANet')


def section(name='SwinIR', **more):
    if name in ('HAT', 'DRCT', 'NAFNet'):
        pytest.importorskip('spandrel')
    return {**SECTIONS[name], **more}


def channel(name='SwinIR', seed=0, trained=True, **more) -> nn.Module:
    """Return the network with a mask channel, in eval mode, with random weights for the mask."""
    torch.manual_seed(seed)
    network = build_network(network_section(section(name, mask_input='channel', **more))).eval()
    if trained:
        nn.init.normal_(network.conv_mask.weight)
    return network


def batch(h=8, w=12, seed=0):
    generator = torch.Generator('cpu').manual_seed(seed)
    lq = torch.rand(2, 3, h, w, generator=generator, device='cpu')
    mask = torch.rand(2, 1, h, w, generator=generator, device='cpu') > 0.5
    device = torch.get_default_device()
    return lq.to(device), mask.float().to(device)


class FourChannels(nn.Module):
    """A real first convolution of four channels, which gets the mask beforehand."""

    def __init__(self, rgb: nn.Conv2d, conv_mask: nn.Conv2d, mask):
        super().__init__()
        self.mask = mask
        self.conv = nn.Conv2d(4, rgb.out_channels, rgb.kernel_size, rgb.stride, rgb.padding)
        self.conv.weight = nn.Parameter(torch.cat([rgb.weight, conv_mask.weight], dim=1))
        self.conv.bias = rgb.bias

    def forward(self, x):
        mask = F.pad(
            self.mask, (0, x.shape[3] - self.mask.shape[3], 0, x.shape[2] - self.mask.shape[2])
        )
        return self.conv(torch.cat([x, mask], dim=1))


@pytest.mark.parametrize('name', SECTIONS)
@each_device
def test_it_computes_what_a_first_convolution_of_four_channels_would(name):
    network = channel(name)
    lq, mask = batch(*((7, 9) if name in PADS_ITSELF else (8, 12)))
    oracle = copy.deepcopy(network.network)
    first = 'intro' if name == 'NAFNet' else 'conv_first'
    rgb = getattr(oracle, first)
    rgb._forward_hooks.clear()
    setattr(oracle, first, FourChannels(rgb, network.conv_mask, mask))
    with torch.no_grad():
        output, expected = network(lq, mask), oracle(lq)
        assert output.shape == lq.shape
        torch.testing.assert_close(output, expected)
        assert (output - network(lq, 1 - mask)).abs().max() > 1e-3, 'the mask matters'


@pytest.mark.parametrize('name', SECTIONS)
@each_device
def test_it_starts_as_the_network_without_a_mask_and_learns_from_the_first_step(name):
    network = channel(name, trained=False)
    torch.manual_seed(0)
    blind = build_network(section(name)).eval()
    lq, mask = batch()
    output = network(lq, mask)
    assert torch.equal(output, blind(lq))
    output.square().mean().backward()
    gradient = network.conv_mask.weight.grad
    assert torch.isfinite(gradient).all() and (gradient != 0).all()


def test_copies_and_threads_see_their_own_mask():
    """Two threads and a copy are inside the network at the same time."""
    network = channel()
    twin = copy.deepcopy(network)
    nn.init.zeros_(twin.conv_mask.weight)
    lq, mask = batch()
    with torch.no_grad():
        alone = [network(lq, mask), network(lq, 1 - mask), twin(lq, mask)]
        assert not torch.equal(alone[0], alone[1]) and not torch.equal(alone[0], alone[2])
        meet, together = threading.Barrier(3), {}
        for net in (network, twin):
            net.network.conv_first.register_forward_pre_hook(lambda *_: meet.wait(10) < 0 or None)

        def work(i, net, m):
            with torch.no_grad():
                together[i] = net(lq, m)

        jobs = [(network, mask), (network, 1 - mask), (twin, mask)]
        threads = [threading.Thread(target=work, args=(i, *job)) for i, job in enumerate(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for i in range(3):
        assert torch.equal(together[i], alone[i])


def test_gradient_checkpointing_inside_the_network_changes_nothing():
    gradients = []
    for use_checkpoint in (False, True):
        network = channel('HMANet', use_checkpoint=use_checkpoint, drop_path_rate=0).train()
        network(*batch()).square().mean().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    assert gradients[0]['conv_mask.weight'].abs().sum() > 0
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


@pytest.mark.slow
def test_a_compiled_network_takes_each_calls_mask():
    network = channel('HMANet')
    compiled = torch.compile(network, backend='eager')
    with torch.no_grad():
        for seed in (0, 1):
            lq, mask = batch(seed=seed)
            torch.testing.assert_close(compiled(lq, mask), network(lq, mask))


def test_distributed_data_parallel(process_group):
    alone = channel()
    wrapped = nn.parallel.DistributedDataParallel(channel())
    for network in (alone, wrapped):
        network(*batch()).square().mean().backward()
    assert torch.equal(wrapped.module.conv_mask.weight.grad, alone.conv_mask.weight.grad)
    assert all(p.grad is not None for p in wrapped.parameters())


def test_a_first_convolution_outside_forward_is_an_error_not_a_blind_pass():
    with pytest.raises(RuntimeError, match='outside the network around it, with nothing to add'):
        channel().network(batch()[0])
    with pytest.raises(ValueError, match=r'mask is of shape \(2, 1, 4, 12\)'):
        channel()(batch()[0], batch(4)[1])


@pytest.mark.parametrize('name', SECTIONS)
def test_checkpoints_describe_themselves(name):
    network = channel(name)
    again = build_network_from_state_dict(copy.deepcopy(network.state_dict()))
    with torch.no_grad():
        assert torch.equal(again(*batch()), network(*batch()))


@pytest.mark.parametrize(
    'said',
    [
        {'pad_to': 0},
        {'pad_to': 'abc'},
        {'pad_to': 10**5},
        {'pad_to': True},
        {'inner': None},
        {'inner': {}},
    ],
)
def test_a_strangers_description_that_cannot_be_is_one_line(said):
    network = channel()
    network.settings = network.settings | said
    with pytest.raises(ValueError, match=next(iter(said))):
        build_network_from_state_dict(network.state_dict())


def test_a_checkpoint_of_other_settings_is_refused_by_name():
    state = channel().state_dict()
    channel(drop_path_rate=0.3, window_size=4).load_state_dict(
        state
    )  # a free setting, and a default said aloud
    with pytest.raises(ValueError, match='img_range is 1.0 in the checkpoint, 255.0 here'):
        channel(img_range=255.0).load_state_dict(state)
    with pytest.raises(ValueError, match="network is 'MaskInput' in the checkpoint, 'HMANet' here"):
        build_network(section('HMANet')).load_state_dict(channel('HMANet').state_dict())


def test_what_only_changes_memory_and_training_may_differ_inside():
    state = channel('HMANet').state_dict()
    other = channel('HMANet', use_checkpoint=True, drop_path_rate=0.125)
    assert other.state_dict()['network._extra_state'].shape != state['network._extra_state'].shape
    refuse_misfit(other, state)
    other.load_state_dict(state)
    with pytest.raises(ValueError, match='img_range is 1.0 in the checkpoint, 255.0 here'):
        refuse_misfit(channel('HMANet', img_range=255.0), state)


@pytest.mark.parametrize('inside', [True, False])
def test_a_checkpoint_of_a_newer_version_is_one_line(inside):
    network = channel('HMANet')
    (network.settings['inner'] if inside else network.settings)['brand_new'] = 1
    with pytest.raises(
        ValueError,
        match="unexpected keyword argument 'brand_new'.*; was it saved by a newer version",
    ):
        build_network_from_state_dict(network.state_dict())


def test_a_checkpoint_that_needs_a_package_that_is_not_there(monkeypatch):
    network = channel()
    network.settings['inner']['type'] = 'NAFNet'
    monkeypatch.setattr(baselines, 'has_spandrel', lambda: False)
    monkeypatch.setattr(baselines, 'is_known', lambda name: name != 'NAFNet')
    message = f"no network 'NAFNet'; spandrel's networks need {re.escape(baselines.EXTRA)}"
    with pytest.raises(ValueError, match=message):
        build_network_from_state_dict(network.state_dict())


@pytest.mark.parametrize('strict', [True, False])
def test_blind_weights_do_not_load_into_a_network_with_a_mask_channel(strict):
    with pytest.raises(ValueError, match='mask_input: none, this one has mask_input: channel'):
        channel().load_state_dict(build_network(SWINIR).state_dict(), strict=strict)


class NoPictureConv(nn.Module):
    """A network with nowhere to add a mask."""

    def forward(self, x):
        return x


class Windowed(nn.Module):
    """A network that records its input, and needs multiples of its window."""

    def __init__(self, *, window_size: int = 8, scale: int = 1):
        super().__init__()
        self.window_size, self.scale = window_size, scale
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, lq, mask):
        self.seen = lq, mask
        return lq.repeat(1, 1, self.scale, self.scale) * self.weight


for item in (NoPictureConv, Windowed):
    ARCH_REGISTRY.register(item)


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'mask_input': 'chanel'}, "mask_input is 'chanel'; expected none or channel"),
        ({'pad_to': 0}, 'pad_to is 0'),
        ({'pad_to': 100000}, 'pad_to is 100000; expected 1 to 1024'),
        ({'pad_to': '8'}, "pad_to is '8'; expected a whole number"),
        (
            {'type': 'HMACA', 'window_size': 8, 'mask_input': 'channel'},
            'HMACA has a mask input of its own',
        ),
    ],
)
def test_sections_that_cannot_work(tmp_path, changes, message):
    wrong = {**(SWINIR if 'type' not in changes else {}), **changes}
    with pytest.raises(ValueError, match=f'network_g: .*{message}'):
        option_checks.check({**tiny_options(tmp_path), 'network_g': wrong})
    with pytest.raises(ValueError, match=message):
        network_section(wrong)


def test_a_network_without_a_convolution_for_the_image_is_refused():
    with pytest.raises(ValueError, match='no convolution that takes the 3 channels'):
        build_network(network_section({'type': 'NoPictureConv', 'mask_input': 'channel'}))


@pytest.mark.parametrize(
    'name, more, expected',
    [
        ('SwinIR', {}, 4),
        ('DRCT', {}, 4),
        ('SwinIR', {'pad_to': 6}, 6),
        ('NAFNet', {}, 1),
        ('HMANet', {}, 1),
        ('HMANet', {'pad_to': 3}, 3),
    ],
)
def test_what_sizes_networks_need(name, more, expected):
    wanted = section(name, **more)
    baselines.provide(wanted['type'])
    assert padding(wanted) == expected
    if name == 'SwinIR' and not more:
        assert padding({'type': 'SwinIR'}) == 7  # its default


@pytest.fixture
def run(tmp_path):
    training.install()
    opt = tiny_options(tmp_path)
    opt.update(dist=False, rank=0, world_size=1, is_train=True)
    opt['path'].update(models=str(tmp_path), training_states=str(tmp_path))
    return opt


def item(h, w):
    lq, mask = batch(h, w)
    return {'lq': lq, 'gt': 1 - lq, 'mask': mask, 'lq_path': ['a', 'b']}


def test_the_model_pads_and_crops_in_training_and_testing(run):
    run['network_g'] = {'type': 'Windowed'}
    model = build_model(run)
    data = item(5, 3)
    mirrored = F.pad(
        data['lq'], (0, 5, 0, 0), mode='replicate'
    )  # 5 more columns cannot be mirrored out of 3
    mirrored = F.pad(mirrored, (0, 0, 0, 3), mode='reflect')
    model.feed_data(data)
    for step in (lambda: model.optimize_parameters(1), model.test):
        step()
        lq, mask = model.net_g.network.seen
        assert torch.equal(lq, mirrored) and torch.equal(mask, F.pad(data['mask'], (0, 5, 0, 3)))
        assert model.output.shape == data['lq'].shape
    model.val_composite = False
    with torch.no_grad():
        model.net_g.network.weight.fill_(1)
    model.test()
    assert torch.equal(model.output, data['lq'])


def test_a_network_that_changes_the_size_is_named(run):
    run['network_g'] = {'type': 'Windowed', 'scale': 2}
    model = build_model(run)
    model.feed_data(item(8, 8))
    with pytest.raises(ValueError, match=r'makes \(2, 3, 16, 16\) of \(2, 3, 8, 8\).*upscale: 1'):
        model.optimize_parameters(1)


@pytest.mark.parametrize('name', SECTIONS)
@pytest.mark.parametrize('mask_input', ['none', 'channel'])
def test_every_network_trains_and_reloads_under_the_one_model(run, tmp_path, name, mask_input):
    run['network_g'] = section(name, mask_input=mask_input)
    run['train'].update(ema_decay=0.9, total_iter=2)
    before = copy.deepcopy(run)
    model = build_model(run)
    assert run == before
    weights = {key: value.clone() for key, value in model.net_g.network.named_parameters()}
    model.feed_data(item(7, 9))  # no multiple of the window
    for iteration in (1, 2):
        model.optimize_parameters(iteration)
    assert model.output.shape == (2, 3, 7, 9)
    assert ('conv_mask.weight' in weights) == (mask_input == 'channel')
    changed = [
        key
        for key, value in model.net_g.network.named_parameters()
        if not torch.equal(value, weights[key])
    ]
    assert all(
        key in changed
        for key in weights
        if 'conv_mask' in key or 'conv_first' in key or 'intro' in key
    )
    model.save_network(
        [model.net_g, model.net_g_ema], 'net_g', 2, param_key=['params', 'params_ema']
    )

    run['path'].update(pretrain_network_g=str(tmp_path / 'net_g_2.pth'), param_key_g='params_ema')
    again = build_model({**run, 'is_train': False})
    again.feed_data(item(7, 9)), again.test(), model.test()
    assert torch.equal(again.output, model.output)
    other = 'none' if mask_input == 'channel' else 'channel'
    with pytest.raises(
        ValueError,
        match=f'mask_input: {mask_input}, this one has mask_input: {other}; set mask_input: {mask_input}',
    ):
        build_model({**run, 'network_g': section(name, mask_input=other)})
