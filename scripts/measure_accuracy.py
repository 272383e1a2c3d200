#!/usr/bin/env python
"""Measure how often `basicsr estimate` is right: degrade regions of clean images, measure them, and
print a table.

Every trial takes a random image, a square region of 40 or 64 pixels at a random place, and one
degradation: blocks of 4 to 32 pixels (at least four of them), blur of 0.7 to 4 pixels, noise of 5
to 75 grey levels, or none. Masks are exact, 1 to 16 pixels too wide on each side, or 1 to 2 too
narrow. Sigma counts as right within 10 %.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: an installed package goes first

from hmaca_arch.degradation import Degradation, pixels
from hmaca_arch.files.images import decode_image, to_8_bit
from hmaca_arch.files.reading import list_images, read_file
from hmaca_arch.restoring.measuring import measure
from hmaca_arch.restoring.measuring.measured import Measured
from hmaca_arch.restoring.regions import marked_box

KINDS = ('corner blocks', 'other blocks', 'blur', 'noise', 'none')
MASKS = ('exact', 'wide', 'narrow')


def draw(
    image: np.ndarray, kind: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, Degradation]:
    """A degraded image, the mask (h, w) bool of what was degraded, and what was done."""
    side = int(rng.choice([40, 64]))
    top, left = (int(rng.integers(length - side + 1)) for length in image.shape[:2])
    mask = np.zeros((*image.shape[:2], 1), bool)
    mask[top : top + side, left : left + side] = True
    if 'blocks' in kind:
        block = int(rng.integers(4, min(32, side // 2) + 1))
        pool = str(rng.choice(['mean', 'centre']))
        offset = (top % block, left % block)
        if kind == 'corner blocks':
            degraded = pixels.pixelate(image, mask, block, pool)
        else:
            offset = tuple(int(place) for place in rng.integers(block, size=2))
            degraded = pixels.pixelate_grid(image, mask, block, pool, offset)
        truth = Degradation('pix', block, pool, anchor=('offset', 'offset'), offset=offset)
        return degraded, mask[..., 0], truth
    if kind == 'blur':
        sigma = float(np.exp(rng.uniform(np.log(0.7), np.log(4))))
        return pixels.blur(image, mask, sigma), mask[..., 0], Degradation('blur', sigma=sigma)
    if kind == 'noise':
        sigma = float(np.exp(rng.uniform(np.log(5), np.log(75))))
        noisy = pixels.noise(image, mask, rng, sigma)
        return noisy, mask[..., 0], Degradation('noise', sigma=sigma)
    return image, mask[..., 0], Degradation('none')


def painted(mask: np.ndarray, how: str, rng: np.random.Generator) -> np.ndarray:
    """The mask as somebody would paint it: exact, wide or narrow, differently on each side."""
    if how == 'exact':
        return mask
    box = marked_box(mask)
    low, high = (1, 16) if how == 'wide' else (-2, -1)
    top, left, bottom, right = (int(more) for more in rng.integers(low, high + 1, 4))
    result = np.zeros_like(mask)
    result[
        max(0, box.top - top) : box.bottom + bottom, max(0, box.left - left) : box.right + right
    ] = True
    return result


def grid_of(measured: Measured) -> tuple[int, int]:
    """Row and column of a block's corner, below the block's side."""
    found = measured.degradation
    at_corner = found.anchor == ('start', 'start')
    corner = marked_box(measured.area) if at_corner else found.offset
    return corner[0] % found.block, corner[1] % found.block


def judge(truth: Degradation, measured: list[Measured], area: np.ndarray) -> dict:
    """What is right about a measurement: kind, value (block and offset, or sigma), pool, all; the
    relative error of sigma; and the overlap
    (intersection over union) of the area."""
    found = measured[0].degradation if len(measured) == 1 else Degradation()
    right = {
        'kind': found.kind == truth.kind,
        'unknown': found.kind == 'unknown',
        'value': found.kind == truth.kind,
    }
    if right['kind'] and truth.kind == 'pix':
        right['value'] = found.block == truth.block and grid_of(measured[0]) == truth.offset
        right['pool'] = right['value'] and found.pool == truth.pool
    elif truth.kind == 'pix':
        right['pool'] = False
    elif right['kind'] and truth.kind in ('blur', 'noise'):
        right['error'] = abs(found.sigma / truth.sigma - 1)
        right['value'] = right['error'] <= 0.1
    if right['kind'] and truth.kind != 'none':
        right['overlap'] = (measured[0].area & area).sum() / (measured[0].area | area).sum()
    right['all'] = right['value'] and right.get('pool', True)
    return right


def trials(
    folders: list[Path],
    number: int,
    seed: int,
    quality: int,
    told: bool,
    masks: tuple,
    kinds: tuple,
) -> Iterator[tuple]:
    """(kind, mask, number of the trial, truth, measurement, the degraded pixels, seconds)."""
    paths = [path for folder in folders for path in list_images(folder).values()]
    for kind in kinds:
        for how in masks:
            for i in range(number):
                rng = np.random.default_rng([seed, KINDS.index(kind), MASKS.index(how), i])
                path = paths[rng.integers(len(paths))]
                image = to_8_bit(decode_image(read_file(path), path))
                if min(image.shape[:2]) < 64:
                    raise ValueError(
                        f'{folders}: an image has {image.shape[0]}x{image.shape[1]} pixels, '
                        'expected at least 64x64'
                    )
                degraded, mask, truth = draw(image, kind, rng)
                if quality:
                    degraded = pixels.jpeg(degraded, quality, subsampled=bool(rng.random() < 0.75))
                given = painted(mask, how, rng)
                start = time.perf_counter()
                found = measure(degraded, given, jpeg=quality if told else None)
                yield kind, how, i, truth, found, mask, time.perf_counter() - start


def cells(rights: list[dict]) -> list[str]:
    """The cells of a line of the table."""

    def percent(name: str, average=np.mean, form: str = '.0f') -> str:
        values = [right[name] for right in rights if name in right]
        return f'{100 * average(values):{form}} %' if values else ''

    shares = [percent(name) for name in ('all', 'kind', 'value', 'pool', 'unknown')]
    return [*shares, percent('error', np.median, '.1f'), percent('overlap')]


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument(
        'folders', type=Path, nargs='+', help='folders of clean images, 64x64 or larger'
    )
    parser.add_argument(
        '-n', '--number', type=int, default=100, help='trials for each line of the table (100)'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--jpeg',
        type=int,
        default=0,
        metavar='QUALITY',
        help='compress the degraded image (0: do not)',
    )
    parser.add_argument(
        '--pixels-only', action='store_true', help='do not pass on the quality of the file'
    )
    parser.add_argument('--masks', nargs='+', choices=MASKS, default=MASKS)
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS)
    parser.add_argument('--each', action='store_true', help='print every trial that is not right')
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    told = bool(args.jpeg) and not args.pixels_only
    results, seconds = defaultdict(list), []
    for kind, how, i, truth, found, area, took in trials(
        args.folders, args.number, args.seed, args.jpeg, told, tuple(args.masks), tuple(args.kinds)
    ):
        right = judge(truth, found, area)
        results[kind, how].append(right)
        seconds.append(took)
        if args.each and not right['all']:
            text = '; '.join(f'{one.degradation} ({one.confidence:.2f})' for one in found)
            print(f'{kind}, {how}, {i}: {truth} measured as {text}')
    print(
        '| degradation | mask | all right | kind | block and offset, or sigma | pool | said '
        'unknown | median error of sigma | overlap |'
    )
    print('|---|---|---|---|---|---|---|---|---|')
    for (kind, how), rights in results.items():
        print(f'| {kind} | {how} | ' + ' | '.join(cells(rights)) + ' |')
    print(
        f'\n{args.number} trials a line; {np.mean(seconds):.3f} s a region on average, '
        f'{np.max(seconds):.3f} s at most'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
