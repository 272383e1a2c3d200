"""`logger: wandb`: BasicSR's logger, with the wandb of today."""

import os
import subprocess
import sys
import types

import pytest
from conftest import ROOT, command_line, environment, tiny_options, write_options


class UsageError(Exception):
    """What wandb raises without a login."""


@pytest.fixture
def options(triplets):
    options = tiny_options(triplets)
    options['train']['total_iter'] = 2
    options['val'].update(val_freq=1, save_img=True)
    options['logger'].update(use_tb_logger=True, wandb={'project': 'a project', 'resume_id': None})
    return options


@pytest.fixture
def wandb(monkeypatch):
    """A module that notes what it is asked for."""
    module = types.ModuleType('wandb')
    module.__spec__ = types.SimpleNamespace()
    module.errors = types.SimpleNamespace(Error=UsageError)
    module.calls = []
    module.fails = False

    def init(**settings):
        if module.fails:
            raise UsageError('api_key not configured')
        module.calls.append(settings)
        return types.SimpleNamespace(id=settings['id'] or 'drawn')

    module.init = init
    monkeypatch.setitem(sys.modules, 'wandb', module)
    return module


def test_it_is_started_before_tensorboard(basicsr_here, options, wandb, tmp_path):
    path = write_options(tmp_path / 'o.yml', options)
    assert basicsr_here('train', '-opt', path) == (0, '')
    (call,) = wandb.calls
    assert call['config']['name'] == call['name'] == 'tiny' and call['project'] == 'a project'
    assert call['sync_tensorboard'] is True and call['id'] is None and call['resume'] is None
    options['logger']['wandb']['resume_id'] = 'abc'
    path = write_options(tmp_path / 'o.yml', options)
    assert basicsr_here('train', '-opt', path) == (0, '')
    assert wandb.calls[1]['id'] == 'abc' and wandb.calls[1]['resume'] == 'allow'
    log = ''.join(found.read_text('utf-8') for found in tmp_path.glob('experiments/tiny/*.log'))
    assert 'wandb: project a project, id abc (resume_id)' in log


def test_mistakes_are_one_line(basicsr_here, options, wandb, tmp_path, monkeypatch):
    path = write_options(tmp_path / 'o.yml', options)
    wandb.fails = True
    code, error = basicsr_here('train', '-opt', path)
    assert code == 1 and 'logger:wandb: api_key not configured; `wandb login` once' in error
    monkeypatch.setitem(sys.modules, 'wandb', None)
    code, error = basicsr_here('train', '-opt', path)
    assert code == 1 and 'the package wandb is not installed: pip install wandb' in error


@pytest.mark.slow
def test_wandb_itself_copies_scalars_and_images(options, tmp_path):
    """Offline, in a process whose end sends everything, where the package is there."""
    pytest.importorskip('wandb')
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))
    done = subprocess.run(
        command_line('train', '-opt', write_options(tmp_path / 'o.yml', options)),
        cwd=tmp_path,
        env={**environment(), 'WANDB_MODE': 'offline', 'PYTHONPATH': path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    images = list(tmp_path.glob('wandb/offline-run-*/files/media/images/*.png'))
    assert len(images) == 2 * 2, 'of two images, at two validations'
