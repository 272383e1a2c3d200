#!/usr/bin/env python
"""Train the network that measures noise and blur before JPEG (restoring/measuring/lossy.py).

    train_estimator.py datasets/nips2017_dev_128/train -o hmaca_arch/weights/lossy_estimator.pth

Regions of clean images are degraded and compressed. The network learns the kind, and sigma with
its uncertainty. What is none of the kinds counts as unknown. The file that ships took hours of a
CPU core.
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

import other_degradations
from measure_accuracy import painted

from datasets_ext.masks import draw_region
from hmaca_arch.cli import end
from hmaca_arch.degradation import pixels, regions
from hmaca_arch.files.images import decode_image, to_8_bit
from hmaca_arch.files.reading import list_images, read_file
from hmaca_arch.restoring.measuring.border import is_rectangle
from hmaca_arch.restoring.measuring.jpeg import table_of
from hmaca_arch.restoring.measuring.lossy import (
    KINDS,
    LEAST,
    SIGMAS,
    SPREADS,
    UNSEEN,
    LossyEstimator,
    planes_of,
    window,
)
from hmaca_arch.restoring.measuring.one_region import GAP

SHARES = (0.15, 0.18, 0.27, 0.05, 0.35)  # of the samples, by kind
FINE, FINE_JPEG = 0.4, 0.35  # of the samples are not coarsely coded; of these by JPEG
SIDES = (26, 75)  # of a region, in pixels
NOISE, BLUR = (3, 75), (0.45, 5)
QUALITY = (30, 101)
FEWEST = 256  # pixels inside the mask, and outside of it
WIDE, NARROW = 0.4, 0.12  # of the masks
LR, BATCH, WARM_UP = 1.5e-3, 32, 200
# How much the likelihood of each sigma counts, beside the kind.
COUNTS = {'noise': 0.5, 'blur': 1.5}
WHERE = 2.0  # how much the place of the degraded pixels counts


def region(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw a connected region: a rectangle, or of another shape; (h, w, 1) bool."""
    if rng.random() < 0.4:
        kind, side = str(rng.choice(['ellipses', 'strokes'])), int(rng.integers(*SIDES))
        labels = regions(draw_region(kind, *shape[:2], side, rng)[..., 0])[0]
        return labels[..., None] == 1 + np.bincount(labels.ravel())[1:].argmax()
    sides = [int(rng.integers(SIDES[0], min(SIDES[1] + 1, shape[0]) - 1)) for _ in range(2)]
    top, left = (int(rng.integers(length - side + 1)) for length, side in zip(shape, sides))
    mask = np.zeros((*shape[:2], 1), bool)
    mask[top : top + sides[0], left : left + sides[1]] = True
    return mask


def turned(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn, stretch and enlarge an image a little."""
    height, width = image.shape[:2]
    angle, zoom = np.deg2rad(rng.uniform(-25, 25)), np.exp(rng.uniform(0, np.log(1.5)))
    ratio, middle = np.exp(rng.uniform(-0.25, 0.25)), np.array([width / 2, height / 2])
    matrix = zoom * np.array(
        [[np.cos(angle) * ratio, -np.sin(angle) * ratio], [np.sin(angle), np.cos(angle)]]
    )
    shift = middle + rng.uniform(-8, 8, 2) - matrix @ middle
    how = {'flags': cv2.INTER_CUBIC, 'borderMode': cv2.BORDER_REFLECT_101}
    result: np.ndarray = cv2.warpAffine(image, np.c_[matrix, shift], (width, height), **how)
    return result


def photograph(image: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary an image, as photographs vary: soft, sharp, pale or grainy ones, grey ones.

    A part of another one may be laid over it.
    """
    if rng.random() < 0.5:
        image = turned(image, rng)
    if rng.random() < 0.3:
        gamma = np.exp(rng.uniform(-0.5, 0.5))
        image = np.rint(255 * (image / 255) ** gamma).astype(np.uint8)
    if other.shape == image.shape and rng.random() < 0.2:
        shape = str(rng.choice(['ellipses', 'strokes']))
        over = draw_region(shape, *image.shape[:2], int(rng.integers(30, 80)), rng)[..., :1] > 0
        soft = cv2.GaussianBlur(over.astype(np.float32), (0, 0), rng.uniform(0.4, 1))[..., None]
        image = np.rint(image * (1 - soft) + turned(other, rng) * soft).astype(np.uint8)
    image = np.rot90(image, int(rng.integers(4)))[:, :: int(rng.choice([1, -1]))]
    side = image.shape[0]
    if rng.random() < 0.7:
        drawn = int(side * np.exp(rng.uniform(np.log(LEAST / side), np.log(2.2))))
        how = cv2.INTER_CUBIC if drawn > side else cv2.INTER_AREA
        image = cv2.resize(np.ascontiguousarray(image), (drawn, drawn), interpolation=how)
        side = min(side, drawn)
        top, left = rng.integers(drawn - side + 1, size=2)
        image = image[top : top + side, left : left + side]
    if rng.random() < 0.5:
        contrast, level = rng.uniform(0.5, 1.2), rng.uniform(-30, 30)
        image = np.clip((image - 128.0) * contrast + 128 + level, 0, 255).round().astype(np.uint8)
        image = image[..., rng.permutation(3)]
    image = np.ascontiguousarray(image)
    if rng.random() < 0.2:
        everywhere = np.ones((*image.shape[:2], 1), bool)
        image = pixels.noise(image, everywhere, rng, float(rng.uniform(0.5, 5)))
    if rng.random() < 0.06:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return image


def given(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paint a mask (h, w) bool as people do: exact, too wide or too narrow."""
    how = rng.random()
    if how >= WIDE + NARROW:
        return mask
    if is_rectangle(mask):
        return painted(mask, 'wide' if how < WIDE else 'narrow', rng)
    side = 2 * int(rng.integers(1, 17 if how < WIDE else 3)) + 1
    change = cv2.dilate if how < WIDE else cv2.erode
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    result: np.ndarray = change(mask.astype(np.uint8), kernel) > 0
    return result


def sample(
    image: np.ndarray, other: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, list[float]] | None:
    """Degrade a region of an image, over which a part of another one may be laid.

    Returns:
        (LEAST, LEAST, 4) uint8: colours, and as bits the areas of `LossyEstimator` and the
        degraded one; and kind, sigma and quality. None: too little is inside or outside the mask.
    """
    image = photograph(image, other, rng)
    degraded = region(image.shape, rng)
    kind, sigma = KINDS[int(rng.choice(len(KINDS), p=SHARES))], 0.0
    if kind == 'noise':
        sigma = float(np.exp(rng.uniform(*np.log(NOISE))))
        image = pixels.noise(image, degraded, rng, sigma)
    elif kind == 'blur':
        sigma = float(np.exp(rng.uniform(*np.log(BLUR))))
        image = pixels.blur(image, degraded, sigma)
    elif kind == 'pix':
        block, pool = int(rng.integers(3, 25)), str(rng.choice(['mean', 'centre']))
        image = pixels.pixelate(image, degraded, block, pool)
    elif kind == 'unknown':
        image = other_degradations.degrade(image, degraded, [*other_degradations.SHARES], rng)
    quality = int(rng.integers(*QUALITY))
    coded, fine = quality, rng.random() < FINE
    if fine:  # told alike: nobody knows what it was
        quality, coded = UNSEEN, int(rng.integers(96, 101)) if rng.random() < FINE_JPEG else 0
    if coded:
        image = pixels.jpeg(image, coded, subsampled=bool(rng.random() < 0.75))
    image = image if image.ndim == 3 else image[..., None]
    mask = given(degraded[..., 0], rng)
    outside = cv2.dilate(mask.astype(np.uint8), np.ones((2 * GAP + 1, 2 * GAP + 1), np.uint8)) == 0
    if min(mask.sum(), outside.sum()) < FEWEST:
        return None
    areas = np.stack([mask, outside, degraded[..., 0]], axis=2)
    bits = np.packbits(areas, axis=2, bitorder='little')
    place = window(mask, LEAST).area
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
    image, other = (images[at] for at in rng.integers(len(images), size=2))
    return sample(image, other, rng)


def samples(folder: Path, number: int, seed: int, workers: int) -> tuple[np.ndarray, Tensor]:
    """Draw samples: (n, LEAST, LEAST, 4) uint8 and (n, 3), see `sample`."""
    seen, truths = np.empty((number, LEAST, LEAST, 4), np.uint8), []
    with multiprocessing.Pool(workers) as pool:
        drawn = pool.imap(functools.partial(draw, folder, seed), range(2 * number), chunksize=100)
        for one in drawn:
            if one is not None:
                seen[len(truths)] = one[0]
                truths.append(one[1])
            if len(truths) == number:
                break
        pool.terminate()
    return seen[: len(truths)], torch.tensor(truths)


def inputs(
    seen: np.ndarray, quality: Tensor, turned: np.ndarray
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return what `LossyEstimator` gets of samples, and the degraded pixels (n, h, w).

    Both are mirrored along the axes that are turned.
    """
    axes = [axis for axis, one in enumerate(turned, start=1) if one]
    seen = np.ascontiguousarray(np.flip(seen, axes))
    planes = np.stack([planes_of(one[..., :3]) for one in seen])
    bits = np.unpackbits(seen[..., 3:], axis=3, count=3, bitorder='little').transpose(0, 3, 1, 2)
    tables = np.stack([table_of(int(one)).ravel() for one in quality])
    planes, bits, tables = (torch.from_numpy(one).float() for one in (planes, bits, tables))
    return (planes, bits[:, :2], tables, quality), bits[:, 2]


def loss(output: tuple[Tensor, Tensor], truth: Tensor, mask: Tensor, degraded: Tensor) -> Tensor:
    """Cross entropy of the kind and of the degraded pixels; Gaussian likelihood of log sigma."""
    described, odds = output[0].float(), output[1].float()
    kind = truth[:, 0].long()
    total = F.cross_entropy(described[:, : len(KINDS)], kind)
    for at, (name, counts) in enumerate(COUNTS.items()):
        rows = kind == KINDS.index(name)
        mean, spread = described[rows, SIGMAS + at], described[rows, SPREADS + at].clamp(-4, 2)
        error = (truth[rows, 1].log() - mean) / spread.exp()
        total = total + counts * (error.square() / 2 + spread).sum() / max(1, int(rows.sum()))
    where = mask * (kind > 0)[:, None, None]
    wrong = F.binary_cross_entropy_with_logits(odds, degraded, weight=where, reduction='sum')
    return total + WHERE * wrong / where.sum().clamp(min=1)


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
        seen_now, degraded = inputs(seen[rows], truths[rows, 2], rng.random(2) < 0.5)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            output = network(*seen_now)
        value = loss(output, truths[rows], seen_now[1][:, 0], degraded)
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
