#!/usr/bin/env python
"""Fit the numbers that tell how blocks were coloured (restoring/measuring/starts.py).

    train_pool.py datasets/nips2017_dev_128/train

Regions of clean images are pixelized. A logistic regression tells the pool from what `describe`
returns, where the evidence leaves it open. A region counts by the dB that the start for the wrong
pool loses.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: an installed package goes first

from hmaca_arch.cli import end
from hmaca_arch.degradation import Degradation, pixels
from hmaca_arch.files.images import decode_image, to_8_bit
from hmaca_arch.files.reading import list_images, read_file
from hmaca_arch.restoring.measuring.blocks import Grid
from hmaca_arch.restoring.measuring.pool import pool_evidence
from hmaca_arch.restoring.measuring.starts import AROUND, OPEN, describe
from hmaca_arch.restoring.regions import marked_box

SIDES = (20, 72)  # of a region, in pixels
BLOCKS = (6, 24)
CUT = 0.9  # part of the grids that begin at the region's corner, as in the data sets
LOSSES = (0.05, 4.0)  # dB, the least and the most that a region counts
POOLS = ('mean', 'centre')


def sample(image: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, int, float]]:
    """Pixelize a region in both ways.

    Yields:
        Its description, the pool (an index of POOLS) and the dB that the start for the wrong pool
        loses; nothing where the evidence decides alone.
    """
    side = int(rng.integers(SIDES[0], SIDES[1] + 1))
    block = int(np.exp(rng.uniform(np.log(BLOCKS[0]), np.log(min(BLOCKS[1], side / 2) + 1))))
    top, left = (int(rng.integers(length - side + 1)) for length in image.shape[:2])
    area = np.zeros(image.shape[:2], bool)
    area[top : top + side, left : left + side] = True
    cut = rng.random() < CUT
    offset = (top % block, left % block) if cut else tuple(rng.integers(block, size=2).tolist())
    anchor = ('start', 'start') if cut else ('offset', 'offset')
    near = marked_box(area).grown(AROUND, *area.shape).area
    for truth, pool in enumerate(POOLS):
        what = Degradation('pix', block, pool, anchor, offset)
        given = pixels.apply(image, area[..., None], what)
        grid = Grid(block, offset, area, 0)
        evidence = pool_evidence(given.astype(np.float32), grid, ~area, cut)
        if abs(evidence) < OPEN:
            described, starts = describe(given / 255, area, ~area, what, evidence)
            clean, inner = image[near] / 255, area[near]
            errors = [np.square(start - clean)[inner].mean() + 1e-7 for start in starts]
            yield described, truth, float(10 * np.log10(errors[1 - truth] / errors[truth]))


def samples(folder: Path, number: int, seed: int) -> Iterator[tuple[np.ndarray, int, float]]:
    """Yield the samples of random regions."""
    paths = list(list_images(folder).values())
    rng = np.random.default_rng(seed)
    for _ in range(number):
        path = paths[rng.integers(len(paths))]
        yield from sample(to_8_bit(decode_image(read_file(path), path)), rng)


def fit(described: np.ndarray, truths: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the weights and the offset of a logistic regression, (f + 1,).

    Args:
        described: (n, f).
        truths: (n,), 1 for `centre` and 0 for `mean`.
        counts: (n,), how much each counts.
    """
    x = np.c_[described, np.ones(len(described))]
    sign = 2 * truths - 1

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = sign * (x @ weights)
        slope = -sign * counts * expit(-odds)
        return float((counts * np.logaddexp(0, -odds)).mean()), x.T @ slope / len(x)

    return np.asarray(minimize(loss, np.zeros(x.shape[1]), jac=True).x)


def main(argv: list[str] | None = None) -> int:
    """Draw, fit, and print the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('images', type=Path, help='folder of clean photographs')
    parser.add_argument('--number', type=int, default=2000, help='of regions (%(default)s)')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    described, truth, loss = zip(*samples(args.images, args.number, args.seed))
    x, truths, losses = np.stack(described), np.array(truth), np.array(loss)
    weights = fit(x, truths, np.clip(losses, *LOSSES))
    wrong = (x @ weights[:-1] + weights[-1] > 0) != truths
    print('weights and offset:', np.round(weights, 2).tolist())
    for pool, name in enumerate(POOLS):
        rows = truths == pool
        print(
            f'{name}: {rows.sum()} open regions, {wrong[rows].mean():.1%} wrong, which lose '
            f'{(wrong * losses)[rows].mean():.3f} dB of the start in the mean of all'
        )
    return 0


if __name__ == '__main__':
    end('train_pool', main)
