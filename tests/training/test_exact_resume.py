"""A run that is interrupted, however, and resumed ends as the one that was not: weights, average,
optimizer, best results, log.
"""

import logging
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.logger import initialized_logger
from conftest import (
    GPU,
    basicsr,
    command_line,
    environment,
    make_triplets,
    tiny_options,
    write_options,
)

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch.commands.train import arguments
from hmaca_arch.metrics.summary import ValidationTable
from hmaca_arch.models import MaskedRestorationModel
from hmaca_arch.training import pipeline as training
from hmaca_arch.training import resuming, stopping
from hmaca_arch.training.sampling import seed_iteration

LAST = 9


class PowerCut(BaseException):
    """Ends a run in the middle of a line; nothing that handles errors handles this."""


def options_for(folder):
    """5 pictures in batches of 4, so that epochs of 2 iterations straddle passes; drop path, an
    average, a falling rate, validations.
    """
    if not (folder / 'data').exists():
        make_triplets(folder / 'data' / 'train', 5)
        make_triplets(folder / 'data' / 'test', 2, seed=1)
    options = tiny_options(folder / 'data')
    options['network_g'].update(drop_path_rate=0.5, depths=[2])
    options['train'].update(total_iter=LAST, ema_decay=0.9, grad_clip=1.0, warmup_iter=3)
    options['train']['scheduler'] = {
        'type': 'CosineAnnealingRestartLR',
        'periods': [LAST],
        'restart_weights': [1],
        'eta_min': 1e-6,
    }
    options['val']['val_freq'] = 3
    options['logger'].update(print_freq=1, save_checkpoint_freq=3)
    return options


def run(folder, options, *more):
    initialized_logger.clear()  # BasicSR opens a log file only once a process
    logging.getLogger('basicsr').handlers.clear()
    training.run_pipeline(
        'train',
        arguments(['-opt', str(write_options(folder / 'options.yml', options)), *more]),
        root_path=str(folder),
    )


def outcome(folder):
    """Everything that must not depend on an interruption; of what was logged twice, the last."""
    experiment = folder / 'experiments' / 'tiny'
    log = '\n'.join(
        path.read_text()
        for path in sorted(experiment.glob('train_*.log'), key=lambda path: path.stat().st_mtime_ns)
    )
    lines = re.findall(r'epoch: *(\d+), iter: *(\d+), (lr:\S+)\] \[eta.*?\] (.*)', log)
    return {
        'weights': torch.load(experiment / 'models' / 'net_g_latest.pth', weights_only=True),
        'state': torch.load(experiment / 'training_states' / f'{LAST}.state', weights_only=True),
        'log': {int(iteration): (epoch, *rest) for epoch, iteration, *rest in lines},
        'best': re.findall(r'best: (.*)', log)[-1],
    }


def assert_same(a, b, place=''):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), place
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            assert_same(a[key], b[key], f'{place}/{key}')
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), place
        for i, (x, y) in enumerate(zip(a, b)):
            assert_same(x, y, f'{place}/{i}')
    else:
        assert a == b, place


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    run(folder, options_for(folder))
    return outcome(folder)


def interrupt(monkeypatch, method, iteration, action):
    """Do `action` once, when the model's `method` is called for the given iteration (its argument
    named current_iter).
    """
    original = getattr(MaskedRestorationModel, method)
    done = []

    def wrapped(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        if iteration in args and not done:
            done.append(True)
            action()
        return result

    monkeypatch.setattr(MaskedRestorationModel, method, wrapped)


def cut():
    raise PowerCut


def test_nothing_random_is_left_to_chance(whole):
    """The network of these runs does use random numbers, and they depend on seed, iteration and
    process alone.
    """
    draws = {}
    for key in [(0, 1, 0), (0, 2, 0), (0, 1, 1), (1, 1, 0), (0, 1, 0)]:
        seed_iteration(*key)
        draws.setdefault(key, []).append(torch.rand(4).tolist())
    assert (
        draws[0, 1, 0][0] == draws[0, 1, 0][1]
        and len({str(values[0]) for values in draws.values()}) == 4
    )
    losses = [float(line[2].split('l_pix: ')[1].split()[0]) for line in whole['log'].values()]
    assert len(whole['log']) == LAST and len(set(losses)) == LAST


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_in_the_middle_of_an_epoch(whole, tmp_path, monkeypatch, number):
    options = options_for(tmp_path)
    interrupt(monkeypatch, 'optimize_parameters', 5, lambda: os.kill(os.getpid(), number))
    with pytest.raises(stopping.Stopped) as stopped:
        run(tmp_path, options)
    assert stopped.value.code == (130 if number == signal.SIGINT else 75)
    states = tmp_path / 'experiments' / 'tiny' / 'training_states'
    assert sorted(path.name for path in states.iterdir()) == ['3.state', '5.state']
    assert signal.getsignal(number) == (
        signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    )
    run(tmp_path, options, '--auto_resume')
    assert_same(whole, outcome(tmp_path))


def test_a_cut_between_saving_and_validating(whole, tmp_path, monkeypatch):
    """BasicSR saves first. The validation of iteration 6 is made up for: its figures are logged,
    and the best results know of it.
    """
    options = options_for(tmp_path)
    interrupt(monkeypatch, 'save_training_state', 6, cut)
    with pytest.raises(PowerCut):
        run(tmp_path, options)
    run(tmp_path, options, '--auto_resume')
    assert_same(whole, outcome(tmp_path))
    log = ''.join(
        path.read_text() for path in (tmp_path / 'experiments' / 'tiny').glob('train_*.log')
    )
    assert log.count('Validation tiny_test') == 3, 'iterations 3, 6 (after the resume) and 9'


def test_a_signal_in_the_middle_of_a_validation(whole, tmp_path, monkeypatch):
    options = options_for(tmp_path)
    tested = []
    original = MaskedRestorationModel.test
    monkeypatch.setattr(
        MaskedRestorationModel,
        'test',
        lambda self: (
            original(self),
            tested.append(1),
            len(tested) == 3 and os.kill(os.getpid(), 15),
        ),
    )
    with pytest.raises(stopping.Stopped):
        run(tmp_path, options)
    assert len(tested) == 3, 'the second picture of the second validation is left out'
    run(tmp_path, options, '--auto_resume')
    assert_same(whole, outcome(tmp_path))


@pytest.mark.cuda
@pytest.mark.skipif(not GPU, reason='needs a GPU')
@pytest.mark.parametrize('train', [{}, {'amp': 'bf16'}, {'fused_attention': True}])
def test_a_cut_on_a_gpu(tmp_path, train):
    """With `deterministic` a GPU repeats bit by bit too. Real processes, as it changes torch."""
    outcomes = []
    for name in ('whole', 'cut'):
        folder = tmp_path / name
        folder.mkdir()
        options = options_for(folder)
        options['num_gpu'] = 1
        options['train'].update(deterministic=True, **train)
        if name == 'cut':
            options['train']['total_iter'] = 6
            basicsr(folder, 'train', '-opt', write_options(folder / 'options.yml', options))
            options['train']['total_iter'] = LAST
        path = write_options(folder / 'options.yml', options)
        basicsr(folder, 'train', '-opt', path, '--auto_resume')
        outcomes.append(outcome(folder))
    assert_same(*outcomes)


@pytest.mark.parametrize('torn', ['training_states/6.state', 'models/net_g_6.pth'])
def test_a_cut_that_tears_the_newest_files(whole, tmp_path, monkeypatch, torn):
    """A disk that had not written what it said: the newest checkpoint that loads is taken."""
    options = options_for(tmp_path)
    interrupt(monkeypatch, 'optimize_parameters', 8, cut)
    with pytest.raises(PowerCut):
        run(tmp_path, options)
    path = tmp_path / 'experiments' / 'tiny' / torn
    os.truncate(path, path.stat().st_size // 2)
    run(tmp_path, options, '--auto_resume')
    assert_same(whole, outcome(tmp_path))


@pytest.mark.slow
def test_three_kills_of_a_real_run_with_workers(whole, tmp_path):
    """kill -9 of the whole process group at moments that nobody chose."""
    options = options_for(tmp_path)
    options['datasets']['train']['num_worker_per_gpu'] = 2
    options['logger']['save_checkpoint_freq'] = 1
    path = write_options(tmp_path / 'options.yml', options)
    states = tmp_path / 'experiments' / 'tiny' / 'training_states'
    for kill in range(3):
        process = subprocess.Popen(
            command_line('train', '-opt', path, '--auto_resume'), cwd=tmp_path, env=environment(), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.time() + 600
        while (
            len(list(states.glob('*.state'))) < 2 * kill + 1
            and process.poll() is None
            and time.time() < deadline
        ):
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    basicsr(tmp_path, 'train', '-opt', path, '--auto_resume')
    found = outcome(tmp_path)
    for key in ('weights', 'state', 'log', 'best'):
        assert_same(whole[key], found[key], key)


def test_another_sequence_of_samples_is_refused(tmp_path):
    options = options_for(tmp_path)
    options['train']['total_iter'] = 3
    run(tmp_path, options)
    options['train']['total_iter'] = 6
    options['datasets']['train']['batch_size_per_gpu'] = 2
    with pytest.raises(ValueError, match='global_batch 4, now 2'):
        run(tmp_path, options, '--auto_resume')
    options['datasets']['train']['batch_size_per_gpu'] = 4
    for kind in ('lq', 'mask', 'gt'):
        (tmp_path / 'data' / 'train' / kind / '0004.png').unlink()
    with pytest.raises(ValueError, match='images 5, now 4'):
        run(tmp_path, options, '--auto_resume')
    for kind in ('lq', 'mask', 'gt'):
        folder = tmp_path / 'data' / 'train' / kind
        shutil.copy(folder / '0003.png', folder / '0000b.png')  # as many, but others from there on
    with pytest.raises(ValueError, match=r'names \w{12}, now \w{12}'):
        run(tmp_path, options, '--auto_resume')


def test_weights_of_any_kind_may_have_begun_the_run(tmp_path):
    """Weights without `params`, which are gone by now: what a run goes on from is its own."""
    options = options_for(tmp_path)
    options['train']['total_iter'] = 3
    torch.save(build_network(options['network_g']).state_dict(), tmp_path / 'raw.pth')
    options['path'].update(
        pretrain_network_g=str(tmp_path / 'raw.pth'), param_key_g=None, strict_load_g=False
    )
    run(tmp_path, options)
    (tmp_path / 'raw.pth').unlink()
    options['train']['total_iter'] = 6
    with pytest.raises(ValueError, match=r'raw.pth does not exist'):
        run(tmp_path, options)
    run(tmp_path, options, '--auto_resume')
    assert (tmp_path / 'experiments' / 'tiny' / 'models' / 'net_g_6.pth').exists()


def test_what_is_newer_than_what_is_resumed_no_longer_counts(tmp_path, capsys):
    """A branch that was left neither takes the place of new checkpoints nor is resumed by accident."""
    options = options_for(tmp_path)
    options['logger'].update(save_checkpoint_freq=1, keep_last=2)
    options['train']['total_iter'] = 4
    run(tmp_path, options)
    states = tmp_path / 'experiments' / 'tiny' / 'training_states'
    for number in (100, 200):
        (states / f'{number}.state').write_bytes(b'torn')
    run(tmp_path, options, '--auto_resume')
    assert {path.name for path in states.iterdir()} == {
        '3.state',
        '4.state',
        '100.state.left',
        '200.state.left',
    }
    assert '100.state is newer than what is resumed' in capsys.readouterr().out
    options['path']['resume_state'] = str(states / '3.state')
    options['datasets']['train']['batch_size_per_gpu'] = 2
    with pytest.raises(ValueError, match='global_batch'):
        run(tmp_path, options)
    assert (states / '4.state').exists(), 'a resume that is refused leaves all as it is'
    options['datasets']['train']['batch_size_per_gpu'] = 4
    run(tmp_path, options)
    assert {path.name for path in states.iterdir() if path.suffix == '.state'} == {
        '3.state',
        '4.state',
    }
    assert (states / '4.state.left').exists()


def test_a_seed_that_was_drawn_stays(tmp_path):
    options = options_for(tmp_path)
    options['manual_seed'] = None
    options['train']['total_iter'] = 3
    run(tmp_path, options)
    options['train']['total_iter'] = 6
    run(tmp_path, options, '--auto_resume')
    states = tmp_path / 'experiments' / 'tiny' / 'training_states'
    seeds = [
        torch.load(states / f'{i}.state', weights_only=True)['sampling']['seed'] for i in (3, 6)
    ]
    assert seeds[0] == seeds[1]


def test_old_checkpoints_make_room_but_the_best_stay(tmp_path):
    models, states = tmp_path / 'models', tmp_path / 'states'
    models.mkdir(), states.mkdir()
    for i in (5, 10, 15, 20, 100):
        (states / f'{i}.state').touch(), (models / f'net_g_{i}.pth').touch()
    (models / 'net_g_latest.pth').touch()
    resuming.prune(models, states, keep_last=2, best={10, 12})
    assert {path.stem for path in states.iterdir()} == {'10', '20', '100'}
    assert {path.stem for path in models.iterdir()} == {
        'net_g_10',
        'net_g_20',
        'net_g_100',
        'net_g_latest',
    }


def test_keeping_is_an_option(tmp_path, monkeypatch):
    options = options_for(tmp_path)
    options['logger'].update(save_checkpoint_freq=1, keep_last=2, keep_best=True)
    best_at = {3: 1.0, 6: 3.0, 9: 2.0}  # what the validations find
    monkeypatch.setattr(ValidationTable, 'mean', lambda self, row, metric: best_at[iteration[0]])
    iteration = [0]
    original = MaskedRestorationModel.log_validation
    monkeypatch.setattr(
        MaskedRestorationModel,
        'log_validation',
        lambda self, d, t, i, b: (iteration.insert(0, i), original(self, d, t, i, b)),
    )
    run(tmp_path, options)
    assert {
        int(path.stem) for path in (tmp_path / 'experiments' / 'tiny' / 'training_states').iterdir()
    } == {6, 8, 9}
