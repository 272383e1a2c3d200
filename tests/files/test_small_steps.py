"""Small steps of reading and writing files: outputs, brands, digests, strips of bytes."""

import hashlib
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hmaca_arch.files import atomic, images, opening, outputs
from hmaca_arch.files.jpeg_coefficients import Coefficients, digest, digest_of
from hmaca_arch.files.opening import check_pixels, open_image
from hmaca_arch.files.outputs import output_folder
from hmaca_arch.files.reading import list_images


def test_folders_for_results(tmp_path, monkeypatch):
    output_folder(tmp_path / 'a' / 'b')
    output_folder(tmp_path / 'a' / 'b')
    assert (tmp_path / 'a' / 'b').is_dir() and os.listdir(tmp_path / 'a' / 'b') == []
    file = tmp_path / 'file'
    file.write_bytes(b'')
    words = 'cannot be written to (File exists); expected a folder, or the name of a new one'
    for options, option in (((), '--output'), (('--log',), '--log')):
        with pytest.raises(ValueError) as caught:
            output_folder(file, *options)
        assert str(caught.value) == f'{option}: {file} {words}'
    tried = []

    def refuse(dir):
        tried.append(dir)
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(outputs.tempfile, 'TemporaryFile', refuse)
    with pytest.raises(ValueError, match=r'cannot be written to \(Permission denied\); expected'):
        output_folder(tmp_path)
    assert tried == [tmp_path]


@pytest.mark.parametrize(('width', 'height', 'most'), [(3, 4, 12), (3, 4, 11), (1, 1, 0)])
def test_as_many_pixels_as_allowed(width, height, most):
    if width * height <= most:
        return check_pixels(width, height, most)
    with pytest.raises(ValueError) as caught:
        check_pixels(width, height, most)
    assert str(caught.value) == (
        f'{width}x{height} pixels are more than {most}; basicsr restore --max-pixels allows more'
    )
    return None


def test_pillows_limit_comes_back_after_the_last_of_several(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 77)
    with opening._without_pillows_limit():
        assert Image.MAX_IMAGE_PIXELS is None
        inside = []

        def another():
            with opening._without_pillows_limit():
                inside.append(Image.MAX_IMAGE_PIXELS)

        thread = threading.Thread(target=another)
        thread.start()
        thread.join()
        assert inside == [None] and Image.MAX_IMAGE_PIXELS is None
    assert Image.MAX_IMAGE_PIXELS == 77
    with pytest.raises(KeyError), opening._without_pillows_limit():
        raise KeyError
    assert Image.MAX_IMAGE_PIXELS == 77


@pytest.mark.parametrize(
    ('data', 'formats'),
    [
        *((b'\0\0\0\x18ftyp' + brand, ('AVIF',)) for brand in opening.AVIF_BRANDS),
        *((b'\0\0\0\x18ftyp' + brand, ('HEIF',)) for brand in opening.HEIC_BRANDS),
        (b'\0\0\0\x18ftypisom', ()),
        (b'\0\0\0\x18ftypavi', ()),
        (b'\0\0\0\x18FTYPavif', ()),
        (b'\0\0\0\x18ftyp\0avif', ()),
        (b'', ()),
    ],
)
def test_formats_with_loss_by_their_brands(monkeypatch, data, formats):
    checked = []
    monkeypatch.setattr(opening.features, 'check', lambda name: checked.append(name) or True)
    monkeypatch.setattr(opening, 'need_heic', lambda: checked.append('heic'))
    assert opening._formats_with_loss(data) == formats
    assert checked == [{'AVIF': 'avif', 'HEIF': 'heic'}[one] for one in formats]


@pytest.mark.filterwarnings('ignore:Corrupt EXIF data:UserWarning')
def test_why_a_tiff_or_a_jpeg_is_not_known():
    for data, message in (
        (b'II*\0', 'it is damaged, or a kind of TIFF that is not supported; convert it to PNG'),
        (b'MM\0*' + bytes(40), 'it is damaged, or a kind of TIFF that is not supported; convert'),
        (
            b'\xff\xd8\xff\xc0\0\x08\x09\0\1\0\1\0',
            'it is a JPEG of 9 bits, which is not read here; convert it to PNG or TIFF first',
        ),
        (b'\xff\xd8\xff\xc0\0\x08\x08\0\1\0\1\0', 'its content is none of PNG, JPEG, WEBP, BMP, '),
    ):
        with pytest.raises(ValueError) as caught:
            open_image(data, 'a')
        assert str(caught.value).startswith(message)


def test_digests_of_what_lies_outside_of_areas():
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    area = np.array([[True, False, False], [False, False, True]])
    made = hashlib.sha256(b'(2, 3, 4)' + array[0, 1:].tobytes() + array[1, :2].tobytes())
    assert digest([array], [area]) == made.digest()
    assert digest([array], [area[:1]]) == hashlib.sha256(b'(2, 3, 4)').digest()
    both = digest([array, array], [area, area])
    assert both != made.digest() and both == digest([array, array.copy()], [area, area])
    other = array.copy()
    other[0, 0] = other[1, 2] = -1
    assert digest([other], [area]) == made.digest()
    other[1, 1, 3] += 1
    assert digest([other], [area]) != made.digest()


def test_digests_of_coefficients_and_tables():
    def coefficients() -> Coefficients:
        blocks = [np.arange(128, dtype=np.int16).reshape(1, 2, 8, 8) for _ in range(2)]
        return Coefficients(blocks, [np.arange(64).reshape(8, 8) for _ in range(2)], None)

    plain, none = digest_of(coefficients()), [np.zeros((1, 2), bool)] * 2
    assert digest_of(coefficients(), none) == plain
    for channel, column in ((0, 0), (0, 1), (1, 1)):
        changed, area = coefficients(), [one.copy() for one in none]
        changed.channels[channel][0, column, 3, 4] += 1
        assert digest_of(changed) != plain
        area[channel][0, column] = True
        assert digest_of(changed, area) == digest_of(coefficients(), area) != plain
    for number in (0, 1):
        changed = coefficients()
        changed.tables[number][7, 7] += 1
        assert digest_of(changed) != plain
        assert digest_of(changed, [~one for one in none]) != digest_of(
            coefficients(), [~one for one in none]
        )


def test_waits_between_tries_are_those_of_the_table(monkeypatch):
    waited, tries = [], []

    def call(*arguments):
        tries.append(arguments)
        raise PermissionError(13, 'in use')

    monkeypatch.setattr(atomic.time, 'sleep', waited.append)
    with pytest.raises(PermissionError):
        atomic._patiently(call, 'a', 'b')
    assert tuple(waited) == atomic.WAITS and tries == [('a', 'b')] * (len(atomic.WAITS) + 1)
    assert atomic._patiently(lambda one: one + 1, 4) == 5


def test_where_a_file_stands():
    class File:
        def __init__(self, found):
            self.found = found

        def tell(self):
            if isinstance(self.found, Exception):
                raise self.found
            return self.found

    for found, expected in ((7, 7), (OSError(5, 'x'), 0), (ValueError('closed'), 0)):
        assert atomic._position(File(found)) == expected


def test_logs_grow_and_a_full_disk_is_told_with_the_bytes(tmp_path, monkeypatch):
    path = tmp_path / 'a.log'
    atomic.append(path, 'a\n')
    atomic.append(path, 'ü\n')
    assert path.read_bytes() == b'a\n\xc3\xbc\n'

    def full(*_):
        raise OSError(28, 'No space left', str(path))

    monkeypatch.setattr(atomic, 'open', full, raising=False)
    with pytest.raises(OSError) as caught:
        atomic.append(path, 'ü' * 600)
    assert caught.value.strerror.startswith('No space left (1,200 bytes to write, ')
    assert caught.value.filename == str(path) and caught.value.errno == 28


def test_images_that_opencv_can_write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'folder.png').mkdir()
    for path in (tmp_path / 'a.png', Path('a.png'), Path('folder.png', 'a.jpg')):
        outputs.output_image(path)
    for name in ('a.xyz', 'a', 'folder.png', 'none/a.png'):
        with pytest.raises(ValueError) as caught:
            outputs.output_image(Path(name))
        assert str(caught.value) == (
            f'--output: {name} cannot be written; expected the name of an image, as a.png, in a '
            'folder that exists'
        )


def test_images_of_a_folder_by_their_stems(tmp_path):
    names = ('b.PNG', 'a.b.jpg', 'a.webp', '.hidden.png', 'c.txt', 'd.tiff', 'e.gif', 'f.bmp', 'g')
    for name in names:
        (tmp_path / name).write_bytes(b'')
    expected = {'a': 'a.webp', 'a.b': 'a.b.jpg', 'b': 'b.PNG', 'd': 'd.tiff', 'e': 'e.gif'}
    expected = {stem: str(tmp_path / name) for stem, name in expected.items()}
    expected['f'] = str(tmp_path / 'f.bmp')
    assert list(list_images(tmp_path).items()) == list(expected.items())
    (tmp_path / 'a.b.bmp').write_bytes(b'')
    with pytest.raises(ValueError) as caught:
        list_images(str(tmp_path))
    assert str(caught.value) == (
        f'{tmp_path / "a.b.bmp"} and {tmp_path / "a.b.jpg"} have the same name but for the '
        'ending; rename one of them'
    )
    (tmp_path / 'none').mkdir()
    with pytest.raises(ValueError) as caught:
        list_images(tmp_path / 'none')
    assert str(caught.value).startswith(f'{tmp_path / "none"} holds no images (.png, .jpg, ')


@pytest.mark.parametrize(
    ('error', 'reason'),
    [
        (ValueError('why'), 'why'),
        (OSError('decoder error -2'), 'it is damaged'),
        (OSError('an encoder error'), 'an encoder error'),
        (MemoryError(), 'it is damaged, or too large for the memory'),
        (KeyError(), 'it is damaged'),
    ],
)
def test_whatever_a_decoder_raises_is_one_line(monkeypatch, error, reason):
    def fail(*given):
        assert given == (b'data', 'a', True, 7)
        raise error

    monkeypatch.setattr(images, '_decode', fail)
    with pytest.raises(ValueError) as caught:
        images.decode(b'data', 'a', True, 7)
    assert str(caught.value) == f'a: cannot be read as an image: {reason}'


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
@pytest.mark.parametrize('shape', [(2, 5), (2, 3), (2, 5, 1), (2, 5, 3), (3, 3, 1)])
def test_pixels_of_any_shape_are_encoded(monkeypatch, kind, shape):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(kind).max + 1, shape, kind)
    found = images.decode(images.encode_png(np.asfortranarray(pixels)), 'a').pixels
    np.testing.assert_array_equal(found, pixels.reshape(*shape[:2], -1))
    assert found.dtype == kind
    monkeypatch.setattr(images.cv2, 'imencode', lambda *_: (False, None))
    with pytest.raises(ValueError) as caught:
        images.encode_png(pixels)
    shape = pixels.shape
    assert str(caught.value) == f'cannot encode {pixels.dtype} pixels of shape {shape} as PNG'


def test_heic_needs_its_package(monkeypatch):
    asked, opened = [], []
    stand_in = SimpleNamespace(register_heif_opener=lambda: opened.append(1))
    monkeypatch.setitem(sys.modules, 'pillow_heif', stand_in)
    for there in (True, False):
        monkeypatch.setattr(
            opening.importlib.util,
            'find_spec',
            lambda name, there=there: asked.append(name) or there or None,
        )
        monkeypatch.setattr(
            opening.features, 'check', lambda name, there=there: name == 'avif' and there
        )
        assert opening.readable()[len(opening.FORMATS) :] == ['AVIF', 'HEIC'] * there
        if there:
            opening.need_heic()
        else:
            with pytest.raises(ValueError, match='^HEIC needs pillow-heif: '):
                opening.need_heic()
    assert asked == ['pillow_heif'] * 4 and opened == [1]


@pytest.mark.parametrize('turn', range(10))
def test_a_rare_jpeg_is_turned_as_it_says(monkeypatch, turn):
    """Its pixels and what it says come from different readers."""
    pixels = np.arange(12, dtype=np.uint16).reshape(2, 2, 3) * 4097
    told = SimpleNamespace(orientation=turn, exif=None)
    told._replace = lambda pixels: pixels
    monkeypatch.setattr(images, 'rarity', lambda data: 'a JPEG of 12 bits')
    monkeypatch.setattr(images, 'decode_rare_jpeg', lambda *given: (pixels, given, ['note']))
    asked = []
    monkeypatch.setattr(images, '_decode_opened', lambda *given: asked.append(given) or told)
    found = images._decode(b'data', 'a', True, 7)
    expected = images.UPRIGHT[turn](pixels) if 2 <= turn <= 8 else pixels
    np.testing.assert_array_equal(found, expected)
    assert asked == [((b'data', 'a', 7), b'data', ['note'], True)]
    with pytest.raises(ValueError, match='^a JPEG of 12 bits; convert it to PNG first$'):
        images._decode(b'data', 'a', False, 7)
