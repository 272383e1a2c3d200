"""Classical methods of restoring a region, to set networks against: what can be had without
learning.

Every method takes lq (h, w, 3) float32 in [0, 1] and mask (h, w) bool, True = restore, and returns
a picture of lq's shape and type that counts inside the mask only: composite it. Some are told the
degradation, which no network here is: the side of the blocks, the blur's sigma, the noise's
standard deviation (in grey levels of 255). `METHODS` says which method is for what.

The other constants were chosen on 107 training pictures (every tenth of horse2zebra's trainA),
protocol `clean`, by composite PSNR.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import distance_transform_edt
from skimage.measure import label, regionprops
from skimage.restoration import denoise_nl_means

# pixels: how far around a region pixels are known points of radial-basis interpolation (its 8
# neighbours)
RING = 1.5
POINTS, NEIGHBOURS = (
    1000,
    64,
    # of more points than this, each pixel is interpolated from so many nearest ones: no loss, bounded
    # cost
)
REACH = 4  # standard deviations at which a Gaussian is cut off, as in making the data


def block_starts(side: int, block: int, centred: bool) -> np.ndarray:
    """Where the blocks of one axis begin, in pixels from the corner of the region's bounding box.

    centred: only whole blocks, in the box's middle (what protocol `release`'s halving leaves of its
    4 cells a side); otherwise they begin at the corner, and the last is cut short.
    """
    count = max(1, side // block)
    return (
        (side - count * block) / 2 + block * np.arange(count)
        if centred
        else np.arange(0.0, side, block)
    )


def block_grids(
    lq: np.ndarray, mask: np.ndarray, block: int, centred: bool
) -> list[tuple[np.ndarray, ...]]:
    """The blocks of each connected region.

    Returns:
        For each: (rows,) and (columns,) of their centres in pixels; their colours (rows, columns,
        3), taken at the pixel nearest to the centre; and (rows, columns) bool, whether that pixel
        is the region's.
    """
    grids = []
    for region in regionprops(label(mask, connectivity=2)):
        top, left, bottom, right = region.bbox
        centres, nearest = [], []
        for start, end in ((top, bottom), (left, right)):
            begins = start + block_starts(end - start, block, centred)
            centres.append((begins + np.minimum(begins + block, end) - 1) / 2)
            nearest.append(np.clip(np.rint(centres[-1]), start, end - 1).astype(int))
        inside = region.image[np.ix_(nearest[0] - top, nearest[1] - left)]
        grids.append((*centres, lq[np.ix_(*nearest)], inside))
    return grids


def bicubic(lq: np.ndarray, mask: np.ndarray, *, block: int, centred: bool = False) -> np.ndarray:
    """Pixelization: each region's blocks as a small picture, enlarged by cubic interpolation;
    nothing around it is used.
    """
    result = lq.copy()
    for rows, columns, colours, _ in block_grids(lq, mask, block, centred):
        # OpenCV puts the centre of cell i at block * (i + 1/2) - 1/2, so the first centre says
        # where the enlarged picture begins
        top, left = (
            int(np.floor(centres[0] - (block - 1) / 2 + 0.5)) for centres in (rows, columns)
        )
        large = cv2.resize(colours, None, fx=block, fy=block, interpolation=cv2.INTER_CUBIC)
        large, top, left = (
            large[max(0, -top) :, max(0, -left) :],
            max(0, top),
            max(0, left),
        )  # a cut block may begin outside the picture
        part = result[top : top + large.shape[0], left : left + large.shape[1]]
        part[...] = np.where(
            mask[top:, left:][: part.shape[0], : part.shape[1], None],
            large[: part.shape[0], : part.shape[1]],
            part,
        )
    return np.clip(result, 0, 1)


def radial_basis(
    lq: np.ndarray, mask: np.ndarray, *, block: int, centred: bool = False
) -> np.ndarray:
    """Pixelization: linear radial-basis interpolation from the blocks' centres and from the ring of
    pixels around the region.
    """
    ring = (distance_transform_edt(~mask) <= RING) & ~mask
    points, colours = [np.argwhere(ring)], [lq[ring]]
    for rows, columns, cells, inside in block_grids(lq, mask, block, centred):
        points.append(
            np.stack(np.meshgrid(rows, columns, indexing='ij'), axis=-1)[inside]
        )  # no point comes twice
        colours.append(cells[inside])
    points, colours = np.concatenate(points), np.concatenate(colours)
    result = lq.copy()
    if (
        mask.any() and np.linalg.matrix_rank(points - points.mean(axis=0)) == 2
    ):  # not all on one line: a plane has three unknowns
        neighbours = NEIGHBOURS if len(points) > POINTS else None
        interpolate = RBFInterpolator(
            points, colours, neighbors=neighbours, kernel='linear', degree=1
        )
        result[mask] = interpolate(np.argwhere(mask))
    return np.clip(result, 0, 1)


def gaussian(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur as `datasets_ext.degradations.blur` has it: cut off at 4 sigma, mirrored at the
    picture's edge.
    """
    size = 2 * int(np.ceil(REACH * sigma)) + 1
    return cv2.GaussianBlur(picture, (size, size), float(sigma), borderType=cv2.BORDER_REFLECT_101)


def around(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The bounding box of a mask and `margin` pixels around it: what a method of that reach needs
    to see.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return tuple(
        slice(max(0, place[0] - margin), place[-1] + margin + 1) if len(place) else slice(0)
        for place in (rows, columns)
    )


def unsharp(lq: np.ndarray, mask: np.ndarray, *, sigma: float, amount: float = 2.0) -> np.ndarray:
    """Blur: lq + amount * (lq - blurred lq)."""
    return np.clip(lq + amount * (lq - gaussian(lq, sigma)), 0, 1)


def landweber(
    lq: np.ndarray, mask: np.ndarray, *, sigma: float, iterations: int = 200, step: float = 1.9
) -> np.ndarray:
    """Blur: Landweber's iteration x <- x + step * A'(lq - A x) for the Gaussian blur A, where x
    outside the region is known to be lq.

    It converges for steps below 2, and is stopped early: rounding to 8 bits is noise, which more
    iterations would enlarge.
    """
    box = around(mask, int(np.ceil(REACH * sigma)))
    known, inside = lq[box], mask[box][..., None]
    x = known
    for _ in range(iterations if known.size else 0):
        x = x + step * inside * gaussian(inside * (known - gaussian(x, sigma)), sigma)
    result = lq.copy()
    result[box] = x
    return np.clip(result, 0, 1)


def bilateral(lq: np.ndarray, mask: np.ndarray, *, sigma: float) -> np.ndarray:
    """Noise: OpenCV's bilateral filter, 7 pixels wide; its sigma of colours follows the noise's."""
    return cv2.bilateralFilter(lq, 7, 3.6 * sigma / 255, 2.0)


def non_local_means(lq: np.ndarray, mask: np.ndarray, *, sigma: float) -> np.ndarray:
    """Noise: scikit-image's non-local means; patches of 3x3 pixels, searched 5 pixels around."""
    patch, search = 3, 5
    box = around(mask, patch // 2 + search)
    result = lq.copy()
    if result[box].size:
        noise = sigma / 255
        result[box] = denoise_nl_means(
            lq[box], patch, search, h=1.2 * noise, sigma=noise, fast_mode=False, channel_axis=2
        )
    return np.clip(result, 0, 1)


def inpaint(lq: np.ndarray, mask: np.ndarray, *, flags: int) -> np.ndarray:
    """OpenCV's inpainting, which sees nothing of the region (8 bits)."""
    eight_bits = np.rint(lq * 255).astype(np.uint8)
    return cv2.inpaint(eight_bits, mask.astype(np.uint8), 3, flags).astype(np.float32) / 255


def telea(lq: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Any degradation: Telea's inpainting."""
    return inpaint(lq, mask, flags=cv2.INPAINT_TELEA)


def navier_stokes(lq: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Any degradation: inpainting by the Navier-Stokes equations."""
    return inpaint(lq, mask, flags=cv2.INPAINT_NS)


@dataclass(frozen=True)
class Method:
    """A method, the degradation that it is for (None: any), and which of that degradation's
    parameters it is told.
    """

    title: str
    run: Callable[..., np.ndarray]
    degradation: str | None = None
    told: tuple[str, ...] = ()

    def __call__(self, lq: np.ndarray, mask: np.ndarray, known: Mapping[str, Any]) -> np.ndarray:
        """Restore; of what is `known` of the degradation the method gets what it is to be told."""
        return self.run(lq, mask, **{name: known[name] for name in self.told})


METHODS = {
    'bicubic': Method('bicubic from block centres', bicubic, 'pix', ('block', 'centred')),
    'radial-basis': Method(
        'radial-basis from block centres', radial_basis, 'pix', ('block', 'centred')
    ),
    'unsharp': Method('unsharp mask', unsharp, 'blur', ('sigma',)),
    'landweber': Method('Landweber deblurring', landweber, 'blur', ('sigma',)),
    'bilateral': Method('bilateral filter', bilateral, 'noise', ('sigma',)),
    'non-local-means': Method('non-local means', non_local_means, 'noise', ('sigma',)),
    'telea': Method('Telea inpainting', telea),
    'navier-stokes': Method('Navier-Stokes inpainting', navier_stokes),
}


def known_of(record: Mapping[str, Any], protocol: str, side: int) -> dict[str, Any]:
    """What a manifest's record of one degradation tells the methods, in pixels of the working size
    and grey levels.

    Protocol `release` halves the picture afterwards: sigmas of blur halve, and white noise loses a
    factor of 0.3125, the sum of squares of the antialiased filter's weights (1, 3, 3, 1) / 8.

    Args:
        record: {'type': 'pix', 'block': 5, ...} and so on.
        protocol: `clean` or `release`.
        side: of the region, in pixels, before the picture is halved.
    """
    kind, release = record['type'], protocol == 'release'
    if kind == 'pix':
        block = max(1, round(side / record['cells'] / 2)) if release else record['block']
        return {'type': kind, 'block': block, 'centred': release}
    return {
        'type': kind,
        'sigma': record['sigma'] * ({'blur': 0.5, 'noise': 0.3125}[kind] if release else 1),
    }
