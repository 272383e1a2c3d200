"""Models for regional restoration, registered in BasicSR's MODEL_REGISTRY on import."""

from hmaca_arch.models.masked_restoration_model import MaskedRestorationModel

__all__ = ['MaskedRestorationModel']
