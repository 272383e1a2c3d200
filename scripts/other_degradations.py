#!/usr/bin/env python
"""Draw degradations that are neither blocks, nor Gaussian blur or noise.

    other_degradations.py photo.png -o sheet.png

`train_estimator.py` learns from them when to leave open what was done, and `restoration_table.py`
has a row for each. Here the middle of a photograph is degraded in all of these ways.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.spatial import KDTree

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: an installed package goes first

from hmaca_arch.cli import end
from hmaca_arch.files.images import decode_image, to_8_bit
from hmaca_arch.files.reading import read_file
from hmaca_arch.restoring.measuring.candidates import BOX, DISC, EVEN_BOX, MOTION, OVAL, Candidate

CV2_WAYS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_AREA)
PIL_WAYS = (
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.BOX,
)
SEEN, TRIES = 0.01, 20  # part of the region that must have changed, if it can
Way = Callable[[np.ndarray, np.random.Generator], np.ndarray]
TEXT = 'restoration of an image 0123456789'


def _drawn(rng: np.random.Generator, least: float, most: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(least), np.log(most))))


def _levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    result: np.ndarray = cv2.GaussianBlur(values, (0, 0), sigma)
    return result.reshape(values.shape)


def enlarged(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make it smaller and as large again, by one of two libraries, the grid anywhere."""
    height, width = image.shape[:2]
    factor = _drawn(rng, 1.3, 8)
    small = max(2, round(width / factor)), max(2, round(height / factor))
    if rng.random() < 0.5:
        ways = rng.choice(CV2_WAYS, 2)
        once = cv2.resize(image, small, interpolation=int(ways[0]))
        return cv2.resize(once, (width, height), interpolation=int(ways[1])).reshape(image.shape)
    down, up = (PIL_WAYS[at] for at in rng.integers(len(PIL_WAYS), size=2))
    drawn = Image.fromarray(image.squeeze()).resize(small, down).resize((width, height), up)
    return np.asarray(drawn).reshape(image.shape)


def speckled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Salt and pepper, or pixels of any colour."""
    one_channel = rng.random() < 0.6
    shape = (*image.shape[:2], 1 if one_channel else image.shape[2])
    values = rng.choice([0, 255], shape) if rng.random() < 0.7 else rng.integers(256, size=shape)
    return np.where(rng.random(shape) < _drawn(rng, 0.008, 0.3), values, image).astype(np.uint8)


def drawn_over(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Text or scratches."""
    height, width, channels = image.shape
    over, thick = np.zeros((height, width), np.uint8), int(rng.integers(1, 4))
    if rng.random() < 0.5:
        scale = rng.uniform(0.25, 0.9)
        for row in range(int(rng.integers(12)), height + 10, int(rng.integers(8, 40))):
            at = int(rng.integers(-60, 10)), row
            cv2.putText(over, 3 * TEXT, at, int(rng.integers(8)), scale, 255, thick, cv2.LINE_AA)
    else:
        for _ in range(int(height * width * _drawn(rng, 3e-4, 4e-3))):
            start = rng.integers((width, height))
            end = start + rng.integers(-40, 41, size=2)
            cv2.line(over, start.tolist(), end.tolist(), 255, thick)
    opacity = over[..., None] / 255 * (1 if rng.random() < 0.6 else rng.uniform(0.3, 1))
    colour = (
        rng.choice([0, 255], channels) if rng.random() < 0.5 else rng.integers(256, size=channels)
    )
    return _levels(image * (1 - opacity) + colour * opacity)


def grainy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise that neighbours or colours share."""
    sigma = rng.uniform(0.45, 2) if rng.random() < 0.7 else 0
    shared = not sigma or rng.random() < 0.4
    noise = rng.standard_normal((*image.shape[:2], 1 if shared else image.shape[2]))
    if sigma:
        noise = _blurred(noise, sigma)
    return _levels(image + noise / noise.std() * _drawn(rng, 4, 50))


def moved(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur by a motion, a box or a disc."""
    kind = str(rng.choice([MOTION, MOTION, MOTION, BOX, EVEN_BOX, DISC, OVAL]))
    size = _drawn(rng, 1.3, 4) if kind == OVAL else _drawn(rng, 3.5, 20)
    size = size / 2 if kind == DISC else 2 * round(size / 2) if kind == EVEN_BOX else size
    values = Candidate(kind, size, rng.uniform(0, 180)).values()
    blurred = cv2.filter2D(image.astype(np.float64), -1, values, borderType=cv2.BORDER_REFLECT_101)
    return _levels(blurred.reshape(image.shape))


def smoothed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Median, bilateral filter, or non-local means."""
    way = rng.integers(3)
    if way == 0:
        found = cv2.medianBlur(image, int(rng.choice([3, 5, 7, 9])))
    elif way == 1:
        found = cv2.bilateralFilter(image, 9, rng.uniform(30, 120), rng.uniform(2, 60))
    else:
        found = cv2.fastNlMeansDenoising(image, None, float(rng.uniform(6, 25)), 5, 11)
    return found.reshape(image.shape)


def coded(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """JPEG or WebP of low quality, in the region alone."""
    jpeg = rng.random() < 0.6
    flag = cv2.IMWRITE_JPEG_QUALITY if jpeg else cv2.IMWRITE_WEBP_QUALITY
    quality = int(rng.integers(8, 60) if jpeg else rng.integers(1, 50))
    shift = rng.integers(8, size=2)
    coded_image = cv2.imencode(
        '.jpg' if jpeg else '.webp', np.roll(image, shift, (0, 1)), [flag, quality]
    )[1]
    way = cv2.IMREAD_COLOR if image.shape[2] == 3 else cv2.IMREAD_GRAYSCALE
    return np.roll(cv2.imdecode(coded_image, way).reshape(image.shape), -shift, (0, 1))


def few_levels(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Few grey levels."""
    step = int(rng.integers(16, 80))
    return _levels(image // step * float(step) + step / 2)


def sharpened(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unsharp masking."""
    values = image.astype(np.float64)
    return _levels(
        values + rng.uniform(0.8, 3) * (values - _blurred(values, rng.uniform(0.6, 2.5)))
    )


def blurred_and_noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur then weak noise, or noise then blur."""
    noise = rng.standard_normal(image.shape)
    if rng.random() < 0.6:
        return _levels(
            _blurred(image.astype(np.float64), _drawn(rng, 0.6, 3)) + noise * _drawn(rng, 1, 8)
        )
    return _levels(_blurred(image + noise * _drawn(rng, 8, 50), _drawn(rng, 0.6, 2)))


def frosted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each pixel taken from nearby."""
    height, width = image.shape[:2]
    reach = int(rng.integers(1, 5))
    moves = rng.integers(-reach, reach + 1, size=(2, height, width))
    rows, columns = np.indices((height, width)) + moves
    return image[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]


def crystals(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cells around random points, each of one colour."""
    height, width, channels = image.shape
    points = rng.uniform(size=(max(4, int(height * width / _drawn(rng, 9, 250))), 2))
    pixels = np.indices((height, width)).reshape(2, -1).T
    cells = KDTree(points * (height, width)).query(pixels)[1]
    counts = np.maximum(1, np.bincount(cells, minlength=len(points)))
    flat = image.reshape(-1, channels)
    means = [np.bincount(cells, flat[:, at], len(points)) / counts for at in range(channels)]
    return _levels(np.stack(means, axis=1)[cells].reshape(image.shape))


# How often each is drawn.
SHARES: dict[Way, float] = {
    enlarged: 5,
    speckled: 2,
    drawn_over: 3,
    grainy: 2,
    moved: 4,
    smoothed: 2,
    coded: 2,
    few_levels: 1,
    sharpened: 2,
    blurred_and_noisy: 3,
    frosted: 1,
    crystals: 1,
}


def degrade(
    image: np.ndarray, mask: np.ndarray, ways: Sequence[Way], rng: np.random.Generator
) -> np.ndarray:
    """Degrade a region in one of some ways, so that it is seen.

    Args:
        image: (h, w, 1 or 3) uint8.
        mask: (h, w, 1) bool.
        ways: of SHARES.
        rng: draws the way and its strength.
    """
    shares = np.array([SHARES[way] for way in ways], float)
    for _ in range(TRIES):
        way = ways[rng.choice(len(ways), p=shares / shares.sum())]
        found = np.where(mask, way(np.ascontiguousarray(image), rng), image)
        if (found != image)[mask[..., 0]].any(axis=1).mean() > SEEN:
            break
    return found


def main(argv: list[str] | None = None) -> int:
    """Write the sheet: a row for each way, with four strengths."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('photo', type=Path)
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FILE.png')
    args = parser.parse_args(argv)
    image = to_8_bit(decode_image(read_file(args.photo), args.photo))
    image = image[..., : 1 if image.shape[2] < 3 else 3]  # without alpha
    rng, mask = np.random.default_rng(0), np.zeros((*image.shape[:2], 1), bool)
    height, width = image.shape[:2]
    mask[height // 4 : -(height // 4), width // 4 : -(width // 4)] = True
    rows = [
        np.concatenate([degrade(image, mask, [way], rng) for _ in range(4)], axis=1)
        for way in SHARES
    ]
    Image.fromarray(np.concatenate(rows).squeeze()).save(args.output)
    print(f'{args.output}: {", ".join(way.__name__ for way in SHARES)}')
    return 0


if __name__ == '__main__':
    end('other_degradations', main)
