"""Which settings of the networks work, and a ValueError that names the one that does not."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any


def require(holds: bool, name: str, value: Any, expected: str) -> None:
    """Raise a ValueError about the setting `name` unless `holds`."""
    if not holds:
        raise ValueError(f'{name} is {value!r}; expected {expected}')


def require_type(name: str, value: Any, kind: type) -> None:
    """Raise a ValueError unless `value` is a bool, or a number of that kind (a bool is none)."""
    if kind is bool:
        require(isinstance(value, bool), name, value, 'true or false')
    else:
        words = {Integral: 'a whole number', Real: 'a number'}
        require(isinstance(value, kind) and not isinstance(value, bool), name, value, words[kind])


LARGEST_SIDE = 1024  # pixels: images are padded to multiples of windows and grids
LARGEST_DIM = 2**14
MOST_CHANNELS = 256  # of an image
LARGEST_UPSCALE = 16


def is_power_of_two(n: int) -> bool:
    return n >= 1 and n & (n - 1) == 0


def check_hmanet(
    *,
    in_chans: int,
    embed_dim: int,
    depths: Sequence[int],
    num_heads: Sequence[int],
    window_size: int,
    interval_size: int,
    mlp_ratio: float,
    upscale: int,
    keep_size: bool,
    img_range: float,
    drop_path_rate: float,
    resi_connection: str,
    shifted_windows: str,
    image_residual: bool,
    use_checkpoint: bool,
) -> None:
    """Raise a ValueError for the first setting of HMANet that cannot work, saying what would."""
    for name in ('in_chans', 'embed_dim', 'window_size', 'interval_size', 'upscale'):
        require_type(name, locals()[name], Integral)
    for name in ('mlp_ratio', 'img_range', 'drop_path_rate'):
        require_type(name, locals()[name], Real)
    for name in ('keep_size', 'image_residual', 'use_checkpoint'):
        require_type(name, locals()[name], bool)
    for name in ('depths', 'num_heads'):
        value = locals()[name]
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        whole = listed and all(isinstance(n, Integral) and not isinstance(n, bool) and n >= 1 for n in value)
        require(whole and len(value) > 0, name, value, 'a list of whole numbers >= 1, one for each RHTB')

    require(1 <= in_chans <= MOST_CHANNELS, 'in_chans', in_chans, f'1 to {MOST_CHANNELS}')
    require(embed_dim % 4 == 0, 'embed_dim', embed_dim, 'a multiple of 4')
    require(embed_dim >= 32, 'embed_dim', embed_dim, 'at least 32 (the position MLP has embed_dim / 32 channels; 96 or more is useful)')
    require(embed_dim <= LARGEST_DIM, 'embed_dim', embed_dim, f'at most {LARGEST_DIM}')
    require(len(num_heads) == len(depths), 'num_heads', num_heads, f'as many numbers as depths has, {len(depths)}')
    usable = [n for n in range(2, embed_dim + 1, 2) if embed_dim % n == 0 and embed_dim // 4 % (n // 2) == 0]
    for heads in num_heads:
        reason = 'even, dividing embed_dim, and half of them dividing embed_dim / 4'
        require(heads in usable, 'num_heads', num_heads, f'numbers that fit embed_dim {embed_dim} ({reason}): any of {usable}')
    require(window_size >= 2, 'window_size', window_size, 'at least 2')
    require(interval_size >= 1, 'interval_size', interval_size, 'at least 1')
    multiple, most = math.lcm(window_size, interval_size), f'no common multiple with window_size {window_size} above {LARGEST_SIDE}'
    require(window_size <= LARGEST_SIDE, 'window_size', window_size, f'at most {LARGEST_SIDE}')
    require(multiple <= LARGEST_SIDE, 'interval_size', interval_size, most)
    require(0 < mlp_ratio <= LARGEST_DIM, 'mlp_ratio', mlp_ratio, f'above 0 and at most {LARGEST_DIM}')
    require(int(embed_dim * mlp_ratio) >= 1, 'mlp_ratio', mlp_ratio, f'at least {1 / embed_dim:.3g}, one hidden channel')
    allowed = upscale == 3 or (is_power_of_two(upscale) and upscale <= LARGEST_UPSCALE)
    require(allowed, 'upscale', upscale, f'1, 3 or a power of two up to {LARGEST_UPSCALE}')
    require(0 < img_range < math.inf, 'img_range', img_range, 'a positive number')
    require(0 <= drop_path_rate < 1, 'drop_path_rate', drop_path_rate, 'at least 0 and less than 1')
    require(resi_connection in ('1conv', 'identity'), 'resi_connection', resi_connection, "'1conv' or 'identity'")
    require(shifted_windows in ('windows', 'strips'), 'shifted_windows', shifted_windows, "'windows' or 'strips'")
    fits = not image_residual or upscale == 1 or keep_size
    require(
        fits, 'image_residual', image_residual, f'false, or output in the size of the input: upscale 1, not {upscale}, or keep_size true'
    )


def check_mask_settings(
    *, embed_dim: int, cross_attention: str, cross_attention_heads: int, cross_attention_residual: bool, mask_position: bool
) -> None:
    """Raise a ValueError for the first setting of how HMACA sees its mask that cannot work, saying what would."""
    require(cross_attention in ('global', 'window', 'none'), 'cross_attention', cross_attention, "'global', 'window' or 'none'")
    heads = cross_attention_heads
    require_type('cross_attention_heads', heads, Integral)
    divides = heads >= 1 and embed_dim % heads == 0
    require(divides, 'cross_attention_heads', heads, f'a number that divides embed_dim {embed_dim}')
    require_type('cross_attention_residual', cross_attention_residual, bool)
    require_type('mask_position', mask_position, bool)
    seen = cross_attention != 'none' or mask_position
    require(seen, 'cross_attention', cross_attention, "'global' or 'window', or mask_position true (HMANet is the network without a mask)")
