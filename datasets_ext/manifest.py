"""Read manifests of `basicsr make-dataset`: one JSON record for each triplet."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hmaca_arch.degradation import KINDS, Degradation
from hmaca_arch.degradation.kernels import Kernel
from hmaca_arch.messages import one_line, printable

MANIFEST = 'manifest.jsonl'


def read_records(*manifests: Path) -> dict[str, dict[str, Any]]:
    """Read the records of some manifests by name; a later manifest's record replaces an earlier's.

    Files that do not exist and lines that are damaged are left out.
    """
    records = {}
    for manifest in manifests:
        text = manifest.read_text(encoding='utf-8', errors='replace') if manifest.is_file() else ''
        for line in text.splitlines():
            try:
                record = json.loads(line)
                records[record['name']] = record
            except (ValueError, TypeError, KeyError):
                continue
    return records


def degradation_of(record: dict[str, Any]) -> Degradation:
    """Return the degradation of a record, of a manifest's or a `Recipe`'s.

    It is `unknown` under protocol `release`, where several degradations were applied, and where a
    user's own was.
    """
    applied, jpeg = record.get('degradations', []), record.get('jpeg_after', 0)
    if record.get('protocol') == 'release' or len(applied) != 1:
        return Degradation(jpeg=jpeg)
    if applied[0]['type'] not in KINDS:
        return Degradation(jpeg=jpeg)
    return replace(as_degradation(applied[0]['type'], applied[0]), jpeg=jpeg)


def as_degradation(kind: str, drawn: Mapping[str, Any]) -> Degradation:
    """Return the degradation of a kind with the parameters that a record has of it."""
    if kind == 'kernel':
        return Degradation(kind, kernel=Kernel.from_text(drawn['kernel'], str(drawn['file'])))
    if kind != 'pix':
        return Degradation(kind, sigma=drawn.get('sigma', 0))
    grid: dict[str, Any] = {}
    if 'offset' in drawn:
        grid = {'anchor': ('offset', 'offset'), 'offset': tuple(drawn['offset'])}
    return Degradation('pix', drawn['block'], drawn['pool'], **grid)


def read_degradations(folder: str) -> dict[str, Degradation]:
    """Read {name: degradation} of the data set that a folder or LMDB of images belongs to.

    The manifest lies in the folder, as beside an LMDB's data, or in its parent. Without one the
    result is empty. A damaged one gets a warning and counts as none.
    """
    places = Path(folder).absolute(), Path(folder).absolute().parent
    manifest = next((place / MANIFEST for place in places if (place / MANIFEST).is_file()), None)
    if manifest is None:
        return {}
    try:
        lines = manifest.read_text(encoding='utf-8').splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
        return {record['name']: degradation_of(record) for record in records}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        logging.getLogger('basicsr').warning(
            f'{printable(manifest)}: is no manifest of basicsr make-dataset '
            f'({type(error).__name__}: {one_line(error)[:100]}): degradations are unknown'
        )
        return {}
