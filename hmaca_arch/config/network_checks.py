"""Mistakes in the section of a network, `network_g`."""

from collections.abc import Iterator, Mapping
from typing import Any

from basicsr.utils import registry

from hmaca_arch.config import signatures
from hmaca_arch.config.checker import Checker, refused, unknown_type
from hmaca_arch.config.unread import unread
from hmaca_arch.messages import one_line
from hmaca_arch.networks import baselines, mask_input
from hmaca_arch.networks.described import quiet_construction, too_large


def check_network_section(
    checker: Checker, place: str, section: Mapping[str, Any]
) -> Iterator[str]:
    """Check a network's settings, and whether it can be built."""
    name = str(section.get('type'))
    try:
        with quiet_construction():
            baselines.provide(name)
            unknown = list(unknown_type(place, section.get('type'), registry.ARCH_REGISTRY))
            parameters = {} if unknown else dict(baselines.parameters(name))
            typed = {} if unknown else signatures.parameters(baselines.constructor(name))
    except Exception as error:  # another package may fail to import in any way
        unknown = [f'{place}: {one_line(error)}']
    if unknown:
        yield from unknown
        return
    allow_unknown = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
    if checker.is_basicsr() and name in baselines.IGNORES_UNKNOWN:
        allow_unknown = True
        known = ('type', *parameters, *mask_input.KEYS)
        checker.warnings += unread(f'{place}:', section, known)
    parameters = {key: typed[key] for key in parameters}
    lines = list(
        checker.check_arguments(
            place, section, parameters, own=mask_input.KEYS, allow_unknown=allow_unknown
        )
    )
    lines += [f'{place}:{line}' for line in too_large(section)]
    lines += refused(place, name, lambda: baselines.check_settings(name, section))
    lines += refused(place, name, lambda: mask_input.check_section(section))
    if not lines and not signatures.absent_files(section):  # missing weights are no mistake here
        lines = list(refused(place, name, lambda: signatures.count_parameters(section)))
    yield from lines
