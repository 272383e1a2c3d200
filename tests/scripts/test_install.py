"""`scripts/install.py`: which torch, by which commands, and BasicSR on newer Pythons."""

import importlib.util
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

OLD_EXEC = ROOT / 'scripts' / 'old_exec'
# BasicSR's setup.py reads its version like this.
READS_A_VERSION = """
def get_version():
    exec(compile('__version__ = "1.4.2"', 'version.py', 'exec'))
    return locals()['__version__']
print(get_version())
"""


@pytest.fixture
def install(monkeypatch):
    """The script as a module, on a machine without an NVIDIA driver, with pip alone."""
    spec = importlib.util.spec_from_file_location('install', ROOT / 'scripts' / 'install.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'nvidia_driver', lambda: None)
    monkeypatch.setattr(module.shutil, 'which', lambda name: None)
    return module


@pytest.mark.parametrize(
    ('driver', 'wanted', 'platform', 'build', 'index'),
    [
        (None, None, 'linux', 'cpu', 'whl/cpu'),
        ('nvidia-smi', None, 'linux', 'cuda', None),
        ('nvidia-smi', 'cpu', 'linux', 'cpu', 'whl/cpu'),
        (None, 'cuda', 'linux', 'cuda', None),
        (None, None, 'win32', 'cpu', None),
        ('nvidia-smi', None, 'win32', 'cuda', 'whl/cu'),
        (None, None, 'darwin', 'default', None),
        (None, 'cpu', 'darwin', 'default', None),
    ],
)
def test_which_torch(install, monkeypatch, driver, wanted, platform, build, index):
    monkeypatch.setattr(install, 'nvidia_driver', lambda: driver)
    choice = install.choose(wanted, platform, 'arm64')
    assert (
        choice.build == build
        and (index is None) == (choice.index is None)
        and (index or '') in (choice.index or '')
    )
    calls = install.commands(choice, [], editable=False)
    assert len(calls) == (3 if index else 2) and ('--index-url' in calls[0]) == bool(index)


def test_no_cuda_on_macos(install):
    with pytest.raises(SystemExit, match='no CUDA build for macOS'):
        install.choose('cuda', 'darwin', 'arm64')


def test_intel_macs_are_told_before_anything_is_fetched(install):
    with pytest.raises(
        SystemExit, match='a Python for Intel Macs, and torch 2.4 and later have no'
    ):
        install.choose(None, 'darwin', 'x86_64')
    assert install.choose(None, 'linux', 'x86_64').build == 'cpu'


@pytest.mark.skipif(os.name == 'nt', reason='the stand-in is a shell script')
@pytest.mark.parametrize(
    ('answer', 'status', 'found'),
    [('GPU 0: NVIDIA A', 0, True), ('GPU', 9, False), ('No devices were found', 0, False)],
)
def test_a_driver_without_a_gpu_is_none(monkeypatch, tmp_path, answer, status, found):
    """nvidia-smi may be installed on a machine that has no GPU."""
    spec = importlib.util.spec_from_file_location('install', ROOT / 'scripts' / 'install.py')
    install = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(install)
    program = tmp_path / 'nvidia-smi'
    program.write_text(f'#!/bin/sh\necho "{answer}"\nexit {status}\n', encoding='utf-8')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(install.Path, 'exists', lambda path: False)
    assert install.nvidia_driver() == ('nvidia-smi' if found else None)


def test_what_is_chosen_is_said_before_anything_is_fetched(install, monkeypatch, capsys):
    monkeypatch.setattr(
        install.subprocess, 'run', lambda *_, **__: pytest.fail('something was run')
    )
    install.main(['--dry-run', 'demo', 'onnx'])
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0]
        == 'torch: the cpu build (no NVIDIA driver: neither nvidia-smi nor /proc/driver/nvidia).'
    )
    assert '0.4 GB to download' in lines[1] and '--cuda 2.9 GB' in lines[1]
    assert (
        lines[2].endswith('--index-url https://download.pytorch.org/whl/cpu torch torchvision')
        and '--no-deps' in lines[2]
    )
    assert (
        '--no-build-isolation' in lines[-1]
        and lines[-1].endswith('[demo,onnx]')
        and len(lines) == 5
    )


def test_an_index_that_cannot_be_reached_costs_one_line(install, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(install, 'answers', lambda index: False)

    def run(command, env):
        calls.append((command, env))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(install.subprocess, 'run', run)
    install.main(['--cpu', '--editable'])
    said = [line for line in capsys.readouterr().out.splitlines() if 'cannot be reached' in line]
    assert len(said) == 1 and 'taking the build of the default index instead' in said[0]
    assert len(calls) == 2 and not [command for command, _ in calls if '--index-url' in command]
    assert all(
        environment['PYTHONPATH'].split(os.pathsep)[0] == str(OLD_EXEC) for _, environment in calls
    )
    assert calls[-1][0][-2:] == ['-e', str(ROOT)]


def test_a_failed_call_ends_it(install, monkeypatch):
    monkeypatch.setattr(
        install.subprocess, 'run', lambda command, **_: subprocess.CompletedProcess(command, 3)
    )
    with pytest.raises(SystemExit, match='failed with status 3'):
        install.main(['--cuda'])


def test_uv_is_used_where_it_is(install, monkeypatch):
    assert install.installer()[:3] == [sys.executable, '-m', 'pip']
    monkeypatch.setattr(install.shutil, 'which', lambda name: f'/bin/{name}')
    assert install.installer() == ['/bin/uv', 'pip', 'install', '--python', sys.executable]


def run(code: str, *path: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True
    )


def test_what_basicsr_does_to_read_its_version_works(tmp_path):
    """On Python 3.13 and later it fails without old_exec."""
    assert run(READS_A_VERSION, OLD_EXEC).stdout == '1.4.2\n'
    without = run(READS_A_VERSION)
    assert (without.returncode != 0) == (sys.version_info >= (3, 13))


def test_exec_is_otherwise_as_it_was():
    code = (
        'def run():\n'
        '    names = {}\n'
        '    exec("a = 1", names)\n'
        '    exec("b = a + 1", names, local := {})\n'
        '    return names["a"], local["b"], "b" in names\n'
        'x = 1\n'
        'exec("x += 1")\n'
        'print(run(), x)\n'
    )
    assert run(code, OLD_EXEC).stdout == '(1, 2, False) 2\n' == run(code).stdout


def test_pins_and_metadata_agree():
    """Every package that setup.py needs is pinned, and no Python from 3.10 on is refused."""
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    assert "python_requires='>=3.10'," in setup and 'Python :: 3.14' in setup
    pins = {
        line.split('==')[0]
        for line in (ROOT / 'constraints.txt').read_text(encoding='utf-8').splitlines()
        if '==' in line
    }
    needed = set(re.findall(r"'([\w-]+)[>=]", setup.split('install_requires=[')[1].split('],')[0]))
    assert needed and needed <= pins
