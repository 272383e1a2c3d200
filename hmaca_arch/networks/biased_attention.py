"""SoftMax(Q K^T / sqrt(d) + B) V with a bias B by offset, in the way that suits the device.

All ways give the same result. They differ in where B exists:

- On a CPU without gradients: for some rows of queries at a time, so that it stays in the cache.
- In training on a CPU: as a whole, in the formula written out.
- On a GPU: as a whole, in torch's kernels. `use_fused(True)` replaces these in training by kernels
  in which B never exists (`fused_attention`).
- In exported graphs: looked up by index.
"""

from collections.abc import Iterator
from types import ModuleType

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

# The most elements of B that exist at a time. For inference on a CPU, B of one head then stays in a
# core's cache while all windows use it. Elsewhere the limit only bounds memory: grids on images of
# more than about 200 x 200 pixels reach it.
BIAS_ELEMENTS_CPU_INFERENCE = 2**21
BIAS_ELEMENTS = 2**25

_fused: ModuleType | None = None


def use_fused(on: bool) -> None:
    """Choose how this process computes attention in training on a GPU.

    Args:
        on: True: in the kernels of `fused_attention`, where they fit. False: in torch's.

    Raises:
        ValueError: the kernels need Triton, and it is not installed.
    """
    global _fused
    if not on:
        _fused = None
        return
    try:
        from hmaca_arch.networks import fused_attention
    except ImportError as error:
        raise ValueError(
            f'fused_attention is true, which needs Triton ({error}); '
            'install it with pip install triton, or set fused_attention to false'
        ) from None
    _fused = fused_attention


def attend(q: Tensor, k: Tensor, v: Tensor, table: Tensor, rows: int, cols: int) -> Tensor:
    """Compute SoftMax(Q K^T / sqrt(d) + B) V in n rectangles of rows x cols pixels.

    Heads come first: all rectangles use a head's bias one after the other.

    Args:
        q: (heads, n, rows * cols, d), pixels row by row.
        k: as q.
        v: as q.
        table: (2 H - 1, 2 W - 1, heads), the bias by offset, query minus key; H >= rows, W >= cols.
        rows: height of a rectangle.
        cols: its width.

    Returns:
        (heads, n, rows * cols, d).
    """
    if torch.jit.is_tracing():
        return attend_by_index(q, k, v, table, rows, cols)
    training = torch.is_grad_enabled()
    if _fused is not None and training and _fused.fits(q, cols):
        out: Tensor = _fused.attend(q, k, v, table, rows, cols)
        return out
    most = BIAS_ELEMENTS_CPU_INFERENCE if q.is_cpu and not training else BIAS_ELEMENTS
    step = max(1, most // (len(q) * rows * cols * cols))
    table = table.to(q.dtype)
    if q.is_cuda and training and step >= rows:
        bias = expand_at_once(table, rows, cols)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias[:, None])
    # torch has no fused kernel for a CPU and a bias that learns, and its other way is slower than
    # the formula.
    product = explicit if q.is_cpu and training else F.scaled_dot_product_attention
    parts = [
        product(q[:, :, queries], k, v, attn_mask=bias[:, None])
        for queries, bias in expand_offsets(table, rows, cols, step)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def explicit(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor) -> Tensor:
    """Compute attention as the formula says, for a finite bias.

    torch's own function looks for -inf in the bias in every pass.
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.mT + attn_mask
    return scores.softmax(-1) @ v


def attend_by_index(q: Tensor, k: Tensor, v: Tensor, table: Tensor, rows: int, cols: int) -> Tensor:
    """As `attend`, in operations that a graph for any size can hold."""
    y = torch.arange(rows)[:, None].expand(rows, cols).reshape(-1)
    x = torch.arange(cols)[None].expand(rows, cols).reshape(-1)
    middle_y, middle_x = table.shape[0] // 2, table.shape[1] // 2
    bias = table[y[:, None] - y + middle_y, x[:, None] - x + middle_x].permute(2, 0, 1)[:, None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def by_key_offset(table: Tensor, rows: int, cols: int) -> Tensor:
    """Cut out the offsets of a rows x cols rectangle, and order them by key minus query.

    What one query sees is then a window of the table, which moves against the query.

    Returns:
        (heads, 2 rows - 1, 2 cols - 1).
    """
    y, x = table.shape[0] // 2, table.shape[1] // 2
    table = table[y - rows + 1 : y + rows, x - cols + 1 : x + cols]
    return rearrange(table, 'y x heads -> heads y x').flip(1, 2)


def expand_offsets(
    table: Tensor, rows: int, cols: int, step: int
) -> Iterator[tuple[slice, Tensor]]:
    """Turn a bias by offset into one by pair of pixels, `step` rows of queries at a time.

    Such a bias is a Toeplitz matrix. Strided views copy it out of the small table in the time that
    reading a stored copy would take. So nothing is cached.

    Args:
        table: (2 H - 1, 2 W - 1, heads), by offset query minus key; H >= rows, W >= cols.
        rows: height of the rectangle, whose pixels are numbered row by row.
        cols: its width.
        step: at least 1.

    Yields:
        Which queries, and their bias (heads, queries, rows * cols).
    """
    by_column = rearrange(
        by_key_offset(table, rows, cols).unfold(2, cols, 1).flip(2),
        'heads y qx kx -> heads qx y kx',
    ).contiguous()
    for first in range(0, rows, step):
        last = min(first + step, rows)
        bias = torch.stack(
            [by_column[:, :, rows - 1 - qy : 2 * rows - 1 - qy] for qy in range(first, last)], dim=1
        )
        yield (
            slice(first * cols, last * cols),
            rearrange(bias, 'heads qy qx ky kx -> heads (qy qx) (ky kx)'),
        )


def expand_at_once(table: Tensor, rows: int, cols: int) -> Tensor:
    """As `expand_offsets` for all queries, in ten autograd nodes instead of more than `rows`.

    Slower on a CPU.

    Returns:
        (heads, rows * cols, rows * cols).
    """
    windows = by_key_offset(table, rows, cols).unfold(1, rows, 1).unfold(2, cols, 1)
    return rearrange(windows.flip(1, 2), 'heads qy qx ky kx -> heads (qy qx) (ky kx)')
