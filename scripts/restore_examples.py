#!/usr/bin/env python
"""Damage regions of photographs that scikit-image ships, restore them with the weights that ship
with the package, print the PSNR inside
and write a picture: damaged, with the region outlined | restored | original."""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from skimage import data

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # last: an installed package goes first

from datasets_ext import degradations  # noqa: E402
from hmaca_arch.cli import end  # noqa: E402
from hmaca_arch.files.atomic import write_atomically  # noqa: E402
from hmaca_arch.files.outputs import output_picture  # noqa: E402
from hmaca_arch.inference import load_restorer  # noqa: E402
from hmaca_arch.metrics import calculate_masked_psnr  # noqa: E402
from hmaca_arch.restoring.sheets import contact_sheet  # noqa: E402


def examples() -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """What was done, the photograph, its mask (h, w, 1) bool, the damaged photograph."""
    astronaut, chelsea, coffee = (
        data.astronaut()[:300, 80:480],
        data.chelsea()[:300, 25:425],
        data.coffee()[50:350, 100:500],
    )
    face, eyes, cup = (np.zeros((300, 400), np.uint8) for _ in range(3))
    cv2.ellipse(face, (145, 110), (62, 80), 0, 0, 360, 1, -1)
    cv2.rectangle(eyes, (95, 70), (190, 150), 1, -1)
    cv2.rectangle(eyes, (230, 150), (330, 230), 1, -1)
    cv2.ellipse(cup, (200, 150), (120, 80), 10, 0, 360, 1, -1)
    face, eyes, cup = (mask[..., None] > 0 for mask in (face, eyes, cup))
    return [
        (
            'astronaut, blocks of 6',
            astronaut,
            face,
            degradations.pixelate(astronaut, face, 6, 'mean'),
        ),
        ('chelsea, blur of sigma 2', chelsea, eyes, degradations.blur(chelsea, eyes, 2.0)),
        (
            'coffee, noise of sigma 20',
            coffee,
            cup,
            degradations.noise(coffee, cup, np.random.default_rng(0), 20),
        ),
    ]


def row(
    photograph: np.ndarray, mask: np.ndarray, damaged: np.ndarray, restored: np.ndarray
) -> list[np.ndarray]:
    """Return damaged, with the region outlined | restored | original; (h, w, 3) uint8, mask (h, w,
    1) bool.
    """
    outlines, _ = cv2.findContours(
        mask[..., 0].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    outlined = cv2.drawContours(damaged.copy(), outlines, -1, (255, 255, 0), 1)
    return [outlined, restored, photograph]


def inside(
    photograph: np.ndarray, mask: np.ndarray, damaged: np.ndarray, restored: np.ndarray
) -> str:
    """How far the region is from the photograph, before and after."""
    before, after = (
        calculate_masked_psnr(version, photograph, damaged, mask.astype(np.float64))
        for version in (damaged, restored)
    )
    return f'{before:.2f} -> {after:.2f} dB inside the region'


def run(argv: list[str] | None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        '-o', '--output', type=Path, default=ROOT / 'docs' / 'restore.jpg', help='the picture'
    )
    path = parser.parse_args(argv).output
    output_picture(path)
    restorer = load_restorer()
    rows = []
    for name, photograph, mask, damaged in examples():
        restored = restorer.restore(damaged, mask[..., 0])
        print(f'{name}: {inside(photograph, mask, damaged, restored)}')
        rows.append(row(photograph, mask, damaged, restored))
    sheet = contact_sheet(rows)[..., ::-1]
    write_atomically(
        path, cv2.imencode(path.suffix, sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    )
    print(path)


if __name__ == '__main__':
    end('restore_examples', lambda: run(None))
