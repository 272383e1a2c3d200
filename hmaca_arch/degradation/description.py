"""Describe a degradation: as text, in a crop, and as the vector that travels to the network."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from hmaca_arch.degradation.kernels import Kernel, add_kernel, kernel_of
from hmaca_arch.degradation.shapes import FORM as SHAPES
from hmaca_arch.degradation.shapes import is_shape, read_shape

KINDS = ('unknown', 'none', 'pix', 'blur', 'noise', 'kernel')
LARGEST_SIGMA = {'blur': 100, 'noise': 255}  # pixels, and grey levels
POOLS = ('mean', 'centre')
# Where a block grid begins: at the top or left of a region's box, at its bottom or right, or at
# `offset`. Blocks are cut at the box, except with `offset`, where they are whole.
ANCHORS = ('start', 'end', 'offset', 'offset and box')
# The vector's layout, here and nowhere else. `edge_*`: 1 where that side of the array is a side of
# the image, 0 where a crop cut it. `kernel_*`: the kernel's number.
SIDES = ('top', 'left', 'bottom', 'right')
FIELDS = (
    *KINDS,
    *('block', 'centre', 'anchor_y', 'anchor_x', 'offset_y', 'offset_x', 'sigma', 'jpeg'),
    *(f'edge_{side}' for side in SIDES),
    *('kernel_high', 'kernel_low'),
)
FORM = (
    f'pix:BLOCK:mean, pix:BLOCK:centre@Y,X, blur:SIGMA, {SHAPES}, noise:SIGMA, none or unknown, '
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
        kernel: what blurred the image (kernel).
    """

    kind: str = 'unknown'
    block: int = 0
    pool: str = 'mean'
    anchor: tuple[str, str] = ('start', 'start')
    offset: tuple[int, int] = (0, 0)
    sigma: float = 0.0
    jpeg: int = 0
    edges: tuple[bool, bool, bool, bool] = (True, True, True, True)
    kernel: Kernel | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f'degradation: got {self.kind!r}, expected {FORM}')
        if self.kind == 'pix' and not (self.block >= 1 and self.pool in POOLS):
            raise ValueError(
                f'degradation: got block {self.block} and pool {self.pool!r}, expected at '
                'least 1, and mean or centre'
            )
        if self.kind == 'blur' and not 0 < self.sigma <= LARGEST_SIGMA['blur']:
            raise ValueError(
                f'degradation: got blur sigma {self.sigma}, expected more than 0 and at most '
                '100 pixels'
            )
        if self.kind == 'noise' and not 0 <= self.sigma <= LARGEST_SIGMA['noise']:
            raise ValueError(
                f'degradation: got noise sigma {self.sigma}, expected 0 to 255 grey levels'
            )
        if (self.kind == 'kernel') != (self.kernel is not None):
            raise ValueError(f'degradation: got {self.kind} and {self.kernel}, expected a kernel')
        if self.kernel is not None:
            add_kernel(self.kernel)
        if not 0 <= self.jpeg <= 100:
            raise ValueError(f'degradation: got JPEG quality {self.jpeg}, expected 1 to 100')

    @classmethod
    def parse(cls, text: str) -> 'Degradation':
        """Read the written form, such as `pix:8:centre@3,5`, `blur:1.5+jpeg:75` or `unknown`.

        It reads no files, so it is safe for text from strangers. `kernel:FILE` is read by
        `kernel_files.read_degradation`.

        Raises:
            ValueError: what was got, and the forms that exist.
        """
        number = r'(\d{1,4}(?:\.\d{1,6})?)'
        match = re.fullmatch(
            r'(?:(unknown|none)|pix:(\d{1,4}):(mean|centre)(?:@(\d{1,6}),(\d{1,6}))?|'
            rf'(blur|noise):{number}|((?:disc|box):[^+]*))(?:\+jpeg:(\d{{1,3}}))?',
            text.strip(),
        )
        if not match:
            raise ValueError(f'degradation: got {text[:60]!r}, expected {FORM}')
        plain, block, pool, row, column, kind, sigma, shape, jpeg = match.groups()
        jpeg = int(jpeg or 0)
        if plain:
            return cls(plain, jpeg=jpeg)
        if kind:
            return cls(kind, sigma=float(sigma), jpeg=jpeg)
        if shape:
            kernel = read_shape(shape)
            if kernel is None:
                raise ValueError(f'degradation: got {text[:60]!r}, expected {FORM}')
            return cls('kernel', kernel=kernel, jpeg=jpeg)
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
        elif self.kernel is not None:
            text = self.kernel.name if is_shape(self.kernel) else f'kernel:{self.kernel.name}'
        return text + (f'+jpeg:{self.jpeg}' if self.jpeg else '')

    @property
    def variance(self) -> float:
        """The variance of y's error besides noise, in square grey levels.

        Rounding's is 1/12. JPEG's error is 4 grey levels at quality 75, roughly.
        """
        return 1 / 12 + (0.15 * (100 - self.jpeg)) ** 2 * (self.jpeg > 0)

    def vector(self) -> np.ndarray:
        """Return the float32 vector of FIELDS."""
        values: dict[str, float] = {self.kind: 1, 'block': self.block}
        values |= {'centre': self.pool == 'centre', 'sigma': self.sigma, 'jpeg': self.jpeg}
        for axis, anchor, offset in zip('yx', self.anchor, self.offset):
            values |= {f'anchor_{axis}': ANCHORS.index(anchor), f'offset_{axis}': offset}
        values |= {f'edge_{side}': edge for side, edge in zip(SIDES, self.edges)}
        if self.kernel is not None:
            add_kernel(self.kernel)  # this object may come from another process
            values['kernel_high'], values['kernel_low'] = self.kernel.number
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
        top, left, bottom, right = (values[f'edge_{side}'] == 1 for side in SIDES)
        number = (int(values['kernel_high']), int(values['kernel_low']))
        return cls(
            kinds[0],
            block=int(values['block']),
            pool=POOLS[int(values['centre'])],
            anchor=(ANCHORS[int(values['anchor_y'])], ANCHORS[int(values['anchor_x'])]),
            offset=(int(values['offset_y']), int(values['offset_x'])),
            sigma=values['sigma'],
            jpeg=int(values['jpeg']),
            edges=(top, left, bottom, right),
            kernel=kernel_of(number) if kinds[0] == 'kernel' else None,
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
        first = (max(box[0] - top, 0), max(box[1] - left, 0))
        last = (min(box[2] - top, height), min(box[3] - left, width))
        if len(boxes) > 1 or seen != (
            *first,
            *last,
        ):  # nobody could tell from the crop where the box ends
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
        """Return what holds after a flip along an axis of `length` pixels.

        Axis 0 is turned top to bottom, axis 1 left to right.
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
            kernel=self.kernel and self.kernel.flipped(axis),
        )

    def transposed(self) -> 'Degradation':
        """Return what holds after rows and columns are exchanged."""
        (top, left, bottom, right), (y, x) = self.edges, self.anchor
        edges, offset = (left, top, right, bottom), (self.offset[1], self.offset[0])
        kernel = self.kernel and self.kernel.transposed()
        return replace(self, edges=edges, anchor=(x, y), offset=offset, kernel=kernel)


UNKNOWN = Degradation()


def regions(mask: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """Label the 8-connected regions of a mask (h, w) bool.

    Returns:
        Labels (h, w), 0 outside; and (top, left, bottom, right) of label 1, 2, ...
    """
    import cv2  # here, so that importing this module loads torch and numpy alone

    _, labels, boxes, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(mask, dtype=np.uint8), connectivity=8
    )
    return labels, [(int(y), int(x), int(y + h), int(x + w)) for x, y, w, h in boxes[1:, :4]]


def degradations_of(vectors: Tensor | None, batch: int) -> list[Degradation]:
    """Return the degradations of a batch (b, len(FIELDS)); None: all are unknown."""
    if vectors is None:
        return [UNKNOWN] * batch
    if vectors.ndim != 2 or len(vectors) != batch:
        raise ValueError(
            f'degradation has shape {tuple(vectors.shape)}; expected ({batch}, {len(FIELDS)}): '
            'one vector for each image'
        )
    return [Degradation.from_vector(vector) for vector in vectors.tolist()]
