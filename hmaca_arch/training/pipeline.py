"""BasicSR's `train_pipeline` and `test_pipeline`, unchanged but for the functions they call.

What is replaced, and what is wrong with it in BasicSR 1.4.2:

- `parse_options`: see `starting.py`.
- `make_exp_dirs`: one process renames and makes folders while others write to them already.
- `copy_opt_file`, `get_root_logger`: write in the system's encoding, which on Windows refuses most
  names.
- `get_root_logger`, `init_tb_logger` (see `logs.py`): a full disk is a traceback for each line, or
  an error without a path.
- `init_wandb_logger`: calls a function that wandb no longer has.
- `load_resume_state` (see `resuming.py`): looks below the source's folder, takes a half-written
  state, needs a GPU, and silently starts over.
- `create_train_val_dataloader`: see `loaders.py`.
- `build_model`: a resumed run may have to validate before it trains, and needs the model for it.
- `get_time_str`: names logs and archived folders by the second. A run that starts within that
  second empties the log of the one before, or cannot move its folder aside.
- `MessageLogger` (see `progress.py`): its estimated time is wrong, and ends at "-1 day, 23:59:59".
- `worker_init_fn`: a signal to all processes ends the workers while training still needs them.
- `CPUPrefetcher`, and some methods of `BaseModel`: see `basicsr_replacements.py`.

BasicSR's version is checked before anything is replaced.
"""

from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import basicsr
import basicsr.test
import basicsr.train
import basicsr.utils.misc
from basicsr.models import build_model
from basicsr.utils import make_exp_dirs

from hmaca_arch.messages import reason_of, say
from hmaca_arch.training import (
    basicsr_replacements,
    distributed,
    loaders,
    locking,
    logs,
    resuming,
    run_record,
    starting,
    stopping,
)
from hmaca_arch.training.progress import ProgressLogger

BASICSR = '1.4.2'
LOST_WORKER = ('DataLoader worker (pid', 'DataLoader timed out')  # how torch says it


class _Run:
    """Replacements that share something during a run.

    Attributes:
        state: the training state that the run resumes from.
        model: BasicSR's model.
        val_loaders: the loaders of all validation sets.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Drop everything, when the run has ended."""
        self.state: dict | None = None
        self.model: Any = None
        self.val_loaders: list = []

    def load_resume_state(self, opt: dict) -> dict | None:
        self.state = resuming.load_resume_state(opt)
        return self.state

    def build_model(self, opt: dict) -> Any:
        self.model = build_model(opt)
        return self.model

    def create_loaders(self, opt: dict, logger: Any) -> loaders.Loaders:
        run_record.record_run(opt, opt['path']['experiments_root'])
        made = loaders.build_loaders(opt, logger, self.state)
        self.val_loaders = made.val
        return made

    def start_logging(self, opt: dict, current_iter: int, tb_logger: Any = None) -> ProgressLogger:
        """Make the logger; BasicSR does so when everything else is built.

        BasicSR saves an iteration before it validates it. So a run that resumes there validates
        first. If the validation was lost, this makes up for it; if not, its figures come out again.
        """
        if self.state and opt['rank'] == 0:  # not earlier: a refused run must change nothing
            resuming.set_aside(Path(opt['path']['training_states']), current_iter)
        val = opt.get('val')
        if self.state and val and current_iter % val['val_freq'] == 0:
            for loader in self.val_loaders:
                self.model.validation(loader, current_iter, tb_logger, val['save_img'])
        return ProgressLogger(opt, current_iter, tb_logger)


_run = _Run()


def time_to_microsecond() -> str:
    """Return the time for the name of a log file or an archived folder."""
    return datetime.now().strftime('%Y%m%d_%H%M%S_%f')


def make_dirs(opt: dict) -> None:
    """Make the run's folders in one process, while the others wait; lock and record a test."""
    if not opt['is_train'] and opt['rank'] == 0:  # a training is locked already
        locking.lock_experiment(opt['path']['results_root'], 'testing under this name')
    distributed.barrier()  # all have looked into the old folder before it is moved aside
    make_exp_dirs(opt)
    if not opt['is_train']:
        run_record.record_run(opt, opt['path']['results_root'])
    distributed.barrier()


def install() -> None:
    """Replace the functions that are listed above; calling it again has no effect.

    Raises:
        ValueError: another BasicSR is installed, whose pipelines may call other functions.
    """
    if basicsr.__version__ != BASICSR:
        raise ValueError(
            f'BasicSR {basicsr.__version__} is installed; '
            f'training needs {BASICSR}: pip install basicsr=={BASICSR}'
        )
    basicsr_replacements.install()
    basicsr.train.make_exp_dirs = basicsr.test.make_exp_dirs = make_dirs
    basicsr.train.copy_opt_file = run_record.copy_option_file
    basicsr.train.get_root_logger = basicsr.test.get_root_logger = logs.root_logger
    for module in (basicsr.train, basicsr.test, basicsr.utils.misc):
        module.get_time_str = time_to_microsecond
    basicsr.train.init_tb_logger = logs.start_tensorboard
    basicsr.train.init_wandb_logger = run_record.start_wandb
    basicsr.train.load_resume_state = _run.load_resume_state
    basicsr.train.create_train_val_dataloader = _run.create_loaders
    basicsr.train.build_model = _run.build_model
    basicsr.train.MessageLogger = _run.start_logging


def run_pipeline(command: str, args: Namespace, root_path: str) -> None:
    """Run BasicSR's pipeline for a command.

    Args:
        command: 'train' or 'test'.
        args: the command line, as `commands.train.arguments` parses it.
        root_path: the folder to write to.

    Raises:
        FileNotFoundError, ValueError: a mistake of the user's, or another process is gone.
        stopping.Stopped: a signal has stopped the training, and it is saved.
    """
    install()
    is_train = command == 'train'
    module = basicsr.train if is_train else basicsr.test
    module.parse_options = partial(starting.parse, args=args)
    pipeline = module.train_pipeline if is_train else module.test_pipeline
    try:
        try:
            with logs.quiet_threads(), stopping.noting_signals() if is_train else nullcontext():
                stopped = _call(pipeline, root_path)
        finally:
            _clean_up()
    except Exception as error:
        _clean_up()  # again: the handler of a worker's end may have raised in the first
        explanation = _explanation(error)
        if explanation is None:
            raise
        raise ValueError(explanation) from error
    if stopped is None or stopped.together:
        distributed.finish()
    if stopped is not None:
        raise stopped


def _clean_up() -> None:
    """End what a training has begun."""
    stopping.end_workers()
    _run.forget()
    locking.unlock()


def _call(pipeline: Callable[[str], None], root_path: str) -> stopping.Stopped | None:
    """Run a pipeline; after a signal, the end of the other processes is no error.

    A signal reaches all processes, of which one may not have begun yet and ends at once.

    Returns:
        What stopped it; None at its end. The model and the loaders are freed by then, while signals
        are only noted: Ctrl-C in a destructor would show a traceback.
    """
    try:
        pipeline(root_path)
    except stopping.Stopped as stopped:
        stopping.end_workers()
        return stopped.with_traceback(None)  # whose frames hold all of it
    except RuntimeError as error:
        number = stopping.received()
        if not number or not distributed.lost_others(error):
            raise
        say('Another process ended first: --auto_resume goes on from the newest checkpoint.')
        stopping.end_workers()
        return stopping.Stopped(stopping.EXIT_CODES[number], together=False)
    return None


def _explanation(error: Exception) -> str | None:
    """Return one line about an error of torch's that has a known cause; None for another."""
    gone = _lost_worker(error)
    if gone is not None:
        return (
            f'a worker process of the loader is gone ({reason_of(gone, 200)}); if memory ran out, '
            'set a smaller num_worker_per_gpu; --auto_resume goes on from the newest checkpoint'
        )
    if not isinstance(error, RuntimeError):
        return None
    text = reason_of(error)
    if 'equal size' in text:  # from torch's default_collate
        return (
            'datasets:train: the images of a batch differ in size: '
            'set gt_size (crops of that side) or batch_size_per_gpu: 1'
        )
    if 'does not have a deterministic implementation' in text:
        operation = text.split(',')[0].split('. ')[0]
        return f'train:deterministic: {operation} on this device; leave it out'
    if distributed.lost_others(error):
        return (
            'another process has ended or does not answer; its own message says why '
            f'({str(error).splitlines()[0]})'
        )
    return None


def _lost_worker(error: BaseException) -> BaseException | None:
    """Return the error that says that a loader's worker is gone; None if there is no such error.

    torch raises it from a signal's handler, in the middle of anything. What was interrupted, such
    as writing a checkpoint, may then fail in its own way.
    """
    if isinstance(error, ConnectionError | EOFError):  # it was killed while it sent a batch
        return error
    chain: BaseException | None = error
    while chain is not None:
        if str(chain).startswith(LOST_WORKER):
            return chain
        chain = chain.__cause__ or chain.__context__
    return None
