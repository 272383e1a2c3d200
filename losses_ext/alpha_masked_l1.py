"""The alpha-weighted L1 loss of HMACA (Masuda & Ishikawa, Eq. 7).

    loss = alpha * L1(pred_M, gt_M) + (1 - alpha) * L1(pred_N, gt_N)

M is the inside of the region and N the outside. The paper and its authors' release define them
differently. Both definitions are offered; the paper's is the default.
"""

from typing import Literal

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

INSIDE = ('mask', 'bbox')
OUTSIDE = ('complement', 'image')


def check_sizes(name: str, pred: Tensor, target: Tensor, mask: Tensor) -> None:
    """Raise a ValueError unless pred and target are (b, c, h, w) and mask is (b, 1, h, w)."""
    if pred.shape != target.shape or mask.shape != (pred.shape[0], 1, *pred.shape[2:]):
        raise ValueError(
            f'{name}: pred {tuple(pred.shape)}, target {tuple(target.shape)} and mask '
            f'{tuple(mask.shape)} do not agree: expected (b, c, h, w) twice and (b, 1, h, w)'
        )


def bounding_box(mask: Tensor) -> Tensor:
    """Return the bounding box of each sample's masked pixels, as a mask.

    Args:
        mask: (b, 1, h, w), above 0 in the region.

    Returns:
        (b, 1, h, w): 1 in the box, 0 elsewhere; all 0 if the mask is empty.
    """
    inside = (mask > 0).to(mask.dtype)
    rows, columns = inside.amax(dim=3, keepdim=True), inside.amax(dim=2, keepdim=True)

    def between(line: Tensor, dim: int) -> Tensor:
        """Fill a line of 0 and 1 between its first and last 1."""
        return line.cummax(dim).values * line.flip(dim).cummax(dim).values.flip(dim)

    return between(rows, 2) * between(columns, 3)


def region_mean(error: Tensor, region: Tensor) -> Tensor:
    """Average errors (b, 1, h, w) over each sample, weighted by a region (b, 1, h, w).

    Returns:
        (b,): 0 where the region is empty.
    """
    area = region.sum(dim=(1, 2, 3))
    return (region * error).sum(dim=(1, 2, 3)) / torch.where(area > 0, area, 1)


def alpha_masked_l1(
    pred: Tensor,
    target: Tensor,
    mask: Tensor,
    alpha: float = 0.5,
    inside: str = 'mask',
    outside: str = 'complement',
) -> Tensor:
    """Compute Eq. 7; see `AlphaMaskedL1Loss` for the settings.

    Args:
        pred: (b, c, h, w), the restored images, in any range.
        target: (b, c, h, w), the ground truth.
        mask: (b, 1, h, w) in [0, 1].
        alpha: weight of the inside.
        inside: `mask` or `bbox`.
        outside: `complement` or `image`.

    Returns:
        A scalar, in float32 or float64.

    Raises:
        ValueError: the sizes do not agree.
    """
    check_sizes('alpha_masked_l1', pred, target, mask)
    # The area of a large region overflows half precision.
    dtype = torch.promote_types(pred.dtype, torch.float32)
    weight = bounding_box(mask.to(dtype)) if inside == 'bbox' else mask.to(dtype)
    error = (pred.to(dtype) - target.to(dtype)).abs().mean(dim=1, keepdim=True)
    rest = torch.ones_like(weight) if outside == 'image' else 1 - weight
    return (alpha * region_mean(error, weight) + (1 - alpha) * region_mean(error, rest)).mean()


@LOSS_REGISTRY.register()
class AlphaMaskedL1Loss(nn.Module):
    """Alpha-weighted L1 inside and outside a region (Eq. 7).

    Each L1 is the mean over the pixels and channels of its region. It is taken for each sample, and
    then averaged over all samples of the batch. A term whose region is empty is 0. Soft masks
    weight pixels by their value. A full mask gives alpha times the inside term.

    Args:
        alpha: weight of the inside, in [0, 1].
        inside: `mask`: the masked pixels; `bbox`: the bounding box of a sample's masked pixels (as
            the release crops).
        outside: `complement`: everything that `inside` does not select (Eq. 7); `image`: the whole
            image (as in the release).
        loss_weight: factor of the whole loss.

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
    ) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f'AlphaMaskedL1Loss: alpha is {alpha}, expected a number from 0 to 1')
        for name, value, allowed in (('inside', inside, INSIDE), ('outside', outside, OUTSIDE)):
            if value not in allowed:
                expected = ', '.join(allowed)
                raise ValueError(
                    f'AlphaMaskedL1Loss: {name} is {value!r}, expected one of {expected}'
                )
        self.alpha, self.inside, self.outside = alpha, inside, outside
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Compute the loss; arguments as in `alpha_masked_l1`."""
        loss = alpha_masked_l1(pred, target, mask, self.alpha, self.inside, self.outside)
        return self.loss_weight * loss
