"""Several processes: real ones on this machine, joined by gloo, against one process that does the
same work.
"""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import basicsr.test
import basicsr.train
import pytest
import torch
from basicsr.utils.logger import initialized_logger
from conftest import command_line, environment, make_triplets, tiny_options, write_options

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch.commands.train import arguments
from hmaca_arch.training import distributed, starting
from hmaca_arch.training import pipeline as training
from hmaca_arch.training.accumulating import exchange_gradients_if

TORCHRUN = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--max-restarts=0']

# What every process ends with, which only the first one would save.
EVERY_RANK = """
import os, sys, torch
import datasets_ext, losses_ext
from hmaca_arch.commands.train import arguments
from hmaca_arch.training import pipeline as training
from hmaca_arch.models import MaskedRestorationModel

save = MaskedRestorationModel.save
def save_every(self, epoch, current_iter):
    save(self, epoch, current_iter)
    torch.save(self.get_bare_model(self.net_g).state_dict(), f'rank{os.environ["RANK"]}.pth')
MaskedRestorationModel.save = save_every
training.run_pipeline('train', arguments(sys.argv[1:]), os.getcwd())
"""


def launch(
    cwd: Path, processes: int, *arguments, seconds: int = 600
) -> subprocess.CompletedProcess:
    """torchrun on this machine; output and errors of all processes together in `.stdout`."""
    command = [*TORCHRUN, f'--nproc_per_node={processes}', *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds,
    )


def run_options(folder: Path, batch: int) -> dict:
    """Four iterations over 5 pictures; at the end and halfway a validation on 3."""
    opt = tiny_options(folder / 'data')
    opt['datasets']['train']['batch_size_per_gpu'] = batch
    optimizer = {
        'type': 'SGD',
        'lr': 0.1,
        'momentum': 0.9,
    }  # Adam divides rounding errors by gradients that are next to nothing
    opt['train'].update(total_iter=4, ema_decay=0.9, grad_clip=1.0, optim_g=optimizer)
    opt['val'].update(val_freq=2, save_img=True)
    return opt


def make_data(folder: Path) -> Path:
    make_triplets(folder / 'data' / 'train', 5)
    make_triplets(folder / 'data' / 'test', 3, seed=1)
    return folder


def weights(folder: Path, label='latest', key='params') -> dict:
    return torch.load(
        folder / 'experiments' / 'tiny' / 'models' / f'net_g_{label}.pth', weights_only=True
    )[key]


def run_here(folder: Path, command: str, opt: dict, *more: str) -> None:
    """One process: this one."""
    initialized_logger.clear()  # BasicSR opens a log file only once a process
    logging.getLogger('basicsr').handlers.clear()
    training.run_pipeline(
        command, arguments(['-opt', str(write_options(folder / 'o.yml', opt)), *more]), str(folder)
    )


def log_of(folder: Path) -> str:
    return next((folder / 'experiments' / 'tiny').glob('train_*.log')).read_text()


def losses(folder: Path) -> list[tuple[str, ...]]:
    """Of each iteration what was logged of its batch."""
    return re.findall(
        r'l_pix: (\S+) l_inside: (\S+) l_outside: (\S+) dB inside: (.*)', log_of(folder)
    )


def furthest(a: dict, b: dict) -> float:
    assert a.keys() == b.keys()
    return max((a[name].float() - b[name].float()).abs().max().item() for name in a)


def tables(text: str) -> list[str]:
    """The lines that validations log, without the time of day."""
    return re.findall(r'Validation .*|\t(?:composite|masked)_.*|\tbest: .*', text)


@pytest.fixture(scope='module')
def alone(tmp_path_factory) -> Path:
    """One process, batch 4."""
    folder = make_data(tmp_path_factory.mktemp('alone'))
    run_here(folder, 'train', run_options(folder, 4))
    return folder


@pytest.fixture(scope='module')
def together(tmp_path_factory) -> Path:
    """Two processes, batch 2 each."""
    folder = make_data(tmp_path_factory.mktemp('together'))
    path = write_options(folder / 'o.yml', run_options(folder, 2))
    (folder / 'every_rank.py').write_text(EVERY_RANK)
    result = launch(folder, 2, folder / 'every_rank.py', '-opt', path, '--launcher', 'pytorch')
    assert result.returncode == 0, result.stdout
    (folder / 'output.txt').write_text(result.stdout)
    return folder


@pytest.mark.slow
def test_two_processes_end_with_the_same_weights(together):
    first, second = (
        torch.load(together / f'rank{rank}.pth', weights_only=True) for rank in range(2)
    )
    assert furthest(first, second) == 0


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_with_twice_the_batch(alone, together):
    start_to_end = furthest(weights(alone), weights(alone, 2))
    assert start_to_end > 1e-3, 'training does something'
    for key in ('params', 'params_ema'):
        assert furthest(weights(alone, key=key), weights(together, key=key)) < 1e-6
    assert len(losses(alone)) == 4 and losses(alone) == losses(together)


@pytest.mark.slow
def test_two_processes_that_accumulate_take_the_same_steps(alone, tmp_path):
    folder, opt = make_data(tmp_path), run_options(tmp_path, 1)
    opt['train']['accum_iter'] = 2
    opt.pop('val')
    opt['datasets'].pop('val')
    path = write_options(folder / 'o.yml', opt)
    result = launch(folder, 2, '-m', 'hmaca_arch', 'train', '-opt', path, '--launcher', 'pytorch')
    assert result.returncode == 0, result.stdout
    for key in ('params', 'params_ema'):
        assert furthest(weights(alone, key=key), weights(folder, key=key)) < 1e-6
    assert losses(folder) == losses(alone)


def test_gradients_are_exchanged_with_the_last_part_alone(process_group):
    net = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1))
    exchanged = []
    for last in (False, True):
        with exchange_gradients_if(last, net):
            exchanged.append(net.require_backward_grad_sync)
    assert exchanged == [False, True]


@pytest.mark.slow
def test_sharded_validation_gives_the_figures_of_one_process(alone, together):
    expected = tables(log_of(alone))
    assert len(expected) == 2 * 5 and tables(log_of(together)) == expected
    names = [
        sorted(p.name for p in (f / 'experiments' / 'tiny' / 'visualization').rglob('*.png'))
        for f in (alone, together)
    ]
    assert names[0] == names[1] and len(names[0]) == 3 * 2 * 2


@pytest.mark.slow
def test_only_the_first_process_speaks(together):
    text = (together / 'output.txt').read_text()
    for once in ('Training statistics', 'Network: HMACA', 'End of training', 'iter:       4'):
        assert text.count(once) == 1, once
    assert 'Warning' not in text and 'error' not in text.lower()
    assert len(list((together / 'experiments' / 'tiny').glob('*.log'))) == 1


def interrupt(source: Path, folder: Path) -> None:
    """A copy of a run as it was after 2 of its 4 iterations."""
    make_data(folder)
    for path in ('models/net_g_2.pth', 'training_states/2.state'):
        target = folder / 'experiments' / 'tiny' / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((source / 'experiments' / 'tiny' / path).read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize('before', [1, 2])
def test_two_processes_go_on_from_one_or_two(alone, together, tmp_path, before):
    """Interrupted after 2 of 4 iterations, as `-m hmaca_arch` and torchrun start it: from one
    process's state, the same samples follow.
    """
    source = (alone, together)[before - 1]
    interrupt(source, tmp_path)
    opt = run_options(tmp_path, 2)
    opt.pop('val'), opt['datasets'].pop('val')
    path = write_options(tmp_path / 'o.yml', opt)
    result = launch(
        tmp_path,
        2,
        '-m',
        'hmaca_arch',
        'train',
        '-opt',
        path,
        '--launcher',
        'pytorch',
        '--auto_resume',
    )
    assert result.returncode == 0, result.stdout
    assert len(re.findall(r'Resuming training from epoch: \d+, iter: 2\.', result.stdout)) == 1
    assert losses(tmp_path) == losses(source)[2:]
    for key in ('params', 'params_ema'):
        furthest_allowed = (
            0 if before == 2 else 1e-6
        )  # sums over one process and over two are rounded differently
        assert furthest(weights(tmp_path, key=key), weights(source, key=key)) <= furthest_allowed


@pytest.mark.slow
def test_one_process_goes_on_from_two(together, tmp_path):
    interrupt(together, tmp_path)
    run_here(tmp_path, 'train', run_options(tmp_path, 4), '--auto_resume')
    assert losses(tmp_path) == losses(together)[2:]
    for key in ('params', 'params_ema'):
        assert furthest(weights(tmp_path, key=key), weights(together, key=key)) < 1e-6


@pytest.mark.slow
def test_another_number_of_processes_with_another_global_batch_is_refused(together, tmp_path):
    """Two processes with 2 pictures each, then one with 2."""
    interrupt(together, tmp_path)
    with pytest.raises(
        ValueError,
        match='trained with global_batch 4, now 2: its sequence .* cannot be continued.*times the processes',
    ):
        run_here(tmp_path, 'train', run_options(tmp_path, 2), '--auto_resume')
    assert not (tmp_path / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth').exists()


def free_port() -> int:
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


def slurm_tasks(folder: Path, command: str, opt: dict) -> list[subprocess.Popen]:
    """Two processes as srun starts them: nobody ends the one when the other has ended."""
    line = command_line(
        command, '-opt', write_options(folder / 'o.yml', opt), '--launcher', 'slurm'
    )
    slurm = {'SLURM_NTASKS': '2', 'SLURM_NODELIST': 'localhost', 'SLURM_JOB_ID': '7'}
    return [
        subprocess.Popen(
            line, cwd=folder, env={**environment(), **slurm, 'SLURM_PROCID': n, 'SLURM_LOCALID': n},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for n in '01'
    ]  # fmt: skip


@pytest.mark.slow
def test_two_tasks_of_slurm_test_two_sets(alone, tmp_path):
    """Slurm's variables, gloo, three pictures, and one, so that a process has none: tables and
    pictures as of one process.
    """
    make_triplets(tmp_path / 'one' / 'test', 1, seed=1)
    make_triplets(tmp_path / 'three' / 'test', 3, seed=2)
    opt = tiny_options(tmp_path / 'three')
    opt['datasets']['val_1'] = {
        **tiny_options(tmp_path / 'one')['datasets']['val'],
        'name': 'single',
    }
    opt['val']['save_img'] = True
    opt['path']['pretrain_network_g'] = str(
        alone / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth'
    )
    opt['dist_params'] = {'backend': 'gloo', 'port': free_port(), 'timeout': 100}
    folders = [tmp_path / 'alone', tmp_path / 'together']
    for folder in folders:
        folder.mkdir()
    tasks = slurm_tasks(folders[1], 'test', opt)
    outputs = [task.communicate(timeout=600)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], '\n'.join(outputs)
    assert 'Validation single, 1 images' in outputs[0] and outputs[1] == ''
    run_here(folders[0], 'test', opt)
    files = [
        sorted(p for p in (f / 'results').rglob('*') if p.suffix in ('.png', '.csv'))
        for f in folders
    ]
    assert len(files[0]) == 4 * 2 + 2
    assert [(p.name, p.read_bytes()) for p in files[0]] == [
        (p.name, p.read_bytes()) for p in files[1]
    ]


@pytest.mark.slow
def test_an_error_of_one_process_is_shown_and_ends_all(tmp_path):
    make_data(tmp_path)
    opt = run_options(tmp_path, 2)
    opt['train']['total_iter'] = 100000
    path = write_options(tmp_path / 'o.yml', opt)
    picture = tmp_path / 'data' / 'train' / 'lq' / '0003.png'
    picture.write_bytes(picture.read_bytes()[:200])
    start = time.time()
    result = launch(tmp_path, 2, '-m', 'hmaca_arch', 'train', '-opt', path, '--launcher', 'pytorch')
    assert result.returncode != 0 and time.time() - start < 60
    assert re.search(r'basicsr train: error in process [01]: .*0003\.png', result.stdout), (
        result.stdout
    )
    assert not (tmp_path / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth').exists()


@pytest.mark.slow
def test_a_task_that_is_killed_ends_the_other_which_says_so(tmp_path):
    make_data(tmp_path)
    opt = run_options(tmp_path, 2)
    opt['train']['total_iter'] = 100000
    opt.pop('val'), opt['datasets'].pop('val')
    opt['dist_params'] = {'backend': 'gloo', 'port': free_port(), 'timeout': 30}
    first, second = slurm_tasks(tmp_path, 'train', opt)
    deadline = time.time() + 600
    while (
        not list(tmp_path.glob('experiments/tiny/training_states/*.state'))
        and time.time() < deadline
    ):
        assert first.poll() is None and second.poll() is None
        time.sleep(0.02)
    second.kill()
    output = first.communicate(timeout=600)[0]
    second.communicate()
    assert first.returncode == 1 and 'Traceback' not in output
    assert output.splitlines()[-1].startswith(
        'basicsr train: error in process 0: another process has ended or does not answer'
    )


def test_a_process_that_does_not_come_is_waited_for_no_longer_than_asked(no_launcher):
    port = free_port()
    no_launcher.update(
        SLURM_PROCID='0', SLURM_NTASKS='2', SLURM_LOCALID='0', SLURM_NODELIST='localhost'
    )
    start = time.time()
    with pytest.raises(
        ValueError, match=rf'the 2 processes did not meet at localhost:{port} within 1 seconds: .*'
    ):
        distributed.start('slurm', {'port': port, 'timeout': 1}, use_gpu=False)
    assert time.time() - start < 30 and not distributed.active()


MEETING = """
import sys
from hmaca_arch.interrupts import watched
from hmaca_arch.training import distributed, stopping
with watched('basicsr train'), stopping.noting_signals():
    print('begins', flush=True)
    distributed.start('pytorch', {'backend': 'gloo', 'timeout': 600}, use_gpu=False)
"""


@pytest.mark.skipif(os.name != 'posix', reason='POSIX signals')
@pytest.mark.parametrize(
    'rank, seconds, number, status',
    [
        (0, 1, 'SIGTERM', 75),
        pytest.param(1, 1, 'SIGTERM', 75, marks=pytest.mark.slow),
        pytest.param(0, 0, 'SIGUSR1', 75, marks=pytest.mark.slow),
        pytest.param(1, 1, 'SIGINT', 130, marks=pytest.mark.slow),
    ],
)
def test_a_process_that_waits_for_others_ends_at_a_signal(rank, seconds, number, status):
    place = dict(RANK=str(rank), LOCAL_RANK='0', WORLD_SIZE='2', MASTER_ADDR='127.0.0.1')
    place['MASTER_PORT'] = str(free_port())
    process = subprocess.Popen(
        [sys.executable, '-c', MEETING],
        env={**os.environ, **place},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding='utf-8',
    )
    assert process.stdout.readline() == 'begins\n'
    time.sleep(seconds)
    process.send_signal(getattr(signal, number))
    output = process.communicate(timeout=300)[0]
    assert process.returncode == status and 'Traceback' not in output


@pytest.mark.parametrize(
    'hosts, first',
    [
        ('localhost', 'localhost'),
        ('a1,a2', 'a1'),
        ('gpu[03-05,11],login', 'gpu03'),
        ('r[1-2]n[08,10]-ib,x', 'r1n08-ib'),
        ('n.org', 'n.org'),
    ],
)
def test_the_first_host_of_slurm(hosts, first):
    assert distributed.first_host(hosts) == first


@pytest.mark.parametrize('hosts', ['', '[', 'a b', ',a'])
def test_a_list_of_hosts_that_cannot_be_read(hosts):
    with pytest.raises(ValueError, match='set MASTER_ADDR'):
        distributed.first_host(hosts)


@pytest.mark.parametrize(
    'hosts', ['a; mkdir made', '$(mkdir made)', '`mkdir made`', 'a\nmkdir made']
)
def test_a_list_of_hosts_is_no_program(no_launcher, tmp_path, monkeypatch, hosts):
    """CVE-2024-27763: BasicSR gives the variable to a shell. Here no shell sees it."""
    monkeypatch.chdir(tmp_path)
    no_launcher.update(SLURM_PROCID='0', SLURM_NTASKS='1', SLURM_LOCALID='0', SLURM_NODELIST=hosts)
    with pytest.raises(ValueError, match='set MASTER_ADDR'):
        distributed.start('slurm', {}, use_gpu=False)
    assert not (tmp_path / 'made').exists()
    for module in (basicsr.train, basicsr.test):
        assert not hasattr(module, 'init_dist'), 'it is called by what `parse_options` replaces'


@pytest.fixture
def no_launcher(monkeypatch):
    for name in [
        name
        for name in os.environ
        if name.startswith(('SLURM_', 'MASTER_')) or name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')
    ]:
        monkeypatch.delenv(name)
    environ = dict(os.environ)
    monkeypatch.setattr(distributed.os, 'environ', environ)
    return environ


def test_slurm_says_where_a_process_stands(no_launcher):
    no_launcher.update(
        SLURM_PROCID='5',
        SLURM_NTASKS='8',
        SLURM_LOCALID='1',
        SLURM_JOB_NODELIST='node[7-8]',
        SLURM_JOB_ID='1234567',
    )
    distributed.read_rank('slurm')
    found = [
        no_launcher[name]
        for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
    ]
    assert found == ['5', '8', '1', 'node7', str(29500 + 567)]
    distributed.read_rank('slurm', port=2345)
    assert no_launcher['MASTER_PORT'] == '2345'


def test_mistakes_in_launching_say_what_to_do(no_launcher):
    with pytest.raises(ValueError, match='RANK, WORLD_SIZE, .* is not set; .*torchrun'):
        distributed.start('pytorch', None, use_gpu=False)
    with pytest.raises(ValueError, match='SLURM_PROCID, .*srun'):
        distributed.start('slurm', {}, use_gpu=False)
    with pytest.raises(ValueError, match='nccl needs GPUs'):
        distributed.start('pytorch', {'backend': 'nccl'}, use_gpu=False)


@pytest.mark.parametrize(
    'launcher, local, count, chosen',
    [('pytorch', 1, 2, 1), ('slurm', 1, 2, 1), ('slurm', 3, 1, 0), ('pytorch', 2, 2, None)],
)
def test_each_process_takes_its_gpu(no_launcher, monkeypatch, launcher, local, count, chosen):
    taken = []
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: count)
    monkeypatch.setattr(torch.cuda, 'set_device', taken.append)
    no_launcher['LOCAL_RANK'] = str(local)
    if chosen is None:
        with pytest.raises(ValueError, match='has no GPU, torch sees 2'):
            distributed.choose_gpu(launcher)
    else:
        distributed.choose_gpu(launcher)
        assert taken == [chosen]


def test_the_cpu_can_be_chosen_where_there_are_gpus(monkeypatch, tmp_path, triplets):
    joined = []
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(
        distributed,
        'start',
        lambda launcher, settings, use_gpu: joined.append((launcher, settings, use_gpu)),
    )
    opt = {**tiny_options(triplets), 'dist_params': {'port': 1}}
    for num_gpu, use_gpu in (
        (0, False),
        ('auto', True),
        (8, True),
    ):  # 8: of the whole job, on several machines
        path = write_options(tmp_path / 'o.yml', {**opt, 'num_gpu': num_gpu})
        starting.parse(str(tmp_path), True, arguments(['-opt', str(path), '--launcher', 'slurm']))
        assert joined.pop() == ('slurm', {'port': 1}, use_gpu)


def test_one_process_needs_no_group():
    assert not distributed.active() and distributed.rank() == 0
    distributed.barrier(), distributed.finish()
    assert distributed.collect([1]) == [1] and distributed.from_first('x') == 'x'
    assert training.distributed is distributed
