"""The wheel alone, installed into an empty folder and run from another: no checkout is near.

Only the dependencies are those of the Python that runs the tests, so that nothing is fetched.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, make_triplets

pytestmark = pytest.mark.slow
BUILD = 'from setuptools import build_meta; import sys; build_meta.build_sdist(sys.argv[1])'
LIGHT = ['network_g:embed_dim=32', 'network_g:depths=[1]', 'network_g:num_heads=[2]']


def tracked() -> list[str]:
    """The files of this checkout, as git lists them; of an unpacked archive, all that lie there."""
    listed = subprocess.run(
        ['git', '-C', str(ROOT), 'ls-files', '-z'], capture_output=True, text=True
    )
    names = [name for name in listed.stdout.split('\0') if name and (ROOT / name).is_file()]
    if names:
        return names
    found = (path.relative_to(ROOT) for path in ROOT.rglob('*') if path.is_file())
    return [str(path) for path in found if '__pycache__' not in path.parts]


@pytest.fixture(scope='module')
def source(tmp_path_factory) -> Path:
    """A copy of the tracked files: building writes into the folder that it builds."""
    folder = tmp_path_factory.mktemp('source')
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def process(*command, cwd: Path, **variables) -> subprocess.CompletedProcess:
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', **variables}
    environment.pop('PIP_CONSTRAINT', None)
    if 'PYTHONPATH' not in variables:
        environment.pop('PYTHONPATH', None)
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        errors='replace',
    )


@pytest.fixture(scope='module')
def installed(source, tmp_path_factory) -> Path:
    """The folder that pip installed the wheel into."""
    wheels, target = tmp_path_factory.mktemp('wheels'), tmp_path_factory.mktemp('installed')
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    how = ['--no-deps', '--no-build-isolation', '--no-index']
    built = process(*pip, 'wheel', *how, '-w', wheels, source, cwd=wheels)
    assert built.returncode == 0, built.stdout
    (wheel,) = wheels.glob('hmaca-*.whl')
    put = process(*pip, 'install', '--no-deps', '--no-index', '-t', target, wheel, cwd=wheels)
    assert put.returncode == 0, put.stdout
    return target


@pytest.fixture(scope='module')
def run(installed, tmp_path_factory):
    """`basicsr ...` of the installation, in a folder that holds images alone."""
    folder = tmp_path_factory.mktemp('empty')
    make_triplets(folder / 'photographs', 6, size=64)

    def run(*arguments) -> str:
        done = process(
            sys.executable, '-m', 'hmaca_arch', *arguments, cwd=folder, PYTHONPATH=str(installed)
        )
        assert done.returncode == 0 and 'Traceback' not in done.stdout, done.stdout
        return done.stdout

    run.folder = folder
    return run


def test_it_is_the_installation_that_runs(installed, run):
    code = 'import hmaca_arch, hmaca_arch.config.shipped as s; print(hmaca_arch.__file__, s.FOLDER)'
    done = process(sys.executable, '-c', code, cwd=run.folder, PYTHONPATH=str(installed))
    assert done.stdout.split() == [
        str(installed / 'hmaca_arch' / '__init__.py'),
        str(installed / 'hmaca_arch' / 'option_files'),
    ]
    assert (installed / 'hmaca_arch' / 'py.typed').is_file()
    script = installed / 'bin' / 'basicsr'
    if script.exists():  # elsewhere it has another name
        done = process(script, '--version', cwd=run.folder, PYTHONPATH=str(installed))
        assert done.stdout.startswith('hmaca ') and done.returncode == 0, done.stdout


def test_restore(run):
    lq, mask, out = (run.folder / 'photographs' / kind for kind in ('lq', 'mask', 'out'))
    said = run('restore', '-i', lq, '-m', mask, '-o', out, '--verify', '--device', 'cpu')
    assert '6 done, 0 copied, 0 refused, 0 skipped, verified' in said
    for path in lq.iterdir():
        before, after = cv2.imread(str(path)), cv2.imread(str(out / path.name))
        outside = cv2.imread(str(mask / path.name), cv2.IMREAD_GRAYSCALE) == 0
        assert np.array_equal(before[outside], after[outside])


@pytest.fixture(scope='module')
def trained(run) -> Path:
    """Data made, packed, checked and trained on, each by its command; the checkpoint."""
    run(
        'make-dataset', 'photographs/gt', '-o', 'data', '--protocol', 'clean', '--degradation',
        'pix', '--size', 64, '--hold-out', 3, '--workers', 1,
    )  # fmt: skip
    run('make-lmdb', 'data', '--workers', 1)
    assert (run.folder / 'data' / 'train' / 'lq.lmdb' / 'data.mdb').is_file()
    options = ['-opt', 'train_quickstart', '--force_yml', *LIGHT]
    assert 'the options of this training are right' in run('check', *options)
    run('train', *options, 'train:total_iter=8', 'logger:save_checkpoint_freq=8')
    experiment = run.folder / 'experiments' / 'train_quickstart'
    assert (experiment / 'training_states' / '8.state').is_file()
    assert (experiment / 'train_quickstart.yml').is_file(), 'the option file beside its run'
    return experiment / 'models' / 'net_g_latest.pth'


def test_train_then_test(run, trained):
    run('test', '-opt', 'train_quickstart', '--force_yml', *LIGHT)
    table = run.folder / 'results' / 'train_quickstart' / 'quickstart_test.csv'
    assert len(table.read_text(encoding='utf-8').splitlines()) == 1 + 2, 'a head and two images'


def test_restore_by_what_was_trained(run, trained):
    one = run.folder / 'photographs' / 'lq' / '0000.png'
    mask = run.folder / 'photographs' / 'mask' / '0000.png'
    run('restore', '-i', one, '-m', mask, '-o', 'one.png', '--weights', trained)
    assert (run.folder / 'one.png').is_file()


def test_compare(run, trained):
    run('compare', 'data/test', '-n', trained, '-c', 'bicubic', '--resamples', 20)
    found = json.loads((run.folder / 'comparison' / 'results.json').read_text(encoding='utf-8'))
    assert len(found['rows']) == 3, 'the input, the network and bicubic'


def test_tables(run, trained):
    make_triplets(run.folder / 'sets' / 'clean' / 'horse_pix' / 'train', 2, size=24)
    make_triplets(run.folder / 'sets' / 'clean' / 'horse_pix' / 'test', 1, size=24, seed=1)
    said = run('tables', '--preset', 'smoke', '--networks', 'HMA1', '--data', 'sets')
    assert 'Cells: 1 done.' in said and (run.folder / 'tables' / 'table1_smoke_clean.md').is_file()


def test_export(run, trained):
    pytest.importorskip('onnxruntime')
    run('export', '--weights', trained, '-o', 'net.onnx', '--size', 64, 64)
    assert (run.folder / 'net.onnx').stat().st_size > 1000


def test_estimate(run):
    run('estimate', '-i', 'photographs/lq/0000.png', '-m', 'photographs/mask/0000.png')


def test_the_source_archive_holds_everything(source, tmp_path):
    """Tests and docs too, and what they read; nothing that lies about."""
    built = process(sys.executable, '-c', BUILD, tmp_path, cwd=source)
    assert built.returncode == 0, built.stdout
    (archive,) = tmp_path.glob('hmaca-*.tar.gz')
    with tarfile.open(archive) as file:
        held = {name.partition('/')[2] for name in file.getnames()}
    assert set(tracked()) - held == set()
    assert not [name for name in held if name.endswith('.pyc') or '__pycache__' in name]
