"""Weights in the format of HMA's published release.

Its checkpoints do not describe themselves. `RELEASE_KEYS` renames their keys, and the shapes give
most settings. What they do not give is assumed: shifted_windows 'strips', interval_size 4,
img_range 1.
"""

import logging
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hmaca_arch.networks.checkpoints import DESCRIPTION, SelfDescribing
from hmaca_arch.networks.settings import require

logger = logging.getLogger('hmaca_arch')

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
BUFFERS = re.compile(r'(^|\.)(relative_position_index\w*|attn_mask)$')
# SwinIR and HAT share the other keys.
SIGN = re.compile(r'^layers\.\d+\.residual_group\.(blocks\.\d+\.fused_conv|gab)\.')
# {1,4}: a stranger's key may hold any number of digits.
BIAS_TABLE = re.compile(
    r'layers\.(\d{1,4})\.residual_group\.blocks\.\d+\.attn\.relative_position_bias_table'
)


def is_release(state_dict: Mapping[str, Tensor]) -> bool:
    """Return whether the keys are those of HMA's published release."""
    return any(SIGN.match(key) for key in state_dict)


def our_key(key: str) -> str:
    """Return a key of the release under our name; ours stay as they are."""
    for pattern, ours in RELEASE_KEYS:
        key = pattern.sub(ours, key)
    return key


def _shapes(
    state_dict: Mapping[str, Tensor], pattern: str | re.Pattern[str], dimensions: int
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights whose whole keys match, each of that many dimensions."""
    shapes = {
        key: tuple(value.shape) for key, value in state_dict.items() if re.fullmatch(pattern, key)
    }
    expected = f'{dimensions} dimensions, none of them 0'
    for key, shape in shapes.items():
        sound = len(shape) == dimensions and 0 not in shape
        require(sound, f'shape of {key[:80]}', shape, expected)
    return shapes


def _first_shape(
    state_dict: Mapping[str, Tensor], pattern: str, dimensions: int
) -> tuple[int, ...]:
    shapes = _shapes(state_dict, pattern, dimensions)
    if not shapes:
        raise ValueError(f'the checkpoint has keys of the published HMA, but none like {pattern}')
    return next(iter(shapes.values()))


def describe_release(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the settings of HMANet that the shapes of a release checkpoint imply.

    Raises:
        ValueError: a weight that gives a setting is missing, or has no such shape.
    """
    embed_dim, in_chans = _first_shape(state_dict, r'conv_first\.weight', 4)[:2]
    hidden = _first_shape(state_dict, r'.*mlp\.fc1\.weight', 2)[0]
    tables: dict[int, list[tuple[int, ...]]] = defaultdict(list)  # (rows, heads) by group
    for key, shape in _shapes(state_dict, BIAS_TABLE, 2).items():
        tables[int(key.split('.')[1])].append(shape)
    if not tables:
        raise ValueError(
            'the checkpoint has keys of the published HMA, but no relative_position_bias_table'
        )
    upscale = 1
    for out, inside, *_ in _shapes(state_dict, r'upsample\.\d+\.weight', 4).values():
        upscale *= math.isqrt(out // inside)
    rows = next(iter(tables.values()))[0][0]  # (2 * window_size - 1) squared
    return {
        'in_chans': in_chans,
        'embed_dim': embed_dim,
        'depths': [len(tables[i]) for i in sorted(tables)],
        'num_heads': [tables[i][0][1] for i in sorted(tables)],
        'window_size': (math.isqrt(rows) + 1) // 2,
        'interval_size': 4,
        'mlp_ratio': hidden / embed_dim,
        'upscale': upscale,
        'img_range': 1.0,
        'resi_connection': '1conv' if 'conv_after_body.weight' in state_dict else 'identity',
        'shifted_windows': 'strips',
    }


class ReadsRelease(SelfDescribing):
    """A self-describing network that also loads state dicts with the release's keys."""

    def canonical_state_dict(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return a state dict under this network's own keys.

        The release's keys are renamed, its index buffers dropped, and the description is filled in
        where there is none. Our keys and unknown ones stay.
        """
        canonical = {
            our_key(key): value for key, value in state_dict.items() if not BUFFERS.search(key)
        }
        canonical.setdefault(DESCRIPTION, self.get_extra_state())
        return canonical

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state dict with our keys or the release's, as `SelfDescribing` does."""
        if is_release(state_dict) and self.settings['shifted_windows'] != 'strips':
            logger.warning(
                'weights in the format of the published HMA go into a network with '
                "shifted_windows %r; they were trained with 'strips', and its results differ. "
                'Set shifted_windows: strips to get what they were trained to compute.',
                self.settings['shifted_windows'],
            )
        canonical = self.canonical_state_dict(state_dict)
        return super().load_state_dict(canonical, strict=strict, assign=assign)
