"""`basicsr restore` on folders as people have them: odd endings, odd names, subfolders, masks."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmaca_arch import cli
from hmaca_arch.restoring import planning

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 48, 3), dtype=np.uint8)
MASK = np.zeros((40, 48), np.uint8)
MASK[10:20, 15:30] = 255


@pytest.fixture
def run(tmp_path, tiny_checkpoint, monkeypatch, capsys):
    """Run the command in tmp_path: run(arguments) -> (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> tuple[int, str, str]:
        options = ('--weights', tiny_checkpoint, '--device', 'cpu', '--context', 4)
        with pytest.raises(SystemExit) as end:
            cli.main(['restore', *map(str, (*options, *arguments))])
        return end.value.code, *capsys.readouterr()

    return run


def put(path: str, pixels: np.ndarray = PIXELS, kind: str = 'PNG', **options) -> None:
    """Write an image; its format need not be that of its ending."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, kind, **options)


def restored(path: str) -> bool:
    """Tell whether the region of an image changed, and nothing else."""
    changed = (np.asarray(Image.open(path)) != PIXELS).any(axis=2)
    return bool(changed[MASK > 0].any() and not changed[MASK == 0].any())


def outputs(folder: str = 'out') -> list[str]:
    root = Path(folder)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob('*') if path.is_file())


def test_every_file_is_done_or_named_with_the_reason(run):
    put('mask.png', MASK)
    for name in ('a.png', 'b.jfif', 'c.jpe', 'd.mpo', 'e.HEIC', 'f.avif', 'g.tiff', 'sub/h.png'):
        put(f'in/{name}', kind='JPEG' if name[2:] in ('jfif', 'jpe', 'mpo') else 'PNG')
    Path('in/photo.jxl').write_bytes(b'')
    Path('in/a.CR2').write_bytes(b'')
    Path('in/notes.txt').write_bytes(b'x')
    Path('in/.DS_Store').write_bytes(b'x')
    Path('in/empty').mkdir()
    code, out, err = run('-i', 'in', '-m', 'mask.png', '-o', 'out', '--json', 'r.json')
    assert code == 1 and out == 'out: 7 done, 0 copied, 3 refused, 3 skipped\n'
    assert outputs() == [f'{letter}.png' for letter in 'abcdefg']
    assert 'error: in/sub: a folder with images; --recursive goes into it\n' in err
    assert 'error: in/photo.jxl: cannot be read as an image: it is JPEG XL' in err
    assert 'error: in/a.CR2: cannot be read as an image: it is a raw file of a camera' in err
    assert 'skipped: in/.DS_Store: its name starts with a dot\n' in err
    assert 'skipped: in/notes.txt: its ending is not one of an image\n' in err
    report = json.loads(Path('r.json').read_bytes())
    statuses = {Path(entry['file']).name: entry['status'] for entry in report['files']}
    assert len(statuses) == report['asked'] == 13 and statuses['empty'] == 'skipped'
    assert (report['done'], report['refused'], report['skipped']) == (7, 3, 3)
    assert all('reason' in entry for entry in report['files'] if entry['status'] != 'done')


@pytest.mark.parametrize(
    ('data', 'what'),
    [
        (b'\xff\x0a codestream', 'it is JPEG XL; convert it to PNG or TIFF first'),
        (b'\0\0\0\x0cjP  \r\n\x87\n', 'it is JPEG 2000; '),
        (b'II*\0\x10\0\0\0CR\2\0', 'it is a raw file of a camera; develop it first'),
        (b'\0\0\0\x18ftypcrx \0\0\0', 'it is a raw file of a camera; develop it first'),
        (b'8BPS\0\1', 'it is a Photoshop file; '),
        (b'no image at all', 'its content is none of PNG, '),
        (b'', 'the file is empty'),
    ],
)
def test_what_is_not_read_is_named_by_its_content(run, data, what):
    put('mask.png', MASK)
    Path('photo.png').write_bytes(data)
    code, _, err = run('-i', 'photo.png', '-m', 'mask.png', '-o', 'out')
    assert code == 1 and what in err and len(err.splitlines()) == 1 and not outputs()


def test_recursive_keeps_the_tree(run):
    for name in ('a', 'deep/er/b', 'deep/c'):
        put(f'in/{name}.png')
        put(f'masks/{name}.png', MASK)
    assert run('-i', 'in', '-m', 'masks', '-o', 'out', '--recursive')[0] == 0
    assert outputs() == ['a.png', 'deep/c.png', 'deep/er/b.png']
    assert restored('out/deep/er/b.png')
    # Output and masks inside of the input's folder are not taken for images, the second time too.
    shutil.move('masks', 'in/masks')
    command = ('-i', 'in', '-m', 'in/masks', '-o', 'in/out', '--recursive', '--overwrite')
    for skipped in (1, 2):
        code, out, err = run(*command)
        assert code == 0 and out == f'in/out: 3 done, 0 copied, 0 refused, {skipped} skipped\n'
        assert 'skipped: in/masks: the folder of masks\n' in err
    assert "skipped: in/out: the output's folder\n" in err


def test_files_folders_and_patterns_together(run):
    for name in ('one.png', 'in/two.png', 'more/x1.png', 'more/x2.png', 'more/y.png'):
        put(name)
    put('mask.png', MASK)
    command = ('-i', 'one.png', 'in', 'more/x*.png', 'more/x1.png', '-m', 'mask.png', '-o', 'out')
    code, out, _ = run(*command)
    assert code == 0 and out.startswith('out: 4 done')
    assert outputs() == ['one.png', 'two.png', 'x1.png', 'x2.png']
    code, _, err = run('-i', 'none*.png', '-m', 'mask.png', '-o', 'out')
    assert code == 1 and 'none*.png matches no file' in err
    code, _, err = run('-i', 'more/*.png', '-m', 'mask.png', '-o', 'o.png')
    assert code == 1 and 'o.png is one file; expected a folder' in err
    assert run('-i', 'more/y*.png', '-m', 'mask.png', '-o', 'y.png')[0] == 0 and restored('y.png')


@pytest.mark.parametrize(
    ('image', 'mask'),
    [
        ('photo.jpg', 'photo.png'),
        ('photo.png', 'photo_mask.png'),
        ('photo.png', 'photo_mask001.png'),
        ('photo.png', 'photo-mask.tif'),
        ('PHOTO.PNG', 'photo_Mask.PNG'),
        ('caf\u00e9.png', 'cafe\u0301.png'),
        ('cafe\u0301.png', 'caf\u00e9_mask.png'),
    ],
)
def test_names_of_masks(run, image, mask):
    put(f'in/{image}')
    put(f'masks/{mask}', MASK, 'TIFF' if mask.endswith('tif') else 'PNG')
    assert run('-i', 'in', '-m', 'masks', '-o', 'out')[0] == 0
    assert restored(f'out/{Path(image).stem}.png')


def test_masks_that_do_not_fit_are_named(run):
    for name in ('a', 'b', 'c', 'd'):
        put(f'in/{name}.png')
    for name in ('a_mask000', 'a_mask001', 'b_m', 'c', 'd', 'typo'):
        put(f'masks/{name}.png', MASK)
    code, out, err = run('-i', 'in', '-m', 'masks', '-o', 'out')
    assert code == 1 and out == 'out: 2 done, 0 copied, 2 refused, 4 skipped\n'
    assert 'in/a.png: several masks could be meant: a_mask000.png, a_mask001.png' in err
    assert 'in/b.png: no mask: masks has no image named b or b_mask; there is b_m.png' in err
    assert 'skipped: masks/typo.png: a mask that no image uses' in err
    code, out, _ = run('-i', 'in/b.png', '-m', 'masks', '-o', 'b.png', '--mask-suffix', '_m')
    assert code == 0 and restored('b.png')
    one = ('-m', 'masks/b_m.png')
    for mask in (one, ('--box', '1,1,9,9')):
        code, _, err = run('-i', 'in/b.png', *mask, '-o', 'c.png', '--mask-suffix', '_m')
        assert code == 1 and '--mask-suffix: there is no folder of masks' in err
        assert not Path('c.png').exists()


def test_a_folder_of_masks_that_cannot_be_listed_is_named(run, monkeypatch):
    """Otherwise its masks would be missing without a word."""
    put('in/a.png'), put('masks/a.png', MASK), put('masks/sub/b.png', MASK)
    real = os.scandir

    def refuse(path):
        if str(path).endswith('sub'):
            raise PermissionError(errno.EACCES, 'Permission denied', path)
        return real(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    status, _, errors = run('-i', 'in', '-m', 'masks', '-o', 'out')
    assert status == 1 and 'masks/sub' in errors and 'Permission denied' in errors


def test_names_that_differ_in_case_alone(run, monkeypatch):
    for name in ('a', 'A'):
        put(f'in/{name}.png')
        put(f'masks/{name}.png', MASK)
    if len(list(Path('in').iterdir())) < 2:
        pytest.skip('this system has one file of these names')
    assert run('-i', 'in', '-m', 'masks', '-o', 'out')[0] == 0
    assert restored('out/a.png') and restored('out/A.png')
    # A folder that cannot hold both: FAT, NTFS on Windows, APFS.
    monkeypatch.setattr(planning, 'ignores_case', lambda jobs: True)
    code, out, err = run('-i', 'in', '-m', 'masks', '-o', 'out', '--overwrite')
    assert code == 1 and '0 done, 0 copied, 2 refused' in out
    assert 'in/a.png: out/a.png is the output of another image too; rename one' in err


def test_images_and_masks_in_one_folder(run):
    put('in/a.jpg', kind='JPEG')
    put('in/b.png')
    put('in/a_mask.png', MASK)
    put('in/b_mask.png', MASK)
    code, out, err = run('-i', 'in', '-m', 'in', '-o', 'out')
    assert code == 0 and out == 'out: 2 done, 0 copied, 0 refused, 2 skipped\n'
    assert 'skipped: in/a_mask.png: the mask of a.jpg\n' in err and restored('out/b.png')
    put('in/mask.png', MASK)
    code, out, err = run('-i', 'in/*.png', '-m', 'in/mask.png', '-o', 'out2')
    assert (
        code == 0
        and 'skipped: in/mask.png: the mask\n' in err
        and 'mask.png' not in outputs('out2')
    )


def test_images_without_masks_are_copied_if_one_likes(run):
    put('in/a.jpg', kind='JPEG')
    put('in/b.png')
    put('masks/b.png', MASK)
    code, out, _ = run('-i', 'in', '-m', 'masks', '-o', 'out', '--copy-unmasked')
    assert code == 0 and out == 'out: 1 done, 1 copied, 0 refused, 0 skipped\n'
    assert Path('out/a.jpg').read_bytes() == Path('in/a.jpg').read_bytes()


def test_a_black_mask_copies(run):
    put('in/a.png')
    put('in/b.png')
    put('masks/a.png', MASK)
    put('masks/b.png', 0 * MASK)
    code, out, err = run('-i', 'in', '-m', 'masks', '-o', 'out', '--verify')
    assert code == 0 and out == 'out: 1 done, 1 copied, 0 refused, 0 skipped, verified\n'
    assert 'in/b.png: the mask is empty' in err
    assert Path('out/b.png').read_bytes() == Path('in/b.png').read_bytes()


def test_output_into_the_folder_of_the_input_twice(run):
    put('in/b.jpg', kind='JPEG')
    put('mask.png', MASK)
    command = ('-i', 'in', '-m', 'mask.png', '-o', 'in')
    assert run(*command)[0] == 0 and outputs('in') == ['b.jpg', 'b.png']
    before = Path('in/b.jpg').read_bytes()
    code, _, err = run(*command)
    assert code == 1 and 'in/b.png exists; --overwrite replaces it' in err
    code, out, err = run(*command, '--overwrite')
    assert code == 0 and out == 'in: 1 done, 0 copied, 0 refused, 1 skipped\n'
    assert 'skipped: in/b.png: an output of an earlier run' in err
    assert Path('in/b.jpg').read_bytes() == before


def test_another_image_is_not_taken_for_an_earlier_output(run):
    put('in/b.jpg', kind='JPEG')
    put('in/b.png')
    put('mask.png', MASK)
    before = Path('in/b.png').read_bytes()
    code, _, err = run('-i', 'in/b.jpg', '-m', 'mask.png', '-o', 'in')
    assert code == 1 and 'in/b.png exists' in err
    for output in ('in', 'out'):
        code, _, err = run('-i', 'in', '-m', 'mask.png', '-o', output, '--overwrite')
        assert code == 1 and err.count(f'{output}/b.png is the output of another image too') == 2
    assert Path('in/b.png').read_bytes() == before and outputs('in') == ['b.jpg', 'b.png']
    code, _, _ = run('-i', 'in', '-m', 'mask.png', '-o', 'out', '--format', 'same')
    assert code == 0 and outputs('out') == ['b.jpg', 'b.png']


def test_another_image_of_the_input_is_not_written_over(run):
    put('in/a.png')
    put('in/o/a.png', 255 - PIXELS)
    put('mask.png', MASK)
    arguments = ('-i', 'in', 'in/o', '-m', 'mask.png', '-o', 'in/o', '--recursive', '--overwrite')
    code, out, err = run(*arguments)
    assert code == 1 and '1 done, 0 copied, 1 refused' in out
    assert 'in/a.png: its output in/o/a.png is another image of the input' in err
    assert np.array_equal(Image.open('in/o/a.png'), 255 - PIXELS) and outputs('in/o/o') == ['a.png']


def test_frames_of_a_video_and_one_mask(run):
    """Where the input is constant the result is, whatever happens elsewhere in a frame."""
    for number in range(4):
        frame = PIXELS.copy()
        frame[30:] = number  # beyond the context
        put(f'in/frame{number:04d}.png', frame)
    put('mask.png', MASK)
    code, out, _ = run('-i', 'in', '-m', 'mask.png', '-o', 'out')
    assert code == 0 and out.startswith('out: 4 done')
    frames = [np.asarray(Image.open(f'out/{name}')) for name in outputs()]
    assert all((frame[:30] == frames[0][:30]).all() for frame in frames)
    assert [frame[35, 0, 0] for frame in frames] == [0, 1, 2, 3]


def test_masks_that_are_not_files(run):
    put('a.png')
    code, out, _ = run('-i', 'a.png', '--box', '15,10,15,10', '-o', 'box.png')
    assert code == 0 and restored('box.png') and out.startswith('box.png: 1 region, ')
    run('-i', 'a.png', '--box', '15,10,7,10', '--box', '22, 10, 8, 10', '-o', 'boxes.png')
    put('mask.png', MASK)
    run('-i', 'a.png', '-m', 'mask.png', '-o', 'mask_.png')
    for name in ('boxes.png', 'mask_.png'):
        assert np.array_equal(Image.open(name), Image.open('box.png'))
    code, _, err = run('-i', 'a.png', '--box', '40,10,9,9', '-o', 'o.png')
    assert code == 1 and 'the box 40,10,9,9 reaches beyond the image, which has 48x40' in err
    for option, message in (
        (('--box', '1,2,3'), '--box: got'),
        (('--box', '1,2,0,3'), '--box: got'),
        (('--box', '1,2,3,3', '-m', 'mask.png'), '--box: a box is a mask of its own'),
        (('--mask-from', 'red'), "--mask-from: got 'red'"),
        (('--grow', '-1', '--box', '1,1,1,1'), '--grow: got -1'),
        ((), '--mask: there is no mask'),
    ):
        code, _, err = run('-i', 'a.png', '-o', 'o.png', *option)
        assert code == 1 and message in err and len(err.splitlines()) == 1


def test_what_is_transparent_is_restored_and_shown(run):
    transparent = np.dstack([PIXELS, 255 - MASK])
    put('a.png', transparent)
    assert run('-i', 'a.png', '--mask-from', 'alpha', '-o', 'out.png', '--verify')[0] == 0
    found = np.asarray(Image.open('out.png'))
    assert (found[..., 3] == 255).all() and (found[MASK == 0] == transparent[MASK == 0]).all()
    put('plain.png')
    run('-i', 'plain.png', '--box', '15,10,15,10', '-o', 'box.png')
    assert np.array_equal(found[..., :3], Image.open('box.png'))
    code, _, err = run('-i', 'plain.png', '--mask-from', 'alpha', '-o', 'o.png')
    assert code == 1 and 'the image has no alpha channel' in err
    transparent[MASK > 0] = 0
    put('emptied.png', transparent)
    _, _, err = run('-i', 'emptied.png', '--mask-from', 'alpha', '-o', 'o.png')
    assert 'all transparent pixels have one colour: nothing is left of the image there' in err
    # of another file, as a selection is saved
    code, *_ = run('-i', 'plain.png', '-m', 'a.png', '--mask-from', 'alpha', '-o', 'of_file.png')
    assert code == 0 and np.array_equal(Image.open('of_file.png'), Image.open('box.png'))


@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
def test_a_painted_colour_is_a_mask(run, kind):
    painted = PIXELS.copy() // 2
    painted[MASK > 0] = 255, 0, 255
    painted[0, 0] = 255, 1, 255
    put('a.png')
    put('painted', painted, kind, **({'quality': 95, 'subsampling': 0} if kind == 'JPEG' else {}))
    command = ('-i', 'a.png', '-m', 'painted', '--mask-from', 'color:#ff00FF')
    code, _, err = run(*command, '-o', 'out.png')
    changed = (np.asarray(Image.open('out.png')) != PIXELS).any(axis=2)
    assert code == 0 and changed[MASK > 0].any()
    assert ('stored with loss' in err) == (kind == 'JPEG')
    if kind == 'PNG':
        assert restored('out.png')


def test_a_grown_mask(run):
    put('a.png')
    small = np.zeros_like(MASK)
    small[12:18, 17:28] = 255
    put('small.png', small)
    command = ('-i', 'a.png', '-m', 'small.png', '--verify')
    assert run(*command, '--grow', 2, '-o', 'out.png')[0] == 0 and restored('out.png')
    changed = (np.asarray(Image.open('out.png')) != PIXELS).any(axis=2)
    assert changed[10, 17:28].any() and not changed[10, 15], 'corners are round'
    run(*command, '--grow', 2, '--feather', 2, '-o', 'feathered.png')
    assert restored('feathered.png')


def test_an_inverted_mask_is_noticed(run):
    put('a.png')
    inverted = 255 - MASK
    inverted[:] = 255
    inverted[10:17, 15:25] = 0  # 96 % white
    put('m.png', inverted)
    code, _, err = run('-i', 'a.png', '-m', 'm.png', '-o', 'out.png')
    assert (
        code == 0 and '96% of the mask is white, which is restored; if black is, use --inv' in err
    )
    code, _, err = run('-i', 'a.png', '-m', 'm.png', '-o', 'ok.png', '--invert-mask')
    assert (code, err) == (0, '') and restored('ok.png')


def test_a_quality_that_nothing_takes_is_one_note(run):
    put('in/a.png'), put('in/b.png'), put('mask.png', MASK)
    said = '--quality is of JPEG, WebP, AVIF and HEIC; no output is stored with loss'
    for more, notes in ((), 1), (('--format', 'webp'), 0):
        command = ('-i', 'in', '-m', 'mask.png', '-o', f'out{notes}', '--quality', 80)
        code, _, err = run(*command, *more)
        assert code == 0 and err.count(said) == notes


def test_a_format_for_all(run):
    put('in/a.png')
    put('in/b.jpg', kind='JPEG')
    put('mask.png', MASK)
    for kind in ('tif', 'webp'):
        command = ('-i', 'in', '-m', 'mask.png', '-o', kind, '--format', kind, '--verify')
        assert run(*command)[0] == 0 and outputs(kind) == [f'a.{kind}', f'b.{kind}']
    code, _, err = run('-i', 'in/a.png', '-m', 'mask.png', '-o', 'o.png', '--format', 'tif')
    assert code == 1 and '--format: tif does not fit the ending of o.png' in err


@pytest.mark.skipif(os.name == 'nt', reason='links need rights on Windows')
def test_a_link_to_itself_is_refused_and_the_others_are_done(run):
    put('mask.png', MASK)
    put('in/a.png')
    Path('in/loop.png').symlink_to('loop.png')
    code, _, err = run('-i', 'in', '-m', 'mask.png', '-o', 'out')
    assert code == 1 and outputs() == ['a.png'] and 'error: in/loop.png: ' in err
