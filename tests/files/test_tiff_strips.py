"""TIFF files of which only some strips or tiles are read and replaced."""

import io
import itertools
import struct

import cv2
import numpy as np
import pytest
import tifffile
from picture_writers import saved
from PIL import Image

from hmaca_arch.files import tiff_layout
from hmaca_arch.files.tiff_layout import layout_of
from hmaca_arch.files.tiff_strips import read_part, write_part
from hmaca_arch.files.tiff_verifying import verify_part

HEIGHT, WIDTH = 53, 117
BOX = (19, 20, 40, 90)
MOST = 10**6
LZW, DEFLATE, PACKBITS = 5, 8, 32773


def pixels_for(kind: str, channels: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.integers(0, 3, (HEIGHT, WIDTH, channels)), axis=1)
    scale = {'u1': 1, 'u2': 257, 'f4': 1 / 250}[kind]
    return (steps % 251 * scale).astype(kind)


def by_tifffile(path, pixels, order='<', tile=None, extra='unassalpha', **options):
    channels = pixels.shape[2]
    options |= {'tile': tile} if tile else {'rowsperstrip': 7}
    if channels == 4:
        options['extrasamples'] = [extra]
    tifffile.imwrite(
        path,
        pixels[..., 0] if channels == 1 else pixels,
        photometric='minisblack' if channels == 1 else 'rgb',
        byteorder=order,
        metadata=None,
        **options,
    )


def by_opencv(path, pixels, compression, predictor):
    options = (cv2.IMWRITE_TIFF_COMPRESSION, compression, cv2.IMWRITE_TIFF_PREDICTOR, predictor)
    cv2.imwrite(str(path), pixels[..., ::-1], [*options, cv2.IMWRITE_TIFF_ROWSPERSTRIP, 7])


def read(path, channels: int) -> np.ndarray:
    """What other libraries than Pillow read, (h, w, c)."""
    if channels == 4:  # OpenCV multiplies colours by alpha
        return tifffile.imread(path)
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).reshape(HEIGHT, WIDTH, channels)
    return found[..., ::-1]


def change(path, pixels: np.ndarray):
    """Change a region of a file: what is intended in BOX, the copy and the layout."""
    layout = layout_of(path, MOST)
    found = np.zeros(layout.shape, layout.dtype.newbyteorder('='))
    read_part(layout, BOX, found)
    part = slice(*BOX[::2]), slice(*BOX[1::2])
    assert np.array_equal(found[part], pixels[part])
    new = found[part].copy()
    new[5:9, 7:30] = new[9, 30] + 1
    copy = path.with_name('copy.tif')
    with open(copy, 'wb') as file:
        write_part(layout, file, BOX, new)
    return new, copy, layout


def check(path, pixels: np.ndarray) -> None:
    pixels = np.asarray(pixels, pixels.dtype.newbyteorder('='))
    new, copy, layout = change(path, pixels)
    pixels = pixels.copy()
    pixels[BOX[0] : BOX[2], BOX[1] : BOX[3]] = new
    assert np.array_equal(read(copy, pixels.shape[2]), pixels)
    before, after = path.read_bytes(), copy.read_bytes()
    after_pieces = layout_of(copy, MOST)
    same = [
        before[a : a + n] == after[b : b + m]
        for a, n, b, m in zip(
            layout.starts, layout.counts, after_pieces.starts, after_pieces.counts, strict=True
        )
    ]
    assert 0 < same.count(False) < len(same) / 2
    mask = np.zeros(new.shape[:2], np.uint8)
    mask[5:9, 7:30] = 1
    verify_part(copy, layout, BOX, new, mask)
    mask[8, 29] = 0
    with pytest.raises(ValueError, match='outside the mask differ'):
        verify_part(copy, layout, BOX, new, mask)
    mask[8, 29] = 1
    new[6, 8] += 1
    with pytest.raises(ValueError, match='are not what was written'):
        verify_part(copy, layout, BOX, new, mask)


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_what_tifffile_writes(tmp_path, channels):
    path = tmp_path / 'in.tif'
    for compression, kind, order, tile in itertools.product(
        (None, 'zlib'), ('u1', 'u2', 'f4'), '<>', (None, (16, 32))
    ):
        pixels = pixels_for(kind, channels)
        by_tifffile(path, pixels, order, tile, compression=compression)
        check(path, pixels)


@pytest.mark.parametrize('compression', [LZW, DEFLATE, PACKBITS])
def test_what_libtiff_writes(tmp_path, compression):
    for kind, predictor in (('u1', 1), ('u1', 2), ('u2', 1), ('u2', 2), ('f4', 1)):
        if predictor == 2 and compression == PACKBITS:
            continue
        by_opencv(tmp_path / 'in.tif', pixels_for(kind, 3), compression, predictor)
        check(tmp_path / 'in.tif', pixels_for(kind, 3))


def test_it_is_verified_without_tifffiles_codecs(tmp_path, monkeypatch):
    def decode(*_):
        raise ValueError('it needs a package')

    monkeypatch.setattr(tifffile.TiffPage, 'decode', decode)
    by_opencv(tmp_path / 'in.tif', pixels_for('u2', 3), LZW, 2)
    check(tmp_path / 'in.tif', pixels_for('u2', 3))


def test_what_is_not_replaced_is_not_even_read(tmp_path):
    """Strips that hold no pixels of the region are damaged here."""
    path, pixels = tmp_path / 'in.tif', pixels_for('u1', 3)
    by_opencv(path, pixels, DEFLATE, 2)
    layout, data = layout_of(path, MOST), bytearray(path.read_bytes())
    assert len(layout.starts) == 8
    touched = set(layout.pieces(BOX))
    for piece in set(range(8)) - touched:
        start = layout.starts[piece]
        data[start : start + layout.counts[piece]] = b'?' * int(layout.counts[piece])
    path.write_bytes(data)
    change(path, pixels)
    data[layout.starts[3] : layout.starts[3] + 20] = b'?' * 20
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r'in\.tif: cannot be read .*strip or tile 3 is damaged'):
        change(path, pixels)


def test_a_changed_tag_is_found(tmp_path):
    path = tmp_path / 'in.tif'
    by_tifffile(path, pixels_for('u1', 3), software='one')
    new, copy, layout = change(path, pixels_for('u1', 3))
    copy.write_bytes(copy.read_bytes().replace(b'one\0', b'two\0'))
    with pytest.raises(ValueError, match='its tags are not those of the input'):
        verify_part(copy, layout, BOX, new, np.ones(new.shape[:2]))


def test_files_that_are_read_whole(tmp_path, monkeypatch):
    path, pixels = tmp_path / 'in.tif', pixels_for('u1', 3)
    rgba = pixels_for('u1', 4)
    written = {
        'associated alpha': lambda: by_tifffile(path, rgba, extra='assocalpha'),
        'BigTIFF': lambda: by_tifffile(path, pixels, bigtiff=True),
        'turned': lambda: by_tifffile(path, pixels, extratags=[(274, 'H', 1, 6, True)]),
        'planes': lambda: tifffile.imwrite(
            path, np.moveaxis(pixels, 2, 0), photometric='rgb', planarconfig='separate'
        ),
        'pages': lambda: tifffile.imwrite(path, np.stack([pixels, pixels]), photometric='rgb'),
        'palette': lambda: path.write_bytes(saved(Image.fromarray(pixels).convert('P'), 'TIFF')),
        'CMYK': lambda: path.write_bytes(saved(Image.fromarray(pixels).convert('CMYK'), 'TIFF')),
        'white is 0': lambda: tifffile.imwrite(path, pixels[..., 0], photometric='miniswhite'),
        'doubles': lambda: tifffile.imwrite(path, pixels[..., 0].astype('f8')),
        'PNG': lambda: path.write_bytes(saved(pixels)),
        'nothing': lambda: path.write_bytes(b''),
    }
    for name, write in written.items():
        write()
        assert layout_of(path, MOST) is None, name
    by_tifffile(path, pixels)
    assert layout_of(path, MOST) and layout_of(path, HEIGHT * WIDTH - 1) is None
    assert layout_of(tmp_path / 'missing.tif', MOST) is None
    data = path.read_bytes()
    path.write_bytes(data[:-1])  # the last strip is cut
    assert layout_of(path, MOST) is None
    starts = layout_of_starts(data)
    for twice in (starts[0], starts[1] - 1):  # strips that share bytes: one would change the other
        changed = bytearray(data)
        at = changed.index(struct.pack('<II', *starts[:2]))
        struct.pack_into('<I', changed, at + 4, twice)
        path.write_bytes(changed)
        assert layout_of(path, MOST) is None
    by_tifffile(path, pixels, compression='zlib')
    assert layout_of(path, MOST)
    tables = layout_of(path, MOST).tables
    narrow = layout_of(path, MOST)._replace(tables=(tables[0], (tables[1][0], 1)))
    assert tiff_layout._holds(layout_of(path, MOST), 10**5)
    assert not tiff_layout._holds(narrow, 10**5)  # what is written again may have too many bytes
    monkeypatch.setattr(tiff_layout, 'LARGEST_PIECE', 7 * WIDTH * 3 - 1)
    assert layout_of(path, MOST) is None


def layout_of_starts(data: bytes) -> list[int]:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return list(file.pages.first.dataoffsets)


@pytest.mark.parametrize('compression', [None, 'zlib'])
@pytest.mark.parametrize('tile', [None, (16, 32)])
def test_damaged_files_are_read_whole_or_refused_in_one_line(tmp_path, compression, tile):
    """Numbers of the directory are changed; what is accepted has its bytes in the file."""
    path, rng, accepted = tmp_path / 'in.tif', np.random.default_rng(0), 0
    by_tifffile(path, pixels_for('u1', 3), '<', tile, compression=compression)
    data = path.read_bytes()
    (directory,) = struct.unpack_from('<I', data, 4)
    (entries,) = struct.unpack_from('<H', data, directory)
    values = (0, 1, 2, 3, 7, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1)
    for number in range(600):
        changed = bytearray(data)
        entry = directory + 2 + 12 * (number % entries)
        struct.pack_into('<I', changed, entry + rng.choice([4, 8]), rng.choice(values))
        if number >= 300:
            changed[rng.integers(len(changed))] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        layout = layout_of(path, MOST)
        if layout is None:
            continue
        accepted += 1
        height, width, _ = layout.shape
        assert height * width <= MOST and (layout.starts + layout.counts).max() <= len(changed)
        try:
            read_part(layout, (0, 0, height, width), np.zeros(layout.shape, layout.dtype))
        except ValueError as error:
            assert str(error).startswith(f'{path}: cannot be read') and '\n' not in str(error)
    assert 0 < accepted < 600
