"""Mistakes in option files, found before anything is built or written: all of them, each a line
with the place, what was got, what is
allowed and the closest known name.

Sections are checked against `schema.py` (what the pipelines, the model and the data sets read) and
against the signatures of what they configure (network, losses, metrics, optimizers, schedules). Of
models and data sets that are not this project's the known keys are checked and others pass: they
read their options as they like.
"""

import inspect
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from basicsr.models import lr_scheduler
from basicsr.utils import registry

from hmaca_arch.config import schema, signatures
from hmaca_arch.config.kinds import Kind, wrong_value
from hmaca_arch.config.unread import unread
from hmaca_arch.messages import one_line, refuse, show, suggestion
from hmaca_arch.networks import baselines, mask_input
from hmaca_arch.networks.channels import GRAY, RGB, image_channels, setting_of
from hmaca_arch.networks.described import quiet_construction, too_large

logger = logging.getLogger('hmaca_arch')

SCHEDULERS = {  # BasicSR's names
    'MultiStepLR': lr_scheduler.MultiStepRestartLR,
    'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
    'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR,
}
REMOVED = {  # what older option files say, and what became of it
    key: 'is no longer an option, worker processes read ahead by themselves; leave it out'
    for key in ('prefetch_mode', 'num_prefetch_queue')
}
MOST_LINES = 50  # mistakes that are told at once
METRIC_GIVEN = ('img', 'img2', 'lq', 'mask')  # what validation hands to a metric
CONSTRUCTED = (
    'hmaca_arch',
    'datasets_ext',
    'losses_ext',
    'basicsr',
)  # whose losses may be, to see whether they can
LOADS_WEIGHTS = ('PerceptualLoss',)  # not constructed only to see whether it can be


def optimizers() -> dict[str, type]:
    """torch's, by name."""
    return {
        key: item
        for key, item in vars(torch.optim).items()
        if isinstance(item, type) and issubclass(item, torch.optim.Optimizer)
    }


def find(name: Any, known: registry.Registry) -> Any:
    """What a registry has under a name, or under the name with BasicSR's suffix; None if there is
    nothing.
    """
    if not isinstance(name, str):
        return None
    return next((known.get(key) for key in (name, f'{name}_basicsr') if key in known), None)


def known_as(place: str, name: Any, known: registry.Registry) -> Iterator[str]:
    """A line if a registry knows no such name."""
    if find(name, known) is None:
        names, hint = list(known.keys()), ''
        if known is registry.ARCH_REGISTRY:
            names += baselines.spandrel_networks()
            hint = (
                ''
                if baselines.has_spandrel()
                else f"; spandrel's networks, such as NAFNet, need {baselines.EXTRA}"
            )
        yield f'{place}:type: there is no {show(name)}{suggestion(name, names)}{hint}'


class Checker:
    """Collects the mistakes of an option file.

    Args:
        options: the file's options after inheritance and overrides.
        is_train: what is required: that of a training or of a test. What is there is checked for
            both.
        created: places ('train:ema_decay') that overrides set and the file does not have: unknown
            ones are mistakes everywhere.
    """

    def __init__(
        self, options: Mapping[str, Any], is_train: bool, created: Iterable[str] = ()
    ) -> None:
        self.options, self.is_train, self.created = options, is_train, frozenset(created)
        self.model = None
        self.warnings: list[str] = []  # what is no mistake

    def keys(
        self,
        place: str,
        section: Any,
        known: Mapping[str, Kind],
        required: Iterable[str] = (),
        anything: bool = False,
    ) -> Iterator[str]:
        """Keys and values against a schema. `anything`: unknown keys pass."""
        if not isinstance(section, Mapping):
            yield f'{place}: got {show(section)}, expected a section'
            return
        inside = f'{place}:' if place else ''
        for key in required:
            if key not in section:
                yield f'{inside}{key}: is missing, expected {known[key].words}'
        for key, value in section.items():
            if key in known:
                yield from wrong_value(f'{inside}{key}', value, known[key])
            elif key in REMOVED and place.startswith('datasets:'):
                if value is not None:  # BasicSR's own files say null
                    yield f'{inside}{key}: {REMOVED[key]}'
            elif anything and f'{inside}{key}' not in self.created:
                if self.of_basicsr():
                    self.warnings += unread(inside, {key: value}, known)
            else:
                yield f'{inside}{key}: there is no such setting{suggestion(key, known)}'

    def of_basicsr(self) -> bool:
        """Whether the file's model is BasicSR's own: what it and its data sets read can be looked
        up.
        """
        return self.model is not None and self.model.__module__.startswith('basicsr.')

    def bound(
        self,
        place: str,
        section: Mapping,
        parameters: Mapping[str, inspect.Parameter],
        *,
        given=(),
        own=(),
        required=(),
        anything=False,
    ) -> Iterator[str]:
        """A section's keys and values against a signature: `given` arguments come from elsewhere,
        keys in `own` go elsewhere.
        """
        name, own = section['type'], ('type', *own)
        named = {
            key: item
            for key, item in parameters.items()
            if item.kind not in (item.VAR_KEYWORD, item.VAR_POSITIONAL)
        }
        named = {key: item for key, item in named.items() if key not in given}
        for key, item in named.items():
            if key not in section and (item.default is item.empty or key in required):
                yield f'{place}:{key}: is missing, {name} needs it'
        for key, value in section.items():
            if key in named:
                yield from wrong_value(f'{place}:{key}', value, signatures.kind_of(named[key]))
            elif key not in own and (not anything or f'{place}:{key}' in self.created):
                yield f'{place}:{key}: {name} has no such setting{suggestion(key, [*named, *own[1:]])}'

    def tried(self, place: str, name: str, build: Callable[[], Any]) -> Iterator[str]:
        """A line if a constructor refuses its settings."""
        try:
            with quiet_construction():
                build()
        except Exception as error:  # a constructor may refuse with anything
            reason = one_line(error)
            yield f'{place}: {reason if reason.startswith(name) else f"{name}: {reason}"}'

    def lines(self) -> Iterator[str]:
        """Every mistake, in the order of the schema."""
        options, networks = (
            self.options,
            [key for key in self.options if str(key).startswith('network_')],
        )
        required = [
            'name',
            'model_type',
            'datasets',
            'network_g',
            *(('train', 'logger') if self.is_train else ('val',)),
        ]
        model_type = options.get('model_type')
        if isinstance(model_type, str):
            self.model = find(model_type, registry.MODEL_REGISTRY)
            if self.model is None:
                yield f'model_type: there is no {model_type!r}{suggestion(model_type, registry.MODEL_REGISTRY.keys())}'
        own = self.model is None or model_type == schema.OWN_MODEL
        if own:
            networks = ['network_g'] if 'network_g' in networks else []
        top = schema.TOP | dict.fromkeys(networks, schema.SECTION)
        yield from self.keys('', options, top, required, not own)
        if not self.is_train and options.get('val', {}) is None:
            yield 'val: got None, expected a section: a test reads it'
        if isinstance(options.get('dist_params'), Mapping):
            yield from self.keys('dist_params', options['dist_params'], schema.DIST_PARAMS)
        if isinstance(options.get('datasets'), Mapping):
            yield from self.datasets(options['datasets'])
        for name in networks:
            if isinstance(options[name], Mapping):
                yield from self.network(name, options[name])
        path = schema.PATH | {
            key.format(name if 'pretrain' in key else name.removeprefix('network_')): kind
            for key, kind in schema.PATH_OF_NETWORK.items()
            for name in networks
        }
        for name, known, own_keys in (
            ('path', path, {}), ('train', schema.TRAIN, schema.TRAIN_OWN),
            ('val', schema.VAL, schema.VAL_OWN), ('logger', schema.LOGGER, schema.LOGGER_OWN),
        ):  # fmt: skip
            section, needed = (
                options.get(name),
                schema.REQUIRED.get(name, ()) if self.is_train else (),
            )
            if isinstance(section, Mapping):
                yield from self.keys(
                    name, section, known | (own_keys if own else {}), needed, not own
                )
        if isinstance(options.get('train'), Mapping):
            yield from self.train(options['train'], own)
        metrics = (
            (options.get('val') or {}).get('metrics')
            if isinstance(options.get('val'), Mapping)
            else None
        )
        if isinstance(metrics, Mapping):
            yield from self.metrics(metrics)
        logger = options.get('logger')
        if isinstance(logger, Mapping) and isinstance(logger.get('wandb'), Mapping):
            yield from self.keys('logger:wandb', logger['wandb'], schema.WANDB)
            if (
                logger['wandb'].get('project') is not None
                and logger.get('use_tb_logger') is not True
            ):
                yield 'logger:use_tb_logger: wandb copies what TensorBoard is given, set use_tb_logger: true'

    def datasets(self, datasets: Mapping) -> Iterator[str]:
        wanted = ('train', 'val') if self.is_train else schema.PHASES
        phases = [str(phase).split('_')[0] for phase in datasets]
        for phase, kind in zip(datasets, phases):
            if kind not in wanted or (kind == 'train' and phase != 'train'):
                extra = ': a training validates on val' if kind == 'test' else ''
                yield f'datasets:{phase}: expected {", ".join(wanted)} or val_NAME{extra}{suggestion(phase, wanted)}'
        needed = ('train',) if self.is_train else ('val', 'test')
        if not set(needed) & set(phases) or (self.is_train and 'train' not in datasets):
            yield f'datasets: there is no section {" or ".join(needed)}, got {", ".join(map(str, datasets)) or "none"}'
        names = [
            section.get('name') for section in datasets.values() if isinstance(section, Mapping)
        ]
        for name in dict.fromkeys(
            name for name in names if name is not None and names.count(name) > 1
        ):
            yield f'datasets: two are called {show(name)}; results go by that name, so give each its own'
        yield from self.channels(datasets)
        for phase, section in datasets.items():
            if phase == 'train' or str(phase).split('_')[0] in ('val', 'test'):
                yield from self.dataset(f'datasets:{phase}', section, str(phase).split('_')[0])

    def channels(self, datasets: Mapping) -> Iterator[str]:
        """A line where this project's data sets cannot give the images that the network takes."""
        network = self.options.get('network_g')
        ours = {
            key: item
            for key, item in datasets.items()
            if isinstance(item, Mapping) and str(item.get('type')) in schema.DATASETS
        }
        if (
            not isinstance(network, Mapping)
            or not ours
            or not schema.whole(1).accepts(image_channels(network))
        ):
            return
        wanted = image_channels(network)
        if wanted not in (GRAY, RGB):
            yield f'network_g:{setting_of(network)}: got {wanted}, expected 1 (gray) or 3 (RGB): the data sets give such images'
        for phase, section in ours.items():
            if section.get('channels', wanted) != wanted:
                yield f'datasets:{phase}:channels: got {show(section["channels"])}, expected {wanted}, what network_g takes; leave it out'

    def dataset(self, place: str, section: Any, phase: str) -> Iterator[str]:
        kind = section.get('type') if isinstance(section, Mapping) else None
        cls = find(kind, registry.DATASET_REGISTRY)
        known = getattr(cls, 'option_kinds', None)
        required = [
            *schema.REQUIRED['dataset'],
            *(schema.REQUIRED['train data'] if phase == 'train' and self.is_train else ()),
        ]
        required += [key for key in known or () if key.startswith('dataroot')]
        yield from self.keys(
            place, section, known or schema.DATASET, required, cls is not None and not known
        )
        if not isinstance(section, Mapping):
            return
        if 'type' in section:
            yield from known_as(place, kind, registry.DATASET_REGISTRY)
        if section.get('persistent_workers') and phase != 'train':
            yield f'{place}:persistent_workers: for datasets:train alone; pictures are tested without worker processes'
        if section.get('use_shuffle') is False and phase == 'train':
            yield f'{place}:use_shuffle: got false, expected true: the sequence of samples is shuffled, by manual_seed'
        if known:
            if isinstance(section.get('io_backend'), Mapping):
                yield from self.keys(
                    f'{place}:io_backend', section['io_backend'], schema.IO_BACKEND, ('type',)
                )
            if self.options.get('scale', 1) != 1:
                yield f'scale: got {show(self.options["scale"])}, expected 1: in {kind} lq, mask and gt have one size'
        if hasattr(cls, 'check'):
            yield from self.tried(place, kind, lambda: cls.check(section))

    def network(self, place: str, section: Mapping) -> Iterator[str]:
        name = section.get('type')
        try:
            with quiet_construction():
                baselines.provide(str(name))
                unknown = list(known_as(place, name, registry.ARCH_REGISTRY))
                parameters = {} if unknown else baselines.parameters(name)
                typed = {} if unknown else signatures.parameters(baselines.constructor(name))
        except Exception as error:  # of a package's that cannot be imported
            unknown = [f'{place}: {one_line(error)}']
        if unknown:
            yield from unknown
            return
        anything = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
        if self.of_basicsr() and name in baselines.IGNORES_UNKNOWN:
            anything = True
            self.warnings += unread(f'{place}:', section, ('type', *parameters, *mask_input.KEYS))
        parameters = {key: typed.get(key, item) for key, item in parameters.items()}
        lines = list(self.bound(place, section, parameters, own=mask_input.KEYS, anything=anything))
        lines += [f'{place}:{line}' for line in too_large(section)]
        for check in (
            lambda: baselines.check_settings(name, section),
            lambda: mask_input.check_section(section),
        ):
            lines += self.tried(place, name, check)
        if not lines and not signatures.absent_files(
            section
        ):  # weights that are not there yet are no mistake of the file
            yield from self.tried(place, name, lambda: signatures.try_network(section))
        yield from lines

    def train(self, train: Mapping, own: bool) -> Iterator[str]:
        """Losses, optimizers, the schedule; and that there is something to learn from."""
        for name, section in train.items():
            if not isinstance(section, Mapping):
                continue
            place = f'train:{name}'
            if str(name).endswith('_opt'):
                unknown = list(known_as(place, section.get('type'), registry.LOSS_REGISTRY))
                yield from unknown or self.loss(place, section)
            elif str(name).startswith('optim_') or name == 'scheduler':
                yield from self.step(
                    place, section, SCHEDULERS if name == 'scheduler' else optimizers()
                )
        periods = (
            train['scheduler'].get('periods')
            if isinstance(train.get('scheduler'), Mapping)
            else None
        )
        total = train.get('total_iter')
        if (
            isinstance(periods, list)
            and schema.whole(1).accepts(total)
            and all(map(schema.whole().accepts, periods))
            and sum(periods) < total
        ):
            yield (
                f'train:scheduler:periods: add up to {sum(periods)} iterations, but train:total_iter is {total}; '
                'the schedule has to last as long as the run'
            )
        if own and isinstance(train.get('compile'), Mapping):
            yield from self.bound(
                'train:compile',
                {'type': 'torch.compile', **train['compile']},
                signatures.parameters(torch.compile),
                given=('model',),
            )
        if own and not train.get('pixel_opt') and not train.get('perceptual_opt'):
            yield 'train:pixel_opt: is missing, expected a section with a loss here or in perceptual_opt'
        if own and learns_nothing(train):
            yield learns_nothing(train)

    def loss(self, place: str, section: Mapping) -> Iterator[str]:
        called = find(section['type'], registry.LOSS_REGISTRY)
        lines = list(self.bound(place, section, signatures.parameters(called)))
        if (
            not lines
            and called.__module__.split('.')[0] in CONSTRUCTED
            and section['type'] not in LOADS_WEIGHTS
        ):
            settings = {key: value for key, value in section.items() if key != 'type'}
            lines += self.tried(place, section['type'], lambda: called(**settings))
        yield from lines

    def step(self, place: str, section: Mapping, known: Mapping[str, Callable]) -> Iterator[str]:
        """An optimizer or a schedule."""
        name = section.get('type')
        if not isinstance(name, str) or name not in known:
            yield f'{place}:type: there is no {show(name)}{suggestion(name, known)}'
            return
        of_optimizer = known is not SCHEDULERS
        given, required = (('params',), ('lr',)) if of_optimizer else (('optimizer',), ())
        lines = list(
            self.bound(
                place, section, signatures.parameters(known[name]), given=given, required=required
            )
        )
        for key in section if known is SCHEDULERS else ():
            lines += wrong_value(
                f'{place}:{key}', section[key], schema.SCHEDULE.get(key, schema.ANY)
            )
        settings = {key: value for key, value in section.items() if key != 'type'}
        weights = [
            torch.nn.Parameter(torch.ones(1, 1, 3, 3)),
            torch.nn.Parameter(torch.ones(1)),
        ]  # of a convolution

        def build() -> None:
            if not of_optimizer:
                known[name](torch.optim.SGD(weights, lr=1.0), **settings)
                return
            for weight in weights:
                weight.grad = torch.ones_like(weight)
            optimizer = known[name](weights, **settings)
            if not section.get('capturable'):  # which steps on GPUs only
                optimizer.step()  # LBFGS, SparseAdam and Muon refuse only that, or such weights

        yield from lines or self.tried(place, name, build)

    def metrics(self, metrics: Mapping) -> Iterator[str]:
        for name, section in metrics.items():
            place = f'val:metrics:{name}'
            if not isinstance(section, Mapping):
                yield f'{place}: got {show(section)}, expected a section'
                continue
            unknown = list(known_as(place, section.get('type'), registry.METRIC_REGISTRY))
            yield from unknown
            if not unknown:
                called = find(section['type'], registry.METRIC_REGISTRY)
                yield from self.bound(
                    place,
                    section,
                    signatures.parameters(called),
                    given=METRIC_GIVEN,
                    own=('better',),
                )
                if (
                    'input_order' in section
                ):  # BasicSR's metrics say this when they are first called
                    yield from wrong_value(
                        f'{place}:input_order', section['input_order'], schema.choice('HWC', 'CHW')
                    )
            if 'better' in section:
                yield from wrong_value(
                    f'{place}:better', section['better'], schema.choice('higher', 'lower')
                )


def learns_nothing(train: Mapping) -> str | None:
    """What is wrong where the only loss looks outside the mask and `composite` lets gradient
    through only inside.
    """
    loss = train.get('pixel_opt')
    if not isinstance(loss, Mapping):
        return None
    blind = loss.get('alpha') == 0 and loss.get('outside', 'complement') == 'complement'
    if train.get('composite') and blind and not train.get('perceptual_opt'):
        return (
            'train:composite: leaves gradient only inside the mask, pixel_opt (alpha 0, outside complement) only outside it: '
            'nothing would be learned; set alpha: 1'
        )
    return None


def check(options: Mapping[str, Any], is_train: bool = True, created: Iterable[str] = ()) -> None:
    """Raise an OptionError with every mistake in an option file; see `Checker`."""
    checker = Checker(options, is_train, created)
    lines = list(itertools.islice(checker.lines(), MOST_LINES + 1))
    refuse([*lines[:MOST_LINES], 'and more'] if len(lines) > MOST_LINES else lines)
    for line in checker.warnings:
        logger.warning('%s', line)


def check_network(section: Mapping[str, Any]) -> None:
    """Raise an OptionError with every mistake in a section `network_g` alone."""
    refuse(Checker({}, is_train=False).network('network_g', section))
