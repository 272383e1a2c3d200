"""`make-lmdb`: every pixel survives, bad names are refused, and nothing half made stays."""

import errno
import os
import shutil
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.data import build_dataset
from basicsr.utils import FileClient, imfrombytes
from conftest import killed, make_triplets, status_of
from PIL import Image

from datasets_ext import make_lmdb as module
from datasets_ext.make_lmdb import make_lmdb, map_size
from datasets_ext.sources import Lmdb
from hmaca_arch.files.images import decode_image
from hmaca_arch.files.reading import list_images


def main(arguments) -> int:
    return status_of('make-lmdb', *arguments)


KINDS = ('lq', 'mask', 'gt')


def values(folder: Path) -> dict[str, bytes]:
    with (
        lmdb.open(str(folder), readonly=True, lock=False) as database,
        database.begin() as transaction,
    ):
        return {bytes(key).decode(): bytes(value) for key, value in transaction.cursor()}


@pytest.fixture
def images(tmp_path) -> Path:
    """One image of each kind."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    colour = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    image = Image.fromarray(colour)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(folder / 'png.png')
    image.save(folder / 'jpeg.jpg')
    image.save(folder / 'webp.webp', lossless=True)
    image.save(folder / 'turned.png', exif=exif)
    image.quantize(16).save(folder / 'palette.png')
    image.convert('L').save(folder / 'gray.png')
    image.convert('L').save(folder / 'gray_jpeg.jpg')
    image.convert('1').save(folder / 'bit.png')
    image.convert('RGBA').save(folder / 'opaque.png')
    deep = colour.astype(np.uint16) * 251 + 7
    cv2.imwrite(str(folder / 'deep.png'), deep)
    cv2.imwrite(str(folder / 'deep_tiff.tif'), deep)
    cv2.imwrite(str(folder / 'deep_gray.png'), deep[..., 0])
    return folder


def test_every_kind_of_image_survives_bit_for_bit(images):
    assert make_lmdb(images, quiet=True) == {f'{images}.lmdb': 12}
    stored = values(Path(f'{images}.lmdb'))
    paths = list_images(images)
    assert stored.keys() == paths.keys()
    for key, path in paths.items():
        original = Path(path).read_bytes()
        before, after = decode_image(original, path), decode_image(stored[key], key)
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
        # what BasicSR's own reader sees is the same image, also where it would not have
        # understood the file
        seen = cv2.imdecode(np.frombuffer(stored[key], np.uint8), cv2.IMREAD_UNCHANGED)
        assert (
            seen.dtype == before.dtype
            and seen.shape[:2] == before.shape[:2]
            and (seen.ndim == 2 or seen.shape[2] == 3)
        )
    assert stored['png'] == (images / 'png.png').read_bytes()
    assert stored['deep'] == (images / 'deep.png').read_bytes()
    assert decode_image(stored['turned'], '').shape == (30, 20, 3)


def test_the_layout_is_basicsrs(images):
    make_lmdb(images, quiet=True)
    folder = Path(f'{images}.lmdb')
    lines = (folder / 'meta_info.txt').read_text().splitlines()
    assert (
        'png.png (20,30,3) 1' in lines
        and 'gray.png (20,30,1) 1' in lines
        and 'turned.png (30,20,3) 1' in lines
        and len(lines) == 12
    )
    client = FileClient('lmdb', db_paths=[str(folder)], client_keys=['gt'])
    try:
        image = imfrombytes(client.get('png', 'gt'))
        np.testing.assert_array_equal(image, cv2.imread(str(images / 'png.png')))
    finally:
        client.client._client['gt'].close()


def test_basicsrs_own_data_set_reads_it(tmp_path):
    root = make_triplets(tmp_path / 'set', 3)
    make_lmdb(root, quiet=True)
    opt = {
        'name': 'x',
        'type': 'PairedImageDataset',
        'phase': 'val',
        'scale': 1,
        'io_backend': {'type': 'lmdb'},
    }
    dataset = build_dataset(
        {**opt, 'dataroot_lq': str(root / 'lq.lmdb'), 'dataroot_gt': str(root / 'gt.lmdb')}
    )
    assert len(dataset) == 3
    expected = cv2.imread(str(root / 'gt' / '0001.png'))[..., ::-1].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(dataset[1]['gt'].numpy(), expected, atol=1e-6)
    for client in dataset.file_client.client._client.values():
        client.close()


def test_triplets_and_folders_of_triplets(tmp_path, capsys):
    for split, count in (('train', 3), ('test', 2)):
        make_triplets(tmp_path / 'set' / split, count)
    assert main([str(tmp_path / 'set'), '--workers', '2']) == 0
    output = capsys.readouterr().out
    for split, count in (('train', 3), ('test', 2)):
        for kind in KINDS:
            target = tmp_path / 'set' / split / f'{kind}.lmdb'
            assert f'{target}: {count} images' in output
            files = {
                path.stem: path.read_bytes() for path in (tmp_path / 'set' / split / kind).iterdir()
            }
            assert values(target) == files
    assert main([str(tmp_path / 'set'), '-o', str(tmp_path / 'elsewhere'), '--workers', '1']) == 0
    assert values(tmp_path / 'elsewhere' / 'test' / 'mask.lmdb') == values(
        tmp_path / 'set' / 'test' / 'mask.lmdb'
    )
    hidden = [path for path in tmp_path.rglob('.*')]
    assert hidden == []


@pytest.mark.parametrize(
    'sizes', [[100] * 3000, [4080] * 700, [4081] * 700, [1, 3_000_000], [2030] * 2000, []]
)
def test_the_map_fits_any_sizes_tightly(tmp_path, sizes):
    database = lmdb.open(str(tmp_path / 'a.lmdb'), map_size=map_size(sizes))
    for start in range(0, len(sizes), 500):
        with database.begin(write=True) as transaction:
            for i in range(start, min(start + 500, len(sizes))):
                key = f'{i * 7919 % 100003:06}' + 'x' * 500  # long keys make a large tree
                transaction.put(key.encode(), bytes(sizes[i]))
    database.close()
    assert map_size(sizes) < 1.2 * sum(size + 8192 for size in sizes) + 2e6
    assert (tmp_path / 'a.lmdb' / 'data.mdb').stat().st_size <= map_size(sizes)


def test_the_map_is_measured_on_all_images(tmp_path):
    """BasicSR's default takes ten times the first image's size for each."""
    folder = tmp_path / 'mixed'
    folder.mkdir()
    cv2.imwrite(str(folder / 'a.png'), np.zeros((2, 2, 3), np.uint8))
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    for i in range(4):
        cv2.imwrite(str(folder / f'b{i}.bmp'), noise)
    make_lmdb(folder, quiet=True)
    size = (tmp_path / 'mixed.lmdb' / 'data.mdb').stat()
    assert 4 * 480_000 < size.st_size < 4 * 480_000 * 1.1
    assert size.st_blocks * 512 > 0.9 * size.st_size  # no holes


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['a.png', 'a.jpg'], r'a\.jpg and .*a\.png have the same name'),
        (['v1.2.png'], r"v1\.2\.png: BasicSR cuts LMDB keys at a dot, and 'v1\.2' has one inside"),
        (['größe.png'], r'größe\.png: LMDB keys must be ASCII'),
        (['a b.png'], r'a b\.png: LMDB keys must be ASCII without blanks'),
    ],
)
def test_keys_that_basicsr_could_not_find_are_refused(tmp_path, names, message):
    folder = tmp_path / 'in'
    folder.mkdir()
    for name in names:
        Image.new('RGB', (4, 4)).save(folder / name)
    with pytest.raises(ValueError, match=message):
        make_lmdb(folder, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ['in']


def test_damaged_images_are_named_and_leave_nothing(tmp_path, capsys):
    root = make_triplets(tmp_path / 'set', 3)
    path = root / 'gt' / '0001.png'
    path.write_bytes(path.read_bytes()[:-40])
    assert main([str(root), '--workers', '1']) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f'basicsr make-lmdb: error: {path}: cannot be read as an image')
    assert sorted(item.name for item in root.iterdir()) == [
        'gt',
        'lq',
        'mask',
    ]  # also not lq.lmdb, which was fine


@pytest.mark.parametrize('broken', ['mask', 'one'])
def test_incomplete_triplets_are_refused(tmp_path, broken):
    root = make_triplets(tmp_path / 'set', 3)
    if broken == 'mask':
        shutil.rmtree(root / 'mask')
        message = r'set has no mask/'
    else:
        (root / 'lq' / '0002.png').unlink()
        message = r'1 images are in only one of lq/ and gt/, for example 0002'
    with pytest.raises(ValueError, match=message):
        make_lmdb(root, quiet=True)


def test_missing_and_empty_folders(tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    for name, message in (('gone', 'does not exist'), ('empty', 'holds no images')):
        assert main([str(tmp_path / name)]) == 1
        assert message in capsys.readouterr().err


def test_what_exists_is_replaced_only_when_asked_and_only_by_something_whole(images, monkeypatch):
    target = Path(f'{images}.lmdb')
    make_lmdb(images, quiet=True)
    before = values(target)
    (images / 'gray.png').unlink()
    with pytest.raises(ValueError, match=r'pictures.lmdb exists; --overwrite replaces it'):
        make_lmdb(images, quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(module, '_differs', _always)
        with pytest.raises(ValueError, match='does not read back the same'):
            make_lmdb(images, overwrite=True, quiet=True)
    assert values(target) == before
    make_lmdb(images, overwrite=True, quiet=True)
    assert values(target).keys() == before.keys() - {'gray'}
    assert sorted(path.name for path in images.parent.iterdir()) == ['pictures', 'pictures.lmdb']


def _always(pair) -> bool:
    return True


def test_verification_sees_a_single_wrong_pixel(images):
    path = images / 'deep.png'
    assert not module._differs((str(path), path.read_bytes()))
    deep = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    deep[3, 4, 0] ^= 1
    assert module._differs((str(path), cv2.imencode('.png', deep)[1].tobytes()))
    assert module._differs((str(images / 'png.png'), (images / 'deep.png').read_bytes()))


def test_shares_without_locks_and_sync(tmp_path, monkeypatch):
    """Nothing of LMDB's own asks for either; what remains is left out where it is refused."""
    real = lmdb.open
    asked = []

    def on_a_share(folder, **settings):
        asked.append(settings)
        if settings.get('lock', True) or not (settings.get('readonly') or not settings['sync']):
            raise lmdb.Error(f'{folder}: Operation not permitted')
        return real(folder, **settings)

    def refuse(_):
        raise OSError(errno.EINVAL, 'Invalid argument')

    monkeypatch.setattr(lmdb, 'open', on_a_share)
    monkeypatch.setattr(os, 'fsync', refuse)
    folder = make_triplets(tmp_path / 'set', 2) / 'gt'
    make_lmdb(folder, quiet=True)
    written = Path(f'{folder}.lmdb')
    assert len(asked) == 2 and sorted(os.listdir(written)) == ['data.mdb', 'meta_info.txt']
    assert values(written) == {path.stem: path.read_bytes() for path in folder.iterdir()}


def test_a_killed_run_leaves_nothing_that_looks_complete(tmp_path):
    root = tmp_path / 'set'
    for kind in KINDS:
        (root / kind).mkdir(parents=True)
        noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
        for i in range(40):
            cv2.imwrite(str(root / kind / f'{i}.png'), noise if kind != 'mask' else noise[..., 0])
    killed(
        7 * 40 + 20, 'make-lmdb', root, '--workers', 2
    )  # each of the three is measured, written and verified
    assert sorted(path.name for path in root.iterdir()) == [
        '.lq.lmdb.lock',  # which nobody holds any more
        '.lq.lmdb.partial',
        'gt',
        'lq',
        'mask',
    ]
    make_lmdb(root, quiet=True, workers=2)
    assert sorted(path.name for path in root.iterdir()) == [
        'gt',
        'gt.lmdb',
        'lq',
        'lq.lmdb',
        'mask',
        'mask.lmdb',
    ]
    assert Lmdb(str(root / 'gt.lmdb')).names() == sorted(str(i) for i in range(40))
