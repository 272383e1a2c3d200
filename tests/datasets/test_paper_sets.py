"""The paper's six data sets by one command."""

import json
import os
import shutil

import lmdb
import pytest
from conftest import basicsr, status_of
from test_make_dataset import contents, read, records, write_images

from datasets_ext.inputs import find_images, hold_out
from datasets_ext.make_dataset import make_dataset
from datasets_ext.masked_paired_image_dataset import MaskedPairedImageDataset
from datasets_ext.paper_sets import is_packed


def main(arguments) -> int:
    return status_of('make-dataset', *arguments)


KINDS = ('lq', 'mask', 'gt')


@pytest.fixture
def sources(tmp_path):
    """Horses at 128 pixels, one of trainA being one of testA; ten images at 64."""
    write_images(tmp_path / 'horse' / 'trainA', ['h0', 'h1'], size=128)
    write_images(tmp_path / 'horse' / 'testA', ['e0'], size=128)
    shutil.copy(tmp_path / 'horse' / 'testA' / 'e0.png', tmp_path / 'horse' / 'trainA' / 'h2.png')
    write_images(tmp_path / 'imagenet', [f'n{i}' for i in range(10)], size=64)
    return [
        '--horse',
        str(tmp_path / 'horse'),
        '--imagenet',
        str(tmp_path / 'imagenet'),
        '--workers',
        '1',
    ]


def names(folder):
    return sorted(path.stem for path in (folder / 'gt').iterdir())


def test_all_six_with_lmdbs_counts_and_warnings(sources, tmp_path, capsys):
    assert main([*sources, '--protocol', 'clean', '-o', str(tmp_path / 'datasets')]) == 0
    root = tmp_path / 'datasets' / 'clean'
    assert sorted(p.name for p in root.iterdir()) == sorted(
        f'{n}_{d}' for n in ('horse', 'imagenet') for d in ('pix', 'blur', 'noise')
    )
    out = capsys.readouterr().out
    for folder in root.iterdir():
        horse = folder.name.startswith('horse')
        parts = (
            {'train': ['h0', 'h1'], 'test': ['e0']}
            if horse
            else {'train': [f'n{i}' for i in (0, 1, 2, 3, 5, 6, 7, 8)], 'test': ['n4', 'n9']}
        )
        means = []
        for split, expected in parts.items():
            assert names(folder / split) == expected
            found = records(folder / split)
            assert {tuple(r['size']) for r in found.values()} == {(128, 128) if horse else (64, 64)}
            assert {r['degradations'][0]['type'] for r in found.values()} == {
                folder.name.split('_')[1]
            }
            means.append(
                f'{split} {sum(r["input_psnr"] for r in found.values()) / len(found):.2f} dB'
            )
            roots = {f'dataroot_{kind}': str(folder / split / f'{kind}.lmdb') for kind in KINDS}
            packed = MaskedPairedImageDataset(
                {'phase': 'val', **roots, 'io_backend': {'type': 'lmdb'}}
            )
            assert packed.names == expected
            lq = read(folder / split / 'lq' / f'{expected[0]}.png')
            assert ((packed[0]['lq'].permute(1, 2, 0) * 255).round().numpy() == lq).all()
        count = f'{len(parts["train"])} for train, {len(parts["test"])} for test'
        assert (
            f'{folder.name}: {count}; unrestored input, composite PSNR (paste: lq): {", ".join(means)}\n'
            in out
        )
    assert (
        out.count('h2 of the training images is pixel for pixel the test image e0; left out') == 1
    )


def test_a_set_that_cannot_be_made_is_named_and_the_others_are_made(sources, tmp_path, capsys):
    write_images(tmp_path / 'horse' / 'trainA', ['h0', 'h1', 'h2'], size=256)
    write_images(tmp_path / 'horse' / 'testA', ['e0'], size=256)
    assert (
        main(
            [
                *sources,
                '--protocol',
                'release',
                '--degradation',
                'pix',
                '-o',
                str(tmp_path / 'datasets'),
            ]
        )
        == 1
    )
    root = tmp_path / 'datasets' / 'release'
    assert [p.name for p in root.iterdir()] == ['horse_pix'], 'nothing half made is left behind'
    assert is_packed(root / 'horse_pix' / 'train')
    out, err = capsys.readouterr()
    assert (
        'horse_pix: 3 for train, 1 for test; unrestored input, composite PSNR (paste: gt): ' in out
    )
    assert 'imagenet_pix: not made: 10 of 10 images are smaller than 128x128' in out
    assert (
        '1 of 2 sets were not made: imagenet_pix (10 of 10 images are smaller than 128x128' in err
        and '--protocol clean' in err
    )


def test_running_again_keeps_what_is_there_and_repairs_what_is_not(sources, tmp_path):
    command = [
        *sources,
        '--protocol',
        'clean',
        '--degradation',
        'pix',
        '-o',
        str(tmp_path / 'datasets'),
    ]
    assert main(command) == 0
    folder = tmp_path / 'datasets' / 'clean' / 'imagenet_pix'
    before, inode = contents(folder), os.stat(folder / 'train' / 'lq.lmdb' / 'data.mdb').st_ino
    assert main(command) == 0
    assert os.stat(folder / 'train' / 'lq.lmdb' / 'data.mdb').st_ino == inode, 'not written again'
    shutil.rmtree(folder / 'test' / 'mask.lmdb')
    (folder / 'train' / 'gt' / 'n0.png').unlink()
    assert main(command) == 0
    after = contents(folder)
    assert after.keys() == before.keys()
    assert all(after[name] == before[name] for name in before if name.endswith('.png'))


def test_an_lmdb_of_other_triplets_is_not_taken_for_this_one(sources, tmp_path):
    folder = tmp_path / 'datasets' / 'clean' / 'horse_noise'
    command = [
        *sources[:2],
        '--workers',
        '1',
        '--protocol',
        'clean',
        '--degradation',
        'noise',
        '-o',
        str(tmp_path / 'datasets'),
    ]
    assert main(command) == 0 and is_packed(folder / 'train')
    make_dataset(
        tmp_path / 'horse',
        folder,
        seed=1,
        protocol='clean',
        degradation='noise',
        size=128,
        overwrite=True,
        quiet=True,
    )
    assert not is_packed(folder / 'train')
    assert main([*command, '--seed', '1']) == 0 and is_packed(folder / 'train')
    with (
        lmdb.open(str(folder / 'train' / 'lq.lmdb'), lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b'h0', b'something else')
    assert not is_packed(folder / 'train')


def test_images_that_come_split_stay_split(tmp_path):
    write_images(tmp_path / 'in' / 'train', ['a', 'b'])
    write_images(tmp_path / 'in' / 'test', ['c'])
    result = make_dataset(
        tmp_path / 'in',
        tmp_path / 'out',
        every=2,
        protocol='clean',
        degradation='pix',
        size=32,
        quiet=True,
    )
    assert {split: part['count'] for split, part in result.items()} == {'train': 2, 'test': 1}
    shutil.make_archive(str(tmp_path / 'in'), 'zip', tmp_path / 'in')
    assert {
        split: [p.name for p in part] for split, part in find_images(tmp_path / 'in.zip').items()
    } == {'train': ['a', 'b'], 'test': ['c']}


def test_holding_out(tmp_path):
    write_images(tmp_path / 'in', [f'n{i}' for i in range(7)])
    splits = find_images(tmp_path / 'in')
    parts = {split: [p.name for p in part] for split, part in hold_out(splits, 3).items()}
    assert parts == {'train': ['n0', 'n1', 'n3', 'n4', 'n6'], 'test': ['n2', 'n5']}
    for every in (1, 8, -1):
        with pytest.raises(ValueError, match='expected a whole number from 2 to 7'):
            hold_out(splits, every)
    main(
        [
            str(tmp_path / 'in'),
            '-o',
            str(tmp_path / 'out'),
            '--protocol',
            'clean',
            '--degradation',
            'pix',
            '--size',
            '32',
            '--hold-out',
            '3',
        ]
    )
    assert names(tmp_path / 'out' / 'test') == ['n2', 'n5']


@pytest.mark.parametrize(
    'more, message',
    [
        (['--size', '32'], '--size cannot be used with --horse'),
        (['--no-jpeg', '--pool', 'mean'], '--pool, --no-jpeg cannot be used'),
        (['somewhere'], 'INPUT cannot be used'),
    ],
)
def test_settings_of_the_six_are_the_papers(sources, tmp_path, capsys, more, message):
    assert main([*more, *sources, '--protocol', 'clean', '-o', str(tmp_path / 'out')]) == 1
    assert message in capsys.readouterr().err and not (tmp_path / 'out').exists()


def test_the_command_says_what_it_expects(tmp_path, capsys):
    assert main(['-o', str(tmp_path), '--protocol', 'clean']) == 1
    assert 'expected INPUT and --degradation, or --horse' in capsys.readouterr().err
    result = basicsr(
        tmp_path, 'make-dataset', '--horse', 'gone', '-o', 'out', '--protocol', 'clean', check=False
    )
    assert (
        result.returncode == 1
        and '3 of 3 sets were not made: horse_pix, horse_blur, horse_noise' in result.stdout
    )
    assert 'gone does not exist' in result.stdout and 'Traceback' not in result.stdout


def test_the_manifest_says_what_was_held_out_of_what(sources, tmp_path):
    assert (
        main(
            [
                *sources[2:],
                '--protocol',
                'clean',
                '--degradation',
                'pix',
                '-o',
                str(tmp_path / 'datasets'),
            ]
        )
        == 0
    )
    lines = (
        (tmp_path / 'datasets' / 'clean' / 'imagenet_pix' / 'test' / 'manifest.jsonl')
        .read_text()
        .splitlines()
    )
    assert [json.loads(line)['source'] for line in lines] == ['n4.png', 'n9.png']
