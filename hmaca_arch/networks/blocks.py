"""FusedConv, FAB, GAB and RHTB: the blocks of HMANet, on (b, h, w, c).

Chu et al., "HMANet: Hybrid Multi-Axis Aggregation Network for Image Super-Resolution" (CVPRW 2024),
Fig. 2 and 3, Eq. 4; reprinted in Masuda and Ishikawa's HMACA paper, whose Fig. 7 puts these blocks
in front of its cross attention.

Deviation: Eq. 4 gives grid attention C/4 channels; here it has C/2, as the published weights need.
The final "+ F_in" of Eq. 4 is the `x + scale * gab(x)` of RHTB.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import SqueezeExcitation, StochasticDepth

from hmaca_arch.networks.attention import GridAttention, WindowAttention

# Channels times pixels of a strip: 4 MiB in float32. What is between two pointwise steps then stays
# in a processor's cache, and the allocator hands out the same memory again and again; tensors of
# more than 32 MiB come fresh from the system, page by page, which takes longer than filling them. A
# convolution prefers larger pieces.
STRIP_ELEMENTS = 2**20
CONV_STRIP_ELEMENTS = 2**21


def strips(x: Tensor, channels: int, elements: int) -> list[slice]:
    """Strips of rows of (b, h, w, c) in which to compute something with that many channels: all at
    once but in inference on a CPU.
    """
    if (
        torch.jit.is_tracing()
    ):  # what fits a processor's cache is the business of what runs the graph
        return [slice(0, x.shape[1])]
    b, h, w = x.shape[:3]
    step = h if torch.is_grad_enabled() or not x.is_cpu else max(1, elements // (b * w * channels))
    return [slice(first, min(first + step, h)) for first in range(0, h, step)]


class Conv3x3(nn.Conv2d):
    """3x3 convolution of (b, h, w, c), zero-padded; the memory of such a picture is what torch
    calls channels_last.

    Without `pad_rows` the input has a row of zeros, or of what is there, above and below, and the
    output two rows less.
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
        return self.fc2(self.act(self.fc1(x)))


def pointwise(step: Callable[[Tensor], Tensor], x: Tensor, channels: int) -> Tensor:
    """step(x) for a step that treats all pixels alike and has at most that many channels inside, in
    strips where that is faster.
    """
    parts = [step(x[:, rows]) for rows in strips(x, channels, STRIP_ELEMENTS)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class FusedConv(nn.Module):
    """Channel attention on a widened convolution (Fig. 2): x +
    reduce(SE(GELU(LN(conv3x3(LN(x)))))), widened c -> 6c.
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
        h, hidden = x.shape[1], self.norm1.bias.numel()
        y = F.pad(
            self.pre_norm(x), (0, 0, 0, 0, 1, 1)
        )  # the convolution's zeros above and below; it adds those left and right
        wide: list[Tensor] = []
        for rows in strips(x, hidden, CONV_STRIP_ELEMENTS):
            expanded = self.expand(y[:, rows.start : rows.stop + 2])
            wide += [
                self.act(self.norm1(expanded[:, part]))
                for part in strips(expanded, hidden, STRIP_ELEMENTS)
            ]
        mean = sum(strip.mean((1, 2)) * (strip.shape[1] / h) for strip in wide)
        # squeeze-excitation scales channels, and so does a weight: scale the 1x1 convolution's few
        # weights, not the many pixels
        gate = self.se.scale_activation(
            self.se.fc2(self.se.activation(self.se.fc1(mean[..., None, None])))
        )
        weight = rearrange(
            self.reduce.weight * rearrange(gate, 'b c 1 1 -> b 1 c 1 1'), 'b out c 1 1 -> b c out'
        )
        reduced = [torch.baddbmm(self.reduce.bias, strip.flatten(1, 2), weight) for strip in wide]
        return x + torch.cat(reduced, dim=1).view_as(x)


class FAB(nn.Module):
    """A transformer layer with (shifted-)window attention: x += MSA(LN(x)), x += MLP(LN(x)), each
    branch dropped at random by sample.
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
    """Window, shifted-window and grid attention side by side (Eq. 4, Fig. 3), widths c/4, c/4 and
    c/2, then an MLP; both post-norm.
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


def run(block: Callable[..., Tensor], *args: Tensor | None, checkpointed: bool) -> Tensor:
    """block(*args), keeping only its inputs for the backward pass and computing it again there if
    `checkpointed`.
    """
    return checkpoint(block, *args, use_reentrant=False) if checkpointed else block(*args)


class RHTB(nn.Module):
    """Residual hybrid transformer block: conv(G(x)) + x, where G is `depth` times [FusedConv if
    even, FAB], then x + scale * GAB(x).

    Args:
        dim: channels c.
        heads, size, interval, mlp_hidden, strips: of the attention in it, see there.
        drop_path: rate of each FAB; as many FABs as rates.
        conv: whether there is a conv before the sum.
        use_checkpoint: recompute each block's inside in the backward pass, in training.
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
            y = run(block, y, checkpointed=checkpointed)
        y = y + self.scale * run(self.gab, y, checkpointed=checkpointed)
        return x + self.conv(y)
