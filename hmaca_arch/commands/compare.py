"""`basicsr compare`: networks and classical methods on the same degraded images."""

import argparse
import shlex

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
    parser.add_argument(
        'data', help='folder of lq/, gt/ and mask/ (or lq.lmdb, gt.lmdb and mask.lmdb)'
    )
    parser.add_argument(
        '-n',
        '--networks',
        nargs='+',
        default=[],
        metavar='NETWORK',
        help='[LABEL=]FILE.pth or [LABEL=]FILE.yml[,FILE.pth]',
    )
    parser.add_argument(
        '-c',
        '--classical',
        nargs='+',
        default=['all'],
        metavar='METHOD',
        help='all that fit the degradation (default), none, or names: ' + ', '.join(METHODS),
    )
    parser.add_argument(
        '-o',
        '--output',
        default='comparison',
        help='folder for table.md, pictures.csv, results.json and sheet.png (default: %(default)s)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace the results of an earlier comparison there',
    )
    parser.add_argument(
        '--degradation',
        choices=('pix', 'blur', 'noise'),
        help='what classical methods are told, instead of the manifest',
    )
    parser.add_argument(
        '--block', type=int, help='with --degradation pix: side of the blocks in pixels'
    )
    parser.add_argument(
        '--sigma', type=float, help='with --degradation blur (pixels) or noise (grey levels of 255)'
    )
    parser.add_argument(
        '--paste',
        choices=('lq', 'gt'),
        help='what composite dB pastes outside (default: by the manifest, or lq)',
    )
    parser.add_argument('--soft-mask', action='store_true', help="keep the masks' gray values")
    parser.add_argument('--count', type=int, metavar='N', help='only the first N images')
    parser.add_argument(
        '--against',
        metavar='LABEL',
        help='row from which paired differences are taken (default: the unrestored input)',
    )
    parser.add_argument(
        '--resamples', type=int, default=10000, help='of the bootstrap (default: %(default)s)'
    )
    parser.add_argument(
        '--confidence', type=float, default=0.95, help='of the intervals (default: %(default)s)'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of the bootstrap (default: %(default)s)'
    )
    parser.add_argument(
        '--sheet',
        type=int,
        default=4,
        metavar='N',
        help='images on the sheet; 0: no sheet (default: %(default)s)',
    )
    parser.add_argument('--device', default='auto', metavar='NAME', help=devices.HELP)
    parser.add_argument(
        '--threads', type=int, help='on the CPU (default: as torch and OpenCV choose)'
    )
    return parser


def main(argv: list[str]) -> None:
    """Compare and write; errors as in `compare`."""
    compare(parser().parse_args(argv), command=f'basicsr compare {shlex.join(argv)}')
