"""The paper's six data sets in one go: `basicsr make-dataset --protocol clean --horse DIR
--imagenet DIR -o datasets`.

    OUTPUT/PROTOCOL/{horse,imagenet}_{pix,blur,noise}/{train,test}/{lq,mask,gt}/NAME.png and
    {lq,mask,gt}.lmdb

Horse is trained on trainA and tested on testA, at 128 pixels; ImageNet, at 64, holds out every
fifth picture by name unless it comes as train/ and test/. A run that was interrupted continues; a
set that cannot be made does not keep the others from being made.
"""

import argparse
import json
import zlib
from pathlib import Path

import lmdb

from datasets_ext.inputs import check_sides, find_pictures
from datasets_ext.make_dataset import KINDS, make_dataset
from datasets_ext.make_lmdb import make_lmdb
from datasets_ext.recipe import DEGRADATIONS
from hmaca_arch.config.schema import PROTOCOLS
from hmaca_arch.messages import one_line, printable, say

SIZES = {'horse': 128, 'imagenet': 64}
HOLD_OUT = 5  # of pictures that come unsplit, every fifth is for testing
SHARED = (
    'input',
    'horse',
    'imagenet',
    'output',
    'protocol',
    'degradation',
    'seed',
    'workers',
    'overwrite',
)  # options that apply here


def is_packed(folder: Path) -> bool:
    """Whether the LMDBs of a triplet folder hold exactly the files that its manifest lists."""
    records = [
        json.loads(line)
        for line in (folder / 'manifest.jsonl').read_text(encoding='utf-8').splitlines()
    ]
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
        if found != {record['name']: record['crc32'][kind] for record in records}:
            return False
    return True


def make_set(
    source: str, output: Path, size: int, protocol: str, degradation: str, **how
) -> dict[str, dict]:
    """One of the six, with its LMDBs; returns what `make_dataset` returns.

    Raises:
        FileNotFoundError, ValueError: it cannot be made; nothing is written if pictures are too
            small.
    """
    pictures = [picture for split in find_pictures(source).values() for picture in split]
    twice = protocol == 'release'
    why = (
        'protocol release degrades at twice the working size; use larger originals or --protocol clean'
        if twice
        else 'they are not enlarged'
    )
    check_sides(pictures, 2 * size if twice else size, why)
    results = make_dataset(
        source, output, every=HOLD_OUT, size=size, protocol=protocol, degradation=degradation, **how
    )
    if not all(is_packed(output / split) for split in results):
        make_lmdb(
            output, workers=how.get('workers', 1), overwrite=True, quiet=how.get('quiet', False)
        )
    return results


def make_paper_sets(
    sources: dict[str, str],
    output: str | Path,
    protocol: str,
    degradations: tuple[str, ...] = DEGRADATIONS,
    **how,
) -> dict[str, dict[str, dict]]:
    """The sets of the given sources, reported as they are made.

    Args:
        sources: {'horse': folder or zip file, 'imagenet': ...}, either or both.
        output: the sets go to OUTPUT/PROTOCOL/SET.
        protocol, degradations: which.
        how: seed, workers, overwrite, quiet of `make_dataset`.

    Returns:
        {set: what `make_dataset` returns}

    Raises:
        ValueError: sets could not be made, once all others are; each is named.
    """
    made, failed = {}, {}
    for name, source in sources.items():
        warned = False
        for degradation in degradations:
            label = f'{name}_{degradation}'
            try:
                made[label] = make_set(
                    source,
                    Path(output) / protocol / label,
                    SIZES[name],
                    protocol,
                    degradation,
                    **how,
                )
            except (ValueError, FileNotFoundError) as error:
                failed[label] = error
                say(f'{label}: not made: {one_line(error)}')
                continue
            left_out = {} if warned else made[label]['train']['left_out']
            for picture, double in left_out.items():
                text = f'{name}: warning: {picture} of the training pictures is pixel for pixel the test picture {double}; left out'
                say(printable(text))
            warned = True
            counts = ', '.join(
                f'{result["count"]} for {split}' for split, result in made[label].items()
            )
            inputs = ', '.join(f'{split} {psnr(result)}' for split, result in made[label].items())
            say(
                f'{label}: {counts}; unrestored input, composite PSNR (paste: {PROTOCOLS[protocol]}): {inputs}'
            )
    if failed:
        first = next(iter(failed))
        raise ValueError(
            f'{len(failed)} of {len(made) + len(failed)} sets were not made: {", ".join(failed)} ({failed[first]})'
        )
    return made


def psnr(result: dict) -> str:
    """A split's mean, in words."""
    exact = f' ({result["exact"]} of {result["count"]} exact)' if result['exact'] else ''
    return 'exact' if result['psnr'] is None else f'{result["psnr"]:.2f} dB{exact}'


def run(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """What `basicsr make-dataset` does with --horse or --imagenet.

    Raises:
        ValueError: options that only one data set made from INPUT can have.
    """
    foreign = [
        name
        for name, value in vars(args).items()
        if name not in SHARED and value != parser.get_default(name)
    ]
    if args.input or foreign:
        words = ['INPUT'] if args.input else [f'--{name.replace("_", "-")}' for name in foreign]
        raise ValueError(
            f"{', '.join(words)} cannot be used with --horse and --imagenet, whose settings are the paper's"
        )
    sources = {name: getattr(args, name) for name in SIZES if getattr(args, name)}
    degradations = (args.degradation,) if args.degradation else DEGRADATIONS
    make_paper_sets(
        sources,
        args.output,
        args.protocol,
        degradations,
        seed=args.seed,
        workers=args.workers,
        overwrite=args.overwrite,
    )
