"""`basicsr restore` from JPEG to JPEG: only the blocks of the region are encoded again."""

import importlib.util
import json
import weakref
from pathlib import Path

import cv2
import jpeglib
import numpy as np
import pytest
from jpeglib._bind import CJpegLib
from picture_writers import exif_of, saved
from PIL import Image

from hmaca_arch import cli
from hmaca_arch.files import jpeg_blocks, jpeg_coefficients, jpeg_markers
from hmaca_arch.inference import Restorer
from hmaca_arch.messages import how_to_install
from hmaca_arch.restoring import image_jobs, storing

DATA = Path(__file__).parents[1] / 'data'
PIXELS = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8),
    (64, 48),
    interpolation=cv2.INTER_CUBIC,
)
MASK = np.zeros((48, 64), np.uint8)
MASK[10:20, 20:40] = 255
COMMENT = {'comment': b'a comment'}


@pytest.fixture
def run(tmp_path, tiny_checkpoint, monkeypatch, capsys):
    """Run the command in tmp_path: run(arguments) -> (exit status, stderr)."""
    monkeypatch.chdir(tmp_path)
    Path('mask.png').write_bytes(saved(MASK))

    def run(*arguments) -> tuple[int, str]:
        options = ('-m', 'mask.png', '--weights', tiny_checkpoint, '--device', 'cpu')
        with pytest.raises(SystemExit) as end:
            cli.main(['restore', *map(str, (*options, '--context', 4, *arguments))])
        return end.value.code, capsys.readouterr().err

    return run


def put(path: str, pixels: np.ndarray | Image.Image = PIXELS, **options) -> bytes:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    data = saved(pixels, 'JPEG', **{'quality': 90, **options})
    Path(path).write_bytes(data)
    return data


def pixels_of(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_jpeg_stays_one(run):
    put('in.jpg', dpi=(300, 300), progressive=True, **COMMENT)
    code, err = run('-i', 'in.jpg', '-o', 'out.jpg', '--verify', '--json', 'r.json')
    assert code == 0
    # the region touches 2x3 blocks of brightness, and 2x2 of each colour
    first, second = err.splitlines()
    assert first == (
        'basicsr restore: note: in.jpg: 14 of 72 JPEG blocks were encoded again, '
        'all others are as they were; '
        'pixels may change in 15,0,34,33 (x,y,w,h), 922 of them outside the mask'
    )
    assert second.startswith('basicsr restore: note: in.jpg: inside, out.jpg is ')
    assert second.endswith(' dB (PSNR) from what was restored, by its JPEG encoding')
    (entry,) = json.loads(Path('r.json').read_text('utf-8'))['files']
    assert entry['may_change'] == [[0, 15, 33, 49]] and entry['verified']
    before, after = pixels_of('in.jpg'), pixels_of('out.jpg')
    apart = np.abs(after.astype(int) - before)
    outside = np.ones(MASK.shape, bool)
    outside[0:33, 15:49] = False
    assert not apart[outside].any() and apart[MASK > 0].any()
    assert entry['max_change_outside'] == apart[MASK == 0].max() > 0
    with Image.open('in.jpg') as one, Image.open('out.jpg') as other:
        assert one.applist == other.applist and one.quantization == other.quantization
        assert other.info['progressive'] and other.info['dpi'] == (300, 300)


@pytest.mark.parametrize('turn', [3, 6])
def test_a_turned_jpeg_stays_turned(run, turn):
    stored = np.ascontiguousarray(np.rot90(PIXELS, 2 if turn == 3 else 1))
    put('in.jpg', stored, exif=exif_of(turn))
    assert run('-i', 'in.jpg', '-o', 'out.jpg', '--verify')[0] == 0
    before, after = (cv2.imread(name) for name in ('in.jpg', 'out.jpg'))  # turned by OpenCV
    apart = (before != after).any(axis=2)
    assert before.shape[:2] == (48, 64) and apart[MASK > 0].mean() > 0.5
    assert not apart[:, 60:].any() and not apart[40:].any()
    assert Image.open('out.jpg').getexif()[0x0112] == turn


def test_gray_and_all_of_an_image(run):
    put('in.jpg', PIXELS[..., 0])
    assert run('-i', 'in.jpg', '-o', 'gray.jpg', '--verify')[0] == 0
    assert Image.open('gray.jpg').mode == 'L'
    put('in.jpg')
    Path('mask.png').write_bytes(saved(np.full((48, 64), 255, np.uint8)))
    code, err = run('-i', 'in.jpg', '-o', 'all.jpg', '--verify')
    assert code == 0 and 'pixels may change in 0,0,64,48 (x,y,w,h), 0 of them outside' in err


def test_many_regions_are_told_shortly(run):
    put('in.jpg', subsampling=0)
    dots = np.zeros((48, 64), np.uint8)
    dots[4:6, 4::16] = 255
    Path('mask.png').write_bytes(saved(dots))
    code, err = run('-i', 'in.jpg', '-o', 'out.jpg', '--verify', '--degradation', 'unknown')
    assert code == 0
    assert 'in 0,0,8,8; 16,0,8,8; 32,0,8,8; 1 more (--json lists all) (x,y,w,h)' in err


def test_folders_get_png_unless_asked(run):
    put('in/a.jpg')
    put('in/b.jpeg')
    Path('in/c.png').write_bytes(saved(PIXELS))
    assert run('-i', 'in', '-o', 'png')[0] == 0
    assert sorted(path.name for path in Path('png').iterdir()) == ['a.png', 'b.png', 'c.png']
    code, err = run('-i', 'in', '-o', 'jpg', '--format', 'jpg')
    assert code == 0 and err.count('all others are as they were') == 2
    assert err.count('stored with loss') == 1 and 'c.jpg is stored with loss' in err
    code, err = run('-i', 'in', '-o', 'same', '--format', 'same', '--verify')
    assert code == 0 and err.count('all others are as they were') == 2
    assert sorted(path.name for path in Path('same').iterdir()) == ['a.jpg', 'b.jpeg', 'c.png']
    assert Path('same/a.jpg').read_bytes() == Path('jpg/a.jpg').read_bytes()


def test_a_black_mask_copies_the_file(run):
    data = put('in.jpg', **COMMENT)
    Path('mask.png').write_bytes(saved(MASK * 0))
    code, err = run('-i', 'in.jpg', '-o', 'out.jpg', '--verify')
    assert code == 0 and 'copied as it is' in err and Path('out.jpg').read_bytes() == data


def test_what_cannot_stay_a_jpeg_becomes_png(run):
    put('in/cmyk.jpg', Image.fromarray(PIXELS).convert('CMYK'))
    put('plain.jpg')
    with jpeglib.version('9f'):
        jpeglib.read_dct('plain.jpg').write_dct('in/arithmetic.jpg', flags=['+ARITH_CODE'])
    code, err = run('-i', 'in', '-o', 'out', '--format', 'jpg', '--verify')
    assert code == 0 and sorted(path.name for path in Path('out').iterdir()) == [
        'arithmetic.png',
        'cmyk.png',
    ]
    assert (
        'note: in/cmyk.jpg: it is CMYK, so that as JPEG all of it would be compressed again; '
        'written as cmyk.png (--quality N writes JPEG)\n'
    ) in err
    assert 'in/arithmetic.jpg: it is coded arithmetically, so that' in err
    differs = (pixels_of('out/arithmetic.png') != pixels_of('plain.jpg')).any(axis=2)
    assert not differs[MASK == 0].any() and differs[MASK > 0].any()
    code, err = run('-i', 'in/cmyk.jpg', '-o', 'one.jpg')
    assert code == 0 and Path('one.png').exists() and not Path('one.jpg').exists()
    code, err = run('-i', 'in/cmyk.jpg', '-o', 'one.jpg')
    assert code == 1 and 'one.png exists; --overwrite replaces it' in err
    code, err = run('-i', 'in/cmyk.jpg', '-o', 'one.jpg', '--quality', 90)
    assert code == 0 and 'one.jpg is stored with loss' in err
    assert Image.open('one.jpg').mode == 'RGB'


def test_a_png_that_a_jpeg_becomes_replaces_no_other_output(run):
    put('in/a.jpg', Image.fromarray(PIXELS).convert('CMYK'))
    Path('in/a.png').write_bytes(saved(PIXELS))
    code, err = run('-i', 'in', '-o', 'out', '--format', 'same')
    assert code == 1 and err.count('out/a.png is the output of another image too') == 2
    assert not Path('out').exists()


def put_12_bits(path: str, pixels: np.ndarray, **said) -> None:
    """Write a JPEG of 12 bits that says what one of 8 bits says."""
    imagecodecs = pytest.importorskip('imagecodecs')
    data = imagecodecs.jpeg8_encode(np.ascontiguousarray(pixels), level=95, bitspersample=12)
    gray = pixels.ndim == 2
    source = saved(Image.new('L' if gray else 'RGB', (8, 8)), 'JPEG', **said)
    Path(path).write_bytes(jpeg_markers.with_markers(data, source))


@pytest.mark.parametrize('gray', [False, True])
def test_12_bits_become_png_with_a_note(run, gray):
    deep = PIXELS.astype(np.uint16)[..., 0 if gray else slice(None)] * 16
    exif = exif_of(6)
    exif[0x010F] = 'A maker'
    put_12_bits('in.jpg', np.rot90(deep), exif=exif, dpi=(300, 300))
    code, err = run('-i', 'in.jpg', '-o', 'out.jpg', '--verify')
    assert code == 0 and 'it has 12 bits, so that as JPEG all of it would be' in err
    assert 'a JPEG of 12 bits, written with 16' in err and 'out.png' in err
    code, err = run('-i', 'in.jpg', '-o', 'out.jpg')
    assert code == 1 and 'out.png exists; --overwrite replaces it (it has 12 bits, so that' in err
    found = cv2.imread('out.png', cv2.IMREAD_UNCHANGED)
    found = found if gray else found[..., ::-1]
    outside, far = MASK == 0, np.abs(found / 65535 - deep / 4095)
    assert found.dtype == np.uint16 and far[outside].mean() < 0.01 < far[~outside].mean()
    with Image.open('out.png') as image:
        assert image.getexif()[0x010F] == 'A maker' and round(image.info['dpi'][0]) == 300
    data = Path('in.jpg').read_bytes()
    Path('in.jpg').write_bytes(data[:-20] + data[-2:])
    code, err = run('-i', 'in.jpg', '-o', 'cut.png')
    assert code == 1 and 'it is damaged: coded pixels are missing' in err


def test_arithmetic_coding_becomes_png_with_a_note(run):
    # PIXELS at quality 95 by `jpegtran -arithmetic`; no library for Python writes such files
    data = (DATA / 'files' / 'arithmetic.jpg').read_bytes()
    source = saved(Image.new('RGB', (8, 8)), 'JPEG', exif=exif_of(3), dpi=(300, 300))
    Path('in.jpg').write_bytes(jpeg_markers.with_markers(data, source))
    Image.fromarray(MASK[::-1, ::-1]).save('mask.png')
    code, err = run('-i', 'in.jpg', '-o', 'out.jpg', '--verify')
    assert code == 0 and 'it is coded arithmetically, so that as JPEG all of it would be' in err
    found = cv2.imread('out.png', cv2.IMREAD_UNCHANGED)[::-1, ::-1, ::-1]
    far = np.abs(found - PIXELS.astype(int))
    assert found.dtype == np.uint8 and far[MASK == 0].mean() < 3 < 20 < far[MASK > 0].mean()
    with Image.open('out.png') as image:
        assert round(image.info['dpi'][0]) == 300


def test_12_bits_that_cannot_be_read_are_one_line(run, monkeypatch):
    put_12_bits('in.jpg', PIXELS.astype(np.uint16) * 16)
    data = Path('in.jpg').read_bytes()
    for cut in (data[:-300], data[:-2]):
        Path('in.jpg').write_bytes(cut)
        code, err = run('-i', 'in.jpg', '-o', 'out.jpg')
        assert code == 1 and err.count('\n') == 1 and 'the file is cut short' in err
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    code, err = run('-i', 'in.jpg', '-o', 'out.jpg')
    assert code == 1 and err.count('\n') == 1
    assert 'a JPEG of 12 bits needs imagecodecs: ' in err and 'install' in err
    assert sorted(path.name for path in Path().iterdir()) == ['in.jpg', 'mask.png']


def test_a_quality_encodes_all_of_it(run):
    put('in.jpg')
    code, err = run('-i', 'in.jpg', '-o', 'out.jpg', '--quality', 50)
    assert code == 0 and 'out.jpg is stored with loss: pixels outside the mask change' in err
    assert Image.open('out.jpg').quantization != Image.open('in.jpg').quantization


def test_without_jpeglib_all_of_it_is_encoded_and_the_way_out_is_told(run, monkeypatch):
    put('in.jpg')
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name == 'jpeglib' else found(name)
    )
    code, err = run('-i', 'in.jpg', '-o', 'out.jpg')
    assert code == 0 and 'out.jpg is stored with loss' in err
    assert 'in.jpg: with jpeglib all other blocks would stay as they are: ' in err
    assert how_to_install('jpeg') in err


def test_files_that_are_cut_off_and_bombs_are_refused(run):
    data = put('in.jpg', **COMMENT)
    for end in (3, 100, len(data) // 2, len(data) - 40):
        Path('in.jpg').write_bytes(data[:end])
        code, err = run('-i', 'in.jpg', '-o', 'out.jpg')
        assert code == 1 and 'error: in.jpg: cannot be read as an image: ' in err
    place = data.index(b'\xff\xc0') + 5
    Path('in.jpg').write_bytes(data[:place] + b'\xff\xdc\xff\xdc' + data[place + 4 :])
    code, err = run('-i', 'in.jpg', '-o', 'out.jpg')
    assert code == 1 and '65500x65500 pixels are more than 268435456' in err
    assert sorted(path.name for path in Path().iterdir()) == ['in.jpg', 'mask.png']


def test_what_goes_wrong_leaves_the_old_file(run, monkeypatch):
    put('in.jpg')
    Path('out.jpg').write_bytes(b'old')
    command = ('-i', 'in.jpg', '-o', 'out.jpg', '--overwrite')

    def fails(*_):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(jpeg_blocks, 'write_coefficients', fails)
        code, err = run(*command)
    assert code == 1 and 'No space left' in err and Path('out.jpg').read_bytes() == b'old'
    with monkeypatch.context() as patch:  # libjpeg writes something else
        other = put('x.jpg', PIXELS[::-1])
        patch.setattr(jpeg_blocks, 'write_coefficients', lambda found, source: other)
        code, err = run(*command)
    assert code == 1 and 'libjpeg wrote other blocks than it was given' in err
    assert Path('out.jpg').read_bytes() == b'old'
    with monkeypatch.context() as patch:  # a bug in the writer, which --verify finds
        patch.setattr(storing, 'write_atomically', lambda path, data: put('out.jpg', PIXELS[::-1]))
        code, err = run(*command, '--verify')
    assert code == 1 and 'out.jpg: not verified: ' in err
    assert run(*command, '--verify')[0] == 0
    assert sorted(path.name for path in Path().iterdir()) == [
        'in.jpg',
        'mask.png',
        'out.jpg',
        'x.jpg',
    ]


def test_in_place_of_the_source(run):
    before = put('in.jpg')
    code, err = run('-i', 'in.jpg', '-o', 'in.jpg', '--overwrite')
    assert code == 0 and 'all others are as they were' in err
    assert Path('in.jpg').read_bytes() != before and Image.open('in.jpg').size == (64, 48)


def test_the_pixels_are_freed_before_the_coefficients_are_read(run, monkeypatch):
    """All of a large image is in memory either as pixels or as coefficients."""
    put('in.jpg')
    pixels, seen = [], []

    def reads(*arguments):
        image = read_image(*arguments)
        pixels.append(weakref.ref(image.pixels))
        return image

    def runs(*arguments, **settings):
        done = restores(*arguments, **settings)
        pixels.append(weakref.ref(done.pixels))
        return done

    def coefficients(*arguments):
        seen.append([one() is None for one in pixels])
        return read_coefficients(*arguments)

    read_image, restores = image_jobs.read_image, Restorer.patch
    read_coefficients = jpeg_blocks.read_coefficients
    monkeypatch.setattr(image_jobs, 'read_image', reads)
    monkeypatch.setattr(Restorer, 'patch', runs)
    monkeypatch.setattr(jpeg_blocks, 'read_coefficients', coefficients)
    assert run('-i', 'in.jpg', '-o', 'out.jpg')[0] == 0
    assert seen == [[True, True]] * 2


def test_only_one_channel_of_a_large_file_is_in_memory(tmp_path, monkeypatch):
    """jpeglib is given a place for one at most, when it reads, and one when it writes."""
    data, given = put(tmp_path / 'in.jpg'), []
    monkeypatch.setattr(jpeg_coefficients, 'LARGE', 0)

    def note(work):
        def noted(*paths, **arguments):
            given.append([arguments[name] is not None for name in jpeg_coefficients.CHANNELS])
            return work(*paths, **arguments)

        return noted

    for name in ('read_jpeg_dct', 'write_jpeg_dct'):
        monkeypatch.setattr(CJpegLib, name, note(getattr(CJpegLib, name)))
    found = jpeg_coefficients.read_coefficients(data)
    read, dead = [], []
    for number in range(3):
        blocks = found.channels[number]
        read.append(weakref.ref(blocks.base))
        found.channels[number] = blocks
        del blocks
        dead.append([one() is None for one in read])
    assert dead == [[True], [True] * 2, [True] * 3]
    assert jpeg_coefficients.write_coefficients(found, data)
    assert len(given) == 9 and max(map(sum, given)) == 1
    opened = weakref.ref(found.opened)
    del found
    assert opened() is None


def test_damage_in_a_large_file_is_an_error_too(tmp_path, monkeypatch):
    data = put(tmp_path / 'in.jpg')
    monkeypatch.setattr(jpeg_coefficients, 'LARGE', 0)
    found = jpeg_coefficients.read_coefficients(data)

    def fails(*_, **arguments):
        raise OSError('no')

    monkeypatch.setattr(CJpegLib, 'read_jpeg_dct', fails)
    with pytest.raises(ValueError, match='libjpeg cannot read its blocks: no'):
        found.channels[1]


def test_coefficients_are_written_without_a_copy(tmp_path, monkeypatch):
    """jpeglib converts what it is given to int16, which is int16 already."""
    data, given = put(tmp_path / 'in.jpg'), []
    found = jpeg_coefficients.read_coefficients(data)

    def writes(*_, **arguments):
        given.extend(arguments[name] for name in jpeg_coefficients.CHANNELS)
        raise OSError('seen')

    monkeypatch.setattr(CJpegLib, 'write_jpeg_dct', writes)
    with pytest.raises(OSError, match='seen'):
        jpeg_coefficients.write_coefficients(found, data)
    for own, passed in zip(found.channels, given, strict=True):
        assert np.shares_memory(own, np.ctypeslib.as_array(passed))
