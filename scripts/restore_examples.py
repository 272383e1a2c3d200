#!/usr/bin/env python
"""Degrade regions of scikit-image's photographs and restore them with the shipped weights.

Print the PSNR inside the regions, and write an image: degraded, with the region outlined |
restored | original.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from skimage import data

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # last: an installed package goes first

from hmaca_arch.cli import end  # noqa: E402
from hmaca_arch.degradation import pixels  # noqa: E402
from hmaca_arch.files.atomic import write_atomically  # noqa: E402
from hmaca_arch.files.outputs import output_image  # noqa: E402
from hmaca_arch.inference import load_restorer  # noqa: E402
from hmaca_arch.metrics import calculate_masked_psnr  # noqa: E402
from hmaca_arch.restoring.sheets import contact_sheet  # noqa: E402

HEIGHT, WIDTH = 300, 400


def examples() -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Return (title, photograph, mask, degraded photograph) of each example.

    Images are (h, w, 3) uint8, masks (h, w, 1) bool.
    """
    astronaut = data.astronaut()[:HEIGHT, 80 : 80 + WIDTH]
    chelsea = data.chelsea()[:HEIGHT, 25 : 25 + WIDTH]
    coffee = data.coffee()[50 : 50 + HEIGHT, 100 : 100 + WIDTH]
    face, eyes, cup = (np.zeros((HEIGHT, WIDTH), np.uint8) for _ in range(3))
    cv2.ellipse(face, (145, 110), (62, 80), 0, 0, 360, 1, -1)
    cv2.rectangle(eyes, (95, 70), (190, 150), 1, -1)
    cv2.rectangle(eyes, (230, 150), (330, 230), 1, -1)
    cv2.ellipse(cup, (200, 150), (120, 80), 10, 0, 360, 1, -1)
    face, eyes, cup = (mask[..., None] > 0 for mask in (face, eyes, cup))
    pixelized = pixels.pixelate(astronaut, face, 6, 'mean')
    blurred = pixels.blur(chelsea, eyes, 2.0)
    noisy = pixels.noise(coffee, cup, np.random.default_rng(0), 20)
    return [
        ('astronaut, blocks of 6', astronaut, face, pixelized),
        ('chelsea, blur of sigma 2', chelsea, eyes, blurred),
        ('coffee, noise of sigma 20', coffee, cup, noisy),
    ]


def row(
    photograph: np.ndarray, mask: np.ndarray, degraded: np.ndarray, restored: np.ndarray
) -> list[np.ndarray]:
    """Return degraded, with the region outlined | restored | original."""
    outlines, _ = cv2.findContours(
        mask[..., 0].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    outlined = cv2.drawContours(degraded.copy(), outlines, -1, (255, 255, 0), 1)
    return [outlined, restored, photograph]


def inside(
    photograph: np.ndarray, mask: np.ndarray, degraded: np.ndarray, restored: np.ndarray
) -> str:
    """Return the PSNR inside the region, before and after, as text."""
    before, after = (
        calculate_masked_psnr(version, photograph, degraded, mask.astype(np.float64))
        for version in (degraded, restored)
    )
    return f'{before:.2f} -> {after:.2f} dB inside the region'


def main() -> None:
    """Restore the examples and write the image."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        '-o', '--output', type=Path, default=ROOT / 'docs' / 'restore.jpg', help='image to write'
    )
    path = parser.parse_args().output
    output_image(path)
    restorer = load_restorer()
    rows = []
    for title, photograph, mask, degraded in examples():
        restored = restorer.restore(degraded, mask[..., 0])
        print(f'{title}: {inside(photograph, mask, degraded, restored)}')
        rows.append(row(photograph, mask, degraded, restored))
    sheet = contact_sheet(rows)[..., ::-1]
    encoded = cv2.imencode(path.suffix, sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    write_atomically(path, encoded.tobytes())
    print(path)


if __name__ == '__main__':
    end('restore_examples', main)
