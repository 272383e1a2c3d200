"""Networks by name: this project's, and those of BasicSR's registry.

BasicSR is imported only when one of its networks is asked for.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

OWN: dict[str, Callable[..., nn.Module]] = {}


def register(network: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Register a class or function under its name, in BasicSR's registry too once it is loaded."""
    OWN[network.__name__] = network
    return network


def of_basicsr() -> Any:
    """Return BasicSR's registry of networks, with this project's among them."""
    from basicsr.utils.registry import ARCH_REGISTRY  # here, as it loads all of BasicSR

    return ARCH_REGISTRY


def add_to_basicsr() -> None:
    """Register this project's networks with BasicSR, unless they are."""
    known = of_basicsr()
    for name, network in OWN.items():
        if name not in known:
            known.register(network)


def find(name: str) -> Callable[..., nn.Module]:
    """Return the class or function of a network.

    Raises:
        KeyError: there is no such network.
    """
    return OWN[name] if name in OWN else of_basicsr().get(name)


def build(section: Mapping[str, Any]) -> nn.Module:
    """Build the network of a section: `type` and its settings."""
    return find(section['type'])(**{key: value for key, value in section.items() if key != 'type'})


def is_section(value: Any) -> bool:
    """Return whether a value can be a network's section."""
    return isinstance(value, Mapping) and isinstance(value.get('type'), str)
