#!/usr/bin/env python
"""Measure the networks at the paper's settings, and cross attention by the image's size.

Time and memory are printed as Markdown tables.

Times are the best of several runs, in units of one 4096 x 4096 x 4096 float32 matrix product in the
same process, so that figures from different machines can be compared. Memory is the peak of a fresh
process with nothing else in it (on a GPU: what torch allocated). The naive form keeps all scores
and gathers its biases through an index table, as most published implementations do.
"""

import argparse
import functools
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: an installed package goes first

import hmaca_arch
from hmaca_arch.networks import attention, mask_keys

PAPER = {
    'embed_dim': 96,
    'depths': [6] * 4,
    'num_heads': [6] * 4,
    'window_size': 32,
    'mlp_ratio': 4,
    'upscale': 1,
}
QUICK = {**PAPER, 'embed_dim': 32, 'depths': [2], 'num_heads': [2], 'window_size': 8}
CASES = {  # name: (title in the table, network, its settings beyond the above)
    'hmanet': ('HMANet', 'HMANet', {}),
    'naive': ('HMANet, naive attention', 'HMANet', {}),
    'global': ('HMACA, cross_attention global', 'HMACA', {'cross_attention': 'global'}),
    'window': ('HMACA, cross_attention window', 'HMACA', {'cross_attention': 'window'}),
}


def naive_attend(q: Tensor, k: Tensor, v: Tensor, table: Tensor, rows: int, cols: int) -> Tensor:
    """Compute `attend` with an index table and all scores, nothing shared or done in parts."""
    y = torch.arange(rows, device=q.device).repeat_interleave(cols)
    x = torch.arange(cols, device=q.device).repeat(rows)
    middle_y, middle_x = table.shape[0] // 2, table.shape[1] // 2
    bias = table[y[:, None] - y + middle_y, x[:, None] - x + middle_x].permute(2, 0, 1)[:, None]
    return ((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5 + bias).softmax(dim=-1) @ v


def best_of(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Return the seconds of the fastest of `repeats` runs."""
    seconds = []
    for _ in range(repeats):
        if device.type == 'cuda':
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device.type == 'cuda':
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def image_and_mask(side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Make a random image, and a mask of a square of 20 / 128 of its side."""
    mask = torch.zeros(1, 1, side, side, device=device)
    region = max(1, side * 20 // 128)
    mask[..., side // 4 :, side // 3 :][..., :region, :region] = 1
    return torch.rand(1, 3, side, side, device=device), mask


@torch.inference_mode()
def measure(case: str, args: argparse.Namespace) -> dict[str, float]:
    """Measure one network in this process.

    Returns:
        Seconds of the network and of the matrix product, MiB at the peak and before there was a
        network.
    """
    device = torch.device(args.device)
    _, name, more = CASES[case]
    if case == 'naive':
        attention.attend = naive_attend
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    torch.manual_seed(0)
    settings = (QUICK if args.quick else PAPER) | more
    network = getattr(hmaca_arch, name)(**settings).eval().to(device)
    lq, mask = image_and_mask(args.side, device)
    run = functools.partial(network, *((lq, mask) if name == 'HMACA' else (lq,)))
    run()
    peak = (
        torch.cuda.max_memory_allocated() / 2**20
        if device.type == 'cuda'
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )
    n = 256 if args.quick else 4096
    a, b = torch.randn(2, n, n, device=device)
    product = functools.partial(torch.matmul, a, b)
    product()
    # in turns, so that both meet the same load of the machine
    rounds = [(best_of(product, 1, device), best_of(run, 1, device)) for _ in range(args.repeats)]
    return {
        'product': min(p for p, _ in rounds),
        'seconds': min(s for _, s in rounds),
        'peak': peak,
        'base': base,
    }


def in_fresh_process(case: str, arguments: list[str]) -> dict[str, float]:
    """Measure in a new process, as the peak of a process never falls."""
    command = [sys.executable, __file__, *arguments, '--case', case]
    result = subprocess.run(command, stdout=subprocess.PIPE, encoding='utf-8', check=True)
    return json.loads(result.stdout.splitlines()[-1])


@torch.inference_mode()
def measure_cross_attention(args: argparse.Namespace) -> list[tuple[int, dict[str, float]]]:
    """Return the seconds of one cross attention, with the mask's encoding, by side and form."""
    device = torch.device(args.device)
    torch.manual_seed(0)
    size, dim, heads = 32, 96, 4
    encoder = mask_keys.MaskEncoder(dim).to(device)
    over_all = attention.MaskCrossAttention(dim, heads).to(device)
    in_windows = attention.WindowMaskCrossAttention(dim, heads, size, 0).to(device)
    table = []
    for side in (32, 64) if args.quick else (64, 128, 256, 512):
        _, mask = image_and_mask(side, device)
        x = torch.randn(1, side, side, dim, device=device)
        forms: dict[str, Callable[[], object]] = {
            'global': lambda x=x, mask=mask: over_all(x, *encoder.keys(mask)),
            'window': lambda x=x, mask=mask: in_windows(x, encoder.pixels(mask)),
        }
        if side <= args.dense_up_to:
            forms['global, dense'] = lambda x=x, mask=mask: over_all(
                x, encoder.pixels(mask).flatten(1, 2)
            )
        times = {}
        for form, run in forms.items():
            run()
            times[form] = best_of(run, args.repeats, device)
        table.append((side, times))
    return table


def report(args: argparse.Namespace, arguments: list[str]) -> None:
    """Print both tables."""
    where = (
        torch.cuda.get_device_name()
        if args.device == 'cuda'
        else f'{platform.machine()} CPU, {args.threads} threads'
    )
    print(
        f'torch {torch.__version__}, {where}, float32, eval, one {args.side}x{args.side} image, '
        f'best of {args.repeats}\n'
    )
    memory = 'peak allocated' if args.device == 'cuda' else 'peak of the process'
    print(f'| network | time | / matrix product | {memory} |\n| --- | --- | --- | --- |')
    for case, (title, _, _) in CASES.items():
        result = in_fresh_process(case, arguments)
        ratio = result['seconds'] / result['product']
        print(
            f'| {title} | {result["seconds"]:.3f} s | {ratio:.2f} | {result["peak"]:.0f} MiB |',
            flush=True,
        )
    if args.device != 'cuda':
        print(
            f'\nOf the memory, {result["base"]:.0f} MiB are Python, torch and BasicSR before there '
            'is a network.'
        )
    print(f'One matrix product took {result["product"]:.4f} s.\n')
    rows = measure_cross_attention(args)
    forms = list(rows[0][1])
    print(f'| cross attention, pixels | {" | ".join(forms)} |\n| --- |{" --- |" * len(forms)}')
    for side, times in rows:
        cells = (
            f'{1e3 * times[form]:.1f} ms ({1e9 * times[form] / side**2:.0f} ns a pixel)'
            if form in times
            else 'not run'
            for form in forms
        )
        print(f'| {side}x{side} | {" | ".join(cells)} |')


def main(argv: list[str] | None = None) -> None:
    """Print the tables, or measure one case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        '--device',
        choices=('auto', 'cpu', 'cuda'),
        default='auto',
        help='auto: a GPU if there is one',
    )
    parser.add_argument(
        '--threads', type=int, default=min(2, os.cpu_count() or 1), help='CPU threads'
    )
    parser.add_argument('--side', type=int, default=128, help='side of the image in pixels')
    parser.add_argument('--repeats', type=int, default=5, help='runs, of which the fastest counts')
    parser.add_argument(
        '--dense-up-to',
        type=int,
        default=128,
        help='largest side for which dense cross attention, quadratic, is timed',
    )
    parser.add_argument(
        '--quick', action='store_true', help='a toy network and small images, to try this script'
    )
    parser.add_argument('--case', choices=CASES, help='measure just this, here, and print JSON')
    arguments = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(arguments)
    if args.device == 'auto':
        args.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    torch.set_num_threads(args.threads)
    if args.case:
        print(json.dumps(measure(args.case, args)))
    else:
        report(args, arguments)


if __name__ == '__main__':
    main()
