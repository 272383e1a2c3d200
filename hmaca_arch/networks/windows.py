"""Windows, their bands, and position biases: pure functions on channel-last tensors.

Names used throughout: a picture is (b, h, w, ...); a window is `size` x `size` pixels; `shift` is
how far the windows are moved towards the bottom right, 0 <= shift < size.

Two things are done differently from the usual shifted-window code, with the same result:

* No region mask. After the cyclic roll a side consists of the bands [0, H-w), [H-w, H-s), [H-s, H),
  and pixels of different bands never see each other. A window that spans two bands is therefore two
  smaller windows, and `bands` says so. The attention is exact, needs no mask, and costs less than
  the masked one, since what would be masked is not computed.
* No index table. A bias that depends on the offset between query and key is a Toeplitz matrix:
  `expand_offsets` copies it out of the small table through strided views. That takes as long as
  reading a stored copy would, so nothing is cached, and nothing can be stale.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def bands(length: int, size: int, shift: int) -> list[tuple[slice, int]]:
    """How one side of a picture, rolled by -shift, is cut: [(which pixels, size of the windows in
    them)].

    `length` is a multiple of `size`. Without a shift there is one band. With one, the last `size`
    pixels hold what the roll brought together from both ends of the side, so they are cut in two at
    length - shift.
    """
    if shift == 0:
        return [(slice(0, length), size)]
    whole = [(slice(0, length - size), size)] if length > size else []
    if (
        2 * shift == size
    ):  # both parts of the last window are equally large: one band of half windows
        return [*whole, (slice(length - size, length), shift)]
    return [
        *whole,
        (slice(length - size, length - shift), size - shift),
        (slice(length - shift, length), shift),
    ]


def check_mask(lq: Tensor, mask: Tensor | None) -> None:
    """Raise a ValueError unless there is a mask, of one channel and in the size of lq (b, c, h, w)."""
    expected = (lq.shape[0], 1, *lq.shape[2:])
    if mask is None or mask.shape != expected:
        got = 'missing' if mask is None else f'of shape {tuple(mask.shape)}'
        raise ValueError(
            f'the mask is {got}; expected {expected}: one channel, 1 = restore, in the size of lq'
        )


def pad_to_multiple(x: Tensor, multiple: int, mode: str) -> Tensor:
    """Pad (b, c, h, w) at the bottom and right to multiples of `multiple`.

    mode 'picture': mirrored, each axis by itself; with the edge pixel where the padding is not
    smaller than the side. mode 'mask': zeros, "nothing to restore".
    """
    h, w = x.shape[-2:]
    bottom, right = (
        (side + multiple - 1) // multiple * multiple - side for side in (h, w)
    )  # as a traced graph can compute it too
    if mode == 'mask':
        return F.pad(x, (0, right, 0, bottom))
    if right:
        x = F.pad(x, (0, right, 0, 0), mode='reflect' if right < w else 'replicate')
    if bottom:
        x = F.pad(x, (0, 0, 0, bottom), mode='reflect' if bottom < h else 'replicate')
    return x


def offsets(rows: int, cols: int, like: Tensor) -> Tensor:
    """All offsets (dy, dx), query minus key, inside a rows x cols rectangle -> (2 rows - 1, 2 cols
    - 1, 2), not normalised.
    """
    dy = torch.arange(1 - rows, rows, device=like.device, dtype=like.dtype)
    dx = torch.arange(1 - cols, cols, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(dy, dx, indexing='ij'), dim=-1)


def expand_offsets(
    table: Tensor, rows: int, cols: int, step: int
) -> Iterator[tuple[slice, Tensor]]:
    """A bias for each offset -> a bias for each pair of pixels of a rows x cols rectangle, `step`
    rows of queries after the other.

    Args:
        table: (2 H - 1, 2 W - 1, heads), entry [dy + H - 1, dx + W - 1] for the offset query minus
            key; H >= rows, W >= cols.
        rows, cols: the rectangle; pixels are numbered row by row.
        step: at least 1.

    Yields:
        Which queries, and their bias (heads, queries, keys), keys = rows * cols.
    """
    middle_y, middle_x = table.shape[0] // 2, table.shape[1] // 2
    table = table[middle_y - rows + 1 : middle_y + rows, middle_x - cols + 1 : middle_x + cols]
    # by offset key minus query: what one query sees is then a window of the table, and moves
    # against the query
    table = rearrange(table, 'y x heads -> heads y x').flip(1, 2)
    by_column = rearrange(
        table.unfold(2, cols, 1).flip(2), 'heads y qx kx -> heads qx y kx'
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


def runs_as_windows(x: Tensor, size: int) -> Tensor:
    """Cut (b, h, w, c) row by row into runs of size^2 consecutive pixels and lay out run k as if it
    were window k; same shape.
    """
    h, w = x.shape[1:3]
    runs = x.reshape(
        x.shape[0], h // size, w // size, size, size, -1
    )  # y and x count windows, i and j pixels inside one
    return rearrange(runs, 'b y x i j c -> b (y i) (x j) c')
