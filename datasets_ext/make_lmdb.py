"""`basicsr make-lmdb`: pack triplets, or any folder of pictures, as LMDB in BasicSR's layout.

    basicsr make-lmdb datasets/clean/horse_pix

A triplet folder (lq/, mask/, gt/) becomes lq.lmdb, mask.lmdb, gt.lmdb; a folder of triplet folders
(train/, test/) likewise, each; any other folder of pictures becomes FOLDER.lmdb. PNG files are
stored as they are; everything else is stored as PNG of the same pixels, upright: 16 bits, grayscale
and masks survive bit for bit. Each LMDB is built in a hidden folder beside its place, every picture
is read back and compared, and only then is it moved there.
"""

import shutil
from contextlib import closing
from functools import partial
from pathlib import Path

import lmdb
import numpy as np
from basicsr.utils.lmdb_util import LmdbMaker
from tqdm import tqdm

from datasets_ext.make_dataset import KINDS
from datasets_ext.parallel import Workers
from datasets_ext.recipe import MANIFEST
from hmaca_arch.files.atomic import replace
from hmaca_arch.files.images import PNG, decode_as_stored, encode_png, list_pictures, read_file
from hmaca_arch.files.locks import take
from hmaca_arch.files.outputs import output_folder


def _key(stem: str, path: str) -> str:
    """The LMDB key of a picture.

    Raises:
        ValueError: BasicSR could not find it again: it cuts keys at the first dot, writes them in
            ASCII and splits lines at blanks.
    """
    if '.' in stem:
        raise ValueError(
            f'{path}: BasicSR cuts LMDB keys at a dot, and {stem!r} has one inside; rename it'
        )
    if not stem.isascii() or any(character.isspace() for character in stem):
        raise ValueError(
            f'{path}: LMDB keys must be ASCII without blanks, {stem!r} is not; rename it'
        )
    if len(stem) > 511:
        raise ValueError(f'{path}: the name is too long for an LMDB key (at most 511 characters)')
    return stem


def encode(path: str) -> tuple[bytes, tuple[int, int, int]]:
    """A picture file as PNG bytes that any reader decodes to the pixels of `decode_as_stored`; and
    its (h, w, c).
    """
    data = read_file(path)
    pixels, as_it_is = decode_as_stored(data, path)
    return (data if as_it_is and data.startswith(PNG) else encode_png(pixels)), pixels.shape


def _encoded_size(path: str) -> int:
    return len(encode(path)[0])


def _differs(pair: tuple[str, bytes]) -> bool:
    """Whether an LMDB value differs from its file in any pixel, in type or in size."""
    path, value = pair
    before, _ = decode_as_stored(read_file(path), path)
    after, _ = decode_as_stored(value, path)
    return before.dtype != after.dtype or not np.array_equal(before, after)


def map_size(sizes: list[int]) -> int:
    """Bytes that an LMDB of values of these sizes can need: each in pages of its own, plus the
    tree, plus what commits copy.
    """
    page = 4096
    pages = sum(-(-(size + 16) // page) + 1 for size in sizes)
    return (pages + pages // 8 + 256) * page


def _verify(folder: Path, pictures: dict[str, str], pool: Workers, progress) -> None:
    environment = lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
    try:
        with environment.begin() as transaction:
            if transaction.stat()['entries'] != len(pictures):
                raise ValueError(
                    f'{folder}: {transaction.stat()["entries"]} entries instead of {len(pictures)}'
                )
            values = (
                (path, bytes(transaction.get(key.encode(), b''))) for key, path in pictures.items()
            )
            for differs, path in zip(
                progress(pool.map(_differs, values), 'verify'), pictures.values()
            ):
                if differs:
                    raise ValueError(
                        f'{folder}: what was written for {path} does not read back the same'
                    )
    finally:
        environment.close()


def build_lmdb(source: Path, folder: Path, pool: Workers, quiet: bool = False) -> int:
    """Write and verify the LMDB `folder` from the pictures in `source`. Returns their number."""
    pictures = {_key(stem, path): path for stem, path in list_pictures(source).items()}
    progress = partial(_bar, total=len(pictures), name=source.name, quiet=quiet)
    sizes = list(progress(pool.map(_encoded_size, pictures.values()), 'measure'))
    try:
        with closing(LmdbMaker(str(folder), map_size=map_size(sizes))) as maker:
            encoded = progress(pool.map(encode, pictures.values()), 'write')
            for (data, shape), key in zip(encoded, pictures):
                maker.put(data, key, shape)
    except lmdb.Error as error:  # a full disk among others
        raise OSError(f'{folder} cannot be written: {error}') from None
    _verify(folder, pictures, pool, progress)
    return len(pictures)


def _bar(items, what: str, total: int, name: str, quiet: bool):
    return tqdm(items, desc=f'{name}: {what}', total=total, unit='picture', disable=quiet or None)


def find_sources(root: Path, output: Path) -> list[tuple[Path, Path]]:
    """Which folders become which LMDBs.

    Raises:
        FileNotFoundError: root does not exist.
        ValueError: a triplet folder is incomplete, or there are no pictures.
    """
    if not root.is_dir():
        raise FileNotFoundError(f'{root.absolute()} does not exist or is no folder')
    triplets = [
        folder
        for folder in (root, *sorted(root.iterdir()))
        if any((folder / kind).is_dir() for kind in KINDS)
    ]
    for folder in triplets:
        for kind in KINDS:
            if not (folder / kind).is_dir():
                raise ValueError(
                    f'{folder} has no {kind}/: a triplet folder holds {", ".join(KINDS)}'
                )
        names = [list_pictures(folder / kind) for kind in KINDS]
        for kind, found in zip(KINDS, names):
            differing = sorted(found.keys() ^ names[-1].keys())
            if differing:
                raise ValueError(
                    f'{folder}: {len(differing)} pictures are in only one of {kind}/ and gt/, for example {differing[0]}'
                )
    if root in triplets:
        triplets = [root]
    if triplets:
        return [
            (folder / kind, output / folder.relative_to(root) / f'{kind}.lmdb')
            for folder in triplets
            for kind in KINDS
        ]
    return [(root, output.with_name(output.name + '.lmdb') if output.suffix != '.lmdb' else output)]


def _pack(
    sources: list[tuple[Path, Path]], temporary: Path, pool: Workers, quiet: bool
) -> dict[str, int]:
    """Build LMDBs in a temporary folder, and move them to their places when all are verified."""
    counts = {}
    for source, target in sources:
        counts[str(target)] = build_lmdb(source, temporary / target.name, pool, quiet)
        manifest = source.parent / MANIFEST
        if manifest.is_file():  # wherever the LMDB goes: it says how the images were degraded
            shutil.copyfile(manifest, temporary / target.name / MANIFEST)
    for _, target in sources:
        if target.exists():
            replace(target, temporary / f'old-{target.name}')
        replace(temporary / target.name, target)
    return counts


def make_lmdb(
    root: str | Path,
    output: str | Path | None = None,
    *,
    workers: int = 1,
    overwrite: bool = False,
    quiet: bool = False,
) -> dict[str, int]:
    """Pack a triplet folder, a folder of triplet folders, or a folder of pictures.

    Args:
        root: the folder.
        output: where the LMDBs go; default: triplets' beside their folders, another folder's at
            FOLDER.lmdb.
        workers: processes.
        overwrite: replace LMDBs that exist, once the new ones are verified.
        quiet: no progress bars.

    Returns:
        {path of the LMDB: number of pictures}

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
            here = [(source, target) for source, target in sources if target.parent == folder]
            temporary = folder / f'.{here[0][1].name}.partial'
            output_folder(folder)
            lock = take(
                folder / f'.{here[0][1].name}.lock',
                f'{here[0][1]}: another process packs it; wait for it',
            )
            try:
                if temporary.exists():
                    shutil.rmtree(temporary)  # of a run that was killed
                output_folder(temporary)
                counts |= _pack(here, temporary, pool, quiet)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
                lock.release()
    return counts
