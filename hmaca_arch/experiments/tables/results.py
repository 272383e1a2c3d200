"""What the finished cells of a plan measured."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmaca_arch.experiments.bootstrap import Estimate, bootstrap
from hmaca_arch.experiments.tables.job import is_done, read_state, table_of_test
from hmaca_arch.experiments.tables.plan import Cell, paper_figure
from hmaca_arch.metrics.summary import ValidationTable

METRICS = ('composite_psnr', 'masked_psnr', 'masked_ssim')


@dataclass
class Result:
    """A cell's figures, or why there are none.

    Args:
        cell: what was to be run.
        state: see `job`.
        table: its test's, picture by picture; None if it is not done.
        versions: what it was tested with (BasicSR's folder has them as versions.json).
        paper: what the paper states, in dB, or None.
    """

    cell: Cell
    state: dict
    table: ValidationTable | None
    versions: dict
    paper: float | None

    @property
    def status(self) -> str:
        if self.table is not None:
            return 'done'
        return 'failed' if 'error' in self.state else 'not finished' if self.state else 'not run'

    def mean(self, row: str, metric: str) -> float:
        """Of row 'input' or 'result', over the pictures in which both are finite; nan if the cell
        is not done.
        """
        return math.nan if self.table is None else self.table.mean(row, metric)

    @property
    def gain(self) -> float:
        """In composite PSNR over the unrestored input, paired; nan if the cell is not done."""
        return math.nan if self.table is None else self.table.gain('composite_psnr')


def read_table(path: Path) -> ValidationTable:
    """What `ValidationTable.write_csv` wrote."""
    table = ValidationTable(METRICS)
    with open(path, encoding='utf-8', errors='surrogateescape') as file:
        for row in csv.DictReader(file):
            table.add(
                row['picture'],
                {
                    (kind, metric): float(row[f'{kind}_{metric}'])
                    for kind in table.ROWS
                    for metric in METRICS
                },
            )
    return table


def collect(cells: Sequence[Cell], folder: Path, root: Path) -> list[Result]:
    """A result for every cell, in their order.

    Args:
        folder: the output folder.
        root: the checkout.

    Raises:
        ValueError: cells of one data set were tested on different pictures, which no table may mix.
    """
    found: list[Result] = []
    for cell in cells:
        done = is_done(folder, cell)
        path = table_of_test(folder, cell)
        versions = path.with_name('versions.json')
        found.append(
            Result(
                cell,
                read_state(folder, cell),
                read_table(path) if done else None,
                json.loads(versions.read_text(encoding='utf-8'))
                if done and versions.is_file()
                else {},
                paper_figure(cell, root / 'options'),
            )
        )
        same = [result for result in found if result.table and result.cell.dataset == cell.dataset]
        if done and fingerprint(same[0].table) != fingerprint(same[-1].table):
            raise ValueError(
                f'{same[0].cell.name} and {cell.name} were tested on different pictures: delete the older one from {folder / "cells"}'
            )
    for dataset in {cell.dataset for cell in cells}:
        leave_out_together(
            [result.table for result in found if result.table and result.cell.dataset == dataset]
        )
    return found


def difference(group: Sequence[Result], reference: Sequence[Result]) -> Estimate | None:
    """In composite PSNR, between two networks on the same pictures: the mean over the seeds that
    both have, with a 95 % interval (bootstrap
    over pictures); None if they have no seed in common."""
    tables = {result.cell.seed: result.table for result in reference if result.table}
    pairs = [
        (result.table, tables[result.cell.seed])
        for result in group
        if result.table and result.cell.seed in tables
    ]
    if not pairs:
        return None
    values = np.array(
        [[table.values['result', METRICS[0]] for table in pair] for pair in pairs]
    )  # (seeds, 2, pictures)
    values = (values[:, 0] - values[:, 1]).mean(axis=0)
    return bootstrap(values[None, np.isfinite(values)])[0]


def fingerprint(table: ValidationTable) -> list[tuple[str, str]]:
    """Equal for tests on the same pictures and regions."""
    return [
        (name, str(value)) for name, value in zip(table.names, table.values['input', 'masked_psnr'])
    ]


def leave_out_together(tables: Sequence[ValidationTable]) -> None:
    """A picture whose figure is not finite in one table (exact, or without a region) is left out of
    the means of all.
    """
    for metric in METRICS if tables else ():
        finite = np.isfinite([table.rows(metric) for table in tables]).all(axis=(0, 1))
        for table in tables:
            table.values['result', metric] = np.where(
                finite, table.values['result', metric], math.nan
            ).tolist()
