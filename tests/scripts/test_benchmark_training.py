import importlib.util
import math
import re
import sys
import time
from argparse import Namespace

from conftest import ROOT


def load_script():
    spec = importlib.util.spec_from_file_location(
        'benchmark_training', ROOT / 'scripts' / 'benchmark_training.py'
    )
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def settings(**more) -> Namespace:
    common = {
        'size': 'light',
        'device': 'cpu',
        'quick': True,
        'repeats': 1,
        'threads': 1,
        'forms': ['eager'],
        'precisions': ['bf16'],
    }
    return Namespace(**{**common, 'until': math.inf, **more})


def test_the_table_of_training_speed(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'path', list(sys.path))
    script = load_script()
    script.report(settings())
    output = capsys.readouterr().out
    rows = re.findall(
        r'\| eager \| bf16 \| (no|yes) \| (\d+\.\d+) \| (\d+\.\d+) \| \d+\.\d s \| (?:\d+ MiB|-) \|',
        output,
    )
    assert [row[0] for row in rows] == ['no', 'yes'] and all(
        float(seconds) > 0 and float(busy) > 0 for _, seconds, busy in rows
    ), output
    assert re.search(
        r'batch of 2 .*: \d+\.\d+ ms an item from disk, \d+\.\d %; \d+\.\d+ ms an item from lmdb',
        output,
    )


def test_the_most_telling_first_and_none_after_the_time_is_over(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'path', list(sys.path))
    script = load_script()
    everything = settings(
        device='cuda', forms=['compiled', 'eager'], precisions=['fp32', 'tf32', 'bf16']
    )
    order = script.cells(everything)
    assert len(order) == 12 and order[:2] == [('eager', 'bf16', False), ('eager', 'bf16', True)]
    assert [cell.form for cell in order] == 6 * ['eager'] + 6 * ['compiled']
    measured = []
    monkeypatch.setattr(
        script,
        'figures',
        lambda args, cell: (measured.append(cell), setattr(args, 'until', -math.inf), ('', 1.0))[2],
    )
    script.report(settings(until=time.monotonic() + 1000))
    assert (
        measured == [('eager', 'bf16', False)]
        and 'Not measured, --seconds were over: eager bf16.' in capsys.readouterr().out
    )
