"""`basicsr restore` as a user meets it: mistakes, reports, interruption."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import basicsr, command_line, environment
from PIL import Image

from hmaca_arch import cli, inference
from hmaca_arch.files.image_files import read_image
from hmaca_arch.restoring import image_jobs, storing


@pytest.fixture
def folder(tmp_path) -> Path:
    """pictures/{a.png, b.jpg, c.png} of 40x48 and masks/ of the same names, a.png 16 bits deep."""
    rng = np.random.default_rng(0)
    (tmp_path / 'pictures').mkdir()
    (tmp_path / 'masks').mkdir()
    mask = np.zeros((40, 48), np.uint8)
    mask[10:20, 15:30] = 255
    for name in ('a.png', 'b.jpg', 'c.png'):
        pixels = rng.integers(0, 65536 if name == 'a.png' else 256, (40, 48, 3)).astype(
            np.uint16 if name == 'a.png' else np.uint8
        )
        cv2.imwrite(str(tmp_path / 'pictures' / name), pixels)
        cv2.imwrite(str(tmp_path / 'masks' / f'{name[0]}.png'), mask)
    return tmp_path


@pytest.fixture
def run(folder, tiny_checkpoint, monkeypatch, capsys):
    """Run the command in this process: run(more arguments) -> (exit status, stdout, stderr)."""
    monkeypatch.chdir(folder)

    def run(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main(
                [
                    'restore',
                    '--weights',
                    str(tiny_checkpoint),
                    '--device',
                    'cpu',
                    '--context',
                    '4',
                    *map(str, arguments),
                ]
            )
        return end.value.code, *capsys.readouterr()

    return run


def differs(before: Path, after: Path) -> np.ndarray:
    """(h, w): where two files differ."""
    before, after = read_image(before).pixels, read_image(after).pixels
    assert before.shape == after.shape and before.dtype == after.dtype
    return (before != after).any(axis=2)


def test_one_picture_in_a_real_process(folder, tiny_checkpoint):
    files = ('-i', 'pictures/a.png', '-m', 'masks/a.png', '-o', 'out/new.png')
    result = basicsr(
        folder, 'restore', *files, '--weights', tiny_checkpoint, '--device', 'cpu', '--verify'
    )
    assert 'out/new.png: 1 region' in result.stdout and 'verified' in result.stdout
    changed = differs(folder / 'pictures' / 'a.png', folder / 'out' / 'new.png')
    assert changed[10:20, 15:30].any() and changed.sum() == changed[10:20, 15:30].sum()
    assert sorted(path.name for path in folder.iterdir()) == ['masks', 'out', 'pictures']


def test_a_folder_with_a_report(run, folder):
    code, out, err = run(
        '-i', 'pictures', '-m', 'masks', '-o', 'out', '--verify', '--json', 'report.json'
    )
    assert (code, err) == (0, '') and out == (
        'out: 3 done, 0 copied, 0 refused, 0 skipped, verified\n'
    )
    report = json.loads((folder / 'report.json').read_text())
    assert report['asked'] == report['done'] == 3 and report['network'] == 'HMACA'
    for name, entry in zip(('a.png', 'b.jpg', 'c.png'), report['files'], strict=True):
        assert (
            entry['file'] == f'pictures/{name}'
            and entry['output'] == f'out/{name[0]}.png'
            and entry['verified']
            and entry['status'] == 'done'
        )
        assert (
            entry['regions'] == 1
            and entry['boxes'] == [[10, 15, 20, 30]]
            and entry['max_change_outside'] == 0
            and entry['seconds'] > 0
        )
        assert differs(folder / 'pictures' / name, folder / entry['output']).any()


def test_one_mask_for_all(run, folder):
    code, *_ = run('-i', 'pictures', '-m', 'masks/b.png', '-o', 'out')
    assert code == 0 and len(list((folder / 'out').iterdir())) == 3


def test_what_cannot_be_done_is_listed_and_the_rest_is_done(run, folder):
    (folder / 'masks' / 'a.png').unlink()
    cv2.imwrite(str(folder / 'masks' / 'b.png'), np.full((10, 10), 255, np.uint8))
    (folder / 'pictures' / 'd.png').write_bytes((folder / 'pictures' / 'c.png').read_bytes()[:-40])
    cv2.imwrite(str(folder / 'masks' / 'd.png'), np.full((40, 48), 255, np.uint8))
    code, out, err = run('-i', 'pictures', '-m', 'masks', '-o', 'out', '--json', 'report.json')
    assert (
        code == 1
        and out == 'out: 1 done, 0 copied, 3 refused, 0 skipped\n'
        and 'Traceback' not in err
    )
    assert [line.split(': ', 2)[2] for line in err.splitlines()] == [
        'pictures/a.png: no mask: masks has no image named a or a_mask; there is b.png, c.png, d.png',
        'pictures/b.jpg: the mask masks/b.png has 10x10 pixels, the image 48x40; expected equal sizes',
        'pictures/d.png: cannot be read as an image: the file is cut short',
    ]
    assert [path.name for path in (folder / 'out').iterdir()] == ['c.png']
    assert [
        (Path(entry['file']).name, entry['status'])
        for entry in json.loads((folder / 'report.json').read_text())['files']
    ] == [('b.jpg', 'refused'), ('c.png', 'done'), ('d.png', 'refused'), ('a.png', 'refused')]


def test_existing_outputs_stay_unless_told(run, folder):
    (folder / 'out').mkdir()
    (folder / 'out' / 'a.png').write_text('mine')
    code, _, err = run('-i', 'pictures', '-m', 'masks', '-o', 'out')
    assert (
        code == 1
        and 'out/a.png exists; --overwrite replaces it' in err
        and (folder / 'out' / 'a.png').read_text() == 'mine'
    )
    assert run('-i', 'pictures', '-m', 'masks', '-o', 'out', '--overwrite')[0] == 0
    assert differs(folder / 'pictures' / 'a.png', folder / 'out' / 'a.png').any()


def test_a_picture_is_not_written_over_itself(run, folder):
    before = (folder / 'pictures' / 'c.png').read_bytes()
    assert run('-i', 'pictures/c.png', '-m', 'masks/c.png', '-o', 'pictures')[0] == 1
    assert (folder / 'pictures' / 'c.png').read_bytes() == before


def test_mask_sense(run, folder):
    pixels = np.zeros((40, 48), np.uint8)
    pixels[5:10, 5:10], pixels[20:30, 20:30] = 127, 128
    cv2.imwrite('m.png', pixels)
    run('-i', 'pictures/c.png', '-m', 'm.png', '-o', 'hard.png')
    assert not differs(folder / 'pictures' / 'c.png', folder / 'hard.png')[pixels != 128].any()
    run('-i', 'pictures/c.png', '-m', 'm.png', '-o', 'soft.png', '--soft-mask', '--verify')
    soft = differs(folder / 'pictures' / 'c.png', folder / 'soft.png')
    assert soft[pixels == 127].any() and not soft[pixels == 0].any()
    code, _, err = run(
        '-i', 'pictures/c.png', '-m', 'm.png', '-o', 'inverse.png', '--invert-mask', '--verify'
    )
    inverse = differs(folder / 'pictures' / 'c.png', folder / 'inverse.png')
    assert (
        (code, err) == (0, '')
        and inverse[pixels < 128].mean() > 0.5
        and not inverse[pixels == 128].any()
    )


@pytest.mark.parametrize(
    ('pixels', 'ending', 'message'),
    [
        (np.zeros((40, 48), np.uint8), 'png', 'the mask is empty'),
        (np.full((40, 48), 255, np.uint8), 'png', 'the mask is full'),
        (np.eye(40, 48, dtype=np.uint8), 'png', 'holds 0 and 1 instead of 0 and 255'),
        (np.eye(40, 48, dtype=np.uint8) * 255, 'jpg', 'stored with loss (JPEG)'),
    ],
)
def test_doubtful_masks_are_said(run, folder, pixels, ending, message):
    cv2.imwrite(f'm.{ending}', pixels)
    code, _, err = run('-i', 'pictures/c.png', '-m', f'm.{ending}', '-o', 'out.png', '--verify')
    assert code == 0 and 'note: pictures/c.png: ' in err and message in err
    if 'instead' in message:
        assert differs(folder / 'pictures' / 'c.png', folder / 'out.png')[pixels == 1].any()


def test_jpeg_ends_the_guarantee_and_verify_says_so(run, folder):
    code, _, err = run('-i', 'pictures/c.png', '-m', 'masks/c.png', '-o', 'out.jpg')
    assert code == 0 and 'out.jpg is stored with loss: pixels outside the mask change' in err
    code, _, err = run('-i', 'pictures/c.png', '-m', 'masks/c.png', '-o', 'again.jpg', '--verify')
    assert (
        code == 1
        and 'again.jpg: not verified: pixels outside the mask differ from the input by up to' in err
    )


def test_verify_finds_what_a_broken_writer_did(run, monkeypatch):
    write = storing.write_image

    def broken(path, picture, quality):
        pixels = picture.pixels.copy()
        pixels[-1, -1, 0] ^= 1
        write(path, picture._replace(pixels=pixels), quality)

    monkeypatch.setattr(storing, 'write_image', broken)
    code, _, err = run('-i', 'pictures/a.png', '-m', 'masks/a.png', '-o', 'out.png', '--verify')
    assert (
        code == 1
        and 'not verified: pixels outside the mask differ from the input by up to 1' in err
    )


def test_orientation_alpha_profile_and_exif_through_the_command(run, folder):
    """A picture that is stored lying, with a mask painted on it as it is seen."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, 'A maker'
    pixels = np.random.default_rng(1).integers(0, 256, (48, 40, 4), np.uint8)
    Image.fromarray(pixels).save('lying.png', exif=exif.tobytes(), icc_profile=b'a profile')
    code, _, err = run('-i', 'lying.png', '-m', 'masks/a.png', '-o', 'out.png', '--verify')
    assert (code, err) == (0, '')
    with Image.open('out.png') as image:
        found = np.asarray(image)
        assert (
            image.mode == 'RGBA'
            and image.getexif()[0x0112] == 1
            and image.getexif()[0x010F] == 'A maker'
        )
        assert image.info['icc_profile'] == b'a profile'
    upright = np.rot90(pixels, -1)
    changed = (found != upright).any(axis=2)
    assert (
        changed[10:20, 15:30].any()
        and changed.sum() == changed[10:20, 15:30].sum()
        and (found[..., 3] == upright[..., 3]).all()
    )
    Image.fromarray(np.zeros((48, 40), np.uint8)).save('stored.png')
    assert (
        'the image, once its EXIF orientation is applied, 48x40'
        in run('-i', 'lying.png', '-m', 'stored.png', '-o', 'o.png')[2]
    )


def test_gray_stays_gray(run, folder):
    cv2.imwrite('g.png', np.random.default_rng(0).integers(0, 65536, (40, 48)).astype(np.uint16))
    assert run('-i', 'g.png', '-m', 'masks/a.png', '-o', 'out.png', '--verify')[0] == 0
    assert (
        read_image('out.png').pixels.shape == (40, 48, 1)
        and differs(Path('g.png'), Path('out.png')).any()
    )


def test_mistakes_that_concern_everything(run, folder, tiny_checkpoint, capsys):
    one = ('-i', 'pictures/a.png', '-m', 'masks/a.png', '-o')
    (folder / 'file').write_text('')
    for arguments, message in (
        (('-i', 'nowhere', '-m', 'masks', '-o', 'out'), '--input: '),
        (('-i', 'pictures', '-m', 'nowhere', '-o', 'out'), '--mask: '),
        (
            ('-i', 'pictures/a.png', '-m', 'pictures/a.png', '-o', 'out.png'),
            '--mask: pictures/a.png is the image itself; expected another file',
        ),
        (('-i', 'pictures', '-m', 'masks', '-o', 'file'), '--output: file is a file'),
        ((*one, 'out.xyz'), 'cannot write .xyz'),
        (
            (*one, 'masks/../masks/a.png', '--overwrite'),
            '--output: masks/../masks/a.png is the mask',
        ),
        (
            ('-i', 'pictures', '-m', 'masks', '-o', 'masks', '--overwrite'),
            '--output: masks/a.png is the mask',
        ),
        ((*one, 'out.png', '--tile', '8'), 'tile is 8'),
        ((*one, 'out.png', '--json', 'file'), '--json: file exists'),
        ((*one, 'out.png', '--json', 'nowhere/r.json'), 'nowhere does not exist'),
        ((*one, 'out.png', '--json', '.', '--overwrite'), '--json: . is a folder'),
        (
            (*one, 'out.png', '--json', 'out.png'),
            '--json: out.png is an image, mask, output or checkpoint of this command',
        ),
        (
            (*one, 'out.png', '--json', 'pictures/../pictures/a.png', '--overwrite'),
            'a.png is an image, mask',
        ),
        (
            (*one, 'out.png', '--json', 'masks/a.png', '--overwrite'),
            'masks/a.png is an image, mask',
        ),
        (
            (*one, 'out.png', '--json', tiny_checkpoint, '--overwrite'),
            f'{tiny_checkpoint} is an image, mask',
        ),
        ((*one, 'out.png', '--weights', 'file'), 'file: not a checkpoint'),
        ((*one, 'out.png', '-opt', 'nothing.yml'), 'option file nothing.yml does not exist'),
    ):
        code, _, err = run(*arguments)
        assert (
            code == 1
            and err.startswith('basicsr restore: error: ')
            and message in err
            and len(err.splitlines()) == 1
        )
    assert sorted(path.name for path in folder.iterdir()) == ['file', 'masks', 'pictures']


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_restored(
    run, folder, monkeypatch
):
    (folder / 'file').write_text('')
    monkeypatch.setattr(inference.Restorer, 'run', None)
    code, _, err = run('-i', 'pictures/a.png', '-m', 'masks/a.png', '-o', 'file/out.png')
    assert (
        code == 1 and '--output: file cannot be written to (' in err and len(err.splitlines()) == 1
    )


def test_gif_in_a_folder(run, folder):
    with Image.open(folder / 'pictures' / 'b.jpg') as picture:
        picture.convert('L').save(folder / 'pictures' / 'b.gif')
    (folder / 'pictures' / 'b.jpg').unlink()
    code, out, _ = run('-i', 'pictures', '-m', 'masks', '-o', 'out')
    assert code == 0 and '3 done' in out and (folder / 'out' / 'b.png').is_file()


def test_out_of_memory_is_told_and_gone_on_from(run, monkeypatch, folder):
    forward = inference.Adapter.forward

    def tight(adapter, lq, *arguments):
        if len(lq) > 1:
            raise inference.torch.OutOfMemoryError('CUDA out of memory')
        return forward(adapter, lq, *arguments)

    mask = np.zeros((40, 48), np.uint8)
    mask[4:8, 4:8] = mask[4:8, 30:34] = 255
    cv2.imwrite('m.png', mask)
    run('-i', 'pictures/a.png', '-m', 'm.png', '-o', 'expected.png')
    monkeypatch.setattr(inference.Adapter, 'forward', tight)
    asked = ('-i', 'pictures/a.png', '-m', 'm.png', '-o', 'out.png')
    code, _, err = run(*asked, '--json', 'r.json', '--batch', 2)
    assert code == 0 and 'out of memory on cpu: batches of 1 instead of 2' in err
    expected, found = (read_image(name).pixels.astype(int) for name in ('expected.png', 'out.png'))
    assert np.abs(expected - found).max() <= 1
    assert (
        'out of memory'
        in json.loads(Path('r.json').read_text(encoding='utf-8'))['files'][0]['notes'][0]
    )


@pytest.mark.parametrize(
    'error',
    [MemoryError(), RuntimeError('[enforce fail at alloc_cpu.cpp] not enough memory: 1 TB')],
)
def test_a_picture_that_cannot_be_done_leaves_the_others_to_be_done(
    run, monkeypatch, folder, error
):
    real = image_jobs.read_image

    def read(path, *more):
        if path.name == 'a.png':
            raise error
        return real(path, *more)

    monkeypatch.setattr(image_jobs, 'read_image', read)
    code, _, err = run('-i', 'pictures', '-m', 'masks', '-o', 'out', '--json', 'r.json')
    report = {
        Path(entry['file']).name: entry
        for entry in json.loads(Path('r.json').read_text(encoding='utf-8'))['files']
    }
    assert (
        code == 1
        and 'pictures/a.png: ' in err
        and report['a.png']['reason'] == (str(error) or 'MemoryError')
    )
    assert len(report) > 1 and all(
        'output' in entry for name, entry in report.items() if name != 'a.png'
    )


@pytest.mark.parametrize('sent', [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_leaves_whole_files_only(folder, tiny_checkpoint, sent):
    cv2.imwrite(str(folder / 'mask.png'), np.full((40, 48), 255, np.uint8))
    picture = (folder / 'pictures' / 'c.png').read_bytes()
    for number in range(3000):
        (folder / 'pictures' / f'n{number}.png').write_bytes(picture)
    arguments = (
        '-i',
        'pictures',
        '-m',
        'mask.png',
        '-o',
        'out',
        '--weights',
        tiny_checkpoint,
        '--device',
        'cpu',
        '--json',
        'r.json',
    )
    with open(folder / 'err', 'w', encoding='utf-8') as err:
        process = subprocess.Popen(
            command_line('restore', *arguments), cwd=folder, env=environment(), stderr=err
        )
    deadline = time.monotonic() + 600
    while (
        len(list((folder / 'out').glob('*.png')) if (folder / 'out').exists() else []) < 3
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    os.kill(process.pid, sent)
    code = process.wait(timeout=600)
    written = list((folder / 'out').glob('*.png'))
    assert 3 <= len(written) < 3003
    for path in written:
        read_image(path)
    if sent == signal.SIGINT:
        assert (
            code == 130
            and (folder / 'err').read_text().strip().splitlines()[-1]
            == 'basicsr restore: interrupted'
        )
        assert set(written) == set((folder / 'out').iterdir())
        report = json.loads((folder / 'r.json').read_text())
        assert (
            report['asked'] == 3003 and report['done'] == len(report['files']) >= len(written) - 1
        )
