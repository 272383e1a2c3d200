"""Running the cells of a plan as processes of their own, several at a time, so that a run that was stopped goes on.

Below the output folder: `experiments/`, `results/` (BasicSR's), `logs/CELL.log` (what the processes print), `cells/CELL.json` (the state).
"""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import torch

from hmaca_arch.tables.plan import Cell

POLL = 0.2  # seconds


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may be set to, an entry a GPU."""
    count = torch.cuda.device_count()
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    return named.split(',')[:count] if named else [str(n) for n in range(count)]


def write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + '.tmp')
    temporary.write_text(text, encoding='utf-8')
    os.replace(temporary, path)


def read_state(folder: Path, cell: Cell) -> dict:
    """What `cells/CELL.json` holds; nothing if the cell was never started."""
    path = folder / 'cells' / f'{cell.name}.json'
    return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}


@dataclass
class Job:
    """A cell on its way: train, then test.

    Args:
        gpus: for CUDA_VISIBLE_DEVICES; None: as it is.
    """

    cell: Cell
    folder: Path
    root: Path
    data: Path
    gpus: str | None = None
    process: subprocess.Popen | None = None
    phase: str = ''
    state: dict = field(default_factory=dict)
    since: float = 0.0

    @property
    def log(self) -> Path:
        return self.folder / 'logs' / f'{self.cell.name}.log'

    @property
    def results(self) -> Path:
        return self.folder / 'results' / self.cell.name / f'{self.cell.dataset}_{self.cell.protocol}_test.csv'

    def command(self, what: str, changes: list[str], *more: str) -> list[str]:
        several = self.cell.processes > 1
        torchrun = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={self.cell.processes}', '--max-restarts=0']
        arguments = [*(torchrun if several else []), '-m', 'hmaca_arch', what, '-opt', str(self.root / 'options' / self.cell.option_file)]
        return [sys.executable, *arguments, *(['--launcher', 'pytorch'] if several else []), *more, '--force_yml', *changes]

    def start(self) -> None:
        """Begin with what is missing."""
        self.state = {'training_seconds': 0.0, **read_state(self.folder, self.cell)}
        self.state.pop('error', None)
        iterations = self.state.setdefault('iterations', self.cell.default_iterations(self.root / 'options'))
        self.changes = self.cell.changes(self.root / 'options', self.data, iterations)
        self.state['changes'] = self.changes
        if self.state.get('trained'):
            self.test()
        else:
            frequency = 2 if self.cell.preset == 'smoke' else 50
            self.run('train', ['val=null', 'logger:use_tb_logger=false', f'logger:save_checkpoint_freq={frequency}'], '--auto_resume')

    def test(self) -> None:
        self.run('test', ['val:pbar=false', 'val:save_img=true'])

    def run(self, phase: str, changes: list[str], *more: str) -> None:
        command = self.command(phase, [*self.changes, *changes], *more)
        where = {} if self.gpus is None else {'CUDA_VISIBLE_DEVICES': self.gpus}
        paths = [os.environ.get('PYTHONPATH'), str(self.root)]
        environment = {**os.environ, **where, 'PYTHONPATH': os.pathsep.join(path for path in paths if path)}
        with open(self.log, 'a', encoding='utf-8') as log:
            log.write(f'$ {shlex.join(command)}\n')
            log.flush()
            self.start_of_phase = log.tell()
            self.process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self.phase, self.since = phase, time.time()
        self.save()

    def save(self) -> None:
        """Note the time spent so far, also for the case that nobody can do so later."""
        if self.phase:
            now = time.time()
            key = {'train': 'training_seconds', 'test': 'test_seconds'}[self.phase]
            self.state[key] = self.state.get(key, 0.0) + now - self.since
            self.since = now
        write_atomically(self.folder / 'cells' / f'{self.cell.name}.json', json.dumps(self.state, indent=1))

    def output(self) -> str:
        """What the present process has printed."""
        with open(self.log, encoding='utf-8', errors='replace') as file:
            file.seek(self.start_of_phase)
            return file.read()

    def proceed(self) -> bool:
        """Look after the process; False when there is nothing more to do."""
        code = self.process.poll()
        if code is None:
            return True
        output = self.output()
        if code:
            errors = re.findall(r'^basicsr \w+: (error.*)', output, re.M) or output.splitlines()[-1:]
            self.state['error'] = f'{self.phase}: ' + (errors[0] if errors else f'ended with {code}')
            self.save()
            return False
        if self.phase == 'train':
            self.state['trained'] = True
            self.save()
            self.test()
            return True
        found = re.search(r'with parameters: ([\d,]+)', output)
        self.state['parameters'] = int(found[1].replace(',', '')) if found else None
        self.state['done'] = True
        self.save()
        return False

    def progress(self) -> str:
        lines = re.findall(r'iter: *([\d,]+).*?\[eta: ([^,]+),', self.output())
        return f'{self.cell.name}: {self.phase}' + (f' {lines[-1][0]}/{self.state["iterations"]}, {lines[-1][1]} left' if lines else '')

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.save()


def is_done(folder: Path, root: Path, data: Path, cell: Cell) -> bool:
    return bool(read_state(folder, cell).get('done')) and Job(cell, folder, root, data).results.is_file()


def say(text: str) -> None:
    print(f'{time.strftime("%H:%M:%S")} {text}', flush=True)


def run(cells: list[Cell], folder: Path, root: Path, data: Path, jobs: int | None = None, every: float = 60) -> int:
    """Run what is not done. Returns how many cells failed.

    Args:
        folder: for everything that is written.
        root: the checkout.
        data: the folder of the data sets.
        jobs: cells at a time; default: as many as the GPUs serve, without GPUs one.
        every: seconds between two lines on the progress.
    """
    for name in ('cells', 'logs'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    waiting = [cell for cell in cells if not is_done(folder, root, data, cell)]
    say(f'{len(cells)} cells, {len(cells) - len(waiting)} done already')
    if not waiting:
        return 0
    processes, gpus = waiting[0].processes, visible_gpus()
    jobs = jobs or max(1, len(gpus) // processes)
    shares = [','.join((gpus * jobs)[i * processes : (i + 1) * processes]) if gpus else None for i in range(jobs)]
    running: list[Job] = []
    finished, failed, start, told = 0, 0, time.time(), time.time()
    total = len(waiting)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                share = next(s for s in shares if s is None or s not in [job.gpus for job in running])
                job = Job(waiting.pop(0), folder, root, data, share)
                running.append(job)
                say(f'{job.cell.name}: starts')
                job.start()
            time.sleep(POLL)
            for job in [job for job in running if not job.proceed()]:
                running.remove(job)
                finished += 1
                failed += 'error' in job.state
                left = timedelta(seconds=round((time.time() - start) / finished * (total - finished)))
                say(f'{job.cell.name}: {job.state.get("error", "done")} ({finished} of {total}; about {left} left)')
            if time.time() - told > every:
                told = time.time()
                for job in running:
                    job.save()
                    say(job.progress())
    finally:
        for job in running:
            job.stop()
    return failed
