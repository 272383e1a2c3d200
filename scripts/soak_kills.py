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
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import torch
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT), str(ROOT / 'tests')]  # last: an installed package goes first

from conftest import make_triplets, tiny_options  # noqa: E402

from hmaca_arch import cli  # noqa: E402
from hmaca_arch.commands import train  # noqa: E402, F401  (imported before the forks)
from hmaca_arch.training import resuming  # noqa: E402

ITERATIONS = 40
PATIENCE = 300  # seconds in which what was not killed has to end by itself
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


class Failed(Exception):
    """What must not be, in a line."""


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


def start(folder: Path, variant: str) -> list[int]:
    """Fork the processes of a run, each the leader of a session; returns their ids."""
    processes = VARIANTS[variant][0]
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    return [fork(folder, variant, rank, processes, port) for rank in range(processes)]


def fork(folder: Path, variant: str, rank: int, processes: int, port: int) -> int:
    """Fork one process of a run."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        # A shell that starts a soak in the background lets it ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log = os.open(folder / 'output.txt', os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(folder)
        arguments = ['train', '-opt', str(folder.parent / f'{variant}.yml'), '--auto_resume']
        if processes > 1:
            os.environ.update(
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes),
                MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port),
            )  # fmt: skip
            arguments += ['--launcher', 'pytorch']
        cli.main(arguments)
    except SystemExit as end:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def children(pid: int) -> list[int]:
    """The processes of a process's session, but for itself: its loaders' workers."""
    found = []
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = path.read_text('utf-8').rpartition(')')[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[3]) == pid and int(path.parent.name) != pid and fields[0] != 'Z':
            found.append(int(path.parent.name))
    return found


def running(pid: int) -> bool:
    """Whether a process has not ended yet; it stays to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def wait(pids: list[int], what: str) -> list[int]:
    """Exit statuses, below 0 for a signal; Failed if one does not end by itself."""
    deadline = time.time() + PATIENCE
    while any(map(running, pids)):
        if time.time() > deadline:
            for pid in pids:
                os.killpg(pid, signal.SIGKILL)
            raise Failed(f'{what}: a process did not end within {PATIENCE} s')
        time.sleep(0.005)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def send(pid: int, number: int) -> None:
    if running(pid):  # else somebody else may have its number soon
        os.kill(pid, number)


def delivered(pid: int, number: int) -> None:
    """Wait until a process has a signal: until then a second one of its kind is no second one."""
    bit = 1 << (number - 1)
    while running(pid):
        status = dict(
            line.split(':\t', 1)
            for line in Path(f'/proc/{pid}/status').read_text('utf-8').splitlines()
            if ':\t' in line
        )
        if not (int(status.get('SigPnd', '0'), 16) | int(status.get('ShdPnd', '0'), 16)) & bit:
            return
        time.sleep(0.001)


def kill(kind: str, pids: list[int], rng: random.Random) -> tuple[list[int], float]:
    """Do it; returns the exit statuses, and the seconds from the last signal to the end."""
    one = rng.choice(pids)
    if kind == 'group':
        for pid in pids:
            if running(pid):
                os.killpg(pid, signal.SIGKILL)
    elif kind == 'main':
        for pid in pids:
            send(pid, signal.SIGKILL)
    elif kind == 'worker':
        for worker in children(one)[:1]:
            os.kill(worker, signal.SIGKILL)
    elif kind == 'rank':
        send(one, signal.SIGKILL)
    else:
        number = signal.SIGINT if kind == 'interrupt' else signal.SIGTERM
        for pid in pids:
            send(pid, number)
        if kind == 'interrupt':
            for pid in pids:
                delivered(pid, number)
            time.sleep(rng.choice((0, 0.05, 0.2, rng.uniform(0, 1))))
            for pid in pids:
                send(pid, number)
    since = time.time()
    statuses = wait(pids, kind)
    return statuses, time.time() - since


ALLOWED = {  # statuses; 0 where it was at its end already
    'group': {-signal.SIGKILL, 0}, 'main': {-signal.SIGKILL, 0}, 'worker': {0, 1},
    'rank': {-signal.SIGKILL, 0, 1}, 'interrupt': {130, 0, 1, -signal.SIGINT},
    'terminate': {75, 0, -signal.SIGTERM},
}  # fmt: skip


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

    def whole(self) -> Path:
        """The run left alone, made when it is first needed."""
        path = self.folder / f'whole_{self.variant}'
        if not (path / 'done').exists():
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
            began = time.time()
            if any(wait(start(path, self.variant), 'left alone')):
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
        pids = start(self.killed, self.variant)
        # A kill comes within an eighth of the seconds that the run left alone took.
        time.sleep(rng.uniform(0, float((self.whole() / 'done').read_text('utf-8')) / 8))
        statuses, seconds = kill(kind, pids, rng)
        output, after = self.output(self.killed), self.newest()
        if not set(statuses) <= ALLOWED[kind] or 'Traceback' in output:
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
                raise Failed('a worker lives on after its training')
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
