"""Damaged and odd files: a sample of what `scripts/soak_files.py` does with all of them, and what
it has found.
"""

import os
import re
import shutil
import subprocess
import zipfile

import cv2
import numpy as np
import pytest
from conftest import command_line, environment, make_triplets, status_of
from corpus import Entry, box_mask, corpus, smooth
from file_checks import CONSUMERS, fate_of, in_process, names_file
from picture_writers import deep, pillow_reads, png, saved, tiff, turned
from PIL import Image

from datasets_ext import inputs, sources
from datasets_ext.make_lmdb import make_lmdb
from datasets_ext.masked_degradation_dataset import MaskedDegradationDataset
from datasets_ext.masked_paired_image_dataset import MaskedPairedImageDataset
from hmaca_arch.commands import restore as restore_command
from hmaca_arch.files import images
from hmaca_arch.files.images import decode, decode_image
from hmaca_arch.files.reading import read_file
from hmaca_arch.inference import load_restorer


def make_dataset(arguments) -> int:
    return status_of('make-dataset', *arguments)


ENTRIES = [entry for entry in corpus(1) if not entry.large]
DECODED = [
    entry for entry in ENTRIES if isinstance(entry.content, bytes) and entry.role == 'picture'
]
HOW = ('--protocol', 'clean', '--degradation', 'pix', '--size', '40', '--workers', '1')
SAMPLE = ENTRIES[::13]


def test_the_corpus_is_large_has_each_kind_and_is_the_same_each_time():
    large, again = corpus(500), corpus(1)
    assert len(large) >= 500 and len({(entry.role, entry.name) for entry in large}) == len(large)
    assert [entry[:5] for entry in again if not entry.large] == [entry[:5] for entry in ENTRIES]
    assert {entry.kind for entry in large} == {entry.kind for entry in again}
    assert {entry.fate for entry in large} == {'opens', 'refused', 'either'}


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_every_picture_of_the_corpus_is_decoded_right_or_refused_by_name():
    for entry in DECODED:
        try:
            found = decode(entry.content, entry.name)
        except ValueError as error:
            told = names_file(str(error), entry.name) and 'decoder error' not in str(error)
            assert entry.fate != 'opens' and told, (entry.kind, str(error))
            continue
        assert entry.fate != 'refused', entry.kind
        expected = pillow_reads(entry.content) if entry.pixels is None else entry.pixels
        if found.pixels.shape[2] == 3 and expected.shape[2] == 4:  # WebP drops an alpha of 255
            expected = expected[..., :3]
        assert found.pixels.dtype == expected.dtype, entry.kind
        np.testing.assert_array_equal(
            np.broadcast_to(found.pixels, expected.shape), expected, err_msg=entry.kind
        )


@pytest.fixture
def restorer(tiny_checkpoint, monkeypatch):
    made = load_restorer(tiny_checkpoint, device='cpu')
    monkeypatch.setattr(restore_command, 'load_restorer', lambda *_: made)


@pytest.mark.parametrize('consumer', CONSUMERS)
def test_a_sample_goes_through_everything_that_reads_files(consumer, restorer):
    fit = [
        entry for entry in SAMPLE if entry.role == 'picture' or consumer in ('paired', 'restore')
    ]
    verdicts = {}
    for entry in fit[list(CONSUMERS).index(consumer) % 2 :: 2]:
        verdict, why, _ = in_process(entry, consumer, seconds=60)
        assert verdict != 'WRONG', f'{entry.kind} ({entry.name!a}): {why}'
        assert fate_of(entry, consumer) in (
            'either',
            {'accepted': 'opens', 'refused': 'refused'}[verdict],
        )
        verdicts.setdefault(verdict, []).append(entry)
    assert set(verdicts) == {'accepted', 'refused'}


@pytest.mark.parametrize('role', ['picture', 'mask'])
def test_a_folder_that_has_the_name_of_an_image(restorer, role):
    (entry,) = (
        entry for entry in ENTRIES if entry.kind == 'no file: folder' and entry.role == role
    )
    for consumer in CONSUMERS if role == 'picture' else ('paired', 'restore'):
        verdict, why, _ = in_process(entry, consumer)
        assert verdict == 'refused', f'{consumer}: {why}'


def test_the_checks_find_what_is_wrong(restorer, monkeypatch):
    """Each kind of fault, put into the readers: a wrong pixel, another exception, a message without
    the name, a crash, a hang.
    """
    (entry,) = (
        entry for entry in ENTRIES if entry.kind == 'png, whole' and entry.role == 'picture'
    )

    def verdict(consumer: str, what: Entry = entry, seconds: float = 60) -> str:
        found, why, _ = in_process(what, consumer, seconds)
        return why if found == 'WRONG' else found

    assert verdict('restore') == verdict('make-lmdb') == 'accepted'
    assert 'refused, though it is whole' in verdict(
        'paired', entry._replace(content=entry.content[:-9])
    )
    assert 'accepted, though' in verdict('paired', entry._replace(fate='refused'))
    other = entry._replace(pixels=entry.pixels ^ np.uint8(1))
    for consumer, message in (('make-dataset', 'gt is not'), ('make-lmdb', 'other pixels'), ('paired', 'is not the picture'),
                              ('degradation', 'gt is not'), ('restore', 'outside the mask')):  # fmt: skip
        assert message in verdict(consumer, other), consumer
    for fault, message in (
        (lambda *_: 1 / 0, 'ZeroDivisionError'),
        (lambda *_: os._exit(3), 'exit status 3'),
        (lambda *_: __import__('time').sleep(60), 'it hung'),
    ):
        monkeypatch.setitem(CONSUMERS, 'faulty', fault)
        assert message in verdict('faulty', seconds=1 if message == 'it hung' else 60)
    monkeypatch.setattr(images, 'decode', lambda *_: (_ for _ in ()).throw(ValueError('broken')))
    assert 'does not name the file' in verdict('degradation', entry._replace(fate='either'))


def test_16_bit_tiff_files_that_opencv_reads_otherwise_than_they_are_meant():
    wide = deep(smooth(np.random.default_rng(0)))
    for name, data in (
        ('planes.tif', tiff(wide, 2, planar=True)),
        ('inverted.tif', tiff(wide[..., :1], 0)),
    ):
        with pytest.raises(
            ValueError, match=rf'^{name}: .*without separate planes; convert it to PNG'
        ):
            decode(data, name)
    np.testing.assert_array_equal(decode(tiff(wide, 2), 'a').pixels, wide)
    np.testing.assert_array_equal(decode(tiff(wide, 2, more={274: 6}), 'a').pixels, turned(wide, 6))


def test_signed_bytes_are_no_picture():
    with pytest.raises(ValueError, match=r'^a: .*signed and floating point numbers'):
        decode(tiff(np.zeros((4, 5, 1), np.int8), 1), 'a')


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_data_sets_refuse_animations_instead_of_taking_the_first_frame():
    frames = [Image.fromarray(smooth(np.random.default_rng(i))) for i in range(3)]
    for kind in ('GIF', 'PNG', 'WEBP', 'TIFF'):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        with pytest.raises(ValueError, match=r'^a\.b: .*holds 3 images; animations'):
            decode_image(data, 'a.b')
        with pytest.raises(
            ValueError, match=r'^a\.b: cannot be read'
        ):  # a TIFF's second page without its size is a TypeError of Pillow's
            decode_image(data[: len(data) * 2 // 3], 'a.b')


@pytest.mark.parametrize('kind', ['TGA', 'PPM', 'EPS'])
def test_what_a_file_is_decides_its_content_among_few_formats(kind):
    with pytest.raises(ValueError, match=r'^a\.png: .*none of PNG, JPEG'):
        decode(saved(smooth(np.random.default_rng(0)), kind), 'a.png')
    with pytest.raises(ValueError, match='the file is empty'):
        decode(b'', 'a.png')


def test_files_that_never_end_are_not_read(tmp_path):
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'device.png').symlink_to('/dev/zero')
    (tmp_path / 'loop.png').symlink_to('loop.png')
    (tmp_path / 'folder.png').mkdir()
    with open(tmp_path / 'huge.png', 'wb') as file:
        file.truncate(2**31)
    for name, message in (
        ('pipe', 'a pipe'),
        ('device', 'device'),
        ('loop', 'symbolic links'),
        ('folder', 'a folder'),
        ('huge', '2147483648 bytes'),
    ):
        with pytest.raises(
            ValueError, match=rf'^{re.escape(str(tmp_path))}/{name}\.png: .*{message}'
        ):
            read_file(tmp_path / f'{name}.png')


@pytest.mark.slow
def test_names_that_are_no_text_can_be_told(tmp_path, tiny_checkpoint):
    name = os.fsdecode(b'not-\xff.png')
    (tmp_path / name).write_bytes(saved(smooth(np.random.default_rng(0))))
    (tmp_path / 'mask.png').write_bytes(saved(box_mask()))
    files = (
        '-i',
        name,
        '-m',
        'mask.png',
        '-o',
        'out',
        '--weights',
        str(tiny_checkpoint),
        '--device',
        'cpu',
    )
    strict = {**environment(), 'PYTHONIOENCODING': 'utf-8:strict'}
    done = subprocess.run(
        command_line('restore', *files),
        cwd=tmp_path,
        env=strict,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0 and 'not-\\udcff.png: 1 region' in done.stdout
    assert (tmp_path / 'out' / name).is_file()


def test_make_dataset_names_every_file_that_it_cannot_use(tmp_path, capsys):
    (tmp_path / 'in').mkdir()
    for i in range(6):
        (tmp_path / 'in' / f'bad{i}.png').write_bytes(b'no')
    (tmp_path / 'in' / 'good.png').write_bytes(saved(smooth(np.random.default_rng(0))))
    (tmp_path / 'in' / 'link.png').symlink_to('link.png')
    arguments = [str(tmp_path / 'in'), '-o', str(tmp_path / 'out'), *HOW]
    assert make_dataset(arguments) == 1
    errors = capsys.readouterr().err
    assert (
        all(f'{name}.png: ' in errors for name in ('bad0', 'bad5', 'link'))
        and '7 of 8 images cannot be used' in errors
    )
    assert [path.name for path in (tmp_path / 'out' / 'gt').iterdir()] == ['good.png']
    assert make_dataset([*arguments, '--exclude', 'link', *(f'bad{i}' for i in range(6))]) == 0


def test_damaged_manifests_are_made_again(tmp_path):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'a.png').write_bytes(saved(smooth(np.random.default_rng(0))))
    arguments = [str(tmp_path / 'in'), '-o', str(tmp_path / 'out'), *HOW]
    assert make_dataset(arguments) == 0
    manifest = tmp_path / 'out' / 'manifest.jsonl'
    before = manifest.read_bytes()
    for damage in (b'\xff\xfe' + before, b'[1]\n5\n{"nam": 1}\n', b''):
        manifest.write_bytes(damage)
        assert make_dataset(arguments) == 0 and manifest.read_bytes() == before


def test_zip_files_that_unpack_to_too_much_or_end_too_soon(tmp_path, monkeypatch):
    data = saved(smooth(np.random.default_rng(0)))
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w', zipfile.ZIP_LZMA) as archive:
        archive.writestr('a.png', data)
    (image,) = inputs.find_images(tmp_path / 'a.zip')['']
    assert image.read() == data
    monkeypatch.setattr(inputs, 'LARGEST_FILE', len(data) - 1)
    with pytest.raises(ValueError, match=r'a\.zip/a\.png: .*more than'):
        image.read()
    monkeypatch.undo()
    broken = bytearray((tmp_path / 'a.zip').read_bytes())
    broken[60:90] = bytes(30)
    (tmp_path / 'b.zip').write_bytes(broken)
    (image,) = inputs.find_images(tmp_path / 'b.zip')['']
    with pytest.raises(ValueError, match=r'b\.zip/a\.png: cannot be read from the zip file'):
        image.read()


def test_bombs_are_no_small_pictures(tmp_path):
    """An image too large to open passes the check of sides; decoding it reports the reason."""
    (tmp_path / 'bomb.png').write_bytes(png(60000, 60000, 8, 2, b''))
    inputs.check_sides(inputs.find_images(tmp_path)[''], 64, 'why')


def paired(root, **options) -> MaskedPairedImageDataset:
    roots = {f'dataroot_{kind}': str(root / kind) for kind in ('lq', 'mask', 'gt')}
    return MaskedPairedImageDataset(
        {'name': 'a', 'type': 'MaskedPairedImageDataset', 'phase': 'val', **(roots | options)}
    )


def test_sizes_that_differ_name_both_files(tmp_path):
    make_triplets(tmp_path, 1)
    cv2.imwrite(str(tmp_path / 'gt' / '0000.png'), np.zeros((7, 9, 3), np.uint8))
    with pytest.raises(ValueError, match=r'lq/0000\.png: 32x32 .*gt/0000\.png, has 7x9'):
        paired(tmp_path)[0]


def test_too_many_pixels_for_a_sample(tmp_path, monkeypatch):
    make_triplets(tmp_path, 1)
    monkeypatch.setattr(sources, 'MOST_PIXELS', 32 * 32 - 1)
    clean = {
        'name': 'a',
        'type': 'MaskedDegradationDataset',
        'phase': 'val',
        'dataroot_gt': str(tmp_path / 'gt'),
    }
    for data in (paired(tmp_path), MaskedDegradationDataset(clean)):
        with pytest.raises(ValueError, match=r'gt/0000\.png: 32x32 .*too many for a sample'):
            data[0]
    assert MaskedDegradationDataset({**clean, 'size': 16})[0]['gt'].shape == (3, 16, 16)


@pytest.mark.parametrize('damage', ['cut', 'zeros', 'text', 'empty'])
def test_damaged_lmdbs_are_refused_by_name(tmp_path, damage):
    """Reading beyond the end of a database that is cut short would kill the process."""
    make_triplets(tmp_path, 3)
    make_lmdb(tmp_path, quiet=True)
    file = tmp_path / 'gt.lmdb' / 'data.mdb'
    content = file.read_bytes()
    damaged = {
        'cut': content[: 3 * 4096],
        'zeros': bytes(len(content)),
        'text': b'text' * 5000,
        'empty': b'',
    }[damage]
    file.write_bytes(damaged)
    roots = {f'dataroot_{kind}': str(tmp_path / f'{kind}.lmdb') for kind in ('lq', 'mask', 'gt')}
    data = paired(tmp_path, io_backend={'type': 'lmdb'}, **roots)
    with pytest.raises(ValueError, match=r'gt\.lmdb'):
        data[0]


def test_lists_of_names_that_are_no_text(tmp_path):
    make_triplets(tmp_path, 1)
    (tmp_path / 'list.txt').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ValueError, match=r'list\.txt: is not text in UTF-8'):
        paired(tmp_path, meta_info_file=str(tmp_path / 'list.txt'))
    make_lmdb(tmp_path, quiet=True)
    shutil.copy(tmp_path / 'list.txt', tmp_path / 'gt.lmdb' / 'meta_info.txt')
    with pytest.raises(ValueError, match=r'meta_info\.txt: is not text'):
        sources.Lmdb(str(tmp_path / 'gt.lmdb'))
