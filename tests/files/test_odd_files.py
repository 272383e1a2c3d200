"""Files as other programs write them: whole, and a little out of the ordinary."""

import io
import struct

import numpy as np
import pytest
from picture_writers import chunk, saved, tiff, with_chunk
from PIL import Image, TiffImagePlugin

from hmaca_arch.files.image_files import encode, image_of, read_image
from hmaca_arch.files.images import decode, decode_image
from hmaca_arch.files.metadata import upright_exif
from hmaca_arch.files.reading import list_images
from hmaca_arch.files.tiff import from_full_page
from hmaca_arch.files.verifying import see

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


@pytest.mark.parametrize(('kind', 'code'), [(1, 'B'), (3, 'H'), (4, 'I'), (8, 'h'), (9, 'i')])
@pytest.mark.parametrize('order', ['<', '>'])
def test_an_orientation_of_another_type_is_turned_once(tmp_path, kind, code, order):
    mark = b'II*\0' if order == '<' else b'MM\0*'
    entry = struct.pack(f'{order}HHI', 0x0112, kind, 1) + struct.pack(f'{order}{code}', 6).ljust(
        4, b'\0'
    )
    exif = b'Exif\0\0' + mark + struct.pack(f'{order}IH', 8, 1) + entry + b'\0\0\0\0'
    (tmp_path / 'a.jpg').write_bytes(saved(IMAGE, 'JPEG', exif=exif))
    first = read_image(tmp_path / 'a.jpg')
    if kind != 1:  # Pillow takes bytes for no number
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
