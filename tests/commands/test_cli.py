"""What a user sees: real processes, one clear line for each mistake, everything below the current
folder.
"""

import platform
import subprocess
import sys

import pytest
from conftest import ROOT, basicsr, environment, tiny_options, write_options

import hmaca_arch
from hmaca_arch import cli


def last_line(result) -> str:
    return result.stdout.strip().splitlines()[-1]


def test_help_explains_itself(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(['--help'])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(command in text for command in cli.COMMANDS)
    for command in cli.COMMANDS:
        with pytest.raises(SystemExit) as end:
            cli.main([command, '--help'])
        assert end.value.code == 0 and 'usage' in capsys.readouterr().out


def test_version_says_what_is_installed(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(['--version'])
    line = capsys.readouterr().out
    assert end.value.code == 0 and line.count('\n') == 1
    assert line.startswith(f'hmaca {hmaca_arch.__version__}, basicsr 1.4.2, torch ')
    assert f'Python {platform.python_version()}' in line


def test_version_imports_neither_torch_nor_basicsr():
    code = (
        'import sys, hmaca_arch\n'
        'from hmaca_arch import cli\n'
        'print(hmaca_arch.__version__, cli.versions())\n'
        'assert not {"torch", "numpy", "basicsr"} & set(sys.modules), sys.modules.keys()\n'
    )
    done = subprocess.run([sys.executable, '-c', code], env=environment(), capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_said_by_version(monkeypatch):
    def missing(name):
        raise cli.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(cli.metadata, 'version', missing)
    assert ', torch is not installed, ' in cli.versions()


def test_no_command_and_a_wrong_one(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert end.value.code == 2
    with pytest.raises(SystemExit) as end:
        cli.main(['tarin'])
    assert end.value.code == 2 and 'did you mean train' in capsys.readouterr().err


def test_an_error_of_a_loaders_process_keeps_the_name_of_its_file():
    """torch puts that process's traceback before it; a name may hold a line break."""
    carried = 'Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File "x"\n    raise e\n'
    assert (
        cli.one_line(ValueError(f'{carried}ValueError: a\nb.png: cut short: 3 bytes\n'))
        == 'a\\nb.png: cut short: 3 bytes'
    )
    assert (
        cli.one_line(ValueError('several\n  lines')) == 'several\\n  lines'
        and cli.one_line(OSError()) == 'OSError'
    )


def test_mistakes_end_in_one_line_and_write_nothing(tmp_path, triplets):
    options = tiny_options(triplets)
    options['network_g']['type'] = 'HMACAX'
    path = write_options(tmp_path / 'misspelled.yml', options)
    for arguments, message in (
        (['-opt', 'nowhere.yml'], 'basicsr train: error: option file nowhere.yml does not exist'),
        (
            ['-opt', path],
            "basicsr train: error: network_g:type: there is no 'HMACAX' (did you mean HMACA? known: ",
        ),
    ):
        result = basicsr(tmp_path, 'train', *arguments, check=False)
        assert (
            result.returncode == 1
            and last_line(result).startswith(message)
            and 'Traceback' not in result.stdout
        )
    assert not (tmp_path / 'experiments').exists()


def test_the_front_door_says_how_to_get_its_data(tmp_path):
    result = basicsr(
        tmp_path, 'train', '-opt', ROOT / 'options' / 'train_hmaca_horse_pix.yml', check=False
    )
    assert result.returncode == 1 and 'Traceback' not in result.stdout
    line, val = result.stdout.strip().splitlines()[-2:]
    assert (
        'datasets:val:dataroot_lq' in val
        and 'datasets:train:dataroot_lq' in line
        and str(tmp_path) in line
        and 'basicsr make-dataset' in line
        and 'horse2zebra.zip' in line
    )


def test_a_run_writes_below_the_current_folder_only(tmp_path, triplets):
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    options = tiny_options(triplets)
    options['train']['total_iter'] = 1
    before = {
        path
        for path in ROOT.rglob('*')
        if '.git' not in path.parts and '__pycache__' not in path.parts
    }
    basicsr(elsewhere, 'train', '-opt', write_options(tmp_path / 'o.yml', options))
    assert (elsewhere / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth').exists()
    after = {
        path
        for path in ROOT.rglob('*')
        if '.git' not in path.parts and '__pycache__' not in path.parts
    }
    assert {
        p
        for p in after - before
        if p.parts[len(ROOT.parts)] in ('experiments', 'results', 'tb_logger')
    } == set()


MOVED = {'paper_tables.py': 'basicsr tables', 'export_onnx.py': 'basicsr export'}
PARTS = {'option_settings.py', 'options_schema.py', 'soak_processes.py'}  # of other scripts


SCRIPTS = sorted({path.name for path in (ROOT / 'scripts').glob('*.py')} - set(MOVED) - PARTS)
# Each script as a program, in a process for all: imports take seconds.
HELP = """
import contextlib, io, os, runpy, sys
at_first = sys.path[1:]
for script in sys.argv[1:]:
    sys.path[:] = [os.path.dirname(script), *at_first]
    said, status = io.StringIO(), None
    sys.argv = [script, '--help']
    with contextlib.redirect_stdout(said):
        try:
            runpy.run_path(script, run_name='__main__')
        except SystemExit as end:
            status = end.code
    print(script, status or 0, said.getvalue().count('usage:'))
"""


@pytest.mark.slow
def test_each_script_explains_itself_from_any_folder(tmp_path):
    env = {key: value for key, value in environment().items() if key != 'PYTHONPATH'}
    scripts = [str(ROOT / 'scripts' / script) for script in SCRIPTS]
    result = subprocess.run(
        [sys.executable, '-c', HELP, *scripts],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert result.stdout.splitlines() == [f'{script} 0 1' for script in scripts], result.stderr


@pytest.mark.parametrize('script', MOVED)
def test_a_script_that_is_gone_names_the_command(script):
    result = subprocess.run(
        [sys.executable, str(ROOT / 'scripts' / script), '--help'], capture_output=True, text=True
    )
    assert (
        result.returncode == 1
        and f'`{MOVED[script]}` now' in result.stderr
        and result.stderr.count('\n') == 1
    )
