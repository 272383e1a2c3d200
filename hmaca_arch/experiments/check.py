"""Checking an experiment before it starts: its option file, its data, and what it will take."""

import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import torch

import losses_ext  # noqa: F401  (registers the losses)
from datasets_ext import check_data
from hmaca_arch.config import files, presence, signatures
from hmaca_arch.config.completing import complete, is_training
from hmaca_arch.config.yaml_files import dump
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.messages import printable, refuse, say
from hmaca_arch.training import resources

FOLDER = Path('checks')


def check_experiment(
    path: str,
    force_yml: Sequence[str] = (),
    *,
    print_options: bool = False,
    read_data: bool = False,
    workers: int | None = None,
) -> None:
    """Check an option file and print what was found; `read_data` writes to checks/NAME/ as well.

    Args:
        path: a path or the name of a shipped file.
        force_yml: `section:key=value` entries.
        print_options: print the resolved options as YAML on stdout, and all else on stderr.
        read_data: read every image, draw the first batch, and measure a training step. Otherwise
            missing data are only mentioned.
        workers: processes that read images; None: one for each core, at most 8.

    Raises:
        FileNotFoundError, ValueError: with everything that is wrong.
    """
    options = files.resolve(path, force_yml)
    if print_options:
        say(dump(options).rstrip('\n'))
    out = sys.stderr if print_options else sys.stdout
    is_train = is_training(options)
    network, run = options['network_g'], 'training' if is_train else 'test'
    say(
        f'{printable(path)}: the options of this {run} are right; '
        f'network_g {network["type"]}: {_size(network)}',
        out,
    )
    opt = complete(options, is_train, os.getcwd())
    absent = presence.missing(opt, open_data=False)
    if not read_data:
        for line in absent:
            say(printable(f'not there yet: {line}'), out)
        return
    folder = FOLDER / options['name']
    _read_data(options['datasets'], folder, workers, absent, out)
    _try_first_batch(opt, folder, out)


def _size(network: dict) -> str:
    if signatures.absent_files(network):
        return 'not built without its files'
    return f'{signatures.count_parameters(network) / 1e6:.3f} M parameters'


def _read_data(
    datasets: dict, folder: Path, workers: int | None, absent: list[str], out: Any
) -> None:
    """Read every image, write report.txt, and raise an OptionError if something is wrong."""
    report = check_data.scan(datasets, FOLDER / 'pictures.json', workers)
    folder.mkdir(parents=True, exist_ok=True)
    # Names of files need not be text.
    text = report.text().encode(errors='backslashreplace')
    write_atomically(folder / 'report.txt', text)
    say(report.text(most=20).rstrip('\n'), out)
    lines = [line for line in absent if not line.startswith('datasets:')]  # those are in the report
    if report.failed:
        lines.append(f'data: {", ".join(report.failed)}; all of them: {folder / "report.txt"}')
    refuse(lines)


def _try_first_batch(opt: dict, folder: Path, out: Any) -> None:
    """Write first_batch.png, and print what an iteration takes."""
    is_train = opt['is_train']
    opt['num_gpu'] = torch.cuda.device_count() if opt['num_gpu'] == 'auto' else opt['num_gpu']
    opt['manual_seed'] = opt['manual_seed'] or 0
    for dataset in opt['datasets'].values():
        dataset.setdefault('seed', opt['manual_seed'] if dataset['phase'] == 'train' else 0)
    samples = resources.first_samples(opt)
    target = folder / 'first_batch.png'
    write_atomically(target, cv2.imencode('.png', resources.draw(samples))[1].tobytes())
    shown = 'batch' if is_train else 'images'
    say(f'the first {shown}, lq | mask | mask on lq | gt: {printable(target)}', out)
    if not is_train:
        return
    found, iterations = resources.measure(opt, samples), opt['train']['total_iter']
    total = timedelta(seconds=round(found.seconds * iterations))
    memory = 'unknown' if found.memory is None else f'{found.memory / 2**30:.2f} GiB'
    say(
        f'an iteration: {found.seconds:.3g} s, without loading and validation; '
        f'{iterations} of them: {total}; memory: {memory} ({found.how})',
        out,
    )
