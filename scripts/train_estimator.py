#!/usr/bin/env python
"""Train the network that measures noise and blur before JPEG (restoring/measuring/lossy.py).

    train_estimator.py datasets/nips2017_dev_128/train -o hmaca_arch/weights/lossy_estimator.pth

Regions of clean images are degraded and compressed. The network learns the kind, and sigma with
its uncertainty. The file that ships took more than an hour of a CPU core.
`measure_accuracy.py --jpeg` measures how often the answers are right.
"""

import argparse
import functools
import multiprocessing
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: an installed package goes first

from measure_accuracy import painted

from hmaca_arch.cli import end
from hmaca_arch.degradation import pixels
from hmaca_arch.files.images import decode_image, to_8_bit
from hmaca_arch.files.reading import list_images, read_file
from hmaca_arch.restoring.measuring import GAP, compressed_areas
from hmaca_arch.restoring.measuring.jpeg import table_of
from hmaca_arch.restoring.measuring.lossy import KINDS, LEAST, LossyEstimator, planes_of, window

SHARES = (0.2, 0.3, 0.4, 0.1)  # of the samples, by kind
SIDES = (26, 75)  # of a region, in pixels
NOISE, BLUR = (3, 75), (0.45, 5)
QUALITY = (30, 97)
FEWEST = 256  # pixels outside the mask
LR, BATCH, WARM_UP = 1.5e-3, 32, 200
# How much the likelihood of each sigma counts, beside the kind.
COUNTS = {'noise': 0.5, 'blur': 1.5}


def region(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw a rectangle or an ellipse, (h, w, 1) bool."""
    sides = [int(rng.integers(SIDES[0], min(SIDES[1] + 1, shape[0]) - 1)) for _ in range(2)]
    corner = [int(rng.integers(length - side + 1)) for length, side in zip(shape, sides)]
    mask = np.zeros(shape[:2], np.uint8)
    if rng.random() < 0.7:
        mask[corner[0] : corner[0] + sides[0], corner[1] : corner[1] + sides[1]] = 1
    else:
        centre = [at + side // 2 for at, side in zip(corner, sides)]
        axes = (sides[1] // 2, sides[0] // 2)
        cv2.ellipse(mask, (centre[1], centre[0]), axes, 0, 0, 360, 1, -1)
    return mask[..., None] > 0


def photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary an image, as photographs vary: soft ones, grainy ones, gray ones."""
    if rng.random() < 0.5:
        side = image.shape[0]
        larger = int(side * rng.uniform(1, 2.2))
        image = cv2.resize(image, (larger, larger), interpolation=cv2.INTER_CUBIC)
        top, left = rng.integers(larger - side + 1, size=2)
        image = np.ascontiguousarray(image[top : top + side, left : left + side])
    if rng.random() < 0.2:
        everywhere = np.ones((*image.shape[:2], 1), bool)
        image = pixels.noise(image, everywhere, rng, float(rng.uniform(0.5, 5)))
    if rng.random() < 0.06:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return image


def sample(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, list[float]] | None:
    """Degrade a region of an image.

    Returns:
        (LEAST, LEAST, 4) uint8: colours, and the four areas of `LossyEstimator` as bits; and kind,
        sigma and quality. None: too little is outside the mask.
    """
    image = photograph(image, rng) if rng.random() < 0.8 else image
    mask = region(image.shape, rng)
    kind, sigma = KINDS[int(rng.choice(len(KINDS), p=SHARES))], 0.0
    if kind == 'noise':
        sigma = float(np.exp(rng.uniform(*np.log(NOISE))))
        image = pixels.noise(image, mask, rng, sigma)
    elif kind == 'blur':
        sigma = float(np.exp(rng.uniform(*np.log(BLUR))))
        image = pixels.blur(image, mask, sigma)
    elif kind == 'pix':
        block, pool = int(rng.integers(3, 25)), str(rng.choice(['mean', 'centre']))
        image = pixels.pixelate(image, mask, block, pool)
    quality = int(rng.integers(*QUALITY))
    image = pixels.jpeg(image, quality, subsampled=bool(rng.random() < 0.75))
    image = image if image.ndim == 3 else image[..., None]
    given = mask[..., 0]
    if rng.random() < 0.35:  # too wide, as people paint
        size = 2 * int(rng.integers(1, 14)) + 1
        if rng.random() < 0.6:
            given = painted(given, 'wide', rng)
        else:
            given = cv2.dilate(given.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    outside = cv2.dilate(given.astype(np.uint8), np.ones((2 * GAP + 1, 2 * GAP + 1), np.uint8)) == 0
    if outside.sum() < FEWEST:
        return None
    areas = np.stack([given, *compressed_areas(image, given, outside), outside], axis=2)
    bits = np.packbits(areas, axis=2, bitorder='little')
    place = window(given, LEAST).area
    colours = np.broadcast_to(image, (*image.shape[:2], 3))
    return np.concatenate([colours, bits], axis=2)[place], [KINDS.index(kind), sigma, quality]


@functools.cache
def images_of(folder: Path) -> list[np.ndarray]:
    """Read all images of a folder, once in each process."""
    return [to_8_bit(decode_image(read_file(path), path)) for path in list_images(folder).values()]


def draw(folder: Path, seed: int, i: int) -> tuple[np.ndarray, list[float]] | None:
    """Draw sample i."""
    rng = np.random.default_rng([seed, i])
    images = images_of(folder)
    return sample(images[rng.integers(len(images))], rng)


def samples(folder: Path, number: int, seed: int, workers: int) -> tuple[np.ndarray, Tensor]:
    """Draw samples: (n, LEAST, LEAST, 4) uint8 and (n, 3), see `sample`."""
    one = functools.partial(draw, folder, seed)
    with multiprocessing.Pool(workers) as pool:
        drawn = [found for found in pool.imap(one, range(number), chunksize=100) if found]
    seen, truths = zip(*drawn)
    return np.stack(seen), torch.tensor(truths)


def inputs(seen: np.ndarray, quality: Tensor, turned: np.ndarray) -> tuple[Tensor, ...]:
    """Return what `LossyEstimator` gets of samples, mirrored along the axes that are turned."""
    axes = [axis for axis, one in enumerate(turned, start=1) if one]
    seen = np.ascontiguousarray(np.flip(seen, axes))
    planes = np.stack([planes_of(one[..., :3]) for one in seen])
    areas = np.unpackbits(seen[..., 3:], axis=3, count=4, bitorder='little').transpose(0, 3, 1, 2)
    tables = np.stack([table_of(int(one)).ravel() for one in quality])
    return *(torch.from_numpy(one).float() for one in (planes, areas, tables)), quality


def loss(output: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy of the kind, and the Gaussian likelihood of the logarithm of sigma."""
    kind = truth[:, 0].long()
    total = F.cross_entropy(output[:, :4], kind)
    for at, (name, counts) in enumerate(COUNTS.items()):
        rows = kind == KINDS.index(name)
        mean, spread = output[rows, 4 + at], output[rows, 6 + at].clamp(-4, 2)
        error = (truth[rows, 1].log() - mean) / spread.exp()
        total = total + counts * (error.square() / 2 + spread).sum() / max(1, int(rows.sum()))
    return total


def train(seen: np.ndarray, truths: Tensor, iterations: int, seed: int) -> LossyEstimator:
    """Train the network, in bfloat16."""
    network, rng, order = LossyEstimator(), np.random.default_rng(seed), np.array([], int)
    optimizer = torch.optim.AdamW(network.parameters(), LR, betas=(0.9, 0.98), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda at: min(1, (at + 1) / WARM_UP) * (0.5 + 0.5 * np.cos(np.pi * at / iterations)),
    )
    losses, started = [], time.monotonic()
    for at in range(iterations):
        if len(order) < BATCH:
            order = rng.permutation(len(truths))
        rows, order = order[:BATCH], order[BATCH:]
        given = inputs(seen[rows], truths[rows, 2], rng.random(2) < 0.5)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            output = network(*given)
        value = loss(output.float(), truths[rows])
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        losses.append(value.item())
        if (at + 1) % 500 == 0 or at + 1 == iterations:
            took = time.monotonic() - started
            line = f'iteration {at + 1} of {iterations}, {took:.0f} s'
            print(f'{line}: loss {np.mean(losses[-500:]):.3f}', flush=True)
    return network


def main(argv: list[str] | None = None) -> int:
    """Draw, train, and write the weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='clean square images of 96x96 pixels or more')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FILE.pth')
    parser.add_argument('-n', '--number', type=int, default=40000, help='samples (40000)')
    parser.add_argument('--iterations', type=int, default=14000, help='(14000)')
    parser.add_argument('--workers', type=int, default=2, help='processes that draw (2)')
    parser.add_argument('--seed', type=int, default=5)
    args = parser.parse_args(argv)
    torch.manual_seed(args.seed)
    drawn = samples(args.folder, args.number, args.seed, args.workers)
    weights = train(*drawn, args.iterations, args.seed).state_dict()
    torch.save({name: value.half() for name, value in weights.items()}, args.output)
    print(f'{args.output}: {args.output.stat().st_size / 1e3:.0f} kB')
    return 0


if __name__ == '__main__':
    end('train_estimator', main)
