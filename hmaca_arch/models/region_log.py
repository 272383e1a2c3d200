"""Figures of the region for the progress line: its plain L1 and its PSNR."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hmaca_arch.training import distributed
from hmaca_arch.training.progress import decibel


@torch.no_grad()
def region_sums(lq: Tensor, output: Tensor, gt: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Return sums over a batch: the areas inside and outside the region, and the errors there.

    Args:
        lq: (b, c, h, w), the degraded images.
        output: (b, c, h, w), the restored images.
        gt: (b, c, h, w), the ground truth.
        mask: (b, 1, h, w) in [0, 1].

    Returns:
        `inside` and `outside`: areas in pixels; `l_inside` and `l_outside`: absolute errors of the
        output; `input` and `result`: squared errors of lq and the output inside the region.
    """
    output = output.float()
    error = (output - gt).abs().mean(dim=1, keepdim=True)
    sums = {
        'inside': mask,
        'outside': 1 - mask,
        'l_inside': mask * error,
        'l_outside': (1 - mask) * error,
    }
    for row, image in (('input', lq), ('result', output)):
        sums[row] = mask * (image - gt).square().mean(dim=1, keepdim=True)
    return {name: value.sum() for name, value in sums.items()}


def region_figures(batches: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Return the figures of a step over all processes.

    Args:
        batches: the `region_sums` of each of its batches.

    Returns:
        `l_inside` and `l_outside`: plain L1; `db_input` and `db_result`: PSNR inside the region in
        dB. A figure without pixels is missing.
    """
    total = torch.stack([torch.stack(list(sums.values())) for sums in batches]).sum(dim=0)
    # Means over processes instead of sums: the ratios are the same.
    sums = dict(zip(batches[0], distributed.mean(total)))
    figures = {
        f'l_{part}': sums[f'l_{part}'] / sums[part] for part in ('inside', 'outside') if sums[part]
    }
    if sums['inside']:
        for row in ('input', 'result'):
            figures[f'db_{row}'] = decibel(sums[row] / sums['inside'])
    return figures
