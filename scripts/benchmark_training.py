#!/usr/bin/env python
"""Measure seconds and memory of training iterations, and of loading.

The cells are eager and compiled, by precision, with and without gradient checkpointing. An
iteration is the option file's: network, loss, optimizer, gradient clipping and average of the
weights, on a random batch in memory. All cells are measured in this process, the most telling ones
first, until `--seconds` are over. Each cell warms up, then the best of several iterations counts.

On a GPU memory is what torch allocated at the peak. On a CPU it is by how much the cell raised the
peak of the process; a dash means that it did not. If others use the CPU too, the processor's
seconds tell more than the clock's.
"""

import argparse
import gc
import itertools
import math
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

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

OPTION_FILES = {
    'paper': 'options/train_hmaca_horse_pix.yml',
    'light': 'options/train/train_HMACAplus_light.yml',
}
TINY = {'embed_dim': 32, 'depths': [1], 'num_heads': [2], 'window_size': 8}
PRECISIONS = ('fp32', 'tf32', 'bf16')


def load(args: argparse.Namespace) -> dict:
    """Load the option file of this size, as a model expects it."""
    opt = options.load(ROOT / OPTION_FILES[args.size])
    opt.update(dist=False, rank=0, world_size=1, is_train=True, num_gpu=int(args.device == 'cuda'))
    if args.quick:
        opt['network_g'].update(TINY)
        opt['datasets']['train'].update(batch_size_per_gpu=2, gt_size=16)
    return opt


def peak_mebibytes(device: str) -> float:
    """Return the largest memory so far, of torch on a GPU, else of the process."""
    if device == 'cuda':
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Cell(NamedTuple):
    """A row of the table."""

    form: str
    precision: str
    checkpointing: bool


def cells(args: argparse.Namespace) -> list[Cell]:
    """List the rows, the most telling first.

    How people train comes first, then what memory costs, then what compiling brings.
    """
    found = itertools.product(args.forms, args.precisions, (False, True))
    usual = 'bf16' if args.device == 'cuda' else 'fp32'
    return sorted(
        (Cell(*cell) for cell in found),
        key=lambda cell: (cell.form != 'eager', cell.precision != usual, cell.checkpointing),
    )


def measure(args: argparse.Namespace, cell: Cell) -> dict[str, float]:
    """Return seconds of an iteration, seconds before the first measured one, and MiB."""
    opt = load(args)
    opt['network_g']['use_checkpoint'] = cell.checkpointing
    opt['train'].update(
        amp='bf16' if cell.precision == 'bf16' else False,
        compile=cell.form == 'compiled',
        tf32=cell.precision == 'tf32',
    )
    gc.collect()
    if args.device == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    torch.backends.cudnn.benchmark = True  # as BasicSR trains
    torch.manual_seed(0)
    training.install()
    base = 0.0 if args.device == 'cuda' else peak_mebibytes(args.device)
    model = build_model(opt)
    batch, side = (opt['datasets']['train'][key] for key in ('batch_size_per_gpu', 'gt_size'))
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
    return {
        'seconds': seconds,
        'processor': processor,
        'warm_up': warm_up,
        'peak': peak_mebibytes(args.device) - base,
    }


def measure_loading(args: argparse.Namespace) -> dict[str, float]:
    """Return the processor's milliseconds for an item from disk and from LMDB.

    They are medians, for MaskedPairedImageDataset, with the files in the system's cache.
    """
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
            tile = photograph[y : y + 128, x : x + 128]
            for kind, image in (('lq', tile), ('mask', mask), ('gt', tile)):
                cv2.imwrite(f'{folder}/{kind}/{i:04d}.png', image)
        make_lmdb.make_lmdb(folder)
        for backend, ending in (('disk', ''), ('lmdb', '.lmdb')):
            roots = {
                f'dataroot_{kind}': f'{folder}/{kind}{ending}' for kind in ('lq', 'mask', 'gt')
            }
            dataset = build_dataset(
                {**settings, **roots, 'io_backend': {'type': backend}, 'phase': 'train', 'seed': 0}
            )
            seconds = []
            for n in range(4 * len(dataset)):
                start = time.process_time()
                dataset[n % len(dataset)]
                seconds.append(time.process_time() - start)
            found[backend] = 1e3 * statistics.median(seconds[len(dataset) :])
    return found


def figures(args: argparse.Namespace, cell: Cell) -> tuple[str, float]:
    """Return the rest of a cell's row, and its seconds; infinite if it cannot be measured."""
    try:
        found = measure(args, cell)
    # out of memory, or a compiler that does not work here: the other rows are measured all the same
    except Exception as error:
        return f'{type(error).__name__} | | | ', math.inf
    memory = f'{found["peak"]:.0f} MiB' if found['peak'] > 0 else '-'
    seconds = found['seconds' if args.device == 'cuda' else 'processor']
    return (
        f'{found["seconds"]:.3f} | {found["processor"]:.3f} | {found["warm_up"]:.1f} s | {memory}',
        seconds,
    )


def report(args: argparse.Namespace) -> None:
    """Print the table of one size and its line on loading."""
    where = (
        torch.cuda.get_device_name()
        if args.device == 'cuda'
        else f'{platform.machine()} CPU, {args.threads} threads'
    )
    train = load(args)['datasets']['train']
    print(
        f'{OPTION_FILES[args.size]}{" (toy network)" if args.quick else ""}: '
        f'batch {train["batch_size_per_gpu"]}, {train["gt_size"]}x{train["gt_size"]}; '
        f'torch {torch.__version__}, {where}; best of {args.repeats} iterations\n'
    )
    print(
        '| | precision | checkpointing | s / iteration | of the processor | start (3 iterations) '
        '| memory |\n| --- | --- | --- |' + 4 * ' ---: |'
    )
    fastest = math.inf
    left = cells(args)
    while left and time.monotonic() < args.until:
        cell = left.pop(0)
        row, seconds = figures(args, cell)
        fastest = min(fastest, seconds)
        print(
            f'| {cell.form} | {cell.precision} | {"yes" if cell.checkpointing else "no"} | {row} |',
            flush=True,
        )
    if left:
        names = ', '.join(' '.join(map(str, cell[:2])) for cell in left)
        print(f'\nNot measured, --seconds were over: {names}.')
    elif fastest < math.inf and time.monotonic() < args.until:
        batch, loading = train['batch_size_per_gpu'], measure_loading(args)
        parts = [
            f'{ms:.2f} ms an item from {backend}, {ms * batch / 10 / fastest:.1f} %'
            for backend, ms in loading.items()
        ]
        print(
            f'\nLoading, one process, and what a batch of {batch} takes of the fastest iteration: '
            f'{"; ".join(parts)}.'
        )


def main() -> None:
    """Print the tables."""
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
        '--size',
        choices=('auto', *OPTION_FILES),
        default='auto',
        help="auto: light, and on a GPU the paper's too",
    )
    parser.add_argument(
        '--threads', type=int, default=min(2, os.cpu_count() or 1), help='CPU threads'
    )
    parser.add_argument(
        '--forms',
        nargs='+',
        choices=('eager', 'compiled'),
        default=['eager', 'compiled'],
        help='rows of the table',
    )
    parser.add_argument(
        '--precisions',
        nargs='+',
        choices=PRECISIONS,
        help='rows of the table; default: all that the device has',
    )
    parser.add_argument(
        '--repeats', type=int, default=10, help='iterations, of which the fastest counts'
    )
    parser.add_argument(
        '--seconds', type=float, default=math.inf, help='begin no cell after so many'
    )
    parser.add_argument('--quick', action='store_true', help='a toy network, to try this script')
    args = parser.parse_args()
    args.until = time.monotonic() + args.seconds
    if args.device == 'auto':
        args.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    args.precisions = args.precisions or [
        p for p in PRECISIONS if args.device == 'cuda' or p != 'tf32'
    ]
    torch.set_num_threads(args.threads)
    sizes = [args.size]
    if args.size == 'auto':
        sizes = ['light', 'paper'] if args.device == 'cuda' else ['light']
    for args.size in sizes:
        report(args)
        print()


if __name__ == '__main__':
    main()
