"""Attention with a relative-position bias, in Triton kernels of this project's own.

    out = SoftMax(Q K^T / sqrt(d) + B) V,    B[q, k] = table[offset between q and k]

torch's kernels read B from memory, and their backward pass writes a gradient of B for every window.
Here B exists in registers only. The kernels look it up in its table, and `_table_gradient` sums its
gradient over all windows before it writes anything. No sum depends on the order of the programs, so
two runs give the same bits.

The forward and backward passes are those of Dao, "FlashAttention-2" (2023): softmax over blocks of
keys with a running maximum, and scores computed again in the backward pass.

Importing this module needs Triton. `biased_attention.use_fused` switches it on.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LARGEST_DEPTH = 64  # of a head: larger tiles leave no registers
LARGEST_COLS = 64  # `_table_gradient` keeps cols x cols numbers in registers
SMALLEST_SIDE = 16  # of a tile that tl.dot multiplies
# Not measured on a GPU yet: scripts/gpu/attention_bench.py tries others.
QUERIES, KEYS, WARPS, STAGES = 64, 64, 4, 2  # a tile of scores, and how Triton computes it
PARTS = 8  # of the windows in `_table_gradient`, so that it has enough programs
LOG2_E = tl.constexpr(1.4426950408889634)  # the kernels compute 2^x: a GPU has it as one step


def fits(q: Tensor, cols: int) -> bool:
    """Tell whether the kernels can compute this attention."""
    small = q.shape[-1] <= LARGEST_DEPTH and cols <= LARGEST_COLS
    return q.is_cuda and q.dtype in DTYPES and small and not torch.compiler.is_compiling()


def attend(q: Tensor, k: Tensor, v: Tensor, table: Tensor, rows: int, cols: int) -> Tensor:
    """As `biased_attention.attend`, for what `fits`."""
    y, x = table.shape[0] // 2, table.shape[1] // 2
    table = table[y - rows + 1 : y + rows, x - cols + 1 : x + cols].permute(2, 0, 1).float()
    out: Tensor = _FusedAttention.apply(q, k, v, table.contiguous(), rows, cols)
    return out


class _FusedAttention(torch.autograd.Function):
    """q, k, v (heads, n, rows * cols, d), table (heads, 2 rows - 1, 2 cols - 1) in float32."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, table: Tensor, rows: int, cols: int
    ) -> Tensor:
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        table = table * LOG2_E.value
        out, lse = torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)
        with torch.cuda.device_of(q):
            _forward[_grid(q, QUERIES)](
                q, k, v, table, out, lse, **_shape(q, rows, cols), **_tiles(q)
            )
        ctx.save_for_backward(q, k, v, table, out, lse)
        ctx.rows, ctx.cols = rows, cols
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, table, out, lse = ctx.saved_tensors
        grad = grad.contiguous()
        dq, dk, dv, delta = (torch.empty_like(t) for t in (q, k, v, lse))
        inputs = (q, k, v, table, grad, lse, delta)
        shape, tiles = _shape(q, ctx.rows, ctx.cols), _tiles(q)
        with torch.cuda.device_of(q):
            _query_gradient[_grid(q, QUERIES)](*inputs, out, dq, **shape, **tiles)
            _key_gradient[_grid(q, KEYS)](*inputs, dk, dv, **shape, **tiles)
            if not ctx.needs_input_grad[3]:
                return dq, dk, dv, None, None, None
            heads, windows = q.shape[:2]
            parts = min(PARTS, windows)
            by_part = table.new_empty(parts, *table.shape)
            sums = {'WINDOWS_OF_PART': triton.cdiv(windows, parts), 'WIDTH': _side(ctx.cols)}
            launch = {'num_warps': 1 if ctx.cols <= 32 else 4, 'num_stages': STAGES}
            grid = heads, table.shape[1], parts
            _table_gradient[grid](*inputs, by_part, **shape, **sums, **launch)
        return dq, dk, dv, by_part.sum(0), None, None


def _grid(q: Tensor, side: int) -> tuple[int, int]:
    """Start a program for each window of each head and each `side` of its pixels."""
    return q.shape[0] * q.shape[1], triton.cdiv(q.shape[2], side)


def _side(n: int) -> int:
    return max(SMALLEST_SIDE, triton.next_power_of_2(n))


def _shape(q: Tensor, rows: int, cols: int) -> dict[str, Any]:
    """Collect the arguments that all kernels share."""
    d, tf32 = q.shape[-1], torch.backends.cuda.matmul.allow_tf32
    sizes = {'ROWS': rows, 'COLS': cols, 'D': d, 'DEPTH': _side(d)}
    precision = {'PRECISION': 'tf32' if tf32 else 'ieee'}
    return {'windows': q.shape[1], 'scale': d**-0.5, **sizes, **precision}


def _tiles(q: Tensor) -> dict[str, int]:
    """Choose the tiles, no larger than the window."""
    most = _side(q.shape[2])
    tile = {'QUERIES': min(QUERIES, most), 'KEYS': min(KEYS, most)}
    return {**tile, 'num_warps': WARPS, 'num_stages': STAGES}


# In the kernels, `group` numbers the windows of all heads, and `place` is such that two pixels of a
# window have the bias table[place of the query - place of the key + middle].


@triton.jit
def _rows_of(pointer, index, inside, D: tl.constexpr, DEPTH: tl.constexpr):
    """Load rows of a (pixels, D) matrix as (len(index), DEPTH), zeros where there is nothing."""
    column = tl.arange(0, DEPTH)
    mask = inside[:, None] & (column < D)[None, :]
    return tl.load(pointer + index[:, None] * D + column[None, :], mask=mask, other=0.0)


@triton.jit
def _store_rows(pointer, index, inside, value, D: tl.constexpr, DEPTH: tl.constexpr):
    column = tl.arange(0, DEPTH)
    mask = inside[:, None] & (column < D)[None, :]
    value = value.to(pointer.dtype.element_ty)
    tl.store(pointer + index[:, None] * D + column[None, :], value, mask=mask)


@triton.jit
def _place(index, COLS: tl.constexpr):
    return index // COLS * (2 * COLS - 1) + index % COLS


@triton.jit
def _scores(
    q, k, table, queries, keys, scale,
    ROWS: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute the logits of a tile times log2(e); -inf for keys beyond the window."""
    middle = (2 * ROWS - 1) * (2 * COLS - 1) // 2
    last = ROWS * COLS - 1
    index = _place(tl.minimum(queries, last), COLS)[:, None] - _place(keys, COLS)[None, :] + middle
    bias = tl.load(table + index, mask=(keys <= last)[None, :], other=float('-inf'))
    return tl.dot(q, tl.trans(k), input_precision=PRECISION) * (scale * LOG2_E) + bias


@triton.jit
def _forward(
    q, k, v, table, out, lse, windows, scale,
    ROWS: tl.constexpr, COLS: tl.constexpr, D: tl.constexpr, DEPTH: tl.constexpr,
    PRECISION: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Compute out, and lse, the logarithm (base 2) of the softmax's denominator."""
    pixels: tl.constexpr = ROWS * COLS
    group = tl.program_id(0).to(tl.int64)
    first = group * pixels
    table += group // windows * ((2 * ROWS - 1) * (2 * COLS - 1))
    queries = tl.program_id(1) * QUERIES + tl.arange(0, QUERIES)
    inside = queries < pixels
    q_tile = _rows_of(q + first * D, queries, inside, D, DEPTH)
    largest = tl.full((QUERIES,), float('-inf'), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    mean = tl.zeros((QUERIES, DEPTH), tl.float32)
    for start in range(0, pixels, KEYS):
        keys = start + tl.arange(0, KEYS)
        k_tile = _rows_of(k + first * D, keys, keys < pixels, D, DEPTH)
        v_tile = _rows_of(v + first * D, keys, keys < pixels, D, DEPTH)
        scores = _scores(q_tile, k_tile, table, queries, keys, scale, ROWS, COLS, PRECISION)
        new = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.exp2(scores - new[:, None])
        shrink = tl.exp2(largest - new)
        total = total * shrink + tl.sum(weights, 1)
        mean = mean * shrink[:, None] + tl.dot(
            weights.to(v_tile.dtype), v_tile, input_precision=PRECISION
        )
        largest = new
    _store_rows(out + first * D, queries, inside, mean / total[:, None], D, DEPTH)
    tl.store(lse + first + queries, largest + tl.log2(total), mask=inside)


@triton.jit
def _score_gradient(scores, v, grad, lse, delta, PRECISION: tl.constexpr):
    """Compute the softmax's weights of a tile, and the gradient of its logits."""
    weights = tl.exp2(scores - lse[:, None])
    d_weights = tl.dot(grad, tl.trans(v), input_precision=PRECISION)
    return weights, weights * (d_weights - delta[:, None])


@triton.jit
def _query_gradient(
    q, k, v, table, grad, lse, delta, out, dq, windows, scale,
    ROWS: tl.constexpr, COLS: tl.constexpr, D: tl.constexpr, DEPTH: tl.constexpr,
    PRECISION: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Compute dq, and delta, the sum of out * grad by query, which the other gradients need."""
    pixels: tl.constexpr = ROWS * COLS
    group = tl.program_id(0).to(tl.int64)
    first = group * pixels
    table += group // windows * ((2 * ROWS - 1) * (2 * COLS - 1))
    queries = tl.program_id(1) * QUERIES + tl.arange(0, QUERIES)
    inside = queries < pixels
    q_tile = _rows_of(q + first * D, queries, inside, D, DEPTH)
    grad_tile = _rows_of(grad + first * D, queries, inside, D, DEPTH)
    out_tile = _rows_of(out + first * D, queries, inside, D, DEPTH)
    sums = tl.sum(out_tile.to(tl.float32) * grad_tile.to(tl.float32), 1)
    tl.store(delta + first + queries, sums, mask=inside)
    denominator = tl.load(lse + first + queries, mask=inside, other=float('inf'))
    gradient = tl.zeros((QUERIES, DEPTH), tl.float32)
    for start in range(0, pixels, KEYS):
        keys = start + tl.arange(0, KEYS)
        k_tile = _rows_of(k + first * D, keys, keys < pixels, D, DEPTH)
        v_tile = _rows_of(v + first * D, keys, keys < pixels, D, DEPTH)
        scores = _scores(q_tile, k_tile, table, queries, keys, scale, ROWS, COLS, PRECISION)
        _, d_scores = _score_gradient(scores, v_tile, grad_tile, denominator, sums, PRECISION)
        gradient += tl.dot(d_scores.to(k_tile.dtype), k_tile, input_precision=PRECISION)
    _store_rows(dq + first * D, queries, inside, gradient * scale, D, DEPTH)


@triton.jit
def _key_gradient(
    q, k, v, table, grad, lse, delta, dk, dv, windows, scale,
    ROWS: tl.constexpr, COLS: tl.constexpr, D: tl.constexpr, DEPTH: tl.constexpr,
    PRECISION: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Compute dk and dv."""
    pixels: tl.constexpr = ROWS * COLS
    group = tl.program_id(0).to(tl.int64)
    first = group * pixels
    table += group // windows * ((2 * ROWS - 1) * (2 * COLS - 1))
    keys = tl.program_id(1) * KEYS + tl.arange(0, KEYS)
    inside = keys < pixels
    k_tile = _rows_of(k + first * D, keys, inside, D, DEPTH)
    v_tile = _rows_of(v + first * D, keys, inside, D, DEPTH)
    k_gradient = tl.zeros((KEYS, DEPTH), tl.float32)
    v_gradient = tl.zeros((KEYS, DEPTH), tl.float32)
    for start in range(0, pixels, QUERIES):
        queries = start + tl.arange(0, QUERIES)
        there = queries < pixels
        q_tile = _rows_of(q + first * D, queries, there, D, DEPTH)
        grad_tile = _rows_of(grad + first * D, queries, there, D, DEPTH)
        denominator = tl.load(lse + first + queries, mask=there, other=float('inf'))
        sums = tl.load(delta + first + queries, mask=there, other=0.0)
        scores = _scores(q_tile, k_tile, table, queries, keys, scale, ROWS, COLS, PRECISION)
        weights, d_scores = _score_gradient(scores, v_tile, grad_tile, denominator, sums, PRECISION)
        v_gradient += tl.dot(
            tl.trans(weights.to(grad_tile.dtype)), grad_tile, input_precision=PRECISION
        )
        k_gradient += tl.dot(tl.trans(d_scores.to(q_tile.dtype)), q_tile, input_precision=PRECISION)
    _store_rows(dk + first * D, keys, inside, k_gradient * scale, D, DEPTH)
    _store_rows(dv + first * D, keys, inside, v_gradient, D, DEPTH)


@triton.jit
def _table_gradient(
    q, k, v, table, grad, lse, delta, by_part, windows, scale,
    ROWS: tl.constexpr, COLS: tl.constexpr, D: tl.constexpr, DEPTH: tl.constexpr,
    PRECISION: tl.constexpr, WINDOWS_OF_PART: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Compute the table's gradient for one distance of rows, summed over a part of the windows.

    A tile is a row of queries against the row of keys at that distance. All such tiles of all
    windows have the same bias, and their gradients are added up before they are sorted by offset.
    """
    pixels: tl.constexpr = ROWS * COLS
    offsets: tl.constexpr = 2 * COLS - 1
    head, part = tl.program_id(0), tl.program_id(2)
    dy = tl.program_id(1) - (ROWS - 1)
    x = tl.arange(0, WIDTH)
    inside = x < COLS
    dx = x[:, None] - x[None, :]
    line = (head * (2 * ROWS - 1) + tl.program_id(1)) * offsets + COLS - 1
    both = inside[:, None] & inside[None, :]
    bias = tl.load(table + line + dx, mask=both, other=float('-inf'))
    gradient = tl.zeros((WIDTH, WIDTH), tl.float32)
    begin = part * WINDOWS_OF_PART
    for window in range(begin, tl.minimum(begin + WINDOWS_OF_PART, windows)):
        first = (head * windows + window).to(tl.int64) * pixels
        for y in range(tl.maximum(dy, 0), tl.minimum(ROWS, ROWS + dy)):
            queries, keys = y * COLS + x, (y - dy) * COLS + x
            q_tile = _rows_of(q + first * D, queries, inside, D, DEPTH)
            grad_tile = _rows_of(grad + first * D, queries, inside, D, DEPTH)
            k_tile = _rows_of(k + first * D, keys, inside, D, DEPTH)
            v_tile = _rows_of(v + first * D, keys, inside, D, DEPTH)
            denominator = tl.load(lse + first + queries, mask=inside, other=float('inf'))
            sums = tl.load(delta + first + queries, mask=inside, other=0.0)
            products = tl.dot(q_tile, tl.trans(k_tile), input_precision=PRECISION)
            scores = products * (scale * LOG2_E) + bias
            _, d_scores = _score_gradient(scores, v_tile, grad_tile, denominator, sums, PRECISION)
            gradient += d_scores
    by_part += part * tl.num_programs(0) * (2 * ROWS - 1) * offsets
    for distance in range(1 - COLS, COLS):
        total = tl.sum(tl.where(dx == distance, gradient, 0.0))
        tl.store(by_part + line + distance, total)
