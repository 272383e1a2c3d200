"""From a clean picture to an (lq, mask, gt) triplet: which region, which degradation, with which
parameters, under which protocol.

`make_dataset` and `MaskedDegradationDataset` share this file, so that prepared and on-the-fly
triplets are made the same way.
"""

import json
import logging
from numbers import Integral, Real
from pathlib import Path

import numpy as np

from datasets_ext import degradations
from datasets_ext.masks import SHAPES, components, draw_region
from hmaca_arch.config.schema import PROTOCOLS
from hmaca_arch.degradation import Degradation
from hmaca_arch.messages import one_line, printable, suggestion

DEGRADATIONS = ('pix', 'blur', 'noise')  # the paper's
MANIFEST = 'manifest.jsonl'
REGION_SIZE = 20 / 128  # of the shorter side: 20 px of 128, 10 of 64; the release's 40 of 256
_DEFAULTS = {
    'pix': {'block': 5, 'pool': 'centre', 'offset': 'region'},
    'blur': {'sigma': 1.0},
    'noise': {'sigma': 7.07},
    'none': {},
}
_COMPRESSION = {'before': 0.0, 'after': 0.0, 'quality': [30, 100]}


def one_of(name: str, value, known) -> None:
    """Raise the ValueError that names the closest known value if `value` is not among them."""
    if value not in known:
        raise ValueError(f'{name}: there is no {value!r}{suggestion(value, known)}')


def _range(name: str, value, lowest: float, whole: bool = False) -> tuple:
    """A number, or [low, high], as (low, high)."""
    ends = list(value) if isinstance(value, list | tuple) else [value, value]
    kind = Integral if whole else Real
    if len(ends) != 2 or not all(
        isinstance(end, kind) and not isinstance(end, bool) for end in ends
    ):
        raise ValueError(
            f'{name} is {value!r}, expected {"a whole number" if whole else "a number"} or [low, high]'
        )
    if not lowest <= ends[0] <= ends[1] < float('inf'):
        raise ValueError(f'{name} is {value!r}, expected at least {lowest}, and low <= high')
    return tuple(ends)


def _draw(ends: tuple, rng: np.random.Generator):
    low, high = ends
    if low == high:
        return low
    return (
        int(rng.integers(low, high + 1))
        if isinstance(low, Integral) and isinstance(high, Integral)
        else float(rng.uniform(low, high))
    )


def _degradation(entry, protocol: str) -> dict:
    """One checked entry: {'type', 'weight', and the parameters as ranges (pool: a tuple of
    choices)}.
    """
    entry = {'type': entry} if isinstance(entry, str) else dict(entry)
    kind = entry.pop('type', None)
    one_of('degradation', kind, _DEFAULTS)
    weight = entry.pop('weight', 1.0)
    if not isinstance(weight, Real) or not 0 < weight < float('inf'):
        raise ValueError(f'degradation {kind}: weight is {weight!r}, expected a number above 0')
    if protocol == 'release':
        one_of('degradation (protocol release)', kind, DEGRADATIONS)
        if entry:
            raise ValueError(
                f'degradation {kind}: protocol release fixes its parameters, remove {", ".join(sorted(entry))}'
            )
        return {'type': kind, 'weight': float(weight)}
    for key in entry:
        one_of(f'degradation {kind}', key, _DEFAULTS[kind])
    checked = {'type': kind, 'weight': float(weight)}
    for key, value in (_DEFAULTS[kind] | entry).items():
        if key == 'pool':
            one_of('degradation pix: pool', value, (*degradations.POOLS, 'both'))
            checked[key] = degradations.POOLS if value == 'both' else (value,)
        elif key == 'offset':
            one_of('degradation pix: offset', value, ('region', 'any'))
            if value == 'any':
                checked[key] = value
        else:
            lowest = 1 if key == 'block' else 0.05 if kind == 'blur' else 0
            checked[key] = _range(f'degradation {kind}: {key}', value, lowest, whole=key == 'block')
    return checked


def _compression(entry: dict | None, protocol: str) -> dict:
    """The checked setting, with its defaults."""
    entry = dict(entry or {})
    if entry and protocol == 'release':
        raise ValueError(
            'compression: protocol release has its own JPEG; use protocol clean, or leave compression out'
        )
    for key in entry:
        one_of('compression', key, _COMPRESSION)
    checked = _COMPRESSION | entry
    for key in ('before', 'after'):
        if not isinstance(checked[key], Real) or not 0 <= checked[key] <= 1:
            raise ValueError(f'compression: {key} is {checked[key]!r}, expected 0 to 1: how often')
    checked['quality'] = _range('compression: quality', checked['quality'], 1, whole=True)
    if checked['quality'][1] > 100:
        raise ValueError(f'compression: quality is {entry["quality"]!r}, expected at most 100')
    return checked


def degradation_of(record: dict) -> Degradation:
    """What a manifest's record, or a `Recipe`'s, says as an equation; `unknown` where there is
    none.
    """
    applied, jpeg = record.get('degradations', []), record.get('jpeg_after', 0)
    if record.get('protocol') == 'release' or len(applied) != 1:
        return Degradation(jpeg=jpeg)
    one = applied[0]
    if one['type'] == 'pix':
        place = (
            {'anchor': ('offset', 'offset'), 'offset': tuple(one['offset'])}
            if 'offset' in one
            else {}
        )
        return Degradation('pix', block=one['block'], pool=one['pool'], jpeg=jpeg, **place)
    return Degradation(one['type'], sigma=one.get('sigma', 0), jpeg=jpeg)


def read_degradations(folder: str) -> dict[str, Degradation]:
    """{name: degradation} of the data set that a folder or LMDB of its images belongs to; nothing
    where it has no manifest.
    """
    places = Path(folder).absolute(), Path(folder).absolute().parent  # an LMDB carries a copy
    manifest = next((place / MANIFEST for place in places if (place / MANIFEST).is_file()), None)
    if manifest is None:
        return {}
    try:
        records = [
            json.loads(line)
            for line in manifest.read_text(encoding='utf-8').splitlines()
            if line.strip()
        ]
        return {record['name']: degradation_of(record) for record in records}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f'{type(error).__name__}: {one_line(error)[:100]}'
        text = f'{printable(manifest)}: is no manifest of basicsr make-dataset ({reason}): degradations are unknown'
        logging.getLogger('basicsr').warning(text)
        return {}


class Recipe:
    """How triplets are made. Calling it with a picture and a random generator makes one.

    Args:
        protocol: `clean` or `release` (see `degradations`).
        degradation: `pix`, `blur` or `noise`; or a mapping with that as `type` and its parameters,
            each a number or a range [low, high]: pix {block: 5, pool: centre | mean | both}, blur
            {sigma: 1.0}, noise {sigma: 7.07}; or a list of these, of which each picture gets one
            (in proportion to the entries' `weight`, default 1) or `degradation_count`, one after
            the other.
        degradation_count: how many entries of the list a picture gets, a number or a range.
        region: one of masks.SHAPES, or a list to draw from.
        region_size: side of the region, or a range: below 1 as a part of the working picture's
            shorter side, otherwise in its pixels.
        size: working size: the picture's central square is resized to size x size. None: the
            picture as it is (`release`: half of it).
        compression: protocol `clean`: {before: 0, after: 0, quality: [30, 100]}: how often the
            image is compressed as JPEG before and after the degradation, 0 to 1, and with which
            quality. After the latter gt is lq outside the region.
        jpeg: quality of the JPEG that `release` puts lq through; 0 or False leaves it out.

    Raises:
        ValueError: naming the setting.
    """

    def __init__(
        self,
        *,
        protocol: str = 'clean',
        degradation: str | dict | list = 'pix',
        degradation_count: int | list = 1,
        region: str | list = 'square',
        region_size: float | list = REGION_SIZE,
        size: int | None = None,
        jpeg: int = 95,
        compression: dict | None = None,
    ) -> None:
        one_of('protocol', protocol, PROTOCOLS)
        self.protocol = protocol
        entries = list(degradation) if isinstance(degradation, list | tuple) else [degradation]
        if not entries:
            raise ValueError('degradation: the list is empty')
        self.degradations = [_degradation(entry, protocol) for entry in entries]
        self.counts = _range('degradation_count', degradation_count, 1, whole=True)
        if self.counts[1] > len(entries):
            raise ValueError(
                f'degradation_count is {degradation_count}, but only {len(entries)} degradation(s) are listed'
            )
        self.shapes = tuple(region) if isinstance(region, list | tuple) else (region,)
        for shape in self.shapes or (None,):
            one_of('region', shape, SHAPES)
        self.region_size = _range('region_size', region_size, 0.001)
        if self.region_size[0] < 1 <= self.region_size[1]:
            raise ValueError(
                f'region_size is {region_size!r}: below 1 is a part of the side, 1 and more are pixels; a range cannot be both'
            )
        if size is not None and (
            not isinstance(size, Integral) or isinstance(size, bool) or size < 1
        ):
            raise ValueError(
                f'size is {size!r}, expected a whole number of pixels (or leave it out)'
            )
        self.size = size
        if not isinstance(jpeg, Integral) or not 0 <= jpeg <= 100:
            raise ValueError(f'jpeg is {jpeg!r}, expected a quality from 1 to 100, or false')
        self.jpeg = int(jpeg) if protocol == 'release' else 0
        self.compression = _compression(compression, protocol)

    def settings(self) -> dict:
        """Every setting, with defaults filled in and numbers as ranges."""
        return {
            'protocol': self.protocol,
            'degradation': self.degradations,
            'degradation_count': self.counts,
            'region': self.shapes,
            'region_size': self.region_size,
            'size': self.size,
            'jpeg': self.jpeg,
        }

    def draw_mask(
        self, height: int, width: int, rng: np.random.Generator, factor: int = 1
    ) -> tuple[np.ndarray, dict]:
        """A region for a picture of height x width, whose pixels are 1/factor of a working pixel
        wide; and its description.
        """
        shape = (
            self.shapes[rng.integers(len(self.shapes))] if len(self.shapes) > 1 else self.shapes[0]
        )
        side = _draw(self.region_size, rng)
        side = max(1, round(side * min(height, width) if side < 1 else side * factor))
        mask = draw_region(shape, height, width, side, rng)
        boxes = [list(component[:4]) for component in components(mask)]
        return mask, {'shape': shape, 'side': min(side, height, width), 'boxes': boxes}

    def _chosen(self, rng: np.random.Generator) -> list[dict]:
        if len(self.degradations) == 1:
            return self.degradations
        weights = np.array([entry['weight'] for entry in self.degradations])
        order = rng.choice(
            len(weights), size=_draw(self.counts, rng), replace=False, p=weights / weights.sum()
        )
        return [self.degradations[i] for i in order]

    def _degrade(
        self, picture: np.ndarray, mask: np.ndarray, entry: dict, rng: np.random.Generator
    ) -> tuple[np.ndarray, dict]:
        kind = entry['type']
        if self.protocol == 'release':
            if kind == 'noise':
                return degradations.release_noise(picture, mask, rng), {
                    'type': kind,
                    'sigma': degradations.RELEASE_NOISE,
                }
            if kind == 'blur':
                kernel, sigma = degradations.RELEASE_BLUR
                return degradations.release_blur(picture, mask), {
                    'type': kind,
                    'kernel': kernel,
                    'sigma': sigma,
                }
            return degradations.release_pixelate(picture, mask), {
                'type': kind,
                'cells': degradations.RELEASE_CELLS,
            }
        if kind == 'none':
            return picture, {'type': kind}
        if kind == 'pix':
            block = _draw(entry['block'], rng)
            pool = (
                entry['pool'][rng.integers(len(entry['pool']))]
                if len(entry['pool']) > 1
                else entry['pool'][0]
            )
            found = {'type': kind, 'block': block, 'pool': pool}
            if 'offset' not in entry:
                return degradations.pixelate(picture, mask, block, pool), found
            offset = [int(place) for place in rng.integers(block, size=2)]
            return degradations.pixelate_grid(picture, mask, block, pool, offset), found | {
                'offset': offset
            }
        sigma = _draw(entry['sigma'], rng)
        if kind == 'blur':
            return degradations.blur(picture, mask, sigma), {'type': kind, 'sigma': sigma}
        return degradations.noise(picture, mask, rng, sigma), {'type': kind, 'sigma': sigma}

    def _compressed(
        self, picture: np.ndarray, when: str, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        """The image after JPEG as often as asked for, and its quality; 0 without."""
        if not self.compression[when] or rng.random() >= self.compression[when]:
            return picture, 0
        quality = _draw(self.compression['quality'], rng)
        return degradations.jpeg(picture, quality, subsampled=bool(rng.random() < 0.75)), quality

    def __call__(
        self, picture: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict]:
        """Make a triplet.

        Args:
            picture: (h, w, 3) RGB or (h, w, 1) gray uint8, clean.
            rng: where all randomness comes from. The region is drawn first: from equal generators,
                data sets of different degradations have equal regions, so that they can be
                compared.

        Returns:
            lq (h', w', c) uint8, mask (h', w', 1) bool, gt (h', w', c) uint8, and the record:
            {'region': ..., 'degradations': [...]}. The record's boxes are [top, left, height,
            width] of the connected regions where they were drawn: under `release` on the picture of
            twice the working size.

        Raises:
            ValueError: the picture is too small.
        """
        factor = 2 if self.protocol == 'release' else 1
        if self.size is not None:
            source = degradations.square_of(picture, factor * self.size)
        else:
            height, width = (side // factor * factor for side in picture.shape[:2])
            if not (height and width):
                raise ValueError(
                    f'the picture has {picture.shape[0]}x{picture.shape[1]} pixels, too few for protocol {self.protocol}'
                )
            source = picture[:height, :width]
        mask, region = self.draw_mask(*source.shape[:2], rng, factor)
        source, _ = self._compressed(source, 'before', rng)
        lq, applied = source, []
        for entry in self._chosen(rng):
            lq, parameters = self._degrade(lq, mask, entry, rng)
            applied.append(parameters)
        record = {'region': region, 'degradations': applied}
        if self.protocol == 'clean':
            lq, quality = self._compressed(lq, 'after', rng)
            if quality:
                record['jpeg_after'] = quality
                source = np.where(mask, source, lq)
            return lq, mask, source, record
        if self.jpeg:
            lq = degradations.jpeg(lq, self.jpeg)
        height, width = (side // 2 for side in source.shape[:2])
        mask = degradations.release_mask(mask, height, width)
        return (
            degradations.release_resize(lq, height, width),
            mask,
            degradations.release_resize(source, height, width),
            record,
        )
