"""`basicsr restore` from PNG to PNG: of a large one only the rows of the region are in memory."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mask_cases import check_masks
from picture_writers import PNG, chunk, png, saved, with_chunk
from PIL import Image, ImageCms, PngImagePlugin

from hmaca_arch import cli
from hmaca_arch.files import large_png, png_strips
from hmaca_arch.files.image_files import read_image
from hmaca_arch.restoring import image_jobs, parts

HEIGHT, WIDTH = 120, 90
BOX = '30,50,24,16'
INSIDE = slice(50, 66), slice(30, 54)
RGB = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (30, 24, 3), np.uint8),
    (WIDTH, HEIGHT),
    interpolation=cv2.INTER_CUBIC,
)
ALPHA = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 1), np.uint8)
PICTURES = {
    'gray': RGB[..., :1],
    'gray and alpha': np.dstack([RGB[..., :1], ALPHA]),
    'RGB': RGB,
    'RGBA': np.dstack([RGB, ALPHA]),
}


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    """Take these PNG files for large ones, and five rows of RGB for a strip."""
    for module in (large_png, png_strips):
        monkeypatch.setattr(module, 'LARGE', HEIGHT * WIDTH)
    monkeypatch.setattr(large_png, 'STRIP', 5 * (1 + 3 * WIDTH))


@pytest.fixture
def run(tmp_path, tiny_checkpoint, monkeypatch, capsys):
    """Run the command in tmp_path: run(arguments) -> (exit status, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> tuple[int, str]:
        options = ('--weights', tiny_checkpoint, '--device', 'cpu', '--degradation', 'unknown')
        with pytest.raises(SystemExit) as end:
            cli.main(['restore', *map(str, (*options, '--context', 4, *arguments))])
        return end.value.code, capsys.readouterr().err

    return run


@pytest.fixture
def in_parts(monkeypatch):
    """Count the images that are restored in parts."""
    taken, opens = [], parts.large_png

    def counted(*arguments):
        taken.append(found := opens(*arguments))
        return found

    monkeypatch.setattr(parts, 'large_png', counted)
    return lambda: sum(found is not None for found in taken)


def put(path, pixels=RGB):
    """Write a PNG whose rows have no filters, unlike those that this project writes."""
    height, width, channels = pixels.shape
    big = pixels.astype(pixels.dtype.newbyteorder('>'))
    rows = b''.join(b'\0' + row.tobytes() for row in big)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    Path(path).write_bytes(png(width, height, 8 * pixels.itemsize, colour, rows))


def everything(path):
    """The file as read whole, as far as it can be compared."""
    found = read_image(path)
    return found._replace(pixels=found.pixels.tobytes()), found.pixels


@pytest.mark.parametrize('depth', [8, 16])
@pytest.mark.parametrize('name', PICTURES)
def test_it_is_what_restoring_all_of_it_gives(run, in_parts, monkeypatch, name, depth):
    pixels = PICTURES[name] if depth == 8 else PICTURES[name].astype(np.uint16) * 257 - 3
    put('in.png', pixels)
    assert run('-i', 'in.png', '-o', 'out.png', '--box', BOX, '--verify') == (0, '')
    assert in_parts() == 1
    monkeypatch.setattr(image_jobs, 'source_in_parts', lambda *_: None)
    assert run('-i', 'in.png', '-o', 'whole.png', '--box', BOX) == (0, '')
    (said, found), (expected, _) = everything('out.png'), everything('whole.png')
    assert said == expected
    differs = (found != pixels).any(axis=2)
    assert differs[INSIDE].mean() > 0.9 and differs.sum() == differs[INSIDE].sum()
    alpha = cv2.imread('out.png', cv2.IMREAD_UNCHANGED)[..., 3] if pixels.shape[2] == 4 else None
    assert alpha is None or np.array_equal(alpha, pixels[..., 3])


def test_what_it_says_besides_pixels_is_kept(run, in_parts, monkeypatch):
    texts, exif = PngImagePlugin.PngInfo(), Image.Exif()
    texts.add_text('Title', 'coins')
    exif[0x010E] = 'of a scanner'
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    options = {'pnginfo': texts, 'exif': exif, 'icc_profile': profile, 'dpi': (300, 300)}
    data = with_chunk(saved(RGB, **options), b'gAMA', b'\0\0\xb1\x8f')
    Path('in.png').write_bytes(with_chunk(data, b'prVt', b'a private chunk'))
    assert run('-i', 'in.png', '-o', 'out.png', '--box', BOX, '--verify') == (0, '')
    assert in_parts() == 1
    monkeypatch.setattr(image_jobs, 'source_in_parts', lambda *_: None)
    assert run('-i', 'in.png', '-o', 'whole.png', '--box', BOX) == (0, '')
    assert everything('out.png')[0] == everything('whole.png')[0]
    with Image.open('out.png') as image:
        assert image.text['Title'] == 'coins' and image.info['icc_profile'] == profile
        assert round(image.info['dpi'][0]) == 300
        assert image.getexif()[0x010E] == 'of a scanner'
        assert image.info['gamma'] == pytest.approx(0.45455)


def test_rows_are_decoded_some_at_a_time(run, monkeypatch):
    put('in.png')
    opened = large_png.large_png(Path('in.png'), 10**6)
    found = opened.image.pixels
    seen, decoded = [], large_png.decoded_strips

    def counted(*arguments):
        for strip in decoded(*arguments):
            seen.append(len(strip))
            yield strip

    monkeypatch.setattr(large_png, 'decoded_strips', counted)
    large_png.read_rows(opened, (50, 30, 66, 54), found)
    assert np.array_equal(found[INSIDE], RGB[INSIDE])
    found[INSIDE] = 0
    assert not found.any() and seen == [5] * 24


@pytest.mark.parametrize('where', ['0,0,20,3', '70,117,20,3', '0,48,90,30', '89,0,1,120'])
def test_regions_anywhere(run, in_parts, where):
    put('in.png')
    assert run('-i', 'in.png', '-o', 'out.png', '--box', where, '--verify') == (0, '')
    left, top, width, height = map(int, where.split(','))
    differs = (everything('out.png')[1] != RGB).any(axis=2)
    assert in_parts() == 1 and differs.sum() > 0.8 * width * height
    assert not np.delete(differs, np.s_[top : top + height], axis=0).any()
    assert not np.delete(differs, np.s_[left : left + width], axis=1).any()


def test_masks_of_every_source(run, in_parts):
    check_masks(run, put, '.png', RGB, INSIDE, BOX)
    assert in_parts() == 4  # all but the one whose mask is painted
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[INSIDE] = 0
    put('clear.png', np.dstack([RGB, alpha]))
    assert run('-i', 'clear.png', '-o', 'f.png', '--mask-from', 'alpha')[0] == 0 and in_parts() == 4


def test_a_file_takes_its_own_place(run):
    put('in.png')
    first = Path('in.png').read_bytes()
    assert run('-i', 'in.png', '-o', 'out.png', '--box', BOX) == (0, '')
    arguments = ('-i', 'in.png', '-o', 'in.png', '--box', BOX, '--overwrite')
    for more in ((), ('--verify',)):
        Path('in.png').write_bytes(first)
        assert run(*arguments, *more) == (0, '')
        assert Path('in.png').read_bytes() == Path('out.png').read_bytes()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(RGB, exif=exif)


def interlaced() -> bytes:
    """Gray, of one colour, with all passes."""
    rows = b''
    for left, top, across, down in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)) + (
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        width, height = -(-(WIDTH - left) // across), -(-(HEIGHT - top) // down)
        rows += (b'\0' + bytes([90]) * width) * height
    data = bytearray(png(WIDTH, HEIGHT, 8, 0, rows))
    data[28] = 1
    return PNG + chunk(b'IHDR', bytes(data[16:29])) + bytes(data[33:])


def odd_header(place: int) -> bytes:
    data = bytearray(saved(RGB))
    data[place] = 1
    return PNG + chunk(b'IHDR', bytes(data[16:29])) + bytes(data[33:])


WHOLE = {
    'turned': turned,
    'a palette': lambda: saved(Image.fromarray(RGB).quantize(16)),
    'a bit': lambda: saved(Image.fromarray(RGB).convert('1')),
    'a transparent colour': lambda: with_chunk(saved(RGB), b'tRNS', bytes(6)),
    'interlaced': interlaced,
    'a damaged text': lambda: saved(RGB)[:33] + b'\0\0\0\x03tEXta\0b????' + saved(RGB)[33:],
    'a JPEG': lambda: saved(RGB, 'JPEG'),
    'another compression': lambda: odd_header(26),
    'a long text': lambda: with_chunk(saved(RGB), b'tEXt', b'a\0' + bytes([98]) * (1 << 22)),
}


@pytest.mark.parametrize('name', WHOLE)
def test_other_files_are_read_whole(run, in_parts, name):
    Path('in.png').write_bytes(WHOLE[name]())
    code, err = run('-i', 'in.png', '-o', 'out.png', '--box', '10,10,30,30', '--verify')
    assert code == 0 and in_parts() == 0, err
    assert ('tEXt chunk is damaged' in err) == (name == 'a damaged text')


def test_other_outputs_are_written_whole(run, in_parts):
    put('in.png')
    assert run('-i', 'in.png', '-o', 'out.tif', '--box', BOX, '--verify') == (0, '')
    assert in_parts() == 0


SHORT = png(WIDTH, HEIGHT, 8, 2, b''.join(b'\0' + row.tobytes() for row in RGB[:-1]))
ODD = png(
    WIDTH, HEIGHT, 8, 2, b''.join(b'\0' + row.tobytes() for row in RGB[:-1]) + bytes([7] * 271)
)
DAMAGED = {
    'cut short': (saved(RGB)[:-40], 'the file is cut short'),
    'no end': (saved(RGB)[:-12], 'the file is cut short'),
    'a checksum': (saved(RGB)[:-20] + b'?' + saved(RGB)[-19:], 'a checksum does not match'),
    'a row too few': (SHORT, 'the file is cut short'),
    'an unknown filter': (ODD, 'a row has an unknown filter'),
    'no deflate': (
        saved(RGB)[:33] + chunk(b'IDAT', b'no deflate') + chunk(b'IEND', b''),
        'cannot be read as an image',
    ),
    'no pixels': (saved(RGB)[:33] + chunk(b'IEND', b''), 'cannot be read as an image'),
    'pixels before the header': (
        PNG + chunk(b'IDAT', b'') + saved(RGB)[8:],
        'it does not begin with its only IHDR chunk',
    ),
    'zeros': (saved(RGB)[:33] + bytes(10**6), 'a checksum does not match'),
}


@pytest.mark.parametrize('name', DAMAGED)
def test_damage_is_said_and_nothing_is_written(run, name):
    data, words = DAMAGED[name]
    Path('in.png').write_bytes(data)
    Path('black.png').write_bytes(saved(np.zeros((HEIGHT, WIDTH), np.uint8)))
    for mask in (('--box', '10,5,24,16'), ('-m', 'black.png')):
        code, err = run('-i', 'in.png', '-o', 'new/out.png', *mask, '--verify')
        assert code == 1 and words in err and err.count('\n') == 1
        assert 'in.png: cannot be read as an image' in err
    assert sorted(path.name for path in Path().iterdir()) == ['black.png', 'in.png']


def test_too_many_pixels_are_refused(run, in_parts):
    put('in.png')
    code, err = run('-i', 'in.png', '-o', 'out.png', '--box', BOX, '--max-pixels', '9999')
    assert code == 1 and '90x120 pixels are more than 9999' in err and in_parts() == 0


def elsewhere(png, file, bounds, pixels):
    other = png._replace(path=Path('other.png'))
    large_png.write_rows(other, file, bounds, pixels)


def not_the_pixels(png, file, bounds, pixels):
    wrong = pixels.copy()
    wrong[len(wrong) // 2, wrong.shape[1] // 2] ^= 1
    large_png.write_rows(png, file, bounds, wrong)


def without_texts(png, file, bounds, pixels):
    large_png.write_rows(png._replace(image=png.image._replace(dpi=None)), file, bounds, pixels)


def no_png(png, file, bounds, pixels):
    file.write(b'no PNG')


@pytest.mark.parametrize(
    ('writes', 'words'),
    [
        (elsewhere, 'pixels outside the mask differ from the input by up to 1'),
        (not_the_pixels, 'the restored pixels are not what was written'),
        (without_texts, 'not the dpi of the input'),
        (no_png, 'it is no PNG of the size and depth of the input'),
    ],
)
def test_what_fails_verification_is_not_written(run, monkeypatch, writes, words):
    Path('in.png').write_bytes(saved(RGB, dpi=(300, 300)))
    other = RGB.copy()
    other[-1, -1] ^= 1
    put('other.png', other)
    first = Path('in.png').read_bytes()
    monkeypatch.setattr(parts, 'write_rows', writes)
    code, err = run('-i', 'in.png', '-o', 'in.png', '--box', BOX, '--overwrite', '--verify')
    assert code == 1 and f'in.png: not verified: {words}' in err and err.count('\n') == 1
    assert Path('in.png').read_bytes() == first
    assert sorted(path.name for path in Path().iterdir()) == ['in.png', 'other.png']
