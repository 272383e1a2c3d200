#!/usr/bin/env python
"""Measure what restoring costs: one region in images of two sizes, or dust on a scan.

`--case region` checks that the time for a region does not depend on the size of the image around
it. It restores the same 64x64 region in the middle of a 256x256 image and of one of 4000x3000, in
turns, and prints the best time of each and their ratio. The exit status is 1 if the ratio is above
--limit.

`--case dust` restores 300 spots of 3 to 15 pixels on an image of 4000x3000. It prints how many
pixels went through the network, and the best time. `--count` does so with a network that returns
its input, to count alone.

No files are read or written. On a CPU the time is the processor's, which other work on the machine
changes little.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: an installed package goes first

import hmaca_arch
from hmaca_arch.cli import end
from hmaca_arch.devices import choose_device
from hmaca_arch.inference import Restorer, load_restorer

SIZES = ((256, 256), (3000, 4000))
REGION = 64
WIDEST = 15  # pixels, of a spot
QUICK = {
    'embed_dim': 32,
    'depths': [1],
    'num_heads': [2],
    'window_size': 8,
    'cross_attention': 'window',
    'image_residual': True,
}


def image_and_mask(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a gray image with random texture around a region in its middle, and the mask.

    Both are uint8. The texture does not depend on the size.
    """
    image, mask = np.full((height, width, 3), 128, np.uint8), np.zeros((height, width), np.uint8)
    top, left = (height - REGION) // 2, (width - REGION) // 2
    surroundings = slice(top - REGION, top + 2 * REGION), slice(left - REGION, left + 2 * REGION)
    image[surroundings] = np.random.default_rng(0).integers(
        0, 256, (3 * REGION, 3 * REGION, 3), np.uint8
    )
    mask[top : top + REGION, left : left + REGION] = 255
    return image, mask


class Unchanged(nn.Module):
    """A network that returns its input."""

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        """Return lq."""
        return lq


def dusty_scan(height: int, width: int, spots: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a gray image with texture and the mask of spots all over it, both uint8."""
    rng = np.random.default_rng(0)
    image = rng.integers(96, 160, (height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    tops, lefts = (rng.integers(0, side - WIDEST, spots) for side in mask.shape)
    sizes = rng.integers(3, WIDEST + 1, (spots, 2))
    for top, left, (rows, columns) in zip(tops, lefts, sizes):
        mask[top : top + rows, left : left + columns] = 255
    return image, mask


def measure_dust(restorer: Restorer, repeats: int, image: np.ndarray, mask: np.ndarray) -> None:
    """Print what the network saw of a dusty scan, and how long it took."""
    seen: list[tuple[int, int]] = []
    restorer.adapter.register_forward_pre_hook(
        lambda _, given: seen.append((len(given[0]), given[0][0, 0].numel()))
    )
    clock = time.process_time if restorer.device.type == 'cpu' else time.perf_counter
    seconds = []
    for _ in range(repeats):
        seen.clear()
        start = clock()
        regions = restorer.run(image, mask, 'unknown').regions
        seconds.append(clock() - start)
    crops, pixels = sum(count for count, _ in seen), sum(count * size for count, size in seen)
    print('| regions | crops | batches | pixels | of the image | masked | seconds |')
    print('| ---: | ---: | ---: | ---: | ---: | ---: | ---: |')
    print(
        f'| {len(regions)} | {crops} | {len(seen)} | {pixels} | {pixels / mask.size:.3f} '
        f'| {(mask > 0).mean():.4f} | {min(seconds):.1f} |'
    )


def measure(restorer: Restorer, repeats: int, degradation: str) -> list[float]:
    """Return the seconds of the fastest of `repeats` runs for each of SIZES."""
    cases = [image_and_mask(*size) for size in SIZES]
    best = [float('inf')] * len(cases)
    clock = time.process_time if restorer.device.type == 'cpu' else time.perf_counter
    for number in range(repeats + 1):
        # in turns, so that both meet the same load of the machine
        for i, (image, mask) in enumerate(cases):
            start = clock()
            restorer.run(image, mask, degradation)  # the result is on the CPU: nothing to wait for
            if number:  # the first round warms up
                best[i] = min(best[i], clock() - start)
    return best


def main(argv: list[str] | None = None) -> int:
    """Print the table; return 1 if the ratio is above the limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--case', choices=('region', 'dust'), default='region', help='see above')
    parser.add_argument('--weights', help='a checkpoint; without one the weights that ship')
    parser.add_argument(
        '--degradation',
        default='unknown',
        metavar='WHAT',
        help='told, of --case region: unknown or as pix:8:mean',
    )
    parser.add_argument('--scan', default='4000x3000', help='width x height, of --case dust')
    parser.add_argument('--spots', type=int, default=300, help='of --case dust')
    parser.add_argument('--count', action='store_true', help='a network that does nothing')
    parser.add_argument(
        '--device',
        choices=('auto', 'cpu', 'cuda'),
        default='auto',
        help='auto: a GPU if there is one',
    )
    parser.add_argument(
        '--threads', type=int, default=min(2, os.cpu_count() or 1), help='CPU threads'
    )
    parser.add_argument('--repeats', type=int, default=5, help='runs, of which the fastest counts')
    parser.add_argument('--limit', type=float, default=1.1, help='largest ratio that is right')
    parser.add_argument('--quick', action='store_true', help='a toy network, to try this script')
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    if args.count or args.quick:
        network = Unchanged() if args.count else hmaca_arch.HMACA(**QUICK)
        restorer = Restorer(network, choose_device(args.device))
    else:
        restorer = load_restorer(args.weights, args.device)
    where = (
        torch.cuda.get_device_name()
        if restorer.device.type == 'cuda'
        else f'CPU, {args.threads} thread(s)'
    )
    print(f'torch {torch.__version__}, {where}, float32, best of {args.repeats}\n')
    if args.case == 'dust':
        width, height = map(int, args.scan.split('x'))
        measure_dust(restorer, args.repeats, *dusty_scan(height, width, args.spots))
        return 0
    small, large = measure(restorer, args.repeats, args.degradation)
    print('| image | seconds |\n| --- | ---: |')
    for (height, width), seconds in zip(SIZES, (small, large)):
        print(f'| {width}x{height} | {seconds:.4f} |')
    print(f'\nratio {large / small:.3f} (limit {args.limit})')
    return int(large / small > args.limit)


if __name__ == '__main__':
    end('benchmark_restore', main)
