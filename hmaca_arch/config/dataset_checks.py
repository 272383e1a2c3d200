"""Mistakes in the section `datasets` of an option file."""

from collections.abc import Iterator, Mapping
from typing import Any

from basicsr.utils import registry

from hmaca_arch.config import dataset_schema
from hmaca_arch.config.checker import Checker, find, refused, unknown_type
from hmaca_arch.config.completing import phase_of
from hmaca_arch.config.kinds import whole
from hmaca_arch.messages import short_repr, suggestion
from hmaca_arch.networks.channels import GRAY, RGB, image_channels, setting_of


def check_datasets(checker: Checker, datasets: Mapping[str, Any]) -> Iterator[str]:
    """Check which data sets there are, then each of them."""
    yield from _check_phases(checker, datasets)
    called = [section.get('name') for section in datasets.values() if isinstance(section, Mapping)]
    names = [name for name in called if isinstance(name, str)]  # others are mistakes by themselves
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield (
                f'datasets: two are called {short_repr(name)}; '
                'results go by that name, so give each its own'
            )
    yield from _check_channels(checker.options.get('network_g'), datasets)
    for phase, section in datasets.items():
        if phase == 'train' or phase_of(phase) in ('val', 'test'):
            yield from _check_dataset(checker, f'datasets:{phase}', section, phase_of(phase))


def _check_phases(checker: Checker, datasets: Mapping[str, Any]) -> Iterator[str]:
    expected = ('train', 'val') if checker.is_train else dataset_schema.PHASES
    for name in datasets:
        phase = phase_of(name)
        if phase not in expected or (phase == 'train' and name != 'train'):
            extra = ': a training validates on val' if phase == 'test' else ''
            yield (
                f'datasets:{name}: expected {", ".join(expected)} or val_NAME{extra}'
                f'{suggestion(name, expected)}'
            )
    needed = ('train',) if checker.is_train else ('val', 'test')
    found = set(datasets) if checker.is_train else set(map(phase_of, datasets))
    if not found & set(needed):
        got = ', '.join(map(str, datasets)) or 'none'
        yield f'datasets: there is no section {" or ".join(needed)}, got {got}'


def _check_channels(network: Any, datasets: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line where this project's data sets cannot give the images that the network takes."""
    ours = {
        phase: section
        for phase, section in datasets.items()
        if isinstance(section, Mapping) and str(section.get('type')) in dataset_schema.DATASETS
    }
    if not isinstance(network, Mapping) or not ours:
        return
    wanted = image_channels(network)
    if not whole(1).accepts(wanted):  # which is reported as a mistake of the network's
        return
    if wanted not in (GRAY, RGB):
        yield (
            f'network_g:{setting_of(network)}: got {wanted}, expected 1 (gray) or 3 (RGB): '
            'the data sets give such images'
        )
    for phase, section in ours.items():
        given = section.get('channels', wanted)
        if given != wanted:
            yield (
                f'datasets:{phase}:channels: got {short_repr(given)}, '
                f'expected {wanted}, what network_g takes; leave it out'
            )


def _check_dataset(checker: Checker, place: str, section: Any, phase: str) -> Iterator[str]:
    name = section.get('type') if isinstance(section, Mapping) else None
    cls = find(name, registry.DATASET_REGISTRY)
    known = getattr(cls, 'option_kinds', None)  # of this project's data sets
    required = [*dataset_schema.REQUIRED]
    if phase == 'train' and checker.is_train:
        required += dataset_schema.REQUIRED_IN_TRAINING
    required += [key for key in known or () if key.startswith('dataroot')]
    yield from checker.check_keys(
        place, section, known or dataset_schema.DATASET, required, cls is not None and not known
    )
    if not isinstance(section, Mapping):
        return
    if 'type' in section:
        yield from unknown_type(place, name, registry.DATASET_REGISTRY)
    if section.get('persistent_workers') and phase != 'train':
        yield (
            f'{place}:persistent_workers: for datasets:train alone; '
            'validation and tests read images without worker processes'
        )
    if section.get('use_shuffle') is False and phase == 'train':
        yield (
            f'{place}:use_shuffle: got false, expected true: '
            'the sequence of samples is shuffled, by manual_seed'
        )
    if known and isinstance(section.get('io_backend'), Mapping):
        backend = section['io_backend']
        yield from checker.check_keys(
            f'{place}:io_backend', backend, dataset_schema.IO_BACKEND, ('type',)
        )
    scale = checker.options.get('scale', 1)
    if known and scale != 1:
        yield f'scale: got {short_repr(scale)}, expected 1: in {name} lq, mask and gt have one size'
    if hasattr(cls, 'check'):
        yield from refused(place, str(name), lambda: cls.check(section))
