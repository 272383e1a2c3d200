"""`basicsr check --data`: faults in data are listed, a step is measured, and a cache is kept."""

import builtins
import contextlib
import json
import logging
import os
import re
import shutil
from pathlib import Path

import basicsr.train
import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from conftest import make_triplets, tiny_options, write_options

import losses_ext  # noqa: F401
from datasets_ext import check_data, image_facts, make_lmdb
from hmaca_arch import cli
from hmaca_arch.config import completing
from hmaca_arch.training import pipeline as training
from hmaca_arch.training import resources as estimate


def gray(path, value, size=32):
    cv2.imwrite(str(path), np.full((size, size), value, np.uint8))


@pytest.fixture
def spoiled(triplets):
    """Train and test triplets with one fault of every kind."""
    train, test = triplets / 'train', triplets / 'test'
    whole = (train / 'lq' / '0000.png').read_bytes()
    (train / 'lq' / '0000.png').write_bytes(whole[: len(whole) // 2])
    gray(train / 'mask' / '0001.png', 255, size=31)
    (train / 'mask' / '0002.png').unlink()
    gray(train / 'mask' / '0003.png', 0)
    gray(train / 'mask' / '0004.png', 255)
    gray(train / 'mask' / '0005.png', 1)  # saved as 0 and 1
    shutil.copy(train / 'gt' / '0003.png', train / 'gt' / '0004.png')
    cv2.imwrite(
        str(test / 'gt' / '0001.bmp'), cv2.imread(str(train / 'gt' / '0005.png'))
    )  # other bytes, the same pixels
    (test / 'gt' / '0001.png').unlink()
    gray(test / 'lq' / 'extra.png', 7)
    return triplets


def scan(tmp_path, data, **sections):
    datasets = tiny_options(data)['datasets']
    for phase, more in sections.items():
        datasets[phase].update(more)
    return check_data.scan(datasets, tmp_path / 'checks' / 'pictures.json', workers=2)


def test_every_fault_is_listed_under_its_kind(tmp_path, spoiled):
    report = scan(tmp_path, spoiled)
    expected = {
        'unreadable': [
            'train:lq: .*lq/0000.png: cannot be read',
            'train:mask: .*0005.png: the mask holds 0 and 1 instead of 0 and 255',
        ],
        'mis-sized': ['train:mask: .*mask/0001.png: 31x31 pixels, gt has 32x32'],
        'missing': ['train:dataroot_mask: .*mask has no 0002'],
        'leaked': ['val:gt: .*test/gt/0001.bmp has the pixels of .*train/gt/0005.png'],
        'duplicate': ['train:gt: .*gt/0004.png has the pixels of .*gt/0003.png'],
        'empty mask': ['train:mask: .*mask/0003.png'],
        'full mask': ['train:mask: .*mask/0001.png', 'train:mask: .*mask/0004.png'],
        'unused': ['val:dataroot_lq: extra has no gt'],
        'not looked into': [],
    }
    assert report.lines.keys() == expected.keys()
    for kind, patterns in expected.items():
        assert len(report.lines[kind]) == len(patterns), kind
        for line, pattern in zip(report.lines[kind], patterns):
            assert re.match('datasets:' + pattern, line), line
    assert report.counts['datasets:train'] == {
        'lq': 6,
        'mask': 5,
        'gt': 6,
        'empty masks': 1,
        'full masks': 2,
    }
    assert report.failed == ['2 unreadable', '1 mis-sized', '1 missing', '1 leaked']


def test_sound_data_pass(tmp_path, triplets):
    report = scan(tmp_path, triplets)
    assert report.failed == [] and not any(report.lines.values())
    assert report.counts['datasets:val'] == {
        'lq': 2,
        'mask': 2,
        'gt': 2,
        'empty masks': 0,
        'full masks': 0,
    }


def test_images_with_more_pixels_than_a_sample_may_have(tmp_path, triplets, monkeypatch):
    monkeypatch.setattr(check_data, 'MOST_PIXELS', 32 * 32)
    assert not scan(tmp_path, triplets).lines['mis-sized']
    monkeypatch.setattr(check_data, 'MOST_PIXELS', 32 * 32 - 1)
    lines = scan(tmp_path, triplets).lines['mis-sized']
    assert (
        len(lines) == 8 and 'train/gt/0000.png: 32x32 pixels, a sample has at most 1023' in lines[0]
    )


def test_images_that_cannot_be_one_batch(tmp_path, triplets):
    for kind in ('lq', 'mask', 'gt'):
        path = triplets / 'train' / kind / '0002.png'
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:24])
    (line,) = scan(tmp_path, triplets, train={'gt_size': None, 'batch_size_per_gpu': 2}).lines[
        'mis-sized'
    ]
    assert (
        'train:gt_size: is missing, and images of 2 sizes cannot be one batch' in line
        and '0002.png: 24x32' in line
    )
    for sound in (
        {'gt_size': 16, 'batch_size_per_gpu': 2},
        {'gt_size': None, 'batch_size_per_gpu': 1},
    ):
        assert not scan(tmp_path, triplets, train=sound).lines['mis-sized']


def test_what_could_not_be_read_is_read_again(tmp_path, triplets):
    """The cause may be a permission or memory, which the file's time and size do not show."""
    path = triplets / 'train' / 'gt' / '0001.png'
    place, sound, status = (
        image_facts.Place(str(path), None, 'image'),
        path.read_bytes(),
        path.stat(),
    )
    for content, readable in ((bytes(len(sound)), False), (sound, True)):
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert (
            image_facts.collect_facts([place], tmp_path / 'cache.json', 1)[place].error is None
        ) == readable


def test_a_report_of_names_that_are_no_text(tmp_path, triplets, monkeypatch, capsys):
    for kind in ('lq', 'mask', 'gt'):
        (triplets / 'train' / kind / '0000.png').rename(
            triplets / 'train' / kind / os.fsdecode(b'caf\xe9.png')
        )
    (triplets / 'train' / 'gt' / os.fsdecode(b'caf\xe9.png')).write_bytes(b'')
    monkeypatch.chdir(tmp_path)
    code, _, _ = run(
        capsys,
        '-opt',
        write_options(tmp_path / 'o.yml', tiny_options(triplets)),
        '--data',
        '--workers',
        1,
    )
    report = (tmp_path / 'checks' / 'tiny' / 'report.txt').read_text()
    assert code == 1 and 'caf\\udce9.png' in report and 'unreadable: 1' in report


def test_images_smaller_than_the_crop_and_missing_folders(tmp_path, triplets):
    lines = scan(tmp_path, triplets, train={'gt_size': 33}, val={'dataroot_lq': 'nowhere'}).lines
    assert (
        len(lines['mis-sized']) == 6
        and 'train/gt/0000.png: 32x32 pixels, at least 33 are needed' in lines['mis-sized'][0]
    )
    assert len(lines['missing']) == 1 and 'datasets:val:dataroot_lq' in lines['missing'][0]


def test_one_mask_for_all_and_meta_info_files(tmp_path, triplets):
    mask = triplets / 'one.png'
    gray(mask, 0)
    listed = tmp_path / 'meta.txt'
    listed.write_text('0001.png (32,32,3)\n0004.png (32,32,3)\nnope.png (32,32,3)\n')
    report = scan(
        tmp_path, triplets, train={'dataroot_mask': str(mask), 'meta_info_file': str(listed)}
    )
    assert report.counts['datasets:train'] == {
        'lq': 2,
        'mask': 2,
        'gt': 2,
        'empty masks': 2,
        'full masks': 0,
    }
    assert [line.split()[-1] for line in report.lines['missing']] == ['nope', 'nope'], (
        'of gt and of lq'
    )
    assert len(report.lines['empty mask']) == 1


def test_lmdb_is_read_as_folders_are(tmp_path, spoiled):
    (spoiled / 'train' / 'lq' / '0000.png').write_bytes(
        (spoiled / 'train' / 'lq' / '0001.png').read_bytes()
    )
    shutil.copy(spoiled / 'train' / 'mask' / '0004.png', spoiled / 'train' / 'mask' / '0002.png')
    gray(spoiled / 'train' / 'mask' / '0005.png', 255)
    gray(spoiled / 'train' / 'mask' / '0001.png', 255)
    make_lmdb.make_lmdb(spoiled / 'train')
    backend = {
        f'dataroot_{kind}': str(spoiled / 'train' / f'{kind}.lmdb') for kind in ('lq', 'mask', 'gt')
    }
    report = scan(tmp_path, spoiled, train={**backend, 'io_backend': {'type': 'lmdb'}})
    assert (
        report.failed == ['1 leaked']
        and 'gt.lmdb: key 0005, trained on' in report.lines['leaked'][0]
    )
    assert report.counts['datasets:train'] == {
        'lq': 6,
        'mask': 6,
        'gt': 6,
        'empty masks': 1,
        'full masks': 4,
    }
    assert 'gt.lmdb: key 0004 has the pixels of' in report.lines['duplicate'][0]


def test_clean_images_of_the_other_data_set_and_folders_of_stock_ones(tmp_path, spoiled):
    clean = {
        'name': 'c',
        'type': 'MaskedDegradationDataset',
        'dataroot_gt': str(spoiled / 'train' / 'gt'),
        'protocol': 'release',
        'size': 20,
    }
    stock = {
        'name': 's',
        'type': 'PairedImageDataset',
        'dataroot_gt': str(spoiled / 'test' / 'gt'),
        'dataroot_lq': str(spoiled),
    }
    report = check_data.scan({'train': clean, 'val': stock}, tmp_path / 'c.json', workers=1)
    assert report.counts == {'datasets:train': {'gt': 6}, 'datasets:val': {'gt': 2}}
    assert (
        'at least 40 are needed' in report.lines['mis-sized'][0]
        and len(report.lines['mis-sized']) == 6
    )
    assert (
        len(report.lines['leaked']) == 1
        and 'datasets:val:dataroot_lq' in report.lines['not looked into'][0]
    )


def test_only_what_changed_is_looked_at_again(tmp_path, spoiled, monkeypatch):
    first = scan(tmp_path, spoiled)
    read, read_chunk = [], image_facts._read_chunk
    monkeypatch.setattr(
        image_facts, '_read_chunk', lambda places: read.extend(places) or read_chunk(places)
    )
    monkeypatch.setattr(image_facts, 'Workers', lambda count: contextlib.nullcontext(builtins))
    assert scan(tmp_path, spoiled) == first
    assert sorted(Path(place.path).name for place in read) == ['0000.png', '0005.png'], (
        'only what could not be read before'
    )
    monkeypatch.undo()
    gray(
        spoiled / 'train' / 'mask' / '0003.png', 255
    )  # of another size than before, or at least time
    os.utime(spoiled / 'train' / 'mask' / '0003.png', ns=(1, 1))
    again = scan(tmp_path, spoiled)
    assert again.lines['empty mask'] == [] and len(again.lines['full mask']) == 3
    (tmp_path / 'checks' / 'pictures.json').write_text('{torn')
    assert scan(tmp_path, spoiled) == again


def test_what_was_seen_before_ctrl_c_is_kept(tmp_path, triplets, monkeypatch):
    def interrupted(self, function, items):
        items = iter(items)
        yield function(next(items))
        raise KeyboardInterrupt

    make_triplets(triplets / 'many', 20, size=8)
    monkeypatch.setattr(image_facts.Workers, 'map', interrupted)
    opt = tiny_options(triplets)['datasets']['train']
    opt.update(
        {f'dataroot_{kind}': str(triplets / 'many' / kind) for kind in ('lq', 'mask', 'gt')},
        gt_size=None,
    )
    with pytest.raises(KeyboardInterrupt):
        check_data.scan({'train': opt}, tmp_path / 'c.json', workers=1)
    assert len(json.loads((tmp_path / 'c.json').read_text())) == 32


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        cli.main(['check', *map(str, arguments)])
    return end.value.code, *capsys.readouterr()


def test_the_command_measures_a_step_and_draws_the_first_batch(
    tmp_path, triplets, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    path = write_options(tmp_path / 'o.yml', tiny_options(triplets))
    code, out, _ = run(capsys, '-opt', path, '--data', '--workers', 1)
    assert (
        code == 0
        and 'unreadable: 0' in out
        and 's, without loading' in out
        and 'GiB (measured, the second step on the first batch)' in out
    )
    assert sorted(os.listdir(tmp_path)) == ['checks', 'data', 'o.yml'], (
        'nothing of a run is written'
    )
    image = cv2.imread(str(tmp_path / 'checks' / 'tiny' / 'first_batch.png'))
    assert image.shape == (4 * 256 + 3 * 4, 4 * 256 + 3 * 4, 3), 'four crops of 16, enlarged'
    mask, marked = image[:256, 260:516], image[:256, 520:776]
    green = (marked == (0, 255, 0)).all(axis=2)
    assert green.any() and (mask[green] == 255).all(), 'the edge is drawn on the mask'


def test_the_first_batch_is_the_one_that_training_takes(tmp_path, triplets):
    opt = completing.complete(tiny_options(triplets), True, str(tmp_path))
    opt['datasets']['train']['seed'] = 0
    samples = estimate.first_samples(opt)
    training.install()
    (tmp_path / 'e').mkdir()
    opt.update(dist=False, rank=0, world_size=1, path={'experiments_root': str(tmp_path / 'e')})
    loader, *_ = basicsr.train.create_train_val_dataloader(opt, logging.getLogger('x'))
    assert torch.equal(next(iter(loader))['lq'], torch.stack([sample['lq'] for sample in samples]))


def test_one_process_that_feeds_several_gpus_takes_a_batch_for_each(tmp_path, triplets):
    opt = completing.complete(tiny_options(triplets), True, str(tmp_path))
    opt['datasets']['train']['seed'] = 0
    one = estimate.first_samples(opt)
    assert len(estimate.first_samples({**opt, 'num_gpu': 3})) == 3 * len(one)


def test_where_a_batch_would_take_too_long_one_sample_is_measured_and_said_so(
    tmp_path, triplets, monkeypatch
):
    opt = completing.complete(tiny_options(triplets), True, str(tmp_path))
    samples = estimate.first_samples(opt)
    monkeypatch.setattr(estimate, 'PATIENCE', 0.0)
    found = estimate.measure(opt, samples)
    assert (
        found.how == 'computed, 4 times what a step on one sample took'
        and found.seconds > 0
        and found.memory > 0
    )
    assert opt['train']['optim_g']['type'] == 'AdamW', 'BasicSR takes types out of what it is given'


def test_faults_end_with_one_line_and_are_all_in_the_report(tmp_path, spoiled, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = write_options(tmp_path / 'o.yml', tiny_options(spoiled))
    code, out, err = run(capsys, '-opt', path, '--data', '--workers', 1)
    assert code == 1 and 'leaked: 1' in out
    assert err.splitlines()[-1].startswith(
        'basicsr check: error: data: 2 unreadable, 1 mis-sized, 1 missing, 1 leaked; all of them: '
    )
    assert (tmp_path / 'checks' / 'tiny' / 'report.txt').read_text() == scan(
        tmp_path, spoiled
    ).text()


def test_long_lists_are_cut_on_the_screen():
    lines = {kind: [] for kind in (*check_data.ERRORS, *check_data.WARNINGS)}
    lines['missing'] = [f'line {i}' for i in range(25)]
    report = check_data.Report(lines, {})
    assert (
        '  line 19\n  ... and 5 more\n' in report.text(most=20)
        and 'line 20' not in report.text(most=20)
        and 'line 24' in report.text()
    )


def test_a_tests_file_shows_its_images_and_takes_no_step(tmp_path, triplets, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    opt = tiny_options(triplets)
    opt['datasets']['test'] = {**opt['datasets'].pop('val'), 'name': 'tested'}
    torch.save({'params': build_network(opt['network_g']).state_dict()}, tmp_path / 'w.pth')
    opt['path']['pretrain_network_g'] = str(tmp_path / 'w.pth')
    code, out, _ = run(
        capsys, '-opt', write_options(tmp_path / 'o.yml', opt), '--data', '--workers', 1
    )
    assert code == 0 and 'the options of this test are right' in out and 'an iteration' not in out
    assert cv2.imread(str(tmp_path / 'checks' / 'tiny' / 'first_batch.png')).shape[0] == 2 * 256 + 4
