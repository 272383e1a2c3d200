"""Self-ensemble: the mean of what a network makes of an image in its eight orientations.

Source: Timofte et al., "Seven Ways to Improve Example-Based Single Image Super Resolution" (CVPR
2016), section 3.7.
"""

from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from hmaca_arch.degradation import degradations_of


class Ensemble(nn.Module):
    """Run a network on all flips and transpositions of its input, and average the outputs.

    Args:
        adapter: maps (b, c, h, w), a mask (b, 1, h, w) and a degradation (b, fields) to
            (b, c, h, w). What the degradation says of places and directions is turned as well.
    """

    def __init__(self, adapter: nn.Module) -> None:
        super().__init__()
        self.adapter = adapter

    def forward(self, lq: Tensor, mask: Tensor, degradation: Tensor) -> Tensor:
        """Restore as the network does, eight times."""
        total = torch.zeros_like(lq, dtype=torch.float32)
        for rows, columns, transposed in product((False, True), repeat=3):
            axes = [2 + axis for axis, flip in enumerate((rows, columns)) if flip]
            told = turned(degradation, lq.shape[2:], rows, columns, transposed)
            images = [image.flip(axes) for image in (lq, mask)]
            if transposed:
                images = [image.mT.contiguous() for image in images]
            output = self.adapter(*images, told).float()
            total += (output.mT if transposed else output).flip(axes)
        return total / 8


def turned(
    degradation: Tensor, shape: torch.Size, rows: bool, columns: bool, transposed: bool
) -> Tensor:
    """Return what holds after rows and columns are flipped and then transposed.

    Args:
        degradation: (b, fields).
        shape: (h, w) before.
        rows: whether top and bottom are exchanged.
        columns: whether left and right are exchanged.
        transposed: whether rows and columns are exchanged in the end.
    """
    vectors = []
    for told in degradations_of(degradation, len(degradation)):
        for axis, flip in enumerate((rows, columns)):
            told = told.flipped(axis, shape[axis]) if flip else told
        vectors.append((told.transposed() if transposed else told).vector())
    return torch.from_numpy(np.stack(vectors)).to(degradation)
