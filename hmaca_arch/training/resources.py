"""What a training will take, from its first step; and a picture of its first batch, to look at
before it starts.
"""

import math
import sys
import time
from collections.abc import Mapping, Sequence
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
from hmaca_arch.training.accumulating import InParts, batches_a_step
from hmaca_arch.training.pipeline import install
from hmaca_arch.training.sampling import GlobalSampler

try:
    import resource
except ImportError:  # Windows
    resource = None

PATIENCE = 60.0  # seconds that a whole batch's step may take to be measured on a CPU
SHOWN = 16  # samples of a batch in its picture


class Estimate(NamedTuple):
    """seconds: one iteration. memory: most bytes of the GPU, or of the whole process; None:
    unknown. how: measured, or computed of what.
    """

    seconds: float
    memory: int | None
    how: str


def first_samples(opt: Mapping[str, Any]) -> list[dict]:
    """What the first iteration trains on (in a test: the first pictures), as the data set gives it."""
    phase = 'train' if opt['is_train'] else next(iter(opt['datasets']))
    section = opt['datasets'][phase]
    with quiet_construction():
        dataset = build_dataset(section)
    if not opt['is_train']:
        return [dataset[i] for i in range(min(len(dataset), SHOWN))]
    batch = (
        batches_a_step(opt) * section['batch_size_per_gpu'] * max(opt['num_gpu'], 1)
    )  # without a launcher one process feeds all GPUs
    sampler = GlobalSampler(
        size=len(dataset), global_batch=batch, epoch_iters=1, total_iters=1, seed=opt['manual_seed']
    )
    return [dataset[i] for i in sampler]


def draw(samples: Sequence[Mapping[str, torch.Tensor]]) -> np.ndarray:
    """A row a sample, (h, w, 3) BGR uint8: lq, mask, lq with the mask's edge in green, gt; lq and
    gt where there is no mask.
    """
    rows = []
    for sample in samples[:SHOWN]:
        pictures = {key: tensor2img([sample[key]]) for key in ('lq', 'mask', 'gt') if key in sample}
        height, width = pictures.get('gt', pictures['lq']).shape[:2]
        factor = max(1, 256 // max(height, width))  # crops are small
        size = (factor * width, factor * height)
        pictures = {
            key: cv2.resize(item, size, interpolation=cv2.INTER_NEAREST)
            for key, item in pictures.items()
        }
        lq, mask = pictures['lq'], pictures.get('mask', np.zeros(size[::-1], np.uint8))
        marked = lq.copy() if lq.ndim == 3 else cv2.cvtColor(lq, cv2.COLOR_GRAY2BGR)
        edges, _ = cv2.findContours(
            (mask > 0).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(marked, edges, -1, (0, 255, 0), 1)
        rows.append([lq, mask, marked, pictures.get('gt', lq)])
    return contact_sheet(rows)


def _peak() -> int | None:
    """Bytes that this process had at most."""
    if resource is None:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == 'darwin' else 1024
    )


def measure(opt: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> Estimate:
    """Take steps of a training, with its model, losses and optimizer, on its first batch. Nothing
    is written; `compile` is left out.
    """
    install()
    opt = deepcopy(dict(opt))
    opt.update(dist=False, rank=0, world_size=1)
    opt['path'] = {'pretrain_network_g': None}
    opt['train'].pop('compile', None)
    model = build_model(opt)
    cuda, in_parts = model.device.type == 'cuda', InParts(batches_a_step(opt))

    def step(count: int) -> float:
        start = time.perf_counter()
        model.feed_data(in_parts(samples[:count]))
        model.optimize_parameters(1)
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    if cuda:
        torch.cuda.reset_peak_memory_stats()
        try:
            step(len(samples))
            seconds = step(len(samples))
        except torch.cuda.OutOfMemoryError:
            raise ValueError(
                f'datasets:train:batch_size_per_gpu: {len(samples)} samples do not fit into the memory of the GPU'
            ) from None
        return Estimate(
            seconds,
            torch.cuda.max_memory_allocated(),
            'measured, the second step on the first batch',
        )
    before = _peak()
    single = step(1)
    if single <= PATIENCE:
        single = step(1)  # the first one of a process also pays for starting
    if single * len(samples) <= PATIENCE:
        step(len(samples))
        return Estimate(step(len(samples)), _peak(), 'measured, the second step on the first batch')
    memory = (
        None
        if before is None
        else before + math.ceil(len(samples) / in_parts.count) * (_peak() - before)
    )
    return Estimate(
        single * len(samples),
        memory,
        f'computed, {len(samples)} times what a step on one sample took',
    )
