"""The settings of HMANet and HMACA: names, types, defaults, and which work together."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, get_args, get_origin

LARGEST_SIDE = 1024  # pixels: images are padded to multiples of windows and grids
LARGEST_DIM = 2**14
MOST_CHANNELS = 256  # of an image
UPSCALES = (1, 2, 3, 4, 8, 16)


def require(holds: bool, name: str, value: Any, expected: str) -> None:
    """Raise a ValueError about the setting `name` unless `holds`."""
    if not holds:
        raise ValueError(f'{name} is {value!r}; expected {expected}')


def require_type(name: str, value: Any, kind: type) -> None:
    """Raise a ValueError unless `value` is a bool, Integral or Real; a bool is no number."""
    if kind is bool:
        require(isinstance(value, bool), name, value, 'true or false')
        return
    words: dict[type, str] = {Integral: 'a whole number', Real: 'a number'}
    require(isinstance(value, kind) and not isinstance(value, bool), name, value, words[kind])


@dataclass(frozen=True, kw_only=True)
class HMANetSettings:
    """Settings of HMANet.

    Args:
        in_chans: channels of input and output.
        embed_dim: channels c of the features; a multiple of 4, >= 32, useful from 96 on.
        depths: FABs in each RHTB; its length is the number of RHTBs.
        num_heads: attention heads of each RHTB; even, heads divide embed_dim, heads / 2 divide
            embed_dim / 4.
        window_size: side of an attention window in pixels, >= 2.
        interval_size: distance in pixels between the pixels of one group of grid attention, >= 1.
        mlp_ratio: hidden channels of the MLPs, in units of embed_dim.
        upscale: output size / input size: 1, 3 or a power of two.
        keep_size: bring the output back to the input's size by a strided convolution.
        img_range: what the input, in [0, 1], is scaled to inside.
        drop_path_rate: of the last FAB; the rates rise linearly from 0.
        resi_connection: identity: no convolution at the end of each RHTB and of all of them.
        shifted_windows: the shifted branch of GAB: Eq. 4, or as in the published weights.
        image_residual: output = input + network, whose last convolution is zero at first; to be
            trained with compositing.
        use_checkpoint: in training, recompute instead of keeping what is inside the blocks.

    Raises:
        ValueError: for the first setting that cannot work, saying what would.
    """

    in_chans: int = 3
    embed_dim: int = 96
    depths: Sequence[int] = (6, 6, 6, 6)
    num_heads: Sequence[int] = (6, 6, 6, 6)
    window_size: int = 16
    interval_size: int = 4
    mlp_ratio: float = 2.0
    upscale: int = 1
    keep_size: bool = False
    img_range: float = 1.0
    drop_path_rate: float = 0.1
    resi_connection: Literal['1conv', 'identity'] = '1conv'
    shifted_windows: Literal['windows', 'strips'] = 'windows'
    image_residual: bool = False
    use_checkpoint: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_kind(field.name, getattr(self, field.name), field.type)
        most = f'1 to {MOST_CHANNELS}'
        require(1 <= self.in_chans <= MOST_CHANNELS, 'in_chans', self.in_chans, most)
        self._check_width()
        self._check_windows()
        self._check_output()
        rate = self.drop_path_rate
        require(0 <= rate < 1, 'drop_path_rate', rate, 'at least 0 and less than 1')

    def _check_width(self) -> None:
        c, heads, ratio = self.embed_dim, self.num_heads, self.mlp_ratio
        require(c % 4 == 0, 'embed_dim', c, 'a multiple of 4')
        reason = 'the position MLP has embed_dim / 32 channels; 96 or more is useful'
        require(c >= 32, 'embed_dim', c, f'at least 32 ({reason})')
        require(c <= LARGEST_DIM, 'embed_dim', c, f'at most {LARGEST_DIM}')
        count = len(self.depths)
        same = f'as many numbers as depths has, {count}'
        require(len(heads) == count, 'num_heads', heads, same)
        usable = [2 * half for half in range(1, c) if c // 4 % half == 0]
        reason = 'even, dividing embed_dim, and half of them dividing embed_dim / 4'
        fitting = f'numbers that fit embed_dim {c} ({reason}): any of {usable}'
        require(all(n in usable for n in heads), 'num_heads', heads, fitting)
        most = f'above 0 and at most {LARGEST_DIM}'
        require(0 < ratio <= LARGEST_DIM, 'mlp_ratio', ratio, most)
        least = f'at least {1 / c:.3g}, one hidden channel'
        require(int(c * ratio) >= 1, 'mlp_ratio', ratio, least)

    def _check_windows(self) -> None:
        window, interval = self.window_size, self.interval_size
        require(window >= 2, 'window_size', window, 'at least 2')
        require(interval >= 1, 'interval_size', interval, 'at least 1')
        require(window <= LARGEST_SIDE, 'window_size', window, f'at most {LARGEST_SIDE}')
        most = f'no common multiple with window_size {window} above {LARGEST_SIDE}'
        require(math.lcm(window, interval) <= LARGEST_SIDE, 'interval_size', interval, most)

    def _check_output(self) -> None:
        upscale, residual = self.upscale, self.image_residual
        known = f'1, 3 or a power of two up to {UPSCALES[-1]}'
        require(upscale in UPSCALES, 'upscale', upscale, known)
        require(0 < self.img_range < math.inf, 'img_range', self.img_range, 'a positive number')
        sized = (
            'false, or output in the size of the input: '
            f'upscale 1, not {upscale}, or keep_size true'
        )
        fits = not residual or upscale == 1 or self.keep_size
        require(fits, 'image_residual', residual, sized)

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON holds them, and as a checkpoint describes itself."""
        return {**asdict(self), 'depths': list(self.depths), 'num_heads': list(self.num_heads)}


@dataclass(frozen=True, kw_only=True)
class HMACASettings(HMANetSettings):
    """Settings of HMACA: HMANet's, and how the network sees its mask.

    Args:
        cross_attention: to all pixels of the mask (Eq. 5), inside windows, or none at all.
        cross_attention_heads: divides embed_dim; unused, as is the next, where cross_attention is
            none.
        cross_attention_residual: x + cross attention; False is Eq. 5 to the letter, which lets
            almost nothing of x through.
        mask_position: add to the first features F0 where in its region each pixel lies (see
            `mask_position`).

    Raises:
        ValueError: as for `HMANetSettings`.
    """

    cross_attention: Literal['global', 'window', 'none'] = 'global'
    cross_attention_heads: int = 4
    cross_attention_residual: bool = True
    mask_position: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        heads, form = self.cross_attention_heads, self.cross_attention
        divisor = f'a number that divides embed_dim {self.embed_dim}'
        divides = heads >= 1 and self.embed_dim % heads == 0
        require(divides, 'cross_attention_heads', heads, divisor)
        other = "'global' or 'window', or mask_position true (HMANet is the network without a mask)"
        require(form != 'none' or self.mask_position, 'cross_attention', form, other)


def _check_kind(name: str, value: Any, annotation: Any) -> None:
    """Raise a ValueError unless `value` is of the kind that its setting is annotated with."""
    kinds = {int: Integral, float: Real, bool: bool}
    if annotation in kinds:
        require_type(name, value, kinds[annotation])
    elif get_origin(annotation) is Literal:
        *others, last = map(repr, get_args(annotation))
        require(value in get_args(annotation), name, value, f'{", ".join(others)} or {last}')
    else:
        listed = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
        whole = listed and all(
            isinstance(n, Integral) and not isinstance(n, bool) and int(n) >= 1 for n in value
        )
        require(whole, name, value, 'a list of whole numbers >= 1, one for each RHTB')
