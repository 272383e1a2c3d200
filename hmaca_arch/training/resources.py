"""What a training will take, measured on its first batch, and an image of that batch."""

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.utils import tensor2img

from hmaca_arch.networks.described import quiet_construction
from hmaca_arch.restoring.sheets import contact_sheet
from hmaca_arch.training.accumulating import SplitCollate, batches_per_step
from hmaca_arch.training.pipeline import install
from hmaca_arch.training.sampling import GlobalSampler

PATIENCE = 60.0  # longest step on a whole batch that is still measured on a CPU, in seconds
SHOWN = 16  # samples in the image of a batch
MEASURED = 'measured, the second step on the first batch'


class Cost(NamedTuple):
    """What an iteration takes.

    Attributes:
        seconds: time of one iteration.
        memory: most bytes of the GPU, or on a CPU of the process; None if unknown.
        how: whether it was measured, or computed from what.
    """

    seconds: float
    memory: int | None
    how: str


def first_samples(opt: Mapping[str, Any]) -> list[dict]:
    """Return the samples of a training's first iteration, or a test's first images."""
    phase = 'train' if opt['is_train'] else next(iter(opt['datasets']))
    section = opt['datasets'][phase]
    with quiet_construction():
        dataset = build_dataset(section)
    if not opt['is_train']:
        return [dataset[i] for i in range(min(len(dataset), SHOWN))]
    # Without a launcher, one process loads a large batch for all GPUs.
    batch = batches_per_step(opt) * section['batch_size_per_gpu'] * max(opt['num_gpu'], 1)
    sampler = GlobalSampler(
        size=len(dataset), global_batch=batch, epoch_iters=1, total_iters=1, seed=opt['manual_seed']
    )
    return [dataset[i] for i in sampler]


def draw(samples: Sequence[Mapping[str, torch.Tensor]]) -> np.ndarray:
    """Draw a row for each sample: lq, mask, lq with the mask's edge in green, gt.

    Without a mask it is drawn black.

    Returns:
        (h, w, 3) BGR uint8.
    """
    return contact_sheet([_row(sample) for sample in samples[:SHOWN]])


def _row(sample: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
    images = {key: tensor2img([sample[key]]) for key in ('lq', 'mask', 'gt') if key in sample}
    height, width = images.get('gt', images['lq']).shape[:2]
    factor = max(1, 256 // max(height, width))  # crops are small
    size = (factor * width, factor * height)
    images = {
        key: cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
        for key, image in images.items()
    }
    lq, mask = images['lq'], images.get('mask', np.zeros(size[::-1], np.uint8))
    marked = lq.copy() if lq.ndim == 3 else cv2.cvtColor(lq, cv2.COLOR_GRAY2BGR)
    inside = (mask > 0).astype(np.uint8)
    edges, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(marked, edges, -1, (0, 255, 0), 1)
    return [lq, mask, marked, images.get('gt', lq)]


def peak_memory() -> int | None:
    """Return the most bytes that this process has had; None if the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(opt: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> Cost:
    """Take steps of a training on its first batch, and return their cost.

    Model, losses and optimizer are the training's, without `compile`. Nothing is written.

    Args:
        opt: complete options.
        samples: as `first_samples` returns them.

    Raises:
        ValueError: the batch does not fit into the memory of the GPU.
    """
    install()
    changed = {**deepcopy(dict(opt)), 'dist': False, 'rank': 0, 'world_size': 1}
    changed['path'] = {'pretrain_network_g': None}
    changed['train'].pop('compile', None)
    model = build_model(changed)
    on_gpu, split = model.device.type == 'cuda', SplitCollate(batches_per_step(changed))

    def take_step(count: int) -> float:
        """Train on that many samples; return the seconds."""
        start = time.perf_counter()
        model.feed_data(split(samples[:count]))
        model.optimize_parameters(1)
        if on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    if on_gpu:
        return _measure_on_gpu(take_step, len(samples))
    return _measure_on_cpu(take_step, len(samples), math.ceil(len(samples) / split.count))


def _measure_on_gpu(take_step: Callable[[int], float], count: int) -> Cost:
    torch.cuda.reset_peak_memory_stats()
    try:
        take_step(count)
        seconds = take_step(count)
    except torch.cuda.OutOfMemoryError:
        raise ValueError(
            f'datasets:train:batch_size_per_gpu: {count} samples do not fit into the memory '
            'of the GPU'
        ) from None
    return Cost(seconds, torch.cuda.max_memory_allocated(), MEASURED)


def _measure_on_cpu(take_step: Callable[[int], float], count: int, batch: int) -> Cost:
    """Measure a step on all samples, or compute it from one sample if it would take too long.

    Args:
        take_step: trains on a number of samples and returns the seconds.
        count: samples of a step.
        batch: samples of one batch, which are in memory at once.
    """
    before = peak_memory()
    single = take_step(1)
    if single <= PATIENCE:
        single = take_step(1)  # a process's first step includes its start
    if single * count <= PATIENCE:
        take_step(count)
        return Cost(take_step(count), peak_memory(), MEASURED)
    after = peak_memory()
    memory = None
    if before is not None and after is not None:
        memory = before + batch * (after - before)
    how = f'computed, {count} times what a step on one sample took'
    return Cost(single * count, memory, how)
