#!/usr/bin/env python
"""Kill a real training with kill -9 again and again at random moments, resume it each time, and
compare it with one that was left alone.

The run is tiny, saves every iteration and has worker processes, drop path, an average of the
weights and validations. After each kill there must be a checkpoint that loads, none older than the
one before; in the end weights, average, optimizer and best results must be equal bit by bit.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # last: an installed package goes first

from hmaca_arch.cli import end  # noqa: E402
from hmaca_arch.training import resuming  # noqa: E402


def make_triplets(folder: Path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name in (f'{i}.png' for i in range(count)):
        gt = cv2.resize(
            rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), (24, 24), interpolation=cv2.INTER_CUBIC
        )
        mask = np.zeros((24, 24), np.uint8)
        mask[8:16, 6:14] = 255
        lq = np.where(mask[..., None] > 0, rng.integers(0, 256, gt.shape, dtype=np.uint8), gt)
        for kind, picture in (('lq', lq), ('mask', mask), ('gt', gt)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / kind / name), picture)


def options(data: Path, iterations: int) -> dict:
    def dataset(part: str, **more) -> dict:
        roots = {f'dataroot_{kind}': str(data / part / kind) for kind in ('lq', 'mask', 'gt')}
        return {
            'name': part,
            'type': 'MaskedPairedImageDataset',
            **roots,
            'io_backend': {'type': 'disk'},
            **more,
        }

    network = {
        'type': 'HMACA',
        'embed_dim': 32,
        'depths': [1],
        'num_heads': [2],
        'window_size': 8,
        'drop_path_rate': 0.3,
    }
    return {
        'name': 'soak', 'model_type': 'MaskedRestorationModel', 'num_gpu': 0, 'manual_seed': 0,
        'datasets': {
            'train': dataset('train', gt_size=16, use_hflip=True, use_rot=True, batch_size_per_gpu=2, num_worker_per_gpu=1),
            'val': dataset('test'),
        },
        'network_g': network, 'path': {'pretrain_network_g': None, 'resume_state': None},
        'train': {
            'optim_g': {'type': 'AdamW', 'lr': 1e-3}, 'total_iter': iterations, 'warmup_iter': 10, 'ema_decay': 0.99, 'grad_clip': 1.0,
            'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [iterations], 'restart_weights': [1], 'eta_min': 1e-6},
            'pixel_opt': {'type': 'AlphaMaskedL1Loss', 'alpha': 0.5},
        },
        'val': {'val_freq': 7, 'save_img': False, 'metrics': {'composite_psnr': {'type': 'calculate_composite_psnr'}}},
        'logger': {'print_freq': 100, 'save_checkpoint_freq': 1, 'use_tb_logger': False, 'keep_last': 3, 'keep_best': True},
    }  # fmt: skip


def start(folder: Path) -> subprocess.Popen:
    command = [
        sys.executable,
        '-m',
        'hmaca_arch',
        'train',
        '-opt',
        str(folder.parent / 'soak.yml'),
        '--auto_resume',
    ]
    environment = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'PYTHONPATH': os.pathsep.join(filter(None, (os.environ.get('PYTHONPATH'), str(ROOT)))),
    }
    with open(folder / 'output.txt', 'a', encoding='utf-8') as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def end_of(folder: Path, iterations: int) -> tuple[dict, dict]:
    experiment = folder / 'experiments' / 'soak'
    files = (
        experiment / 'models' / 'net_g_latest.pth',
        experiment / 'training_states' / f'{iterations}.state',
    )
    return tuple(torch.load(file, weights_only=True) for file in files)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--kills', type=int, default=200, help='(200)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (0)')
    parser.add_argument('--iterations', type=int, help='of the run (4 for each kill)')
    args = parser.parse_args()
    iterations = args.iterations or 4 * args.kills + 20
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_triplets(folder / 'data' / 'train', 5, 0)
        make_triplets(folder / 'data' / 'test', 1, 1)
        (folder / 'soak.yml').write_text(yaml.safe_dump(options(folder / 'data', iterations)))
        whole, killed = folder / 'whole', folder / 'killed'
        whole.mkdir(), killed.mkdir()
        if start(whole).wait():
            print((whole / 'output.txt').read_text()[-2000:])
            return 1
        states, models = (
            killed / 'experiments' / 'soak' / part for part in ('training_states', 'models')
        )
        newest, kills = 0, 0
        while kills < args.kills:
            process = start(killed)
            began = newest
            while process.poll() is None and not any(
                int(p.stem) > began for p in states.glob('*.state')
            ):
                time.sleep(0.01)  # until it has got going: Python's start alone is 2 s
            time.sleep(rng.uniform(0, 0.5))
            if process.poll() is not None:
                break
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            found = resuming.newest_checkpoint(states, models)
            if found is None or found[1]['iter'] < newest:
                print(
                    f'FAILED after kill {kills}: checkpoint {found and found[1]["iter"]}, before it there was {newest}'
                )
                return 1
            newest = found[1]['iter']
            print(f'kill {kills}: checkpoint {newest} of {iterations}', flush=True)
        code = start(killed).wait()
        if code or not all(map(same, end_of(whole, iterations), end_of(killed, iterations))):
            print(
                f'FAILED: exit status {code}, or the ends differ\n{(killed / "output.txt").read_text()[-2000:]}'
            )
            return 1
        print(
            f'{kills} kills, {iterations} iterations: weights, average, optimizer and best results are those of the run left alone'
        )
    return 0


if __name__ == '__main__':
    end('soak_kills', main)
