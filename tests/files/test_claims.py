"""What a file of torch claims to hold: exact limits, by files made by hand."""

import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from hmaca_arch.files import claims, torch_files
from hmaca_arch.files.claims import LEGACY, refuse_claims, refuse_odd_tensors
from hmaca_arch.files.pickles import DAMAGED
from hmaca_arch.files.torch_files import load_safely, weights_in


def program(key: str = '0', elements: int = 6, kind: str = 'ByteStorage') -> bytes:
    """Ask for one storage."""
    texts = [b'X' + struct.pack('<I', len(one)) + one.encode() for one in ('storage', key, 'cpu')]
    named, count = f'ctorch\n{kind}\n'.encode(), b'J' + struct.pack('<i', elements)
    return b''.join([b'\x80\x02(', texts[0], named, texts[1], texts[2], count, b'tQ.'])


def zipped(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    with zipfile.ZipFile(path, 'w', compression) as file:
        for member, content in members.items():
            file.writestr(member, content)
    return path.read_bytes()


def refusal(path: Path, data: bytes | None = None) -> str | None:
    """Return why a file is refused; what is not refused is given back at its start."""
    if data is not None:
        path.write_bytes(data)
    with open(path, 'rb') as file:
        try:
            given = refuse_claims(file)
        except ValueError as error:
            assert error.__suppress_context__ or error.__context__ is None
            return str(error)
        assert given.tell() == 0 and given.read() == path.read_bytes()
        assert (given is file) == (not path.read_bytes().startswith(LEGACY))
    return None


@pytest.mark.parametrize('key', ['0', 'a' * 39, 'a' * 40, 'a' * 41])
def test_a_storage_and_its_member(tmp_path, key):
    path = tmp_path / 'a'
    for held, claimed, message in (
        (6, 6, None),
        (7, 6, None),
        (0, 0, None),
        (5, 6, f'it claims 6 bytes in data/{key[:40]}, which has 5'),
    ):
        zipped(path, {'net/data.pkl': program(key, claimed), f'net/data/{key}': bytes(held)})
        assert refusal(path) == message
    zipped(path, {'net/data.pkl': program(key), 'net/data/b': bytes(9)})
    assert refusal(path) == DAMAGED
    zipped(path, {'net/other.pkl': program(key), f'net/data/{key}': bytes(9)})
    assert refusal(path) == DAMAGED
    zipped(path, {'net/x': b'', 'other/data.pkl': program(key), f'net/data/{key}': bytes(9)})
    assert refusal(path) == DAMAGED, 'the first member names the folder'


def test_the_longest_program_and_directory(tmp_path, monkeypatch):
    path, content = tmp_path / 'a', program()
    data = zipped(path, {'net/data.pkl': content, 'net/data/0': bytes(6)})
    directory = struct.unpack_from('<I', data, len(data) - 22 + 12)[0]
    for name, size, message in (
        ('MOST_PROGRAM', len(content), 'net/data.pkl has {0} bytes; expected at most {1}'),
        ('MOST_DIRECTORY', directory, 'its directory has {0} bytes; expected at most {1}'),
    ):
        monkeypatch.setattr(claims, name, size)
        assert refusal(path) is None
        monkeypatch.setattr(claims, name, size - 1)
        assert refusal(path) == message.format(size, size - 1)
        monkeypatch.undo()


def test_members_claim_as_much_as_the_file_has_at_most(tmp_path):
    path, content = tmp_path / 'a', program()
    data = bytearray(zipped(path, {'net/data.pkl': content, 'net/data/0': bytes(6)}))
    entry = data.rindex(b'PK\1\2')  # of the last member in the directory
    for more, message in ((0, None), (1, f'it claims {len(data) + 1} bytes and has {len(data)}')):
        struct.pack_into('<I', data, entry + 24, len(data) - len(content) + more)
        assert refusal(path, bytes(data)) == message


def test_what_is_compressed_or_locked(tmp_path):
    path, members = tmp_path / 'a', {'net/data.pkl': program(), 'net/data/0': bytes(999)}
    claimed = sum(map(len, members.values()))

    def said(size: int) -> str:
        return f'it is compressed: {size} bytes that claim {claimed}; torch.save does not compress'

    data = zipped(path, members, zipfile.ZIP_DEFLATED)
    assert refusal(path) == said(len(data))
    data = bytearray(zipped(path, members))
    entry = data.rindex(b'PK\1\2')
    data[entry + 8] |= 8  # another flag
    assert refusal(path, bytes(data)) is None
    data[entry + 8] |= 1
    assert refusal(path, bytes(data)) == said(len(data))


def test_members_that_another_reader_might_see_elsewhere(tmp_path):
    path, members = tmp_path / 'a', {'net/data.pkl': program(), 'net/data/0': bytes(6)}
    data = zipped(path, members)
    assert refusal(path) is None and refusal(path, claims.ZIP + data) == DAMAGED
    zipped(path, members | {'net/DATA.pkl': b''})
    assert refusal(path) == DAMAGED, 'equal names but for capitals'
    assert refusal(path, data[:-22]) == DAMAGED, 'without the end of the directory'
    nothing = claims.ZIP + b'PK\5\6' + bytes(12) + struct.pack('<I', 4) + bytes(2)
    assert refusal(path, nothing) == DAMAGED, 'no members'


def legacy(*programs: bytes) -> bytes:
    """Return a file whose last pickles are these."""
    return LEGACY + b'\x80\x02N.' * (4 - len(programs)) + b''.join(programs)


def test_storages_of_the_legacy_format_and_the_file(tmp_path):
    path = tmp_path / 'a'
    size = len(legacy(program()))
    for elements, message in (
        (size, None),
        (size + 1, f'it claims {size + 1} bytes and has {size}'),
    ):
        assert refusal(path, legacy(program(elements=elements))) == message
    size = len(legacy(program(), program()))
    assert refusal(path, legacy(program(elements=size), program(elements=size))) is None, 'one'
    two = legacy(program(elements=size), program('1', 2))
    assert refusal(path, two) == f'it claims {size + 2} bytes and has {size}'
    assert refusal(path, legacy() + program(elements=2**20)) is None, 'behind the pickles'
    for cut in (LEGACY, legacy()[:-1], legacy()[:-4]):
        assert refusal(path, cut) == DAMAGED


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'it is cut short'),
        (b'P', DAMAGED),
        (LEGACY[:-1], DAMAGED),
        (LEGACY[:-1] + b'x' + legacy()[len(LEGACY) :], DAMAGED),
        (b'xPK\x03\x04', DAMAGED),
    ],
)
def test_what_is_neither(tmp_path, data, message):
    assert refusal(tmp_path / 'a', data) == message


@pytest.mark.parametrize(
    ('name', 'make', 'message'),
    [
        ('n' * 90, lambda: 'text', f'{"n" * 80} is no tensor'),
        (7, lambda: None, '7 is no tensor'),
        (
            'n' * 90,
            lambda: torch.zeros(2, device='meta'),
            f'{"n" * 80} is a tensor on the meta device; ',
        ),
        (
            'n',
            lambda: torch.zeros(2, dtype=torch.complex64),
            'n is a tensor complex64, strided; expected ',
        ),
        (
            'n',
            lambda: torch.eye(2).to_sparse_csr(),
            'n is a tensor float32, sparse_csr; expected a dense',
        ),
        (
            'n',
            lambda: torch.nested.nested_tensor([torch.zeros(1)]),
            'n is a tensor float32, strided; ',
        ),
    ],
)
@pytest.mark.filterwarnings('ignore::UserWarning')
def test_each_kind_of_odd_tensor(name, make, message):
    with pytest.raises(ValueError) as caught:
        refuse_odd_tensors({'a': torch.zeros(2), name: make()})
    assert str(caught.value).startswith(message)


def test_memory_is_counted_once_and_as_it_is():
    byte = torch.zeros(1, dtype=torch.uint8)
    refuse_odd_tensors({'a': byte, 'nothing': torch.zeros(0)})
    with pytest.raises(ValueError, match='^its tensors claim 2 bytes and share 1$'):
        refuse_odd_tensors({'a': byte.expand(2), 'nothing': torch.zeros(0)})
    whole = torch.zeros(4)
    refuse_odd_tensors({'a': whole[:2], 'b': whole[2:], 'c': torch.zeros(3)})
    with pytest.raises(ValueError, match='^its tensors claim 32 bytes and share 28$'):
        refuse_odd_tensors({'a': whole[:3], 'b': whole[2:], 'c': torch.zeros(3)})


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        (RuntimeError('x' * 120), 'x' * 120),
        (RuntimeError('x' * 121), 'x' * 120),
        (ValueError('it is torn'), 'it is torn'),
        (RuntimeError('use weights_only=False'), DAMAGED),
    ],
)
def test_what_torch_says_is_cut(tmp_path, monkeypatch, error, message):
    def load(*given, **options):
        assert options == {'map_location': 'cpu', 'weights_only': True} and len(given) == 1
        raise error

    zipped(tmp_path / 'a', {'net/data.pkl': program(), 'net/data/0': bytes(6)})
    monkeypatch.setattr(torch_files.torch, 'load', load)
    with pytest.raises(ValueError) as caught:
        load_safely(tmp_path / 'a')
    assert str(caught.value) == message


@pytest.mark.parametrize('error', [OSError(5, 'broken'), MemoryError()])
def test_what_is_no_matter_of_the_file_is_raised_as_it_is(tmp_path, monkeypatch, error):
    def load(*_, **__):
        raise error

    zipped(tmp_path / 'a', {'net/data.pkl': program(), 'net/data/0': bytes(6)})
    monkeypatch.setattr(torch_files.torch, 'load', load)
    with pytest.raises(type(error)) as caught:
        load_safely(tmp_path / 'a')
    assert caught.value is error


def test_no_file_is_opened_that_is_none(tmp_path):
    with pytest.raises(ValueError, match='^it is no file$'):
        load_safely(tmp_path)
    if hasattr(os, 'mkfifo'):
        os.mkfifo(tmp_path / 'pipe')
        with pytest.raises(ValueError, match='^it is no file$'):
            load_safely(tmp_path / 'pipe')


def test_weights_by_their_names():
    one, path = torch.ones(1), Path('net.pth')
    assert list(weights_in({'module.a.module.b': one}, path, ())[0]) == ['a.module.b']
    assert weights_in({'y': {'a': one}, 'x': {'b': one}}, path, ['x', 'y']) == ({'b': one}, 'x')
    assert weights_in({'a': one}, path, ['x']) == ({'a': one}, None)
    with pytest.raises(ValueError) as caught:
        weights_in({'x': {'a': torch.ones(1).expand(2)}}, path, ['x'])
    assert str(caught.value) == 'net.pth: its tensors claim 8 bytes and share 4'
    for other in ({'a': one, 'b': np.ones(1)}, {'a': one, 1: one}, [one], None, {}):
        with pytest.raises(ValueError, match='^net.pth: holds no weights; expected a checkpoint'):
            weights_in(other, path, ['x'])
