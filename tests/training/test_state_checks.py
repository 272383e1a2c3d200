"""Training states of strangers, and of other networks: each goes on, or ends in one line."""

import copy

import pytest
import torch
from basicsr.models import build_model
from conftest import tiny_options, write_options
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import losses_ext  # noqa: F401
from hmaca_arch.config.training_checks import optimizers
from hmaca_arch.files.torch_files import load_safely
from hmaca_arch.training import pipeline
from hmaca_arch.training.state_checks import check_optimizer, check_state

STATE = {'epoch': 0, 'iter': 4, 'optimizers': [], 'schedulers': []}
BEST = {'better': 'higher', 'val': 3.0, 'iter': 2}


@pytest.mark.parametrize(
    'more',
    [
        {'iter': '../../x'}, {'iter': -1}, {'iter': True}, {'iter': 10**30}, {'epoch': None},
        {'optimizers': 3}, {'schedulers': [1]}, {'sampling': 3}, {'sampling': {'seed': 'x'}},
        {'sampling': {'seed': -1}}, {'sampling': {'names': [1]}}, {'best': []},
        {'best': {'test': 3}}, {'best': {'test': {'psnr': 3}}}, {'best': {'test': {'psnr': {}}}},
        {'best': {'test': {'psnr': {**BEST, 'iter': 'x'}}}},
        {'best': {'test': {'psnr': {**BEST, 'val': 'x'}}}},
        {'best': {'test': {'psnr': {**BEST, 'better': 'x'}}}},
        {'scaler': 'x'}, {'scaler': {'scale': 'x'}}, {'scaler': {'scale': float('nan')}},
        {'schedulers': [{'last_epoch': 'x'}]}, {'schedulers': [{'_step_count': 1.5}]},
        {'schedulers': [{'_last_lr': ['x']}]}, {'schedulers': [{'_last_lr': [float('inf')]}]},
        {'schedulers': [{'_last_lr': 3}]}, {'schedulers': [{'_last_lr': {}}]},
    ],
)  # fmt: skip
def test_training_states_hold_what_they_should(more):
    best = {'test': {'psnr': {**BEST, 'val': float('-inf')}}}
    check_state({**STATE, 'best': best, 'sampling': {'seed': 3, 'names': None}})
    with pytest.raises((ValueError, TypeError)):
        check_state({**STATE, **more})


def stepped(kind: str, **more) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A small network after one step of an optimizer."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 1))
    optimizer = optimizers()[kind](network.parameters(), lr=1e-3, **more)
    network(torch.rand(1, 3, 8, 8)).square().mean().backward()
    optimizer.step()
    return network, optimizer


KINDS = sorted(optimizers().keys() - {'Optimizer', 'LBFGS', 'SparseAdam', 'Muon'})


@pytest.mark.parametrize('kind', KINDS)
def test_every_optimizers_own_state_fits(kind, tmp_path):
    _, optimizer = stepped(kind)
    torch.save(optimizer.state_dict(), tmp_path / 'a.pth')
    check_optimizer(optimizer, load_safely(tmp_path / 'a.pth'))


@pytest.mark.parametrize(
    ('kind', 'more', 'key'),
    [
        ('AdamW', {}, 'exp_avg'), ('Adam', {'amsgrad': True}, 'max_exp_avg_sq'),
        ('SGD', {'momentum': 0.9}, 'momentum_buffer'), ('RMSprop', {}, 'square_avg'),
        ('Adafactor', {}, 'row_var'),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit(kind, more, key):
    """Each would end in a traceback at the first step, or in wrong arithmetic without a word."""
    _, optimizer = stepped(kind, **more)
    for wrong, said in (
        (torch.zeros(2, 5), 'has shape'),
        (torch.zeros(()), 'has shape'),
        ('x', "is 'x'"),
        (None, 'is None'),
        (torch.zeros(4, 3, 3, 3).to_sparse(), 'expected a dense one'),
        (torch.zeros(4, 3, 3, 3, device='meta'), 'expected a dense one'),
        (torch.zeros(1).expand(4, 3, 3, 3), 'its tensors claim'),
    ):
        state = copy.deepcopy(optimizer.state_dict())
        state['state'][0][key] = wrong
        with pytest.raises(ValueError, match=said):
            check_optimizer(optimizer, state)
    state['state'][0] = {'other': 1}
    with pytest.raises(ValueError, match=r'parameter 0: \w+ is missing'):
        check_optimizer(optimizer, state)


def test_counts_and_rates_that_do_not_fit():
    _, optimizer = stepped('AdamW')
    state = optimizer.state_dict()
    for change, said in (
        ({'param_groups': []}, '0 groups, here 1'),
        ({'param_groups': [{**state['param_groups'][0], 'params': [0]}]}, '1 parameters, here 4'),
        ({'param_groups': [{**state['param_groups'][0], 'lr': 'x'}]}, "lr is 'x'"),
        ({'param_groups': [{**state['param_groups'][0], 'lr': float('nan')}]}, 'lr is nan'),
        ({'param_groups': [{**state['param_groups'][0], 'params': ['a'] * 4}]}, 'has no number'),
    ):
        with pytest.raises(ValueError, match=said):
            check_optimizer(optimizer, {**state, **change})


def test_a_step_counted_by_another_version_of_torch_fits():
    _, optimizer = stepped('AdamW')
    state = optimizer.state_dict()
    state['state'][0]['step'] = 1
    check_optimizer(optimizer, state)
    state['state'] = {}  # parameters that had no gradient
    check_optimizer(optimizer, state)


@pytest.fixture(scope='module')
def sound(tmp_path_factory):
    """What builds a model, and a state that fits it."""
    pipeline.install()
    folder = tmp_path_factory.mktemp('states')
    options = tiny_options(folder)
    options['network_g'] = {
        'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': 1,
    }  # fmt: skip
    options['path'] = {name: str(folder) for name in ('models', 'training_states')}
    options.update(dist=False, rank=0, world_size=1, is_train=True, sampling={'pictures': 5})

    def build():
        return build_model(copy.deepcopy(options))

    model = build()
    step(model)
    model.best_metric_results = {'test': {metric: BEST for metric in options['val']['metrics']}}
    model.save(0, 2)
    return build, load_safely(folder / '2.state')


def step(model) -> None:
    torch.manual_seed(0)
    model.update_learning_rate(3)
    model.feed_data(
        {
            'lq': torch.rand(1, 3, 8, 8),
            'gt': torch.rand(1, 3, 8, 8),
            'mask': torch.ones(1, 1, 8, 8),
            'lq_path': ['a'],
        }
    )
    model.optimize_parameters(3)


def places(value, place=()) -> list[tuple]:
    """Every place in nested sections and lists."""
    found = [place] if place else []
    if isinstance(value, dict):
        items = value.items()
    else:
        items = enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*place, key))
    return found


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3),
    st.just([]), st.just({}), st.just(10**400),
    st.sampled_from([(), (0,), (1,), (2, 5), (4, 3, 3, 3)]).map(torch.zeros),
    st.just(torch.zeros(4, 3, 3, 3, dtype=torch.complex64)),
    st.just(torch.full((4, 3, 3, 3), float('nan'))),
)  # fmt: skip


@settings(max_examples=150)
@given(data=st.data())
def test_any_change_of_a_state_goes_on_or_is_one_line(sound, data):
    """Whatever is put in one place: refused by a ValueError, or a step and a save work."""
    build, whole = sound
    place = data.draw(st.sampled_from(places(whole)))
    state = copy.deepcopy(whole)
    inside = state
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = data.draw(ODD)
    try:
        check_state(state)
    except (ValueError, TypeError, KeyError):
        return  # which `resuming` tells in one line
    model = build()
    try:
        model.resume_training(state)
        step(model)
    except ValueError:
        return
    model.save(0, 3)


def test_a_state_of_another_form_ends_in_one_line(basicsr_here, triplets, tmp_path):
    opt = tiny_options(triplets)
    opt['train']['total_iter'] = 2
    path = write_options(tmp_path / 'o.yml', opt)
    assert basicsr_here('train', '-opt', path) == (0, '')
    state = tmp_path / 'experiments' / 'tiny' / 'training_states' / '2.state'
    whole = load_safely(state)
    wider = copy.deepcopy(whole['optimizers'])
    wider[0]['state'][0]['exp_avg'] = torch.zeros(64, 3, 3, 3)
    for change, said in (
        ({'optimizers': [{}]}, 'does not fit this run'),
        ({'optimizers': [{'param_groups': [{}], 'state': {}}]}, 'does not fit this run'),
        ({'optimizers': [{'param_groups': 3}]}, 'does not fit this run'),
        ({'optimizers': wider}, 'exp_avg has shape (64, 3, 3, 3), here (32, 3, 3, 3)'),
    ):
        torch.save({**whole, **change}, state)
        code, error = basicsr_here(
            'train', '-opt', path, '--force_yml', f'path:resume_state={state}', 'train:total_iter=4'
        )
        assert code == 1 and said in error
