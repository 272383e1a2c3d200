"""The paper's six data sets: `basicsr make-dataset --horse DIR --imagenet DIR`.

    OUTPUT/PROTOCOL/{horse,imagenet}_{pix,blur,noise}/{train,test}/{lq,mask,gt}/NAME.png and
    {lq,mask,gt}.lmdb

Horse is trained on trainA and tested on testA, at 128 pixels. ImageNet, at 64, holds out every
fifth image by name unless it comes as train/ and test/. The same command continues an interrupted
run. If one set cannot be made, the others still are.
"""

import itertools
import zlib
from pathlib import Path
from typing import Any

import lmdb

from datasets_ext.inputs import check_sides, find_images
from datasets_ext.make_dataset import make_dataset
from datasets_ext.make_lmdb import make_lmdb
from datasets_ext.manifest import MANIFEST, read_records
from datasets_ext.recipe_settings import DEGRADATIONS
from datasets_ext.triplets import KINDS
from hmaca_arch.config.schema import PROTOCOLS
from hmaca_arch.messages import one_line, printable, say

SIZES = {'horse': 128, 'imagenet': 64}  # working size in pixels
HOLD_OUT = 5


def is_packed(folder: Path) -> bool:
    """Return whether the LMDBs of a triplet folder hold exactly the files of its manifest."""
    records = read_records(folder / MANIFEST)
    for kind in KINDS:
        packed = folder / f'{kind}.lmdb'
        if not (packed / 'data.mdb').is_file() or not (packed / 'meta_info.txt').is_file():
            return False
        environment = lmdb.open(str(packed), readonly=True, lock=False)
        try:
            with environment.begin() as transaction:
                found = {key.decode(): zlib.crc32(value) for key, value in transaction.cursor()}
        finally:
            environment.close()
        if found != {name: record['crc32'][kind] for name, record in records.items()}:
            return False
    return True


def make_set(
    source: str, output: Path, size: int, protocol: str, degradation: str, **how: Any
) -> dict[str, dict[str, Any]]:
    """Make one of the six data sets, with its LMDBs.

    Args:
        source: folder or zip file of clean images.
        output: the folder of the data set.
        size: working size in pixels.
        protocol: clean or release.
        degradation: pix, blur or noise.
        how: seed, workers, overwrite and quiet of `make_dataset`.

    Returns:
        What `make_dataset` returns.

    Raises:
        FileNotFoundError, ValueError: it cannot be made; nothing is written if images are too
            small.
    """
    images = list(itertools.chain.from_iterable(find_images(source).values()))
    if protocol == 'release':
        reason = (
            'protocol release degrades at twice the working size; '
            'use larger originals or --protocol clean'
        )
        check_sides(images, 2 * size, reason)
    else:
        check_sides(images, size, 'they are not enlarged')
    results = make_dataset(
        source, output, every=HOLD_OUT, size=size, protocol=protocol, degradation=degradation, **how
    )
    if not all(is_packed(output / split) for split in results):
        workers, quiet = how.get('workers', 1), how.get('quiet', False)
        make_lmdb(output, workers=workers, overwrite=True, quiet=quiet)
    return results


def make_paper_sets(
    sources: dict[str, str],
    output: str | Path,
    protocol: str,
    degradations: tuple[str, ...] = DEGRADATIONS,
    **how: Any,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Make the data sets of the given sources, and report on each.

    Args:
        sources: {'horse': folder or zip file, 'imagenet': ...}, either or both.
        output: the sets go to OUTPUT/PROTOCOL/SET.
        protocol: clean or release.
        degradations: which of pix, blur and noise to make.
        how: seed, workers, overwrite and quiet of `make_dataset`.

    Returns:
        {set: what `make_dataset` returns}

    Raises:
        ValueError: sets could not be made; raised after all others are, and naming each.
    """
    made: dict[str, dict[str, dict[str, Any]]] = {}
    failed: dict[str, Exception] = {}
    warned = set()
    for name, degradation in itertools.product(sources, degradations):
        label = f'{name}_{degradation}'
        folder = Path(output) / protocol / label
        try:
            made[label] = make_set(sources[name], folder, SIZES[name], protocol, degradation, **how)
        except (ValueError, FileNotFoundError) as error:
            failed[label] = error
            say(f'{label}: not made: {one_line(error)}')
            continue
        if name not in warned:  # the same for all sets of a source
            _report_left_out(name, made[label])
        warned.add(name)
        _report_set(label, made[label], PROTOCOLS[protocol])
    if failed:
        first = next(iter(failed))
        raise ValueError(
            f'{len(failed)} of {len(made) + len(failed)} sets were not made: '
            f'{", ".join(failed)} ({failed[first]})'
        )
    return made


def _report_left_out(name: str, results: dict[str, dict[str, Any]]) -> None:
    for image, twin in results['train']['left_out'].items():
        say(
            printable(
                f'{name}: warning: {image} of the training images is pixel for pixel '
                f'the test image {twin}; left out'
            )
        )


def _report_set(label: str, results: dict[str, dict[str, Any]], paste: str) -> None:
    counts = ', '.join(f'{result["count"]} for {split}' for split, result in results.items())
    inputs = ', '.join(f'{split} {_psnr(result)}' for split, result in results.items())
    say(f'{label}: {counts}; unrestored input, composite PSNR (paste: {paste}): {inputs}')


def _psnr(result: dict[str, Any]) -> str:
    if result['psnr'] is None:
        return 'exact'
    exact = f' ({result["exact"]} of {result["count"]} exact)' if result['exact'] else ''
    return f'{result["psnr"]:.2f} dB{exact}'
