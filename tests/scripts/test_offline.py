"""A bundle that installs without a network: packed and installed by the script itself, with empty
wheels in place of the dependencies.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

pytestmark = pytest.mark.skipif(shutil.which('bash') is None, reason='needs bash')
SCRIPT = ROOT / 'scripts' / 'offline.sh'
WITHOUT_NETWORK = ['unshare', '--map-root-user', '--net']


def run(*command, **variables) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        'PY': sys.executable,
        'PIP_DISABLE_PIP_VERSION_CHECK': '1',
        **variables,
    }
    environment.pop('PYTHONPATH', None)  # the bundle, and not this checkout
    return subprocess.run(
        [str(part) for part in command],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def unpacked(bundle: Path, folder: Path) -> Path:
    safe = {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}  # from Python 3.11.4
    with tarfile.open(bundle) as archive:
        archive.extractall(folder, **safe)
    return folder / 'hmaca-offline'


def empty_wheel(folder: Path, requirement: Requirement) -> None:
    """A wheel of that name with nothing in it, in a version that fits."""
    version = next(
        (item.version for item in requirement.specifier if item.operator in ('==', '>=', '~=')),
        '1.0',
    ).replace('.*', '.0')
    name = requirement.name.replace('-', '_').replace('.', '_')
    with zipfile.ZipFile(folder / f'{name}-{version}-py3-none-any.whl', 'w') as wheel:
        info = f'{name}-{version}.dist-info'
        wheel.writestr(
            f'{info}/METADATA',
            f'Metadata-Version: 2.1\nName: {requirement.name}\nVersion: {version}\n',
        )
        wheel.writestr(
            f'{info}/WHEEL',
            'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
        )
        wheel.writestr(f'{info}/RECORD', '')


@pytest.mark.slow
def test_packed_then_installed_without_a_network(tmp_path):
    if not shutil.which('unshare') or run(*WITHOUT_NETWORK, 'true').returncode:
        pytest.skip('this system does not let a process leave the network')
    wheels, data = tmp_path / 'wheels', tmp_path / 'set with spaces'
    wheels.mkdir(), data.mkdir()
    (data / 'a.txt').write_text('data', encoding='utf-8')
    first = run('bash', SCRIPT, 'pack', tmp_path / 'first.tar.gz', WHEELS=str(wheels))
    assert first.returncode == 0, first.stdout
    (own,) = unpacked(tmp_path / 'first.tar.gz', tmp_path / 'first').glob('wheels/*.whl')
    with zipfile.ZipFile(own) as wheel:
        metadata = message_from_bytes(
            wheel.read(next(name for name in wheel.namelist() if name.endswith('METADATA')))
        )
    for text in metadata.get_all('Requires-Dist'):
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({'extra': ''}):
            empty_wheel(wheels, requirement)
    packed = run(
        'bash', SCRIPT, 'pack', tmp_path / 'bundle.tar.gz', data, WHEELS=str(wheels), TORCH='1'
    )
    assert packed.returncode == 0, packed.stdout
    folder = unpacked(tmp_path / 'bundle.tar.gz', tmp_path / 'elsewhere')
    assert (folder / 'data' / 'set with spaces' / 'a.txt').read_text(encoding='utf-8') == 'data'
    subprocess.run([sys.executable, '-m', 'venv', tmp_path / 'venv'], check=True)
    python = tmp_path / 'venv' / 'bin' / 'python'
    installed = run(*WITHOUT_NETWORK, 'bash', folder / 'offline.sh', 'install', python)
    assert installed.returncode == 0 and 'installed: hmaca ' in installed.stdout, installed.stdout
    helped = run(tmp_path / 'venv' / 'bin' / 'basicsr', '--help')
    assert helped.returncode == 0 and 'train' in helped.stdout
    assert list(
        (tmp_path / 'venv').glob(
            'lib/python*/site-packages/hmaca_arch/option_files/train_hmaca_horse_pix.yml'
        )
    )


def test_mistakes_are_one_line(tmp_path):
    for arguments, status, message in (
        (('pack', tmp_path / 'x.tar.gz', tmp_path / 'none'), 1, 'none does not exist'),
        (('install',), 1, 'run it in the unpacked bundle'),
        ((), 2, 'offline.sh pack BUNDLE'),
    ):
        result = run('bash', SCRIPT, *arguments)
        assert result.returncode == status and message in result.stdout, result.stdout
    assert not (tmp_path / 'x.tar.gz').exists()
