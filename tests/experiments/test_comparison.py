"""`basicsr compare` agrees with `basicsr test`; its intervals, costs and sheets are right."""

import csv
import json
import math
import os
import subprocess
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from conftest import ROOT, environment, make_triplets, tiny_options, write_options

import datasets_ext  # noqa: F401
from datasets_ext.make_dataset import make_dataset
from datasets_ext.make_lmdb import make_lmdb
from hmaca_arch import HMACA
from hmaca_arch.commands import compare as compare_command
from hmaca_arch.commands.train import arguments as arguments_of
from hmaca_arch.experiments.bootstrap import Estimate, bootstrap
from hmaca_arch.experiments.comparison import compare as compare_module
from hmaca_arch.experiments.comparison import methods
from hmaca_arch.experiments.comparison.data import find_data
from hmaca_arch.experiments.comparison.measure import MethodFigures, lpips_metric, measure
from hmaca_arch.experiments.comparison.methods import INPUT, Contender, classical_methods
from hmaca_arch.experiments.comparison.sheet import CELL, comparison_sheet, crop_of, error_map
from hmaca_arch.experiments.comparison.tables import Comparison
from hmaca_arch.experiments.markdown import aligned
from hmaca_arch.networks.mask_input import MaskInput
from hmaca_arch.training import pipeline as training

SWINIR = {
    'type': 'SwinIR',
    'embed_dim': 12,
    'depths': [1],
    'num_heads': [2],
    'window_size': 5,
    'mlp_ratio': 2,
    'upsampler': '',
}


class OneConv(torch.nn.Module):
    def __init__(self, *, window_size: int = 1):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


ARCH_REGISTRY.register(OneConv)


@pytest.fixture
def inside(tmp_path, monkeypatch) -> Path:
    """The current folder of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def checkpoints(triplets) -> dict[str, Path]:
    """Random weights of HMACA, SwinIR with the mask as a channel, and SwinIR without.

    Random, so that every digit of a figure counts.
    """
    torch.manual_seed(0)
    networks = {
        'hmaca': HMACA(
            **{
                key: value
                for key, value in tiny_options(triplets)['network_g'].items()
                if key != 'type'
            }
        ),
        'seeing': MaskInput(inner=SWINIR),
        'blind': ARCH_REGISTRY.get('SwinIR')(
            **{key: value for key, value in SWINIR.items() if key != 'type'}
        ),
    }
    torch.nn.init.normal_(networks['seeing'].conv_mask.weight)
    paths = {}
    for name, network in networks.items():
        paths[name] = triplets.parent / f'{name}.pth'
        torch.save({'params': network.state_dict()}, paths[name])
    return paths


def compare(*arguments) -> subprocess.CompletedProcess:
    line = [sys.executable, ROOT / 'scripts' / 'compare.py', *map(str, arguments)]
    return subprocess.run(line, env=environment(), text=True, capture_output=True)


@pytest.mark.slow
def test_every_digit_is_that_of_basicsr_test(inside, triplets, checkpoints):
    opt = tiny_options(triplets)
    del opt['train'], opt['logger'], opt['datasets']['train']
    opt['val']['metrics']['boundary_psnr'] = {'type': 'calculate_boundary_psnr', 'width': 8}
    networks = {
        'hmaca': opt['network_g'],
        'seeing': {**SWINIR, 'mask_input': 'channel'},
        'blind': SWINIR,
    }
    for name, section in networks.items():
        opt.update(
            name=name, network_g=section, path={'pretrain_network_g': str(checkpoints[name])}
        )
        write_options(inside / f'{name}.yml', opt)
        training.run_pipeline('test', arguments_of(['-opt', f'{name}.yml'], 'test'), str(inside))
    run = compare(
        triplets / 'test', '-n', checkpoints['hmaca'], checkpoints['seeing'], 'blind.yml', f'again=hmaca.yml,{checkpoints["hmaca"]}',
        '--threads', 1, '--resamples', 50, '--against', 'seeing',
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    ours = {(row['method'], row['picture']): row for row in _read('comparison/pictures.csv')}
    for name in networks:
        for row in _read(f'results/{name}/tiny_test.csv'):
            for metric in opt['val']['metrics']:
                assert ours[name, row['picture']][metric] == row[f'result_{metric}'], (name, metric)
                assert ours['unrestored input', row['picture']][metric] == row[f'input_{metric}']
            assert (
                ours['again', row['picture']]['composite_psnr']
                == ours['hmaca', row['picture']]['composite_psnr']
            )

    record = json.loads(Path('comparison/results.json').read_text(encoding='utf-8'))
    rows = {row['method']: row for row in record['rows']}
    assert (
        rows['unrestored input']['parameters'] is None
        and rows['Telea inpainting']['multiply_accumulates'] is None
    )
    assert rows['hmaca']['parameters'] == sum(
        p.numel() for p in HMACA(**_settings(triplets)).parameters()
    )
    assert rows['seeing']['differences']['masked_psnr'] == {'mean': 0, 'low': 0, 'high': 0}
    text = Path('comparison/table.md').read_text(encoding='utf-8')
    assert text in run.stdout and 'Paired differences from "seeing"' in text
    lines = text.splitlines()
    assert lines[[line.startswith('| ---') for line in lines].index(True) + 1].startswith(
        '| unrestored input '
    )
    for name in networks:
        mean = np.mean(
            [float(row['composite_psnr']) for (method, _), row in ours.items() if method == name]
        )
        assert f'{mean:.2f}' in next(line for line in lines if line.startswith(f'| {name} '))
    sheet = cv2.imread('comparison/sheet.png')
    assert (
        sheet.shape[1] // CELL == 1 + 4 + 2 + 1
    )  # input, four networks, two inpaintings, ground truth
    run = compare(triplets / 'test', '-c', 'telea', '--overwrite', '--sheet', 0)
    assert (
        run.returncode == 0
        and not Path('comparison/sheet.png').exists()
        and 'sheet.png' not in run.stdout
    ), "an earlier run's"


def _read(path: str) -> list[dict]:
    return list(csv.DictReader(Path(path).read_text(encoding='utf-8').splitlines()))


def _settings(data: Path) -> dict:
    return {key: value for key, value in tiny_options(data)['network_g'].items() if key != 'type'}


def test_classical_methods_are_told_by_the_manifest(tmp_path):
    source = tmp_path / 'pictures'
    source.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        image = cv2.resize(
            rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC
        )
        cv2.imwrite(str(source / f'{number}.png'), image)
    how = {'protocol': 'clean', 'size': None, 'quiet': True}
    make_dataset(
        source, tmp_path / 'blur', degradation={'type': 'blur', 'sigma': [1.0, 2.0]}, **how
    )
    data = find_data(str(tmp_path / 'blur'))
    sigmas = [data.parameters_of(name)['sigma'] for name in data.dataset().names]
    assert len(set(sigmas)) == 3 and all(1 <= sigma <= 2 for sigma in sigmas) and data.paste == 'lq'
    chosen = classical_methods(['all'], data.kinds(data.dataset().names))
    assert [method.settings for method in chosen] == [
        'unsharp',
        'landweber',
        'telea',
        'navier-stokes',
    ]
    before, after = (measure(method, data, 'cpu') for method in (INPUT, chosen[1]))
    assert after.values['masked_psnr'].mean() > before.values['masked_psnr'].mean() + 3

    make_lmdb(tmp_path / 'blur', quiet=True)  # beside the folders; those are removed below
    for kind in ('lq', 'gt', 'mask'):
        (tmp_path / 'blur' / kind).rename(tmp_path / kind)
    packed = measure(chosen[1], data, 'cpu', keep=('1',))
    assert (
        packed.names == after.names
        and (packed.values['composite_psnr'] == after.values['composite_psnr']).all()
    )
    assert list(packed.images) == ['1'] and packed.images['1'].shape == (64, 64, 3)

    make_dataset(
        source, tmp_path / 'release', protocol='release', degradation='pix', size=None, quiet=True
    )
    data = find_data(str(tmp_path / 'release'), count=2, degradation={'type': 'pix', 'block': 3})
    assert data.paste == 'gt' and len(data.dataset()) == 2
    assert data.parameters_of('0') == {'type': 'pix', 'block': 3, 'centred': False}


def test_multiply_accumulates_and_parameters_by_hand(triplets, checkpoints):
    network = OneConv()
    path = triplets.parent / 'conv.pth'
    torch.save({'params': network.state_dict()}, path)
    data = find_data(str(triplets / 'test'))
    section = {'type': 'OneConv', 'window_size': 5}  # 32x32 is padded to 35x35
    method = Contender('conv', {'network_g': section, 'path': {'pretrain_network_g': str(path)}})
    result = measure(method, data, 'cpu')
    assert result.parameters == 3 * 3 * 9 + 3 and result.macs == 35 * 35 * 3 * 3 * 9
    assert result.milliseconds > 0 and len(result.seconds) == 2 and result.memory >= 0
    # attention counts as its two matrix products: SwinIR's, 49 windows of 25 pixels with 12
    # channels, once
    swinir = measure(
        methods.network(_with_options(triplets, SWINIR, checkpoints['blind'])), data, 'cpu'
    )
    pixels, c = 35 * 35, 12
    convolutions = 9 * (3 * c + c * c + c * c + c * 3)
    block = c * 3 * c + c * c + 2 * c * 2 * c + 2 * 25 * c
    assert swinir.macs == pixels * (convolutions + block)


def _with_options(data: Path, section: dict, weights: Path) -> str:
    file = write_options(data.parent / 'network.yml', {'name': 'network', 'network_g': section})
    return f'{file},{weights}'


def test_bootstrap_step_by_step_and_by_hand():
    values = np.random.default_rng(0).normal(30, 5, (2, 40))
    values[1] = values[0] + 0.5
    ours = bootstrap(values, 2000, 0.9, seed=1)
    rng = np.random.default_rng(1)
    means = [
        values[:, rng.integers(40, size=40)].mean(axis=1) for _ in range(2000)
    ]  # one resample after the other
    low, high = np.quantile(means, [0.05, 0.95], axis=0)
    for row in range(2):
        assert [ours[row].mean, ours[row].low, ours[row].high] == pytest.approx(
            [values[row].mean(), low[row], high[row]], rel=1e-12
        )
    assert ours[1].low - ours[0].low == pytest.approx(
        0.5
    )  # the same images are drawn for every row
    assert bootstrap(values, 2000, 0.9, seed=1) == ours != bootstrap(values, 2000, 0.9, seed=2)
    # of two images a resample's mean is 0, 1/2 or 1, a quarter, half and a quarter of the time
    two = np.array([[0.0, 1.0]])
    assert bootstrap(np.array([[3.0], [4.0]]), 10) == [Estimate(3, 3, 3), Estimate(4, 4, 4)]
    assert [bootstrap(two, 2000, share)[0] for share in (0.4, 0.6)] == [
        Estimate(0.5, 0.5, 0.5),
        Estimate(0.5, 0.0, 1.0),
    ]
    assert all(
        math.isnan(value)
        for value in (bootstrap(np.zeros((1, 0)))[0].mean, bootstrap(np.zeros((1, 0)))[0].low)
    )


def result(label: str, *composite: float, **more) -> MethodFigures:
    names = [str(number) for number in range(len(composite))]
    return MethodFigures(
        label, names, {'composite_psnr': np.array(composite), **more}, [0.002] * len(names)
    )


def test_order_pairs_and_images_left_out():
    inf, nan = math.inf, math.nan
    rows = [
        result('input', 30, 40, 20, inf),
        result('worse', 29, 39, 50, 9),
        result('better', 31, 42, inf, 8),
    ]
    comparison = Comparison(rows, resamples=200)
    assert [row.label for row in comparison.results] == [
        'input',
        'better',
        'worse',
    ] and comparison.used == {'composite_psnr': 2}
    assert [estimate.mean for estimate in comparison.estimates['composite_psnr']] == [35, 36.5, 34]
    differences = comparison.differences['composite_psnr']
    assert [estimate.mean for estimate in differences] == [0, 1.5, -1] and differences[
        2
    ].low == differences[2].high == -1
    text = comparison.markdown()
    assert 'over 2 of 4 images' in text and '-1.00 [-1.00, -1.00]' in text
    assert Comparison(rows, 'worse', 50).differences['composite_psnr'][1].mean == 2.5
    assert (
        'picture,method,composite_psnr,milliseconds\n0,input,30.000000,2.000\n' in comparison.csv()
    )
    empty = Comparison([result('input', nan), result('other', inf)], resamples=5)
    assert (
        math.isnan(empty.estimates['composite_psnr'][0].mean) and 'over 0 of 1' in empty.markdown()
    )


def test_columns_line_up():
    text = aligned([['method', 'dB'], ['a|b', '38.4'], ['long name', '9']])
    assert text.splitlines() == [
        '| method    |   dB |',
        '| --------- | ---: |',
        '| a\\|b      | 38.4 |',
        '| long name |    9 |',
    ]
    assert (
        aligned([['a', 'bc'], ['longer', '1']])
        == '| a      |  bc |\n| ------ | --: |\n| longer |   1 |'
    )


def test_lpips_where_its_package_is(monkeypatch, capsys):
    class Fake(torch.nn.Module):
        def forward(self, first, second):
            assert first.shape == (1, 3, 8, 6) and first.min() >= -1 and first.max() <= 1
            return (first - second)[:, 0].abs().mean()  # of red

    module = types.ModuleType('lpips')
    module.__spec__ = types.SimpleNamespace()
    module.LPIPS = lambda net, verbose: Fake()
    monkeypatch.setitem(sys.modules, 'lpips', module)
    first, second = np.zeros((2, 8, 6, 3), np.uint8)
    second[..., 2] = 255  # red, in BGR
    assert lpips_metric('cpu')(first, second) == pytest.approx(2)

    def offline(**_):
        raise OSError('no network')

    module.LPIPS = offline
    assert lpips_metric('cpu') is None and 'LPIPS is left out' in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, 'lpips', None)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    assert lpips_metric('cpu') is None


def test_sheet_shows_the_region_and_its_errors():
    gt = np.full((50, 40, 3), 100, np.uint8)
    worse, better = gt.copy(), gt.copy()
    mask = np.zeros((50, 40))
    mask[20:30, 25:35] = 1
    worse[20:30, 25:35] += 40
    better[20:30, 25:35] += 20
    assert crop_of(mask) == (slice(17, 33), slice(22, 38))
    assert crop_of(np.pad(mask[20:30, 25:35], ((0, 40), (30, 0)))) == (
        slice(0, 16),
        slice(24, 40),
    )  # at the corner
    assert crop_of(np.zeros((9, 5))) == (slice(0, 15), slice(0, 15))
    assert crop_of(np.pad(np.ones((3, 4)), ((17, 0), (0, 26))), margin=1) == (
        slice(12, 20),
        slice(0, 8),
    )
    sheet = comparison_sheet(
        [('input', {'a': worse}), ('method', {'a': better})], {'a': gt}, {'a': mask}
    )
    middle = [
        sheet[30 + CELL + 4 + CELL // 2, column * (CELL + 4) + CELL // 2] for column in range(3)
    ]
    expected = cv2.applyColorMap(np.array([[255, 128, 0]], np.uint8), cv2.COLORMAP_INFERNO)[0]
    assert (np.array(middle) == expected).all()
    assert (
        error_map(gt, gt, 10)
        == cv2.applyColorMap(np.zeros((50, 40), np.uint8), cv2.COLORMAP_INFERNO)
    ).all()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere'], 'nowhere does not hold lq/'),
        (['data'], 'does; '),
        (['data/test', '-n', 'none.pth'], 'none.pth does not exist'),
        (['data/test', '-n', 'blind.pth'], 'others need the option file of their training as well'),
        (['data/test', '-n', 'broken.pth'], 'broken.pth: not a checkpoint'),
        (
            ['data/test', '-n', 'hmaca.pth', 'a=hmaca.pth', 'a=hmaca.pth'],
            "two methods are called 'a'",
        ),
        (
            ['data/test', '-n', 'network.yml'],
            'its weights experiments/network/models/net_g_latest.pth do not exist',
        ),
        (['data/test', '-n', 'hmaca.pth,hmaca.pth'], 'go with an option file'),
        (
            ['data/test', '-n', 'network.yml,hmaca.pth'],
            'network.yml, hmaca.pth: path:pretrain_network_g: the checkpoint is of another',
        ),
        (['data/test', '-c', 'landwebber'], 'did you mean landweber?'),
        (
            ['data/test', '-c', 'landweber'],
            'it is for blur, and the degradation of the images is not known',
        ),
        (['data/test', '--degradation', 'pix'], '--block is missing'),
        (['data/test', '--sigma', '2'], '--sigma goes with --degradation'),
        (['data/test', '--degradation', 'blur', '--sigma', 'nan'], '--sigma is nan'),
        (['data/test', '--against', 'nobody'], "--against 'nobody': there is no such row"),
        (['data/test', '--count', '0'], '--count is 0'),
        (
            ['data/test', '-o', 'broken.pth'],
            '--output: broken.pth cannot be written to (File exists); expected a folder',
        ),
        (['data/test', '--confidence', '95'], '--confidence is 95.0'),
    ],
)
def test_mistakes_end_in_one_line_and_write_nothing(
    arguments, message, inside, triplets, checkpoints
):
    (inside / 'broken.pth').write_bytes(b'PK nothing of the kind')
    write_options(inside / 'network.yml', {'name': 'network', 'network_g': SWINIR})
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        compare_command.main(arguments)
    if message == 'does; ':
        assert 'data/test does' in str(caught.value)
    else:
        assert message in str(caught.value)
    assert '\n' not in str(caught.value) and not (inside / 'comparison').exists()


def test_a_folder_that_cannot_be_written_to_is_told_before_the_methods_run(
    inside, triplets, monkeypatch
):
    (inside / 'file').write_text('')
    measured = []
    monkeypatch.setattr(
        compare_module,
        'measure_in_process',
        lambda context, method, *_: measured.append(method.label),
    )
    with pytest.raises(
        ValueError, match=r'--output: file/results cannot be written to \(Not a directory\)'
    ):
        compare_command.main(['data/test', '-c', 'telea', '-o', 'file/results'])
    assert measured == [INPUT.label]


def test_weights_of_another_network_and_earlier_results(inside, triplets, checkpoints):
    write_options(
        inside / 'network.yml', {'name': 'network', 'network_g': {**SWINIR, 'embed_dim': 24}}
    )
    with pytest.raises(
        ValueError,
        match=r'blind\.pth: .*the checkpoint is of another network: .* have another shape: ',
    ) as caught:
        methods.network('network.yml,blind.pth')
    assert '\n' not in str(caught.value)
    (inside / 'comparison').mkdir()
    (inside / 'comparison' / 'table.md').write_text('mine')
    with pytest.raises(ValueError, match='exists; choose another --output'):
        compare_command.main(['data/test'])


def test_weights_under_the_key_that_the_option_file_names(inside, checkpoints):
    weights = torch.load(checkpoints['blind'], weights_only=True)['params']
    torch.save(
        {'params_best': weights, 'params_ema': {'other': torch.zeros(1)}}, inside / 'best.pth'
    )
    opt = {
        'name': 'best',
        'network_g': SWINIR,
        'path': {'pretrain_network_g': 'best.pth', 'param_key_g': 'params_best'},
    }
    write_options(inside / 'best.yml', opt)
    assert methods.network('best.yml').ready('cpu').parameters
    write_options(
        inside / 'best.yml',
        opt | {'path': {'pretrain_network_g': 'best.pth', 'param_key_g': 'params_ema'}},
    )
    with pytest.raises(
        ValueError, match=r'best\.yml, best\.pth: .*the checkpoint is of another network'
    ):
        methods.network('best.yml')


def test_results_hold_no_nan():
    assert compare_module.in_json(Estimate(1.5, float('nan'), float('inf'))) == {
        'mean': 1.5,
        'low': None,
        'high': None,
    }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='elsewhere names of files are text')
def test_images_whose_names_are_not_text(inside):
    make_triplets(inside / 'data', 1)
    for kind in ('lq', 'mask', 'gt'):
        os.rename(
            inside / 'data' / kind / '0000.png',
            os.fsencode(inside / 'data' / kind) + b'/caf\xe9.png',
        )
    run = compare('data', '-c', 'telea', '--sheet', 1, '--resamples', 10)
    assert run.returncode == 0 and 'sheet.png' in run.stdout, run.stderr
    assert Path('comparison/pictures.csv').read_bytes().count(b'\ncaf\xe9,') == 2


def test_a_class_of_images_without_regions(inside):
    make_triplets(inside / 'plain', 2)
    for path in (inside / 'plain' / 'mask').iterdir():
        cv2.imwrite(str(path), np.zeros((32, 32), np.uint8))
    result = measure(Contender('telea', 'telea'), find_data('plain'), 'cpu')
    assert (
        np.isnan(result.values['masked_psnr']).all()
        and np.isfinite(result.values['composite_psnr']).all()
    )
    assert compare_module.chosen_images(result, 3) == ()
