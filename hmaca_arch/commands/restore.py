"""`basicsr restore`: a picture and a mask in, the picture with its region restored out; or folders
of them.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from hmaca_arch import devices
from hmaca_arch.degradation import Degradation
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.image_files import (
    LOSSY,
    check_output,
    largest_change,
    read_picture,
    verify,
    write_picture,
)
from hmaca_arch.files.images import list_pictures, read_file
from hmaca_arch.files.masks import Doubt, read_mask
from hmaca_arch.files.outputs import output_folder
from hmaca_arch.inference import SHIPPED_WEIGHTS, TILE, Restorer, check_settings, load_restorer
from hmaca_arch.messages import one_line, printable, say
from hmaca_arch.restoring.measuring.jpeg import quality_of_file

DESCRIPTION = """Restore the masked region of a picture, or of every picture of a folder; every other pixel stays as it is, bit for bit.
Masks: white = restore. Without --weights the ones that ship with the package are used. Exit status: 0 if everything was done, 1 if
something was not (it is listed, the rest is done), 130 after Ctrl-C."""


class Job(NamedTuple):
    """mask: None where a folder of masks has none of that name."""

    picture: Path
    mask: Path | None
    output: Path


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='basicsr restore', description=DESCRIPTION)
    add = parser.add_argument
    add('-i', '--input', type=Path, required=True, help='a picture, or a folder of pictures')
    add(
        '-m',
        '--mask',
        type=Path,
        required=True,
        help='a mask, for all pictures; or a folder of masks of the same names (endings may differ)',
    )
    add(
        '-o',
        '--output',
        type=Path,
        required=True,
        help='a file (.png, .tif, .webp; .jpg loses the guarantee), or a folder, for NAME.png',
    )
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
        help='option file of the training, for networks whose checkpoints do not say (SwinIR, HAT, DRCT)',
    )
    add(
        '--degradation',
        default='auto',
        metavar='WHAT',
        help='what was done to the region: auto (default; measured), pix:8:mean, pix:8:centre@3,5, blur:1.5, noise:15, each with +jpeg:75 '
        'if it was saved so; none; unknown',
    )
    add('--device', default='auto', metavar='NAME', help=devices.HELP)
    add('--precision', choices=('fp32', 'bf16'), default='fp32', help='bf16: mixed precision')
    add(
        '--context',
        type=int,
        default=32,
        metavar='N',
        help='pixels around a region that the network sees (32)',
    )
    add(
        '--feather',
        type=int,
        default=0,
        metavar='N',
        help='pixels over which the restored region fades in, inside the mask (0)',
    )
    add(
        '--batch',
        type=int,
        default=8,
        metavar='N',
        help='most regions of equal size that are restored at once (8)',
    )
    add(
        '--tile',
        type=int,
        default=TILE,
        metavar='N',
        help=f'longest side that is restored at once; larger regions are tiled ({TILE})',
    )
    add('--invert-mask', action='store_true', help='black = restore')
    add(
        '--soft-mask',
        action='store_true',
        help='blend by gray values; otherwise what is above 127 of 255 is restored',
    )
    add(
        '--verify',
        action='store_true',
        help='read every written file back and compare it with the input',
    )
    add('--overwrite', action='store_true', help='replace outputs that exist')
    add(
        '--json',
        type=Path,
        metavar='FILE',
        help='write a report: file, regions, seconds, largest change outside',
    )
    return parser.parse_args(argv)


def plan(args: argparse.Namespace) -> list[Job]:
    """Which pictures, with which masks, to which files.

    Raises:
        FileNotFoundError, ValueError: the input or the mask does not exist, or the output does not
            fit them.
    """
    for name in ('input', 'mask'):
        if not getattr(args, name).exists():
            raise FileNotFoundError(f'--{name}: {getattr(args, name).absolute()} does not exist')
    masks = list_pictures(args.mask) if args.mask.is_dir() else None

    def mask_of(stem: str) -> Path | None:
        return args.mask if masks is None else Path(masks[stem]) if stem in masks else None

    if args.input.is_dir():
        if args.output.exists() and not args.output.is_dir():
            raise ValueError(
                f'--output: {args.output} is a file; for a folder of pictures it has to be a folder'
            )
        jobs = [
            Job(Path(path), mask_of(stem), args.output / f'{stem}.png')
            for stem, path in list_pictures(args.input).items()
        ]
    else:
        output = (
            args.output / f'{args.input.stem}.png'
            if args.output.is_dir() or not args.output.suffix
            else args.output
        )
        check_output(output)
        jobs = [Job(args.input, mask_of(args.input.stem), output)]
    for job in jobs:
        if job.mask is not None and job.output.resolve() == job.mask.resolve():
            raise ValueError(f'--output: {job.output} is the mask; expected another file')
    return jobs


def restore_file(job: Job, restorer: Restorer, args: argparse.Namespace) -> dict:
    """Restore and write one picture; returns its entry of the report.

    Raises:
        OSError, ValueError: it was not done. Nothing was written, unless it was written and could
            not be verified.
    """
    if job.mask is None:
        raise ValueError(f'no mask: {args.mask} has no picture named {job.picture.stem}')
    if job.output.exists() and not args.overwrite:
        raise ValueError(f'{job.output} exists; --overwrite replaces it')
    picture = read_picture(job.picture)
    check_output(job.output, picture.pixels)
    mask, doubts = read_mask(read_file(job.mask), args.soft_mask, str(job.mask))
    if mask.shape != picture.pixels.shape[:2]:
        turned = ', once its EXIF orientation is applied,' if picture.turned else ''
        sizes = [f'{shape[1]}x{shape[0]}' for shape in (mask.shape, picture.pixels.shape)]
        raise ValueError(
            f'the mask {job.mask} has {sizes[0]} pixels, the picture{turned} {sizes[1]}; expected equal sizes'
        )
    if args.invert_mask:
        mask = 1 - mask
        doubts = [note for note in doubts if note.doubt is not Doubt.MOSTLY_WHITE]
    output_folder(job.output.parent)
    start = time.perf_counter()
    done = restorer.run(
        picture.pixels,
        mask if args.soft_mask else mask.astype(bool),
        args.degradation,
        context=args.context,
        feather=args.feather,
        soft_mask=args.soft_mask,
        batch=args.batch,
        tile=args.tile,
        jpeg=quality_of_file(read_file(job.picture)),
    )
    seconds = time.perf_counter() - start
    notes = [*picture.notes, *(note.text for note in doubts), *done.notes]
    if job.output.suffix.lower() in LOSSY:
        notes.append(
            f'{job.output.name} is stored with loss: pixels outside the mask change as well'
        )
    write_picture(job.output, picture._replace(pixels=done.image))
    change = largest_change(picture.pixels, done.image, mask)
    if args.verify:
        change = verify(job.output, picture, done.image, mask)
    return {
        'output': str(job.output),
        'regions': len(done.regions),
        'boxes': [list(region.box) for region in done.regions],
        'seconds': round(seconds, 3),
        'max_change_outside': change,
        'verified': args.verify,
        'notes': notes,
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command: 0 if all was done, 1 if something was not.

    Raises:
        OSError, ValueError: a mistake that concerns everything; nothing was done.
    """
    args = arguments(argv)
    check_settings(args.context, args.feather, args.batch, args.tile)
    if args.degradation != 'auto':
        try:
            Degradation.parse(args.degradation)
        except ValueError as error:
            raise ValueError(f'--{error}; or auto') from None
    jobs = plan(args)
    if args.json:
        check_report(args, jobs)
    restorer = load_restorer(args.weights, args.device, args.precision, options_of(args.opt))
    report: list[dict] = []
    try:
        with tqdm(jobs, unit='picture', disable=True if len(jobs) == 1 else None) as bar:
            for job in bar:
                entry = {'file': str(job.picture), 'mask': job.mask and str(job.mask)}
                try:
                    entry |= restore_file(job, restorer, args)
                except (
                    OSError,
                    ValueError,
                    RuntimeError,
                    MemoryError,
                ) as error:  # RuntimeError: torch's, of memory too
                    entry['error'] = one_line(error)[:500]
                shown = printable(job.picture)
                for note in entry.get('notes', []):
                    tell(f'warning: {shown}: {note}')
                if 'error' in entry:
                    tell(f'error: {shown}: {entry["error"].removeprefix(f"{shown}: ")}')
                report.append(entry)
    finally:
        if args.json:
            text = json.dumps(report_of(args, restorer, report, len(jobs)), indent=1) + '\n'
            write_atomically(args.json, text.encode())
    failed = sum('error' in entry for entry in report)
    for entry in report if len(jobs) == 1 and not failed else []:
        verified = ', verified' if args.verify else ''
        say(
            f'{printable(entry["output"])}: {counted(entry["regions"], "region")}, {entry["seconds"]:.1f} s{verified}'
        )
    if len(jobs) > 1:
        say(
            f'{len(jobs) - failed} of {len(jobs)} pictures restored into {printable(args.output)}{" and verified" if args.verify else ""}'
        )
    return 1 if failed else 0


def options_of(path: Path | None) -> dict | None:
    """The options that `load_restorer` takes, from the option file of a training."""
    if path is None:
        return None
    from hmaca_arch.config.files import read_network  # late: it loads BasicSR

    return read_network(path)


def check_report(args: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Raise an OSError or ValueError unless the report can be written, and over nothing that is
    read or written otherwise.
    """
    path = args.json
    others = {
        args.weights or SHIPPED_WEIGHTS,
        args.opt,
        *(file for job in jobs for file in job),
    } - {None}
    if path.resolve() in {Path(file).resolve() for file in others}:
        raise ValueError(
            f'--json: {path} is a picture, mask, output or checkpoint of this command; expected a file of its own'
        )
    if path.is_dir():
        raise ValueError(f'--json: {path} is a folder; expected a file, as report.json')
    if path.exists() and not args.overwrite:
        raise ValueError(f'--json: {path} exists; --overwrite replaces it')
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f'--json: the folder {path.absolute().parent} does not exist')
    output_folder(path.absolute().parent, '--json')


def report_of(
    args: argparse.Namespace, restorer: Restorer, entries: list[dict], asked: int
) -> dict:
    """The report's content."""
    return {
        'weights': str(args.weights or SHIPPED_WEIGHTS),
        'network': type(restorer.network).__name__,
        'device': str(restorer.device),
        'precision': args.precision,
        'context': args.context,
        'feather': args.feather,
        'degradation': args.degradation,
        'asked': asked,
        'restored': sum('error' not in entry for entry in entries),
        'pictures': entries,
    }


def tell(line: str) -> None:
    """A line on stderr, above the progress bar."""
    with tqdm.external_write_mode(sys.stderr):
        say(f'basicsr restore: {printable(line)}', sys.stderr)


def counted(number: int, what: str) -> str:
    return f'{number} {what}{"" if number == 1 else "s"}'
