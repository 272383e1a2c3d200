"""What a run needs and does not find on this machine is told before an earlier run of its name is
moved aside.
"""

import pytest
import torch
from basicsr.archs import build_network
from conftest import ROOT, changed, status_of, tiny_options, write_options

from hmaca_arch import cli
from hmaca_arch.config import completing, presence
from hmaca_arch.config import files as options


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """What a training says that does not begin, and moves no earlier run of its name aside."""

    def run(opt) -> str:
        monkeypatch.chdir(tmp_path)
        earlier = tmp_path / 'experiments' / 'tiny'
        earlier.mkdir(parents=True)
        with pytest.raises(SystemExit) as end:
            cli.main(['train', '-opt', str(write_options(tmp_path / 'o.yml', opt))])
        assert end.value.code == 1 and [path.name for path in earlier.parent.iterdir()] == ['tiny']
        return capsys.readouterr().err

    return run


def test_a_missing_mask_is_found_before_an_earlier_run_is_moved_aside(triplets, refused, tmp_path):
    (triplets / 'train' / 'mask' / '0003.png').unlink()
    opt = changed(tiny_options(triplets), {'datasets:val:dataroot_lq': 'nowhere', 'num_gpu': 99})
    found = refused(opt)
    assert (
        'missing: 0003' in found
        and f'datasets:val:dataroot_lq: {tmp_path}' in found
        and 'num_gpu: the file asks for 99' in found
    )


def test_what_several_gpus_in_one_process_and_none_cannot_do(triplets, tmp_path, monkeypatch):
    opt = completing.complete(tiny_options(triplets), True, str(tmp_path))
    opt['num_gpu'], opt['train']['amp'] = 'auto', 'bf16'

    def refused(**more):
        return [*presence.missing({**opt, **more}), *presence.not_in_one_process({**opt, **more})]

    assert refused() == refused(num_gpu=0) == []
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert refused() == [
        'train:amp: bf16 becomes float16 where one process feeds 2 GPUs; start one for each (torchrun, --launcher pytorch), '
        'or set num_gpu: 1'
    ]
    assert (
        refused(num_gpu=1)
        == refused(is_train=False)
        == refused(train={**opt['train'], 'amp': 'fp16'})
        == []
    )
    assert refused(num_gpu=0) == []


def test_bf16_is_refused_without_a_launcher_only(triplets, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    opt = changed(tiny_options(triplets), {'num_gpu': 'auto', 'train:amp': 'bf16'})
    assert 'bf16 becomes float16' in refused(opt)
    assert status_of('check', '-opt', tmp_path / 'o.yml') == 0


def test_a_test_without_data_or_weights_says_what_makes_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opt = completing.complete(
        options.load(ROOT / 'options' / 'train_hmaca_horse_pix.yml'), False, str(tmp_path)
    )
    data, weights = presence.missing(opt)
    assert (
        'datasets:val:dataroot_lq: ' in data
        and '; to prepare it: get horse2zebra.zip ' in data
        and 'run `basicsr make-dataset ' in data
    )
    assert weights.endswith(
        'net_g_latest.pth does not exist; expected a checkpoint: train it first, or name another'
    )


def test_weights_are_looked_into(tmp_path, triplets):
    opt = completing.complete(tiny_options(triplets), True, str(tmp_path))

    def found(param_key, states):
        torch.save(states, tmp_path / 'w.pth')
        opt['path'].update(pretrain_network_g=str(tmp_path / 'w.pth'), param_key_g=param_key)
        return presence.missing(opt)

    weights = build_network(opt['network_g']).state_dict()
    assert (
        found('params', {'params': weights})
        == found('params_ema', {'params': weights})
        == found(None, weights)
        == []
    )
    assert (
        found('params', {'params': {f'module.{key}': value for key, value in weights.items()}})
        == []
    )  # of a wrapped network
    assert (
        "path:param_key_g: there is no 'foo'" in found('foo', {'params': {}})[0]
    )  # BasicSR would silently take params
    assert 'did you mean params_ema' in found('param_ema', {'params': {}, 'params_ema': {}})[0]
    assert 'holds list, expected the weights' in found('params', [1])[0]
    assert 'holds no weights' in found('params', {'params': {}})[0]
    torch.save({'params': weights}, tmp_path / 'w.pth', _use_new_zipfile_serialization=False)
    assert presence.missing(changed(opt, {'path:param_key_g': 'params'})) == []
    (tmp_path / 'w.pth').write_bytes(b'torn')
    (line,) = presence.missing(opt)
    assert 'cannot be read as a checkpoint' in line and '\n' not in line


def test_weights_of_another_network_are_found_before_anything_is_moved(tmp_path, triplets, refused):
    opt = tiny_options(triplets)
    torch.save(
        {'params': build_network({**opt['network_g'], 'embed_dim': 48}).state_dict()},
        tmp_path / 'w.pth',
    )
    opt['path'] = {'pretrain_network_g': str(tmp_path / 'w.pth')}
    found = refused(opt)
    assert (
        'path:pretrain_network_g: the checkpoint is of another network: embed_dim is 48 in the checkpoint'
        in found
    )
    opt['path']['strict_load_g'] = False  # on purpose, for fine-tuning
    assert presence.missing(completing.complete(opt, True, str(tmp_path))) == []


class Pairs(list):
    """A data set of `images` images, or of an error."""

    def __init__(self, opt):
        if isinstance(opt['images'], str):
            raise RuntimeError(opt['images'])
        super().__init__(range(opt['images']))
        opt['nested']['seen'] = True  # of a copy


@pytest.mark.parametrize(
    ('changes', 'how', 'expected'),
    [
        ({}, {}, []),
        ({'num_gpu': 2}, {}, []),
        ({'num_gpu': 3}, {}, ['num_gpu: the file asks for 3, torch sees 2; set num_gpu: auto (or 0 for the CPU)']),
        ({'num_gpu': 3}, {'distributed': True}, []),
        ({'num_gpu': 'auto'}, {}, []),
        ({'logger': {'wandb': {'project': 'p'}}}, {}, ['logger:wandb: the package wandb is not installed: pip install wandb']),
        ({'logger': {'wandb': {'project': None}}}, {}, []),
        ({'logger': {'wandb': None}}, {}, []),
        ({'logger': None}, {}, []),
        ({'datasets:val': {'type': 'Pairs', 'images': 0, 'nested': {}}}, {}, ['datasets:val: no images found']),
        ({'datasets:val': {'type': 'Pairs', 'images': 'a\nb', 'nested': {}}}, {}, ['datasets:val: a\\nb']),
        ({'datasets:val': {'type': 'Pairs', 'images': 'a\nb', 'nested': {}}}, {'open_data': False}, []),
        ({'datasets:val:dataroot_lq': 'gone'}, {}, ['datasets:val:dataroot_lq: HERE/gone does not exist']),
        ({'datasets:val:dataroot_lq': 'gone', 'datasets:val:meta_info_file': 'a', 'datasets:val:dataroot_gt': 'b', 'datasets:val:prepare': 'make it'}, {},
         ['datasets:val:dataroot_lq: HERE/gone does not exist (nor meta_info_file, dataroot_gt); to prepare it: make it']),
        ({'datasets:val:dataroot_lq': ['gone'], 'datasets:val:meta_info': 'gone', 'datasets:val:dataroot_gt': '.'}, {}, []),
        ({'network_g': {'type': 'A', 'load_path': 'w.pth', 'other': 'w.pth', 'b_path': '', 'c_path': None, 'd_path': 'here.pth'}}, {},
         ['network_g:load_path: HERE/w.pth does not exist; expected the weights that A begins with']),
        ({'network_d': 3, 'other': {'load_path': 'w.pth'}}, {}, []),
        ({'path:resume_state': 'a.state'}, {}, ['path:resume_state: HERE/a.state does not exist; expected training_states/N.state']),
        ({'path:resume_state': 'here.pth', 'path:pretrain_network_g': None, 'path:ignore_resume_networks': True}, {}, []),
        ({'path:pretrain_network_d': 'a.pth'}, {}, ['path:pretrain_network_d: HERE/a.pth does not exist; expected a checkpoint: train it first, or name another']),
        ({'path:pretrain_network_d': 'a.pth'}, {'resumes': True}, []),
        ({'path:pretrain_network_d': 'here.pth'}, {}, ['path:param_key_d: there is no \'params\' in HERE/here.pth (known: none)']),
        ({'path:pretrain_network_d': 'here.pth', 'path:param_key_d': None}, {}, []),  # there is no network_d to compare with
    ],
)  # fmt: skip
def test_every_thing_that_is_missing_has_its_line(tmp_path, monkeypatch, changes, how, expected):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(presence.importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(presence, 'DATASET_REGISTRY', {'Pairs': Pairs})
    torch.save({'x': torch.zeros(1)}, 'here.pth')
    pairs = {'type': 'Pairs', 'images': 1, 'nested': {}}
    opt = changed(
        {'num_gpu': 0, 'datasets': {'val': pairs}, 'path': {}, 'name': 'n', 'network_g': {'type': 'A'}}, changes
    )  # fmt: skip
    assert presence.missing(opt, **how) == [
        line.replace('HERE', str(tmp_path)) for line in expected
    ]
    assert pairs['nested'] == {}


def test_without_a_gpu_a_launcher_cannot_help(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    opt = {'num_gpu': 1, 'datasets': {}, 'path': {}}
    (line,) = presence.missing(opt, distributed=True)
    assert line.startswith('num_gpu: the file asks for 1, torch sees 0; ')
    assert (
        presence.missing({**opt, 'num_gpu': 0})
        == presence.missing({**opt, 'num_gpu': 'auto'})
        == []
    )


def test_what_is_in_a_checkpoint_is_told(tmp_path):
    path = tmp_path / 'w.pth'
    key = 'pretrain_network_g'

    def found(states, section=None, **more):
        torch.save(states, path)
        opt = {
            'path': {key: str(path), **more},
            'network_g': section or tiny_options(tmp_path)['network_g'],
        }
        return list(presence.misfit_of_weights(opt, key))

    weights = build_network(tiny_options(tmp_path)['network_g']).state_dict()
    assert found({'params': weights}) == found({'params': weights}, param_key_g='params_ema') == []
    assert found(weights, param_key_g=None) == []
    assert found([1]) == [f'path:{key}: {path} holds list, expected the weights of a network']
    (line,) = found({'paramss': weights, 'n': 1})
    assert (
        line
        == f"path:param_key_g: there is no 'params' in {path} (did you mean paramss? known: paramss)"
    )
    assert found({'a': weights}, param_key_g='params_ema') == [
        f"path:param_key_g: there is no 'params_ema' in {path} (known: a)"
    ]
    del weights['conv_first.weight']
    (line,) = found({'params': weights})
    assert line.startswith(
        f'path:{key}: the checkpoint is of another network: 1 weights are missing'
    )
    assert found({'params': weights}, strict_load_g=False) == []
    path.write_bytes(b'')
    (line,) = presence.misfit_of_weights({'path': {key: str(path)}}, key)
    assert line.startswith(f'path:{key}: {path} cannot be read as a checkpoint: ')


@pytest.mark.parametrize(
    ('num_gpu', 'amp', 'is_train', 'refused'),
    [
        (2, 'bf16', True, True),
        ('auto', 'bf16', True, True),
        (1, 'bf16', True, False),
        (2, 'fp16', True, False),
        (2, None, True, False),
        (2, 'bf16', False, False),
    ],
)
def test_one_process_for_several_gpus_is_refused(monkeypatch, num_gpu, amp, is_train, refused):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    opt = {'num_gpu': num_gpu, 'is_train': is_train, 'train': {'amp': amp} if amp else {}}
    assert len(list(presence.not_in_one_process(opt))) == refused
