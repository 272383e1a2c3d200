"""The equations of pixelization: the mean of a block's pixels, or middle ones, is its colour."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hmaca_arch.degradation.description import Degradation, regions

# grey levels by which an estimate of a pixelized pixel is off, where a colour's rounding error is
# weighed against it
DOUBT = 10


class Blocks(NamedTuple):
    """The equations of pixelization in a batch, pixels counted through (b, h, w).

    member, group: pixel and equation of each term: the mean of an equation's pixels is its colour.
    colour: a pixel of y that shows the colour, by equation. inside: which terms an equation may
    change: those in R, of its own region where blocks begin at regions, so that no pixel is changed
    by two equations. phase: (2, b, h, w), where in its block a pixel of R lies, -0.5 to 0.5.
    """

    member: Tensor
    group: Tensor
    colour: Tensor
    inside: Tensor
    phase: Tensor

    def mean(self, values: Tensor, only: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the means of values (c, pixels) by equation (c, equations), and their numbers.

        `only` chooses some of the terms.
        """
        member, group = (
            (self.member, self.group) if only is None else (self.member[only], self.group[only])
        )
        count = torch.zeros(len(self.colour), dtype=values.dtype, device=values.device)
        count = count.index_add(0, group, torch.ones_like(group, dtype=values.dtype))
        sums = torch.zeros(len(values), len(self.colour), dtype=values.dtype, device=values.device)
        return sums.index_add(1, group, values[:, member]) / count.clamp(min=1), count


def _sides(low: int, high: int, block: int, anchor: str, offset: int) -> np.ndarray:
    """Where blocks begin that cover low .. high, in order, and where the last one ends."""
    if anchor == 'offset':
        first = low - (low - offset) % block
        return np.arange(first, high + block, block)
    if anchor == 'offset and box':
        return np.unique(
            np.concatenate([[low, high], np.arange(low + (offset - low) % block, high, block)])
        )
    if anchor == 'end':
        return np.unique(np.concatenate([[low], np.arange(high, low, -block)]))
    return np.append(np.arange(low, high, block), high)


def _limits(
    d: Degradation, axis: int, low: int, high: int, length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where each block that covers low .. high of an array of `length` begins and ends.

    The third array says whether the block's equation holds there.
    """
    cuts = _sides(low, high, d.block, d.anchor[axis], d.offset[axis])
    first, last = cuts[:-1].clip(0, length), cuts[1:].clip(0, length)
    holds = ((cuts[:-1] >= 0) | d.edges[axis]) & ((cuts[1:] <= length) | d.edges[axis + 2])
    if (
        d.anchor[axis] == 'offset and box'
    ):  # at a crop's side nobody knows whether the box or the crop cuts a block that is not whole
        whole = (cuts - d.offset[axis]) % d.block == 0
        holds &= (whole[:-1] | (cuts[:-1] > 0) | d.edges[axis]) & (
            whole[1:] | (cuts[1:] < length) | d.edges[axis + 2]
        )
    return first, last, holds


def _region_blocks(
    mask: np.ndarray, labels: np.ndarray, label: int, box: Sequence[int], d: Degradation
) -> list[tuple]:
    """Yield the equations of one region.

    Each is (rows, columns of its terms, its own pixels' first, the block's limits).
    """
    rows, columns = (
        _limits(d, axis, box[axis], box[axis + 2], mask.shape[axis]) for axis in (0, 1)
    )
    found = []
    for top, bottom, row_holds in zip(*rows):
        for left, right, column_holds in zip(*columns):
            own = np.argwhere(labels[top:bottom, left:right] == label)
            if len(own):
                found.append(
                    (top, left, bottom, right, bool(row_holds and column_holds), own + (top, left))
                )
    return found


def find_blocks(mask: Tensor, degradations: Sequence[Degradation]) -> Blocks:
    """Find the equations of the pixelized images of a batch.

    Args:
        mask: (b, 1, h, w), above 0 is R.
        degradations: one for each image; others than `pix` have no equation.
    """
    if all(d.kind != 'pix' for d in degradations):  # written so that it can be traced
        none = torch.zeros(0, dtype=torch.int64, device=mask.device)
        nowhere = torch.zeros_like(mask[:, 0], dtype=torch.float32)
        return Blocks(none, none, none, none.bool(), torch.stack([nowhere, nowhere]))
    masks = (mask[:, 0] > 0).cpu().numpy()
    height, width = masks.shape[1:]
    members, groups, colours, changed = [], [], [], []  # type: tuple[list, list, list, list]
    phase = np.zeros((2, *masks.shape), np.float32)
    for b, (one, d) in enumerate(zip(masks, degradations)):
        if d.kind != 'pix':
            continue
        labels, boxes = regions(one)
        if boxes and all(
            anchor.startswith('offset') for anchor in d.anchor
        ):  # one grid for all, also for what a crop has cut in parts
            top, left, bottom, right = np.array(boxes).T
            labels, boxes = one, [(min(top), min(left), max(bottom), max(right))]
        for label, box in enumerate(boxes, start=1):
            for top, left, bottom, right, holds, own in _region_blocks(one, labels, label, box, d):
                phase[0, b][own[:, 0], own[:, 1]] = (own[:, 0] - top + 0.5) / (bottom - top) - 0.5
                phase[1, b][own[:, 0], own[:, 1]] = (own[:, 1] - left + 0.5) / (right - left) - 0.5
                if not holds:
                    continue
                y, x = np.arange(top, bottom), np.arange(left, right)
                if d.pool == 'centre':
                    y, x = (
                        np.unique([side[(len(side) - 1) // 2], side[len(side) // 2]])
                        for side in (y, x)
                    )
                mine = labels[np.ix_(y, x)] == label
                if not mine.any():
                    continue
                terms = ((b * height + y[:, None]) * width + x).ravel()
                members.append(terms)
                changed.append(mine.ravel())
                groups.append(np.full(len(terms), len(colours)))
                colours.append((b * height + own[0, 0]) * width + own[0, 1])
    empty = [np.zeros(0, np.int64)]
    member, group = (
        torch.from_numpy(np.concatenate(parts or empty)).to(mask.device)
        for parts in (members, groups)
    )
    colour = torch.tensor(colours, dtype=torch.int64, device=mask.device)
    inside = torch.from_numpy(np.concatenate(changed or [np.zeros(0, bool)])).to(mask.device)
    return Blocks(member, group, colour, inside, torch.from_numpy(phase).to(mask.device))


def by_pixel(image: Tensor) -> Tensor:
    """(b, c, h, w) -> (c, b * h * w)."""
    return image.transpose(0, 1).reshape(image.shape[1], -1)


def solve_blocks(
    z: Tensor, y: Tensor, blocks: Blocks, variance: Tensor, w: Tensor | None = None
) -> Tensor:
    """Shift the pixels of R in each block equally, so that its mean is its colour.

    A block of which n of s pixels lie in R would be shifted by s / n of its residual, and the
    colour's rounding error with it. So n is taken larger by (s^2 - n^2) v / DOUBT^2, v being the
    colour's variance: exact where all of a block lies in R.

    Args:
        z: (b, c, h, w), the estimates.
        y: (b, c, h, w), the degraded images.
        blocks: of these images.
        variance: (b,) of the colours, in square grey levels.
        w: (b, 1, 1, 1), as in `Equations.solve`: a shift of 1 / (1 + w) of the way; None: all of
            it.
    """
    if not len(blocks.colour):
        return z
    flat = by_pixel(z)
    mean, count = blocks.mean(flat)
    _, free = blocks.mean(flat, blocks.inside)
    image = blocks.colour // (z.shape[2] * z.shape[3])
    damped = free + (count.square() - free.square()) * variance.to(free)[image] / DOUBT**2
    shift = (by_pixel(y)[:, blocks.colour] - mean) * (count / damped)
    if w is not None:
        shift = shift / (1 + w.reshape(-1)[image])
    member, group = blocks.member[blocks.inside], blocks.group[blocks.inside]
    flat = flat.index_add(1, member, shift[:, group])
    return flat.reshape(z.shape[1], z.shape[0], *z.shape[2:]).transpose(0, 1)
