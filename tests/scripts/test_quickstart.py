"""`scripts/quickstart.py`: the quick start's images, table and report."""

import importlib.util
import shutil
import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT

from hmaca_arch.files.image_files import read_picture
from hmaca_arch.files.images import encode_png
from hmaca_arch.restoring.sheets import GAP


@pytest.fixture
def quickstart(monkeypatch):
    """The script as a module; it imports the one beside it."""
    monkeypatch.syspath_prepend(str(ROOT / 'scripts'))
    spec = importlib.util.spec_from_file_location('quickstart', ROOT / 'scripts' / 'quickstart.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop('restore_examples', None)


def test_before_and_after(quickstart, tmp_path, capsys):
    """With perfect restorations the middle column is the right one; the left differs."""
    quickstart.write_degraded(tmp_path)
    names = sorted(path.name for path in (tmp_path / 'degraded').iterdir())
    assert names == ['astronaut.png', 'chelsea.png', 'coffee.png']
    for name in names:
        degraded, mask, original = (
            read_picture(tmp_path / kind / name).pixels
            for kind in ('degraded', 'masks', 'originals')
        )
        differs = (degraded != original).any(axis=2)
        assert differs.any() and not differs[mask[..., 0] == 0].any()
    shutil.copytree(tmp_path / 'originals', tmp_path / 'restored')
    quickstart.before_after(tmp_path)
    said = capsys.readouterr().out
    assert (
        said.count('-> inf dB inside the region') == 3
        and str(tmp_path / 'restored' / 'chelsea.png') in said
    )
    sheet = read_picture(tmp_path / 'before_after.png').pixels
    assert sheet.shape == (3 * 300 + 2 * GAP, 3 * 400 + 2 * GAP, 3)
    left, middle, right = (sheet[:300, i * (400 + GAP) : i * (400 + GAP) + 400] for i in range(3))
    assert (middle == right).all() and (left != right).any()


def test_tiles_are_the_photographs_colours(quickstart, tmp_path):
    quickstart.write_tiles(tmp_path / 'a', ('chelsea',), size=128, step=128)
    tile = cv2.imread(str(tmp_path / 'a' / 'chelsea_0_1.png'))[..., ::-1]
    assert (tile == quickstart.photograph('chelsea')[:128, 128:256]).all()


def test_the_table_and_the_image_of_the_end(quickstart, tmp_path, capsys):
    rows = [(f'n{i}', 30 + i, 33 + 2 * i) for i in range(4)]
    metrics = ('composite_psnr', 'masked_psnr', 'masked_ssim')
    header = ','.join(
        ['picture', *(f'{kind}_{metric}' for kind in ('input', 'result') for metric in metrics)]
    )
    lines = [
        ','.join([name, *[str(before)] * 3, *[str(after)] * 3]) for name, before, after in rows
    ]
    (tmp_path / 'table.csv').write_text('\n'.join([header, *lines]), encoding='utf-8')
    for i, (name, *_) in enumerate(rows):
        (tmp_path / f'{name}_x_strip.png').write_bytes(
            encode_png(np.full((4, 8, 3), (10 * i, 0, 200), np.uint8))
        )
    gain = quickstart.report(tmp_path / 'table.csv', tmp_path, tmp_path / 'out.png')
    assert (
        gain == pytest.approx(36 - 31.5)
        and 'Gain over the unrestored input: +4.50 dB' in capsys.readouterr().out
    )
    shown = read_picture(tmp_path / 'out.png').pixels
    assert shown.shape == (4 * 8 + 3 * GAP, 16, 3)
    # gains of 3 to 6 dB, the best first, then the quartiles
    assert [tuple(shown[(8 + GAP) * i, 0]) for i in range(4)] == [
        (30, 0, 200),
        (20, 0, 200),
        (10, 0, 200),
        (0, 0, 200),
    ]
