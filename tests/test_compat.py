"""compat.py in processes of its own: what it repairs depends on what is installed."""

import subprocess
import sys

import pytest
from conftest import environment


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-c', code], env=environment(), capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    'order',
    ['hmaca_arch, datasets_ext, losses_ext', 'losses_ext, datasets_ext, hmaca_arch', 'datasets_ext, hmaca_arch, losses_ext', 'hmaca_arch'],
)
def test_one_import_is_enough_in_any_order(order):
    registered = 'from basicsr.utils.registry import ARCH_REGISTRY as known; assert "HMACA" in known and "SwinIR" in known'
    result = python(f'import {order}; import basicsr; {registered}')
    assert result.returncode == 0, result.stderr


def test_repairs_are_inert_where_nothing_is_missing():
    """With the repaired names in place, applying the repairs once more changes nothing."""
    result = python(
        'import hmaca_arch.compat as c, sys, torchvision\n'
        'name = "torchvision.transforms.functional_tensor"\n'
        'before = sys.modules[name], sys.modules["torchvision"], c._declared\n'
        'c.apply()\n'
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
