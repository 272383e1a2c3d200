"""What can be compared: the unrestored input, classical methods, and networks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hmaca_arch.config import completing
from hmaca_arch.config import files as options
from hmaca_arch.config.checks import check_network
from hmaca_arch.config.presence import misfit_of_weights
from hmaca_arch.experiments import classical
from hmaca_arch.files.torch_files import read_checkpoint
from hmaca_arch.messages import suggestion
from hmaca_arch.models import MaskedRestorationModel
from hmaca_arch.networks.loading import load_network
from hmaca_arch.networks.mask_input import section_of
from hmaca_arch.training import pipeline as training


class ReadyMethod:
    """A method that is ready to restore; this one returns its input."""

    parameters: int | None = None  # of a network

    def __call__(self, item: dict[str, Any], degradation: Mapping[str, Any]) -> Tensor:
        """Restore an image.

        Args:
            item: a batch of one from the data set.
            degradation: its parameters, see `classical.parameters_of`.

        Returns:
            (1, 3, h, w), not composited.
        """
        return item['lq']


class ClassicalRestorer(ReadyMethod):
    """A classical method."""

    def __init__(self, method: classical.Method) -> None:
        self.method = method

    def __call__(self, item: dict[str, Any], degradation: Mapping[str, Any]) -> Tensor:
        """Restore an image with the method."""
        lq, mask = (
            np.ascontiguousarray(item[key][0].numpy().transpose(1, 2, 0)) for key in ('lq', 'mask')
        )
        restored = self.method(lq, mask[..., 0] > 0, degradation).transpose(2, 0, 1)
        return torch.from_numpy(np.ascontiguousarray(restored, dtype=np.float32))[None]


class NetworkRestorer(ReadyMethod):
    """A network inside the model of `basicsr test`.

    The model loads weights, pads, passes the mask and uses mixed precision as it does there.
    """

    def __init__(self, opt: dict[str, Any], device: str) -> None:
        training.install()
        self.model = MaskedRestorationModel({**opt, 'num_gpu': 0, 'dist': False, 'is_train': False})
        self.model.device = torch.device(device)  # BasicSR knows the CPU and the first CUDA GPU
        self.model.net_g.to(device).eval()
        self.parameters = sum(parameter.numel() for parameter in self.model.net_g.parameters())

    def __call__(self, item: dict[str, Any], degradation: Mapping[str, Any]) -> Tensor:
        """Restore an image with the network."""
        self.model.feed_data(item)
        self.model.test()
        return self.model.raw


@dataclass(frozen=True)
class Contender:
    """A row of the table.

    Args:
        label: its first cell.
        settings: a classical method's key, or a network's sections of an option file; None: the
            unrestored input.
    """

    label: str
    settings: str | dict[str, Any] | None = None

    def ready(self, device: str) -> ReadyMethod:
        """Build the method on a device. Classical methods run on the CPU.

        Args:
            device: cpu, cuda, cuda:N or mps.

        Raises:
            ValueError: weights do not fit.
        """
        if self.settings is None:
            return ReadyMethod()
        if isinstance(self.settings, str):
            return ClassicalRestorer(classical.METHODS[self.settings])
        return NetworkRestorer(self.settings, device)


INPUT = Contender('unrestored input')


def classical_methods(names: list[str], degradations: set[str | None]) -> list[Contender]:
    """Return the classical methods of these names.

    Args:
        names: keys of `classical.METHODS`; 'all' stands for all that fit, 'none' for none.
        degradations: kinds of degradation of the images; None for an unknown one.

    Raises:
        ValueError: an unknown name, or a method for another degradation than the images'.
    """
    fitting = [
        key
        for key, method in classical.METHODS.items()
        if method.degradation is None or degradations <= {method.degradation}
    ]
    known = ('all', 'none', *classical.METHODS)
    chosen: list[str] = []
    for name in names:
        if name not in known:
            hint = suggestion(name, known)
            raise ValueError(f'--classical {name}: there is no such method{hint}')
        if name == 'all':
            chosen += fitting
        elif name in fitting:
            chosen.append(name)
        elif name != 'none':
            kind = classical.METHODS[name].degradation
            found = ', '.join(sorted(item or 'not known' for item in degradations))
            raise ValueError(
                f'--classical {name}: it is for {kind}, and the degradation of the images is '
                f'{found}; tell it by --degradation {kind} and '
                f'{"--block" if kind == "pix" else "--sigma"}'
            )
    return [Contender(classical.METHODS[key].title, key) for key in dict.fromkeys(chosen)]


def network(text: str) -> Contender:
    """Return the network of a command line: [LABEL=]FILE.pth, or [LABEL=]FILE.yml[,WEIGHTS.pth].

    A checkpoint without an option file has to describe itself, as those of HMANet, HMACA and the
    networks of `described.NESTED` do. An option file's weights are those that
    `basicsr test -opt FILE` would test in the current folder.

    Raises:
        FileNotFoundError, ValueError: in one line.
    """
    label, equals, files = text.partition('=')
    file, *more = (files if equals else text).split(',')
    if len(more) > 1 or not file:
        raise ValueError(f'{text!r}: expected [LABEL=]FILE.pth, or [LABEL=]FILE.yml[,WEIGHTS.pth]')
    if file.lower().endswith(('.yml', '.yaml')):
        opt = _from_options(file, more)
        return Contender(label if equals else opt['name'], opt)
    if more:
        raise ValueError(
            f'{text!r}: weights after a comma go with an option file, and {file} is none (.yml)'
        )
    return Contender(label if equals else label_of(Path(file)), _from_checkpoint(file))


def _from_checkpoint(file: str) -> dict[str, Any]:
    network: Any = load_network(Path(file)).network
    weights = {'pretrain_network_g': file, 'param_key_g': 'params_ema'}
    return {'network_g': section_of(network), 'path': weights}


def _from_options(file: str, weights: list[str]) -> dict[str, Any]:
    opt = options.load(file)
    for key in ('name', 'network_g'):
        if key not in opt:
            raise ValueError(f'{file}: {key!r} is missing')
    check_network(opt['network_g'])
    path = dict(opt.get('path') or {})
    if weights:
        path['pretrain_network_g'] = weights[0]
        path['param_key_g'] = read_checkpoint(Path(weights[0]))[1]
    else:
        path.update(completing.weights_to_test(opt, ''))
    if not Path(path['pretrain_network_g']).is_file():
        raise FileNotFoundError(
            f'{file}: its weights {path["pretrain_network_g"]} do not exist; '
            f'run this where they were trained, or name them: {file},WEIGHTS.pth'
        )
    # Checked now, and not after the other methods ran for hours.
    sections = {'network_g': opt['network_g'], 'path': path}
    for error in misfit_of_weights(sections, 'pretrain_network_g'):
        raise ValueError(f'{file}, {path["pretrain_network_g"]}: {error}')
    amp = (opt.get('train') or {}).get('amp', False)
    return {'name': opt['name'], **sections, 'train': {'amp': amp}}


def label_of(file: Path) -> str:
    """Return a label for a checkpoint file.

    experiments/NAME/models/net_g_latest.pth becomes NAME, net_g_500.pth there becomes NAME 500, and
    any other file its own name.
    """
    if file.parent.name != 'models':
        return file.stem
    iteration = file.stem.rpartition('_')[2]
    name = file.resolve().parent.parent.name
    return name if iteration == 'latest' else f'{name} {iteration}'
