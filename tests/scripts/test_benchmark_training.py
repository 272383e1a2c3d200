import importlib.util
import re
import sys
from argparse import Namespace

from conftest import ROOT


def load_script():
    spec = importlib.util.spec_from_file_location('benchmark_training', ROOT / 'scripts' / 'benchmark_training.py')
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_table_of_training_speed(monkeypatch, capsys):
    """With a toy network; the first cell in a process of its own, as all of them outside this test, the others here."""
    monkeypatch.setattr(sys, 'path', list(sys.path))
    script = load_script()
    in_fresh_process, asked = script.in_fresh_process, []

    def here(args, *more):
        asked.append(more)
        if len(asked) == 1:
            return in_fresh_process(args, *more)
        if '--measure-loading' in more:
            return script.measure_loading(args)
        return script.measure(Namespace(**vars(args), form='eager', precision='bf16', checkpointing='--checkpointing' in more))

    monkeypatch.setattr(script, 'in_fresh_process', here)
    script.report(Namespace(size='light', device='cpu', quick=True, repeats=1, threads=1, limit=200, forms=['eager'], precisions=['bf16']))
    output = capsys.readouterr().out
    rows = re.findall(r'\| eager \| bf16 \| (no|yes) \| (\d+\.\d+) \| (\d+\.\d+) \| \d+\.\d s \| \d+ MiB \|', output)
    assert [row[0] for row in rows] == ['no', 'yes'] and all(float(seconds) > 0 and float(busy) > 0 for _, seconds, busy in rows), output
    assert ['--checkpointing' in more for more in asked] == [False, True, False]
    assert re.search(r'batch of 2 .*: \d+\.\d+ ms an item from disk, \d+\.\d %; \d+\.\d+ ms an item from lmdb', output)
