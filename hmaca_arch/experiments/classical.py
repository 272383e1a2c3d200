"""Classical methods of restoring a region, which no network should fall behind.

Every method takes lq (h, w, 3) float32 in [0, 1] and mask (h, w) bool, True = restore. It returns
an image of lq's shape and type of which only the region counts: composite it. Some methods need
parameters of the degradation, which no network here gets: the side of the blocks, the blur's sigma,
the noise's standard deviation (in grey levels of 255). `METHODS` lists which method is for what.

The other constants were chosen on 107 training images (every tenth of horse2zebra's trainA),
protocol `clean`, by composite PSNR.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import distance_transform_edt
from skimage.measure import label, regionprops
from skimage.restoration import denoise_nl_means

from hmaca_arch.degradation.pixels import REACH, gaussian
from hmaca_arch.restoring.regions import marked_box

RING = 1.5  # pixels around a region that radial-basis interpolation uses: the 8 neighbours
# With more than POINTS points each pixel is interpolated from the nearest NEIGHBOURS: no loss, and
# bounded cost.
POINTS, NEIGHBOURS = 1000, 64


def block_starts(side: int, block: int, centred: bool) -> np.ndarray:
    """Return where the blocks of one axis begin, in pixels from the region's bounding box.

    Args:
        side: of the box in pixels.
        block: side of a block in pixels.
        centred: only whole blocks, in the middle of the box, as protocol `release` leaves them of
            its 4 cells a side. Otherwise they begin at the corner, and the last is cut.
    """
    if not centred:
        return np.arange(0.0, side, block)
    count = max(1, side // block)
    return (side - count * block) / 2 + block * np.arange(count)


def block_grids(
    lq: np.ndarray, mask: np.ndarray, block: int, centred: bool
) -> list[tuple[np.ndarray, ...]]:
    """Find the blocks of each connected region.

    Returns:
        For each region: (rows,) and (columns,) of the blocks' centres in pixels; their colours
        (rows, columns, 3), taken at the pixel nearest to the centre; and (rows, columns) bool,
        whether that pixel belongs to the region.
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
    """Undo pixelization: enlarge each region's blocks, as a small image, by cubic interpolation."""
    result = lq.copy()
    for rows, columns, colours, _ in block_grids(lq, mask, block, centred):
        # OpenCV puts the centre of cell i at block * (i + 1/2) - 1/2, so the first centre gives
        # the corner of the enlarged image.
        top, left = (
            int(np.floor(centres[0] - (block - 1) / 2 + 0.5)) for centres in (rows, columns)
        )
        large = cv2.resize(colours, None, fx=block, fy=block, interpolation=cv2.INTER_CUBIC)
        large = large[max(0, -top) :, max(0, -left) :]  # a cut block may begin outside the image
        top, left = max(0, top), max(0, left)
        part = result[top : top + large.shape[0], left : left + large.shape[1]]
        height, width = part.shape[:2]
        inside = mask[top : top + height, left : left + width, None]
        part[...] = np.where(inside, large[:height, :width], part)
    return np.clip(result, 0, 1)


def radial_basis(
    lq: np.ndarray, mask: np.ndarray, *, block: int, centred: bool = False
) -> np.ndarray:
    """Undo pixelization: linear radial-basis interpolation from block centres and a ring of pixels.

    The ring surrounds the region.
    """
    ring = (distance_transform_edt(~mask) <= RING) & ~mask
    places, values = [np.argwhere(ring)], [lq[ring]]
    for rows, columns, cells, inside in block_grids(lq, mask, block, centred):
        # Only blocks of the region itself: another region's block may lie in this one's box.
        places.append(np.stack(np.meshgrid(rows, columns, indexing='ij'), axis=-1)[inside])
        values.append(cells[inside])
    points, colours = np.concatenate(places), np.concatenate(values)
    result = lq.copy()
    # Points on one line do not determine a plane.
    if mask.any() and np.linalg.matrix_rank(points - points.mean(axis=0)) == 2:
        neighbours = NEIGHBOURS if len(points) > POINTS else None
        interpolate = RBFInterpolator(
            points, colours, neighbors=neighbours, kernel='linear', degree=1
        )
        result[mask] = interpolate(np.argwhere(mask))
    return np.clip(result, 0, 1)


def around(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Return the bounding box of a mask (h, w) with `margin` pixels around it."""
    box = marked_box(mask)
    return (box.grown(margin, *mask.shape) if box.bottom else box).area


def unsharp(lq: np.ndarray, mask: np.ndarray, *, sigma: float, amount: float = 2.0) -> np.ndarray:
    """Sharpen a blurred image: lq + amount * (lq - blurred lq)."""
    return np.clip(lq + amount * (lq - gaussian(lq, sigma)), 0, 1)


def landweber(
    lq: np.ndarray, mask: np.ndarray, *, sigma: float, iterations: int = 200, step: float = 1.9
) -> np.ndarray:
    """Deblur by Landweber's iteration x <- x + step * A'(lq - A x) for the Gaussian blur A.

    Outside the region x is known to be lq. The iteration converges for steps below 2. It is stopped
    early, because further iterations would amplify the noise that rounding to 8 bits is.
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
    """Denoise by OpenCV's bilateral filter, 7 pixels wide; its colour sigma follows the noise's."""
    return cv2.bilateralFilter(lq, 7, 3.6 * sigma / 255, 2.0)


def non_local_means(lq: np.ndarray, mask: np.ndarray, *, sigma: float) -> np.ndarray:
    """Denoise by scikit-image's non-local means: 3x3 patches, searched 5 pixels around."""
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
    """Inpaint with OpenCV in 8 bits, which uses nothing of the region."""
    eight_bits = np.rint(lq * 255).astype(np.uint8)
    return cv2.inpaint(eight_bits, mask.astype(np.uint8), 3, flags).astype(np.float32) / 255


@dataclass(frozen=True)
class Method:
    """A classical method.

    Args:
        title: its row in the tables.
        function: (lq, mask, **parameters) -> the restored image.
        degradation: what it undoes; None: anything.
        needs: the parameters of the degradation that `function` takes.
    """

    title: str
    function: Callable[..., np.ndarray]
    degradation: str | None = None
    needs: tuple[str, ...] = ()

    def __call__(
        self, lq: np.ndarray, mask: np.ndarray, parameters: Mapping[str, Any]
    ) -> np.ndarray:
        """Restore, with those of the degradation's parameters that the method needs."""
        return self.function(lq, mask, **{name: parameters[name] for name in self.needs})


BLOCKS, SIGMA = ('block', 'centred'), ('sigma',)
METHODS = {
    'bicubic': Method('bicubic from block centres', bicubic, 'pix', BLOCKS),
    'radial-basis': Method('radial-basis from block centres', radial_basis, 'pix', BLOCKS),
    'unsharp': Method('unsharp mask', unsharp, 'blur', SIGMA),
    'landweber': Method('Landweber deblurring', landweber, 'blur', SIGMA),
    'bilateral': Method('bilateral filter', bilateral, 'noise', SIGMA),
    'non-local-means': Method('non-local means', non_local_means, 'noise', SIGMA),
    'telea': Method('Telea inpainting', partial(inpaint, flags=cv2.INPAINT_TELEA)),
    'navier-stokes': Method('Navier-Stokes inpainting', partial(inpaint, flags=cv2.INPAINT_NS)),
}


def parameters_of(record: Mapping[str, Any], protocol: str, side: int) -> dict[str, Any]:
    """Return a degradation's parameters as the methods take them.

    They are in pixels of the working size and in grey levels. Protocol `release` halves the image
    after the degradation. That halves the sigma of a blur, and multiplies that of white noise by
    0.3125, the sum of squares of the antialiased filter's weights (1, 3, 3, 1) / 8.

    Args:
        record: a manifest's record of one degradation, such as {'type': 'pix', 'block': 5, ...}.
        protocol: `clean` or `release`.
        side: of the region, in pixels, before the image is halved.
    """
    kind, release = record['type'], protocol == 'release'
    if kind == 'pix':
        block = max(1, round(side / record['cells'] / 2)) if release else record['block']
        return {'type': kind, 'block': block, 'centred': release}
    factor = {'blur': 0.5, 'noise': 0.3125}[kind] if release else 1
    return {'type': kind, 'sigma': record['sigma'] * factor}
