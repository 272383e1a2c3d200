#!/usr/bin/env python
"""Write docs/options.md and options/schema.json from the schema of option files and the signatures
of what they configure.
"""

import argparse
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
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
from hmaca_arch.cli import end  # noqa: E402
from hmaca_arch.config import dataset_schema, files, schema, shipped, signatures  # noqa: E402
from hmaca_arch.config.kinds import Kind  # noqa: E402
from hmaca_arch.networks import HMACA, HMANet  # noqa: E402
from hmaca_arch.networks.unfolded import Unfolded  # noqa: E402

NETWORKS = {'HMANet': HMANet, 'HMACA': HMACA, 'Unfolded': Unfolded}
LOSSES = {name: getattr(losses_ext, name) for name in losses_ext.__all__ if name[0].isupper()}
METRICS = (
    'calculate_composite_psnr',
    'calculate_masked_psnr',
    'calculate_masked_ssim',
    'calculate_boundary_psnr',
)
PLACEHOLDER = {'type': 'string', 'pattern': r'^\{(data|protocol|paste)\}$'}
WIDTH = 100
HARD = '\0'  # a space at which no line ends


def inline(value: Any) -> str:
    """Write a value as YAML on one line."""
    value = list(value) if isinstance(value, tuple) else value
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10**6)
        .removesuffix('\n')
        .removesuffix('\n...')
    )


def meanings(cls: type) -> dict[str, str]:
    """Return {argument: text} of the Args in the docstrings of a class, its settings and bases."""
    found: dict[str, str] = {}
    for part in (*getattr(cls, 'Settings', object).__mro__, *cls.__mro__):
        text = (
            inspect.cleandoc(part.__doc__ or '')
            if part.__module__.split('.')[0] in ('hmaca_arch', 'datasets_ext', 'losses_ext')
            else ''
        )
        block = re.search(r'^Args:\n((?:    .*\n?|\n)+)', text, re.M)
        for names, said in re.findall(
            r'^    (\w+(?:, \w+)*): (.*(?:\n {8,}.*)*)', block[1] if block else '', re.M
        ):
            for name in names.split(', '):
                found.setdefault(name, ' '.join(said.split()))
    return found


def sentence(text: str) -> str:
    """Begin with a capital letter, unless it begins with a symbol such as `x`."""
    return text[:1].upper() + text[1:] if text[1:2].isalpha() else text


def examples(section: str) -> dict[str, dict[str, Any]]:
    """Return {type: {setting: value}} of what the shipped option files say in a section, at
    whichever depth.
    """
    found: dict[str, dict[str, Any]] = {}

    def look(value: Any) -> None:
        for item in (
            value.values()
            if isinstance(value, Mapping)
            else value
            if isinstance(value, list)
            else ()
        ):
            look(item)
        if isinstance(value, Mapping) and isinstance(value.get('type'), str):
            for key, item in value.items():
                found.setdefault(value['type'], {}).setdefault(key, item)

    for path in shipped.option_files().values():
        look({section: files.load(path).get(section, {})})
    return found


def constructed(
    called: Callable, section: str, leave: tuple = (), said: Mapping[str, Kind] | None = None
) -> dict[str, Kind]:
    """Return the settings of a constructor: kinds and defaults by its signature, meanings by its
    docstring or by `said`.
    """
    said, texts = said or {}, meanings(called) if isinstance(called, type) else {}
    used = examples(section).get(called.__name__, {})
    settings = {}
    for name, parameter in signatures.parameters(called).items():
        if name in leave or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = '' if parameter.default is parameter.empty else inline(parameter.default)
        example = (
            said[name].example if name in said else inline(used[name]) if name in used else default
        )
        meaning = said[name].meaning if name in said else sentence(texts[name])
        kind = signatures.kind_of(parameter)
        if name in said and parameter.annotation is parameter.empty:
            kind = said[name]
        settings[name] = kind.described(meaning, example, default)
    return settings


def network(name: str) -> dict[str, Kind]:
    return constructed(NETWORKS[name], 'network_g')


def metric(name: str) -> dict[str, Kind]:
    settings = constructed(
        METRIC_REGISTRY.get(name), 'val', leave=('img', 'img2', 'lq', 'mask'), said=schema.METRIC
    )
    return {**settings, 'better': schema.METRIC['better']}


def data_set(name: str) -> dict[str, Kind]:
    """Return a data set's settings: the recipe's by its constructor, the others by the schema."""
    known = dataset_schema.DATASETS[name]
    recipe = constructed(Recipe, 'datasets') if name == 'MaskedDegradationDataset' else {}
    used = examples('datasets').get(name, {})
    for key, kind in recipe.items():
        recipe[key] = kind._replace(example=inline(used[key])) if key in used else kind
    return {key: recipe.get(key, kind) for key, kind in known.items()}


# docs/options.md


def wrapped(text: str, indent: str = '') -> str:
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def entries(settings: Mapping[str, Kind]) -> str:
    """Write a list with an entry for each setting."""
    lines = []
    for key, kind in settings.items():
        default = f'default: {kind.default}' if kind.default else 'required'
        if (
            kind.default
            and re.fullmatch(r"[\w.\[\], '-]+", kind.default)
            and len(kind.default.split(' ')) < 3
        ):
            default = f'default: `{kind.default}`'
        words = (
            'any value'
            if kind.words == 'anything'
            else kind.words.replace(', or null, or null', ', or null')
        )
        example = f'`{key}: {kind.example}`'
        if len(example) < WIDTH - 10:  # on one line
            example = example.replace(' ', HARD)
        lines.append(
            wrapped(
                f'- **`{key}`** ({words}; {default}). {kind.meaning} Example: {example}', '  '
            ).replace(HARD, ' ')
        )
    return '\n'.join(lines)


def reference() -> str:
    """Return docs/options.md."""
    path = {
        key.format('network_g' if 'pretrain' in key else 'g'): kind
        for key, kind in schema.PATH_OF_NETWORK.items()
    }
    shown = ('batch_size_per_gpu', 'num_worker_per_gpu')
    common = {key: kind for key, kind in dataset_schema.DATASET.items() if key not in ('phase', 'scale')}
    own = {
        name: {k: v for k, v in data_set(name).items() if k not in dataset_schema.DATASET}
        for name in dataset_schema.DATASETS
    }
    shared = {
        key: kind
        for key, kind in own['MaskedPairedImageDataset'].items()
        if key in own['MaskedDegradationDataset']
    }
    parts = [
        '# Options',
        wrapped(
            'Every key that an option file may have. This page is written by `scripts/options_reference.py` from the code: change the '
            'code, not the page.'
        ),
        wrapped(
            'How to use a file: `basicsr train -opt FILE`, `basicsr test -opt FILE`, `basicsr check -opt FILE`. FILE is a path, or the '
            'name of a file that comes with the package, such as `train_HMACA1`. `--force_yml SECTION:KEY=VALUE` changes a setting, for '
            'example `train:total_iter=100` or `data=imagenet_blur`. Values are YAML. Editors check files against `options/schema.json`, '
            'which the first line of each file names.'
        ),
        '## The file',
        'How a file is put together:',
        entries(schema.FILE),
        wrapped(
            'A data file holds the sections `datasets` and `val` alone. The shipped ones: '
            + ', '.join(f'`{name}`' for name in shipped.data_sets())
            + '.'
        ),
        'What stands at the top:',
        entries(schema.TOP),
        '## datasets',
        wrapped(
            f'Sections `train`, `val` and `val_NAME`. Of any type; `{shown[0]}` and `{shown[1]}` are for `train`, which requires them:'
        ),
        entries(common),
        'Of the types of this project:',
        entries(shared),
    ]
    for name in dataset_schema.DATASETS:
        parts += [
            f'### {name}',
            entries({key: kind for key, kind in own[name].items() if key not in shared}),
        ]
    parts += [
        'In `io_backend`:',
        entries(dataset_schema.IO_BACKEND),
        '## network_g',
        'Of any network:',
        entries(schema.NETWORK_OWN),
        wrapped(
            'Other types take the arguments of their constructors: SwinIR and others of BasicSR; HAT, DRCT and others of spandrel '
            '(`python scripts/install.py compare`).'
        ),
    ]
    for name in NETWORKS:
        settings = network(name)
        if name == 'HMACA':
            settings = {key: kind for key, kind in settings.items() if key not in network('HMANet')}
        parts += [
            f'### {name}',
            *(["All of HMANet's, and:"] if name == 'HMACA' else []),
            entries(settings),
        ]
    parts += [
        '## path', entries(schema.PATH | path),
        '## train', entries(schema.TRAIN | schema.TRAIN_OWN),
        wrapped('Losses of BasicSR, such as L1Loss, take the arguments of their constructors. So do the optimizers of torch.optim.'),
    ]  # fmt: skip
    for name, loss in LOSSES.items():
        parts += [f'### {name}', entries(constructed(loss, 'train'))]
    parts += [
        '### scheduler',
        entries(schema.SCHEDULE),
        '## val',
        entries(schema.VAL | schema.VAL_OWN),
    ]
    parts.append("Metrics of BasicSR, such as calculate_psnr, take their functions' arguments.")
    for name in METRICS:
        parts += [f'### {name}', entries(metric(name))]
    parts += [
        '## logger',
        entries(schema.LOGGER | schema.LOGGER_OWN),
        '### wandb',
        entries(schema.WANDB),
    ]
    parts += ['## dist_params', entries(schema.DIST_PARAMS)]
    return '\n\n'.join(parts) + '\n'


# options/schema.json


def of_kind(kind: Kind) -> dict[str, Any]:
    """Return a setting as JSON schema; its texts may be placeholders."""
    said = {'description': kind.meaning} if kind.meaning else {}
    given = dict(kind.json)
    if any(isinstance(value, str) for value in given.get('enum', ())):
        given = {'anyOf': [given, PLACEHOLDER]}
    return {**given, **said}


def section(settings: Mapping[str, Kind], **inside: Any) -> dict[str, Any]:
    """Return a section as JSON schema. `inside`: what stands in it instead of a setting's own kind."""
    properties = {key: of_kind(kind) for key, kind in settings.items()}
    for key, value in inside.items():
        properties[key] = {**properties.get(key, {}), **value}
    return {'type': 'object', 'properties': properties, 'additionalProperties': False}


def typed(known: Mapping[str, Mapping[str, Kind]]) -> dict[str, Any]:
    """Return a section whose `type` decides which settings it takes; those of unknown types are not
    checked.
    """
    rules = [
        {
            'if': {'properties': {'type': {'const': name}}, 'required': ['type']},
            'then': section({'type': schema.NETWORK_OWN['type']._replace(meaning=''), **settings}),
        }
        for name, settings in known.items()
    ]
    return {'type': ['object', 'null'], 'properties': {'type': {'type': 'string'}}, 'allOf': rules}


def json_schema() -> dict[str, Any]:
    """Return options/schema.json: option files of this project's model, which need not be complete."""
    own = {key: kind for key, kind in schema.NETWORK_OWN.items() if key != 'type'}
    path = {
        key.format('network_g' if 'pretrain' in key else 'g'): kind
        for key, kind in schema.PATH_OF_NETWORK.items()
    }
    losses = typed({name: constructed(loss, 'train') for name, loss in LOSSES.items()})
    data = typed({name: data_set(name) for name in dataset_schema.DATASETS})
    inside = {
        'datasets': {
            'patternProperties': {'^(train|val|test)(_.*)?$': data},
            'additionalProperties': False,
        },
        'network_g': typed({name: {**own, **network(name)} for name in NETWORKS}),
        'path': section(schema.PATH | path),
        'train': section(schema.TRAIN | schema.TRAIN_OWN, pixel_opt=losses, perceptual_opt=losses),
        'val': {
            **section(
                schema.VAL | schema.VAL_OWN,
                metrics={
                    'type': ['object', 'null'],
                    'additionalProperties': typed({name: metric(name) for name in METRICS}),
                },
            ),
            'type': ['object', 'null'],
        },
        'logger': section(
            schema.LOGGER | schema.LOGGER_OWN,
            wandb={**section(schema.WANDB), 'type': ['object', 'null']},
        ),
        'dist_params': {**section(schema.DIST_PARAMS), 'type': ['object', 'null']},
    }
    whole = section(schema.FILE | schema.TOP, **inside)
    for key in inside:  # said twice otherwise
        whole['properties'][key].pop('anyOf', None)
    return {
        '$schema': 'http://json-schema.org/draft-07/schema#',
        'title': 'Option file of hmaca',
        **whole,
    }


def outputs() -> dict[str, str]:
    """Return {file below the checkout: what it has to hold}."""
    return {
        'docs/options.md': reference(),
        'options/schema.json': json.dumps(json_schema(), indent=1) + '\n',
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name, text in outputs().items():
        (ROOT / name).write_text(text, encoding='utf-8')
        print(name)


if __name__ == '__main__':
    end('options_reference', main)
