"""Metrics for regional restoration, registered in BasicSR's METRIC_REGISTRY on import."""

import basicsr  # noqa: F401  (first: registering models with it may import this package)

from hmaca_arch.metrics.masked import (
    calculate_boundary_psnr,
    calculate_composite_psnr,
    calculate_masked_psnr,
    calculate_masked_ssim,
)

__all__ = [
    'calculate_boundary_psnr',
    'calculate_composite_psnr',
    'calculate_masked_psnr',
    'calculate_masked_ssim',
]
