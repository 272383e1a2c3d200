"""Collect what the finished cells of a plan measured."""

import csv
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hmaca_arch.experiments.bootstrap import Estimate, bootstrap
from hmaca_arch.experiments.tables.cell import Cell
from hmaca_arch.experiments.tables.plan import paper_figure
from hmaca_arch.experiments.tables.state import is_done, read_state, table_of_test
from hmaca_arch.metrics.summary import ValidationTable

METRICS = ('composite_psnr', 'masked_psnr', 'masked_ssim')


@dataclass
class CellResult:
    """A cell's figures, or why there are none.

    Args:
        cell: what was to be run.
        state: see the module `state`.
        table: of its test, by image; None if it is not done.
        versions: of the packages that it was tested with (versions.json).
        paper: what the paper states, in dB, or None.
    """

    cell: Cell
    state: dict
    table: ValidationTable | None
    versions: dict
    paper: float | None

    @property
    def status(self) -> str:
        """Done, failed, not finished or not run."""
        if self.table is not None:
            return 'done'
        if 'error' in self.state:
            return 'failed'
        return 'not finished' if self.state else 'not run'

    def mean(self, row: str, metric: str) -> float:
        """Average a metric of row 'input' or 'result'; nan if the cell is not done.

        The mean is over the images in which both are finite.
        """
        return math.nan if self.table is None else self.table.mean(row, metric)

    @property
    def gain(self) -> float:
        """The gain in composite PSNR over the unrestored input, paired; nan if it is not done."""
        return math.nan if self.table is None else self.table.gain('composite_psnr')


def read_table(path: Path) -> ValidationTable:
    """Read what `ValidationTable.write_csv` wrote."""
    table = ValidationTable(METRICS)
    with open(path, encoding='utf-8', errors='surrogateescape') as file:
        for row in csv.DictReader(file):
            keys = itertools.product(table.ROWS, METRICS)
            values = {(kind, metric): float(row[f'{kind}_{metric}']) for kind, metric in keys}
            table.add(row['picture'], values)
    return table


def collect(cells: Sequence[Cell], folder: Path) -> list[CellResult]:
    """Collect a result for every cell, in their order.

    Args:
        cells: of the table.
        folder: the output folder.

    Raises:
        ValueError: cells of one data set were tested on different images, which no table may mix.
    """
    found: list[CellResult] = []
    tested: dict[str, tuple[Cell, Any]] = {}  # the first cell of each data set, and its images
    for cell in cells:
        done = is_done(folder, cell)
        path = table_of_test(folder, cell)
        file = path.with_name('versions.json')
        versions = json.loads(file.read_text(encoding='utf-8')) if done and file.is_file() else {}
        table = read_table(path) if done else None
        found.append(
            CellResult(cell, read_state(folder, cell), table, versions, paper_figure(cell))
        )
        if table:
            first, images = tested.setdefault(cell.dataset, (cell, fingerprint(table)))
            if images != fingerprint(table):
                raise ValueError(
                    f'{first.name} and {cell.name} were tested on different images: '
                    f'delete the older one from {folder / "cells"}'
                )
    for dataset in {cell.dataset for cell in cells}:
        leave_out_together(
            [result.table for result in found if result.table and result.cell.dataset == dataset]
        )
    return found


def difference(group: Sequence[CellResult], reference: Sequence[CellResult]) -> Estimate | None:
    """Compare two networks on the same images: the difference in composite PSNR.

    Returns:
        The mean over the seeds that both have, with a 95 % interval (bootstrap over images). None
        if they have no seed in common.
    """
    tables = {result.cell.seed: result.table for result in reference if result.table}
    pairs = [
        (result.table, tables[result.cell.seed])
        for result in group
        if result.table and result.cell.seed in tables
    ]
    if not pairs:
        return None
    # (seeds, 2, images)
    values = np.array([[table.values['result', METRICS[0]] for table in pair] for pair in pairs])
    values = (values[:, 0] - values[:, 1]).mean(axis=0)
    return bootstrap(values[None, np.isfinite(values)])[0]


def fingerprint(table: ValidationTable) -> list[tuple[str, str]]:
    """Return something that is equal for tests on the same images and regions."""
    return [
        (name, str(value)) for name, value in zip(table.names, table.values['input', 'masked_psnr'])
    ]


def leave_out_together(tables: Sequence[ValidationTable]) -> None:
    """Leave an image out of the means of all tables if its figure is not finite in one.

    It was restored exactly, or has no region.
    """
    for metric in METRICS if tables else ():
        finite = np.isfinite([table.rows(metric) for table in tables]).all(axis=(0, 1))
        for table in tables:
            table.values['result', metric] = np.where(
                finite, table.values['result', metric], math.nan
            ).tolist()
