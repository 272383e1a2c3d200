"""Which picture a training sample is drawn from: one endless sequence, whatever the number of
processes, workers and restarts.
"""

import random

import numpy as np
import torch
from torch.utils.data import Sampler


class SampleIndex(int):
    """A picture's index that also carries the global number of the sample it is drawn for.

    Data sets that draw at random derive their generator from (seed, `number`); others see a plain
    index.
    """

    number: int

    def __new__(cls, index: int, number: int):
        self = super().__new__(cls, index)
        self.number = number
        return self

    def __reduce__(self):
        return SampleIndex, (int(self), self.number)


class GlobalSampler(Sampler):
    """Emits the samples of an endless sequence of passes over the data, each pass in an order of
    its own.

    Sample n of a run is position n % size of pass n // size, whatever the number of processes, and
    iteration i (from 0) trains on samples i * global_batch to (i + 1) * global_batch - 1, dealt to
    the processes in turn. Nothing is dropped and no batch is short: a batch may straddle two
    passes. "Epochs" only say how often BasicSR restarts the loader.

    Args:
        size: number of pictures.
        global_batch: samples an iteration takes, over all processes.
        epoch_iters: iterations an epoch.
        total_iters: the run's length; nothing is emitted past it.
        start_iter: iterations already done, in a resumed run.
        seed, rank, world_size: as everywhere.
    """

    def __init__(
        self, *, size: int, global_batch: int, epoch_iters: int, total_iters: int,
        start_iter: int = 0, seed: int = 0, rank: int = 0, world_size: int = 1,
    ):  # fmt: skip
        self.size, self.global_batch, self.epoch_iters, self.total_iters = (
            size,
            global_batch,
            epoch_iters,
            total_iters,
        )
        self.start_iter, self.seed, self.rank, self.world_size = start_iter, seed, rank, world_size
        self.set_epoch(start_iter // epoch_iters)

    def set_epoch(self, epoch: int) -> None:
        """What is left of this epoch; nothing of one that a resumed run has behind it."""
        self.last = min((epoch + 1) * self.epoch_iters, self.total_iters)
        self.first = min(max(epoch * self.epoch_iters, self.start_iter), self.last)

    def __len__(self) -> int:
        return (self.last - self.first) * self.global_batch // self.world_size

    def __iter__(self):
        current, order = None, []
        for number in range(
            self.first * self.global_batch + self.rank,
            self.last * self.global_batch,
            self.world_size,
        ):
            epoch, position = divmod(number, self.size)
            if epoch != current:
                current, order = (
                    epoch,
                    np.random.default_rng((self.seed, epoch)).permutation(self.size).tolist(),
                )
            yield SampleIndex(order[position], number)


def seed_iteration(seed: int, iteration: int, rank: int) -> None:
    """Let what is random in a training step (drop path) depend on these alone, so that there is no
    state of it to save and to lose.
    """
    number = int(np.random.SeedSequence((seed, iteration, rank)).generate_state(1, np.uint64)[0])
    torch.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)
