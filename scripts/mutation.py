"""Mutation testing in slices: does a test fail when a line of the code is wrong?

    bash scripts/mutation.sh --sample 200            # 200 mutants of each slice
    bash scripts/mutation.sh loading                 # every mutant of one slice

mutmut makes the mutants. A slice lies in mutants/SLICE, a copy of this checkout. What was killed
there stays killed until its function changes, so a run that was stopped goes on. Delete the folder
to begin again. Survivors are printed with what they change; docs/reliability.md explains them.

Words are left out: a mutant that only changes the text of a string, if the string is prose (two
words with a space between them), or stands in a `raise`, a warning or a log call. mutmut itself
leaves out docstrings, statements outside of functions (tables of settings), functions with
decorators and the text of f-strings.

A mutant is tried by the slice's tests that reach its function, without those that take more than 2
seconds. A survivor is tried once more by all of them in another process, in which the mutant is
there from the start. Code that runs at import is tried by all tests of the slice.
"""

import argparse
import ast
import collections
import json
import os
import random
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import binomtest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # last: an installed package goes first

from hmaca_arch.cli import end  # noqa: E402


@dataclass
class Slice:
    """What is changed, and which tests have to notice it."""

    changed: list[str]
    tests: list[str]


SLICES = {
    'core': Slice(
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
    'files': Slice(
        ['hmaca_arch/files/*'],
        [
            'tests/files',
            'tests/test_corpus.py',
            'tests/commands/test_restore_jpeg.py',
            'tests/commands/test_restore_large_png.py',
            'tests/commands/test_restore_tiff.py',
        ],
    ),
    'restoring': Slice(
        ['hmaca_arch/restoring/[!m]*.py', 'hmaca_arch/restoring/ma*.py'],
        [
            'tests/restoring/test_batching.py',
            'tests/restoring/test_blending.py',
            'tests/restoring/test_folders.py',
            'tests/restoring/test_grouping.py',
            'tests/restoring/test_image_arrays.py',
            'tests/restoring/test_image_jobs.py',
            'tests/restoring/test_mask_sources.py',
            'tests/restoring/test_matching.py',
            'tests/restoring/test_planning.py',
            'tests/restoring/test_regions.py',
            'tests/restoring/test_running.py',
            'tests/restoring/test_sheets.py',
            'tests/restoring/test_telling.py',
            'tests/test_told.py',
            'tests/test_inference.py',
            'tests/commands/test_restore.py',
            'tests/commands/test_restore_cases.py',
            'tests/commands/test_restore_folders.py',
            'tests/commands/test_restore_jpeg.py',
            'tests/commands/test_restore_large_png.py',
            'tests/commands/test_restore_tiff.py',
            'tests/test_devices.py',
        ],
    ),
    'measuring': Slice(
        ['hmaca_arch/restoring/measuring/*', 'hmaca_arch/restoring/measuring_masks.py'],
        ['tests/restoring', 'tests/test_told.py'],
    ),
    'loading': Slice(
        [
            'hmaca_arch/networks/loading.py',
            'hmaca_arch/networks/checkpoints.py',
            'hmaca_arch/networks/described.py',
            'hmaca_arch/networks/settings.py',
        ],
        [
            'tests/networks/test_loading.py',
            'tests/networks/test_checkpoints.py',
            'tests/networks/test_described.py',
            'tests/networks/test_settings.py',
            'tests/networks/test_strange_weights.py',
            'tests/networks/test_mask_input.py',
            'tests/networks/test_adapter.py',
        ],
    ),
    'config': Slice(
        ['hmaca_arch/config/*'],
        ['tests/config', 'tests/test_corpus.py', 'tests/scripts/test_options_reference.py'],
    ),
    'states': Slice(
        ['hmaca_arch/training/state_checks.py'], ['tests/training/test_state_checks.py']
    ),
    'locks': Slice(
        ['hmaca_arch/files/locks.py', 'hmaca_arch/interrupts.py'],
        ['tests/files/test_locks.py', 'tests/test_interrupts.py'],
    ),
}
# What mutmut notes of a mutant: the exit status of pytest or of a signal.
SURVIVED = (None, 0, 2, 5, 33, 34)  # 2: interrupted, 5 and 33: no tests
# Without the tests on random masks, which take long, and those that start processes.
OPTIONS = ['-p', 'no:cacheprovider', '-m', 'not slow']
# Of each slice. A command that a test starts elsewhere finds no configuration of mutmut to note its
# functions with. No test finds what another left in a cache, so that it reaches all that it needs.
# Files with quick tests go first; tests that take long are left to the second try.
CONFTEST = """import collections
import json
import os
import sys
from pathlib import Path

STATS, LONGEST = Path('mutmut-stats.json'), float(os.environ.get('MUTATION_LONGEST', 'inf'))


def pytest_sessionstart(session):
    if os.environ.get('MUTANT_UNDER_TEST') == 'stats':
        del os.environ['MUTANT_UNDER_TEST']


def pytest_runtest_setup(item):
    for name, module in list(sys.modules.items()):
        for value in vars(module).values() if name.startswith('hmaca_arch') else ():
            if hasattr(value, 'cache_clear'):
                value.cache_clear()


def pytest_collection_modifyitems(config, items):
    took = json.loads(STATS.read_text())['duration_by_test'] if STATS.exists() else {}
    long = [item for item in items if took.get(item.nodeid, 0) > LONGEST]
    config.hook.pytest_deselected(items=long)
    kept = [item for item in items if item not in long]
    files = collections.Counter()
    for item in kept:
        files[item.path] += took.get(item.nodeid, 1)
    kept.sort(key=lambda item: (files[item.path], str(item.path), took.get(item.nodeid, 1)))
    items[:] = kept
"""
NONE = ('none',)  # the name of no mutant
LONGEST = '2'  # seconds of a test in the first try
PROSE = re.compile(r'\w[,;:]? \w')
LOGS = {'debug', 'info', 'warning', 'error', 'exception', 'warn', 'print'}


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
    (folder / 'conftest.py').write_text(CONFTEST, encoding='utf-8')
    also = ['conftest.py', 'tests', 'options', 'scripts', 'docs', 'setup.py', 'README.md']
    (folder / 'pyproject.toml').write_text(
        (ROOT / 'pyproject.toml').read_text('utf-8') + f'\n[tool.mutmut]\n'
        f'source_paths = ["hmaca_arch", "losses_ext", "datasets_ext"]\n'
        f'only_mutate = {SLICES[name].changed}\n'
        f'also_copy = {also}\n'
        f'pytest_add_cli_args_test_selection = {SLICES[name].tests}\n'
        f'pytest_add_cli_args = {OPTIONS}\n',
        encoding='utf-8',
    )


def mutmut(folder: Path, children: int, *names: str) -> tuple[int, str]:
    """Let mutmut make the mutants and try those of these names; returns its status and output."""
    done = subprocess.run(
        [sys.executable, '-m', 'mutmut', 'run', '--max-children', str(children), *names],
        cwd=folder,
        env={**os.environ, 'MUTATION_LONGEST': LONGEST} if names != NONE else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding='utf-8',
        errors='replace',
    )
    return done.returncode, done.stdout


def make(folder: Path, children: int) -> None:
    """Make the mutants, and find which tests reach which function."""
    status, output = mutmut(folder, children, *NONE)
    if 'nothing matches' not in output:  # of that name; it comes after everything else
        raise ValueError(f'mutmut ended with {status}: {output[-2000:]}')


def statuses(folder: Path) -> dict[str, int | None]:
    """Return every mutant of a slice with what mutmut noted, None where it was not tried."""
    found: dict[str, int | None] = {}
    for file in sorted(folder.glob('mutants/**/*.py.meta')):
        found |= json.loads(file.read_text('utf-8'))['exit_code_by_key']
    return found


def sources(folder: Path, mutant: str) -> tuple[str, str]:
    """Return the function of a mutant as it is and as it was changed."""
    module, function = mutant.rsplit('.', 1)
    path = folder / 'mutants' / module.replace('.', '/')
    path = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
    spans = json.loads(path.with_suffix('.py.spans').read_text('utf-8'))['spans']
    lines = path.read_text('utf-8').splitlines()
    texts = []
    for name in (f'{function.partition("__mutmut_")[0]}__mutmut_orig', function):
        start, stop = spans[name]
        text = textwrap.dedent('\n'.join(lines[start - 1 : stop]))
        texts.append(text.replace(f'def {name}(', 'def function(', 1))
    return texts[0], texts[1]


def differences(one: ast.AST, other: ast.AST, above: tuple = ()) -> Iterator[tuple]:
    """Yield each pair of nodes that differ, with the nodes above them."""
    pairs = [(getattr(one, field, None), getattr(other, field, None)) for field in one._fields]
    lists = [(a, b) for a, b in pairs if isinstance(a, list) and isinstance(b, list)]
    if type(one) is not type(other) or any(len(a) != len(b) for a, b in lists):
        yield one, other, above
        return
    children = [pair for a, b in lists for pair in zip(a, b, strict=True)]
    for a, b in children + [pair for pair in pairs if not isinstance(pair[0], list)]:
        if isinstance(a, ast.AST) and isinstance(b, ast.AST):
            yield from differences(a, b, (*above, one))
        elif a != b:
            yield one, other, above


def tells(node: ast.AST) -> bool:
    """Say whether a statement or call speaks to a person."""
    if isinstance(node, ast.Call):
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, 'id', '')
        return name in LOGS
    return isinstance(node, ast.Raise)


def only_words(before: str, after: str) -> bool:
    """Say whether a mutant only changes the words of a message."""
    changes = list(differences(ast.parse(before), ast.parse(after)))
    return bool(changes) and all(
        isinstance(one, ast.Constant)
        and isinstance(other, ast.Constant)
        and isinstance(one.value, str)
        and isinstance(other.value, str)
        and not isinstance(above[-1], ast.Subscript)
        and (PROSE.search(one.value) is not None or any(map(tells, above)))
        for one, other, above in changes
    )


def try_alone(folder: Path, mutant: str, tests: list[str], *options: str) -> bool:
    """Say whether tests fail in a process in which a mutant is there from the start."""
    place = folder / 'mutants'
    paths = {'PYTHONPATH': str(place), 'MUTANT_UNDER_TEST': mutant}
    try:
        done = subprocess.run(
            [sys.executable, '-m', 'pytest', '-x', '-q', '--rootdir=.', *OPTIONS, *options, *tests],
            cwd=place,
            env={**os.environ, **paths},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=900,
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode not in (0, 5)


def tests_of(folder: Path, mutants: list[str], every: list[str]) -> dict[str, list[str]]:
    """Return the tests that reach the function of each mutant; all of them if none is known."""
    stats = json.loads((folder / 'mutants/mutmut-stats.json').read_text('utf-8'))
    by_function = stats['tests_by_mangled_function_name']
    return {
        mutant: by_function.get(mutant.partition('__mutmut_')[0]) or every for mutant in mutants
    }


def test_slice(name: str, sample: int | None, seed: int, children: int) -> None:
    """Try the mutants of a slice, or a sample of them, and print the survivors and the share."""
    folder = ROOT / 'mutants' / name
    copy(folder, name)
    make(folder, children)
    mutants = sorted(statuses(folder))
    texts = {mutant: sources(folder, mutant) for mutant in mutants}
    chosen = [mutant for mutant in mutants if not only_words(*texts[mutant])]
    words, all_of_them = len(mutants) - len(chosen), len(chosen)
    if sample is not None and sample < all_of_them:
        chosen = sorted(random.Random(seed).sample(chosen, sample))
    known = folder / 'killed_alone.json'  # with the text of each, which says whether it stands
    alone = json.loads(known.read_text('utf-8')) if known.exists() else {}

    def survivors() -> list[str]:
        status = statuses(folder)
        return [
            mutant
            for mutant in chosen
            if status[mutant] in SURVIVED and alone.get(mutant) != texts[mutant][1]
        ]

    if left := survivors():
        status, output = mutmut(folder, children, *left)
        if status:
            raise ValueError(f'mutmut ended with {status}: {output[-2000:]}')
    if left := survivors():
        tests = tests_of(folder, left, SLICES[name].tests)
        every = sorted(set().union(*tests.values()))
        if try_alone(folder, '', every, '--collect-only'):
            raise ValueError(f'{name}: tests are missing: {" ".join(every)}')
        with ThreadPoolExecutor(children) as pool:
            noticed = pool.map(lambda mutant: try_alone(folder, mutant, tests[mutant]), left)
            for mutant, killed in zip(left, noticed, strict=True):
                if killed:
                    alone[mutant] = texts[mutant][1]
                    known.write_text(json.dumps(alone), encoding='utf-8')
    left = survivors()
    for mutant in left:
        before, after = (text.splitlines() for text in texts[mutant])
        print(f'\n{mutant}')
        for sign, lines, others in (('-', before, after), ('+', after, before)):
            gone = collections.Counter(lines) - collections.Counter(others)
            print('\n'.join(f'{sign} {line}' for line in lines if line in gone))
    killed, tried = len(chosen) - len(left), len(chosen)
    share = f'{100 * killed / tried:.1f} %'
    if tried < all_of_them:
        found = binomtest(killed, tried).proportion_ci(0.95, 'wilson')
        share += f' (95 %: {100 * found.low:.1f} to {100 * found.high:.1f})'
    print(
        f'{name}: {killed} of {tried} tried were killed, {share}; '
        f'there are {all_of_them}, and {words} that only change words',
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('slices', nargs='*', metavar='SLICE', help=', '.join(SLICES))
    parser.add_argument('--sample', type=int, help='mutants of each slice (all)')
    parser.add_argument('--seed', type=int, default=0, help='of the sample (0)')
    parser.add_argument('--children', type=int, default=2, help='processes at a time (2)')
    args = parser.parse_args()
    if unknown := [name for name in args.slices if name not in SLICES]:
        raise ValueError(f'there is no slice {unknown[0]}; known: {", ".join(SLICES)}')
    for name in args.slices or SLICES:
        test_slice(name, args.sample, args.seed, args.children)


if __name__ == '__main__':
    end('mutation', main)
