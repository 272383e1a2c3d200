"""The experiment on what a network knows of its mask, and the restored examples."""

import re
import subprocess
import sys

import cv2
import pytest
import torch
from conftest import ROOT, environment

from hmaca_arch import HMANet


@pytest.mark.slow
def test_moving_the_mask(tmp_path):
    result = subprocess.run(
        [sys.executable, ROOT / 'scripts' / 'mask_facts.py', '-o', 'facts.png'],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = {
        name: float(largest)
        for name, largest in re.findall(r'\| ([^|]+) \| ([-.e\d]+) \|', result.stdout)
    }
    assert rows['global, untrained'] < 1e-3 < 0.1 < rows['window, untrained']
    assert rows['Eq. 5 to the letter'] < 1e-6 < 0.1 < rows['with the residual']
    assert cv2.imread(str(tmp_path / 'facts.png')).shape[2] == 3


@pytest.mark.slow
def test_an_image_that_cannot_be_written_is_told_at_once(tmp_path):
    (tmp_path / 'folder.png').mkdir()
    for name in ('facts.abc', 'nowhere/facts.png', 'folder.png'):
        result = subprocess.run(
            [sys.executable, ROOT / 'scripts' / 'mask_facts.py', '-o', name],
            cwd=tmp_path, env=environment(), capture_output=True, text=True,
        )  # fmt: skip
        assert (
            result.returncode == 1
            and result.stderr.count('\n') == 1
            and 'cannot be written; expected' in result.stderr
        )
        assert not result.stdout


def test_examples_that_cannot_be_written_are_told_before_they_are_restored(tmp_path):
    result = subprocess.run(
        [sys.executable, ROOT / 'scripts' / 'restore_examples.py', '-o', 'examples.abc'],
        cwd=tmp_path, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 1 and result.stderr.startswith(
        'restore_examples: error: --output: examples.abc cannot be written'
    )
    assert result.stderr.count('\n') == 1 and not result.stdout


def test_weights_without_a_mask_are_refused(tmp_path):
    torch.save(
        {'params': HMANet(embed_dim=32, depths=[1], num_heads=[2], window_size=8).state_dict()},
        tmp_path / 'blind.pth',
    )
    result = subprocess.run(
        [sys.executable, ROOT / 'scripts' / 'mask_facts.py', '--weights', 'blind.pth'],
        cwd=tmp_path, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert (
        result.returncode == 1
        and 'is of HMANet; expected the weights of an HMACA' in result.stderr
        and 'Traceback' not in result.stderr
    )
