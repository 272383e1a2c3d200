"""Files: every depth and kind survives reading, writing and reading again; what cannot is refused
by name.
"""

import io
import os
import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from hmaca_arch.files.image_files import (
    Picture,
    check_output,
    encode,
    read_picture,
    upright_exif,
    verify,
    write_picture,
)

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def pixels_of(channels: int, dtype=np.uint8, size: tuple[int, int] = (23, 31)) -> np.ndarray:
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


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('ending', ['.png', '.tif', '.webp'])
def test_lossless_formats_keep_pixels_profile_and_exif(tmp_path, ending, channels, dtype):
    path = tmp_path / f'out{ending}'
    picture = Picture(pixels_of(channels, dtype), exif_of().tobytes(), ICC, [], False)
    if ending != '.png' and (dtype == np.uint16 or (ending == '.webp' and channels < 3)):
        with pytest.raises(ValueError, match='choose out.png'):
            write_picture(path, picture)
        assert list(tmp_path.iterdir()) == []
        return
    write_picture(path, picture)
    found = read_picture(path).pixels
    if channels == 2 and dtype == np.uint16:
        assert (found[..., :3] == picture.pixels[..., :1]).all()  # stored as RGBA
        found = found[..., [0, 3]]
    np.testing.assert_array_equal(found, picture.pixels)
    assert_described(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_16_bit_files_are_what_opencv_reads(tmp_path, channels):
    pixels = pixels_of(channels, np.uint16)
    write_picture(tmp_path / 'a.png', Picture(pixels, exif_of().tobytes(), ICC, [], False))
    found = cv2.imread(
        str(tmp_path / 'a.png'), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    )
    if channels > 1:
        found = cv2.cvtColor(found, cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGBA)
    np.testing.assert_array_equal(found.reshape(pixels.shape), pixels)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WEBP'])
def test_orientation_is_applied_once(tmp_path, kind, orientation):
    image = Image.fromarray(pixels_of(3))
    image.save(tmp_path / 'in', kind, exif=exif_of(orientation).tobytes(), icc_profile=ICC)
    picture = read_picture(tmp_path / 'in')
    with Image.open(tmp_path / 'in') as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored).convert('RGB'))
    np.testing.assert_array_equal(picture.pixels, upright)
    assert picture.turned == (orientation > 1)
    write_picture(tmp_path / 'out.png', picture)
    np.testing.assert_array_equal(read_picture(tmp_path / 'out.png').pixels, upright)
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
        and upright_exif(b'junk') == b'junk'
        and upright_exif(None) is None
    )


def test_palette_and_bit_pictures_are_converted_and_that_is_said(tmp_path):
    Image.fromarray(pixels_of(3)).quantize(16).save(tmp_path / 'p.png')
    Image.fromarray(pixels_of(1)[..., 0] > 99).save(tmp_path / 'b.png')
    palette, bits = read_picture(tmp_path / 'p.png'), read_picture(tmp_path / 'b.png')
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
    frames[0].convert('CMYK').save(tmp_path / 'cmyk.tif')
    frames[0].save(tmp_path / 'moving.gif', save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / 'pages.tif', save_all=True, append_images=frames[1:])
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / 'float.tif')
    data = encode('.png', Picture(pixels_of(3), None, None, [], False))
    (tmp_path / 'short.png').write_bytes(data[:-30])
    for name, message in (
        ('cmyk.tif', 'mode CMYK'),
        ('moving.gif', 'holds 2 pictures'),
        ('pages.tif', 'holds 2 pictures'),
        ('float.tif', 'mode F'),
        ('short.png', 'cut short'),
    ):
        with pytest.raises(ValueError, match=f'{name}: .*{message}'):
            read_picture(tmp_path / name)


def test_outputs_that_cannot_be(tmp_path):
    for name, message in (('a.gif', 'cannot write .gif'), ('a', 'without ending')):
        with pytest.raises(ValueError, match=message):
            check_output(tmp_path / name)
    with pytest.raises(ValueError, match='JPEG has no alpha'):
        check_output(tmp_path / 'a.jpg', pixels_of(4))


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    path.write_bytes(b'old')
    monkeypatch.setattr(os, 'fsync', lambda _: (_ for _ in ()).throw(OSError('no space left')))
    with pytest.raises(OSError, match='no space'):
        write_picture(path, Picture(pixels_of(3), None, None, [], False))
    assert path.read_bytes() == b'old' and list(tmp_path.iterdir()) == [path]


def test_verify_finds_every_kind_of_change(tmp_path):
    mask = np.zeros((23, 31), np.uint8)
    mask[3:9, 3:9] = 1
    before = Picture(pixels_of(4), exif_of().tobytes(), ICC, [], False)
    intended = before.pixels.copy()
    intended[4, 4] ^= 255
    path = tmp_path / 'a.png'

    def written(pixels: np.ndarray, **changes) -> None:
        write_picture(path, before._replace(pixels=pixels, **changes))

    written(intended)
    assert verify(path, before, intended, mask) == 0
    outside = intended.copy()
    outside[20, 20, 3] ^= 1  # one bit of alpha
    inside = intended.copy()
    inside[5, 5, 0] ^= 1
    for pixels, changes, message in (
        (outside, {}, 'outside the mask differ from the input by up to 1'),
        (inside, {}, 'restored pixels are not what was written'),
        (intended[..., :3], {}, 'was read back'),
        (intended, {'icc': None}, 'ICC'),
        (intended, {'exif': None}, 'EXIF'),
    ):
        written(pixels, **changes)
        with pytest.raises(ValueError, match=message):
            verify(path, before, intended, mask)


def test_a_damaged_block_of_exif_does_not_turn_the_picture_twice(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(pixels_of(3)).save(buffer, 'JPEG', exif=exif_of(6))
    (tmp_path / 'a.jpg').write_bytes(buffer.getvalue())
    first = read_picture(tmp_path / 'a.jpg')
    write_picture(tmp_path / 'b.png', first)
    second = read_picture(tmp_path / 'b.png')
    assert not second.turned and second.exif is not None
    np.testing.assert_array_equal(second.pixels, first.pixels)
