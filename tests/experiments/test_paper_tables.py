"""The matrix of the paper's experiments: its plan, what becomes of the figures, and a small one
that is stopped on its way.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, command_line, environment, make_triplets, status_of
from PIL import Image

from hmaca_arch.config import files as options
from hmaca_arch.config import shipped
from hmaca_arch.experiments.bootstrap import Estimate
from hmaca_arch.experiments.tables import figures, job, plan, report, results, runner, state
from hmaca_arch.experiments.tables.cell import exact
from hmaca_arch.messages import how_to_install

OPTIONS = ROOT / 'options'


def loaded(cell: plan.Cell, data='/data', iterations=7) -> dict:
    """The options that its training reads."""
    changes = cell.changes(Path(data), iterations)
    return options.load(OPTIONS / cell.option_file, changes)


# The plan.


@pytest.mark.parametrize('preset', plan.PRESETS)
def test_the_tables_have_the_papers_cells_and_every_cell_its_own_name(preset):
    cells = [cell for table in plan.TABLES for cell in plan.plan(table, preset)]
    assert len(cells) == 8 + 33 + 33
    cells += [
        cell
        for p in ('release', 'clean')
        for cell in plan.plan(
            '1', preset, protocol=p, seeds=[1, 2], outside=['image', 'complement']
        )
    ]
    cells += plan.plan('1', preset, iterations=300) + plan.plan('1', preset, processes=2)
    assert len({cell.name for cell in cells}) == len({*cells})
    assert all((OPTIONS / cell.option_file).is_file() for cell in cells)


def test_a_cell_changes_what_it_says_and_nothing_else():
    (cell,) = plan.plan(
        '2',
        'light',
        networks=['HMACA'],
        sets=['horse_blur'],
        alphas=[0.3],
        outside=['image'],
        seeds=[5],
        processes=2,
    )
    opt, file = (
        loaded(cell, iterations=40),
        options.load(OPTIONS / 'train/train_HMACA_light.yml', ['data=horse_blur']),
    )
    assert opt['manual_seed'] == 5 and opt['name'] == cell.name
    assert opt['datasets']['train']['batch_size_per_gpu'] == 3  # of 6, by two processes
    assert opt['datasets']['val']['dataroot_gt'] == '/data/clean/horse_blur/test/gt'
    assert opt['datasets']['train']['dataroot_mask'] == '/data/clean/horse_blur/train/mask'
    assert opt['train']['pixel_opt'] == {
        'type': 'AlphaMaskedL1Loss',
        'alpha': 0.3,
        'outside': 'image',
    }
    assert (
        opt['train']['total_iter'],
        opt['train']['scheduler']['periods'],
        opt['train']['warmup_iter'],
    ) == (40, [40], 4)
    for section in ('network_g', 'val', 'logger'):
        assert opt[section] == file[section]
    for key in ('pixel_opt', 'total_iter', 'scheduler', 'warmup_iter'):
        del opt['train'][key], file['train'][key]
    assert opt['train'] == file['train']


def test_networks_that_reconstruct_at_twice_the_size_are_the_option_files():
    for network in ('HMA2', 'HMACA2'):
        (cell,) = plan.plan('1', 'paper', networks=[network])
        assert (
            loaded(cell)['network_g']
            == options.load(OPTIONS / f'train/train_{network}.yml')['network_g']
        )
        assert loaded(cell)['datasets']['val']['dataroot_lq'] == '/data/release/horse_pix/test/lq'


@pytest.mark.parametrize('preset', ['paper', 'light'])
def test_what_is_compared_with_our_own_configuration_trains_like_it(preset):
    own, blind, placed, window, everywhere, swinir = (
        loaded(plan.plan('1', preset, networks=[network], iterations=300)[0])
        for network in (
            'HMACA+',
            'HMA+',
            'HMACA+position',
            'HMACA+window',
            'HMACA+global',
            'SwinIR+',
        )
    )
    mask = {'cross_attention': 'window', 'mask_position': True}
    settings = {key: value for key, value in own['network_g'].items() if key not in mask}
    assert own['network_g'] == settings | mask
    assert blind['network_g'] == settings | {'type': 'HMANet'}
    assert placed['network_g'] == settings | mask | {'cross_attention': 'none'}
    assert window['network_g'] == settings | mask | {'mask_position': False}
    assert everywhere['network_g'] == settings | {
        'cross_attention': 'global',
        'mask_position': False,
    }
    for opt in (blind, placed, window, everywhere, swinir):
        assert (opt['train'], opt['datasets']) == (own['train'], own['datasets'])


def test_the_papers_figures():
    def of(network, dataset='horse_pix', alpha=None):
        return plan.paper_figure(plan.Cell(network, dataset, 'light', 'clean', alpha))

    assert [of(n) for n in ('HMA1', 'HMA2', 'HMACA1', 'HMACA2', 'SwinIR', 'HMACA+')] == [
        39.30,
        38.99,
        39.32,
        39.23,
        None,
        None,
    ]
    assert of('HMA+') is None  # trained in another way than the paper's
    assert of('HMACA1', 'imagenet_pix', 0.5) == 43.03 and of('HMACA1', 'imagenet_pix', 1.0) == 41.51
    assert (
        of('HMACA1', 'horse_noise', 0.0) == 51.78
        and of('HMACA1', 'horse_noise') is None
        and of('HMA1', 'horse_noise', 0.0) is None
    )
    assert all(
        cell.alpha in plan.ALPHAS and plan.paper_figure(cell)
        for table in '23'
        for cell in plan.plan(table, 'paper')
    )


# What becomes of the figures.


def write_cell(
    folder: Path, cell: plan.Cell, inputs, outputs, data: Path | None = None, colour=0
) -> None:
    """As a finished test leaves it."""
    (folder / 'cells').mkdir(parents=True, exist_ok=True)
    content = {
        'done': True,
        'iterations': 300,
        'training_seconds': 90.0,
        'test_seconds': 30.0,
        'parameters': 1234,
        'cell': asdict(cell),
    }
    (folder / 'cells' / f'{cell.name}.json').write_text(json.dumps(content))
    table = results.ValidationTable(results.METRICS)
    for i, pair in enumerate(zip(inputs, outputs)):
        row = {
            (kind, metric): value
            for kind, value in zip(table.ROWS, pair)
            for metric in results.METRICS
        }
        table.add(f'{i:04d}', row)
    path = state.table_of_test(folder, cell)
    path.parent.mkdir(parents=True)
    table.write_csv(path)
    if data is not None:
        (path.parent / 'visualization' / path.stem).mkdir(parents=True)
        for name in table.names:
            picture = Image.new('RGB', (24, 24), (colour, 0, 0))
            picture.save(path.parent / 'visualization' / path.stem / f'{name}_{cell.name}.png')


def test_names_of_pictures_need_not_be_text(tmp_path):
    table = results.ValidationTable(results.METRICS)
    table.add(
        'caf\udce9', {(kind, metric): 30.0 for kind in table.ROWS for metric in results.METRICS}
    )
    table.write_csv(tmp_path / 'table.csv')
    assert (
        results.read_table(tmp_path / 'table.csv').names
        == state.shown_images(tmp_path / 'table.csv')
        == ['caf\udce9']
    )


def test_a_table_of_networks(tmp_path, capsys):
    """Means by hand: a picture that one network restores exactly is left out of all means."""
    cells = plan.plan(
        '1', 'light', networks=['HMANet', 'HAT', 'HMACA+'], seeds=[0, 1], iterations=300
    )
    by_name = {(cell.network, cell.seed): cell for cell in cells}
    write_cell(tmp_path, by_name['HMA1', 0], [30, 40, 44], [32, 41, float('inf')])
    write_cell(tmp_path, by_name['HMACA+', 0], [30, 40, 44], [33, 42, 45])
    write_cell(tmp_path, by_name['HMACA+', 1], [30, 40, 44], [34, 43, 46])
    (tmp_path / 'cells' / f'{by_name["HAT", 1].name}.json').write_text('{"error": "no such thing"}')
    arguments = [
        '--networks',
        'HMANet',
        'HAT',
        'HMACA+',
        '--seeds',
        '0',
        '1',
        '--iterations',
        '300',
        '--report',
        '-o',
        str(tmp_path),
    ]
    assert status_of('tables', *arguments) == 0
    output = capsys.readouterr().out
    rows = {
        line.split('|')[1].strip(): [text.strip() for text in line.split('|')[2:-1]]
        for line in output.splitlines()
        if line.startswith('| ') and '---' not in line
    }
    assert list(rows)[2:] == ['HMA1', 'HAT', 'HMACA+'] and list(rows)[1] == 'unrestored input'
    assert rows['HMA1'][:3] == ['36.50', '+1.50', '39.30'] and rows['HMA1'][5:] == [
        '1,234',
        '300',
        '1.5',
        '0',
    ]
    assert rows['HAT'] == ['not run', *[''] * 8]
    assert rows['HMACA+'][:3] == ['38.00 (37.50 to 38.50)', '+3.00 (+2.50 to +3.50)', '']
    assert (
        rows['unrestored input'][0] == '35.00'
        and 'Horse-Pixelization: 1 images that some network restored exactly' in output
    )
    assert (
        'Cells: 3 done, 1 failed, 2 not run.' in output
        and f'- {by_name["HAT", 1].name}: no such thing' in output
    )
    csv = (tmp_path / 'table1_light_clean_300it.csv').read_text().splitlines()
    assert len(csv) == 7 and csv[1].startswith(
        'HMA1,horse_pix,light,clean,,,0,1,,False,False,done,300,1.5,1234,35.000000,36.500000'
    )
    assert (tmp_path / 'table1_light_clean_300it.md').read_text() in output


def test_how_far_one_network_is_ahead_of_another(tmp_path, capsys):
    """By hand: seeds 0 and 1 have both networks; a picture's difference is its mean over them, 1
    and 2 dB; seed 2 has only one.
    """
    cells = plan.plan(
        '1', 'light', networks=['HMANet', 'HMACA+', 'HAT'], seeds=[0, 1, 2], iterations=300
    )
    by_name = {(cell.network, cell.seed): cell for cell in cells}
    for key, outputs in {
        ('HMA1', 0): [31, 41, 50], ('HMACA+', 0): [31.5, 42, 50],
        ('HMA1', 1): [32, 42, float('inf')], ('HMACA+', 1): [33.5, 45, 50],
        ('HMACA+', 2): [90, 90, 90], ('HAT', 2): [31, 41, 50],
    }.items():  # fmt: skip
        write_cell(tmp_path, by_name[key], [30, 40, 49], outputs)
    found = results.collect(cells, tmp_path)
    groups = report.grouped(found, 'network')
    assert results.difference(groups['HMACA+',], groups['HMA1',]) == Estimate(1.5, 1.0, 2.0)
    assert results.difference(groups['HMA1',], groups['HMACA+',]) == Estimate(-1.5, -2.0, -1.0)
    assert results.difference(groups['HAT',], groups['HMA1',]) is None
    arguments = [
        '--networks',
        'HMANet',
        'HMACA+',
        'HAT',
        '--seeds',
        '0',
        '1',
        '2',
        '--iterations',
        '300',
        '--report',
        '-o',
        str(tmp_path),
    ]
    assert status_of('tables', *arguments, '--against', 'HMANet') == 0
    output = capsys.readouterr().out
    last = {
        line.split('|')[1].strip(): line.split('|')[-2].strip()
        for line in output.splitlines()
        if line.startswith('| ')
    }
    assert (
        last['HMA1'] == last['unrestored input'] == '' and last['Horse-Pixelization'] == 'less HMA1'
    )
    assert (
        last['HMACA+'] == '+1.50 [+1.00, +2.00]'
        and last['HAT'] == 'no common seed'
        and 'less HMA1: difference in' in output
    )
    assert status_of('tables', *arguments, '--against', 'DRCT') == 0
    assert '| DRCT not run |' in capsys.readouterr().out
    assert (
        status_of('tables', '--report', '-o', str(tmp_path / 'misspelled')) == 1
        and 'nothing to report' in capsys.readouterr().err
    )
    for wrong, words in (
        (['--against', 'HMAN'], 'HMAN'),
        (['--against', 'HAT', '--table', '2'], 'only table 1 compares networks'),
    ):
        assert status_of('tables', *arguments, *wrong) == 1 and words in capsys.readouterr().err


def test_a_table_grows_with_every_command(tmp_path, capsys):
    """Cells of other networks, sets and seeds at the same scale stay in it; those of another scale,
    and runs over alpha, have their own.
    """
    own = plan.plan('1', 'light', networks=['HAT'], iterations=300)[0]
    others = [
        plan.plan('1', 'light', networks=['DRCT'], iterations=300)[0],
        plan.plan('1', 'light', networks=['HAT'], sets=['horse_blur'], iterations=300)[0],
        plan.plan('1', 'light', networks=['SwinIR'], iterations=30)[0],
        plan.plan('1', 'light', networks=['HMACA1'], alphas=[0.5], iterations=300)[0],
    ]
    for cell in (own, *others):
        write_cell(tmp_path, cell, [30, 40], [31, 41])
    (tmp_path / 'cells' / 'torn_light_clean_300it_seed0.json').write_text('{')
    strange = {'done': True, 'cell': {**asdict(own), 'network': 'Gone'}}
    (tmp_path / 'cells' / 'Gone_light_clean_300it_seed0.json').write_text(json.dumps(strange))
    changed = plan.plan('1', 'light', networks=['HMA+'], iterations=300)[0]
    write_cell(tmp_path, changed, [30, 40], [31, 41])
    content = state.read_state(tmp_path, changed) | {
        'identity': {'option file': 'another', 'data': ''}
    }
    (tmp_path / 'cells' / f'{changed.name}.json').write_text(json.dumps(content))
    assert (
        status_of(
            'tables', '--networks', 'HAT', '--iterations', '300', '--report', '-o', str(tmp_path)
        )
        == 0
    )
    rows = [
        line.split(',')[:2]
        for line in (tmp_path / 'table1_light_clean_300it.csv').read_text().splitlines()[1:]
    ]
    assert rows == [['HAT', 'horse_pix'], ['DRCT', 'horse_pix'], ['HAT', 'horse_blur']]
    assert (
        f'left out: {changed.name}: was begun with another option file' in capsys.readouterr().out
    )
    assert state.known_cells(tmp_path, 'light_clean') == []
    assert (
        status_of(
            'tables',
            '--table',
            '2',
            '--alphas',
            '0.5',
            '--iterations',
            '300',
            '--report',
            '-o',
            str(tmp_path),
        )
        == 0
    )
    assert 'Cells: 1 done, 2 not run.' in capsys.readouterr().out


def test_a_table_over_alpha_with_its_plot(tmp_path, capsys):
    cells = plan.plan('2', 'light')
    for cell in cells:
        if cell.dataset == 'horse_blur' and cell.alpha in (0.0, 0.5):
            write_cell(tmp_path, cell, [45, 47], [46, 50 if cell.alpha else 47])
    assert status_of('tables', '--table', '2', '--report', '-o', str(tmp_path)) == 0
    lines = [
        [text.strip() for text in line.split('|')[1:-1]]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith('| ') and '---' not in line
    ]
    assert lines[0] == ['alpha', *(f'{n / 10:.1f}' for n in range(11))]
    blur = next(
        i for i, line in enumerate(lines) if line[0] == 'Horse-GaussianBlur: unrestored input'
    )
    assert lines[blur][1:] == ['46.00'] * 11
    assert lines[blur + 1] == ['HMACA1', '46.50', *['not run'] * 4, '48.00', *['not run'] * 5]
    assert lines[blur + 2] == ['HMACA1: gain', '+0.50', *[''] * 4, '+2.00', *[''] * 5]
    assert lines[blur + 3] == ['HMACA1: iterations', '300', *[''] * 4, '300', *[''] * 5]
    assert lines[blur + 4][:3] == ['HMACA1: paper', '46.91', '51.14']
    assert Image.open(tmp_path / 'table2_light_clean_alpha.png').size == (800, 500)
    (axes,) = figures.alpha_plot(results.collect(cells, tmp_path)).axes
    assert [line.get_label() for line in axes.lines[1:]] == [
        'Horse-GaussianBlur, HMACA1'
    ] and 'dB' in axes.get_ylabel()
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [(0, 0.5), (0.5, 2)])


def test_without_matplotlib_the_table_is_written_and_one_line_names_the_extra(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    write_cell(tmp_path, plan.plan('2', 'light')[0], [45, 47], [46, 47])
    assert status_of('tables', '--table', '2', '--report', '-o', str(tmp_path)) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith('left out')]
    assert how_to_install('plots') in line and (tmp_path / 'table2_light_clean.md').is_file()
    assert not (tmp_path / 'table2_light_clean_alpha.png').exists()


def test_a_cell_of_another_option_file_or_other_data_is_not_gone_on_with(tmp_path, monkeypatch):
    """Neither continued nor shown as done: its name says the same."""
    cell = plan.plan('1', 'light', networks=['HMACA1'], iterations=300)[0]
    folder, data = tmp_path / 'options', tmp_path / 'data'
    shutil.copytree(OPTIONS, folder)
    monkeypatch.setattr(shipped, 'FOLDER', folder)
    manifest = data / 'clean' / 'horse_pix' / 'train' / 'manifest.jsonl'
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{}')
    write_cell(tmp_path, cell, [30], [31])

    def begun():
        begun = job.CellJob(cell, tmp_path, data)
        begun.check_identity()
        begun.save()

    begun(), begun()
    file = cell.path
    assert file.is_relative_to(folder)
    file.write_text(file.read_text().replace('lr: 1e-3', 'lr: 1e-4'))
    with pytest.raises(
        ValueError,
        match=r'HMACA1_.*: was begun with another option file: choose another folder with -o, or delete cells/',
    ):
        runner.run_cells([cell], tmp_path, data)
    file.write_text(file.read_text().replace('lr: 1e-4', 'lr: 1e-3'))
    begun()
    manifest.write_text('{"seed": 1}')
    with pytest.raises(ValueError, match='was begun with another data'):
        begun()


def test_a_plot_of_nothing_but_zeros(tmp_path):
    cells = plan.plan('1', 'light', networks=['HMACA1'], alphas=[0.5], iterations=300)
    write_cell(tmp_path, cells[0], [30], [30])
    assert figures.alpha_plot(results.collect(cells, tmp_path)) is not None


def test_figures_of_different_pictures_are_not_mixed(tmp_path, capsys):
    first, second = plan.plan('1', 'light', networks=['HAT', 'DRCT'])
    write_cell(tmp_path, first, [30, 40], [31, 41])
    write_cell(tmp_path, second, [30, 41], [31, 41])
    assert status_of('tables', '--report', '-o', str(tmp_path), '--networks', 'HAT', 'DRCT') == 1
    error = capsys.readouterr().err
    assert (
        error.count('\n') == 1
        and f'{first.name} and {second.name} were tested on different images' in error
    )


def test_the_sheet_shows_what_each_network_restored(tmp_path):
    make_triplets(tmp_path / 'data' / 'clean' / 'horse_pix' / 'test', 3, size=24)
    cells = plan.plan('1', 'light', networks=['HAT', 'DRCT', 'SwinIR'])
    write_cell(tmp_path / 'o', cells[0], [30, 40, 35], [31, 41, 36], tmp_path / 'data', colour=100)
    write_cell(tmp_path / 'o', cells[2], [30, 40, 35], [31, 41, 36], tmp_path / 'data', colour=200)
    sheet = figures.sheet(results.collect(cells, tmp_path / 'o'), tmp_path / 'o', tmp_path / 'data')
    pitch = figures.SIDE + 4
    # 3 pictures, whole and enlarged: input, mask, two networks (one was not run), gt
    assert sheet.shape == (30 + 6 * pitch - 4, 5 * pitch - 4, 3)
    columns = [sheet[30 + 80 :: pitch, column * pitch + 80] for column in range(5)]
    assert (columns[2] == (100, 0, 0)).all() and (columns[3] == (200, 0, 0)).all()
    masks = [
        sheet[30 + row * pitch :][: figures.SIDE, pitch : pitch + figures.SIDE] for row in range(6)
    ]
    assert [round((mask == 255).mean(), 2) for mask in masks] == [0.11, 0.25] * 3, (
        'enlarged around the region'
    )
    assert state.shown_images(state.table_of_test(tmp_path / 'o', cells[0])) == [
        '0000',
        '0002',
        '0001',
    ], 'by the dB of the input'


# Running.


def test_alphas_that_differ_have_cells_of_their_own():
    cells = plan.plan('1', 'light', networks=['HMACA1'], alphas=[0.5, 0.50000001])
    assert cells[0].name != cells[1].name and cells[0].name.endswith('alpha0.5_seed0')
    assert 'train:pixel_opt:alpha=0.50000001' in cells[1].changes(Path('data'), 10)
    assert exact(0.1 + 0.2) == '0.30000000000000004' and exact(1.0) == '1' and exact(0.3) == '0.3'


def test_figures_that_are_not_there_are_not_called_done(tmp_path):
    (cell,) = plan.plan('1', 'light', networks=['HAT'], iterations=300)
    write_cell(tmp_path, cell, [float('nan')] * 2, [float('nan')] * 2)
    (found,) = results.collect([cell], tmp_path)
    assert report.over_seeds([found], [float('nan')], '.2f') == 'no figures'


def test_which_cells_stand_in_which_table():
    def cell(dataset, alpha):
        return plan.Cell('HMACA1', dataset, 'light', 'clean', alpha)

    belongs = {(table, data, alpha) for table in '123' for data in ('horse_pix', 'imagenet_pix') for alpha in (None, 0.5)
               if plan.belongs(table, cell(data, alpha))}  # fmt: skip
    assert belongs == {
        ('1', 'horse_pix', None),
        ('1', 'imagenet_pix', None),
        ('2', 'horse_pix', 0.5),
        ('3', 'imagenet_pix', 0.5),
    }


@pytest.mark.parametrize(
    ('arithmetic', 'name', 'entries'),
    [
        ({}, '', []),
        ({'amp': 'bf16'}, '_bf16', ['train:amp=bf16']),
        ({'amp': 'fp16', 'tf32': True}, '_fp16_tf32', ['train:amp=fp16', 'train:tf32=true']),
        ({'compiled': True}, '_compiled', ['train:compile=true']),
    ],
)
def test_arithmetic_is_part_of_a_cells_identity_and_for_training_alone(
    tmp_path, monkeypatch, arithmetic, name, entries
):
    make_triplets(tmp_path / 'clean' / 'horse_pix' / 'train', 1)
    (tmp_path / 'cells').mkdir(), (tmp_path / 'logs').mkdir()
    (cell,) = plan.plan('1', 'light', networks=['HAT'], iterations=9, **arithmetic)
    assert cell.name == f'HAT_horse_pix_light_clean_9it{name}_seed0'
    begun = []
    monkeypatch.setattr(job.CellJob, 'begin', lambda self, *command: begun.append(command))
    running = job.CellJob(cell, tmp_path, tmp_path)
    running.start()
    running.save()
    (running.experiment / 'models').mkdir(parents=True)
    (running.experiment / 'models' / 'net_g_latest.pth').touch()
    running.state['trained'] = True
    running.train_or_test()
    (train, trained, _), (test, tested) = begun
    assert (train, test) == ('train', 'test')
    assert [
        entry for entry in trained if entry.startswith(('train:amp', 'train:tf32', 'train:compile'))
    ] == entries
    assert not {*entries} & {*tested}
    assert state.known_cells(tmp_path, cell.scale) == [cell]
    if entries:
        plain = job.CellJob(
            plan.plan('1', 'light', networks=['HAT'], iterations=9)[0], tmp_path, tmp_path
        )
        plain.check_identity()
        assert plain.state['identity'] != running.state['identity']


def test_the_report_says_in_what_the_networks_were_trained(tmp_path, capsys):
    (cell,) = plan.plan('1', 'light', networks=['HAT'], amp='bf16', tf32=True)
    write_cell(tmp_path, cell, [30, 40], [31, 41])
    arguments = ['--networks', 'HAT', '--report', '-o', str(tmp_path), '--amp', 'bf16', '--tf32']
    assert status_of('tables', *arguments) == 0
    assert 'Trained in bf16, tf32. Cells: 1 done.' in capsys.readouterr().out
    (_, line) = (tmp_path / 'table1_light_clean_bf16_tf32.csv').read_text().splitlines()
    assert line.startswith('HAT,horse_pix,light,clean,,,0,1,bf16,True,False,done,')


def test_gpus_are_dealt_to_cells():
    assert runner.shares([], 2, None) == [None] and runner.shares([], 1, 3) == [None] * 3
    assert runner.shares(['0', '1', '2'], 1, None) == ['0', '1', '2']
    assert runner.shares(['4', '5', '6'], 2, None) == ['4,5'] and runner.shares(
        ['0', '1'], 1, 3
    ) == ['0', '1', '0']
    with pytest.raises(ValueError, match='--processes 3: torch sees 2 GPUs'):
        runner.shares(['0', '1'], 3, None)


def test_progress_is_where_the_checkpoints_are(tmp_path):
    (cell,) = plan.plan('1', 'light', networks=['HAT'], iterations=1200)
    running = job.CellJob(cell, tmp_path, tmp_path)
    running.phase, running.state['iterations'] = 'train', 1200
    assert running.progress() == f'{cell.name}: train'
    states = tmp_path / 'experiments' / cell.name / 'training_states'
    states.mkdir(parents=True)
    for name in ('900', '1100', 'newest'):
        (states / f'{name}.state').touch()
    assert running.progress() == f'{cell.name}: train 1,100/1,200'


def test_several_processes_are_torchruns(tmp_path):
    (cell,) = plan.plan('1', 'light', networks=['HAT'], processes=3)
    command = job.CellJob(cell, tmp_path, tmp_path).command('train', ['a=1'], '--auto_resume')
    assert command[1:3] == ['-m', 'torch.distributed.run'] and '--nproc_per_node=3' in command
    assert command[command.index('hmaca_arch') :][:3] == ['hmaca_arch', 'train', '-opt']
    assert command[-5:] == ['--launcher', 'pytorch', '--auto_resume', '--force_yml', 'a=1']


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--networks', 'HMACB'], r"there is no network 'HMACB' \(did you mean HMACA"),
        (['--alphas', '1.5'], 'alpha is 1.5; expected 0 to 1'),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, capsys, arguments, message):
    assert status_of('tables', *arguments, '-o', str(tmp_path / 'o')) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(rf'basicsr tables: error: {message}.*\n', error), error
    assert not (tmp_path / 'o').exists()


@pytest.mark.parametrize(
    'processes, message',
    [
        (1, r'clean/horse_pix does not exist; to prepare it: basicsr make-dataset'),
        (4, 'a batch of 6 cannot'),
    ],
)
def test_a_cell_that_cannot_run_says_why(tmp_path, capsys, processes, message):
    if processes > 1:
        make_triplets(tmp_path / 'data' / 'clean' / 'horse_pix' / 'test', 1)
    arguments = [
        '--networks',
        'HAT',
        '--data',
        str(tmp_path / 'data'),
        '-o',
        str(tmp_path / 'o'),
        '--processes',
        str(processes),
    ]
    assert status_of('tables', *arguments) == 1
    output = capsys.readouterr().out
    assert (
        re.search(rf'^- HAT_horse_pix_light_clean\S*: .*{message}', output, re.M)
        and 'failed' in output
    )


@pytest.mark.slow
def test_a_matrix_is_trained_stopped_resumed_tabulated_and_left_alone(tmp_path, capsys):
    """Real processes throughout; the first run is killed without a chance to clean up."""
    make_triplets(tmp_path / 'data' / 'clean' / 'horse_pix' / 'train', 4, size=24)
    make_triplets(tmp_path / 'data' / 'clean' / 'horse_pix' / 'test', 2, size=24, seed=1)
    folder = tmp_path / 'o'
    arguments = [
        '--preset',
        'smoke',
        '--networks',
        'HMACA',
        '--iterations',
        '30',
        '--data',
        str(tmp_path / 'data'),
        '-o',
        str(folder),
    ]
    (cell,) = plan.plan('1', 'smoke', networks=['HMACA'], iterations=30)
    with open(tmp_path / 'first.txt', 'w', encoding='utf-8') as output:
        first = subprocess.Popen(
            command_line('tables', *arguments), env=environment(), stdout=output, stderr=output
        )
    deadline = time.time() + 600
    try:
        while not list(folder.glob('experiments/*/training_states/[0-9]*.state')):
            assert time.time() < deadline and first.poll() is None, (
                tmp_path / 'first.txt'
            ).read_text()
            time.sleep(0.02)
    finally:
        first.terminate()
        first.wait()
    assert results.collect([cell], folder)[0].status == 'not finished'

    assert status_of('tables', *arguments) == 0
    output, log = capsys.readouterr().out, (folder / 'logs' / f'{cell.name}.log').read_text()
    resumed = re.search(r'Resuming training from epoch: \d+, iter: (\d+)', log)
    assert resumed and 2 <= int(resumed[1]) < 30
    assert re.search(
        r'^\| HMACA1 +\| +\d+\.\d\d \| +[-+]\d+\.\d\d \| 39\.32 \|.*\| +30 \|', output, re.M
    ), output
    result = results.collect([cell], folder)[0]
    assert (
        len(result.table.names) == 2
        and result.state['training_seconds'] > 0
        and result.state['test_seconds'] > 0
    )
    kept = [path.name for path in (folder / 'experiments' / cell.name / 'models').iterdir()]
    assert state.known_cells(folder, cell.scale) == [cell], 'other commands will show it'
    assert (
        kept == ['net_g_latest.pth']
        and (folder / 'table1_smoke_clean_30it_horse_pix.png').is_file()
    )

    size = os.path.getsize(folder / 'logs' / f'{cell.name}.log')
    assert status_of('tables', *arguments) == 0
    assert '1 cells, 1 of them done already' in capsys.readouterr().out
    assert os.path.getsize(folder / 'logs' / f'{cell.name}.log') == size, 'nothing was run again'


def test_a_cell_begun_with_other_settings_is_not_continued(tmp_path):
    make_triplets(tmp_path / 'clean' / 'horse_pix' / 'train', 1)
    (cell,) = plan.plan('1', 'light', networks=['HAT'])
    (tmp_path / 'cells').mkdir()
    (tmp_path / 'cells' / f'{cell.name}.json').write_text(
        '{"iterations": 3, "settings": ["train:total_iter=9"]}'
    )
    with pytest.raises(
        ValueError, match=r'other settings \(.*train:total_iter=3.*train:total_iter=9'
    ):
        job.CellJob(cell, tmp_path, tmp_path).start()


def test_a_damaged_state_is_named(tmp_path, capsys):
    (cell,) = plan.plan('1', 'light', networks=['HAT'])
    (tmp_path / 'cells').mkdir()
    (tmp_path / 'cells' / f'{cell.name}.json').write_text('{"iterat')
    assert status_of('tables', '--networks', 'HAT', '-o', str(tmp_path)) == 1
    assert re.fullmatch(
        rf'basicsr tables: error: .*{cell.name}.json is damaged .*\n', capsys.readouterr().err
    )
