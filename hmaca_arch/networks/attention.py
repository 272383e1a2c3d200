"""Attention in windows, on a grid, and from the picture to its mask.

Window and grid attention: Chu et al., "HMANet: Hybrid Multi-Axis Aggregation Network for Image
Super-Resolution" (CVPRW 2024), Eq. 3. Cross attention: Masuda and Ishikawa, "Enhanced
Super-Resolution Using Cross Attention: Refining HMA for Local Image Restoration", Eq. 5 and 6.
Pictures are (b, h, w, c); the last axis of every qkv is laid out (3, heads, head_dim).

Deviations from the papers:

* Eq. 3 prints a division by d and one bias. Every attention here scales by head_dim^-0.5 and each
  of the grid's two steps has a bias of its own: what the published weights of HMA need.
* Eq. 5 has no residual, and takes keys and values from the mask alone: the picture then reaches the
  output only through the weights of a mean over the mask's embedding.
  `MaskCrossAttention(residual=True)`, the default, adds x; False is Eq. 5 to the letter.
* `MaskCrossAttention` in its `global` form evaluates Eq. 5 over the distinct 3x3 neighbourhoods of
  a binary mask instead of over all
  pixels: the same sum with equal terms put together, O(pixels * 512) instead of O(pixels^2). See
      `MaskEncoder`.
* `WindowMaskCrossAttention` is this project's own: Eq. 5 inside windows, with position.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hmaca_arch.networks.windows import bands, expand_offsets, offsets, runs_as_windows

# The most elements of a position bias that exist at a time; a larger bias is made for some rows of
# queries after the other. In inference on a CPU what matters is that the part for one head stays in
# a core's cache while all windows use it. Elsewhere it only bounds memory, for grids on pictures of
# more than about 200 x 200 pixels.
BIAS_ELEMENTS_CPU_INFERENCE = 2**21
BIAS_ELEMENTS = 2**25


def explicit(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor) -> Tensor:
    """As torch's `scaled_dot_product_attention` for a bias without -inf, which torch would look for
    in every pass.
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.mT + attn_mask
    return scores.softmax(-1) @ v


def attend_by_index(q: Tensor, k: Tensor, v: Tensor, table: Tensor, rows: int, cols: int) -> Tensor:
    """`attend` for graphs of any size: the bias is looked up by offset, all of it at once, instead
    of through strided views.
    """
    y = torch.arange(rows)[:, None].expand(rows, cols).reshape(-1)
    x = torch.arange(cols)[None].expand(rows, cols).reshape(-1)
    middle_y, middle_x = table.shape[0] // 2, table.shape[1] // 2
    bias = table[y[:, None] - y + middle_y, x[:, None] - x + middle_x].permute(2, 0, 1)[:, None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def attend(q: Tensor, k: Tensor, v: Tensor, table: Tensor, rows: int, cols: int) -> Tensor:
    """SoftMax(Q K^T / sqrt(d) + B) V over n rectangles of rows x cols pixels that share one B per
    head.

    Heads come first, so that all rectangles use a head's bias in a row.

    Args:
        q, k, v: (heads, n, rows * cols, d).
        table: (2 H - 1, 2 W - 1, heads), the bias by offset; H >= rows, W >= cols.

    Returns:
        (heads, n, rows * cols, d).
    """
    if torch.jit.is_tracing():
        return attend_by_index(q, k, v, table, rows, cols)
    most = (
        BIAS_ELEMENTS_CPU_INFERENCE if q.is_cpu and not torch.is_grad_enabled() else BIAS_ELEMENTS
    )
    step = max(1, most // (len(q) * rows * cols * cols))
    # torch has no fused kernel for a CPU and a bias that learns: its own way through is slower than
    # the formula written out
    product = explicit if q.is_cpu and torch.is_grad_enabled() else F.scaled_dot_product_attention
    parts = [
        product(q[:, :, queries], k, v, attn_mask=bias[:, None])
        for queries, bias in expand_offsets(table.to(q.dtype), rows, cols, step)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def attend_in_windows(
    q: Tensor, k: Tensor, v: Tensor, table: Tensor, size: int, shift: int
) -> Tensor:
    """Attention inside each window of a picture that has already been rolled by -shift.

    Args:
        q, k, v: (b, h, w, heads * d), h and w multiples of size.
        table: ((2 size - 1)^2, heads).

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
            windows = [
                rearrange(
                    t[:, rows, cols],
                    'b (y i) (x j) (heads d) -> heads (b y x) (i j) d',
                    i=i,
                    j=j,
                    heads=heads,
                )
                for t in (q, k, v)
            ]
            out = attend(*windows, table, i, j)
            y, x = (rows.stop - rows.start) // i, (cols.stop - cols.start) // j
            row.append(
                rearrange(out, 'heads (b y x) (i j) d -> b (y i) (x j) (heads d)', y=y, x=x, i=i)
            )
        bands_of_rows.append(torch.cat(row, dim=2) if len(row) > 1 else row[0])
    return torch.cat(bands_of_rows, dim=1) if len(bands_of_rows) > 1 else bands_of_rows[0]


def position_table(size: int, heads: int) -> nn.Parameter:
    """A learned bias for every offset inside a window: ((2 size - 1)^2, heads), row (dy + size -
    1)(2 size - 1) + dx + size - 1.
    """
    return nn.Parameter(nn.init.trunc_normal_(torch.empty((2 * size - 1) ** 2, heads), std=0.02))


class WindowAttention(nn.Module):
    """(Shifted-)window self attention with a relative-position bias and an output projection.

    Args:
        dim: width of q, of k, of v and of the output.
        heads: divides dim.
        size: side of a window in pixels.
        shift: 0, or how far the windows are moved; < size.
        strips: reproduce what the published weights of HMA were trained with instead of shifted
            windows: after the roll, runs of size^2 consecutive pixels stand in for windows, and the
            roll back goes over tokens and channels of the flattened result.
    """

    def __init__(
        self, dim: int, heads: int, size: int, shift: int = 0, strips: bool = False
    ) -> None:
        super().__init__()
        self.size, self.shift, self.strips = size, shift, strips
        self.bias_table = position_table(size, heads)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, to_qkv: Callable[[Tensor], Tensor]) -> Tensor:
        """x (b, h, w, ...), h and w multiples of size, and the pointwise map from it to qkv (b, h,
        w, 3 dim) -> (b, h, w, dim).
        """
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))  # before the map, which makes it larger
        qkv = to_qkv(x)
        if self.strips:
            qkv = runs_as_windows(qkv, self.size)
        out = self.proj(
            attend_in_windows(*qkv.chunk(3, dim=-1), self.bias_table, self.size, self.shift)
        )
        if self.strips:
            return out.flatten(1, 2).roll((self.shift, self.shift), (1, 2)).view_as(out)
        return out.roll((self.shift, self.shift), (1, 2)) if self.shift else out


class DynamicPositionBias(nn.Module):
    """A position bias computed by an MLP from the offset, so that it exists for grids of any size.

    Linear(2 -> p), then [LN, ReLU, Linear] three times, p -> p -> p -> heads.
    """

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.pos_proj = nn.Linear(2, hidden)
        self.pos1, self.pos2, self.pos3 = (
            nn.Sequential(nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, out))
            for out in (hidden, hidden, heads)
        )

    def forward(self, rows: int, cols: int) -> Tensor:
        """The bias by offset: (2 rows - 1, 2 cols - 1, heads), offsets in units of the grid."""
        # outside autocast: the offsets and this small MLP in bfloat16 would blur neighbouring
        # positions, and cost nothing as they are
        with torch.autocast(self.pos_proj.weight.device.type, enabled=False):
            return self.pos3(
                self.pos2(self.pos1(self.pos_proj(offsets(rows, cols, self.pos_proj.weight))))
            )


class GridAttention(nn.Module):
    """Grid attention through an intermediate token G (Eq. 3): X^ = SoftMax(G K^T s + B1) V, then
    SoftMax(Q G^T s + B2) X^.

    The pixels that are `interval` apart form a group; the tokens of each of the interval^2 groups
    attend to each other.
    """

    def __init__(self, heads: int, interval: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.interval = heads, interval
        self.bias1 = DynamicPositionBias(hidden, heads)
        self.bias2 = DynamicPositionBias(hidden, heads)

    def forward(self, qkv: Tensor, grid: Tensor) -> Tensor:
        """qkv (b, h, w, 3 dim) and G (b, h, w, dim), h and w multiples of interval -> (b, h, w,
        dim).
        """
        b, h, w = qkv.shape[:3]
        rows, cols = h // self.interval, w // self.interval
        q, k, v, g = (
            rearrange(
                t,
                'b (y i) (x j) (heads d) -> heads (b i j) (y x) d',
                i=self.interval,
                j=self.interval,
                heads=self.heads,
            )
            for t in (*qkv.chunk(3, dim=-1), grid)
        )
        out = attend(g, k, v, self.bias1(rows, cols), rows, cols)
        out = attend(q, g, out, self.bias2(rows, cols), rows, cols)
        return rearrange(
            out, 'heads (b i j) (y x) d -> b (y i) (x j) (heads d)', b=b, i=self.interval, y=rows
        )


class MaskKeys(NamedTuple):
    """What cross attention attends to: the embedding M of the mask, encoded once and used by every
    block.

    embedding: global (b or 1, keys, c); window (b, h, w, c), padded like the picture. log_count:
    (b, keys), the logarithm of how many pixels each key stands for, up to a constant of the sample;
    None where each is one.
    """

    embedding: Tensor
    log_count: Tensor | None = None


class MaskEncoder(nn.Conv2d):
    """M = conv3x3(mask), Eq. 5, for the attention over all pixels or over windows.

    Because M is a 3x3 convolution, the M of a binary mask has at most 2^9 distinct values, one for
    each 3x3 neighbourhood. Attention over n equal keys with equal values is attention over one of
    them with log n added to its logit. So the 512 neighbourhoods, with the logarithm of how often
    each occurs in the sample (-inf: never), stand in for all pixels, *exactly*.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(1, dim, kernel_size=3, padding=1)
        bits = torch.arange(512)[:, None] >> torch.arange(9)
        self.register_buffer(
            'patterns', (bits & 1).to(torch.get_default_dtype()), persistent=False
        )  # (512, 9)

    def pixels(self, mask: Tensor) -> Tensor:
        """M at every pixel: (b, 1, h, w) -> (b, h, w, c)."""
        return rearrange(super().forward(mask), 'b c h w -> b h w c')

    def distinct(self, mask: Tensor, present_only: bool) -> MaskKeys:
        """M for the 512 neighbourhoods, and how often each occurs in the samples of a binary mask
        (b, 1, h, w).

        With `present_only`, just for those that occur in any sample: all but 26 to 60 are left out
        as a rule.
        """
        b = len(mask)
        around = (
            F.pad(mask[:, 0] != 0, (1, 1, 1, 1)).unfold(1, 3, 1).unfold(2, 3, 1)
        )  # (b, h, w, 3, 3)
        bits = around.flatten(3).short() << torch.arange(9, dtype=torch.short, device=mask.device)
        index = (
            bits.sum(-1).flatten(1) + 512 * torch.arange(b, device=mask.device)[:, None]
        )  # the pattern's number, bit 3 dy + dx
        count = torch.zeros(512 * b, dtype=torch.long, device=mask.device)
        count = count.scatter_add_(0, index.flatten(), torch.ones_like(index).flatten()).view(
            b, 512
        )
        count = count.to(
            torch.promote_types(self.patterns.dtype, torch.float32)
        )  # float16 ends at 65504 pixels
        patterns = self.patterns
        if present_only:
            used = count.any(dim=0)
            count, patterns = count[:, used], patterns[used]
        # relative to the most frequent one: softmax does not care, and half precision keeps more of
        # what matters
        log_count = (count / count.amax(dim=1, keepdim=True)).log()
        return MaskKeys(F.linear(patterns, self.weight.flatten(1), self.bias)[None], log_count)

    def forward(self, mask: Tensor) -> MaskKeys:
        """Keys for the global form. Binary means exactly 0 or 1; one mask that is not sends the
        whole batch to the dense form.
        """
        if ((mask == 0) | (mask == 1)).all():
            return self.distinct(
                mask, present_only=mask.is_cpu
            )  # on a GPU, asking which would cost more than it saves
        return MaskKeys(self.pixels(mask).flatten(1, 2))


class MaskCrossAttention(nn.Module):
    """Attention from every pixel of the picture to the mask's embedding M (Eq. 5 and 6),
    multi-head, with an output projection.

    Q = LN(x) W_Q, K = M W_K, V = M W_V; the result is x + proj(attention). Without `residual` there
    is neither the sum nor the LN: Eq. 5 to the letter. W_K has no bias, which softmax would cancel.

    Order plays no part in a sum over keys, and M knows no position: the result depends on how much
    there is of each neighbourhood in the mask, never on where it is.
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
        """x (b, h, w, c), embedding (b or 1, keys, c), log_count (b, keys) or None -> (b, h, w, c)."""
        b, h = x.shape[:2]
        q = rearrange(self.q(x), 'b h w (heads d) -> b heads (h w) d', heads=self.heads)
        k, v = (
            rearrange(linear(embedding), 'b n (heads d) -> b heads n d', heads=self.heads).expand(
                b, -1, -1, -1
            )
            for linear in (self.k, self.v)
        )
        bias = None if log_count is None else rearrange(log_count.to(q.dtype), 'b n -> b 1 1 n')
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return rearrange(out, 'b heads (h w) d -> b h w (heads d)', h=h)

    def forward(self, x: Tensor, embedding: Tensor, log_count: Tensor | None = None) -> Tensor:
        """x (b, h, w, c) and the two fields of `MaskKeys` -> (b, h, w, c)."""
        out = self.proj(self.attention(self.norm(x), embedding, log_count))
        return x + out if self.residual else out


class WindowMaskCrossAttention(MaskCrossAttention):
    """The same Q, K and V inside each (shifted) window, with a relative-position bias: a pixel sees
    where the mask lies around it.

    Not in the paper. The cost is linear in the number of pixels.
    """

    def __init__(self, dim: int, heads: int, size: int, shift: int, residual: bool = True) -> None:
        super().__init__(dim, heads, residual)
        self.size, self.shift = size, shift
        self.bias_table = position_table(size, heads)

    def attention(self, x: Tensor, embedding: Tensor, log_count: None) -> Tensor:
        """x and embedding (b, h, w, c) -> (b, h, w, c)."""
        if self.shift:
            x, embedding = (t.roll((-self.shift, -self.shift), (1, 2)) for t in (x, embedding))
        out = attend_in_windows(
            self.q(x), self.k(embedding), self.v(embedding), self.bias_table, self.size, self.shift
        )
        return out.roll((self.shift, self.shift), (1, 2)) if self.shift else out
