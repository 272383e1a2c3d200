"""Gradient accumulation: one optimizer step on several batches, in the memory of one."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import default_collate

from hmaca_arch.config.schema import OWN_MODEL


def batches_per_step(opt: Mapping[str, Any]) -> int:
    """Return the option `train: accum_iter`, or 1 for BasicSR's models, which do not read it."""
    return opt['train'].get('accum_iter', 1) if opt['model_type'] == OWN_MODEL else 1


class SplitCollate:
    """Collate function: split the samples of one step into `count` batches, in order.

    It is a class because loaders send it to worker processes, and a closure cannot be pickled.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, samples: Sequence[Any]) -> list[Any]:
        """Return the batches of the samples of one step."""
        size = math.ceil(len(samples) / self.count)
        return [
            default_collate(list(samples[first : first + size]))
            for first in range(0, len(samples), size)
        ]


def exchange_gradients_if(last: bool, net: nn.Module) -> AbstractContextManager:
    """Context for forward and backward of one batch of a step.

    Processes exchange their gradients with the last batch only, which saves the communication of
    the others.
    """
    return nullcontext() if last or not isinstance(net, DistributedDataParallel) else net.no_sync()
