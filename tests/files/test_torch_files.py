"""Reading weights that may be anything, and what a training saves and takes back."""

import errno
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from hmaca_arch.files import atomic
from hmaca_arch.files.claims import refuse_odd_tensors
from hmaca_arch.files.torch_files import load_safely, read_checkpoint, save_atomically

WEIGHTS = {'a': torch.ones(2, 3)}


def test_a_full_disk_is_called_so_whatever_torch_makes_of_it(tmp_path, monkeypatch):
    """torch.save's own error, about its file writer, hides the reason."""

    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, 'No space left on device')

    def as_torch_says_it(data, file):
        try:
            file.write(b'')
        except OSError:
            raise RuntimeError('unexpected pos 64 vs 0')  # noqa: B904

    monkeypatch.setattr(atomic, 'open', Full, raising=False)
    for save in (torch.save, as_torch_says_it):
        monkeypatch.setattr(torch, 'save', save)
        with pytest.raises(OSError) as caught:
            save_atomically(WEIGHTS, tmp_path / 'net.pth')
        assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(
            tmp_path / 'net.pth'
        )
        assert os.listdir(tmp_path) == []


def test_saved_is_what_loads(tmp_path):
    save_atomically(
        {'iter': 3, 'params': WEIGHTS, 'text': 'x', 'list': [1, None]}, tmp_path / '3.state'
    )
    state = load_safely(tmp_path / '3.state')
    assert (
        state['iter'] == 3
        and torch.equal(state['params']['a'], WEIGHTS['a'])
        and state['list'] == [1, None]
    )


def test_what_was_saved_on_a_gpu_loads_without_one(tmp_path, monkeypatch):
    monkeypatch.setattr(
        torch.serialization, 'location_tag', lambda storage: 'cuda:7'
    )  # of a machine with eight
    torch.save(WEIGHTS, tmp_path / 'net.pth')
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match='CUDA'):
        torch.load(tmp_path / 'net.pth', weights_only=True)
    assert load_safely(tmp_path / 'net.pth')['a'].device.type == 'cpu'


class Program:
    """What a pickle of this does when it is loaded without care: make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, 'w')


@pytest.mark.parametrize('form', ['zip', 'legacy', 'pickle'])
def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch, form):
    trace, path = tmp_path / 'executed', tmp_path / 'net.pth'
    content = {'params': {**WEIGHTS, 'b': Program(trace)}}
    if form == 'pickle':
        path.write_bytes(pickle.dumps(Program(trace), protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == 'zip')
    monkeypatch.setenv(
        'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1'
    )  # what a user may have set for other programs
    with pytest.raises(ValueError) as caught:
        load_safely(path)
    refused = f'it holds {open.__module__}.open besides tensors and plain values, and loading that could execute code'
    assert str(caught.value) == (
        'it is damaged, or another kind of file' if form == 'pickle' else refused
    )
    assert caught.value.__context__ is None and not trace.exists()
    torch.load(path, weights_only=False) if form != 'pickle' else pickle.loads(path.read_bytes())
    assert trace.exists(), 'the file would have done it'


def test_what_is_no_checkpoint_is_told_in_a_short_line(tmp_path, recwarn):
    save_atomically({'params': WEIGHTS}, tmp_path / 'whole.pth')
    whole = (tmp_path / 'whole.pth').read_bytes()
    path = tmp_path / 'net.pth'
    for data, message in (
        (b'', 'it is cut short'),
        (b'not a checkpoint', 'it is damaged, or another kind of file'),
        (pickle.dumps({'a': 1}, protocol=5), 'it is damaged, or another kind of file'),
        (whole[: len(whole) // 2], 'it is damaged, or another kind of file'),
        (b'PK\x03\x04' + bytes(100), 'it is damaged, or another kind of file'),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError) as caught:
            load_safely(path)
        text = str(caught.value)
        assert text.startswith(message) and len(text) <= 120 and '\n' not in text
    with pytest.raises(FileNotFoundError):
        load_safely(tmp_path / 'nowhere.pth')
    assert not recwarn.list


def test_memory_that_runs_out_is_not_a_damaged_file(tmp_path, monkeypatch):
    def load(*_, **__):
        raise MemoryError

    save_atomically({'params': WEIGHTS}, tmp_path / 'net.pth')
    monkeypatch.setattr(torch, 'load', load)
    with pytest.raises(MemoryError):
        load_safely(tmp_path / 'net.pth')


def test_long_names_are_cut(tmp_path):
    with zipfile.ZipFile(tmp_path / 'net.pth', 'w') as file:
        file.writestr('net/data.pkl', b'\x80\x02cx\n' + b'x' * 500 + b'\n.')
    with pytest.raises(ValueError, match=r'^it holds x\.x{78} besides'):
        load_safely(tmp_path / 'net.pth')


def test_averaged_weights_come_first_and_the_key_is_told(tmp_path):
    path, other = tmp_path / 'net.pth', {'b': torch.zeros(1)}
    for content, key, name in (
        ({'params': WEIGHTS, 'params_ema': other}, 'params_ema', 'b'),
        ({'params': WEIGHTS}, 'params', 'a'),
        (WEIGHTS, None, 'a'),
        (OrderedDict(WEIGHTS), None, 'a'),
    ):
        torch.save(content, path)
        found, found_key = read_checkpoint(path)
        assert list(found) == [name] and found_key == key
    torch.save({'params': WEIGHTS, 'params_ema': other}, path)
    assert (
        read_checkpoint(path, ('params',))[1] == 'params'
        and read_checkpoint(path, ('x', 'params_ema'))[1] == 'params_ema'
    )


@pytest.mark.parametrize(
    'content',
    [
        {},
        {'params': {}},
        {'iter': 3},
        {'params': {'a': 1}},
        {'params': {1: torch.ones(1)}},
        [torch.ones(1)],
        torch.ones(1),
        'params',
    ],
)
def test_what_holds_no_weights_is_named(tmp_path, content):
    torch.save(content, tmp_path / 'net.pth')
    with pytest.raises(ValueError) as caught:
        read_checkpoint(tmp_path / 'net.pth')
    assert (
        str(caught.value)
        == f'{tmp_path / "net.pth"}: holds no weights; expected a checkpoint net_g_*.pth with params or params_ema'
    )


def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / 'net.pth').write_bytes(b'')
    with pytest.raises(ValueError) as caught:
        read_checkpoint(tmp_path / 'net.pth')
    assert (
        str(caught.value)
        == f'{tmp_path / "net.pth"}: not a checkpoint that can be read: it is cut short'
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        read_checkpoint(Path('gone.pth'))
    path = tmp_path / 'gone.pth'
    assert (
        str(caught.value)
        == f'weights: {path} does not exist; expected a checkpoint, experiments/NAME/models/net_g_*.pth'
    )


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: 'text', 'a name is no tensor'),
        (
            lambda: torch.zeros(2, device='meta'),
            'a name is a tensor on the meta device; expected a dense',
        ),
        (
            lambda: torch.zeros(2).to_sparse(),
            'a name is a tensor float32, sparse_coo; expected a dense',
        ),
        (
            lambda: torch.zeros(2, dtype=torch.complex64),
            'a name is a tensor complex64, strided; expected',
        ),
        (
            lambda: torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.quint8),
            'a name is a tensor quin',
        ),
        (lambda: torch.zeros(1).expand(9), 'its tensors claim 44 bytes and share 12'),
    ],
)
@pytest.mark.filterwarnings('ignore::UserWarning')
def test_tensors_that_are_not_dense_and_real(make, message):
    refuse_odd_tensors({'first': torch.zeros(2), 'empty': torch.zeros(0)})
    with pytest.raises(ValueError) as caught:
        refuse_odd_tensors({'first': torch.zeros(2), 'a name': make()})
    assert str(caught.value).startswith(message)
    shared = torch.zeros(4)
    with pytest.raises(ValueError, match='its tensors claim 20 bytes and share 16'):
        refuse_odd_tensors({'all': shared, 'one': shared[:1]})
    refuse_odd_tensors({'one': shared[:1], 'another': shared[1:]})
