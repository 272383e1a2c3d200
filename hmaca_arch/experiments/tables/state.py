"""What the output folder of `basicsr tables` says about a cell.

`experiments/` and `results/` are BasicSR's. `logs/CELL.log` has what the processes print.
`cells/CELL.json` has what is done, the settings it was done with, and the seconds spent.
"""

import csv
import json
from pathlib import Path
from typing import Any

from hmaca_arch.experiments.tables.cell import NETWORKS, SETS, Cell

SHOWN = 6  # restored images that a finished cell keeps


def state_file(folder: Path, cell: Cell) -> Path:
    """Return the path of a cell's state in an output folder."""
    return folder / 'cells' / f'{cell.name}.json'


def read_state(folder: Path, cell: Cell) -> dict[str, Any]:
    """Read a cell's state; it is empty if the cell was never started.

    Raises:
        ValueError: the file is damaged.
    """
    path = state_file(folder, cell)
    try:
        return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f'{path} is damaged ({error}): {how_to_restart(cell)}') from None


def known_cells(folder: Path, scale: str) -> list[Cell]:
    """List the cells of a scale that any command began in an output folder, by name.

    Damaged states are left out, and those of cells that no longer exist.
    """
    cells = []
    for path in sorted((folder / 'cells').glob(f'*_{scale}_*.json')):
        try:
            fields = json.loads(path.read_text(encoding='utf-8'))['cell']
            if fields.get('minutes') is None:  # an earlier version had cells of so many minutes
                fields.pop('minutes', None)
            cell = Cell(**fields)
        except (ValueError, KeyError, TypeError):
            continue
        if cell.scale == scale and cell.network in NETWORKS and cell.dataset in SETS:
            cells.append(cell)
    return cells


def table_of_test(folder: Path, cell: Cell) -> Path:
    """Return the path of the CSV that `basicsr test` writes."""
    return folder / 'results' / cell.name / f'{cell.dataset}_{cell.protocol}_test.csv'


def how_to_restart(cell: Cell) -> str:
    """Say what to do about a cell whose experiment has changed."""
    name = cell.name
    files = f'cells/{name}.json, experiments/{name} and results/{name}'
    return f'choose another folder with -o, or delete {files}'


def is_done(folder: Path, cell: Cell) -> bool:
    """Tell whether a cell is trained and tested."""
    return bool(read_state(folder, cell).get('done')) and table_of_test(folder, cell).is_file()


def shown_images(table: Path) -> list[str]:
    """Choose SHOWN images of a test, the same ones for every network.

    They are evenly spread over the ranks of the unrestored input's dB.
    """
    with open(table, encoding='utf-8', errors='surrogateescape') as file:
        rows = list(csv.DictReader(file))
    rows.sort(key=lambda row: (float(row['input_composite_psnr']), row['picture']))
    names = [row['picture'] for row in rows]
    count = min(SHOWN, len(names))
    return [names[(2 * i + 1) * len(names) // (2 * count)] for i in range(count)]
