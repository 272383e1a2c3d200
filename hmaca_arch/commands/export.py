"""`basicsr export`: write an HMACA as an ONNX file."""

import argparse
from pathlib import Path

from hmaca_arch.commands.parsing import Parser
from hmaca_arch.export.graphs import Form
from hmaca_arch.export.onnx_export import check_file, export_file


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = Parser(
        prog='basicsr export',
        description='Write an HMACA as an ONNX file, and check that onnxruntime computes what '
        'PyTorch does.',
        epilog='Exported are HMACA, and Unfolded around HMACA or HMANet, but not with '
        'cross_attention global, nor networks that enlarge.',
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
        help='file to write, or to check; replaced if it exists',
    )
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument(
        '--size', type=int, nargs=2, metavar=('H', 'W'), help='images of this height and width'
    )
    size.add_argument('--dynamic', action='store_true', help='images of any size above one window')
    size.add_argument(
        '--check',
        action='store_true',
        help='write nothing; check that FILE.onnx computes what the checkpoint does',
    )
    parser.add_argument(
        '--uint8',
        action='store_true',
        help='images (n, h, w, c) and masks (n, h, w) of 8 bits, instead of (n, c, h, w) and '
        '(n, 1, h, w) in [0, 1]',
    )
    parser.add_argument(
        '--fp16',
        action='store_true',
        help='weights and arithmetic in float16: half the size; inputs and outputs as without',
    )
    return parser


def main(argv: list[str]) -> None:
    """Export or check, and report; errors as in `export_file` and `check_file`."""
    args = parser().parse_args(argv)
    if args.check and (args.uint8 or args.fp16):
        raise ValueError('--check takes neither --uint8 nor --fp16: the file itself says so')
    if args.check:
        check_file(args.weights, args.output)
    else:
        size = tuple(args.size) if args.size else None
        export_file(args.weights, args.output, size, Form(args.uint8, args.fp16))
