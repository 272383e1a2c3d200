#!/usr/bin/env python
"""Measure one window attention at the paper's size (160 windows of 32x32, 6 heads of 16).

    attention_bench.py --seconds 60 --out attention.json

Forward and backward, by way of computing it:

- sdpa: torch's, as the project uses it, with the bias expanded from its table; slices: the same,
  with the bias expanded as on a CPU.
- frozen, nobias: with a bias that does not learn, and without one: what the bias and its gradient
  cost.
- written: products and softmax in the open.
- fused: this project's kernels; fused:QUERIES,KEYS,WARPS,STAGES: with other tiles.
- flex, flexbias: FlexAttention with the bias looked up in the table, and in the expanded bias.

Each is compared with float64 on three windows first.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.append(str(Path(os.environ.get('HMACA_CODE', '.')).resolve()))
from hmaca_arch.networks import biased_attention
from hmaca_arch.networks.biased_attention import expand_at_once, expand_offsets

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument('--seconds', type=float, default=60)
parser.add_argument('--windows', type=int, default=160)
parser.add_argument('--side', type=int, default=32)
parser.add_argument(
    '--ways',
    nargs='+',
    default=[
        'sdpa',
        'fused',
        'fused:64,64,4,1',
        'fused:64,64,4,3',
        'fused:128,64,4,2',
        'fused:128,64,8,2',
        'fused:32,64,2,2',
        'slices',
        'frozen',
        'nobias',
        'flex',
        'flexbias',
        'written',
    ],
)
parser.add_argument('--precisions', nargs='+', default=['bf16', 'fp32'])
parser.add_argument('--out', default='attention.json')
args = parser.parse_args()
CUDA = torch.cuda.is_available()
DEVICE = 'cuda' if CUDA else 'cpu'
BEGIN = time.time()
_flex = None


def flex_function():
    """Return FlexAttention, compiled on a GPU."""
    global _flex
    if _flex is None:
        from torch.nn.attention.flex_attention import flex_attention

        _flex = torch.compile(flex_attention, dynamic=False) if CUDA else flex_attention
    return _flex


def bias_of(table, side, dtype):
    """Expand the bias."""
    return expand_at_once(table.to(dtype), side, side)


def fused(tiles, *given):
    """Run the kernels with these tiles."""
    from hmaca_arch.networks import fused_attention

    names = ('QUERIES', 'KEYS', 'WARPS', 'STAGES')
    for name, value in zip(names, tiles):
        setattr(fused_attention, name, value)
    return fused_attention.attend(*given)


def way(name, q, k, v, table, side):
    """Compute the attention in one way; shapes as in `attend`."""
    if name == 'sdpa':
        return biased_attention.attend(q, k, v, table, side, side)
    if name.startswith('fused'):
        tiles = [int(n) for n in (name.partition(':')[2] or '64,64,4,2').split(',')]
        return fused(tiles, q, k, v, table, side, side)
    if name == 'frozen':
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias_of(table.detach(), side, q.dtype)[:, None]
        )
    if name == 'nobias':
        return F.scaled_dot_product_attention(q, k, v)
    if name == 'slices':
        ((_, bias),) = expand_offsets(table.to(q.dtype), side, side, side)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias[:, None])
    if name == 'written':
        return biased_attention.explicit(q, k, v, bias_of(table, side, q.dtype)[:, None])
    flat = table.permute(2, 0, 1).flatten(1).contiguous()  # (heads, offsets)
    bias = bias_of(table, side, torch.float32) if name == 'flexbias' else None

    def with_table(score, b, h, qi, ki):
        offset = (
            (qi // side - ki // side + side - 1) * (2 * side - 1) + qi % side - ki % side + side - 1
        )
        return score + flat[h, offset]

    def with_bias(score, b, h, qi, ki):
        return score + bias[h, qi, ki]

    q, k, v = (
        t.transpose(0, 1) for t in (q, k, v)
    )  # (n, heads, tokens, d): the heads' number is what score_mod is told
    return flex_function()(
        q, k, v, score_mod=with_table if name == 'flex' else with_bias
    ).transpose(0, 1)


def inputs(n, d, dtype, side, heads=6):
    """Make q, k, v of n windows, and a table."""
    g = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(heads, n, side * side, d, generator=g).to(DEVICE, dtype).requires_grad_()
        for _ in range(3)
    )
    return (
        q,
        k,
        v,
        torch.randn(2 * side - 1, 2 * side - 1, heads, generator=g).to(DEVICE).requires_grad_(),
    )


def distance(out, reference):
    """Return || out - reference || / || reference ||."""
    return float((out.double() - reference).norm() / reference.norm().clamp_min(1e-30))


rows = []
for precision in args.precisions:
    dtype = {'bf16': torch.bfloat16, 'fp32': torch.float32}[precision]
    for name in args.ways:
        row = {'way': name, 'precision': precision}
        rows.append(row)
        if time.time() - BEGIN > args.seconds:
            row['error'] = 'left out: no time'
            continue
        try:
            if name not in ('frozen', 'nobias'):
                q, k, v, table = inputs(3, 16, dtype, args.side)
                w = torch.randn(q.shape, device=DEVICE)
                out = way(name, q, k, v, table, args.side)
                (out.float() * w).sum().backward()
                big = [t.detach().double().requires_grad_() for t in (q, k, v, table)]
                truth = way('written', *big, args.side)
                (truth * w.double()).sum().backward()
                row['error of output, dq, dk, dv, dtable'] = [
                    float(f'{distance(a, b):.2g}')
                    for a, b in [
                        (out, truth),
                        *((x.grad, y.grad) for x, y in zip((q, k, v, table), big)),
                    ]
                ]
                del big, truth, out
            q, k, v, table = inputs(args.windows, 16, dtype, args.side)
            grad = torch.randn_like(q)
            if CUDA:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated() if CUDA else 0
            times = {'forward': [], 'backward': []}
            for n in range(6 if CUDA else 1):
                marks = [torch.cuda.Event(enable_timing=True) for _ in range(3)] if CUDA else None
                if CUDA:
                    marks[0].record()
                out = way(name, q, k, v, table, args.side)
                if CUDA:
                    marks[1].record()
                out.backward(grad)
                if CUDA:
                    marks[2].record()
                    torch.cuda.synchronize()
                    if n > 1:
                        times['forward'].append(marks[0].elapsed_time(marks[1]))
                        times['backward'].append(marks[1].elapsed_time(marks[2]))
                for t in (q, k, v, table):
                    t.grad = None
            row.update({f'{key} ms': round(min(value), 2) for key, value in times.items() if value})
            if CUDA:
                row['GiB'] = round((torch.cuda.max_memory_allocated() - before) / 2**30, 2)
        except Exception as error:
            row['error'] = f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
        q = k = v = table = grad = out = None
        print(json.dumps(row), flush=True)
        Path(args.out).write_text(json.dumps(rows, indent=1), encoding='utf-8')
