"""Follow a program for torch's unpickler, operation by operation, without executing any.

The program is a pickle. It may name tensors and plain values only, and it may not unfold to more
than a checkpoint holds.
"""

import pickletools
from collections.abc import Iterator
from typing import Any, BinaryIO

MOST_STEPS = 2**21  # operations of a pickle; a tensor takes about 30
# Items, each counted wherever it is referred to: hashing and printing go through all of them.
MOST_UNFOLDED = 2**22

DTYPES = (
    *('float64', 'float32', 'float16', 'bfloat16'),
    *('int64', 'int32', 'int16', 'int8', 'uint8', 'bool'),
)
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
    *(f'torch {name}' for name in DTYPES),
}
ODD_TENSORS = (
    'torch._utils _rebuild_',
    'torch._tensor _rebuild_',
    'torch.serialization _get_layout',
)
FILLS = ('APPEND', 'APPENDS', 'SETITEM', 'SETITEMS', 'BUILD')
# operations that torch.save does not write
UNWRITTEN = ('INST', 'OBJ', 'NEWOBJ', 'PERSID', 'PUT', 'GET', 'EXT1', 'EXT2', 'EXT4', 'DUP')
DAMAGED = 'it is damaged, or another kind of file'


class _Item:
    """Something on the unpickler's stack.

    That is a constant, a tuple of such values or None, and how many items it unfolds to.
    """

    def __init__(self, value: Any = None, unfolded: int = 1, fetched: bool = False) -> None:
        self.value, self.unfolded, self.fetched = value, unfolded, fetched


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
        elif operation.proto > 2 or name in UNWRITTEN:
            raise ValueError(DAMAGED)
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
