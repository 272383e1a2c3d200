"""The alpha-weighted L1 loss of HMACA (Masuda & Ishikawa, Eq. 7).

    loss = alpha * L1(pred_M, gt_M) + (1 - alpha) * L1(pred_N, gt_N)

Two readings of "inside" and "outside" exist, the paper's and that of its authors' release; both are
offered, the paper's is the default.
"""

from typing import Literal

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

INSIDE = ('mask', 'bbox')
OUTSIDE = ('complement', 'image')


def bounding_box(mask: Tensor) -> Tensor:
    """(b, 1, h, w) -> (b, 1, h, w): 1 within the one box around every masked pixel of a sample, all
    0 if there is none.
    """
    inside = (mask > 0).to(mask.dtype)
    rows, columns = inside.amax(dim=3, keepdim=True), inside.amax(dim=2, keepdim=True)

    def between(line: Tensor, dim: int) -> Tensor:
        return line.cummax(dim).values * line.flip(dim).cummax(dim).values.flip(dim)

    return between(rows, 2) * between(columns, 3)


def alpha_masked_l1(
    pred: Tensor,
    target: Tensor,
    mask: Tensor,
    alpha: float = 0.5,
    inside: str = 'mask',
    outside: str = 'complement',
) -> Tensor:
    """Eq. 7 as a function; see `AlphaMaskedL1Loss` for the arguments. Returns a scalar tensor."""
    if pred.shape != target.shape or mask.shape != (pred.shape[0], 1, *pred.shape[2:]):
        raise ValueError(
            f'alpha_masked_l1: pred {tuple(pred.shape)}, target {tuple(target.shape)} and mask {tuple(mask.shape)} do not agree: '
            'expected (b, c, h, w) twice and (b, 1, h, w)'
        )
    dtype = torch.promote_types(
        pred.dtype, torch.float32
    )  # an area of many pixels overflows half precision
    weight = bounding_box(mask.to(dtype)) if inside == 'bbox' else mask.to(dtype)
    error = (pred.to(dtype) - target.to(dtype)).abs().mean(dim=1, keepdim=True)

    def region_mean(
        region: Tensor,
    ) -> Tensor:  # (b,): 0 for an empty region, without leaving the graph
        area = region.sum(dim=(1, 2, 3))
        return (region * error).sum(dim=(1, 2, 3)) / torch.where(area > 0, area, 1)

    rest = torch.ones_like(weight) if outside == 'image' else 1 - weight
    return (alpha * region_mean(weight) + (1 - alpha) * region_mean(rest)).mean()


@LOSS_REGISTRY.register()
class AlphaMaskedL1Loss(nn.Module):
    """Alpha-weighted L1 inside and outside a region (Eq. 7).

    Each L1 is the mean over the pixels and channels of its region, per sample; then the mean over
    *all* samples of the batch. A sample whose region is empty contributes 0 for that term. Soft
    masks weight pixels by their value. A full mask gives alpha times the inside term.

    Args:
        alpha: weight of the inside, in [0, 1].
        inside: `mask`: the masked pixels; `bbox`: the bounding box around all of a sample's masked
            pixels (as the release crops).
        outside: `complement`: all that `inside` does not select (Eq. 7); `image`: the whole image
            (as the release computes it).
        loss_weight: factor on the whole.

    Raises:
        ValueError: a setting outside its range or list.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        inside: Literal['mask', 'bbox'] = 'mask',
        outside: Literal['complement', 'image'] = 'complement',
        loss_weight: float = 1.0,
    ):
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f'AlphaMaskedL1Loss: alpha is {alpha}, expected a number from 0 to 1')
        for name, value, allowed in (('inside', inside, INSIDE), ('outside', outside, OUTSIDE)):
            if value not in allowed:
                raise ValueError(
                    f'AlphaMaskedL1Loss: {name} is {value!r}, expected one of {", ".join(allowed)}'
                )
        self.alpha, self.inside, self.outside, self.loss_weight = (
            alpha,
            inside,
            outside,
            loss_weight,
        )

    def forward(self, pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """pred, target: (b, c, h, w) in any range, mask: (b, 1, h, w) in [0, 1]; returns a scalar."""
        return self.loss_weight * alpha_masked_l1(
            pred, target, mask, self.alpha, self.inside, self.outside
        )
