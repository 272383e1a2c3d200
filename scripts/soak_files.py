#!/usr/bin/env python
"""Send files of every kind, whole and damaged, through everything that reads them, and print what
became of them.

Images and masks are those of `tests/corpus.py`; `tests/file_checks.py` says what is asked of their
readers. In the end all images go through one run of each command as a real process. Option files
and checkpoints are those of `tests/odd_inputs.py`, checked as `tests/input_checks.py` says. The
exit status is 1 if anything is wrong. A long soak is several runs with different seeds.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT), str(ROOT / 'tests')]  # last: an installed package goes first

import odd_inputs  # noqa: E402
from corpus import HEIGHT, Entry, box_mask, corpus  # noqa: E402
from file_checks import CONSUMERS, fate_of, in_process, names_file, size_of  # noqa: E402
from input_checks import check_checkpoint, check_options  # noqa: E402
from picture_writers import saved  # noqa: E402

from hmaca_arch.cli import end  # noqa: E402
from hmaca_arch.commands import restore as restore_command  # noqa: E402
from hmaca_arch.inference import SHIPPED_WEIGHTS, load_restorer  # noqa: E402


def whole_folders(entries: list[Entry], folder: Path) -> list[str]:
    """All that lies in folders, in one run of each command as a real process. Returns what is
    wrong.
    """
    faults = []
    entries = [entry for entry in entries if entry.role == 'picture' and not entry.large]
    by_stem = {os.path.splitext(entry.name)[0]: entry for entry in entries}
    for part in ('in', 'masks'):
        (folder / part).mkdir()
    for stem, entry in by_stem.items():
        if entry.write(folder / 'in').is_dir():
            continue  # no image, so it has no mask
        mask = box_mask(*size_of(entry))
        mask[64:, :], mask[:, 64:] = 0, 0
        with contextlib.suppress(OSError):
            (folder / 'masks' / f'{stem}.png').write_bytes(saved(mask))

    def run(*arguments) -> subprocess.CompletedProcess:
        environment = {
            **os.environ,
            'PYTHONPATH': os.pathsep.join(filter(None, (os.environ.get('PYTHONPATH'), str(ROOT)))),
        }
        command = [sys.executable, '-m', 'hmaca_arch', *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            encoding='utf-8',
            errors='replace',
            timeout=1200,
        )
        if 'Traceback' in done.stderr or done.returncode != 1:
            faults.append(f'{arguments[0]}: exit status {done.returncode}: {done.stderr[-800:]}')
        return done

    options = '-i in -m masks -o out --context 4 --verify --json report.json'
    done = run('restore', *options.split())
    report = {
        Path(item['file']).name: item
        for item in json.loads((folder / 'report.json').read_text('utf-8'))['files']
    }
    for entry in by_stem.values():
        item = report.get(entry.name, {'status': 'refused'})
        fate = 'skipped' if (folder / 'in' / entry.name).is_dir() else fate_of(entry, 'restore')
        fate = 'done' if fate == 'opens' else fate
        if fate not in ('either', item['status']):
            faults.append(f'restore: {entry.kind}: {item}')
        if item['status'] == 'refused' and not names_file(done.stderr, entry.name):
            faults.append(f'restore: {entry.name}: not named on stderr')
    sizes = ('--protocol', 'clean', '--degradation', 'pix', '--size', HEIGHT, '--workers', 2)
    done = run('make-dataset', 'in', '-o', 'data', *sizes)
    made = {path.stem for path in (folder / 'data' / 'gt').iterdir()}
    for stem, entry in by_stem.items():
        fate = fate_of(entry, 'make-dataset')
        if fate != 'either' and (stem in made) != (fate == 'opens'):
            faults.append(f'make-dataset: {entry.kind}: {"made" if stem in made else "not made"}')
        if stem not in made and not names_file(done.stderr, entry.name):
            faults.append(f'make-dataset: {entry.name}: not named on stderr')
    run('make-lmdb', 'in', '-o', 'packed.lmdb')
    restored = sum(item['status'] == 'done' for item in report.values())
    print(
        f'whole folders of {len(by_stem)} pictures: restore did {restored}, make-dataset '
        f'{len(made)}'
    )
    return faults


def soak(entries: list[Entry], folder: Path | None) -> int:
    """Prints the table; returns how much is wrong. folder: for the commands over whole folders;
    None leaves them out.
    """
    start = time.time()
    restorer = load_restorer(device='cpu')
    restore_command.load_restorer = lambda *_: restorer
    pairs = [
        (entry, name)
        for entry in entries
        for name in CONSUMERS
        if entry.role == 'picture' or name in ('paired', 'restore')
    ]
    table: dict = collections.defaultdict(collections.Counter)
    wrong, peaks = [], collections.Counter()
    for entry, consumer in pairs:
        verdict, why, peak = in_process(entry, consumer)
        for kind in (entry.kind, 'all'):
            table[kind, consumer][verdict] += 1
        peaks[consumer] = max(peaks[consumer], peak)
        if verdict == 'WRONG':
            wrong.append(f'{consumer}: {entry.kind}: {entry.name[:60]!a}: {why}')
            print(wrong[-1], flush=True)
    faults = whole_folders(entries, folder) if folder else []
    print('\n'.join(faults))
    width = max(len(entry.kind) for entry in entries)
    print(f'{"accepted / refused / WRONG":{width}} ' + ''.join(f'{name:>14}' for name in CONSUMERS))
    for kind in (*dict.fromkeys(entry.kind for entry in entries), 'all'):
        cells = [table[kind, name] for name in CONSUMERS]
        verdicts = ('accepted', 'refused', 'WRONG')
        texts = [' / '.join(str(cell[v]) for v in verdicts) if cell else '' for cell in cells]
        print(f'{kind:{width}} ' + ''.join(f'{text:>14}' for text in texts))
    print(
        f'peak of memory, MB: {dict(peaks)}; before: '
        f'{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}'
    )
    print(
        f'{len(entries)} files, {len(pairs)} times read, {len(wrong) + len(faults)} wrong, '
        f'{time.time() - start:.0f} s'
    )
    return len(wrong) + len(faults)


def soak_odd(options: int, checkpoints: int, seed: int, folder: Path) -> int:
    """Check odd option files and checkpoints; returns how much is wrong."""
    from conftest import make_triplets, tiny_options

    make_triplets(folder / 'data' / 'train', 4)
    make_triplets(folder / 'data' / 'test', 2, seed=1)
    sound = tiny_options(folder / 'data')
    weights = torch.load(SHIPPED_WEIGHTS, weights_only=True)
    wrong = 0
    for kind, count, make, check in (
        ('option files', options, lambda rng: odd_inputs.option_file(rng, sound), check_options),
        ('checkpoints', checkpoints, lambda rng: checkpoint_of(rng, weights), check_checkpoint),
    ):
        start, fates = time.time(), collections.Counter()
        for number in range(count):
            try:
                fates[check(make(random.Random(f'{seed} {number}')), folder)] += 1
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                fates['WRONG'] += 1
                print(f'{kind}: seed {seed}, number {number}: {error!r}'[:400], flush=True)
        wrong += fates['WRONG']
        print(f'{count} {kind}, seed {seed}: {dict(fates)}, {time.time() - start:.0f} s')
    return wrong


def checkpoint_of(rng: random.Random, weights: dict) -> bytes:
    """An odd checkpoint; torch warns of kinds of tensors that it is about to drop."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return odd_inputs.checkpoint(rng, weights)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        '--count', type=int, default=600, help='images and masks, at least; 0: none'
    )
    parser.add_argument('--options', type=int, default=0, metavar='N', help='odd option files')
    parser.add_argument('--checkpoints', type=int, default=0, metavar='N', help='odd checkpoints')
    parser.add_argument('--seed', type=int, default=0, help='of the files')
    parser.add_argument('--only', default='', metavar='TEXT', help='only kinds that hold this text')
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wrong = soak_odd(args.options, args.checkpoints, args.seed, folder)
        if args.count:
            entries = [entry for entry in corpus(args.count, args.seed) if args.only in entry.kind]
            wrong += soak(entries, None if args.only else folder)
    return 1 if wrong else 0


if __name__ == '__main__':
    end('soak_files', main)
