"""Attention in windows, on a grid, and from the image to its mask.

Window and grid attention are from Chu et al., "HMANet: Hybrid Multi-Axis Aggregation Network for
Image Super-Resolution" (CVPRW 2024), Eq. 3. Cross attention is from Masuda and Ishikawa, "Enhanced
Super-Resolution Using Cross Attention: Refining HMA for Local Image Restoration", Eq. 5 and 6.
Images are (b, h, w, c). The last axis of every qkv is laid out (3, heads, head_dim).

Each class here is an equation. `biased_attention` has the ways of computing it on each device.

Deviations from the papers:

* Eq. 3 prints a division by d and one bias. Every attention here scales by head_dim^-0.5, and each
  of the grid's two steps has its own bias. The published weights of HMA need both.
* Eq. 5 has no residual, and takes keys and values from the mask alone. The image then reaches the
  output only through the weights of a mean over the mask's embedding.
  `MaskCrossAttention(residual=True)`, the default, adds x. False is Eq. 5 to the letter.
* `MaskCrossAttention` evaluates Eq. 5 over the distinct neighbourhoods of a binary mask, which is
  exact and costs O(pixels * 512) instead of O(pixels^2): see `mask_keys`.
* `WindowMaskCrossAttention` is this project's own: Eq. 5 inside windows, with position.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hmaca_arch.networks.biased_attention import attend
from hmaca_arch.networks.windows import bands, offsets, runs_as_windows


class WindowAttention(nn.Module):
    """(Shifted-)window self attention with a relative-position bias and an output projection.

    SoftMax(Q K^T / sqrt(d) + B) V in each window, then a linear layer.

    Args:
        dim: width of q, of k, of v and of the output.
        heads: divides dim.
        size: side of a window in pixels.
        shift: how far the windows are moved, 0 <= shift < size.
        strips: compute what the published weights of HMA were trained with, not shifted windows.
            After the roll, runs of size^2 consecutive pixels stand in for windows. The roll back
            goes over tokens and channels of the flattened result.
    """

    def __init__(
        self, dim: int, heads: int, size: int, shift: int = 0, strips: bool = False
    ) -> None:
        super().__init__()
        self.size, self.shift, self.strips = size, shift, strips
        self.bias_table = position_table(size, heads)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, to_qkv: Callable[[Tensor], Tensor]) -> Tensor:
        """Attend inside the windows.

        Args:
            x: (b, h, w, ...), h and w multiples of size.
            to_qkv: the pointwise map from x to (b, h, w, 3 dim).

        Returns:
            (b, h, w, dim).
        """
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))  # before the map, which makes it larger
        qkv = to_qkv(x)
        if self.strips:
            qkv = runs_as_windows(qkv, self.size)
        q, k, v = qkv.chunk(3, dim=-1)
        out = self.proj(attend_in_windows(q, k, v, self.bias_table, self.size, self.shift))
        if self.strips:
            return out.flatten(1, 2).roll((self.shift, self.shift), (1, 2)).view_as(out)
        return out.roll((self.shift, self.shift), (1, 2)) if self.shift else out


def position_table(size: int, heads: int) -> nn.Parameter:
    """Make a learned bias for every offset inside a window.

    Returns:
        ((2 size - 1)^2, heads); row (dy + size - 1)(2 size - 1) + dx + size - 1 is for the offset
        (dy, dx), query minus key.
    """
    return nn.Parameter(nn.init.trunc_normal_(torch.empty((2 * size - 1) ** 2, heads), std=0.02))


def attend_in_windows(
    q: Tensor, k: Tensor, v: Tensor, table: Tensor, size: int, shift: int
) -> Tensor:
    """Attend inside each window of an image that has already been rolled by -shift.

    Args:
        q: (b, h, w, heads * d), h and w multiples of size.
        k: as q.
        v: as q.
        table: ((2 size - 1)^2, heads), see `position_table`.
        size: side of a window.
        shift: how far the windows were moved.

    Returns:
        (b, h, w, heads * d), still rolled.
    """
    heads = table.shape[-1]
    h, w = q.shape[1:3]
    table = rearrange(table, '(y x) heads -> y x heads', y=2 * size - 1)
    bands_of_rows = []
    for rows, i in bands(h, size, shift):
        row = []
        for cols, j in bands(w, size, shift):
            pattern = 'b (y i) (x j) (heads d) -> heads (b y x) (i j) d'
            inside_q, inside_k, inside_v = (
                rearrange(t[:, rows, cols], pattern, i=i, j=j, heads=heads) for t in (q, k, v)
            )
            out = attend(inside_q, inside_k, inside_v, table, i, j)
            y, x = (rows.stop - rows.start) // i, (cols.stop - cols.start) // j
            pattern = 'heads (b y x) (i j) d -> b (y i) (x j) (heads d)'
            row.append(rearrange(out, pattern, y=y, x=x, i=i))
        bands_of_rows.append(torch.cat(row, dim=2) if len(row) > 1 else row[0])
    return torch.cat(bands_of_rows, dim=1) if len(bands_of_rows) > 1 else bands_of_rows[0]


class GridAttention(nn.Module):
    """Grid attention through an intermediate token G (Eq. 3).

    X^ = SoftMax(G K^T s + B1) V, then SoftMax(Q G^T s + B2) X^.

    Pixels that are `interval` apart form a group, and the pixels of each of the interval^2 groups
    attend to each other.

    Args:
        heads: divides the width of q, k, v and G.
        interval: pixels between neighbours of a group.
        hidden: width of the MLPs that compute B1 and B2.
    """

    def __init__(self, heads: int, interval: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.interval = heads, interval
        self.bias1 = DynamicPositionBias(hidden, heads)
        self.bias2 = DynamicPositionBias(hidden, heads)

    def forward(self, qkv: Tensor, grid: Tensor) -> Tensor:
        """Attend inside each group.

        Args:
            qkv: (b, h, w, 3 dim), h and w multiples of interval.
            grid: G, (b, h, w, dim).

        Returns:
            (b, h, w, dim).
        """
        b, h, w = qkv.shape[:3]
        rows, cols = h // self.interval, w // self.interval
        sides = {'i': self.interval, 'j': self.interval, 'heads': self.heads}
        pattern = 'b (y i) (x j) (heads d) -> heads (b i j) (y x) d'
        q, k, v, g = (rearrange(t, pattern, **sides) for t in (*qkv.chunk(3, dim=-1), grid))
        out = attend(g, k, v, self.bias1(rows, cols), rows, cols)
        out = attend(q, g, out, self.bias2(rows, cols), rows, cols)
        pattern = 'heads (b i j) (y x) d -> b (y i) (x j) (heads d)'
        return rearrange(out, pattern, b=b, i=self.interval, y=rows)


class DynamicPositionBias(nn.Module):
    """A position bias that an MLP computes from the offset, so that it exists for any grid.

    Linear(2 -> p), then [LN, ReLU, Linear] three times, p -> p -> p -> heads.

    Args:
        hidden: p.
        heads: of the attention.
    """

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.pos_proj = nn.Linear(2, hidden)
        self.pos1, self.pos2, self.pos3 = (
            nn.Sequential(nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, out))
            for out in (hidden, hidden, heads)
        )

    def forward(self, rows: int, cols: int) -> Tensor:
        """Compute the bias by offset, in units of the grid: (2 rows - 1, 2 cols - 1, heads)."""
        # Outside autocast: bfloat16 would blur neighbouring positions, and this MLP costs nothing.
        with torch.autocast(self.pos_proj.weight.device.type, enabled=False):
            x = self.pos_proj(offsets(rows, cols, self.pos_proj.weight))
            bias: Tensor = self.pos3(self.pos2(self.pos1(x)))
            return bias


class MaskCrossAttention(nn.Module):
    """Attention from every pixel of the image to the mask's embedding M (Eq. 5 and 6).

    Q = LN(x) W_Q, K = M W_K, V = M W_V; the result is x + proj(SoftMax(Q K^T / sqrt(d)) V). W_K has
    no bias, which softmax would cancel. Without `residual` there is neither the sum nor the LN:
    Eq. 5 to the letter.

    Order plays no part in a sum over keys, and M knows no position. The result depends on how much
    there is of each neighbourhood in the mask, never on where it is.

    Args:
        dim: channels of x, M and the result.
        heads: divides dim.
        residual: add x.
    """

    def __init__(self, dim: int, heads: int, residual: bool = True) -> None:
        super().__init__()
        self.heads, self.residual = heads, residual
        self.norm = nn.LayerNorm(dim) if residual else nn.Identity()
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim, bias=False)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def attention(self, x: Tensor, embedding: Tensor, log_count: Tensor | None) -> Tensor:
        """Attend over all keys.

        Args:
            x: (b, h, w, c).
            embedding: (b or 1, keys, c).
            log_count: (b, keys) or None, added to the logits: see `MaskKeys`.

        Returns:
            (b, h, w, c).
        """
        b, h = x.shape[:2]
        q = rearrange(self.q(x), 'b h w (heads d) -> b heads (h w) d', heads=self.heads)
        k, v = (
            rearrange(linear(embedding), 'b n (heads d) -> b heads n d', heads=self.heads)
            for linear in (self.k, self.v)
        )
        bias = None if log_count is None else rearrange(log_count.to(q.dtype), 'b n -> b 1 1 n')
        out = F.scaled_dot_product_attention(
            q, k.expand(b, -1, -1, -1), v.expand(b, -1, -1, -1), attn_mask=bias
        )
        return rearrange(out, 'b heads (h w) d -> b h w (heads d)', h=h)

    def forward(self, x: Tensor, embedding: Tensor, log_count: Tensor | None = None) -> Tensor:
        """Compute F_{i+1} = CA(x, M) from x (b, h, w, c) and the two fields of `MaskKeys`."""
        out: Tensor = self.proj(self.attention(self.norm(x), embedding, log_count))
        return x + out if self.residual else out


class WindowMaskCrossAttention(MaskCrossAttention):
    """The same Q, K and V inside each (shifted) window, with a relative-position bias.

    A pixel sees where the mask lies around it. Not in the paper. The cost is linear in the number
    of pixels.

    Args:
        dim, heads, residual: see `MaskCrossAttention`.
        size, shift: of the windows.
    """

    def __init__(self, dim: int, heads: int, size: int, shift: int, residual: bool = True) -> None:
        super().__init__(dim, heads, residual)
        self.size, self.shift = size, shift
        self.bias_table = position_table(size, heads)

    def attention(self, x: Tensor, embedding: Tensor, log_count: Tensor | None = None) -> Tensor:
        """Attend inside each window: x and embedding (b, h, w, c) -> (b, h, w, c)."""
        if self.shift:
            x, embedding = (t.roll((-self.shift, -self.shift), (1, 2)) for t in (x, embedding))
        out = attend_in_windows(
            self.q(x), self.k(embedding), self.v(embedding), self.bias_table, self.size, self.shift
        )
        return out.roll((self.shift, self.shift), (1, 2)) if self.shift else out
