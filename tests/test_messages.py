"""What people are shown: names that would act on a terminal stand as escapes, wherever they come
from.
"""

import ast
import json
import logging
import os
import re
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from conftest import ROOT, basicsr, tiny_options
from hypothesis import given
from hypothesis import strategies as st
from test_imports import modules

from hmaca_arch import cli
from hmaca_arch.messages import (
    how_to_install,
    keep_logs_printable,
    one_line,
    printable,
    printable_lines,
    reason_of,
    shortened,
    suggestion,
)

EVIL = 'a\x1b[31m\u202eb\nc'
SHOWN = r'a\x1b[31m\u202eb\nc'
ACTS = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]')


@pytest.mark.parametrize(
    ('name', 'shown'),
    [
        (EVIL, SHOWN),
        ('café 猫 \U0001f468‍\U0001f4bb é', 'café 猫 \U0001f468‍\U0001f4bb é'),
        ('\u2067x\u061c\u2028\x85\x9b1m', r'\u2067x\u061c\u2028\x85\x9b1m'),
        (os.fsdecode(b'not-\xff.png'), r'not-\udcff.png'),
        ('C:\\new\\x1b', 'C:\\new\\x1b'),
    ],
)
def test_printable_by_hand(name, shown):
    assert printable(name) == shown and shown.encode()


@given(st.text())
def test_printable_is_one_line_and_all_else_stays(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1 and not ACTS.search(shown) and printable(shown) == shown
    assert printable_lines(text).count('\n') == text.count('\n')


def test_errors_of_a_loaders_process_are_what_it_said():
    caught = 'Caught ValueError in DataLoader worker process 0.\nTraceback (most recent call last):\n  x\nValueError: a\nb.png: cut short'
    assert one_line(ValueError(caught)) == r'a\nb.png: cut short'
    assert one_line(ValueError('')) == 'ValueError' and one_line(KeyError('x')) == "KeyError 'x'"


def test_the_middle_of_long_names_and_lines_is_left_out():
    name, path = 'a' * 200 + 'b' * 4600 + 'c' * 200, 'd/' * 200
    assert shortened(f'no {name} in {path}') == f'no {"a" * 200}...{"c" * 200} in {path}'
    assert shortened('x y ' * 1001) == 'x y ' * 500 + '...' + 'x y ' * 500
    assert (
        one_line(OSError(36, 'Too long', name)) == f'[Errno 36] Too long: {shortened(f"{name!r}")}'
    )


def test_errors_of_other_packages_are_joined_and_cut():
    assert reason_of(RuntimeError(' size mismatch:\n\tconv  (3) ')) == 'size mismatch: conv (3)'
    assert reason_of(RuntimeError('size'), 2) == 'si' and reason_of(RuntimeError()) == ''


def test_suggestions():
    assert suggestion('trian', ['train', 'test']) == ' (did you mean train? known: test, train)'
    assert suggestion('xyzq', ['train', 'test']) == ' (known: test, train)'
    assert suggestion('trian', ['train', 'test'], listed=False) == ' (did you mean train?)'
    assert suggestion('xyzq', ['train'], listed=False) == suggestion('x', [], listed=False) == ''
    many = suggestion('name07', [f'name{i:02d}' for i in range(40)])
    assert many.startswith(' (did you mean name07? known: name07, ') and many.endswith(
        ' 40 in all)'
    )


def test_an_extra_is_brought_by_a_line_that_works(monkeypatch):
    """The package has no name on an index: its requirements do."""
    listed = ['torch>=2.4', 'gradio<7,>=6.31; extra == "demo"', 'a>1; extra == "demo"']
    monkeypatch.setattr(metadata, 'requires', lambda name: listed)
    assert how_to_install('demo') == "pip install 'gradio<7,>=6.31' 'a>1'"
    assert how_to_install('plots') == 'python scripts/install.py plots (in a clone)'

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, 'requires', missing)
    assert how_to_install('demo') == 'python scripts/install.py demo (in a clone)'


def test_there_is_one_way_to_suggest_and_one_to_print():
    calls = {name: set() for name in ('get_close_matches', 'print', 'write')}
    for module, source in modules().items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call):
                name = getattr(node.func, 'id', getattr(node.func, 'attr', ''))
                owner = ast.unparse(node.func).rpartition('.')[0]
                if name in calls and (
                    name != 'write' or owner in ('tqdm', 'sys.stdout', 'sys.stderr')
                ):
                    calls[name].add(module)
    assert calls == {
        'get_close_matches': {'hmaca_arch.messages'},
        'print': {'hmaca_arch.messages'},
        'write': set(),
    }


NAMES = re.compile(
    r'(^|[._])(path|file|folder|name|picture|image|manifest|states|output|key|error|load_path)$'
)


def bare_names(source: str) -> list[str]:
    """Where a name goes into a text that is printed or logged, and not through `printable`."""
    found = []
    for call in ast.walk(ast.parse(source)):
        kind = ast.unparse(call.func) if isinstance(call, ast.Call) else ''
        if not (
            kind in ('say', 'tell')
            or (kind.rpartition('.')[2] in ('info', 'warning', 'error') and 'log' in kind)
        ):
            continue
        if call.args and ast.unparse(call.args[0]).startswith('printable('):
            continue
        for part in ast.walk(call):
            if (
                isinstance(part, ast.FormattedValue)
                and part.conversion != ord('r')
                and NAMES.search(ast.unparse(part.value))
            ):
                found.append(f'line {part.lineno}: {ast.unparse(part.value)}')
    return found


def test_no_name_goes_round_it():
    assert (
        bare_names('say(f"{path}: done")')
        and bare_names('logger.info(f"x {self.file}")')
        and bare_names('tell(f"{error}")')
    )
    assert not bare_names(
        'say(f"{printable(path)}: {count}")\nsay(printable(f"{path}"))\nlogger.info(f"{name!r}")'
    )
    harmless = {
        ('hmaca_arch.cli', 'name'),
        ('hmaca_arch.models.resumable_model', 'name'),
    }  # a command, a class
    found = {module: bare_names(source) for module, source in modules().items()}
    found = {
        module: kept
        for module, lines in found.items()
        if (kept := [line for line in lines if (module, line.rpartition(' ')[2]) not in harmless])
    }
    assert found == {}


def test_logs_show_escapes_and_keep_their_lines(caplog):
    keep_logs_printable()
    for name in ('basicsr', 'hmaca_arch'):
        logging.getLogger(name).warning('two\n\tlines of %s', 'a\x1b]0;x\x07\u202e')
    assert [record.getMessage() for record in caplog.records] == [
        'two\n\tlines of a\\x1b]0;x\\x07\\u202e'
    ] * 2


def refused(folder: Path, *arguments) -> str:
    """What a command that ends with 1 shows, in which nothing acts on a terminal."""
    result = basicsr(folder, *arguments, check=False)
    assert result.returncode == 1 and not ACTS.search(result.stdout.replace('\r', '')), repr(
        result.stdout
    )
    return result.stdout


def png(value: int = 90) -> bytes:
    return cv2.imencode('.png', np.full((40, 40, 3), value, np.uint8))[1].tobytes()


@pytest.mark.slow
def test_names_through_restore(tmp_path, tiny_checkpoint):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / f'{EVIL}.png').write_bytes(b'no image')
    (tmp_path / 'in' / f'{EVIL}2.png').write_bytes(png())
    (tmp_path / 'in' / f'{EVIL}3.png').write_bytes(png())
    masks = tmp_path / f'masks{EVIL}'
    masks.mkdir()
    mask = np.zeros((40, 40), np.uint8)
    for name, white in ((EVIL, 255), (f'{EVIL}2', 1)):
        mask[5:9, 5:9] = white
        (masks / f'{name}.png').write_bytes(cv2.imencode('.png', mask)[1].tobytes())
    how = ('--weights', tiny_checkpoint, '--device', 'cpu')
    text = refused(
        tmp_path,
        'restore',
        '-i',
        'in',
        '-m',
        masks.name,
        '-o',
        f'out{EVIL}',
        *how,
        '--json',
        'report.json',
    )
    assert (
        f'error: in/{SHOWN}.png: cannot be read' in text
        and f'no mask: masks{SHOWN} has no image' in text
    )
    assert (
        f'note: in/{SHOWN}2.png: the mask holds 0 and 1' in text
        and f'out{SHOWN}: 1 done, 0 copied, 2 refused, 0 skipped' in text
    )
    report = json.loads((tmp_path / 'report.json').read_text())
    assert [entry['file'] for entry in report['files']] == [
        f'in/{EVIL}{n}.png' for n in ('', '2', '3')
    ]
    assert f'--input: {tmp_path}/x{SHOWN} matches no file' in refused(
        tmp_path, 'restore', '-i', f'{tmp_path}/x{EVIL}', '-m', masks.name, '-o', 'out'
    )


def test_names_through_make_dataset_and_make_lmdb(tmp_path, capsys):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / f'{EVIL}.png').write_bytes(b'no image')
    make = [
        'make-dataset',
        '-o',
        str(tmp_path / 'out'),
        '--protocol',
        'clean',
        '--degradation',
        'pix',
    ]
    for command in (make, ['make-lmdb']):
        with pytest.raises(SystemExit) as end:
            cli.main([*command, str(tmp_path / 'in'), '--workers', '1'])
        out, err = capsys.readouterr()
        assert (
            end.value.code == 1 and SHOWN in err and not ACTS.search((out + err).replace('\r', ''))
        )


@pytest.mark.slow
def test_names_through_check_and_train(tmp_path, triplets):
    opt = tiny_options(triplets)
    for kind in ('lq', 'mask', 'gt'):
        (triplets / 'train' / kind / f'{EVIL}.png').write_bytes(b'no image')
    path = tmp_path / f'{EVIL}.yml'
    path.write_text(yaml.safe_dump(opt))
    text = refused(tmp_path, 'check', '-opt', path.name, '--data', '--workers', 1)
    assert (
        f'{SHOWN}.yml: the options of this training are right' in text
        and f'train/lq/{SHOWN}.png: cannot be read' in text
    )
    assert (
        f'train/lq/{SHOWN}.png: cannot be read'
        in (tmp_path / 'checks' / 'tiny' / 'report.txt').read_text()
    )
    text = refused(tmp_path, 'train', '-opt', path.name)
    assert (
        text.splitlines()[-1].startswith('basicsr train: error: ')
        and f'{SHOWN}.png: cannot be read' in text
    )
    logs = [file.read_text() for file in (tmp_path / 'experiments' / 'tiny').glob('train_*.log')]
    assert logs and not any(ACTS.search(log) for log in logs)
    opt['trian'] = opt['network_g'][EVIL] = {EVIL: EVIL}
    path.write_text(yaml.safe_dump(opt))
    text = refused(tmp_path, 'train', '-opt', path.name)
    assert SHOWN in text and all(
        line.startswith('basicsr train: error: ') for line in text.splitlines() if SHOWN in line
    )
    assert f'option file x{SHOWN}.yml does not exist' in refused(
        tmp_path, 'check', '-opt', f'x{EVIL}.yml'
    )


def test_the_scripts_that_are_commands_have_no_print_either():
    doors = [
        path
        for path in (ROOT / 'scripts').glob('*.py')
        if 'door' in path.read_text() and path.name != 'door.py'
    ]
    assert doors and not any('print(' in path.read_text() for path in doors)
