"""Saving fails at every write, rename and fsync, as an error or as a power cut: the newest whole
checkpoint is always found.
"""

import errno
import itertools
import os
from pathlib import Path

import pytest
import torch
from basicsr.models import build_model
from conftest import tiny_options

import losses_ext  # noqa: F401
from hmaca_arch.files import atomic as checkpoint_files
from hmaca_arch.training import pipeline as training
from hmaca_arch.training import resuming


class PowerCut(BaseException):
    """The process is gone: nothing is cleaned up after it."""


class Disk:
    """Counts what is done to the disk and fails at one of these operations; everything before it
    has really happened.
    """

    def __init__(self, monkeypatch, cut: bool):
        self.at, self.done, self.cut, self.dead = None, 0, cut, False
        for name in ('fsync', 'replace', 'remove'):
            monkeypatch.setattr(checkpoint_files.os, name, self.wrapped(getattr(os, name)))
        monkeypatch.setattr(checkpoint_files, 'open', self.open, raising=False)

    def operation(self) -> None:
        if self.dead:
            raise PowerCut  # also of what an error's handler would still do
        self.done += 1
        if self.done == self.at:
            self.dead = self.cut
            raise PowerCut if self.cut else OSError(errno.ENOSPC, 'No space left on device')

    def wrapped(self, function):
        def checked(*args):
            if function.__name__ != 'remove' or self.dead:  # clearing up is not part of saving
                self.operation()
            return function(*args)

        return checked

    def open(self, path, mode):
        disk, file = self, open(path, mode, buffering=0)  # noqa: SIM115 (closed by the Writer)

        class Writer:
            def write(self, data):
                disk.operation()
                return file.write(data)

            def flush(self):
                file.flush()

            def tell(self):
                return file.tell()

            def fileno(self):
                return file.fileno()

            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

        return Writer()


@pytest.fixture
def model(tmp_path):
    training.install()
    options = tiny_options(tmp_path)
    options['network_g'] = {'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': 1}
    folders = {
        name: str(tmp_path / name) for name in ('models', 'training_states', 'visualization')
    }
    for folder in folders.values():
        Path(folder).mkdir()
    options.update(dist=False, rank=0, world_size=1, is_train=True, path=folders)
    options['train']['ema_decay'] = 0.9
    options['logger']['keep_last'] = 2
    model = build_model(options)
    model.feed_data(
        {
            'lq': torch.rand(1, 3, 8, 8),
            'gt': torch.rand(1, 3, 8, 8),
            'mask': torch.ones(1, 1, 8, 8),
            'lq_path': ['a'],
        }
    )
    return model


def save(model, iteration):
    model.optimize_parameters(iteration)
    model.save(0, iteration)
    return {
        name: value.clone()
        for name, value in model.get_bare_model(model.net_g).state_dict().items()
    }


@pytest.mark.parametrize('cut', [False, True], ids=['error', 'power cut'])
def test_every_operation_of_a_save_may_fail(model, tmp_path, monkeypatch, cut):
    models, states = tmp_path / 'models', tmp_path / 'training_states'
    disk = Disk(monkeypatch, cut)
    weights = {1: save(model, 1)}
    operations = disk.done
    assert operations >= 60, 'fault points of one save'
    iterations = itertools.count(2)
    for at in range(1, operations + 1):
        iteration = next(iterations)
        disk.at, disk.done = at, 0
        with pytest.raises(PowerCut if cut else OSError):
            weights[iteration] = save(model, iteration)
        disk.at, disk.dead = None, False
        assert cut or not list(tmp_path.rglob('*.tmp')), 'an error leaves nothing half-written'
        _, state = resuming.newest_checkpoint(states, models)
        # the rename of the state is what makes a checkpoint: only the fsync of the folder comes
        # after it
        complete = iteration if at == operations else max(weights)
        assert state['iter'] == complete
        if complete in weights:
            found = torch.load(models / f'net_g_{complete}.pth', weights_only=True)['params']
            assert all(torch.equal(value, found[name]) for name, value in weights[complete].items())
        for leftover in tmp_path.rglob('*.tmp'):  # as the next start does
            leftover.unlink()
        if at % 20 == 0:  # the disk works again for a while
            iteration = next(iterations)
            disk.done = 0
            weights[iteration] = save(model, iteration)
    assert len(list(states.iterdir())) <= 3, 'old checkpoints went all the while'
