"""What the checks of all sections share: keys against a schema, a signature or a constructor."""

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from basicsr.utils import registry

from hmaca_arch.config import signatures
from hmaca_arch.config.kinds import Kind, wrong_value
from hmaca_arch.config.unread import unread
from hmaca_arch.messages import one_line, short_repr, suggestion
from hmaca_arch.networks import baselines
from hmaca_arch.networks.described import quiet_construction

REMOVED = dict.fromkeys(  # keys of older option files, and what to do about them
    ('prefetch_mode', 'num_prefetch_queue'),
    'is no longer an option, worker processes read ahead by themselves; leave it out',
)


def find(name: Any, known: registry.Registry) -> Any:
    """Look a name up in a registry, also with BasicSR's suffix; None if there is nothing."""
    if not isinstance(name, str):
        return None
    return next((known.get(key) for key in (name, f'{name}_basicsr') if key in known), None)


def unknown_type(place: str, name: Any, known: registry.Registry) -> Iterator[str]:
    """Yield a line if a registry has no such name."""
    if find(name, known) is not None:
        return
    names, hint = list(known.keys()), ''
    if known is registry.ARCH_REGISTRY:
        names += baselines.spandrel_networks()
        if not baselines.has_spandrel():
            hint = f"; spandrel's networks, such as NAFNet, need {baselines.EXTRA}"
    yield f'{place}:type: there is no {short_repr(name)}{suggestion(name, names)}{hint}'


def refused(place: str, name: str, build: Callable[[], Any]) -> Iterator[str]:
    """Yield a line if a constructor refuses its settings.

    Args:
        place: the section.
        name: the class, for the message.
        build: calls the constructor.
    """
    try:
        with quiet_construction():
            build()
    except Exception as error:  # a constructor may raise anything
        reason = one_line(error)
        yield f'{place}: {reason if reason.startswith(name) else f"{name}: {reason}"}'


class Checker:
    """An option file that is being checked.

    Args:
        options: the file's options after inheritance and overrides.
        is_train: whether to require what a training needs, or what a test needs. What is there is
            checked for both.
        created: keys ('train:ema_decay') that overrides set and the file does not have. If unknown,
            they are mistakes in every section.

    Attributes:
        model: the class of `model_type`, None if it is not known.
        is_own: whether the model is this project's; other models may read keys that are not known
            here.
        warnings: lines about what is no mistake.
    """

    def __init__(
        self, options: Mapping[str, Any], is_train: bool, created: Iterable[str] = ()
    ) -> None:
        self.options, self.is_train, self.created = options, is_train, frozenset(created)
        self.model: type | None = None
        self.is_own = True
        self.warnings: list[str] = []

    def is_basicsr(self) -> bool:
        """Tell whether the model is BasicSR's: what it and its data sets read can be looked up."""
        return self.model is not None and self.model.__module__.startswith('basicsr.')

    def check_keys(
        self,
        place: str,
        section: Any,
        known: Mapping[str, Kind],
        required: Iterable[str] = (),
        allow_unknown: bool = False,
    ) -> Iterator[str]:
        """Check a section against a schema."""
        if not isinstance(section, Mapping):
            yield f'{place}: got {short_repr(section)}, expected a section'
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
            elif not allow_unknown or f'{inside}{key}' in self.created:
                yield f'{inside}{key}: there is no such setting{suggestion(key, known)}'
            elif self.is_basicsr():
                self.warnings += unread(inside, {key: value}, known)

    def check_arguments(
        self,
        place: str,
        section: Mapping[str, Any],
        parameters: Mapping[str, inspect.Parameter],
        *,
        given: Collection[str] = (),
        own: Collection[str] = (),
        required: Collection[str] = (),
        allow_unknown: bool = False,
    ) -> Iterator[str]:
        """Check a section against the signature of what its `type` names.

        Args:
            place: the section's name, for messages.
            section: the section, with its `type`.
            parameters: the signature.
            given: parameters that come from elsewhere.
            own: keys that are not arguments.
            required: parameters that are needed although they have a default.
            allow_unknown: let keys pass that the signature does not have.
        """
        name = section['type']
        named = {
            key: item
            for key, item in parameters.items()
            if item.kind not in (item.VAR_KEYWORD, item.VAR_POSITIONAL) and key not in given
        }
        for key, item in named.items():
            if key not in section and (item.default is item.empty or key in required):
                yield f'{place}:{key}: is missing, {name} needs it'
        for key, value in section.items():
            if key in named:
                yield from wrong_value(f'{place}:{key}', value, signatures.kind_of(named[key]))
            elif key in ('type', *own):
                continue
            elif not allow_unknown or f'{place}:{key}' in self.created:
                hint = suggestion(key, [*named, *own])
                yield f'{place}:{key}: {name} has no such setting{hint}'
