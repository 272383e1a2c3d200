"""scripts/benchmark.py runs, and what it compares computes the same."""

import importlib.util
import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, environment

SCRIPT = ROOT / 'scripts' / 'benchmark.py'


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location('benchmark', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(
        module.attention, 'attend', module.attention.attend
    )  # so that what a case replaces is put back
    return module


def test_naive_attention_is_the_same_attention(script):
    q, k, v = torch.randn(3, 2, 5, 12, 4)
    table = torch.randn(9, 7, 2)
    assert torch.allclose(
        script.naive_attend(q, k, v, table, 3, 4),
        script.attention.attend(q, k, v, table, 3, 4),
        atol=1e-5,
    )


def test_the_tables(script, monkeypatch, capsys):
    cases = []

    def here(case, arguments):
        cases.append(case)
        return {'seconds': 3.0, 'product': 2.0, 'peak': 700.0, 'base': 400.0}

    monkeypatch.setattr(script, 'in_fresh_process', here)
    script.main(['--quick', '--repeats', '1', '--threads', '1', '--device', 'cpu'])
    out = capsys.readouterr().out
    assert cases == list(script.CASES)
    assert '| HMANet | 3.000 s | 1.50 | 700 MiB |' in out
    rows = [line for line in out.splitlines() if line.startswith(('| 32x32', '| 64x64'))]
    assert len(rows) == 2 and all('ns a pixel' in row and 'not run' not in row for row in rows)


def test_a_case_in_a_process_of_its_own():
    command = [
        sys.executable,
        SCRIPT,
        '--quick',
        '--repeats',
        '1',
        '--threads',
        '1',
        '--side',
        '16',
        '--device',
        'cpu',
        '--case',
        'global',
    ]
    result = subprocess.run(
        command, env=environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    figures = json.loads(result.stdout)
    assert set(figures) == {'product', 'seconds', 'peak', 'base'}
    assert all(value > 0 for value in figures.values()) and figures['peak'] >= figures['base']
