"""Data sets for regional restoration. Importing this package registers them with BasicSR."""

import hmaca_arch  # noqa: F401, I001  (first: makes BasicSR importable)
import basicsr  # noqa: F401

from datasets_ext.masked_degradation_dataset import MaskedDegradationDataset
from datasets_ext.masked_paired_image_dataset import MaskedPairedImageDataset

__all__ = ['MaskedDegradationDataset', 'MaskedPairedImageDataset']
