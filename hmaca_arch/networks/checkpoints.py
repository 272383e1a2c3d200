"""State dicts that say which network they belong to, and those of HMA's published release.

A state dict carries the network's class and settings under `_extra_state`, torch's own place for
such things, as a uint8 tensor of JSON: a tensor, so that weights-only loading and savers that call
`.cpu()` on every entry keep working.

The release's checkpoints carry none. Their keys are renamed by `RELEASE_KEYS`; what they do not say
is assumed: 'strips', interval 4, img_range 1.
"""

import inspect
import json
import logging
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hmaca_arch.networks.settings import require

logger = logging.getLogger('hmaca_arch')

DESCRIPTION = '_extra_state'
MOST_DESCRIBED = 2**16  # bytes: a file may claim anything
FREE_SETTINGS = (
    'drop_path_rate',
    'use_checkpoint',
    'pad_to',
)  # change how a network is trained and run, not what it computes

# The release's keys -> ours, applied in this order to every key.
RELEASE_KEYS = [
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r'^patch_embed\.norm\.', 'norm_first.'),
        (r'^norm\.', 'norm_last.'),
        (r'^layers\.(\d+)\.(residual_group\.)?', r'groups.\1.'),
        (r'\.fused_conv\.', '.expand.'),
        (r'\.conv3_1x1\.', '.reduce.'),
        (r'\.relative_position_bias_table$', '.bias_table'),
        (r'\.window_attn_s\.', '.shifted_attn.'),
        (r'\.attn_transform(\d)\.pos\.', r'.bias\1.'),
        (r'\.gab\.fc\.', '.gab.proj.'),
    )
]
RELEASE_BUFFERS = re.compile(r'(^|\.)(relative_position_index\w*|attn_mask)$')
RELEASE_SIGN = re.compile(
    r'^layers\.\d+\.residual_group\.(blocks\.\d+\.fused_conv|gab)\.'
)  # SwinIR and HAT share the rest


def is_release(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of HMA's published release."""
    return any(RELEASE_SIGN.match(key) for key in state_dict)


def our_key(key: str) -> str:
    """A key of the release -> ours; ours stay as they are."""
    for pattern, ours in RELEASE_KEYS:
        key = pattern.sub(ours, key)
    return key


def description_of(state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """{'network': class name, 'settings': constructor arguments} of a state dict, or None where it
    carries none.
    """
    return decode(state_dict[DESCRIPTION]) if DESCRIPTION in state_dict else None


def decode(state: Tensor) -> dict[str, Any]:
    """The uint8 tensor made by `SelfDescribing.get_extra_state` -> what it says."""
    try:
        if state.dtype != torch.uint8 or state.ndim != 1 or len(state) > MOST_DESCRIBED:
            raise ValueError(
                f'{str(state.dtype).removeprefix("torch.")}, shape {tuple(state.shape)}'
            )
        description = json.loads(bytes(state.cpu().tolist()))
        return {'network': str(description['network']), 'settings': dict(description['settings'])}
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f'{DESCRIPTION} of the checkpoint is not a description of a network ({str(error)[:100]})'
        ) from error


def describe_release(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings of HMANet that a release checkpoint's shapes imply; shifted_windows 'strips',
    interval_size 4, img_range 1.

    Raises:
        ValueError: a weight that tells a setting is missing, or has no such shape.
    """

    def found(pattern: str, dimensions: int) -> dict[str, tuple[int, ...]]:
        shapes = {
            key: tuple(value.shape)
            for key, value in state_dict.items()
            if re.fullmatch(pattern, key)
        }
        for key, shape in shapes.items():
            require(
                len(shape) == dimensions and 0 not in shape,
                f'shape of {key[:80]}',
                shape,
                f'{dimensions} dimensions, none of them 0',
            )
        return shapes

    def first(pattern: str, dimensions: int) -> tuple[int, ...]:
        shapes = found(pattern, dimensions)
        if not shapes:
            raise ValueError(
                f'the checkpoint has keys of the published HMA, but none like {pattern}'
            )
        return next(iter(shapes.values()))

    embed_dim, in_chans = first(r'conv_first\.weight', 4)[:2]
    hidden = first(r'.*mlp\.fc1\.weight', 2)[0]
    tables: dict[int, list[tuple[int, ...]]] = {}
    for key, shape in found(
        r'layers\.\d{1,4}\.residual_group\.blocks\.\d+\.attn\.relative_position_bias_table', 2
    ).items():
        tables.setdefault(int(key.split('.')[1]), []).append(shape)
    if not tables:
        raise ValueError(
            'the checkpoint has keys of the published HMA, but no relative_position_bias_table'
        )
    upscale = 1
    for out, inside, *_ in found(r'upsample\.\d+\.weight', 4).values():
        upscale *= math.isqrt(out // inside)
    return {
        'in_chans': in_chans,
        'embed_dim': embed_dim,
        'depths': [len(tables[i]) for i in sorted(tables)],
        'num_heads': [tables[i][0][1] for i in sorted(tables)],
        'window_size': (math.isqrt(next(iter(tables.values()))[0][0]) + 1) // 2,
        'interval_size': 4,
        'mlp_ratio': hidden / embed_dim,
        'upscale': upscale,
        'img_range': 1.0,
        'resi_connection': '1conv' if 'conv_after_body.weight' in state_dict else 'identity',
        'shifted_windows': 'strips',
    }


def refuse_misfit(network: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Raise a ValueError if a checkpoint is of another network: in one line the settings, weights
    and shapes that differ, a few of each.

    torch's own error lists every weight, which are hundreds.
    """
    theirs = dict(getattr(network, 'canonical_state_dict', dict)(state_dict))
    ours = network.state_dict()
    found = []
    if isinstance(network, SelfDescribing) and DESCRIPTION in theirs:
        found = [line[:160] for line in network.differences(decode(theirs.pop(DESCRIPTION)))]
        found[6:] = [f'{len(found) - 6} more settings'] if len(found) > 6 else []
        del ours[DESCRIPTION]
    for key in [
        key for key in ours.keys() & theirs.keys() if key.endswith(f'.{DESCRIPTION}')
    ]:  # of a network inside: text of any length
        del ours[key], theirs[key]

    def few(keys: Collection[str], what: str, show: Callable[[str], str] = str) -> None:
        if keys:
            some = ', '.join(show(key)[:120] for key in sorted(keys)[:3])
            found.append(f'{len(keys)} {what}: {some}{", ..." if len(keys) > 3 else ""}')

    few(ours.keys() - theirs.keys(), 'weights are missing in the checkpoint')
    few(theirs.keys() - ours.keys(), 'are in the checkpoint only')
    few(
        [key for key in ours.keys() & theirs.keys() if ours[key].shape != theirs[key].shape],
        'have another shape',
        lambda key: (
            f'{key} {tuple(theirs[key].shape)} in the checkpoint, {tuple(ours[key].shape)} here'
        ),
    )
    if found:
        raise ValueError(f'the checkpoint is of another network: {"; ".join(found)}')


class SelfDescribing(nn.Module):
    """A network whose state dict carries its class and its constructor arguments, `settings`, which
    a subclass sets.
    """

    settings: dict[str, Any]

    def get_extra_state(self) -> Tensor:
        """Class and settings as a uint8 tensor of JSON."""
        text = json.dumps(
            {'network': type(self).__name__, 'settings': self.settings}, sort_keys=True
        )
        return torch.tensor(list(text.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Called by torch with what `get_extra_state` made: raise a ValueError if it describes
        another network.
        """
        if differences := self.differences(decode(state)):
            raise ValueError(f'the checkpoint is of another network: {"; ".join(differences)}')

    def differences(self, description: Mapping[str, Any]) -> list[str]:
        """What in a checkpoint's description is not as in this network, apart from `FREE_SETTINGS`;
        one line each.
        """
        theirs = self.known(description)
        ours = self.known({'network': type(self).__name__, 'settings': self.settings})
        nothing = 'not set'
        return [
            f'{name} is {theirs.get(name, nothing)!r} in the checkpoint, {ours.get(name, nothing)!r} here'
            for name in sorted({*theirs, *ours}.difference(FREE_SETTINGS))
            if theirs.get(name, nothing) != ours.get(name, nothing)
        ]

    def known(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """A description's `network` and settings in one dictionary, to be compared by
        `differences`.
        """
        # a setting that a checkpoint does not know is younger than it, and was trained with its
        # default
        parameters = inspect.signature(type(self)).parameters.items()
        defaults = {
            name: parameter.default for name, parameter in parameters if name in self.settings
        }
        return {'network': description['network'], **defaults, **description['settings']}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As torch's. Nothing is copied if the checkpoint describes another network.

        Raises:
            ValueError: strict, and settings differ that decide what the network computes; they are
                listed. (Without strict, for fine-tuning on part of another network's weights, the
                list is logged as a warning.)
            RuntimeError: torch's own, for keys or shapes that do not fit.
        """
        state_dict = dict(state_dict)
        if strict and DESCRIPTION in state_dict:
            self.set_extra_state(state_dict[DESCRIPTION])
        elif DESCRIPTION in state_dict and (
            differences := self.differences(decode(state_dict.pop(DESCRIPTION)))
        ):
            logger.warning(
                'loading part of the weights of another network: %s', '; '.join(differences)
            )
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


class ReadsRelease(SelfDescribing):
    """A self-describing network whose state dict may also come under the keys of HMA's release."""

    def canonical_state_dict(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """A state dict under this network's own key names.

        Keys of HMA's release are renamed, its index buffers dropped, and the description filled in
        where there is none. Keys of ours, and unknown ones, stay.
        """
        canonical = {
            our_key(key): value
            for key, value in state_dict.items()
            if not RELEASE_BUFFERS.search(key)
        }
        canonical.setdefault(DESCRIPTION, self.get_extra_state())
        return canonical

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As `SelfDescribing`'s, for our keys and the release's."""
        if is_release(state_dict) and self.settings['shifted_windows'] != 'strips':
            logger.warning(
                'weights in the format of the published HMA go into a network with shifted_windows %r; they were trained with '
                "'strips', and its results differ. Set shifted_windows: strips to get what they were trained to compute.",
                self.settings['shifted_windows'],
            )
        return super().load_state_dict(
            self.canonical_state_dict(state_dict), strict=strict, assign=assign
        )
