"""`basicsr make-dataset`: (lq, mask, gt) triplets from clean pictures, with a manifest.

    basicsr make-dataset horse2zebra.zip -o datasets/clean/horse_pix --protocol clean --degradation
    pix

writes OUTPUT/{lq,mask,gt}/NAME.png (or the same below OUTPUT/train and OUTPUT/test),
OUTPUT/settings.json and OUTPUT/manifest.jsonl, one line a picture. A picture's randomness comes
from (seed, its name) alone: neither the number of workers nor the other pictures matter, and data
sets of different degradations have the same regions. An interrupted run is continued by the same
command.
"""

import hashlib
import json
import sys
import zlib
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from datasets_ext.inputs import Picture, find_pictures, hold_out, twins, without
from datasets_ext.parallel import Workers
from datasets_ext.recipe import Recipe
from hmaca_arch.config.schema import PROTOCOLS
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.images import decode_picture, encode_png, to_8_bit
from hmaca_arch.files.locks import only_here
from hmaca_arch.files.outputs import output_folder
from hmaca_arch.messages import printable, say

KINDS = ('lq', 'mask', 'gt')


def generator(seed: int, name: str) -> np.random.Generator:
    """All randomness of the triplet `name`."""
    digest = hashlib.sha256(
        name.encode('utf-8', 'surrogateescape')
    ).digest()  # file names need not be UTF-8
    return np.random.default_rng((seed, int.from_bytes(digest[:8], 'big')))


def _input_psnr(lq: np.ndarray, mask: np.ndarray, gt: np.ndarray, paste: str) -> float | None:
    """Composite PSNR of doing nothing, dB; None for a picture that the degradation did not change."""
    from hmaca_arch.metrics import (
        calculate_composite_psnr,
    )  # late: making data needs nothing else of the networks' package

    value = calculate_composite_psnr(lq, gt, lq, mask.astype(np.float64), paste=paste)
    return value if np.isfinite(value) else None


def make_triplet(
    job: tuple[Picture, dict | None], *, output: Path, recipe: Recipe, seed: int
) -> dict:
    """Make one triplet, or find it made.

    Args:
        job: the picture, and its record from an earlier run of the same settings, if any.
        output: the folder of lq/, mask/ and gt/.
        recipe, seed: how it is made.

    Returns:
        The manifest's record; or {'name', 'error'} if the picture cannot be used; with 'kept': True
        if it was there already.
    """
    picture, old = job
    files = {kind: output / kind / f'{picture.name}.png' for kind in KINDS}
    try:
        data = picture.read()
        if old and old['source_crc32'] == zlib.crc32(data):
            found = {
                kind: zlib.crc32(path.read_bytes())
                for kind, path in files.items()
                if path.is_file()
            }
            if found == old['crc32']:
                return old | {'kept': True}
        pixels = to_8_bit(decode_picture(data, str(picture)))
        lq, mask, gt, drawn = recipe(pixels, generator(seed, picture.name))
    except ValueError as error:
        text = str(error)
        return {
            'name': picture.name,
            'error': text if text.startswith(str(picture)) else f'{picture}: {text}',
        }
    encoded = {
        'lq': encode_png(lq),
        'mask': encode_png(mask.astype(np.uint8) * 255),
        'gt': encode_png(gt),
    }
    for kind in KINDS:
        write_atomically(
            files[kind], encoded[kind], durable=False
        )  # thousands; their checksums are kept
    return {
        'name': picture.name,
        'source': picture.member,
        'source_crc32': zlib.crc32(data),
        'protocol': recipe.protocol,
        'seed': seed,
        'size': list(gt.shape[:2]),
        **drawn,
        'jpeg': recipe.jpeg,
        'input_psnr': _input_psnr(lq, mask, gt, PROTOCOLS[recipe.protocol]),
        'crc32': {kind: zlib.crc32(encoded[kind]) for kind in KINDS},
    }


def _read_records(*paths: Path) -> dict[str, dict]:
    """{name: record} of manifests, later ones first in rank; lines that are damaged are passed
    over, and their pictures made again.
    """
    records = {}
    for path in paths:
        for line in (
            path.read_text(encoding='utf-8', errors='replace').splitlines()
            if path.is_file()
            else ()
        ):
            try:
                record = json.loads(line)
                records[record['name']] = record
            except (ValueError, TypeError, KeyError):
                continue
    return records


def _prepare(output: Path, settings: dict, names: set[str], overwrite: bool) -> None:
    """Make the folders, or see that what is there belongs to this data set; `overwrite` empties
    them of triplets instead.
    """
    made = output / 'settings.json'
    there = [
        path
        for kind in KINDS
        if (output / kind).is_dir()
        for path in sorted((output / kind).iterdir())
    ]
    if there and not made.is_file():  # not even with --overwrite: these are somebody's own
        raise ValueError(
            f'{output} holds {there[0].relative_to(output)}, but no settings.json of an earlier run; choose another output folder'
        )
    if overwrite:
        for path in (
            output / 'manifest.jsonl',
            output / 'manifest.partial.jsonl',
            *(path for path in there if path.suffix in ('.png', '.tmp')),
        ):
            path.unlink(missing_ok=True)
        made.unlink(
            missing_ok=True
        )  # last, so that killing this leaves a folder that is still known as ours
    elif made.is_file():
        try:
            old = json.loads(made.read_text(encoding='utf-8'))
        except ValueError:
            raise ValueError(
                f'{made} is damaged; choose another output folder or --overwrite'
            ) from None
        changed = [
            key for key in sorted(old.keys() | settings) if old.get(key) != settings.get(key)
        ]
        if changed:
            text = '; '.join(
                f'{key} {old.get(key)!r}, now {settings.get(key)!r}' for key in changed
            )
            raise ValueError(
                f'{output} was made with {text}; choose another output folder or --overwrite'
            )
        extra = [
            path.relative_to(output)
            for path in there
            if path.suffix == '.png' and path.stem not in names
        ]
        if extra:
            raise ValueError(
                f'{output} holds {len(extra)} pictures not asked for now, such as {extra[0]}; remove them or --overwrite'
            )
    for kind in KINDS:
        output_folder(output / kind)
        for path in (output / kind).glob('.*.tmp'):
            path.unlink()  # of a run that was killed while writing it
    if not made.is_file():
        write_atomically(made, (json.dumps(settings, indent=1, sort_keys=True) + '\n').encode())


def make_split(
    pictures: list[Picture],
    output: Path,
    recipe: Recipe,
    seed: int,
    pool: Workers,
    overwrite: bool = False,
    quiet: bool = False,
) -> dict:
    """Make the triplets of some pictures in one folder.

    Returns:
        {'count', 'kept' (there already), 'psnr' (mean over the finite ones, dB), 'exact' (pictures
        that the degradation did not change)}

    Raises:
        ValueError: the folder holds something else; or pictures that cannot be used (all others are
            made first).
    """
    settings = json.loads(json.dumps(recipe.settings() | {'seed': seed}))
    _prepare(output, settings, {picture.name for picture in pictures}, overwrite)
    manifest, partial_manifest = output / 'manifest.jsonl', output / 'manifest.partial.jsonl'
    old = _read_records(manifest, partial_manifest)
    records, failures, kept = [], [], 0
    jobs = [(picture, old.get(picture.name)) for picture in pictures]
    make = partial(make_triplet, output=output, recipe=recipe, seed=seed)
    with open(partial_manifest, 'a', encoding='utf-8') as partial_file:
        partial_file.write('\n')  # ends a line that a killed run left unfinished
        for record in tqdm(
            pool.map(make, jobs),
            total=len(jobs),
            desc=output.name,
            unit='picture',
            disable=quiet or None,
        ):
            if 'error' in record:
                failures.append(record['error'])
                if not quiet:
                    with tqdm.external_write_mode(sys.stderr):
                        say(printable(f'make-dataset: {record["error"]}'), sys.stderr)
                continue
            if record.pop('kept', False):
                kept += 1
            else:
                partial_file.write(json.dumps(record) + '\n')
                partial_file.flush()
            records.append(record)
    if failures:
        more = f' (and {len(failures) - 3} more)' if len(failures) > 3 else ''
        raise ValueError(
            f'{len(failures)} of {len(jobs)} pictures cannot be used: {"; ".join(failures[:3])}{more}. Leave them out with --exclude NAME'
        )
    write_atomically(manifest, ''.join(json.dumps(record) + '\n' for record in records).encode())
    partial_manifest.unlink()
    values = [record['input_psnr'] for record in records if record['input_psnr'] is not None]
    return {
        'count': len(records),
        'kept': kept,
        'psnr': float(np.mean(values)) if values else None,
        'exact': len(records) - len(values),
    }


def make_dataset(
    source: str | Path,
    output: str | Path,
    *,
    seed: int = 0,
    exclude: tuple[str, ...] = (),
    every: int = 0,
    workers: int = 1,
    overwrite: bool = False,
    quiet: bool = False,
    **recipe,
) -> dict[str, dict]:
    """Make a data set from a folder or zip file of pictures; split in two, OUTPUT/train and
    OUTPUT/test.

    Args:
        source: the pictures.
        output: where the data set goes.
        seed: 0 or more.
        exclude: pictures to leave out, by stem or file name.
        every: hold out every such picture by name for testing, where the source is not split; 0: do
            not split.
        workers: processes.
        overwrite: remove what an earlier run made there.
        quiet: no progress bar.
        recipe: arguments of `Recipe`.

    Returns:
        For each split ('' if there are none) what `make_split` returns, and 'left_out': {name: the
        test picture it is identical to}.

    Raises:
        FileNotFoundError, ValueError: in one line.
    """
    how = Recipe(**recipe)
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f'seed is {seed!r}, expected a whole number, 0 or more')
    splits = find_pictures(source)
    known = {
        name
        for pictures in splits.values()
        for item in pictures
        for name in (item.name, item.member.rsplit('/', 1)[-1])
    }
    for name in exclude:
        if name not in known:
            raise ValueError(f'--exclude {name}: there is no such picture in {source}')
    splits = {split: without(pictures, list(exclude)) for split, pictures in splits.items()}
    splits = hold_out(splits, every) if every else splits
    results = {}
    with Workers(workers) as pool:
        doubles = twins(splits['train'], splits['test'], pool) if 'train' in splits else {}
        for split, pictures in splits.items():
            left_out = doubles if split == 'train' else {}
            pictures = [picture for picture in pictures if picture.name not in left_out]
            if not pictures:
                raise ValueError(
                    f'{source}: nothing is left of {split or "the pictures"} to make triplets from'
                )
            folder = Path(output) / split
            output_folder(folder)
            with only_here(folder):
                made = make_split(pictures, folder, how, seed, pool, overwrite, quiet)
            results[split] = made | {'left_out': left_out}
    return results


def report(results: dict[str, dict], output: str | Path, protocol: str) -> None:
    """Print what `make_dataset` returned."""
    for split, result in results.items():
        label = split or output
        for name, twin in result['left_out'].items():
            say(
                printable(
                    f'{split}: left out {name}, which is pixel for pixel the test picture {twin}'
                )
            )
        say(
            printable(
                f'{label}: {result["count"]} triplets in {Path(output) / split} ({result["kept"]} were there already)'
            )
        )
        if result['psnr'] is not None:
            exact = f', {result["exact"]} of {result["count"]} exact' if result['exact'] else ''
            paste = PROTOCOLS[protocol]
            say(
                f'{label}: unrestored input, composite PSNR {result["psnr"]:.2f} dB (outside pasted from {paste}){exact}'
            )
