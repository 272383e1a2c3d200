"""Mistakes in option files, found before anything is built: each is one line with the place, what was got and the closest known name."""

import difflib
import inspect
from collections.abc import Callable

import torch
from basicsr.models import lr_scheduler
from basicsr.utils import registry

from hmaca_arch import baselines, mask_input

SCHEDULERS = {  # BasicSR's names
    'MultiStepLR': lr_scheduler.MultiStepRestartLR,
    'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
    'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR,
}
NUMBERS = {  # whole numbers that BasicSR's pipelines read without a default, and the least that makes sense
    'datasets': (('batch_size_per_gpu', 1), ('num_worker_per_gpu', 0)),
    'train': (('total_iter', 1),),
    'logger': (('print_freq', 1), ('save_checkpoint_freq', 1)),
    'val': (('val_freq', 1),),
}


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


def check_numbers(options: dict, is_train: bool) -> None:
    """Fail where a number that a pipeline reads is missing, none, or too small; and where names cannot be names of files."""
    sections = {name: options.get(name) for name in NUMBERS if name != 'datasets'} if is_train else {}
    sections.update({f'datasets:{phase}': dataset for phase, dataset in options['datasets'].items() if phase.startswith('train')})
    for place, section in sections.items():
        if not isinstance(section, dict | type(None)):
            raise ValueError(f'{place}: got {section!r}, expected a section, or null for none')
        for key, least in NUMBERS[place.split(':')[0]] if section is not None else ():
            value = section.get(key)
            if not isinstance(value, int | float) or isinstance(value, bool) or value % 1 != 0 or value < least:
                raise ValueError(f'{place}:{key}: got {value!r}, expected a whole number of at least {least}')
    if is_train:
        for key in ('optim_g', 'scheduler'):
            if not isinstance(options['train'].get(key), dict):
                raise ValueError(f'train:{key}: got {options["train"].get(key)!r}, expected a section with a type')
    names = [dataset.get('name') for dataset in options['datasets'].values()]
    for place, name in (('name', options['name']), *zip((f'datasets:{phase}:name' for phase in options['datasets']), names)):
        if not isinstance(name, str) or not name or name.startswith('.') or set('/\\') & set(name):
            raise ValueError(f'{place}: got {name!r}, expected a name for a folder: a text without / and not beginning with a dot')
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f'datasets: two are called {twice[0]!r}; results go by that name, so give each its own')


def optimizers() -> dict[str, type]:
    """torch's, by name."""
    return {key: item for key, item in vars(torch.optim).items() if isinstance(item, type) and issubclass(item, torch.optim.Optimizer)}


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
    for name, section in options.items():
        if name.startswith('network_'):
            try:
                _check_network(section)
            except ValueError as error:
                raise ValueError(f'{name}: {error}') from None
    _check_steps(options.get('train') or {})
    for place, _, name, known in sections:
        if known in (registry.LOSS_REGISTRY, registry.METRIC_REGISTRY):
            _check_arguments(place[:-1], _section(options, place), known.get(name), skip=('type', 'better'))


def _section(options: dict, place: str) -> dict:
    for key in place.strip(':').split(':'):
        options = options[key]
    return options


def _check_arguments(place: str, section: dict, called: Callable, skip: tuple[str, ...] = ('type',), given: tuple[str, ...] = ()) -> None:
    """Fail where `section`, without its keys in `skip`, does not fit what is called with it; `given` arguments come from elsewhere."""
    parameters = inspect.signature(called).parameters
    named = [name for name, parameter in parameters.items() if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)]
    for key in section.keys() - set(skip) - set(named):
        raise ValueError(f'{place}: {section["type"]} has no setting {key!r}{suggestion(key, set(named) - set(given))}')


def _check_steps(train: dict) -> None:
    """Optimizers and schedulers: names, settings, and a schedule as long as the run."""
    for name, section in train.items():
        if name.startswith('optim_') and isinstance(section, dict):
            known = optimizers()
            if section.get('type') not in known:
                raise ValueError(f'train:{name}:type: there is no {section.get("type")!r}{suggestion(section.get("type"), known)}')
            _check_arguments(f'train:{name}', section, known[section['type']], given=('params',))
    scheduler = train.get('scheduler')
    if scheduler is None:
        return
    if scheduler.get('type') not in SCHEDULERS:
        raise ValueError(f'train:scheduler:type: there is no {scheduler.get("type")!r}{suggestion(scheduler.get("type"), SCHEDULERS)}')
    _check_arguments('train:scheduler', scheduler, SCHEDULERS[scheduler['type']], given=('optimizer',))
    if 'periods' in scheduler and sum(scheduler['periods']) < train.get('total_iter', 0):
        raise ValueError(
            f'train:scheduler:periods add up to {sum(scheduler["periods"])} iterations, but train:total_iter is {train["total_iter"]}; '
            'the schedule has to last as long as the run'
        )


def _check_network(section: dict) -> None:
    parameters = baselines.parameters(section['type'])
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):  # they accept anything
        known = [*parameters, *mask_input.KEYS]
        for key in section.keys() - {'type'} - set(known):
            raise ValueError(f'{section["type"]} has no setting {key!r}{suggestion(key, known)}')
    baselines.check_settings(section['type'], section)
    mask_input.check_section(section)
