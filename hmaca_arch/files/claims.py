"""Compare what a file made by `torch.save` claims to hold with its size.

This comes before torch reads any of it. torch believes a file. A compressed member of some MB
becomes GB in memory, a storage that is larger than its member is read beyond the member's end, and
a program for torch's unpickler may ask for memory or time without end. So the file's directory and
its program are looked through first. The program is a pickle: its operations are followed here one
by one, without executing any.
"""

import io
import os
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import torch
from torch import Tensor

ZIP = b'PK\x03\x04'
# the first of the pickles in torch's format before 1.6
LEGACY = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
LEGACY_PICKLES = (
    5  # magic number, version, system, content, names of the storages whose bytes follow
)
MOST_DIRECTORY = 2**22  # bytes of a zip's directory: about 40000 tensors
MOST_PROGRAM = 2**24  # bytes of a pickle
MOST_STEPS = 2**21  # operations of a pickle; a tensor takes about 30
# Items, each counted wherever it is referred to: hashing and printing go through all of them.
MOST_UNFOLDED = 2**22

BYTES = {  # of an element
    'DoubleStorage': 8,
    'FloatStorage': 4,
    'HalfStorage': 2,
    'BFloat16Storage': 2,
    'LongStorage': 8,
    'IntStorage': 4,
    'ShortStorage': 2,
    'CharStorage': 1,
    'ByteStorage': 1,
    'BoolStorage': 1,
    'ComplexFloatStorage': 8,
    'ComplexDoubleStorage': 16,
    'UntypedStorage': 1,
}
STORAGES = {
    f'{module} {name}': size
    for name, size in BYTES.items()
    for module in ('torch', 'torch.cuda', 'torch.storage')
}
PLAIN = {  # what else may be named: nothing here takes a size and allocates that much
    'collections OrderedDict',
    'collections Counter',
    '__builtin__ set',
    'builtins set',
    '_codecs encode',
    'torch Size',
    'torch device',
    'torch._utils _rebuild_tensor',
    'torch._utils _rebuild_tensor_v2',
    'torch._utils _rebuild_tensor_v3',
    'torch._utils _rebuild_parameter',
    *(
        f'torch {name}'
        for name in (
            'float64',
            'float32',
            'float16',
            'bfloat16',
            'int64',
            'int32',
            'int16',
            'int8',
            'uint8',
            'bool',
        )
    ),
}
ODD_TENSORS = (
    'torch._utils _rebuild_',
    'torch._tensor _rebuild_',
    'torch.serialization _get_layout',
)
FILLS = ('APPEND', 'APPENDS', 'SETITEM', 'SETITEMS', 'BUILD')
DAMAGED = 'it is damaged, or another kind of file'


class _Item:
    """Something on the unpickler's stack.

    That is a constant, a tuple of such values or None, and how many items it unfolds to.
    """

    def __init__(self, value: Any = None, unfolded: int = 1, fetched: bool = False) -> None:
        self.value, self.unfolded, self.fetched = value, unfolded, fetched


def refuse_claims(file: BinaryIO) -> BinaryIO:
    """Look through a file before torch loads it.

    Args:
        file: open for reading, at its start.

    Returns:
        What to give to `torch.load`.

    Raises:
        ValueError: the file cannot hold what it claims to hold, or holds more than tensors and
            plain values; without its path.
    """
    start = file.read(len(LEGACY))
    file.seek(0)
    if not start:
        raise ValueError('it is cut short')
    try:
        if start.startswith(ZIP):
            _refuse_zip(file)
            file.seek(0)
            return file
        if start == LEGACY:
            whole = io.BytesIO(
                file.read()
            )  # without a file's number: torch would look for a tar archive in the file
            _refuse_legacy(whole)
            whole.seek(0)
            return whole
    except (zipfile.BadZipFile, NotImplementedError, EOFError, IndexError, KeyError, UnicodeError):
        raise ValueError(DAMAGED) from None
    raise ValueError(DAMAGED)


def _refuse_zip(file: BinaryIO) -> None:
    size = os.fstat(file.fileno()).st_size
    # What ZipFile reads first: (..., 5: bytes of the directory, 6: where it says that it is).
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if not end:
        raise ValueError(DAMAGED)
    if end[5] > MOST_DIRECTORY:
        raise ValueError(f'its directory has {end[5]} bytes; expected at most {MOST_DIRECTORY}')
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = {member.filename.lower() for member in members}
        # other places or equal names: torch's reader might see another file than this one
        if archive.start_dir != end[6] or len(names) != len(members) or not members:
            raise ValueError(DAMAGED)
        claimed = sum(member.file_size for member in members)
        if any(
            member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members
        ):
            raise ValueError(
                f'it is compressed: {size} bytes that claim {claimed}; torch.save does not compress'
            )
        if claimed > size:
            raise ValueError(f'it claims {claimed} bytes and has {size}')
        folder = PurePosixPath(members[0].filename).parts[0]
        sizes = {member.filename: member.file_size for member in members}
        if sizes[f'{folder}/data.pkl'] > MOST_PROGRAM:
            raise ValueError(
                f'{folder}/data.pkl has {sizes[f"{folder}/data.pkl"]} bytes; '
                f'expected at most {MOST_PROGRAM}'
            )
        for key, wanted in storages(io.BytesIO(archive.read(f'{folder}/data.pkl'))):
            if wanted > sizes[f'{folder}/data/{key}']:
                raise ValueError(
                    f'it claims {wanted} bytes in data/{key[:40]}, which has '
                    f'{sizes[f"{folder}/data/{key}"]}'
                )


def _refuse_legacy(whole: io.BytesIO) -> None:
    size = len(whole.getbuffer())
    claimed: dict[str, int] = {}
    for _ in range(LEGACY_PICKLES):
        claimed.update(storages(whole))
    if sum(claimed.values()) > size:
        raise ValueError(f'it claims {sum(claimed.values())} bytes and has {size}')


def storages(program: BinaryIO) -> Iterator[tuple[str, int]]:
    """Follow one pickle, without executing it, and yield each storage that it asks for.

    Yields:
        The storage's name and bytes.

    Raises:
        ValueError, IndexError, KeyError: it is none, names something besides tensors and plain
            values, or is too large to be followed.
    """
    stack: list[_Item | None] = []  # None: a mark
    memo: dict[int, _Item] = {}
    for step, (operation, argument, _) in enumerate(_operations(program)):
        name = operation.name
        if step > MOST_STEPS:
            raise ValueError(f'its description takes more than {MOST_STEPS} steps to read')
        if name in ('BINPUT', 'LONG_BINPUT'):
            top = stack[-1]
            if top is None:
                raise ValueError(DAMAGED)
            memo[argument] = top
        elif name in ('BINGET', 'LONG_BINGET'):
            stack.append(_Item(memo[argument].value, memo[argument].unfolded, fetched=True))
        elif name == 'MARK':
            stack.append(None)
        elif name == 'GLOBAL':
            refuse_name(argument)
            stack.append(_Item(argument))
        elif operation.proto > 2 or name in (
            'INST',
            'OBJ',
            'NEWOBJ',
            'PERSID',
            'PUT',
            'GET',
            'EXT1',
            'EXT2',
            'EXT4',
            'DUP',
        ):
            raise ValueError(DAMAGED)  # torch.save writes none of these
        else:
            taken = _take(stack, operation)
            unfolded = sum(item.unfolded for item in taken)
            if unfolded > MOST_UNFOLDED:
                raise ValueError(f'it unfolds to more than {MOST_UNFOLDED} items')
            if name in FILLS:
                if taken[0].fetched:
                    raise ValueError('it holds itself')
                taken[0].unfolded = unfolded
                stack.append(taken[0])
                continue
            if name == 'BINPERSID':
                yield _storage(taken[0].value)
            value = tuple(item.value for item in taken) if 'TUPLE' in name else argument
            stack += [_Item(value, unfolded + 1) for _ in operation.stack_after]


def _operations(program: BinaryIO) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    try:
        yield from pickletools.genops(program)
    except ValueError:
        raise ValueError(DAMAGED) from None


def _take(stack: list[_Item | None], operation: pickletools.OpcodeInfo) -> list[_Item]:
    """Take from the stack what an operation does, in the order in which it was put there."""
    before = list(operation.stack_before)
    taken: list[_Item | None] = []
    if pickletools.markobject in before:
        while (item := stack.pop()) is not None:
            taken.append(item)
        before = before[: before.index(pickletools.markobject)]
    taken += [stack.pop() for _ in before]
    items = [item for item in taken[::-1] if item is not None]
    if len(items) < len(taken):
        raise ValueError(DAMAGED)
    return items


def _storage(value: Any) -> tuple[str, int]:
    """Return the name and the bytes of a storage.

    Args:
        value: ('storage', its type, name, place, elements), and in the legacy format a view.
    """
    if not isinstance(value, tuple) or len(value) not in (5, 6) or value[0] != 'storage':
        raise ValueError(DAMAGED)
    kind, name, elements = value[1], value[2], value[4]
    if (
        kind not in STORAGES
        or not isinstance(name, str)
        or not isinstance(elements, int)
        or elements < 0
    ):
        raise ValueError(DAMAGED)
    return name, elements * STORAGES[kind]


def refuse_name(name: str) -> None:
    """Raise a ValueError for a 'module name' that is not one of tensors and plain values."""
    if name in PLAIN or name in STORAGES:
        return
    said = name.replace(' ', '.')[:80]
    if name.startswith(ODD_TENSORS):
        raise ValueError(
            f'it holds tensors of a kind that no checkpoint has ({said}); '
            'expected dense ones with values'
        )
    raise ValueError(
        f'it holds {said} besides tensors and plain values, and loading that could execute code'
    )


def refuse_odd_tensors(state_dict: Mapping[str, Tensor]) -> None:
    """Raise a ValueError unless all tensors are dense and real and each has memory of its own.

    Views that repeat what is there, or share it, would let a small file claim a large network.
    """
    memory: dict[int, int] = {}
    for name, value in state_dict.items():
        if not isinstance(value, Tensor):
            raise ValueError(f'{str(name)[:80]} is no tensor')
        if (
            value.layout != torch.strided
            or value.is_quantized
            or value.is_meta
            or value.is_complex()
            or value.is_nested
        ):
            kind = (
                'on the meta device'
                if value.is_meta
                else f'{value.dtype}, {value.layout}'.replace('torch.', '')
            )
            raise ValueError(
                f'{name[:80]} is a tensor {kind}; expected a dense one with real values'
            )
        storage = value.untyped_storage()
        memory[storage.data_ptr()] = max(storage.nbytes(), memory.get(storage.data_ptr(), 0))
    claimed, held = sum(value.nbytes for value in state_dict.values()), sum(memory.values())
    if claimed > held:
        raise ValueError(f'its tensors claim {claimed} bytes and share {held}')
