"""Degradations of the user's own: registered by a module that only a command line names."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, environment, make_triplets, tiny_options, write_options
from PIL import Image
from skimage import data

from datasets_ext.manifest import degradation_of
from datasets_ext.recipe import Recipe
from hmaca_arch.degradation import UNKNOWN, register_degradation
from hmaca_arch.degradation.custom import DEGRADERS
from hmaca_arch.degradation.kernel_files import read_degradation

EXAMPLE = ROOT / 'docs' / 'examples' / 'my_degradations.py'


@pytest.fixture
def registry(monkeypatch):
    """Forget afterwards what a test registers."""
    monkeypatch.setattr('hmaca_arch.degradation.custom.DEGRADERS', DEGRADERS)
    before = dict(DEGRADERS)
    yield
    DEGRADERS.clear()
    DEGRADERS.update(before)


def test_it_is_drawn_like_the_others_and_unknown_to_the_network(registry):
    @register_degradation('stripes')
    def stripes(image, mask, rng, period=4, colour=0):
        mask[:] = True  # a copy
        image[:: int(period)] = colour
        return image

    recipe = Recipe(degradation={'type': 'stripes', 'period': [2, 3]}, size=64, region_size=20)
    lq, mask, gt, record = recipe(data.chelsea()[:80, :80], np.random.default_rng(0))
    (applied,) = record['degradations']
    assert applied['type'] == 'stripes' and applied['period'] in (2, 3) and applied['colour'] == 0
    expected = gt.copy()
    expected[:: applied['period']] = 0
    assert np.array_equal(lq, np.where(mask, expected, gt)) and (lq != gt).any()
    assert degradation_of(record) == UNKNOWN == read_degradation('stripes')
    with pytest.raises(ValueError, match=r"stripes: there is no 'perod' \(did you mean period"):
        Recipe(degradation={'type': 'stripes', 'perod': 2})
    with pytest.raises(ValueError, match='degradation stripes: period is .far., expected a number'):
        Recipe(degradation={'type': 'stripes', 'period': 'far'})
    with pytest.raises(ValueError, match='protocol release'):
        Recipe(protocol='release', degradation='stripes')


@pytest.mark.parametrize(
    ('name', 'function', 'line'),
    [
        ('blur', lambda image, mask, rng: image, "'blur': expected a new name"),
        ('auto', lambda image, mask, rng: image, "'auto': expected a new name"),
        ('a b', lambda image, mask, rng: image, "'a b': expected a new name"),
        ('few', lambda image: image, 'expected a function of image, mask and rng'),
        ('wide', lambda image, mask, rng, width: image, 'parameter width needs a number'),
        ('text', lambda image, mask, rng, width='1': image, 'parameter width needs a number'),
        ('own', lambda image, mask, rng, weight=1: image, 'another name than weight and type'),
    ],
)
def test_what_cannot_be_registered(registry, name, function, line):
    with pytest.raises(ValueError, match=line):
        register_degradation(name)(function)
    assert name not in DEGRADERS


@pytest.mark.parametrize(
    ('function', 'line'),
    [
        (lambda image, mask, rng: image[..., 0], r'returned \(32, 32\) uint8, expected \(32'),
        (lambda image, mask, rng: image / 2, r'returned \(32, 32, 3\) float64, expected'),
        (lambda image, mask, rng: None, 'returned NoneType, expected an array'),
    ],
)  # fmt: skip
def test_what_cannot_be_returned(registry, function, line):
    register_degradation('wrong')(function)
    with pytest.raises(ValueError, match=line):
        Recipe(degradation='wrong')(np.zeros((32, 32, 3), np.uint8), np.random.default_rng(0))


def basicsr(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    """Run a command in a process that has imported nothing of the user's."""
    return subprocess.run(
        [sys.executable, '-m', 'hmaca_arch', *map(str, arguments)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """A folder with the example of the documentation and two photographs."""
    folder = tmp_path_factory.mktemp('own')
    shutil.copy(EXAMPLE, folder)
    (folder / 'photos').mkdir()
    for name in ('chelsea', 'astronaut'):
        Image.fromarray(getattr(data, name)()[:80, :80]).save(folder / 'photos' / f'{name}.png')
    return folder


MAKE = ('make-dataset', 'photos', '-o', 'made', '--protocol', 'clean', '--size', 64)
SCRATCHES = ('--degradation', 'scratches', '--workers', 2)


@pytest.mark.slow
def test_make_dataset_imports_it_in_its_workers_too(folder):
    without = basicsr(folder, *MAKE, *SCRATCHES)
    assert without.returncode == 1 and "there is no 'scratches'" in without.stderr
    done = basicsr(folder, *MAKE, *SCRATCHES, '--import', 'my_degradations')
    assert done.returncode == 0, done.stderr
    records = (folder / 'made' / 'manifest.jsonl').read_text('utf-8').splitlines()
    for record in map(json.loads, records):
        expected = [{'type': 'scratches', 'count': 5, 'darkness': 0.8}]
        assert record['degradations'] == expected
        lq, gt, mask = (
            np.asarray(Image.open(folder / 'made' / kind / f'{record["name"]}.png')).astype(int)
            for kind in ('lq', 'gt', 'mask')
        )
        assert (lq != gt).any() and (lq <= gt).all() and not (lq != gt)[mask == 0].any()
    assert len(records) == 2


@pytest.mark.parametrize(
    ('module', 'content', 'line'),
    [
        ('failing', 'nothing', "cannot be imported: NameError: name 'nothing' is not defined"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ('no_such_module', None, 'cannot be imported: ModuleNotFoundError: No module'),
                ('a/b.py', None, "got 'a/b.py', expected the name of a module"),
                ('broken', 'def (', 'cannot be imported: SyntaxError: '),
            )
        ),
    ],
)
def test_a_module_that_cannot_be_imported_gets_one_line(folder, module, content, line):
    if content:
        (folder / f'{module}.py').write_text(content, encoding='utf-8')
    done = basicsr(folder, *MAKE, *SCRATCHES, '-o', 'out', '--import', module)
    assert done.returncode == 1 and not (folder / 'out').exists()
    assert done.stderr.startswith('basicsr make-dataset: error: --import: ')
    assert line in done.stderr and done.stderr.count('\n') == 1


@pytest.mark.slow
def test_train_check_and_restore_import_it_and_option_files_cannot(folder):
    make_triplets(folder / 'data' / 'train', 2, size=64)
    make_triplets(folder / 'data' / 'test', 1, size=64, seed=1)
    options = tiny_options(folder / 'data')
    options['train']['total_iter'] = 1
    options['datasets']['train'] = {
        key: value
        for key, value in options['datasets']['train'].items()
        if key not in ('dataroot_lq', 'dataroot_mask')
    } | {
        'type': 'MaskedDegradationDataset',
        'protocol': 'clean',
        'degradation': [{'type': 'scratches', 'count': [1, 9]}],
    }
    write_options(folder / 'o.yml', options)
    own = ('--import', 'my_degradations')
    done = basicsr(folder, 'train', '-opt', 'o.yml')
    assert done.returncode == 1 and "there is no 'scratches'" in done.stderr, done.stderr
    for command in ('train', 'check'):
        done = basicsr(folder, command, '-opt', 'o.yml', *own)
        assert done.returncode == 0, done.stderr
    (folder / 'spy.py').write_text("open('imported', 'w')", encoding='utf-8')
    for where in (options, options['datasets']['train'], options['network_g']):
        where['import'] = 'spy'
    write_options(folder / 'stranger.yml', options)
    done = basicsr(folder, 'train', '-opt', 'stranger.yml', *own)
    assert done.returncode == 1 and not (folder / 'imported').exists()
    for setting in ('import', 'datasets:train:import'):
        assert f'error: {setting}: there is no such setting' in done.stderr
    restore = ('restore', '-i', 'photos/chelsea.png', '-o', 'out.png', '--box', '8,8,20,20')
    done = basicsr(folder, *restore, '--degradation', 'scratches')
    assert done.returncode == 1 and "--degradation: got 'scratches', expected" in done.stderr
    done = basicsr(folder, *restore, '--degradation', 'scratches', *own)
    assert done.returncode == 0 and (folder / 'out.png').is_file(), done.stderr
