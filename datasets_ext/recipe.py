"""From a clean image to an (lq, mask, gt) triplet.

`make_dataset` and `MaskedDegradationDataset` share it, so that prepared and on-the-fly triplets
are made in the same way.
"""

from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from datasets_ext import release_degradations
from datasets_ext.manifest import as_degradation
from datasets_ext.masks import SHAPES, components, draw_region
from datasets_ext.recipe_settings import (
    NO_COMPRESSION,
    check_compression,
    check_degradation,
    draw_number,
    is_whole,
    number_range,
    require_one_of,
)
from hmaca_arch.config.schema import PROTOCOLS
from hmaca_arch.degradation import pixels
from hmaca_arch.degradation.custom import DEGRADERS, Degrader, degrade
from hmaca_arch.degradation.kernel_files import read_kernel
from hmaca_arch.degradation.kernels import Kernel, add_kernel

REGION_SIZE = 20 / 128  # of the shorter side: 20 px of 128, 10 of 64; the release's 40 of 256


class Recipe:
    """How triplets are made. Called with an image and a random generator, it makes one.

    Args:
        protocol: `clean` or `release`: docs/data.md, Two protocols.
        degradation: `pix`, `blur` or `noise`; or a mapping with that as `type` and its parameters,
            each a number or a range [low, high]: pix {block: 5, pool: centre | mean | both}, blur
            {sigma: 1.0}, noise {sigma: 7.07}, kernel {path: an image file, or a folder of which
            one is drawn}, or what `register_degradation` has registered; or a list of these, of
            which each image gets one (in proportion to the entries' `weight`, default 1) or
            `degradation_count`, one after the other.
        degradation_count: how many entries of the list an image gets, a number or a range.
        region: square, rectangles, ellipses, strokes or several, or a list to draw from.
        region_size: side of the region, or a range: below 1 as a part of the working image's
            shorter side, otherwise in its pixels.
        size: working size: the image's central square is resized to size x size. None: the
            image as it is (`release`: half of it).
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
        require_one_of('protocol', protocol, PROTOCOLS)
        self.protocol = protocol
        entries = list(degradation) if isinstance(degradation, list | tuple) else [degradation]
        if not entries:
            raise ValueError('degradation: the list is empty')
        self.degradations = [check_degradation(entry, protocol) for entry in entries]
        self.counts = number_range('degradation_count', degradation_count, 1, whole=True)
        if self.counts[1] > len(entries):
            raise ValueError(
                f'degradation_count is {degradation_count}, '
                f'but only {len(entries)} degradation(s) are listed'
            )
        self.shapes = tuple(region) if isinstance(region, list | tuple) else (region,)
        for shape in self.shapes or (None,):
            require_one_of('region', shape, SHAPES)
        self.region_size = number_range('region_size', region_size, 0.001)
        if self.region_size[0] < 1 <= self.region_size[1]:
            raise ValueError(
                f'region_size is {region_size!r}: below 1 is a part of the side, '
                '1 and more are pixels; a range cannot be both'
            )
        if size is not None and (not is_whole(size) or size < 1):
            raise ValueError(
                f'size is {size!r}, expected a whole number of pixels (or leave it out)'
            )
        self.size = size
        if not isinstance(jpeg, Integral) or not 0 <= int(jpeg) <= 100:
            raise ValueError(f'jpeg is {jpeg!r}, expected a quality from 1 to 100, or false')
        self.jpeg: int = int(jpeg) if protocol == 'release' else 0
        self.compression: dict[str, Any] = check_compression(compression, protocol)
        # Kept here, as a worker process may start without them.
        kinds = [entry['type'] for entry in self.degradations]
        self.degraders: dict[str, Degrader] = {
            kind: DEGRADERS[kind] for kind in kinds if kind in DEGRADERS
        }
        files = [file for entry in self.degradations for file in entry.get('path', ())]
        self.kernels: dict[str, Kernel] = {file: read_kernel(file) for file in files}
        for kernel in self.kernels.values():
            add_kernel(kernel)

    def settings(self) -> dict[str, Any]:
        """Return every setting, with defaults filled in and numbers as ranges."""
        settings = {
            'protocol': self.protocol,
            'degradation': self.degradations,
            'degradation_count': self.counts,
            'region': self.shapes,
            'region_size': self.region_size,
            'size': self.size,
            'jpeg': self.jpeg,
        }
        # Absent by default, as in the settings.json of data sets made before it existed.
        return settings | (
            {} if self.compression == NO_COMPRESSION else {'compression': self.compression}
        )

    def draw_mask(
        self, height: int, width: int, rng: np.random.Generator, factor: int = 1
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draw a region.

        Args:
            height: of the image in pixels.
            width: of the image in pixels.
            rng: the source of randomness.
            factor: pixels of the image for one pixel of the working size.

        Returns:
            mask (height, width, 1) bool, and its description for the record.
        """
        shape = _draw_item(self.shapes, rng)
        side = draw_number(self.region_size, rng)
        pixels = max(1, round(side * min(height, width) if side < 1 else side * factor))
        mask = draw_region(shape, height, width, pixels, rng)
        boxes = [list(component[:4]) for component in components(mask)]
        return mask, {'shape': shape, 'side': min(pixels, height, width), 'boxes': boxes}

    def _draw_degradations(self, rng: np.random.Generator) -> list[dict[str, Any]]:
        if len(self.degradations) == 1:
            return self.degradations
        weights = np.array([entry['weight'] for entry in self.degradations])
        count = int(draw_number(self.counts, rng))
        order = rng.choice(len(weights), size=count, replace=False, p=weights / weights.sum())
        return [self.degradations[i] for i in order]

    def _compress(
        self, image: np.ndarray, when: str, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        """Put the image through JPEG as often as `compression` says.

        Returns:
            The image, and the quality, 0 if it was not compressed.
        """
        if not self.compression[when] or rng.random() >= self.compression[when]:
            return image, 0
        quality = int(draw_number(self.compression['quality'], rng))
        return pixels.jpeg(image, quality, subsampled=bool(rng.random() < 0.75)), quality

    def _degrade(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        entry: Mapping[str, Any],
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Apply one degradation under protocol `clean`; return its parameters too."""
        kind = entry['type']
        drawn = self._draw_parameters(entry, rng)
        if kind in self.degraders:
            return degrade(self.degraders[kind], image, mask, rng, drawn), drawn
        return pixels.apply(image, mask, as_degradation(kind, drawn), rng), drawn

    def _draw_parameters(
        self, entry: Mapping[str, Any], rng: np.random.Generator
    ) -> dict[str, Any]:
        """Draw the parameters of a degradation from the ranges of its entry."""
        if entry['type'] == 'kernel':
            path = _draw_item(entry['path'], rng)
            return {'file': Path(path).name, 'kernel': self.kernels[path].text}
        if entry['type'] != 'pix':
            ranges = {key: ends for key, ends in entry.items() if key not in ('type', 'weight')}
            return {key: draw_number(ends, rng) for key, ends in ranges.items()}
        block, pool = int(draw_number(entry['block'], rng)), _draw_item(entry['pool'], rng)
        drawn: dict[str, Any] = {'block': block, 'pool': pool}
        if 'offset' in entry:
            drawn['offset'] = rng.integers(block, size=2).tolist()
        return drawn

    def _working_image(self, image: np.ndarray, factor: int) -> np.ndarray:
        if self.size is not None:
            return release_degradations.square_of(image, factor * self.size)
        height, width = (side // factor * factor for side in image.shape[:2])
        if not (height and width):
            raise ValueError(
                f'the image has {image.shape[0]}x{image.shape[1]} pixels, '
                f'too few for protocol {self.protocol}'
            )
        return image[:height, :width]

    def __call__(
        self, image: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Make a triplet.

        The region is drawn first. Data sets of different degradations that start from equal
        generators therefore have equal regions, and can be compared.

        Args:
            image: (h, w, 3) RGB or (h, w, 1) gray uint8, clean.
            rng: the source of all randomness.

        Returns:
            lq (h', w', c) uint8, mask (h', w', 1) bool, gt (h', w', c) uint8, and the record:
            {'region': ..., 'degradations': [...]}. The record's boxes are [top, left, height,
            width] of the connected regions where they were drawn: under `release` on the image of
            twice the working size.

        Raises:
            ValueError: the image is too small.
        """
        factor = 2 if self.protocol == 'release' else 1
        source = self._working_image(image, factor)
        mask, region = self.draw_mask(source.shape[0], source.shape[1], rng, factor)
        source, _ = self._compress(source, 'before', rng)
        lq, applied = source, []
        degrade = _degrade_as_released if self.protocol == 'release' else self._degrade
        for entry in self._draw_degradations(rng):
            lq, parameters = degrade(lq, mask, entry, rng)
            applied.append({'type': entry['type'], **parameters})
        record: dict[str, Any] = {'region': region, 'degradations': applied}
        if self.protocol == 'clean':
            lq, quality = self._compress(lq, 'after', rng)
            if quality:
                record['jpeg_after'] = quality
                source = np.where(mask, source, lq)
            return lq, mask, source, record
        if self.jpeg:
            lq = pixels.jpeg(lq, self.jpeg)
        height, width = (side // 2 for side in source.shape[:2])
        lq, gt = (release_degradations.release_resize(made, height, width) for made in (lq, source))
        return lq, release_degradations.release_mask(mask, height, width), gt, record


def _draw_item(items: tuple[Any, ...], rng: np.random.Generator) -> Any:
    return items[rng.integers(len(items))] if len(items) > 1 else items[0]


def _degrade_as_released(
    image: np.ndarray, mask: np.ndarray, entry: Mapping[str, Any], rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, Any]]:
    """Apply one degradation under protocol `release`; return its parameters too."""
    kind = entry['type']
    if kind == 'noise':
        noisy = release_degradations.release_noise(image, mask, rng)
        return noisy, {'sigma': release_degradations.RELEASE_NOISE}
    if kind == 'blur':
        kernel, sigma = release_degradations.RELEASE_BLUR
        return release_degradations.release_blur(image, mask), {'kernel': kernel, 'sigma': sigma}
    return release_degradations.release_pixelate(image, mask), {
        'cells': release_degradations.RELEASE_CELLS
    }
