"""Formats beside the usual: what is converted, what is kept, what is refused with a hint."""

import io
import re
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tifffile
from picture_writers import exif_of, png, saved, tiff, with_chunk
from PIL import Image, ImageCms, PngImagePlugin

from hmaca_arch.files import opening
from hmaca_arch.files.gif import as_palette, fit_colours
from hmaca_arch.files.image_files import (
    check_output,
    encode,
    image_of,
    is_lossy,
    losses,
    read_image,
    write_image,
)
from hmaca_arch.files.images import decode
from hmaca_arch.files.verifying import see
from hmaca_arch.messages import how_to_install

RNG = np.random.default_rng(0)
SMOOTH = cv2.resize(
    RNG.integers(0, 256, (5, 6, 3), np.uint8), (41, 30), interpolation=cv2.INTER_CUBIC
)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def test_cmyk_is_converted_and_said():
    cmyk = Image.fromarray(SMOOTH).convert('CMYK')
    for kind in ('JPEG', 'TIFF'):
        data = saved(cmyk, kind)
        with pytest.raises(ValueError, match=r'^a: .*mode CMYK are not supported'):
            decode(data, 'a')
        image = image_of(data, 'a')
        assert image.notes == ['CMYK was converted to RGB'] and image.mode == 'CMYK'
        apart = np.abs(image.pixels.astype(int) - SMOOTH)
        assert image.pixels.shape == SMOOTH.shape and apart.mean() < 3


def test_cmyk_with_a_profile_is_converted_by_it_and_lab_by_its_definition():
    values = np.zeros((4, 5, 3), np.uint8)
    values[...] = 137, 208, 195  # L 53.7, a +80, b +67 of 8-bit CIELAB, with 128 as 0: about red
    stored = (values.astype(int) - (0, 128, 128)).astype(np.uint8)  # TIFF's a and b are signed
    image = image_of(tiff(stored, 8), 'a')
    assert image.notes == ['CIELAB was converted to RGB (sRGB)']
    assert np.abs(image.pixels[0, 0].astype(int) - (255, 0, 0)).max() <= 12
    # a profile that is not of CMYK is passed over
    cmyk = Image.fromarray(SMOOTH).convert('CMYK')
    image = image_of(saved(cmyk, 'TIFF', icc_profile=ICC), 'a')
    assert image.icc is None and np.abs(image.pixels.astype(int) - SMOOTH).mean() < 3


def test_cmyk_is_converted_by_the_profile_of_its_file(monkeypatch):
    """Nothing here makes a profile of CMYK, so the transform is a stand-in."""
    asked = []

    def build(profile, target, mode, made):
        asked.append((profile.tobytes(), target.profile_description.strip(), mode, made))
        return 'transform'

    def apply(image, transform):
        assert (image.mode, transform) == ('CMYK', 'transform')
        return Image.new('RGB', image.size, (1, 2, 3))

    monkeypatch.setattr(ImageCms, 'buildTransform', build)
    monkeypatch.setattr(ImageCms, 'applyTransform', apply)
    monkeypatch.setattr(
        ImageCms, 'createProfile', lambda name: SimpleNamespace(profile_description=name)
    )
    cmyk = Image.fromarray(SMOOTH).convert('CMYK')
    image = image_of(saved(cmyk, 'TIFF', icc_profile=ICC), 'a')
    assert (image.pixels == (1, 2, 3)).all() and asked == [(ICC, 'sRGB', 'CMYK', 'RGB')]


def test_what_is_no_image_names_what_is_read(monkeypatch):
    def told(data: bytes, **options) -> str:
        with pytest.raises(ValueError) as caught:
            decode(data, 'a', **options)
        return str(caught.value).removeprefix('a: cannot be read as an image: ')

    few = 'its content is none of PNG, JPEG, WEBP, BMP, TIFF, GIF'
    assert told(b'text') == few and told(b'') == 'the file is empty'
    for avif, heic in ((True, True), (True, False), (False, True), (False, False)):
        monkeypatch.setattr(opening.features, 'check', lambda name, avif=avif: avif)
        monkeypatch.setattr(
            opening.importlib.util, 'find_spec', lambda name, heic=heic: heic or None
        )
        more = [name for name, there in (('AVIF', avif), ('HEIC', heic)) if there]
        assert told(b'text', convert=True) == ', '.join([few, *more])
        assert told(b'text') == few
    odd = b'\0\0\0\x18ftypavif' + bytes(12)
    assert told(odd, convert=True) == 'it is AVIF, which needs Pillow 11.3 or newer'
    assert told(odd) == few
    assert told(odd.replace(b'avif', b'heic'), convert=True).startswith('HEIC needs pillow-heif: ')


def test_more_pixels_than_allowed_and_just_as_many():
    data = saved(SMOOTH)
    height, width = SMOOTH.shape[:2]
    assert image_of(data, 'a', height * width).pixels.shape == SMOOTH.shape
    with pytest.raises(ValueError) as caught:
        image_of(data, 'a', height * width - 1)
    assert f'{width}x{height} pixels are more than {height * width - 1}; ' in str(caught.value)


@pytest.mark.parametrize('tile', [None, (16, 16)])
def test_floating_point_that_is_damaged_is_one_line(tmp_path, tile):
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, RNG.random((40, 48), np.float32), tile=tile)
    data = path.read_bytes()
    assert image_of(data, 'a').pixels.shape == (40, 48, 1)
    with pytest.raises(ValueError, match='a: cannot be read as an image: the file is cut short'):
        image_of(data[:-1], 'a')
    without_width = data.replace(struct.pack('<HH', 256, 4), struct.pack('<HH', 255, 4), 1)
    without_width = without_width.replace(struct.pack('<HH', 256, 3), struct.pack('<HH', 255, 3), 1)
    assert without_width != data
    with pytest.raises(ValueError, match='in a way that OpenCV does not read'):
        image_of(without_width, 'a')


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('order', ['<', '>'])
def test_floating_point_is_read_bit_for_bit(tmp_path, channels, order):
    pixels = RNG.random((9, 11, channels), np.float32) * 2 - 0.5
    data = tiff(pixels, 1 if channels == 1 else 2, order=order, more={274: 1})
    with pytest.raises(ValueError, match=r'^a: .*signed and floating point numbers'):
        decode(data, 'a')
    image = image_of(data, 'a')
    np.testing.assert_array_equal(image.pixels, pixels)
    write_image(tmp_path / 'out.tif', image)
    np.testing.assert_array_equal(see((tmp_path / 'out.tif').read_bytes()).pixels, pixels)
    with pytest.raises(ValueError, match=r'written as TIFF only; choose out\.tif'):
        check_output(tmp_path / 'out.png', pixels)
    turned = image_of(tiff(pixels, 1 if channels == 1 else 2, more={274: 6}), 'a')
    np.testing.assert_array_equal(turned.pixels, np.rot90(pixels, -1))
    for length in (len(data) // 2, len(data) - 40, 60, 9):
        with pytest.raises(ValueError, match=r'^a: cannot be read'):
            image_of(data[:length], 'a')


def test_associated_alpha_of_floating_point_is_undone():
    alpha = RNG.random((6, 7, 1), np.float32)
    alpha[0, 0] = 0
    colours = RNG.random((6, 7, 3), np.float32)
    stored = np.dstack([colours * alpha, alpha])
    found = image_of(tiff(stored, 2, more={338: 1}), 'a').pixels
    np.testing.assert_allclose(
        found[alpha[..., 0] > 0][:, :3], colours[alpha[..., 0] > 0], rtol=1e-5
    )
    assert not found[0, 0].any()


@pytest.mark.parametrize('quality', [None, 60])
def test_avif_is_read_and_written_with_loss(tmp_path, quality):
    exif = exif_of(6)
    data = saved(SMOOTH, 'AVIF', quality=100, subsampling='4:4:4', exif=exif.tobytes())
    image = image_of(data, 'a.avif')
    assert image.turned and image.pixels.shape == (41, 30, 3)
    assert np.abs(np.rot90(SMOOTH, -1).astype(int) - image.pixels).max() <= 5
    with pytest.raises(ValueError, match='none of PNG'):
        decode(data, 'a.avif')
    write_image(tmp_path / 'b.avif', image, quality)
    again = read_image(tmp_path / 'b.avif')
    assert not again.turned and again.format == 'AVIF' and is_lossy(tmp_path / 'b.avif')
    assert np.abs(again.pixels.astype(int) - image.pixels).mean() < (6 if quality else 2)


def test_heic_is_read_and_written_without_loss(tmp_path):
    pytest.importorskip('pillow_heif')
    opening.need_heic()
    exif = exif_of(6)
    image = image_of(saved(SMOOTH), 'a')._replace(exif=exif_of(1).tobytes(), icc=ICC)
    for pixels in (SMOOTH, np.dstack([SMOOTH, 255 - SMOOTH[..., 0]])):
        write_image(tmp_path / 'a.heic', image._replace(pixels=pixels))
        found = read_image(tmp_path / 'a.heic')
        np.testing.assert_array_equal(found.pixels, pixels)
        assert found.format == 'HEIF' and found.icc == ICC and found.exif and not found.turned
    turned = image_of(saved(SMOOTH, 'HEIF', quality=-1, exif=exif.tobytes()), 'a.heic')
    assert turned.pixels.shape in ((41, 30, 3), (30, 41, 3))
    write_image(tmp_path / 'b.heic', image, 50)
    assert (tmp_path / 'b.heic').stat().st_size < (tmp_path / 'a.heic').stat().st_size
    with pytest.raises(ValueError, match='none of PNG'):
        decode((tmp_path / 'a.heic').read_bytes(), 'a.heic')


def test_without_pillow_heif_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(opening.importlib.util, 'find_spec', lambda name: None)
    wanted = f'HEIC needs pillow-heif: {how_to_install("heic")}'
    with pytest.raises(ValueError, match=re.escape(wanted)):
        image_of(b'\0\0\0\x18ftypheic\0\0\0\0', 'a.heic')


def test_more_bits_than_are_read_are_said():
    pillow_heif = pytest.importorskip('pillow_heif')
    deep = RNG.integers(0, 65536, (16, 16, 3), np.uint16)
    buffer = io.BytesIO()
    pillow_heif.encode('RGB;16', (16, 16), deep.tobytes(), buffer, quality=90)
    assert image_of(buffer.getvalue(), 'a').notes == ['its 10 bits were read as 8']


def test_gif_keeps_what_is_outside(tmp_path):
    palette = np.asarray(Image.fromarray(SMOOTH).quantize(200).convert('RGB'))
    mask = np.zeros(palette.shape[:2], np.uint8)
    mask[5:15, 5:20] = 1
    wanted = palette.copy()
    wanted[mask > 0] = RNG.integers(0, 256, (150, 3), np.uint8)
    fitted = fit_colours(wanted, mask)
    assert (fitted[mask == 0] == palette[mask == 0]).all()
    apart = np.abs(fitted.astype(int) - wanted)[mask > 0]
    assert 0 < apart.mean() < 30 and len(np.unique(fitted.reshape(-1, 3), axis=0)) <= 256
    path = tmp_path / 'a.gif'
    write_image(path, image_of(saved(fitted), 'a'))
    np.testing.assert_array_equal(read_image(path).pixels, fitted)
    np.testing.assert_array_equal(fit_colours(palette, mask), palette, 'nothing to be done')
    with pytest.raises(ValueError, match='GIF holds 256 colours, and outside the mask there are'):
        fit_colours(RNG.integers(0, 256, (40, 40, 3), np.uint8), np.zeros((40, 40), np.uint8))
    with pytest.raises(ValueError, match='GIF holds 256 colours, this image has'):
        as_palette(RNG.integers(0, 256, (40, 40, 3), np.uint8))


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_colours_that_are_left_are_fitted_in_every_kind_of_pixels(channels):
    """Outside are 254 colours, so that two are left for the dark and the bright half inside."""
    pixels = np.full((40, 40, channels), 255, np.uint8)
    outside = np.arange(254).astype(np.uint8)
    pixels[20:].reshape(-1, channels)[:, 0] = np.resize(outside, 800)
    mask = np.zeros((40, 40), np.uint8)
    mask[:20] = 1
    dark, bright = (RNG.integers(low, low + 6, (20, 20)) for low in (3, 240))
    pixels[:20, :20, : 1 if channels < 3 else 3] = dark[..., None]
    pixels[:20, 20:, : 1 if channels < 3 else 3] = bright[..., None]
    before = pixels.copy()
    found = fit_colours(pixels, mask)
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(found[20:], pixels[20:])
    apart = np.abs(found.astype(int) - pixels)[:20]
    assert apart.max() <= (0 if channels < 3 else 45), 'the bright one is a mean with some dark'
    assert len(np.unique(found.reshape(-1, channels), axis=0)) <= 256


def test_where_no_colour_is_left_the_nearest_of_those_outside_are_taken():
    pixels = np.zeros((2, 128, 3), np.uint8)
    pixels.reshape(-1, 3)[:, 0] = np.arange(256)
    pixels = np.vstack([pixels, np.full((1, 128, 3), (77, 3, 3), np.uint8)])
    mask = np.zeros((3, 128), np.uint8)
    mask[2] = 1
    assert (fit_colours(pixels, mask)[2] == (77, 0, 0)).all()
    pixels[2] = 99, 0, 0
    assert fit_colours(pixels, mask) is pixels, 'they are colours that are there'
    assert fit_colours(pixels, 0 * mask) is pixels
    pixels[2, 0] = 99, 0, 1
    with pytest.raises(
        ValueError, match='GIF holds 256 colours, and outside the mask there are 257'
    ):
        fit_colours(pixels, 0 * mask)


def test_gif_has_one_transparent_colour(tmp_path):
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[1, 1:3] = 9, 8, 7, 0
    write_image(tmp_path / 'a.gif', image_of(saved(pixels), 'a'))
    found = read_image(tmp_path / 'a.gif').pixels
    assert (found[..., 3] == pixels[..., 3]).all()
    assert (found[pixels[..., 3] > 0] == pixels[pixels[..., 3] > 0]).all()
    for value in ((1, 1, 1, 0), (1, 1, 1, 90)):
        pixels[3, 3] = value
        with pytest.raises(ValueError, match='one transparent colour'):
            as_palette(pixels)


def test_a_png_keeps_its_other_chunks():
    texts = PngImagePlugin.PngInfo()
    texts.add_text('Title', 'a title')
    texts.add_itxt('Comment', 'ein \u00dcberblick')
    data = with_chunk(saved(SMOOTH, pnginfo=texts), b'gAMA', struct.pack('>I', 45455))
    image = image_of(data, 'a')
    with Image.open(io.BytesIO(encode('.png', image))) as written:
        written.load()
        assert written.info['Title'] == 'a title' and written.info['gamma'] == 0.45455
        assert written.info['Comment'] == 'ein \u00dcberblick'
    assert losses(Path('a.png'), image) == []
    assert losses(Path('a.tif'), image) == ['not kept in a.tif: gAMA chunk, iTXt chunk, tEXt chunk']


def test_what_a_format_does_not_keep_is_said():
    data = saved(
        SMOOTH, 'JPEG', dpi=(300, 300), exif=exif_of(1), icc_profile=ICC, comment=b'me', xmp=b'<x/>'
    )
    image = image_of(data, 'a')
    assert losses(Path('a.png'), image) == ['not kept in a.png: comment']
    assert losses(Path('a.webp'), image) == ['not kept in a.webp: resolution, comment']
    expected = 'not kept in a.bmp: EXIF, ICC profile, XMP, comment'
    assert losses(Path('a.bmp'), image) == [expected]
    assert losses(Path('a.gif'), image_of(saved(SMOOTH), 'a')) == [] and image.chunks == ()


@pytest.mark.parametrize('ending', ['.png', '.tif', '.webp', '.jpg', '.avif'])
@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'WEBP', 'JPEG', 'AVIF'])
def test_xmp_goes_from_format_to_format(ending, kind):
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6">a</x:xmpmeta>'
    if kind == 'PNG':
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt('XML:com.adobe.xmp', packet.decode(), zip=True)
        data = saved(SMOOTH, 'PNG', pnginfo=texts)
    elif kind == 'TIFF':
        data = saved(SMOOTH, 'TIFF', tiffinfo={700: packet})
    else:
        data = saved(SMOOTH, kind, xmp=packet)
    image = image_of(data, 'a')
    upright = packet.replace(b'"6"', b'"1"')  # XMP alone turns nothing, here and by any reader
    assert image.xmp == upright and not image.turned
    assert image.pixels.shape == SMOOTH.shape
    assert image_of(encode(ending, image), 'b').xmp == upright


def test_xmp_does_not_turn_what_exif_turned():
    packet = b'<x:xmpmeta tiff:Orientation="6"/><tiff:Orientation>8</tiff:Orientation>'
    data = saved(SMOOTH, 'JPEG', exif=exif_of(6), xmp=packet)
    image = image_of(data, 'a')
    assert image.turned and image.xmp == (
        b'<x:xmpmeta tiff:Orientation="1"/><tiff:Orientation>1</tiff:Orientation>'
    )


def test_exif_as_imagemagick_writes_it_into_png():
    exif = exif_of(6).tobytes()
    texts = PngImagePlugin.PngInfo()
    texts.add_text('Raw profile type exif', f'\nexif\n{len(exif):8}\n{exif.hex()}\n')
    image = image_of(saved(SMOOTH, pnginfo=texts), 'a')
    assert image.turned and image.exif and image.pixels.shape == (41, 30, 3)


def test_too_many_pixels_are_refused_in_words_and_more_can_be_allowed(recwarn):
    claims = png(20000, 20000, 8, 2, b'')
    with pytest.raises(
        ValueError, match=r'^a: .*20000x20000 pixels are more than 268435456; basicsr restore --max'
    ):
        decode(claims, 'a')
    with pytest.raises(ValueError) as caught:
        decode(claims, 'a', max_pixels=10**9)
    assert 'pixels are more' not in str(caught.value)
    with pytest.raises(ValueError, match='30x41 pixels are more than 1229'):
        image_of(tiff(np.zeros((41, 30, 3), np.float32), 2), 'a', max_pixels=1229)
    assert decode(saved(SMOOTH), 'a', max_pixels=1230).pixels.shape == SMOOTH.shape
    assert not [w for w in recwarn if 'ecompression' in str(w.message)]


def test_large_images_are_as_pillow_has_them(monkeypatch):
    """In strips, with every mode: more strips than one."""
    from hmaca_arch.files import pixels as module

    monkeypatch.setattr(module, 'PIXELS', 41 * 7)
    image = Image.fromarray(SMOOTH)
    for made in (
        image,
        image.convert('L'),
        image.convert('1'),
        image.quantize(9),
        image.convert('RGBA'),
        Image.fromarray(SMOOTH[..., :2], 'LA'),
    ):
        found = image_of(saved(made), 'a').pixels
        mode = {'1': 'L', 'P': 'RGB'}.get(made.mode, made.mode)
        np.testing.assert_array_equal(found, np.asarray(made.convert(mode)).reshape(found.shape))


def test_depths_of_gray_png_files(tmp_path):
    rng = np.random.default_rng(0)
    rows = np.packbits(np.arange(64, dtype=np.uint8).reshape(8, 8) % 2, axis=1)
    raw = b''.join(b'\0' + bytes(row) for row in rows)
    found = image_of(png(8, 8, 1, 0, raw), 'a').pixels
    assert set(np.unique(found)) == {0, 255}
    deep = rng.integers(0, 65536, (6, 5, 2)).astype('>u2')
    raw = b''.join(b'\0' + row.tobytes() for row in deep)
    image = image_of(png(5, 6, 16, 4, raw), 'a')
    np.testing.assert_array_equal(image.pixels, deep.astype(np.uint16))
    np.testing.assert_array_equal(image_of(encode('.png', image), 'b').pixels, image.pixels)
    colour = rng.integers(0, 3, (6, 5, 3)).astype('>u2')
    raw = b''.join(b'\0' + row.tobytes() for row in colour)
    transparent = with_chunk(png(5, 6, 16, 2, raw), b'tRNS', struct.pack('>HHH', 1, 2, 0))
    found = image_of(transparent, 'a').pixels
    clear = (colour == (1, 2, 0)).all(axis=2)
    assert clear.any() and (found[..., 3] == np.where(clear, 0, 65535)).all()
    assert sys.byteorder != 'unknown' and (found[..., :3] == colour).all()
