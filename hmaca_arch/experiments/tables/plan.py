"""Which experiments a table consists of, and the command line of each.

A cell is one training and its test: network x data set x alpha x seed at a preset's size.
Everything that a cell changes in its option file stands in its name, so that a cell under the same
name is the same experiment.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hmaca_arch.config import reading
from hmaca_arch.config.yaml_files import read_yaml
from hmaca_arch.messages import suggestion

SETS = {
    f'{key}_{kind}': f'{name}-{degradation}'
    for key, name in (('horse', 'Horse'), ('imagenet', 'ImageNet'))
    for kind, degradation in (
        ('pix', 'Pixelization'),
        ('blur', 'GaussianBlur'),
        ('noise', 'GaussianNoise'),
    )
}
# The option files' name at the paper's size and at the light one, and what is changed in them.
TWICE = ('network_g:upscale=2', 'network_g:keep_size=true')  # reconstruct at twice the size
RESIDUAL = ('network_g:image_residual=true', 'network_g:img_range=16')  # as HMACA+
NETWORKS = {
    'HMA1': ('HMA1', 'HMA_light', ()),
    'HMA2': ('HMA1', 'HMA_light', TWICE),
    'HMACA1': ('HMACA1', 'HMACA_light', ()),
    'HMACA2': ('HMACA1', 'HMACA_light', TWICE),
    'SwinIR': ('SwinIR', 'SwinIR_light', ()),
    'HAT': ('HAT', 'HAT_light', ()),
    'DRCT': ('DRCT', 'DRCT_light', ()),
    'HMACA+': ('HMACAplus', 'HMACAplus_light', ()),
    # As HMACA+, but for what a network knows of its mask: nothing, position alone, or what cross
    # attention alone tells, in windows or as in Eq. 5; and the baselines. All train like it, see
    # `Cell.training`.
    'HMA+': ('HMA1', 'HMA_light', RESIDUAL),
    'HMACA+position': ('HMACAplus', 'HMACAplus_light', ('network_g:cross_attention=none',)),
    'HMACA+window': ('HMACAplus', 'HMACAplus_light', ('network_g:mask_position=false',)),
    'HMACA+global': (
        'HMACAplus',
        'HMACAplus_light',
        ('network_g:mask_position=false', 'network_g:cross_attention=global'),
    ),
    'SwinIR+': ('SwinIR', 'SwinIR_light', ()),
    'HAT+': ('HAT', 'HAT_light', ()),
}
ALIASES = {'HMANet': 'HMA1', 'HMACA': 'HMACA1', 'HMACAplus': 'HMACA+'}
ALPHAS = tuple(n / 10 for n in range(11))
# Networks, data sets, alphas (None: the option file's own). II and III are one matrix; which sets
# stand in which is our reading.
TABLES = {
    '1': (tuple(NETWORKS)[:8], ('horse_pix',), (None,)),
    '2': (('HMACA1',), ('horse_pix', 'horse_blur', 'horse_noise'), ALPHAS),
    '3': (('HMACA1',), ('imagenet_pix', 'imagenet_blur', 'imagenet_noise'), ALPHAS),
}
PRESETS = ('paper', 'light', 'smoke')
TINY = {
    'embed_dim': 12,
    'depths': [2],
    'num_heads': [2],
    'window_size': 8,
    'mlp_ratio': 2,
}  # milliseconds; of no use but to try the script


def exact(number: float) -> str:
    """'0.5'; with as many digits as it takes to tell it from every other number."""
    return f'{number:g}' if float(f'{number:g}') == number else repr(number)


def network_name(name: str) -> str:
    """A network by its name or alias, or a ValueError that says which there are."""
    name = ALIASES.get(name, name)
    if name not in NETWORKS:
        raise ValueError(f'there is no network {name!r}{suggestion(name, [*NETWORKS, *ALIASES])}')
    return name


@dataclass(frozen=True)
class Cell:
    """One training and its test.

    Args:
        network, dataset: keys of NETWORKS and SETS.
        preset: one of PRESETS.
        protocol: release or clean.
        alpha, outside: of AlphaMaskedL1Loss; None: as the option file has it.
        seed: manual_seed.
        processes: how many train and test together; the batch over all of them stays the option
            file's.
        iterations: total_iter; None: the option file's.
    """

    network: str
    dataset: str
    preset: str
    protocol: str
    alpha: float | None = None
    outside: str | None = None
    seed: int = 0
    processes: int = 1
    iterations: int | None = None

    @property
    def scale(self) -> str:
        """What cells of one table share: 'light_clean_300it_2p'."""
        parts = [self.preset, self.protocol]
        parts += [f'{self.iterations}it'] if self.iterations else []
        parts += [f'{self.processes}p'] if self.processes > 1 else []
        return '_'.join(parts)

    @property
    def name(self) -> str:
        """Of its experiment's folder."""
        parts = [self.network.replace('+', 'plus'), self.dataset, self.scale]
        parts += [] if self.alpha is None else [f'alpha{exact(self.alpha)}']
        parts += [] if self.outside is None else [f'outside-{self.outside}']
        return '_'.join([*parts, f'seed{self.seed}'])

    @property
    def option_file(self) -> str:
        """Relative to the folder `options`."""
        paper, light, _ = NETWORKS[self.network]
        return f'train/train_{paper if self.preset == "paper" else light}.yml'

    def options(self, root: Path) -> dict:
        """Return what its option file says on its data set."""
        return reading.read(root / self.option_file, self.dataset)

    def training(self, root: Path) -> dict:
        """Return what a network with a + changes in its section `train`, so that it trains as
        HMACA+ does; for others nothing.
        """
        if '+' not in self.network or 'plus' in self.option_file:
            return {}
        own = reading.read(
            root / f'train/train_HMACAplus{"" if self.preset == "paper" else "_light"}.yml'
        )['train']
        return differing(self.options(root)['train'], own)

    def changes(self, root: Path, data: Path, iterations: int) -> list[str]:
        """The `--force_yml` entries of its training and of its test.

        Args:
            root: the folder `options`.
            data: the folder with PROTOCOL/SET/{train,test}/{lq,mask,gt}.
            iterations: how many to train; the learning rate's schedule is fitted to them.

        Raises:
            ValueError: the batch cannot be dealt to the processes.
        """
        opt = reading.merge(self.options(root), {'train': self.training(root)})
        batch = 2 if self.preset == 'smoke' else opt['datasets']['train']['batch_size_per_gpu']
        if batch % self.processes:
            raise ValueError(
                f'{self.option_file}: a batch of {batch} cannot be dealt to {self.processes} processes; choose a divisor'
            )
        entries = [
            f'data={self.dataset}',
            f'name={self.name}',
            f'protocol={self.protocol}',
            f'manual_seed={self.seed}',
        ]
        entries += NETWORKS[self.network][2]
        for key, value in self.training(root).items():
            whole = (
                not isinstance(value, dict) or 'type' in value
            )  # settings of another type are other settings
            entries += (
                [f'train:{key}={json.dumps(value)}']
                if whole
                else [f'train:{key}:{k}={json.dumps(v)}' for k, v in value.items()]
            )
        for phase, part in (('train', 'train'), ('val', 'test')):
            folder = data / self.protocol / self.dataset / part
            entries += [
                f'datasets:{phase}:dataroot_{kind}={json.dumps(str(folder / kind))}'
                for kind in ('lq', 'mask', 'gt')
            ]
        if batch // self.processes != opt['datasets']['train']['batch_size_per_gpu']:
            entries.append(f'datasets:train:batch_size_per_gpu={batch // self.processes}')
        if self.alpha is not None:
            entries.append(f'train:pixel_opt:alpha={exact(self.alpha)}')
        if self.outside is not None:
            entries.append(f'train:pixel_opt:outside={self.outside}')
        entries.append(f'train:total_iter={iterations}')
        if 'periods' in opt['train']['scheduler']:
            entries.append(f'train:scheduler:periods=[{iterations}]')
        if opt['train'].get('warmup_iter', -1) > iterations // 10:
            entries.append(f'train:warmup_iter={iterations // 10 or -1}')
        if self.preset == 'smoke':
            entries += self.smaller(opt)
        return entries

    def smaller(self, opt: dict) -> list[str]:
        """Entries that make the network and the crops of an option file tiny."""
        network = (
            {**TINY, 'embed_dim': 32} if opt['network_g']['type'].startswith('HM') else dict(TINY)
        )
        network.update({key: 4 for key in ('squeeze_factor', 'gc') if key in opt['network_g']})
        entries = [f'network_g:{key}={json.dumps(value)}' for key, value in network.items()]
        return [*entries, 'datasets:train:gt_size=16']

    def default_iterations(self, root: Path) -> int:
        """How many to train where nothing is said."""
        if self.iterations:
            return self.iterations
        return 4 if self.preset == 'smoke' else int(self.options(root)['train']['total_iter'])


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
    **budget,
) -> list[Cell]:
    """The cells of a table; what is not given is the paper's. `budget`: processes, iterations.

    Networks with a + train on the region alone, where alpha only scales the loss: they have one
    cell a data set and seed.
    """
    wrong = [alpha for alpha in alphas if not 0 <= alpha <= 1]
    if wrong:
        raise ValueError(f'alpha is {wrong[0]:g}; expected 0 to 1')
    own_networks, own_sets, own_alphas = TABLES[table]
    protocol = protocol or ('release' if preset == 'paper' else 'clean')
    cells = []
    for seed in dict.fromkeys(seeds):
        for dataset in dict.fromkeys(sets or own_sets):
            for network in dict.fromkeys(map(network_name, networks or own_networks)):
                fixed = '+' in network
                for where in [None] if fixed else dict.fromkeys(outside or [None]):
                    for alpha in [None] if fixed else dict.fromkeys(alphas or own_alphas):
                        cells.append(
                            Cell(network, dataset, preset, protocol, alpha, where, seed, **budget)
                        )
    return cells


def belongs(table: str, cell: Cell) -> bool:
    """Whether a cell, planned whenever, stands in a table: in II and III the runs over alpha on
    their data sets, in I all others.
    """
    return (
        cell.alpha is None
        if table == '1'
        else cell.alpha is not None and cell.dataset in TABLES[table][1]
    )


def differing(section: dict, other: dict) -> dict:
    """Return the part of `other` that merged into `section` makes it `other`; a section of another
    type is whole.
    """
    found = {}
    for key, value in other.items():
        old = section.get(key)
        if (
            isinstance(value, dict)
            and isinstance(old, dict)
            and value.get('type') == old.get('type')
        ):
            if changed := differing(old, value):
                found[key] = changed
        elif key not in section or value != old:
            found[key] = value
    return found


def paper_figure(cell: Cell, root: Path) -> float | None:
    """Return what the paper's table states (dB); None where it states nothing.

    Args:
        root: the folder `options`.
    """
    paper = read_yaml(root / 'paper.yml')
    if cell.alpha is None:
        return paper['table_1'].get(cell.dataset, {}).get(cell.network)
    by_alpha = paper['tables_2_and_3']
    if cell.network != by_alpha['network'] or cell.dataset not in by_alpha:
        return None
    return dict(zip(by_alpha['alpha'], by_alpha[cell.dataset], strict=True)).get(cell.alpha)
