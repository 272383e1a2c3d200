#!/usr/bin/env python
"""Send picture and mask files of every kind, whole and damaged, through everything that reads
files, and print what became of them.

The files are those of `tests/corpus.py`, what is asked of the readers stands in
`tests/file_checks.py`. In the end all pictures go through one run of each command as a real
process. The exit status is 1 if anything is wrong.
"""

import argparse
import collections
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT), str(ROOT / 'tests')]  # last: an installed package goes first

from corpus import HEIGHT, Entry, box_mask, corpus  # noqa: E402
from file_checks import CONSUMERS, fate_of, in_process, names_file, size_of  # noqa: E402
from picture_writers import saved  # noqa: E402

from hmaca_arch.cli import end  # noqa: E402
from hmaca_arch.commands import restore as restore_command  # noqa: E402
from hmaca_arch.inference import load_restorer  # noqa: E402


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
        entry.write(folder / 'in')
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
            text=True,
            errors='replace',
            timeout=1200,
        )
        if 'Traceback' in done.stderr or done.returncode != 1:
            faults.append(f'{arguments[0]}: exit status {done.returncode}: {done.stderr[-800:]}')
        return done

    done = run(
        'restore',
        '-i',
        'in',
        '-m',
        'masks',
        '-o',
        'out',
        '--context',
        4,
        '--verify',
        '--json',
        'report.json',
    )
    report = {
        Path(item['file']).name: item
        for item in json.loads((folder / 'report.json').read_text())['files']
    }
    for entry in by_stem.values():
        item = report.get(entry.name, {'status': 'refused'})
        fate = fate_of(entry, 'restore')
        if fate != 'either' and (item['status'] == 'refused') != (fate == 'refused'):
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
        f'whole folders of {len(by_stem)} pictures: restore did {restored}, make-dataset {len(made)}'
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
        table[entry.kind, consumer][verdict] += 1
        peaks[consumer] = max(peaks[consumer], peak)
        if verdict == 'WRONG':
            wrong.append(f'{consumer}: {entry.kind}: {entry.name[:60]!a}: {why}')
            print(wrong[-1], flush=True)
    faults = whole_folders(entries, folder) if folder else []
    print('\n'.join(faults))
    width = max(len(entry.kind) for entry in entries)
    print(f'{"accepted / refused / WRONG":{width}} ' + ''.join(f'{name:>14}' for name in CONSUMERS))
    for kind in dict.fromkeys(entry.kind for entry in entries):
        cells = [table[kind, name] for name in CONSUMERS]
        print(
            f'{kind:{width}} '
            + ''.join(
                f'{" / ".join(str(cell[v]) for v in ("accepted", "refused", "WRONG")) if cell else "":>14}'
                for cell in cells
            )
        )
    sums = [
        sum((table[key] for key in table if key[1] == name), collections.Counter())
        for name in CONSUMERS
    ]
    print(
        f'{"all":{width}} '
        + ''.join(
            f'{" / ".join(str(cell[v]) for v in ("accepted", "refused", "WRONG")):>14}'
            for cell in sums
        )
    )
    print(
        f'peak of memory, MB: {dict(peaks)}; before: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}'
    )
    print(
        f'{len(entries)} files, {len(pairs)} times read, {len(wrong) + len(faults)} wrong, {time.time() - start:.0f} s'
    )
    return len(wrong) + len(faults)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--count', type=int, default=600, help='files, at least')
    parser.add_argument('--seed', type=int, default=0, help='of the files')
    parser.add_argument('--only', default='', metavar='TEXT', help='only kinds that hold this text')
    args = parser.parse_args()
    torch.set_num_threads(1)
    entries = [entry for entry in corpus(args.count, args.seed) if args.only in entry.kind]
    with tempfile.TemporaryDirectory() as folder:
        return 1 if soak(entries, None if args.only else Path(folder)) else 0


if __name__ == '__main__':
    end('soak_files', main)
