"""One cell on its way: trained and tested, each in a process."""

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hmaca_arch.config import reading
from hmaca_arch.experiments.tables.cell import NETWORKS, Cell
from hmaca_arch.experiments.tables.state import (
    how_to_restart,
    read_state,
    shown_images,
    state_file,
    table_of_test,
)
from hmaca_arch.files.atomic import append, write_atomically


class CellJob:
    """A cell that is being run.

    Args:
        cell: what to run.
        folder: for everything that is written.
        data: the folder of the data sets.
        gpus: for CUDA_VISIBLE_DEVICES; None: as it is.
    """

    def __init__(self, cell: Cell, folder: Path, data: Path, gpus: str | None = None) -> None:
        self.cell, self.folder, self.data, self.gpus = cell, folder, data, gpus
        self.state: dict[str, Any] = {
            'training_seconds': 0.0,
            'test_seconds': 0.0,
            **read_state(folder, cell),
            'cell': asdict(cell),
        }
        self.state.pop('error', None)
        self.process: subprocess.Popen[bytes] | None = None
        self.phase = ''  # train, test, or nothing
        self.since = time.time()
        self.start_of_phase = 0  # in the log

    @property
    def log(self) -> Path:
        """The path of what its processes print."""
        return self.folder / 'logs' / f'{self.cell.name}.log'

    @property
    def experiment(self) -> Path:
        """The folder of its training."""
        return self.folder / 'experiments' / self.cell.name

    def start(self) -> None:
        """Begin with what is missing.

        Raises:
            ValueError: the cell cannot be run.
            FileNotFoundError: its data do not exist.
        """
        source = self.data / self.cell.protocol / self.cell.dataset
        if not source.is_dir():
            horse = self.cell.dataset.startswith('horse')
            kind = 'horse horse2zebra.zip' if horse else 'imagenet IMAGES'
            raise FileNotFoundError(
                f'{source} does not exist; to prepare it: basicsr make-dataset '
                f'--protocol {self.cell.protocol} --{kind} -o {self.data}'
            )
        if 'iterations' not in self.state:
            self.state['iterations'] = self.cell.default_iterations()
        self.train_or_test()

    def check_identity(self) -> None:
        """Remember the content of the option file and of the data, or compare it.

        A cell continues, and stands in a table, only if both are as they were when it began.

        Raises:
            ValueError: the option file or the data have changed.
        """
        given = reading.merge(self.cell.options(), {'train': self.cell.training()})
        changes = [*NETWORKS[self.cell.network][2], *self.cell.arithmetic.values()]
        if changes:
            given['changes'] = changes
        given.pop('logger', None)
        for dataset in given['datasets'].values():  # data may be moved
            for key in [key for key in dataset if key.startswith('dataroot') or key == 'prepare']:
                del dataset[key]
        source = self.data / self.cell.protocol / self.cell.dataset
        manifests = b''.join(path.read_bytes() for path in sorted(source.glob('*/manifest.jsonl')))
        contents = {'option file': json.dumps(given, sort_keys=True).encode(), 'data': manifests}
        now = {what: hashlib.sha256(text).hexdigest()[:16] for what, text in contents.items()}
        before = self.state.setdefault('identity', now)
        if not source.is_dir():  # a report needs no data
            now['data'] = before['data']
        if before != now:
            differing = ' and '.join(what for what in now if now[what] != before.get(what))
            raise ValueError(
                f'{self.cell.name}: was begun with another {differing}: {how_to_restart(self.cell)}'
            )

    def train_or_test(self) -> None:
        """Start the training, or the test if it is trained.

        Raises:
            ValueError: the cell was begun with other settings, or see `check_identity`.
        """
        changes = self.cell.changes(self.data, self.state['iterations'])
        arithmetic = list(self.cell.arithmetic.values())
        # Data may be moved, and the cell's name has the data set.
        settings = [
            change
            for change in [*changes, *arithmetic]
            if 'dataroot' not in change and not change.startswith('data=')
        ]
        before = self.state.setdefault('settings', settings)
        if before != settings:
            differing = ', '.join(sorted({*before} ^ {*settings}))
            raise ValueError(
                f'was begun with other settings ({differing}): {how_to_restart(self.cell)}'
            )
        self.check_identity()
        weights = self.experiment / 'models' / 'net_g_latest.pth'
        if self.state.get('trained') and weights.is_file():
            self.begin('test', [*changes, 'val:pbar=false', 'val:save_img=true'])
            return
        frequency = 2 if self.cell.preset == 'smoke' else 50
        changes += [
            *arithmetic,
            'val=null',
            'logger:use_tb_logger=false',
            f'logger:save_checkpoint_freq={frequency}',
        ]
        self.begin('train', changes, '--auto_resume')

    def command(self, phase: str, changes: list[str], *more: str) -> list[str]:
        """Make the command line of `basicsr train` or `basicsr test`."""
        arguments = ['-m', 'hmaca_arch', phase, '-opt', str(self.cell.path)]
        if self.cell.processes > 1:
            count = f'--nproc_per_node={self.cell.processes}'
            torchrun = ['-m', 'torch.distributed.run', '--standalone', count, '--max-restarts=0']
            arguments = [*torchrun, *arguments, '--launcher', 'pytorch']
        return [sys.executable, *arguments, *more, '--force_yml', *changes]

    def begin(self, phase: str, changes: list[str], *more: str) -> None:
        """Start a process that trains or tests."""
        command = self.command(phase, changes, *more)
        where = {} if self.gpus is None else {'CUDA_VISIBLE_DEVICES': self.gpus}
        # This package, wherever it was imported from.
        paths = [os.environ.get('PYTHONPATH'), str(Path(__file__).resolve().parents[3])]
        environment = {
            **os.environ,
            **where,
            'PYTHONPATH': os.pathsep.join(path for path in paths if path),
        }
        append(self.log, f'$ {shlex.join(command)}\n')
        with open(self.log, 'ab') as log:
            self.start_of_phase = log.tell()
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the parent, which ends it
            )
        self.phase, self.since = phase, time.time()
        self.save()

    def save(self) -> None:
        """Write the state, with the time spent so far: the next moment may be too late."""
        now = time.time()
        if self.phase:
            key = 'training_seconds' if self.phase == 'train' else 'test_seconds'
            self.state[key] += now - self.since
        self.since = now
        text = json.dumps(self.state, indent=1)
        write_atomically(state_file(self.folder, self.cell), text.encode())

    def output(self) -> str:
        """Read what the present process has printed."""
        with open(self.log, 'rb') as file:
            file.seek(self.start_of_phase)
            return file.read().decode(errors='replace')

    def proceed(self) -> bool:
        """Look after the process, and start the next one. False: the cell is finished."""
        code = None if self.process is None else self.process.poll()
        if code is None:
            return self.process is not None
        output = self.output()
        self.save()
        try:
            if code:
                lines = output.splitlines()
                errors = [
                    line[line.index('error') :]
                    for line in lines
                    if line.startswith(f'basicsr {self.phase}: error')
                ]
                errors = errors or lines[-1:] or ['nothing was printed']
                raise ValueError(f'{self.phase} ended with {code}: {errors[0]}')
            if self.phase == 'train':
                self.state['trained'] = True
                self.train_or_test()
                return True
            self.finish()
        except (ValueError, OSError) as error:
            self.fail(error)
        return False

    def fail(self, error: Exception) -> None:
        """Remember why the cell could not be run."""
        self.process, self.phase = None, ''
        self.state['error'] = (
            f'{error} (more in logs/{self.log.name})' if self.log.exists() else str(error)
        )
        self.save()

    def finish(self) -> None:
        """Note that the cell is done, and delete what is large.

        The last checkpoint and a few images stay.
        """
        table = table_of_test(self.folder, self.cell)
        if not table.is_file():
            raise FileNotFoundError(f'the test wrote no {table}')
        measured = json.loads(table.with_name('results.json').read_text(encoding='utf-8'))
        self.state.update(done=True, parameters=measured['parameters'])
        self.save()
        self.delete_checkpoints(keep=0)
        kept = {f'{name}_{self.cell.name}.png' for name in shown_images(table)}
        for image in table.parent.glob('visualization/*/*.png'):
            if image.name not in kept:
                image.unlink()

    def delete_checkpoints(self, keep: int) -> None:
        """Delete all but the newest `keep`: at the paper's size each takes 180 MB."""
        numbers = self.saved()
        for number in numbers[: len(numbers) - keep]:
            (self.experiment / 'training_states' / f'{number}.state').unlink()
            (self.experiment / 'models' / f'net_g_{number}.pth').unlink(missing_ok=True)

    def saved(self) -> list[int]:
        """Return the iterations that have a checkpoint."""
        return sorted(
            int(path.stem) for path in self.experiment.glob('training_states/[0-9]*.state')
        )

    def progress(self) -> str:
        """Say in a line what is run, and the last iteration that is saved."""
        reached = self.saved() if self.phase == 'train' else []
        place = f' {reached[-1]:,}/{self.state["iterations"]:,}' if reached else ''
        return f'{self.cell.name}: {self.phase}{place}'

    def stop(self) -> None:
        """End the process; a training saves a checkpoint first, if it does so in 20 seconds."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
                self.process.wait()
            self.save()

    def kill(self) -> None:
        """End the process, and with it what it started, without waiting for a checkpoint."""
        if self.process is None or self.process.poll() is not None:
            return
        if hasattr(os, 'killpg'):
            os.killpg(self.process.pid, signal.SIGKILL)  # its session
        else:  # Windows
            self.process.kill()
