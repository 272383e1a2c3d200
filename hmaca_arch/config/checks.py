"""Mistakes in option files, all of them at once, before anything is built or written.

Each is a line with the place, what was got, what is allowed and the closest known name. Sections
are checked against `schema.py` (what the pipelines, the model and the data sets read) and against
the signatures of what they configure (network, losses, metrics, optimizers, schedules). Models and
data sets from elsewhere may read keys that are not known here; those pass.
"""

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from basicsr.utils import registry

from hmaca_arch.config import schema
from hmaca_arch.config.checker import Checker, find
from hmaca_arch.config.dataset_checks import check_datasets
from hmaca_arch.config.network_checks import check_network_section
from hmaca_arch.config.training_checks import check_metrics, check_train
from hmaca_arch.messages import refuse, suggestion

logger = logging.getLogger('hmaca_arch')

MOST_LINES = 50  # mistakes that are reported at once


def check(options: Mapping[str, Any], is_train: bool = True, created: Iterable[str] = ()) -> None:
    """Raise an OptionError with every mistake in an option file, or log what is only odd.

    Args:
        options: the file's options after inheritance and overrides.
        is_train: whether to require what a training needs, or what a test needs.
        created: keys added by overrides; see `Checker`.
    """
    checker = Checker(options, is_train, created)
    lines = list(itertools.islice(_first(_mistakes(checker)), MOST_LINES + 1))
    refuse([*lines[:MOST_LINES], 'and more'] if len(lines) > MOST_LINES else lines)
    for line in checker.warnings:
        logger.warning('%s', line)


def check_network(section: Mapping[str, Any]) -> None:
    """Raise an OptionError with every mistake in a section `network_g` alone."""
    refuse(_first(check_network_section(Checker({}, is_train=False), 'network_g', section)))


def _first(lines: Iterable[str]) -> Iterator[str]:
    """Yield the first line about each value; a schema and a signature may refuse the same."""
    told = set()
    for line in lines:
        key, got, _ = line.partition(': got ')
        if key not in told:
            yield line
        if got:
            told.add(key)


def _section(options: Any, name: str) -> Mapping[str, Any] | None:
    """Return a section; None if it is missing or something else."""
    section = options.get(name) if isinstance(options, Mapping) else None
    return section if isinstance(section, Mapping) else None


def _mistakes(checker: Checker) -> Iterator[str]:
    options = checker.options
    yield from _find_model(checker)
    networks = [key for key in options if str(key).startswith('network_')]
    if checker.is_own:
        networks = ['network_g'] if 'network_g' in networks else []
    yield from _check_top(checker, networks)
    if (dist_params := _section(options, 'dist_params')) is not None:
        yield from checker.check_keys('dist_params', dist_params, schema.DIST_PARAMS)
    if (datasets := _section(options, 'datasets')) is not None:
        yield from check_datasets(checker, datasets)
    for name in networks:
        if (network := _section(options, name)) is not None:
            yield from check_network_section(checker, name, network)
    yield from _check_sections(checker, networks)
    if (train := _section(options, 'train')) is not None:
        yield from check_train(checker, train)
    if (metrics := _section(options.get('val'), 'metrics')) is not None:
        yield from check_metrics(checker, metrics)
    if (wandb := _section(options.get('logger'), 'wandb')) is not None:
        yield from checker.check_keys('logger:wandb', wandb, schema.WANDB)
        if wandb.get('project') is not None and options['logger'].get('use_tb_logger') is not True:
            yield (
                'logger:use_tb_logger: wandb copies what TensorBoard is given, '
                'set use_tb_logger: true'
            )


def _find_model(checker: Checker) -> Iterator[str]:
    """Look the file's model up, and yield a line if there is none of that name."""
    name = checker.options.get('model_type')
    if isinstance(name, str):
        checker.model = find(name, registry.MODEL_REGISTRY)
        if checker.model is None:
            hint = suggestion(name, registry.MODEL_REGISTRY.keys())
            yield f'model_type: there is no {name!r}{hint}'
    checker.is_own = checker.model is None or name == schema.OWN_MODEL


def _check_top(checker: Checker, networks: list[str]) -> Iterator[str]:
    known = schema.TOP | dict.fromkeys(networks, schema.SECTION)
    required = ['name', 'model_type', 'datasets', 'network_g']
    required += ['train', 'logger'] if checker.is_train else ['val']
    yield from checker.check_keys('', checker.options, known, required, not checker.is_own)
    if not checker.is_train and checker.options.get('val', {}) is None:
        yield 'val: got None, expected a section: a test reads it'


def _check_sections(checker: Checker, networks: list[str]) -> Iterator[str]:
    """Check the keys of `path`, `train`, `val` and `logger`."""
    path = dict(schema.PATH)
    for key, kind in schema.PATH_OF_NETWORK.items():
        for name in networks:
            part = name if 'pretrain' in key else name.removeprefix('network_')
            path[key.format(part)] = kind
    for name, known, own in (
        ('path', path, {}),
        ('train', schema.TRAIN, schema.TRAIN_OWN),
        ('val', schema.VAL, schema.VAL_OWN),
        ('logger', schema.LOGGER, schema.LOGGER_OWN),
    ):
        if (section := _section(checker.options, name)) is not None:
            yield from checker.check_keys(
                name,
                section,
                known | own if checker.is_own else known,
                schema.REQUIRED.get(name, ()) if checker.is_train else (),
                not checker.is_own,
            )
