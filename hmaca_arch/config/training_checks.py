"""Mistakes in what an option file trains with: losses, optimizers, the schedule, metrics."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from basicsr.models import lr_scheduler
from basicsr.utils import registry

from hmaca_arch.config import schema, signatures
from hmaca_arch.config.checker import Checker, find, refused, unknown_type
from hmaca_arch.config.kinds import ANY, whole, wrong_value
from hmaca_arch.messages import short_repr, suggestion

SCHEDULERS = {  # by BasicSR's names
    'MultiStepLR': lr_scheduler.MultiStepRestartLR,
    'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
    'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR,
}
GIVEN_TO_METRICS = ('img', 'img2', 'lq', 'mask')  # by validation
CONSTRUCTED = ('hmaca_arch', 'datasets_ext', 'losses_ext', 'basicsr')  # packages of trusted losses
LOADS_WEIGHTS = ('PerceptualLoss',)  # not constructed for a check


def optimizers() -> dict[str, type[torch.optim.Optimizer]]:
    """Return torch's optimizers by name."""
    return {
        name: item
        for name, item in vars(torch.optim).items()
        if isinstance(item, type) and issubclass(item, torch.optim.Optimizer)
    }


def check_train(checker: Checker, train: Mapping[str, Any]) -> Iterator[str]:
    """Check the losses, optimizers and schedule, and that there is something to learn from."""
    for name, section in train.items():
        if not isinstance(section, Mapping):
            continue
        place = f'train:{name}'
        if str(name).endswith('_opt'):
            unknown = list(unknown_type(place, section.get('type'), registry.LOSS_REGISTRY))
            yield from unknown or _check_loss(checker, place, section)
        elif str(name).startswith('optim_'):
            yield from _check_optimizer(checker, place, section)
        elif name == 'scheduler':
            yield from _check_scheduler(checker, place, section)
    yield from _check_periods(train)
    if not checker.is_own:
        return
    if isinstance(train.get('compile'), Mapping):
        yield from checker.check_arguments(
            'train:compile',
            {'type': 'torch.compile', **train['compile']},
            signatures.parameters(torch.compile),
            given=('model',),
        )
    if not train.get('pixel_opt') and not train.get('perceptual_opt'):
        yield (
            'train:pixel_opt: is missing, expected a section with a loss here or in perceptual_opt'
        )
    yield from learns_nothing(train)


def learns_nothing(train: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line if the gradient of every loss is zero.

    With `composite` only the region has a gradient. A loss that looks only outside it is constant.
    """
    loss = train.get('pixel_opt')
    if not isinstance(loss, Mapping) or not train.get('composite') or train.get('perceptual_opt'):
        return
    if loss.get('alpha') == 0 and loss.get('outside', 'complement') == 'complement':
        yield (
            'train:composite: leaves gradient only inside the mask, pixel_opt (alpha 0, outside '
            'complement) only outside it: nothing would be learned; set alpha: 1'
        )


def _settings(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key != 'type'}


def _check_loss(checker: Checker, place: str, section: Mapping[str, Any]) -> Iterator[str]:
    loss, name = find(section['type'], registry.LOSS_REGISTRY), section['type']
    lines = list(checker.check_arguments(place, section, signatures.parameters(loss)))
    is_trusted = loss.__module__.split('.')[0] in CONSTRUCTED and name not in LOADS_WEIGHTS
    if not lines and is_trusted:
        lines += refused(place, name, lambda: loss(**_settings(section)))
    yield from lines


def _unknown_step(place: str, name: Any, known: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(name, str) or name not in known:
        yield f'{place}:type: there is no {short_repr(name)}{suggestion(name, known)}'


def _weights() -> list[torch.nn.Parameter]:
    """Return weights and bias of a small convolution, with gradients."""
    weights = [torch.nn.Parameter(torch.ones(1, 1, 3, 3)), torch.nn.Parameter(torch.ones(1))]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    return weights


def _check_optimizer(checker: Checker, place: str, section: Mapping[str, Any]) -> Iterator[str]:
    known, name = optimizers(), section.get('type')
    unknown = list(_unknown_step(place, name, known))
    if unknown:
        yield from unknown
        return
    optimizer: Callable[..., torch.optim.Optimizer] = known[str(name)]
    parameters = signatures.parameters(optimizer)
    lines = list(
        checker.check_arguments(place, section, parameters, given=('params',), required=('lr',))
    )

    def take_step() -> None:
        # Some optimizers, such as LBFGS, cannot take a step as BasicSR does.
        made = optimizer(_weights(), **_settings(section))
        if not section.get('capturable'):  # which steps on GPUs only
            made.step()

    yield from lines or refused(place, str(name), take_step)


def _check_scheduler(checker: Checker, place: str, section: Mapping[str, Any]) -> Iterator[str]:
    name = section.get('type')
    unknown = list(_unknown_step(place, name, SCHEDULERS))
    if unknown:
        yield from unknown
        return
    scheduler: Callable[..., Any] = SCHEDULERS[str(name)]
    parameters = signatures.parameters(scheduler)
    lines = list(checker.check_arguments(place, section, parameters, given=('optimizer',)))
    for key, value in section.items():
        lines += wrong_value(f'{place}:{key}', value, schema.SCHEDULE.get(key, ANY))

    def build() -> None:
        scheduler(torch.optim.SGD(_weights(), lr=1.0), **_settings(section))

    yield from lines or refused(place, str(name), build)


def _check_periods(train: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line if a cosine schedule ends before the training does."""
    scheduler, total = train.get('scheduler'), train.get('total_iter')
    periods = scheduler.get('periods') if isinstance(scheduler, Mapping) else None
    if not isinstance(periods, list) or not isinstance(total, int) or total < 1:
        return
    if all(map(whole().accepts, periods)) and sum(periods) < total:
        yield (
            f'train:scheduler:periods: add up to {sum(periods)} iterations, but train:total_iter '
            f'is {total}; the schedule has to last as long as the run'
        )


def check_metrics(checker: Checker, metrics: Mapping[str, Any]) -> Iterator[str]:
    """Check the metrics of the section `val`."""
    for name, section in metrics.items():
        place = f'val:metrics:{name}'
        if not isinstance(section, Mapping):
            yield f'{place}: got {short_repr(section)}, expected a section'
            continue
        unknown = list(unknown_type(place, section.get('type'), registry.METRIC_REGISTRY))
        yield from unknown or _check_metric(checker, place, section)
        if 'better' in section:
            yield from wrong_value(f'{place}:better', section['better'], schema.METRIC['better'])


def _check_metric(checker: Checker, place: str, section: Mapping[str, Any]) -> Iterator[str]:
    parameters = signatures.parameters(find(section['type'], registry.METRIC_REGISTRY))
    yield from checker.check_arguments(
        place, section, parameters, given=GIVEN_TO_METRICS, own=('better',)
    )
    if 'input_order' in section:  # not annotated in BasicSR's metrics
        value, kind = section['input_order'], schema.METRIC['input_order']
        yield from wrong_value(f'{place}:input_order', value, kind)
