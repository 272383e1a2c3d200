"""TIFF files as they are written, tag by tag, and what is read of floating point."""

import io
import struct

import numpy as np
import pytest
from picture_writers import tiff
from PIL import Image

from hmaca_arch.files import image_files, images, tiff_layout
from hmaca_arch.files import tiff as module
from hmaca_arch.files.tiff import decode_float, is_float, read_tags, straight, write_tiff

RNG = np.random.default_rng(0)
ICC, XMP = b'profile ', b'<x/>'


def written(pixels: np.ndarray, icc=None, xmp=None, dpi=None) -> bytes:
    file = io.BytesIO()
    write_tiff(file, pixels, None, icc, xmp, dpi)
    return file.getvalue()


@pytest.mark.parametrize('kind', [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('rows', [1, 2, 3, 5, 9])
def test_every_tag_and_byte(monkeypatch, kind, channels, rows):
    pixels = (RNG.random((5, 4, channels)) * 200).astype(kind)
    row = 4 * channels * pixels.itemsize
    monkeypatch.setattr(module, 'STRIP', rows * row + row - 1 if rows > 1 else row - 1)
    data = written(pixels)
    tags = read_tags(io.BytesIO(data))
    starts = tags[273]
    sizes = [row * min(rows, 5 - top) for top in range(0, 5, rows)]
    expected = {
        256: 4,
        257: 5,
        258: (8 * pixels.itemsize,) * channels,
        259: 1,
        262: 1 if channels < 3 else 2,
        273: starts,
        277: channels,
        278: rows,
        279: tuple(sizes),
        284: 1,
    }
    if channels in (2, 4):
        expected[338] = (2,)
    if kind == np.float32:
        expected[339] = (3,) * channels
    assert dict(tags) == expected
    stored = b''.join(data[start : start + size] for start, size in zip(starts, sizes))
    assert stored == pixels.astype(pixels.dtype.newbyteorder('<')).tobytes()
    assert starts[-1] + sizes[-1] == len(data)
    native = written(np.asfortranarray(pixels).astype(pixels.dtype.newbyteorder('>')))
    assert native == data, 'however they lie in memory'


def test_what_is_kept_besides_pixels():
    tags = read_tags(io.BytesIO(written(np.zeros((1, 1, 1), np.uint8), ICC, XMP, (300, 150.5))))
    assert tags[34675] == ICC and tags[700] == XMP
    assert (tags[0x0128], tags[0x011A], tags[0x011B]) == (2, 300, 150.5)


def test_the_largest_file(monkeypatch):
    pixels = np.zeros((3, 5, 3), np.uint16)
    monkeypatch.setattr(module, 'LARGEST', 90)
    assert written(pixels)
    monkeypatch.setattr(module, 'LARGEST', 89)
    with pytest.raises(ValueError) as caught:
        written(pixels)
    assert str(caught.value) == '90 bytes are too many for a TIFF file; choose PNG'


@pytest.mark.parametrize(('kind', 'peak'), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
@pytest.mark.parametrize('colours', [1, 3])
def test_associated_alpha(kind, peak, colours):
    alpha = np.array([[0, peak / 5, peak]]).astype(kind)[..., None]
    given = np.dstack([np.full((1, 3, colours), peak / 10).astype(kind), alpha])
    found = straight(given)
    assert found.dtype == kind and found.shape == given.shape
    np.testing.assert_array_equal(found[..., -1:], alpha)
    assert not found[0, 0, :colours].any(), 'black where all is transparent'
    np.testing.assert_allclose(
        found[0, 1, :colours], given[0, 0, 0] / (alpha[0, 1, 0] / peak), 0.5 / peak + 1e-2
    )
    np.testing.assert_array_equal(found[0, 2, :colours], given[0, 2, :colours])
    bright = np.dstack([np.full((1, 3, colours), peak).astype(kind), alpha])
    assert straight(bright)[0, 1, 0] == (peak if kind != np.float32 else pytest.approx(5))


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        ({258: 16}, 'floating point of 16 bits, 3 channels; expected 32 bits, 1 to 4 channels, '),
        ({277: 5}, 'floating point of 32 bits, 5 channels; expected'),
        ({277: 0}, 'floating point of 32 bits, 0 channels; expected'),
        ({284: 2}, 'floating point of 32 bits, 3 channels; expected 32 bits, 1 to 4 channels, '),
    ],
)
def test_floating_point_that_is_not_read(more, message):
    data = tiff(np.zeros((2, 3, 3), np.float32), 2, more=more)
    with pytest.raises(ValueError) as caught:
        decode_float(data)
    assert str(caught.value).startswith(message)


def test_what_is_a_tiff_of_floating_point():
    gray = np.zeros((2, 2, 1))
    assert is_float(tiff(gray.astype(np.float32), 1))
    assert is_float(tiff(gray.astype(np.float32), 1, order='>'))
    assert not is_float(tiff(gray.astype(np.uint8), 1)) and not is_float(b'II*\0')
    assert not is_float(b'II+\0' + tiff(gray.astype(np.float32), 1)[4:])


def rational(tag: int, place: int) -> bytes:
    return struct.pack('<HHII', tag, 5, 1, place)


def with_resolution(unit: int | None, across: int = 300) -> bytes:
    """Return 1x1 pixel of floating point, of 300 (across) and 150 pixels per unit."""
    entries = [
        struct.pack('<HHII', tag, kind, 1, value)
        for tag, kind, value in (
            *((256, 4, 1), (257, 4, 1), (258, 3, 32), (259, 3, 1), (262, 3, 1), (273, 4, 300)),
            *((277, 3, 1), (278, 4, 1), (279, 4, 4)),
        )
    ]
    entries += [rational(282, 320), rational(283, 328)]
    entries += [struct.pack('<HHII', 296, 3, 1, unit)] if unit is not None else []
    entries += [struct.pack('<HHII', 339, 3, 1, 3)]
    entries += [struct.pack('<HHII', 33723, 7, 4, 1), struct.pack('<HHII', 40000, 3, 1, 1)]
    data = b'II*\0' + struct.pack('<IH', 8, len(entries)) + b''.join(entries) + bytes(4)
    data = data.ljust(300, b'\0') + struct.pack('<f', 0.5)
    return data.ljust(320, b'\0') + struct.pack('<IIII', across, 1, 150, 1)


@pytest.mark.parametrize(
    ('unit', 'across', 'dpi'),
    [(2, 300, (300, 150)), (None, 300, (300, 150)), (3, 300, None), (1, 300, None), (2, 0, None)],
)
def test_what_floating_point_says_besides_pixels(unit, across, dpi):
    found = images.decode(with_resolution(unit, across), 'a', convert=True)
    assert found.pixels.tolist() == [[[0.5]]] and found.dpi == dpi
    assert found.mode == '1 channels of floating point' and found.format == 'TIFF'
    assert found.orientation == 1 and list(found.texts) == ['IPTC', 'TIFF tag 40000']
    assert found.icc is None and found.xmp is None and found.notes == []


@pytest.mark.parametrize('turn', range(1, 9))
def test_the_orientation_of_floating_point_is_said(turn):
    data = tiff(RNG.random((2, 3, 1), np.float32), 1, more={274: turn})
    found = images.decode(data, 'a', convert=True)
    assert found.orientation == turn
    assert found.pixels.shape == ((3, 2, 1) if turn > 4 else (2, 3, 1))


@pytest.mark.parametrize('order', ['<', '>'])
def test_where_the_numbers_of_a_tag_are(order):
    entries = [(256, 3, 1, 7), (258, 3, 3, 500), (273, 4, 1, 9), (279, 4, 2, 600), (60000, 3, 2, 5)]
    entries += [(60001, 4, 1, 0), (60002, 5, 1, 0)]
    data = struct.pack(order + '4sIIH', b'....', 12, 0, len(entries))
    data += b''.join(struct.pack(order + 'HHII', *entry) for entry in entries)
    places = {256: (22, 2), 258: (500, 2), 273: (46, 4), 279: (600, 4), 60000: (70, 2)}
    for tag, place in (places | {60001: (82, 4)}).items():
        assert tiff_layout._table(io.BytesIO(data), order, tag) == place
    large = data.replace(struct.pack(order + 'I', 600), struct.pack(order + 'I', 2**32 - 1))
    assert tiff_layout._table(io.BytesIO(large), order, 279) == (2**32 - 1, 4)
    for tag in (257, 60002):
        with pytest.raises(KeyError):
            tiff_layout._table(io.BytesIO(data), order, tag)


def test_a_block_of_exif_that_cannot_be_written(tmp_path, monkeypatch):
    stored = images.StoredImage(np.zeros((2, 2, 3), np.uint8), b'block', None, [])

    def fail(error: Exception, exif: bytes | None = b'block') -> Exception:
        def write(*_):
            raise error

        monkeypatch.setattr(image_files, '_write', write)
        with pytest.raises(Exception) as caught:
            image_files.write_image(tmp_path / 'a.webp', stored._replace(exif=exif))
        assert list(tmp_path.iterdir()) == []
        return caught.value

    assert str(fail(RuntimeError('odd'))) == (
        f'{tmp_path / "a.webp"}: the EXIF block is damaged and WEBP cannot hold it (odd); '
        'choose a.png'
    )
    for error in (ValueError('x'), OSError(5, 'x', 'y'), RuntimeError('x')):
        assert fail(error, None) is error
    for error in (ValueError('x'), OSError(5, 'x', 'y')):
        assert fail(error) is error


def test_pages_are_counted():
    file = io.BytesIO()
    page = Image.fromarray(np.zeros((2, 2), np.float32))
    page.save(file, 'TIFF', save_all=True, append_images=[page])
    with pytest.raises(ValueError, match='^a: .*: holds several images; files of several pages'):
        images.decode(file.getvalue(), 'a', convert=True)
