"""Losses for regional restoration, registered in BasicSR's LOSS_REGISTRY on import."""

import hmaca_arch  # noqa: F401, I001  (first: makes BasicSR importable)
import basicsr  # noqa: F401

from losses_ext.alpha_masked_l1 import AlphaMaskedL1Loss, alpha_masked_l1
from losses_ext.region_psnr import RegionPSNRLoss


__all__ = ['AlphaMaskedL1Loss', 'RegionPSNRLoss', 'alpha_masked_l1']
