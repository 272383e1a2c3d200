"""Pack triplets, or any folder of images, as LMDBs in BasicSR's layout: `basicsr make-lmdb`.

A triplet folder (lq/, mask/, gt/) becomes lq.lmdb, mask.lmdb and gt.lmdb, and so does each triplet
folder (train/, test/) inside a folder. Any other folder of images becomes FOLDER.lmdb. PNG files
are stored as they are. Other images become PNGs of the same pixels, upright, which keeps 16 bits,
grayscale and masks bit for bit. Each LMDB is built in a hidden folder beside its place, and moved
there after every image was read back and compared.
"""

import shutil
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from tqdm import tqdm

from datasets_ext.manifest import MANIFEST
from datasets_ext.parallel import Workers
from datasets_ext.triplets import KINDS
from hmaca_arch.files.atomic import replace, sync, write_atomically
from hmaca_arch.files.images import PNG, decode_as_stored, encode_png
from hmaca_arch.files.locks import take
from hmaca_arch.files.outputs import output_folder
from hmaca_arch.files.reading import list_images, read_file

LONGEST_KEY = 511  # bytes, by LMDB
PAGE = 4096  # bytes
COMPRESS_LEVEL = 1  # what BasicSR's own LMDBs say; nothing reads it


def _key(stem: str, path: str) -> str:
    """Return the LMDB key of an image.

    Raises:
        ValueError: BasicSR could not find the key again. It cuts keys at the first dot, writes
            them in ASCII and splits lines at blanks.
    """
    if '.' in stem:
        raise ValueError(
            f'{path}: BasicSR cuts LMDB keys at a dot, and {stem!r} has one inside; rename it'
        )
    if not stem.isascii() or any(character.isspace() for character in stem):
        raise ValueError(
            f'{path}: LMDB keys must be ASCII without blanks, {stem!r} is not; rename it'
        )
    if len(stem) > LONGEST_KEY:
        raise ValueError(
            f'{path}: the name is too long for an LMDB key (at most {LONGEST_KEY} characters)'
        )
    return stem


def encode(path: str) -> tuple[bytes, tuple[int, ...]]:
    """Return an image file as PNG bytes that any reader decodes to its upright pixels.

    Returns:
        The bytes, and the shape (h, w, c).
    """
    data = read_file(path)
    pixels, simple = decode_as_stored(data, path)
    return (data if simple and data.startswith(PNG) else encode_png(pixels)), pixels.shape


def _encoded_size(path: str) -> int:
    return len(encode(path)[0])


def _differs(pair: tuple[str, bytes]) -> bool:
    """Return whether an LMDB value differs from its file in any pixel, in type or in size."""
    path, value = pair
    before, _ = decode_as_stored(read_file(path), path)
    after, _ = decode_as_stored(value, path)
    return before.dtype != after.dtype or not np.array_equal(before, after)


def map_size(sizes: list[int]) -> int:
    """Return the bytes that an LMDB of values of these sizes can need.

    Each value takes whole pages. The tree takes some more, and so do the copies of each commit.
    """
    pages = sum(-(-(size + 16) // PAGE) + 1 for size in sizes)
    return (pages + pages // 8 + 256) * PAGE


Progress = Callable[[Iterable[Any], str], Iterable[Any]]


def _verify(folder: Path, images: dict[str, str], pool: Workers, progress: Progress) -> None:
    environment = lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
    try:
        with environment.begin() as transaction:
            count = transaction.stat()['entries']
            if count != len(images):
                raise ValueError(f'{folder}: {count} entries instead of {len(images)}')
            values = (
                (path, bytes(transaction.get(key.encode(), b''))) for key, path in images.items()
            )
            results = progress(pool.map(_differs, values), 'verify')
            for differs, path in zip(results, images.values()):
                if differs:
                    raise ValueError(
                        f'{folder}: what was written for {path} does not read back the same'
                    )
    finally:
        environment.close()


def _write(
    folder: Path, images: Iterable[tuple[str, tuple[bytes, tuple[int, ...]]]], size: int
) -> None:
    """Write keys, PNGs and shapes as BasicSR's LmdbMaker does.

    Neither locks nor LMDB's own sync: shares refuse them, and nobody else knows the folder yet.
    """
    lines = []
    with (
        closing(lmdb.open(str(folder), map_size=size, lock=False, sync=False)) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, (data, (h, w, c)) in images:
            transaction.put(key.encode('ascii'), data)
            lines.append(f'{key}.png ({h},{w},{c}) {COMPRESS_LEVEL}\n')
    sync(folder / 'data.mdb')
    write_atomically(folder / 'meta_info.txt', ''.join(lines).encode('ascii'))


def build_lmdb(source: Path, folder: Path, pool: Workers, quiet: bool = False) -> int:
    """Write and verify the LMDB `folder` from the images in `source`.

    Returns:
        The number of images.

    Raises:
        OSError: the LMDB cannot be written, for example because the disk is full.
        ValueError: an image cannot be read or has no usable name, or a value does not read back.
    """
    images = {_key(stem, path): path for stem, path in list_images(source).items()}

    def progress(items: Iterable[Any], what: str) -> Iterable[Any]:
        name, hidden = f'{source.name}: {what}', quiet or None
        return tqdm(items, desc=name, total=len(images), unit='image', disable=hidden)

    sizes = list(progress(pool.map(_encoded_size, images.values()), 'measure'))
    encoded = progress(pool.map(encode, images.values()), 'write')
    try:
        _write(folder, zip(images, encoded), map_size(sizes))
    except lmdb.Error as error:
        reason = str(error).removeprefix(f'{folder}: ')
        raise OSError(f'{folder} cannot be written: {reason}') from None
    _verify(folder, images, pool, progress)
    return len(images)


def _check_triplets(folder: Path) -> None:
    """Raise a ValueError if a triplet folder lacks lq/, mask/ or gt/, or their names differ."""
    for kind in KINDS:
        if not (folder / kind).is_dir():
            raise ValueError(f'{folder} has no {kind}/: a triplet folder holds {", ".join(KINDS)}')
    names = {kind: list_images(folder / kind).keys() for kind in KINDS}
    for kind in KINDS:
        differing = sorted(names[kind] ^ names['gt'])
        if differing:
            raise ValueError(
                f'{folder}: {len(differing)} images are in only one of {kind}/ and gt/, '
                f'for example {differing[0]}'
            )


def find_sources(root: Path, output: Path) -> list[tuple[Path, Path]]:
    """Return (folder of images, path of its LMDB) for all that is to be packed.

    Raises:
        FileNotFoundError: root does not exist.
        ValueError: a triplet folder is incomplete, or there are no images.
    """
    if not root.is_dir():
        raise FileNotFoundError(f'{root.absolute()} does not exist or is no folder')
    triplets = [
        folder
        for folder in (root, *sorted(root.iterdir()))
        if any((folder / kind).is_dir() for kind in KINDS)
    ]
    for folder in triplets:
        _check_triplets(folder)
    if not triplets:
        named = output.suffix == '.lmdb'
        return [(root, output if named else output.with_name(f'{output.name}.lmdb'))]
    sources = []
    for folder in [root] if root in triplets else triplets:
        target = output / folder.relative_to(root)
        sources += [(folder / kind, target / f'{kind}.lmdb') for kind in KINDS]
    return sources


def _pack(
    jobs: list[tuple[Path, Path]], folder: Path, pool: Workers, quiet: bool
) -> dict[str, int]:
    """Build all LMDBs of a folder, then move them there."""
    counts = {}
    temporary = folder / f'.{jobs[0][1].name}.partial'
    if temporary.exists():  # left by a run that was killed
        shutil.rmtree(temporary)
    output_folder(temporary)
    try:
        for source, target in jobs:
            counts[str(target)] = build_lmdb(source, temporary / target.name, pool, quiet)
            manifest = source.parent / MANIFEST
            if manifest.is_file():  # inside, so that it goes wherever the LMDB goes
                shutil.copyfile(manifest, temporary / target.name / MANIFEST)
        for _, target in jobs:
            if target.exists():
                replace(target, temporary / f'old-{target.name}')
            replace(temporary / target.name, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return counts


def make_lmdb(
    root: str | Path,
    output: str | Path | None = None,
    *,
    workers: int = 1,
    overwrite: bool = False,
    quiet: bool = False,
) -> dict[str, int]:
    """Pack a triplet folder, a folder of triplet folders, or a folder of images.

    Args:
        root: the folder.
        output: where the LMDBs go; by default beside the folders of triplets, and at FOLDER.lmdb
            for any other folder.
        workers: number of processes.
        overwrite: replace LMDBs that exist, once the new ones are verified.
        quiet: show no progress bars.

    Returns:
        {path of the LMDB: number of images}

    Raises:
        FileNotFoundError, ValueError: in one line.
    """
    root = Path(root).absolute()
    sources = find_sources(root, Path(output).absolute() if output else root)
    existing = [target for _, target in sources if target.exists()]
    if existing and not overwrite:
        raise ValueError(f'{existing[0]} exists; --overwrite replaces it')
    counts: dict[str, int] = {}
    with Workers(workers) as pool:
        for folder in dict.fromkeys(target.parent for _, target in sources):
            jobs = [(source, target) for source, target in sources if target.parent == folder]
            output_folder(folder)
            lock = take(
                folder / f'.{jobs[0][1].name}.lock',
                f'{jobs[0][1]}: another process packs it; wait for it',
            )
            try:
                counts |= _pack(jobs, folder, pool, quiet)
            finally:
                lock.release()
    return counts
