"""The log of a training: a line every `print_freq` iterations, TensorBoard's scalars, a bar."""

import math
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from basicsr.utils import MessageLogger
from basicsr.utils.dist_util import get_dist_info, master_only
from tqdm import tqdm

from hmaca_arch.training import log_lines


def decibel(mean_squared_error: float) -> float:
    """Return the PSNR of images in [0, 1]; inf if there is no error."""
    return -10 * math.log10(mean_squared_error) if mean_squared_error > 0 else math.inf


class ProgressLogger(MessageLogger):
    """BasicSR's logger with the right estimate of the time left.

    BasicSR divides the time since iteration 1 by one iteration too many, or by two after resuming,
    and spreads a validation over the iterations before it. Here iterations and validations are
    counted apart:

        time left = iterations left * mean time of an iteration
                    + validations left * mean time of a validation

    The first stretch, in which files are opened and kernels compiled, counts only until there is a
    second one. A validation's time is known after the first one.
    """

    def __init__(self, opt: dict, start_iter: int = 1, tb_logger: Any = None) -> None:
        super().__init__(opt, start_iter, tb_logger)
        self.val_freq = math.inf
        if any('val' in phase for phase in opt['datasets']):
            self.val_freq = (opt.get('val') or {}).get('val_freq', math.inf)
        # Iteration, time, and the seconds spent in validation until then.
        self.since = (start_iter, self.start_time, 0.0)
        self.settled = False
        is_first = get_dist_info()[0] == 0
        root = opt['path'].get('experiments_root') if is_first else None
        self.lines = Path(root, log_lines.NAME) if root else None
        if self.lines:
            log_lines.cut(self.lines, start_iter)
        # With disable=None tqdm shows a bar only if stderr is a terminal.
        shown = opt['logger'].get('pbar') and is_first
        self.bar = tqdm(
            desc=self.exp_name,
            total=self.max_iters,
            initial=start_iter,
            bar_format='{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}',
            disable=None if shown else True,
        )

    def reset_start_time(self) -> None:
        """Start the clock again; BasicSR calls this after iteration 1 of a run from nothing."""
        self.since = (self.start_iter + 1, time.time(), 0.0)
        self.settled = True

    def seconds_left(
        self, iteration: int, iteration_time: float, validations: int, validation_time: float
    ) -> float:
        """Return the seconds left at the end of `iteration`, before its validation.

        Args:
            iteration: counted from 1.
            iteration_time: seconds of one iteration, used if none has been measured here.
            validations: number of validations in this process.
            validation_time: seconds of all of them.
        """
        first, start, in_validation = self.since
        now = time.time()
        if iteration > first:
            iteration_time = (now - start - (validation_time - in_validation)) / (iteration - first)
        if not self.settled:
            self.since, self.settled = (iteration, now, validation_time), True
        left = (self.max_iters - iteration) * iteration_time
        if validations and self.val_freq < math.inf:
            # One every val_freq iterations, this one's included, and one at the end.
            done = math.ceil(iteration / self.val_freq)
            to_do = math.ceil(self.max_iters / self.val_freq) - done + 1
            left += to_do * validation_time / validations
        return left

    def update_bar(self, iteration: int, left: float) -> None:
        """Move the bar and write the seconds left beside it; close it after the last iteration."""
        self.bar.n = iteration
        self.bar.set_postfix_str(f'{timedelta(seconds=round(left))} left')
        if iteration >= self.max_iters:
            self.bar.close()

    @master_only
    def __call__(self, log_vars: Mapping[str, Any]) -> None:
        """Log a line, and the scalars for TensorBoard and `log.jsonl`.

        Args:
            log_vars: `epoch`, `iter`, `lrs`, `time` and `data_time` from BasicSR; `validations`,
                their number and seconds so far; `db_input` and `db_result`, the PSNR inside the
                region. All others are losses.
        """
        losses = dict(log_vars)
        epoch, iteration, rates = losses.pop('epoch'), losses.pop('iter'), losses.pop('lrs')
        times = {'time': losses.pop('time'), 'data_time': losses.pop('data_time')}
        left = self.seconds_left(iteration, times['time'], *losses.pop('validations', (0, 0.0)))
        names = [name for name in ('db_input', 'db_result') if name in losses]
        decibels: dict[str, float] = {name: losses.pop(name) for name in names}
        if self.lines:
            values = {'iter': iteration, 'epoch': epoch, 'lr': rates, **losses, **decibels, **times}
            log_lines.append(self.lines, {**values, 'seconds_left': left})
        self.bar.clear()
        head = (
            f'[{self.exp_name[:5]}..][epoch:{epoch:3d}, iter:{iteration:8,d}, '
            f'lr:({"".join(f"{rate:.3e}," for rate in rates)})] '
            f'[eta: {timedelta(seconds=round(left))}, '
            f'time (data): {times["time"]:.3f} ({times["data_time"]:.3f})]'
        )
        self.logger.info(f'{head} {_figures(losses, decibels)}')
        self.update_bar(iteration, left)
        if self.tb_logger:
            scalars = {
                **{f'losses/{k}' if k.startswith('l_') else k: v for k, v in losses.items()},
                **{f'dB_inside/{k.removeprefix("db_")}': v for k, v in decibels.items()},
                **{f'lr/{group}': rate for group, rate in enumerate(rates)},
            }
            for name, value in scalars.items():
                self.tb_logger.add_scalar(name, value, iteration)


def _figures(losses: Mapping[str, float], decibels: Mapping[str, float]) -> str:
    text = ' '.join(f'{name}: {value:.4e}' for name, value in losses.items())
    if not decibels:
        return text
    inside = (f'{name.removeprefix("db_")} {value:.2f}' for name, value in decibels.items())
    return f'{text} dB inside: {", ".join(inside)}'
