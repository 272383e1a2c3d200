#!/usr/bin/env python
"""Fit a training to the machine and the time: batch, iterations, and the entries that set them.

    fit.py -opt OPTIONS --seconds 400 --out plan.json --force_yml ENTRY ...

The batch is doubled as long as it fits into the GPU's memory and crops a second grow by half:
beyond that a larger one only takes iterations away. `--batch` sets it. On a CPU it stays what the
option file says. Steps are measured on batches of the training's own data, and the data set's
workers by themselves; an iteration takes as long as the slower of the two.
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, default_collate

sys.path.append(str(Path(os.environ.get('HMACA_CODE', '.')).resolve()))
import hmaca_arch  # noqa: F401, I001
import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from basicsr.data import build_dataset
from basicsr.models import build_model
from hmaca_arch.config import files as options
from hmaca_arch.config import shipped
from hmaca_arch.config.overrides import add_overrides
from hmaca_arch.config.reading import read
from hmaca_arch.experiments.tables.cell import length
from hmaca_arch.training import pipeline

SHARE = 0.15  # of the time, the most that measuring may take
PAYS = 1.5  # a batch twice as large has to give so many times the crops a second
SLACK = 1.15  # what an iteration takes beyond a measured step: logging, checkpoints, other work
EPOCH = 1000  # iterations, at least: each epoch starts the workers again
DIFFERENT = 1024  # samples, at most, before a measured batch repeats them


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('-opt', required=True)
    parser.add_argument('--seconds', type=float, default=400, help='for the training')
    parser.add_argument('--batch', type=int)
    parser.add_argument('--iterations', type=int)
    parser.add_argument('--out', type=Path, default=Path('plan.json'))
    parser.add_argument('--describe', action='store_true', help='print name and missing data')
    add_overrides(parser)
    return parser.parse_args()


def describe(opt: dict[str, Any], path: Path) -> dict[str, Any]:
    """Tell what a training is called, and which of its data are not here."""
    train = opt['datasets']['train']
    roots = [str(value) for key, value in train.items() if key.startswith('dataroot')]
    return {
        'name': opt['name'],
        'path': str(path),
        'data': read(path).get('data') if opt.get('data') is None else opt['data'],
        'protocol': opt.get('protocol') or 'clean',
        'missing': [root for root in roots if not Path(root).exists()],
    }


class Steps:
    """Measured training steps of an option file."""

    def __init__(self, opt: dict[str, Any]) -> None:
        self.gpu = torch.cuda.is_available()
        opt.update(dist=False, rank=0, world_size=1, is_train=True, num_gpu=int(self.gpu))
        opt['path'] = {**opt.get('path', {}), 'resume_state': None}
        train = opt['datasets']['train']
        self.dataset = build_dataset({**train, 'phase': 'train', 'seed': opt['manual_seed']})
        self.workers = train.get('num_worker_per_gpu') or 0
        pipeline.install()
        torch.backends.cudnn.benchmark = True
        self.model = build_model(opt)
        self.samples: list[dict[str, Any]] = []

    def seconds(self, batch: int) -> float:
        """Return the seconds of a step with so many crops.

        Raises:
            torch.OutOfMemoryError: they do not fit.
        """
        # Each has its own degradation: a batch takes as long as its slowest equation.
        for i in range(len(self.samples), min(batch, DIFFERENT)):
            self.samples.append(self.dataset[i % len(self.dataset)])
        data = default_collate([self.samples[i % DIFFERENT] for i in range(batch)])
        best = float('inf')
        for n in range(4):
            start = time.perf_counter()
            self.model.feed_data(data)
            self.model.optimize_parameters(n + 1)
            if self.gpu:
                torch.cuda.synchronize()
            if n:
                best = min(best, time.perf_counter() - start)
        return best

    def largest(self, batch: int, until: float) -> tuple[int, float]:
        """Double the batch while it fits and pays; return it and the seconds of its step."""
        seconds = self.seconds(batch)
        while self.gpu and time.monotonic() < until:
            try:
                twice = self.seconds(2 * batch)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                break
            if 2 * seconds < PAYS * twice:
                break
            batch, seconds = 2 * batch, twice
        return batch, seconds

    def loading(self, batch: int) -> float:
        """Return the seconds in which the data set's workers make a batch."""
        unit = min(batch, 16)  # as a batch, so that handing it over counts as in training
        count = max(2 * self.workers, 4)
        indices = [i % len(self.dataset) for i in range(3 * count * unit)]
        loader = iter(DataLoader(self.dataset, unit, sampler=indices, num_workers=self.workers))
        for _ in range(count):  # until the workers are up
            next(loader)
        start = time.perf_counter()
        for _ in range(count):
            next(loader)
        return (time.perf_counter() - start) / (count * unit) * batch


def main() -> None:
    """Write the plan."""
    args = parse()
    path = shipped.find(args.opt)
    opt = options.load(path, args.force_yml)
    described = describe(opt, path)
    if args.describe:
        print(json.dumps(described))
        return
    until = time.monotonic() + SHARE * args.seconds
    begin = time.monotonic()
    train = opt['datasets']['train']
    if not train.get('num_worker_per_gpu') and torch.cuda.is_available():
        train['num_worker_per_gpu'] = max(1, (os.cpu_count() or 2) - 2)
    steps = Steps(opt)
    batch = args.batch or train['batch_size_per_gpu']
    batch, step = (batch, steps.seconds(batch)) if args.batch else steps.largest(batch, until)
    loading = steps.loading(batch)
    gpu = torch.cuda.is_available()
    measured = {
        'device': torch.cuda.get_device_name() if gpu else 'CPU',
        'torch': torch.__version__,
        'seconds of a step': step,
        'seconds of loading': loading,
        'GiB': round(torch.cuda.max_memory_allocated() / 2**30, 2) if gpu else None,
    }
    seconds = SLACK * (max(step, loading) if steps.workers else step + loading)
    left = args.seconds - (time.monotonic() - begin)
    iterations = args.iterations or max(2, int(left / seconds))
    entries = [
        *args.force_yml,
        f'datasets:train:batch_size_per_gpu={batch}',
        f'datasets:train:num_worker_per_gpu={steps.workers}',
        f'datasets:train:dataset_enlarge_ratio={math.ceil(EPOCH * batch / len(steps.dataset))}',
        *length(opt['train'], iterations),
    ]
    plan = {**described, 'batch': batch, 'crop': train.get('gt_size'), 'iterations': iterations}
    plan |= {'crops': batch * iterations, 'entries': entries, 'measured': measured}
    args.out.write_text(json.dumps(plan, indent=1), encoding='utf-8')
    print(json.dumps({**plan, 'entries': len(entries)}), flush=True)


if __name__ == '__main__':
    main()
