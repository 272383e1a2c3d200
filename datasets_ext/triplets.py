"""One folder of triplets: lq/, mask/ and gt/, settings.json and manifest.jsonl."""

import hashlib
import json
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from datasets_ext.inputs import SourceImage
from datasets_ext.manifest import MANIFEST, read_records
from datasets_ext.parallel import Workers
from datasets_ext.recipe import Recipe
from hmaca_arch.config.schema import PROTOCOLS
from hmaca_arch.files.atomic import append, write_atomically
from hmaca_arch.files.images import decode_image, encode_png, to_8_bit
from hmaca_arch.files.outputs import output_folder
from hmaca_arch.messages import printable, say

KINDS = ('lq', 'mask', 'gt')
SETTINGS = 'settings.json'
UNFINISHED = 'manifest.partial.jsonl'  # the records of an interrupted run

Record = dict[str, Any]


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the random generator of the triplet `name`."""
    encoded = name.encode('utf-8', 'surrogateescape')  # file names need not be text
    digest = hashlib.sha256(encoded).digest()
    return np.random.default_rng((seed, int.from_bytes(digest[:8], 'big')))


def _input_psnr(lq: np.ndarray, mask: np.ndarray, gt: np.ndarray, paste: str) -> float | None:
    """Return the composite PSNR of lq in dB; None where lq equals gt."""
    # Imported here, so that making data loads no metrics before they are used.
    from hmaca_arch.metrics import calculate_composite_psnr

    value = calculate_composite_psnr(lq, gt, lq, mask.astype(np.float64), paste=paste)
    return value if np.isfinite(value) else None


def make_triplet(
    job: tuple[SourceImage, Record | None], *, output: Path, recipe: Recipe, seed: int
) -> Record:
    """Make one triplet, unless it is there already.

    Args:
        job: the image, and its record from an earlier run of the same settings, if any.
        output: the folder of lq/, mask/ and gt/.
        recipe: makes the triplet.
        seed: together with the image's name, the source of all randomness.

    Returns:
        The manifest's record, with 'kept': True if the triplet was there already; or
        {'name', 'error'} if the image cannot be used.
    """
    image, old = job
    files = {kind: output / kind / f'{image.name}.png' for kind in KINDS}
    try:
        data = image.read()
        if old and old['source_crc32'] == zlib.crc32(data) and old['crc32'] == _checksums(files):
            return old | {'kept': True}
        pixels = to_8_bit(decode_image(data, str(image)))
        lq, mask, gt, drawn = recipe(pixels, generator(seed, image.name))
    except ValueError as error:
        text = str(error)
        located = text if text.startswith(str(image)) else f'{image}: {text}'
        return {'name': image.name, 'error': located}
    arrays = {'lq': lq, 'mask': mask.astype(np.uint8) * 255, 'gt': gt}
    encoded = {kind: encode_png(array) for kind, array in arrays.items()}
    for kind in KINDS:
        # Not synced to disk: there are thousands, and the manifest has their checksums.
        write_atomically(files[kind], encoded[kind], durable=False)
    return {
        'name': image.name,
        'source': image.member,
        'source_crc32': zlib.crc32(data),
        'protocol': recipe.protocol,
        'seed': seed,
        'size': list(gt.shape[:2]),
        **drawn,
        'jpeg': recipe.jpeg,
        'input_psnr': _input_psnr(lq, mask, gt, PROTOCOLS[recipe.protocol]),
        'crc32': {kind: zlib.crc32(encoded[kind]) for kind in KINDS},
    }


def _checksums(files: dict[str, Path]) -> dict[str, int]:
    return {kind: zlib.crc32(path.read_bytes()) for kind, path in files.items() if path.is_file()}


def _prepare(output: Path, settings: Record, names: set[str], overwrite: bool) -> None:
    """Make the folders, or check that what they hold belongs to this data set.

    Args:
        output: the folder of lq/, mask/ and gt/.
        settings: of the recipe, and the seed.
        names: of the triplets.
        overwrite: empty the folders of triplets instead of checking them.

    Raises:
        ValueError: the folders hold something else.
    """
    made = output / SETTINGS
    present = _files_in(output)
    if present and not made.is_file():  # a user's own files: not even --overwrite removes these
        raise ValueError(
            f'{output} holds {present[0].relative_to(output)}, but no {SETTINGS} of an earlier '
            'run; choose another output folder'
        )
    if overwrite:
        old = [path for path in present if path.suffix in ('.png', '.tmp')]
        # The settings go last: if this is interrupted, the folder is still known to be ours.
        for path in (output / MANIFEST, output / UNFINISHED, *old, made):
            path.unlink(missing_ok=True)
    elif made.is_file():
        _refuse_other_settings(made, settings)
        pngs = [path for path in present if path.suffix == '.png']
        extra = [path.relative_to(output) for path in pngs if path.stem not in names]
        if extra:
            raise ValueError(
                f'{output} holds {len(extra)} images not asked for now, such as {extra[0]}; '
                'remove them or --overwrite'
            )
    for kind in KINDS:
        output_folder(output / kind)
        for path in (output / kind).glob('.*.tmp'):  # left by a run that was killed
            path.unlink()
    if not made.is_file():
        write_atomically(made, (json.dumps(settings, indent=1, sort_keys=True) + '\n').encode())


def _files_in(output: Path) -> list[Path]:
    found: list[Path] = []
    for kind in KINDS:
        if (output / kind).is_dir():
            found += sorted((output / kind).iterdir())
    return found


def _refuse_other_settings(made: Path, settings: Record) -> None:
    advice = 'choose another output folder or --overwrite'
    try:
        old = json.loads(made.read_text(encoding='utf-8'))
    except ValueError:
        raise ValueError(f'{made} is damaged; {advice}') from None
    changed = [key for key in sorted(old.keys() | settings) if old.get(key) != settings.get(key)]
    if changed:
        text = '; '.join(f'{key} {old.get(key)!r}, now {settings.get(key)!r}' for key in changed)
        raise ValueError(f'{made.parent} was made with {text}; {advice}')


def make_split(
    images: list[SourceImage],
    output: Path,
    recipe: Recipe,
    seed: int,
    pool: Workers,
    overwrite: bool = False,
    quiet: bool = False,
) -> Record:
    """Make the triplets of some images in one folder.

    Args:
        images: the clean images.
        output: the folder of lq/, mask/ and gt/.
        recipe: makes the triplets.
        seed: 0 or more.
        pool: the processes.
        overwrite: remove what an earlier run made there.
        quiet: print nothing and show no progress bar.

    Returns:
        {'count', 'kept' (there already), 'psnr' (mean over the finite ones, dB), 'exact' (images
        that the degradation did not change)}

    Raises:
        ValueError: the folder holds something else; or images cannot be used, after all others
            are made.
    """
    settings = json.loads(json.dumps(recipe.settings() | {'seed': seed}))
    _prepare(output, settings, {image.name for image in images}, overwrite)
    old = read_records(output / MANIFEST, output / UNFINISHED)
    jobs = [(image, old.get(image.name)) for image in images]
    make = partial(make_triplet, output=output, recipe=recipe, seed=seed)
    bar = tqdm(
        pool.map(make, jobs), total=len(jobs), desc=output.name, unit='image', disable=quiet or None
    )
    records, failures, kept = [], [], 0
    append(output / UNFINISHED, '\n')  # ends a line that a killed run left unfinished
    for record in bar:
        if 'error' in record:
            failures.append(record['error'])
            if not quiet:
                with tqdm.external_write_mode(sys.stderr):
                    say(printable(f'make-dataset: {record["error"]}'), sys.stderr)
            continue
        if record.pop('kept', False):
            kept += 1
        else:
            append(output / UNFINISHED, json.dumps(record) + '\n')
        records.append(record)
    if failures:
        more = f' (and {len(failures) - 3} more)' if len(failures) > 3 else ''
        raise ValueError(
            f'{len(failures)} of {len(jobs)} images cannot be used: {"; ".join(failures[:3])}'
            f'{more}. Leave them out with --exclude NAME'
        )
    lines = [json.dumps(record) + '\n' for record in records]
    write_atomically(output / MANIFEST, ''.join(lines).encode())
    (output / UNFINISHED).unlink()
    values = [record['input_psnr'] for record in records if record['input_psnr'] is not None]
    psnr = float(np.mean(values)) if values else None
    exact = len(records) - len(values)
    return {'count': len(records), 'kept': kept, 'psnr': psnr, 'exact': exact}
