"""`basicsr restore` from TIFF to TIFF: only the strips or tiles of the region are written again."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from conftest import basicsr
from mask_cases import check_masks
from picture_writers import saved

from hmaca_arch import cli
from hmaca_arch.files import tiff_layout
from hmaca_arch.restoring import image_jobs, parts

HEIGHT, WIDTH = 400, 160
BOX = '40,200,40,32'
PIXELS = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (50, 20, 3), np.uint8),
    (WIDTH, HEIGHT),
    interpolation=cv2.INTER_CUBIC,
)
INSIDE = slice(200, 232), slice(40, 80)
PRIVATE = 65000


@pytest.fixture
def run(tmp_path, tiny_checkpoint, monkeypatch, capsys):
    """Run the command in tmp_path: run(arguments) -> (exit status, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> tuple[int, str]:
        options = ('--weights', tiny_checkpoint, '--device', 'cpu', '--degradation', 'unknown')
        with pytest.raises(SystemExit) as end:
            cli.main(['restore', *map(str, (*options, '--context', 4, *arguments))])
        return end.value.code, capsys.readouterr().err

    return run


def put(path: str, pixels: np.ndarray = PIXELS, **options) -> None:
    tags = [(PRIVATE, 's', 0, 'of a scanner', True)]
    options = {'rowsperstrip': 16, 'extratags': tags, 'metadata': None, **options}
    tifffile.imwrite(path, pixels, photometric='rgb', **options)


@pytest.mark.parametrize('kind', ['u1', 'u2', 'f4'])
@pytest.mark.parametrize('compression', [None, 'zlib'])
def test_it_is_what_restoring_all_of_it_gives(run, monkeypatch, kind, compression):
    scale = {'u1': 1, 'u2': 257, 'f4': 1 / 255}[kind]
    put('in.tif', (PIXELS.astype(float) * scale).astype(kind), compression=compression)
    assert run('-i', 'in.tif', '-o', 'out.tif', '--box', BOX, '--verify') == (0, '')
    monkeypatch.setattr(image_jobs, 'source_in_parts', lambda *_: None)
    assert run('-i', 'in.tif', '-o', 'whole.tif', '--box', BOX)[0] == 0
    found = tifffile.imread('out.tif')
    assert np.array_equal(found, tifffile.imread('whole.tif'))
    differs = (found != tifffile.imread('in.tif')).any(axis=2)
    assert differs[INSIDE].mean() > 0.9 and differs.sum() == differs[INSIDE].sum()
    with tifffile.TiffFile('out.tif') as file:
        page = file.pages.first
        assert page.tags[PRIVATE].value == 'of a scanner' and page.rowsperstrip == 16
        assert page.compression.name == {None: 'NONE', 'zlib': 'ADOBE_DEFLATE'}[compression]


def test_only_what_is_near_the_region_is_read(run, monkeypatch):
    """Far strips are damaged, which goes on as it is."""
    put('in.tif', compression='zlib')
    layout, data = (
        tiff_layout.layout_of(Path('in.tif'), 10**6),
        bytearray(Path('in.tif').read_bytes()),
    )
    for piece in (*range(7), *range(20, 25)):
        data[layout.starts[piece] : layout.starts[piece] + 9] = b'?' * 9
    Path('in.tif').write_bytes(data)
    arguments = ('-i', 'in.tif', '-o', 'out.tif', '--box', BOX)
    assert run(*arguments, '--verify') == (0, '')
    code, err = run('-i', 'in.tif', '-o', 'out.png', '--box', BOX)
    assert code == 1 and 'in.tif: cannot be read as an image' in err
    data[layout.starts[13] : layout.starts[13] + 9] = b'?' * 9
    Path('in.tif').write_bytes(data)
    Path('out.tif').unlink()
    code, err = run(*arguments)
    assert code == 1 and err.count('\n') == 1 and 'strip or tile 13 is damaged' in err
    assert sorted(path.name for path in Path().iterdir()) == ['in.tif']


def test_masks_of_every_source(run):
    check_masks(run, put, '.tif', PIXELS, INSIDE, BOX)


def test_a_file_takes_its_own_place(run):
    put('in.tif', compression='zlib')
    assert run('-i', 'in.tif', '-o', 'out.tif', '--box', BOX) == (0, '')
    first = Path('in.tif').read_bytes()
    arguments = ('-i', 'in.tif', '-o', 'in.tif', '--box', BOX, '--overwrite')
    assert run(*arguments) == (0, '')
    assert Path('in.tif').read_bytes() == Path('out.tif').read_bytes()
    Path('in.tif').write_bytes(first)
    assert run(*arguments, '--verify') == (0, '')
    assert Path('in.tif').read_bytes() == Path('out.tif').read_bytes()


def test_what_fails_verification_is_not_written(run, monkeypatch):
    put('in.tif')
    first, writes = Path('in.tif').read_bytes(), parts.write_part

    def elsewhere_too(layout, file, bounds, pixels):
        writes(layout, file, bounds, pixels)
        file.seek(int(layout.starts[3]))
        file.write(b'?')

    monkeypatch.setattr(parts, 'write_part', elsewhere_too)
    code, err = run('-i', 'in.tif', '-o', 'in.tif', '--box', BOX, '--overwrite', '--verify')
    assert code == 1 and 'in.tif: not verified: pixels outside the mask differ' in err
    assert Path('in.tif').read_bytes() == first and len(list(Path().iterdir())) == 1


def test_private_tags_that_are_lost_are_said(run):
    put('in.tif', compression='zlib', rowsperstrip=HEIGHT, predictor=True, software='kept')
    Path('mask.png').write_bytes(saved(np.zeros((HEIGHT, WIDTH), np.uint8) + 255))
    for path, said in (('out.tif', False), ('out.png', True)):
        code, err = run('-i', 'in.tif', '-o', path, '-m', 'mask.png')
        assert code == 0 and (f'not kept in out.png: TIFF tag {PRIVATE}' in err) == said


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='POSIX pipes')
def test_a_pipe_is_refused(run):
    os.mkfifo('in.tif')
    code, err = run('-i', 'in.tif', '-o', 'out.tif', '--box', BOX)
    assert code == 1 and 'it is a pipe, socket or device, expected a file' in err


def test_no_library_speaks_for_itself(tmp_path, tiny_checkpoint):
    """OpenCV warns of tags that it does not know."""
    deep = PIXELS.astype(np.uint16) * 257
    tags = [(PRIVATE, 's', 0, 'of a scanner', True)]
    options = {'compression': 'zlib', 'predictor': True, 'rowsperstrip': 16, 'metadata': None}
    tifffile.imwrite(tmp_path / 'in.tif', deep, photometric='rgb', extratags=tags, **options)
    options = ('--weights', tiny_checkpoint, '--device', 'cpu', '--degradation', 'unknown')
    files = ('-i', 'in.tif', '-o', 'out.png', '--box', BOX)
    done = basicsr(tmp_path, 'restore', *files, *options, '--verify')
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and f'not kept in out.png: TIFF tag {PRIVATE}' in done.stdout
