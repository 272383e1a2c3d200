"""`basicsr estimate`: measure what was done to the masked regions of an image."""

import argparse
import json
from pathlib import Path

from hmaca_arch.commands.parsing import Parser
from hmaca_arch.files.image_files import read_image
from hmaca_arch.files.masks import read_mask
from hmaca_arch.files.reading import read_file
from hmaca_arch.messages import say
from hmaca_arch.restoring.measuring import measure
from hmaca_arch.restoring.measuring.jpeg import quality_of_file
from hmaca_arch.restoring.measuring.measured import Measured
from hmaca_arch.restoring.regions import marked_box

DESCRIPTION = """Measure what was done to each masked region of an image: pixelized, blurred,
noisy, nothing, or unknown. Print one line for each region: its box (top, left, bottom, right), the
degradation, how sure that is from 0 to 1, and the same in words. Masks are white where the image
may be degraded. They may be up to 16 pixels too wide."""


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(prog='basicsr estimate', description=DESCRIPTION)
    parser.add_argument('-i', '--input', type=Path, required=True, help='an image')
    parser.add_argument('-m', '--mask', type=Path, required=True, help='its mask, of the same size')
    parser.add_argument('--json', action='store_true', help='print a JSON list instead')
    return parser.parse_args(argv)


def entry(measured: Measured) -> dict:
    """Return what is printed of a region.

    `box` is the degraded area's top, left, bottom and right.
    """
    return {
        'box': list(marked_box(measured.area)),
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
    image = read_image(args.input)
    mask, _ = read_mask(read_file(args.mask), False, str(args.mask))
    if mask.shape != image.pixels.shape[:2]:
        sizes = [f'{shape[1]}x{shape[0]}' for shape in (mask.shape, image.pixels.shape)]
        raise ValueError(
            f'the mask {args.mask} has {sizes[0]} pixels, the image {sizes[1]}; expected equal '
            'sizes'
        )
    if not mask.any():
        raise ValueError(f'the mask {args.mask} is black: nothing to measure')
    found = [
        entry(one) for one in measure(image.pixels, mask, quality_of_file(read_file(args.input)))
    ]
    if args.json:
        say(json.dumps(found, indent=1))
        return 0
    for one in found:
        say(
            f'{",".join(map(str, one["box"]))}  {one["degradation"]}  {one["confidence"]:.2f}  '
            f'{one["words"]}'
        )
    return 0
