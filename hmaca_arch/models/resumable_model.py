"""BasicSR's `SRModel`, saved so that an interrupted run ends exactly as one that was not."""

import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import nn

from hmaca_arch.files.torch_files import read_checkpoint, save_atomically
from hmaca_arch.messages import printable, short_repr
from hmaca_arch.training import distributed, resuming, schedules, stopping
from hmaca_arch.training.state_checks import check_optimizer

ADDED_BY_TORCH = {'decoupled_weight_decay'}  # optimizer settings that only some versions have
MISFITS = (KeyError, TypeError, AttributeError, IndexError, AssertionError, RuntimeError)


class ResumableModel(SRModel):
    """Saves the weights of an iteration, then its training state, each atomically.

    The state holds the optimizer, the schedule, the scaler of mixed precision, the best results so
    far and which sequence of samples the run takes. It needs no random numbers: those of an
    iteration are drawn from (seed, iteration).
    """

    saved_at = 0  # the newest iteration that is saved

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Stop if a signal asks for it, else update the rate.

        BasicSR calls this first in each iteration.
        """
        if signal := distributed.largest(stopping.received()):
            self.stop(current_iter - 1, signal)
        super().update_learning_rate(current_iter, warmup_iter)

    def stop(self, current_iter: int, signal: int) -> NoReturn:
        """Save after `current_iter`, unless it is saved, and end the run.

        Raises:
            stopping.Stopped: always.
        """
        if current_iter > self.saved_at:
            self.save(0, current_iter)  # a resumed run computes the epoch itself
        saved = 'with nothing to save'
        if current_iter:
            saved = 'which is saved: --auto_resume goes on from there'
        get_root_logger().info(f'Stopped after iteration {current_iter}, {saved}.')
        raise stopping.Stopped(stopping.EXIT_CODES[signal])

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """Load weights without executing code in the file.

        Raises:
            OSError, ValueError: the file cannot be read, or is of another network.
        """
        net = self.get_bare_model(net)
        weights, key = read_checkpoint(Path(load_path), (param_key, 'params') if param_key else ())
        get_root_logger().info(
            f'Loading {type(net).__name__} model from {printable(load_path)}, '
            f'with param key: [{printable(key)}].'
        )
        try:
            self._print_different_keys_loading(net, weights, strict)
            net.load_state_dict(weights, strict=strict)
        except ValueError as error:
            raise ValueError(f'{load_path}: {error}') from None

    @master_only
    def save_network(
        self, net: Any, net_label: str, current_iter: int, param_key: Any = 'params'
    ) -> None:
        """Write `net_label_ITER.pth` atomically; a failed save is an error.

        Args:
            net: a network or a list of them.
            net_label: the start of the file's name.
            current_iter: the iteration; -1: `latest`.
            param_key: the key of each network in the file.
        """
        nets, keys = (value if isinstance(value, list) else [value] for value in (net, param_key))
        states = {}
        for key, item in zip(keys, nets, strict=True):
            weights = self.get_bare_model(item).state_dict()
            states[key] = OrderedDict((name, value.cpu()) for name, value in weights.items())
        label = 'latest' if current_iter == -1 else current_iter
        target = os.path.join(self.opt['path']['models'], f'{net_label}_{label}.pth')
        save_atomically(states, target)

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write `ITER.state` atomically, after the networks: where it exists, they do."""
        if current_iter == -1:
            return
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'optimizer_types': [type(optimizer).__name__ for optimizer in self.optimizers],
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
            'scaler': self.scaler.state_dict(),
            'best': getattr(self, 'best_metric_results', {}),
            'sampling': self.opt.get('sampling', {}),
        }
        folder = self.opt['path']['training_states']
        save_atomically(state, os.path.join(folder, f'{current_iter}.state'))

    def save(self, epoch: int, current_iter: int) -> None:
        """Save weights and state, and delete checkpoints as `logger: keep_last` says."""
        super().save(epoch, current_iter)
        self.saved_at = max(self.saved_at, current_iter)
        logger, path = self.opt['logger'], self.opt['path']
        if not logger.get('keep_last') or distributed.rank() > 0:
            return
        best: set[int] = set()
        if logger.get('keep_best'):
            for metrics in getattr(self, 'best_metric_results', {}).values():
                best.update(record['iter'] for record in metrics.values())
        models, states = Path(path['models']), Path(path['training_states'])
        resuming.prune(models, states, logger['keep_last'], best)

    def resume_training(self, resume_state: dict) -> None:
        """Continue from a training state.

        The option file says how the optimizer and its schedule are set: a run may be made longer.

        Raises:
            ValueError: the state is of another optimizer, or is no state.
        """
        try:
            self._resume(resume_state)
        except MISFITS as error:
            reason = f'{type(error).__name__}: {str(error)[:150]}'
            raise ValueError(f'the training state does not fit this run ({reason})') from error

    def _resume(self, resume_state: dict) -> None:
        settings = [_settings_of(optimizer) for optimizer in self.optimizers]
        # States of BasicSR's own do not name their optimizers.
        types = resume_state.get('optimizer_types', [None] * len(self.optimizers))
        for optimizer, ours, saved, kind in zip(
            self.optimizers, settings, resume_state['optimizers'], types
        ):
            check_optimizer(optimizer, saved)
            for group, theirs in zip(ours, saved['param_groups']):
                _compare_settings(type(optimizer).__name__, kind, group, theirs)
        kept = ('last_epoch', '_step_count', '_last_lr')
        schedulers = [
            {key: state[key] for key in kept if key in state}
            for state in resume_state['schedulers']
        ]
        super().resume_training({**resume_state, 'schedulers': schedulers})
        warmup = self.opt['train'].get('warmup_iter', -1)
        for optimizer, scheduler, ours, saved in zip(
            self.optimizers, self.schedulers, settings, resume_state['schedulers']
        ):
            _configure(optimizer, ours)
            if changed := schedules.go_on(scheduler, saved, warmup):
                name = type(scheduler).__name__
                get_root_logger().warning(f'{name} goes on with other settings: {changed}')
            scheduler._last_lr = [group['lr'] for group in optimizer.param_groups]
        self.saved_at = resume_state['iter']
        metrics = set((self.opt.get('val') or {}).get('metrics') or {})
        self.best_metric_results = {
            name: best
            for name, best in resume_state.get('best', {}).items()
            if set(best) == metrics
        }
        if resume_state.get('scaler'):
            self.scaler.load_state_dict(resume_state['scaler'])


def _settings_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the settings of each group of an optimizer, without its weights and its rate."""
    return [
        {key: value for key, value in group.items() if key not in ('params', 'lr')}
        for group in optimizer.param_groups
    ]


def _compare_settings(
    name: str, kind: str | None, ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> None:
    """Compare the settings of an optimizer with those in a state.

    Args:
        name: the optimizer's class.
        kind: the class in the state; None if the state does not say.
        ours: the settings of a group of the optimizer.
        theirs: those of the group in the state.

    Raises:
        ValueError: they are of different optimizers.
    """
    odd = (ours.keys() ^ theirs.keys()) - {'params', 'lr'} - ADDED_BY_TORCH
    if kind != name if kind else odd:
        other = kind or f'another optimizer (only one of them has {", ".join(sorted(odd)[:5])})'
        raise ValueError(
            f'train:optim_g:type: {name} cannot go on from the state of {other}; restore the type, '
            'or start a run of another name with path: pretrain_network_g'
        )
    changed = [
        f'{key} {short_repr(theirs[key])}, now {value}'
        for key, value in ours.items()
        if theirs.get(key, value) != value
    ]
    if changed:
        get_root_logger().warning(f'{name} goes on with other settings: {"; ".join(changed)}')


def _configure(optimizer: torch.optim.Optimizer, settings: list[dict[str, Any]]) -> None:
    """Set a resumed optimizer as the option file says."""
    for group, configured in zip(optimizer.param_groups, settings):
        before = group.get('initial_lr')
        group.update(configured)
        if before and before != group['initial_lr']:  # MultiStepLR multiplies the current rate
            group['lr'] *= group['initial_lr'] / before
