#!/usr/bin/env python
"""Seconds and memory of a training iteration, eager and compiled, by precision, with and without gradient checkpointing; and of loading.

An iteration is the option file's own: network, loss, optimizer, gradient clipping and average of the weights, on a random batch that lies
in memory. Each cell is a fresh process: iterations until nothing is compiled any more, then the best of several. On a GPU memory is what
torch allocated at the peak; on a CPU it is the peak of the process, less what it had before there was a network. On a CPU that others use
too, the processor's seconds say more than the clock's.
"""

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # last: an installed package goes first

import hmaca_arch  # noqa: E402, F401, I001  (first: it makes BasicSR importable)
import datasets_ext  # noqa: E402, F401
import losses_ext  # noqa: E402, F401
from basicsr.data import build_dataset  # noqa: E402
from basicsr.models import build_model  # noqa: E402
from datasets_ext import make_lmdb  # noqa: E402
from hmaca_arch.config import files as options  # noqa: E402
from hmaca_arch.training import pipeline as training  # noqa: E402

OPTION_FILES = {'paper': 'options/train_hmaca_horse_pix.yml', 'light': 'options/train/train_HMACAplus_light.yml'}
TINY = {'embed_dim': 32, 'depths': [1], 'num_heads': [2], 'window_size': 8}
PRECISIONS = ('fp32', 'tf32', 'bf16')


def load(args: argparse.Namespace) -> dict:
    """The option file of this size, as a model expects it."""
    opt = options.load(ROOT / OPTION_FILES[args.size])
    opt.update(dist=False, rank=0, world_size=1, is_train=True, num_gpu=int(args.device == 'cuda'))
    if args.quick:
        opt['network_g'].update(TINY)
        opt['datasets']['train'].update(batch_size_per_gpu=2, gt_size=16)
    return opt


def peak_mebibytes(device: str) -> float:
    if device == 'cuda':
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(args: argparse.Namespace) -> dict[str, float]:
    """One cell in this process: seconds an iteration, seconds before the first measured one, MiB."""
    opt = load(args)
    opt['network_g']['use_checkpoint'] = args.checkpointing
    opt['train'].update(amp='bf16' if args.precision == 'bf16' else False, compile=args.form == 'compiled')
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.precision == 'tf32'
    torch.backends.cudnn.benchmark = True  # as BasicSR trains
    torch.manual_seed(0)
    training.install()
    base = 0.0 if args.device == 'cuda' else peak_mebibytes(args.device)
    model = build_model(opt)
    batch, side = opt['datasets']['train']['batch_size_per_gpu'], opt['datasets']['train']['gt_size']
    mask = torch.zeros(batch, 1, side, side)
    mask[:, :, side // 4 : side // 2, side // 4 : side // 2] = 1
    lq, gt = torch.rand(2, batch, 3, side, side)
    data = {'lq': lq, 'gt': gt, 'mask': mask, 'lq_path': ['random'] * batch}

    def iterate(count: int) -> list[tuple[float, float]]:  # by the clock, of the processor
        seconds = []
        for n in range(count):
            start, busy = time.perf_counter(), time.process_time()
            model.feed_data(data)
            model.optimize_parameters(n + 1)
            if args.device == 'cuda':
                torch.cuda.synchronize()
            seconds.append((time.perf_counter() - start, time.process_time() - busy))
        return seconds

    warm_up = sum(seconds for seconds, _ in iterate(3))
    seconds, processor = map(min, zip(*iterate(args.repeats)))
    return {'seconds': seconds, 'processor': processor, 'warm_up': warm_up, 'peak': peak_mebibytes(args.device) - base}


def measure_loading(args: argparse.Namespace) -> dict[str, float]:
    """Milliseconds (of the processor, median) of an item of MaskedPairedImageDataset from disk and LMDB, in the system's cache."""
    from skimage import data

    photograph = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    settings = load(args)['datasets']['train']
    rng = np.random.default_rng(0)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ('lq', 'mask', 'gt'):
            Path(folder, kind).mkdir()
        for i in range(32):
            y, x = rng.integers(0, 512 - 128, 2)
            mask = np.zeros((128, 128), np.uint8)
            mask[50:70, 40:60] = 255
            for kind, picture in (
                ('lq', photograph[y : y + 128, x : x + 128]),
                ('mask', mask),
                ('gt', photograph[y : y + 128, x : x + 128]),
            ):
                cv2.imwrite(f'{folder}/{kind}/{i:04d}.png', picture)
        make_lmdb.main([folder])
        for backend, ending in (('disk', ''), ('lmdb', '.lmdb')):
            roots = {f'dataroot_{kind}': f'{folder}/{kind}{ending}' for kind in ('lq', 'mask', 'gt')}
            dataset = build_dataset({**settings, **roots, 'io_backend': {'type': backend}, 'phase': 'train', 'seed': 0})
            seconds = []
            for n in range(4 * len(dataset)):
                start = time.process_time()
                dataset[n % len(dataset)]
                seconds.append(time.process_time() - start)
            found[backend] = 1e3 * statistics.median(seconds[len(dataset) :])
    return found


def in_fresh_process(args: argparse.Namespace, *more: str) -> dict[str, float] | str:
    """What `--measure` prints, or why it printed nothing."""
    command = [sys.executable, __file__, '--device', args.device, '--threads', str(args.threads), '--repeats', str(args.repeats)]
    command += ['--size', args.size, *(['--quick'] if args.quick else []), *more]
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=args.limit)
    except subprocess.TimeoutExpired:
        return f'over {args.limit:.0f} s'
    return json.loads(result.stdout.splitlines()[-1]) if result.returncode == 0 else 'failed'


def report(args: argparse.Namespace) -> None:
    """Print the table of one size and its line on loading."""
    where = torch.cuda.get_device_name() if args.device == 'cuda' else f'{platform.machine()} CPU, {args.threads} threads'
    train = load(args)['datasets']['train']
    print(
        f'{OPTION_FILES[args.size]}{" (toy network)" if args.quick else ""}: batch {train["batch_size_per_gpu"]}, '
        f'{train["gt_size"]}x{train["gt_size"]}; torch {torch.__version__}, {where}; best of {args.repeats} iterations\n'
    )
    print(
        '| | precision | checkpointing | s / iteration | of the processor | start (3 iterations) | memory |\n| --- | --- | --- |'
        + 4 * ' ---: |'
    )
    fastest = math.inf
    for form in args.forms:
        for precision in args.precisions:
            for checkpointing in ([], ['--checkpointing']):
                cell = in_fresh_process(args, '--measure', '--form', form, '--precision', precision, *checkpointing)
                figures = cell
                if isinstance(cell, dict):
                    figures = f'{cell["seconds"]:.3f} | {cell["processor"]:.3f} | {cell["warm_up"]:.1f} s | {cell["peak"]:.0f} MiB'
                    fastest = min(fastest, cell['seconds' if args.device == 'cuda' else 'processor'])
                else:
                    figures = f'{cell} | | | '
                print(f'| {form} | {precision} | {"yes" if checkpointing else "no"} | {figures} |', flush=True)
    loading = in_fresh_process(args, '--measure-loading')
    if isinstance(loading, dict) and fastest < math.inf:
        batch = train['batch_size_per_gpu']
        parts = [f'{ms:.2f} ms an item from {backend}, {ms * batch / 10 / fastest:.1f} %' for backend, ms in loading.items()]
        print(f'\nLoading, one process, and what a batch of {batch} takes of the fastest iteration: {"; ".join(parts)}.')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='auto: a GPU if there is one')
    parser.add_argument('--size', choices=('auto', *OPTION_FILES), default='auto', help="auto: light, and on a GPU the paper's too")
    parser.add_argument('--threads', type=int, default=min(2, os.cpu_count() or 1), help='CPU threads')
    parser.add_argument('--forms', nargs='+', choices=('eager', 'compiled'), default=['eager', 'compiled'], help='rows of the table')
    parser.add_argument('--precisions', nargs='+', choices=PRECISIONS, help='rows of the table; default: all that the device has')
    parser.add_argument('--repeats', type=int, default=10, help='iterations, of which the fastest counts')
    parser.add_argument('--limit', type=float, default=1800, help='seconds after which a cell is given up')
    parser.add_argument('--quick', action='store_true', help='a toy network: does everything run at all?')
    parser.add_argument(
        '--measure', action='store_true', help='measure one cell in this process and print JSON; the table is made of these'
    )
    parser.add_argument('--measure-loading', action='store_true', help='likewise for loading')
    parser.add_argument('--form', choices=('eager', 'compiled'), default='eager', help='with --measure')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32', help='with --measure')
    parser.add_argument('--checkpointing', action='store_true', help='with --measure')
    args = parser.parse_args()
    if args.device == 'auto':
        args.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    args.precisions = args.precisions or [p for p in PRECISIONS if args.device == 'cuda' or p != 'tf32']
    torch.set_num_threads(args.threads)
    if args.measure or args.measure_loading:
        print(json.dumps(measure(args) if args.measure else measure_loading(args)))
        return
    sizes = [args.size] if args.size != 'auto' else ['light', 'paper'] if args.device == 'cuda' else ['light']
    for args.size in sizes:
        report(args)
        print()


if __name__ == '__main__':
    main()
