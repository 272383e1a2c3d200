"""Looks at every picture and mask of an option file's data sets once, before a training does.

What is read is remembered with the file's size and time (an LMDB's: its database's), so that a
second look reads only what changed.
"""

import functools
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from datasets_ext.parallel import Workers, default_workers
from datasets_ext.sources import (
    MOST_PIXELS,
    Lmdb,
    SingleFile,
    open_source,
    read_meta_info,
    read_sound_mask,
)
from hmaca_arch.config.presence import no_folder
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.images import decode_picture, read_file
from hmaca_arch.messages import printable

ERRORS = ('unreadable', 'mis-sized', 'missing', 'leaked')
WARNINGS = ('duplicate', 'empty mask', 'full mask', 'unused', 'not looked into')
OWN = ('MaskedPairedImageDataset', 'MaskedDegradationDataset')
VERSION = 1  # of what is remembered


class Place(NamedTuple):
    """Where a picture lies: a file, or a key of an LMDB; and what it is read as: `picture`, `mask`
    or `soft mask`.
    """

    path: str
    key: str | None
    kind: str

    def __str__(self) -> str:
        return self.path if self.key is None else f'{self.path}: key {self.key}'

    def identity(self) -> list[int]:
        status = os.stat(self.path if self.key is None else os.path.join(self.path, 'data.mdb'))
        return [VERSION, status.st_size, status.st_mtime_ns]


class Seen(NamedTuple):
    """What a picture turned out to be; `error` says why it cannot be read."""

    error: str | None = None
    height: int = 0
    width: int = 0
    digest: str = ''  # of size and pixels
    empty: bool = False
    full: bool = False


class Report(NamedTuple):
    """lines: by kind of finding (`ERRORS`, `WARNINGS`), one for each. counts: by data set, how many
    pictures and masks it has.
    """

    lines: dict[str, list[str]]
    counts: dict[str, dict[str, int]]

    @property
    def failed(self) -> list[str]:
        return [f'{len(self.lines[kind])} {kind}' for kind in ERRORS if self.lines[kind]]

    def text(self, most: int | None = None) -> str:
        """The report; with at most so many lines of a kind."""
        parts = [
            f'{place}: ' + ', '.join(f'{count} {what}' for what, count in found.items())
            for place, found in self.counts.items()
        ]
        for kind in (*ERRORS, *WARNINGS):
            lines = self.lines[kind]
            parts += [f'{kind}: {len(lines)}'] if lines or kind in ERRORS else []
            parts += [f'  {printable(line)}' for line in lines[:most]]
            parts += (
                [f'  ... and {len(lines) - most} more']
                if most is not None and len(lines) > most
                else []
            )
        return '\n'.join(parts) + '\n'


@functools.lru_cache(maxsize=8)
def _lmdb(root: str) -> Lmdb:
    return Lmdb(root)


def look(place: Place) -> Seen:
    """Read one picture."""
    try:
        data = read_file(place.path) if place.key is None else _lmdb(place.path).read(place.key)
        if place.kind == 'picture':
            pixels = decode_picture(data, str(place))
        else:
            pixels = read_sound_mask(data, str(place), soft=place.kind == 'soft mask')
    # whatever a damaged file makes a decoder raise: the others are still to be looked at
    except Exception as error:
        text = str(error)
        return Seen(
            error=text
            if text.startswith(str(place))
            else f'{place}: cannot be read as an image: {type(error).__name__} {text}'
        )
    digest = hashlib.sha256(
        repr((pixels.shape, pixels.dtype.str)).encode() + pixels.tobytes()
    ).hexdigest()
    is_mask = place.kind != 'picture'
    return Seen(
        None,
        *pixels.shape[:2],
        digest,
        is_mask and not pixels.any(),
        is_mask and bool((pixels == 1).all()),
    )


def _look_at_all(places: Sequence[Place]) -> list[Seen]:
    return [look(place) for place in places]


def look_at(places: Sequence[Place], cache: Path, workers: int) -> dict[Place, Seen]:
    """All of these pictures, in parallel, what the cache knows from there. It is brought up to
    date, also if this is interrupted.
    """
    try:
        known = json.loads(cache.read_text(encoding='utf-8'))
    except (FileNotFoundError, ValueError):
        known = {}
    known = known if isinstance(known, dict) else {}
    seen, identities = {}, {}
    for place in dict.fromkeys(places):
        try:
            identities[place] = place.identity()
        except OSError as error:
            seen[place] = Seen(error=f'{place}: cannot be read as an image: {error.strerror}')
            continue
        entry = known.get(f'{place.kind} {place}')
        if entry and entry[0] == identities[place]:
            seen[place] = Seen(*entry[1])
    new = [place for place in identities if place not in seen]
    chunks = [new[i : i + 32] for i in range(0, len(new), 32)]
    try:
        with tqdm(
            total=len(new),
            desc='looking at pictures',
            unit='picture',
            disable=None if new else True,
        ) as bar:
            if new:
                with Workers(min(workers, len(chunks))) as pool:
                    for chunk, found in zip(chunks, pool.map(_look_at_all, chunks)):
                        seen.update(zip(chunk, found))
                        bar.update(len(chunk))
    finally:
        # not what could not be read: that may have been for want of memory, or a right
        known.update(
            {
                f'{place.kind} {place}': [identities[place], seen[place]]
                for place in new
                if place in seen and not seen[place].error
            }
        )
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cache, json.dumps(known).encode(), durable=False)
    return seen


class _DataSet:
    """The files of one data set: {kind of picture: {name: where}}, and the names that each kind
    should have.
    """

    def __init__(self, place: str, opt: Mapping[str, Any], lines: dict[str, list[str]]) -> None:
        self.place, self.opt = place, opt
        self.is_triplets = opt['type'] == 'MaskedPairedImageDataset'
        self.places: dict[str, dict[str, Place]] = {}
        sources = {}
        for key in (
            key for key in opt if key.startswith('dataroot_') and isinstance(opt[key], str)
        ):
            try:
                sources[key.removeprefix('dataroot_')] = open_source(
                    {**opt, key: os.path.expanduser(opt[key])}, key
                )
            except (ValueError, OSError) as error:
                kind = 'unreadable' if opt['type'] in OWN else 'not looked into'
                lines[kind].append(f'{place}:{key}: {error}')
        if opt['type'] not in OWN or 'gt' not in sources:  # nothing to compare with
            for kind, source in sources.items():
                names = [] if isinstance(source, SingleFile) else source.names()
                self.places[kind] = {name: self._where(source, kind, name) for name in names}
            return
        gt = sources['gt'].names()
        wanted = read_meta_info(opt['meta_info_file']) if opt.get('meta_info_file') else gt
        for kind, source in sources.items():
            there, key = (
                set(gt if isinstance(source, SingleFile) else source.names()),
                f'dataroot_{kind}',
            )
            self.places[kind] = {
                name: self._where(source, kind, name) for name in wanted if name in there
            }
            if not isinstance(source, SingleFile):
                lines['missing'] += [
                    f'{place}:{key}: {opt[key]} has no {name}'
                    for name in wanted
                    if name not in there
                ]
                if wanted is gt:
                    lines['unused'] += [
                        f'{place}:{key}: {name} has no gt' for name in sorted(there.difference(gt))
                    ]

    def _where(self, source, kind: str, name: str) -> Place:
        read_as = (
            'picture' if kind != 'mask' else 'soft mask' if self.opt.get('soft_mask') else 'mask'
        )
        if isinstance(source, Lmdb):
            return Place(os.path.abspath(source.root), name, read_as)
        return Place(os.path.abspath(source.path(name)), None, read_as)

    def least_side(self) -> int:
        """The shortest side that a picture may have."""
        factor = 2 if self.opt.get('protocol') == 'release' and not self.is_triplets else 1
        crop = self.opt.get('gt_size') or 1 if self.place.startswith('datasets:train') else 1
        return factor * (self.opt.get('size') or crop)

    def judge(self, seen: Mapping[Place, Seen], lines: dict[str, list[str]]) -> dict[str, int]:
        """Add to the lines what is wrong; how many there are of each kind."""
        counts = {}
        for kind, places in self.places.items():
            counts[kind] = len(places)
            for place in dict.fromkeys(places.values()):
                if seen[place].error:
                    lines['unreadable'].append(f'{self.place}:{kind}: {seen[place].error}')
        for name, gt in self.places.get('gt', {}).items():
            size = seen[gt][1:3]
            if seen[gt].error:
                continue
            if min(size) < self.least_side():
                lines['mis-sized'].append(
                    f'{self.place}:gt: {gt}: {size[0]}x{size[1]} pixels, at least {self.least_side()} are needed'
                )
            if size[0] * size[1] > MOST_PIXELS and self.opt['type'] in OWN:
                lines['mis-sized'].append(
                    f'{self.place}:gt: {gt}: {size[0]}x{size[1]} pixels, a sample has at most {MOST_PIXELS}'
                )
            for kind in ('lq', 'mask') if self.is_triplets else ():
                other = self.places.get(kind, {}).get(name)
                if other and not seen[other].error and seen[other][1:3] != size:
                    height, width = seen[other][1:3]
                    lines['mis-sized'].append(
                        f'{self.place}:{kind}: {other}: {height}x{width} pixels, gt has {size[0]}x{size[1]}'
                    )
        lines['mis-sized'] += self._mixed(seen)
        masks = self.places.get('mask', {})
        for what, field in (('empty mask', 'empty'), ('full mask', 'full')):
            found = [
                f'{self.place}:mask: {place}'
                for place in masks.values()
                if getattr(seen[place], field)
            ]
            lines[what] += dict.fromkeys(found)
            if masks:
                counts[f'{what}s'] = len(found)
        for _, same in self.by_pixels(seen).items():
            lines['duplicate'] += [
                f'{self.place}:gt: {place} has the pixels of {same[0]}' for place in same[1:]
            ]
        return counts

    def _mixed(self, seen: Mapping[Place, Seen]) -> list[str]:
        """A line where batches could not be made because pictures differ in size."""
        opt = self.opt
        whole = opt['type'] in OWN and not opt.get('gt_size') and not opt.get('size')
        if not (
            whole
            and self.place.startswith('datasets:train')
            and opt.get('batch_size_per_gpu', 1) > 1
        ):
            return []
        examples = {
            seen[place][1:3]: place
            for place in self.places.get('gt', {}).values()
            if not seen[place].error
        }
        if len(examples) < 2:
            return []
        some = ', '.join(
            f'{place}: {size[0]}x{size[1]}' for size, place in list(examples.items())[:2]
        )
        return [
            f'{self.place}:gt_size: is missing, and pictures of {len(examples)} sizes cannot be one batch ({some})'
        ]

    def by_pixels(self, seen: Mapping[Place, Seen]) -> dict[str, list[Place]]:
        """gt's pictures by digest."""
        found = defaultdict(list)
        for place in self.places.get('gt', {}).values():
            if not seen[place].error:
                found[seen[place].digest].append(place)
        return found


def scan(
    datasets: Mapping[str, Mapping[str, Any]], cache: Path, workers: int | None = None
) -> Report:
    """Look at everything that the data sets of an option file name.

    Args:
        datasets: the sections below `datasets:`. Of types that are not this project's every
            `dataroot_...` folder or LMDB is read, and nothing is compared but the pixels.
        cache: where to remember.
        workers: processes; None: one for each core, at most 8.
    """
    lines: dict[str, list[str]] = {kind: [] for kind in (*ERRORS, *WARNINGS)}
    sets = []
    for phase, opt in datasets.items():
        absent = no_folder(f'datasets:{phase}', opt)
        if absent:
            lines['missing'].append(absent)
        else:
            sets.append(_DataSet(f'datasets:{phase}', opt, lines))
    places = [
        place for data in sets for by_name in data.places.values() for place in by_name.values()
    ]
    seen = look_at(places, cache, workers or default_workers())
    counts = {data.place: data.judge(seen, lines) for data in sets}
    training = [data for data in sets if data.place.startswith('datasets:train')]
    trained = {
        digest: same[0] for data in training for digest, same in data.by_pixels(seen).items()
    }
    for data in sets:
        for digest, same in data.by_pixels(seen).items() if data not in training else ():
            if digest in trained:
                lines['leaked'] += [
                    f'{data.place}:gt: {place} has the pixels of {trained[digest]}, trained on'
                    for place in same
                ]
    return Report(lines, counts)
