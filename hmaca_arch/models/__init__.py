"""Models for regional restoration, registered in BasicSR's MODEL_REGISTRY on import."""

import basicsr  # noqa: F401  (first: registers `models` with it, which this room may be needed for)

from hmaca_arch.models.masked_restoration_model import MaskedRestorationModel

__all__ = ['MaskedRestorationModel']
