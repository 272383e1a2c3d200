"""`basicsr estimate`: measure what was done to the masked regions of an image."""

import argparse
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from hmaca_arch.files.image_files import read_mask_file, read_picture
from hmaca_arch.files.images import read_file
from hmaca_arch.restoring.measuring import Measured, measure
from hmaca_arch.restoring.measuring.jpeg import quality_of_tables
from hmaca_arch.restoring.regions import read_mask

DESCRIPTION = """Measure what was done to each masked region of an image: pixelized, blurred, noisy, nothing, or unknown. Prints one line
for each region: its box (top, left, bottom, right), the degradation, how sure that is from 0 to 1, and the same in words. Masks: white =
masked; they may be up to 16 pixels too wide."""


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog='basicsr estimate', description=DESCRIPTION)
    parser.add_argument('-i', '--input', type=Path, required=True, help='an image')
    parser.add_argument('-m', '--mask', type=Path, required=True, help='its mask, of the same size')
    parser.add_argument('--json', action='store_true', help='print a JSON list instead')
    return parser.parse_args(argv)


def file_quality(data: bytes) -> int | None:
    """The quality of a JPEG file, 1 to 100, from its tables; None for another format."""
    with Image.open(io.BytesIO(data)) as image:
        tables = getattr(image, 'quantization', None)
    return quality_of_tables(tables) if tables else None


def entry(measured: Measured) -> dict:
    """What is printed of a region. `box`: the degraded area's top, left, bottom and right."""
    rows, columns = np.flatnonzero(measured.area.any(axis=1)), np.flatnonzero(measured.area.any(axis=0))
    return {
        'box': [int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1],
        'degradation': str(measured.degradation),
        'confidence': round(float(measured.confidence), 2),
        'degraded_pixels': int(measured.area.sum()),
        'spill': measured.spill,
        'words': measured.words,
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Raises:
        OSError, ValueError: the image or the mask cannot be read, do not fit, or nothing is masked.
    """
    args = arguments(argv)
    image = read_picture(args.input)
    stored, _ = read_mask_file(args.mask)
    if stored.shape != image.pixels.shape[:2]:
        sizes = [f'{shape[1]}x{shape[0]}' for shape in (stored.shape, image.pixels.shape)]
        raise ValueError(f'the mask {args.mask} has {sizes[0]} pixels, the image {sizes[1]}; expected equal sizes')
    mask, _ = read_mask(stored)
    if not mask.any():
        raise ValueError(f'the mask {args.mask} is black: nothing to measure')
    found = [entry(one) for one in measure(image.pixels, mask, file_quality(read_file(args.input)))]
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    for one in found:
        print(f'{",".join(map(str, one["box"]))}  {one["degradation"]}  {one["confidence"]:.2f}  {one["words"]}')
    return 0
