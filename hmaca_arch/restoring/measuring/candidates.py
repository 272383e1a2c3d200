"""What may have blurred a region: Gaussians, and what else lenses, motion and software do.

A blur that is no Gaussian would be taken for one of another width. Told so, it is restored worse
than untold. So the likelihoods of other kernels are compared as well. Discs and odd boxes are told.
The others stand for all that is not.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from hmaca_arch.degradation import Kernel, shapes

GAUSSIAN, CUT, DISC, HARD_DISC, BOX = 'gaussian', 'cut gaussian', 'disc', 'hard disc', 'box'
EVEN_BOX, TENT, MOTION, OVAL, POINTED = 'even box', 'tent', 'motion', 'oval', 'pointed'
# Log likelihood by which a kernel must be ahead of every Gaussian, which are more frequent, and the
# part of theirs by which it must be. Less suffices if it has a direction, which they never have.
# Chosen on training images.
AHEAD, PART, DIRECTED, AHEAD_DIRECTED = 30.0, 0.06, (MOTION, OVAL), 15.0
LEAST_DISC, MOST_DISC, MOST_BOX = 1.3, 9, 17  # pixels, of the kernels that are recognised
NARROW = 0.4  # ratio of the sigmas of an oval
SIGMAS = np.exp(np.linspace(np.log(0.45), np.log(5.2), 24))


def _grid(reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns around a kernel's middle."""
    line = np.arange(-int(np.ceil(reach)), int(np.ceil(reach)) + 1)
    return line[:, None], line[None]


def _box(side: float) -> np.ndarray:
    """Return a box (n,) whose outermost pixels count in part."""
    reach = (side - 1) / 2
    return np.clip(reach + 1 - np.abs(_grid(reach)[1][0]), 0, 1)


def _motion(length: float, degrees: float) -> np.ndarray:
    """Return a line, drawn between the pixels."""
    way = np.linspace(-0.5, 0.5, 400) * length
    turned = way * np.sin(np.deg2rad(degrees)), way * np.cos(np.deg2rad(degrees))
    y, x = _grid(length / 2 + 1)
    return sum(
        np.clip(1 - np.abs(y - row), 0, 1) * np.clip(1 - np.abs(x - column), 0, 1)
        for row, column in zip(*turned)
    )


class Candidate(NamedTuple):
    """A kernel.

    Attributes:
        kind: GAUSSIAN, CUT (one that OpenCV cuts), DISC, HARD_DISC (see `shapes`) or BOX. Only
            compared, never recognised: EVEN_BOX, TENT (two boxes), MOTION, OVAL (a Gaussian),
            POINTED.
        size: in pixels: sigma, radius, side or length.
        degrees: of a motion, or of an oval's long axis.
    """

    kind: str
    size: float
    degrees: float = 0.0

    def values(self) -> np.ndarray:
        """Return the kernel, (h, w); its sum is 1."""
        kind, size = self.kind, self.size
        if kind in (DISC, HARD_DISC):
            return shapes.disc(size, kind == HARD_DISC).values
        if kind in (BOX, TENT):
            line = _box(size) if kind == BOX else np.convolve(_box(size), _box(size))
            found = np.outer(line, line)
        elif kind == EVEN_BOX:
            found = np.ones((int(size), int(size)))
        elif kind == CUT:
            line = cv2.getGaussianKernel(int(size), 0)
            found = line * line.T
        elif kind == MOTION:
            found = _motion(size, self.degrees)
        else:
            y, x = _grid((6 if kind == POINTED else 4) * size)
            if kind == OVAL:
                sine, cosine = np.sin(np.deg2rad(self.degrees)), np.cos(np.deg2rad(self.degrees))
                y, x = y * sine + x * cosine, (y * cosine - x * sine) / NARROW
            radius = np.hypot(y, x) / size
            found = np.exp(-(radius**2) / 2)
            if kind == POINTED:
                found = np.exp(-radius) / np.sqrt(size * radius + 0.3)
        return found / found.sum()

    @property
    def told(self) -> Kernel | None:
        """What a network is told of it; None: nothing."""
        kind, size = self.kind, self.size
        if kind in (DISC, HARD_DISC) and LEAST_DISC <= size <= MOST_DISC:
            return shapes.disc(size, kind == HARD_DISC)
        odd = kind == BOX and size % 2 == 1 and size <= MOST_BOX
        return shapes.box(int(size)) if odd else None


SOMETHING_ELSE = Candidate('something else', 0.0)  # has no values
GAUSSIANS = tuple(Candidate(GAUSSIAN, float(sigma)) for sigma in SIGMAS)
# What counts as a Gaussian: those that OpenCV cuts, and what leaves as much fine detail as a JPEG
# after a Gaussian adds.
ALIKE = (
    *(Candidate(CUT, float(side)) for side in range(15, 32, 2)),
    *(Candidate(POINTED, size) for size in (0.7, 1.4, 2.8)),
)
OTHERS = (
    *(Candidate(BOX, float(side)) for side in (*range(2, 12), *range(13, 22, 2), 25, 31)),
    *(Candidate(EVEN_BOX, float(side)) for side in (2, 4, 6, 8, 10)),
    *(Candidate(DISC, float(size)) for size in np.exp(np.linspace(0, np.log(15), 20))),
    *(Candidate(HARD_DISC, float(radius)) for radius in (*np.arange(1, 8.1, 0.5), 9, 10, 12)),
    *(Candidate(TENT, float(side)) for side in (1.5, 2, 3, 4, 5, 7, 9, 12)),
    *(
        Candidate(MOTION, float(length), float(degrees))
        for length in (3, 5, 8, 13, 20)
        for degrees in (0, 30, 60, 90)
    ),
    *(Candidate(OVAL, size, float(way)) for size in (1.0, 2.0, 3.5) for way in (0, 45, 90)),
)


@functools.lru_cache(maxsize=1)
def _hard_discs() -> list[Candidate]:
    """Return all that differ and are no boxes, each by the least radius that has its pixels."""
    found: dict[bytes, Candidate] = {}
    for radius in np.arange(20, 20 * MOST_DISC + 1) / 20:
        candidate = Candidate(HARD_DISC, float(radius))
        values = candidate.values()
        if np.ptp(values):
            found.setdefault(values.tobytes(), candidate)
    return list(found.values())


def _refined(gained: Callable[[Candidate], float], found: Candidate) -> Candidate:
    """Look closer at the sizes next to a disc's."""
    if found.kind == HARD_DISC:
        near = [one for one in _hard_discs() if abs(one.size - found.size) <= 0.5]
        return max(near, key=gained)
    if found.kind == DISC:
        for step in (0.07, 0.03, 0.012, 0.005):
            sizes = found.size * (1 + step * np.arange(-1, 2))
            near = [found._replace(size=round(float(size), 3)) for size in sizes]
            found = max(near, key=gained)
    return found


def other_kernel(
    gained: Callable[[Candidate], float], by_gaussian: float, likely_gaussian: bool = True
) -> tuple[Candidate | None, float]:
    """Find the kernel that explains a blur better than any Gaussian.

    Args:
        gained: the log likelihood of a kernel, compared with none.
        by_gaussian: that of the best Gaussian.
        likely_gaussian: others must be well ahead of it.

    Returns:
        The kernel, None if it is a Gaussian; and by how much it is ahead of Gaussians and of those
        that are not told.
    """
    by_gaussian = max(by_gaussian, *map(gained, ALIKE))
    ahead = max(AHEAD, PART * by_gaussian) if likely_gaussian else 0.0
    scores = {
        one: gained(one) - (min(ahead, AHEAD_DIRECTED) if one.kind in DIRECTED else ahead)
        for one in OTHERS
    }
    untold = max((one for one in OTHERS if one.told is None), key=scores.__getitem__)
    told = []
    for kind in (BOX, DISC, HARD_DISC):
        of_kind = [one for one in OTHERS if one.kind == kind and one.told]
        told.append(_refined(gained, max(of_kind, key=scores.__getitem__)))
    best = max(told, key=gained)
    score = gained(best) - ahead
    if max(score, scores[untold]) < by_gaussian:
        return None, 0.0
    found = best if score > scores[untold] else untold
    return found, gained(best) - max(by_gaussian, scores[untold])
