"""A large PNG by rows: what is opened, and each way that a file can be odd."""

import io
from pathlib import Path

import numpy as np
import pytest
from picture_writers import PNG, chunk, png, saved, with_chunk

from hmaca_arch.files import large_png, png_strips
from hmaca_arch.files.image_files import is_own_output, read_image
from hmaca_arch.files.large_png_verifying import verify_rows

HEIGHT, WIDTH = 21, 13
BOX = (6, 3, 15, 10)
INSIDE = slice(6, 15), slice(3, 10)
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    for module in (large_png, png_strips):
        monkeypatch.setattr(module, 'LARGE', HEIGHT * WIDTH)
    monkeypatch.setattr(large_png, 'STRIP', 4 * (1 + 3 * WIDTH))
    monkeypatch.setattr(large_png, 'AT_ONCE', 7)


def random(kind=np.uint8, channels=3) -> np.ndarray:
    return RNG.integers(0, np.iinfo(kind).max + 1, (HEIGHT, WIDTH, channels), kind)


def split(data: bytes) -> bytes:
    """The same PNG with five compressed bytes a chunk, and an empty chunk and a text between."""
    start = data.index(b'IDAT') - 4
    length = int.from_bytes(data[start : start + 4], 'big')
    content = data[start + 8 : start + 8 + length]
    parts = [chunk(b'IDAT', content[at : at + 5]) for at in range(0, length, 5)]
    parts.insert(1, chunk(b'IDAT', b'') + chunk(b'tEXt', b'a\0b'))
    return data[:start] + b''.join(parts) + data[start + 12 + length :] + b'behind'


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_a_copy_differs_in_the_box_alone(tmp_path, kind, channels):
    pixels, path, copy = random(kind, channels), tmp_path / 'a', tmp_path / 'b'
    rows = b''.join(b'\0' + row.astype(pixels.dtype.newbyteorder('>')).tobytes() for row in pixels)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    path.write_bytes(split(png(WIDTH, HEIGHT, 8 * pixels.itemsize, colour, rows)))
    opened = large_png.large_png(path, HEIGHT * WIDTH)
    assert opened.path == path and opened.image.pixels.dtype == kind
    found = opened.image.pixels
    assert found.shape == pixels.shape and not found.any()
    large_png.read_rows(opened, BOX, found)
    assert np.array_equal(found[INSIDE], pixels[INSIDE])
    found[INSIDE] = 0
    assert not found.any()
    new = random(kind, channels)[INSIDE]
    with open(copy, 'wb') as file:
        large_png.write_rows(opened, file, BOX, new)
    expected = pixels.copy()
    expected[INSIDE] = new
    assert np.array_equal(read_image(copy).pixels, expected) and is_own_output(copy)
    assert copy.read_bytes().count(b'tEXta\0b') == 1
    mask = np.ones(new.shape[:2], np.uint8)
    verify_rows(copy, opened, BOX, new, mask, Path('name.png'))
    for row, column in ((0, 0), (8, 6), (4, 3)):
        mask[row, column] = 0
        with pytest.raises(ValueError, match='^name.png: not verified: pixels outside the mask'):
            verify_rows(copy, opened, BOX, new, mask, Path('name.png'))
        mask[row, column] = 1
    with pytest.raises(
        ValueError, match='^name.png: not verified: the restored pixels are not what'
    ):
        verify_rows(copy, opened, BOX, new ^ 1, mask, Path('name.png'))
    with pytest.raises(
        ValueError, match='^name.png: not verified: it is no PNG of the size and depth'
    ):
        verify_rows(tmp_path / 'none', opened, BOX, new, mask, Path('name.png'))


def header(place: int, value: int) -> bytes:
    data = bytearray(saved(random()))
    data[place] = value
    return PNG + chunk(b'IHDR', bytes(data[16:29])) + bytes(data[33:])


def length(count: int) -> bytes:
    """A file whose texts have so many bytes in all, with the header and the end."""
    rest = 8 + 25 + 12 + 12 + 2
    return with_chunk(saved(random()), b'tEXt', b'a\0' + bytes([98]) * (count - rest))


@pytest.mark.parametrize(
    ('data', 'opens'),
    [
        (saved(random()), True),
        (saved(random()[:-1]), False),  # too small
        (saved(np.vstack([random(), random()[:1]])), False),  # more than is allowed
        (header(26, 1), False),
        (header(27, 1), False),
        (header(28, 1), False),
        (header(25, 3), False),
        (header(24, 4), False),
        (PNG + chunk(b'IDAT', b'') + saved(random())[8:], False),
        (b'x' + saved(random())[1:], False),
        (saved(random())[:32], False),
        (saved(random())[:-12], False),
        (saved(random())[:-13] + b'?' + saved(random())[-12:], False),
        (with_chunk(saved(random()), b'tRNS', bytes(6)), False),
        (with_chunk(saved(random()), b'acTL', bytes(8)), False),
        (with_chunk(saved(random()), b'ABCD', b''), False),
        (with_chunk(saved(random()), b'tEXt', b'a\0b').replace(b'a\0b', b'a\0c'), False),
        (length(large_png.MOST_SAID + 8), True),
        (length(large_png.MOST_SAID + 9), False),
    ],
)
def test_what_is_opened(tmp_path, data, opens):
    path = tmp_path / 'a'
    path.write_bytes(data)
    assert (large_png.large_png(path, HEIGHT * WIDTH) is not None) == opens


def test_damage_is_named_with_the_file(tmp_path):
    path = tmp_path / 'a'
    rows = b''.join(b'\0' + row.tobytes() for row in random()[:-1])
    path.write_bytes(png(WIDTH, HEIGHT, 8, 2, rows))
    opened = large_png.large_png(path, HEIGHT * WIDTH)
    said = f'{path}: cannot be read as an image: the file is cut short'
    for act in (
        lambda: large_png.read_rows(opened, BOX, opened.image.pixels),
        lambda: large_png.write_rows(opened, io.BytesIO(), BOX, random()[INSIDE]),
    ):
        with pytest.raises(ValueError) as caught:
            act()
        assert str(caught.value) == said
