"""compat.py in processes of its own: what it repairs depends on what is installed."""

import subprocess
import sys

import pytest
from conftest import environment


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-c', code], env=environment(), capture_output=True, text=True
    )


EVERYTHING = (
    'from basicsr.utils.registry import ARCH_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY\n'
    'assert {"HMACA", "HMANet", "MaskInput", "HAT", "DRCT", "SwinIR"} <= set(ARCH_REGISTRY.keys())\n'
    'assert {"calculate_composite_psnr", "calculate_masked_psnr", "calculate_masked_ssim"} <= set(METRIC_REGISTRY.keys())\n'
    'assert "MaskedRestorationModel" in MODEL_REGISTRY\n'
)
# BasicSR without this package, as in an environment that needs no repairs; `repairs` is a copy of
# compat.py.
REPAIRED = (
    'import importlib.util, pathlib, sys\n'
    'folder = pathlib.Path(importlib.util.find_spec("hmaca_arch").origin).parent\n'
    'spec = importlib.util.spec_from_file_location("repairs", folder / "compat.py")\n'
    'repairs = importlib.util.module_from_spec(spec)\n'
    'spec.loader.exec_module(repairs)\n'
    'repairs.with_basicsr(lambda: None)\n'
    'import basicsr\n'
    'sys.meta_path.pop(0)\n'
    'assert "hmaca_arch" not in sys.modules\n'
)


@pytest.mark.parametrize(
    'first',
    [
        'hmaca_arch',
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                'losses_ext, datasets_ext',
                'datasets_ext',
                'hmaca_arch.metrics',
                'hmaca_arch.config.checks',
                'hmaca_arch.inference',
            )
        ),
    ],
)
def test_one_import_is_enough_in_any_order(first):
    result = python(f'import {first}\n{EVERYTHING}')
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize('then', ['hmaca_arch', 'datasets_ext'])
def test_basicsr_may_be_imported_first(then):
    result = python(f'{REPAIRED}import {then}\n{EVERYTHING}')
    assert result.returncode == 0, result.stderr


def test_everything_is_registered_in_processes_that_are_spawned(tmp_path):
    (tmp_path / 'look.py').write_text(
        'import hmaca_arch, multiprocessing\n'
        'def look(_):\n'
        + ''.join(f'    {line}\n' for line in EVERYTHING.splitlines())
        + 'if __name__ == "__main__":\n'
        '    with multiprocessing.get_context("spawn").Pool(1) as pool:\n'
        '        pool.map(look, [0])\n'
    )
    result = subprocess.run(
        [sys.executable, tmp_path / 'look.py'], env=environment(), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_public_names_come_when_they_are_asked_for():
    result = python(
        'import hmaca_arch\n'
        'from hmaca_arch import HMACA, HMANet, build_network_from_state_dict\n'
        'assert hmaca_arch.HMACA is HMACA and hmaca_arch.models.MaskedRestorationModel and "HMANet" in dir(hmaca_arch)\n'
        'assert not hasattr(hmaca_arch, "HMACAX")'
    )
    assert result.returncode == 0, result.stderr


def test_what_is_found_is_what_would_be_found_otherwise():
    """Looking for BasicSR does not import it, and a module of another name is none of the hook's
    business.
    """
    result = python(
        'import importlib.util, sys\n'
        'plain = importlib.util.find_spec("basicsr").origin\n'
        'import hmaca_arch\n'
        'assert importlib.util.find_spec("basicsr").origin == plain and "basicsr" not in sys.modules\n'
        'assert importlib.util.find_spec("no_such_module_here") is None'
    )
    assert result.returncode == 0, result.stderr


def test_repairs_are_inert_where_nothing_is_missing():
    """With the repaired names in place, what is done when BasicSR is imported changes nothing."""
    result = python(
        'import hmaca_arch.compat as c, basicsr, sys, torchvision\n'
        'name = "torchvision.transforms.functional_tensor"\n'
        'before = sys.modules[name], sys.modules["torchvision"], list(c._declared)\n'
        'c._provide_functional_tensor()\n'
        'assert before == (sys.modules[name], sys.modules["torchvision"], c._declared)'
    )
    assert result.returncode == 0, result.stderr


def test_operators_that_are_missing_still_say_so():
    result = python(
        'import hmaca_arch, torch, torchvision\n'
        'try:\n'
        '    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)\n'
        'except (RuntimeError, NotImplementedError):\n'
        '    print("refused")\n'
        'else:\n'
        '    assert torchvision.extension._has_ops(); print("there")'
    )
    assert result.returncode == 0 and result.stdout.strip() in ('refused', 'there'), result.stderr
