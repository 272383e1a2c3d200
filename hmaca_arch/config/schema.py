"""What option files may say: the keys of each section and the kinds of their values, as plain data. `checks.py` reads it.

What a network, loss, metric, optimizer or schedule may be given is not here: its constructor's signature says so. What models and data
sets from elsewhere read besides is not known here, and passes.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

from hmaca_arch.messages import show, suggestion


class Kind(NamedTuple):
    """A kind of value.

    words: what an error says is expected. accepts: whether a value is of the kind. names: the texts it may be, if only some.
    """

    words: str
    accepts: Callable[[Any], bool]
    names: tuple = ()


def wrong_value(place: str, value: Any, kind: Kind) -> Iterator[str]:
    """A line if a value is not of the kind that is expected at its place."""
    if not kind.accepts(value):
        yield f'{place}: got {show(value)}, expected {kind.words}{suggestion(value, kind.names, listed=False)}'


def _in_words(least: float, most: float) -> str:
    if most < math.inf:
        return f' from {least} to {most}'
    return f' of at least {least}' if least > -math.inf else ''


def whole(least: float = -math.inf, most: float = math.inf) -> Kind:
    def accepts(value):
        return isinstance(value, Integral) and not isinstance(value, bool) and least <= value <= most

    return Kind(f'a whole number{_in_words(least, most)}', accepts)


def number(least: float = -math.inf, most: float = math.inf) -> Kind:
    def accepts(value):
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and least <= value <= most

    return Kind(f'a number{_in_words(least, most)}', accepts)


def choice(*values) -> Kind:
    def accepts(value):
        return any(value == known and type(value) is type(known) for known in values)

    words = [str(value).lower() if isinstance(value, bool) else 'null' if value is None else str(value) for value in values]
    return Kind(' or '.join([', '.join(words[:-1]), words[-1]] if len(words) > 1 else words), accepts, tuple(words))


def either(*kinds: Kind) -> Kind:
    return Kind(
        ', or '.join(dict.fromkeys(kind.words for kind in kinds)),
        lambda value: any(kind.accepts(value) for kind in kinds),
        tuple(name for kind in kinds for name in kind.names),
    )


def list_of(kind: Kind, length: int | None = None) -> Kind:
    """A list whose items are all of one kind."""

    def accepts(value):
        return isinstance(value, list | tuple) and length in (None, len(value)) and all(map(kind.accepts, value))

    return Kind(f'a list{f" of {length}" if length else ""}, each {kind.words}', accepts, kind.names)


FLAG = choice(True, False)
TEXT = Kind('a text', lambda value: isinstance(value, str) and value != '')
SECTION = Kind('a section', lambda value: isinstance(value, Mapping))
LIST = Kind('a list', lambda value: isinstance(value, list | tuple))
ANY = Kind('anything', lambda value: True)
NOTHING = Kind('null', lambda value: value is None)
FOLDER_NAME = Kind(
    'a name for a folder: a text of up to 200 bytes without / and not beginning with a dot',
    lambda value: (
        isinstance(value, str)
        and bool(re.fullmatch(r'[^./\\\x00-\x1f][^/\\\x00-\x1f]*', value))
        and len(value.encode(errors='replace')) <= 200
    ),
)


def optional(kind: Kind) -> Kind:
    return either(kind, NOTHING)


PHASES = ('train', 'val', 'test')  # and val_NAME, test_NAME
PROTOCOLS = {'clean': 'lq', 'release': 'gt'}  # and what the composite PSNR of each pastes outside the region
OWN_MODEL = 'MaskedRestorationModel'

TOP = {
    'name': FOLDER_NAME,
    'model_type': TEXT,
    'protocol': choice('release', 'clean'),
    'num_gpu': either(choice('auto'), whole(0)),
    'manual_seed': optional(whole(0)),
    'scale': whole(1),
    'find_unused_parameters': FLAG,
    'dist_params': optional(SECTION),
    'datasets': SECTION,
    'network_g': SECTION,
    'path': SECTION,
    'train': SECTION,
    'val': optional(SECTION),
    'logger': SECTION,
}

DIST_PARAMS = {'backend': choice('nccl', 'gloo'), 'port': whole(1, 65535), 'timeout': number(1)}

PATH = {'resume_state': optional(TEXT), 'ignore_resume_networks': LIST}
PATH_OF_NETWORK = {'pretrain_{}': optional(TEXT), 'strict_load_{}': FLAG, 'param_key_{}': optional(TEXT)}  # {}: network_g; g; g

TRAIN = {
    'total_iter': whole(1),
    'warmup_iter': whole(-1),
    'optim_g': SECTION,
    'scheduler': SECTION,
    'pixel_opt': optional(SECTION),
    'perceptual_opt': optional(SECTION),
    'ema_decay': number(0, 1),
}
TRAIN_OWN = {
    'composite': FLAG,
    'amp': choice('bf16', 'fp16', False),
    'grad_clip': optional(number(0)),
    'compile': either(FLAG, SECTION),
    'deterministic': FLAG,
}

SCHEDULE = {  # BasicSR's schedules are not annotated
    'milestones': list_of(whole(0)),
    'periods': list_of(whole(1)),
    'restarts': list_of(whole(0)),
    'restart_weights': list_of(number(0)),
}

VAL = {
    'val_freq': whole(1),
    'save_img': FLAG,
    'pbar': FLAG,
    'suffix': optional(TEXT),
    'metrics': optional(SECTION),
}
VAL_OWN = {'composite': FLAG, 'tb_images': whole(0)}

LOGGER = {
    'print_freq': whole(1),
    'save_checkpoint_freq': whole(1),
    'use_tb_logger': FLAG,
    'wandb': optional(SECTION),
}
LOGGER_OWN = {'keep_last': optional(whole(1)), 'keep_best': FLAG, 'pbar': FLAG}
WANDB = {'project': optional(TEXT), 'resume_id': optional(TEXT)}

REQUIRED = {  # what the pipelines read without a default
    'train': ('total_iter', 'optim_g', 'scheduler'),
    'logger': ('print_freq', 'save_checkpoint_freq'),
    'val': ('val_freq',),
    'dataset': ('name', 'type'),
    'train data': ('batch_size_per_gpu', 'num_worker_per_gpu'),
}

DATASET = {  # what BasicSR's trainer and loader put into, or read from, any data set's section
    'name': FOLDER_NAME,
    'type': TEXT,
    'phase': choice(*PHASES),
    'scale': whole(1),
    'batch_size_per_gpu': whole(1),
    'num_worker_per_gpu': whole(0),
    'dataset_enlarge_ratio': number(0.001),
    'use_shuffle': FLAG,
    'pin_memory': FLAG,
    'persistent_workers': FLAG,
    'prepare': TEXT,  # what to run to make the data, for the message when they are missing
}
IO_BACKEND = {'type': choice('disk', 'lmdb')}
_MASKED = {
    'scale': choice(1),  # lq, mask and gt have one size (see the networks' keep_size)
    'io_backend': SECTION,
    'meta_info_file': optional(TEXT),
    'gt_size': optional(whole(1)),
    'min_mask_ratio': number(0, 1),
    'use_hflip': FLAG,
    'use_rot': FLAG,
    'seed': whole(0),
}
DATASETS = {  # this project's, by type
    'MaskedPairedImageDataset': {
        **DATASET, **_MASKED, 'dataroot_lq': TEXT, 'dataroot_mask': TEXT, 'dataroot_gt': TEXT, 'soft_mask': FLAG,
    },
    'MaskedDegradationDataset': {
        **DATASET, **_MASKED, 'dataroot_gt': TEXT,
        # `recipe.Recipe` checks these
        'protocol': ANY, 'degradation': ANY, 'degradation_count': ANY, 'region': ANY, 'region_size': ANY, 'size': ANY, 'jpeg': ANY,
        'compression': ANY, 'unknown': number(0, 1),
    },
}  # fmt: skip
