"""What BasicSR's unchanged `train_pipeline` and `test_pipeline` need replaced, by name, to run this project's experiments.

Why each replacement:

| name | stock BasicSR 1.4.2 |
| --- | --- |
| `parse_options` | see `options.py` |
| `make_exp_dirs`, `copy_opt_file` | one process renames and makes folders while others already write to them |
| `load_resume_state` | looks below the source's folder, takes a half-written state, needs a GPU, and silently starts over |
| `create_train_val_dataloader` | drops the last batch while counting it, so that 12 pictures in batches of 8 end at iteration 151 of |
| | 300; shuffles every run alike; starts an epoch over on resume |
| `MessageLogger` | see `progress.py`: its estimated time is wrong, and ends at "-1 day, 23:59:59" |
| `PrefetchGenerator` | an error while reading ends its thread, and training waits forever |
| `BaseModel.get_optimizer` | Adam only |
| `BaseModel.model_to_device` | wraps for a GPU that may not be there |
| `BaseModel._print_different_keys_loading` | compares key names before a network could translate them |

BasicSR's version is checked before anything is replaced.
"""

import json
import math
import os
import platform
import subprocess
from functools import partial
from importlib import metadata
from pathlib import Path

import basicsr
import basicsr.test
import basicsr.train
import numpy as np
import torch
import yaml
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.prefetch_dataloader import PrefetchGenerator
from basicsr.models.base_model import BaseModel
from basicsr.utils import check_resume, make_exp_dirs
from basicsr.utils.dist_util import master_only
from basicsr.utils.options import copy_opt_file
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Sampler

from hmaca_arch import distributed, option_checks, options
from hmaca_arch.progress import ProgressLogger

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

BASICSR = '1.4.2'
_locks: list = []  # files that this process holds locks on


class SampleIndex(int):
    """A picture's index that also carries the global number of the sample it is drawn for.

    Data sets that draw at random derive their generator from (seed, `number`); others see a plain index.
    """

    number: int

    def __new__(cls, index: int, number: int):
        self = super().__new__(cls, index)
        self.number = number
        return self

    def __reduce__(self):
        return SampleIndex, (int(self), self.number)


class GlobalSampler(Sampler):
    """Emits the samples of an endless sequence of passes over the data, each pass in an order of its own.

    Sample n of a run is position n % size of pass n // size, whatever the number of processes, and iteration i (from 0) trains on samples
    i * global_batch to (i + 1) * global_batch - 1, dealt to the processes in turn. Nothing is dropped and no batch is short: a batch may
    straddle two passes. "Epochs" only say how often BasicSR restarts the loader.

    Args:
        size: number of pictures.
        global_batch: samples an iteration takes, over all processes.
        epoch_iters: iterations an epoch.
        total_iters: the run's length; nothing is emitted past it.
        start_iter, start_epoch: iterations already done in a resumed run, and the epoch that BasicSR counts on from.
        seed, rank, world_size: as everywhere.
    """

    def __init__(
        self, *, size: int, global_batch: int, epoch_iters: int, total_iters: int,
        start_iter: int = 0, start_epoch: int = 0, seed: int = 0, rank: int = 0, world_size: int = 1,
    ):  # fmt: skip
        self.size, self.global_batch, self.epoch_iters, self.total_iters = size, global_batch, epoch_iters, total_iters
        self.start_iter, self.start_epoch, self.seed, self.rank, self.world_size = start_iter, start_epoch, seed, rank, world_size
        self.set_epoch(start_epoch)

    def set_epoch(self, epoch: int) -> None:
        """The epochs of a resumed run are counted from where it resumes: the batch, and so an epoch's length, may be another now."""
        first = self.start_iter + (epoch - self.start_epoch) * self.epoch_iters
        self.first = min(max(first, self.start_iter), self.total_iters)
        self.last = min(self.first + self.epoch_iters, self.total_iters)

    def __len__(self) -> int:
        return (self.last - self.first) * self.global_batch // self.world_size

    def __iter__(self):
        current, order = None, []
        for number in range(self.first * self.global_batch + self.rank, self.last * self.global_batch, self.world_size):
            epoch, position = divmod(number, self.size)
            if epoch != current:
                current, order = epoch, np.random.default_rng((self.seed, epoch)).permutation(self.size).tolist()
            yield SampleIndex(order[position], number)


def create_train_val_dataloader(opt: dict, logger):
    """As BasicSR's function of this name, with `GlobalSampler`."""
    record_run(opt, opt['path']['experiments_root'])
    total_iters, start_iter, start_epoch = int(opt['train']['total_iter']), opt.get('start_iter', 0), opt.get('start_epoch', 0)
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
            logger.info(f'Number of val images/folders in {dataset_opt["name"]}: {len(dataset)}')
            val_loaders.append(build_dataloader(dataset, dataset_opt, sampler=None, **loader_args))
            continue
        # Without a launcher BasicSR feeds several GPUs from one process, with one large batch.
        global_batch = dataset_opt['batch_size_per_gpu'] * (opt['world_size'] if opt['dist'] else max(opt['num_gpu'], 1))
        epoch_iters = math.ceil(len(dataset) * dataset_opt.get('dataset_enlarge_ratio', 1) / global_batch)
        sampler = GlobalSampler(
            size=len(dataset), global_batch=global_batch, epoch_iters=epoch_iters, total_iters=total_iters,
            start_iter=start_iter, start_epoch=start_epoch, seed=opt['manual_seed'], rank=opt['rank'], world_size=opt['world_size'],
        )  # fmt: skip
        if not dataset_opt.get('num_worker_per_gpu'):
            dataset_opt = {**dataset_opt, 'persistent_workers': False}  # torch refuses it where there are no workers
        total_epochs = start_epoch + math.ceil((total_iters - start_iter) / epoch_iters)
        train = build_dataloader(dataset, dataset_opt, sampler=sampler, **loader_args), sampler, total_epochs
        logger.info(
            f'Training statistics:\n\tpictures: {len(dataset)}\n\tbatch over all processes: {global_batch}'
            f'\n\titerations an epoch: {epoch_iters}\n\titerations: {total_iters}, passes: {total_iters * global_batch / len(dataset):.1f}'
        )
    if train is None:
        raise ValueError('datasets: there is no section train')
    train_loader, sampler, total_epochs = train
    return train_loader, sampler, val_loaders, total_epochs, total_iters


def newest_checkpoint(states: Path, models: Path) -> tuple[Path, dict] | None:
    """The newest training state that loads and whose networks load too, or None if there are no states at all.

    Raises:
        ValueError: there are states, but none of them is complete. Starting over is then the user's decision.
    """
    found = sorted(states.glob('*.state'), key=lambda path: int(path.stem) if path.stem.isdigit() else -1, reverse=True)
    broken = []
    for path in found:
        try:
            state = torch.load(path, map_location='cpu', weights_only=True)
            torch.load(models / f'net_g_{state["iter"]}.pth', map_location='cpu', weights_only=True)
            return path, state
        except (PermissionError, MemoryError):
            raise
        except Exception as error:  # whatever a torn file makes the reader raise
            broken.append(f'{path.name} ({type(error).__name__})')
            print(f'Checkpoint {path} is not complete and is skipped: {" ".join(str(error).split())[:200]}', flush=True)
    if broken:
        raise ValueError(f'{states}: none of the checkpoints is complete: {", ".join(broken)}; move the experiment away to start over')
    experiment = states.parent
    earlier = sorted(path.parent.parent for path in experiment.parent.glob(f'{experiment.name}_archived_*/training_states/*.state'))
    if earlier:
        raise ValueError(
            f'{experiment} has no checkpoint, but an earlier run of this name was moved to {earlier[-1]}: move it back to resume it, '
            'or start over without --auto_resume'
        )
    return None


def lock_experiment(folder: str) -> None:
    """Keep other runs out of an experiment's folder until this one ends: BasicSR would move it aside while this one goes on writing.

    Raises:
        ValueError: another process trains under this name.
    """
    if fcntl is None:
        return
    parent, name = os.path.split(folder)
    os.makedirs(parent, exist_ok=True)
    file = open(os.path.join(parent, f'.{name}.lock'), 'w')  # noqa: SIM115 (open as long as the run)
    _locks.append(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(f'{folder}: another process is training under this name; wait for it, or choose another name') from None
    except OSError:
        pass  # a file system without locks


def load_resume_state(opt: dict) -> dict | None:
    """As BasicSR's function of this name: from `--auto_resume` or `path: resume_state`, on any device, the same state on all processes."""
    states, models = Path(opt['path']['training_states']), Path(opt['path']['models'])
    path, state = opt['path'].get('resume_state'), None
    if opt['rank'] == 0:
        lock_experiment(opt['path']['experiments_root'])
        for leftover in [*states.glob('*.tmp'), *models.glob('*.tmp')]:  # of a run that was killed while it saved
            leftover.unlink()
    if opt['auto_resume']:
        if opt['rank'] == 0:
            path, state = newest_checkpoint(states, models) or (path, None)
            if path is None:
                print(f'No checkpoint in {states} yet: training starts at iteration 0.', flush=True)
        path = distributed.from_first(path)
    if not path:
        return None
    if state is None:
        try:
            state = torch.load(path, map_location='cpu', weights_only=True)
            state['epoch'], state['iter']
        except Exception as error:  # whatever another kind of file, or a torn one, makes the reader raise
            reason = f'{type(error).__name__}: {" ".join(str(error).split())[:150]}'
            raise ValueError(f'path:resume_state: {path} is not a whole training state ({reason})') from error
    opt['path']['resume_state'] = str(path)
    check_resume(opt, state['iter'])  # BasicSR points pretrain_network_g at the weights beside the state
    for network, weights in ((key, value) for key, value in opt['path'].items() if key.startswith('pretrain_network')):
        if weights and not os.path.isfile(weights):
            raise FileNotFoundError(f'{path} resumes with {network} {weights}, which does not exist')
    for folder in ('experiments_root', 'models', 'training_states', 'visualization'):
        os.makedirs(opt['path'][folder], exist_ok=True)
    opt['start_iter'], opt['start_epoch'] = state['iter'], state['epoch']
    return state


def prefetch_all(self) -> None:
    """As BasicSR's `PrefetchGenerator.run`, and what goes wrong is handed on."""
    try:
        for item in self.generator:
            self.queue.put(item)
        self.queue.put(None)
    except Exception as error:
        self.queue.put(error)


def next_prefetched(self):
    """As BasicSR's `PrefetchGenerator.__next__`; raises what `prefetch_all` handed on."""
    item = self.queue.get()
    if isinstance(item, Exception):
        raise item
    if item is None:
        raise StopIteration
    return item


def get_optimizer(self, optim_type: str, params, lr: float, **kwargs) -> torch.optim.Optimizer:
    """Any optimizer of torch.optim by its name (AdamW is the paper's)."""
    known = option_checks.optimizers()
    if optim_type not in known:
        raise ValueError(f'train:optim_g:type: there is no {optim_type!r}{option_checks.suggestion(optim_type, known)}')
    return known[optim_type](params, lr=lr, **kwargs)


def model_to_device(self, net: torch.nn.Module) -> torch.nn.Module:
    """As BasicSR's method of this name, without assuming that a distributed process has a GPU."""
    if not self.opt['dist'] or self.device.type == 'cuda':  # `distributed.start` has chosen the process's GPU
        return _stock_model_to_device(self, net)
    return DistributedDataParallel(net.to(self.device), find_unused_parameters=self.opt.get('find_unused_parameters', False))


def print_different_keys(self, crt_net, load_net: dict, strict: bool = True) -> None:
    """As BasicSR's method of this name, for keys as the network itself will translate them."""
    translate = getattr(self.get_bare_model(crt_net), 'canonical_state_dict', None)
    if translate is not None:
        canonical = translate(load_net)
        load_net.clear()
        load_net.update(canonical)
    _stock_print_different_keys(self, crt_net, load_net, strict)


_stock_model_to_device = BaseModel.model_to_device
_stock_print_different_keys = BaseModel._print_different_keys_loading


@master_only
def record_run(opt: dict, folder: str) -> None:
    """Write what defines a run beside its results: `options_resolved.yml` and `versions.json` (code, packages, machine)."""
    packages = ('hmaca', 'basicsr', 'torch', 'torchvision', 'numpy', 'opencv-python', 'scikit-image', 'lmdb', 'einops', 'spandrel')
    versions = {'python': platform.python_version(), 'machine': platform.platform()}
    if torch.cuda.is_available():
        versions['gpu'] = torch.cuda.get_device_name()
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    source = Path(__file__).resolve().parent.parent
    if (source / '.git').exists():
        try:
            describe = subprocess.run(['git', '-C', str(source), 'describe', '--always', '--dirty'], capture_output=True, text=True)
            versions['commit'] = describe.stdout.strip() or None
        except OSError:
            versions['commit'] = None  # no git here
    with open(os.path.join(folder, 'versions.json'), 'w', encoding='utf-8') as file:
        json.dump(versions, file, indent=2)
    with open(os.path.join(folder, 'options_resolved.yml'), 'w', encoding='utf-8') as file:
        yaml.safe_dump(opt, file, sort_keys=False)


def make_dirs(opt: dict) -> None:
    """BasicSR's `make_exp_dirs`, which the other processes wait for; in a test, what defines the run beside its results."""
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
        raise ValueError(f'BasicSR {basicsr.__version__} is installed; training needs {BASICSR}: pip install basicsr=={BASICSR}')
    basicsr.train.make_exp_dirs = basicsr.test.make_exp_dirs = make_dirs
    basicsr.train.copy_opt_file = master_only(copy_opt_file)
    basicsr.train.load_resume_state = load_resume_state
    basicsr.train.create_train_val_dataloader = create_train_val_dataloader
    basicsr.train.MessageLogger = ProgressLogger
    PrefetchGenerator.run, PrefetchGenerator.__next__ = prefetch_all, next_prefetched
    BaseModel.get_optimizer = get_optimizer
    BaseModel.model_to_device = model_to_device
    BaseModel._print_different_keys_loading = print_different_keys


def run(command: str, argv: list[str], root_path: str) -> None:
    """Run BasicSR's training or testing pipeline with the command line `argv`, writing below `root_path`."""
    install()
    module, pipeline = {'train': (basicsr.train, 'train_pipeline'), 'test': (basicsr.test, 'test_pipeline')}[command]
    module.parse_options = partial(options.parse, argv=argv)
    try:
        getattr(module, pipeline)(root_path)
    except RuntimeError as error:
        if not distributed.lost_others(error):
            raise
        raise ValueError(
            f'another process has ended or does not answer; its own message says why ({str(error).splitlines()[0]})'
        ) from error
    finally:
        while _locks:
            _locks.pop().close()
    distributed.finish()
