"""The loaders of a run: training samples in one global sequence, and validation images.

This replaces BasicSR's `create_train_val_dataloader`. BasicSR drops the last batch of a pass and
still counts it, so that 12 images in batches of 8 end at iteration 151 of 300. It shuffles every
run alike, and starts a pass over on resume.
"""

import hashlib
import logging
import math
from typing import Any, NamedTuple

from basicsr.data import build_dataloader, build_dataset
from torch.utils.data import DataLoader

from hmaca_arch.config.completing import phase_of
from hmaca_arch.messages import printable
from hmaca_arch.training import resuming
from hmaca_arch.training.accumulating import SplitCollate, batches_per_step
from hmaca_arch.training.sampling import GlobalSampler

TIMEOUT = 600  # seconds without a batch from the workers, after which they count as hanging


class Loaders(NamedTuple):
    """What BasicSR's training takes from `create_train_val_dataloader`, in its order."""

    train: DataLoader
    sampler: GlobalSampler
    val: list[DataLoader]
    total_epochs: int
    total_iters: int


def build_loaders(opt: dict, logger: logging.Logger, state: dict | None) -> Loaders:
    """Build the loaders of a training, and set `opt['sampling']`.

    Args:
        opt: complete options.
        logger: gets the numbers of images.
        state: the training state that the run resumes from, whose `epoch` is set; None if new.

    Raises:
        ValueError: a data set is missing, empty, or not the one that the state was trained with.
    """
    train, val = None, []
    for name, section in opt['datasets'].items():
        phase = phase_of(name)
        if phase not in ('train', 'val'):
            raise ValueError(f'datasets:{name}: expected train, val or val_NAME')
        dataset: Any = build_dataset(section)
        if len(dataset) == 0:
            raise ValueError(f'datasets:{name}: no images found')
        if phase == 'train':
            train = _build_train_loader(opt, dataset, section, logger, state)
        else:
            called = printable(section['name'])
            logger.info(f'Number of val images/folders in {called}: {len(dataset)}')
            val.append(_build(opt, dataset, section, sampler=None))
    if train is None:
        raise ValueError('datasets: there is no section train')
    loader, sampler = train
    total_iters = int(opt['train']['total_iter'])
    total_epochs = math.ceil(total_iters / sampler.epoch_iters)
    return Loaders(loader, sampler, val, total_epochs, total_iters)


def _build(opt: dict, dataset: Any, section: dict, sampler: GlobalSampler | None) -> DataLoader:
    return build_dataloader(
        dataset,
        section,
        num_gpu=opt['num_gpu'],
        dist=opt['dist'],
        sampler=sampler,
        seed=opt['manual_seed'],
    )


def _build_train_loader(
    opt: dict, dataset: Any, section: dict, logger: logging.Logger, state: dict | None
) -> tuple[DataLoader, GlobalSampler]:
    batches = batches_per_step(opt)
    # SplitCollate makes `batches` batches of it again. Without a launcher, one process loads a
    # large batch for all GPUs.
    batch_size = batches * section['batch_size_per_gpu']
    processes = opt['world_size'] if opt['dist'] else max(opt['num_gpu'], 1)
    enlarged = len(dataset) * section.get('dataset_enlarge_ratio', 1)
    sampler = _build_sampler(opt, dataset, batch_size * processes, enlarged, state)
    section = {**section, 'batch_size_per_gpu': batch_size}
    if not section.get('num_worker_per_gpu'):
        section['persistent_workers'] = False  # torch refuses it without workers
    loader = _build(opt, dataset, section, sampler)
    if batches > 1:
        loader.collate_fn = SplitCollate(batches)
    if loader.num_workers:
        loader.timeout = TIMEOUT
    parts = f', in {batches} parts one after the other (accum_iter)' if batches > 1 else ''
    passes = sampler.total_iters * sampler.global_batch / len(dataset)
    logger.info(
        'Training statistics:'
        f'\n\timages: {len(dataset)}'
        f'\n\tbatch over all processes: {sampler.global_batch}{parts}'
        f'\n\titerations an epoch: {sampler.epoch_iters}'
        f'\n\titerations: {sampler.total_iters}, passes: {passes:.1f}'
    )
    return loader, sampler


def _build_sampler(
    opt: dict, dataset: Any, global_batch: int, enlarged: float, state: dict | None
) -> GlobalSampler:
    """Build the sampler, set `opt['sampling']`, and compare it with the state's.

    Args:
        opt: complete options.
        dataset: the training data.
        global_batch: samples of an iteration, over all processes.
        enlarged: samples of an epoch.
        state: the training state that the run resumes from, whose `epoch` is set; None if new.
    """
    epoch_iters = math.ceil(enlarged / global_batch)
    start_iter = opt.get('start_iter', 0)
    opt['sampling'] = {
        'pictures': len(dataset),  # so named in the states of every version
        'names': digest(dataset),
        'global_batch': global_batch,
        'seed': opt['manual_seed'],
    }
    if state:
        resuming.check_sampling(state, opt['sampling'])
        state['epoch'] = start_iter // epoch_iters  # dataset_enlarge_ratio may have changed
    return GlobalSampler(
        size=len(dataset),
        global_batch=global_batch,
        epoch_iters=epoch_iters,
        total_iters=int(opt['train']['total_iter']),
        start_iter=start_iter,
        seed=opt['manual_seed'],
        rank=opt['rank'],
        world_size=opt['world_size'],
    )


def digest(dataset: Any) -> str | None:
    """Return a digest of the images' names in their order; None if the data set has no names."""
    names = getattr(dataset, 'names', None)
    if names is None:
        return None
    return hashlib.sha256('\0'.join(names).encode(errors='surrogateescape')).hexdigest()[:12]
