"""Decide how pixelized blocks were coloured, where their colours alone leave it open.

The network restores a region both ways. Taken for the wrong pool, the restored pixels fit less well
to those around them. How much less that has to be was fitted on training images, together with the
evidence of `measuring.pool`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hmaca_arch.degradation import Degradation
from hmaca_arch.restoring.batching import CropNetwork, Crops, Progress, Sizes
from hmaca_arch.restoring.image_arrays import as_unit
from hmaca_arch.restoring.regions import Box, Region

# of the score, which is positive for `centre`. Restored as `centre`, regions fit better in any
# case: hence the offset.
EVIDENCE, STEP, OFFSET = 1.8, 3.1, -1.3
LARGE = 10.0  # log likelihood ratio beyond which more evidence hardly counts
TILES = 2  # on a side: larger regions take long, and have many blocks to tell from
LEAST = 1e-4  # root mean square of a step; smaller ones are rounding


def step_at_border(image: np.ndarray, region: np.ndarray) -> float:
    """Return the mean square of the differences across a region's border.

    Args:
        image: (h, w, c).
        region: (h, w) bool.
    """
    squares, count = 0.0, 0
    for axis in (0, 1):
        border = np.diff(region, axis=axis)
        squares += float(np.square(np.diff(image, axis=axis)[border]).mean(axis=-1).sum())
        count += int(border.sum())
    return squares / max(count, 1)


def decide_pools(
    crops: Crops,
    open_pools: Sequence[float | None],
    network: CropNetwork,
    sizes: Sizes,
    progress: Progress | None = None,
) -> tuple[Crops, list[str]]:
    """Decide the pool of the regions for which it is open.

    Args:
        crops: what is to be restored.
        open_pools: `Measured.open_pool` by region.
        network: restores both ways.
        sizes: the most that goes through the network at once. Regions of more than `TILES` tiles
            a side stay as they are.
        progress: called as `progress(0, tiles)` after each tile, so that it can cancel.

    Returns:
        The crops with what was decided, and a note if a pool has changed.
    """
    told, notes = list(crops.told), []
    for number, (region, evidence) in enumerate(zip(crops.regions, open_pools)):
        if evidence is None or max(region.crop.shape) > TILES * sizes.tile:
            continue
        mean, centre = (replace(told[number], pool=pool) for pool in ('mean', 'centre'))
        steps = _steps(crops, region, [mean, centre], network, sizes, progress)
        ratio = np.log((steps[0] + LEAST**2) / (steps[1] + LEAST**2))
        score = EVIDENCE * np.tanh(evidence / LARGE) + STEP * ratio + OFFSET
        chosen = centre if score > 0 else mean
        if chosen != told[number]:
            colour = 'middle pixel' if score > 0 else 'mean'
            notes.append(f'restored both ways: the blocks are coloured by their {colour}')
        told[number] = chosen
    return crops._replace(told=told), notes


def _steps(
    crops: Crops,
    region: Region,
    ways: list[Degradation],
    network: CropNetwork,
    sizes: Sizes,
    progress: Progress | None,
) -> list[float]:
    """Restore a region in several ways; return `step_at_border` of each."""
    area = region.crop.area
    image, mask = as_unit(crops.colours[area]), crops.mask[area] > 0
    restored = [np.zeros_like(image) for _ in ways]

    def keep(way: int, box: Box, values: np.ndarray) -> None:
        restored[way][box.within(region.crop).area] = values

    def begun(done: int, total: int) -> None:
        if progress is not None:
            progress(0, total)

    same = Crops(crops.colours, crops.mask, [region] * len(ways), ways)
    network.restore(same, sizes, [], keep, begun)
    return [step_at_border(np.where(mask[..., None], one, image), mask) for one in restored]
