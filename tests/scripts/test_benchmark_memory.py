"""scripts/benchmark_memory.py measures memory, and makes files of the size that it says."""

import importlib.util
import subprocess

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location(
        'benchmark_memory', ROOT / 'scripts' / 'benchmark_memory.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_memory_is_that_of_the_process_alone(script):
    held = np.ones(5 * 10**7)  # 400 MB of this process
    little, much = (script.run('-c', f'b"x" * {size}') for size in (10, 3 * 10**8))
    assert held.nbytes == 4 * 10**8 and little.memory < 100
    assert 290 < much.memory - little.memory < 310
    with pytest.raises(subprocess.CalledProcessError):
        script.run('-c', 'raise SystemExit(3)')


def test_files_of_both_depths(script, tmp_path):
    for depth, kinds in ((8, ('.png', '.jpg', '.tif')), (16, ('.png', '.tif'))):
        script.make_files(tmp_path, 100, 140, depth, 420)
        for ending in kinds:
            with Image.open(tmp_path / f'image{ending}') as image:
                assert image.size == (140, 100)
    assert (tmp_path / 'image.tif').stat().st_size > 100 * 140 * 6
    mask = np.asarray(Image.open(tmp_path / 'mask.png'))
    assert (mask[50:, 70:] == 255)[:50, :64].all() and (mask > 0).sum() == 50 * 64
