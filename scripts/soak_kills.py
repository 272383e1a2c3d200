#!/usr/bin/env python
"""Kill real trainings at random moments, resume each, and compare the end with a run left alone.

A kill is one of:

    group       SIGKILL to a process and its workers
    main        SIGKILL to the process alone
    worker      SIGKILL to a loader's worker
    rank        SIGKILL to one of two processes that train together
    interrupt   SIGINT twice
    terminate   SIGTERM

After each there must be a checkpoint that loads, none older than the one before. What was not
killed must end by itself, with one line and no traceback. In the end weights, average, optimizer
and best results must be equal bit by bit. The runs take turns in network, schedule, mixed
precision, accumulation and number of processes.

Processes are forked from this one, which has imported everything: so 1000 kills take minutes. With
--folder a soak is done in slices: the same command with the next seed adds to what is there.
"""

import argparse
import collections
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch
import yaml

ROOT = Path(__file__).resolve().parents[1]
folders = (ROOT, ROOT / 'tests', ROOT / 'scripts')
sys.path += map(str, folders)  # last: an installed package goes first

import soak_processes  # noqa: E402
from conftest import make_triplets, tiny_options  # noqa: E402
from soak_processes import PATIENCE, Failed, children, start, wait  # noqa: E402

from hmaca_arch import cli  # noqa: E402
from hmaca_arch.commands import train  # noqa: E402, F401  (imported before the forks)
from hmaca_arch.training import resuming  # noqa: E402

ITERATIONS = 40
KINDS = ('group', 'main', 'worker', 'interrupt', 'terminate')
COSINE = {'type': 'CosineAnnealingRestartLR', 'periods': [ITERATIONS], 'restart_weights': [1]}
# name -> processes, and what differs in the options
VARIANTS: dict[str, tuple[int, dict]] = {
    'one': (1, {'scheduler': {**COSINE, 'eta_min': 1e-6}, 'warmup_iter': 10}),
    'bf16': (
        1,
        {
            'scheduler': {'type': 'MultiStepLR', 'milestones': [15], 'gamma': 0.5},
            'amp': 'bf16',
            'accum_iter': 2,
        },
    ),
    'two': (
        2,
        {
            'scheduler': {'type': 'MultiStepRestartLR', 'milestones': [9], 'restarts': [20]},
            'accum_iter': 2,
        },
    ),
}


def options(data: Path, variant: str) -> dict:
    """A run that saves every iteration, with a worker, drop path, an average and validations."""
    processes, more = VARIANTS[variant]
    found = tiny_options(data)
    found['name'] = 'soak'
    found['network_g']['drop_path_rate'] = 0.3
    found['datasets']['train'].update(batch_size_per_gpu=2 // processes, num_worker_per_gpu=1)
    found['train'].update(total_iter=ITERATIONS, ema_decay=0.99, grad_clip=1.0, **more)
    found['val'].update(val_freq=7, metrics={'psnr': {'type': 'calculate_composite_psnr'}})
    found['logger'].update(print_freq=100, save_checkpoint_freq=1, keep_last=3, keep_best=True)
    found['dist_params'] = {'timeout': 60}
    return found


class Soak:
    """The state of a soak, in a folder: runs left alone, the run that is killed, and a tally."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.killed = folder, folder / 'killed'
        self.tally_file = folder / 'tally.json'
        self.tally: collections.Counter = collections.Counter()
        if self.tally_file.exists():
            self.tally.update(json.loads(self.tally_file.read_text('utf-8')))
        if not (folder / 'data').exists():
            make_triplets(folder / 'data' / 'train', 5, size=24)
            make_triplets(folder / 'data' / 'test', 2, size=24, seed=1)
        for variant in VARIANTS:
            text = yaml.safe_dump(options(folder / 'data', variant))
            (folder / f'{variant}.yml').write_text(text, encoding='utf-8')

    def save(self) -> None:
        self.tally_file.write_text(json.dumps(self.tally, indent=1), encoding='utf-8')

    @property
    def variant(self) -> str:
        return list(VARIANTS)[self.tally['rounds'] % len(VARIANTS)]

    @property
    def run(self) -> tuple[Path, int]:
        """The option file and the number of processes."""
        return self.folder / f'{self.variant}.yml', VARIANTS[self.variant][0]

    def whole(self) -> Path:
        """The run left alone, made when it is first needed."""
        path = self.folder / f'whole_{self.variant}'
        if not (path / 'done').exists():
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
            began = time.time()
            if any(wait(start(path, *self.run), 'left alone')):
                raise Failed(f'left alone: {self.output(path)}')
            (path / 'done').write_text(str(time.time() - began), encoding='utf-8')
        return path

    @staticmethod
    def output(path: Path) -> str:
        return (path / 'output.txt').read_text('utf-8', errors='replace')[-3000:]

    def newest(self) -> int:
        """The iteration of the newest checkpoint; 0 where there is none."""
        experiment = self.killed / 'experiments' / 'soak'
        found = resuming.newest_checkpoint(experiment / 'training_states', experiment / 'models')
        return found[1]['iter'] if found else 0

    def one(self, kind: str, rng: random.Random) -> None:
        """Start or resume the run, and kill it."""
        self.killed.mkdir(exist_ok=True)
        (self.killed / 'output.txt').write_text('', encoding='utf-8')
        before = self.newest()
        pids = start(self.killed, *self.run)
        # A kill comes within an eighth of the seconds that the run left alone took.
        time.sleep(rng.uniform(0, float((self.whole() / 'done').read_text('utf-8')) / 8))
        try:
            statuses, seconds = soak_processes.kill(kind, pids, rng)
        except Failed as error:
            raise Failed(f'{error}: {self.output(self.killed)}') from None
        output, after = self.output(self.killed), self.newest()
        if not set(statuses) <= soak_processes.ALLOWED[kind] or 'Traceback' in output:
            raise Failed(f'{kind}: statuses {statuses}: {output}')
        if after < before:
            raise Failed(f'{kind}: newest checkpoint {after}, before it there was {before}')
        if kind == 'interrupt':
            self.tally['longest second interrupt, ms'] = max(
                self.tally['longest second interrupt, ms'], round(1000 * seconds)
            )
        self.tally[kind] += 1
        self.tally['kills'] += 1
        if not any(statuses):
            self.compare()
        self.wait_for_workers(pids)

    def wait_for_workers(self, pids: list[int]) -> None:
        """What the killed process started has to end by itself, or it would pile up."""
        deadline = time.time() + PATIENCE
        while any(children(pid) for pid in pids):
            if time.time() > deadline:
                workers = [worker for pid in pids for worker in children(pid)]
                soak_processes.show_and_kill(workers)
                raise Failed(f'a worker lives on after its training: {self.output(self.killed)}')
            time.sleep(0.01)

    def compare(self) -> None:
        """The run has reached its end: it must be that of the run left alone. Begin another."""
        whole, killed = (self.end_of(path) for path in (self.whole(), self.killed))
        if not same(whole, killed):
            raise Failed(f'{self.variant}: the end differs from that of the run left alone')
        shutil.rmtree(self.killed)
        self.tally['rounds'] += 1

    @staticmethod
    def end_of(path: Path) -> list:
        experiment = path / 'experiments' / 'soak'
        files = ('models/net_g_latest.pth', f'training_states/{ITERATIONS}.state')
        return [torch.load(experiment / file, weights_only=True) for file in files]


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--kills', type=int, default=100, help='in this slice (100)')
    parser.add_argument('--seconds', type=float, default=float('inf'), help='of this slice, about')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (0)')
    parser.add_argument('--folder', type=Path, help='to keep, for the next slice')
    args = parser.parse_args()
    torch.set_num_threads(1)  # threads do not survive a fork
    rng, began = random.Random(args.seed), time.time()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        soak = Soak(folder.resolve())
        done = 0
        try:
            while done < args.kills and time.time() - began < args.seconds:
                soak.whole()
                kinds = (*KINDS, 'rank') if VARIANTS[soak.variant][0] > 1 else KINDS
                soak.one(rng.choice(kinds), rng)
                done += 1
                soak.save()
        except Failed as error:
            print(f'FAILED after {done} kills, seed {args.seed}: {error}')
            return 1
        print(
            f'{done} kills, seed {args.seed}, {time.time() - began:.0f} s; all: {dict(soak.tally)}'
        )
    return 0


if __name__ == '__main__':
    cli.end('soak_kills', main)
