"""Draw the figures of a table: gain over alpha, and a few restored test images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hmaca_arch.experiments.comparison.sheet import crop_of
from hmaca_arch.experiments.tables.cell import SETS
from hmaca_arch.experiments.tables.report import grouped, label
from hmaca_arch.experiments.tables.results import CellResult
from hmaca_arch.experiments.tables.state import shown_images, table_of_test
from hmaca_arch.files.image_files import read_image
from hmaca_arch.messages import how_to_install
from hmaca_arch.restoring.sheets import contact_sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 160  # of a panel on the sheet, pixels


def alpha_plot(results: Sequence[CellResult]) -> Figure | None:
    """Plot the gain over the unrestored input (dB, composite PSNR) over alpha.

    Each data set, network and `outside` has a line.

    Returns:
        The figure; None if no result has an alpha.

    Raises:
        ValueError: matplotlib is not installed.
    """
    lines = {}
    for (dataset, network, outside), group in grouped(
        results, 'dataset', 'network', 'outside'
    ).items():
        by_alpha = {
            alpha: [r.gain for r in g if r.table]
            for (alpha,), g in grouped(group, 'alpha').items()
            if alpha is not None
        }
        points = [
            (alpha, sum(gains) / len(gains)) for alpha, gains in sorted(by_alpha.items()) if gains
        ]
        if points:
            lines[f'{SETS[dataset]}, {label(network, None, outside)}'] = points
    if not lines:
        return None
    try:
        from matplotlib.figure import Figure  # late: an extra, that only this needs
    except ModuleNotFoundError as error:
        raise ValueError(
            f'the chart over alpha needs {error.name}: {how_to_install("plots")}'
        ) from None
    figure = Figure(figsize=(8, 5), layout='constrained')
    axes = figure.add_subplot(
        xlabel='alpha', ylabel='gain over the unrestored input (dB)', xlim=(-0.03, 1.03)
    )
    axes.axhline(0, color='gray')
    axes.grid(axis='y', alpha=0.4)
    for name, points in lines.items():
        axes.plot(*zip(*points), marker='o', label=name)
    figure.legend(loc='outside right upper')
    return figure


def sheet(results: Sequence[CellResult], folder: Path, data: Path) -> np.ndarray | None:
    """Show lq | mask | what each network restored | gt of a few test images, whole and enlarged.

    The images are spread over the unrestored input's dB, so that no network chose them. Each
    network shows one seed.

    Args:
        results: of one data set.
        folder: the output folder.
        data: the folder of the data sets.

    Returns:
        (height, width, 3) RGB uint8; None if nothing is done.
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
    for name in shown_images(table_of_test(folder, cell)):
        paths = [
            next((source / kind).glob(f'{name}.*'), source / kind / name)
            for kind in ('lq', 'mask', 'gt')
        ]
        for result in done:
            test = table_of_test(folder, result.cell)
            paths.insert(
                -1, test.parent / 'visualization' / test.stem / f'{name}_{result.cell.name}.png'
            )
        if not all(path.is_file() for path in paths):
            continue  # the data have been moved
        images = [read_image(path).pixels for path in paths]
        window = crop_of(images[1][..., 0], margin=1)
        rows += [images, [image[window] for image in images]]
    heads = [
        'input',
        'mask',
        *(label(r.cell.network, r.cell.alpha, r.cell.outside) for r in done),
        'ground truth',
    ]
    return contact_sheet(rows, heads, side=SIDE) if rows else None
