"""Checkpoints from strangers: nothing in them is executed, whichever way they come in, and what
does not fit is told in one line.
"""

import os
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network
from conftest import status_of, tiny_options, write_options

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch import inference
from hmaca_arch.config import presence
from hmaca_arch.config.completing import complete
from hmaca_arch.experiments.comparison import methods
from hmaca_arch.experiments.comparison.data import find_data
from hmaca_arch.experiments.comparison.measure import measure

NETWORK = {'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': 1}


class Program:
    """What loading a pickle of this without care does: make a file."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, 'w')


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """Where a program would leave its trace; torch is told to load everything that does not ask
    otherwise.
    """
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    torch.save({'params': Program(tmp_path / 'proof')}, tmp_path / 'proof.pth')
    torch.load(tmp_path / 'proof.pth')
    assert (tmp_path / 'proof').exists(), 'such a file is executed by those who load it so'
    return tmp_path / 'executed'


@pytest.fixture
def options(triplets):
    options = {**tiny_options(triplets), 'network_g': NETWORK}
    options['train']['total_iter'] = 4
    return options


def poison(path: Path, trace: Path, **more) -> Path:
    """A program among weights, or instead of a state's optimizers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {'params': {**build_network(NETWORK).state_dict(), 'extra': Program(trace)}, **more}, path
    )
    return path


REFUSED = f'it holds {open.__module__}.open besides tensors and plain values, and loading that could execute code'


@pytest.mark.parametrize('command', ['train', 'test', 'check'])
def test_pretrain_network_g(basicsr_here, options, tmp_path, trace, command):
    options['path']['pretrain_network_g'] = str(poison(tmp_path / 'bad.pth', trace))
    more = ['--data', '--workers', 1] if command == 'check' else []
    code, error = basicsr_here(command, '-opt', write_options(tmp_path / 'o.yml', options), *more)
    assert (
        code == 1
        and f'bad.pth cannot be read as a checkpoint: {REFUSED}' in error
        and not trace.exists()
    )


def test_a_state_and_the_weights_beside_it(basicsr_here, options, tmp_path, trace):
    """By `resume_state`: either is refused. By `--auto_resume`: either is skipped for what is
    older, and whole.
    """
    path = write_options(tmp_path / 'o.yml', options)
    assert basicsr_here('train', '-opt', path) == (0, '')
    experiment = tmp_path / 'experiments' / 'tiny'
    state, weights = (
        experiment / 'training_states' / '4.state',
        experiment / 'models' / 'net_g_4.pth',
    )
    whole = weights.read_bytes()
    poison(weights, trace)
    code, error = basicsr_here('train', '-opt', path, '--force_yml', f'path:resume_state={state}')
    assert code == 1 and f'net_g_4.pth: not a checkpoint that can be read: {REFUSED}' in error
    assert basicsr_here('train', '-opt', path, '--auto_resume') == (
        0,
        '',
    )  # from iteration 2: 4 is written anew
    assert weights.read_bytes() == whole
    poison(state, trace, epoch=0, iter=4, optimizers=[], schedulers=[])
    code, error = basicsr_here('train', '-opt', path, '--force_yml', f'path:resume_state={state}')
    assert code == 1 and '4.state is not a whole training state' in error and REFUSED in error
    assert basicsr_here('train', '-opt', path, '--auto_resume') == (0, '')
    for name in ('2.state', '4.state'):
        poison(state.with_name(name), trace, epoch=0, iter=4, optimizers=[], schedulers=[])
    code, error = basicsr_here('train', '-opt', path, '--auto_resume')
    assert code == 1 and 'none of the checkpoints is complete' in error
    assert not trace.exists()


def test_a_state_that_lacks_parts(basicsr_here, options, tmp_path):
    torch.save({'epoch': 0, 'iter': 4}, tmp_path / '4.state')
    path = write_options(tmp_path / 'o.yml', options)
    code, error = basicsr_here(
        'train', '-opt', path, '--force_yml', f'path:resume_state={tmp_path / "4.state"}'
    )
    assert code == 1 and "is not a whole training state (KeyError: 'optimizers')" in error


def test_restore_compare_export_and_from_python(
    basicsr_here, options, triplets, tmp_path, trace, capsys
):
    bad = poison(tmp_path / 'bad.pth', trace)
    write_options(tmp_path / 'network.yml', {'name': 'network', 'network_g': NETWORK})
    picture, mask = (triplets / 'test' / kind / '0000.png' for kind in ('lq', 'mask'))
    for more in ((), ('-opt', 'network.yml')):
        code, error = basicsr_here(
            'restore', '-i', picture, '-m', mask, '-o', 'out.png', '--weights', bad, *more
        )
        assert code == 1 and REFUSED in error
    for network in ('bad.pth', 'network.yml,bad.pth'):
        with pytest.raises(ValueError, match=REFUSED):
            methods.network(network)
    assert status_of('export', '--weights', 'bad.pth', '-o', 'net.onnx', '--dynamic') == 1
    assert REFUSED in capsys.readouterr().err
    with pytest.raises(ValueError, match=REFUSED):
        inference.load_restorer(bad, device='cpu')
    assert not trace.exists() and not {'out.png', 'net.onnx'} & set(os.listdir(tmp_path))


WIDER = {**NETWORK, 'num_feat': 8, 'num_conv': 60}  # 241 weights where the other has 8


def other_weights(path: Path, section: dict) -> Path:
    torch.save({'params': build_network(section).state_dict()}, path)
    return path


@pytest.mark.parametrize('command', ['train', 'test', 'resume', 'restore', 'compare'])
def test_another_architecture_is_told_briefly(basicsr_here, options, triplets, tmp_path, command):
    """How many weights are missing, unknown or of another shape, and three of each: one line,
    nothing written.
    """
    weights = other_weights(tmp_path / 'other.pth', WIDER)
    if command == 'compare':
        write_options(tmp_path / 'network.yml', {'name': 'network', 'network_g': NETWORK})
        with pytest.raises(ValueError) as caught:
            measure(
                methods.network('network.yml,other.pth'), find_data(str(triplets / 'test')), 'cpu'
            )
        error = str(caught.value)
    elif command == 'restore':
        write_options(tmp_path / 'network.yml', {'name': 'network', 'network_g': NETWORK})
        picture, mask = (triplets / 'test' / kind / '0000.png' for kind in ('lq', 'mask'))
        error = basicsr_here(
            'restore',
            '-i',
            picture,
            '-m',
            mask,
            '-o',
            'out.png',
            '--weights',
            weights,
            '-opt',
            'network.yml',
        )[1]
        assert not (tmp_path / 'out.png').exists()
    elif command == 'resume':
        path = write_options(tmp_path / 'o.yml', options)
        assert basicsr_here('train', '-opt', path) == (0, '')
        options['network_g'] = WIDER
        path = write_options(tmp_path / 'o.yml', options)
        error = basicsr_here('train', '-opt', path, '--auto_resume')[1]
        assert 'weights are missing in the checkpoint: body.' in error and 'net_g_4.pth: ' in error
    else:
        options['path']['pretrain_network_g'] = str(weights)
        error = basicsr_here(command, '-opt', write_options(tmp_path / 'o.yml', options))[1]
    assert (
        'the checkpoint is of another network: ' in error
        and 100 < len(error) < 700
        and '\n' not in error
    )
    assert 'have another shape: body.0.bias (' in error
    if command != 'resume':
        assert (
            'are in the checkpoint only: body.10.bias, body.10.weight, body.100.bias, ...; '
            in error
        )
        assert 'body.0.bias (8,) in the checkpoint, (4,) here' in error


def test_another_hmaca_is_told_by_its_settings_too(basicsr_here, options, tmp_path, triplets):
    here = tiny_options(triplets)['network_g']
    options['network_g'] = here
    options['path']['pretrain_network_g'] = str(
        other_weights(tmp_path / 'other.pth', {**here, 'depths': [1, 1], 'num_heads': [2, 2]})
    )
    code, error = basicsr_here('train', '-opt', write_options(tmp_path / 'o.yml', options))
    assert code == 1 and 'depths is [1, 1] in the checkpoint, [1] here; num_heads is ' in error
    assert ' are in the checkpoint only: cross_attentions.1.' in error and len(error) < 900


def test_a_description_that_names_no_network(tmp_path, triplets):
    opt = tiny_options(triplets)
    opt['network_g'] = {
        'type': 'SRVGGNetCompact',
        'num_feat': 4,
        'num_conv': 1,
        'upscale': 1,
        'mask_input': 'channel',
    }
    described = {
        '_extra_state': torch.tensor(
            list(b'{"network": "MaskInput", "settings": {}}'), dtype=torch.uint8
        )
    }
    torch.save({'params': described}, tmp_path / 'other.pth')
    opt['path']['pretrain_network_g'] = str(tmp_path / 'other.pth')
    (line,) = presence.missing(complete(opt, True, str(tmp_path)))
    assert (
        line
        == 'path:pretrain_network_g: _extra_state of the checkpoint names no network inside MaskInput'
    )


def test_a_description_that_its_weights_belie(tmp_path, triplets):
    """A stranger's file says one thing and holds another."""
    weights = build_network(tiny_options(triplets)['network_g']).state_dict()
    weights['conv_first.weight'] = torch.zeros(1)
    torch.save({'params': weights}, tmp_path / 'other.pth')
    with pytest.raises(
        ValueError,
        match=r'1 have another shape: conv_first\.weight \(1,\) in the checkpoint, \(32, 3, 3, 3\) here',
    ) as caught:
        inference.load_restorer(tmp_path / 'other.pth', device='cpu')
    assert len(str(caught.value)) < 400
