"""Networks to compare with, by name: HAT, DRCT and every other network of the `spandrel` package.

HAT and DRCT are always in the registry. Another network of spandrel joins it when `provide` is
asked for its class name, as option files do. SwinIR and many more are BasicSR's own. spandrel is
an extra, and is imported only when one of its networks is.

Two traps are closed here. DRCT and HAT return their input unless `upsampler` is 'pixelshuffle',
which is not DRCT's default. SwinIR's constructor accepts any argument and ignores unknown ones.
"""

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import nn

from hmaca_arch.messages import how_to_install, suggestion
from hmaca_arch.networks.registry import OWN, find, of_basicsr, register

EXTRA = how_to_install('compare')
IGNORES_UNKNOWN = ('SwinIR',)  # constructors whose **kwargs lead nowhere


def has_spandrel() -> bool:
    """Return whether the package spandrel is installed."""
    return importlib.util.find_spec('spandrel') is not None


def spandrel_networks() -> dict[str, type[nn.Module]]:
    """Return {class name: class} of all networks of spandrel; empty if it is not installed."""
    if not has_spandrel():
        return {}
    from spandrel import architectures

    found: dict[str, type[nn.Module]] = {}
    for entry in pkgutil.iter_modules(architectures.__path__):
        if entry.name.startswith('_'):
            continue
        module = importlib.import_module(f'{architectures.__name__}.{entry.name}')
        for name in module.__all__:
            item = getattr(module, name)
            if isinstance(item, type) and issubclass(item, nn.Module):
                found[name] = item
    return found


def stock(name: str) -> type[nn.Module]:
    """Return spandrel's network of a name.

    Raises:
        ValueError: spandrel is not installed.
    """
    if not has_spandrel():
        raise ValueError(
            f'{name} is a network of the package spandrel, which is not installed: {EXTRA}'
        )
    return spandrel_networks()[name]


@register
def HAT(**settings: Any) -> nn.Module:
    """Build spandrel's HAT; set upscale 1, and leave upsampler at 'pixelshuffle'."""
    check_settings('HAT', settings)
    return stock('HAT')(**settings)


@register
def DRCT(**settings: Any) -> nn.Module:
    """Build spandrel's DRCT; set upsampler 'pixelshuffle'."""
    check_settings('DRCT', settings)
    return stock('DRCT')(**settings)


LAZY = {'HAT': HAT, 'DRCT': DRCT}


def is_known(name: str) -> bool:
    """Return whether BasicSR's registry finds a network of that name.

    BasicSR registers some with a suffix, and finds them without it.
    """
    return name in of_basicsr() or f'{name}_basicsr' in of_basicsr()


def provide(name: str) -> bool:
    """Register spandrel's network of that class name, unless the registry has one.

    Returns:
        Whether the name is known now.
    """
    if name in OWN:
        return True
    if not is_known(name) and name in (networks := spandrel_networks()):
        of_basicsr().register(networks[name])
    return is_known(name)


def constructor(name: str) -> Callable[..., nn.Module]:
    """Return a registered network; for HAT and DRCT spandrel's class, whose signature counts.

    Raises:
        ValueError: the network is spandrel's, which is not installed.
    """
    registered = find(name)
    return stock(name) if registered is LAZY.get(name) else registered


def parameters(name: str) -> dict[str, inspect.Parameter]:
    """Return the settings that a network's constructor knows.

    One of kind VAR_KEYWORD stands for any others.
    """
    known = dict(inspect.signature(constructor(name)).parameters)
    if name in IGNORES_UNKNOWN:
        return {key: value for key, value in known.items() if value.kind != value.VAR_KEYWORD}
    return known


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Raise a ValueError for settings with which HAT or DRCT returns its input."""
    if name in LAZY and find(name) is LAZY[name]:
        upsampler = settings.get('upsampler', parameters(name)['upsampler'].default)
        if upsampler != 'pixelshuffle':
            raise ValueError(
                f'{name} with upsampler {upsampler!r} returns its input; '
                'set upsampler: pixelshuffle (also at upscale 1)'
            )


def refuse_unknown(section: Mapping[str, Any], others: Collection[str] = ()) -> None:
    """Raise a ValueError for a key that is neither a setting of its network nor in `others`."""
    known = parameters(section['type'])
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for key in section:
        if key not in ('type', *known, *others):
            hint = suggestion(key, [*known, *others])
            raise ValueError(f'network_g:{key}: {section["type"]} has no such setting{hint}')
