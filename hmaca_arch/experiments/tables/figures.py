"""Figures of a table: gain over alpha, and what the networks made of a few test pictures."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hmaca_arch.experiments.tables.job import shown_pictures, table_of_test
from hmaca_arch.experiments.tables.plan import SETS
from hmaca_arch.experiments.tables.report import grouped, label
from hmaca_arch.experiments.tables.results import Result

COLOURS = ('#1f77b4', '#d62728', '#2ca02c', '#9467bd', '#ff7f0e', '#17becf', '#8c564b', '#7f7f7f')
SIDE = 160  # of a panel on the sheet, pixels


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers that cover low to high."""
    high = max(high, low + 1e-3)
    step = 10.0 ** math.floor(math.log10(high - low))
    while (high - low) / step < 4:
        step /= 2
    return [n * step for n in range(math.floor(low / step), math.ceil(high / step) + 1)]


def alpha_plot(results: Sequence[Result]) -> Image.Image | None:
    """Gain over the unrestored input (dB, composite PSNR) over alpha, a line a data set, network and `outside`; None without figures."""
    lines = {}
    for (dataset, network, outside), group in grouped(results, 'dataset', 'network', 'outside').items():
        by_alpha = {alpha: [r.gain for r in g if r.table] for (alpha,), g in grouped(group, 'alpha').items() if alpha is not None}
        points = [(alpha, sum(gains) / len(gains)) for alpha, gains in sorted(by_alpha.items()) if gains]
        if points:
            lines[f'{SETS[dataset]}, {label(network, None, outside)}'] = points
    if not lines:
        return None
    values = [gain for points in lines.values() for _, gain in points]
    marks = ticks(min(0.0, *values), max(0.0, *values))
    scale = 2  # drawn at twice the size and shrunk: smooth lines
    height, left, top, bottom = 480, 80, 50, 60
    right = 60 + math.ceil(max(font(12 * scale).getlength(name) for name in lines) / scale)  # the legend
    width = left + 480 + right
    picture = Image.new('RGB', (width * scale, height * scale), 'white')
    draw = ImageDraw.Draw(picture)

    def at(alpha: float, gain: float) -> tuple[float, float]:
        x = left + alpha * (width - left - right)
        y = height - bottom - (gain - marks[0]) / (marks[-1] - marks[0]) * (height - top - bottom)
        return x * scale, y * scale

    for mark in marks:
        draw.line([at(0, mark), at(1, mark)], fill='#888888' if mark == 0 else '#dddddd', width=scale)
        draw.text((at(0, mark)[0] - 8 * scale, at(0, mark)[1]), f'{mark:+.4g}', fill='black', font=font(13 * scale), anchor='rm')
    for tenth in range(0, 11, 2):
        x, y = at(tenth / 10, marks[0])
        draw.text((x, y + 8 * scale), f'{tenth / 10:.1f}', fill='black', font=font(13 * scale), anchor='mt')
    draw.text((at(0.5, marks[0])[0], (height - 20) * scale), 'alpha', fill='black', font=font(15 * scale), anchor='mm')
    draw.text((10 * scale, 20 * scale), 'gain over the unrestored input (dB)', fill='black', font=font(15 * scale), anchor='lm')
    for i, (name, points) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        draw.line([at(*point) for point in points], fill=colour, width=2 * scale)
        for x, y in (at(*point) for point in points):
            draw.ellipse([x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale], fill=colour)
        x, y = (width - right + 20) * scale, (top + 24 * i) * scale
        draw.line([(x, y), (x + 20 * scale, y)], fill=colour, width=3 * scale)
        draw.text((x + 28 * scale, y), name, fill='black', font=font(12 * scale), anchor='lm')
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def around(mask: np.ndarray) -> tuple[slice, slice]:
    """The square of twice the region's side around it, inside the picture."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return slice(None), slice(None)
    side = min(2 * max(np.ptp(ys) + 1, np.ptp(xs) + 1), *mask.shape)
    corner = [int(np.clip((axis.min() + axis.max() + 1 - side) // 2, 0, size - side)) for axis, size in zip((ys, xs), mask.shape)]
    return slice(corner[0], corner[0] + side), slice(corner[1], corner[1] + side)


def sheet(results: Sequence[Result], folder: Path, data: Path) -> Image.Image | None:
    """lq | mask | what each network restored | gt of a few test pictures of one data set, whole and enlarged; None if nothing is done.

    The pictures are spread over the unrestored input's dB, so that no network chose them. One seed of each.

    Args:
        results: of one data set.
        folder: the output folder.
        data: the folder of the data sets.
    """
    done = [
        next(r for r in group if r.table)
        for group in grouped(results, 'network', 'alpha', 'outside').values()
        if any(r.table for r in group)
    ]
    if not done:
        return None
    cell = done[0].cell
    source = data / cell.protocol / cell.dataset / 'test'
    rows = []
    for name in shown_pictures(table_of_test(folder, cell)):
        paths = [next((source / kind).glob(f'{name}.*'), source / kind / name) for kind in ('lq', 'mask', 'gt')]
        for result in done:
            test = table_of_test(folder, result.cell)
            paths.insert(-1, test.parent / 'visualization' / test.stem / f'{name}_{result.cell.name}.png')
        if not all(path.is_file() for path in paths):
            continue  # data that are elsewhere by now
        pictures = [cv2.imread(str(path)) for path in paths]
        window = around(pictures[1][..., 0])
        for panels in (pictures, [picture[window] for picture in pictures]):
            rows.append([Image.fromarray(cv2.cvtColor(panel, cv2.COLOR_BGR2RGB)) for panel in panels])
    if not rows:
        return None
    heads = ['input', 'mask', *(label(r.cell.network, r.cell.alpha, r.cell.outside) for r in done), 'ground truth']
    gap = 4
    sheet = Image.new('RGB', (len(heads) * (SIDE + gap), 24 + len(rows) * (SIDE + gap)), 'white')
    draw = ImageDraw.Draw(sheet)
    for column, head in enumerate(heads):
        draw.text((column * (SIDE + gap) + SIDE // 2, 12), head, fill='black', font=font(13), anchor='mm')
    for row, panels in enumerate(rows):
        for column, panel in enumerate(panels):
            panel = panel.resize((SIDE, SIDE), Image.Resampling.NEAREST)
            sheet.paste(panel, (column * (SIDE + gap), 24 + row * (SIDE + gap)))
    return sheet
