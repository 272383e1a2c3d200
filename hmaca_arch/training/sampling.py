"""Which image each training sample is drawn from.

The samples of a run are one endless sequence. It does not depend on the number of processes,
workers and restarts.
"""

import random
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler


class SampleIndex(int):
    """An image's index that carries the global number of the sample it is drawn for.

    Data sets that draw at random derive their generator from (seed, `number`). Others see a plain
    index.
    """

    number: int

    def __new__(cls, index: int, number: int) -> 'SampleIndex':
        """Make an index of the sample with that number."""
        self = super().__new__(cls, index)
        self.number = number
        return self

    def __reduce__(self):
        return SampleIndex, (int(self), self.number)


class GlobalSampler(Sampler):
    """Gives the samples of an endless sequence of passes over the data, each in another order.

    Sample n of a run is position n % size of pass n // size. Iteration i (from 0) trains on samples
    i * global_batch to (i + 1) * global_batch - 1, dealt to the processes in turn. Nothing is
    dropped and no batch is short: a batch may straddle two passes. Epochs only say how often
    BasicSR restarts the loader.

    Args:
        size: number of images.
        global_batch: samples of an iteration, over all processes.
        epoch_iters: iterations of an epoch.
        total_iters: iterations of the run.
        start_iter: iterations that a resumed run has done already.
        seed: seed of the order.
        rank, world_size: this process among all.
    """

    def __init__(
        self,
        *,
        size: int,
        global_batch: int,
        epoch_iters: int,
        total_iters: int,
        start_iter: int = 0,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.size, self.global_batch = size, global_batch
        self.epoch_iters, self.total_iters = epoch_iters, total_iters
        self.start_iter, self.seed = start_iter, seed
        self.rank, self.world_size = rank, world_size
        self.set_epoch(start_iter // epoch_iters)

    def set_epoch(self, epoch: int) -> None:
        """Choose the iterations of an epoch that are left, none if a resumed run has done them."""
        self.last = min((epoch + 1) * self.epoch_iters, self.total_iters)
        self.first = min(max(epoch * self.epoch_iters, self.start_iter), self.last)

    def __len__(self) -> int:
        return (self.last - self.first) * self.global_batch // self.world_size

    def __iter__(self) -> Iterator[SampleIndex]:
        first, last = self.first * self.global_batch, self.last * self.global_batch
        current, order = None, []
        for number in range(first + self.rank, last, self.world_size):
            epoch, position = divmod(number, self.size)
            if epoch != current:
                generator = np.random.default_rng((self.seed, epoch))
                current, order = epoch, generator.permutation(self.size).tolist()
            yield SampleIndex(order[position], number)


def seed_iteration(seed: int, iteration: int, rank: int) -> None:
    """Seed what is random in a training step (drop path).

    The random numbers depend on the arguments alone, so a checkpoint needs no generator's state.
    """
    number = int(np.random.SeedSequence((seed, iteration, rank)).generate_state(1, np.uint64)[0])
    torch.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)
