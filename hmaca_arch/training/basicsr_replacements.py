"""Methods and functions of BasicSR that training replaces, apart from its pipelines' own."""

import os
from typing import Any

import basicsr.data
import torch
from basicsr.data.prefetch_dataloader import CPUPrefetcher
from basicsr.models.base_model import BaseModel
from basicsr.utils import misc
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from hmaca_arch.config.training_checks import optimizers
from hmaca_arch.files.atomic import replace
from hmaca_arch.messages import printable, say, suggestion
from hmaca_arch.training import stopping

_model_to_device = BaseModel.model_to_device
_print_different_keys = BaseModel._print_different_keys_loading
_init_worker = basicsr.data.worker_init_fn


def init_worker(*args: Any, **kwargs: Any) -> None:
    """Initialise a loader's worker, which must end with training, neither before nor after."""
    stopping.ignore_signals_in_worker()
    stopping.end_with_parent()
    _init_worker(*args, **kwargs)


def keep_loader(self: CPUPrefetcher, loader: DataLoader) -> None:
    """Replace `CPUPrefetcher.__init__`, which starts an iterator.

    `reset` follows before anything is read and starts another one. Where workers persist, two
    readers would share one iterator.
    """
    self.ori_loader = loader


def get_optimizer(
    self: BaseModel, optim_type: str, params: Any, lr: float, **kwargs: Any
) -> torch.optim.Optimizer:
    """Return any optimizer of torch.optim by its name; BasicSR has Adam only.

    Raises:
        ValueError: there is none of that name.
    """
    known: dict[str, Any] = optimizers()
    if optim_type not in known:
        hint = suggestion(optim_type, known)
        raise ValueError(f'train:optim_g:type: there is no {optim_type!r}{hint}')
    return known[optim_type](params, lr=lr, **kwargs)


def model_to_device(self: BaseModel, net: torch.nn.Module) -> torch.nn.Module:
    """Move a network to its device and wrap it; a distributed process need not have a GPU."""
    if not self.opt['dist'] or self.device.type == 'cuda':
        return _model_to_device(self, net)
    unused = self.opt.get('find_unused_parameters', False)
    return DistributedDataParallel(net.to(self.device), find_unused_parameters=unused)


def print_different_keys(
    self: BaseModel, crt_net: torch.nn.Module, load_net: dict, strict: bool = True
) -> None:
    """Compare key names after the network has translated them, as it will when it loads them."""
    translate = getattr(self.get_bare_model(crt_net), 'canonical_state_dict', None)
    if translate is not None:
        canonical = translate(load_net)
        load_net.clear()
        load_net.update(canonical)
    _print_different_keys(self, crt_net, load_net, strict)


def move_aside_and_make(path: str) -> None:
    """Make a run's folder; an earlier run's is renamed, as soon as nothing in it is in use."""
    if os.path.exists(path):
        new_name = f'{path}_archived_{misc.get_time_str()}'
        say(f'Path already exists. Rename it to {printable(new_name)}')
        replace(path, new_name)
    os.makedirs(path, exist_ok=True)


def install() -> None:
    """Put all of them into place; calling it again has no effect."""
    basicsr.data.worker_init_fn = init_worker
    misc.mkdir_and_rename = move_aside_and_make
    CPUPrefetcher.__init__ = keep_loader
    BaseModel.get_optimizer = get_optimizer
    BaseModel.model_to_device = model_to_device
    BaseModel._print_different_keys_loading = print_different_keys
