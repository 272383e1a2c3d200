"""Check every image and mask of an option file's data sets, before a training reads them."""

import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from datasets_ext.image_facts import Facts, Place, collect_facts
from datasets_ext.parallel import default_workers
from datasets_ext.sources import MOST_PIXELS, Lmdb, SingleFile, Source, open_source, read_meta_info
from hmaca_arch.config.presence import absent_folder
from hmaca_arch.messages import printable

ERRORS = ('unreadable', 'mis-sized', 'missing', 'leaked')
WARNINGS = ('duplicate', 'empty mask', 'full mask', 'unused', 'not looked into')
OWN = ('MaskedPairedImageDataset', 'MaskedDegradationDataset')

Lines = dict[str, list[str]]  # of the report, by kind of finding
AllFacts = Mapping[Place, Facts]


class Report(NamedTuple):
    """The findings of a check.

    lines: by kind of finding (`ERRORS`, `WARNINGS`), one for each. counts: by data set, how many
    images and masks it has.
    """

    lines: Lines
    counts: dict[str, dict[str, int]]

    @property
    def failed(self) -> list[str]:
        """The number of errors of each kind that occurs."""
        return [f'{len(self.lines[kind])} {kind}' for kind in ERRORS if self.lines[kind]]

    def text(self, most: int | None = None) -> str:
        """Return the report as text, with at most `most` lines of a kind."""
        parts = []
        for place, counts in self.counts.items():
            parts.append(f'{place}: ' + ', '.join(f'{n} {kind}' for kind, n in counts.items()))
        for kind in (*ERRORS, *WARNINGS):
            lines = self.lines[kind]
            if lines or kind in ERRORS:
                parts.append(f'{kind}: {len(lines)}')
            parts += [f'  {printable(line)}' for line in lines[:most]]
            if most is not None and len(lines) > most:
                parts.append(f'  ... and {len(lines) - most} more')
        return '\n'.join(parts) + '\n'


class _DataSet:
    """The images of one data set: `places` is {kind of image: {name: place}}.

    Args:
        section: the data set's place in the option file, such as datasets:train.
        opt: its options.
        lines: of the report; images that are missing or not used are added.
    """

    def __init__(self, section: str, opt: Mapping[str, Any], lines: Lines) -> None:
        self.section, self.opt = section, opt
        self.is_own = opt['type'] in OWN
        self.is_triplets = opt['type'] == 'MaskedPairedImageDataset'
        self.is_training = section.startswith('datasets:train')
        self.places: dict[str, dict[str, Place]] = {}
        sources = self._open(lines)
        if self.is_own and 'gt' in sources:
            self._match(sources, lines)
            return
        for kind, source in sources.items():
            self.places[kind] = {name: self._place(source, kind, name) for name in source.names()}

    def _open(self, lines: Lines) -> dict[str, Source]:
        sources = {}
        for key, value in self.opt.items():
            if not key.startswith('dataroot_') or not isinstance(value, str):
                continue
            try:
                sources[key.removeprefix('dataroot_')] = open_source(dict(self.opt), key)
            except (ValueError, OSError) as error:
                kind = 'unreadable' if self.is_own else 'not looked into'
                lines[kind].append(f'{self.section}:{key}: {error}')
        return sources

    def _match(self, sources: Mapping[str, Source], lines: Lines) -> None:
        """Take the images that gt, or the meta info file, names."""
        gt = sources['gt'].names()
        listed = self.opt.get('meta_info_file')
        wanted = read_meta_info(listed) if listed else gt
        for kind, source in sources.items():
            single = isinstance(source, SingleFile)
            present = set(gt if single else source.names())
            self.places[kind] = {
                name: self._place(source, kind, name) for name in wanted if name in present
            }
            if single:
                continue
            place, root = f'{self.section}:dataroot_{kind}', self.opt[f'dataroot_{kind}']
            absent = [name for name in wanted if name not in present]
            lines['missing'] += [f'{place}: {root} has no {name}' for name in absent]
            if not listed:
                extra = sorted(present.difference(gt))
                lines['unused'] += [f'{place}: {name} has no gt' for name in extra]

    def _place(self, source: Source, kind: str, name: str) -> Place:
        read_as = 'image'
        if kind == 'mask':
            read_as = 'soft mask' if self.opt.get('soft_mask') else 'mask'
        if isinstance(source, Lmdb):
            return Place(os.path.abspath(source.root), name, read_as)
        return Place(os.path.abspath(source.path(name)), None, read_as)

    def least_side(self) -> int:
        """Return the shortest side in pixels that an image may have."""
        factor = 2 if self.opt.get('protocol') == 'release' and not self.is_triplets else 1
        crop = self.opt.get('gt_size') if self.is_training else None
        return factor * (self.opt.get('size') or crop or 1)

    def judge(self, facts: AllFacts, lines: Lines) -> dict[str, int]:
        """Add all findings about the images to the report's lines.

        Returns:
            The number of images of each kind, and of empty and full masks.
        """
        counts = {kind: len(places) for kind, places in self.places.items()}
        for kind, places in self.places.items():
            errors = [facts[place].error for place in dict.fromkeys(places.values())]
            lines['unreadable'] += [f'{self.section}:{kind}: {error}' for error in errors if error]
        for name, gt in self.places.get('gt', {}).items():
            if not facts[gt].error:
                lines['mis-sized'] += self._wrong_sizes(name, gt, facts)
        lines['mis-sized'] += self._mixed_sizes(facts)
        masks = self.places.get('mask', {}).values()
        if masks:
            empty = [f'{self.section}:mask: {place}' for place in masks if facts[place].empty]
            full = [f'{self.section}:mask: {place}' for place in masks if facts[place].full]
            counts |= {'empty masks': len(empty), 'full masks': len(full)}
            lines['empty mask'] += dict.fromkeys(empty)  # one mask may stand for every image
            lines['full mask'] += dict.fromkeys(full)
        for first, *others in self.by_pixels(facts).values():
            lines['duplicate'] += [
                f'{self.section}:gt: {place} has the pixels of {first}' for place in others
            ]
        return counts

    def _wrong_sizes(self, name: str, gt: Place, facts: AllFacts) -> Iterator[str]:
        height, width = facts[gt].size
        found = f'{self.section}:gt: {gt}: {height}x{width} pixels'
        if min(height, width) < self.least_side():
            yield f'{found}, at least {self.least_side()} are needed'
        if height * width > MOST_PIXELS and self.is_own:
            yield f'{found}, a sample has at most {MOST_PIXELS}'
        for kind in ('lq', 'mask') if self.is_triplets else ():
            other = self.places.get(kind, {}).get(name)
            if other and not facts[other].error and facts[other].size != (height, width):
                found = f'{self.section}:{kind}: {other}: {facts[other].height}x'
                yield f'{found}{facts[other].width} pixels, gt has {height}x{width}'

    def _mixed_sizes(self, facts: AllFacts) -> Iterator[str]:
        """Yield a line if images cannot be batched because their sizes differ."""
        batched = self.is_training and self.opt.get('batch_size_per_gpu', 1) > 1
        if not (self.is_own and batched) or self.opt.get('gt_size') or self.opt.get('size'):
            return
        readable = [place for place in self.places.get('gt', {}).values() if not facts[place].error]
        examples = {facts[place].size: place for place in readable}
        if len(examples) > 1:
            some = ', '.join(
                f'{place}: {size[0]}x{size[1]}' for size, place in list(examples.items())[:2]
            )
            yield (
                f'{self.section}:gt_size: is missing, and images of {len(examples)} sizes '
                f'cannot be one batch ({some})'
            )

    def by_pixels(self, facts: AllFacts) -> dict[str, list[Place]]:
        """Return the images of gt by digest."""
        found = defaultdict(list)
        for place in self.places.get('gt', {}).values():
            if not facts[place].error:
                found[facts[place].digest].append(place)
        return found

    def all_places(self) -> list[Place]:
        """Return the places of all images."""
        return list(itertools.chain.from_iterable(map(dict.values, self.places.values())))


def scan(
    datasets: Mapping[str, Mapping[str, Any]], cache: Path, workers: int | None = None
) -> Report:
    """Check all images that the data sets of an option file name.

    Args:
        datasets: the sections below `datasets:`. For the types of other packages every
            `dataroot_...` folder or LMDB is read, and only the pixels are compared.
        cache: JSON file with what earlier checks read.
        workers: number of processes; None: one for each core, at most 8.
    """
    lines: Lines = {kind: [] for kind in (*ERRORS, *WARNINGS)}
    sets, places = [], []
    for phase, opt in datasets.items():
        absent = absent_folder(f'datasets:{phase}', opt)
        if absent:
            lines['missing'].append(absent)
            continue
        sets.append(_DataSet(f'datasets:{phase}', opt, lines))
        places += sets[-1].all_places()
    facts = collect_facts(places, cache, workers or default_workers())
    counts = {data.section: data.judge(facts, lines) for data in sets}
    trained: dict[str, Place] = {}
    for data in sets:
        if data.is_training:
            trained |= {digest: same[0] for digest, same in data.by_pixels(facts).items()}
    for data in sets:
        lines['leaked'] += _leaks(data, trained, facts)
    return Report(lines, counts)


def _leaks(data: _DataSet, trained: Mapping[str, Place], facts: AllFacts) -> Iterator[str]:
    """Yield a line for each image of a validation or test set that is also trained on."""
    if data.is_training:
        return
    for digest, same in data.by_pixels(facts).items():
        if digest in trained:
            for place in same:
                found = f'{data.section}:gt: {place} has the pixels of {trained[digest]}'
                yield f'{found}, trained on'
