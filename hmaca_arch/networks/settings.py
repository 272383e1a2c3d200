"""The settings of HMANet and HMACA: names, types, defaults, and which work. A new one is a line
here and its use in the network.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, get_args, get_origin


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


@dataclass(frozen=True, kw_only=True)
class HMANetSettings:
    """Settings of HMANet.

    Raises:
        ValueError: for the first setting that cannot work, saying what would.
    """

    in_chans: int = 3  # channels of input and output
    embed_dim: int = 96  # channels c of the features; a multiple of 4, >= 32, useful from 96 on
    depths: Sequence[int] = (6, 6, 6, 6)  # FABs in each RHTB; its length is the number of RHTBs
    num_heads: Sequence[int] = (
        6,
        6,
        6,
        6,
    )  # attention heads of each RHTB; even, heads divide embed_dim, heads / 2 divide embed_dim / 4
    window_size: int = 16  # side of an attention window in pixels, >= 2
    interval_size: int = (
        4  # distance in pixels between the pixels of one group of grid attention, >= 1
    )
    mlp_ratio: float = 2.0  # hidden channels of the MLPs, in units of embed_dim
    upscale: int = 1  # output size / input size: 1, 3 or a power of two
    keep_size: bool = False  # bring the output back to the input's size by a strided convolution
    img_range: float = 1.0  # what the input, in [0, 1], is scaled to inside
    drop_path_rate: float = 0.1  # of the last FAB; the rates rise linearly from 0
    resi_connection: Literal['1conv', 'identity'] = (
        '1conv'  # identity: no conv at the end of each RHTB and of all of them
    )
    shifted_windows: Literal['windows', 'strips'] = (
        'windows'  # the shifted branch of GAB: Eq. 4, or as in the published weights
    )
    # output = input + network, whose last convolution is zero at first; to be trained with
    # compositing
    image_residual: bool = False
    use_checkpoint: bool = (
        False  # in training, recompute instead of keeping what is inside the blocks
    )

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_kind(field.name, getattr(self, field.name), field.type)
        c, window, interval = self.embed_dim, self.window_size, self.interval_size
        require(
            1 <= self.in_chans <= MOST_CHANNELS, 'in_chans', self.in_chans, f'1 to {MOST_CHANNELS}'
        )
        require(c % 4 == 0, 'embed_dim', c, 'a multiple of 4')
        require(
            c >= 32,
            'embed_dim',
            c,
            'at least 32 (the position MLP has embed_dim / 32 channels; 96 or more is useful)',
        )
        require(c <= LARGEST_DIM, 'embed_dim', c, f'at most {LARGEST_DIM}')
        require(
            len(self.num_heads) == len(self.depths),
            'num_heads',
            self.num_heads,
            f'as many numbers as depths has, {len(self.depths)}',
        )
        usable = [n for n in range(2, c + 1, 2) if c % n == 0 and c // 4 % (n // 2) == 0]
        reason = 'even, dividing embed_dim, and half of them dividing embed_dim / 4'
        fit = all(heads in usable for heads in self.num_heads)
        require(
            fit,
            'num_heads',
            self.num_heads,
            f'numbers that fit embed_dim {c} ({reason}): any of {usable}',
        )
        require(window >= 2, 'window_size', window, 'at least 2')
        require(interval >= 1, 'interval_size', interval, 'at least 1')
        require(window <= LARGEST_SIDE, 'window_size', window, f'at most {LARGEST_SIDE}')
        most = f'no common multiple with window_size {window} above {LARGEST_SIDE}'
        require(math.lcm(window, interval) <= LARGEST_SIDE, 'interval_size', interval, most)
        require(
            0 < self.mlp_ratio <= LARGEST_DIM,
            'mlp_ratio',
            self.mlp_ratio,
            f'above 0 and at most {LARGEST_DIM}',
        )
        require(
            int(c * self.mlp_ratio) >= 1,
            'mlp_ratio',
            self.mlp_ratio,
            f'at least {1 / c:.3g}, one hidden channel',
        )
        allowed = self.upscale == 3 or (
            is_power_of_two(self.upscale) and self.upscale <= LARGEST_UPSCALE
        )
        require(allowed, 'upscale', self.upscale, f'1, 3 or a power of two up to {LARGEST_UPSCALE}')
        require(0 < self.img_range < math.inf, 'img_range', self.img_range, 'a positive number')
        require(
            0 <= self.drop_path_rate < 1,
            'drop_path_rate',
            self.drop_path_rate,
            'at least 0 and less than 1',
        )
        sized = f'false, or output in the size of the input: upscale 1, not {self.upscale}, or keep_size true'
        require(
            not self.image_residual or self.upscale == 1 or self.keep_size,
            'image_residual',
            self.image_residual,
            sized,
        )

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON holds them, and as a checkpoint describes itself."""
        return {**asdict(self), 'depths': list(self.depths), 'num_heads': list(self.num_heads)}


@dataclass(frozen=True, kw_only=True)
class HMACASettings(HMANetSettings):
    """Settings of HMACA: HMANet's, and how it sees its mask; errors as there."""

    cross_attention: Literal['global', 'window', 'none'] = (
        'global'  # to all pixels of the mask (Eq. 5), inside windows, or none at all
    )
    cross_attention_heads: int = (
        4  # divides embed_dim; unused, as is the next, where cross_attention is none
    )
    # x + cross attention; False is Eq. 5 to the letter, which lets almost nothing of x through
    cross_attention_residual: bool = True
    # add to the first features F0 where in its region each pixel lies (see `mask_position`)
    mask_position: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        heads = self.cross_attention_heads
        divides = heads >= 1 and self.embed_dim % heads == 0
        require(
            divides,
            'cross_attention_heads',
            heads,
            f'a number that divides embed_dim {self.embed_dim}',
        )
        expected = (
            "'global' or 'window', or mask_position true (HMANet is the network without a mask)"
        )
        require(
            self.cross_attention != 'none' or self.mask_position,
            'cross_attention',
            self.cross_attention,
            expected,
        )


def _check_kind(name: str, value: Any, annotation: Any) -> None:
    """Raise a ValueError unless a value is of the kind that a setting is annotated with."""
    kinds = {int: Integral, float: Real, bool: bool}
    if annotation in kinds:
        require_type(name, value, kinds[annotation])
    elif get_origin(annotation) is Literal:
        *others, last = map(repr, get_args(annotation))
        require(value in get_args(annotation), name, value, f'{", ".join(others)} or {last}')
    else:
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        whole = listed and all(
            isinstance(n, Integral) and not isinstance(n, bool) and int(n) >= 1 for n in value
        )
        require(
            whole and len(value) > 0, name, value, 'a list of whole numbers >= 1, one for each RHTB'
        )
