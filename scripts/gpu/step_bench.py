#!/usr/bin/env python
"""Measure seconds and memory of training steps at the paper's size, all cells in one process.

    step_bench.py --cells HMACA+:bf16 HMACA+:bf16:fused HMACA1:fp32 --seconds 70 --out steps.json

A cell is NETWORK:PRECISION[:OPTION...]. Precision: fp32, tf32 (`train: tf32`) or bf16. Options:
ckpt (use_checkpoint), fused (`train: fused_attention`), gtN (crops of N pixels), bN (batch of N),
compile. Cells that no longer fit into --seconds are left out and named. `--profile CELL` adds the
kernels of one step, by time.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(os.environ.get('HMACA_CODE', '.')).resolve()
sys.path.append(str(ROOT))
import hmaca_arch  # noqa: E402, F401, I001
import losses_ext  # noqa: E402, F401
from basicsr.models import build_model  # noqa: E402
from hmaca_arch.config import files as options  # noqa: E402
from hmaca_arch.training import pipeline as training  # noqa: E402

FILES = {
    'HMACA+': 'options/train/train_HMACAplus.yml',
    'HMACA1': 'options/train_hmaca_horse_pix.yml',
    'HMA1': 'options/train/train_HMA1.yml',
    'SwinIR': 'options/train/train_SwinIR.yml',
    'HAT': 'options/train/train_HAT.yml',
    'DRCT': 'options/train/train_DRCT.yml',
}
parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument('--cells', nargs='+', default=['HMACA+:bf16'])
parser.add_argument('--seconds', type=float, default=90)
parser.add_argument('--repeats', type=int, default=4)
parser.add_argument('--profile')
parser.add_argument('--out', default='steps.json')
parser.add_argument('--tiny', action='store_true', help='toy networks: does everything run at all?')
args = parser.parse_args()
CUDA = torch.cuda.is_available()
BEGIN = time.time()


def sync():
    """Wait for the GPU."""
    if CUDA:
        torch.cuda.synchronize()


def build(cell):
    """Build the model of a cell, and a random batch."""
    network, precision, *more = cell.split(':')
    opt = options.load(ROOT / FILES[network])
    opt.update(dist=False, rank=0, world_size=1, is_train=True, num_gpu=int(CUDA))
    data = opt['datasets']['train']
    size = next((int(m[2:]) for m in more if m.startswith('gt')), 128)
    batch = next(
        (int(m[1:]) for m in more if m.startswith('b') and m[1:].isdigit()),
        data['batch_size_per_gpu'],
    )
    if 'ckpt' in more:
        opt['network_g']['use_checkpoint'] = True
    if args.tiny:
        opt['network_g'].update(
            depths=[1],
            num_heads=[2],
            window_size=8,
            **({'embed_dim': 32} if network.startswith('HM') else {}),
        )
        size, batch = 16, 2
    opt['train'].update(
        amp='bf16' if precision == 'bf16' else False,
        tf32=precision == 'tf32',
        compile='compile' in more,
        fused_attention='fused' in more,
    )
    torch.backends.cudnn.benchmark = True
    training.install()
    torch.manual_seed(0)
    model = build_model(opt)
    mask = torch.zeros(batch, 1, size, size)
    mask[:, :, size // 4 : size // 4 + 20, size // 4 : size // 4 + 20] = 1
    lq, gt = torch.rand(2, batch, 3, size, size)
    return model, {'lq': lq, 'gt': gt, 'mask': mask, 'lq_path': ['random'] * batch}


def step(model, data, n):
    """Take a step; return its seconds, and those until all was launched."""
    start = time.perf_counter()
    model.feed_data(data)
    model.optimize_parameters(n)
    launched = time.perf_counter() - start
    sync()
    return time.perf_counter() - start, launched


rows, left_out = [], []
for cell in args.cells:
    if time.time() - BEGIN > args.seconds:
        left_out.append(cell)
        continue
    model = data = None
    try:
        if CUDA:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        start = time.time()
        model, data = build(cell)
        first = step(model, data, 1)[0]
        step(model, data, 2)
        times = [step(model, data, 3 + n)[0] for n in range(args.repeats)]
        row = {
            'cell': cell,
            'seconds': statistics.median(times),
            'best': min(times),
            'first': round(first, 2),
            'start': round(time.time() - start, 1),
            'GiB': round(torch.cuda.max_memory_allocated() / 2**30, 2) if CUDA else None,
            'loss': float(model.log_dict['l_pix']),
        }
    except Exception as error:
        row = {
            'cell': cell,
            'error': f'{type(error).__name__}: {" ".join(str(error).split())[:200]}',
        }
    if cell == args.profile and 'error' not in row:
        from torch.profiler import ProfilerActivity, profile

        with profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if CUDA else [])]
        ) as prof:
            step(model, data, 99)
        by = 'self_cuda_time_total' if CUDA else 'self_cpu_time_total'
        table = prof.key_averages().table(sort_by=by, row_limit=45, max_name_column_width=90)
        Path(args.out).with_name('profile.txt').write_text(table, encoding='utf-8')
        events = [e for e in prof.key_averages() if e.self_device_time_total] if CUDA else []
        row['kernels'] = sum(e.count for e in events)
        row['device seconds'] = sum(e.self_device_time_total for e in events) / 1e6
    model = data = None
    rows.append(row)
    machine = {'gpu': torch.cuda.get_device_name() if CUDA else 'CPU', 'torch': torch.__version__}
    Path(args.out).write_text(
        json.dumps({**machine, 'rows': rows, 'left out': left_out}, indent=1), encoding='utf-8'
    )
    print(json.dumps(row), flush=True)
print(f'left out: {left_out}' if left_out else 'all cells', flush=True)
