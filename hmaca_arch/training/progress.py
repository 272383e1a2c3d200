"""The line that training prints every `print_freq` iterations, and its scalars: losses, dB and the
time that is left.
"""

import math
import time
from datetime import timedelta
from pathlib import Path

from basicsr.utils import MessageLogger
from basicsr.utils.dist_util import get_dist_info, master_only
from tqdm import tqdm

from hmaca_arch.training import log_lines


def decibel(mean_squared_error: float) -> float:
    """PSNR of pictures in [0, 1]; inf if there is no error."""
    return -10 * math.log10(mean_squared_error) if mean_squared_error > 0 else math.inf


class ProgressLogger(MessageLogger):
    """BasicSR's logger with an estimated time of arrival that is right.

    BasicSR divides the time since iteration 1 by one iteration, or, resumed, by two iterations too
    many, and spreads a validation over the iterations before it. Here iterations and validations
    are counted apart:

        time left = iterations left * mean time of an iteration + validations left * mean time of a
        validation

    The first stretch, in which files are opened and kernels compiled, counts only until there is a
    second one. A validation's time is known once there was one.
    """

    def __init__(self, opt: dict, start_iter: int = 1, tb_logger=None):
        super().__init__(opt, start_iter, tb_logger)
        self.val_freq = (
            (opt.get('val') or {}).get('val_freq', math.inf)
            if any('val' in phase for phase in opt['datasets'])
            else math.inf
        )
        self.since = (
            start_iter,
            self.start_time,
            0.0,
        )  # iteration, time, seconds spent in validation until then
        self.settled = False
        root = opt['path'].get('experiments_root') if get_dist_info()[0] == 0 else None
        self.lines = Path(root, log_lines.NAME) if root else None
        if self.lines:
            log_lines.cut(self.lines, start_iter)
        # `logger: pbar`: a bar below the lines. tqdm shows none where stderr is no terminal
        # (disable=None).
        hidden = None if opt['logger'].get('pbar') and get_dist_info()[0] == 0 else True
        form = '{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}'
        self.bar = tqdm(
            desc=self.exp_name,
            total=self.max_iters,
            initial=start_iter,
            bar_format=form,
            disable=hidden,
        )

    def reset_start_time(self) -> None:
        """BasicSR's training calls this after iteration 1 of a run that starts from nothing."""
        self.since = (self.start_iter + 1, time.time(), 0.0)
        self.settled = True

    def seconds_left(
        self, iteration: int, iteration_time: float, validations: int, validation_time: float
    ) -> float:
        """Seconds from the end of `iteration`, not validated yet.

        Args:
            iteration: counted from 1.
            iteration_time: what one takes, for want of any measured here.
            validations, validation_time: how many there were in this process, and the seconds of
                all of them.
        """
        first, start, in_validation = self.since
        now = time.time()
        if iteration > first:
            iteration_time = (now - start - (validation_time - in_validation)) / (iteration - first)
        if not self.settled:
            self.since, self.settled = (iteration, now, validation_time), True
        left = (self.max_iters - iteration) * iteration_time
        if validations and self.val_freq < math.inf:
            # one every val_freq iterations, this one's included, and one at the end
            left += (
                (
                    math.ceil(self.max_iters / self.val_freq)
                    - math.ceil(iteration / self.val_freq)
                    + 1
                )
                * validation_time
                / validations
            )
        return left

    def show(self, iteration: int, left: float) -> None:
        """Move the bar, with the seconds that are left, and end it after the last iteration."""
        self.bar.n = iteration
        self.bar.set_postfix_str(f'{timedelta(seconds=round(left))} left')
        if iteration >= self.max_iters:
            self.bar.close()

    @master_only
    def __call__(self, log_vars: dict) -> None:
        """Log a line and TensorBoard's scalars.

        Args:
            log_vars: epoch, iter, lrs, time and data_time (BasicSR's), `validations`: (number,
                seconds) so far; db_input and db_result, the PSNR inside the region; everything else
                is a loss.
        """
        values = dict(log_vars)
        epoch, iteration, rates = values.pop('epoch'), values.pop('iter'), values.pop('lrs')
        iteration_time, data_time = values.pop('time'), values.pop('data_time')
        left = self.seconds_left(iteration, iteration_time, *values.pop('validations', (0, 0.0)))
        decibels = {
            name: values.pop(f'db_{name}') for name in ('input', 'result') if f'db_{name}' in values
        }
        message = (
            f'[{self.exp_name[:5]}..][epoch:{epoch:3d}, iter:{iteration:8,d}, lr:({"".join(f"{rate:.3e}," for rate in rates)})] '
            f'[eta: {timedelta(seconds=round(left))}, time (data): {iteration_time:.3f} ({data_time:.3f})] '
            + ' '.join(f'{name}: {value:.4e}' for name, value in values.items())
        )
        if decibels:
            message += ' dB inside: ' + ', '.join(
                f'{name} {value:.2f}' for name, value in decibels.items()
            )
        if self.lines:
            decibel_values = {f'db_{name}': value for name, value in decibels.items()}
            times = {'time': iteration_time, 'data_time': data_time, 'seconds_left': left}
            log_lines.append(
                self.lines,
                {
                    'iter': iteration,
                    'epoch': epoch,
                    'lr': rates,
                    **values,
                    **decibel_values,
                    **times,
                },
            )
        self.bar.clear()
        self.logger.info(message)
        self.show(iteration, left)
        if self.tb_logger:
            for name, value in values.items():
                self.tb_logger.add_scalar(
                    f'losses/{name}' if name.startswith('l_') else name, value, iteration
                )
            for name, value in decibels.items():
                self.tb_logger.add_scalar(f'dB_inside/{name}', value, iteration)
            for group, rate in enumerate(rates):
                self.tb_logger.add_scalar(f'lr/{group}', rate, iteration)
