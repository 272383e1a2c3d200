#!/usr/bin/env python
"""Measure what a network knows of its mask: one image with two masks, the second moved.

Print and draw by how much the output changes. With Eq. 5 of the HMACA paper (`cross_attention:
global`) it does not change. Also measure what is left of the image behind Eq. 5 without its
residual. Without --weights the networks are untrained ones of the light size, which differ only in
their cross attention.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage import data

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # last: an installed package goes first

from hmaca_arch.cli import end  # noqa: E402
from hmaca_arch.degradation.pixels import pixelate  # noqa: E402
from hmaca_arch.experiments.comparison.methods import label_of  # noqa: E402
from hmaca_arch.experiments.comparison.sheet import CELL, error_map  # noqa: E402
from hmaca_arch.files.atomic import write_atomically  # noqa: E402
from hmaca_arch.files.outputs import output_image  # noqa: E402
from hmaca_arch.networks.hmaca import HMACA  # noqa: E402
from hmaca_arch.networks.loading import load_network  # noqa: E402
from hmaca_arch.restoring.sheets import contact_sheet  # noqa: E402

SIZE, REGION = 128, 20  # pixels
PLACES = ((42, 50), (88, 92))  # top and left of the region, and of the moved mask
LIGHT = {'embed_dim': 48, 'depths': [2, 2], 'num_heads': [4, 4], 'window_size': 8, 'mlp_ratio': 2}
TITLES = (
    'input: its region (white), the moved mask (yellow)',
    'output, mask where the region is',
    'output, mask moved',
    'difference',
)


def square(top: int, left: int) -> np.ndarray:
    """Return a mask (SIZE, SIZE, 1) bool of one square."""
    mask = np.zeros((SIZE, SIZE, 1), bool)
    mask[top : top + REGION, left : left + REGION] = True
    return mask


def crop(photograph: np.ndarray, left: int) -> np.ndarray:
    """Return a crop of an RGB photograph as (SIZE, SIZE, 3) BGR uint8."""
    large = photograph[: 2 * SIZE, left : left + 2 * SIZE]
    return cv2.resize(large, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[..., ::-1]


def tensor(image: np.ndarray) -> torch.Tensor:
    """Return an image (h, w, 3) BGR uint8 or a mask (h, w, 1) bool as (1, c, h, w) in [0, 1]."""
    from basicsr.utils import img2tensor  # here, as hmaca_arch makes it importable

    scale = 1 if image.dtype == bool else 255
    return img2tensor(image.astype(np.float32) / scale)[None]


def networks(paths: list[Path], seed: int) -> dict[str, HMACA]:
    """Return {label: network} of the checkpoints, or of untrained networks without any.

    Raises:
        ValueError: a checkpoint is of another network, or two have the same label.
    """
    found: dict[str, HMACA] = {}
    if not paths:
        for form in ('global', 'window'):
            torch.manual_seed(seed)
            found[f'{form}, untrained'] = HMACA(**LIGHT, cross_attention=form).eval()
    for path in paths:
        network = load_network(path).network
        if not isinstance(network, HMACA):
            raise ValueError(
                f'{path}: is of {type(network).__name__}; expected the weights of an HMACA'
            )
        position = ' and position' if network.settings['mask_position'] else ''
        label = f'{network.settings["cross_attention"]}{position}, {label_of(path)}'
        if label in found:
            raise ValueError(
                f'{path}: another checkpoint is called {label_of(path)} too; rename one of them'
            )
        found[label] = network
    return found


def behind_cross_attention(network: HMACA, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the output of the last cross attention."""
    outputs = []
    last = network.cross_attentions[-1]
    handle = last.register_forward_hook(lambda module, args, output: outputs.append(output))
    network(image, mask)
    handle.remove()
    return outputs[0]


def move_mask(
    compared: dict[str, HMACA], degraded: np.ndarray, masks: list[np.ndarray]
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Print how much each network's output changes with the mask.

    Returns:
        (label, output with the first mask, with the second) of each network; the outputs are
        (h, w, 3) BGR in grey levels of 255.
    """
    print(
        'One image, two masks: its region, and the same square elsewhere. '
        'Output in grey levels of 255.\n'
    )
    print('| cross attention | largest difference | mean difference | spread of the output |')
    print('| --- | ---: | ---: | ---: |')
    rows = []
    for label, network in compared.items():
        first, second = (
            255 * network(tensor(degraded), tensor(mask))[0].permute(1, 2, 0).numpy()[..., ::-1]
            for mask in masks
        )
        change = np.abs(first - second)
        print(f'| {label} | {change.max():.2g} | {change.mean():.2g} | {first.std():.2g} |')
        rows.append((label, first, second))
    return rows


def compare_residuals(photographs: list[np.ndarray], seed: int) -> None:
    """Print how much two images differ behind Eq. 5, without its residual and with it."""
    torch.manual_seed(seed)
    print(
        '\nTwo photographs, one mask (empty: every neighbourhood of it is the same): '
        'what leaves the last cross attention.\n'
    )
    print('| cross attention | largest difference | spread |\n| --- | ---: | ---: |')
    empty = torch.zeros(1, 1, SIZE, SIZE)
    for label, residual in (('Eq. 5 to the letter', False), ('with the residual', True)):
        network = HMACA(**LIGHT, cross_attention_residual=residual).eval()
        first, second = (
            behind_cross_attention(network, tensor(photograph), empty) for photograph in photographs
        )
        print(f'| {label} | {(first - second).abs().max():.2g} | {first.std():.2g} |')


def draw(degraded: np.ndarray, rows: list[tuple[str, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return a sheet (h, w, 3) BGR uint8 of what `move_mask` returned."""
    outlined = degraded.copy()
    for (top, left), colour in zip(PLACES, ((255, 255, 255), (0, 255, 255))):
        cv2.rectangle(outlined, (left - 1, top - 1), (left + REGION, top + REGION), colour, 1)
    cells, captions = [], []
    for label, *outputs in rows:
        largest = max(1.0, float(np.abs(outputs[0] - outputs[1]).max()))
        first, second = (np.clip(np.rint(x), 0, 255).astype(np.uint8) for x in outputs)
        cells.append([outlined, first, second, error_map(first, second, largest)])
        captions.append(f'{label}: difference from 0 (black) to {largest:.2g} grey levels (bright)')
    return contact_sheet(cells, TITLES, captions, CELL)


@torch.no_grad()
def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(
        prog='mask_facts.py',
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--weights',
        type=Path,
        nargs='+',
        default=[],
        help='checkpoints of HMACA instead of untrained networks',
    )
    parser.add_argument('--seed', type=int, default=0, help='of untrained networks')
    parser.add_argument(
        '-o', '--output', type=Path, default=Path('mask_facts.png'), help='image to write'
    )
    args = parser.parse_args()
    output_image(args.output)
    compared = networks(args.weights, args.seed)
    photograph, other = crop(data.astronaut(), 80), crop(data.chelsea(), 100)
    masks = [square(*place) for place in PLACES]
    degraded = pixelate(photograph, masks[0], 5, 'centre')
    rows = move_mask(compared, degraded, masks)
    compare_residuals([photograph, other], args.seed)
    sheet = draw(degraded, rows)
    write_atomically(args.output, cv2.imencode(args.output.suffix, sheet)[1].tobytes())
    print(f'\n{args.output}')


if __name__ == '__main__':
    end('mask_facts', main)
