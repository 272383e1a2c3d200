"""Gradient accumulation: one step of the optimizer on several batches, which need the memory of
one.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import default_collate

from hmaca_arch.config.schema import OWN_MODEL


def batches_a_step(opt: Mapping[str, Any]) -> int:
    """The option `train: accum_iter`; 1 for models of BasicSR, which do not read it."""
    return opt['train'].get('accum_iter', 1) if opt['model_type'] == OWN_MODEL else 1


class InParts:
    """Collate function: the samples of one step -> a list of `count` batches, in the samples'
    order.

    A class, not a closure: loaders hand it to worker processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, samples: Sequence[Any]) -> list[Any]:
        size = math.ceil(len(samples) / self.count)
        return [
            default_collate(list(samples[first : first + size]))
            for first in range(0, len(samples), size)
        ]


def gradients_kept(net: nn.Module, last: bool) -> AbstractContextManager:
    """Context for forward and backward of one batch: processes exchange gradients with the step's
    last batch alone.
    """
    return nullcontext() if last or not isinstance(net, DistributedDataParallel) else net.no_sync()
