"""HMANet and HMACA for BasicSR.

Importing this package loads neither torch nor BasicSR: its public names are imported when they are
first used. As soon as BasicSR is imported, before this package or after it, the networks, metrics
and models are registered with it.
"""

from importlib import import_module
from typing import Any

from hmaca_arch import compat

__version__ = '0.1.0'  # setup.py reads it here

_FROM_NETWORKS = ('HMACA', 'HMANet', 'build_network_from_state_dict')
_MODULES = ('compositing', 'inference', 'metrics', 'models', 'networks')
__all__ = [*_FROM_NETWORKS, *_MODULES]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name in _FROM_NETWORKS:
        return getattr(import_module('hmaca_arch.networks'), name)
    if name in _MODULES:
        return import_module(f'hmaca_arch.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register() -> None:
    """Register networks, metrics and models with BasicSR."""
    import_module('hmaca_arch.networks').add_to_basicsr()
    compat.load_safely_everywhere()
    for name in ('metrics', 'models'):  # importing them registers them
        import_module(f'hmaca_arch.{name}')


compat.with_basicsr(_register)
