"""`basicsr compare`: runs the methods, and writes tables, figures of every image and a contact
sheet.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

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
from hmaca_arch.experiments.comparison.measure import Result, clean_processes, in_process
from hmaca_arch.experiments.comparison.methods import INPUT, Method, classical_methods, network
from hmaca_arch.experiments.comparison.sheet import comparison_sheet
from hmaca_arch.experiments.comparison.tables import Comparison
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.images import encode_png
from hmaca_arch.files.locks import only_here
from hmaca_arch.files.outputs import output_folder
from hmaca_arch.messages import printable, say

FILES = ('table.md', 'pictures.csv', 'results.json', 'sheet.png')


def check(args: argparse.Namespace) -> None:
    """Raise a ValueError for numbers that make no sense, before anything is computed."""
    for name, least in (
        ('count', 1),
        ('resamples', 1),
        ('seed', 0),
        ('sheet', 0),
        ('threads', 1),
        ('block', 1),
    ):
        value = getattr(args, name)
        if value is not None and value < least:
            raise ValueError(f'--{name} is {value}, expected at least {least}')
    if not 0 < args.confidence < 1:
        raise ValueError(
            f'--confidence is {args.confidence}, expected a number between 0 and 1, 0.95 for example'
        )
    needed = {'pix': 'block', 'blur': 'sigma', 'noise': 'sigma', None: None}[args.degradation]
    for name in ('block', 'sigma'):
        if (getattr(args, name) is not None) != (name == needed):
            raise ValueError(f'--{name} {"is missing: it goes" if name == needed else "goes"} with --degradation '
                             f'{"pix" if name == "block" else "blur or noise"}')  # fmt: skip
    if args.sigma is not None and not 0 < args.sigma < float('inf'):
        raise ValueError(f'--sigma is {args.sigma}, expected a number above 0')


def chosen_methods(args: argparse.Namespace, degradations: set[str | None]) -> list[Method]:
    """The rows, the input first.

    Raises:
        FileNotFoundError, ValueError: a method cannot be had, or two have one label.
    """
    methods = [
        INPUT,
        *(network(text) for text in args.networks),
        *classical_methods(args.classical, degradations),
    ]
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


def chosen_pictures(first: Result, count: int) -> tuple[str, ...]:
    """For the sheet: evenly from the hardest to the easiest, by how far the input is from the
    ground truth inside the region.
    """
    values = first.values['masked_psnr']
    order = [
        first.names[index]
        for index in np.argsort(values, kind='stable')
        if np.isfinite(values[index])
    ]
    places = (
        np.linspace(0, len(order) - 1, min(count, len(order)) * 2 + 1)[1::2]
        if order and count
        else []
    )
    return tuple(dict.fromkeys(order[round(place)] for place in places))


def sheet_of(data: Data, comparison: Comparison, names: tuple[str, ...]) -> np.ndarray:
    """The contact sheet of some pictures."""
    dataset = data.dataset()
    items = {name: dataset[dataset.names.index(name)] for name in names}
    truth = {name: tensor2img([item['gt']]) for name, item in items.items()}
    masks = {name: item['mask'][0].numpy() for name, item in items.items()}
    inputs = {name: tensor2img([item['lq']]) for name, item in items.items()}
    return comparison_sheet(
        [
            (INPUT.label, inputs),
            *((result.label, result.pictures) for result in comparison.results[1:]),
        ],
        truth,
        masks,
    )


def in_json(estimate: Estimate) -> dict[str, float | None]:
    """Its fields; None for what is not finite, which JSON does not have."""
    return {key: value if np.isfinite(value) else None for key, value in asdict(estimate).items()}


def record(
    args: argparse.Namespace, data: Data, device: str, comparison: Comparison, command: str
) -> dict:
    """Everything that the tables show, and how they were made."""
    versions = {
        package.__name__: package.__version__ for package in (torch, cv2, scipy, skimage, basicsr)
    }
    rows = [
        {
            'method': result.label,
            'parameters': result.parameters,
            'multiply_accumulates': result.macs,
            'milliseconds': result.milliseconds,
            'mebibytes': None
            if result.memory is None or np.isnan(result.memory)
            else result.memory,
            'metrics': {
                metric: in_json(comparison.estimates[metric][row]) for metric in comparison.metrics
            },
            'differences': {
                metric: in_json(comparison.differences[metric][row])
                for metric in comparison.metrics
            },
        }
        for row, result in enumerate(comparison.results)
    ]
    settings = {
        'seed': args.seed,
        'resamples': args.resamples,
        'confidence': args.confidence,
        'against': comparison.against,
    }
    counted = {'pictures': len(comparison.results[0].names), 'used': comparison.used}
    made = {
        'command': command,
        'device': device,
        'threads': args.threads,
        'paste': data.paste,
        'versions': versions,
    }
    return {**made, **settings, **counted, 'rows': rows}


def compare(args: argparse.Namespace, command: str) -> None:
    """Compare and write.

    Args:
        args: as `commands.compare` parses them.
        command: the command line, for whoever reads the tables.

    Raises:
        FileNotFoundError, ValueError: a user's mistake, in one line, before anything is written.
    """
    check(args)
    device = str(choose_device(args.device))
    output = Path(args.output)
    there = [name for name in FILES if (output / name).exists()]
    if there and not args.overwrite:
        raise ValueError(f'{output / there[0]} exists; choose another --output, or --overwrite')
    told = (
        {'type': args.degradation, 'block': args.block, 'sigma': args.sigma}
        if args.degradation
        else None
    )
    data = find_data(args.data, count=args.count, soft=args.soft_mask, paste=args.paste, told=told)
    methods = chosen_methods(args, data.degradations(data.dataset().names))
    context = clean_processes()
    first = in_process(context, methods[0], data, device, args.threads)
    output_folder(output)
    with only_here(output):
        shown = chosen_pictures(first, args.sheet)
        others = (
            in_process(context, method, data, device, args.threads, shown) for method in methods[1:]
        )
        comparison = Comparison(
            [first, *others], args.against, args.resamples, args.confidence, args.seed
        )
        write(args, command, data, device, comparison, shown)


def write(
    args: argparse.Namespace,
    command: str,
    data: Data,
    device: str,
    comparison: Comparison,
    shown: tuple[str, ...],
) -> None:
    """Write the tables, what they were made from and the sheet, and print them."""
    output, results = Path(args.output), comparison.results
    side = 'x'.join(map(str, results[0].side))
    where = {'cuda': 'a GPU', 'mps': 'an Apple GPU'}.get(device.split(':')[0])
    where = where or f'CPU, {args.threads or torch.get_num_threads()} thread(s)'
    if device.startswith('cuda'):
        where = torch.cuda.get_device_name(device)
    text = (
        f'`{command}`\n\n{len(results[0].names)} pictures, composite dB pastes {data.paste} outside the region; seed {args.seed}, '
        f'{args.resamples} resamples. ms: median of a picture on {where}; GMAC: of the first picture ({side}); MiB: peak beyond the '
        f'libraries.\n\n{comparison.markdown()}'
    )
    write_atomically(output / 'pictures.csv', comparison.csv().encode(errors='surrogateescape'))
    write_atomically(
        output / 'results.json',
        json.dumps(record(args, data, device, comparison, command), indent=1).encode(),
    )
    if shown:
        sheet = sheet_of(data, comparison, shown)
        write_atomically(output / 'sheet.png', encode_png(cv2.cvtColor(sheet, cv2.COLOR_BGR2RGB)))
    else:
        (output / 'sheet.png').unlink(missing_ok=True)  # an earlier run's
    write_atomically(output / 'table.md', text.encode(errors='backslashreplace'))
    say(text)
    say(
        f'written: {", ".join(printable(output / name) for name in FILES if (output / name).exists())}'
    )
