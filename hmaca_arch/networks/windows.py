"""Windows, their bands, padding and offsets: pure functions.

Names used throughout: an image is (b, h, w, ...); a window is `size` x `size` pixels; `shift` is
how far the windows are moved towards the bottom right, 0 <= shift < size.

Shifted windows usually come with a region mask. Here they have none, with the same result. After
the cyclic roll a side consists of the bands [0, H-w), [H-w, H-s), [H-s, H), and pixels of different
bands never see each other. A window that spans two bands is therefore two smaller windows, and
`bands` returns them. What a mask would hide is not computed.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def bands(length: int, size: int, shift: int) -> list[tuple[slice, int]]:
    """Cut one side of an image, rolled by -shift, into bands of equal windows.

    Without a shift there is one band. With one, the last `size` pixels hold what the roll brought
    together from both ends of the side, so they are cut in two at length - shift.

    Args:
        length: a multiple of size.
        size: side of a window.
        shift: how far the windows are moved.

    Returns:
        For each band its pixels, and the side of the windows in it.
    """
    if shift == 0:
        return [(slice(0, length), size)]
    whole = [(slice(0, length - size), size)] if length > size else []
    if 2 * shift == size:  # both parts are equally large: one band of half windows
        return [*whole, (slice(length - size, length), shift)]
    return [
        *whole,
        (slice(length - size, length - shift), size - shift),
        (slice(length - shift, length), shift),
    ]


def check_mask(lq: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mask, if it has one channel and the size of lq (b, c, h, w).

    Raises:
        ValueError: it has not, or is None.
    """
    expected = (lq.shape[0], 1, *lq.shape[2:])
    if mask is None or mask.shape != expected:
        got = 'missing' if mask is None else f'of shape {tuple(mask.shape)}'
        raise ValueError(
            f'the mask is {got}; expected {expected}: one channel, 1 = restore, in the size of lq'
        )
    return mask


def pad_to_multiple(x: Tensor, multiple: int, mode: str) -> Tensor:
    """Pad (b, c, h, w) at the bottom and right to multiples of `multiple`.

    Args:
        x: (b, c, h, w).
        multiple: of the padded sides.
        mode: 'image': mirrored, each axis by itself; with the edge pixel where the padding is not
            smaller than the side. 'mask': zeros, "nothing to restore".
    """
    h, w = x.shape[-2:]
    # written so that a traced graph can compute it too
    bottom, right = ((side + multiple - 1) // multiple * multiple - side for side in (h, w))
    if mode == 'mask':
        return F.pad(x, (0, right, 0, bottom))
    if right:
        x = F.pad(x, (0, right, 0, 0), mode='reflect' if right < w else 'replicate')
    if bottom:
        x = F.pad(x, (0, 0, 0, bottom), mode='reflect' if bottom < h else 'replicate')
    return x


def offsets(rows: int, cols: int, like: Tensor) -> Tensor:
    """List all offsets (dy, dx), query minus key, inside a rows x cols rectangle.

    Returns:
        (2 rows - 1, 2 cols - 1, 2), not normalised, in the type and on the device of `like`.
    """
    # of whole numbers first: a range of float16 cannot be exported to ONNX
    dy = torch.arange(1 - rows, rows, device=like.device).to(like.dtype)
    dx = torch.arange(1 - cols, cols, device=like.device).to(like.dtype)
    return torch.stack(torch.meshgrid(dy, dx, indexing='ij'), dim=-1)


def runs_as_windows(x: Tensor, size: int) -> Tensor:
    """Cut (b, h, w, c) row by row into runs of size^2 pixels, and lay out run k as window k.

    Returns:
        (b, h, w, c).
    """
    h, w = x.shape[1:3]
    # y and x count windows, i and j pixels inside one
    runs = x.reshape(x.shape[0], h // size, w // size, size, size, -1)
    return rearrange(runs, 'b y x i j c -> b (y i) (x j) c')
