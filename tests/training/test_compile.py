"""`train: compile`: the same training, and checkpoints that do not know of it."""

import copy

import pytest
import torch
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY
from conftest import tiny_options
from torch import nn

import losses_ext  # noqa: F401
from hmaca_arch.training import pipeline as training


class Shallow(nn.Module):
    """As small as a network with a mask can be; counts the Python calls of its forward pass, which
    a compiled one skips.
    """

    calls = 0

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, lq, mask):
        if not torch.compiler.is_compiling():
            type(self).calls += 1
        return lq + torch.tanh(self.conv(torch.cat((lq, mask), 1)))


ARCH_REGISTRY.register(Shallow)


def make(tmp_path, compiled, **changes):
    training.install()
    opt = tiny_options(tmp_path)
    opt.update(dist=False, rank=0, world_size=1, is_train=True)
    opt.update(changes)
    opt['path'].update({folder: str(tmp_path) for folder in ('models', 'training_states')})
    opt['network_g'] = {'type': 'Shallow'}
    opt['train'].update(compile=compiled, ema_decay=0.9)
    torch.manual_seed(0)
    return build_model(opt)


def train(model, first, last):
    for iteration in range(first, last + 1):
        generator = torch.Generator().manual_seed(iteration)
        lq, gt = torch.rand(2, 2, 3, 8, 8, generator=generator)
        mask = torch.zeros(2, 1, 8, 8)
        mask[:, :, 2:5, 2:5] = 1
        model.feed_data({'lq': lq, 'gt': gt, 'mask': mask, 'lq_path': ['a.png', 'b.png']})
        model.optimize_parameters(iteration)


def same(a, b, tolerance=1e-5):
    assert list(a) == list(b), 'state dict keys'
    return all(torch.allclose(a[name], b[name], atol=tolerance, rtol=0) for name in a)


@pytest.fixture
def no_cached_code(monkeypatch):
    monkeypatch.setenv('TORCHINDUCTOR_COMPILE_THREADS', '1')
    torch.compiler.reset()
    Shallow.calls = 0


@pytest.mark.slow
@pytest.mark.parametrize('compiled', [True, {'backend': 'aot_eager', 'dynamic': False}])
def test_a_compiled_run_trains_saves_averages_and_resumes_as_another(
    tmp_path, no_cached_code, compiled
):
    (tmp_path / 'plain').mkdir(), (tmp_path / 'compiled').mkdir()
    plain, model = make(tmp_path / 'plain', False), make(tmp_path / 'compiled', compiled)
    start = copy.deepcopy(plain.net_g.state_dict())
    train(plain, 1, 3)
    assert Shallow.calls == 3
    train(model, 1, 3)
    assert Shallow.calls == 3, 'the training step is compiled'
    assert same(plain.net_g.state_dict(), model.net_g.state_dict()) and not same(
        plain.net_g.state_dict(), start, 1e-4
    )
    assert same(plain.net_g_ema.state_dict(), model.net_g_ema.state_dict())
    assert model.get_bare_model(model.compiled) is model.net_g.network

    model.test()
    assert Shallow.calls == 4, 'pictures of any size are restored without compiling for each'
    model.save(0, 3)
    resumed = make(
        tmp_path / 'compiled',
        compiled,
        path={
            **model.opt['path'],
            'pretrain_network_g': str(tmp_path / 'compiled' / 'net_g_3.pth'),
        },
    )
    resumed.resume_training(torch.load(tmp_path / 'compiled' / '3.state', weights_only=True))
    train(resumed, 4, 5), train(plain, 4, 5)
    for key in ('net_g', 'net_g_ema'):
        assert same(getattr(plain, key).state_dict(), getattr(resumed, key).state_dict())


def test_compiled_and_distributed(tmp_path, no_cached_code, process_group):
    """A group of one process, so that DistributedDataParallel really wraps the network."""
    plain = make(tmp_path, False)
    train(plain, 1, 2)
    model = make(tmp_path, {'backend': 'aot_eager'}, dist=True)
    assert isinstance(model.net_g, nn.parallel.DistributedDataParallel)
    train(model, 1, 2)
    assert type(model.get_bare_model(model.compiled)) is Shallow and Shallow.calls == 2
    assert same(plain.net_g.network.state_dict(), model.get_bare_model(model.net_g).state_dict())


def test_a_wrong_setting_is_named(tmp_path):
    with pytest.raises(ValueError, match="train:compile: got 'yes'"):
        make(tmp_path, 'yes')
