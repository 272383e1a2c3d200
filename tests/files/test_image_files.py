"""Files: every depth and kind survives reading, writing and reading again; what cannot is refused
by name.
"""

import io
import os
import struct
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import tifffile
from picture_writers import tiff
from PIL import Image, ImageCms, ImageOps

from hmaca_arch.files import image_files
from hmaca_arch.files import tiff as tiff_writer
from hmaca_arch.files.image_files import (
    check_output,
    encode,
    is_lossy,
    is_own_output,
    largest_change,
    read_image,
    write_image,
)
from hmaca_arch.files.images import StoredImage
from hmaca_arch.files.metadata import upright_exif
from hmaca_arch.files.verifying import see, verify, with_channels

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">a title</x:xmpmeta>'


def pixels_of(channels: int, dtype=np.uint8, size: tuple[int, int] = (23, 31)) -> np.ndarray:
    if dtype == np.float32:
        return np.random.default_rng(channels).random((*size, channels), np.float32)
    return np.random.default_rng(channels).integers(
        0, np.iinfo(dtype).max + 1, (*size, channels), dtype
    )


def exif_of(orientation: int | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = 'A maker'
    if orientation:
        exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x9003] = '2024:05:06 07:08:09'
    exif.get_ifd(0x8825)[1] = 'N'
    return exif


def assert_described(path, icc=ICC) -> None:
    with Image.open(path) as image:
        exif = image.getexif()
        assert exif[0x010F] == 'A maker' and exif.get(0x0112, 1) == 1
        assert (
            exif.get_ifd(0x8769)[0x9003] == '2024:05:06 07:08:09' and exif.get_ifd(0x8825)[1] == 'N'
        )
        assert image.info.get('icc_profile') == icc


KINDS = {
    '.png': ((np.uint8, np.uint16), (1, 2, 3, 4)),
    '.tif': ((np.uint8, np.uint16, np.float32), (1, 2, 3, 4)),
    '.webp': ((np.uint8,), (3, 4)),
    '.bmp': ((np.uint8,), (1, 3)),
}
HELD = [
    (ending, depth, channels)
    for ending, (depths, counts) in KINDS.items()
    for depth in depths
    for channels in counts
    if (ending, channels) != ('.tif', 2) or depth == np.uint8
]
OTHERS = [
    (ending, d, c)
    for ending in KINDS
    for d in (np.uint8, np.uint16, np.float32)
    for c in (1, 2, 3, 4)
    if (ending, d, c) not in HELD
]


@pytest.mark.parametrize(('ending', 'dtype', 'channels'), HELD)
def test_lossless_formats_keep_pixels_profile_and_exif(tmp_path, ending, dtype, channels):
    path, pixels = tmp_path / f'out{ending}', pixels_of(channels, dtype)
    picture = StoredImage(pixels, exif_of().tobytes(), ICC, [], (300.0, 150.0), xmp=XMP)
    write_image(path, picture)
    found = read_image(path)
    assert found.pixels.dtype == dtype
    np.testing.assert_array_equal(found.pixels, pixels)
    seen = see(path.read_bytes())
    np.testing.assert_array_equal(with_channels(seen.pixels, channels), pixels)
    if ending != '.bmp':
        assert found.icc == ICC and found.exif and found.xmp == XMP
        if dtype != np.float32 or channels == 1:  # what Pillow reads
            assert_described(path)
    assert ending == '.webp' or found.dpi == pytest.approx((300, 150), rel=1e-2)
    intended = pixels.copy()
    assert verify(path, path, picture, intended, np.zeros(pixels.shape[:2], np.uint8)) == []
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(('ending', 'dtype', 'channels'), OTHERS)
def test_formats_that_cannot_hold_the_pixels_are_refused(tmp_path, ending, dtype, channels):
    picture = StoredImage(pixels_of(channels, dtype), None, None, [])
    with pytest.raises(ValueError, match='choose out.(png|tif)'):
        write_image(tmp_path / f'out{ending}', picture)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WEBP'])
def test_orientation_is_applied_once(tmp_path, kind, orientation):
    image = Image.fromarray(pixels_of(3))
    image.save(tmp_path / 'in', kind, exif=exif_of(orientation).tobytes(), icc_profile=ICC)
    picture = read_image(tmp_path / 'in')
    with Image.open(tmp_path / 'in') as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored).convert('RGB'))
    np.testing.assert_array_equal(picture.pixels, upright)
    assert picture.turned == (orientation > 1)
    write_image(tmp_path / 'out.png', picture)
    np.testing.assert_array_equal(read_image(tmp_path / 'out.png').pixels, upright)
    with Image.open(tmp_path / 'out.png') as written:
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(written)), upright)
    assert_described(tmp_path / 'out.png')


@pytest.mark.parametrize('order', ['<', '>'])
def test_only_the_orientation_changes_in_exif(order):
    mark = {'<': b'II*\0', '>': b'MM\0*'}[order]
    entries = struct.pack(order + 'HHIHH', 0x0112, 3, 1, 6, 0) + struct.pack(
        order + 'HHII', 0x0128, 4, 1, 6
    )
    block = b'Exif\0\0' + mark + struct.pack(order + 'IH', 8, 2) + entries + b'\0\0\0\0maker note'
    upright = upright_exif(block)
    changed = [i for i, (a, b) in enumerate(zip(block, upright)) if a != b]
    assert len(changed) == 1 and len(upright) == len(block)
    exif = Image.Exif()
    exif.load(upright)
    assert exif[0x0112] == 1 and exif[0x0128] == 6
    assert (
        upright_exif(block[:20]) is None
        and upright_exif(b'junk') is None
        and upright_exif(None) is None
    )


def test_palette_and_bit_pictures_are_converted_and_that_is_said(tmp_path):
    Image.fromarray(pixels_of(3)).quantize(16).save(tmp_path / 'p.png')
    Image.fromarray(pixels_of(1)[..., 0] > 99).save(tmp_path / 'b.png')
    palette, bits = read_image(tmp_path / 'p.png'), read_image(tmp_path / 'b.png')
    assert palette.pixels.shape[2] == 3 and 'palette' in palette.notes[0]
    assert (
        bits.pixels.shape[2] == 1
        and set(np.unique(bits.pixels)) == {0, 255}
        and '1-bit' in bits.notes[0]
    )


def test_what_is_not_supported_is_named(tmp_path):
    frames = [
        Image.fromarray(pixels_of(3, size=(8, 8))),
        Image.fromarray(pixels_of(4, size=(8, 8))[..., :3]),
    ]
    frames[0].save(tmp_path / 'moving.gif', save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / 'pages.tif', save_all=True, append_images=frames[1:])
    data = encode('.png', StoredImage(pixels_of(3), None, None, []))
    (tmp_path / 'short.png').write_bytes(data[:-30])
    (tmp_path / 'double.tif').write_bytes(tiff(pixels_of(3).astype(np.float64), 2))
    (tmp_path / 'signed.tif').write_bytes(tiff(pixels_of(3).astype(np.int16), 2))
    (tmp_path / 'raw.tif').write_bytes(tiff(pixels_of(3), 2, more={50706: 1}))
    floating = tiff(pixels_of(3, np.float32), 2)
    (tmp_path / 'short.tif').write_bytes(floating[:4000])
    for name, message in (
        ('moving.gif', 'holds 2 images'),
        ('pages.tif', 'holds 2 images'),
        ('short.png', 'cut short'),
        ('double.tif', 'floating point of 64 bits'),
        ('signed.tif', 'signed and floating point numbers'),
        ('raw.tif', 'a raw file of a camera'),
        ('short.tif', ''),
    ):
        with pytest.raises(ValueError, match=f'{name}: .*{message}'):
            read_image(tmp_path / name)


def test_outputs_that_cannot_be(tmp_path):
    for name, message in (('a.xyz', 'cannot write .xyz'), ('a', 'without ending')):
        with pytest.raises(ValueError, match=message):
            check_output(tmp_path / name)
    with pytest.raises(ValueError, match='JPEG has no alpha'):
        check_output(tmp_path / 'a.jpg', pixels_of(4))
    wide = np.broadcast_to(np.uint8(0), (1, 20000, 3))
    with pytest.raises(ValueError, match='WEBP holds at most 16383 pixels a side'):
        check_output(tmp_path / 'a.webp', wide)


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    path.write_bytes(b'old')
    monkeypatch.setattr(os, 'fsync', lambda _: (_ for _ in ()).throw(OSError('no space left')))
    with pytest.raises(OSError, match='no space'):
        write_image(path, StoredImage(pixels_of(3), None, None, []))
    assert path.read_bytes() == b'old' and list(tmp_path.iterdir()) == [path]


def test_a_damaged_block_of_exif_does_not_turn_the_picture_twice(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(pixels_of(3)).save(buffer, 'JPEG', exif=exif_of(6))
    (tmp_path / 'a.jpg').write_bytes(buffer.getvalue())
    first = read_image(tmp_path / 'a.jpg')
    write_image(tmp_path / 'b.png', first)
    second = read_image(tmp_path / 'b.png')
    assert not second.turned and second.exif is not None
    np.testing.assert_array_equal(second.pixels, first.pixels)


def test_an_output_is_known_by_its_mark(tmp_path):
    path = tmp_path / 'a.png'
    stored = StoredImage(np.zeros((2, 3, 1), np.uint8), None, None, [])
    write_image(path, stored)
    assert is_own_output(path)
    write_image(path, read_image(path))
    assert is_own_output(path) and path.read_bytes().count(b'hmaca') == 1
    path.write_bytes(path.read_bytes()[:50])
    assert not is_own_output(path)
    path.write_bytes(encode('.png', stored))
    assert not is_own_output(path) and not is_own_output(tmp_path)
    assert not is_own_output(tmp_path / 'none.png')


def test_what_is_written_with_loss():
    names = ('a.PNG', 'a.webp', 'a.jpg', 'a.avif', 'a.heic', 'a.x')
    assert [is_lossy(Path(name)) for name in names] == [False, False, True, True, False, False]
    assert [is_lossy(Path(name), 1) for name in names] == [False, True, True, True, True, False]


@pytest.mark.parametrize(('ending', 'most'), [('.jpg', 65500), ('.webp', 16383), ('.gif', 65535)])
def test_the_longest_side_of_a_format(ending, most):
    for longest in (most, most + 1):
        for shape in ((longest, 1, 3), (1, longest, 3)):
            pixels = np.zeros(shape, np.uint8)
            if longest == most:
                check_output(Path('a' + ending), pixels)
                continue
            with pytest.raises(ValueError) as caught:
                check_output(Path('a' + ending), pixels)
            text = f'most {most} pixels a side, the image is {shape[1]}x{shape[0]}; choose a.png'
            assert text in str(caught.value)
    check_output(Path('a.png'), np.broadcast_to(np.uint8(0), (1, 2**31, 3)))


@pytest.mark.parametrize('kind', [np.uint8, np.uint16, np.float32])
def test_the_largest_change_outside_a_mask(kind):
    before, mask = np.zeros((600, 3, 2), kind), np.zeros((600, 3), np.uint8)
    after = before.copy()
    assert largest_change(before, after, mask) == 0
    after[0, 0, 0], after[1, 1] = 3, 200
    mask[1, 1] = 1
    assert largest_change(before, after, mask) == largest_change(after, before, mask) == 3
    after[599, 2, 1] = 7
    assert largest_change(before, after, mask) == largest_change(after, before, mask) == 7
    if kind is np.float32:
        before[3, 0, 0] = after[3, 0, 0] = np.nan
        assert largest_change(before, after, mask) == 7
        after[4, 0, 0] = np.nan
        assert largest_change(before, after, mask) == largest_change(after, before, mask) == np.inf


@pytest.mark.parametrize(('size', 'rows'), [(1, 1), (60, 2), (89, 2), (90, 3), (10**6, 8)])
def test_strips_of_a_tiff_hold_whole_rows(tmp_path, monkeypatch, size, rows):
    monkeypatch.setattr(tiff_writer, 'STRIP', size)
    pixels = pixels_of(3, size=(8, 10))
    write_image(tmp_path / 'a.tif', StoredImage(pixels, None, None, []))
    with tifffile.TiffFile(tmp_path / 'a.tif') as file:
        page = file.pages.first
        assert page.rowsperstrip == rows and page.compression == 1
        assert page.databytecounts == tuple(30 * min(rows, 8 - top) for top in range(0, 8, rows))
        np.testing.assert_array_equal(page.asarray(), pixels)


def test_a_tiff_may_not_be_larger_than_its_offsets(monkeypatch):
    pixels = pixels_of(3, size=(8, 10))
    monkeypatch.setattr(tiff_writer, 'LARGEST', 240)
    encode('.tif', StoredImage(pixels, None, None, []))
    monkeypatch.setattr(tiff_writer, 'LARGEST', 239)
    with pytest.raises(ValueError, match=r'^240 bytes are too many for a TIFF file; choose PNG$'):
        encode('.tif', StoredImage(pixels, None, None, []))


def test_only_heic_needs_what_encodes_it(monkeypatch):
    monkeypatch.setattr(image_files, 'need_heic', needs := Mock(side_effect=ValueError('needed')))
    for ending in ('.webp', '.jpg', '.bmp'):
        encode(ending, StoredImage(pixels_of(3), None, None, []))
    assert not needs.called
    with pytest.raises(ValueError, match='needed'):
        encode('.heic', StoredImage(pixels_of(3), None, None, []))


@pytest.mark.parametrize('ending', ['.jpg', '.avif', '.webp', '.heic'])
def test_settings_of_lossy_formats(monkeypatch, ending):
    """Without a quality it is 95, or none where a format can do without loss."""
    saved = []
    monkeypatch.setattr(Image.Image, 'save', lambda self, file, kind, **more: saved.append(more))
    monkeypatch.setattr(image_files, 'need_heic', lambda: None)
    stored = StoredImage(pixels_of(3), b'Exif\0\0e', b'icc', [], dpi=(300, 300), xmp=b'xmp')
    for quality in (None, 7):
        encode(ending, stored, quality)
    kept = {'exif': b'Exif\0\0e', 'icc_profile': b'icc', 'xmp': b'xmp'}
    kept |= {'dpi': (300, 300)} if ending == '.jpg' else {}
    ways = {
        '.jpg': [{'quality': 95, 'subsampling': 0}, {'quality': 7, 'subsampling': 0}],
        '.avif': [{'quality': 95, 'subsampling': '4:4:4'}, {'quality': 7, 'subsampling': '4:4:4'}],
        '.webp': [{'lossless': True, 'exact': True}, {'quality': 7}],
        '.heic': [{'quality': -1, 'chroma': 444, 'matrix_coefficients': 0}, {'quality': 7}],
    }
    assert saved == [kept | way for way in ways[ending]]


def test_an_error_of_an_encoder_is_named_where_exif_may_be_why(tmp_path, monkeypatch):
    stored = StoredImage(pixels_of(3), b'exif', None, [])
    for error, kind, words in (
        (
            KeyError('why'),
            ValueError,
            r"EXIF block is damaged and TIFF cannot hold it \('why'\); ch",
        ),
        (ValueError('own'), ValueError, '^own$'),
        (OSError('disk'), OSError, 'disk'),
    ):
        monkeypatch.setattr(image_files, '_write', Mock(side_effect=error))
        with pytest.raises(kind, match=words):
            write_image(tmp_path / 'a.tif', stored)
    monkeypatch.setattr(image_files, '_write', Mock(side_effect=KeyError('why')))
    with pytest.raises(KeyError):
        write_image(tmp_path / 'a.tif', stored._replace(exif=None))


@pytest.mark.parametrize('kind', [np.uint8, np.uint16, np.float32])
def test_associated_alpha_by_hand(kind):
    peak = 1 if kind is np.float32 else np.iinfo(kind).max
    half = kind(0.5) if kind is np.float32 else kind(peak // 2)
    pixels = np.array(
        [[[half, peak], [half, half], [half // 2, half], [half, 0], [peak, half]]], kind
    )
    found = tiff_writer.straight(pixels)
    assert found.dtype == kind and (found[..., 1] == pixels[..., 1]).all()
    over = 2 if kind is np.float32 else peak
    expected = [half, peak, np.rint(float(half // 2) * peak / half), 0, over]
    np.testing.assert_allclose(found[0, :, 0].astype(float), np.array(expected, float))


@pytest.mark.parametrize('height', [1, 256, 257, 600])
def test_red_and_blue_are_swapped_in_place(height):
    for channels in (1, 2, 3, 4):
        pixels = pixels_of(channels, size=(height, 3))
        order = [2, 1, 0, 3][:channels] if channels >= 3 else list(range(channels))
        expected = pixels[..., order].copy()
        assert tiff_writer.swap_red_and_blue(pixels) is pixels
        np.testing.assert_array_equal(pixels, expected)


def directory(**tags) -> dict[int, object]:
    return {258: (8, 8, 8), 262: 2} | {int(tag[1:]): value for tag, value in tags.items()}


def test_numbers_of_a_tiff_that_decoders_would_take_for_others():
    check = tiff_writer.check_tags
    for tags in (
        directory(), directory(t339=(1, 1)), directory(t262=5), directory(t284=2), {},
        directory(t258=(16,)), directory(t258=(16,), t262=1, t284=1), directory(t258=(32,)),
    ):  # fmt: skip
        check(tags)
    for tags, words in (
        (directory(t50706=b'1'), 'it is a raw file of a camera'),
        (directory(t339=(2,)), 'signed and floating point'),
        (directory(t339=(1, 3)), 'signed and floating point'),
        (directory(t258=(8, 16), t262=0), 'a TIFF file of 16 bits has to be'),
        (directory(t258=(16,), t262=3), 'a TIFF file of 16 bits has to be'),
        (directory(t258=(16,), t284=2), 'a TIFF file of 16 bits has to be'),
    ):
        with pytest.raises(ValueError, match=words):
            check(tags)


@pytest.mark.parametrize(
    ('unit', 'removed', 'dpi'),
    [
        (2, (), (300, 150)),
        (2, (296,), (300, 150)),
        (3, (), None),
        (2, (282,), None),
        (2, (283,), None),
    ],
)
@pytest.mark.parametrize('orientation', [None, 1, 6])
def test_what_a_file_of_floating_point_says(tmp_path, unit, removed, dpi, orientation):
    path, pixels = tmp_path / 'a.tif', pixels_of(1, np.float32)
    tifffile.imwrite(
        path,
        pixels[..., 0],
        metadata=None,
        resolution=(300, 150),
        resolutionunit=unit,
        extratags=[(274, 'H', 1, orientation)] if orientation else [(33723, 'B', 1, 7)],
    )
    path.write_bytes(without_tags(path.read_bytes(), *removed))
    found = read_image(path)
    assert (found.dpi, found.orientation, found.format) == (dpi, orientation or 1, 'TIFF')
    assert found.mode == '1 channels of floating point'
    assert found.texts == ([] if orientation else ['IPTC'])


def without_tags(data: bytes, *tags: int) -> bytes:
    """Give tags of a directory numbers that mean nothing."""
    (start,) = struct.unpack_from('<I', data, 4)
    (count,) = struct.unpack_from('<H', data, start)
    changed = bytearray(data)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from('<H', data, entry)[0] in tags:
            struct.pack_into('<H', changed, entry, 300)
    return bytes(changed)
