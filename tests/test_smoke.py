"""What every system must do, in real processes: the smoke set of Windows and macOS.

Nothing here depends on how a system writes paths, on signals, or on the size of its processors.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import basicsr, environment

from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.image_files import read_image
from hmaca_arch.files.images import encode_png
from hmaca_arch.files.locks import only_here

pytestmark = pytest.mark.slow
FOLDER = 'a folder, with blänks and 猫'  # OpenCV on Windows opens no file below it
LIGHT = ['network_g:embed_dim=32', 'network_g:depths=[1]', 'network_g:num_heads=[2]']


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """images/ of 64x64, as a user has them."""
    folder = tmp_path_factory.mktemp('smoke') / FOLDER
    (folder / 'images').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(5):
        pixels = np.kron(rng.integers(0, 256, (8, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
        (folder / 'images' / f'{number}.png').write_bytes(encode_png(pixels))
    return folder


def test_versions(folder):
    assert basicsr(folder, '--version').stdout.startswith('hmaca ')


def test_restore(folder):
    image = np.full((64, 64, 3), 128, np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 24:50] = 255
    noise = np.random.default_rng(1).integers(-40, 41, image.shape)
    image[mask > 0] = (image + noise)[mask > 0]
    (folder / 'phöto.png').write_bytes(encode_png(image))
    (folder / 'the mask.png').write_bytes(encode_png(mask))
    command = ['restore', '-i', 'phöto.png', '-m', 'the mask.png', '-o', 'restöred.png']
    basicsr(folder, *command, '--verify', '--json', 'report.json', '--device', 'cpu')
    restored = read_image(folder / 'restöred.png').pixels
    changed = (restored != image).any(axis=2)
    assert changed[mask > 0].any() and not changed[mask == 0].any()
    report = json.loads((folder / 'report.json').read_text(encoding='utf-8'))
    assert report['done'] == 1 and report['files'][0]['verified']
    again = basicsr(folder, *command, '--device', 'cpu', check=False)
    assert again.returncode == 1 and '--overwrite' in again.stdout


def test_from_images_to_a_tested_network(folder):
    """Workers, LMDBs, checkpoints, resuming and option files by name."""
    made = ['make-dataset', 'images', '-o', 'data', '--protocol', 'clean', '--degradation', 'pix']
    basicsr(folder, *made, '--size', 64, '--hold-out', 2, '--workers', 2)
    basicsr(folder, 'make-lmdb', 'data', '--workers', 2)
    often = ['logger:save_checkpoint_freq=2', 'logger:print_freq=1']
    options = ['-opt', 'train_quickstart', '--force_yml', *LIGHT, *often]
    options.append('datasets:train:num_worker_per_gpu=1')
    assert 'are right' in basicsr(folder, 'check', *options).stdout
    basicsr(folder, 'train', *options, 'train:total_iter=2')
    basicsr(folder, 'train', '--auto_resume', *options, 'train:total_iter=4')
    run = folder / 'experiments' / 'train_quickstart'
    assert (run / 'training_states' / '4.state').is_file()
    lines = (run / 'log.jsonl').read_text(encoding='utf-8').splitlines()
    assert [json.loads(line)['iter'] for line in lines][-1] == 4
    basicsr(folder, 'test', '-opt', 'train_quickstart', '--force_yml', *LIGHT)
    table = folder / 'results' / 'train_quickstart' / 'quickstart_test.csv'
    assert len(table.read_text(encoding='utf-8').splitlines()) == 1 + 2
    assert not list(folder.rglob('*.tmp')) and not list(folder.rglob('.*.lock'))


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / 'fïle'
    write_atomically(path, b'one')
    with pytest.raises(RuntimeError, match='half'):
        write_atomically(path, lambda file: (_ for _ in ()).throw(RuntimeError('half')))
    assert path.read_bytes() == b'one' and os.listdir(tmp_path) == ['fïle']
    write_atomically(path, b'two')
    assert path.read_bytes() == b'two'


def test_a_second_process_is_kept_out(tmp_path):
    code = (
        'import sys\n'
        'from pathlib import Path\n'
        'from hmaca_arch.files.locks import only_here\n'
        'with only_here(Path(sys.argv[1])):\n'
        '    print("inside")\n'
    )
    command = [sys.executable, '-c', code, str(tmp_path)]
    with only_here(tmp_path):
        second = subprocess.run(command, env=environment(), capture_output=True)
    assert second.returncode != 0 and b'another process writes there' in second.stderr
    third = subprocess.run(command, env=environment(), capture_output=True, check=True)
    assert third.stdout.strip() == b'inside' and list(tmp_path.iterdir()) == []
