"""Reading pictures and masks: every kind that is accepted gives the right pixels, every damaged or
doubtful one is refused by name.
"""

import io
import re

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from hmaca_arch.files import jpeg_scans
from hmaca_arch.files.images import decode, decode_image, encode_png, to_8_bit
from hmaca_arch.files.masks import read_mask
from hmaca_arch.files.reading import list_images


@pytest.fixture(scope='module')
def picture() -> np.ndarray:
    """(30, 41, 3) uint8, smooth enough for lossy formats."""
    return cv2.resize(
        np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8),
        (41, 30),
        interpolation=cv2.INTER_CUBIC,
    )


def saved(image: Image.Image | np.ndarray, kind: str = 'PNG', **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'TIFF', 'WEBP'])
def test_lossless_formats(picture, kind):
    options = {'lossless': True} if kind == 'WEBP' else {}
    np.testing.assert_array_equal(decode_image(saved(picture, kind, **options), 'a'), picture)


def test_jpeg_decodes_as_opencv_does(picture):
    data = saved(picture, 'JPEG', quality=90)
    np.testing.assert_array_equal(
        decode_image(data, 'a'),
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1],
    )


@pytest.mark.parametrize('ending', ['.png', '.tif'])
def test_16_bit_colour_and_gray_keep_every_bit(picture, ending):
    colour = picture.astype(np.uint16) * 257 + 13
    encoded = cv2.imencode(ending, cv2.cvtColor(colour, cv2.COLOR_RGB2BGR))[1].tobytes()
    np.testing.assert_array_equal(decode_image(encoded, 'a'), colour)
    encoded = cv2.imencode(ending, colour[..., 0])[1].tobytes()
    np.testing.assert_array_equal(decode_image(encoded, 'a'), np.repeat(colour[..., :1], 3, axis=2))


def test_grayscale_palette_and_opaque_alpha(picture):
    gray = picture[..., 0]
    np.testing.assert_array_equal(
        decode_image(saved(gray), 'a'), np.repeat(gray[..., None], 3, axis=2)
    )
    palette = Image.fromarray(picture).quantize(16)
    np.testing.assert_array_equal(
        decode_image(saved(palette), 'a'), np.asarray(palette.convert('RGB'))
    )
    np.testing.assert_array_equal(
        decode_image(saved(Image.fromarray(picture).convert('RGBA')), 'a'), picture
    )
    deep = np.dstack([picture.astype(np.uint16) * 257, np.full(gray.shape, 65535, np.uint16)])
    encoded = cv2.imencode('.png', cv2.cvtColor(deep, cv2.COLOR_RGBA2BGRA))[1].tobytes()
    np.testing.assert_array_equal(decode_image(encoded, 'a'), deep[..., :3])


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WEBP'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_applied(picture, kind, orientation):
    image = Image.fromarray(picture)
    exif = image.getexif()
    exif[0x0112] = orientation
    options = {'lossless': True} if kind == 'WEBP' else {}
    data = saved(image, kind, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(decode_image(data, 'a'), expected)
    assert (expected.shape[0] > expected.shape[1]) == (orientation >= 5)
    mask = saved(
        Image.fromarray((picture[..., 0] > 99).astype(np.uint8) * 255), kind, exif=exif, **options
    )
    assert read_mask(mask)[0].shape == expected.shape[:2]


def test_transparency_is_refused(picture):
    half = Image.fromarray(np.dstack([picture, np.full(picture.shape[:2], 128, np.uint8)]))
    palette = Image.fromarray(picture).quantize(16)
    for data in (
        saved(half),
        saved(half.convert('LA')),
        saved(palette, transparency=int(np.asarray(palette)[0, 0])),
    ):
        with pytest.raises(ValueError, match=r'^x/a\.png: has transparent pixels'):
            decode_image(data, 'x/a.png')


def test_other_modes_are_refused(picture):
    with pytest.raises(ValueError, match=r'^a\.jpg: .*CMYK'):
        decode_image(saved(Image.fromarray(picture).convert('CMYK'), 'JPEG'), 'a.jpg')
    with pytest.raises(ValueError, match=r'^a\.tif: .*floating point numbers are not'):
        decode_image(saved(Image.fromarray(picture[..., 0].astype(np.float32)), 'TIFF'), 'a.tif')


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF'])
@pytest.mark.filterwarnings('ignore:Corrupt EXIF:UserWarning', 'ignore:Truncated File:UserWarning')
def test_truncated_files_are_refused_by_name(picture, kind):
    data = saved(picture, kind)
    for length in (
        0,
        1,
        10,
        30,
        len(data) // 3,
        len(data) // 2,
        len(data) - 25,
        len(data) - (4 if kind in ('PNG', 'JPEG') else 25),
    ):
        with pytest.raises(ValueError, match=r'^x/a\.b: cannot be read') as caught:
            decode_image(data[:length], 'x/a.b')
        assert '\n' not in str(caught.value)


@pytest.mark.parametrize('quality', [20, 95])
@pytest.mark.parametrize(
    'settings', [{}, {'progressive': True}, {'restart_marker_rows': 1}, {'subsampling': 0}]
)
def test_a_jpeg_whose_scan_ends_early_is_refused_though_it_has_an_end(picture, settings, quality):
    data = saved(picture, 'JPEG', quality=quality, **settings)
    comment = b'\xff\xfe\0\4hi'
    for sound in (
        data,
        data + b'more',
        data[:-2] + b'\xff' + data[-2:],
        data[:2] + comment + data[2:],
    ):
        decode(sound, 'a', convert=True)
    scan = data.rindex(b'\xff\xda') + 14
    for missing in (1, 2, 3, 10, (len(data) - scan) // 2):
        cut = data[: len(data) - 2 - missing].rstrip(b'\xff')
        with pytest.raises(
            ValueError, match='^a: cannot be .*it is damaged: coded pixels are missing'
        ):
            decode(cut + data[-2:], 'a', convert=True)


def test_a_jpeg_with_a_hole_in_its_coded_pixels_is_refused(picture):
    data = saved(picture, 'JPEG', quality=95, restart_marker_blocks=1)
    places = [found.start() for found in re.finditer(rb'\xff[\xd0-\xd7]', data)]
    hole = data[: places[0]] + data[places[1] :]
    no_segment = b'\xff\xef\xff\xff'  # reaches beyond the file
    overwritten = data[: places[1] - 20] + no_segment + data[places[1] - 16 :]
    for damaged in (hole, overwritten):
        with Image.open(io.BytesIO(damaged)) as image:
            image.load()  # or this test would prove nothing
        with pytest.raises(ValueError, match='it is damaged: coded pixels are missing'):
            decode(damaged, 'a', convert=True)


@pytest.mark.filterwarnings('ignore:Corrupt EXIF:UserWarning', 'ignore:Truncated File:UserWarning')
def test_truncated_16_bit_files_are_refused(picture):
    for ending in ('.png', '.tif'):
        data = cv2.imencode(ending, picture.astype(np.uint16) * 200)[1].tobytes()
        with pytest.raises(ValueError, match=r'^a: cannot be read'):
            decode_image(data[: len(data) // 2], 'a')


def test_flipped_bits_in_a_png_are_refused(picture):
    data = saved(picture)
    for position in range(60, len(data) - 20, len(data) // 25):
        broken = bytearray(data)
        broken[position] ^= 4
        with pytest.raises(ValueError, match='cannot be read'):
            decode_image(bytes(broken), 'a')


def test_text_is_not_a_picture():
    with pytest.raises(ValueError, match=r'^a\.png: cannot be read as an image'):
        decode_image(b'not a picture at all', 'a.png')


def test_encode_png_round_trip(picture):
    for pixels in (picture, picture[..., :1], picture.astype(np.uint16) * 257 + 1):
        again = decode_image(encode_png(pixels), 'a')
        np.testing.assert_array_equal(again, np.broadcast_to(pixels, again.shape))
        assert encode_png(pixels) == encode_png(pixels.copy())


def test_to_8_bit_rounds_to_the_nearest():
    values = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(to_8_bit(values), np.rint(values / 257).astype(np.uint8))


@pytest.mark.parametrize('kind', [np.float16, np.float32, np.float64])
def test_floating_point_becomes_8_bits(kind):
    values = np.array([-1, 0, 0.4 / 255, 0.6 / 255, 0.5, 254.6 / 255, 1, 2], kind)
    found = to_8_bit(values)
    assert found.tolist() == [0, 0, 0, 1, 128, 255, 255, 255] and found.dtype == np.uint8
    assert to_8_bit(found) is found


def test_list_pictures(tmp_path, picture):
    for name in ('b.PNG', 'a.jpg', '.hidden.png', 'notes.txt'):
        (tmp_path / name).write_bytes(b'')
    assert list(list_images(tmp_path)) == ['a', 'b']
    (tmp_path / 'a.webp').write_bytes(b'')
    with pytest.raises(ValueError, match=r'a\.jpg and .*a\.webp have the same name'):
        list_images(tmp_path)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='empty holds no images'):
        list_images(tmp_path / 'empty')


def test_a_jpeg_that_is_too_large_for_the_memory_is_not_called_damaged_alone(picture, monkeypatch):
    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(jpeg_scans, 'load_image', fails)
    with pytest.raises(ValueError, match='it is damaged, or too large for the memory'):
        decode(saved(picture, 'JPEG'), 'a', convert=True)
