import copy
import logging
import math

import pytest
import torch
from basicsr.archs import build_network
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY
from conftest import each_device, tiny_options
from samples import as_release
from torch import nn

import losses_ext  # noqa: F401
from hmaca_arch.models import MaskedRestorationModel
from hmaca_arch.training import pipeline as training


class Blind(nn.Module):
    """A network without a mask input; may answer with one value everywhere."""

    def __init__(self, *, fill: float | None = None):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.fill = fill

    def forward(self, x):
        return self.conv(x) * 0 + self.fill if self.fill is not None else self.conv(x)


class Seeing(Blind):
    """Records the mask that it was given."""

    def forward(self, lq, mask):
        self.seen = mask
        return self.conv(lq)


for network in (Blind, Seeing):
    ARCH_REGISTRY.register(network)


@pytest.fixture
def options(tmp_path):
    training.install()
    opt = tiny_options(tmp_path)
    opt.update(dist=False, rank=0, world_size=1, is_train=True)
    opt['network_g'] = {'type': 'Blind'}
    return opt


@pytest.fixture
def batch():
    torch.manual_seed(0)
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, 2:5, 2:5] = 1
    lq, gt = torch.rand(2, 2, 3, 8, 8)
    return {'lq': lq, 'gt': gt, 'mask': mask, 'lq_path': ['a.png', 'b.png'], 'gt_path': ['', '']}


@each_device
def test_the_mask_goes_to_networks_that_take_one(options, batch):
    options['network_g'] = {'type': 'Seeing'}
    model = build_model(options)
    model.feed_data(batch)
    model.optimize_parameters(1)
    assert torch.equal(model.net_g.network.seen, batch['mask'])
    assert 'l_pix' in model.get_current_log()


def test_building_twice_from_one_dictionary(options):
    before = copy.deepcopy(options)
    build_model(options), build_model(options)
    assert options == before


@each_device
def test_compositing_in_training_takes_all_gradient_from_the_region(options, batch):
    options['train']['composite'] = True
    model = build_model(options)
    model.feed_data(batch)
    output = model.restore(model.net_g, True)
    outside = (batch['mask'] == 0).expand_as(output)
    assert torch.equal(output[outside], batch['lq'][outside]) and not torch.equal(
        output[~outside], batch['lq'][~outside]
    )
    batch['gt'] = torch.where(
        outside, torch.full_like(batch['gt'], 9.0), batch['gt']
    )  # what lies outside has no say
    gradients = []
    for gt in (batch['gt'], torch.where(outside, torch.zeros_like(batch['gt']), batch['gt'])):
        model.feed_data({**batch, 'gt': gt})
        model.optimizer_g.zero_grad()
        model.output = model.restore(model.net_g, True)
        sum(model.losses().values()).backward()
        gradients.append(model.net_g.network.conv.weight.grad.clone())
    assert torch.equal(*gradients) and gradients[0].abs().sum() > 0


@each_device
def test_nan_outside_the_region_reaches_neither_loss_nor_weights(options, batch):
    options['train']['composite'] = True
    model = build_model(options)
    lq = batch['lq'].clone()
    model.feed_data(batch)
    model.restore = lambda net, flag: __import__('hmaca_arch').compositing.composite(
        torch.where(batch['mask'] > 0, net(lq, batch['mask']), torch.tensor(float('nan'))),
        lq,
        batch['mask'],
    )
    model.optimize_parameters(1)
    assert all(torch.isfinite(p).all() for p in model.net_g.parameters())


def test_nothing_to_learn_from_is_an_error(options):
    options['train'].update(composite=True, pixel_opt={'type': 'AlphaMaskedL1Loss', 'alpha': 0})
    with pytest.raises(ValueError, match='nothing would be learned'):
        build_model(options)


@each_device
def test_a_loss_that_is_not_finite_names_iteration_and_files(options, batch):
    model = build_model(options)
    before = copy.deepcopy(model.net_g.state_dict())
    batch['gt'][1, 0, 0, 0] = float('nan')
    model.feed_data(batch)
    with pytest.raises(ValueError, match=r'iteration 7: the loss is nan on a\.png, b\.png'):
        model.optimize_parameters(7)
    assert all(torch.equal(before[key], value) for key, value in model.net_g.state_dict().items())


@pytest.mark.parametrize('do_composite', [True, False])
@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
@each_device
def test_mixed_precision_keeps_compositing_and_loss_in_float32(options, batch, amp, do_composite):
    options['train'].update(amp=amp, composite=do_composite)
    model = build_model(options)
    types = []
    model.net_g.network.conv.register_forward_hook(
        lambda module, inputs, output: types.append(output.dtype)
    )
    model.feed_data(batch)
    model.optimize_parameters(1)
    assert types == [{'bf16': torch.bfloat16, 'fp16': torch.float16}[amp]]
    assert model.output.dtype == torch.float32
    if do_composite:
        outside = (batch['mask'] == 0).expand_as(model.output)
        assert torch.equal(model.output[outside], batch['lq'][outside])


def test_unknown_amp_is_named(options):
    options['train']['amp'] = 'half'
    with pytest.raises(ValueError, match="train:amp.*'half'.*bf16"):
        build_model(options)


def test_gradients_are_clipped(options, batch):
    options['train'].update(grad_clip=1e-3, optim_g={'type': 'SGD', 'lr': 1.0})
    model = build_model(options)
    before = [p.detach().clone() for p in model.net_g.parameters()]
    model.feed_data(batch)
    model.optimize_parameters(1)
    step = torch.cat([(p - q).flatten() for p, q in zip(model.net_g.parameters(), before)])
    assert step.norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_stock_losses_work_beside_ours(options, batch):
    options['train']['pixel_opt'] = {'type': 'L1Loss'}
    model = build_model(options)
    model.feed_data(batch)
    model.optimize_parameters(1)
    expected = (model.output - batch['gt']).abs().mean()
    assert model.get_current_log()['l_pix'] == pytest.approx(expected.item(), rel=1e-5)


def test_a_data_set_without_masks_is_refused(options, batch):
    model = build_model(options)
    with pytest.raises(ValueError, match='gives no mask'):
        model.feed_data({key: value for key, value in batch.items() if key != 'mask'})


class Loader(list):
    """Just enough of a DataLoader for validation."""

    def __init__(self, batches, name='set'):
        super().__init__(batches)
        self.dataset = type('DataSet', (), {'opt': {'name': name}})()


def validated(model, batch, current_iter=1):
    """The table of a validation on the batch's first sample."""
    tables = []
    model.log_validation = lambda dataset, table, *rest: tables.append(table)
    single = {key: value[:1] for key, value in batch.items()}
    model.nondist_validation(Loader([single]), current_iter, None, False)
    return tables


@pytest.fixture
def measured(options, batch):
    """Options of a network that answers 0.5 everywhere, measured by a stock metric and by ours, on
    8-bit values.
    """
    options['network_g'] = {'type': 'Blind', 'fill': 0.5}
    options['val']['metrics'] = {
        'psnr': {'type': 'calculate_psnr', 'crop_border': 0},
        'composite_psnr': {'type': 'calculate_composite_psnr'},
    }
    for key in ('lq', 'gt'):
        batch[key] = (batch[key] * 255).round() / 255
    return options


def test_validation_composites_what_it_measures_and_saves(measured, batch):
    model = build_model(measured)
    table = validated(model, batch)[0]
    outside = (batch['mask'][:1] == 0).expand_as(model.output)
    assert (
        torch.equal(model.output[outside], batch['lq'][:1][outside])
        and (model.output[~outside] == 0.5).all()
    )
    assert table.mean('result', 'psnr') == pytest.approx(table.mean('result', 'composite_psnr'))
    measured['val']['composite'] = False
    table = validated(build_model(measured), batch)[0]
    assert abs(table.mean('result', 'psnr') - table.mean('result', 'composite_psnr')) > 1, (
        'a stock metric sees the whole output then'
    )


def test_an_iteration_is_validated_once(measured, batch):
    model = build_model(measured)
    assert (
        len(validated(model, batch)) == 1
        and len(validated(model, batch)) == 0
        and len(validated(model, batch, 2)) == 1
    )


def test_soft_masks_are_blended_once(measured, batch):
    """mask 0.5, lq 0, output 0.5, gt 1: the blend is 0.25 (64 of 255), so PSNR is -20 log10(191 /
    255).
    """
    batch = {
        **batch,
        'lq': torch.zeros_like(batch['lq']),
        'gt': torch.ones_like(batch['gt']),
        'mask': torch.full_like(batch['mask'], 0.5),
    }
    table = validated(build_model(measured), batch)[0]
    assert table.mean('result', 'composite_psnr') == pytest.approx(
        -20 * math.log10(191 / 255), abs=0.02
    )


def test_weights_that_give_no_picture_are_noticed(measured, batch):
    measured['network_g']['fill'] = float('nan')
    with pytest.raises(ValueError, match=r'not finite: a\.png'):
        validated(build_model(measured), batch)


def test_a_gradient_that_is_not_finite_stops_before_the_step(options, batch):
    options['train']['grad_clip'] = 1.0
    model = build_model(options)
    before = copy.deepcopy(model.net_g.state_dict())
    model.net_g.network.conv.weight.register_hook(lambda gradient: gradient * float('inf'))
    model.feed_data(batch)
    with pytest.raises(
        ValueError, match=r'iteration 3: the gradient is not finite on a\.png, b\.png'
    ):
        model.optimize_parameters(3)
    assert all(torch.equal(before[key], value) for key, value in model.net_g.state_dict().items())


def test_release_checkpoints_load_without_false_warnings(options, tmp_path, caplog, monkeypatch):
    """Published weights, under the release's names and without a description, load strictly and
    silently.
    """
    settings = {
        'type': 'HMANet',
        'embed_dim': 32,
        'depths': [1],
        'num_heads': [2],
        'window_size': 8,
        'shifted_windows': 'strips',
    }
    source = build_network(settings)
    torch.save({'params_ema': as_release(source)}, tmp_path / 'published.pth')
    options['network_g'] = settings
    options['path'] = {
        'pretrain_network_g': str(tmp_path / 'published.pth'),
        'param_key_g': 'params_ema',
        'strict_load_g': True,
    }
    options['is_train'] = False
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    model = build_model(options)
    assert isinstance(model, MaskedRestorationModel)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    for key, value in source.state_dict().items():
        assert torch.equal(value, model.get_bare_model(model.net_g).state_dict()[key])
