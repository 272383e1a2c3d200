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
from hmaca_arch.experiments.tables.job import Job
from hmaca_arch.experiments.tables.state import is_done
from hmaca_arch.files.outputs import output_folder
from hmaca_arch.messages import say
from hmaca_arch.training import locking

POLL = 0.2  # seconds


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


def run(
    cells: Sequence[Cell], folder: Path, data: Path, jobs: int | None = None, every: float = 60
) -> None:
    """Run the cells that are not done.

    A cell that fails says why, in its state too, and the others continue.

    Args:
        cells: to run.
        folder: for everything that is written.
        data: the folder of the data sets.
        jobs: cells at a time; default: as many as the GPUs serve, without GPUs one.
        every: seconds between two lines on the progress.

    Raises:
        ValueError: another run writes into the folder, or the option file or data of a finished
            cell have changed.
    """
    for name in ('cells', 'logs'):
        output_folder(folder / name)
    try:
        locking.lock_experiment(str(folder / 'cells'))
    except ValueError:
        raise ValueError(
            f'{folder}: another run of this command writes there; wait for it, or choose another '
            'folder with -o'
        ) from None
    waiting = [cell for cell in cells if not is_done(folder, cell)]
    done = [cell for cell in cells if cell not in waiting]
    for cell in done:
        job = Job(cell, folder, data)
        job.check_identity()
        job.save()
    say_when(f'{len(cells)} cells, {len(done)} of them done already')
    places = shares(visible_gpus(), max(cell.processes for cell in cells), jobs)
    running: dict[int, Job] = {}  # by place

    def kill() -> None:
        for job in list(running.values()):
            job.kill()

    interrupts.at_last(kill)
    told = time.time()
    finished = len(done)

    def report(job: Job) -> None:
        nonlocal finished
        finished += 1
        say_when(f'{job.cell.name}: {job.state.get("error", "done")} ({finished} of {len(cells)})')

    try:
        while waiting or running:
            for place, gpus in enumerate(places):
                if waiting and place not in running:
                    job = Job(waiting.pop(0), folder, data, gpus)
                    running[place] = job
                    try:
                        job.start()
                        say_when(job.progress())
                    except (ValueError, OSError) as error:
                        job.fail(error)
                        report(running.pop(place))
            time.sleep(POLL)
            for place, job in list(running.items()):
                if not job.proceed():
                    del running[place]
                    job.process = None
                    report(job)
            if time.time() - told > every:
                told = time.time()
                for job in running.values():
                    job.save()
                    job.delete_checkpoints(keep=2)  # two: one may be torn
                say_when('; '.join(job.progress() for job in running.values()))
    finally:
        for job in running.values():
            job.stop()
        locking.unlock()
