import copy

import pytest
import torch
from basicsr.archs import build_network
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY
from conftest import tiny_options
from torch import nn

import losses_ext  # noqa: F401
from hmaca_arch import training
from hmaca_arch.models import MaskedRestorationModel


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
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, 2:5, 2:5] = 1
    lq, gt = torch.rand(2, 2, 3, 8, 8, generator=generator)
    return {'lq': lq, 'gt': gt, 'mask': mask, 'lq_path': ['a.png', 'b.png'], 'gt_path': ['', '']}


def test_the_mask_goes_to_networks_that_take_one(options, batch):
    options['network_g'] = {'type': 'Seeing'}
    model = build_model(options)
    model.feed_data(batch)
    model.optimize_parameters(1)
    assert torch.equal(model.net_g.seen, batch['mask'])
    assert 'l_pix' in model.get_current_log()


def test_building_twice_from_one_dictionary(options):
    before = copy.deepcopy(options)
    build_model(options), build_model(options)
    assert options == before


def test_compositing_in_training_takes_all_gradient_from_the_region(options, batch):
    options['train']['composite'] = True
    model = build_model(options)
    model.feed_data(batch)
    output = model.restore(model.net_g, True)
    outside = (batch['mask'] == 0).expand_as(output)
    assert torch.equal(output[outside], batch['lq'][outside]) and not torch.equal(output[~outside], batch['lq'][~outside])
    batch['gt'] = torch.where(outside, torch.full_like(batch['gt'], 9.0), batch['gt'])  # what lies outside has no say
    gradients = []
    for gt in (batch['gt'], torch.where(outside, torch.zeros_like(batch['gt']), batch['gt'])):
        model.feed_data({**batch, 'gt': gt})
        model.optimizer_g.zero_grad()
        model.output = model.restore(model.net_g, True)
        sum(model.losses().values()).backward()
        gradients.append(model.net_g.conv.weight.grad.clone())
    assert torch.equal(*gradients) and gradients[0].abs().sum() > 0


def test_nan_outside_the_region_reaches_neither_loss_nor_weights(options, batch):
    options['train']['composite'] = True
    model = build_model(options)
    lq = batch['lq'].clone()
    model.feed_data(batch)
    model.restore = lambda net, flag: __import__('hmaca_arch').compositing.composite(
        torch.where(batch['mask'] > 0, net(lq), torch.tensor(float('nan'))), lq, batch['mask']
    )
    model.optimize_parameters(1)
    assert all(torch.isfinite(p).all() for p in model.net_g.parameters())


def test_nothing_to_learn_from_is_an_error(options):
    options['train'].update(composite=True, pixel_opt={'type': 'AlphaMaskedL1Loss', 'alpha': 0})
    with pytest.raises(ValueError, match='nothing would be learned'):
        build_model(options)


def test_a_loss_that_is_not_finite_names_iteration_and_files(options, batch):
    model = build_model(options)
    before = copy.deepcopy(model.net_g.state_dict())
    batch['gt'][1, 0, 0, 0] = float('nan')
    model.feed_data(batch)
    with pytest.raises(ValueError, match=r'iteration 7: the loss is nan on a\.png, b\.png'):
        model.optimize_parameters(7)
    assert all(torch.equal(before[key], value) for key, value in model.net_g.state_dict().items())


@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
def test_mixed_precision_keeps_compositing_and_loss_in_float32(options, batch, amp):
    options['train'].update(amp=amp, composite=True)
    model = build_model(options)
    types = []
    model.net_g.conv.register_forward_hook(lambda module, inputs, output: types.append(output.dtype))
    model.feed_data(batch)
    model.optimize_parameters(1)
    assert types == [{'bf16': torch.bfloat16, 'fp16': torch.float16}[amp]]
    assert model.output.dtype == torch.float32
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


def test_validation_composites_and_reports_the_input(options, batch, caplog, monkeypatch):
    options['network_g'] = {'type': 'Blind', 'fill': 0.5}
    model = build_model(options)
    single = {key: value[:1] for key, value in batch.items()}
    single['mask'] = torch.zeros_like(single['mask'])
    tables = []
    monkeypatch.setattr(model, 'log_validation', lambda dataset, table, *rest: tables.append(table))
    options['val']['metrics'].pop('masked_ssim')
    for metrics in (model.opt['val']['metrics'],):
        metrics.pop('masked_ssim')
    single['lq'] = (single['lq'] * 255).round() / 255
    model.nondist_validation(Loader([single]), 1, None, False)
    table = tables[0]
    assert table.mean('input', 'composite_psnr') == table.mean('result', 'composite_psnr'), 'an empty mask changes nothing'
    model.val_composite = False
    model.nondist_validation(Loader([single]), 2, None, False)
    model.nondist_validation(Loader([single]), 2, None, False)
    assert len(tables) == 2, 'the same iteration is not validated twice'


def test_release_checkpoints_load_without_false_warnings(options, tmp_path, caplog):
    """A file without self-description (as published weights are) loads strictly and silently."""
    settings = {'type': 'HMANet', 'embed_dim': 32, 'depths': [1], 'num_heads': [2], 'window_size': 8, 'shifted_windows': 'strips'}
    source = build_network(settings)
    state = {key: value for key, value in source.state_dict().items() if not key.endswith('_extra_state')}
    torch.save({'params_ema': state}, tmp_path / 'published.pth')
    options['network_g'] = settings
    options['path'] = {'pretrain_network_g': str(tmp_path / 'published.pth'), 'param_key_g': 'params_ema', 'strict_load_g': True}
    options['is_train'] = False
    import logging

    logging.getLogger('basicsr').propagate = True
    model = build_model(options)
    assert isinstance(model, MaskedRestorationModel)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    for key, value in source.state_dict().items():
        assert torch.equal(value, model.net_g.state_dict()[key])
