"""What a training writes, when, and what it takes back: the model's part of it, without a run
around it.
"""

import logging
import signal

import pytest
import torch
from basicsr.models import build_model
from conftest import each_device, tiny_options

import losses_ext  # noqa: F401
from hmaca_arch.files.torch_files import load_safely, save_atomically
from hmaca_arch.training import distributed, resuming, stopping
from hmaca_arch.training import pipeline as training

BEST = {
    'test': {
        name: {'better': 'higher', 'val': 3.0, 'iter': 2}
        for name in ('composite_psnr', 'masked_psnr', 'masked_ssim')
    }
}


@pytest.fixture
def make(tmp_path):
    training.install()

    def build(**logger):
        options = tiny_options(tmp_path)
        options['network_g'] = {
            'type': 'SRVGGNetCompact',
            'num_feat': 4,
            'num_conv': 1,
            'upscale': 1,
        }
        folders = {
            name: str(tmp_path / name) for name in ('models', 'training_states', 'visualization')
        }
        for folder in folders.values():
            (tmp_path / folder).mkdir(exist_ok=True)
        options.update(
            dist=False, rank=0, world_size=1, is_train=True, path=folders, sampling={'pictures': 5}
        )
        options['train']['ema_decay'] = 0.9
        options['logger'].update(logger)
        return build_model(options)

    return build


def files(tmp_path) -> list[str]:
    return sorted(
        path.name
        for folder in ('models', 'training_states')
        for path in (tmp_path / folder).iterdir()
    )


def step(model, iteration: int = 1) -> None:
    model.feed_data(
        {
            'lq': torch.rand(1, 3, 8, 8),
            'gt': torch.rand(1, 3, 8, 8),
            'mask': torch.ones(1, 1, 8, 8),
            'lq_path': ['a'],
        }
    )
    model.optimize_parameters(iteration)


@each_device
def test_what_a_save_writes(make, tmp_path):
    model = make()
    step(model)
    assert model.saved_at == 0
    model.best_metric_results = BEST
    model.save(7, 2)
    assert files(tmp_path) == ['2.state', 'net_g_2.pth'] and model.saved_at == 2
    state, weights = (
        load_safely(tmp_path / 'training_states' / '2.state'),
        load_safely(tmp_path / 'models' / 'net_g_2.pth'),
    )
    assert {key: state[key] for key in ('epoch', 'iter', 'best', 'sampling')} == {
        'epoch': 7, 'iter': 2, 'best': BEST, 'sampling': {'pictures': 5},
    }  # fmt: skip
    assert state['scaler'] == model.scaler.state_dict() and state['schedulers'] == [
        model.schedulers[0].state_dict()
    ]
    assert state['optimizers'][0].keys() == {'state', 'param_groups'} and len(
        state['optimizers'][0]['state']
    ) == len(list(model.net_g.parameters()))
    assert list(state) == [
        'epoch',
        'iter',
        'optimizer_types',
        'optimizers',
        'schedulers',
        'scaler',
        'best',
        'sampling',
    ]
    assert list(weights) == ['params', 'params_ema']
    for key, network in (('params', model.net_g.network), ('params_ema', model.net_g_ema)):
        assert weights[key].keys() == network.state_dict().keys()
        assert all(
            torch.equal(value, network.state_dict()[name].cpu())
            for name, value in weights[key].items()
        )
    model.save(7, 1)
    assert model.saved_at == 2, 'the newest'


def test_the_end_of_a_run_is_called_latest_and_has_no_state(make, tmp_path):
    model = make()
    model.save(-1, -1)
    assert files(tmp_path) == ['net_g_latest.pth'] and model.saved_at == 0
    model.save_network(model.net_g, 'net_x', 5, 'weights')
    assert list(load_safely(tmp_path / 'models' / 'net_x_5.pth')) == ['weights']
    with pytest.raises(ValueError):
        model.save_network([model.net_g], 'net_g', 6, ['params', 'params_ema'])


def test_nothing_is_known_yet(make, tmp_path):
    model = make()
    del model.opt['sampling']
    model.save(0, 1)
    state = load_safely(tmp_path / 'training_states' / '1.state')
    assert state['best'] == {} and state['sampling'] == {}


@pytest.mark.parametrize(
    ('logger', 'rank', 'left'),
    [
        ({}, 0, {1, 2, 3, 4}),
        ({'keep_last': 1}, 0, {4}),
        ({'keep_last': 2, 'keep_best': False}, 0, {3, 4}),
        ({'keep_last': 1, 'keep_best': True}, 0, {2, 4}),
        ({'keep_last': 1}, 1, {1, 2, 3, 4}),
    ],
)
def test_which_checkpoints_stay(make, tmp_path, monkeypatch, logger, rank, left):
    model = make(**logger)
    monkeypatch.setattr(distributed, 'rank', lambda: rank)
    model.best_metric_results = BEST
    for iteration in (1, 2, 3, 4):
        model.save(0, iteration)
    assert {int(path.stem) for path in (tmp_path / 'training_states').iterdir()} == left
    assert {int(path.stem[6:]) for path in (tmp_path / 'models').iterdir()} == left


def test_best_is_kept_before_there_was_a_validation(make, tmp_path):
    model = make(keep_last=1, keep_best=True)
    model.save(0, 1)
    model.save(0, 2)
    assert files(tmp_path) == ['2.state', 'net_g_2.pth']


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_stops_before_the_next_iteration(
    make, tmp_path, monkeypatch, caplog, number, code
):
    model = make()
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    caplog.set_level(logging.INFO)
    model.update_learning_rate(4, warmup_iter=8)
    assert files(tmp_path) == [] and model.optimizers[0].param_groups[0]['lr'] == 1e-3 * 4 / 8
    model.update_learning_rate(5)
    monkeypatch.setattr(stopping, 'received', lambda: number)
    with pytest.raises(stopping.Stopped) as stopped:
        model.update_learning_rate(6)
    assert stopped.value.code == code and files(tmp_path) == ['5.state', 'net_g_5.pth']
    assert load_safely(tmp_path / 'training_states' / '5.state')['epoch'] == 0
    assert (
        caplog.messages[-1]
        == 'Stopped after iteration 5, which is saved: --auto_resume goes on from there.'
    )


def test_what_is_saved_is_not_saved_again(make, tmp_path, monkeypatch, caplog):
    model = make()
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    caplog.set_level(logging.INFO)
    model.saved_at = 5
    with pytest.raises(stopping.Stopped):
        model.stop(5, signal.SIGTERM)
    assert files(tmp_path) == []
    model.saved_at = 0
    with pytest.raises(stopping.Stopped):
        model.stop(0, signal.SIGTERM)
    assert (
        files(tmp_path) == []
        and caplog.messages[-1] == 'Stopped after iteration 0, with nothing to save.'
    )
    with pytest.raises(stopping.Stopped):
        model.stop(1, signal.SIGTERM)
    assert (
        files(tmp_path) == ['1.state', 'net_g_1.pth']
        and 'iteration 1, which is saved' in caplog.messages[-1]
    )


@each_device
def test_a_state_is_taken_back(make, tmp_path):
    first = make()
    first.schedulers[0].milestones.update([1])
    step(first)
    first.update_learning_rate(2)
    first.best_metric_results = {
        **BEST,
        'other': {'psnr': {'better': 'higher', 'val': 1.0, 'iter': 1}},
    }
    first.save(3, 2)
    second = make()
    second.schedulers[0].milestones.update([1, 100])
    second.resume_training(load_safely(tmp_path / 'training_states' / '2.state'))
    assert second.saved_at == 2 and second.best_metric_results == BEST, (
        'results of other metrics are forgotten'
    )
    assert (
        first.schedulers[0].get_last_lr()
        == second.schedulers[0].get_last_lr()
        == [pytest.approx(1e-4)]
    )
    assert second.schedulers[0]._step_count == first.schedulers[0]._step_count > 1
    assert second.schedulers[0].last_epoch == 1 and second.schedulers[0].milestones[100] == 1, (
        'the schedule is that of the options'
    )
    taken = [
        optimizer.state_dict()['state'][0]['exp_avg']
        for optimizer in (first.optimizers[0], second.optimizers[0])
    ]
    assert torch.equal(*taken)


def test_a_state_from_before_there_was_a_scaler_or_a_validation(make, tmp_path):
    model = make()
    model.opt['val'] = None
    model.save(0, 2)
    state = load_safely(tmp_path / 'training_states' / '2.state')
    del state['best'], state['scaler'], state['schedulers'][0]['_last_lr']
    model.resume_training(state)
    assert model.saved_at == 2 and model.best_metric_results == {}
    loaded = []
    model.scaler.load_state_dict = loaded.append
    model.resume_training({**state, 'scaler': {'scale': 8.0}})
    assert loaded == [{'scale': 8.0}]


def test_weights_by_key_with_prefix_and_in_the_log(make, tmp_path, monkeypatch, caplog):
    model, other = make(), make()
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    caplog.set_level(logging.INFO)
    for parameter in other.net_g.parameters():
        torch.nn.init.uniform_(parameter)
    theirs = {f'module.{name}': value for name, value in other.net_g.network.state_dict().items()}
    path = str(tmp_path / 'net.pth')
    for content, asked, used in (
        ({'params': theirs}, 'params', 'params'),
        (
            {'params': model.net_g_ema.state_dict(), 'params_ema': theirs},
            'params_ema',
            'params_ema',
        ),
        ({'params': theirs}, 'params_ema', 'params'),
        ({'params': model.net_g_ema.state_dict(), 'mine': theirs}, 'mine', 'mine'),
        (theirs, None, None),
    ):
        model = make()
        save_atomically(content, path)
        model.load_network(model.net_g, path, True, asked)
        assert all(
            torch.equal(value, other.net_g.network.state_dict()[name])
            for name, value in model.net_g.network.state_dict().items()
        )
        assert (
            caplog.messages[-1]
            == f'Loading SRVGGNetCompact model from {path}, with param key: [{used}].'
        )
    model = make()
    save_atomically({'params': theirs, 'params_ema': model.net_g.network.state_dict()}, path)
    model.load_network(model.net_g, path)
    assert torch.equal(model.net_g.network.body[0].weight, other.net_g.network.body[0].weight), (
        'params, unless asked otherwise'
    )
    with pytest.raises(ValueError, match='holds no weights'):
        model.load_network(model.net_g, path, True, None)


def test_the_option_file_says_the_optimizers_settings_and_another_optimizer_is_refused(
    make, tmp_path, caplog, monkeypatch
):
    model = make()
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    step(model)
    model.save(0, 2)
    state = load_safely(tmp_path / 'training_states' / '2.state')
    state['optimizers'][0]['param_groups'][0].update(weight_decay=0.5, lr=0.25, initial_lr=0.75)
    again = make()
    before = again.optimizer_g.param_groups[0]
    wanted = {key: before[key] for key in ('weight_decay', 'initial_lr')}
    assert wanted['weight_decay'] != 0.5
    again.resume_training(state)
    group = again.optimizer_g.param_groups[0]
    assert {key: group[key] for key in wanted} == wanted
    assert group['lr'] == pytest.approx(wanted['initial_lr'] / 3), 'it has fallen as far as before'
    settings = ', now {weight_decay}; initial_lr 0.75, now {initial_lr}'.format(**wanted)
    assert f'AdamW goes on with other settings: weight_decay 0.5{settings}' in caplog.messages
    wrong = {**state, 'optimizer_types': ['Adam']}  # whose settings have the names of AdamW's
    with pytest.raises(
        ValueError, match='AdamW cannot go on from the state of Adam; restore the type'
    ):
        make().resume_training(wrong)
    state['optimizers'][0] = torch.optim.SGD(
        again.net_g.parameters(), lr=1e-3, momentum=0.9
    ).state_dict()
    del state['optimizer_types']  # as BasicSR's own
    with pytest.raises(ValueError) as caught:
        make().resume_training(state)
    text = str(caught.value)
    assert text.startswith(
        'train:optim_g:type: AdamW cannot go on from the state of another optimizer (only one of them has amsgrad, betas, '
    )
    assert text.endswith(
        '); restore the type, or start a run of another name with path: pretrain_network_g'
    )
    assert text.count(', ') == 5, 'five settings are enough to see which'


@pytest.mark.parametrize('named', [True, False])
def test_a_state_of_another_torch_is_gone_on_from(make, tmp_path, named):
    """AdamW has had `decoupled_weight_decay` since torch 2.7."""
    model = make()
    step(model)
    model.save(0, 2)
    state = load_safely(tmp_path / 'training_states' / '2.state')
    if not named:
        del state['optimizer_types']
    (group,) = state['optimizers'][0]['param_groups']
    group.pop('decoupled_weight_decay', None)
    again = make()
    wanted = again.optimizer_g.param_groups[0].keys()
    again.resume_training(state)
    assert wanted <= again.optimizer_g.param_groups[0].keys()
    step(again)


def test_weights_that_do_not_fit_are_an_error_with_the_file_unless_asked_for(make, tmp_path):
    model, path = make(), tmp_path / 'net.pth'
    before = {name: value.clone() for name, value in model.net_g.network.state_dict().items()}
    theirs = {
        **before,
        'body.0.bias': torch.full((4,), 9.0),
        'body.2.weight': torch.ones(1),
        'extra': torch.ones(1),
    }
    save_atomically({'params': theirs}, path)
    for load in (
        lambda: model.load_network(model.net_g, str(path)),
        lambda: model.load_network(model.net_g, str(path), True, 'params'),
    ):
        with pytest.raises(ValueError) as caught:
            load()
        assert str(caught.value) == (
            f'{path}: the checkpoint is of another network: 1 are in the checkpoint only: extra; 1 have another shape: '
            f'body.2.weight (1,) in the checkpoint, {tuple(before["body.2.weight"].shape)} here'
        )
        assert all(
            torch.equal(value, before[name])
            for name, value in model.net_g.network.state_dict().items()
        )
    model.load_network(model.net_g, str(path), False)
    after = model.net_g.network.state_dict()
    assert (after['body.0.bias'] == 9).all() and torch.equal(
        after['body.2.weight'], before['body.2.weight']
    )


def test_a_state_comes_with_its_weights(make, tmp_path):
    """Of what a save leaves behind at any moment, the newest pair that is whole is taken."""
    model = make()
    model.save(0, 1)
    model.save_network(model.net_g, 'net_g', 2)
    assert (
        resuming.newest_checkpoint(tmp_path / 'training_states', tmp_path / 'models')[1]['iter']
        == 1
    )


@pytest.mark.parametrize(
    'schedule',
    [
        {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5},
        {'type': 'MultiStepRestartLR', 'milestones': [2], 'gamma': 0.5},
        {'type': 'CosineAnnealingRestartLR', 'periods': [9]},
    ],
)
def test_a_changed_learning_rate_is_taken_by_every_schedule(make, tmp_path, schedule):
    """From the resumed iteration on the rates are those of a run that had the new one from its
    start.
    """

    def rates(lr: float, first: int, last: int, resume: int | None = None) -> list[float]:
        model = make()
        model.schedulers.clear()
        for group in model.optimizers[0].param_groups:
            group.update(lr=lr, initial_lr=lr)
        model.opt['train']['scheduler'] = dict(schedule)
        model.setup_schedulers()
        if resume:
            model.resume_training(load_safely(tmp_path / 'training_states' / f'{resume}.state'))
        found = []
        for iteration in range(first, last + 1):
            model.update_learning_rate(iteration)
            step(model, iteration)
            found.append(model.get_current_learning_rate()[0])
        model.save(0, last)
        return found

    wanted = rates(1e-4, 1, 6)
    before = rates(1e-3, 1, 4)
    assert before[-1] == pytest.approx(10 * wanted[3]) and before[-1] < before[0]
    assert rates(1e-4, 5, 6, resume=4) == pytest.approx(wanted[4:])
    rates(1e-3, 1, 4)
    assert rates(1e-3, 5, 6, resume=4) == pytest.approx([10 * rate for rate in wanted[4:]])


MULTI = {'type': 'MultiStepLR', 'gamma': 0.5}
COSINE = {'type': 'CosineAnnealingRestartLR', 'eta_min': 1e-7}


@pytest.mark.parametrize('warmup', [-1, 3])
@pytest.mark.parametrize(
    ('before', 'now', 'told'),
    [
        ({**MULTI, 'milestones': [7]}, {**MULTI, 'milestones': [3]}, 'milestones [7], now [3]'),
        ({**MULTI, 'milestones': [3]}, {**MULTI, 'milestones': [6]}, 'milestones [3], now [6]'),
        (
            {**MULTI, 'milestones': [3]},
            {**MULTI, 'milestones': [3, 3], 'gamma': 0.1},
            'gamma 0.5, now 0.1',
        ),
        (
            {**MULTI, 'milestones': [2]},
            {**MULTI, 'milestones': [5], 'restarts': [0, 3], 'restart_weights': [1, 0.3]},
            'restarts [0], now [0, 3]',
        ),
        ({**COSINE, 'periods': [4]}, {**COSINE, 'periods': [8]}, 'periods [4], now [8]'),
        ({**MULTI, 'milestones': [3]}, {**COSINE, 'periods': [8]}, 'periods None, now [8]'),
        ({**MULTI, 'milestones': [3]}, {**MULTI, 'milestones': [3]}, ''),
    ],
)
def test_a_changed_schedule_is_taken(make, tmp_path, caplog, before, now, told, warmup):
    """From the resumed iteration on the rates are those of a run that had it from its start."""

    def rates(schedule: dict, last: int, resume: int = 0) -> list[float]:
        model = make()
        model.schedulers.clear()
        for group in model.optimizers[0].param_groups:
            group.update(lr=1e-3, initial_lr=1e-3)
        model.opt['train'].update(scheduler=dict(schedule), warmup_iter=warmup)
        model.setup_schedulers()
        if resume:
            model.resume_training(load_safely(tmp_path / 'training_states' / f'{resume}.state'))
        found = []
        for iteration in range(resume + 1, last + 1):
            model.update_learning_rate(iteration, warmup)
            step(model, iteration)
            found.append(model.get_current_learning_rate()[0])
        model.save(0, last)
        return found

    wanted = rates(now, 8)
    rates(before, 4)
    logging.getLogger('basicsr').addHandler(caplog.handler)
    try:
        assert rates(now, 8, resume=4) == pytest.approx(wanted[4:], rel=1e-12)
    finally:
        logging.getLogger('basicsr').removeHandler(caplog.handler)
    assert told in caplog.text and bool(told) == ('goes on with other settings' in caplog.text)


def test_a_schedule_that_had_stopped_learning_goes_on(make, tmp_path):
    """A rate of 0 cannot be multiplied back."""
    schedule = {**MULTI, 'milestones': [2], 'gamma': 0}
    for resume in (0, 4):
        model = make()
        model.schedulers.clear()
        model.opt['train']['scheduler'] = {**schedule, 'gamma': 0.5 if resume else 0}
        model.setup_schedulers()
        if resume:
            model.resume_training(load_safely(tmp_path / 'training_states' / '4.state'))
            assert model.get_current_learning_rate()[0] == pytest.approx(5e-4)
            return
        for iteration in range(1, 5):
            model.update_learning_rate(iteration)
            step(model, iteration)
        assert model.get_current_learning_rate()[0] == 0
        model.save(0, 4)
