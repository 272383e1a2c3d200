"""Verification with another library finds whatever a writer, or a reader of the source, did wrong."""

import io
import shutil
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from picture_writers import exif_of, saved, tiff
from PIL import Image, ImageCms

from hmaca_arch.files import images, on_disk, opening, verifying
from hmaca_arch.files import pixels as reading
from hmaca_arch.files.image_files import encode, read_image, write_image
from hmaca_arch.files.images import StoredImage
from hmaca_arch.files.verifying import see, verify, with_channels

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">a title</x:xmpmeta>'
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (23, 31, 4), dtype=np.uint8)
MASK = np.zeros((23, 31), np.uint8)
MASK[3:9, 3:9] = 1


def restored(pixels: np.ndarray) -> np.ndarray:
    """Change some pixels inside the mask."""
    result = pixels.copy()
    result[4:6, 4:6] = (
        np.array(1, pixels.dtype) - result[4:6, 4:6]
        if pixels.dtype.kind == 'f'
        else (np.iinfo(pixels.dtype).max - result[4:6, 4:6])
    )
    return result


@pytest.mark.parametrize('ending', ['.png', '.tif', '.webp'])
def test_every_kind_of_change_is_found(tmp_path, ending):
    source, path = tmp_path / 'in.png', tmp_path / f'out{ending}'
    exif = exif_of(1)
    exif[0x010F] = 'A maker'
    source.write_bytes(saved(PIXELS, exif=exif, icc_profile=ICC))
    before = read_image(source)._replace(xmp=XMP, dpi=None)
    intended = restored(PIXELS)

    def written(pixels: np.ndarray, **changes) -> None:
        write_image(path, before._replace(pixels=pixels, **changes))

    written(intended)
    assert verify(path, source, before, intended, MASK) == []
    outside, inside = intended.copy(), intended.copy()
    outside[20, 20, 3] ^= 1  # one bit of alpha
    inside[5, 5, 0] ^= 1
    for pixels, changes, message in (
        (outside, {}, 'outside the mask differ from the input by up to 1'),
        (inside, {}, 'restored pixels are not what was written'),
        (intended[..., :3], {}, 'outside the mask differ'),
        (intended[:-1], {}, r'read \(22, 31, 4\) uint8, expected'),
        (intended, {'icc': None}, 'not the ICC profile of the input'),
        (intended, {'icc': ICC[:-1] + b'x'}, 'not the ICC profile of the input'),
        (intended, {'exif': None}, 'not the EXIF'),
        (intended, {'xmp': None}, 'not the XMP'),
        (intended, {'exif': exif_of(6).tobytes()}, 'viewers would turn it'),
    ):
        if 'turn it' in message and ending == '.tif':
            continue  # what is written there has no orientation
        written(pixels, **changes)
        with pytest.raises(ValueError, match=rf'out\{ending}: not verified: .*{message}'):
            verify(path, source, before, intended, MASK)


def test_a_lost_resolution_is_found(tmp_path):
    source, path = tmp_path / 'in.png', tmp_path / 'out.png'
    source.write_bytes(saved(PIXELS, dpi=(300, 300)))
    before = read_image(source)
    write_image(path, before)
    assert verify(path, source, before, PIXELS, MASK) == []
    write_image(path, before._replace(dpi=None))
    with pytest.raises(ValueError, match='not the dpi of the input'):
        verify(path, source, before, PIXELS, MASK)


def test_a_source_that_was_read_wrong_is_found(tmp_path, monkeypatch):
    """The written file is as intended, but what was read was not what the source holds."""
    deep = RNG.integers(0, 65536, (23, 31, 4), np.uint16)
    deep[..., :3] = deep[..., :3] * (deep[..., 3:] / 65535.0)  # associated
    source, path = tmp_path / 'in.tif', tmp_path / 'out.png'
    source.write_bytes(tiff(deep, 2, more={338: 1}))

    def run() -> list[str]:
        before = read_image(source)
        intended = restored(before.pixels)
        write_image(path, before._replace(pixels=intended))
        return verify(path, source, before, intended, MASK)

    assert run() == []
    monkeypatch.setattr(reading, 'with_alpha_alone', lambda as_stored, _: as_stored)
    with pytest.raises(ValueError, match=r'tifffile sees other pixels in in\.tif'):
        run()


def test_a_lost_transparent_colour_is_found(tmp_path, monkeypatch):
    gray = RNG.integers(0, 9, (23, 31), np.uint16)
    source, path = tmp_path / 'in.png', tmp_path / 'out.png'
    source.write_bytes(saved(Image.fromarray(gray), transparency=3))
    before = read_image(source)
    assert before.pixels.shape[2] == 2 and (before.pixels[..., 1] == 65535 * (gray != 3)).all()
    intended = restored(before.pixels)
    write_image(path, before._replace(pixels=intended))
    assert verify(path, source, before, intended, MASK) == []
    monkeypatch.setattr(reading, 'with_alpha_of', lambda as_stored, _: as_stored)
    before = read_image(source)
    intended = restored(before.pixels)
    write_image(path, before._replace(pixels=intended))
    with pytest.raises(ValueError, match=r'OpenCV sees \(23, 31, 2\) in in\.png'):
        verify(path, source, before, intended, MASK)


def test_a_number_that_is_none_any_more_is_found(tmp_path):
    pixels = RNG.random((23, 31, 3), np.float32)
    source, path = tmp_path / 'in.tif', tmp_path / 'out.tif'
    before = StoredImage(pixels, None, None, [], format='TIFF')
    write_image(source, before)
    changed = pixels.copy()
    changed[20, 20, 1] = np.nan
    write_image(path, before._replace(pixels=changed))
    for intended in (pixels, changed):
        with pytest.raises(
            ValueError, match=r'outside the mask differ.* by up to inf|by up to inf outside'
        ):
            verify(path, source, before, intended, MASK)


def test_an_orientation_that_was_not_undone_is_found(tmp_path, monkeypatch):
    source, path = tmp_path / 'in.jpg', tmp_path / 'out.png'
    smooth = cv2.resize(PIXELS[:4, :5, :3], (31, 23), interpolation=cv2.INTER_CUBIC)
    source.write_bytes(saved(smooth, 'JPEG', exif=exif_of(3)))
    before = read_image(source)
    write_image(path, before)
    assert verify(path, source, before, before.pixels, MASK) == []
    monkeypatch.setitem(images.UPRIGHT, 3, lambda as_stored: as_stored)
    before = read_image(source)
    monkeypatch.undo()
    write_image(path, before)
    with pytest.raises(ValueError, match='OpenCV sees other pixels'):
        verify(path, source, before, before.pixels, MASK)


def test_the_readers_are_not_the_writers(tmp_path):
    libraries = {}
    for ending in ('.png', '.tif', '.webp', '.bmp', '.jpg'):
        data = encode(ending, StoredImage(PIXELS[..., :3], None, None, []))
        libraries[ending] = see(data).library
    assert libraries.pop('.tif') == 'tifffile' and set(libraries.values()) == {'OpenCV'}


def test_what_no_other_library_reads_is_said(tmp_path, monkeypatch):
    source, path = tmp_path / 'in.png', tmp_path / 'out.png'
    source.write_bytes(saved(PIXELS))
    before = read_image(source)
    shutil.copy(source, path)
    monkeypatch.setattr(verifying, 'see', lambda *_: None)
    assert verify(path, source, before, PIXELS, MASK) == [
        'out.png was read back by the library that wrote it; no other here reads it',
        'the input was read by one library alone; no other here reads it',
    ]
    with pytest.raises(
        ValueError, match=r'out\.png: not verified: Pillow read \(23, 31, 4\) uint8'
    ):
        verify(path, source, before, PIXELS[1:], MASK[1:])


def test_lossy_files_do_not_verify(tmp_path):
    source, path = tmp_path / 'in.png', tmp_path / 'out.jpg'
    source.write_bytes(saved(PIXELS[..., :3]))
    before = read_image(source)
    write_image(path, before)
    with pytest.raises(ValueError, match='outside the mask differ from the input by up to'):
        verify(path, source, before, before.pixels, MASK)


def test_large_images_are_compared_strip_by_strip(tmp_path):
    """A change in the last row of many is found."""
    tall = RNG.integers(0, 256, (1500, 3, 3), dtype=np.uint8)
    source, path = tmp_path / 'in.png', tmp_path / 'out.png'
    source.write_bytes(saved(tall))
    before, mask = read_image(source), np.zeros((1500, 3), np.uint8)
    changed = tall.copy()
    changed[-1, -1, -1] ^= 4
    write_image(path, before._replace(pixels=changed))
    with pytest.raises(ValueError, match='by up to'):
        verify(path, source, before, tall, mask)
    with pytest.raises(ValueError, match='OpenCV sees other pixels'):
        verify(path, source, before, changed, mask)


@pytest.mark.parametrize('rows', [1, 2, 4, 256])
@pytest.mark.parametrize('folder', ['.', 'missing'])
def test_large_pixels_wait_on_disk(tmp_path, monkeypatch, rows, folder):
    """They are the same in any rows; without a place on disk they stay in memory."""
    assert on_disk.set_aside(PIXELS, tmp_path) is PIXELS
    monkeypatch.setattr(on_disk, 'ROWS', rows)
    monkeypatch.setattr(on_disk, 'LARGE', PIXELS.nbytes - 1)
    kept = on_disk.set_aside(PIXELS[:, ::-1], tmp_path / folder)
    assert isinstance(kept, on_disk.OnDisk) == (folder == '.')
    assert len(kept) == 23 and kept.shape == PIXELS.shape and kept.dtype == np.uint8
    for part in (slice(0, 23), slice(5, 9), slice(20, 999), slice(3, 3), slice(22, 23)):
        assert np.array_equal(kept[part], PIXELS[:, ::-1][part])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('depth', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_large_files_are_decoded_in_place(tmp_path, monkeypatch, depth, channels):
    """What OpenCV reads of a file is what it reads of its bytes; every change is found."""
    pixels = RNG.integers(0, np.iinfo(depth).max, (9, 7, channels), depth)
    source, path = tmp_path / 'in.png', tmp_path / 'out.png'
    write_image(source, StoredImage(pixels, None, None, []))
    before, data = read_image(source), source.read_bytes()
    plain = see(data).pixels
    mask = MASK[:9, :7]
    meant = restored(pixels)
    for module in (verifying, on_disk):
        monkeypatch.setattr(module, 'LARGE', 1)
    monkeypatch.setattr(verifying.cv2, 'imdecode', None)
    assert np.array_equal(see(data, source).pixels, plain)
    kept = on_disk.set_aside(meant, tmp_path)
    write_image(path, before._replace(pixels=meant))
    assert verify(path, source, before, kept, mask) == []
    for place, message in (((8, 1), 'by up to'), ((4, 4), 'restored pixels are not')):
        other = meant.copy()
        other[(*place, -1)] ^= 1
        write_image(path, before._replace(pixels=other))
        with pytest.raises(ValueError, match=message):
            verify(path, source, before, kept, mask)
    for row in (0, 8):
        other = pixels.copy()
        other[row, 1, 0] ^= 1
        write_image(path, before._replace(pixels=meant))
        write_image(source, before._replace(pixels=other))
        with pytest.raises(ValueError, match='OpenCV sees other pixels'):
            verify(path, source, before, kept, mask)


def test_an_old_opencv_decodes_large_files_too(tmp_path, monkeypatch):
    def refuse(*_) -> None:
        raise TypeError

    write_image(tmp_path / 'a.png', StoredImage(PIXELS, None, None, []))
    monkeypatch.setattr(verifying, 'LARGE', 1)
    monkeypatch.setattr(verifying.cv2, 'imread', refuse)
    data = (tmp_path / 'a.png').read_bytes()
    assert np.array_equal(see(data, tmp_path / 'a.png').pixels, PIXELS)


def test_what_opencv_reads_of_each_kind_is_what_we_read(tmp_path):
    gray, palette = Image.fromarray(PIXELS[..., 0]), Image.fromarray(PIXELS[..., :3]).quantize(16)
    kinds = {
        'gray.png': saved(gray),
        'palette.png': saved(palette),
        'transparent palette.png': saved(palette, transparency=2),
        'gray with colour.png': saved(gray, transparency=7),
        'gray and alpha.png': saved(Image.fromarray(PIXELS[..., [0, 3]])),
        'bits.png': saved(gray.convert('1')),
        'a.webp': saved(PIXELS, 'WEBP', lossless=True, exact=True),
        'a.bmp': saved(PIXELS[..., :3], 'BMP'),
        'a.gif': saved(palette, 'GIF'),
        'a.tif': saved(PIXELS, 'TIFF'),
        'lzw.tif': saved(PIXELS, 'TIFF', compression='tiff_lzw'),
        'big endian.tif': tiff(PIXELS.astype(np.uint16) * 257, 2, order='>'),
    }
    for name, data in kinds.items():
        source, path = tmp_path / name, tmp_path / 'out.png'
        source.write_bytes(data)
        before = read_image(source)
        write_image(path, before)
        assert verify(path, source, before, before.pixels, MASK) in (
            [],
            ['the input was read by one library alone; no other here reads it'],
        ), name
        assert io.BytesIO(data) and Path(path).exists()


@pytest.mark.parametrize('damaged', [False, True])
def test_libpng_prints_nothing_about_a_profile(capfd, damaged):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, 'PNG', icc_profile=b'no profile' if damaged else ICC)
    data = bytearray(file.getvalue())
    if damaged:
        data[data.index(b'iCCP') + 8] ^= 1  # its checksum as well
    seen = see(bytes(data))
    np.testing.assert_array_equal(seen.pixels, PIXELS)
    assert seen.library == 'OpenCV' and capfd.readouterr().err == ''


def test_a_gif_whose_first_frame_is_smaller_than_its_screen_is_verified(tmp_path):
    """The background is the third colour, with which OpenCV fills what Pillow leaves black."""
    image = Image.fromarray(PIXELS[:8, :9, :3]).quantize(16)
    data = bytearray(saved(image, 'GIF', background=2, optimize=False))
    data[6:10] = struct.pack('<HH', 12, 10)
    source, path = tmp_path / 'a.gif', tmp_path / 'out.gif'
    source.write_bytes(data)
    before, mask = read_image(source), np.zeros((10, 12), np.uint8)
    write_image(path, before)
    notes = verify(path, source, before, before.pixels, mask)
    assert notes == ['the input was read by one library alone; no other here reads it']


def test_the_hidden_colour_of_a_gif_is_that_of_its_palette():
    """Seven transparent pixels hold the third colour of eight."""
    image = Image.fromarray(np.tile(np.arange(8, dtype=np.uint8), (3, 1)))
    colours = RNG.integers(0, 256, (8, 3), dtype=np.uint8)
    image.putpalette(colours.tobytes())
    data = saved(image, 'GIF', transparency=2, optimize=False)
    seen = see(data)
    assert seen.library == 'OpenCV' and seen.pixels.shape == (3, 8, 4)
    np.testing.assert_array_equal(seen.pixels[1, :, :3], colours)
    assert seen.pixels[1, :, 3].tolist() == [255, 255, 0, 255, 255, 255, 255, 255]


@pytest.mark.parametrize(
    ('flags', 'control', 'hidden'),
    [(0x80, True, 1), (0x81, True, 1), (0x87, True, 1), (0x01, True, 0), (0x80, False, 0)],
)
def test_a_hidden_colour_needs_a_palette_and_a_number(flags, control, hidden):
    """The palette begins at byte 13; its last colour but one is hidden."""
    size = 2 ** (1 + (flags & 7))
    colours = RNG.integers(1, 256, (size, 3), dtype=np.uint8)
    block = b'\x21\xf9\x04\1\0\0' + bytes([size - 2, 0])
    data = b'GIF89a....' + bytes([flags, 0, 0]) + colours.tobytes() + block * control
    pixels = np.full((1, 2, 4), 77, np.uint8)
    pixels[0, 1] = 0
    verifying._set_hidden_colour(pixels, data)
    expected = [*colours[size - 2].tolist(), 0] if hidden else [0] * 4
    assert pixels.tolist() == [[[77] * 4, expected]]


@pytest.mark.parametrize(('kind', 'peak'), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_pixels_with_another_number_of_channels_hold_the_same_or_are_none(kind, peak):
    gray = (RNG.integers(0, 256, (2, 3, 1)) / 255 * peak).astype(kind)
    full, half = np.full_like(gray, peak), np.full_like(gray, peak)
    half[1, 2] = 0
    colour = np.repeat(gray, 3, axis=2)
    same = {1: gray, 2: np.dstack([gray, full]), 3: colour, 4: np.dstack([colour, full])}
    for channels in same:
        for other, expected in same.items():
            found = with_channels(same[channels], other)
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == kind
    for clear in (np.dstack([gray, half]), np.dstack([colour, half])):
        assert with_channels(clear, 1) is None and with_channels(clear, 3) is None
        np.testing.assert_array_equal(with_channels(clear, 2), np.dstack([gray, half]))
        np.testing.assert_array_equal(with_channels(clear, 4), np.dstack([colour, half]))
    for channel in range(3):
        tinted = colour.copy()
        tinted[0, 1, channel] = peak - tinted[0, 1, channel]
        assert with_channels(tinted, 1) is None and with_channels(tinted, 2) is None
        assert with_channels(np.dstack([tinted, full]), 1) is None
        np.testing.assert_array_equal(with_channels(tinted, 3), tinted)


def test_a_hidden_colour_is_looked_for_behind_the_palette():
    """The palette holds the bytes that the block of the number begins with."""
    mark = b'\x21\xf9\x04'
    colours = mark + bytes([1, 0, 0]) + bytes(range(60, 78))
    data = b'GIF89a....' + bytes([0x82, 0, 0]) + colours + mark + b'\1\0\0\5\0'
    pixels = np.zeros((1, 1, 4), np.uint8)
    verifying._set_hidden_colour(pixels, data)
    assert pixels.tolist() == [[[*colours[15:18], 0]]]
    assert list(colours[15:18]) == [69, 70, 71]


@pytest.mark.parametrize('rows', [1, 2, 3, 4])
@pytest.mark.parametrize('associated', [False, True])
def test_the_source_is_compared_rows_by_rows(tmp_path, monkeypatch, rows, associated):
    """A change in any row but the masked one is found; of associated alpha 1 may be rounded."""
    monkeypatch.setattr(on_disk, 'ROWS', rows)
    pixels = np.full((3, 2, 4), 100, np.uint8)
    pixels[..., 3] = 51
    stored = pixels.copy()
    stored[..., :3] = 20 if associated else 100
    source = tmp_path / 'in.png'
    source.write_bytes(b'')
    before, mask = StoredImage(pixels, None, None, [], mode='RGBA', format='PNG'), np.zeros((3, 2))
    mask[1] = 1

    def compared(place, value) -> str:
        changed = stored.copy()
        changed[place] = value
        monkeypatch.setattr(verifying, 'see', lambda *_: verifying.Seen(changed, 'it', associated))
        try:
            verifying._verify_against_source(Path('o'), source, before, pixels, mask)
        except ValueError as error:
            return str(error)
        return ''

    colour = int(stored[0, 0, 0])
    assert compared((0, 0, 0), colour) == compared((1, 1, 1), 255) == ''
    for row in (0, 2):
        said = 'o: not verified: it sees other pixels in in.png, by up to {} outside the mask'
        assert compared((row, 1, 2), colour + 9) == said.format(9)
        assert compared((row, 0, 3), 53) == said.format(2)
        assert compared((row, 0, 0), colour + 1) == ('' if associated else said.format(1))


@pytest.mark.parametrize(('kind', 'allowed'), [('JPEG', 3), ('MPO', 3), ('WEBP', 3), ('PNG', 0)])
def test_how_far_decoders_may_be_apart(tmp_path, monkeypatch, kind, allowed):
    pixels, mask = np.full((2, 2, 3), 100, np.uint8), np.zeros((2, 2))
    (tmp_path / 'a').write_bytes(b'')
    before = StoredImage(pixels, None, None, [], mode='RGB', format=kind)
    for apart in (0, allowed, allowed + 1):
        seen = verifying.Seen(pixels + np.uint8(apart), 'it')
        monkeypatch.setattr(verifying, 'see', lambda *_, seen=seen: seen)
        arguments = Path('o'), tmp_path / 'a', before, pixels, mask
        if apart <= allowed:
            assert verifying._verify_against_source(*arguments) == []
        else:
            with pytest.raises(ValueError, match=f'by up to {apart} outside'):
                verifying._verify_against_source(*arguments)
    alone = ['the input was read by one library alone; no other here reads it']
    deep = verifying.Seen(pixels.astype(np.uint16), 'it')
    monkeypatch.setattr(verifying, 'see', lambda *_: deep)
    assert verifying._verify_against_source(*arguments) == alone
    for mode in ('CMYK', 'LAB', 'YCbCr'):
        converted = (*arguments[:2], before._replace(mode=mode), *arguments[3:])
        assert verifying._verify_against_source(*converted) == alone


def test_colours_are_multiplied_by_alpha_as_they_are_stored():
    multiplied = verifying._multiplied
    given = np.array([[[255, 100, 128], [7, 0, 0]]], np.uint8)
    assert multiplied(given).tolist() == [[[128, 50, 128], [0, 0, 0]]]
    assert multiplied(given[..., 1:]).tolist() == [[[50, 128], [0, 0]]]
    deep = np.array([[[65535, 32768]]], np.uint16)
    assert multiplied(deep).tolist() == [[[32768, 32768]]] and multiplied(deep).dtype == np.uint16
    part = np.array([[[0.5, 0.25]]], np.float32)
    assert multiplied(part).tolist() == [[[0.125, 0.25]]] and multiplied(part).dtype == np.float32


def test_verifying_sets_no_limit_of_pixels(tmp_path, monkeypatch):
    """They were read already."""
    most = []
    for module in (opening, images):
        monkeypatch.setattr(module, 'check_pixels', lambda *given: most.append(given[2]))
    for name, kind in (('a.png', np.uint8), ('a.tif', np.float32), ('a.webp', np.uint8)):
        write_image(tmp_path / name, StoredImage(PIXELS[..., :3].astype(kind), None, None, []))
        verifying._metadata((tmp_path / name).read_bytes(), name)
        if kind == np.uint8:
            verifying.pillow_reads((tmp_path / name).read_bytes(), tmp_path / name)
    assert most and set(most) == {opening.UNLIMITED}


@pytest.mark.parametrize('rows', [1, 2, 3, 256])
@pytest.mark.parametrize('kind', [np.uint8, np.float32])
def test_pixels_are_equal_in_every_row(monkeypatch, rows, kind):
    monkeypatch.setattr(on_disk, 'ROWS', rows)
    pixels = RNG.integers(0, 9, (5, 3, 2)).astype(kind)
    if kind is np.float32:
        pixels[1, 1, 1] = np.nan
    assert verifying._equal(pixels, pixels.copy())
    for row in range(5):
        other = pixels.copy()
        other[row, 2, 0] += 1
        assert not verifying._equal(pixels, other)
