"""`basicsr export`: write an HMACA as an ONNX file."""

import argparse
from pathlib import Path

from hmaca_arch.export.onnx_export import export_file


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog='basicsr export',
        description='Write an HMACA as an ONNX file, and check that onnxruntime computes what '
        'PyTorch does.',
        epilog='Not exported: cross_attention global, networks that enlarge, other networks than '
        'HMACA.',
    )
    parser.add_argument(
        '--weights',
        type=Path,
        required=True,
        metavar='FILE',
        help='checkpoint, for example net_g_latest.pth',
    )
    parser.add_argument(
        '-o',
        '--output',
        type=Path,
        required=True,
        metavar='FILE.onnx',
        help='file to write; replaced if it exists',
    )
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument(
        '--size', type=int, nargs=2, metavar=('H', 'W'), help='images of this height and width'
    )
    size.add_argument('--dynamic', action='store_true', help='images of any size above one window')
    return parser


def main(argv: list[str]) -> None:
    """Export and report; errors as in `export_file`."""
    args = parser().parse_args(argv)
    export_file(args.weights, args.output, tuple(args.size) if args.size else None)
