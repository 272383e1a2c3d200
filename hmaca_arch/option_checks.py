"""Mistakes in option files, found before anything is built: each is one line with the place, what was got and the closest known name."""

import difflib
import inspect

from basicsr.utils import registry

from hmaca_arch import baselines, mask_input

SCHEDULERS = ('MultiStepLR', 'MultiStepRestartLR', 'CosineAnnealingRestartLR')


def suggestion(name: str, known) -> str:
    """' (did you mean X? known: ...)' for an error message."""
    known = {str(word).lower(): str(word) for word in known}
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    return f' (did you mean {known[near[0]]}?)' if near else f'; known: {", ".join(sorted(known.values()))}'


def check_sections(options: dict, path: str, *required: str) -> None:
    """Fail where a section is missing or, an indentation gone wrong, holds no settings."""
    for key in required:
        if not isinstance(options.get(key), dict):
            raise ValueError(f'{path}: the section {key!r} is missing or holds no settings')
    inner = {f'datasets:{key}': section for key, section in options['datasets'].items()}
    inner.update({key: section for key, section in options.items() if key.startswith('network_')})
    for place, section in inner.items():
        if not isinstance(section, dict):
            raise ValueError(f'{path}: {place} holds no settings')


def check_names(options: dict) -> None:
    """Fail with one line, before anything is built, where a section names what no registry knows or sets what a network does not have.

    Raises:
        ValueError: with the place in the file, what was got and the closest known name.
    """
    sections = [('', 'model_type', options.get('model_type'), registry.MODEL_REGISTRY)]
    for name, section in options.items():
        if name.startswith('network_'):
            baselines.provide(str(section.get('type')))
            sections.append((f'{name}:', 'type', section.get('type'), registry.ARCH_REGISTRY))
    for name, section in options.get('datasets', {}).items():
        sections.append((f'datasets:{name}:', 'type', section.get('type'), registry.DATASET_REGISTRY))
    for name, section in options.get('train', {}).items():
        if name.endswith('_opt') and isinstance(section, dict):
            sections.append((f'train:{name}:', 'type', section.get('type'), registry.LOSS_REGISTRY))
    for name, section in ((options.get('val') or {}).get('metrics') or {}).items():
        sections.append((f'val:metrics:{name}:', 'type', section.get('type'), registry.METRIC_REGISTRY))
    for place, key, name, known in sections:
        # BasicSR registers some names with a suffix of its own and looks them up without it.
        if name not in known and f'{name}_basicsr' not in known:
            names, hint = list(known.keys()), ''
            if known is registry.ARCH_REGISTRY:
                names += baselines.spandrel_networks()
                hint = '' if baselines.has_spandrel() else f"; spandrel's networks, such as NAFNet, need {baselines.EXTRA}"
            raise ValueError(f'{place}{key}: there is no {name!r}{suggestion(name, names)}{hint}')
    scheduler = (options.get('train', {}).get('scheduler') or {}).get('type')
    if scheduler is not None and scheduler not in SCHEDULERS:
        raise ValueError(f'train:scheduler:type: there is no {scheduler!r}{suggestion(scheduler, SCHEDULERS)}')
    for name, section in options.items():
        if name.startswith('network_'):
            try:
                _check_network(section)
            except ValueError as error:
                raise ValueError(f'{name}: {error}') from None


def _check_network(section: dict) -> None:
    parameters = baselines.parameters(section['type'])
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):  # they accept anything
        known = [*parameters, *mask_input.KEYS]
        for key in section.keys() - {'type'} - set(known):
            raise ValueError(f'{section["type"]} has no setting {key!r}{suggestion(key, known)}')
    baselines.check_settings(section['type'], section)
    mask_input.check_section(section)
