"""Photographs to try the page on, with a region that is degraded on request.

They ship with scikit-image.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from hmaca_arch.degradation import pixels
from hmaca_arch.files.images import encode_png

MILDEST, STRONGEST = 1, 10


# What the mildest and the strongest are: side of the squares, sigma in pixels, sigma of 255.
DEGRADATIONS = {'pixelize': (3, 12), 'blur': (0.6, 3.0), 'noise': (3, 25)}


class Photograph(NamedTuple):
    """A photograph of scikit-image, and the degradation that is proposed for it.

    draw: fills a region of a mask (h, w) uint8 with 255.
    """

    name: str
    title: str
    degradation: str
    draw: Callable[[np.ndarray], np.ndarray]


PHOTOGRAPHS = {
    photograph.name: photograph
    for photograph in (
        Photograph(
            'chelsea',
            'A cat',
            'pixelize',
            lambda mask: cv2.ellipse(mask, (318, 138), (42, 32), 0, 0, 360, 255, -1),
        ),
        Photograph(
            'coffee',
            'A cup of coffee',
            'blur',
            lambda mask: cv2.rectangle(mask, (280, 100), (359, 163), 255, -1),
        ),
        Photograph(
            'rocket',
            'A rocket',
            'noise',
            lambda mask: cv2.rectangle(mask, (290, 170), (353, 249), 255, -1),
        ),
    )
}


def photograph_pixels(name: str) -> np.ndarray:
    """Return a photograph, (h, w, 3) uint8.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in PHOTOGRAPHS:
        raise ValueError(f'example is {name[:40]!r}; expected {", ".join(PHOTOGRAPHS)}')
    from skimage import data

    return getattr(data, name)()


def degrade(image: np.ndarray, mask: np.ndarray, degradation: str, strength: float) -> np.ndarray:
    """Degrade the region of an image (h, w, 3) uint8, mask (h, w) bool; the same each time.

    Args:
        image: the image.
        mask: its region.
        degradation: 'pixelize', 'blur' or 'noise'.
        strength: from 1 to 10.

    Returns:
        The degraded image.

    Raises:
        ValueError: another degradation or strength.
    """
    if degradation not in DEGRADATIONS:
        raise ValueError(f'degradation is {degradation[:40]!r}; expected {", ".join(DEGRADATIONS)}')
    if not MILDEST <= strength <= STRONGEST:
        raise ValueError(f'strength is {strength!r}; expected {MILDEST} to {STRONGEST}')
    mildest, strongest = DEGRADATIONS[degradation]
    share = (strength - MILDEST) / (STRONGEST - MILDEST)
    amount = mildest + (strongest - mildest) * share
    inside = mask[..., None]
    if degradation == 'pixelize':
        return pixels.pixelate(image, inside, round(amount), 'mean')
    if degradation == 'blur':
        return pixels.blur(image, inside, amount)
    return pixels.noise(image, inside, np.random.default_rng(0), amount)


def make_example(name: str, degradation: str, strength: float) -> dict[str, bytes]:
    """Degrade the region of a photograph.

    Returns:
        PNG files: data (the degraded image), truth (the photograph) and mask.

    Raises:
        ValueError: no such photograph, degradation or strength.
    """
    image = photograph_pixels(name)
    mask = PHOTOGRAPHS[name].draw(np.zeros(image.shape[:2], np.uint8))
    degraded = degrade(image, mask > 0, degradation, strength)
    return {'data': encode_png(degraded), 'truth': encode_png(image), 'mask': encode_png(mask)}


def thumbnail(name: str) -> bytes:
    """Return a photograph as a small JPEG file."""
    image = photograph_pixels(name)
    scale = 320 / image.shape[1]
    size = (320, round(scale * image.shape[0]))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode('.jpg', small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
