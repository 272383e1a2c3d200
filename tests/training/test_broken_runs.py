"""What goes wrong ends a run ends it in one line: no space, folders that cannot be written, data
that is gone, dead and hanging workers.
"""

import contextlib
import errno
import io
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from multiprocessing import resource_sharer
from pathlib import Path

import basicsr.train
import lmdb
import pytest
import torch
from basicsr.archs import build_network
from conftest import command_line, environment, tiny_options, write_options

from datasets_ext.masked_paired_image_dataset import MaskedPairedImageDataset
from hmaca_arch.files import atomic
from hmaca_arch.files.torch_files import save_atomically
from hmaca_arch.models import MaskedRestorationModel
from hmaca_arch.training import basicsr_replacements, distributed, loaders, stopping
from hmaca_arch.training import pipeline as training

NETWORK = {'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': 1}


@pytest.fixture
def options(triplets):
    return {**tiny_options(triplets), 'network_g': NETWORK}


@contextlib.contextmanager
def no_space_for(beginning: str):
    """Of the files that are written atomically, those of such names find no space."""
    real = atomic.replace

    def full(source, target):
        if Path(target).name.startswith(beginning):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    atomic.replace = full
    try:
        yield
    finally:
        atomic.replace = real


@pytest.mark.parametrize('name', ['net_g_4.pth', '4.state'])
def test_no_space_for_a_checkpoint(basicsr_here, options, tmp_path, name):
    """The run ends with the file and the system's reason; once there is space again, it goes on."""
    path = write_options(tmp_path / 'o.yml', options)
    with no_space_for(name):
        code, error = basicsr_here('train', '-opt', path)
    assert (
        code == 1
        and error.startswith('basicsr train: error: ')
        and 'No space left on device' in error
        and f'{name}' in error
    )
    experiment = tmp_path / 'experiments' / 'tiny'
    assert not list(tmp_path.rglob('*.tmp')) and sorted(
        p.name for p in (experiment / 'training_states').iterdir()
    ) == ['2.state']
    assert basicsr_here('train', '-opt', path, '--auto_resume') == (0, '')
    assert (experiment / 'models' / 'net_g_latest.pth').exists()


def test_no_space_for_a_picture_of_a_test(basicsr_here, options, tmp_path):
    options['train']['total_iter'], options['val']['save_img'] = 1, True
    path = write_options(tmp_path / 'o.yml', options)
    assert basicsr_here('train', '-opt', path) == (0, '')
    with no_space_for('0001_tiny_strip.png'):
        code, error = basicsr_here('test', '-opt', path)
    assert code == 1 and 'No space left on device' in error and '0001_tiny_strip.png' in error
    assert sorted(p.name for p in (tmp_path / 'results').rglob('*.png')) == [
        '0000_tiny.png',
        '0000_tiny_strip.png',
        '0001_tiny.png',
    ]


@pytest.mark.slow
def test_a_real_limit_of_the_system_in_a_real_process(options, tmp_path):
    """No file may grow beyond 20 kB: the weights do not fit."""
    options['network_g'] = tiny_options(tmp_path)['network_g']
    command = command_line('train', '-opt', write_options(tmp_path / 'o.yml', options))
    limited = f'import os, resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); os.execv({command[0]!r}, {command!r})'
    clean = {
        name: value for name, value in environment().items() if not name.startswith('COVERAGE')
    }  # whose file grows beyond it
    clean['PATH'] = ''  # git would leave a lock behind where the limit ends it
    result = subprocess.run(
        [sys.executable, '-c', limited],
        cwd=tmp_path,
        env=clean,
        text=True,
        capture_output=True,
        timeout=600,
    )
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    assert (
        'File too large' in result.stderr.splitlines()[-1]
        and 'net_g_2.pth' in result.stderr.splitlines()[-1]
    )
    assert not list(tmp_path.rglob('*.pth*')) and not list(tmp_path.rglob('*.state'))


def test_no_space_for_an_lmdb(basicsr_here, triplets, tmp_path, monkeypatch):
    real = lmdb.open

    def full(folder, **settings):
        return real(folder, **{**settings, 'map_size': 2 * 4096})

    monkeypatch.setattr(lmdb, 'open', full)
    code, error = basicsr_here('make-lmdb', triplets / 'train', '--workers', 1)
    assert code == 1 and 'lq.lmdb cannot be written: mdb_put: MDB_MAP_FULL' in error
    assert not list(tmp_path.rglob('*.lmdb*'))


OUTPUTS = {
    'train': 'experiments',
    'test': 'results',
    'check': 'checks',
    'make-lmdb': 'out',
    'make-dataset': 'out',
}


def arguments_of(command: str, options: dict, folder: Path) -> list:
    """A command line that works, but for where its output goes."""
    data, out = folder / 'data' / 'train', ('-o', 'out', '--workers', 1)
    if command == 'make-lmdb':
        return [data, *out]
    if command == 'make-dataset':
        return [data / 'gt', '--protocol', 'clean', '--degradation', 'pix', '--size', 32, *out]
    save_atomically({'params': build_network(NETWORK).state_dict()}, folder / 'weights.pth')
    options['path']['pretrain_network_g'] = str(folder / 'weights.pth')
    path = write_options(folder / 'o.yml', options)
    return ['-opt', path, *(['--data', '--workers', 1] if command == 'check' else [])]


@pytest.mark.parametrize(('command', 'output'), OUTPUTS.items())
def test_a_file_where_the_output_should_go(basicsr_here, options, tmp_path, command, output):
    (tmp_path / output).write_text('mine')
    code, error = basicsr_here(command, *arguments_of(command, options, tmp_path))
    assert code == 1 and output in error
    assert (tmp_path / output).read_text() == 'mine'


@pytest.mark.skipif(
    not Path('/proc/self').exists(),
    reason='there is no folder here that nobody can write to, root included',
)
@pytest.mark.parametrize(('command', 'output'), OUTPUTS.items())
def test_a_folder_that_cannot_be_written_to(
    basicsr_here, options, tmp_path, monkeypatch, command, output
):
    arguments = arguments_of(command, options, tmp_path)
    monkeypatch.chdir('/proc')
    code, error = basicsr_here(command, *arguments)
    assert code == 1 and output in error and not Path(output).exists()


def at_iteration(monkeypatch, iteration: int, action) -> None:
    """Do `action` before the training step of an iteration."""
    step = MaskedRestorationModel.optimize_parameters

    def wrapped(self, current_iter):
        if current_iter == iteration:
            action()
        step(self, current_iter)

    monkeypatch.setattr(MaskedRestorationModel, 'optimize_parameters', wrapped)


def test_data_that_are_gone_in_the_middle_of_a_run(
    basicsr_here, options, triplets, tmp_path, monkeypatch
):
    at_iteration(monkeypatch, 2, lambda: shutil.rmtree(triplets / 'train' / 'mask'))
    code, error = basicsr_here('train', '-opt', write_options(tmp_path / 'o.yml', options))
    assert (
        code == 1
        and 'No such file or directory' in error
        and str(triplets / 'train' / 'mask') in error
    )


def test_a_missing_data_folder_moves_no_earlier_run_aside(
    basicsr_here, options, triplets, tmp_path
):
    (tmp_path / 'experiments' / 'tiny').mkdir(parents=True)
    shutil.rmtree(triplets / 'train' / 'gt')
    code, error = basicsr_here('train', '-opt', write_options(tmp_path / 'o.yml', options))
    assert (
        code == 1
        and f'datasets:train:dataroot_gt: {triplets / "train" / "gt"} does not exist' in error
    )
    assert [p.name for p in (tmp_path / 'experiments').iterdir()] == ['tiny']


def test_an_lmdb_without_one_of_its_keys(basicsr_here, options, triplets, tmp_path):
    """Listed everywhere, and in one of the three databases not there."""
    assert basicsr_here('make-lmdb', triplets / 'train', '--workers', 1) == (0, '')
    with (
        lmdb.open(str(triplets / 'train' / 'mask.lmdb')) as database,
        database.begin(write=True) as transaction,
    ):
        assert transaction.delete(b'0003')
    options['datasets']['train']['io_backend'] = {'type': 'lmdb'}
    options['datasets']['train'].update(
        {
            f'dataroot_{kind}': str(triplets / 'train' / f'{kind}.lmdb')
            for kind in ('lq', 'mask', 'gt')
        }
    )
    code, error = basicsr_here('train', '-opt', write_options(tmp_path / 'o.yml', options))
    assert (
        code == 1
        and 'mask.lmdb: key 0003: listed in meta_info.txt but not in the database' in error
    )


def test_a_data_set_of_another_size_than_before(basicsr_here, options, triplets, tmp_path):
    path = write_options(tmp_path / 'o.yml', options)
    assert basicsr_here('train', '-opt', path) == (0, '')
    for kind in ('lq', 'mask', 'gt'):
        shutil.copy(triplets / 'train' / kind / '0000.png', triplets / 'train' / kind / '9999.png')
    code, error = basicsr_here(
        'train', '-opt', path, '--auto_resume', '--force_yml', 'train:total_iter=9'
    )
    assert (
        code == 1
        and 'images 6, now 7; names ' in error
        and 'its sequence of samples cannot be continued' in error
    )


def test_a_worker_that_hangs(basicsr_here, options, tmp_path, monkeypatch):
    """The loader waits for a bounded time, and nothing is left behind."""
    assert loaders.TIMEOUT <= 600
    monkeypatch.setattr(loaders, 'TIMEOUT', 2)
    monkeypatch.setattr(
        torch.utils.data._utils, 'MP_STATUS_CHECK_INTERVAL', 0.2
    )  # what torch waits for a worker in the end
    monkeypatch.setattr(MaskedPairedImageDataset, 'triplet', lambda *_: time.sleep(600))
    options['datasets']['train']['num_worker_per_gpu'] = 1
    options.pop('val'), options['datasets'].pop('val')
    code, error = basicsr_here('train', '-opt', write_options(tmp_path / 'o.yml', options))
    assert (
        code == 1
        and 'a worker process of the loader is gone' in error
        and 'timed out after 2 seconds' in error
    )
    for child in multiprocessing.active_children():
        child.join(10)
    assert not multiprocessing.active_children()


ORPHAN = """
import multiprocessing, os, signal, time
from hmaca_arch.training import stopping

def work(pipe):
    stopping.ignore_signals_in_worker()
    stopping.end_with_parent()
    pipe.send(os.getpid())
    time.sleep(600)

here, there = multiprocessing.Pipe()
multiprocessing.get_context('fork').Process(target=work, args=(there,)).start()
print(here.recv(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks')
def test_a_worker_ends_with_a_killed_main_process(tmp_path):
    with open(tmp_path / 'pid', 'wb') as file:  # no pipe: the worker would hold it open
        subprocess.run([sys.executable, '-c', ORPHAN], env=environment(), stdout=file)
    worker, deadline = int((tmp_path / 'pid').read_text('utf-8')), time.time() + 60
    while time.time() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail('the worker lives on')


def _hand_over(pipe) -> None:
    basicsr_replacements.init_worker(worker_id=0, num_workers=1, rank=0, seed=0)
    pipe.send(resource_sharer.DupFd(0))
    pipe.recv()


@pytest.mark.skipif(
    not hasattr(resource_sharer, 'DupFd'), reason='Windows hands tensors over otherwise'
)
def test_a_worker_whose_main_process_hangs_up(capfd):
    """As the main process does that ends while it fetches a sample from the worker that still
    lives.
    """
    here, there = multiprocessing.get_context('fork').Pipe()
    worker = multiprocessing.get_context('fork').Process(
        target=_hand_over, args=(there,), daemon=True
    )
    worker.start()
    shared = here.recv()
    with socket.socket(socket.AF_UNIX) as half_a_word:
        half_a_word.connect(shared._id[0])
    os.close(shared.detach())  # the next one is served, so the first has been given up
    here.send(None)
    worker.join(30)
    assert worker.exitcode == 0 and capfd.readouterr().err == ''


class Interrupted(io.BytesIO):
    """A file in the middle of whose writing torch's signal handler says that a worker is gone."""

    def write(self, data):
        if self.tell() > 1000 and not self.getvalue().endswith(b'!'):
            super().write(b'!')
            raise RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. ')
        return super().write(data)


def test_a_worker_that_is_killed_while_a_checkpoint_is_written():
    with pytest.raises(RuntimeError, match='inline_container') as caught:  # torch's own complaint
        torch.save({'weights': torch.zeros(10000)}, Interrupted())
    told = training._explanation(caught.value)
    assert told.startswith('a worker process of the loader is gone (DataLoader worker (pid 7) is')


def test_a_lost_worker_that_is_told_while_another_error_is_handled(tmp_path, monkeypatch):
    """torch tells from a signal's handler, so that the first cleaning up may be cut short."""
    ends, told = stopping.end_workers, []

    def reset(root_path):
        raise ConnectionResetError('by a worker')

    def interrupted():
        told.append(1)
        if len(told) == 1:
            raise RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. ')
        ends()

    monkeypatch.setattr(basicsr.train, 'train_pipeline', reset)
    monkeypatch.setattr(stopping, 'end_workers', interrupted)
    with pytest.raises(ValueError, match='a worker process of the loader is gone'):
        training.run_pipeline('train', None, str(tmp_path))
    assert len(told) == 2


def test_an_error_in_a_worker_is_no_lost_worker():
    error = RuntimeError('Caught RuntimeError in DataLoader worker process 0.\nRuntimeError: mine')
    assert training._explanation(error) is None


class Model:
    pass


def test_the_model_is_freed_before_the_group_of_processes(tmp_path, monkeypatch):
    """torch may otherwise wait forever for one of the group's threads."""
    models, seen = [], []

    def stopped(root_path):
        model = Model()
        models.append(weakref.ref(model))
        raise stopping.Stopped(75)

    monkeypatch.setattr(basicsr.train, 'train_pipeline', stopped)
    monkeypatch.setattr(distributed, 'finish', lambda: seen.append(models[0]()))
    with pytest.raises(stopping.Stopped) as end:
        training.run_pipeline('train', None, str(tmp_path))
    assert end.value.code == 75 and seen == [None]


@pytest.mark.parametrize('noted', [False, True])
def test_after_a_signal_the_end_of_other_processes_is_no_error(tmp_path, monkeypatch, noted):
    finished = []

    def alone(root_path):
        if noted:
            signal.raise_signal(signal.SIGTERM)
        raise RuntimeError('Connection closed by peer [127.0.0.1]:2')

    monkeypatch.setattr(basicsr.train, 'train_pipeline', alone)
    monkeypatch.setattr(distributed, 'active', lambda: True)
    monkeypatch.setattr(distributed, 'finish', lambda: finished.append(1))
    with pytest.raises(stopping.Stopped if noted else ValueError) as end:
        training.run_pipeline('train', None, str(tmp_path))
    assert not finished  # nobody would answer
    assert end.value.code == 75 if noted else 'another process has ended' in str(end.value)


def workers_of(process: int) -> list[int]:
    """The loader's workers of a training: forked, so that they have its command line."""
    children = Path(f'/proc/{process}/task/{process}/children').read_text(encoding='utf-8').split()
    return [
        int(child)
        for child in children
        if b'hmaca_arch' in Path(f'/proc/{child}/cmdline').read_bytes()
    ]


@pytest.mark.skipif(
    not Path('/proc/self/task').exists(), reason='finds the workers as Linux has them'
)
def test_a_worker_that_is_killed(options, tmp_path):
    """A real training of a real process: it ends within seconds, and says what to do."""
    options['train']['total_iter'] = 100000
    options['logger']['save_checkpoint_freq'] = 5
    options['datasets']['train'].update(
        num_worker_per_gpu=2, dataset_enlarge_ratio=100000
    )  # no worker ends by itself
    options.pop('val'), options['datasets'].pop('val')
    command = command_line('train', '-opt', write_options(tmp_path / 'o.yml', options))
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    states = tmp_path / 'experiments' / 'tiny' / 'training_states'
    deadline = time.time() + 600
    while not list(states.glob('*.state')) and time.time() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    error = process.communicate(timeout=600)[1]
    assert process.returncode == 1 and 'Traceback' not in error
    assert (
        error.splitlines()[-1].startswith(
            'basicsr train: error: a worker process of the loader is gone'
        )
        and '--auto_resume' in error
    )
    assert not list(tmp_path.rglob('*.tmp'))
