"""What is to become of a file of the corpus in everything that reads files, each time in a process
of its own.

make-dataset (both protocols, every degradation), make-lmdb, the two data sets and restore either do
it right or refuse the file in a message that names it. Wrong is a crash, an exception that is no
user's error, a message without the name, a file that is left of what was refused, pixels that
differ from what the file holds (outside of the mask: at all), too much time or too much memory.
"""

import contextlib
import io
import multiprocessing
import os
import resource
import tempfile
import traceback
from pathlib import Path

import cv2
import lmdb
import numpy as np
import torch
from corpus import HEIGHT, SIDE, WIDTH, Entry, box_mask, smooth
from picture_writers import pillow_reads, saved

from datasets_ext import release_degradations
from datasets_ext.make_lmdb import _key
from datasets_ext.masked_degradation_dataset import MaskedDegradationDataset
from datasets_ext.masked_paired_image_dataset import MaskedPairedImageDataset
from hmaca_arch import cli
from hmaca_arch.files.reading import list_images

SECONDS = 60  # for one file and one of the commands
MEGABYTES = 4000  # beyond what the process had before
WAYS = [
    (protocol, degradation)
    for protocol in ('clean', 'release')
    for degradation in ('pix', 'blur', 'noise')
]


class Wrong(Exception):
    """What must not be."""


class Refused(Exception):
    """The message of a refusal."""


def need(condition: bool, what: str) -> None:
    if not condition:
        raise Wrong(what)


def flat(text: str) -> str:
    return ' '.join(text.split())


def held(entry: Entry) -> np.ndarray:
    """The entry's pixels, (h, w, c), as another reader sees them."""
    return pillow_reads(entry.content) if entry.pixels is None else entry.pixels


def size_of(entry: Entry) -> tuple[int, int]:
    """Height and width, for the mask that goes with it; of what another reader cannot read: those
    of the others.
    """
    if entry.large:
        return SIDE, SIDE
    with contextlib.suppress(Exception):
        return held(entry).shape[:2]
    return HEIGHT, WIDTH


def colours(entry: Entry) -> np.ndarray:
    """(h, w, 3)"""
    pixels = held(entry)
    pixels = pixels if pixels.shape[2] in (1, 3) else pixels[..., :-1]
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def eight(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels / 257).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def region(entry: Entry) -> np.ndarray:
    """(h, w) bool: a mask entry's region. A mask of 0 and 1 is what restoring takes for black and
    white, and says so.
    """
    values = held(entry)[..., 0]
    return values > (0 if values.max() == 1 else np.iinfo(values.dtype).max // 2)


def command(name: str, *arguments) -> None:
    """Run `basicsr NAME ...` in this process: its refusal becomes a `Refused`."""
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            cli.main([name, *map(str, arguments)])
        except SystemExit as end:
            code = end.code
    if code:
        raise Refused(errors.getvalue())


def through_make_dataset(entry: Entry, folder: Path) -> None:
    """Both protocols and every degradation: side 40, which is the height of the corpus' pictures,
    is cut out and not resized.
    """
    small = not entry.large and entry.pixels is not None and min(entry.pixels.shape[:2]) < HEIGHT
    for number, (protocol, degradation) in enumerate(WAYS):
        out = folder / f'out{number}'
        size = HEIGHT if protocol == 'clean' else HEIGHT // 2
        try:
            options = (
                '--protocol',
                protocol,
                '--degradation',
                degradation,
                '--size',
                size,
                '--workers',
                1,
            )
            command('make-dataset', folder / 'in', '-o', out, *options)
        except Refused as refusal:
            need(
                not [path for kind in ('lq', 'mask', 'gt') for path in (out / kind).glob('*')],
                'refused, but pictures were made',
            )
            need(number == 0, f'refused under {protocol} {degradation} only: {refusal}')
            if small:
                raise Refused(str(refusal)) from None
            raise
        need(not small, 'made of a picture that is too small')
        if entry.large:
            continue
        lq, mask, gt = (
            cv2.imdecode(np.fromfile(next((out / kind).iterdir()), np.uint8), cv2.IMREAD_UNCHANGED)
            for kind in ('lq', 'mask', 'gt')
        )
        picture = eight(colours(entry))
        side = min(picture.shape[:2])
        top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
        cut = np.ascontiguousarray(picture[top : top + side, left : left + side])
        if side != HEIGHT:
            cut = cv2.resize(cut, (HEIGHT, HEIGHT), interpolation=cv2.INTER_AREA)
        expected = (
            cut if protocol == 'clean' else release_degradations.release_resize(cut, size, size)
        )
        need(
            np.array_equal(gt[..., ::-1], expected),
            f'{protocol} {degradation}: gt is not the picture',
        )
        need(set(np.unique(mask)) <= {0, 255} and mask.any(), 'the mask is not black and white')
        need(
            protocol == 'release' or np.array_equal(lq[mask == 0], gt[mask == 0]),
            'lq differs from gt outside the mask',
        )


def through_make_lmdb(entry: Entry, folder: Path) -> None:
    try:
        command('make-lmdb', folder / 'in', '-o', folder / 'out.lmdb', '--workers', 1)
    except Refused:
        need(not (folder / 'out.lmdb').exists(), 'refused, but an LMDB was made')
        raise
    environment = lmdb.open(str(folder / 'out.lmdb'), readonly=True, lock=False)
    with environment.begin() as transaction:
        ((_, value),) = transaction.cursor()
    environment.close()
    if entry.large:
        return
    found = cv2.imdecode(
        np.frombuffer(value, np.uint8), cv2.IMREAD_UNCHANGED
    )  # as BasicSR reads it
    found = found[..., None] if found.ndim == 2 else found[..., ::-1]
    need(found.dtype == colours(entry).dtype, f'{found.dtype} in the LMDB')
    need(
        np.array_equal(np.broadcast_to(found, colours(entry).shape), colours(entry)),
        'the LMDB holds other pixels',
    )


def item_of(kind: type, **options) -> dict:
    options = {
        key: str(value) if isinstance(value, Path) else value for key, value in options.items()
    }
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return kind(
                {
                    'name': 'soak',
                    'type': kind.__name__,
                    'phase': 'val',
                    'io_backend': {'type': 'disk'},
                    **options,
                }
            )[0]
    except (ValueError, OSError) as error:
        raise Refused(str(error)) from None


def same(tensor: torch.Tensor, pixels: np.ndarray) -> bool:
    """Whether (c, h, w) in [0, 1] is (h, w, c) of integers."""
    return np.array_equal(
        tensor.numpy().transpose(1, 2, 0),
        pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max),
    )


def through_paired(entry: Entry, folder: Path) -> None:
    other = folder / 'other'
    other.mkdir()
    if entry.role == 'picture':
        (other / 'mask.png').write_bytes(saved(box_mask(*size_of(entry))))
        item = item_of(
            MaskedPairedImageDataset,
            dataroot_lq=folder / 'in',
            dataroot_gt=folder / 'in',
            dataroot_mask=other / 'mask.png',
        )
        need(
            entry.large
            or (same(item['gt'], colours(entry)) and torch.equal(item['lq'], item['gt'])),
            'gt or lq is not the picture',
        )
    else:
        stem = next(iter(list_images(folder / 'in')))
        (other / f'{stem}.png').write_bytes(saved(smooth(np.random.default_rng(0))))
        item = item_of(
            MaskedPairedImageDataset,
            dataroot_lq=other,
            dataroot_gt=other,
            dataroot_mask=folder / 'in',
        )
        need(
            np.array_equal(item['mask'].numpy()[0] == 1, region(entry)),
            "the mask is not the file's",
        )


def through_degradation(entry: Entry, folder: Path) -> None:
    options = {
        'degradation': ['pix', 'blur', 'noise'],
        'degradation_count': 3,
        'region': 'several',
        'region_size': 6,
    }
    item = item_of(MaskedDegradationDataset, dataroot_gt=folder / 'in', **options)
    need(entry.large or same(item['gt'], eight(colours(entry))), 'gt is not the picture')
    outside = (item['mask'] == 0).expand_as(item['gt'])
    need(
        torch.equal(item['lq'][outside], item['gt'][outside]), 'lq differs from gt outside the mask'
    )


def through_restore(entry: Entry, folder: Path) -> None:
    other, out = folder / 'other', folder / 'out'
    other.mkdir()
    path = folder / 'in' / entry.name
    output = out if path.is_dir() else out / 'restored.png'  # a folder is many images
    if entry.role == 'picture':
        mask = box_mask(*size_of(entry))
        if mask.all():  # of a picture of one row or column: a part, or all of a tiny one
            mask[64:, :], mask[:, 64:] = 0, 0
        (other / 'a.png').write_bytes(saved(mask))
        picture, mask_path, inside = path, other / 'a.png', mask[..., 0] > 0
    else:
        (other / 'a.png').write_bytes(saved(smooth(np.random.default_rng(0))))
        picture, mask_path, inside = other / 'a.png', path, None
    try:
        command(
            'restore',
            f'--input={picture}',
            f'--mask={mask_path}',
            '-o',
            output,
            '--context',
            4,
            '--degradation',
            'pix:4:mean',  # of what it finds sound itself, it restores nothing
            '--verify',
        )
    except Refused:
        need(not out.exists() or not list(out.iterdir()), 'refused, but a file was written')
        raise
    if entry.large or entry.converted:
        return
    before = held(entry) if entry.role == 'picture' else smooth(np.random.default_rng(0))
    inside = region(entry) if inside is None else inside
    after = cv2.imread(str(output), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    after = (
        after[..., None]
        if after.ndim == 2
        else cv2.cvtColor(after, cv2.COLOR_BGRA2RGBA)
        if after.shape[2] == 4
        else after[..., ::-1]
    )
    if entry.pixels is None and after.shape[2] == 1:
        after = np.repeat(after, 3, axis=2)
    if after.shape[2] == 4 and before.shape[2] in (
        2,
        3,
    ):  # gray and alpha, which OpenCV reads as RGBA; or an alpha of 255
        after = after[..., [0, 3]] if before.shape[2] == 2 else after[..., :3]
    if before.shape[2] == 4 and after.shape[2] == 3:  # WebP drops an alpha of 255
        before = before[..., :3]
    need(
        after.shape == before.shape and after.dtype == before.dtype,
        f'{after.shape} {after.dtype} was written',
    )
    need(np.array_equal(after[~inside], before[~inside]), 'pixels outside the mask changed')
    need(
        after.shape[2] == 2
        or not inside.any()
        or inside.sum() < 100
        or (after[inside] != before[inside]).any(),
        'nothing was restored',
    )


CONSUMERS = {
    'make-dataset': through_make_dataset, 'make-lmdb': through_make_lmdb, 'paired': through_paired,
    'degradation': through_degradation, 'restore': through_restore,
}  # fmt: skip


def fate_of(entry: Entry, consumer: str) -> str:
    """What is to become of an entry: `opens`, `refused` or `either`."""
    if entry.converted and consumer == 'restore':
        return 'either'
    if entry.fate == 'refused' or (entry.transparent and consumer != 'restore'):
        return 'refused'
    if (
        consumer == 'make-dataset'
        and not entry.large
        and entry.pixels is not None
        and min(entry.pixels.shape[:2]) < HEIGHT
    ):
        return 'refused'
    if entry.large and consumer in ('paired', 'degradation'):
        return 'refused'
    if consumer == 'make-lmdb':
        try:
            _key(os.path.splitext(entry.name)[0], entry.name)
        except ValueError:
            return 'refused'
    return entry.fate


def names_file(message: str, name: str) -> bool:
    shown = (
        name,
        ascii(name)[1:-1],
        repr(name)[1:-1],
        name.encode('utf-8', 'backslashreplace').decode(),
    )
    return any(flat(form) in flat(message) for form in shown)


def judged(entry: Entry, consumer: str, folder: Path) -> tuple[str, str]:
    """`accepted`, `refused` or `WRONG`, and why. The folder is empty."""
    (folder / 'in').mkdir()
    entry.write(folder / 'in')
    fate = fate_of(entry, consumer)
    try:
        CONSUMERS[consumer](entry, folder)
    except Refused as refusal:
        message = str(refusal)
        if fate == 'opens':
            return 'WRONG', f'refused, though it is whole: {flat(message)}'
        if not names_file(message, entry.name):
            return 'WRONG', f'the message does not name the file: {flat(message)}'
        return 'refused', flat(message)
    except Wrong as wrong:
        return 'WRONG', str(wrong)
    except BaseException as error:
        return 'WRONG', f'{type(error).__name__}: {flat(traceback.format_exc()[-600:])}'
    return ('WRONG', 'accepted, though it must not be') if fate == 'refused' else ('accepted', '')


def memory() -> int:
    """Peak of this process and of those that it started, in megabytes."""
    return (
        max(
            resource.getrusage(who).ru_maxrss
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        // 1024
    )


def in_process(entry: Entry, consumer: str, seconds: float = SECONDS) -> tuple[str, str, int]:
    """`judged` in a process of its own; and its peak of megabytes."""

    def work(pipe) -> None:
        os.setsid()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)  # what libtiff and OpenCV have to say
        try:
            with tempfile.TemporaryDirectory() as folder:
                pipe.send((*judged(entry, consumer, Path(folder)), memory()))
        finally:
            pipe.close()

    context = multiprocessing.get_context('fork')
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(theirs,))
    process.start()
    theirs.close()
    try:
        verdict, why, peak = (
            ours.recv()
            if ours.poll(seconds)
            else ('WRONG', f'it hung: not done in {seconds} seconds', 0)
        )
    except EOFError:
        process.join()
        verdict, why, peak = 'WRONG', f'the process died: exit status {process.exitcode}', 0
    with contextlib.suppress(ProcessLookupError):
        if process.is_alive() and not ours.poll(1):
            process.join(2)
            if process.is_alive():
                os.killpg(process.pid, 9)
    process.join()
    ours.close()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return (
        ('WRONG', f'{peak} MB of memory', peak)
        if peak > MEGABYTES + before
        else (verdict, why, peak)
    )
