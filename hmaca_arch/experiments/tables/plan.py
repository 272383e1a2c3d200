"""The experiments of each table: network x data set x alpha x seed at a preset's size."""

import itertools
from collections.abc import Sequence
from typing import Any

from hmaca_arch.config import shipped
from hmaca_arch.config.yaml_files import read_yaml
from hmaca_arch.experiments.tables.cell import NETWORKS, Cell
from hmaca_arch.messages import suggestion

ALIASES = {'HMANet': 'HMA1', 'HMACA': 'HMACA1', 'HMACAplus': 'HMACA+'}
ALPHAS = tuple(n / 10 for n in range(11))
# Networks, data sets, alphas (None: the option file's). II and III are one matrix; which sets stand
# in which is our reading.
TABLES = {
    '1': (tuple(NETWORKS)[:8], ('horse_pix',), (None,)),
    '2': (('HMACA1',), ('horse_pix', 'horse_blur', 'horse_noise'), ALPHAS),
    '3': (('HMACA1',), ('imagenet_pix', 'imagenet_blur', 'imagenet_noise'), ALPHAS),
}
PRESETS = ('paper', 'light', 'smoke')


def network_name(name: str) -> str:
    """Return the name of a network, given its name or alias.

    Raises:
        ValueError: there is none; the message lists them.
    """
    name = ALIASES.get(name, name)
    if name not in NETWORKS:
        raise ValueError(f'there is no network {name!r}{suggestion(name, [*NETWORKS, *ALIASES])}')
    return name


def plan(
    table: str,
    preset: str,
    *,
    protocol: str | None = None,
    networks: Sequence[str] = (),
    sets: Sequence[str] = (),
    alphas: Sequence[float] = (),
    outside: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    **more: Any,
) -> list[Cell]:
    """List the cells of a table.

    Networks with a + train on the region alone, where alpha only scales the loss: they have one
    cell a data set and seed.

    Args:
        table: a key of TABLES.
        preset: one of PRESETS.
        protocol: None: release at the paper's size, else clean.
        networks: names or aliases; none: the table's.
        sets: keys of SETS; none: the table's.
        alphas: none: the table's.
        outside: none: the option file's.
        seeds: of the trainings.
        more: further fields of `Cell`, for all cells.

    Raises:
        ValueError: there is no such network, or an alpha is not in 0 to 1.
    """
    wrong = [alpha for alpha in alphas if not 0 <= alpha <= 1]
    if wrong:
        raise ValueError(f'alpha is {wrong[0]:g}; expected 0 to 1')
    own_networks, own_sets, own_alphas = TABLES[table]
    protocol = protocol or ('release' if preset == 'paper' else 'clean')
    names = dict.fromkeys(map(network_name, networks or own_networks))
    none: list[None] = [None]
    cells = []
    for seed, dataset, name in itertools.product(
        dict.fromkeys(seeds), dict.fromkeys(sets or own_sets), names
    ):
        free = '+' not in name
        losses = itertools.product(
            dict.fromkeys(outside or none) if free else none,
            dict.fromkeys(alphas or own_alphas) if free else none,
        )
        cells += [
            Cell(name, dataset, preset, protocol, alpha, where, seed, **more)
            for where, alpha in losses
        ]
    return cells


def belongs(table: str, cell: Cell) -> bool:
    """Tell whether a cell belongs to a table.

    II and III have the runs over alpha on their data sets. I has all others.
    """
    return (
        cell.alpha is None
        if table == '1'
        else cell.alpha is not None and cell.dataset in TABLES[table][1]
    )


def paper_figure(cell: Cell) -> float | None:
    """Return what the paper states (dB); None if it states nothing."""
    paper = read_yaml(shipped.FOLDER / 'paper.yml')
    if cell.alpha is None:
        return paper['table_1'].get(cell.dataset, {}).get(cell.network)
    by_alpha = paper['tables_2_and_3']
    if cell.network != by_alpha['network'] or cell.dataset not in by_alpha:
        return None
    return dict(zip(by_alpha['alpha'], by_alpha[cell.dataset], strict=True)).get(cell.alpha)
