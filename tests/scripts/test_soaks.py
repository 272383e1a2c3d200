"""A short slice of each soak, and that a soak finds what is wrong."""

import importlib.util
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import ROOT, environment

pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills POSIX processes')


def run(script: str, *arguments) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / 'scripts' / script, *map(str, arguments)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.mark.slow
def test_a_few_kills_in_two_slices(tmp_path):
    for seed in (1, 2):
        said = run('soak_kills.py', '--kills', 4, '--seed', seed, '--folder', tmp_path / 'soak')
        assert f"'kills': {4 * seed}" in said


@pytest.mark.slow
def test_a_few_odd_files():
    said = run('soak_files.py', '--count', 0, '--options', 40, '--checkpoints', 15, '--seed', 1)
    assert '40 option files, seed 1' in said and '15 checkpoints' in said and 'WRONG' not in said


@pytest.fixture
def soak(monkeypatch):
    """The script as a module."""
    monkeypatch.setattr(sys, 'path', [*sys.path])
    spec = importlib.util.spec_from_file_location('soak_kills', ROOT / 'scripts' / 'soak_kills.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Finished:
    """A run whose processes have ended before they are killed."""

    def __init__(self, soak, monkeypatch, folder: Path, after: int, output: str, status: int):
        self.at = [2, after]
        monkeypatch.setattr(soak, 'start', lambda *_: [])
        monkeypatch.setattr(soak.soak_processes, 'kill', lambda *_: ([status], 0.0))
        monkeypatch.setattr(soak.Soak, 'newest', lambda _: self.at.pop(0))
        monkeypatch.setattr(soak.Soak, 'output', staticmethod(lambda _: output))
        monkeypatch.setattr(soak.Soak, 'whole', lambda _: folder / 'whole')
        (folder / 'whole').mkdir()
        (folder / 'whole' / 'done').write_text('0', encoding='utf-8')


@pytest.mark.parametrize(
    ('kind', 'after', 'output', 'status', 'said'),
    [
        ('group', 3, '', -9, None),
        ('group', 1, '', -9, 'newest checkpoint 1, before it there was 2'),
        ('group', 3, 'Traceback (most recent', -9, 'Traceback'),
        ('interrupt', 3, '', 130, None),
        ('interrupt', 3, '', 70, r'statuses \[70\]'),
        ('worker', 3, '', -9, r'statuses \[-9\]'),
    ],
)
def test_what_a_soak_takes_for_wrong(
    soak, monkeypatch, tmp_path, kind, after, output, status, said
):
    Finished(soak, monkeypatch, tmp_path, after, output, status)
    one = soak.Soak(tmp_path)
    if said is None:
        one.one(kind, random.Random(0))
        assert one.tally == Counter({kind: 1, 'kills': 1})
        return
    with pytest.raises(soak.Failed, match=said):
        one.one(kind, random.Random(0))


def test_ends_that_differ_in_a_bit_are_told_apart(soak):
    a = {'x': [torch.zeros(2), 1], 'y': 'z'}
    assert soak.same(a, {'x': [torch.zeros(2), 1], 'y': 'z'})
    for other in (
        {'x': [torch.tensor([0.0, 1e-45]), 1], 'y': 'z'},
        {'x': [torch.zeros(2), 2], 'y': 'z'},
        {'x': [torch.zeros(2)], 'y': 'z'},
        {'x': [torch.zeros(2), 1]},
    ):
        assert not soak.same(a, other)
