"""BasicSR's own pipelines with what hmaca_arch.training.pipeline replaces in them: real runs on
tiny triplets.
"""

import csv
import errno
import hashlib
import json
import logging
import math
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.data.prefetch_dataloader import CPUPrefetcher
from basicsr.utils import misc
from basicsr.utils.logger import initialized_logger
from conftest import basicsr, command_line, environment, make_triplets, tiny_options, write_options

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch.commands.train import arguments
from hmaca_arch.files import atomic
from hmaca_arch.models.validating_model import shortened
from hmaca_arch.training import basicsr_replacements, locking, resuming
from hmaca_arch.training import pipeline as training
from hmaca_arch.training.sampling import GlobalSampler, SampleIndex


def sampler(**changes):
    return GlobalSampler(
        **{'size': 5, 'global_batch': 4, 'epoch_iters': 2, 'total_iters': 7, **changes}
    )


def samples(sampler, epochs=10):
    found = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        emitted = list(sampler)
        assert len(emitted) == len(sampler)
        found += emitted
    return found


def test_every_sample_number_comes_once_and_every_pass_shows_every_picture_once():
    found = samples(sampler(total_iters=10))
    assert [index.number for index in found] == list(range(40))
    passes = [sorted(found[i : i + 5]) for i in range(0, 40, 5)]
    assert passes == [[0, 1, 2, 3, 4]] * 8
    assert len({tuple(found[i : i + 5]) for i in range(0, 40, 5)}) > 1, 'passes differ in order'


def test_processes_share_the_sequence_of_one():
    whole = samples(sampler())
    parts = [samples(sampler(rank=rank, world_size=2)) for rank in range(2)]
    assert [pair for both in zip(*parts) for pair in both] == whole
    assert [i.number for both in zip(*parts) for i in both] == [i.number for i in whole]


def test_a_resumed_run_goes_on_where_the_first_stopped():
    whole = samples(sampler())
    for start in range(8):
        epoch = start // 2
        rest = sampler(start_iter=start)
        found = []
        for e in range(epoch, 10):
            rest.set_epoch(e)
            found += list(rest)
        assert [(int(i), i.number) for i in found] == [
            (int(i), i.number) for i in whole[4 * start :]
        ]


def test_seeds_differ_and_repeat():
    assert samples(sampler(seed=1)) == samples(sampler(seed=1)) != samples(sampler(seed=2))


def test_an_index_keeps_its_number_on_the_way_to_a_worker():
    index = pickle.loads(pickle.dumps(SampleIndex(3, 40)))
    assert index == 3 and index.number == 40 and [10, 20, 30, 40][index] == 40


def test_the_replaced_sampler_really_ends_early():
    """The fault that GlobalSampler exists for: 12 pictures in batches of 8 give one whole batch an
    epoch where two are counted.
    """
    batches_an_epoch = len(EnlargedSampler(range(12), 1, 0)) // 8  # drop_last
    assert (300 // 2 + 1) * batches_an_epoch == 151


def run(folder, options, command='train', *more):
    path = write_options(folder / 'options.yml', options)
    training.run_pipeline(command, arguments(['-opt', str(path), *more]), root_path=str(folder))


def weights(folder, label='latest', name='tiny'):
    return torch.load(
        folder / 'experiments' / name / 'models' / f'net_g_{label}.pth', weights_only=True
    )


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A finished run over 3 pictures in batches of 4 (an epoch of one iteration), with everything
    switched on that costs nothing.
    """
    folder = tmp_path_factory.mktemp('run')
    make_triplets(folder / 'data' / 'train', 3)
    make_triplets(folder / 'data' / 'test', 2, seed=1)
    options = tiny_options(folder / 'data')
    options['train'].update(ema_decay=0.9, grad_clip=1.0, composite=True)
    options['val'].update(save_img=True, val_freq=5)
    options['logger']['use_tb_logger'] = True
    # BasicSR opens a log file only once a process, and another test may have been first
    initialized_logger.clear()
    logging.getLogger('basicsr').handlers.clear()
    run(folder, options)
    return folder, options


def test_a_run_takes_all_its_iterations_and_saves_what_it_should(trained):
    folder, _ = trained
    experiment = folder / 'experiments' / 'tiny'
    assert sorted(p.name for p in (experiment / 'models').iterdir()) == [
        'net_g_2.pth',
        'net_g_4.pth',
        'net_g_latest.pth',
    ]
    assert sorted(p.name for p in (experiment / 'training_states').iterdir()) == [
        '2.state',
        '4.state',
    ]
    state = torch.load(experiment / 'training_states' / '4.state', weights_only=True)
    assert state['iter'] == 4 and state['optimizers'][0]['state'][0]['step'] == 4
    assert set(weights(folder)) == {'params', 'params_ema'}
    assert list((folder / 'tb_logger' / 'tiny').iterdir())
    assert not list(folder.rglob('*.tmp'))


@pytest.mark.skipif(sys.platform != 'linux', reason='elsewhere names of files are text')
def test_pictures_whose_names_are_not_text_are_validated_and_shown(tmp_path, triplets):
    for kind in ('lq', 'mask', 'gt'):
        folder = os.fsencode(triplets / 'test' / kind)
        os.rename(folder + b'/0000.png', folder + b'/caf\xe9.png')
    options = tiny_options(triplets)
    options['val']['val_freq'], options['logger']['use_tb_logger'] = 4, True
    run(tmp_path, options)
    (events,) = (tmp_path / 'tb_logger' / 'tiny').iterdir()
    assert rb'caf\udce9' in events.read_bytes()


def test_what_defines_a_run_is_saved_beside_it(trained):
    folder, options = trained
    experiment = folder / 'experiments' / 'tiny'
    resolved = yaml.safe_load((experiment / 'options_resolved.yml').read_text())
    assert (
        resolved['network_g'] == options['network_g'] and resolved['train']['optim_g']['lr'] == 1e-3
    )
    versions = json.loads((experiment / 'versions.json').read_text())
    assert versions['basicsr'] == '1.4.2' and versions['torch'] == torch.__version__
    assert (experiment / 'options.yml').exists()


def test_pictures_are_written_with_their_strip(trained):
    import cv2

    folder, _ = trained
    pictures = folder / 'experiments' / 'tiny' / 'visualization' / '0000'
    restored, strip = (
        cv2.imread(str(pictures / '0000_5.png')),
        cv2.imread(str(pictures / '0000_5_strip.png')),
    )
    lq, mask, gt = (
        cv2.imread(str(folder / 'data' / 'test' / kind / '0000.png'))
        for kind in ('lq', 'mask', 'gt')
    )
    panels = [strip[:, i * 36 : i * 36 + 32] for i in range(4)]
    for panel, expected in zip(panels, (lq, mask, restored, gt)):
        assert (panel == expected).all()
    assert (restored[mask == 0] == lq[mask == 0]).all(), 'nothing outside the region changes'
    assert (restored[mask > 0] != lq[mask > 0]).any()


def test_testing_writes_a_line_a_picture(trained):
    folder, options = trained
    latest = folder / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth'
    run(
        folder,
        {**options, 'path': {'pretrain_network_g': str(latest), 'param_key_g': 'params_ema'}},
        'test',
    )
    results = folder / 'results' / 'tiny'
    lines = (results / 'tiny_test.csv').read_text().splitlines()
    assert lines[0].startswith('picture,input_composite_psnr') and [
        line.split(',')[0] for line in lines[1:]
    ] == ['0000', '0001']
    assert (results / 'visualization' / 'tiny_test' / '0001_tiny_strip.png').exists()
    assert (results / 'options_resolved.yml').exists()
    for path, iteration in ((results, None), (folder / 'experiments' / 'tiny', 5)):
        record = json.loads((path / 'results.json').read_text())
        measured = record['data_sets']['tiny_test']
        assert (
            record['network'] == 'HMACA' and record['parameters'] > 1000 and measured['seconds'] > 0
        )
        assert (measured['iteration'], measured['images']) == (iteration, 2)
        assert set(measured['metrics']['composite_psnr']) == {
            'input',
            'result',
            'gain',
            'exact',
            'without_region',
        }
    rows = list(csv.DictReader(lines))
    values = [
        [float(row[f'{kind}_composite_psnr']) for kind in ('input', 'result')] for row in rows
    ]
    means = json.loads((results / 'results.json').read_text())['data_sets']['tiny_test']['metrics'][
        'composite_psnr'
    ]
    assert [means['input'], means['result']] == pytest.approx(
        np.mean(values, axis=0).tolist(), abs=1e-5
    )


def test_the_average_leaves_the_random_start_behind(trained):
    """With a constant decay of 0.9, 0.9^5 = 59 % of the start would remain; warmed up,
    (2/11)(3/12)...(6/15) = 0.3 %.
    """
    folder, _ = trained
    name = 'conv_last.weight'
    saved = weights(folder)
    name = next(
        key for key in saved['params'] if key.endswith('.weight') and saved['params'][key].ndim == 4
    )
    drift = (saved['params_ema'][name] - saved['params'][name]).abs().mean()
    step = (
        weights(folder, 4)['params'][name] - weights(folder, 2)['params'][name]
    ).abs().mean() / 2
    assert 0 < drift < 2 * step


def test_resume_continues_the_same_run(trained, tmp_path):
    """Without random layers the run interrupted after 4 of 5 iterations ends as the one that was
    not.
    """
    folder, options = trained
    make_triplets(tmp_path / 'data' / 'train', 3)
    make_triplets(tmp_path / 'data' / 'test', 2, seed=1)
    again = tiny_options(tmp_path / 'data')
    again['train'], again['val'] = options['train'], options['val']
    again['train'] = {**options['train'], 'total_iter': 4}
    run(tmp_path, again)
    again['train'] = options['train']
    run(tmp_path, again, 'train', '--auto_resume')
    for key in ('params', 'params_ema'):
        expected, found = weights(folder)[key], weights(tmp_path)[key]
        for name, value in expected.items():
            assert torch.equal(value, found[name]), name


def test_auto_resume_skips_torn_files_and_never_starts_over_silently(trained, tmp_path, capsys):
    folder, _ = trained
    source = folder / 'experiments' / 'tiny'
    states, models = tmp_path / 'states', tmp_path / 'models'
    states.mkdir(), models.mkdir()
    assert resuming.newest_checkpoint(states, models) is None
    for label in (2, 4):
        (states / f'{label}.state').write_bytes(
            (source / 'training_states' / f'{label}.state').read_bytes()
        )
        (models / f'net_g_{label}.pth').write_bytes(
            (source / 'models' / f'net_g_{label}.pth').read_bytes()
        )
    assert resuming.newest_checkpoint(states, models)[1]['iter'] == 4
    torn = (states / '4.state').read_bytes()
    (states / '4.state').write_bytes(torn[: len(torn) // 2])
    assert resuming.newest_checkpoint(states, models)[1]['iter'] == 2
    assert '4.state is not complete' in capsys.readouterr().out
    (models / 'net_g_2.pth').unlink()
    with pytest.raises(ValueError, match='none of the checkpoints is complete'):
        resuming.newest_checkpoint(states, models)


def test_a_failed_save_is_an_error_and_leaves_the_old_file(tmp_path, monkeypatch):
    from hmaca_arch.files.torch_files import save_atomically

    path = tmp_path / 'net.pth'
    save_atomically({'a': 1}, path)
    monkeypatch.setattr(
        torch,
        'save',
        lambda data, file: (
            file.write(b'half'),
            (_ for _ in ()).throw(OSError('No space left on device')),
        ),
    )
    with pytest.raises(OSError, match='No space left'):
        save_atomically({'a': 2}, path)
    assert torch.load(path, weights_only=True) == {'a': 1} and list(tmp_path.iterdir()) == [path]


def test_a_killed_run_resumes_on_the_cpu(tmp_path, triplets):
    """A real process, kill -9 once a checkpoint is there, a real resume."""
    options = tiny_options(triplets)
    options['train']['total_iter'] = 100000
    options['logger']['save_checkpoint_freq'] = 1
    options.pop('val'), options['datasets'].pop('val')
    path = write_options(tmp_path / 'options.yml', options)
    process = subprocess.Popen(
        command_line('train', '-opt', path),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    states = tmp_path / 'experiments' / 'tiny' / 'training_states'
    deadline = time.time() + 600
    while len(list(states.glob('*.state'))) < 3 and time.time() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    newest = max(int(p.stem) for p in states.glob('*.state'))
    result = basicsr(
        tmp_path,
        'train',
        '-opt',
        path,
        '--auto_resume',
        '--force_yml',
        f'train:total_iter={newest + 2}',
    )
    assert re.search(rf'Resuming training from epoch: \d+, iter: {newest}\.', result.stdout)
    iterations = [int(n) for n in re.findall(r'epoch: *\d+, iter: *(\d+),', result.stdout)]
    assert iterations == [newest + 1, newest + 2]
    assert (states / f'{newest + 2}.state').exists()


def test_any_optimizer_of_torch(tmp_path):
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    assert isinstance(
        basicsr_replacements.get_optimizer(None, 'AdamW', parameters, lr=1e-4, weight_decay=0.01),
        torch.optim.AdamW,
    )
    with pytest.raises(ValueError, match='did you mean AdamW'):
        basicsr_replacements.get_optimizer(None, 'Adamw', parameters, lr=1e-4)


def test_another_basicsr_is_refused(monkeypatch):
    monkeypatch.setattr(training.basicsr, '__version__', '1.5.0')
    with pytest.raises(ValueError, match=r'BasicSR 1\.5\.0 is installed.*1\.4\.2'):
        training.install()


def test_the_estimated_time_ends_at_zero(trained):
    folder, _ = trained
    log = next((folder / 'experiments' / 'tiny').glob('train_*.log')).read_text()
    times = re.findall(r'iter: *(\d+),.*eta: ([^,]+), time', log)
    assert times[-1] == ('5', '0:00:00') and 'day' not in log


def test_a_longer_run_takes_its_schedule_from_the_options(tmp_path):
    """Cosine annealing with warm-up, interrupted, made longer: the rates after the resume are those
    of the longer schedule.
    """
    make_triplets(tmp_path / 'data' / 'train', 3)
    make_triplets(tmp_path / 'data' / 'test', 1, seed=1)
    options = tiny_options(tmp_path / 'data')
    options['train'].update(warmup_iter=2, total_iter=4)
    options['train']['scheduler'] = {
        'type': 'CosineAnnealingRestartLR',
        'periods': [4],
        'restart_weights': [1],
        'eta_min': 0,
    }
    run(tmp_path, options)
    options['train'].update(total_iter=8)
    options['train']['scheduler']['periods'] = [8]
    run(tmp_path, options, 'train', '--auto_resume')
    state = torch.load(
        tmp_path / 'experiments' / 'tiny' / 'training_states' / '8.state', weights_only=True
    )
    rate = state['optimizers'][0]['param_groups'][0]['lr']
    assert rate == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi * 7 / 8)), rel=1e-5)
    assert state['schedulers'][0]['last_epoch'] == 7


@pytest.mark.parametrize('amp', [False, 'fp16'])
def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path, amp):
    """With a falling rate, warm-up and the scaler's state: bit by bit."""
    results = []
    for name, stops in (('whole', [6]), ('parts', [4, 6])):
        folder = tmp_path / name
        make_triplets(folder / 'data' / 'train', 5)
        make_triplets(folder / 'data' / 'test', 1, seed=1)
        options = tiny_options(folder / 'data')
        options['train'].update(warmup_iter=3, amp=amp, grad_clip=1.0, ema_decay=0.9)
        options['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [4], 'gamma': 0.5}
        for stop in stops:
            options['train']['total_iter'] = stop
            run(folder, options, 'train', *(['--auto_resume'] if stop != stops[0] else []))
        state = torch.load(
            folder / 'experiments' / 'tiny' / 'training_states' / '6.state', weights_only=True
        )
        results.append((weights(folder), state))
    (whole, whole_state), (parts, parts_state) = results
    for key in ('params', 'params_ema'):
        assert all(torch.equal(value, parts[key][name]) for name, value in whole[key].items())
    assert whole_state['scaler'] == parts_state['scaler'] and bool(whole_state['scaler']) == (
        amp == 'fp16'
    )


def test_weights_damaged_in_the_middle_are_not_complete(trained, tmp_path):
    folder, _ = trained
    experiment = tmp_path / 'tiny'
    shutil.copytree(folder / 'experiments' / 'tiny', experiment)
    path = experiment / 'models' / 'net_g_4.pth'
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = bytes(third)
    path.write_bytes(data)
    assert (
        resuming.newest_checkpoint(experiment / 'training_states', experiment / 'models')[1]['iter']
        == 2
    )


def test_auto_resume_does_not_overlook_a_run_that_was_moved_aside(trained, tmp_path, triplets):
    folder, _ = trained
    archived = tmp_path / 'experiments' / 'tiny_archived_20260101_000000'
    shutil.copytree(folder / 'experiments' / 'tiny', archived)
    with pytest.raises(ValueError, match='tiny_archived_20260101_000000: move it back'):
        run(tmp_path, tiny_options(triplets), 'train', '--auto_resume')
    assert not (tmp_path / 'experiments' / 'tiny').exists()


def test_names_are_shortened_to_what_a_file_system_takes():
    assert shortened('name', 4) == 'name'
    assert shortened('a' * 30, 20) == f'{"a" * 11}_{hashlib.sha256(b"a" * 30).hexdigest()[:8]}'
    assert shortened('ü' * 15, 20).startswith('ü' * 5 + '_')  # 11 bytes hold five of them
    assert shortened('a' * 30, 20) != shortened('a' * 31, 20)


def test_images_with_the_longest_names_are_validated_and_saved(tmp_path, triplets):
    """Such a name has no room left for the run's."""
    for kind in ('lq', 'mask', 'gt'):
        path = triplets / 'test' / kind / '0000.png'
        path.rename(path.with_name(f'{"x" * 251}.png'))
    options = tiny_options(triplets)
    options['train']['total_iter'] = 1
    options['val'].update(val_freq=1, save_img=True)
    run(tmp_path, options)
    run(tmp_path, options, 'test')
    found = [path.name for path in (tmp_path / 'results').rglob('x*.png')]
    assert len(found) == 2 and max(map(len, found)) == 255


def test_runs_that_start_within_a_second_do_not_share_an_archive(tmp_path):
    """BasicSR names it by the second, and cannot move a folder onto a filled one."""
    training.install()
    for _ in range(3):
        misc.mkdir_and_rename(str(tmp_path / 'run'))
        (tmp_path / 'run' / 'a').touch()
    assert len(list(tmp_path.iterdir())) == 3


def test_an_earlier_run_that_a_scanner_reads_is_moved_aside_later(tmp_path, monkeypatch):
    """On Windows a folder is not renamed while a file in it is open."""
    training.install()
    (tmp_path / 'run').mkdir()
    monkeypatch.setattr(atomic, 'WAITS', (0, 0, 0))
    refusals, real = [1, 2], os.replace

    def replace(*paths):
        if refusals:
            refusals.pop()
            raise PermissionError(errno.EACCES, 'Permission denied', paths[0])
        real(*paths)

    monkeypatch.setattr(os, 'replace', replace)
    misc.mkdir_and_rename(str(tmp_path / 'run'))
    assert not refusals and len(list(tmp_path.iterdir())) == 2


HOLD = (
    'import os, sys, time\n'
    'from hmaca_arch.training.locking import lock_experiment\n'
    'lock_experiment(sys.argv[1])\n'
    'child = os.fork()\n'  # as a loader's worker
    'print("held", flush=True) if child else None\n'
    'time.sleep(60)'
)


def test_one_run_a_name(tmp_path, triplets):
    """A second run is refused while the first lives, and not because a worker of a killed one still
    does.
    """
    folder = tmp_path / 'experiments' / 'tiny'
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(folder)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert holder.stdout.readline().strip() == 'held'
        with pytest.raises(ValueError, match='another process is training under this name'):
            run(tmp_path, tiny_options(triplets))
        assert not folder.exists()
        holder.kill()
        holder.wait()
        locking.lock_experiment(str(folder))  # its child is still there
    finally:
        locking.unlock()
        os.killpg(holder.pid, signal.SIGKILL)


def test_a_file_that_is_no_state_is_named(tmp_path, triplets):
    (tmp_path / 'wrong.state').write_bytes(b'not a state')
    with pytest.raises(ValueError, match='wrong.state is not a whole training state'):
        run(
            tmp_path,
            tiny_options(triplets),
            'train',
            '--force_yml',
            f'path:resume_state={tmp_path / "wrong.state"}',
        )


def test_pictures_of_different_sizes_need_crops(tmp_path, triplets):
    for kind in ('lq', 'mask', 'gt'):
        for path in sorted((triplets / 'train' / kind).iterdir())[::2]:
            cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:24])
    options = tiny_options(triplets)
    options['datasets']['train'].update(gt_size=None, batch_size_per_gpu=4, num_worker_per_gpu=0)
    with pytest.raises(ValueError, match='the images of a batch differ in size: set gt_size'):
        run(tmp_path, options)


def test_the_first_reader_is_the_one_that_is_read():
    """BasicSR begins a second time in `reset`, and with persistent workers both would empty one
    iterator.
    """
    training.install()
    loader = MagicMock()
    loader.__iter__.side_effect = lambda: iter([1, 2])
    prefetcher = CPUPrefetcher(loader)
    assert not loader.__iter__.called
    for _ in range(2):
        prefetcher.reset()
        assert [prefetcher.next() for _ in range(3)] == [1, 2, None]
    assert loader.__iter__.call_count == 2


def test_persistent_workers_change_nothing(tmp_path, triplets):
    weights = []
    for i, reader in enumerate(({}, {'num_worker_per_gpu': 2, 'persistent_workers': True})):
        options = tiny_options(triplets)
        options['datasets']['train'].update(reader)
        (tmp_path / str(i)).mkdir()
        run(tmp_path / str(i), options)
        path = tmp_path / str(i) / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth'
        weights.append(torch.load(path, weights_only=True)['params'])
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


@pytest.mark.parametrize('reader', [{'num_worker_per_gpu': 0}, {'num_worker_per_gpu': 1}])
def test_a_damaged_picture_ends_training_in_one_line_that_names_it(tmp_path, triplets, reader):
    picture = triplets / 'train' / 'lq' / '0003.png'
    picture.write_bytes(picture.read_bytes()[:100])
    options = tiny_options(triplets)
    options['datasets']['train'].update(reader)
    result = basicsr(
        tmp_path, 'train', '-opt', write_options(tmp_path / 'o.yml', options), check=False
    )
    line = result.stdout.strip().splitlines()[-1]
    assert (
        result.returncode == 1 and line.startswith('basicsr train: error: ') and '0003.png' in line
    )
    assert 'Traceback' not in result.stdout


@pytest.mark.slow
def test_texts_are_utf_8_whatever_the_system_writes(tmp_path, triplets):
    """As on Windows, whose own encoding holds few characters: here it is ASCII, by an environment
    that no shell sets.
    """
    options = tiny_options(triplets)
    options['datasets']['val']['name'] = 'prüf本'
    options['val']['val_freq'] = 5
    text = '# Größe 本\n' + yaml.safe_dump(options, allow_unicode=True)
    (tmp_path / 'o.yml').write_bytes(text.encode())
    where = {
        **environment(),
        'PYTHONUTF8': '0',
        'PYTHONCOERCECLOCALE': '0',
        'LC_ALL': 'C',
        'PYTHONIOENCODING': 'ascii',
    }
    result = subprocess.run(
        command_line('train', '-opt', 'o.yml'),
        cwd=tmp_path,
        env=where,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0 and 'Logging error' not in result.stderr, result.stderr
    run = tmp_path / 'experiments' / 'tiny'
    assert (run / 'o.yml').read_bytes().endswith(b'\n\n' + text.encode())
    log = next(run.glob('train_*.log')).read_text(encoding='utf-8')
    assert 'Validation prüf本, 2 images' in log
    assert (
        yaml.safe_load((run / 'options_resolved.yml').read_text(encoding='utf-8'))['datasets'][
            'val'
        ]['name']
        == 'prüf本'
    )
