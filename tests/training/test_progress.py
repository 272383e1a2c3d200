"""What a run logs, and the time it says is left, against a clock that the tests turn."""

import functools
import io
import logging
import math
import re
from pathlib import Path

import pytest
import torch
from basicsr.models import build_model
from basicsr.utils.logger import MessageLogger
from basicsr.utils.registry import ARCH_REGISTRY
from conftest import tiny_options
from torch import nn

import losses_ext  # noqa: F401
from hmaca_arch.commands.train import arguments
from hmaca_arch.training import pipeline as training
from hmaca_arch.training import progress
from hmaca_arch.training.progress import ProgressLogger, decibel

ITERATION, VALIDATION, FIRST = 2.0, 30.0, 50.0  # seconds


class Clock:
    now = 1000.0

    def time(self):
        return self.now


def simulate(
    clock, monkeypatch, logger_class=ProgressLogger, start=0, total=103, val_freq=20, print_freq=5
) -> list[tuple[int, float, float]]:
    """BasicSR's training loop without the training: (iteration, seconds left as logged, seconds
    that were really left).
    """
    opt = tiny_options(Path('nowhere'))
    opt['train']['total_iter'], opt['val']['val_freq'], opt['logger']['print_freq'] = (
        total,
        val_freq,
        print_freq,
    )
    lines = []
    logger = logger_class(opt, start, None)
    monkeypatch.setattr(logger, 'logger', type('Log', (), {'info': staticmethod(lines.append)}))
    times, count, spent = [], 0, 0.0
    for iteration in range(start + 1, total + 1):
        clock.now += FIRST if iteration == start + 1 else ITERATION
        if iteration == 1:
            logger.reset_start_time()
        if iteration % print_freq == 0 or iteration == total:
            more = {'validations': (count, spent)} if logger_class is ProgressLogger else {}
            logger(
                {
                    'epoch': 0,
                    'iter': iteration,
                    'lrs': [1e-3],
                    'time': ITERATION,
                    'data_time': 0.0,
                    'l_pix': 0.5,
                    **more,
                }
            )
            times.append((iteration, clock.now))
        if iteration % val_freq == 0:
            clock.now, count, spent = clock.now + VALIDATION, count + 1, spent + VALIDATION
    if total % val_freq:
        clock.now += VALIDATION
    found = []
    for (iteration, now), line in zip(times, lines):
        days, hours, minutes, seconds = (
            int(n or 0)
            for n in re.search(r'eta: (?:(-?\d+) days?, )?(\d+):(\d+):(\d+),', line).groups()
        )
        found.append(
            (iteration, 86400 * days + 3600 * hours + 60 * minutes + seconds, clock.now - now)
        )
    return found


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, 'time', clock.time)
    return clock


@pytest.mark.parametrize('start', [0, 47])
@pytest.mark.parametrize('total', [100, 103])
def test_the_estimated_time_is_right(clock, monkeypatch, start, total):
    found = simulate(clock, monkeypatch, start=start, total=total)
    seen_validation = [
        entry
        for entry in found
        if entry[0] > 20 * math.ceil((start + 1) / 20) and entry[0] > start + 6
    ]
    assert len(seen_validation) > 5
    for iteration, said, left in seen_validation:
        assert said == pytest.approx(left, abs=1), iteration
    for (
        iteration,
        said,
        left,
        # before there was a validation none can be counted; the first stretch holds the slow iteration
    ) in found:
        validations = math.ceil(total / 20) - math.ceil(iteration / 20) + 1
        if (start == 0 or iteration > start + 6) and (iteration, said, left) not in seen_validation:
            assert said == pytest.approx(left - validations * VALIDATION, abs=1), iteration
    assert found[-1][1] == VALIDATION, 'at the end the last validation is left'


def test_every_line_of_a_run_without_validation_is_right(clock, monkeypatch):
    for iteration, said, left in simulate(
        clock, monkeypatch, val_freq=1000, total=20, print_freq=1
    ):
        assert said == left - VALIDATION, iteration  # the one at the end cannot be known


def test_the_replaced_estimate_really_is_wrong(clock, monkeypatch):
    found = simulate(
        clock, monkeypatch, logger_class=MessageLogger, val_freq=1000, total=20, print_freq=1
    )[:-1]
    wrong = [
        (said, left - VALIDATION) for _, said, left in found if abs(said - (left - VALIDATION)) > 1
    ]
    assert len(wrong) > 10


class Half(nn.Module):
    """0.5 everywhere."""

    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(0.5))

    def forward(self, lq):
        return torch.zeros_like(lq) + self.value


ARCH_REGISTRY.register(Half)


def test_a_step_logs_losses_and_decibels_by_region(tmp_path):
    training.install()
    opt = tiny_options(tmp_path)
    opt.update(dist=False, rank=0, world_size=1, is_train=True)
    opt['network_g'] = {'type': 'Half'}
    opt['logger']['print_freq'] = 2
    model = build_model(opt)
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, :, :4, :4] = 1  # the second sample has no region: it has no say in what is inside
    gt = torch.full((2, 3, 8, 8), 0.5)
    gt[0, :, :4, :4] = 0.6
    lq = torch.where(mask > 0, gt + 0.01, gt - 0.2)
    gt[:, :, 6:] = 0.9
    batch = {'lq': lq, 'gt': gt, 'mask': mask, 'lq_path': ['a', 'b']}
    model.feed_data(batch)
    model.optimize_parameters(1)
    assert set(model.log_dict) == {'l_pix'}, 'nothing is computed that is not printed'
    model.net_g.network.value.data.fill_(0.5)
    model.optimize_parameters(2)
    log = model.get_current_log()
    assert log['l_inside'] == pytest.approx(0.1, rel=1e-5)
    assert log['l_outside'] == pytest.approx(0.4 * 2 * 16 / (2 * 64 - 16), rel=1e-5)
    assert log['db_result'] == pytest.approx(20, abs=1e-3) and log['db_input'] == pytest.approx(
        40, abs=1e-3
    )
    model.feed_data({**batch, 'mask': mask * 0})
    model.optimize_parameters(4)
    assert (
        'l_inside' not in model.log_dict
        and 'db_input' not in model.log_dict
        and model.log_dict['l_outside'] > 0
    )


def test_decibels():
    assert decibel(0.01) == pytest.approx(20) and decibel(0) == math.inf


def read_tensorboard(folder):
    event_accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator'
    )
    events = event_accumulator.EventAccumulator(
        str(folder), size_guidance={'images': 0, 'scalars': 0}
    )
    events.Reload()
    return events


def test_what_tensorboard_shows(tmp_path, triplets):
    import cv2
    import numpy as np

    opt = tiny_options(triplets)
    opt['train']['total_iter'] = 4
    opt['val'].update(val_freq=2, tb_images=1, save_img=True)
    opt['logger'].update(use_tb_logger=True, print_freq=2)
    from basicsr.utils.logger import initialized_logger
    from conftest import write_options

    import datasets_ext  # noqa: F401

    initialized_logger.clear()
    logging.getLogger('basicsr').handlers.clear()
    training.run_pipeline(
        'train', arguments(['-opt', str(write_options(tmp_path / 'o.yml', opt))]), str(tmp_path)
    )
    events = read_tensorboard(tmp_path / 'tb_logger' / 'tiny')
    scalars = {
        tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()['scalars']
    }
    rows = [
        f'{row}/tiny_test/{metric}'
        for row in ('metrics', 'input', 'gain')
        for metric in opt['val']['metrics']
    ]
    shown = [
        'losses/l_pix',
        'losses/l_inside',
        'losses/l_outside',
        'dB_inside/input',
        'dB_inside/result',
        'lr/0',
        *rows,
    ]
    assert scalars == {tag: [2, 4] for tag in shown}

    def value(tag):
        return events.Scalars(tag)[-1].value

    for metric in ('composite_psnr', 'masked_psnr'):
        tags = [f'{row}/tiny_test/{metric}' for row in ('metrics', 'input', 'gain')]
        result, unrestored, gain = map(value, tags)
        assert result - unrestored == pytest.approx(gain, abs=1e-4) and 10 < unrestored < 60
    assert events.Tags()['images'] == ['tiny_test/0000'], 'the first one only'
    image = events.Images('tiny_test/0000')[-1]
    strip = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    written = cv2.imread(
        str(tmp_path / 'experiments' / 'tiny' / 'visualization' / '0000' / '0000_4_strip.png')
    )
    assert image.step == 4 and (strip == written).all()
    log = next((tmp_path / 'experiments' / 'tiny').glob('train_*.log')).read_text()
    assert (
        len(
            re.findall(
                r'iter: +\d,.* l_pix: \S+ l_inside: \S+ l_outside: \S+ dB inside: input \d+\.\d\d, result \d+\.\d\d\n',
                log,
            )
        )
        == 2
    )
    assert len(re.findall(r'composite_psnr +input +\d+\.\d+ +result +\d+\.\d+ +gain', log)) == 2


class Terminal(io.StringIO):
    encoding = 'ascii'  # the least that a console can show

    def isatty(self):
        return True


@pytest.mark.parametrize('terminal', [True, False])
def test_a_bar_and_what_is_left_in_a_terminal_only(clock, monkeypatch, terminal):
    opt = tiny_options(Path('nowhere'))
    opt['train']['total_iter'], opt['logger']['pbar'] = 4, True
    opt['val'], screen = {}, Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(progress, 'tqdm', functools.partial(progress.tqdm, file=screen))
    logger = ProgressLogger(opt, 0, None)
    logger.reset_start_time()
    for iteration in (2, 4):
        clock.now += 2 * ITERATION
        logger({'epoch': 0, 'iter': iteration, 'lrs': [1e-3], 'time': ITERATION, 'data_time': 0.0})
    shown = screen.getvalue()
    if not terminal:
        assert shown == ''
        return
    assert re.search(r'tiny:  50%\|#+ *\| 2/4, 0:00:0\d left', shown) and re.search(
        r'tiny: 100%\|#+\| 4/4, 0:00:00 left', shown
    )
    assert shown.isascii() and '\x1b[3' not in shown, 'no colours'
