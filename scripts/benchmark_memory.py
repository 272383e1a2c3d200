#!/usr/bin/env python
"""Measure the memory of `basicsr restore` on a large image.

It makes an image with texture, as PNG, JPEG and TIFF, and a mask with one 64x64 region. Each is
restored by a process of its own, whose peak memory is printed with that of a process that only
imports and loads the weights. The files are in a temporary folder: 200 MP take about 3 GB of disk.
The exit status is 1 if any is above --limit beyond the imports.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: an installed package goes first

from hmaca_arch.cli import end

REGION = 64
PATCH = 1024  # pixels; the texture repeats, farther than any format looks back
FORMATS = {'PNG': '.png', 'JPEG': '.jpg', 'TIFF': '.tif'}
SAMPLINGS = {420: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, 444: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444}
IMPORTS = (
    'import hmaca_arch.commands.restore, hmaca_arch.restoring.running; '
    'from hmaca_arch.inference import load_restorer; load_restorer(device="cpu")'
)
# Starts a process and prints its peak memory. Linux counts the peak of whoever starts a process as
# that of the process, so that a small one has to.
LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.exit(bool(status))
"""


class Used(NamedTuple):
    """What a process used: MB of memory at its peak, and seconds."""

    memory: float
    seconds: float


def make_files(folder: Path, height: int, width: int, depth: int, sampling: int) -> None:
    """Write the image in every format, and the mask."""
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(40, 216, (16, 16, 3), np.uint8), (PATCH, PATCH))
    patch = cv2.add(smooth, rng.integers(0, 12, smooth.shape, np.uint8))
    if depth == 16:
        patch = patch.astype(np.uint16) * 257
    across, down = -(-width // PATCH), -(-height // PATCH)
    image = np.tile(patch, (down, across, 1))[:height, :width]
    settings = {
        '.tif': [cv2.IMWRITE_TIFF_COMPRESSION, 1],
        '.jpg': [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[sampling]],
    }
    for ending in FORMATS.values():
        if depth == 8 or ending != '.jpg':
            cv2.imwrite(str(folder / f'image{ending}'), image, settings.get(ending, []))
    mask = np.zeros((height, width), np.uint8)
    mask[height // 2 :, width // 2 :][:REGION, :REGION] = 255
    cv2.imwrite(str(folder / 'mask.png'), mask)


def run(*command: str) -> Used:
    """Run Python with arguments in a process and measure it.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    start = time.perf_counter()
    launch = [sys.executable, '-c', LAUNCHER, sys.executable, *command]
    done = subprocess.run(launch, stdout=subprocess.PIPE, encoding='utf-8', check=True)
    unit = 1 if sys.platform == 'darwin' else 1024  # bytes, of ru_maxrss
    return Used(int(done.stdout) * unit / 1e6, time.perf_counter() - start)


def restore(folder: Path, ending: str, pixels: int, more: list[str]) -> Used:
    """Restore the image with one ending, to a file of the same kind."""
    image, result = (folder / f'{name}{ending}' for name in ('image', 'result'))
    paths = ['-i', image, '--mask', folder / 'mask.png', '-o', result]
    options = ['--device', 'cpu', '--max-pixels', pixels, *more]
    # Nothing is wrong with the region: measured, it would be left as it is.
    what = ['--degradation', 'unknown']
    return run('-m', 'hmaca_arch', 'restore', *map(str, [*paths, *what, *options]))


def main(argv: list[str] | None = None) -> int:
    """Print the table; return 1 if any process used more than the limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--size', default='16320x12240', help='width x height, in pixels')
    parser.add_argument('--depth', type=int, choices=(8, 16), default=8, help='bits; not JPEG')
    parser.add_argument('--sampling', type=int, choices=tuple(SAMPLINGS), default=420, help='JPEG')
    parser.add_argument('--only', choices=tuple(FORMATS), help='one format')
    parser.add_argument('--limit', type=float, default=2500, help='MB beyond the imports')
    parser.add_argument('--folder', help='where the temporary folder is made')
    parser.add_argument('--more', default='', help="options of restore, as '--verify'")
    args = parser.parse_args(argv)
    width, height = map(int, args.size.split('x'))
    imports = run('-c', IMPORTS)
    print(f'{args.size}, {args.depth} bits; imports and weights take {imports.memory:.0f} MB\n')
    print('| format | file | beyond the imports | seconds |\n| --- | ---: | ---: | ---: |')
    most = 0.0
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        make_files(folder, height, width, args.depth, args.sampling)
        for kind, ending in FORMATS.items():
            path = folder / f'image{ending}'
            if args.only not in (None, kind) or not path.exists():
                continue
            used = restore(folder, ending, width * height, args.more.split())
            beyond = used.memory - imports.memory
            most = max(most, beyond)
            size = path.stat().st_size / 1e6
            print(f'| {kind} | {size:.0f} MB | {beyond:.0f} MB | {used.seconds:.0f} |', flush=True)
    return int(most > args.limit)


if __name__ == '__main__':
    end('benchmark_memory', main)
