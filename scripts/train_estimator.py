#!/usr/bin/env python
"""Train the network that measures noise and blur before JPEG (restoring/measuring/lossy.py).

    train_estimator.py datasets/nips2017_dev_128/train -o hmaca_arch/weights/lossy_estimator.npz

Regions of clean images are degraded and compressed. The network learns the kind, and sigma with
its uncertainty. The file that ships took half an hour of a CPU core. `measure_accuracy.py --jpeg`
measures how often the answers are right.
"""

import argparse
import functools
import multiprocessing
import sys
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
from hmaca_arch.restoring.measuring import CARRIED, GAP, compressed_areas
from hmaca_arch.restoring.measuring.border import depth_of
from hmaca_arch.restoring.measuring.lossy import KINDS, features

SHARES = (0.2, 0.35, 0.35, 0.1)  # of the samples, by kind
SIDES = (26, 75)  # of a region, in pixels
NOISE, BLUR = (3, 75), (0.45, 5)
QUALITY = (30, 97)


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
    """Degrade a region and describe it: its features; kind and sigma. None: it is too small."""
    image = photograph(image, rng)
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
    if rng.random() < 0.4:  # too wide, as people paint
        size = 2 * int(rng.integers(1, 14)) + 1
        if rng.random() < 0.6:
            given = painted(given, 'wide', rng)
        else:
            given = cv2.dilate(given.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    near = cv2.dilate(given.astype(np.uint8), np.ones((2 * GAP + 1, 2 * GAP + 1), np.uint8)) > 0
    rough, smooth = compressed_areas(image, given, ~near)
    described = features(image, rough, smooth, depth_of(~near) > CARRIED, quality)
    return None if described is None else (described, [KINDS.index(kind), sigma])


@functools.cache
def images_of(folder: Path) -> list[np.ndarray]:
    """Read all images of a folder, once in each process."""
    return [to_8_bit(decode_image(read_file(path), path)) for path in list_images(folder).values()]


def draw(folder: Path, seed: int, i: int) -> tuple[np.ndarray, list[float]] | None:
    """Draw sample i."""
    rng = np.random.default_rng([seed, i])
    images = images_of(folder)
    return sample(images[rng.integers(len(images))], rng)


def samples(folder: Path, number: int, seed: int, workers: int) -> tuple[Tensor, Tensor]:
    """Draw samples: features (n, f), and kinds and sigmas (n, 2); those too small are left out."""
    one = functools.partial(draw, folder, seed)
    with multiprocessing.Pool(workers) as pool:
        drawn = pool.map(one, range(number), chunksize=1000)
    described, truths = zip(*(found for found in drawn if found))
    return torch.from_numpy(np.stack(described)), torch.tensor(truths)


def loss(output: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy of the kind, and the Gaussian likelihood of the logarithm of sigma."""
    kind = truth[:, 0].long()
    total = F.cross_entropy(output[:, :4], kind)
    for at, name in enumerate(('noise', 'blur')):
        rows = kind == KINDS.index(name)
        mean, spread = output[rows, 4 + at], output[rows, 6 + at].clamp(-4, 2)
        error = (truth[rows, 1].log() - mean) / spread.exp()
        total = total + 0.5 * (error.square() / 2 + spread).sum() / max(1, int(rows.sum()))
    return total


def train(described: Tensor, truths: Tensor, width: int, epochs: int) -> dict[str, Tensor]:
    """Train the network; return its weights and the scale of its inputs."""
    mean, scale = described.mean(0), described.std(0) + 1e-3
    inputs = (described - mean) / scale
    net = nn.Sequential(
        *(nn.Linear(inputs.shape[1], width), nn.GELU(), nn.Dropout(0.1)),
        *(nn.Linear(width, width), nn.GELU(), nn.Dropout(0.1)),
        nn.Linear(width, 8),
    )
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.02)
    batches = max(1, len(inputs) // 256)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    for epoch in range(epochs):
        for rows in torch.randperm(len(inputs)).tensor_split(batches):
            optimizer.zero_grad()
            value = loss(net(inputs[rows]), truths[rows])
            value.backward()
            optimizer.step()
            schedule.step()
        print(f'epoch {epoch + 1} of {epochs}: loss {value.item():.3f}', flush=True)
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    weights = {'mean': mean, 'scale': scale}
    for at, layer in enumerate(layers):
        weights |= {f'weight{at}': layer.weight.detach(), f'bias{at}': layer.bias.detach()}
    return weights


def main(argv: list[str] | None = None) -> int:
    """Draw, train, and write the weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='clean images of 64x64 pixels or more')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FILE.npz')
    parser.add_argument('-n', '--number', type=int, default=50000, help='samples (50000)')
    parser.add_argument('--epochs', type=int, default=40)
    parser.add_argument('--width', type=int, default=128, help='of the hidden layers (128)')
    parser.add_argument('--workers', type=int, default=2, help='processes that draw (2)')
    parser.add_argument('--seed', type=int, default=2)
    args = parser.parse_args(argv)
    torch.manual_seed(args.seed)
    drawn = samples(args.folder, args.number, args.seed, args.workers)
    weights = train(*drawn, args.width, args.epochs)
    np.savez(args.output, **{name: value.numpy() for name, value in weights.items()})
    print(f'{args.output}: {args.output.stat().st_size / 1e3:.0f} kB')
    return 0


if __name__ == '__main__':
    end('train_estimator', main)
