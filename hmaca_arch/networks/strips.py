"""Inference on a CPU in strips of rows, so that what is computed stays in the cache.

The results are the same. Elsewhere everything is one strip.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Channels times pixels of a strip: 4 MiB in float32. What is between two pointwise steps then stays
# in a processor's cache, and the allocator hands out the same memory again and again. Tensors of
# more than 32 MiB come fresh from the system, page by page, which takes longer than filling them.
STRIP_ELEMENTS = 2**20
CONV_STRIP_ELEMENTS = 2**21  # a convolution prefers larger pieces


def strips(x: Tensor, channels: int, elements: int) -> list[slice]:
    """Cut (b, h, w, c) into strips of rows in which to compute something with that many channels.

    Args:
        x: (b, h, w, c).
        channels: that exist at a time.
        elements: the most channels times pixels of a strip.
    """
    b, h, w = x.shape[:3]
    whole = torch.jit.is_tracing() or torch.is_grad_enabled() or not x.is_cpu
    step = h if whole else max(1, elements // (b * w * channels))
    return [slice(first, min(first + step, h)) for first in range(0, h, step)]


def pointwise(step: Callable[[Tensor], Tensor], x: Tensor, channels: int) -> Tensor:
    """Compute step(x) in strips.

    Args:
        step: treats all pixels alike.
        x: (b, h, w, c).
        channels: the most that `step` has inside.
    """
    parts = [step(x[:, rows]) for rows in strips(x, channels, STRIP_ELEMENTS)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
