"""A JPEG whose region is replaced: all other blocks, pixels and markers stay as they are."""

import io
import struct
from pathlib import Path
from typing import NamedTuple

import cv2
import hypothesis
import hypothesis.strategies as st
import jpeglib
import numpy as np
import pytest
from picture_writers import exif_of, saved
from PIL import Image, ImageCms

from hmaca_arch.files import jpeg_coefficients, jpeg_markers
from hmaca_arch.files.image_files import image_of
from hmaca_arch.files.jpeg_blocks import Changes, boxes_of, changes_of, replace_blocks
from hmaca_arch.files.jpeg_verifying import verify_blocks

RNG = np.random.default_rng(0)
PIXELS = cv2.resize(
    RNG.integers(0, 256, (14, 19, 3), np.uint8), (131, 101), interpolation=cv2.INTER_CUBIC
)
SAMPLING = {'411': 0x411111, '440': 0x121111, '420': 0x221111, '422': 0x211111, '444': 0x111111}


def by_opencv(pixels: np.ndarray, sampling: str, quality: int = 85) -> bytes:
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLING[sampling]]
    options += [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode('.jpg', pixels[..., ::-1], options)[1].tobytes()


def jpeg(pixels: np.ndarray = PIXELS, **options) -> bytes:
    return saved(np.ascontiguousarray(pixels), 'JPEG', **{'quality': 85, **options})


KINDS = {
    **{f'opencv {name}': by_opencv(PIXELS, name) for name in SAMPLING},
    **{f'pillow {name}': jpeg(subsampling=name) for name in ('4:4:4', '4:2:2', '4:2:0')},
    **{f'progressive {name}': jpeg(subsampling=name, progressive=True) for name in (0, 1, 2)},
    'gray': jpeg(PIXELS[..., 0]),
    'progressive gray': jpeg(PIXELS[..., 0], progressive=True),
    'RGB': jpeg(keep_rgb=True),
    'three tables': jpeg(qtables=[[5] * 64, list(range(1, 65)), [9] * 64]),
    'restart markers': jpeg(restart_marker_blocks=5),
    'low quality': jpeg(quality=10),
    'high quality': jpeg(quality=100, subsampling=0),
    **{f'orientation {turn}': jpeg(exif=exif_of(turn)) for turn in range(1, 9)},
}


def changed(pixels: np.ndarray, *areas: tuple[slice, slice]) -> np.ndarray:
    """Pixels whose areas are smoothed."""
    smooth, result = cv2.GaussianBlur(pixels, (0, 0), 4), pixels.copy()
    smooth = smooth.reshape(pixels.shape)
    for area in areas:
        result[area] = smooth[area] // 2 + 40
    return result


AREAS = ((slice(20, 45), slice(30, 60)), (slice(96, 200), slice(124, 200)), (slice(0, 1), slice(1)))


class Done(NamedTuple):
    """A file of which blocks were replaced, and which ones."""

    data: bytes
    changes: Changes


def put(data: bytes, before: np.ndarray, meant: np.ndarray, turn: int = 1) -> Done:
    rows, columns = np.nonzero((before != meant).any(axis=2))
    top, left = rows.min(initial=len(before) - 1), columns.min(initial=before.shape[1] - 1)
    patch = meant[top : rows.max(initial=0) + 1, left : columns.max(initial=0) + 1]
    changes = changes_of(data, before, patch, (top, left), turn)
    return Done(replace_blocks(data, changes), changes)


def replace(data: bytes, *areas: tuple[slice, slice]) -> tuple[Done, np.ndarray, np.ndarray]:
    """Returns what came, and the pixels before and meant."""
    image = image_of(data, 'a.jpg')
    meant = changed(image.pixels, *areas)
    return put(data, image.pixels, meant, image.orientation), image.pixels, meant


def coefficients(data: bytes, folder: Path) -> list[np.ndarray]:
    """By libjpeg 6b, which the writer does not use, with all markers of the file."""
    path = folder / 'coefficients.jpg'
    path.write_bytes(data)
    with jpeglib.version('6b'):
        found = jpeglib.read_dct(path)
        found.load()
    return [one for one in (found.Y, found.Cb, found.Cr) if one is not None]


def stored(upright: np.ndarray, turn: int) -> np.ndarray:
    """As in the file, by Pillow's definition of EXIF's orientations."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that undoes it
    if turn == 1:
        return upright
    image = Image.fromarray(upright.astype(np.uint8)).transpose(Image.Transpose(back[turn]))
    return np.asarray(image).astype(bool)


def touched(inside: np.ndarray, shape: tuple[int, int], scale: tuple[int, int]) -> np.ndarray:
    """(rows, columns): which blocks hold one of the pixels (h, w)."""
    result = np.zeros(shape, bool)
    for y, x in np.argwhere(inside):
        result[y // (8 * scale[0]), x // (8 * scale[1])] = True
    return result


def psnr(found: np.ndarray, meant: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(found.astype(float) - meant).mean())


@pytest.mark.parametrize('large', [False, True])
@pytest.mark.parametrize('kind', KINDS)
def test_all_blocks_that_do_not_touch_the_region_are_the_same_numbers(
    kind, large, tmp_path, monkeypatch
):
    """Of a large file too, whose channels are read and written one by one."""
    data = KINDS[kind]
    if large:
        at_once, _, _ = replace(data, *AREAS)
        monkeypatch.setattr(jpeg_coefficients, 'LARGE', 0)
    turn = int(kind[-1]) if 'orientation' in kind else 1
    done, before, meant = replace(data, *AREAS)
    assert not large or done.data == at_once.data
    old, new = coefficients(data, tmp_path), coefficients(done.data, tmp_path)
    inside = stored((before != meant).any(axis=2), turn)
    with Image.open(io.BytesIO(data)) as image, Image.open(io.BytesIO(done.data)) as result:
        layers = [(v, h) for _, h, v, _ in image.layer]
        assert [(v, h) for _, h, v, _ in result.layer] == layers
        assert [one[0] for one in result.layer] == [one[0] for one in image.layer]
        assert result.quantization == image.quantization and result.size == image.size
        assert result.info.get('progressive') == image.info.get('progressive')
        assert result.applist == image.applist
        decoded = np.asarray(image), np.asarray(result)
    most = np.max(layers, axis=0)
    for one, other, layer, replaced in zip(old, new, layers, done.changes.touched, strict=True):
        expected = touched(inside, one.shape[:2], tuple(most // layer))
        assert np.array_equal(replaced, expected)
        assert np.array_equal(one[~expected], other[~expected])
        assert (one[expected] != other[expected]).any()
    outside = ~stored(done.changes.may_change, turn)
    assert np.array_equal(decoded[0][outside], decoded[1][outside])
    seen = [cv2.imdecode(np.frombuffer(one, np.uint8), -1) for one in (data, done.data)]
    assert np.array_equal(seen[0][outside], seen[1][outside])


def encoded_again(kind: str, pixels: np.ndarray) -> bytes:
    """All of an image by Pillow or OpenCV, with the tables and sampling of a kind."""
    if kind.startswith('opencv'):
        return by_opencv(pixels, kind[-3:])
    with Image.open(io.BytesIO(KINDS[kind])) as image:
        tables, most = list(image.quantization.values()), image.layer[0][1:3]
    sampling = {(1, 1): 0, (2, 1): 1, (2, 2): 2}[most]
    gray = pixels.shape[2] == 1
    more = {'keep_rgb': True} if kind == 'RGB' else {'subsampling': sampling}
    return saved(pixels, 'JPEG', qtables=tables, **({} if gray else more))


@pytest.mark.parametrize(
    'kind', [one for one in KINDS if 'orientation' not in one and 'three' not in one]
)
def test_inside_it_is_as_good_as_what_encoders_write_with_the_same_tables(kind):
    done, before, meant = replace(KINDS[kind], (slice(16, 64), slice(32, 96)))
    inside = (before != meant).any(axis=2)
    found = image_of(done.data, 'b.jpg').pixels
    again = image_of(encoded_again(kind, meant), 'c.jpg').pixels
    assert psnr(found[inside], meant[inside]) > psnr(again[inside], meant[inside]) - 0.6


def test_the_region_lies_where_it_is_seen(tmp_path):
    """Of a file that is turned, the restored pixels come out where they were put."""
    for turn in range(1, 9):
        done, before, meant = replace(KINDS[f'orientation {turn}'], (slice(16, 64), slice(32, 80)))
        found = image_of(done.data, 'b.jpg').pixels
        inside = (before != meant).any(axis=2)
        assert psnr(found[inside], meant[inside]) > psnr(before[inside], meant[inside]) + 6
        assert not (
            done.changes.may_change & ~cv2.dilate(inside.view(np.uint8), np.ones((35, 35)))
        ).any()


def test_one_pixel_around_only_where_a_channel_is_subsampled():
    one = (slice(40, 41), slice(40, 41))  # in the block 40..47, in the blocks of two 32..47
    for kind, box in (
        ('pillow 4:4:4', (40, 40, 48, 48)),
        ('pillow 4:2:2', (40, 31, 48, 49)),
        ('opencv 440', (31, 40, 49, 48)),
        ('pillow 4:2:0', (31, 31, 49, 49)),
        ('gray', (40, 40, 48, 48)),
    ):
        assert boxes_of(replace(KINDS[kind], one)[0].changes.may_change) == [box]


def test_all_of_an_image_and_nothing_of_it():
    done, _, meant = replace(KINDS['pillow 4:2:0'], (slice(None), slice(None)))
    assert done.changes.may_change.all() and all(blocks.all() for blocks in done.changes.touched)
    assert psnr(image_of(done.data, 'b.jpg').pixels, meant) > 30
    done, _, _ = replace(KINDS['pillow 4:2:0'])
    assert done.data == KINDS['pillow 4:2:0'] and not done.changes.may_change.any()


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=40)
def test_any_size_sampling_and_region(data):
    height, width = (data.draw(st.integers(1, 40), label=side) for side in ('height', 'width'))
    sampling, seed = data.draw(st.sampled_from(sorted(SAMPLING))), data.draw(st.integers(0, 99))
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = by_opencv(pixels, sampling, data.draw(st.integers(1, 100), label='quality'))
    before = image_of(file, 'a.jpg').pixels
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    meant = before.copy()
    meant[
        top : top + data.draw(st.integers(1, 40)), left : left + data.draw(st.integers(1, 40))
    ] ^= 9
    done = put(file, before, meant)
    inside, after = (before != meant).any(axis=2), image_of(done.data, 'b.jpg').pixels
    assert done.changes.may_change[inside].all()
    assert np.array_equal(after[~done.changes.may_change], before[~done.changes.may_change])


def test_values_beyond_what_the_codes_hold_are_cut(tmp_path):
    """Black and white without quantization."""
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    data = jpeg(checks.astype(np.uint8), qtables=[[1] * 64])
    before = image_of(data, 'a.jpg').pixels
    done = put(data, before, 255 - before)
    assert np.abs(image_of(done.data, 'b.jpg').pixels.astype(int) - (255 - before)).max() <= 3
    assert max(np.abs(one).max() for one in coefficients(done.data, tmp_path)) <= 1023


@pytest.mark.filterwarnings('error')
def test_zeros_in_a_table_are_no_divisors():
    data = jpeg(np.full((32, 32), 90, np.uint8), qtables=[[7] * 64])
    at = data.index(b'\xff\xdb') + 5
    data = data[: at + 9] + bytes(3) + data[at + 12 :]
    before = image_of(data, 'a.jpg').pixels
    assert image_of(put(data, before, 255 - before).data, 'b.jpg').pixels.shape == before.shape


EXIF = exif_of(6)
EXIF[0x010F] = 'A maker'
SAID = {
    'exif': EXIF.tobytes() + b'\xff\xd8 a thumbnail \xff\xd9',
    'icc_profile': ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes() * 200,
    'xmp': b'<x:xmpmeta xmlns:x="adobe:ns:meta/">a title</x:xmpmeta>',
    'comment': b'a comment',
    'dpi': (300, 300),
}


def test_markers_are_the_same_bytes():
    iptc = b'\xff\xed' + struct.pack('>H', 16) + b'Photoshop 3.0\0'
    plain = jpeg(**SAID)
    data = plain[:2] + iptc + plain[2:]
    done, *_ = replace(data, *AREAS)
    start = data.index(b'\xff\xdb')  # the first table; all that is said stands before
    assert start > 65536 and done.data[:start] == data[:start]
    assert len(jpeg_markers.markers(data)) == len(jpeg_markers.markers(done.data)) == 7


def test_markers_between_the_tables_are_kept_too():
    plain = jpeg()
    tables = plain.index(b'\xff\xc4')
    comment = b'\xff\xfe\0\x07hello'
    done, *_ = replace(plain[:tables] + b'\xff\xff' + comment + plain[tables:], *AREAS)
    assert comment in done.data and Image.open(io.BytesIO(done.data)).info['comment'] == b'hello'


def test_previews_and_films_behind_the_image_stay_and_are_found():
    first, second = Image.fromarray(PIXELS), Image.fromarray(PIXELS[::2, ::2].copy())
    data = saved(first, 'MPO', save_all=True, append_images=[second], quality=90) + b'a short film'
    image = image_of(data, 'a.jpg')
    done = put(data, image.pixels, changed(image.pixels, *AREAS))
    assert done.data.endswith(b'a short film') and len(done.data) != len(data)
    with Image.open(io.BytesIO(data)) as old, Image.open(io.BytesIO(done.data)) as new:
        assert new.n_frames == 2
        for frame in old, new:
            frame.seek(1)
        assert np.array_equal(np.asarray(new), np.asarray(old)) and new.size == (66, 51)
        size, offset = (new.mpinfo[0xB002][1][key] for key in ('Size', 'DataOffset'))
        assert size == old.mpinfo[0xB002][1]['Size'] and offset
        assert new.mpinfo[0xB002][0]['Size'] == done.data.index(b'\xff\xd9\xff\xd8') + 2


@pytest.mark.parametrize('damage', ['count', 'place', 'cut'])
def test_a_damaged_list_of_previews_harms_nothing(damage):
    second = Image.fromarray(PIXELS[::2, ::2].copy())
    data = bytearray(saved(Image.fromarray(PIXELS), 'MPO', save_all=True, append_images=[second]))
    place = data.index(b'MPF\0') + 4
    entry = data.index(b'\x02\xb0', place)
    if damage == 'count':
        struct.pack_into('<H', data, place + 8, 65535)
    elif damage == 'place':
        struct.pack_into('<I', data, entry + 8, 0x7FFFFFFF)
    else:
        struct.pack_into('<I', data, place + 4, 0xFFFFFF00)
    pixels = image_of(KINDS['pillow 4:2:0'], 'a.jpg').pixels
    result = jpeg_markers.with_markers(jpeg(pixels), bytes(data))
    behind = bytes(data)[list(jpeg_markers.segments(bytes(data)))[-1].end :]
    assert result.endswith(behind) and cv2.imdecode(np.frombuffer(result, np.uint8), 1) is not None


def with_bytes(data: bytes, mark: bytes, place: int, content: bytes) -> bytes:
    start = data.index(mark) + place
    return data[:start] + content + data[start + len(content) :]


def arithmetic(folder: Path) -> bytes:
    path, plain = folder / 'arithmetic.jpg', folder / 'plain.jpg'
    plain.write_bytes(KINDS['pillow 4:2:0'])
    with jpeglib.version('9f'):
        jpeglib.read_dct(plain).write_dct(path, flags=['+ARITH_CODE'])
    return path.read_bytes()


def test_what_cannot_stay_a_jpeg(tmp_path):
    cmyk = saved(Image.fromarray(PIXELS).convert('CMYK'), 'JPEG')
    frame = b'\xff\xc0'
    plain = KINDS['pillow 4:2:0']
    for data, why in (
        (plain, None),
        (KINDS['progressive 2'], None),
        (KINDS['gray'], None),
        (saved(PIXELS), None),
        (b'', None),
        (plain[:200], 'it is damaged, or built in an unusual way'),
        (plain.replace(b'\xff\xda', b'\0\xff\xda'), 'it is damaged, or built in an unusual way'),
        (cmyk, 'it is CMYK'),
        (arithmetic(tmp_path), 'it is coded arithmetically'),
        (with_bytes(plain, frame, 4, b'\x0c'), 'it has 12 bits'),
        (with_bytes(plain, frame, 0, b'\xff\xc3'), 'it is of a rare kind of JPEG'),
        (
            with_bytes(plain, frame, 11, b'\x32\0\2\x21'),
            'its channels are subsampled in an unusual way',
        ),
        (with_bytes(plain, frame, 11, b'\0'), 'it has an unusual number of channels'),
    ):
        (tmp_path / 'a.jpg').write_bytes(data)
        assert jpeg_markers.obstacle_of_file(tmp_path / 'a.jpg') == why
    assert jpeg_markers.obstacle_of_file(tmp_path / 'no.jpg') is None


def test_what_is_built_as_no_jpeg_is_refused():
    for data, message in (
        (b'\x89PNG', 'no JPEG file'),
        (b'\xff\xd8\xff\xe0\0', 'cut off'),
        (b'\xff\xd8\xff\xe0\xff\xff1234', 'cut off'),
        (b'\xff\xd8abc', 'byte 2 begins no JPEG marker'),
        (b'\xff\xd8\xff\xc0\0\x04\x08\0', 'no image header'),
        (b'\xff\xd8\xff\xd9', 'no image header'),
    ):
        with pytest.raises(ValueError, match=message):
            jpeg_markers.frame_of(data)


def test_the_channels_are_told_as_libjpeg_tells_them():
    assert jpeg_markers.is_rgb(KINDS['RGB']) and not jpeg_markers.is_rgb(KINDS['pillow 4:4:4'])
    plain = jpeg(subsampling=0)
    bare = jpeg_markers.without_markers(plain)
    adobe = b'\xff\xee\0\x0eAdobe\0\x64\0\0\0\0'
    for data in (bare, bare[:2] + adobe + b'\0' + bare[2:], bare[:2] + adobe + b'\1' + bare[2:]):
        rgb = jpeg_markers.is_rgb(data)
        with Image.open(io.BytesIO(data)) as image:
            as_rgb = np.asarray(image)
        values = np.asarray(Image.open(io.BytesIO(plain)))
        assert rgb != np.array_equal(as_rgb, values)


def test_verifying_finds_what_a_writer_did(tmp_path):
    path, data = tmp_path / 'b.jpg', jpeg(comment=b'a comment')
    area = (slice(16, 48), slice(32, 64))
    done, before, meant = replace(data, area)
    mask = (before != meant).any(axis=2)
    elsewhere, *_ = replace(data, area, (slice(80, 81), slice(100, 101)))
    other = jpeg_markers.with_markers(jpeg(meant, quality=84), data)
    everywhere = done.changes._replace(
        touched=[np.ones_like(one) for one in done.changes.touched],
        may_change=np.ones_like(done.changes.may_change),
    )
    unseen = done.changes._replace(touched=elsewhere.changes.touched)
    path.write_bytes(done.data)
    verify_blocks(path, data, done.changes, mask)
    for result, claimed, message in (
        (elsewhere.data, done.changes, 'blocks or tables apart from the region differ'),
        (other, everywhere, 'blocks or tables apart from the region differ'),
        (jpeg(PIXELS[:-9], comment=b'a comment'), done.changes, 'blocks or tables apart'),
        (jpeg(PIXELS[..., 0], comment=b'a comment'), done.changes, 'blocks or tables apart'),
        (elsewhere.data, elsewhere.changes, 'blocks that do not touch the region were replaced'),
        (elsewhere.data, unseen, 'OpenCV sees other pixels'),
        (
            done.data.replace(b'a comment', b'a Comment'),
            done.changes,
            'not the EXIF, profile and comments',
        ),
        (
            jpeg_markers.without_markers(done.data),
            done.changes,
            'not the EXIF, profile and comments',
        ),
    ):
        path.write_bytes(result)
        with pytest.raises(ValueError, match=rf'b\.jpg: not verified: .*{message}'):
            verify_blocks(path, data, claimed, mask)
