#!/usr/bin/env python
"""One window attention at the paper's size (160 windows of 32x32, 6 heads of 16), forward and
backward, by way of computing it.

    attention_bench.py --seconds 60 --out attention.json

sdpa: torch's, as the project uses it, with the bias expanded from its table; nobias: the same
without a bias, and frozen: with a bias that needs no gradient, to see what the bias and its
gradient cost; written: products and softmax in the open; flex: FlexAttention with the bias looked
up in the table, flexbias: in the expanded bias. Each is checked against float64 on three windows
first.
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
from hmaca_arch.networks import attention
from hmaca_arch.networks.windows import expand_offsets

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument('--seconds', type=float, default=60)
parser.add_argument('--windows', type=int, default=160)
parser.add_argument('--side', type=int, default=32)
parser.add_argument(
    '--ways', nargs='+', default=['sdpa', 'frozen', 'nobias', 'fast', 'flexbias', 'flex', 'written']
)
parser.add_argument('--precisions', nargs='+', default=['bf16', 'fp32'])
parser.add_argument('--out', default='attention.json')
args = parser.parse_args()
CUDA = torch.cuda.is_available()
DEVICE = 'cuda' if CUDA else 'cpu'
BEGIN = time.time()
_flex = None


def flex_function():
    global _flex
    if _flex is None:
        from torch.nn.attention.flex_attention import flex_attention

        _flex = torch.compile(flex_attention, dynamic=False) if CUDA else flex_attention
    return _flex


def bias_of(table, side, dtype):
    ((_, bias),) = expand_offsets(table.to(dtype), side, side, side)
    return bias


def way(name, q, k, v, table, side):
    """(heads, n, side^2, d) each, table (2 side - 1, 2 side - 1, heads)."""
    if name == 'sdpa':
        return attention.attend(q, k, v, table, side, side)
    if name == 'frozen':
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias_of(table.detach(), side, q.dtype)[:, None]
        )
    if name == 'nobias':
        return F.scaled_dot_product_attention(q, k, v)
    if name == 'fast':
        t = table.to(q.dtype).permute(2, 0, 1).flip(1, 2)
        bias = t.unfold(1, side, 1).unfold(2, side, 1).flip(1, 2).flatten(3, 4).flatten(1, 2)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias[:, None])
    if name == 'written':
        return attention.explicit(q, k, v, bias_of(table, side, q.dtype)[:, None])
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
            if name in ('sdpa', 'fast', 'flex', 'flexbias', 'written'):
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
