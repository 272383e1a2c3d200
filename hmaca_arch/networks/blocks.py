"""FusedConv, FAB, GAB and RHTB: the blocks of HMANet, on (b, h, w, c).

Chu et al., "HMANet: Hybrid Multi-Axis Aggregation Network for Image Super-Resolution" (CVPRW 2024),
Fig. 2 and 3, Eq. 4. Masuda and Ishikawa's HMACA paper reprints them; its Fig. 7 puts these blocks
in front of its cross attention.

Deviation: Eq. 4 gives grid attention C/4 channels. Here it has C/2, as the published weights need.
The final "+ F_in" of Eq. 4 is the `x + scale * gab(x)` of RHTB.
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import SqueezeExcitation, StochasticDepth

from hmaca_arch.networks import strips as tuning
from hmaca_arch.networks.attention import GridAttention, WindowAttention
from hmaca_arch.networks.strips import pointwise, strips


class Conv3x3(nn.Conv2d):
    """3x3 convolution of (b, h, w, c), zero-padded.

    The memory of such an image is what torch calls channels_last.

    Args:
        dim, out: channels of the input and the output.
        pad_rows: False: the input has a row more above and below, and the output two rows less.
    """

    def __init__(self, dim: int, out: int, pad_rows: bool = True) -> None:
        super().__init__(dim, out, kernel_size=3, padding=(1 if pad_rows else 0, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(b, h, w, dim) -> (b, h, w, out)."""
        return rearrange(super().forward(rearrange(x, 'b h w c -> b c h w')), 'b c h w -> b h w c')


class MLP(nn.Module):
    """Linear c -> hidden, GELU (erf), Linear -> c."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., dim)."""
        y: Tensor = self.fc2(self.act(self.fc1(x)))
        return y


class FusedConv(nn.Module):
    """Channel attention on a widened convolution (Fig. 2).

    x + reduce(SE(GELU(LN(conv3x3(LN(x)))))), widened c -> expansion * c.
    """

    def __init__(self, dim: int, expansion: int = 6) -> None:
        super().__init__()
        hidden = expansion * dim
        self.pre_norm = nn.LayerNorm(dim)
        self.expand = Conv3x3(dim, hidden, pad_rows=False)
        self.norm1 = nn.LayerNorm(hidden)
        self.act = nn.GELU()
        self.se = SqueezeExcitation(hidden, hidden // 2, activation=nn.SiLU)
        self.reduce = nn.Conv2d(hidden, dim, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, h, w, c) -> (b, h, w, c)."""
        wide = self.widened(x)
        rows = x.shape[1]
        means = [strip.mean((1, 2)) * (strip.shape[1] / rows) for strip in wide]
        mean = torch.stack(means).sum(0)[..., None, None]
        gate = self.se.scale_activation(self.se.fc2(self.se.activation(self.se.fc1(mean))))
        # Squeeze-excitation scales channels, and so does a weight: scale the few weights of the 1x1
        # convolution, not the many pixels.
        gate = rearrange(gate, 'b c 1 1 -> b 1 c 1 1')
        weight = rearrange(self.reduce.weight * gate, 'b out c 1 1 -> b c out')
        bias = cast(Tensor, self.reduce.bias)
        reduced = [torch.baddbmm(bias, strip.flatten(1, 2), weight) for strip in wide]
        return x + torch.cat(reduced, dim=1).view_as(x)

    def widened(self, x: Tensor) -> list[Tensor]:
        """Compute GELU(LN(conv3x3(LN(x)))), (b, h, w, 6 c), in strips of rows."""
        hidden = self.norm1.bias.numel()
        # The convolution's zeros above and below. It adds those left and right.
        y = F.pad(self.pre_norm(x), (0, 0, 0, 0, 1, 1))
        wide: list[Tensor] = []
        for rows in strips(x, hidden, tuning.CONV_STRIP_ELEMENTS):
            expanded = self.expand(y[:, rows.start : rows.stop + 2])
            wide += [
                self.act(norm_as_given(self.norm1, expanded[:, part]))
                for part in strips(expanded, hidden, tuning.STRIP_ELEMENTS)
            ]
        return wide


def norm_as_given(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Compute norm(x) in the type of x, under autocast too.

    On a GPU autocast turns the result into float32, and what follows keeps that for the backward
    pass. The mean and the variance are summed in float32 either way.
    """
    with torch.autocast(x.device.type, enabled=False):
        weight, bias = norm.weight.to(x.dtype), norm.bias.to(x.dtype)
        return F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)


class FAB(nn.Module):
    """A transformer layer with (shifted-)window attention: x += MSA(LN(x)), x += MLP(LN(x)).

    Args:
        dim: channels.
        heads, size, shift: see `WindowAttention`.
        mlp_hidden: width inside the MLP.
        drop_path: probability with which each branch is dropped, by sample, in training.
    """

    def __init__(
        self, dim: int, heads: int, size: int, shift: int, mlp_hidden: int, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attn = WindowAttention(dim, heads, size, shift)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, mlp_hidden)
        self.drop_path = StochasticDepth(drop_path, mode='row')

    def forward(self, x: Tensor) -> Tensor:
        """(b, h, w, c) -> (b, h, w, c), h and w multiples of size."""
        x = x + self.drop_path(self.attn(self.norm1(x), self.qkv))
        return x + self.drop_path(pointwise(lambda y: self.mlp(self.norm2(y)), x, self.mlp.hidden))


class GAB(nn.Module):
    """Window, shifted-window and grid attention side by side (Eq. 4, Fig. 3), then an MLP.

    Their widths are c/4, c/4 and c/2. Both halves are post-norm.

    Args:
        dim: c.
        heads: of which each branch has half.
        size, strips: see `WindowAttention`.
        interval: see `GridAttention`.
        mlp_hidden: width inside the MLP.
    """

    def __init__(
        self, dim: int, heads: int, size: int, interval: int, mlp_hidden: int, strips: bool
    ) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.window_attn = WindowAttention(dim // 4, heads // 2, size)
        self.shifted_attn = WindowAttention(dim // 4, heads // 2, size, size // 2, strips)
        self.grid_attn = GridAttention(heads // 2, interval, hidden=dim // 2 // 4 // 4)
        self.grid_proj = nn.Linear(dim, dim // 2)
        self.proj = nn.Linear(dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, mlp_hidden)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(b, h, w, c) -> (b, h, w, c), h and w multiples of size and interval."""
        c = x.shape[-1]
        window, shifted, grid = self.qkv(x).split((3 * c // 4, 3 * c // 4, 3 * c // 2), dim=-1)
        branches = (
            self.window_attn(window, nn.Identity()),
            self.shifted_attn(shifted, nn.Identity()),
            self.grid_attn(grid, self.grid_proj(x)),
        )
        mixed = torch.cat(branches, dim=-1)
        x = x + self.norm1(self.proj(mixed))
        return pointwise(lambda y: y + self.norm2(self.mlp(y)), x, self.mlp.hidden)


def run_block(block: Callable[..., Tensor], *args: Tensor | None, checkpointed: bool) -> Tensor:
    """Compute block(*args).

    Args:
        block: the module.
        args: its inputs.
        checkpointed: keep only the inputs for the backward pass, and compute the rest again there.
    """
    if not checkpointed:
        return block(*args)
    out: Tensor = checkpoint(block, *args, use_reentrant=False)
    return out


class RHTB(nn.Module):
    """Residual hybrid transformer block: conv(G(x)) + x.

    G is `depth` times [FusedConv if even, FAB], then x + scale * GAB(x).

    Args:
        dim: channels c.
        heads, size, interval, mlp_hidden, strips: see `FAB` and `GAB`.
        drop_path: rate of each FAB; as many FABs as rates.
        conv: whether there is a conv before the sum.
        use_checkpoint: in training, compute each block's inside again in the backward pass.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        size: int,
        interval: int,
        mlp_hidden: int,
        strips: bool,
        drop_path: list[float],
        conv: bool,
        use_checkpoint: bool,
    ) -> None:
        super().__init__()
        self.use_checkpoint = use_checkpoint
        self.blocks = nn.ModuleList()
        for i, rate in enumerate(drop_path):
            if i % 2 == 0:
                self.blocks.append(FusedConv(dim))
            self.blocks.append(FAB(dim, heads, size, size // 2 if i % 2 else 0, mlp_hidden, rate))
        self.gab = GAB(dim, heads, size, interval, mlp_hidden, strips)
        self.scale = nn.Parameter(nn.init.trunc_normal_(torch.empty(dim), std=0.02))
        self.conv = Conv3x3(dim, dim) if conv else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(b, h, w, c) -> (b, h, w, c), h and w multiples of size and interval."""
        checkpointed = self.use_checkpoint and self.training
        y = x
        for block in self.blocks:
            y = run_block(block, y, checkpointed=checkpointed)
        y = y + self.scale * run_block(self.gab, y, checkpointed=checkpointed)
        return x + self.conv(y)
