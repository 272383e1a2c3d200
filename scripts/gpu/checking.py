"""What the checks of `cuda_checks.py` share: how a check is made, and the networks and batches."""

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(os.environ.get('HMACA_CODE', '.')).resolve()
sys.path.append(str(ROOT))
import hmaca_arch  # noqa: E402
from hmaca_arch.compositing import composite  # noqa: E402
from hmaca_arch.networks.adapter import Adapter  # noqa: E402
from losses_ext.alpha_masked_l1 import alpha_masked_l1  # noqa: E402

CPU = '--cpu' in sys.argv  # to try the scripts themselves
DEVICE = torch.device('cpu' if CPU else 'cuda')
CUDA = DEVICE.type == 'cuda'
CHECKS: dict[str, Callable[[], dict | None]] = {}


def check(name):
    """Register a function as a check.

    It returns figures, and among them `ok`, False if the check has failed. What it raises is a
    failure too.
    """

    def register(function):
        CHECKS[name] = function
        return function

    return register


def run_checks(out: Path, only: list[str]) -> list[str]:
    """Run every check that has one of the words `only` in its name; return what failed.

    A failure stops no other check. The figures are written after each.
    """
    found = []
    for name, function in CHECKS.items():
        if not any(word in name for word in only):
            continue
        start = time.time()
        try:
            figures = function() or {}
            ok = figures.pop('ok', True)
        except Exception as error:
            line = f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'
            figures, ok = {'error': line}, False
            traceback.print_exc(limit=-4)
        if CUDA:
            with contextlib.suppress(Exception):
                torch.cuda.synchronize()
        seconds = round(time.time() - start, 1)
        found.append({'check': name, 'ok': ok, 'seconds': seconds, **figures})
        out.write_text(json.dumps(found, indent=1), encoding='utf-8')
        print('OK  ' if ok else 'FAIL', name, f'({seconds} s)', json.dumps(figures), flush=True)
    failed = [item['check'] for item in found if not item['ok']]
    names = f': {"; ".join(failed)}' if failed else ''
    print(f'{len(found) - len(failed)} passed, {len(failed)} failed{names}', flush=True)
    return failed


@contextlib.contextmanager
def exact_float32():
    """Do not round to TF32 inside."""
    old = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = old


def distance(out, reference):
    """Return || out - reference || / || reference ||."""
    out, reference = out.detach().double().cpu(), reference.detach().double().cpu()
    if not torch.isfinite(out).all():
        return float('inf')
    return float((out - reference).norm() / reference.norm().clamp_min(1e-30))


SMALL = {
    'embed_dim': 64,
    'depths': [2],
    'num_heads': [4],
    'window_size': 16,
    'interval_size': 4,
    'mlp_ratio': 4,
    'drop_path_rate': 0,
}
if CPU:  # the script itself, in short time
    SMALL.update(embed_dim=32, depths=[1], num_heads=[2], window_size=8, mlp_ratio=2)


def batch(b=2, h=32, w=48, soft=False, seed=0):
    """Make lq, gt and mask, in float64."""
    g = torch.Generator().manual_seed(seed)
    lq, gt = torch.rand(2, b, 3, h, w, generator=g, dtype=torch.float64)
    mask = torch.zeros(b, 1, h, w, dtype=torch.float64)
    for i in range(b):
        mask[i, :, 5 + i : 15 + i, 7 : 17 + 2 * i] = 0.5 if soft else 1
    return lq, gt, mask


def alive(net):
    """Move biases, norms and zero-initialised convolutions away from their trivial start."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.add_(
                torch.randn(p.shape, generator=g, dtype=torch.float64).to(p)
                * (0.2 if 'bias_table' in name else 0.02)
            )
    return net


def run(net, lq, mask, gt, amp=None):
    """Return output, composite, loss and gradients."""
    for p in net.parameters():
        p.grad = None
    with torch.autocast(lq.device.type, dtype=amp, enabled=amp is not None):
        out = Adapter(net, getattr(net, 'pad', 1))(lq, mask)
    pasted = composite(out, lq, mask)
    loss = alpha_masked_l1(pasted, gt, mask, 0.5) + out.float().square().mean()
    loss.backward()
    gradient = torch.cat(
        [
            (p.grad if p.grad is not None else torch.zeros_like(p)).flatten().double().cpu()
            for p in net.parameters()
        ]
    )
    return out, pasted, loss, gradient


NETWORKS = {
    'window+position': lambda: hmaca_arch.HMACA(
        **SMALL, cross_attention='window', mask_position=True, image_residual=True, img_range=16
    ),
    'global': lambda: hmaca_arch.HMACA(**SMALL, cross_attention='global'),
    'global, soft mask': lambda: hmaca_arch.HMACA(**SMALL, cross_attention='global'),
    'Eq. 5 literal': lambda: hmaca_arch.HMACA(
        **SMALL, cross_attention='global', cross_attention_residual=False
    ),
    'none+position': lambda: hmaca_arch.HMACA(**SMALL, cross_attention='none', mask_position=True),
    'HMANet strips': lambda: hmaca_arch.HMANet(**SMALL, shifted_windows='strips'),
    'HMACA2': lambda: hmaca_arch.HMACA(**SMALL, upscale=2, keep_size=True),
    'checkpointed': lambda: hmaca_arch.HMACA(
        **SMALL, cross_attention='window', use_checkpoint=True
    ),
}
