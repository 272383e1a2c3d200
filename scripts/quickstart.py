"""What `quickstart.sh` starts from and ends with: images to restore and to train on, and what
became of them.
"""

import argparse
import csv
import sys
from pathlib import Path

import cv2
import numpy as np
import restore_examples  # which stands beside this script
from skimage import data

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: an installed package goes first

from hmaca_arch.cli import end
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.image_files import read_picture
from hmaca_arch.files.images import encode_png
from hmaca_arch.metrics.summary import mean_of_finite
from hmaca_arch.restoring.sheets import contact_sheet

# Photographs inside the scikit-image package: nothing is downloaded. No training crop comes from a
# test photograph.
TRAIN = ('astronaut', 'rocket', 'stereo_motorcycle', 'camera', 'brick', 'grass', 'gravel', 'coins')
TEST = ('chelsea', 'coffee')
METRICS = {
    'composite_psnr': 'composite PSNR (dB)',
    'masked_psnr': 'masked PSNR (dB)',
    'masked_ssim': 'masked SSIM',
}


def photograph(name: str) -> np.ndarray:
    """(h, w, 3) uint8 RGB, at most 800 pixels a side: larger photographs hold little detail a
    pixel.
    """
    picture = getattr(data, name)()
    picture = picture[0] if isinstance(picture, tuple) else picture
    picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) if picture.ndim == 2 else picture[..., :3]
    scale = 800 / max(picture.shape[:2])
    return (
        cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if scale < 1
        else picture
    )


def write_tiles(folder: Path, names: tuple[str, ...], size: int, step: int) -> None:
    """Cut the photographs into size x size tiles, `step` apart, and write them as
    folder/NAME_ROW_COLUMN.png.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for name in names:
        picture = photograph(name)
        for row, y in enumerate(range(0, picture.shape[0] - size + 1, step)):
            for column, x in enumerate(range(0, picture.shape[1] - size + 1, step)):
                tile = picture[y : y + size, x : x + size]
                write_atomically(
                    folder / f'{name}_{row}_{column}.png', encode_png(tile), durable=False
                )
                count += 1
    print(f'{folder}: {count} tiles of {size}x{size} from {", ".join(names)}')


def write_degraded(folder: Path) -> None:
    """Write the photographs of restore_examples.py: folder/{degraded,masks,originals}/NAME.png."""
    for name, photograph, mask, degraded in restore_examples.examples():
        for kind, pixels in (
            ('degraded', degraded),
            ('masks', mask.astype(np.uint8) * 255),
            ('originals', photograph),
        ):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            write_atomically(folder / kind / f'{name.split(",")[0]}.png', encode_png(pixels))
    print(
        f'{folder}: {len(list((folder / "degraded").iterdir()))} photographs with a degraded region, masks and originals'
    )


def before_after(folder: Path) -> None:
    """Stack what `basicsr restore` made of them: folder/before_after.png."""
    rows = []
    for path in sorted((folder / 'restored').glob('*.png')):
        degraded, mask, original = (
            read_picture(folder / kind / path.name).pixels
            for kind in ('degraded', 'masks', 'originals')
        )
        files = (original, mask > 0, degraded, read_picture(path).pixels)
        print(f'{path}: {restore_examples.inside(*files)}')
        rows.append(restore_examples.row(*files))
    write_atomically(folder / 'before_after.png', encode_png(contact_sheet(rows)))
    print(f'before, with the region outlined | after | original: {folder / "before_after.png"}')


def report(table: Path, pictures: Path, output: Path) -> float:
    """Print the table of a test and stack a few of its strips into one picture. Returns the gain in
    composite PSNR, in dB.
    """
    with open(table, encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    print(f'\n{len(rows)} test pictures, none of which training saw a part of:\n')
    print('| | ' + ' | '.join(METRICS.values()) + ' |\n| --- |' + ' ---: |' * len(METRICS))
    means = {}
    for label, kind in (('unrestored input', 'input'), ('HMACA+', 'result')):
        means[kind] = [
            mean_of_finite(float(row[f'{kind}_{metric}']) for row in rows) for metric in METRICS
        ]
        print(f'| {label} | {means[kind][0]:.2f} | {means[kind][1]:.2f} | {means[kind][2]:.4f} |')
    by_gain = sorted(
        rows,
        key=lambda row: float(row['result_composite_psnr']) - float(row['input_composite_psnr']),
    )
    shown = [
        by_gain[int(q * (len(by_gain) - 1))]['picture'] for q in (1.0, 0.75, 0.5, 0.25)
    ]  # best to below the median: not only the best
    strips = [read_picture(next(pictures.glob(f'{name}_*_strip.png'))).pixels for name in shown]
    rows = [
        [cv2.resize(strip, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)] for strip in strips
    ]
    write_atomically(output, encode_png(contact_sheet(rows)))
    gain = means['result'][0] - means['input'][0]
    print(f'\nGain over the unrestored input: {gain:+.2f} dB')
    print(
        f'lq | mask | restored | gt of four pictures (best, upper quartile, median, lower quartile): {output}'
    )
    return gain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    first = commands.add_parser('degraded', help='write the photographs to restore first')
    second = commands.add_parser('before-after', help='put what became of them into one image')
    for parser_of_folder in (first, second):
        parser_of_folder.add_argument('folder', type=Path)
    tiles = commands.add_parser(
        'pictures', help='cut the photographs of scikit-image into FOLDER/trainA and FOLDER/testA'
    )
    tiles.add_argument('folder', type=Path)
    results = commands.add_parser(
        'report', help='print the table of a test and write the strips of four of its pictures'
    )
    results.add_argument('table', type=Path, help='the CSV that basicsr test writes')
    results.add_argument('pictures', type=Path, help='the folder of its pictures')
    results.add_argument('output', type=Path, help='the picture to write')
    args = parser.parse_args()
    if args.command == 'degraded':
        write_degraded(args.folder)
    elif args.command == 'before-after':
        before_after(args.folder)
    elif args.command == 'pictures':
        write_tiles(args.folder / 'trainA', TRAIN, size=128, step=96)
        write_tiles(args.folder / 'testA', TEST, size=128, step=128)
    elif report(args.table, args.pictures, args.output) < 1:
        raise ValueError('less than 1 dB was gained: something is wrong with this installation')


if __name__ == '__main__':
    end('quickstart', main)
