"""Every option file: its header, its names, the size of its network, and one training step and one validation of what it configures."""

import json
import logging
import re
from functools import cache

import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.models import build_model
from conftest import ROOT, make_triplets

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch.config import checks as option_checks
from hmaca_arch.config import files as options
from hmaca_arch.networks import baselines
from hmaca_arch.training import pipeline as training

PARTS = [path for folder in ('data', 'networks') for path in sorted((ROOT / 'options' / folder).glob('*.yml'))]
FILES = sorted({*(ROOT / 'options').rglob('*.yml')}.difference(PARTS))
TRAIN = [path for path in FILES if path.parent.name != 'test']
SETS = [f'{name}_{degradation}' for name in ('horse', 'imagenet') for degradation in ('pix', 'blur', 'noise')]
LARGE = ('HMA1', 'HMACA1', 'HMACAplus', 'SwinIR', 'HAT', 'DRCT')
OWN = ('train_quickstart', 'train_HMACAplus_light_mixed')  # not on the paper's sets
LIGHT = ('HMA_light', 'HMACA_light', 'HMACAplus_light', 'SwinIR_light', 'HAT_light', 'DRCT_light')


def of(path):
    return pytest.param(path, id=path.stem)


def load(path, *force_yml):
    return options.fill_protocol(options.override(options.load(path), list(force_yml)))


def skip_without_spandrel(section):
    if section['type'] in ('HAT', 'DRCT'):
        pytest.importorskip('spandrel')


@cache
def millions(section: str) -> float:
    """Parameters of the network of a section (JSON), built at its full size."""
    section = json.loads(section)
    baselines.provide(section['type'])
    return sum(p.numel() for p in build_network(section).parameters()) / 1e6


def count(path) -> float:
    section = load(path)['network_g']
    skip_without_spandrel(section)
    return millions(json.dumps(section, sort_keys=True))


def shrunk(section: dict) -> dict:
    """A network of the same kind that takes milliseconds."""
    width = 32 if section['type'].startswith('HM') else 12
    small = {'embed_dim': width, 'depths': [2], 'num_heads': [2], 'window_size': 8, 'mlp_ratio': 2}
    return {**section, **small, **{key: 4 for key in ('squeeze_factor', 'gc') if key in section}}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('triplets')
    make_triplets(folder / 'train', 3, size=40)
    make_triplets(folder / 'test', 1, size=20, seed=1)
    return folder


def test_no_experiment_is_missing_and_no_two_have_one_name():
    wanted = {f'train_{network}_{name}' for network in (*LARGE, *LIGHT) for name in SETS}
    wanted |= {'train_HMA2_horse_pix', 'train_HMACA2_horse_pix', 'train_hmaca_horse_pix', *OWN}
    assert {path.stem for path in TRAIN} == wanted
    for path in FILES:
        name = load(path)['name']
        assert name == ('train_HMACA1_horse_pix' if path.stem == 'train_hmaca_horse_pix' else path.stem)


def test_the_front_door_is_complete_and_equals_the_file_with_an_open_protocol():
    front = yaml.safe_load((ROOT / 'options' / 'train_hmaca_horse_pix.yml').read_text())
    assert 'base' not in front and front['network_g']['type'] == 'HMACA'
    same = load(ROOT / 'options' / 'train' / 'train_HMACA1_horse_pix.yml')
    assert same.pop('protocol') == 'release'
    front = load(ROOT / 'options' / 'train_hmaca_horse_pix.yml')
    for settings in (same, front):
        for dataset in settings['datasets'].values():
            del dataset['name']
        del settings['datasets']['train']['prepare']
    assert same == front


@pytest.mark.parametrize('path', map(of, PARTS))
def test_parts_are_parts(path):
    part = yaml.safe_load(path.read_text())
    assert path.read_text().startswith('# A part of option files: ') and not {'name', 'base', 'model_type', 'protocol'} & part.keys()
    users = [file for file in FILES if f'/{path.parent.name}/{path.name}' in file.read_text()]
    assert users, 'no file uses it'
    if path.parent.name == 'networks':
        stated = re.search(r'; ([\d.]+) M parameters', path.read_text())[1]
        assert f'{count(users[0]):.{len(stated.split(".")[1])}f}' == stated


@pytest.mark.parametrize('path', map(of, FILES))
def test_headers_say_what_how_and_how_large(path):
    header, opt = path.read_text().split('\n\n')[0], load(path)
    assert f'-opt {path.relative_to(ROOT)}' in header
    for word in ('Paper:', 'Data'):
        assert f'# {word}' in header
    if path.parent.name != 'test':
        stated = re.search(r'# Size: +([\d.]+) M parameters', header)[1]
        assert f'{count(path):.{len(stated.split(".")[1])}f}' == stated
    if not path.stem.endswith(('quickstart', 'mixed')):
        assert '# Needs: ' in header and 'basicsr test -opt options/' in header
        roots = [value for dataset in opt['datasets'].values() for key, value in dataset.items() if key.startswith('dataroot')]
        root = re.match(r'datasets/(release|clean)/(\w+)/', roots[0])
        assert all(value.startswith(root[0]) for value in roots) and path.stem.endswith(root[2])
        assert re.search(rf'make-dataset .*(--protocol {root[1]}|datasets/{root[1]}/)', header), 'the data command makes other data'
        commands = [*re.findall(r'basicsr (?:train|test) -opt (\S+)', header), 'options/train_hmaca_horse_pix.yml']
        assert all((ROOT / command).is_file() for command in commands)


@pytest.mark.parametrize('networks', [LARGE, LIGHT])
def test_baselines_are_as_large_as_hmaca(networks):
    """All networks of a size within 5 %."""
    sizes = [count(ROOT / 'options' / 'train' / f'train_{network}_horse_pix.yml') for network in networks]
    assert max(sizes) < 1.05 * sizes[1] and min(sizes) > 0.95 * sizes[1]


@pytest.mark.parametrize('name', SETS)
def test_either_protocol_is_one_setting_away(name):
    for network in (*LARGE, *LIGHT):
        for protocol, paste in (('release', 'gt'), ('clean', 'lq')):
            opt = load(ROOT / 'options' / 'train' / f'train_{network}_{name}.yml', f'protocol={protocol}')
            assert opt['val']['metrics']['composite_psnr']['paste'] == paste
            for phase, split in (('train', 'train'), ('val', 'test')):
                dataset = opt['datasets'][phase]
                for kind in ('lq', 'mask', 'gt'):
                    assert dataset[f'dataroot_{kind}'] == f'datasets/{protocol}/{name}/{split}/{kind}'
            assert f'--protocol {protocol}' in opt['datasets']['train']['prepare']
        whole = 128 if name.startswith('horse') else 64
        assert opt['datasets']['train']['gt_size'] == (whole if network in LARGE else 32)


@pytest.mark.slow
@pytest.mark.parametrize('path', map(of, FILES))
def test_what_a_file_configures_is_built_trains_a_step_and_is_measured(path, data, tmp_path):
    """Only the network's size, pictures and batch are cut down; data sets, losses, optimizer, schedule and metrics are the file's."""
    opt = load(path)
    skip_without_spandrel(opt['network_g'])
    option_checks.check(opt, options.is_training(opt))
    assert yaml.safe_dump(opt)  # what is saved beside the results
    training.install()
    opt.update(num_gpu=0, dist=False, rank=0, world_size=1, is_train=True, network_g=shrunk(opt['network_g']))
    opt['path'] = {'results_root': str(tmp_path), 'visualization': str(tmp_path), 'pretrain_network_g': None}
    for phase, dataset in opt['datasets'].items():
        part = 'train' if phase == 'train' else 'test'
        dataset.update({f'dataroot_{kind}': str(data / part / kind) for kind in ('lq', 'mask', 'gt')})
        if dataset['type'] == 'MaskedDegradationDataset':
            dataset = opt['datasets'][phase] = {key: value for key, value in dataset.items() if key not in ('dataroot_lq', 'dataroot_mask')}
        dataset.update(phase=part if part == 'train' else 'val', io_backend={'type': 'disk'})
        if 'gt_size' in dataset:
            dataset['gt_size'] = min(dataset['gt_size'], 20)
    logging.getLogger('basicsr').setLevel(logging.WARNING)

    model = build_model(opt)
    pictures = build_dataset(opt['datasets']['train'])
    model.feed_data(torch.utils.data.default_collate([pictures[0], pictures[1]]))
    model.update_learning_rate(1, warmup_iter=opt['train'].get('warmup_iter', -1))
    before = [p.detach().clone() for p in model.net_g.parameters()]
    model.optimize_parameters(1)
    assert any(not torch.equal(p, q) for p, q in zip(model.net_g.parameters(), before))
    assert model.log_dict['l_pix'] > 0
    if 'metrics' in (opt.get('val') or {}):
        loader = torch.utils.data.DataLoader(build_dataset(opt['datasets'].get('val') or opt['datasets']['test']))
        tables = []
        model.log_validation = lambda dataset, table, *rest: tables.append(table)
        model.nondist_validation(loader, 1, None, save_img=False)
        assert set(tables[0].metrics) == {'composite_psnr', 'masked_psnr', 'masked_ssim'}
