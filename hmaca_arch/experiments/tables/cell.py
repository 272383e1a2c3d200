"""One experiment of a table: its name, and its settings beside its option file's.

A cell is one training and its test. Its name holds everything that it changes in its option file.
So a cell of the same name is the same experiment.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmaca_arch.config import reading, shipped

SETS = {
    'horse_pix': 'Horse-Pixelization',
    'horse_blur': 'Horse-GaussianBlur',
    'horse_noise': 'Horse-GaussianNoise',
    'imagenet_pix': 'ImageNet-Pixelization',
    'imagenet_blur': 'ImageNet-GaussianBlur',
    'imagenet_noise': 'ImageNet-GaussianNoise',
}
# The option files' names at the paper's size and at the light one, and what is changed in them.
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
    # These train as HMACA+ does (`Cell.training`). They differ from it in what they know of the
    # mask: nothing, position alone, or cross attention alone, in windows or as in Eq. 5.
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
# Networks that take milliseconds, to try the command.
TINY = {'embed_dim': 12, 'depths': [2], 'num_heads': [2], 'window_size': 8, 'mlp_ratio': 2}


@dataclass(frozen=True)
class Cell:
    """One training and its test.

    Attributes:
        network: a key of NETWORKS.
        dataset: a key of SETS.
        preset: one of PRESETS.
        protocol: release or clean.
        alpha: of AlphaMaskedL1Loss; None: the option file's.
        outside: of AlphaMaskedL1Loss; None: the option file's.
        seed: manual_seed.
        processes: that share the option file's batch.
        iterations: total_iter; None: the option file's.
        amp: bf16 or fp16, in training; None: float32. The test is in float32 in any case.
        tf32: round to TF32 in training, on a GPU.
        compiled: train a compiled network.
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
    amp: str | None = None
    tf32: bool = False
    compiled: bool = False

    @property
    def arithmetic(self) -> dict[str, str]:
        """How it is trained, where that is not plain float32: {part of its name: entry}."""
        entries = {self.amp: f'train:amp={self.amp}'} if self.amp else {}
        entries |= {'tf32': 'train:tf32=true'} if self.tf32 else {}
        return entries | ({'compiled': 'train:compile=true'} if self.compiled else {})

    @property
    def scale(self) -> str:
        """What cells of one table share: 'light_clean_300it_2p_bf16'."""
        parts = [self.preset, self.protocol]
        parts += [f'{self.iterations}it'] if self.iterations else []
        parts += [f'{self.processes}p'] if self.processes > 1 else []
        return '_'.join([*parts, *self.arithmetic])

    @property
    def name(self) -> str:
        """The name of its experiment."""
        parts = [self.network.replace('+', 'plus'), self.dataset, self.scale]
        parts += [] if self.alpha is None else [f'alpha{exact(self.alpha)}']
        parts += [] if self.outside is None else [f'outside-{self.outside}']
        return '_'.join([*parts, f'seed{self.seed}'])

    @property
    def option_file(self) -> str:
        """Its option file, relative to the folder of shipped ones."""
        paper, light, _ = NETWORKS[self.network]
        return f'train/train_{paper if self.preset == "paper" else light}.yml'

    @property
    def path(self) -> Path:
        """The path of its option file."""
        return shipped.FOLDER / self.option_file

    def options(self) -> dict[str, Any]:
        """Read its option file, with its data set."""
        return reading.read(self.path, self.dataset)

    def training(self) -> dict[str, Any]:
        """Return what changes in its section `train`.

        A network with a + trains as HMACA+ does; for others it is nothing.
        """
        if '+' not in self.network or 'plus' in self.option_file:
            return {}
        size = '' if self.preset == 'paper' else '_light'
        own = reading.read(shipped.FOLDER / f'train/train_HMACAplus{size}.yml')['train']
        return differing(self.options()['train'], own)

    def changes(self, data: Path, iterations: int) -> list[str]:
        """List the `--force_yml` entries that its training and its test share.

        Args:
            data: the folder with PROTOCOL/SET/{train,test}/{lq,mask,gt}.
            iterations: how many to train; the learning rate's schedule is fitted to them.

        Raises:
            ValueError: the batch cannot be dealt to the processes.
        """
        opt = reading.merge(self.options(), {'train': self.training()})
        entries = [
            f'data={self.dataset}',
            f'name={self.name}',
            f'protocol={self.protocol}',
            f'manual_seed={self.seed}',
            *NETWORKS[self.network][2],
        ]
        for key, value in self.training().items():
            # Settings of another type are other settings, so they are given as a whole.
            if not isinstance(value, dict) or 'type' in value:
                entries.append(f'train:{key}={json.dumps(value)}')
            else:
                entries += [f'train:{key}:{k}={json.dumps(v)}' for k, v in value.items()]
        for phase, part in (('train', 'train'), ('val', 'test')):
            folder = data / self.protocol / self.dataset / part
            for kind in ('lq', 'mask', 'gt'):
                root = json.dumps(str(folder / kind))
                entries.append(f'datasets:{phase}:dataroot_{kind}={root}')
        entries += self.batch(opt['datasets']['train']['batch_size_per_gpu'])
        if self.alpha is not None:
            entries.append(f'train:pixel_opt:alpha={exact(self.alpha)}')
        if self.outside is not None:
            entries.append(f'train:pixel_opt:outside={self.outside}')
        entries += length(opt['train'], iterations)
        if self.preset == 'smoke':
            entries += self.smaller(opt)
        return entries

    def batch(self, of_file: int) -> list[str]:
        """Deal the batch to the processes, in entries.

        Args:
            of_file: the option file's batch size.
        """
        whole = 2 if self.preset == 'smoke' else of_file
        if whole % self.processes:
            raise ValueError(
                f'{self.option_file}: a batch of {whole} cannot be dealt to {self.processes} '
                'processes; choose a divisor'
            )
        own = whole // self.processes
        return [] if own == of_file else [f'datasets:train:batch_size_per_gpu={own}']

    def smaller(self, opt: dict[str, Any]) -> list[str]:
        """Make the network and the crops of an option file tiny, in entries."""
        network: dict[str, Any] = dict(TINY)
        if opt['network_g']['type'].startswith('HM'):
            network['embed_dim'] = 32
        network.update({key: 4 for key in ('squeeze_factor', 'gc') if key in opt['network_g']})
        entries = [f'network_g:{key}={json.dumps(value)}' for key, value in network.items()]
        return [*entries, 'datasets:train:gt_size=16']

    def default_iterations(self) -> int:
        """Return how many to train."""
        if self.iterations:
            return self.iterations
        return 4 if self.preset == 'smoke' else int(self.options()['train']['total_iter'])


def length(train: dict[str, Any], iterations: int) -> list[str]:
    """Fit a section `train` to so many iterations, in entries."""
    entries = [f'train:total_iter={iterations}']
    if 'periods' in train['scheduler']:
        entries.append(f'train:scheduler:periods=[{iterations}]')
    if train.get('warmup_iter', -1) > iterations // 10:
        entries.append(f'train:warmup_iter={iterations // 10 or -1}')
    return entries


def exact(number: float) -> str:
    """Write a number with as many digits as tell it from every other one: '0.5'."""
    return f'{number:g}' if float(f'{number:g}') == number else repr(number)


def differing(section: dict, other: dict) -> dict:
    """Return the part of `other` that makes `section` equal to it, once merged.

    A section of another type is returned whole.
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
