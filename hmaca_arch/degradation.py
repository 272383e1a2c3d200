"""The degradation as an equation: what was done to a region, and the images that agree with it.

x is the sought image, y the given one, R the masked pixels. Outside R, x = y. Inside R a
degradation says D(x) = y:

* pixelization: the mean of x over a block (pool `mean`), or over its middle pixels (`centre`), is
  the block's colour;
* Gaussian blur: y = A x, with the kernel cut at 4 sigma and mirrored at the image's edge
  (REFLECT_101);
* Gaussian noise: y = x + n e.

`solve(z, y, mask, degradations, w)` returns the image nearest to an estimate z that agrees with the
equation, in closed form or by conjugate gradients. w is the equation's noise variance divided by
the variance of z's error: a large w trusts z.

Sources: Zhang et al., DPIR (TPAMI 2021) and USRNet (CVPR 2020) for the data step; Rasmussen and
Williams for `start`'s prior.
"""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

KINDS = ('unknown', 'none', 'pix', 'blur', 'noise')
POOLS = ('mean', 'centre')
# Where a block grid begins: at the top or left of a region's box, at its bottom or right, or at
# `offset`. Blocks are cut at the box, except with `offset`, where they are whole.
ANCHORS = ('start', 'end', 'offset', 'offset and box')
# The vector's layout, here and nowhere else. `edge_*`: 1 where that side of the array is a side of
# the image, 0 where a crop cut it.
FIELDS = (
    *KINDS, 'block', 'centre', 'anchor_y', 'anchor_x', 'offset_y', 'offset_x', 'sigma', 'jpeg',
    'edge_top', 'edge_left', 'edge_bottom', 'edge_right',
)  # fmt: skip
# exponent of the Laplacian in the prior of `start`: that of the kernel exp(-(d / L)^0.8) in two
# dimensions
SMOOTHNESS = 1.4
SHARPNESS = 2  # of the prior, over what unit differences ask for; chosen on training images
# grey levels by which an estimate of a pixelized pixel is off, where a colour's rounding error is
# weighed against it
DOUBT = 10
MOST = 400  # iterations of conjugate gradients in a data step
FORM = (
    'pix:BLOCK:mean, pix:BLOCK:centre@Y,X, blur:SIGMA, noise:SIGMA, none or unknown, '
    'each with +jpeg:QUALITY after it if it was saved so'
)


@dataclass(frozen=True)
class Degradation:
    """One degradation of the masked pixels of an image or crop.

    Args:
        kind: one of KINDS. `unknown` gives no equation, `none` says that nothing was done.
        block: side of a block in pixels (pix).
        pool: `mean` or `centre` (pix).
        anchor: where the block grid begins along rows and columns, see ANCHORS; a box is that of
            each 8-connected region.
        offset: row and column of a block's corner, for the anchor `offset`.
        sigma: in pixels (blur), or in grey levels of 255 (noise).
        jpeg: quality of the JPEG after it, 1 to 100; 0 without.
        edges: whether the top, left, bottom and right of the array are the image's own.
    """

    kind: str = 'unknown'
    block: int = 0
    pool: str = 'mean'
    anchor: tuple[str, str] = ('start', 'start')
    offset: tuple[int, int] = (0, 0)
    sigma: float = 0.0
    jpeg: int = 0
    edges: tuple[bool, bool, bool, bool] = (True, True, True, True)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f'degradation: got {self.kind!r}, expected {FORM}')
        if self.kind == 'pix' and not (self.block >= 1 and self.pool in POOLS):
            raise ValueError(
                f'degradation: got block {self.block} and pool {self.pool!r}, expected at least 1, and mean or centre'
            )
        if self.kind == 'blur' and not 0 < self.sigma <= 100:
            raise ValueError(
                f'degradation: got blur sigma {self.sigma}, expected more than 0 and at most 100 pixels'
            )
        if self.kind == 'noise' and not 0 <= self.sigma <= 255:
            raise ValueError(
                f'degradation: got noise sigma {self.sigma}, expected 0 to 255 grey levels'
            )
        if not 0 <= self.jpeg <= 100:
            raise ValueError(f'degradation: got JPEG quality {self.jpeg}, expected 1 to 100')

    @classmethod
    def parse(cls, text: str) -> 'Degradation':
        """Read the written form, such as `pix:8:centre@3,5`, `blur:1.5+jpeg:75` or `unknown`.

        Raises:
            ValueError: what was got, and the forms that exist.
        """
        number = r'(\d{1,4}(?:\.\d{1,6})?)'
        match = re.fullmatch(
            rf'(?:(unknown|none)|pix:(\d{{1,4}}):(mean|centre)(?:@(\d{{1,6}}),(\d{{1,6}}))?|(blur|noise):{number})(?:\+jpeg:(\d{{1,3}}))?',
            text.strip(),
        )
        if not match:
            raise ValueError(f'degradation: got {text[:60]!r}, expected {FORM}')
        plain, block, pool, row, column, kind, sigma, jpeg = match.groups()
        jpeg = int(jpeg or 0)
        if plain:
            return cls(plain, jpeg=jpeg)
        if kind:
            return cls(kind, sigma=float(sigma), jpeg=jpeg)
        if row is None:
            return cls('pix', block=int(block), pool=pool, jpeg=jpeg)
        return cls(
            'pix',
            block=int(block),
            pool=pool,
            anchor=('offset', 'offset'),
            offset=(int(row), int(column)),
            jpeg=jpeg,
        )

    def __str__(self) -> str:
        text = self.kind
        if self.kind == 'pix':
            place = (
                f'@{self.offset[0]},{self.offset[1]}' if self.anchor == ('offset', 'offset') else ''
            )
            text += f':{self.block}:{self.pool}{place}'
        elif self.kind in ('blur', 'noise'):
            text += f':{self.sigma:g}'
        return text + (f'+jpeg:{self.jpeg}' if self.jpeg else '')

    @property
    def variance(self) -> float:
        """Of y's error besides noise, in square grey levels: rounding's is 1/12; JPEG's error is 4
        grey levels at quality 75, roughly.
        """
        return 1 / 12 + (0.15 * (100 - self.jpeg)) ** 2 * (self.jpeg > 0)

    def vector(self) -> np.ndarray:
        """Return the float32 vector of FIELDS."""
        values = {
            self.kind: 1,
            'block': self.block,
            'centre': self.pool == 'centre',
            'sigma': self.sigma,
            'jpeg': self.jpeg,
        }
        values.update(
            {f'anchor_{axis}': ANCHORS.index(anchor) for axis, anchor in zip('yx', self.anchor)}
        )
        values.update({f'offset_{axis}': offset for axis, offset in zip('yx', self.offset)})
        values.update(
            {
                f'edge_{side}': edge
                for side, edge in zip(('top', 'left', 'bottom', 'right'), self.edges)
            }
        )
        return np.array([values.get(name, 0) for name in FIELDS], np.float32)

    @classmethod
    def from_vector(cls, vector: Sequence[float]) -> 'Degradation':
        """Read the vector of FIELDS.

        Raises:
            ValueError: it has another length, or no kind.
        """
        if len(vector) != len(FIELDS):
            raise ValueError(
                f'degradation: got a vector of {len(vector)} numbers, expected {len(FIELDS)}'
            )
        values = dict(zip(FIELDS, (float(value) for value in vector)))
        kinds = [kind for kind in KINDS if values[kind] == 1]
        if len(kinds) != 1:
            raise ValueError(
                f'degradation: got a vector with the kinds {kinds}, expected exactly one'
            )
        return cls(
            kinds[0],
            block=int(values['block']),
            pool=POOLS[int(values['centre'])],
            anchor=(ANCHORS[int(values['anchor_y'])], ANCHORS[int(values['anchor_x'])]),
            offset=(int(values['offset_y']), int(values['offset_x'])),
            sigma=values['sigma'],
            jpeg=int(values['jpeg']),
            edges=(
                values['edge_top'] == 1,
                values['edge_left'] == 1,
                values['edge_bottom'] == 1,
                values['edge_right'] == 1,
            ),
        )

    def cropped(
        self, mask: np.ndarray, top: int, left: int, height: int, width: int
    ) -> 'Degradation':
        """Return what holds in a crop of an image with this mask (h, w) bool.

        Where the crop cuts the only region, a block grid that begins at its box is given by its
        offset. If there are several regions, or the crop's part of the region does not show where
        the box ends, the crop's degradation is `unknown`.
        """
        inside = self.seen_from(top, left, top + height, left + width, mask.shape)
        if self.kind != 'pix' or self.anchor == ('offset', 'offset'):
            return inside
        boxes = regions(mask)[1]
        cut = [
            box
            for box in boxes
            if box[0] < top or box[1] < left or box[2] > top + height or box[3] > left + width
        ]
        if not cut:
            return inside
        box, moved = boxes[0], (top, left)
        rows, columns = np.nonzero(mask[top : top + height, left : left + width])
        seen = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) if len(rows) else ()
        ends = (
            max(box[0] - top, 0),
            max(box[1] - left, 0),
            min(box[2] - top, height),
            min(box[3] - left, width),
        )
        if len(boxes) > 1 or seen != ends:  # nobody could tell from the crop where the box ends
            return Degradation(jpeg=self.jpeg, edges=inside.edges)
        row, column = (
            {'start': box[axis], 'end': box[axis + 2]}.get(self.anchor[axis], self.offset[axis])
            - moved[axis]
            for axis in (0, 1)
        )
        return replace(inside, anchor=('offset and box', 'offset and box'), offset=(row, column))

    def seen_from(
        self, top: int, left: int, bottom: int, right: int, shape: tuple[int, int]
    ) -> 'Degradation':
        """Return what holds in a part of an array of this shape (h, w) that cuts no region."""
        inside = (top == 0, left == 0, bottom == shape[0], right == shape[1])
        edges = [mine and here for mine, here in zip(self.edges, inside)]
        offset = (self.offset[0] - top, self.offset[1] - left)
        return replace(self, edges=(edges[0], edges[1], edges[2], edges[3]), offset=offset)

    def flipped(self, axis: int, length: int) -> 'Degradation':
        """Return what holds after a flip along an axis (0: top to bottom, 1: left to right) of
        `length` pixels.
        """
        edges, anchor, offset = list(self.edges), list(self.anchor), list(self.offset)
        edges[axis], edges[axis + 2] = edges[axis + 2], edges[axis]
        anchor[axis] = {'start': 'end', 'end': 'start'}.get(anchor[axis], anchor[axis])
        offset[axis] = length - offset[axis]
        top, left, bottom, right = edges
        return replace(
            self,
            edges=(top, left, bottom, right),
            anchor=(anchor[0], anchor[1]),
            offset=(offset[0], offset[1]),
        )

    def transposed(self) -> 'Degradation':
        """Return what holds after rows and columns are exchanged."""
        (top, left, bottom, right), (y, x) = self.edges, self.anchor
        edges, offset = (left, top, right, bottom), (self.offset[1], self.offset[0])
        return replace(self, edges=edges, anchor=(x, y), offset=offset)


UNKNOWN = Degradation()


def regions(mask: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """Label the 8-connected regions of a mask (h, w) bool: labels (h, w), 0 outside; and (top,
    left, bottom, right) of label 1, 2, ...
    """
    import cv2  # here, so that importing this module loads torch and numpy alone

    _, labels, boxes, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(mask, dtype=np.uint8), connectivity=8
    )
    return labels, [(int(y), int(x), int(y + h), int(x + w)) for x, y, w, h in boxes[1:, :4]]


# Blocks
# -------------------------------------------------------------------------------------------------------------------------------


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
        """Means of values (c, pixels) over each equation's terms, or over some of them -> (c,
        equations), and their numbers.
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
    """First and last + 1 pixel of each block that covers low .. high of an array of `length`, and
    whether its equation holds there.
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
    """The equations of one region: for each (rows, columns of its terms, its own pixels' first, the
    block's limits).
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


def _flat(image: Tensor) -> Tensor:
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
        variance: (b,) of the colours, in square grey levels.
        w: (b, 1, 1, 1), as in `Equations.solve`: a shift of 1 / (1 + w) of the way; None: all of
            it.
    """
    if not len(blocks.colour):
        return z
    flat = _flat(z)
    mean, count = blocks.mean(flat)
    _, free = blocks.mean(flat, blocks.inside)
    image = blocks.colour // (z.shape[2] * z.shape[3])
    damped = free + (count.square() - free.square()) * variance.to(free)[image] / DOUBT**2
    shift = (_flat(y)[:, blocks.colour] - mean) * (count / damped)
    if w is not None:
        shift = shift / (1 + w.reshape(-1)[image])
    member, group = blocks.member[blocks.inside], blocks.group[blocks.inside]
    flat = flat.index_add(1, member, shift[:, group])
    return flat.reshape(z.shape[1], z.shape[0], *z.shape[2:]).transpose(0, 1)


# Blur
# ---------------------------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def blur_matrix(
    length: int, sigma: float, low_edge: bool = True, high_edge: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix (length, length) of a Gaussian blur along one side, float64, and whether
    each row's equation holds.

    The kernel is cut at ceil(4 sigma), normalised, and mirrored at the ends (REFLECT_101). Where an
    end is no edge of the image, rows whose kernel leaves the array do not hold.
    """
    reach = int(np.ceil(4 * sigma))
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    place = np.arange(length)[:, None] + np.arange(-reach, reach + 1)
    period = max(1, 2 * (length - 1))
    mirrored = (
        np.abs((place + length - 1) % period - (length - 1)) if length > 1 else np.zeros_like(place)
    )
    matrix = np.zeros((length, length))
    np.add.at(matrix, (np.arange(length)[:, None], mirrored), kernel)
    rows = np.arange(length)
    holds = ((rows >= reach) | low_edge) & ((rows < length - reach) | high_edge)
    return matrix, holds


class Blur(NamedTuple):
    """The blurs of a batch: matrices along columns (b, h, h) and rows (b, w, w), and which
    equations hold (b, 1, h, w).
    """

    vertical: Tensor
    horizontal: Tensor
    holds: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Blur (b, c, h, w)."""
        return self.vertical[:, None] @ x @ self.horizontal[:, None].mT

    def adjoint(self, x: Tensor) -> Tensor:
        """Apply the transpose, which is not the blur itself at the image's edge."""
        return self.vertical[:, None].mT @ x @ self.horizontal[:, None]


def find_blur(mask: Tensor, degradations: Sequence[Degradation], dtype: torch.dtype) -> Blur:
    """Find the blurs of a batch in which every image is blurred; mask (b, 1, h, w)."""
    height, width = mask.shape[2:]
    parts = [
        (
            *blur_matrix(height, d.sigma, d.edges[0], d.edges[2]),
            *blur_matrix(width, d.sigma, d.edges[1], d.edges[3]),
        )
        for d in degradations
    ]
    vertical, rows, horizontal, columns = (
        torch.from_numpy(np.stack(part)).to(mask.device) for part in zip(*parts)
    )
    holds = (rows[:, None, :, None] & columns[:, None, None, :] & (mask > 0)).to(dtype)
    return Blur(vertical.to(dtype), horizontal.to(dtype), holds)


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    right: Tensor,
    tolerance: float,
    most: int,
    preconditioner: Callable[[Tensor], Tensor] = lambda residual: residual,
) -> Tensor:
    """Solve apply(x) = right for symmetric positive `apply`, each image and channel by itself.

    Args:
        right: (b, c, h, w).
        tolerance: of the residual's norm, in the preconditioner's metric, relative to that of
            `right`.
        most: iterations.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dim=(2, 3), keepdim=True)

    tiny = torch.finfo(right.dtype).tiny
    x, residual = torch.zeros_like(right), right
    direction = preconditioner(residual)
    rho = dot(residual, direction)
    goal = tolerance**2 * rho
    for _ in range(most):
        if bool((rho <= goal).all()):
            break
        product = apply(direction)
        curvature = dot(direction, product)
        going = (rho > goal) & (curvature > tiny)  # what rounding alone has left has no direction
        alpha = torch.where(going, rho / torch.where(going, curvature, 1), 0)
        x, residual = x + alpha * direction, residual - alpha * product
        better = preconditioner(residual)
        new = dot(residual, better)
        direction = better + torch.where(going, new / torch.where(going, rho, 1), 0) * direction
        rho = torch.where(going, new, 0)
    return x


class _SolveBlur(torch.autograd.Function):
    """x = z + S A'(y - A z) inside R, S = (A'A + w)^-1, A with the rows that hold.

    Both gradients need S once: dx/dz = w S, dx/dw = -S (x - z).
    """

    @staticmethod
    def forward(
        ctx,
        z: Tensor,
        y: Tensor,
        w: Tensor,
        region: Tensor,
        vertical: Tensor,
        horizontal: Tensor,
        holds: Tensor,
    ) -> Tensor:
        blur = Blur(vertical, horizontal, holds)
        tolerance = 1e-5 if z.dtype == torch.float32 else 1e-13

        def normal(x: Tensor) -> Tensor:
            return region * blur.adjoint(holds * blur(x)) + w * x

        x = torch.where(region > 0, z, y)
        change = conjugate_gradients(
            normal, region * blur.adjoint(holds * (y - blur(x))), tolerance, MOST
        )
        ctx.normal, ctx.tolerance, ctx.region = normal, tolerance, region
        ctx.save_for_backward(w, change)
        return x + change

    @staticmethod
    def backward(ctx, gradient: Tensor):
        w, change = ctx.saved_tensors
        solved = conjugate_gradients(ctx.normal, ctx.region * gradient, ctx.tolerance, MOST)
        return (
            w * solved,
            None,
            -(solved * change).sum(dim=(1, 2, 3), keepdim=True),
            None,
            None,
            None,
            None,
        )


# All of them
# --------------------------------------------------------------------------------------------------------------------------


def degradations_of(vectors: Tensor | None, batch: int) -> list[Degradation]:
    """The degradations of a batch (b, len(FIELDS)), or `unknown` for each where there are none."""
    if vectors is None:
        return [UNKNOWN] * batch
    if vectors.ndim != 2 or len(vectors) != batch:
        raise ValueError(
            f'degradation has shape {tuple(vectors.shape)}; expected ({batch}, {len(FIELDS)}): one vector for each image'
        )
    return [Degradation.from_vector(vector) for vector in vectors.tolist()]


class Equations:
    """The equations of a batch, prepared once and solved at each step.

    Args:
        y: (b, c, h, w) in [0, 1], the degraded images.
        mask: (b, 1, h, w); above 0 is R.
        degradations: one for each image.
        weigh_rounding: weigh the rounding error of a block's colour (see `solve_blocks`), instead
            of taking it for exact.
    """

    def __init__(
        self,
        y: Tensor,
        mask: Tensor,
        degradations: Sequence[Degradation],
        weigh_rounding: bool = True,
    ) -> None:
        self.y, self.mask, self.degradations = y, mask > 0, degradations
        self.rows = {
            kind: [i for i, d in enumerate(degradations) if d.kind == kind] for kind in KINDS
        }
        self.blocks = find_blocks(mask, degradations)
        blurred = self.rows['blur']
        self.blur = (
            find_blur(mask[blurred], [degradations[i] for i in blurred], y.dtype)
            if blurred
            else None
        )
        jpeg = torch.tensor([d.jpeg > 0 for d in degradations], device=y.device)
        self.jpeg = jpeg.view(-1, 1, 1, 1)
        self.variance = torch.tensor(
            [d.variance if weigh_rounding else 0 for d in degradations],
            dtype=y.dtype,
            device=y.device,
        )

    def known(self) -> Tensor:
        """(b, 1, h, w): how far y tells a pixel of R: 1 / (number of pixels that it averages), for
        pool `centre`; else 0.
        """
        known = torch.zeros_like(self.y[:, :1]).reshape(-1)
        if len(self.blocks.colour):
            count = torch.bincount(self.blocks.group, minlength=len(self.blocks.colour))
            centre = torch.tensor(
                [d.pool == 'centre' for d in self.degradations], device=known.device
            )
            pixels = self.y.shape[2] * self.y.shape[3]
            value = centre[self.blocks.colour // pixels] / count
            inside = self.blocks.inside
            known = known.index_add(
                0, self.blocks.member[inside], value[self.blocks.group[inside]].to(known.dtype)
            )
        return known.view_as(self.y[:, :1])

    def solve(self, z: Tensor, w: Tensor) -> Tensor:
        """Return the images nearest to z (b, c, h, w) that agree with the equations; outside R they
        are y.

        Args:
            z: the estimates.
            w: (b, 1, 1, 1) > 0, the equation's noise variance over the variance of z's error.
                Pixelization is exact and ignores it, unless JPEG follows.
        """
        x = torch.where(self.mask, z, self.y)
        x = solve_blocks(x, self.y, self.blocks, self.variance, torch.where(self.jpeg, w, 0))
        for kind in ('blur', 'noise', 'none'):
            rows = self.rows[kind]
            if not rows or (kind == 'none' and bool(self.jpeg[rows].all())):
                continue
            if kind == 'blur':
                assert self.blur is not None
                region = self.mask[rows].to(x.dtype)
                part = _SolveBlur.apply(x[rows], self.y[rows], w[rows], region, *self.blur)
            elif kind == 'noise':
                part = torch.where(
                    self.mask[rows],
                    (w[rows] * x[rows] + self.y[rows]) / (w[rows] + 1),
                    self.y[rows],
                )
            else:
                exact = ~self.jpeg[rows]
                part = torch.where(exact, self.y[rows], x[rows])
            x = x.index_copy(0, torch.tensor(rows, device=x.device), part)
        return x

    @torch.no_grad()
    def start(self) -> Tensor:
        """Return a first estimate: pixelized regions interpolated smoothly, blurred ones deblurred,
        others y.
        """
        x, rows = self.y, self.rows['blur']
        if rows:
            assert self.blur is not None
            sharp = deblurred(
                self.y[rows], self.mask[rows], self.blur, [self.degradations[i] for i in rows]
            )
            x = x.index_copy(0, torch.tensor(rows, device=x.device), sharp)
        rows = self.rows['pix']
        if rows:
            blocks = find_blocks(
                self.mask[rows].to(self.y.dtype), [self.degradations[i] for i in rows]
            )
            smooth = smoothest(self.y[rows], self.mask[rows], blocks, self.variance[rows])
            x = x.index_copy(0, torch.tensor(rows, device=x.device), smooth)
        return x


def solve(
    z: Tensor, y: Tensor, mask: Tensor, degradations: Sequence[Degradation], w: Tensor
) -> Tensor:
    """Return the images nearest to z that agree with the equations of y; see `Equations`. A block's
    colour is taken for exact.
    """
    return Equations(y, mask, degradations, weigh_rounding=False).solve(z, w)


@functools.lru_cache(maxsize=64)
def _cosines(length: int) -> tuple[np.ndarray, np.ndarray]:
    """The orthonormal DCT-II matrix and the Laplacian's eigenvalues along one side."""
    k, n = np.arange(length)[:, None], np.arange(length)
    matrix = np.cos(np.pi * k * (2 * n + 1) / (2 * length)) * np.sqrt(2 / length)
    matrix[0] /= np.sqrt(2)
    return matrix, 2 - 2 * np.cos(np.pi * np.arange(length) / length)


class Prior:
    """A Gaussian process over an array of pixels: its precision is the Laplacian to the power
    SMOOTHNESS, mirrored at the array's sides.

    Neighbouring pixels differ by 1 (root mean square).
    """

    def __init__(self, like: Tensor) -> None:
        (vertical, rows), (horizontal, columns) = (_cosines(length) for length in like.shape[2:])
        self.vertical, self.horizontal = (
            torch.from_numpy(matrix).to(like) for matrix in (vertical, horizontal)
        )
        laplacian = rows[:, None] + columns
        self.laplacian = torch.from_numpy(laplacian).to(like)
        spectrum = np.divide(
            1, laplacian**SMOOTHNESS, out=np.zeros_like(laplacian), where=laplacian > 0
        )
        axes = sum(length > 1 for length in like.shape[2:])
        scale = SHARPNESS * (spectrum * laplacian).mean() / axes if axes else 1.0
        self.precision = torch.from_numpy(scale * laplacian**SMOOTHNESS).to(like)
        self.least = scale * (2 / max(like.shape[2:])) ** (2 * SMOOTHNESS)

    def filter(self, x: Tensor, spectrum: Tensor) -> Tensor:
        """Multiply the cosine transform of x (b, c, h, w) by a spectrum (h, w) or (b, 1, h, w)."""
        return (
            self.vertical.mT
            @ (spectrum * (self.vertical @ x @ self.horizontal.mT))
            @ self.horizontal
        )


@torch.no_grad()
def smoothest(y: Tensor, mask: Tensor, blocks: Blocks, variance: Tensor) -> Tensor:
    """Return the mean of the prior, given the blocks' equations and y outside R.

    Args:
        y: (b, c, h, w) in [0, 1]; mask: (b, 1, h, w) bool; blocks: of these images; variance: see
            `solve_blocks`.
    """
    prior = Prior(y)

    def agree(x: Tensor) -> Tensor:
        """The part of a change that keeps what lies outside R and every block's mean."""
        x = x * mask
        flat = _flat(x)
        if not len(blocks.colour):
            return x
        mean, _ = blocks.mean(flat, blocks.inside)
        member, group = blocks.member[blocks.inside], blocks.group[blocks.inside]
        return (
            flat.index_add(1, member, -mean[:, group])
            .reshape(x.shape[1], x.shape[0], *x.shape[2:])
            .transpose(0, 1)
        )

    x = solve_blocks(y, y, blocks, variance)
    change = conjugate_gradients(
        lambda v: agree(prior.filter(v, prior.precision)),
        agree(-prior.filter(x, prior.precision)),
        tolerance=1e-3,
        most=40,
        preconditioner=lambda v: agree(prior.filter(v, 1 / (prior.precision + prior.least))),
    )
    return (x + change).clamp(0, 1)


@torch.no_grad()
def deblurred(y: Tensor, mask: Tensor, blur: Blur, degradations: Sequence[Degradation]) -> Tensor:
    """Return the mean of the prior, given the blurred y inside R, rounded to 8 bits or compressed,
    and y outside R.
    """
    prior = Prior(y)
    given, y = y, _mixed(y, COLOURS)
    noise = torch.tensor([d.variance / 255**2 for d in degradations]).to(y).view(-1, 1, 1, 1)
    variance = noise / _neighbours(y, ~mask).clamp(min=noise)
    sigma = torch.tensor([d.sigma for d in degradations]).to(y).view(-1, 1, 1, 1)
    inverse = 1 / (
        torch.exp(-(sigma**2) * prior.laplacian) + variance * (prior.precision + prior.least)
    )

    def normal(x: Tensor) -> Tensor:
        return mask * (
            blur.adjoint(blur.holds * blur(x)) + variance * prior.filter(x, prior.precision)
        )

    change = conjugate_gradients(
        normal,
        mask * blur.adjoint(blur.holds * (y - blur(y)))
        - mask * variance * prior.filter(y, prior.precision),
        tolerance=1e-3,
        most=60,
        preconditioner=lambda v: mask * prior.filter(v, inverse),
    )
    return given + mask * (_mixed(y + change, COLOURS.T).clamp(0, 1) - given)


# Brightness and two differences, in which the channels of photographs are nearly independent.
COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])


def _mixed(image: Tensor, matrix: np.ndarray) -> Tensor:
    """Mix the channels of (b, 3, h, w) by a matrix; others than three stay as they are."""
    return (
        torch.einsum('ij,bjhw->bihw', torch.from_numpy(matrix).to(image), image)
        if image.shape[1] == 3
        else image
    )


def _neighbours(image: Tensor, known: Tensor) -> Tensor:
    """The mean square difference of neighbouring known pixels, (b, c, 1, 1)."""
    total = count = torch.zeros((), dtype=image.dtype, device=image.device)
    for axis in (2, 3):
        both = known.narrow(axis, 1, known.shape[axis] - 1) & known.narrow(
            axis, 0, known.shape[axis] - 1
        )
        total = total + (image.diff(dim=axis).square() * both).sum(dim=(2, 3), keepdim=True)
        count = count + both.sum(dim=(2, 3), keepdim=True)
    return total / count.clamp(min=1)
