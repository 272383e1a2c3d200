"""The scripts for a machine with a GPU and no network, on a CPU: what they plan, and the whole way."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, environment

KIT = ROOT / 'scripts' / 'gpu'
TINY = [
    'network_g:inner:embed_dim=32',
    'network_g:inner:depths=[1]',
    'network_g:inner:num_heads=[2]',
    'datasets:train:gt_size=64',
]


def script(name):
    spec = importlib.util.spec_from_file_location(name, KIT / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_weights_travel_in_parts(tmp_path, monkeypatch):
    parts = script('parts')
    monkeypatch.setattr(parts, 'LARGEST', 1000)
    weights = {'a': torch.rand(700), 'b': torch.arange(5)}
    torch.save({'params': {}, 'params_ema': weights}, tmp_path / 'net.pth')
    for half in (False, True):
        parts.split(str(tmp_path / 'net.pth'), str(tmp_path), half)
        assert len(list(tmp_path.glob('weights.[0-9]*'))) > 2
        parts.join(str(tmp_path), str(tmp_path / 'joined.pth'))
        joined = torch.load(tmp_path / 'joined.pth', weights_only=True)['params_ema']
        assert torch.equal(joined['b'], weights['b']) and joined['a'].dtype == torch.float32
        assert (joined['a'] - weights['a']).abs().max() <= (1e-3 if half else 0)
    (tmp_path / 'weights.0').write_bytes(b'torn')
    with pytest.raises(SystemExit, match='the digest differs'):
        parts.join(str(tmp_path), str(tmp_path / 'joined.pth'))


def test_the_networks_of_the_checks_can_be_built(monkeypatch):
    monkeypatch.syspath_prepend(str(KIT))
    networks = script('checking').NETWORKS
    assert len(networks) == 8
    for build in networks.values():
        assert sum(p.numel() for p in build().parameters()) > 10_000


def test_the_batch_grows_while_it_fits_and_pays(monkeypatch):
    fit = script('fit')
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: None)

    def largest(seconds, gpu=True):
        steps = fit.Steps.__new__(fit.Steps)
        steps.gpu, steps.seconds = gpu, seconds
        return steps.largest(8, float('inf'))

    def fits_up_to_64(batch):
        if batch > 64:
            raise torch.OutOfMemoryError
        return 1.0

    assert largest(fits_up_to_64) == (64, 1.0), 'memory ends it'
    assert largest(lambda batch: max(1.0, batch / 32)) == (32, 1.0), 'crops a second no longer grow'
    assert largest(fits_up_to_64, gpu=False) == (8, 1.0), "a CPU takes the option file's"


@pytest.mark.slow
def test_from_packed_images_to_weights(tmp_path):
    """A training of a shipped option file on its own images, with wheels that are there already."""
    images = tmp_path / 'nips2017_dev_128'
    for part, count in (('train', 4), ('val', 2)):
        (images / part).mkdir(parents=True)
        for i in range(count):
            image = np.random.default_rng(i).integers(0, 256, (128, 128, 3), np.uint8)
            cv2.imwrite(str(images / part / f'{i}.png'), image)
    kit, run, out = tmp_path / '.gpu' / 'kit', tmp_path / 'run', tmp_path / 'out'
    shutil.copytree(KIT, kit)
    run.mkdir()
    (run / 'ready').touch()
    with tarfile.open(tmp_path / '.gpu' / 'images.tar', 'w') as archive:
        archive.add(images, images.name)

    def call(*arguments):
        done = subprocess.run(
            [sys.executable, kit / 'call.py', *map(str, arguments)],
            cwd=ROOT,
            env={**environment(), 'OUT': str(out), 'RUN': str(run)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0 and 'Traceback' not in done.stdout, done.stdout
        return done.stdout

    name = 'train_Unfolded_light_mixed'
    said = call('train', name, 600, *TINY, '--batch', 2, '--iterations', 3)
    assert f'{name}: 3 iterations of 2 crops' in said and '6 crops seen' in said
    assert json.loads((out / 'crops.json').read_text())['crops'] == 6
    digest = json.loads((out / 'weights.json').read_text())
    assert os.path.getsize(out / 'weights.0') == digest['bytes']
    with tarfile.open(out / f'{name}.tar.gz') as archive:
        assert [file for file in archive.getnames() if file.endswith('.csv')]
    planned = json.loads((run / f'{name}.json').read_text())
    assert planned['crop'] == 64 and planned['measured']['seconds of a step'] > 0
    assert 'weights and logs' in call('finish', name, 300)
