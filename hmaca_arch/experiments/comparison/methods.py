"""What can be compared: the input as it is, classical methods, and networks with their weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hmaca_arch.config import files as options
from hmaca_arch.config.checks import check_network
from hmaca_arch.config.presence import weights_that_do_not_fit
from hmaca_arch.experiments import classical
from hmaca_arch.files.torch_files import read_checkpoint
from hmaca_arch.messages import suggestion
from hmaca_arch.models import MaskedRestorationModel
from hmaca_arch.networks.loading import load_network
from hmaca_arch.networks.mask_input import section_of
from hmaca_arch.training import pipeline as training


class Restorer:
    """A method made ready: call it with a batch of one and with what is known of its degradation;
    (1, 3, h, w) comes back.
    """

    parameters: int | None = None  # None: it has none to learn

    def __call__(self, item: Mapping[str, Any], known: Mapping[str, Any]) -> Tensor:
        return item['lq']


class ClassicalRestorer(Restorer):
    def __init__(self, method: classical.Method) -> None:
        self.method = method

    def __call__(self, item: Mapping[str, Any], known: Mapping[str, Any]) -> Tensor:
        lq, mask = (
            np.ascontiguousarray(item[key][0].numpy().transpose(1, 2, 0)) for key in ('lq', 'mask')
        )
        restored = self.method(lq, mask[..., 0] > 0, known)
        return torch.from_numpy(
            np.ascontiguousarray(restored.transpose(2, 0, 1), dtype=np.float32)
        )[None]


class NetworkRestorer(Restorer):
    """`basicsr test`'s model: how it loads weights, pads, hands in the mask and uses mixed
    precision is not done twice.
    """

    def __init__(self, opt: dict[str, Any], device: str) -> None:
        training.install()
        self.model = MaskedRestorationModel({**opt, 'num_gpu': 0, 'dist': False, 'is_train': False})
        self.model.device = torch.device(device)  # BasicSR knows the CPU and the first CUDA GPU
        self.model.net_g.to(device).eval()
        self.parameters = sum(parameter.numel() for parameter in self.model.net_g.parameters())

    def __call__(self, item: Mapping[str, Any], known: Mapping[str, Any]) -> Tensor:
        self.model.feed_data(item)
        self.model.test()
        return self.model.raw


@dataclass(frozen=True)
class Method:
    """A row of the table. `settings`: a classical method's key, or a network's sections of an
    option file; neither: the input.
    """

    label: str
    settings: str | dict[str, Any] | None = None

    def ready(self, device: str) -> Restorer:
        """Build it on `device`, cpu, cuda, cuda:N or mps (classical methods run on the CPU).

        Raises:
            ValueError: weights do not fit.
        """
        if self.settings is None:
            return Restorer()
        if isinstance(self.settings, str):
            return ClassicalRestorer(classical.METHODS[self.settings])
        return NetworkRestorer(self.settings, device)


INPUT = Method('unrestored input')


def classical_methods(names: list[str], degradations: set[str | None]) -> list[Method]:
    """Those named; 'all' stands for all that fit.

    Args:
        names: keys of `classical.METHODS`, or 'all', or 'none'.
        degradations: of the pictures.

    Raises:
        ValueError: an unknown name, or a method for another degradation than the pictures'.
    """
    fitting = [
        key
        for key, method in classical.METHODS.items()
        if {method.degradation} >= degradations or method.degradation is None
    ]
    chosen: list[str] = []
    for name in names:
        if name not in ('all', 'none', *classical.METHODS):
            raise ValueError(
                f'--classical {name}: there is no such method{suggestion(name, ["all", "none", *classical.METHODS])}'
            )
        if name in classical.METHODS and name not in fitting:
            kind = classical.METHODS[name].degradation
            found = ', '.join(sorted(item or 'not known' for item in degradations))
            raise ValueError(
                f'--classical {name}: it is for {kind}, and the degradation of the pictures is {found}; '
                f'tell it by --degradation {kind} and {"--block" if kind == "pix" else "--sigma"}'
            )
        chosen += fitting if name == 'all' else [] if name == 'none' else [name]
    return [Method(classical.METHODS[key].title, key) for key in dict.fromkeys(chosen)]


def network(text: str) -> Method:
    """A network of the command line: [LABEL=]FILE.pth, or [LABEL=]FILE.yml[,WEIGHTS.pth].

    A checkpoint by itself has to say which network it is of. HMANet, HMACA and the networks of
    `described.NESTED` do. An option file's own weights are those that `basicsr test -opt FILE`
    would test in the current folder.

    Raises:
        FileNotFoundError, ValueError: in one line.
    """
    label, equals, files = text.partition('=')
    file, *more = (files if equals else text).split(',')
    if len(more) > 1 or not file:
        raise ValueError(f'{text!r}: expected [LABEL=]FILE.pth, or [LABEL=]FILE.yml[,WEIGHTS.pth]')
    if file.lower().endswith(('.yml', '.yaml')):
        opt = _from_options(file, more)
        return Method(label if equals else opt['name'], opt)
    if more:
        raise ValueError(
            f'{text!r}: weights after a comma go with an option file, and {file} is none (.yml)'
        )
    return Method(label if equals else label_of(Path(file)), _from_checkpoint(file))


def _from_checkpoint(file: str) -> dict[str, Any]:
    network = load_network(Path(file)).network
    return {
        'network_g': section_of(network),
        'path': {'pretrain_network_g': file, 'param_key_g': 'params_ema'},
    }


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
        path.update(options.weights_to_test(opt, ''))
    if not Path(path['pretrain_network_g']).is_file():
        raise FileNotFoundError(
            f'{file}: its weights {path["pretrain_network_g"]} do not exist; run this where they were trained, or name them: '
            f'{file},WEIGHTS.pth'
        )
    for error in weights_that_do_not_fit(
        {'network_g': opt['network_g'], 'path': path}, 'pretrain_network_g'
    ):
        raise ValueError(
            f'{file}, {path["pretrain_network_g"]}: {error}'
        )  # now, not when the methods before it have run for hours
    amp = (opt.get('train') or {}).get('amp', False)
    return {'name': opt['name'], 'network_g': opt['network_g'], 'path': path, 'train': {'amp': amp}}


def label_of(file: Path) -> str:
    """experiments/NAME/models/net_g_latest.pth -> NAME; .../net_g_500.pth -> NAME 500; anything
    else by its own name.
    """
    if file.parent.name != 'models':
        return file.stem
    iteration = file.stem.rpartition('_')[2]
    return file.resolve().parent.parent.name + ('' if iteration == 'latest' else f' {iteration}')
