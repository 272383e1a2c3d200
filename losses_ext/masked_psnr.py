"""The PSNR of the region as a loss."""

import math

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

PEAK_OF_8_BITS = 255


@LOSS_REGISTRY.register()
class MaskedPSNRLoss(nn.Module):
    """Minus the PSNR inside the mask, in dB, over 10, averaged over the samples of a batch.

    A mean over samples of the logarithm gives a mild degradation as much weight as a strong one; L1 is ruled by the strong ones.
    A sample whose region is empty counts as 0.

    Args:
        least: error in grey levels of 255 (root mean square) below which a sample has little left to gain, > 0.
        loss_weight: factor on the whole.

    Raises:
        ValueError: `least` is not above 0.
    """

    def __init__(self, *, least: float = 0.3, loss_weight: float = 1.0) -> None:
        super().__init__()
        if not 0 < least < math.inf:
            raise ValueError(f'MaskedPSNRLoss: least is {least}, expected a number above 0')
        self.least, self.loss_weight = least, loss_weight

    def forward(self, pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """pred, target: (b, c, h, w) in [0, 1], mask: (b, 1, h, w) in [0, 1]; returns a scalar."""
        if pred.shape != target.shape or mask.shape != (pred.shape[0], 1, *pred.shape[2:]):
            raise ValueError(
                f'MaskedPSNRLoss: pred {tuple(pred.shape)}, target {tuple(target.shape)} and mask {tuple(mask.shape)} do not agree: '
                'expected (b, c, h, w) twice and (b, 1, h, w)'
            )
        dtype = torch.promote_types(pred.dtype, torch.float32)
        weight = mask.to(dtype)
        area = weight.sum(dim=(1, 2, 3))
        squares = (pred.to(dtype) - target.to(dtype)).square().mean(dim=1, keepdim=True)
        error = (weight * squares).sum(dim=(1, 2, 3)) / torch.where(area > 0, area, 1)
        logarithm = torch.log10(error + (self.least / PEAK_OF_8_BITS) ** 2)
        return self.loss_weight * torch.where(area > 0, logarithm, 0).mean()
