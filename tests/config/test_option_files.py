"""Every option file: its header, its names, the size of its network, and one training step and one
validation of what it configures.
"""

import json
import logging
import re
import subprocess
import sys
from functools import cache

import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.models import build_model
from conftest import ROOT, environment, make_triplets

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch.config import checks as option_checks
from hmaca_arch.config import completing, shipped, signatures
from hmaca_arch.config import files as options
from hmaca_arch.networks import baselines
from hmaca_arch.training import pipeline as training

OPTIONS = ROOT / 'options'
FILES = [OPTIONS / 'train_hmaca_horse_pix.yml', *sorted((OPTIONS / 'train').glob('*.yml'))]
DATA = sorted((OPTIONS / 'data').glob('*.yml'))
SETS = [
    f'{name}_{degradation}'
    for name in ('horse', 'imagenet')
    for degradation in ('pix', 'blur', 'noise')
]
LARGE = ('HMA1', 'HMACA1', 'HMA2', 'HMACA2', 'HMACAplus', 'SwinIR', 'HAT', 'DRCT')
LIGHT = ('HMA_light', 'HMACA_light', 'HMACAplus_light', 'SwinIR_light', 'HAT_light', 'DRCT_light')
OWN = (
    'train_quickstart',
    'train_mixed_light',
    'train_Unfolded_light_mixed',
)  # not on the paper's sets
FRONT = 'train_hmaca_horse_pix'


def of(path):
    return pytest.param(path, id=path.stem)


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
    section = options.load(path)['network_g']
    skip_without_spandrel(section)
    return millions(json.dumps(section, sort_keys=True))


def shrunk(section: dict) -> dict:
    """A network of the same kind that takes milliseconds."""
    if 'inner' in section:
        return {**section, 'inner': shrunk(section['inner'])}
    width = 32 if section['type'].startswith('HM') else 12
    small = {'embed_dim': width, 'depths': [2], 'num_heads': [2], 'window_size': 8, 'mlp_ratio': 2}
    return {**section, **small, **{key: 4 for key in ('squeeze_factor', 'gc') if key in section}}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('triplets')
    make_triplets(folder / 'train', 3, size=40)
    make_triplets(folder / 'test', 1, size=20, seed=1)
    return folder


def test_no_file_is_missing_and_each_has_the_name_of_its_experiment():
    assert {path.stem for path in FILES} == {f'train_{network}' for network in (*LARGE, *LIGHT)} | {
        FRONT,
        *OWN,
    }
    assert {*OPTIONS.rglob('*.yml')} == {
        *FILES,
        *DATA,
        OPTIONS / 'paper.yml',
    } and shipped.option_files().keys() == {p.stem for p in FILES}
    for path in FILES:
        expected = path.stem if path.stem in OWN else f'{path.stem}_horse_pix'
        assert options.load(path)['name'] == (
            'train_HMACA1_horse_pix' if path.stem == FRONT else expected
        )


def test_the_front_door_is_complete_and_equals_the_file_whose_data_are_open():
    front = yaml.safe_load((OPTIONS / f'{FRONT}.yml').read_text())
    assert (
        not {'base', 'data'} & front.keys()
        and front['network_g']['type'] == 'HMACA'
        and '{' not in front['name']
    )
    front, same = options.load(FRONT), options.load('train_HMACA1')
    assert same.pop('protocol') == 'release'
    assert (
        front['datasets']['train'].pop('gt_size') == 128
        and same['datasets']['train'].pop('gt_size') is None
    ), 'the whole image'
    for settings in (same, front):
        for dataset in settings['datasets'].values():
            del dataset['name']
        del settings['datasets']['train']['prepare']
    assert same == front


@pytest.mark.parametrize('path', [*map(of, FILES)])
def test_a_file_says_its_network_itself(path):
    """And all of it: what it takes from its base has no setting of the network's."""
    own = yaml.safe_load(path.read_text())
    if path.stem == 'train_mixed_light':
        assert own['base'] == 'train_HMACAplus_light.yml' and 'network_g' not in own
    else:
        assert own['network_g'] == options.load(path)['network_g']


@pytest.mark.parametrize('path', [*map(of, [*FILES, *DATA])])
def test_the_first_line_leads_editors_to_the_schema(path):
    first = path.read_text().splitlines()[0]
    schema = re.fullmatch(r'# yaml-language-server: \$schema=(\S+)', first)[1]
    assert (path.parent / schema).resolve() == OPTIONS / 'schema.json' and (
        OPTIONS / 'schema.json'
    ).is_file()


@pytest.mark.parametrize('path', [*map(of, FILES)])
def test_headers_say_what_how_and_how_large(path):
    header, opt = path.read_text().split('\n\n')[0], options.load(path)
    for command in ('train', 'test'):
        assert f'basicsr {command} -opt {path.relative_to(ROOT)}' in header
    for word in ('Paper:', 'Data'):
        assert f'# {word}' in header
    stated = re.search(r'# Size: +([\d.]+) M parameters', header)[1]
    assert f'{count(path):.{len(stated.split(".")[1])}f}' == stated
    if path.stem not in OWN:
        assert '# Needs: ' in header
        roots = [
            value
            for dataset in opt['datasets'].values()
            for key, value in dataset.items()
            if key.startswith('dataroot')
        ]
        root = re.match(r'datasets/(release|clean)/horse_pix/', roots[0])
        assert all(value.startswith(root[0]) for value in roots)
        assert re.search(rf'make-dataset .*(--protocol {root[1]}|datasets/{root[1]}/)', header), (
            'the data command makes other data'
        )
        named = re.findall(
            r'(?:options/|^# Base: +)(?:\.\./)?((?:train/)?train_\w+\.yml)', header, re.M
        )
        assert named and all(
            (OPTIONS / name).is_file() or (path.parent / name).is_file() for name in named
        )
        for entry in re.findall(r'--force_yml ([^\s(`]+)', header):
            options.load(path if path.stem != FRONT else 'train_HMACA1', [entry])


@pytest.mark.parametrize('networks', [LARGE, LIGHT])
def test_baselines_are_as_large_as_hmaca(networks):
    """All networks of a size within 5 %."""
    sizes = [count(OPTIONS / 'train' / f'train_{network}.yml') for network in networks]
    assert max(sizes) < 1.05 * sizes[1] and min(sizes) > 0.95 * sizes[1]


def test_the_papers_figures_are_what_it_prints():
    paper = yaml.safe_load((OPTIONS / 'paper.yml').read_text())
    assert paper.pop('table_1') == {
        'horse_pix': {'HMA1': 39.30, 'HMA2': 38.99, 'HMACA1': 39.32, 'HMACA2': 39.23}
    }
    assert paper == {
        'tables_2_and_3': {
            'network': 'HMACA1',
            'alpha': [n / 10 for n in range(11)],
            'horse_pix': [
                39.33,
                40.19,
                39.99,
                40.11,
                39.81,
                39.98,
                39.91,
                39.81,
                39.64,
                39.33,
                38.26,
            ],
            'horse_blur': [
                46.91,
                51.14,
                51.21,
                51.35,
                51.06,
                50.62,
                51.13,
                50.76,
                50.59,
                50.43,
                48.00,
            ],
            'horse_noise': [
                51.78,
                51.16,
                51.01,
                51.14,
                51.02,
                50.91,
                50.57,
                50.38,
                50.86,
                50.50,
                49.91,
            ],
            'imagenet_pix': [
                39.32,
                42.31,
                42.33,
                42.35,
                42.43,
                43.03,
                42.44,
                42.46,
                42.11,
                42.34,
                41.51,
            ],
            'imagenet_blur': [
                42.56,
                47.83,
                48.88,
                48.26,
                48.31,
                48.44,
                48.32,
                48.58,
                48.31,
                48.36,
                47.43,
            ],
            'imagenet_noise': [
                48.12,
                48.43,
                48.79,
                48.59,
                48.45,
                49.10,
                48.54,
                49.04,
                48.56,
                48.75,
                48.06,
            ],
        }
    }


@pytest.mark.parametrize('network', [*LARGE, *LIGHT])
def test_every_data_set_under_either_protocol_is_a_setting_away(network, monkeypatch):
    skip_without_spandrel(options.load(f'train_{network}')['network_g'])
    built = []
    monkeypatch.setattr(
        signatures, 'count_parameters', built.append
    )  # as large as it is, once for all of them: `count`
    for name in SETS:
        for protocol, paste in (('release', 'gt'), ('clean', 'lq')):
            opt = options.resolve(f'train_{network}', [f'data={name}', f'protocol={protocol}'])
            assert (
                opt['name'] == f'train_{network}_{name}'
                and opt['val']['metrics']['composite_psnr']['paste'] == paste
            )
            for phase, split in (('train', 'train'), ('val', 'test')):
                dataset = opt['datasets'][phase]
                assert dataset['name'] == f'{name}_{protocol}_{split}'
                for kind in ('lq', 'mask', 'gt'):
                    assert (
                        dataset[f'dataroot_{kind}'] == f'datasets/{protocol}/{name}/{split}/{kind}'
                    )
            assert f'--protocol {protocol}' in opt['datasets']['train']['prepare']
            assert opt['datasets']['train']['gt_size'] == (None if network in LARGE else 32)
            assert '{' not in json.dumps(
                [opt['name'], opt['datasets'], opt['val']['metrics']]
            ).replace('{"', '')
    assert len(built) == 12


@pytest.mark.parametrize(
    'old, new, data',
    [
        *(
            (f'train/train_{network}_{name}.yml', f'train_{network}', name)
            for network in (*LARGE, *LIGHT)
            for name in SETS
        ),
        *(
            (f'test/test_{network}_horse_pix.yml', f'train_{network}', 'horse_pix')
            for network in LARGE[:5] + LIGHT[:3]
        ),
        ('train/train_HMACAplus_light_mixed.yml', 'train_mixed_light', None),
        ('test/test_quickstart.yml', 'train_quickstart', None),
        *(
            (f'networks/{network}.yml', f'train_{network}', None)
            for network in (*LARGE, *LIGHT)
            if 'HMACA' not in network
        ),
    ],
)
def test_an_old_path_ends_in_a_line_that_says_the_new_command(
    old, new, data, tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    command = 'test' if old.startswith('test') else 'train'
    expected = f'basicsr {command} -opt options/train/{new}.yml' + (
        f' --force_yml data={data}' if data else ''
    )
    with pytest.raises(FileNotFoundError) as caught:
        options.load(f'options/{old}')
    assert str(caught.value) == f'option file options/{old} is no more; instead: {expected}'
    monkeypatch.chdir(tmp_path)  # elsewhere the file is found by its name
    with pytest.raises(
        FileNotFoundError, match=rf'instead: basicsr {command} -opt {new}( --force_yml data=\w+)?$'
    ):
        options.load(f'options/{old}')
    (tmp_path / 'mine.yml').write_text(f'base: {ROOT}/options/{old}')
    with pytest.raises(
        FileNotFoundError,
        match=rf'instead: base: \S+/{new}.yml{f" and data: {data}" if data else ""}$',
    ):
        options.load('mine.yml')


def test_an_installation_has_all_files_and_finds_them_by_name(tmp_path):
    pytest.importorskip('setuptools')
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'egg_info', '-e', tmp_path, 'build_py', '-d', tmp_path / 'lib'],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    folder = tmp_path / 'lib' / 'hmaca_arch' / 'option_files'
    for path in [*FILES, *DATA, OPTIONS / 'paper.yml', OPTIONS / 'schema.json']:
        assert (folder / path.relative_to(OPTIONS)).read_bytes() == path.read_bytes()
    code = 'from hmaca_arch.config import files, shipped; print(shipped.FOLDER, files.load("train_HMACA1", ["data=imagenet_blur"])["name"])'
    run = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True,
        env={**environment(), 'PYTHONPATH': str(tmp_path / 'lib')},
    )  # fmt: skip
    assert run.stdout.split() == [str(folder), 'train_HMACA1_imagenet_blur'], run.stderr


@pytest.mark.slow
@pytest.mark.parametrize('path', [*map(of, FILES)])
def test_what_a_file_configures_is_built_trains_a_step_and_is_measured(path, data, tmp_path):
    """Only the network's size, images and batch are cut down; data sets, losses, optimizer,
    schedule and metrics are the file's.
    """
    opt = options.load(path)
    skip_without_spandrel(opt['network_g'])
    option_checks.check(opt, completing.is_training(opt))
    assert yaml.safe_dump(opt)  # what is saved beside the results
    training.install()
    opt.update(
        num_gpu=0,
        dist=False,
        rank=0,
        world_size=1,
        is_train=True,
        network_g=shrunk(opt['network_g']),
    )
    opt['path'] = {
        'results_root': str(tmp_path),
        'visualization': str(tmp_path),
        'pretrain_network_g': None,
    }
    for phase, dataset in opt['datasets'].items():
        part = 'train' if phase == 'train' else 'test'
        dataset.update(
            {f'dataroot_{kind}': str(data / part / kind) for kind in ('lq', 'mask', 'gt')}
        )
        if dataset['type'] == 'MaskedDegradationDataset':
            dataset = opt['datasets'][phase] = {
                key: value
                for key, value in dataset.items()
                if key not in ('dataroot_lq', 'dataroot_mask')
            }
        dataset.update(phase=part if part == 'train' else 'val', io_backend={'type': 'disk'})
        if dataset.get('gt_size'):
            dataset['gt_size'] = min(dataset['gt_size'], 20)
    logging.getLogger('basicsr').setLevel(logging.WARNING)

    model = build_model(opt)
    images = build_dataset(opt['datasets']['train'])
    model.feed_data(torch.utils.data.default_collate([images[0], images[1]]))
    model.update_learning_rate(1, warmup_iter=opt['train'].get('warmup_iter', -1))
    before = [p.detach().clone() for p in model.net_g.parameters()]
    model.optimize_parameters(1)
    assert any(not torch.equal(p, q) for p, q in zip(model.net_g.parameters(), before))
    assert model.log_dict['l_pix'] != 0
    loader = torch.utils.data.DataLoader(build_dataset(opt['datasets']['val']))
    tables = []
    model.log_validation = lambda dataset, table, *rest: tables.append(table)
    model.nondist_validation(loader, 1, None, save_img=False)
    assert set(tables[0].metrics) == {'composite_psnr', 'masked_psnr', 'masked_ssim'}
