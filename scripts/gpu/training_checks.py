"""Checks of training and restoring on CUDA: the model of `basicsr train`, and the restorer."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from basicsr.archs import build_network
from basicsr.models import build_model
from checking import CUDA, DEVICE, ROOT, batch, check, run

import datasets_ext  # noqa: F401  (registers what the option files name)
import losses_ext  # noqa: F401
from hmaca_arch.config import files as options
from hmaca_arch.files.torch_files import load_safely
from hmaca_arch.inference import load_restorer
from hmaca_arch.networks import mask_input
from hmaca_arch.networks.adapter import padding
from hmaca_arch.training import pipeline as training


def model(folder, **train):
    """Build the model of HMACA+, small, with changes in its section `train`."""
    opt = options.load(ROOT / 'options/train/train_HMACAplus.yml')
    opt.update(
        dist=False, rank=0, world_size=1, is_train=True, num_gpu=int(CUDA), auto_resume=False
    )
    network = (
        {'depths': [2], 'num_heads': [6], 'window_size': 16}
        if CUDA
        else {'embed_dim': 32, 'depths': [1], 'num_heads': [2], 'window_size': 8}
    )
    opt['network_g'].update(network, use_checkpoint=train.pop('use_checkpoint', False))
    opt['train'].update(train, total_iter=20, warmup_iter=-1)
    opt['train']['scheduler']['periods'] = [20]
    opt['path'].update(models=str(folder), training_states=str(folder))
    training.install()
    torch.manual_seed(0)
    return build_model(opt)


def train(m, first, last):
    """Train from iteration `first` to `last`; return the weights."""
    for i in range(first, last + 1):
        lq, gt, mask = (t.float() for t in batch(b=4, h=32, w=32, seed=i))
        m.update_learning_rate(i)
        m.feed_data({'lq': lq, 'gt': gt, 'mask': mask, 'lq_path': ['a'] * 4})
        m.optimize_parameters(i)
    return torch.cat([p.detach().flatten() for p in m.net_g.parameters()]).cpu()


for kind, settings in {
    'fp32': {}, 'bf16': {'amp': 'bf16'}, 'fp16': {'amp': 'fp16'},
    'checkpointed': {'use_checkpoint': True}, 'deterministic': {'deterministic': True},
    'fused, bf16': {'fused_attention': True, 'amp': 'bf16'},
    'fused, deterministic': {'fused_attention': True, 'deterministic': True},
}.items():  # fmt: skip

    @check(f'model, {kind}: trains; two runs alike; resumed as uninterrupted; EMA on the device')
    def _(settings=settings):
        with tempfile.TemporaryDirectory() as folder:
            torch.use_deterministic_algorithms(False)
            m = model(folder, **settings)
            train(m, 1, 3)
            m.save(0, 3)
            whole = train(m, 4, 6)
            again = model(folder, **settings)
            repeated = train(again, 1, 6)
            resumed = model(folder, **settings)
            resumed.load_network(resumed.net_g, f'{folder}/net_g_3.pth', True, 'params')
            resumed.load_network(resumed.net_g_ema, f'{folder}/net_g_3.pth', True, 'params_ema')
            resumed.resume_training(load_safely(Path(folder, '3.state')))
            continued = train(resumed, 4, 6)
            torch.use_deterministic_algorithms(False)
            figures = {
                'two runs differ by': float((whole - repeated).abs().max()),
                'resumed differs by': float((whole - continued).abs().max()),
                'loss': float(m.log_dict['l_pix']),
                'EMA on': next(m.net_g_ema.parameters()).device.type,
            }
            return {
                'ok': bool(torch.isfinite(whole).all())
                and figures['resumed differs by'] < 1e-3
                and (not settings.get('deterministic') or figures['two runs differ by'] == 0),
                **figures,
            }


@check('restorer with the shipped weights: on CUDA as on the CPU; outside bit for bit')
def _():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (300, 400, 3), np.uint8)
    mask = np.zeros((300, 400), np.uint8)
    mask[100:150, 200:260] = 255
    truth = load_restorer(None, 'cpu').restore(image, mask, 'unknown')
    figures = {}
    for precision in ('fp32', 'bf16'):
        out = load_restorer(None, str(DEVICE), precision).restore(image, mask, 'unknown')
        figures[precision] = int(np.abs(out.astype(int) - truth).max())
        figures[f'{precision} outside'] = bool((out[mask == 0] == image[mask == 0]).all())
    return {
        'ok': figures['fp32'] <= 1 and figures['fp32 outside'] and figures['bf16 outside'],
        **figures,
    }


for name in ('SwinIR_light', 'HAT_light', 'DRCT_light'):

    @check(f'{name}: forward and backward')
    def _(name=name):
        section = {
            **options.load(ROOT / f'options/train/train_{name}.yml')['network_g'],
            'mask_input': 'channel',
        }
        net = build_network(mask_input.network_section(section)).to(DEVICE)
        net.pad = padding(section)
        lq, gt, mask = (t.float().to(DEVICE) for t in batch())
        return {'ok': bool(torch.isfinite(run(net, lq, mask, gt, torch.bfloat16)[3]).all())}
