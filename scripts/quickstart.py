"""Image steps of `quickstart.sh`: photographs to restore, tiles to train on, and the results."""

import argparse
import csv
import sys
from pathlib import Path

import cv2
import numpy as np
import restore_examples
from skimage import data

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: an installed package goes first

from hmaca_arch.cli import end
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.image_files import read_image
from hmaca_arch.files.images import encode_png
from hmaca_arch.metrics.summary import mean_of_finite
from hmaca_arch.restoring.sheets import contact_sheet

# Photographs inside the scikit-image package, so that nothing is downloaded. No training tile comes
# from a test photograph.
TRAIN = ('astronaut', 'rocket', 'stereo_motorcycle', 'camera', 'brick', 'grass', 'gravel', 'coins')
TEST = ('chelsea', 'coffee')
METRICS = {
    'composite_psnr': 'composite PSNR (dB)',
    'masked_psnr': 'masked PSNR (dB)',
    'masked_ssim': 'masked SSIM',
}
LONGEST = 800  # pixels of a photograph's side: larger ones have little detail in a tile


def photograph(name: str) -> np.ndarray:
    """Return a photograph of scikit-image, (h, w, 3) uint8 RGB, at most LONGEST pixels a side."""
    image = getattr(data, name)()
    image = image[0] if isinstance(image, tuple) else image
    image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image[..., :3]
    scale = LONGEST / max(image.shape[:2])
    if scale >= 1:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def write_tiles(folder: Path, names: tuple[str, ...], size: int, step: int) -> None:
    """Cut photographs into tiles and write them as folder/NAME_ROW_COLUMN.png.

    Args:
        folder: of the tiles.
        names: of the photographs.
        size: side of a tile in pixels.
        step: pixels between the corners of neighbouring tiles.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for name in names:
        image = photograph(name)
        for row, y in enumerate(range(0, image.shape[0] - size + 1, step)):
            for column, x in enumerate(range(0, image.shape[1] - size + 1, step)):
                tile = encode_png(image[y : y + size, x : x + size])
                write_atomically(folder / f'{name}_{row}_{column}.png', tile, durable=False)
                count += 1
    print(f'{folder}: {count} tiles of {size}x{size} from {", ".join(names)}')


def write_degraded(folder: Path) -> None:
    """Write the photographs of restore_examples.py: folder/{degraded,masks,originals}/NAME.png."""
    examples = restore_examples.examples()
    for title, original, mask, degraded in examples:
        name = title.split(',')[0]
        files = {'degraded': degraded, 'masks': mask.astype(np.uint8) * 255, 'originals': original}
        for kind, pixels in files.items():
            (folder / kind).mkdir(parents=True, exist_ok=True)
            write_atomically(folder / kind / f'{name}.png', encode_png(pixels))
    count = len(examples)
    print(f'{folder}: {count} photographs with a degraded region, masks and originals')


def before_after(folder: Path) -> None:
    """Write what `basicsr restore` made of the photographs, as folder/before_after.png."""
    rows = []
    for path in sorted((folder / 'restored').glob('*.png')):
        degraded, mask, original = (
            read_image(folder / kind / path.name).pixels
            for kind in ('degraded', 'masks', 'originals')
        )
        images = (original, mask > 0, degraded, read_image(path).pixels)
        print(f'{path}: {restore_examples.inside(*images)}')
        rows.append(restore_examples.row(*images))
    write_atomically(folder / 'before_after.png', encode_png(contact_sheet(rows)))
    print(f'before, with the region outlined | after | original: {folder / "before_after.png"}')


def report(table: Path, images: Path, output: Path) -> float:
    """Print the table of a test, and stack the strips of four of its images.

    Args:
        table: the CSV that `basicsr test` writes.
        images: the folder of its strips.
        output: the image to write.

    Returns:
        The gain in composite PSNR over the unrestored input, in dB.
    """
    with open(table, encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    print(f'\n{len(rows)} test images, none of which training saw a part of:\n')
    print('| | ' + ' | '.join(METRICS.values()) + ' |\n| --- |' + ' ---: |' * len(METRICS))
    means = {}
    for label, kind in (('unrestored input', 'input'), ('HMACA+', 'result')):
        composite, masked, ssim = (
            mean_of_finite(float(row[f'{kind}_{metric}']) for row in rows) for metric in METRICS
        )
        means[kind] = composite
        print(f'| {label} | {composite:.2f} | {masked:.2f} | {ssim:.4f} |')

    def gain_of(row: dict[str, str]) -> float:
        return float(row['result_composite_psnr']) - float(row['input_composite_psnr'])

    ordered = sorted(rows, key=gain_of)
    strips = []
    for quantile in (1.0, 0.75, 0.5, 0.25):  # from the best to below the median
        name = ordered[int(quantile * (len(ordered) - 1))]['picture']
        strip = read_image(next(images.glob(f'{name}_*_strip.png'))).pixels
        strips.append([cv2.resize(strip, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)])
    write_atomically(output, encode_png(contact_sheet(strips)))
    gain = means['result'] - means['input']
    print(f'\nGain over the unrestored input: {gain:+.2f} dB')
    print(
        'lq | mask | restored | gt of four images '
        f'(best, upper quartile, median, lower quartile): {output}'
    )
    return gain


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    degraded = commands.add_parser('degraded', help='write the photographs to restore first')
    after = commands.add_parser('before-after', help='put what became of them into one image')
    tiles = commands.add_parser('tiles', help='cut photographs into FOLDER/trainA and FOLDER/testA')
    for command in (degraded, after, tiles):
        command.add_argument('folder', type=Path)
    results = commands.add_parser('report', help='print the table of a test and write four strips')
    results.add_argument('table', type=Path, help='the CSV that basicsr test writes')
    results.add_argument('images', type=Path, help='the folder of its strips')
    results.add_argument('output', type=Path, help='the image to write')
    return parser


def main() -> None:
    """Run one step.

    Raises:
        ValueError: the trained network gains less than 1 dB.
    """
    args = parser().parse_args()
    if args.command == 'degraded':
        write_degraded(args.folder)
    elif args.command == 'before-after':
        before_after(args.folder)
    elif args.command == 'tiles':
        write_tiles(args.folder / 'trainA', TRAIN, size=128, step=96)
        write_tiles(args.folder / 'testA', TEST, size=128, step=128)
    elif report(args.table, args.images, args.output) < 1:
        raise ValueError('less than 1 dB was gained: something is wrong with this installation')


if __name__ == '__main__':
    end('quickstart', main)
