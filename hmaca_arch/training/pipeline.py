"""What BasicSR's unchanged `train_pipeline` and `test_pipeline` need replaced, by name, to run this
project's experiments.

Why each replacement:

| name | stock BasicSR 1.4.2 | | --- | --- | | `parse_options` | see `starting.py` | |
`make_exp_dirs` | one process renames and makes folders while others already write to them | |
`copy_opt_file`, `get_root_logger` | likewise; and the system's encoding, which on Windows refuses
most names | | `load_resume_state` | (`resuming.py`) looks below the source's folder, takes a
half-written state, needs a GPU, and silently starts over | | `create_train_val_dataloader` | drops
the last batch while counting it, so that 12 pictures in batches of 8 end at iteration 151 of | | |
300; shuffles every run alike; starts an epoch over on resume | | `build_model` | what a resumed run
has to catch up on (see `start_logging`) needs the model | | `get_time_str` | names a log by the
second: a run that is resumed within it empties the log of the one before | | `MessageLogger` | see
`progress.py`: its estimated time is wrong, and ends at "-1 day, 23:59:59" | | `worker_init_fn` | a
signal to all processes ends the workers while training still needs them | | `CPUPrefetcher` |
begins to read before `reset` begins to read: two readers, of one iterator where the workers persist
| | `BaseModel.get_optimizer` | Adam only | | `BaseModel.model_to_device` | wraps for a GPU that may
not be there | | `BaseModel._print_different_keys_loading` | compares key names before a network
could translate them |

BasicSR's version is checked before anything is replaced.
"""

import hashlib
import json
import math
import os
import platform
import subprocess
from argparse import Namespace
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from importlib import metadata
from pathlib import Path

import basicsr
import basicsr.data
import basicsr.test
import basicsr.train
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.prefetch_dataloader import CPUPrefetcher
from basicsr.models import build_model
from basicsr.models.base_model import BaseModel
from basicsr.utils import make_exp_dirs
from basicsr.utils.dist_util import master_only
from torch.nn.parallel import DistributedDataParallel

from hmaca_arch.config import checks as option_checks
from hmaca_arch.config.yaml_files import dump
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.messages import printable, suggestion
from hmaca_arch.training import distributed, resuming, run_record, starting, stopping
from hmaca_arch.training.accumulating import InParts, batches_a_step
from hmaca_arch.training.progress import ProgressLogger
from hmaca_arch.training.sampling import GlobalSampler

BASICSR = '1.4.2'
LOADER_TIMEOUT = 600  # seconds without a batch from the workers, after which they are taken to hang

_session: dict = {}  # of the run in this process: state (resumed from), model, val_loaders


def load_resume_state(opt: dict) -> dict | None:
    _session['state'] = resuming.load_resume_state(opt)
    return _session['state']


def build_and_keep_model(opt: dict):
    _session['model'] = build_model(opt)
    return _session['model']


def start_logging(opt: dict, current_iter: int, tb_logger=None) -> ProgressLogger:
    """BasicSR makes its `MessageLogger` when everything else is built.

    It saves before it validates the same iteration. A run that resumes from there validates first,
    then: a validation that was lost is made up for, and one that was not gives the same figures
    again.
    """
    if (
        _session.get('state') and opt['rank'] == 0
    ):  # not before: what is refused leaves all as it is
        resuming.set_aside(Path(opt['path']['training_states']), current_iter)
    val = opt.get('val')
    if _session.get('state') and val and current_iter % val['val_freq'] == 0:
        for loader in _session['val_loaders']:
            _session['model'].validation(loader, current_iter, tb_logger, val['save_img'])
    return ProgressLogger(opt, current_iter, tb_logger)


def microsecond() -> str:
    """Now, as the names of log files have it."""
    return datetime.now().strftime('%Y%m%d_%H%M%S_%f')


def init_worker(*args, **kwargs) -> None:
    stopping.leave_to_main_process()
    _stock_worker_init(*args, **kwargs)


def digest(dataset) -> str | None:
    """Of the pictures' names, in their order; None for data sets that do not tell them."""
    names = getattr(dataset, 'names', None)
    return (
        None
        if names is None
        else hashlib.sha256('\0'.join(names).encode(errors='surrogateescape')).hexdigest()[:12]
    )


def create_train_val_dataloader(opt: dict, logger):
    """As BasicSR's function of this name, with `GlobalSampler`."""
    record_run(opt, opt['path']['experiments_root'])
    total_iters, start_iter = int(opt['train']['total_iter']), opt.get('start_iter', 0)
    train, val_loaders = None, []
    for phase, dataset_opt in opt['datasets'].items():
        kind = phase.split('_')[0]
        if kind not in ('train', 'val'):
            raise ValueError(f'datasets:{phase}: expected train, val or val_NAME')
        dataset = build_dataset(dataset_opt)
        if len(dataset) == 0:
            raise ValueError(f'datasets:{phase}: no pictures found')
        loader_args = dict(num_gpu=opt['num_gpu'], dist=opt['dist'], seed=opt['manual_seed'])
        if kind == 'val':
            logger.info(
                f'Number of val images/folders in {printable(dataset_opt["name"])}: {len(dataset)}'
            )
            val_loaders.append(build_dataloader(dataset, dataset_opt, sampler=None, **loader_args))
            continue
        # Without a launcher BasicSR feeds several GPUs from one process, with one large batch.
        batches = batches_a_step(opt)
        dataset_opt = {
            **dataset_opt,
            'batch_size_per_gpu': batches * dataset_opt['batch_size_per_gpu'],
        }  # InParts splits it again
        global_batch = dataset_opt['batch_size_per_gpu'] * (
            opt['world_size'] if opt['dist'] else max(opt['num_gpu'], 1)
        )
        epoch_iters = math.ceil(
            len(dataset) * dataset_opt.get('dataset_enlarge_ratio', 1) / global_batch
        )
        opt['sampling'] = {
            'pictures': len(dataset), 'names': digest(dataset), 'global_batch': global_batch, 'seed': opt['manual_seed'],
        }  # fmt: skip
        if _session.get('state'):
            resuming.check_sampling(_session['state'], opt['sampling'])
            _session['state']['epoch'] = (
                start_iter // epoch_iters
            )  # dataset_enlarge_ratio may be another now
        sampler = GlobalSampler(
            size=len(dataset), global_batch=global_batch, epoch_iters=epoch_iters, total_iters=total_iters,
            start_iter=start_iter, seed=opt['manual_seed'], rank=opt['rank'], world_size=opt['world_size'],
        )  # fmt: skip
        if not dataset_opt.get('num_worker_per_gpu'):
            dataset_opt = {
                **dataset_opt,
                'persistent_workers': False,
            }  # torch refuses it where there are no workers
        loader = build_dataloader(dataset, dataset_opt, sampler=sampler, **loader_args)
        if batches > 1:
            loader.collate_fn = InParts(batches)
        if loader.num_workers:
            loader.timeout = LOADER_TIMEOUT
        train = loader, sampler, math.ceil(total_iters / epoch_iters)
        logger.info(
            f'Training statistics:\n\tpictures: {len(dataset)}\n\tbatch over all processes: {global_batch}'
            + (f', in {batches} parts one after the other (accum_iter)' if batches > 1 else '')
            + f'\n\titerations an epoch: {epoch_iters}'
            + f'\n\titerations: {total_iters}, passes: {total_iters * global_batch / len(dataset):.1f}'
        )
    if train is None:
        raise ValueError('datasets: there is no section train')
    _session['val_loaders'] = val_loaders
    train_loader, sampler, total_epochs = train
    return train_loader, sampler, val_loaders, total_epochs, total_iters


def keep_loader(self, loader) -> None:
    """As `CPUPrefetcher.__init__`, which `reset` follows before anything is read."""
    self.ori_loader = loader


def get_optimizer(self, optim_type: str, params, lr: float, **kwargs) -> torch.optim.Optimizer:
    """Any optimizer of torch.optim by its name (AdamW is the paper's)."""
    known = option_checks.optimizers()
    if optim_type not in known:
        raise ValueError(
            f'train:optim_g:type: there is no {optim_type!r}{suggestion(optim_type, known)}'
        )
    return known[optim_type](params, lr=lr, **kwargs)


def model_to_device(self, net: torch.nn.Module) -> torch.nn.Module:
    """As BasicSR's method of this name, without assuming that a distributed process has a GPU."""
    if (
        not self.opt['dist'] or self.device.type == 'cuda'
    ):  # `distributed.start` has chosen the process's GPU
        return _stock_model_to_device(self, net)
    return DistributedDataParallel(
        net.to(self.device), find_unused_parameters=self.opt.get('find_unused_parameters', False)
    )


def print_different_keys(self, crt_net, load_net: dict, strict: bool = True) -> None:
    """As BasicSR's method of this name, for keys as the network itself will translate them."""
    translate = getattr(self.get_bare_model(crt_net), 'canonical_state_dict', None)
    if translate is not None:
        canonical = translate(load_net)
        load_net.clear()
        load_net.update(canonical)
    _stock_print_different_keys(self, crt_net, load_net, strict)


_stock_model_to_device = BaseModel.model_to_device
_stock_worker_init = basicsr.data.worker_init_fn
_stock_print_different_keys = BaseModel._print_different_keys_loading


def commit(source: Path) -> str | None:
    """The checkout's commit, with -dirty if a file of it was changed; None without git. Takes no
    lock that could be left behind.
    """

    def git(*arguments: str) -> str:
        command = ['git', '--no-optional-locks', '-C', str(source), *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    try:
        head = git('rev-parse', '--short', 'HEAD')
        return (
            head + ('-dirty' if git('status', '--porcelain', '--untracked-files=no') else '')
            if head
            else None
        )
    except OSError:
        return None


@master_only
def record_run(opt: dict, folder: str) -> None:
    """Write what defines a run beside its results: `options_resolved.yml` and `versions.json`
    (code, packages, machine).
    """
    packages = (
        'hmaca',
        'basicsr',
        'torch',
        'torchvision',
        'numpy',
        'opencv-python',
        'scikit-image',
        'lmdb',
        'einops',
        'spandrel',
    )
    versions = {'python': platform.python_version(), 'machine': platform.platform()}
    if torch.cuda.is_available():
        versions['gpu'] = torch.cuda.get_device_name()
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    versions['torch'] = torch.__version__  # says which CUDA it was built for
    source = Path(__file__).resolve().parents[2]
    if (source / '.git').exists():
        versions['commit'] = commit(source)
    write_atomically(os.path.join(folder, 'versions.json'), json.dumps(versions, indent=2).encode())
    write_atomically(
        os.path.join(folder, 'options_resolved.yml'), dump(opt).encode(errors='surrogateescape')
    )


def make_dirs(opt: dict) -> None:
    """BasicSR's `make_exp_dirs`, which the other processes wait for; in a test, what defines the
    run beside its results.
    """
    if not opt['is_train'] and opt['rank'] == 0:  # a training has its lock by now
        resuming.lock_experiment(opt['path']['results_root'], 'testing under this name')
    distributed.barrier()  # all have looked into the old folder before it is moved aside
    make_exp_dirs(opt)
    if not opt['is_train']:
        record_run(opt, opt['path']['results_root'])
    distributed.barrier()


def install() -> None:
    """Replace the names of the table above, once.

    Raises:
        ValueError: another BasicSR is installed; its pipelines may call other names.
    """
    if basicsr.__version__ != BASICSR:
        raise ValueError(
            f'BasicSR {basicsr.__version__} is installed; training needs {BASICSR}: pip install basicsr=={BASICSR}'
        )
    basicsr.train.make_exp_dirs = basicsr.test.make_exp_dirs = make_dirs
    basicsr.train.copy_opt_file = run_record.copy_option_file
    basicsr.train.get_root_logger = basicsr.test.get_root_logger = run_record.root_logger
    basicsr.train.load_resume_state = load_resume_state
    basicsr.train.create_train_val_dataloader = create_train_val_dataloader
    basicsr.train.build_model = build_and_keep_model
    basicsr.train.get_time_str = basicsr.test.get_time_str = microsecond
    basicsr.train.MessageLogger = start_logging
    basicsr.data.worker_init_fn = init_worker
    CPUPrefetcher.__init__ = keep_loader
    BaseModel.get_optimizer = get_optimizer
    BaseModel.model_to_device = model_to_device
    BaseModel._print_different_keys_loading = print_different_keys


def run(command: str, args: Namespace, root_path: str) -> None:
    """Run BasicSR's pipeline 'train' or 'test' with the parsed command line `args`, writing below
    `root_path`.
    """
    install()
    module, pipeline = {
        'train': (basicsr.train, 'train_pipeline'),
        'test': (basicsr.test, 'test_pipeline'),
    }[command]
    module.parse_options = partial(starting.parse, args=args)
    try:
        with stopping.listening() if command == 'train' else nullcontext():
            getattr(module, pipeline)(root_path)
    except stopping.Stopped:
        distributed.finish()
        raise
    except (RuntimeError, ConnectionError, EOFError) as error:
        # what torch says of a worker that was killed, or hangs; the others: it was killed in the
        # middle of a word
        if 'DataLoader' in str(error) or not isinstance(error, RuntimeError):
            raise ValueError(
                f'a worker process of the loader is gone ({" ".join(str(error).split())[:200]}); if memory ran out, set a smaller '
                'num_worker_per_gpu; --auto_resume goes on from the newest checkpoint'
            ) from error
        if 'equal size' in str(error):  # what torch says where it makes a batch
            raise ValueError(
                'datasets:train: the pictures of a batch differ in size: set gt_size (crops of that side) or batch_size_per_gpu: 1'
            ) from error
        if 'does not have a deterministic implementation' in str(error):
            raise ValueError(
                f'train:deterministic: {str(error).split(",")[0].split(". ")[0]} on this device; leave it out'
            ) from error
        if not distributed.lost_others(error):
            raise
        raise ValueError(
            f'another process has ended or does not answer; its own message says why ({str(error).splitlines()[0]})'
        ) from error
    finally:
        stopping.end_workers()
        _session.clear()
        resuming.unlock()
    distributed.finish()
