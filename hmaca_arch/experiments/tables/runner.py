"""Run the cells of a plan, several at a time.

Finished cells are skipped, and stopped ones continue.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from hmaca_arch import interrupts
from hmaca_arch.experiments.tables.cell import Cell
from hmaca_arch.experiments.tables.job import CellJob
from hmaca_arch.experiments.tables.state import is_done
from hmaca_arch.files.outputs import output_folder
from hmaca_arch.messages import say
from hmaca_arch.training import locking

POLL = 0.2  # seconds
TELL = 60  # seconds between two lines on the progress


def visible_gpus() -> list[str]:
    """List what CUDA_VISIBLE_DEVICES may be set to, an entry for each GPU."""
    count = torch.cuda.device_count()
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    return named.split(',')[:count] if named else [str(n) for n in range(count)]


def shares(gpus: Sequence[str], processes: int, jobs: int | None) -> list[str | None]:
    """Deal the GPUs to the cells that run at a time.

    Args:
        gpus: see `visible_gpus`.
        processes: of each cell.
        jobs: cells at a time; None: as many as the GPUs serve.

    Returns:
        CUDA_VISIBLE_DEVICES for each cell; None where there are no GPUs.

    Raises:
        ValueError: a cell has more processes than there are GPUs.
    """
    if not gpus:
        return [None] * (jobs or 1)
    if processes > len(gpus):
        raise ValueError(
            f'--processes {processes}: torch sees {len(gpus)} GPUs, and each process needs one'
        )
    groups = [
        ','.join(gpus[i : i + processes]) for i in range(0, len(gpus) - processes + 1, processes)
    ]
    return [groups[i % len(groups)] for i in range(jobs or len(groups))]


def say_when(text: str) -> None:
    """Print a line with the time of day."""
    say(f'{time.strftime("%H:%M:%S")} {text}')


class _Running:
    """The cells that wait, those that run now, by place, and how many are finished."""

    def __init__(self, cells: Sequence[Cell], folder: Path, data: Path) -> None:
        self.folder, self.data, self.total = folder, data, len(cells)
        self.waiting = [cell for cell in cells if not is_done(folder, cell)]
        self.finished = self.total - len(self.waiting)
        self.jobs: dict[int, CellJob] = {}

    def fill(self, places: Sequence[str | None]) -> None:
        """Start a cell at each place that is free; `places` as `shares` returns them."""
        for place, gpus in enumerate(places):
            if not self.waiting or place in self.jobs:
                continue
            job = CellJob(self.waiting.pop(0), self.folder, self.data, gpus)
            self.jobs[place] = job
            try:
                job.start()
                say_when(job.progress())
            except (ValueError, OSError) as error:
                job.fail(error)
                self.end(place)

    def look(self) -> None:
        """See which cells have ended."""
        for place, job in list(self.jobs.items()):
            if not job.proceed():
                self.end(place)

    def end(self, place: int) -> None:
        """Take the cell of a place out, and say how it went."""
        job = self.jobs.pop(place)
        job.process = None
        self.finished += 1
        said = job.state.get('error', 'done')
        say_when(f'{job.cell.name}: {said} ({self.finished} of {self.total})')

    def tell(self) -> None:
        """Save how far the cells are, delete old checkpoints, and print a line."""
        for job in self.jobs.values():
            job.save()
            job.delete_checkpoints(keep=2)  # two: one may be torn
        say_when('; '.join(job.progress() for job in self.jobs.values()))

    def kill(self) -> None:
        """Kill all processes."""
        for job in list(self.jobs.values()):
            job.kill()

    def stop(self) -> None:
        """End all processes, and let trainings save."""
        for job in self.jobs.values():
            job.stop()


def run_cells(cells: Sequence[Cell], folder: Path, data: Path, jobs: int | None = None) -> None:
    """Run the cells that are not done.

    A cell that fails says why, in its state too, and the others continue.

    Args:
        cells: to run.
        folder: for everything that is written.
        data: the folder of the data sets.
        jobs: cells at a time; default: as many as the GPUs serve, without GPUs one.

    Raises:
        ValueError: another run writes into the folder, or the option file or data of a finished
            cell have changed.
    """
    _lock(folder)
    running = _Running(cells, folder, data)
    for cell in cells:
        if cell not in running.waiting:
            job = CellJob(cell, folder, data)
            job.check_identity()
            job.save()
    say_when(f'{len(cells)} cells, {running.finished} of them done already')
    places = shares(visible_gpus(), max(cell.processes for cell in cells), jobs)
    interrupts.at_last(running.kill)
    told = time.time()
    try:
        while running.waiting or running.jobs:
            running.fill(places)
            time.sleep(POLL)
            running.look()
            if time.time() - told > TELL:
                told = time.time()
                running.tell()
    finally:
        running.stop()
        locking.unlock()


def _lock(folder: Path) -> None:
    """Make the folders, and keep other runs of the command out of them."""
    for name in ('cells', 'logs'):
        output_folder(folder / name)
    try:
        locking.lock_experiment(str(folder / 'cells'))
    except ValueError:
        raise ValueError(
            f'{folder}: another run of this command writes there; wait for it, or choose another '
            'folder with -o'
        ) from None
