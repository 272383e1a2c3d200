"""The PSNR of the region as a loss, for data whose strength of degradation varies.

An L1 loss weighs a sample by its error: strong noise counts, and what a light blur still lacks is
lost beside it. This loss weighs each sample by what it gains in dB.
"""

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from losses_ext.alpha_masked_l1 import check_sizes, region_mean


@LOSS_REGISTRY.register()
class RegionPSNRLoss(nn.Module):
    """Minus the PSNR inside the region, in dB, averaged over the samples of the batch.

        loss = mean of 10 log10(MSE_M + 10^(-limit / 10))

    MSE_M is the mean squared error over the masked pixels and all channels of one sample. Soft
    masks weight pixels by their value. A sample whose mask is empty counts as 0.

    Args:
        limit: PSNR in dB, above 0. A sample that comes near it has little more to gain.
        loss_weight: factor of the whole loss.

    Raises:
        ValueError: `limit` is not above 0.
    """

    def __init__(self, *, limit: float = 50.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        if not limit > 0:
            raise ValueError(f'RegionPSNRLoss: limit is {limit}, expected a number of dB above 0')
        self.limit, self.loss_weight = limit, loss_weight

    def forward(self, pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            pred: (b, c, h, w), the restored images, in [0, 1].
            target: (b, c, h, w), the ground truth, in [0, 1].
            mask: (b, 1, h, w) in [0, 1].

        Returns:
            A scalar, in float32 or float64.

        Raises:
            ValueError: the sizes do not agree.
        """
        check_sizes('RegionPSNRLoss', pred, target, mask)
        dtype = torch.promote_types(pred.dtype, torch.float32)
        error = (pred.to(dtype) - target.to(dtype)).square().mean(dim=1, keepdim=True)
        weight = mask.to(dtype)
        loss = 10 * torch.log10(region_mean(error, weight) + 10 ** (-self.limit / 10))
        return self.loss_weight * torch.where(weight.sum(dim=(1, 2, 3)) > 0, loss, 0).mean()
