"""Compare what a file made by `torch.save` claims to hold with its size.

This comes before torch reads any of it. torch believes a file. A compressed member of some MB
becomes GB in memory, a storage that is larger than its member is read beyond the member's end, and
a program for torch's unpickler may ask for memory or time without end. So the file's directory is
looked through first, and its program as `pickles` does.
"""

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import BinaryIO

import torch
from torch import Tensor

from hmaca_arch.files.pickles import DAMAGED, storages

ZIP = b'PK\x03\x04'
# the first of the pickles in torch's format before 1.6
LEGACY = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
# magic number, version, system, content, names of the storages whose bytes follow
LEGACY_PICKLES = 5
MOST_DIRECTORY = 2**20  # bytes of a zip's directory: about 15000 tensors; more take long to load
MOST_PROGRAM = 2**24  # bytes of a pickle


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
            # Without a file's number: torch would look for a tar archive in the file.
            whole = io.BytesIO(file.read())
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
