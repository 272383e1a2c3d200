"""Mutation testing in slices: does a test fail when a line of the code is wrong?

    bash scripts/mutation.sh                        # every slice, to its end: hours
    bash scripts/mutation.sh files --seconds 600    # ten minutes of one slice; again goes on

Every slice lies in mutants/SLICE, a copy of this checkout with every mutant in it. What has been
tried stands, unless the code or its tests have changed. In the end each mutant that survived is
printed with what it changed; docs/reliability.md explains those that are known.
"""

import argparse
import collections
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # last: an installed package goes first

from hmaca_arch.cli import end  # noqa: E402

# name -> what is changed, by which quick tests it has to be noticed
SLICES = {
    'core': (
        [
            'losses_ext/alpha_masked_l1.py',
            'hmaca_arch/compositing.py',
            'hmaca_arch/models/resumable_model.py',
        ],
        [
            'tests/losses/test_alpha_masked_l1.py',
            'tests/test_compositing.py',
            'tests/models/test_resumable_model.py',
        ],
    ),
    'files': (['hmaca_arch/files/*'], ['tests/files', 'tests/test_corpus.py']),
    'restoring': (['hmaca_arch/restoring/*'], ['tests/restoring', 'tests/test_told.py']),
    'loading': (
        [
            'hmaca_arch/networks/loading.py',
            'hmaca_arch/networks/checkpoints.py',
            'hmaca_arch/networks/described.py',
            'hmaca_arch/networks/settings.py',
        ],
        [
            'tests/networks/test_loading.py',
            'tests/networks/test_checkpoints.py',
            'tests/networks/test_settings.py',
            'tests/networks/test_strange_weights.py',
        ],
    ),
    'config': (['hmaca_arch/config/*'], ['tests/config', 'tests/test_corpus.py']),
    'states': (['hmaca_arch/training/state_checks.py'], ['tests/training/test_state_checks.py']),
    'locks': (
        ['hmaca_arch/files/locks.py', 'hmaca_arch/interrupts.py'],
        ['tests/files/test_locks.py', 'tests/test_interrupts.py'],
    ),
}
KILLED = ('killed', 'timeout', 'segfault', 'suspicious', 'caught by type check')
# Without the tests on random masks, which take long, and those that start processes.
OPTIONS = ['-p', 'no:cacheprovider', '-m', 'not slow']


def copy(folder: Path, name: str) -> None:
    """Copy what git tracks, with a configuration of the slice; what has not changed stays."""
    listed = subprocess.run(
        ['git', '-C', str(ROOT), 'ls-files', '-z'],
        capture_output=True,
        encoding='utf-8',
        check=True,
    )
    for file in filter(None, listed.stdout.split('\0')):
        source, target = ROOT / file, folder / file
        if not source.is_file():
            continue
        if not target.exists() or source.read_bytes() != target.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    changed, tests = SLICES[name]
    also = sorted({'tests', 'options', 'scripts', 'docs', 'setup.py', 'README.md'})
    (folder / 'pyproject.toml').write_text(
        (ROOT / 'pyproject.toml').read_text('utf-8') + f'\n[tool.mutmut]\n'
        f'source_paths = ["hmaca_arch", "losses_ext", "datasets_ext"]\n'
        f'only_mutate = {changed}\n'
        f'also_copy = {also}\n'
        f'pytest_add_cli_args_test_selection = {tests}\n'
        f'pytest_add_cli_args = {OPTIONS}\n',
        encoding='utf-8',
    )


def mutmut(folder: Path, *arguments: str) -> str:
    """Run mutmut in a slice's folder; returns what it prints."""
    done = subprocess.run(
        [sys.executable, '-m', 'mutmut', *arguments],
        cwd=folder,
        capture_output=True,
        encoding='utf-8',
    )
    return done.stdout


def run(folder: Path, children: int, seconds: float | None) -> None:
    """Try mutants until all are tried, or the time is over."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'mutmut', 'run', '--max-children', str(children)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding='utf-8',
        errors='replace',
    )
    try:
        output, _ = process.communicate(timeout=seconds)
        if process.returncode:
            raise ValueError(f'mutmut ended with {process.returncode}: {output[-2000:]}')
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # it ends its workers; what was tried is saved
        process.communicate()


def report(folder: Path, name: str) -> None:
    """Print how many mutants were killed, and what the others change."""
    lines = [line.strip() for line in mutmut(folder, 'results', '--all', 'true').splitlines()]
    found = dict(line.rsplit(': ', 1) for line in lines if ': ' in line)
    counts = collections.Counter(found.values())
    tried = sum(counts.values()) - counts['not checked']
    killed = sum(counts[status] for status in KILLED)
    for mutant, status in found.items():
        if status not in (*KILLED, 'not checked'):
            changes = mutmut(folder, 'show', mutant).splitlines()
            print(f'\n{mutant}: {status}')
            print('\n'.join(line for line in changes if line.startswith(('- ', '+ '))))
    share = f', {100 * killed / tried:.1f} %' if tried else ''
    print(f'{name}: {killed} of {tried} tried were killed{share}; {dict(counts)}', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('slices', nargs='*', metavar='SLICE', help=', '.join(SLICES))
    parser.add_argument('--seconds', type=float, help='for each slice')
    parser.add_argument('--children', type=int, default=2, help='processes at a time (2)')
    args = parser.parse_args()
    if unknown := [name for name in args.slices if name not in SLICES]:
        raise ValueError(f'there is no slice {unknown[0]}; known: {", ".join(SLICES)}')
    for name in args.slices or SLICES:
        folder = ROOT / 'mutants' / name
        copy(folder, name)
        run(folder, args.children, args.seconds)
        report(folder, name)


if __name__ == '__main__':
    end('mutation', main)
