"""`basicsr check`: says what is wrong with an option file, and with its data, before a run does."""

import argparse
import os
import sys
from datetime import timedelta
from pathlib import Path

import cv2
import torch

import losses_ext  # noqa: F401  (registers the losses)
from datasets_ext import check_data
from hmaca_arch.config import files as options
from hmaca_arch.config import presence, signatures
from hmaca_arch.config.yaml_files import dump
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.messages import printable, refuse, say
from hmaca_arch.training import resources as estimate


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='basicsr check',
        description='Check an option file, as `basicsr train` and `basicsr test` do when they start; nothing is run.',
    )
    parser.add_argument(
        '-opt',
        required=True,
        metavar='FILE',
        help='option file: a path, or a shipped one by name (train_HMACA1)',
    )
    options.add_overrides(parser)
    parser.add_argument(
        '--print',
        action='store_true',
        help='print the options with base files and changes in place, as YAML',
    )
    parser.add_argument(
        '--data',
        action='store_true',
        help='also read every picture and mask, time a training step, and draw the first batch: checks/NAME/',
    )
    parser.add_argument(
        '--workers',
        type=int,
        metavar='N',
        help='processes that read pictures (default: one for each core, at most 8)',
    )
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Check below the current folder. What `--data` needs and is not there yet is only said.

    Raises:
        FileNotFoundError, ValueError: with everything that is wrong.
    """
    args, root_path = _arguments(argv), os.getcwd()
    resolved = options.resolve(args.opt, args.force_yml)
    is_train = options.is_training(resolved)
    if args.print:
        say(dump(resolved).rstrip('\n'))
    out = sys.stderr if args.print else sys.stdout  # what is printed can be read back
    files_missing = signatures.absent_files(resolved['network_g'])
    size = (
        'not built without its files'
        if files_missing
        else f'{signatures.try_network(resolved["network_g"]) / 1e6:.3f} M parameters'
    )
    say(
        f'{printable(args.opt)}: the options of this {"training" if is_train else "test"} are right; '
        f'network_g {resolved["network_g"]["type"]}: {size}',
        file=out,
    )
    opt = options.complete(resolved, is_train, root_path)
    absent = presence.missing(opt, open_data=False)
    if not args.data:
        for line in absent:
            say(printable(f'not there yet: {line}'), out)
        return
    folder = Path(root_path, 'checks')
    report = check_data.scan(resolved['datasets'], folder / 'pictures.json', args.workers)
    folder = folder / resolved['name']
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(
        folder / 'report.txt', report.text().encode(errors='backslashreplace')
    )  # names need not be text
    say(report.text(most=20).rstrip('\n'), out)
    lines = [
        line for line in absent if not line.startswith('datasets:')
    ]  # the report has the folders
    if report.failed:
        lines.append(f'data: {", ".join(report.failed)}; all of them: {folder / "report.txt"}')
    refuse(lines)
    opt['num_gpu'] = torch.cuda.device_count() if opt['num_gpu'] == 'auto' else opt['num_gpu']
    opt['manual_seed'] = opt['manual_seed'] or 0
    for dataset in opt['datasets'].values():
        dataset.setdefault('seed', opt['manual_seed'] if dataset['phase'] == 'train' else 0)
    samples = estimate.first_samples(opt)
    picture = folder / 'first_batch.png'
    write_atomically(picture, cv2.imencode('.png', estimate.draw(samples))[1].tobytes())
    say(
        f'the first {"batch" if is_train else "pictures"}, lq | mask | mask on lq | gt: {printable(picture)}',
        out,
    )
    if is_train:
        found = estimate.measure(opt, samples)
        total = timedelta(seconds=round(found.seconds * opt['train']['total_iter']))
        memory = 'unknown' if found.memory is None else f'{found.memory / 2**30:.2f} GiB'
        say(
            f'an iteration: {found.seconds:.3g} s, without loading and validation; {opt["train"]["total_iter"]} of them: {total}; '
            f'memory: {memory} ({found.how})',
            file=out,
        )
