"""One cell on its way: trained and tested, each by a process of its own.

Below the output folder: `experiments/` and `results/` (BasicSR's), `logs/CELL.log` (what the
processes print) and `cells/CELL.json`: what is done, the settings it was done with, and the seconds
spent.
"""

import csv
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

from hmaca_arch.config import reading
from hmaca_arch.experiments.tables.plan import NETWORKS, SETS, Cell
from hmaca_arch.files.atomic import write_atomically

SHOWN = 6  # restored pictures that a finished cell keeps


def read_state(folder: Path, cell: Cell) -> dict:
    """What `cells/CELL.json` holds; nothing if the cell was never started."""
    path = folder / 'cells' / f'{cell.name}.json'
    try:
        return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f'{path} is damaged ({error}): {begin_anew(cell)}') from None


def known_cells(folder: Path, scale: str) -> list[Cell]:
    """The cells of a scale that were begun in an output folder by whichever command, by name;
    states that are damaged, or of cells that are
    not known any more, are left out."""
    cells = []
    for path in sorted((folder / 'cells').glob(f'*_{scale}_*.json')):
        try:
            fields = json.loads(path.read_text(encoding='utf-8'))['cell']
            if fields.get('minutes') is None:  # cells were once trained by the clock too
                fields.pop('minutes', None)
            cell = Cell(**fields)
        except (ValueError, KeyError, TypeError):
            continue
        if cell.scale == scale and (cell.network in NETWORKS and cell.dataset in SETS):
            cells.append(cell)
    return cells


def table_of_test(folder: Path, cell: Cell) -> Path:
    """The CSV that `basicsr test` writes."""
    return folder / 'results' / cell.name / f'{cell.dataset}_{cell.protocol}_test.csv'


def begin_anew(cell: Cell) -> str:
    """What to do about a cell whose experiment is another one by now."""
    return f'choose another folder with -o, or delete cells/{cell.name}.json, experiments/{cell.name} and results/{cell.name}'


def is_done(folder: Path, cell: Cell) -> bool:
    return bool(read_state(folder, cell).get('done')) and table_of_test(folder, cell).is_file()


def shown_pictures(table: Path) -> list[str]:
    """SHOWN pictures of a test, evenly spread over the ranks of the unrestored input's dB: the same
    ones for every network.
    """
    with open(table, encoding='utf-8', errors='surrogateescape') as file:
        names = [
            row['picture']
            for row in sorted(
                csv.DictReader(file),
                key=lambda row: (float(row['input_composite_psnr']), row['picture']),
            )
        ]
    count = min(SHOWN, len(names))
    return [names[(2 * i + 1) * len(names) // (2 * count)] for i in range(count)]


class Job:
    """A cell that is being run.

    Args:
        folder: for everything that is written.
        root: the checkout.
        data: the folder of the data sets.
        gpus: for CUDA_VISIBLE_DEVICES; None: as it is.
    """

    def __init__(self, cell: Cell, folder: Path, root: Path, data: Path, gpus: str | None = None):
        self.cell, self.folder, self.root, self.data, self.gpus = cell, folder, root, data, gpus
        self.state = {
            'training_seconds': 0.0,
            'test_seconds': 0.0,
            **read_state(folder, cell),
            'cell': asdict(cell),
        }
        self.state.pop('error', None)
        self.process: subprocess.Popen | None = None
        self.phase = ''
        self.since = time.time()
        self.start_of_phase = 0  # in the log

    @property
    def log(self) -> Path:
        return self.folder / 'logs' / f'{self.cell.name}.log'

    @property
    def experiment(self) -> Path:
        return self.folder / 'experiments' / self.cell.name

    @property
    def spent(self) -> float:
        """Seconds, in all runs of this cell together."""
        now = time.time() - self.since if self.process is not None else 0.0
        return self.state['training_seconds'] + self.state['test_seconds'] + now

    def start(self) -> None:
        """Begin with what is missing.

        Raises:
            ValueError, FileNotFoundError: the cell cannot be run.
        """
        source = self.data / self.cell.protocol / self.cell.dataset
        if not source.is_dir():
            kind = (
                'horse horse2zebra.zip'
                if self.cell.dataset.startswith('horse')
                else 'imagenet IMAGES'
            )
            raise FileNotFoundError(
                f'{source} does not exist; to prepare it: basicsr make-dataset --protocol {self.cell.protocol} --{kind} -o {self.data}'
            )
        if 'iterations' not in self.state:
            self.state['iterations'] = self.cell.default_iterations(self.root / 'options')
        self.train_or_test()

    def check_identity(self) -> None:
        """Remember what the option file says and which data these are; a cell of that name goes on,
        and stands in a table, as no other.

        Raises:
            ValueError: it was begun with another option file's content, or on other data.
        """
        root = self.root / 'options'
        given = reading.merge(self.cell.options(root), {'train': self.cell.training(root)})
        if NETWORKS[self.cell.network][2]:
            given['changes'] = NETWORKS[self.cell.network][2]
        given.pop('logger', None)
        for dataset in given['datasets'].values():  # data may be moved
            for key in [key for key in dataset if key.startswith('dataroot') or key == 'prepare']:
                del dataset[key]
        source = self.data / self.cell.protocol / self.cell.dataset
        manifests = b''.join(path.read_bytes() for path in sorted(source.glob('*/manifest.jsonl')))
        now = {'option file': json.dumps(given, sort_keys=True).encode(), 'data': manifests}
        now = {what: hashlib.sha256(content).hexdigest()[:16] for what, content in now.items()}
        before = self.state.setdefault('identity', now)
        if not source.is_dir():  # a report needs no data
            now['data'] = before['data']
        if before != now:
            differing = ' and '.join(what for what in now if now[what] != before.get(what))
            raise ValueError(
                f'{self.cell.name}: was begun with another {differing}: {begin_anew(self.cell)}'
            )

    def changes(self, iterations: int) -> list[str]:
        return self.cell.changes(self.root / 'options', self.data, iterations)

    def train_or_test(self) -> None:
        changes = self.changes(self.state['iterations'])
        # Data may be moved, and the cell's name has the data set.
        settings = [
            change
            for change in changes
            if 'dataroot' not in change and not change.startswith('data=')
        ]
        before = self.state.setdefault('settings', settings)
        if before != settings:
            differing = ', '.join(sorted({*before} ^ {*settings}))
            raise ValueError(
                f'was begun with other settings ({differing}): {begin_anew(self.cell)}'
            )
        self.check_identity()
        if (
            self.state.get('trained')
            and (self.experiment / 'models' / 'net_g_latest.pth').is_file()
        ):
            self.run('test', 'test', [*changes, 'val:pbar=false', 'val:save_img=true'])
        else:
            frequency = 2 if self.cell.preset == 'smoke' else 50
            changes += [
                'val=null',
                'logger:use_tb_logger=false',
                f'logger:save_checkpoint_freq={frequency}',
            ]
            self.run('train', 'train', changes, '--auto_resume')

    def command(self, what: str, changes: list[str], *more: str) -> list[str]:
        several = self.cell.processes > 1
        torchrun = [
            '-m',
            'torch.distributed.run',
            '--standalone',
            f'--nproc_per_node={self.cell.processes}',
            '--max-restarts=0',
        ]
        arguments = [
            *(torchrun if several else []),
            '-m',
            'hmaca_arch',
            what,
            '-opt',
            str(self.root / 'options' / self.cell.option_file),
        ]
        return [
            sys.executable,
            *arguments,
            *(['--launcher', 'pytorch'] if several else []),
            *more,
            '--force_yml',
            *changes,
        ]

    def run(self, phase: str, what: str, changes: list[str], *more: str) -> None:
        command = self.command(what, changes, *more)
        where = {} if self.gpus is None else {'CUDA_VISIBLE_DEVICES': self.gpus}
        paths = [os.environ.get('PYTHONPATH'), str(self.root)]
        environment = {
            **os.environ,
            **where,
            'PYTHONPATH': os.pathsep.join(path for path in paths if path),
        }
        with open(self.log, 'a', encoding='utf-8') as log:
            log.write(f'$ {shlex.join(command)}\n')
            log.flush()
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
        """Write the state, with the time spent until now: nobody may be able to later."""
        now = time.time()
        if self.phase in ('train', 'test'):
            self.state['training_seconds' if self.phase == 'train' else 'test_seconds'] += (
                now - self.since
            )
        self.since = now
        path = self.folder / 'cells' / f'{self.cell.name}.json'
        write_atomically(path, json.dumps(self.state, indent=1).encode())

    def output(self) -> str:
        """What the present process has printed."""
        with open(self.log, 'rb') as file:
            file.seek(self.start_of_phase)
            return file.read().decode(errors='replace')

    def proceed(self) -> bool:
        """Look after the process; False when there is nothing more to do."""
        code = self.process.poll()
        if code is None:
            return True
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
        self.process, self.phase = None, ''
        self.state['error'] = (
            f'{error} (more in logs/{self.log.name})' if self.log.exists() else str(error)
        )
        self.save()

    def finish(self) -> None:
        """Note that all is done, and delete what is large: all checkpoints but the last, all
        pictures but a few.
        """
        table = table_of_test(self.folder, self.cell)
        if not table.is_file():
            raise FileNotFoundError(f'the test wrote no {table}')
        measured = json.loads(table.with_name('results.json').read_text(encoding='utf-8'))
        self.state.update(done=True, parameters=measured['parameters'])
        self.save()
        self.delete_checkpoints(keep=0)
        kept = {f'{name}_{self.cell.name}.png' for name in shown_pictures(table)}
        for picture in table.parent.glob('visualization/*/*.png'):
            if picture.name not in kept:
                picture.unlink()

    def delete_checkpoints(self, keep: int) -> None:
        """All numbered ones but the newest `keep`: at the paper's size each takes 180 MB."""
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
        return f'{self.cell.name}: {self.phase}' + (
            f' {reached[-1]:,}/{self.state["iterations"]:,}' if reached else ''
        )

    def stop(self) -> None:
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
