"""Gradient accumulation: what a step on several batches computes, and that a run with it resumes
exactly.
"""

import logging

import pytest
import torch
from basicsr.models import build_model
from basicsr.utils.logger import initialized_logger
from conftest import make_triplets, tiny_options, write_options
from torch.utils.data import default_collate

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch.commands.train import arguments
from hmaca_arch.training import pipeline as training
from hmaca_arch.training.accumulating import SplitCollate


def sample(number: int, size: int = 16) -> dict:
    generator = torch.Generator().manual_seed(number)
    lq, gt = torch.rand(2, 3, size, size, generator=generator, dtype=torch.float64)
    mask = torch.zeros(1, size, size, dtype=torch.float64)
    mask[:, 2 : 4 + number, 3:9] = 1  # regions of different sizes
    return {'lq': lq, 'gt': gt, 'mask': mask, 'lq_path': f'{number}.png'}


def stepped(tmp_path, parts: int, count: int = 6, steps: int = 3, **train):
    """A model in float64 after some steps, each on `count` samples in so many parts; and the norms
    of its gradients.
    """
    training.install()
    opt = tiny_options(tmp_path)
    opt.update(dist=False, rank=0, world_size=1, is_train=True)
    opt['train'].update(
        accum_iter=parts,
        optim_g={'type': 'SGD', 'lr': 0.1, 'momentum': 0.9},
        ema_decay=0.9,
        **train,
    )
    torch.manual_seed(0)
    model = build_model(opt)
    model.net_g.double(), model.net_g_ema.double()
    for step in range(1, steps + 1):
        model.update_learning_rate(step)
        model.feed_data(SplitCollate(parts)([sample(number) for number in range(count)]))
        model.optimize_parameters(step)
    return model


@pytest.mark.parametrize(
    'train', [{}, {'grad_clip': 0.01}, {'composite': True, 'pixel_opt': {'type': 'L1Loss'}}]
)
def test_parts_equal_one_batch(tmp_path, train):
    whole, parts = stepped(tmp_path, 1, **train), stepped(tmp_path, 3, **train)
    for network in ('net_g', 'net_g_ema'):
        a, b = (dict(getattr(model, network).named_parameters()) for model in (whole, parts))
        assert max((a[name] - b[name]).abs().max().item() for name in a) < 1e-12
    assert whole.log_dict.keys() == parts.log_dict.keys() >= {'l_pix', 'l_inside', 'db_result'}
    for name, value in whole.log_dict.items():
        assert parts.log_dict[name] == pytest.approx(value, rel=1e-9), name
    assert parts.optimizer_g.param_groups[0]['lr'] == whole.optimizer_g.param_groups[0]['lr']
    assert parts.schedulers[0].last_epoch == 2, 'once a step'


def test_one_part_is_not_the_step(tmp_path):
    """The test above can fail: the first batch alone gives other weights."""
    whole, first = stepped(tmp_path, 1), stepped(tmp_path, 1, count=2)
    assert not torch.equal(
        whole.net_g.network.conv_first.weight, first.net_g.network.conv_first.weight
    )


@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
def test_mixed_precision_accumulates(tmp_path, amp):
    def batch(parts):
        samples = [sample(number) for number in range(4)]
        singles = [
            {key: value.float() if torch.is_tensor(value) else value for key, value in item.items()}
            for item in samples
        ]
        return SplitCollate(parts)(singles)

    weights = []
    for parts in (1, 2):
        opt = tiny_options(tmp_path)
        opt.update(dist=False, rank=0, world_size=1, is_train=True)
        opt['train'].update(
            accum_iter=parts, amp=amp, grad_clip=1.0, optim_g={'type': 'SGD', 'lr': 0.1}
        )
        training.install()
        torch.manual_seed(0)
        model = build_model(opt)
        before = model.net_g.network.conv_last.weight.detach().clone()
        model.feed_data(batch(parts))
        model.optimize_parameters(1)
        weights.append(model.net_g.network.conv_last.weight.detach() - before)
    assert weights[0].abs().max() > 0
    assert (weights[0] - weights[1]).abs().max() < 0.02 * weights[0].abs().max()


def test_the_part_that_is_not_finite_is_named_and_no_step_is_taken(tmp_path):
    model = stepped(tmp_path, 2)
    before = {
        name: value.clone()
        for name, value in model.net_g.state_dict().items()
        if torch.is_tensor(value)
    }
    samples = [sample(number) for number in range(6)]
    samples[4]['gt'][0, 0, 0] = float('nan')
    model.feed_data(SplitCollate(2)(samples))
    with pytest.raises(
        ValueError, match=r'iteration 9: the loss is nan on 3\.png, 4\.png, 5\.png\. Look'
    ) as caught:
        model.optimize_parameters(9)
    assert '2.png' not in str(caught.value)
    assert all(torch.equal(value, model.net_g.state_dict()[name]) for name, value in before.items())


def test_samples_keep_their_order_in_parts():
    samples = [sample(number) for number in range(4)]
    parts = SplitCollate(2)(samples)
    assert [part['lq_path'] for part in parts] == [['0.png', '1.png'], ['2.png', '3.png']]
    assert torch.equal(torch.cat([part['lq'] for part in parts]), default_collate(samples)['lq'])
    assert [part['lq'].shape[-1] for part in SplitCollate(2)([sample(0), sample(1, 32)])] == [
        16,
        32,
    ], 'sizes may differ between parts'


def run(folder, options, *more):
    initialized_logger.clear()  # BasicSR opens a log file only once a process
    logging.getLogger('basicsr').handlers.clear()
    training.run_pipeline(
        'train',
        arguments(['-opt', str(write_options(folder / 'o.yml', options)), *more]),
        str(folder),
    )
    log = '\n'.join(
        path.read_text() for path in (folder / 'experiments' / 'tiny').glob('train_*.log')
    )
    return torch.load(
        folder / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth', weights_only=True
    )['params'], log


def test_a_run_takes_the_same_samples_and_resumes_exactly(tmp_path):
    """5 pictures, 2 parts of 2; then a run of one batch of 4; then one that is cut short and goes
    on with other parts.
    """
    make_triplets(tmp_path / 'data' / 'train', 5)
    make_triplets(tmp_path / 'data' / 'test', 1)
    options = tiny_options(tmp_path / 'data')
    options['train'].update(
        total_iter=4, accum_iter=2, optim_g={'type': 'SGD', 'lr': 0.1, 'momentum': 0.9}
    )
    options['datasets']['train'].update(batch_size_per_gpu=2, num_worker_per_gpu=1)
    weights = {}
    for name in ('parts', 'one', 'cut'):
        (tmp_path / name).mkdir()
    weights['parts'], log = run(tmp_path / 'parts', options)
    assert (
        'batch over all processes: 4, in 2 parts one after the other (accum_iter)' in log
        and 'iter:       4' in log
    )
    options['train']['total_iter'] = 2
    run(tmp_path / 'cut', options)
    options['train']['total_iter'] = 4
    weights['cut'], _ = run(tmp_path / 'cut', options, '--auto_resume')
    del options['train']['accum_iter']
    options['datasets']['train']['batch_size_per_gpu'] = 4
    weights['one'], _ = run(tmp_path / 'one', options)
    for name, value in weights['parts'].items():
        assert not torch.is_tensor(value) or torch.equal(value, weights['cut'][name]), name
        assert (
            not torch.is_tensor(value)
            or (value.float() - weights['one'][name].float()).abs().max() < 1e-6
        ), name
