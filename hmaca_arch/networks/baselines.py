"""Stock networks to compare with, by name: HAT, DRCT and every other network of the `spandrel`
package.

HAT and DRCT are in BasicSR's registry from the start; another network of spandrel joins it when
`provide` is asked for its class name, which option files do. SwinIR and many more are BasicSR's
own. spandrel is an extra and is imported only when one of its networks is.

Two traps of these networks are closed here: DRCT and HAT return their input unless `upsampler` is
'pixelshuffle', which is not DRCT's default; and SwinIR's constructor accepts any argument and
ignores what it does not know.
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
NEEDS_PIXELSHUFFLE = ('DRCT', 'HAT')


def has_spandrel() -> bool:
    return importlib.util.find_spec('spandrel') is not None


def spandrel_networks() -> dict[str, type[nn.Module]]:
    """{class name: class} of all networks of spandrel; nothing where it is not installed."""
    if not has_spandrel():
        return {}
    from spandrel import architectures

    found = {}
    for entry in pkgutil.iter_modules(architectures.__path__):
        if not entry.name.startswith('_'):
            module = importlib.import_module(f'{architectures.__name__}.{entry.name}')
            public = {name: getattr(module, name) for name in module.__all__}
            found.update(
                {
                    name: item
                    for name, item in public.items()
                    if isinstance(item, type) and issubclass(item, nn.Module)
                }
            )
    return found


def stock(name: str) -> type[nn.Module]:
    """spandrel's network of that name.

    Raises:
        ValueError: spandrel is not installed.
    """
    if not has_spandrel():
        raise ValueError(
            f'{name} is a network of the package spandrel, which is not installed: {EXTRA}'
        )
    return spandrel_networks()[name]


@register
def HAT(**settings) -> nn.Module:
    """spandrel's HAT; set upscale 1, and leave upsampler at 'pixelshuffle'."""
    check_settings('HAT', settings)
    return stock('HAT')(**settings)


@register
def DRCT(**settings) -> nn.Module:
    """spandrel's DRCT; set upsampler 'pixelshuffle'."""
    check_settings('DRCT', settings)
    return stock('DRCT')(**settings)


LAZY = {'HAT': HAT, 'DRCT': DRCT}


def is_known(name: str) -> bool:
    """Whether BasicSR's registry has a network of that name (it gives some a suffix of its own and
    looks them up without it).
    """
    return name in of_basicsr() or f'{name}_basicsr' in of_basicsr()


def provide(name: str) -> bool:
    """Register spandrel's network of that class name, unless the registry has one. Returns whether
    the name is known now.
    """
    if name in OWN:  # without BasicSR
        return True
    if not is_known(name) and name in (networks := spandrel_networks()):
        of_basicsr().register(networks[name])
    return is_known(name)


def constructor(name: str) -> Callable[..., nn.Module]:
    """The registered network, with the signature of what is really built: a lazy name is looked up.

    Raises:
        ValueError: it is spandrel's, which is not installed.
    """
    registered = find(name)
    return stock(name) if registered is LAZY.get(name) else registered


def parameters(name: str) -> Mapping[str, inspect.Parameter]:
    """The settings that a network's constructor knows; a last parameter of kind VAR_KEYWORD where
    it takes others too.
    """
    known = dict(inspect.signature(constructor(name)).parameters)
    if name in IGNORES_UNKNOWN:
        known = {
            key: parameter
            for key, parameter in known.items()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        }
    return known


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Raise a ValueError for settings with which a network does nothing."""
    if name in NEEDS_PIXELSHUFFLE and find(name) is LAZY[name]:
        upsampler = settings.get('upsampler', parameters(name)['upsampler'].default)
        if upsampler != 'pixelshuffle':
            raise ValueError(
                f'{name} with upsampler {upsampler!r} returns its input; set upsampler: pixelshuffle (also at upscale 1)'
            )


def refuse_unknown(section: Mapping[str, Any], others: Collection[str] = ()) -> None:
    """Raise a ValueError if a section has a key that is neither a setting of its network nor one of
    `others`.
    """
    known = parameters(section['type'])
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for key in section:
        if key not in ('type', *known, *others):
            raise ValueError(
                f'network_g:{key}: {section["type"]} has no such setting{suggestion(key, [*known, *others])}'
            )
