"""Collect the settings of option files from the schema and from what the files configure.

`options_reference.py` and `options_schema.py` write them down.
"""

import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # last: an installed package goes first

import hmaca_arch  # noqa: E402, F401, I001  (first: it makes BasicSR importable)
import datasets_ext  # noqa: E402, F401
import losses_ext  # noqa: E402
from basicsr.utils.registry import METRIC_REGISTRY  # noqa: E402
from datasets_ext.recipe import Recipe  # noqa: E402
from hmaca_arch.config import dataset_schema, files, schema, shipped, signatures  # noqa: E402
from hmaca_arch.config.kinds import Kind  # noqa: E402
from hmaca_arch.networks import HMACA, HMANet  # noqa: E402
from hmaca_arch.networks.unfolded import Unfolded  # noqa: E402

Settings = dict[str, Kind]

NETWORKS: dict[str, type] = {'HMANet': HMANet, 'HMACA': HMACA, 'Unfolded': Unfolded}
LOSSES = {name: getattr(losses_ext, name) for name in losses_ext.__all__ if name[0].isupper()}
METRICS = (
    'calculate_composite_psnr',
    'calculate_masked_psnr',
    'calculate_masked_ssim',
    'calculate_boundary_psnr',
)
OWN_PACKAGES = ('hmaca_arch', 'datasets_ext', 'losses_ext')


def inline(value: Any) -> str:
    """Return a value as YAML on one line."""
    value = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix('\n').removesuffix('\n...')


def meanings(cls: type) -> dict[str, str]:
    """Return {argument: text} of the Args in the docstrings of a class, its settings and bases."""
    found: dict[str, str] = {}
    for part in (*getattr(cls, 'Settings', object).__mro__, *cls.__mro__):
        if part.__module__.split('.')[0] not in OWN_PACKAGES:
            continue
        text = inspect.cleandoc(part.__doc__ or '')
        block = re.search(r'^Args:\n((?:    .*\n?|\n)+)', text, re.M)
        entries = re.findall(r'^    (\w+): (.*(?:\n {8,}.*)*)', block[1] if block else '', re.M)
        for name, meaning in entries:
            found.setdefault(name, ' '.join(meaning.split()))
    return found


def sentence(text: str) -> str:
    """Begin with a capital letter, unless it begins with a symbol such as `x`."""
    return text[:1].upper() + text[1:] if text[1:2].isalpha() else text


def typed_sections(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all sections with a type, at any depth, inner ones first."""
    items: Collection[Any] = ()
    if isinstance(value, Mapping):
        items = value.values()
    elif isinstance(value, list):
        items = value
    for item in items:
        yield from typed_sections(item)
    if isinstance(value, Mapping) and isinstance(value.get('type'), str):
        yield value


def examples(section: str) -> dict[str, dict[str, Any]]:
    """Return {type: {setting: value}}, the first value in the shipped option files' section."""
    found: dict[str, dict[str, Any]] = {}
    for path in shipped.option_files().values():
        for used in typed_sections({section: files.load(path).get(section, {})}):
            known = found.setdefault(used['type'], {})
            found[used['type']] = {**used, **known}
    return found


def constructed(
    called: Callable[..., Any],
    section: str,
    leave: Collection[str] = (),
    known: Mapping[str, Kind] | None = None,
) -> Settings:
    """Return the settings of a class or function: kinds and defaults by its signature.

    Args:
        called: the class or function.
        section: of the option file; examples come from there.
        leave: arguments that are no settings.
        known: settings with meanings; those of the others are in the docstring.
    """
    known = known or {}
    texts = meanings(called) if isinstance(called, type) else {}
    used = examples(section).get(called.__name__, {})
    settings = {}
    for name, parameter in signatures.parameters(called).items():
        if name in leave or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = '' if parameter.default is parameter.empty else inline(parameter.default)
        kind = signatures.kind_of(parameter)
        if name in known:
            if parameter.annotation is parameter.empty:
                kind = known[name]
            settings[name] = kind.described(known[name].meaning, known[name].example, default)
        else:
            example = inline(used[name]) if name in used else default
            settings[name] = kind.described(sentence(texts[name]), example, default)
    return settings


def network(name: str) -> Settings:
    """Return the settings of one of `NETWORKS`."""
    return constructed(NETWORKS[name], 'network_g')


def metric(name: str) -> Settings:
    """Return the settings of one of `METRICS`."""
    function, images = METRIC_REGISTRY.get(name), ('img', 'img2', 'lq', 'mask')
    settings = constructed(function, 'val', leave=images, known=schema.METRIC)
    return {**settings, 'better': schema.METRIC['better']}


def data_set(name: str) -> Settings:
    """Return the settings of a data set: the recipe's by its constructor, others by the schema."""
    recipe = constructed(Recipe, 'datasets') if name == 'MaskedDegradationDataset' else {}
    used = examples('datasets').get(name, {})
    for key, kind in recipe.items():
        recipe[key] = kind._replace(example=inline(used[key])) if key in used else kind
    return {key: recipe.get(key, kind) for key, kind in dataset_schema.DATASETS[name].items()}


def path_settings() -> Settings:
    """Return the settings of the section `path`, with those of the network network_g."""
    of_network = {
        key.format('network_g' if 'pretrain' in key else 'g'): kind
        for key, kind in schema.PATH_OF_NETWORK.items()
    }
    return schema.PATH | of_network
