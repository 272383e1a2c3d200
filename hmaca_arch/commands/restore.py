"""`basicsr restore`: restore the masked region of an image, or of folders of images."""

import argparse
from pathlib import Path
from typing import Any

from hmaca_arch import devices
from hmaca_arch.commands.importing import add_imports, import_modules
from hmaca_arch.commands.parsing import Parser
from hmaca_arch.degradation.kernel_files import read_degradation
from hmaca_arch.files.formats import FORMATS
from hmaca_arch.files.opening import MAX_PIXELS
from hmaca_arch.inference import CONTEXT, SHIPPED_WEIGHTS, TILE, load_restorer
from hmaca_arch.restoring.batching import check_settings
from hmaca_arch.restoring.mask_sources import MaskSource, parse_box
from hmaca_arch.restoring.planning import SAME, Request
from hmaca_arch.restoring.running import restore_files

DESCRIPTION = """Restore the masked region of images; every other pixel stays as it is, bit for bit.
White in a mask is restored. Without --weights the ones that ship with the package are used. Exit
status: 0 if everything was done, 1 if something was refused (it is listed, the rest is done), 130
after Ctrl-C."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = Parser(prog='basicsr restore', description=DESCRIPTION)
    _add_files(made.add_argument_group('files').add_argument)
    _add_masks(made.add_argument_group('masks').add_argument)
    _add_network(made.add_argument_group('network').add_argument)
    add_imports(made)
    return made


def _add_files(add: Any) -> None:
    add(
        '-i',
        '--input',
        type=Path,
        nargs='+',
        required=True,
        metavar='PATH',
        help='images, folders of images, or patterns as "photos/*.jpg"',
    )
    add(
        '-o',
        '--output',
        type=Path,
        required=True,
        metavar='PATH',
        help='a file, for one image, or a folder',
    )
    add('--recursive', action='store_true', help='go into subfolders and keep the tree')
    add('--format', choices=(*FORMATS, SAME), help='of the outputs in a folder (png)')
    add('--quality', type=int, metavar='N', help='of lossy formats, 1 to 100 (95)')
    add('--overwrite', action='store_true', help='replace outputs that exist')
    add(
        '--verify',
        action='store_true',
        help='read every written file with another library and compare it with the input',
    )
    add('--json', type=Path, metavar='FILE', help='write a report about every file')
    add(
        '--max-pixels',
        type=int,
        default=MAX_PIXELS,
        metavar='N',
        help='refuse larger images (268 million pixels)',
    )


def _add_masks(add: Any) -> None:
    add(
        '-m',
        '--mask',
        type=Path,
        metavar='PATH',
        help='a mask for all images; or a folder of masks named NAME.png or NAME_mask.png',
    )
    add('--mask-suffix', metavar='TEXT', help='masks are named NAME + TEXT')
    add(
        '--mask-from',
        default='gray',
        metavar='WHAT',
        help='alpha: what is transparent; color:#ff00ff: what has that colour; in the mask, or '
        'without --mask in the image itself',
    )
    add(
        '--box',
        action='append',
        default=[],
        metavar='X,Y,W,H',
        help='a rectangle instead of a mask, in pixels from the top left; may be repeated',
    )
    add('--invert-mask', action='store_true', help='black = restore')
    add(
        '--soft-mask',
        action='store_true',
        help='blend by gray values; otherwise what is above 127 of 255 is restored',
    )
    add('--grow', type=int, default=0, metavar='N', help='widen the mask by N pixels (0)')
    add(
        '--feather',
        type=int,
        default=0,
        metavar='N',
        help='pixels over which the restored region fades in, inside the mask (0)',
    )
    add('--copy-unmasked', action='store_true', help='copy images that have no mask')


def _add_network(add: Any) -> None:
    add(
        '--weights',
        type=Path,
        metavar='FILE',
        help='a checkpoint, net_g_*.pth; it says which network it is',
    )
    add(
        '-opt',
        '--opt',
        type=Path,
        metavar='FILE',
        help='option file of the training, for networks whose checkpoints do not say '
        '(SwinIR, HAT, DRCT)',
    )
    add(
        '--degradation',
        default='auto',
        metavar='WHAT',
        help='what was done to the region: auto (default; measured), pix:8:mean, '
        'pix:8:centre@3,5, blur:1.5, disc:3.5, disc:3:hard, box:5, kernel:FILE (a small grey '
        'image: what a point of light becomes), noise:15, each with +jpeg:75 if it was saved so; '
        'none; unknown',
    )
    add(
        '--ensemble',
        action='store_true',
        help='restore in eight orientations and take the mean: a little better, eight times slower',
    )
    add('--device', default='auto', metavar='NAME', help=devices.HELP)
    add('--precision', choices=('fp32', 'bf16'), default='fp32', help='bf16: mixed precision')
    add(
        '--context',
        type=int,
        default=CONTEXT,
        metavar='N',
        help=f'pixels around a region that the network sees ({CONTEXT})',
    )
    add(
        '--batch',
        type=int,
        metavar='N',
        help='most regions of equal size that are restored at once (8, on a CPU 1)',
    )
    add(
        '--tile',
        type=int,
        default=TILE,
        metavar='N',
        help=f'longest side that is restored at once; larger regions are tiled ({TILE})',
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command: 0 if all went well, 1 if something was refused.

    Raises:
        OSError, ValueError: a mistake that concerns everything; nothing was done.
    """
    args = parser().parse_args(argv)
    import_modules(args.modules)
    weights = args.weights or SHIPPED_WEIGHTS
    return restore_files(
        request_of(args),
        lambda: load_restorer(
            args.weights, args.device, args.precision, options_of(args.opt), args.ensemble
        ),
        facts={'weights': str(weights), 'precision': args.precision, 'ensemble': args.ensemble},
        read=[path for path in (weights, args.opt) if path],
    )


def request_of(args: argparse.Namespace) -> Request:
    """Check the arguments and return them as a request.

    Raises:
        ValueError: one of them cannot work.
    """
    degradation = args.degradation
    if degradation != 'auto':
        try:
            degradation = read_degradation(degradation)
        except ValueError as error:
            text = str(error)
            form = text.startswith('degradation: ')  # not a file
            raise ValueError(f'--{text}; or auto' if form else f'--degradation: {text}') from None
    if args.quality is not None and not 1 <= args.quality <= 100:
        raise ValueError(f'--quality: got {args.quality}; expected 1 to 100')
    boxes = [parse_box(text) for text in args.box]
    if boxes and (args.mask is not None or args.mask_from != 'gray'):
        raise ValueError('--box: a box is a mask of its own; leave out --mask and --mask-from')
    if not boxes and args.mask is None and args.mask_from == 'gray':
        raise ValueError('--mask: there is no mask; expected --mask, --mask-from or --box')
    numbers = {name: getattr(args, name) for name in ('context', 'feather', 'batch', 'tile')}
    check_settings(**numbers)
    if args.batch is None:
        del numbers['batch']  # what suits the device
    return Request(
        inputs=args.input,
        output=args.output,
        masks=MaskSource(args.mask_from, boxes, args.invert_mask, args.soft_mask, args.grow),
        mask=args.mask,
        mask_suffix=args.mask_suffix,
        format=args.format,
        quality=args.quality,
        recursive=args.recursive,
        copy_unmasked=args.copy_unmasked,
        overwrite=args.overwrite,
        verify=args.verify,
        report=args.json,
        max_pixels=args.max_pixels,
        degradation=degradation,
        settings={**numbers, 'soft_mask': args.soft_mask},
    )


def options_of(path: Path | None) -> dict | None:
    """Read the options that `load_restorer` takes from the option file of a training."""
    if path is None:
        return None
    from hmaca_arch.config.files import read_network  # late: it loads BasicSR

    return read_network(path)
