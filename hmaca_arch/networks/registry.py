"""Networks by name: this project's, and those of BasicSR's registry, which is imported only when
another one is asked for.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

OWN: dict[str, Callable[..., nn.Module]] = {}


def register(network: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Make a class or function known by its name, here and, once BasicSR is imported, in its
    registry.
    """
    OWN[network.__name__] = network
    return network


def of_basicsr() -> Any:
    """BasicSR's registry of networks, this project's among them."""
    from basicsr.utils.registry import ARCH_REGISTRY  # late: it loads all of BasicSR

    return ARCH_REGISTRY


def add_to_basicsr() -> None:
    """Register this project's networks with BasicSR; again does nothing."""
    known = of_basicsr()
    for name, network in OWN.items():
        if name not in known:
            known.register(network)


def find(name: str) -> Callable[..., nn.Module]:
    """What a name stands for.

    Raises:
        KeyError: there is no such network.
    """
    return OWN[name] if name in OWN else of_basicsr().get(name)


def build(section: Mapping[str, Any]) -> nn.Module:
    """The network of a section: `type` and its settings."""
    return find(section['type'])(**{key: value for key, value in section.items() if key != 'type'})


def is_section(value: Any) -> bool:
    """Whether a value can be a network's section."""
    return isinstance(value, Mapping) and isinstance(value.get('type'), str)
