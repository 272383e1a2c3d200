"""Programs for torch's unpickler, operation by operation."""

import io
import struct

import pytest

from hmaca_arch.files import pickles
from hmaca_arch.files.pickles import BYTES, DAMAGED, refuse_name, storages

START, NONE, MARK, STOP = b'\x80\x02', b'N', b'(', b'.'
PUT, GET = b'q\0', b'h\0'  # as number 0
LONG_PUT, LONG_GET = b'r\0\0\0\0', b'j\0\0\0\0'


def text(value: str) -> bytes:
    return b'X' + struct.pack('<I', len(value)) + value.encode()


def whole(value: int) -> bytes:
    return b'J' + struct.pack('<i', value)


def name(module: str, called: str) -> bytes:
    return f'c{module}\n{called}\n'.encode()


FLOATS = name('torch', 'FloatStorage')
ASKED = (text('storage'), FLOATS, text('7'), text('cpu'), whole(6))


def found(*operations: bytes) -> list[tuple[str, int]]:
    return list(storages(io.BytesIO(b''.join([START, *operations, STOP]))))


def refused(*operations: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        found(*operations)
    return str(caught.value)


def asked(**instead: bytes) -> tuple[bytes, ...]:
    """Ask for a storage, whose parts by number are others."""
    parts = dict(enumerate(ASKED)) | {int(number[1:]): part for number, part in instead.items()}
    return MARK, *(parts[number] for number in sorted(parts)), b't', b'Q'


@pytest.mark.parametrize('module', ['torch', 'torch.cuda', 'torch.storage'])
@pytest.mark.parametrize('kind', BYTES)
def test_a_storage_has_the_bytes_of_its_elements(module, kind):
    size = BYTES[kind]
    assert found(*asked(_1=name(module, kind))) == [('7', 6 * size)]
    assert found(*asked(_1=name(module, kind), _4=whole(0))) == [('7', 0)]


def test_every_storage_is_found_in_order():
    two = found(*asked(), b'0', *asked(_2=text('8'), _4=whole(1)))
    assert two == [('7', 24), ('8', 4)] and found(*asked(_5=NONE)) == [('7', 24)]
    assert found(NONE) == []


@pytest.mark.parametrize(
    'operations',
    [
        asked(_0=text('storages')),
        asked(_0=NONE),
        asked(_1=text('torch LostStorage')),
        asked(_1=name('torch', 'Size')),
        asked(_1=NONE),
        asked(_2=whole(7)),
        asked(_2=NONE),
        asked(_4=whole(-1)),
        asked(_4=text('6')),
        asked(_4=NONE),
        asked(_5=NONE, _6=NONE),
        (MARK, *ASKED[:4], b't', b'Q'),
        (NONE, b'Q'),
        (text('stora'), b'Q'),
    ],
)
def test_what_is_no_storage(operations):
    assert refused(*operations) == DAMAGED


def test_the_largest_program(monkeypatch):
    monkeypatch.setattr(pickles, 'MOST_STEPS', 5)  # of which the first and last make two
    assert found(*[NONE] * 4) == []
    assert refused(*[NONE] * 5) == 'its description takes more than 5 steps to read'


TWICE = (NONE, NONE, b'\x86')  # a pair: 3 items


@pytest.mark.parametrize(
    ('most', 'operations'),
    [
        (1, (NONE,)),
        (1, (b')',)),
        (2, (NONE, b'\x85')),
        (3, TWICE),
        (4, (NONE, NONE, NONE, b'\x87')),
        (3, (MARK, NONE, NONE, b't')),
        (7, (*TWICE, PUT, GET, b'\x86')),
        (7, (*TWICE, LONG_PUT, LONG_GET, b'\x86')),
        (15, (*TWICE, PUT, GET, b'\x86', PUT, GET, b'\x86')),
        (2, (b']', NONE, b'a')),
        (3, (b']', NONE, b'a', b'\x85')),
        (3, (b']', MARK, NONE, NONE, b'e')),
        (4, (b']', MARK, NONE, NONE, b'e', b'\x85')),
        (3, (b'}', NONE, NONE, b's')),
        (4, (b'}', NONE, NONE, b's', b'\x85')),
        (5, (b'}', MARK, *[NONE] * 4, b'u')),
        (2, (b']', NONE, b'b')),
        (3, (name('torch', 'Size'), NONE, b'R')),
        (5, (b']', PUT, NONE, b'a', GET, b'\x86')),
    ],
)
def test_the_most_items(monkeypatch, most, operations):
    """Each counts wherever it is, and what holds others counts too."""
    monkeypatch.setattr(pickles, 'MOST_UNFOLDED', most)
    assert found(*operations) == []
    monkeypatch.setattr(pickles, 'MOST_UNFOLDED', most - 1)
    if most > 1:
        assert refused(*operations) == f'it unfolds to more than {most - 1} items'


@pytest.mark.parametrize('put', [PUT, LONG_PUT], ids=['short', 'long'])
@pytest.mark.parametrize('get', [GET, LONG_GET], ids=['short', 'long'])
@pytest.mark.parametrize(
    'filled', [(NONE, b'a'), (MARK, NONE, b'e'), (NONE, NONE, b's'), (MARK, b'u'), (NONE, b'b')]
)
def test_what_was_fetched_is_not_filled(put, get, filled):
    assert refused(b']', put, get, *filled) == 'it holds itself'
    assert found(b']', put, *filled) == []


@pytest.mark.parametrize(
    'operation',
    [
        *(b'ios\nsystem\n', b'o', b'\x81', b'Pname\n', b'p0\n', b'g0\n', b'2'),
        *(b'\x82\1', b'\x83\1\0', b'\x84\1\0\0\0'),
        *(b'\x8c\1a', b'\x8f', b'\x94', b'B\0\0\0\0', b'\x95' + bytes(8)),  # of newer protocols
    ],
)
def test_what_torch_does_not_write(operation):
    before = (b']', PUT, NONE, MARK, NONE, NONE)
    assert refused(*before, operation, NONE) == DAMAGED
    assert found(*before, NONE) == []


@pytest.mark.parametrize(
    'operations',
    [
        (MARK,),
        (NONE, MARK, b'\x86'),
        (MARK, NONE, b'\x86'),
        (MARK, PUT),
        (MARK, LONG_PUT),
        (b'\xff',),
        (b'X\xff\0\0\0',),
    ],
)
def test_what_is_out_of_place(operations):
    assert refused(*operations) == DAMAGED


@pytest.mark.parametrize(
    ('operations', 'error'),
    [
        ((), IndexError),
        ((NONE, b'\x86'), IndexError),
        ((NONE, b't'), IndexError),
        ((PUT,), IndexError),
        ((GET,), KeyError),
        ((LONG_GET,), KeyError),
    ],
)
def test_what_is_not_there(operations, error):
    with pytest.raises(error):
        found(*operations)


def test_names_of_a_program_are_looked_at():
    assert found(name('collections', 'OrderedDict'), b')', b'R') == []
    assert refused(name('os', 'system')).startswith('it holds os.system besides')


@pytest.mark.parametrize(
    ('named', 'message'),
    [
        ('os system', 'it holds os.system besides tensors and plain values, and loading that '),
        ('torch Tensor', 'it holds torch.Tensor besides tensors'),
        ('x ' + 'y' * 90, f'it holds x.{"y" * 78} besides tensors'),
        *(
            (f'{module} {named}', f'it holds tensors of a kind that no checkpoint has ({said}); ')
            for module, named, said in (
                ('torch._utils', '_rebuild_qtensor', 'torch._utils._rebuild_qtensor'),
                ('torch._tensor', '_rebuild_from', 'torch._tensor._rebuild_from'),
                ('torch.serialization', '_get_layout', 'torch.serialization._get_layout'),
                ('torch._utils', '_rebuild_' + 'z' * 90, 'torch._utils._rebuild_' + 'z' * 58),
            )
        ),
    ],
)
def test_other_names(named, message):
    with pytest.raises(ValueError) as caught:
        refuse_name(named)
    assert str(caught.value).startswith(message)


def test_known_names():
    for known in (*pickles.PLAIN, *pickles.STORAGES):
        refuse_name(known)
