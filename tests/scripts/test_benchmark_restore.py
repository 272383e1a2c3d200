"""scripts/benchmark_restore.py runs, and measures what it says."""

import importlib.util

import numpy as np
import pytest
from conftest import ROOT


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location(
        'benchmark_restore', ROOT / 'scripts' / 'benchmark_restore.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_and_the_exit_status(script, capsys):
    arguments = ['--quick', '--repeats', '1', '--threads', '1', '--device', 'cpu', '--limit']
    assert script.main([*arguments, '1000']) == 0
    out = capsys.readouterr().out
    assert '| 256x256 | ' in out and '| 4000x3000 | ' in out and 'ratio ' in out
    assert script.main([*arguments, '0.001']) == 1


def test_both_images_have_the_same_region_and_surroundings(script):
    crops = []
    for height, width in script.SIZES:
        image, mask = script.image_and_mask(height, width)
        assert mask.sum() == 255 * 64 * 64
        top, left = np.argwhere(mask)[0] - 32
        crops.append(image[top : top + 128, left : left + 128])
    np.testing.assert_array_equal(*crops)


@pytest.mark.parametrize('network', ['--quick', '--count'])
def test_dust(script, capsys, network):
    case = ['--case', 'dust', '--scan', '400x300', '--spots', '4', network]
    assert script.main([*case, '--repeats', '1', '--threads', '1', '--device', 'cpu']) == 0
    cells = capsys.readouterr().out.splitlines()[-1].strip('| ').split(' | ')
    regions, crops, batches, pixels = map(int, cells[:4])
    assert 1 <= batches <= crops == regions <= 4 and pixels <= 4 * 80 * 80
    assert (
        float(cells[4]) == pytest.approx(pixels / 120000, abs=1e-3) and 0 < float(cells[5]) < 0.01
    )
