"""BasicSR's `SRModel`, saved so that a run can be interrupted at any moment and still ends as one
that was not.
"""

import os
from collections import OrderedDict
from pathlib import Path

from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only

from hmaca_arch.files.torch_files import read_checkpoint, save_atomically
from hmaca_arch.messages import printable, show
from hmaca_arch.training import distributed, resuming, stopping
from hmaca_arch.training.states import check_optimizer

ADDED_BY_TORCH = {
    'decoupled_weight_decay'
}  # settings of an optimizer that only some of its versions have


class ResumableModel(SRModel):
    """What is saved, and when: the weights of an iteration, then its training state, each
    atomically.

    The state holds the optimizer, the schedule, the scaler of mixed precision, the best results so
    far and which sequence of samples the run takes. Random numbers need no state: each iteration's
    are drawn from (seed, iteration) anew.
    """

    saved_at = 0  # the newest iteration that is saved

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """BasicSR calls this first in each iteration: the moment to stop, if a signal asks for it."""
        if signal := distributed.largest(stopping.received()):
            self.stop(current_iter - 1, signal)
        super().update_learning_rate(current_iter, warmup_iter)

    def stop(self, current_iter: int, signal: int) -> None:
        """Save what there is after `current_iter` and end the run.

        Raises:
            stopping.Stopped: always.
        """
        if current_iter > self.saved_at:
            self.save(0, current_iter)  # which epoch that is, a resumed run finds out by itself
        saved = (
            'which is saved: --auto_resume goes on from there'
            if current_iter
            else 'with nothing to save'
        )
        get_root_logger().info(f'Stopped after iteration {current_iter}, {saved}.')
        raise stopping.Stopped(stopping.exit_code(signal))

    def load_network(
        self, net, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """As BasicSR's, but nothing in the file is executed, and an error is one line that names
        it.
        """
        net = self.get_bare_model(net)
        weights, key = read_checkpoint(Path(load_path), (param_key, 'params') if param_key else ())
        get_root_logger().info(
            f'Loading {type(net).__name__} model from {printable(load_path)}, with param key: [{printable(key)}].'
        )
        try:
            self._print_different_keys_loading(net, weights, strict)
            net.load_state_dict(weights, strict=strict)
        except ValueError as error:
            raise ValueError(f'{load_path}: {error}') from None

    @master_only
    def save_network(self, net, net_label: str, current_iter: int, param_key='params') -> None:
        """Write `net_label_ITER.pth` atomically; a failed save is an error."""
        nets, keys = (value if isinstance(value, list) else [value] for value in (net, param_key))
        states = {}
        for key, item in zip(keys, nets, strict=True):
            states[key] = OrderedDict(
                (name, value.cpu())
                for name, value in self.get_bare_model(item).state_dict().items()
            )
        label = 'latest' if current_iter == -1 else current_iter
        save_atomically(
            states, os.path.join(self.opt['path']['models'], f'{net_label}_{label}.pth')
        )

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write `ITER.state` atomically. It comes after the networks: where it exists, they do."""
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
        save_atomically(
            state, os.path.join(self.opt['path']['training_states'], f'{current_iter}.state')
        )

    def save(self, epoch: int, current_iter: int) -> None:
        super().save(epoch, current_iter)
        self.saved_at = max(self.saved_at, current_iter)
        keep_last = self.opt['logger'].get('keep_last')
        if keep_last and distributed.rank() == 0:
            results = (
                getattr(self, 'best_metric_results', {})
                if self.opt['logger'].get('keep_best')
                else {}
            )
            best = {record['iter'] for metrics in results.values() for record in metrics.values()}
            resuming.prune(
                Path(self.opt['path']['models']),
                Path(self.opt['path']['training_states']),
                keep_last,
                best,
            )

    def resume_training(self, resume_state: dict) -> None:
        """Go on from a state: it says where the learning rate stands, the option file how it falls
        (a run may be made longer), and what the
        optimizer's settings are.

        Raises:
            ValueError: the state is of another optimizer, or none.
        """
        try:
            self._resume(resume_state)
        except (
            KeyError,
            TypeError,
            AttributeError,
            IndexError,
            AssertionError,
            RuntimeError,
        ) as error:
            raise ValueError(
                f'the training state does not fit this run ({type(error).__name__}: {str(error)[:150]})'
            ) from error

    def _resume(self, resume_state: dict) -> None:
        kept = ('last_epoch', '_step_count', '_last_lr')
        schedulers = [
            {key: state[key] for key in kept if key in state}
            for state in resume_state['schedulers']
        ]
        settings = [
            [
                {key: value for key, value in group.items() if key not in ('params', 'lr')}
                for group in optimizer.param_groups
            ]
            for optimizer in self.optimizers
        ]
        types = resume_state.get(
            'optimizer_types', [None] * len(self.optimizers)
        )  # None: a state of BasicSR's own
        for optimizer, ours, saved, kind in zip(
            self.optimizers, settings, resume_state['optimizers'], types
        ):
            name = type(optimizer).__name__
            check_optimizer(optimizer, saved)
            for group, theirs in zip(ours, saved['param_groups']):
                odd = (group.keys() ^ theirs.keys()) - {'params', 'lr'} - ADDED_BY_TORCH
                if kind != name if kind else odd:
                    other = (
                        kind
                        or f'another optimizer (only one of them has {", ".join(sorted(odd)[:5])})'
                    )
                    raise ValueError(
                        f'train:optim_g:type: {name} cannot go on from the state of {other}; restore the type, or start a run of another '
                        'name with path: pretrain_network_g'
                    )
                changed = [
                    f'{key} {show(theirs[key])}, now {value}'
                    for key, value in group.items()
                    if theirs.get(key, value) != value
                ]
                if changed:
                    get_root_logger().warning(
                        f'{name} goes on with other settings: {"; ".join(changed)}'
                    )
        super().resume_training({**resume_state, 'schedulers': schedulers})
        for optimizer, scheduler, ours in zip(self.optimizers, self.schedulers, settings):
            for group, configured in zip(optimizer.param_groups, ours):
                before = group.get('initial_lr')
                group.update(configured)
                if (
                    before and before != group['initial_lr']
                ):  # MultiStepLR multiplies what stands here
                    group['lr'] *= group['initial_lr'] / before
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
