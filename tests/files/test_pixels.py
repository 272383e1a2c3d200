"""Depths, pages and colour spaces of opened images: hand values."""

from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from PIL import Image

from hmaca_arch.files import pixels, reading
from hmaca_arch.files.formats import hint_for, hint_for_ending, is_jpeg_to_jpeg
from hmaca_arch.files.masks import Doubt, note_mostly_white, percent_white, read_mask
from hmaca_arch.files.pixels import depth_note, is_deep, page_count


@pytest.mark.parametrize(
    ('kind', 'bits', 'flags', 'told'),
    [
        ('HEIF', 10, 0, 10),
        ('HEIF', 8, 0, None),
        ('HEIF', 9, 0, 9),
        ('HEIF', None, 0x40, None),
        ('AVIF', None, 0x40, 10),
        ('AVIF', None, 0x60, 12),
        ('AVIF', None, 0x20, None),
        ('AVIF', None, 0x00, None),
        ('AVIF', None, 0xBF, None),
        ('AVIF', None, 0xDF, 10),
        ('AVIF', None, 0xFF, 12),
        ('PNG', 12, 0x60, None),
    ],
)
def test_more_bits_than_are_read(kind, bits, flags, told):
    info = {} if bits is None else {'bit_depth': bits}
    data = b'..av1C\x81\x04' + bytes([flags]) + b'\x60'
    found = depth_note(SimpleNamespace(format=kind, info=info), data)
    assert found == ([f'its {told} bits were read as 8'] if told else [])
    start = depth_note(SimpleNamespace(format=kind, info=info), data[2:])
    assert start == found and depth_note(SimpleNamespace(format='AVIF', info={}), b'') == []


def opened(kind: str, pages: list[int] | None = None):
    """Return what is looked at of an opened image, by the values of its pages' tag 254."""
    image = SimpleNamespace(format=kind)
    if pages is not None:
        image.n_frames = len(pages)
        image.seek = lambda page: setattr(
            image, 'tag_v2', {254: pages[page]} if pages[page] else {}
        )
    return image


def test_pages_without_previews():
    assert page_count(opened('MPO', [0, 0])) == page_count(opened('HEIF', [0, 0])) == 1
    assert page_count(opened('PNG')) == 1 and page_count(opened('GIF', [0, 0, 0])) == 3
    assert page_count(opened('TIFF', [0])) == page_count(opened('TIFF')) == 1
    assert page_count(opened('TIFF', [0, 0, 0])) == 3
    assert page_count(opened('TIFF', [0, 1, 3, 2])) == 2, 'reduced copies by their first bit'


def test_16_bits_by_the_header_or_the_tags():
    png = bytes(24)
    assert is_deep(SimpleNamespace(format='PNG'), png + b'\x10')
    assert not is_deep(SimpleNamespace(format='PNG'), png + b'\x08')
    for bits, deep in (((16, 16), True), ((8, 16), True), ((8,), False), (None, False)):
        tags = {} if bits is None else {258: bits}
        assert is_deep(SimpleNamespace(format='TIFF', tag_v2=tags), b'') == deep
    assert not is_deep(SimpleNamespace(format='WEBP'), png + b'\x10')


@pytest.mark.parametrize('size', [1, 15, 10**6])
@pytest.mark.parametrize(
    ('mode', 'wanted'), [('P', 'RGB'), ('1', 'L'), ('RGB', 'RGB'), ('PA', 'RGBA')]
)
def test_strips_are_converted_as_the_whole_image(monkeypatch, size, mode, wanted):
    monkeypatch.setattr(pixels, 'PIXELS', size)
    values = np.random.default_rng(0).integers(0, 256, (11, 7, 3), dtype=np.uint8)
    image = Image.fromarray(values).convert('P' if mode == 'PA' else mode).convert(mode)
    expected = np.asarray(image.convert(wanted)).reshape(11, 7, -1)
    found = pixels._as_array(image, wanted)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint8


def test_a_file_as_large_as_allowed(tmp_path, monkeypatch):
    path = tmp_path / 'a'
    path.write_bytes(b'12345')
    monkeypatch.setattr(reading, 'LARGEST_FILE', 5)
    assert reading.read_file(path) == b'12345'
    monkeypatch.setattr(reading, 'LARGEST_FILE', 4)
    with pytest.raises(ValueError) as caught:
        reading.read_file(path)
    assert str(caught.value).endswith('image: it has 5 bytes, expected at most 4')
    for missing, words in (
        (tmp_path, 'it is a folder, expected a file'),
        (tmp_path / 'b', 'No suc'),
    ):
        with pytest.raises(ValueError, match=words):
            reading.read_file(missing)


def test_a_file_that_cannot_be_read_is_named(monkeypatch):
    for error, words in ((OSError(5, 'broken disk'), 'broken disk'), (OSError('odd'), 'odd')):
        file = MagicMock()
        file.__enter__.return_value.read.side_effect = error
        monkeypatch.setattr(reading, 'open_file', lambda path, file=file: file)
        with pytest.raises(ValueError) as caught:
            reading.read_file('a.png')
        assert str(caught.value) == f'a.png: cannot be read: {words}'


def test_kinds_that_are_not_read_by_content_and_name():
    raw = 'it is a raw file of a camera; develop it first'
    for data, name, expected in (
        (b'\xff\x0a', 'a.png', 'it is JPEG XL; convert it to PNG or TIFF first'),
        (b'\0\0\0\x0cJXL \r\n', 'a', 'it is JPEG XL; '),
        (b'\0\0\0\x0cjP  \r\n', 'a', 'it is JPEG 2000; '),
        (b'8BPS', 'a', 'it is a Photoshop file; '),
        (b'gimp xcf', 'a', 'it is a GIMP file; export it as PNG or TIFF'),
        (b'II*\0\0\0\0\0CR\x02', 'a.tif', raw),
        (b'II*\0', 'a.NEF', raw),
        (b'MM\0*', 'a.dng', raw),
        (b'II*\0\x10\0\0\0', 'a.arw', raw),
    ):
        assert hint_for(data, name).startswith(expected)
    for data, name in (
        (b'II*\0', 'a.tif'),
        (b'II*\0', 'a.psd'),
        (b'\xff\xd8', 'a.nef'),
        (b'', 'a'),
    ):
        assert hint_for(data, name) is None
    assert hint_for_ending('.nef').startswith(raw) and hint_for_ending('.png') is None
    assert hint_for_ending('.psd') == 'it is a Photoshop file; convert it to PNG or TIFF first'
    assert is_jpeg_to_jpeg('MPO', '.JPEG') and is_jpeg_to_jpeg('JPEG', '.jfif')
    assert not is_jpeg_to_jpeg('PNG', '.jpg') and not is_jpeg_to_jpeg('JPEG', '.png')


@pytest.mark.parametrize(
    ('white', 'percent'), [(0, 0), (899, 89), (900, 90), (999, 99), (1000, 100)]
)
def test_how_much_of_a_mask_is_white(white, percent):
    mask = np.zeros(1000, np.uint8)
    mask[:white] = 1
    mask = mask.reshape(20, 50)
    assert percent_white(mask) == percent and percent_white(mask.astype(np.float32)) == percent
    notes = note_mostly_white(mask)
    assert [note.doubt for note in notes] == [Doubt.MOSTLY_WHITE] * (percent >= 90)
    assert all(note.text.startswith(f'{percent}% of the mask is white') for note in notes)
    assert percent_white(mask[:0]) == 0


@pytest.mark.parametrize(
    ('kind', 'soft', 'value', 'faint'),
    [
        (np.uint8, False, 127, True),
        (np.uint8, False, 128, False),
        (np.uint16, False, 32767, True),
        (np.uint16, False, 32768, False),
        (np.uint16, True, 257, True),
        (np.uint16, True, 258, False),
        (np.uint8, True, 2, False),
        (np.float32, False, 0.5, True),
        (np.float32, False, 0.51, False),
        (np.float32, False, 0, False),
        (np.uint8, False, 0, False),
    ],
)
def test_from_which_brightness_a_mask_is_faint(kind, soft, value, faint):
    _, notes = read_mask(np.array([[0, value]], kind), soft)
    assert [note.doubt for note in notes] == [Doubt.FAINT] * faint
