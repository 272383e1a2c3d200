"""Two commands that write to one place: the second is refused, or both leave whole files."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest
import torch
from conftest import basicsr, command_line, environment, make_triplets, tiny_options, write_options

from hmaca_arch.files.image_files import read_image

HOLD = (
    'import sys\n'
    'from pathlib import Path\n'
    'from hmaca_arch.files import locks\n'
    'path = Path(sys.argv[1])\n'
    'path.parent.mkdir(parents=True, exist_ok=True)\n'
    'lock = locks.take(path, "x")\n'
    'print("held", flush=True)\n'
    'sys.stdin.readline()\n'
)
MAKE = ['--protocol', 'clean', '--degradation', 'pix', '--size', 32, '--workers', 1]


@contextmanager
def held(path: Path):
    """Another process holds a lock, as a command that runs does."""
    process = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(path)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == 'held\n'
        yield
    finally:
        process.communicate('\n')


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and not path.name.endswith('.lock')
    }


def test_training_under_a_name_that_trains(basicsr_here, triplets, tmp_path):
    options = write_options(tmp_path / 'o.yml', tiny_options(triplets))
    with held(tmp_path / 'experiments' / '.tiny.lock'):
        code, error = basicsr_here('train', '-opt', options)
    assert code == 1 and 'another process is training under this name; wait for it' in error
    assert not (tmp_path / 'experiments' / 'tiny').exists()


def test_testing_under_a_name_that_is_tested(basicsr_here, triplets, tmp_path):
    """BasicSR would move the folder aside while the first one writes to it."""
    options = write_options(tmp_path / 'o.yml', {**tiny_options(triplets)})
    assert basicsr_here('train', '-opt', options) == (0, '')
    assert basicsr_here('test', '-opt', options) == (0, '')
    before = files(tmp_path / 'results')
    with held(tmp_path / 'results' / '.tiny.lock'):
        code, error = basicsr_here('test', '-opt', options)
    assert code == 1 and 'another process is testing under this name' in error
    assert files(tmp_path / 'results') == before
    assert basicsr_here('test', '-opt', options) == (0, '')


def test_making_data_where_data_is_made(basicsr_here, triplets, tmp_path):
    gt = triplets / 'train' / 'gt'
    assert basicsr_here('make-dataset', gt, '-o', 'made', *MAKE) == (0, '')
    before = files(tmp_path / 'made')
    with held(tmp_path / 'made' / '.lock'):
        code, error = basicsr_here('make-dataset', gt, '-o', 'made', *MAKE, '--overwrite')
    assert code == 1 and 'another process writes there' in error
    assert files(tmp_path / 'made') == before


def test_packing_what_is_packed(basicsr_here, triplets, tmp_path):
    """The first one's half-written LMDB is not taken for a killed one's."""
    partial = triplets / 'test' / '.lq.lmdb.partial'
    partial.mkdir()
    with held(triplets / 'test' / '.lq.lmdb.lock'):
        code, error = basicsr_here('make-lmdb', triplets / 'test', '--workers', 1)
    assert code == 1 and 'another process packs it' in error and partial.is_dir()
    assert basicsr_here('make-lmdb', triplets / 'test', '--workers', 1) == (0, '')
    left = {path.name for path in (triplets / 'test').iterdir()}
    assert left == {'lq', 'mask', 'gt', 'lq.lmdb', 'mask.lmdb', 'gt.lmdb'}


@pytest.mark.slow
def test_comparing_where_a_comparison_runs(triplets, tmp_path):
    with held(tmp_path / 'out' / '.lock'):
        done = basicsr(
            tmp_path, 'compare', triplets / 'test', '-c', 'telea', '-o', 'out', check=False
        )
    assert done.returncode == 1 and 'another process writes there' in done.stdout, done.stdout
    assert files(tmp_path / 'out') == {}


def at_once(folder: Path, *commands) -> list[subprocess.CompletedProcess]:
    """The commands in processes that run at once."""
    several = [
        subprocess.Popen(
            command_line(*command),
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    return [
        subprocess.CompletedProcess(process.args, process.wait(), output)
        for process in several
        for output, _ in [process.communicate(timeout=600)]
    ]


@pytest.mark.slow
def test_ranks_without_a_launcher(tmp_path):
    """srun without --launcher starts one training for each task: one of them trains."""
    options = tiny_options(make_two_parts(tmp_path))
    options['train']['total_iter'] = 60
    options['logger']['save_checkpoint_freq'] = 1
    options['path']['pretrain_network_g'] = None
    command = ('train', '-opt', write_options(tmp_path / 'o.yml', options))
    alone = tmp_path / 'alone'
    alone.mkdir()
    basicsr(alone, *command)
    done = at_once(tmp_path, command, command, command)
    assert sorted(process.returncode for process in done) == [0, 1, 1], [p.stdout for p in done]
    for process in done:
        assert 'Traceback' not in process.stdout
        if process.returncode:
            assert 'another process is training under this name' in process.stdout
    found, expected = (
        torch.load(root / 'experiments/tiny/models/net_g_latest.pth', weights_only=True)['params']
        for root in (tmp_path, alone)
    )
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def make_two_parts(folder: Path) -> Path:
    make_triplets(folder / 'data' / 'train', 4)
    make_triplets(folder / 'data' / 'test', 2, seed=1)
    return folder / 'data'


@pytest.mark.slow
def test_restoring_into_one_folder(tmp_path):
    """Folders restored at once into one: every file is whole, and as one command writes it."""
    data = make_triplets(tmp_path / 'data', 6)
    command = ('restore', '-i', data / 'lq', '-m', data / 'mask', '-o', 'out', '--device', 'cpu')
    basicsr(tmp_path, *command[:6], 'alone', '--device', 'cpu')
    for process in at_once(tmp_path, command, command, (*command, '--overwrite')):
        assert process.returncode in (0, 1) and 'Traceback' not in process.stdout
        errors = [line for line in process.stdout.splitlines() if 'error' in line]
        assert len(errors) == 0 or all('exists; --overwrite' in line for line in errors), errors
    for path in (tmp_path / 'alone').iterdir():
        expected = read_image(path).pixels
        assert (read_image(tmp_path / 'out' / path.name).pixels == expected).all()
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        path.name for path in (tmp_path / 'alone').iterdir()
    }


@pytest.mark.slow
def test_making_one_data_set_twice_at_once(tmp_path):
    data = make_triplets(tmp_path / 'data', 30)
    command = ('make-dataset', data / 'gt', '-o', 'made', *MAKE)
    for process in at_once(tmp_path, command, command):
        assert process.returncode == 0 or 'another process writes there' in process.stdout
    basicsr(tmp_path, *command[:3], 'alone', *MAKE)
    assert files(tmp_path / 'made') == files(tmp_path / 'alone')
    assert cv2.imread(str(tmp_path / 'made' / 'lq' / '0000.png')) is not None
