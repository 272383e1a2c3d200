"""Consoles that are not UTF-8, and output that is not a terminal."""

import contextlib
import os
import pty
import re
import shutil
import subprocess

import pytest
from conftest import ROOT, command_line, environment, make_triplets, tiny_options, write_options

pytestmark = pytest.mark.slow
NAME = 'café猫\u202e'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('consoles')
    make_triplets(folder / 'data', 2)
    for kind in ('lq', 'mask'):
        shutil.copy(folder / 'data' / kind / '0000.png', folder / 'data' / kind / f'{NAME}.png')
    write_options(folder / f'{NAME}.yml', {**tiny_options(folder / 'data'), 'name': NAME[:-1]})
    return folder


@pytest.mark.parametrize('encoding', ['ascii', 'cp1252'])
@pytest.mark.parametrize(
    ('status', 'command'),
    [
        (0, 'restore -i data/lq -m data/mask -o {encoding} --device cpu --verify'),
        (1, 'restore -i {name}.png -m data/mask -o out.png'),
        (0, 'check -opt {name}.yml --print'),
        (1, 'train -opt {name}2.yml'),
        (1, 'make-lmdb {name}'),
        (1, 'export --weights {name} -o net.onnx --dynamic'),
    ],
    ids=lambda value: str(value)[:12],
)  # fmt: skip
def test_no_console_raises_and_no_bar_is_written_to_a_file(folder, encoding, status, command):
    done = subprocess.run(
        command_line(*command.format(name=NAME, encoding=encoding).split()),
        cwd=folder,
        env={**environment(), 'PYTHONIOENCODING': encoding},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    text = done.stdout.decode(encoding)
    assert done.returncode == status and 'Traceback' not in text and 'Error' not in text, text
    assert '\r' not in text and '\x1b' not in text and '\u202e' not in text


@pytest.mark.parametrize(('variables', 'bold'), [({}, True), ({'NO_COLOR': '1'}, False)])
def test_the_quick_start_is_bold_in_terminals_alone(tmp_path, variables, bold):
    """The one place that writes such sequences."""
    text = (ROOT / 'scripts' / 'quickstart.sh').read_text(encoding='utf-8')
    lines = re.search(r'^bold=.*?^say\(\).*?$', text, re.DOTALL | re.MULTILINE)[0]
    script = tmp_path / 'say.sh'
    script.write_text(f'set -euo pipefail\n{lines}\nsay "a heading"\n', encoding='utf-8')
    environment = {key: value for key, value in os.environ.items() if key != 'NO_COLOR'}
    terminal, end = pty.openpty()
    done = subprocess.run(['bash', script], env={**environment, **variables}, stdout=end)
    os.close(end)
    shown = b''
    with contextlib.suppress(OSError):  # which is how Linux says that it was closed
        while part := os.read(terminal, 1000):
            shown += part
    os.close(terminal)
    assert done.returncode == 0 and (b'\x1b[1m' in shown) == bold and b'a heading' in shown
    piped = subprocess.run(['bash', script], env=environment, capture_output=True, check=True)
    assert b'\x1b' not in piped.stdout
