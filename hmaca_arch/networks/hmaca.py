"""HMANet and HMACA, the networks.

HMANet: Chu et al., "HMANet: Hybrid Multi-Axis Aggregation Network for Image Super-Resolution"
(CVPRW 2024). HMACA: Y. Masuda and H. Ishikawa, "Enhanced Super-Resolution Using Cross Attention:
Refining HMA for Local Image Restoration", Eq. 4 to 6, Fig. 7.

Deviations from the papers and from the authors' release of HMACA, each with its reason:

* Cross attention is used. The release computes it, drops it, and returns a LayerNorm over [h * w,
  c] of 2x. Two masks give the same image there, and a network is bound to its training size.
* Cross attention has a residual by default, stands after RHTB's sum (Fig. 7b) and reads a 3x3
  convolution of the mask (Fig. 7a).
* `shifted_windows='windows'`, the default, is Eq. 4. The published weights of HMA were trained with
  `strips`.
* `image_residual`, `cross_attention='window'` and `mask_position` are this project's own additions.
* Any size works: images are padded to what windows and grid need, and the result is cropped.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from hmaca_arch.networks.attention import MaskCrossAttention, WindowMaskCrossAttention
from hmaca_arch.networks.blocks import RHTB, Conv3x3, run_block
from hmaca_arch.networks.mask_keys import MaskEncoder, MaskKeys
from hmaca_arch.networks.mask_position import MaskPositionEncoder
from hmaca_arch.networks.registry import register
from hmaca_arch.networks.release import ReadsRelease
from hmaca_arch.networks.settings import HMACASettings, HMANetSettings
from hmaca_arch.networks.windows import check_mask, pad_to_multiple

RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K, as in most super-resolution networks
RECONSTRUCTION_WIDTH = 64  # channels around the upsampler


@register
class HMANet(ReadsRelease):
    """Hybrid multi-axis aggregation network: shallow features, RHTBs, reconstruction.

    Args:
        settings: those of `HMANetSettings`, by name.

    Raises:
        TypeError: for a setting that there is not.
        ValueError: for a setting that cannot work, naming it and what would.
    """

    Settings: type[HMANetSettings] = HMANetSettings
    __signature__ = inspect.signature(Settings)  # of the constructor

    def __init__(self, **settings: Any) -> None:
        s = self.Settings(**settings)
        super().__init__()
        self.settings = s.as_json()
        self.in_chans, self.upscale, self.img_range = s.in_chans, s.upscale, s.img_range
        self.image_residual, self.use_checkpoint = s.image_residual, s.use_checkpoint
        self.output_scale = 1 if s.keep_size else s.upscale
        self.multiple = math.lcm(s.window_size, s.interval_size)
        mean = RGB_MEAN if s.in_chans == 3 else (0.0,) * s.in_chans
        self.mean: Tensor
        self.register_buffer('mean', torch.tensor(mean).view(1, -1, 1, 1), persistent=False)

        self.conv_first = nn.Conv2d(s.in_chans, s.embed_dim, kernel_size=3, padding=1)
        self.norm_first = nn.LayerNorm(s.embed_dim)
        rates = iter(
            torch.linspace(0, s.drop_path_rate, sum(s.depths), dtype=torch.float64).tolist()
        )
        self.groups = nn.ModuleList(
            RHTB(
                dim=s.embed_dim,
                heads=heads,
                size=s.window_size,
                interval=s.interval_size,
                mlp_hidden=int(s.embed_dim * s.mlp_ratio),
                strips=s.shifted_windows == 'strips',
                drop_path=[next(rates) for _ in range(depth)],
                conv=s.resi_connection == '1conv',
                use_checkpoint=s.use_checkpoint,
            )
            for depth, heads in zip(s.depths, s.num_heads)
        )
        self.norm_last = nn.LayerNorm(s.embed_dim)
        self.conv_after_body = (
            Conv3x3(s.embed_dim, s.embed_dim) if s.resi_connection == '1conv' else nn.Identity()
        )

        width = RECONSTRUCTION_WIDTH
        self.conv_before_upsample = nn.Sequential(
            nn.Conv2d(s.embed_dim, width, kernel_size=3, padding=1), nn.LeakyReLU(inplace=True)
        )
        self.upsample = upsampler(s.upscale, width)
        self.conv_last = nn.Conv2d(width, s.in_chans, kernel_size=3, padding=1)
        resize = s.keep_size and s.upscale > 1
        self.conv_resize = (
            nn.Conv2d(s.in_chans, s.in_chans, kernel_size=3, stride=s.upscale, padding=1)
            if resize
            else nn.Identity()
        )
        self.apply(init_weights)
        if s.image_residual:
            # The network begins as the identity: nothing random has to be unlearnt, after which
            # nothing may be left to learn with (docs/results.md).
            for parameter in (self.conv_resize if resize else self.conv_last).parameters():
                nn.init.zeros_(parameter)

    def forward(self, lq: Tensor) -> Tensor:
        """Restore an image.

        Args:
            lq: (b, in_chans, h, w) in [0, 1], any h, w >= 1.

        Returns:
            (b, in_chans, h * s, w * s); s is 1 if keep_size, else upscale.
        """
        self.check_image(lq)
        return self.restore(lq, after_group=lambda i, x: x)

    def check_image(self, lq: Tensor) -> None:
        """Raise a ValueError unless lq is (b, in_chans, h, w) with h, w >= 1."""
        if lq.ndim != 4 or lq.shape[1] != self.in_chans or 0 in lq.shape[2:]:
            raise ValueError(
                f'lq has shape {tuple(lq.shape)}; expected (b, {self.in_chans}, h, w), '
                f'in_chans being {self.in_chans}'
            )

    def restore(
        self,
        lq: Tensor,
        after_group: Callable[[int, Tensor], Tensor],
        position: Tensor | None = None,
    ) -> Tensor:
        """Run the network.

        Args:
            lq: (b, in_chans, h, w).
            after_group: called with i and the output of RHTB i, (b, h, w, c); returns what follows
                sees instead.
            position: (b, c, h, w), added to F0.
        """
        h, w = lq.shape[2:]
        x = (pad_to_multiple(lq, self.multiple, 'image') - self.mean) * self.img_range
        shallow = self.conv_first(x)
        if position is not None:
            shallow = shallow + pad_to_multiple(position, self.multiple, 'mask')
        shallow = rearrange(shallow, 'b c h w -> b h w c').contiguous()
        x = self.norm_first(shallow)
        for i, group in enumerate(self.groups):
            x = after_group(i, group(x))
        x = shallow + self.conv_after_body(self.norm_last(x))
        x = self.conv_before_upsample(rearrange(x, 'b h w c -> b c h w'))
        x = self.conv_resize(self.conv_last(self.upsample(x))) / self.img_range
        x = x[:, :, : h * self.output_scale, : w * self.output_scale]
        return lq + x if self.image_residual else x + self.mean


@register
class HMACA(HMANet):
    """HMANet with cross attention to the mask after each RHTB (Eq. 5 and 6, Fig. 7).

    Args:
        settings: those of `HMACASettings`, by name; errors as HMANet's.
    """

    Settings = HMACASettings
    __signature__ = inspect.signature(Settings)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        s = HMACASettings(**settings)
        self.windowed = s.cross_attention == 'window'
        self.mask_encoder = None if s.cross_attention == 'none' else MaskEncoder(s.embed_dim)
        self.cross_attentions = nn.ModuleList()
        for i in range(len(s.depths) if self.mask_encoder else 0):
            dim, heads, residual = s.embed_dim, s.cross_attention_heads, s.cross_attention_residual
            shift = s.window_size // 2 if i % 2 else 0
            self.cross_attentions.append(
                WindowMaskCrossAttention(dim, heads, s.window_size, shift, residual)
                if self.windowed
                else MaskCrossAttention(dim, heads, residual)
            )
        self.cross_attentions.apply(init_weights)
        self.position_encoder = (
            MaskPositionEncoder(s.embed_dim, s.img_range) if s.mask_position else None
        )

    def forward(self, lq: Tensor, mask: Tensor | None = None) -> Tensor:
        """Restore the masked pixels of an image.

        Args:
            lq: (b, in_chans, h, w) in [0, 1], any h, w >= 1.
            mask: (b, 1, h, w) in [0, 1], 1 = restore.

        Returns:
            (b, in_chans, h * s, w * s); s is 1 if keep_size, else upscale.
        """
        self.check_image(lq)
        mask = check_mask(lq, mask).to(lq.dtype)
        position = None if self.position_encoder is None else self.position_encoder(mask)
        if self.mask_encoder is None:
            return self.restore(lq, lambda i, x: x, position)
        if self.windowed:
            keys = MaskKeys(self.mask_encoder.pixels(pad_to_multiple(mask, self.multiple, 'mask')))
        else:
            keys = self.mask_encoder.keys(mask)  # of the real pixels alone: padding is never a key

        def cross_attend(i: int, x: Tensor) -> Tensor:
            return run_block(
                self.cross_attentions[i],
                x,
                *keys,
                checkpointed=self.use_checkpoint and self.training,
            )

        return self.restore(lq, cross_attend, position)


def upsampler(scale: int, channels: int) -> nn.Sequential:
    """Make convolutions and pixel shuffles that enlarge (b, channels, h, w) `scale` times.

    Args:
        scale: 1, 3 or a power of two.
        channels: of the input and the output.
    """
    factors = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
    layers: list[nn.Module] = []
    for factor in factors:
        conv = nn.Conv2d(channels, factor**2 * channels, kernel_size=3, padding=1)
        layers += [conv, nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)


def init_weights(module: nn.Module) -> None:
    """Draw linear weights from trunc-normal(0.02), with biases 0.

    Everything else keeps torch's own start: LayerNorms are 1 and 0.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
