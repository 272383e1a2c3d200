"""PNG files of 16 bits, and large ones, which are decoded strip by strip."""

import io
import zlib

import cv2
import numpy as np
import pytest
from picture_writers import png as png_file
from picture_writers import with_chunk
from PIL import Image

from hmaca_arch.files import png, png_strips
from hmaca_arch.files.images import decode
from hmaca_arch.files.png import Chunk

HEIGHT, WIDTH = 23, 17


def texture(channels):
    """Smooth rows, noisy rows and equal rows, for which different filters are best."""
    rng = np.random.default_rng(channels)
    ramp = np.arange(HEIGHT * WIDTH * channels, dtype=np.uint32).reshape(HEIGHT, WIDTH, channels)
    pixels = (37 * ramp % 65536).astype(np.uint16)
    pixels[3:9] = rng.integers(0, 65536, pixels[3:9].shape)
    pixels[10:14] = pixels[9]
    pixels[15:] = cv2.GaussianBlur(rng.normal(3e4, 9e3, (8, WIDTH, channels)), (0, 0), 2).reshape(
        8, WIDTH, channels
    )
    return pixels


def file_of(pixels, *before):
    file = io.BytesIO()
    png.write_png(file, pixels, before)
    return file.getvalue()


def chunks_of(data):
    """Every chunk of a PNG file."""
    found, position = [], len(png.PNG)
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], 'big')
        found.append(
            Chunk(data[position + 4 : position + 8], data[position + 8 : position + 8 + length])
        )
        position += 12 + length
    return found


def with_pixels(data, *contents, after=()):
    """A PNG file with other IDAT chunks, and with some behind them."""
    first, *others, last = [chunk for chunk in chunks_of(data) if chunk.kind != b'IDAT']
    made = [first, *others, *(Chunk(b'IDAT', content) for content in contents), *after, last]
    return png.PNG + b''.join(chunk.packed() for chunk in made)


def compressed(data):
    return b''.join(chunk.content for chunk in chunks_of(data) if chunk.kind == b'IDAT')


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('strip', [1, 3 * (1 + 8 * WIDTH), 1 << 24])
@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
def test_every_strip_and_filter_gives_the_pixels(channels, strip, kind, monkeypatch):
    monkeypatch.setattr(png_strips, 'STRIP', strip)
    monkeypatch.setattr(png_strips, 'LARGE', HEIGHT * WIDTH)
    pixels = texture(channels).astype(kind)
    data = file_of(pixels)
    row = 1 + pixels.itemsize * WIDTH * channels
    assert len({*zlib.decompress(compressed(data))[::row]}) >= 4  # filters
    assert png_strips.is_in_strips(data)
    np.testing.assert_array_equal(png_strips.decode_strips(data), pixels)
    np.testing.assert_array_equal(decode(data, 'a', convert=True).pixels, pixels)


def test_pixels_may_be_in_any_number_of_chunks():
    pixels = texture(3)
    data = file_of(pixels)
    packed = compressed(data)
    for size in (1, 7, len(packed)):
        parts = [packed[start : start + size] for start in range(0, len(packed), size)]
        split = with_pixels(data, b'', *parts, b'')
        np.testing.assert_array_equal(png_strips.decode_strips(split), pixels)


def test_what_stands_behind_the_pixels_is_read():
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = 'a maker', 3
    data = file_of(texture(3))
    behind = Chunk(b'eXIf', exif.tobytes().removeprefix(b'Exif\0\0'))
    found = decode(with_pixels(data, compressed(data), after=[behind]), 'a', convert=True)
    assert found.orientation == 3
    np.testing.assert_array_equal(found.pixels, texture(3)[::-1, ::-1])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda rows: zlib.compress(rows[:-1]), 'cut short'),
        (lambda rows: zlib.compress(b''), 'cut short'),
        (lambda rows: zlib.compress(rows)[:-300], 'cut short'),
        (lambda rows: zlib.compress(b'\5' + rows[1:]), 'an unknown filter'),
        (lambda rows: b'no stream', 'while decompressing'),
    ],
)
def test_damaged_pixels_are_one_line(change, message):
    data = file_of(texture(3))
    damaged = with_pixels(data, change(zlib.decompress(compressed(data))))
    with pytest.raises(ValueError, match=f'^a: cannot be read as an image: .*{message}'):
        decode(damaged, 'a')


@pytest.mark.parametrize('mode', ['L', 'RGB'])
def test_a_transparent_colour_is_alpha(mode, monkeypatch):
    pixels = texture(len(mode)).astype(np.uint8)
    colour = pixels[12, 5].tolist()
    file = io.BytesIO()
    given = colour[0] if mode == 'L' else tuple(colour)
    Image.fromarray(pixels.squeeze(), mode).save(file, 'PNG', transparency=given)
    usual = decode(file.getvalue(), 'a').pixels
    monkeypatch.setattr(png_strips, 'LARGE', 1)
    np.testing.assert_array_equal(decode(file.getvalue(), 'a').pixels, usual)
    assert usual[12, 5, -1] == 0 < usual[..., -1].max()


def test_palettes_are_left_to_pillow(monkeypatch):
    monkeypatch.setattr(png_strips, 'LARGE', 1)
    file = io.BytesIO()
    Image.fromarray(texture(3).astype(np.uint8)).quantize(9).save(file, 'PNG')
    assert not png_strips.is_in_strips(file.getvalue())
    assert decode(file.getvalue(), 'a').mode == 'P'


def test_a_large_claim_is_refused_before_memory_is_taken():
    with pytest.raises(ValueError, match='17x23 pixels are more than 390'):
        decode(file_of(texture(1)), 'a', max_pixels=390)


def test_rows_in_turns_are_left_to_opencv():
    """Adam7: the rows come in seven passes."""
    first, *others = chunks_of(file_of(texture(1)[:1, :1]))
    interlaced = Chunk(b'IHDR', first.content[:-1] + b'\1')
    data = png.PNG + b''.join(chunk.packed() for chunk in [interlaced, *others])
    assert not png_strips.is_in_strips(data)
    np.testing.assert_array_equal(decode(data, 'a').pixels, texture(1)[:1, :1])


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
def test_what_stands_behind_the_end_does_not_count(kind, monkeypatch):
    monkeypatch.setattr(png_strips, 'LARGE', 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Chunk(b'eXIf', exif.tobytes().removeprefix(b'Exif\0\0')).packed()
    pixels = texture(3).astype(kind)
    data = file_of(pixels)
    for behind in (bytes(12), b'\n', b'PK\3\4' + bytes(30), data, turned):
        found = decode(data + behind, 'a', convert=True)
        np.testing.assert_array_equal(found.pixels, pixels)
        assert not found.turned


def test_animations_are_left_to_pillow():
    frame = bytes.fromhex('00000000') + (WIDTH).to_bytes(4, 'big') + HEIGHT.to_bytes(4, 'big')
    control = Chunk(b'fcTL', frame + bytes(8) + b'\0\1\0\12\0\0')
    for count in (1, 2):
        data = file_of(texture(1), Chunk(b'acTL', bytes([0, 0, 0, count, 0, 0, 0, 0])), control)
        assert not png_strips.is_in_strips(data)
        if count == 1:
            np.testing.assert_array_equal(decode(data, 'a').pixels, texture(1))
        else:
            with pytest.raises(ValueError, match='holds 2 images; animations'):
                decode(data, 'a')


def test_the_low_bits_of_a_transparent_colour_count(monkeypatch):
    monkeypatch.setattr(png_strips, 'LARGE', 1)
    pixels = texture(1).astype(np.uint8)
    value = 256 + int(pixels[12, 5, 0])
    found = decode(file_of(pixels, Chunk(b'tRNS', value.to_bytes(2, 'big'))), 'a').pixels
    assert found.shape[2] == 2 and found[12, 5, 1] == 0


@pytest.mark.parametrize('shape', [(10**6 + 1, 1), (1, 10**6 + 1)])
def test_long_images(shape, monkeypatch):
    monkeypatch.setattr(png_strips, 'LARGE', 1)
    file = io.BytesIO()
    pixels = np.arange(10**6 + 1, dtype=np.uint32).astype(np.uint8).reshape(shape)
    Image.fromarray(pixels).save(file, 'PNG')
    np.testing.assert_array_equal(decode(file.getvalue(), 'a').pixels[..., 0], pixels)


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
@pytest.mark.parametrize('behind', [False, True])
def test_orientation_in_xmp_alone_turns_nothing_wherever_it_stands(kind, behind):
    told = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
    packet = Chunk(b'iTXt', png.XMP + bytes(4) + told)
    data = file_of(texture(3).astype(kind), *([] if behind else [packet]))
    if behind:
        data = with_pixels(data, compressed(data), after=[packet])
    found = decode(data, 'a', convert=True)
    assert not found.turned and found.xmp == told
    np.testing.assert_array_equal(found.pixels, texture(3).astype(kind))


@pytest.mark.parametrize(
    ('width', 'height', 'bits', 'colour', 'there'),
    [
        (1, 1, 16, 0, True),
        (1, 1, 16, 2, True),
        (1, 1, 16, 4, True),
        (1, 1, 16, 6, True),
        (1, 1, 16, 3, False),
        (1, 1, 8, 0, False),
        (0, 1, 16, 0, False),
        (1, 0, 16, 0, False),
        (10**6, 1, 16, 0, True),
        (10**6 + 1, 1, 16, 0, False),
        (2**12, 2**13, 8, 2, True),
        (2**12, 2**13 - 1, 8, 2, False),
        (2**12, 2**13, 4, 0, False),
    ],
)
def test_which_files_are_decoded_in_strips(width, height, bits, colour, there):
    data = png_file(width, height, bits, colour, b'')
    assert png_strips.is_in_strips(data) is there
    turns = bytearray(data)
    turns[28] = 1  # rows in turns
    assert not png_strips.is_in_strips(bytes(turns))
    assert not png_strips.is_in_strips(data[:32]) and not png_strips.is_in_strips(b'x' + data)
    for kind in (b'acTL', b'fcTL', b'fdAT'):
        assert not png_strips.is_in_strips(with_chunk(data, kind, b''))
    assert png_strips.size_of_png(data) == (width, height)


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize(('colour', 'mode'), [(0, 'L'), (2, 'RGB'), (4, 'LA'), (6, 'RGBA')])
def test_the_stand_in_says_what_the_file_says(bits, colour, mode):
    data = with_chunk(png_file(300, 200, bits, colour, b'not rows'), b'tEXt', b'Title\0a title')
    with Image.open(io.BytesIO(png_strips.without_pixels(data))) as image:
        image.load()
        assert image.size == (1, 1) and image.text == {'Title': 'a title'}
        deep = {'L': 'I;16', 'LA': 'RGBA'} if bits == 16 else {}
        assert image.mode == deep.get(mode, mode)


def test_what_opencv_cannot_decode_is_no_image(monkeypatch):
    rows = bytes([0, 1, 2])
    assert png_strips._decoded(rows, 2, 1, b'\x08\x00').tolist() == [[[1], [2]]]
    for found in (None, np.zeros((1, 2), np.uint16)):
        monkeypatch.setattr(png_strips.cv2, 'imdecode', lambda *_, found=found: found)
        with pytest.raises(ValueError, match='OpenCV cannot decode it'):
            png_strips._decoded(rows, 2, 1, b'\x08\x00')


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_the_stand_in_is_one_black_pixel_chunk_by_chunk(channels):
    pixels = texture(channels)
    text, behind = Chunk(b'tEXt', b'a\0b'), Chunk(b'tIME', b'7654321')
    data = file_of(pixels, text)
    data = with_pixels(data, compressed(data), after=[behind])
    header, *others, image, end = chunks_of(png_strips.without_pixels(data))
    expected = bytes([0, 0, 0, 1, 0, 0, 0, 1, 16, png.COLOUR_TYPES[channels], 0, 0, 0])
    assert header == (b'IHDR', expected) and others == [text, behind] and end == (b'IEND', b'')
    assert image.kind == b'IDAT' and zlib.decompress(image.content) == bytes(1 + 2 * channels)
