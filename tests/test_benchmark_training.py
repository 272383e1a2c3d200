import re
import subprocess
import sys

from conftest import ROOT, environment


def test_the_table_of_training_speed(tmp_path):
    command = [sys.executable, str(ROOT / 'scripts' / 'benchmark_training.py'), '--quick', '--repeats', '1', '--threads', '1']
    command += ['--size', 'light', '--device', 'cpu', '--forms', 'eager', '--precisions', 'bf16']
    result = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    rows = re.findall(r'\| eager \| bf16 \| (no|yes) \| (\d+\.\d+) \| \d+\.\d+ \| \d+\.\d s \| (\d+) MiB \|', result.stdout)
    assert [row[0] for row in rows] == ['no', 'yes'] and all(float(seconds) > 0 and int(memory) > 0 for _, seconds, memory in rows)
    assert re.search(r'batch of 2 .*: \d+\.\d+ ms an item from disk, \d+\.\d %; \d+\.\d+ ms an item from lmdb', result.stdout)
    assert list(tmp_path.iterdir()) == []
