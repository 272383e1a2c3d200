"""`basicsr compare`: networks and classical methods on the same degraded images."""

import argparse
import shlex
from typing import Any

from hmaca_arch import devices
from hmaca_arch.commands.parsing import Parser
from hmaca_arch.experiments.classical import METHODS
from hmaca_arch.experiments.comparison.compare import compare


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = Parser(
        prog='basicsr compare',
        description='Compare networks and classical methods on the same degraded images. '
        'Every result is composited: only what lies inside the mask counts.',
        epilog='A network is [LABEL=]FILE.pth if the checkpoint describes itself (HMANet, HMACA, '
        'any network with mask_input: channel), or [LABEL=]FILE.yml[,WEIGHTS.pth]; without '
        'weights those that the option file trains or names. Classical methods are told the '
        'degradation (side of blocks, sigma), by the manifest of basicsr make-dataset or by the '
        'options below; networks are not.',
    )
    _add_methods(parser.add_argument_group('methods').add_argument)
    _add_data(parser.add_argument_group('data').add_argument)
    _add_results(parser.add_argument_group('results').add_argument)
    return parser


def _add_methods(add: Any) -> None:
    add(
        '-n',
        '--networks',
        nargs='+',
        default=[],
        metavar='NETWORK',
        help='[LABEL=]FILE.pth or [LABEL=]FILE.yml[,FILE.pth]',
    )
    add(
        '-c',
        '--classical',
        nargs='+',
        default=['all'],
        metavar='METHOD',
        help='all that fit the degradation (default), none, or names: ' + ', '.join(METHODS),
    )
    add(
        '--degradation',
        choices=('pix', 'blur', 'noise'),
        help='what classical methods are told, instead of the manifest',
    )
    add('--block', type=int, help='with --degradation pix: side of the blocks in pixels')
    add(
        '--sigma', type=float, help='with --degradation blur (pixels) or noise (grey levels of 255)'
    )


def _add_data(add: Any) -> None:
    add('data', help='folder of lq/, gt/ and mask/ (or lq.lmdb, gt.lmdb and mask.lmdb)')
    add(
        '--paste',
        choices=('lq', 'gt'),
        help='what composite dB pastes outside (default: by the manifest, or lq)',
    )
    add('--soft-mask', action='store_true', help="keep the masks' gray values")
    add('--count', type=int, metavar='N', help='only the first N images')


def _add_results(add: Any) -> None:
    add(
        '-o',
        '--output',
        default='comparison',
        help='folder for table.md, pictures.csv, results.json and sheet.png (default: %(default)s)',
    )
    add(
        '--overwrite',
        action='store_true',
        help='replace the results of an earlier comparison there',
    )
    add(
        '--against',
        metavar='LABEL',
        help='row from which paired differences are taken (default: the unrestored input)',
    )
    add('--resamples', type=int, default=10000, help='of the bootstrap (default: %(default)s)')
    add('--confidence', type=float, default=0.95, help='of the intervals (default: %(default)s)')
    add('--seed', type=int, default=0, help='of the bootstrap (default: %(default)s)')
    add(
        '--sheet',
        type=int,
        default=4,
        metavar='N',
        help='images on the sheet; 0: no sheet (default: %(default)s)',
    )
    add('--device', default='auto', metavar='NAME', help=devices.HELP)
    add('--threads', type=int, help='on the CPU (default: as torch and OpenCV choose)')


def main(argv: list[str]) -> None:
    """Compare and write; errors as in `compare`."""
    compare(parser().parse_args(argv), command=f'basicsr compare {shlex.join(argv)}')
