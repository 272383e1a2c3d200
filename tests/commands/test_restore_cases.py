"""`basicsr restore` on files that users reported to other programs, small ones in tests/data."""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from picture_writers import exif_of, saved, tiff, with_chunk
from PIL import Image

from hmaca_arch import cli
from hmaca_arch.files import jpeg_scans, pixels

DATA = Path(__file__).parents[1] / 'data' / 'files'
PIXELS = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8),
    (64, 48),
    interpolation=cv2.INTER_CUBIC,
)
MASK = np.zeros((48, 64), np.uint8)
MASK[12:24, 20:40] = 255


@pytest.fixture
def run(tmp_path, tiny_checkpoint, monkeypatch, capsys):
    """Restore a file in tmp_path with --verify: run(file, output) -> (status, stderr)."""
    monkeypatch.chdir(tmp_path)
    Path('mask.png').write_bytes(saved(MASK))

    def run(data: bytes | Path, output: str, *more, mask: str = 'mask.png') -> tuple[int, str]:
        Path('input').write_bytes(data if isinstance(data, bytes) else data.read_bytes())
        options = ('--weights', tiny_checkpoint, '--device', 'cpu', '--context', 4, '--verify')
        files = ('-i', 'input', '-m', mask, '-o', output)
        with pytest.raises(SystemExit) as end:
            cli.main(['restore', *map(str, (*files, *options, *more))])
        return end.value.code, capsys.readouterr().err

    return run


def test_a_wrong_checksum_in_a_text_of_a_png(run):
    broken = bytearray(with_chunk(saved(PIXELS), b'tEXt', b'Comment\0text'))
    broken[33 + 8 + 12] ^= 1
    code, err = run(bytes(broken), 'out.png')
    assert code == 0 and 'its tEXt chunk is damaged and left out' in err
    assert np.array_equal(np.asarray(Image.open('out.png'))[MASK == 0], PIXELS[MASK == 0])


def test_300_dpi_of_a_jpeg_in_a_png(run):
    assert run(saved(PIXELS, 'JPEG', dpi=(300, 300)), 'out.png')[0] == 0
    assert struct.pack('>4sIIB', b'pHYs', 11811, 11811, 1) in Path('out.png').read_bytes()


@pytest.mark.parametrize('kind', [3, 4])
@pytest.mark.parametrize('output', ['out.png', 'out.tif', 'out.webp'])
def test_an_orientation_stored_as_long_is_undone_and_reset(run, kind, output):
    stored = np.rot90(PIXELS)  # which orientation 6 turns back
    entry = struct.pack('<HHI', 0x0112, kind, 1) + struct.pack('<H' if kind == 3 else '<I', 6)
    exif = b'Exif\0\0II*\0' + struct.pack('<IH', 8, 1) + entry.ljust(12, b'\0') + bytes(4)
    code, _ = run(saved(np.ascontiguousarray(stored), 'JPEG', exif=exif, quality=100), output)
    assert code == 0
    with Image.open(output) as image:
        assert image.size == (64, 48) and image.getexif().get(0x0112, 1) == 1
        apart = np.abs(np.asarray(image).astype(int) - PIXELS)[MASK == 0]
    assert apart.mean() < 4


@pytest.mark.parametrize('depth', [8, 16])
def test_associated_alpha_is_undone(run, depth):
    code, _ = run(DATA / f'tiff{depth}_premultiplied.tif', 'out.png', mask=DATA / 'tiff_mask.png')
    assert code == 0
    found = cv2.imread('out.png', cv2.IMREAD_UNCHANGED)[60, 5, [2, 1, 0]].astype(int)
    expected = np.array([29555, 20817, 8995])
    assert np.abs(found * (257 if depth == 8 else 1) - expected).max() <= (
        3 * 257 if depth == 8 else 1
    )


def test_a_reduced_copy_behind_the_first_page(run):
    mask = DATA / 'tiff_mask.png'
    code, _ = run(DATA / 'tiff_with_thumbnail_page.tif', 'out.tif', mask=mask)
    assert code == 0
    first = tifffile.imread(DATA / 'tiff_with_thumbnail_page.tif', key=0)
    outside = cv2.imread(str(mask), 0) == 0
    assert np.array_equal(tifffile.imread('out.tif')[outside], first[outside])


@pytest.mark.parametrize('orientation', [3, 6])
def test_turned_jpeg_files(run, orientation):
    stored = np.rot90(PIXELS, 2 if orientation == 3 else 1)
    data = saved(np.ascontiguousarray(stored), 'JPEG', exif=exif_of(orientation), quality=95)
    assert run(data, 'out.png')[0] == 0
    plain = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)  # turned by OpenCV
    assert np.array_equal(cv2.imread('out.png')[MASK == 0], plain[MASK == 0])


@pytest.mark.parametrize('transparent', [None, 9000])
def test_16_bit_gray(run, transparent):
    gray = PIXELS[..., 0].astype(np.uint16) * 257
    gray[0, :9] = 9000
    more = {} if transparent is None else {'transparency': transparent}
    assert run(saved(Image.fromarray(gray), **more), 'out.png')[0] == 0
    found = cv2.imread('out.png', cv2.IMREAD_UNCHANGED)
    assert found.dtype == np.uint16
    if transparent is None:
        assert np.array_equal(found[MASK == 0], gray[MASK == 0])
    else:
        assert np.array_equal(found[MASK == 0][:, 0], gray[MASK == 0])
        assert np.array_equal(found[..., 3] == 0, gray == 9000)


def test_white_under_transparent_pixels_is_no_mask(run):
    white = np.dstack([np.full((48, 64, 3), 255, np.uint8), MASK])
    Path('white.png').write_bytes(saved(white))
    code, err = run(saved(PIXELS), 'out.png', mask='white.png')
    assert code == 1 and 'white.png: has transparent pixels' in err and not Path('out.png').exists()


def test_cmyk_float_and_the_rest_from_end_to_end(run):
    cmyk = saved(Image.fromarray(PIXELS).convert('CMYK'), 'JPEG')
    code, err = run(cmyk, 'cmyk.png')
    assert code == 0 and 'CMYK was converted to RGB' in err and 'read by one library alone' in err
    floating = (PIXELS / 255).astype(np.float32)
    assert run(tiff(floating, 2), 'float.tif') == (0, '')
    found = tifffile.imread('float.tif')
    assert np.array_equal(found[MASK == 0], floating[MASK == 0]) and found.dtype == np.float32
    assert (found[MASK > 0] != floating[MASK > 0]).any()
    assert 'written as TIFF only' in run(tiff(floating, 2), 'float.png')[1]
    for kind in ('BMP', 'GIF', 'WEBP'):
        data = saved(Image.fromarray(PIXELS).quantize(64) if kind == 'GIF' else PIXELS, kind)
        code, err = run(data, f'out.{kind.lower()}')
        assert code == 0, err
        assert Image.open(f'out.{kind.lower()}').format == kind
    assert io.BytesIO(cmyk)


XMP_TURNED = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>
</rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


@pytest.mark.parametrize('kind, options', [('JPEG', {}), ('WEBP', {'lossless': True})])
def test_an_orientation_in_xmp_alone_turns_no_output(run, kind, options):
    """Pillow would turn it where there is none in EXIF."""
    for output in ('out.png', 'out.tif', 'out.webp'):
        code, err = run(saved(PIXELS, kind, xmp=XMP_TURNED, **options), output)
        assert code == 0, err
        with Image.open(output) as image:
            assert image.size == (64, 48) and image.getexif().get(0x0112, 1) == 1
            assert 'tiff:Orientation="1"' in str(image.info.get('xmp') or image.text)
            image.load()
            assert image.size == (64, 48)


def test_transparent_pixels_of_a_gif(run):
    palette = Image.fromarray(PIXELS).quantize(16)
    hidden = np.asarray(palette) == 2
    for output in ('out.gif', 'out.png'):
        assert run(saved(palette, 'GIF', transparency=2), output)[0] == 0
        found = np.asarray(Image.open(output).convert('RGBA'))
        assert np.array_equal(found[MASK == 0][:, 3] == 0, hidden[MASK == 0])


def test_what_is_no_number_outside_stays_and_is_verified(run):
    floating = (PIXELS / 255).astype(np.float32)
    floating[2, 3, 1] = np.nan
    for name, data in (('a.tif', tiff(floating, 2)), ('b.tif', tiff(floating[..., 1:2], 1))):
        assert run(data, name) == (0, '')
        assert np.isnan(tifffile.imread(name)[2, 3].min())


def test_limits_of_pixels(run):
    code, err = run(saved(PIXELS), 'out.png', '--max-pixels', 3071)
    assert (
        code == 1
        and '64x48 pixels are more than 3071; basicsr restore --max-pixels allows more' in err
    )
    assert run(saved(PIXELS), 'out.png', '--max-pixels', 3072)[0] == 0


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'TIFF', 'WEBP'])
def test_pillows_own_limit_of_pixels_is_not_met(run, monkeypatch, recwarn, kind):
    """Above its limit Pillow warns of a bomb, and above twice of it raises."""
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    monkeypatch.setattr(pixels, 'PIXELS', 256)  # Pillow looks at the size of strips too
    monkeypatch.setattr(jpeg_scans, 'ROWS', 8)
    for output in ('out.png', 'out.tif', 'out.webp'):
        code, err = run(saved(PIXELS, kind), f'{kind}{output}')
        assert code == 0 and 'ecompression' not in err, err
    assert not [str(one.message) for one in recwarn if 'ecompression' in str(one.message)]
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_quality_of_lossy_formats(run):
    sizes = []
    for quality in (30, 90):
        code, err = run(saved(PIXELS), f'out{quality}.webp', '--quality', quality)
        assert code == 1 and 'is stored with loss' not in err and 'not verified' in err
        sizes.append(Path(f'out{quality}.webp').stat().st_size)
    assert sizes[0] < sizes[1]
    code, err = run(saved(PIXELS), 'o.webp', '--quality', 101)
    assert code == 1 and '--quality: got 101; expected 1 to 100' in err
