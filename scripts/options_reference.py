#!/usr/bin/env python
"""Write docs/options.md and options/schema.json from the code that option files configure."""

import argparse
import json
import re
import textwrap
from collections.abc import Mapping

from option_settings import (
    LOSSES,
    METRICS,
    NETWORKS,
    ROOT,
    constructed,
    data_set,
    metric,
    network,
    path_settings,
)
from options_schema import json_schema

from hmaca_arch.cli import end
from hmaca_arch.config import dataset_schema, schema, shipped
from hmaca_arch.config.kinds import Kind

WIDTH = 100
HARD = '\0'  # a space at which no line ends


def wrapped(text: str, indent: str = '') -> str:
    """Break a paragraph into lines."""
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def entry(key: str, kind: Kind) -> str:
    """Return the list item of a setting."""
    default = f'default: {kind.default}' if kind.default else 'required'
    if re.fullmatch(r"[\w.\[\],'-]+(?: [\w.\[\],'-]*)?", kind.default):  # a value, no sentence
        default = f'default: `{kind.default}`'
    words = kind.words.replace(', or null, or null', ', or null')
    if words == 'anything':
        words = 'any value'
    example = f'`{key}: {kind.example}`'
    if len(example) < WIDTH - 10:
        example = example.replace(' ', HARD)
    text = f'- **`{key}`** ({words}; {default}). {kind.meaning} Example: {example}'
    return wrapped(text, '  ').replace(HARD, ' ')


def entries(settings: Mapping[str, Kind]) -> str:
    """Return a list with an item for each setting."""
    return '\n'.join(entry(key, kind) for key, kind in settings.items())


def less(settings: Mapping[str, Kind], others: Mapping[str, Kind]) -> dict[str, Kind]:
    """Return the settings without those that others has."""
    return {key: kind for key, kind in settings.items() if key not in others}


def introduction() -> list[str]:
    """Return the paragraphs up to the first section."""
    names = ', '.join(f'`{name}`' for name in shipped.data_sets())
    return [
        '# Options',
        wrapped(
            'Every key that an option file may have. This page is written by '
            '`scripts/options_reference.py` from the code: change the code, not the page.'
        ),
        wrapped(
            'How to use a file: `basicsr train -opt FILE`, `basicsr test -opt FILE`, '
            '`basicsr check -opt FILE`. FILE is a path, or the name of a file that comes with the '
            'package, such as `train_HMACA1`. `--force_yml SECTION:KEY=VALUE` changes a setting, '
            'for example `train:total_iter=100` or `data=imagenet_blur`. Values are YAML. Editors '
            'check files against `options/schema.json`, which the first line of each file names.'
        ),
        '## The file',
        'How a file is put together:',
        entries(schema.FILE),
        wrapped(
            f'A data file holds the sections `datasets` and `val` alone. The shipped ones: {names}.'
        ),
        'What stands at the top:',
        entries(schema.TOP),
    ]


def data_sets() -> list[str]:
    """Return the paragraphs on data sets."""
    own = {name: less(data_set(name), dataset_schema.DATASET) for name in dataset_schema.DATASETS}
    paired, degrading = own['MaskedPairedImageDataset'], own['MaskedDegradationDataset']
    shared = {key: kind for key, kind in paired.items() if key in degrading}
    parts = [
        '## datasets',
        wrapped(
            'Sections `train`, `val` and `val_NAME`. Of any type; `batch_size_per_gpu` and '
            '`num_worker_per_gpu` are for `train`, which requires them:'
        ),
        entries(
            {
                key: kind
                for key, kind in dataset_schema.DATASET.items()
                if key not in ('phase', 'scale')
            }
        ),
        'Of the types of this project:',
        entries(shared),
    ]
    for name, settings in own.items():
        parts += [f'### {name}', entries(less(settings, shared))]
    return [*parts, 'In `io_backend`:', entries(dataset_schema.IO_BACKEND)]


def networks() -> list[str]:
    """Return the paragraphs on networks."""
    parts = [
        '## network_g',
        'Of any network:',
        entries(schema.NETWORK_OWN),
        wrapped(
            'Other types take the arguments of their constructors: SwinIR and others of BasicSR; '
            'HAT, DRCT and others of spandrel (`python scripts/install.py compare`).'
        ),
    ]
    for name in NETWORKS:
        if name == 'HMACA':
            own = less(network(name), network('HMANet'))
            parts += [f'### {name}', "All of HMANet's, and:", entries(own)]
        else:
            parts += [f'### {name}', entries(network(name))]
    return parts


def reference() -> str:
    """Return docs/options.md."""
    parts = [*introduction(), *data_sets(), *networks()]
    parts += ['## path', entries(path_settings())]
    parts += ['## train', entries(schema.TRAIN | schema.TRAIN_OWN)]
    parts.append(
        wrapped(
            'Losses of BasicSR, such as L1Loss, take the arguments of their constructors. '
            'So do the optimizers of torch.optim.'
        )
    )
    for name, loss in LOSSES.items():
        parts += [f'### {name}', entries(constructed(loss, 'train'))]
    parts += ['### scheduler', entries(schema.SCHEDULE)]
    parts += ['## val', entries(schema.VAL | schema.VAL_OWN)]
    parts.append("Metrics of BasicSR, such as calculate_psnr, take their functions' arguments.")
    for name in METRICS:
        parts += [f'### {name}', entries(metric(name))]
    parts += ['## logger', entries(schema.LOGGER | schema.LOGGER_OWN)]
    parts += ['### wandb', entries(schema.WANDB)]
    parts += ['## dist_params', entries(schema.DIST_PARAMS)]
    return '\n\n'.join(parts) + '\n'


def outputs() -> dict[str, str]:
    """Return {file below the checkout: its content}."""
    return {
        'docs/options.md': reference(),
        'options/schema.json': json.dumps(json_schema(), indent=1) + '\n',
    }


def main() -> None:
    """Write both files."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name, text in outputs().items():
        (ROOT / name).write_text(text, encoding='utf-8')
        print(name)


if __name__ == '__main__':
    end('options_reference', main)
