"""Checks of attention on CUDA: which kernels torch takes, and how exact all of them are."""

import torch
from checking import CUDA, DEVICE, check, distance, exact_float32

from hmaca_arch.networks import biased_attention
from hmaca_arch.networks.attention import MaskCrossAttention
from hmaca_arch.networks.mask_keys import MaskEncoder


@check('which kernel attention takes at the paper size (window 32, 6 heads of 16; 3 of 8; 4 of 24)')
def _():
    if not CUDA:
        return {}
    from torch.profiler import ProfilerActivity, profile

    names = {}
    for heads, d in ((6, 16), (3, 8), (4, 24)):
        for kind, dtype in (('fp32', torch.float32), ('bf16', torch.bfloat16)):
            for trains in (True, False):
                q, k, v = (
                    torch.randn(
                        heads, 20, 1024, d, device=DEVICE, dtype=dtype, requires_grad=trains
                    )
                    for _ in range(3)
                )
                table = torch.randn(63, 63, heads, device=DEVICE, requires_grad=trains)
                with (
                    profile(activities=[ProfilerActivity.CUDA]) as p,
                    torch.set_grad_enabled(trains),
                ):
                    out = biased_attention.attend(q, k, v, table, 32, 32)
                    if trains:
                        out.square().sum().backward()
                kernels = [
                    e.key
                    for e in p.key_averages()
                    if any(
                        w in e.key.lower()
                        for w in ('fmha', 'attention', 'cudnn', 'flash', 'softmax')
                    )
                ]
                names[f'{heads}x{d} {kind} {"training" if trains else "inference"}'] = [
                    key[:70] for key in kernels
                ][:3]
    return names


def attention_errors(attend, kind, rows, cols, side, heads=2, n=3, d=16):
    """Measure errors of output and gradients of q, k, v and table; tell whether two runs agree."""
    g = torch.Generator().manual_seed(0)
    given = [torch.randn(heads, n, rows * cols, d, generator=g).to(kind) for _ in range(4)]
    given.append(torch.randn(2 * side - 1, 2 * side - 1, heads, generator=g))

    def results(attend, tensors, weight):
        leaves = [t.detach().clone().requires_grad_() for t in tensors]
        out = attend(*leaves, rows, cols)
        out.backward(weight.to(out.dtype))
        return [out, *(t.grad for t in leaves)]

    q, k, v, weight, table = given
    truth = results(
        biased_attention.attend, [t.double() for t in (q, k, v, table)], weight.double()
    )
    tensors = [t.to(DEVICE) for t in (q, k, v, table)]
    got = results(attend, tensors, weight.to(DEVICE))
    again = results(attend, tensors, weight.to(DEVICE))
    errors = [float(f'{distance(a, b):.3g}') for a, b in zip(got, truth)]
    return errors, all(torch.equal(a, b) for a, b in zip(got, again))


ATTENTIONS = {'window': (32, 32, 32), 'half a window': (32, 16, 32), 'grid': (12, 20, 20)}
for label, (rows, cols, side) in ATTENTIONS.items():

    @check(f'attention, {label} {rows}x{cols}: torch, and the fused kernels, against float64')
    def _(rows=rows, cols=cols, side=side):
        figures, ok = {}, True
        ways = {'torch': biased_attention.attend}
        if CUDA:
            from hmaca_arch.networks import fused_attention

            ways['fused'] = fused_attention.attend
        with exact_float32():
            for kind in (torch.float32, torch.bfloat16, torch.float16):
                errors = {}
                for way, attend in ways.items():
                    for d in (16, 24):
                        found = attention_errors(attend, kind, rows, cols, side, d=d)
                        errors[way, d], figures[f'{way}, {kind}, {d}, repeats'] = found
                        figures[f'{way}, {kind}, {d}'] = errors[way, d]
                exact = kind == torch.float32
                limit = 1e-5 if exact else 3e-2
                ok &= all(max(values) < limit for values in errors.values())
                for d in (16, 24) if CUDA else ():
                    ok &= figures[f'fused, {kind}, {d}, repeats']
                    pairs = zip(errors['fused', d], errors['torch', d])
                    ok &= exact or all(a <= 1.2 * b for a, b in pairs)
        return {'ok': ok, **figures}


@check('global cross attention in bf16 with 512 keys, most of them absent (-inf): against float64')
def _():
    torch.manual_seed(0)
    encoder, over_all = MaskEncoder(96), MaskCrossAttention(96, 4)
    mask = torch.zeros(2, 1, 64, 64)
    mask[:, :, 20:30, 20:30] = 1
    x = torch.randn(2, 64, 64, 96)
    truth = over_all.double()(
        x.double(), *encoder.double().distinct(mask.double(), present_only=False)
    )
    encoder, over_all = encoder.float().to(DEVICE), over_all.float().to(DEVICE)
    figures = {}
    for trains in (True, False):
        with torch.set_grad_enabled(trains), torch.autocast(DEVICE.type, dtype=torch.bfloat16):
            out = over_all(x.to(DEVICE), *encoder.distinct(mask.to(DEVICE), present_only=False))
            figures['training' if trains else 'inference'] = float(
                f'{distance(out - x.to(DEVICE), truth - x.double()):.2g}'
            )
        if trains:
            out.square().sum().backward()
            figures['gradient finite'] = all(
                bool(torch.isfinite(p.grad).all())
                for p in over_all.parameters()
                if p.grad is not None
            )
    return {
        'ok': max(figures['training'], figures['inference']) < 3e-2 and figures['gradient finite'],
        **figures,
    }
