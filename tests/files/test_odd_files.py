"""Files as other programs write them: whole, and a little out of the ordinary."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from corpus import smooth
from picture_writers import PNG, chunk, png, saved, tiff, with_chunk
from PIL import Image, TiffImagePlugin

from hmaca_arch.files.depth import peak_of
from hmaca_arch.files.image_files import encode, image_of, read_image, write_image
from hmaca_arch.files.images import decode, decode_image
from hmaca_arch.files.metadata import upright_exif
from hmaca_arch.files.reading import list_images
from hmaca_arch.files.tiff import from_full_page
from hmaca_arch.files.tiff_layout import layout_of
from hmaca_arch.files.verifying import see, verify

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (12, 20, 3), dtype=np.uint8)


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'TIFF'])
@pytest.mark.parametrize('ending', ['.png', '.jpg', '.tif', 'deep'])
def test_the_resolution_is_kept(tmp_path, kind, ending):
    (tmp_path / 'a').write_bytes(saved(IMAGE, kind, dpi=(300, 150)))
    picture = read_image(tmp_path / 'a')
    assert picture.dpi == pytest.approx((300, 150), rel=1e-4)
    if ending == 'deep':
        picture = picture._replace(pixels=picture.pixels.astype(np.uint16) * 257)
    data = encode(ending.replace('deep', '.png'), picture)
    assert Image.open(io.BytesIO(data)).info['dpi'] == pytest.approx((300, 150), rel=1e-4)
    if ending in ('.png', 'deep'):
        assert struct.pack('>IIB', 11811, 5906, 1) in data, '300 and 150 dots an inch, in metres'


def test_without_a_resolution_none_is_written(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = 'a maker'
    for kind, more in (('PNG', {}), ('JPEG', {}), ('JPEG', {'exif': exif}), ('WEBP', {})):
        (tmp_path / 'a.png').write_bytes(saved(IMAGE, kind, **more))
        picture = read_image(tmp_path / 'a.png')
        assert picture.dpi is None and b'pHYs' not in encode('.png', picture)


@pytest.mark.parametrize(
    ('kind', 'code'), [(1, 'B'), (3, 'H'), (4, 'I'), (7, 'B'), (8, 'h'), (9, 'i')]
)
@pytest.mark.parametrize('order', ['<', '>'])
def test_an_orientation_of_another_type_is_turned_once(tmp_path, kind, code, order):
    mark = b'II*\0' if order == '<' else b'MM\0*'
    entry = struct.pack(f'{order}HHI', 0x0112, kind, 1) + struct.pack(f'{order}{code}', 6).ljust(
        4, b'\0'
    )
    exif = b'Exif\0\0' + mark + struct.pack(f'{order}IH', 8, 1) + entry + b'\0\0\0\0'
    (tmp_path / 'a.jpg').write_bytes(saved(IMAGE, 'JPEG', exif=exif))
    first = read_image(tmp_path / 'a.jpg')
    assert first.turned and first.pixels.shape == (20, 12, 3)
    assert upright_exif(exif) == exif.replace(
        entry, entry[:8] + struct.pack(f'{order}{code}', 1).ljust(4, b'\0')
    )
    (tmp_path / 'b.png').write_bytes(encode('.png', first))
    second = read_image(tmp_path / 'b.png')
    assert not second.turned
    np.testing.assert_array_equal(second.pixels, first.pixels)


@pytest.mark.parametrize('kind', [b'tEXt', b'zTXt', b'iTXt', b'tIME'])
def test_a_damaged_text_of_a_png_is_left_out_and_said(tmp_path, kind):
    broken = bytearray(with_chunk(saved(IMAGE), kind, b'Comment\0\0\0\0\0text'))
    broken[33 + 8 + 12] ^= 1
    (tmp_path / 'a.png').write_bytes(broken)
    picture = read_image(tmp_path / 'a.png')
    np.testing.assert_array_equal(picture.pixels, IMAGE)
    assert picture.notes == [f'its {kind.decode()} chunk is damaged and left out']
    np.testing.assert_array_equal(decode_image(bytes(broken), 'a'), IMAGE)


@pytest.mark.parametrize('kind', [b'tRNS', b'gAMA', b'iCCP', b'eXIf'])
def test_a_damaged_chunk_that_changes_what_is_seen_is_refused_for_training(kind):
    broken = bytearray(with_chunk(saved(IMAGE), kind, b'\0\0\0\0\0\0'))
    broken[33 + 8 + 2] ^= 1
    with pytest.raises(ValueError, match=r'^a\.png: .*a checksum does not match'):
        decode(bytes(broken), 'a.png')
    assert chunk(kind, b'\0\0\0\0\0\0') not in broken
    if kind == b'tRNS':
        with pytest.raises(ValueError, match='a checksum does not match'):
            image_of(bytes(broken), 'a.png')
    else:  # restoring goes on, and says it
        found = image_of(bytes(broken), 'a.png')
        np.testing.assert_array_equal(found.pixels, IMAGE)
        assert found.notes == [f'its {kind.decode()} chunk is damaged and left out']


def pages(*reduced: bool) -> bytes:
    """A TIFF file with a page for each: its number as colour, and whether it says that it is a
    reduced copy.
    """
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, new=True) as writer:
        for number, is_copy in enumerate(reduced):
            page = Image.fromarray(np.full((8, 8, 3), number, np.uint8))
            page.save(writer, 'TIFF', tiffinfo={254: 1} if is_copy else {})
            writer.newFrame()
    return buffer.getvalue()


def test_a_reduced_copy_is_no_page(tmp_path):
    for kinds in ((False,), (False, True), (False, True, True), (True, False), (True, True, False)):
        full = kinds.index(False)
        assert (decode_image(pages(*kinds), 'a') == full).all()
        assert (see(pages(*kinds)).pixels == full).all()
    for kinds, count in (((False, False), 2), ((False, True, False), 2), ((True, False, False), 2)):
        with pytest.raises(ValueError, match=f'holds {count} images'):
            decode_image(pages(*kinds), 'a')


def test_reduced_copies_in_a_circle_end():
    data = bytearray(pages(True))
    (first,) = struct.unpack_from('<I', data, 4)
    (entries,) = struct.unpack_from('<H', data, first)
    struct.pack_into('<I', data, first + 2 + 12 * entries, first)  # the next page is itself
    assert from_full_page(bytes(data)) == data
    assert image_of(bytes(data), 'a').pixels.shape == (8, 8, 3)


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
def test_associated_alpha_is_undone_at_every_depth(kind):
    """Floating point: test_formats.py."""
    peak = np.iinfo(kind).max
    alpha = RNG.integers(1, peak + 1, (6, 7, 1))
    alpha[0, :3, 0] = 0, peak, peak // 2 + 1
    colours = RNG.integers(0, peak + 1, (6, 7, 3))
    stored = np.dstack([np.rint(colours * (alpha / peak)), alpha]).astype(kind)
    found = decode(tiff(stored, 2, more={338: 1}), 'a')
    np.testing.assert_array_equal(found.alpha, alpha[..., 0])
    assert not found.colours[0, 0].any() and found.pixels.dtype == kind
    step = 1 if kind == np.uint8 else 0.5  # Pillow cuts off where it should round
    allowed = np.where(alpha > 0, peak / np.maximum(alpha, 1) * step + step, peak)
    assert (np.abs(found.colours.astype(int) - colours) <= allowed).all()
    np.testing.assert_array_equal(
        decode(tiff(stored, 2), 'a').colours, stored[..., :3], 'unassociated: as it is'
    )


def test_endings_of_jpeg(tmp_path):
    for name in ('a.jfif', 'b.JPE', 'c.mpo', 'd.jpeg'):
        (tmp_path / name).write_bytes(saved(IMAGE, 'JPEG'))
    assert list(list_images(tmp_path)) == ['a', 'b', 'c', 'd']


def png_rows(kind: int, depth: int, interlaced: bool, missing: int) -> bytes:
    """A PNG of 9x7 white pixels, of which the last bytes of the rows are missing."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    sizes = [(9, 7)]
    if interlaced:
        sizes = [(2, 1), (1, 1), (3, 1), (2, 2), (5, 2), (4, 4), (9, 3)]
    rows = b''.join((b'\0' + b'\xff' * -(-w * channels * depth // 8)) * h for w, h in sizes)
    header = struct.pack('>IIBBBBB', 9, 7, depth, kind, 0, 0, interlaced)
    packed = zlib.compress(rows[: len(rows) - missing])
    return PNG + chunk(b'IHDR', header) + chunk(b'IDAT', packed) + chunk(b'IEND', b'')


@pytest.mark.parametrize('interlaced', [False, True])
@pytest.mark.parametrize(('kind', 'depth'), [(0, 1), (0, 4), (0, 8), (2, 8), (6, 8), (4, 16)])
def test_a_png_whose_pixels_end_early_is_refused(kind, depth, interlaced):
    whole = decode(png_rows(kind, depth, interlaced, 0), 'a').pixels
    assert (whole == peak_of(whole.dtype)).all()
    row = 1 + -(-9 * {0: 1, 2: 3, 4: 2, 6: 4}[kind] * depth // 8)
    for missing in (1, row, 2 * row, 3 * row):
        with pytest.raises(ValueError, match='^a: .* (the file is cut short|truncated)'):
            decode(png_rows(kind, depth, interlaced, missing), 'a')


def test_a_png_that_ends_in_black_rows_is_read():
    pixels = np.zeros((7, 9, 3), np.uint8)
    assert np.array_equal(decode(saved(pixels), 'a').pixels, pixels)


@pytest.mark.parametrize(
    ('kind', 'content'),
    [
        (b'gAMA', b''),
        (b'pHYs', b'\0'),
        (b'sRGB', b''),
        (b'zTXt', b'k\0\1x'),
        (b'iCCP', b'name\0\1junk'),
        (b'iTXt', b'XML:com.adobe.xmp\0\1\0\0\0junk'),
    ],
)
def test_a_chunk_that_is_damaged_behind_a_right_checksum_is_left_out(kind, content):
    """Some of these Pillow refuses, of others it takes the file for no PNG."""
    pixels = smooth(np.random.default_rng(0))
    data = with_chunk(with_chunk(saved(pixels), kind, content), b'tEXt', b'a\0kept')
    found = decode(data, 'a', convert=True)
    assert np.array_equal(found.pixels, pixels)
    assert found.notes == [f'its {kind.decode()} chunk is damaged and left out']
    assert [one.kind for one in found.chunks] == [b'tEXt']


@pytest.mark.parametrize('kind', [b'CgBI', b'ABCD', b'IHDR'])
def test_a_png_with_a_strange_chunk_that_pixels_depend_on_is_refused(kind):
    data = with_chunk(saved(smooth(np.random.default_rng(0))), kind, bytes(13))
    with pytest.raises(ValueError, match=f'unknown chunk, {kind.decode()}|only IHDR'):
        decode(data, 'a', convert=True)


@pytest.mark.parametrize('bits', [1, 2, 4, 8, 16])
def test_the_gray_that_is_transparent_is_scaled_as_the_pixels_are(tmp_path, bits):
    """PNG stores it in the file's own bits."""
    peak = 2**bits - 1
    values = np.array([[0, peak, 0, peak, peak, 0, 0, peak]], np.uint16)
    row = np.packbits((values[0][:, None] >> np.arange(bits)[::-1]) & 1).tobytes()
    path = tmp_path / 'a.png'
    path.write_bytes(with_chunk(png(8, 1, bits, 0, b'\0' + row), b'tRNS', struct.pack('>H', peak)))
    found = read_image(path)
    top = peak_of(found.pixels.dtype)
    assert found.pixels[..., 0].tolist() == np.where(values > 0, top, 0).tolist()
    assert found.pixels[..., 1].tolist() == np.where(values > 0, 0, top).tolist()
    write_image(tmp_path / 'out.png', found)
    nothing = np.zeros(found.pixels.shape[:2], np.uint8)
    assert verify(tmp_path / 'out.png', path, found, found.pixels, nothing) == []


@pytest.mark.parametrize('kind', [np.uint8, np.uint16, np.float32])
def test_a_tiff_of_fewer_strips_than_rows_is_refused(kind):
    pixels = np.ones((8, 9, 3), kind)
    for more in ({278: 4}, {257: 40, 278: 8}):
        with pytest.raises(ValueError, match='cut short: it holds fewer rows than it claims'):
            decode(tiff(pixels, 2, more=more), 'a', convert=True)
    assert decode(tiff(pixels, 2, more={278: 60000}), 'a', convert=True).pixels.shape == (8, 9, 3)


@pytest.mark.parametrize('kind', [np.uint8, np.uint16, np.float32])
def test_a_channel_of_a_tiff_that_is_no_alpha_is_left_out_and_said(tmp_path, kind):
    """Photoshop stores selections in such channels."""
    pixels = np.arange(8 * 9 * 4).reshape(8, 9, 4).astype(kind)
    path, out = tmp_path / 'a.tif', tmp_path / 'out.tif'
    path.write_bytes(tiff(pixels, 2, more={338: 0}))
    found = read_image(path)
    assert np.array_equal(found.pixels, pixels[..., :3])
    assert found.notes == ['left out: 1 of its channels, neither colour nor alpha']
    write_image(out, found)
    assert verify(out, path, found, found.pixels, np.zeros((8, 9), np.uint8)) == []
    layout = layout_of(path, 10**6)  # where the TIFF stays one, the channel does too
    assert layout is not None and layout.shape == (8, 9, 4)


def test_a_reduced_copy_behind_floating_point_is_no_page():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(np.ones((8, 9, 3), np.float32), photometric='rgb')
        file.write(np.ones((4, 4, 3), np.float32), photometric='rgb', subfiletype=1)
    assert decode(buffer.getvalue(), 'a', convert=True).pixels.shape == (8, 9, 3)


def test_libtiff_does_not_print(capfd):
    """Its own lines would come beside the one that says what is wrong."""
    data = saved(smooth(np.random.default_rng(0)), 'TIFF', compression='tiff_lzw')
    with pytest.raises(ValueError, match='it is damaged'):
        decode(data[:8] + bytes(200) + data[208:], 'a')
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize('kind', ['PNG', 'WEBP', 'JPEG'])
def test_exif_that_is_none_is_left_out(tmp_path, kind):
    (tmp_path / 'a').write_bytes(saved(IMAGE, kind, exif=b'Exif\0\0junkjunk'))
    found = read_image(tmp_path / 'a')
    assert found.exif is None and 'its EXIF block is damaged and left out' in found.notes


def test_a_bmp_of_16_bits_is_read_by_one_library_alone(tmp_path):
    """Of 5 bits, Pillow makes the nearest of 8; OpenCV leaves the low ones 0."""
    rows = np.full((2, 2), 0x7FFF, '<u2').tobytes()
    size = struct.pack('<IHHI', 54 + len(rows), 0, 0, 54)
    header = struct.pack('<IiiHHIIiiII', 40, 2, 2, 1, 16, 0, len(rows), 0, 0, 0, 0)
    path, out = tmp_path / 'a.bmp', tmp_path / 'out.png'
    path.write_bytes(b'BM' + size + header + rows)
    found = read_image(path)
    assert (found.pixels == 255).all()
    write_image(out, found)
    assert verify(out, path, found, found.pixels, np.zeros((2, 2), np.uint8)) == [
        'the input was read by one library alone; no other here reads it'
    ]
