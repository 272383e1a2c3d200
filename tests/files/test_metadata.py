"""What files say besides their pixels: hand values, of images that Pillow has opened."""

import struct
from types import SimpleNamespace

import pytest
from PIL import Image

from hmaca_arch.files.metadata import (
    described_exif,
    dpi_of,
    exif_of,
    exif_tags,
    orientation_of,
    private_tags,
    take_xmp,
    texts_of,
    upright_exif,
    upright_xmp,
)


def opened(kind: str = 'PNG', block: dict | None = None, tags: dict | None = None, **info):
    """Return what these functions look at of an opened image."""
    directory = Image.Exif()
    directory.update(block or {})
    image = SimpleNamespace(format=kind, info=info, getexif=lambda: directory)
    if kind == 'TIFF':
        image.tag_v2 = tags or {}
    return image


def test_texts_that_are_kept_nowhere():
    assert texts_of(opened()) == texts_of(opened('TIFF')) == []
    assert texts_of(opened('JPEG', photoshop={0x0404: b''})) == ['IPTC']
    assert texts_of(opened('JPEG', photoshop={0x0405: b''})) == []
    assert texts_of(opened('TIFF', photoshop=b'\x04\x04')) == []
    assert texts_of(opened('TIFF', tags={0x83BB: b''})) == ['IPTC']
    for kind in ('JPEG', 'MPO', 'GIF'):
        assert texts_of(opened(kind, comment=b'me')) == ['comment']
        assert texts_of(opened(kind, comment=b'')) == []
    assert texts_of(opened('PNG', comment=b'me')) == []
    found = texts_of(opened('TIFF', tags={0x83BB: b'', 40000: 1}))
    assert found == ['IPTC', 'TIFF tag 40000']


def test_private_tags_are_named_and_of_many_the_first():
    known = (0x83BB, 0x8649, 0x8773, 0x8769, 0x8825, 0x8298)
    assert private_tags(dict.fromkeys((*known, 254, 32767))) == []
    assert private_tags({32768: 0}) == ['TIFF tag 32768']
    assert private_tags({50001: 0, 50000: 0, 270: 0}) == ['TIFF tags 50000, 50001']
    five = dict.fromkeys(range(50004, 49999, -1))
    assert private_tags(five) == ['TIFF tags 50000, 50001, 50002, 50003, 50004']
    assert private_tags(five | {50005: 0}) == ['TIFF tags 50000, 50001, 50002, 50003, 50004, ...']


@pytest.mark.parametrize(
    ('found', 'orientation'), [(None, 1), (1, 1), (8, 8), (0, 1), (9, 1), ('6', 1), (6, 6)]
)
def test_an_orientation_is_from_1_to_8(found, orientation):
    assert orientation_of(opened(block={} if found is None else {0x0112: found})) == orientation


def test_xmp_is_taken_out_of_an_image():
    for info, expected in (
        ({}, None),
        ({'xmp': b'a'}, b'a'),
        ({'xmp': b''}, None),
        ({'XML:com.adobe.xmp': 'b\u00e4'}, b'b\xc3\xa4'),
        ({'XML:com.adobe.xmp': {}}, None),
        ({'xmp': b'a', 'XML:com.adobe.xmp': 'b'}, b'a'),
        ({'xmp': b'', 'XML:com.adobe.xmp': 'b'}, None),
    ):
        image = opened(**info)
        assert take_xmp(image) == expected and image.info == {}


def test_a_resolution_that_is_stored_and_can_be():
    assert dpi_of(opened(dpi=(300, 72.5))) == (300.0, 72.5)
    for dpi in (None, (), (300,), (0, 300), (300, -1), (300, 1e6), (float('nan'), 1), (1, 2, 3)):
        assert dpi_of(opened(dpi=dpi)) is None
    assert dpi_of(opened(dpi=(0.5, 999999))) == (0.5, 999999)
    for kind in ('JPEG', 'MPO', 'TIFF'):
        assert dpi_of(opened(kind, dpi=(72, 72))) is None, "Pillow's own"
        assert dpi_of(opened(kind, dpi=(72, 72), jfif_unit=0)) is None
        assert dpi_of(opened(kind, dpi=(72, 72), jfif_unit=1)) == (72, 72)
        assert dpi_of(opened(kind, block={0x011A: 72.0}, dpi=(72, 72))) == (72, 72)


def test_exif_of_each_format():
    assert exif_of(opened(block={0x010F: 'ignored'})) is None
    assert exif_of(opened(exif=b'block')) == b'block'
    raw = {'Raw profile type exif': '\nexif\n      4\n4d4d\n002a\n'}
    assert exif_of(opened(**raw)) == b'MM\0*'
    assert exif_of(opened(**raw, exif=b'block')) == b'block'
    block = exif_of(opened('TIFF', {0x010F: 'maker', 0x0112: 6, 256: 7}))
    again = Image.Exif()
    again.load(block)
    assert dict(again) == {0x010F: 'maker'}
    assert exif_of(opened('TIFF', {256: 7})) is None


def test_descriptions_and_directories_are_taken_over():
    block = Image.Exif()
    described = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
    for tag in (*described, 0x9C9B):
        block[tag] = 'text'
    block[0x0112] = 6
    block.get_ifd(0x8769)[0x9003] = 'date'
    found = exif_tags(block.tobytes())
    assert set(found) == {*described, 0x8769} and found[0x8769] == {0x9003: 'date'}
    assert exif_tags(None) == exif_tags(b'') == {}
    assert described_exif(Image.Exif()) is None


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('mark', [b'', b'Exif\0\0'])
@pytest.mark.parametrize(
    ('kind', 'code'), [(1, 'B'), (3, 'H'), (4, 'I'), (6, 'b'), (8, 'h'), (9, 'i')]
)
def test_the_orientation_alone_becomes_1(order, mark, kind, code):
    def block(value: int, tag: int = 0x0112, kind: int = kind) -> bytes:
        start = (b'II' if order == '<' else b'MM') + struct.pack(order + 'HI', 42, 10) + b'??'
        entries = struct.pack(order + 'HHII', 0x0111, 4, 1, 6)
        entries += struct.pack(order + 'HHI', tag, kind, 1)
        entries += struct.pack(order + code, value).ljust(4, b'\0')
        return mark + start + struct.pack(order + 'H', 2) + entries + b'rest'

    assert upright_exif(block(6)) == block(1)
    assert upright_exif(block(6, tag=0x0113)) == block(6, tag=0x0113)
    assert upright_exif(block(6, kind=2)) == block(6, kind=2), 'a text'
    whole = block(6)[: -len(b'rest')]
    assert upright_exif(whole) is not None
    for length in range(len(mark), len(whole)):
        cut = upright_exif(whole[:length])
        # the last bytes are of the value, which the first bytes of hold already
        assert cut is None or length >= len(whole) - 4


def test_what_is_no_exif_is_left_out():
    for block in (None, b'', b'II*', b'text', b'Exif\0\0', b'Exif\0\0II\0*'):
        assert upright_exif(block) is None


def test_xmp_says_upright_in_both_ways_to_write_it():
    for text in (b'tiff:Orientation="%d"', b"tiff:Orientation = '%d'", b'<tiff:Orientation> %d<'):
        for value in range(1, 9):
            assert upright_xmp(b'<a ' + text % value) == b'<a ' + text % 1
        assert upright_xmp(text % 9) == text % 9
    assert upright_xmp(None) is None and upright_xmp(b'') == b''
