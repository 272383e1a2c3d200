"""`make-dataset`: its files, interrupted runs, and what the result depends on."""

import json
import os
import signal
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import basicsr, killed, status_of

from datasets_ext.make_dataset import make_dataset
from datasets_ext.parallel import Workers
from datasets_ext.recipe import Recipe
from datasets_ext.triplets import generator
from hmaca_arch.files.images import decode_image
from hmaca_arch.files.masks import read_mask


def main(arguments) -> int:
    return status_of('make-dataset', *arguments)


KINDS = ('lq', 'mask', 'gt')
PIX = {'protocol': 'clean', 'degradation': 'pix', 'size': 32, 'quiet': True}


def write_images(folder: Path, names, size: int = 64, ending: str = '.png') -> None:
    """Write textured random images; a name's image is always the same."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        rng = np.random.default_rng(list(name.encode()))
        coarse = cv2.resize(
            rng.integers(0, 256, (8, 8, 3), np.uint8), (size, size), interpolation=cv2.INTER_CUBIC
        )
        image = np.clip(coarse + rng.normal(0, 8, coarse.shape), 0, 255).astype(np.uint8)
        assert cv2.imwrite(str(folder / f'{name}{ending}'), image)


@pytest.fixture
def source(tmp_path) -> Path:
    write_images(tmp_path / 'in', [f'n{i}' for i in range(6)])
    return tmp_path / 'in'


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def read(path: Path) -> np.ndarray:
    return decode_image(path.read_bytes(), str(path))


def records(folder: Path) -> dict[str, dict]:
    return {
        record['name']: record
        for record in map(json.loads, (folder / 'manifest.jsonl').read_text().splitlines())
    }


def test_what_is_written(source, tmp_path):
    result = make_dataset(source, tmp_path / 'out', seed=4, **PIX)['']
    assert result['count'] == 6 and result['kept'] == 0 and result['exact'] == 0
    assert sorted(contents(tmp_path / 'out')) == sorted(
        [f'{kind}/n{i}.png' for kind in KINDS for i in range(6)]
        + ['manifest.jsonl', 'settings.json']
    )
    values = []
    for name, record in records(tmp_path / 'out').items():
        lq, gt = (read(tmp_path / 'out' / kind / f'{name}.png') for kind in ('lq', 'gt'))
        data = (tmp_path / 'out' / 'mask' / f'{name}.png').read_bytes()
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert stored.ndim == 2 and stored.dtype == np.uint8 and set(np.unique(stored)) == {0, 255}
        mask = read_mask(data)[0].astype(bool)
        np.testing.assert_array_equal(
            gt, cv2.resize(read(source / f'{name}.png'), (32, 32), interpolation=cv2.INTER_AREA)
        )
        np.testing.assert_array_equal(lq[~mask], gt[~mask])
        (top, left, height, width) = record['region']['boxes'][0]
        assert (
            (height, width) == (5, 5)
            and mask[top : top + 5, left : left + 5].all()
            and mask.sum() == 25
        )
        values.append(10 * np.log10(255**2 / np.mean((lq.astype(float) - gt) ** 2)))
        assert record['input_psnr'] == pytest.approx(values[-1])
        assert (record['source'], record['seed'], record['protocol'], record['size']) == (
            f'{name}.png',
            4,
            'clean',
            [32, 32],
        )
        assert record['degradations'] == [{'type': 'pix', 'block': 5, 'pool': 'centre'}]
    assert result['psnr'] == pytest.approx(np.mean(values))


def test_release_reports_what_lies_inside_the_mask(source, tmp_path):
    result = make_dataset(
        source, tmp_path / 'out', protocol='release', degradation='noise', size=32, quiet=True
    )['']
    values = []
    for name in records(tmp_path / 'out'):
        lq, gt = (
            read(tmp_path / 'out' / kind / f'{name}.png').astype(float) for kind in ('lq', 'gt')
        )
        mask = read(tmp_path / 'out' / 'mask' / f'{name}.png') > 0
        assert (lq[~mask] != gt[~mask]).any()
        values.append(10 * np.log10(255**2 / np.mean(np.where(mask, lq - gt, 0) ** 2)))
    assert result['psnr'] == pytest.approx(np.mean(values))


def test_the_number_of_workers_does_not_matter(source, tmp_path):
    made = [
        contents(tmp_path / str(n))
        for n in (1, 2)
        if make_dataset(source, tmp_path / str(n), workers=n, **PIX)
    ]
    assert made[0] == made[1]
    make_dataset(source, tmp_path / 'other', **{**PIX, 'seed': 1})
    assert contents(tmp_path / 'other')['mask/n0.png'] != made[0]['mask/n0.png']


def test_excluding_an_image_changes_no_other(source, tmp_path):
    make_dataset(source, tmp_path / 'all', **PIX)
    make_dataset(source, tmp_path / 'some', exclude=('n1', 'n4.png'), **PIX)
    everything, some = contents(tmp_path / 'all'), contents(tmp_path / 'some')
    assert {name.split('/')[-1] for name in everything.keys() - some.keys()} == {'n1.png', 'n4.png'}
    assert all(everything[name] == data for name, data in some.items() if name.endswith('.png'))
    with pytest.raises(ValueError, match='--exclude n7: there is no such image'):
        make_dataset(source, tmp_path / 'x', exclude=('n7',), **PIX)


def test_degradations_share_their_regions(source, tmp_path):
    for kind in ('pix', 'noise'):
        make_dataset(source, tmp_path / kind, **{**PIX, 'degradation': kind})
    pix, noise = contents(tmp_path / 'pix'), contents(tmp_path / 'noise')
    assert all(pix[name] == noise[name] for name in pix if name.startswith(('mask/', 'gt/')))


def test_a_second_run_makes_only_what_is_missing_or_damaged(source, tmp_path):
    out = tmp_path / 'out'
    make_dataset(source, out, **PIX)
    before = contents(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob('*.png')}
    assert make_dataset(source, out, **PIX)['']['kept'] == 6
    (out / 'gt' / 'n0.png').unlink()
    (out / 'lq' / 'n1.png').write_bytes(before['lq/n1.png'][:50])
    (out / 'mask' / 'n2.png').write_bytes(before['mask/n3.png'])  # whole, but not its own
    (out / 'lq' / '.n5.png.tmp').write_bytes(b'of a killed run')
    assert make_dataset(source, out, **PIX)['']['kept'] == 3
    assert contents(out) == before
    assert {path.stem for path, then in times.items() if path.stat().st_mtime_ns != then} == {
        'n0',
        'n1',
        'n2',
    }
    write_images(source, ['n3'], size=70)  # the source changed
    assert make_dataset(source, out, **PIX)['']['kept'] == 5
    assert contents(out)['gt/n3.png'] != before['gt/n3.png']


def test_other_settings_are_refused_or_overwrite(source, tmp_path):
    out = tmp_path / 'out'
    make_dataset(source, out, **PIX)
    before = contents(out)
    with pytest.raises(
        ValueError,
        match=r'out was made with seed 0, now 1; choose another output folder or --overwrite',
    ):
        make_dataset(source, out, seed=1, **PIX)
    with pytest.raises(ValueError, match='was made with degradation .*blur'):
        make_dataset(source, out, **{**PIX, 'degradation': 'blur'})
    with pytest.raises(ValueError, match='was made with compression None, now .*before'):
        make_dataset(source, out, compression={'before': 0.5}, **PIX)
    with pytest.raises(ValueError, match=r'holds 3 images not asked for now, such as lq/n2.png'):
        make_dataset(source, out, exclude=('n2',), **PIX)
    assert contents(out) == before
    make_dataset(
        source, out, **{**PIX, 'degradation': {'type': 'pix', 'pool': 'centre'}}
    )  # the default, spelled out
    result = make_dataset(source, out, exclude=('n2',), seed=1, overwrite=True, **PIX)['']
    assert (result['count'], result['kept']) == (5, 0)
    make_dataset(source, tmp_path / 'fresh', exclude=('n2',), seed=1, **PIX)
    assert contents(out) == contents(tmp_path / 'fresh')


@pytest.mark.parametrize('overwrite', [False, True])
def test_folders_of_somebody_else_are_left_alone(source, tmp_path, overwrite):
    write_images(tmp_path / 'out' / 'gt', ['mine'])
    with pytest.raises(ValueError, match=r'holds gt/mine.png, but no settings.json'):
        make_dataset(source, tmp_path / 'out', overwrite=overwrite, **PIX)
    assert (tmp_path / 'out' / 'gt' / 'mine.png').exists()


def test_killed_and_continued(tmp_path):
    """Kill the parent before the twelfth of 40 results; workers are up to eight images ahead."""
    write_images(tmp_path / 'in', [f'k{i:02}' for i in range(40)], size=128)
    out, recipe = (
        tmp_path / 'out',
        ('--protocol', 'clean', '--degradation', 'blur', '--size', 64, '--workers', 2),
    )
    killed(11, 'make-dataset', tmp_path / 'in', '-o', out, *recipe)
    done = len(list(out.glob('lq/*.png')))
    assert 12 <= done <= 20 and not (out / 'manifest.jsonl').exists()
    for path in out.glob('*/[!.]*.png'):
        read(path)  # whole, all of them
    output = basicsr(tmp_path, 'make-dataset', tmp_path / 'in', '-o', out, *recipe).stdout
    assert 0 < int(output.split(' were there already')[0].split('(')[-1]) <= done
    make_dataset(
        tmp_path / 'in',
        tmp_path / 'whole',
        protocol='clean',
        degradation='blur',
        size=64,
        workers=2,
        quiet=True,
    )
    assert contents(out) == contents(tmp_path / 'whole')


def test_a_manifest_line_that_was_cut_short_is_passed_over(source, tmp_path):
    out = tmp_path / 'out'
    make_dataset(source, out, **PIX)
    before = contents(out)
    lines = (out / 'manifest.jsonl').read_text()
    (out / 'manifest.jsonl').unlink()
    (out / 'manifest.partial.jsonl').write_text(lines[: len(lines) // 2])
    assert 1 <= make_dataset(source, out, **PIX)['']['kept'] <= 3
    assert contents(out) == before


@pytest.fixture
def splits(tmp_path) -> Path:
    """horse2zebra's layout; t1 is a twin of the test image e0, in another format."""
    for folder, names in (('trainA', ['t0', 't2']), ('testA', ['e0', 'e1']), ('trainB', ['z0'])):
        write_images(tmp_path / 'set' / folder, names)
    cv2.imwrite(
        str(tmp_path / 'set' / 'trainA' / 't1.bmp'),
        cv2.imread(str(tmp_path / 'set' / 'testA' / 'e0.png')),
    )
    return tmp_path / 'set'


def test_train_and_test_and_their_twins(splits, tmp_path, capsys):
    arguments = [
        '-o',
        str(tmp_path / 'out'),
        '--protocol',
        'clean',
        '--degradation',
        'pix',
        '--size',
        '32',
        '--workers',
        '1',
    ]
    assert main([str(splits), *arguments]) == 0
    output = capsys.readouterr().out
    assert 'train: left out t1, which is pixel for pixel the test image e0' in output
    assert (
        'train: 2 triplets' in output
        and 'test: 2 triplets' in output
        and output.count('composite PSNR') == 2
    )
    assert records(tmp_path / 'out' / 'train').keys() == {'t0', 't2'}
    assert records(tmp_path / 'out' / 'test')['e1']['source'] == 'testA/e1.png'


@pytest.mark.parametrize('prefix', ['', 'horse2zebra/'])
def test_a_zip_file_gives_what_its_folder_gives(splits, tmp_path, prefix):
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        for path in sorted(splits.rglob('*.*')):
            archive.write(path, prefix + path.relative_to(splits).as_posix())
        archive.writestr('__MACOSX/trainA/._t0.png', b'rubbish')
        archive.writestr(prefix + 'trainA/readme.txt', b'text')
    make_dataset(splits, tmp_path / 'folder', **PIX)
    make_dataset(tmp_path / 'a.zip', tmp_path / 'zip', workers=2, **PIX)
    folder, zipped = contents(tmp_path / 'folder'), contents(tmp_path / 'zip')
    assert (
        all(zipped[name] == data for name, data in folder.items() if name.endswith('.png'))
        and folder.keys() == zipped.keys()
    )


def test_a_flat_zip_file_and_damaged_ones(source, tmp_path):
    path = tmp_path / 'flat.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        for image in sorted(source.iterdir()):
            archive.write(image, f'some/{image.name}')
    assert make_dataset(path, tmp_path / 'out', **PIX)['']['count'] == 6
    data = bytearray(path.read_bytes())
    data[200:210] = bytes(10)
    path.write_bytes(data)
    with pytest.raises(
        ValueError,
        match=r'1 of 6 images cannot be used: .*flat.zip/some/n0.png: cannot be read from the zip file',
    ):
        make_dataset(path, tmp_path / 'out2', **PIX)
    path.write_bytes(data[:500])
    with pytest.raises(ValueError, match='neither a folder nor a readable zip file'):
        make_dataset(path, tmp_path / 'out3', **PIX)


def test_unusable_images_are_all_named_and_the_others_made(source, tmp_path, capsys):
    (source / 'n1.png').write_bytes((source / 'n1.png').read_bytes()[:300])
    write_images(source, ['n3'], size=20)
    arguments = [
        str(source),
        '-o',
        str(tmp_path / 'out'),
        '--protocol',
        'clean',
        '--degradation',
        'pix',
        '--size',
        '32',
        '--workers',
        '1',
    ]
    assert main(arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(
        'basicsr make-dataset: error: 2 of 6 images cannot be used: '
    ) and error.endswith('Leave them out with --exclude NAME')
    assert (
        f'{source}/n1.png: cannot be read' in error
        and f'{source}/n3.png: the image is 20x20' in error
    )
    assert main([*arguments, '--exclude', 'n1', 'n3']) == 0
    assert (
        '4 triplets' in (output := capsys.readouterr().out) and '(4 were there already)' in output
    )


def test_16_bit_gray_palette_and_rotated_sources(tmp_path):
    from PIL import Image

    write_images(tmp_path / 'in', ['plain'])
    plain = read(tmp_path / 'in' / 'plain.png')
    cv2.imwrite(str(tmp_path / 'in' / 'deep.png'), plain[..., ::-1].astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / 'in' / 'gray.png'), plain[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(plain)).save(tmp_path / 'in' / 'turned.png', exif=exif)
    make_dataset(tmp_path / 'in', tmp_path / 'out', **PIX)
    gt = {
        name: read(tmp_path / 'out' / 'gt' / f'{name}.png')
        for name in ('plain', 'deep', 'gray', 'turned')
    }
    np.testing.assert_array_equal(gt['plain'], gt['deep'])
    np.testing.assert_array_equal(gt['plain'], gt['turned'])
    np.testing.assert_array_equal(gt['gray'], np.repeat(gt['plain'][..., :1], 3, axis=2))


def test_an_image_that_nothing_changes_does_not_make_the_mean_infinite(source, tmp_path, capsys):
    cv2.imwrite(str(source / 'flat.png'), np.full((64, 64, 3), 77, np.uint8))
    arguments = [
        '-o',
        str(tmp_path / 'out'),
        '--protocol',
        'clean',
        '--degradation',
        'blur',
        '--size',
        '32',
        '--workers',
        '1',
    ]
    assert main([str(source), *arguments]) == 0
    output = capsys.readouterr().out
    assert '1 of 7 exact' in output and 'inf' not in output
    assert records(tmp_path / 'out')['flat']['input_psnr'] is None


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--degradation', 'blur', '--pool', 'mean'], 'degradation blur: there is no .pool'),
        (
            ['--protocol', 'release', '--degradation', 'noise', '--sigma', '3'],
            'protocol release fixes its parameters, remove sigma',
        ),
        (['--size', '0'], 'size is 0'),
        (['--seed', '-1'], 'seed is -1'),
        (['--workers', '0'], 'workers is 0'),
        (['--region-size', '0'], 'region_size is 0'),
    ],
)
def test_mistakes_end_in_one_line(source, tmp_path, capsys, arguments, message):
    defaults = ['--protocol', 'clean', '--degradation', 'pix', '--size', '32']
    assert main([str(source), '-o', str(tmp_path / 'out'), *defaults, *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith('basicsr make-dataset: error: ') and error.count('\n') == 1
    assert message.split('.')[0] in error
    assert not (tmp_path / 'out').exists()


def test_inputs_that_are_not_there(tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    for name, message in (('gone', 'does not exist'), ('empty', 'holds no images')):
        assert (
            main(
                [
                    str(tmp_path / name),
                    '-o',
                    str(tmp_path / 'out'),
                    '--protocol',
                    'clean',
                    '--degradation',
                    'pix',
                ]
            )
            == 1
        )
        assert message in capsys.readouterr().err


def test_names_that_clash_are_refused(source, tmp_path):
    write_images(source, ['n1'], ending='.jpg')
    with pytest.raises(ValueError, match=r'n1\.jpg and .*n1\.png have the same name'):
        make_dataset(source, tmp_path / 'out', **PIX)


def test_a_triplet_can_be_made_again_from_its_record(source, tmp_path):
    make_dataset(source, tmp_path / 'out', **PIX)
    lq, _, _, drawn = Recipe(degradation='pix', size=32)(
        read(source / 'n3.png'), generator(0, 'n3')
    )
    np.testing.assert_array_equal(lq, read(tmp_path / 'out' / 'lq' / 'n3.png'))
    assert drawn['region'] == records(tmp_path / 'out')['n3']['region']


def _die(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_a_killed_worker_is_an_error_not_a_hang():
    with pytest.raises(OSError, match='worker process was killed'), Workers(2) as pool:
        list(pool.map(_die, range(10)))
