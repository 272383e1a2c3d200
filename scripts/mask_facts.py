#!/usr/bin/env python
"""Show by experiment what a network knows of its mask: give it one picture with two masks, the
second a moved copy of the first, and print
and draw by how much its output changes. With Eq. 5 of the HMACA paper (`cross_attention: global`)
it does not. Also: what is left of the picture behind Eq. 5 without its residual.

Without --weights: untrained networks of the light size, which differ in their cross attention
alone.
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

from datasets_ext.degradations import pixelate  # noqa: E402
from hmaca_arch.cli import end  # noqa: E402
from hmaca_arch.experiments.comparison.methods import label_of  # noqa: E402
from hmaca_arch.experiments.comparison.sheet import CELL, error_map  # noqa: E402
from hmaca_arch.files.atomic import write_atomically  # noqa: E402
from hmaca_arch.files.outputs import output_picture  # noqa: E402
from hmaca_arch.networks.hmaca import HMACA  # noqa: E402
from hmaca_arch.networks.loading import load_network  # noqa: E402
from hmaca_arch.restoring.sheets import contact_sheet  # noqa: E402

SIZE, REGION = 128, 20
PLACES = ((42, 50), (88, 92))  # top, left of the region, and of the moved mask
LIGHT = {'embed_dim': 48, 'depths': [2, 2], 'num_heads': [4, 4], 'window_size': 8, 'mlp_ratio': 2}


def square(top: int, left: int) -> np.ndarray:
    """A mask (SIZE, SIZE, 1), bool."""
    mask = np.zeros((SIZE, SIZE, 1), bool)
    mask[top : top + REGION, left : left + REGION] = True
    return mask


def tensor(picture: np.ndarray) -> torch.Tensor:
    """A picture (h, w, 3) BGR uint8, or a mask (h, w, 1) bool -> (1, c, h, w) float in [0, 1], RGB."""
    from basicsr.utils import img2tensor  # late: hmaca_arch makes it importable

    scale = 1 if picture.dtype == bool else 255
    return img2tensor(picture.astype(np.float32) / scale)[None]


def networks(paths: list[Path], seed: int) -> dict[str, torch.nn.Module]:
    """Name -> network: those of the checkpoints, or one untrained network for each form of cross
    attention.
    """
    found = {}
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


def behind_cross_attention(
    network: HMACA, picture: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """What leaves the last cross attention."""
    seen = []
    handle = network.cross_attentions[-1].register_forward_hook(
        lambda module, args, output: seen.append(output)
    )
    network(picture, mask)
    handle.remove()
    return seen[0]


@torch.no_grad()
def run(argv: list[str]) -> None:
    """The command."""
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
        '-o', '--output', type=Path, default=Path('mask_facts.png'), help='the picture'
    )
    args = parser.parse_args(argv)
    output_picture(args.output)
    compared = networks(args.weights, args.seed)

    photograph = cv2.resize(
        data.astronaut()[:256, 80:336], (SIZE, SIZE), interpolation=cv2.INTER_AREA
    )[..., ::-1]
    here, moved = (square(*place) for place in PLACES)
    damaged = pixelate(photograph, here, 5, 'centre')

    print(
        'One picture, two masks: its region, and the same square elsewhere. Output in grey levels of 255.\n'
    )
    print(
        '| cross attention | largest difference | mean difference | spread of the output |\n| --- | ---: | ---: | ---: |'
    )
    rows = []
    for name, network in compared.items():
        first, second = (
            255 * network(tensor(damaged), tensor(mask))[0].permute(1, 2, 0).numpy()[..., ::-1]
            for mask in (here, moved)
        )
        difference = np.abs(first - second)
        print(f'| {name} | {difference.max():.2g} | {difference.mean():.2g} | {first.std():.2g} |')
        rows.append((name, first, second, float(difference.max())))

    torch.manual_seed(args.seed)
    other = cv2.resize(data.chelsea()[:256, 100:356], (SIZE, SIZE), interpolation=cv2.INTER_AREA)[
        ..., ::-1
    ]
    print(
        '\nTwo photographs, one mask (empty: every neighbourhood of it is the same): what leaves the last cross attention.\n'
    )
    print('| cross attention | largest difference | spread |\n| --- | ---: | ---: |')
    for name, residual in (('Eq. 5 to the letter', False), ('with the residual', True)):
        network = HMACA(**LIGHT, cross_attention_residual=residual).eval()
        empty = torch.zeros(1, 1, SIZE, SIZE)
        one, two = (
            behind_cross_attention(network, tensor(picture), empty)
            for picture in (photograph, other)
        )
        print(f'| {name} | {(one - two).abs().max():.2g} | {one.std():.2g} |')

    outlined = damaged.copy()
    for (top, left), colour in zip(PLACES, ((255, 255, 255), (0, 255, 255))):
        cv2.rectangle(outlined, (left - 1, top - 1), (left + REGION, top + REGION), colour, 1)
    titles = (
        'input: its region (white), the moved mask (yellow)',
        'output, mask where the region is',
        'output, mask moved',
        'difference',
    )
    shown, captions = [], []
    for name, first, second, largest in rows:
        first, second = (
            np.clip(np.rint(output), 0, 255).astype(np.uint8) for output in (first, second)
        )
        shown.append([outlined, first, second, error_map(first, second, max(1.0, largest))])
        captions.append(
            f'{name}: difference from 0 (black) to {max(1.0, largest):.2g} grey levels (bright)'
        )
    sheet = contact_sheet(shown, titles, captions, CELL)
    write_atomically(args.output, cv2.imencode(args.output.suffix, sheet)[1].tobytes())
    print(f'\n{args.output}')


if __name__ == '__main__':
    end('mask_facts', lambda: run(None))
