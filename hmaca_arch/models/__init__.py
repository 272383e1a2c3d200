"""Models for regional restoration, registered in BasicSR's MODEL_REGISTRY on import."""

import basicsr  # noqa: F401  (first: registering models with it may import this package)

from hmaca_arch.models.masked_restoration_model import MaskedRestorationModel

__all__ = ['MaskedRestorationModel']
