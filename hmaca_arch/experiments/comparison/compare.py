"""Run and measure the methods, and write tables, figures of each image and a contact sheet."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import basicsr
import cv2
import numpy as np
import scipy
import skimage
import torch
from basicsr.utils import tensor2img

from hmaca_arch.devices import choose_device
from hmaca_arch.experiments.bootstrap import Estimate
from hmaca_arch.experiments.comparison.data import Data, find_data
from hmaca_arch.experiments.comparison.measure import (
    MethodFigures,
    clean_processes,
    measure_in_process,
)
from hmaca_arch.experiments.comparison.methods import INPUT, Contender, classical_methods, network
from hmaca_arch.experiments.comparison.sheet import comparison_sheet
from hmaca_arch.experiments.comparison.tables import Comparison
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.images import encode_png
from hmaca_arch.files.locks import only_here
from hmaca_arch.files.outputs import output_folder
from hmaca_arch.messages import printable, say

FILES = ('table.md', 'pictures.csv', 'results.json', 'sheet.png')
LEAST = {'count': 1, 'resamples': 1, 'seed': 0, 'sheet': 0, 'threads': 1, 'block': 1}
PARAMETER = {'pix': 'block', 'blur': 'sigma', 'noise': 'sigma'}  # of --degradation


def check_arguments(args: argparse.Namespace) -> None:
    """Raise a ValueError for numbers that cannot work, before anything is computed."""
    for name, least in LEAST.items():
        value = getattr(args, name)
        if value is not None and value < least:
            raise ValueError(f'--{name} is {value}, expected at least {least}')
    if not 0 < args.confidence < 1:
        raise ValueError(
            f'--confidence is {args.confidence}, expected a number between 0 and 1, '
            '0.95 for example'
        )
    needed = PARAMETER.get(args.degradation)
    for name, kinds in (('block', 'pix'), ('sigma', 'blur or noise')):
        given = getattr(args, name) is not None
        if given and name != needed:
            raise ValueError(f'--{name} goes with --degradation {kinds}')
        if not given and name == needed:
            raise ValueError(f'--{name} is missing: it goes with --degradation {kinds}')
    if args.sigma is not None and not 0 < args.sigma < float('inf'):
        raise ValueError(f'--sigma is {args.sigma}, expected a number above 0')


def chosen_methods(args: argparse.Namespace, degradations: set[str | None]) -> list[Contender]:
    """Return the methods of the command line, the unrestored input first.

    Raises:
        FileNotFoundError, ValueError: a method cannot be used, or two have one label.
    """
    methods = [INPUT, *map(network, args.networks)]
    methods += classical_methods(args.classical, degradations)
    labels = [method.label for method in methods]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(
                f'two methods are called {label!r}; give one of them another label, LABEL=FILE'
            )
    if args.against and args.against not in labels:
        raise ValueError(
            f'--against {args.against!r}: there is no such row; rows: {", ".join(labels)}'
        )
    return methods


def chosen_images(first: MethodFigures, count: int) -> tuple[str, ...]:
    """Choose images for the sheet, evenly from the hardest to the easiest.

    Args:
        first: of the unrestored input; its masked PSNR says how hard an image is.
        count: how many to choose.
    """
    values = first.values['masked_psnr']
    order = np.argsort(values, kind='stable')
    order = order[np.isfinite(values[order])]
    if not len(order) or not count:
        return ()
    places = np.linspace(0, len(order) - 1, min(count, len(order)) * 2 + 1)[1::2]
    return tuple(dict.fromkeys(first.names[order[round(place)]] for place in places))


def sheet_of(data: Data, comparison: Comparison, names: tuple[str, ...]) -> np.ndarray:
    """Return the contact sheet of some images, (height, width, 3) BGR uint8."""
    dataset = data.dataset()
    items = {name: dataset[dataset.names.index(name)] for name in names}
    inputs = {name: tensor2img([item['lq']]) for name, item in items.items()}
    versions = [(INPUT.label, inputs)]
    versions += [(result.label, result.images) for result in comparison.results[1:]]
    truth = {name: tensor2img([item['gt']]) for name, item in items.items()}
    masks = {name: item['mask'][0].numpy() for name, item in items.items()}
    return comparison_sheet(versions, truth, masks)


def in_json(estimate: Estimate) -> dict[str, float | None]:
    """Return an estimate's fields; None for what is not finite, which JSON does not have."""
    return {key: value if np.isfinite(value) else None for key, value in asdict(estimate).items()}


def record_of(
    args: argparse.Namespace, data: Data, device: str, comparison: Comparison, command: str
) -> dict[str, Any]:
    """Return everything that the tables show, and how it was made, for results.json."""
    packages = (torch, cv2, scipy, skimage, basicsr)
    rows = []
    for row, result in enumerate(comparison.results):
        estimates = {key: in_json(column[row]) for key, column in comparison.estimates.items()}
        differences = {key: in_json(column[row]) for key, column in comparison.differences.items()}
        known = result.memory is not None and np.isfinite(result.memory)
        rows.append(
            {
                'method': result.label,
                'parameters': result.parameters,
                'multiply_accumulates': result.macs,
                'milliseconds': result.milliseconds,
                'mebibytes': result.memory if known else None,
                'metrics': estimates,
                'differences': differences,
            }
        )
    return {
        'command': command,
        'device': device,
        'threads': args.threads,
        'paste': data.paste,
        'versions': {package.__name__: package.__version__ for package in packages},
        'seed': args.seed,
        'resamples': args.resamples,
        'confidence': args.confidence,
        'against': comparison.against,
        'pictures': len(comparison.results[0].names),
        'used': comparison.used,
        'rows': rows,
    }


def compare(args: argparse.Namespace, command: str) -> None:
    """Compare methods and write the results.

    Args:
        args: as `commands.compare` parses them.
        command: the command line, printed above the tables.

    Raises:
        FileNotFoundError, ValueError: a user's mistake, in one line, before anything is written.
    """
    check_arguments(args)
    device = str(choose_device(args.device))
    output = Path(args.output)
    existing = [name for name in FILES if (output / name).exists()]
    if existing and not args.overwrite:
        raise ValueError(f'{output / existing[0]} exists; choose another --output, or --overwrite')
    degradation = None
    if args.degradation:
        degradation = {'type': args.degradation, 'block': args.block, 'sigma': args.sigma}
    data = find_data(
        args.data, count=args.count, soft=args.soft_mask, paste=args.paste, degradation=degradation
    )
    methods = chosen_methods(args, data.kinds(data.dataset().names))
    context = clean_processes()
    first = measure_in_process(context, methods[0], data, device, args.threads)
    output_folder(output)
    with only_here(output):
        keep = chosen_images(first, args.sheet)
        results = [first]
        for method in methods[1:]:
            results.append(measure_in_process(context, method, data, device, args.threads, keep))
        comparison = Comparison(results, args.against, args.resamples, args.confidence, args.seed)
        write(args, command, data, device, comparison, keep)


def write(
    args: argparse.Namespace,
    command: str,
    data: Data,
    device: str,
    comparison: Comparison,
    keep: tuple[str, ...],
) -> None:
    """Write the tables, what they were made from and the sheet, and print them."""
    output = Path(args.output)
    text = _summary(args, data, device, comparison, command)
    record = record_of(args, data, device, comparison, command)
    # Names of files need not be text.
    write_atomically(output / 'pictures.csv', comparison.csv().encode(errors='surrogateescape'))
    write_atomically(output / 'results.json', json.dumps(record, indent=1).encode())
    if keep:
        sheet = cv2.cvtColor(sheet_of(data, comparison, keep), cv2.COLOR_BGR2RGB)
        write_atomically(output / 'sheet.png', encode_png(sheet))
    else:
        (output / 'sheet.png').unlink(missing_ok=True)  # an earlier comparison's
    write_atomically(output / 'table.md', text.encode(errors='backslashreplace'))
    say(text)
    written = [printable(output / name) for name in FILES if (output / name).exists()]
    say(f'written: {", ".join(written)}')


def _summary(
    args: argparse.Namespace, data: Data, device: str, comparison: Comparison, command: str
) -> str:
    """Return the tables with what one needs to read them."""
    first = comparison.results[0]
    side = 'x'.join(map(str, first.side))
    if device.startswith('cuda'):
        where = torch.cuda.get_device_name(device)
    elif device == 'mps':
        where = 'an Apple GPU'
    else:
        where = f'CPU, {args.threads or torch.get_num_threads()} thread(s)'
    return (
        f'`{command}`\n\n'
        f'{len(first.names)} images, composite dB pastes {data.paste} outside the region; '
        f'seed {args.seed}, {args.resamples} resamples. ms: median of an image on {where}; '
        f'GMAC: of the first image ({side}); MiB: peak beyond the libraries.\n\n'
        f'{comparison.markdown()}'
    )
