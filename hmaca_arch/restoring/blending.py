"""Put the restored tiles of a region together and into the image.

Tiles come row by row. As soon as no further tile can change a row, it is final: a region as large
as the image takes the memory of one row of tiles.
"""

from collections.abc import Callable

import cv2
import numpy as np

from hmaca_arch.compositing import composite_image
from hmaca_arch.restoring.image_arrays import as_type
from hmaca_arch.restoring.regions import Box, Region

# Takes rows of a crop that are final: their box, and (h, w, c) float32.
Rows = Callable[[Box, np.ndarray], object]


class Blend:
    """The mean of the tiles of one region, weighted by ramps over the overlap with other tiles.

    At a tile's border, where the network knew least of the surroundings, a tile counts for little.
    At the crop's border it counts in full.

    Args:
        region: whose tiles these are.
        channels: of the values.
        overlap: of the tiles, in pixels.
        height: of the tiles.
        rows: is called with rows that are final, from top to bottom.
    """

    def __init__(
        self, region: Region, channels: int, overlap: int, height: int, rows: Rows
    ) -> None:
        self.crop, self.overlap, self.rows = region.crop, overlap, rows
        self.top = 0  # of the buffers, in the crop
        width = region.crop.shape[1]
        self.sum = np.zeros((height, width, channels), np.float32)
        self.weight = np.zeros((height, width, 1), np.float32)

    def add(self, tile: Box, values: np.ndarray) -> None:
        """Add a tile: values (h, w, c) float. No tile may lie above the one before."""
        inside = tile.within(self.crop)
        self._finish(inside.top)
        rows = _ramp(inside.top, inside.bottom, self.crop.shape[0], self.overlap)
        columns = _ramp(inside.left, inside.right, self.crop.shape[1], self.overlap)
        weight = rows[:, None, None] * columns[None, :, None]
        area = inside.moved(-self.top, 0).area
        self.sum[area] += weight * values
        self.weight[area] += weight

    def finish(self) -> None:
        """Hand out all rows that are left."""
        self._finish(self.top + len(self.sum))

    def _finish(self, top: int) -> None:
        """Hand out the rows above `top`, and move the buffers there."""
        count = min(top - self.top, len(self.sum))
        if count <= 0:
            return
        total, weight = self.sum[:count], self.weight[:count]
        values = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        box = Box(self.top, 0, self.top + count, self.crop.shape[1])
        self.rows(box.moved(self.crop.top, self.crop.left), values)
        for buffer in (self.sum, self.weight):
            buffer[: len(buffer) - count] = buffer[count:]
            buffer[len(buffer) - count :] = 0
        self.top = top


def _ramp(start: int, stop: int, length: int, overlap: int) -> np.ndarray:
    """Return weights along one side of a tile, from start to stop of `length` pixels.

    They are 1, but fall towards ends that are not the whole's.
    """
    position = np.arange(stop - start, dtype=np.float32)
    weight = np.ones_like(position)
    if start > 0:
        weight = np.minimum(weight, (position + 1) / (overlap + 1))
    if stop < length:
        weight = np.minimum(weight, (stop - start - position) / (overlap + 1))
    return weight


class Paste:
    """Write the restored pixels of a region into an image.

    All fading is inside the mask. Where the mask ends at the image's own border nothing fades.

    Args:
        colours: (h, w, c), the image as given.
        mask: (h, w), 0 = keep; uint8 of 0 and 1, or floating point in [0, 1].
        region: of the mask.
        feather: pixels over which the region fades in.
    """

    def __init__(self, colours: np.ndarray, mask: np.ndarray, region: Region, feather: int) -> None:
        self.colours, self.mask, self.region, self.feather = colours, mask, region, feather
        if feather:
            # One pixel more: with context 0 the pixels around the crop may be outside the mask.
            self.wider = region.crop.grown(1, *mask.shape)
            inside = (mask[self.wider.area] > 0).view(np.uint8)
            self.distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)

    def weights(self, part: Box) -> np.ndarray:
        """Return how much of the restored pixels is taken: (h, w) float64 of a part of the box."""
        weights = self.region.own_in(self.mask, part).astype(np.float64)
        if not self.feather:
            return weights
        distance = self.distance[part.within(self.wider).area]
        return weights * np.minimum(1, distance / (self.feather + 1))

    def write(self, target: np.ndarray, rows: Box, values: np.ndarray) -> None:
        """Composite rows of the region's crop; pixels of other regions stay as they are.

        Args:
            target: (h, w, c), written to.
            rows: a part of the crop, as wide as it.
            values: (rows, columns, c) float32 in [0, 1], restored.
        """
        part = rows.common(self.region.box)
        if part is None:
            return
        background, weights = self.colours[part.area], self.weights(part)
        restored = as_type(values[part.within(rows).area], background.dtype)
        pixels = composite_image(restored, background, weights)
        np.copyto(target[part.area], pixels, where=(weights > 0)[..., None])
