"""Measure noise and blur of a region that went through JPEG after it was degraded.

Quantisation removes what the exact methods look at. So a small network looks at the pixels and at
their coefficients, inside and outside. It tells what was done, and which pixels were degraded.
`scripts/train_estimator.py` has trained it on images that were degraded and compressed.
`lossy_blocks` finds blocks.
"""

import functools
import importlib.resources
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmaca_arch.restoring.measuring.jpeg import DCT, luma, table_of
from hmaca_arch.restoring.regions import Box, marked_box

KINDS = ('none', 'noise', 'blur', 'pix', 'unknown')
SIGMAS, SPREADS = len(KINDS), len(KINDS) + 2  # where sigmas and spreads of noise and blur are
WEIGHTS = 'lossy_estimator.pth'
AREAS = 2  # the mask, and what is not degraded
CHANNELS = (24, 48, 96)  # at a half, a quarter and an eighth of the resolution
DILATIONS = (1, 1, 2, 1)
HEADS = 8  # of the attention that picks the blocks that tell most
AROUND = 1  # of DILATIONS, after which the means of the areas are added
LOCAL = 9  # side in pixels of the means that are taken off
LEAST, MOST = 96, 192  # sides of what is looked at, in pixels
NEAR = 32  # pixels of the surroundings that are seen of a larger region
LEAST_SIGMA, MOST_NOISE, MOST_BLUR = 0.4, 75, 5
# The quality that a JPEG may have had whose steps are too fine to be seen in the pixels.
UNSEEN = 98
NOTHING = 0.3  # probability from which a region counts as clean; weak noise hardly matters


class Guess(NamedTuple):
    """What the network takes a region for.

    Attributes:
        kind: one of KINDS.
        confidence: the probability of the kind.
        sigma: of noise in grey levels, or of blur in pixels.
        spread: standard deviation of the logarithm of sigma.
        odds: (h, w), logarithms of the odds that a pixel is degraded; 0 beyond `window`.
    """

    kind: str
    confidence: float
    sigma: float
    spread: float
    odds: np.ndarray


def planes_of(image: np.ndarray) -> np.ndarray:
    """Return the brightness, and how far blue and red are from it, (3, h, w) float32.

    Args:
        image: (h, w, 1 or 3) of 0 to 255.
    """
    brightness = luma(image)
    if image.shape[2] == 1:
        return np.stack([brightness, *np.zeros((2, *brightness.shape), np.float32)])
    values = image.astype(np.float32)
    return np.stack([brightness, values[..., 2] - brightness, values[..., 0] - brightness])


def window(mask: np.ndarray, most: int = MOST) -> Box:
    """Return whole blocks of the JPEG around a mask (h, w) bool.

    They are LEAST to `most` pixels wide, less if the image is smaller. Of a larger mask they hold
    the part that is most evenly masked and not.
    """
    box, sides, places = marked_box(mask), [], []
    for axis, length in enumerate(mask.shape):
        low, high = box[axis] - NEAR, box[axis + 2] + NEAR
        sides.append(min(max(high - low, LEAST), most, length) // 8 * 8)
        last = (length - sides[axis]) // 8 * 8
        if box[axis + 2] - box[axis] + 16 <= most:
            low = high = (low + high - sides[axis]) // 2
        else:
            high -= sides[axis]
        first, final = (min(max(0, at // 8 * 8), last) for at in (low, high))
        places.append(np.arange(first, final + 1, 8))
    sums = cv2.integral(mask.astype(np.uint8))
    (tops, lefts), (height, width) = np.meshgrid(*places, indexing='ij'), sides
    bottoms, rights = tops + height, lefts + width
    share = sums[bottoms, rights] - sums[tops, rights] - sums[bottoms, lefts] + sums[tops, lefts]
    share = share / (height * width)
    at = np.unravel_index((share * (1 - share)).argmax(), share.shape)
    return Box(int(tops[at]), int(lefts[at]), int(bottoms[at]), int(rights[at]))


def _mean(x: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted means (b, c) of x (b, c, h, w)."""
    return (x * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3)).clamp(min=0.5)


class LossyEstimator(nn.Module):
    """Tell noise and blur before JPEG, and measure them."""

    basis: Tensor  # (64, 1, 8, 8), of the coefficients

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth = CHANNELS
        self.fine = nn.Conv2d(5 + AREAS, half, 6, stride=2, padding=2)
        self.down = nn.ModuleList(
            [nn.Conv2d(half, quarter, 4, 2, 1), nn.Conv2d(quarter, eighth, 4, 2, 1)]
        )
        self.mid = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for channels in (half, quarter, quarter)
        )
        self.bands = nn.Conv2d(2 * 64, eighth, 1)
        self.told = nn.Linear(3, eighth)
        self.layers = nn.ModuleList(
            nn.Conv2d(eighth, eighth, 3, padding=d, dilation=d) for d in DILATIONS
        )
        self.means = nn.Linear(3 * eighth, eighth)
        self.heads = nn.Conv2d(eighth, HEADS, 1)
        self.head = nn.Sequential(
            nn.Linear(7 * eighth + 3, eighth), nn.GELU(), nn.Linear(eighth, SPREADS + 2)
        )
        self.place = nn.ModuleList(
            [
                nn.Conv2d(eighth, quarter, 1),
                nn.Conv2d(quarter, half, 3, padding=1),
                nn.Conv2d(half, 4, 3, padding=1),
            ]
        )
        basis = np.einsum('ui,vj->uvij', DCT, DCT).reshape(64, 1, 8, 8)
        self.register_buffer('basis', torch.from_numpy(basis), persistent=False)

    def forward(
        self, planes: Tensor, areas: Tensor, table: Tensor, quality: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Describe regions.

        Args:
            planes: (b, 3, h, w), see `planes_of`; whole blocks of the JPEG.
            areas: (b, AREAS, h, w) of 0 and 1: the mask, and what is not degraded.
            table: (b, 64), steps of the JPEG's coefficients.
            quality: (b,), of the JPEG.

        Returns:
            (b, 9): the logarithms of the odds of KINDS; of sigma of noise and blur; of their
            spreads. (b, h, w): the logarithm of the odds that a masked pixel is degraded.
        """
        brightness, colours = planes[:, :1], planes[:, 1:]
        detail = brightness - F.avg_pool2d(
            brightness, LOCAL, 1, LOCAL // 2, count_include_pad=False
        )
        coloured = (colours.abs().amax(dim=(1, 2, 3)) > 0).to(planes.dtype)
        told = torch.stack([quality / 50 - 1.4, table.mean(dim=1).log() - 2.5, coloured], dim=1)
        seen = [
            torch.asinh(detail) / 2,
            brightness / 64 - 2,
            torch.asinh(colours / 8) / 2,
            areas,
            torch.asinh(detail / 8),
        ]
        x = F.gelu(self.fine(torch.cat(seen, dim=1)))
        half = x + F.gelu(self.mid[0](x))
        x = F.gelu(self.down[0](half))
        x = x + F.gelu(self.mid[1](x))
        quarter = x + F.gelu(self.mid[2](x))
        x = self.down[1](quarter) + self.bands(self.coefficients(brightness, table))
        x = F.gelu(x + self.told(told)[:, :, None, None])
        by_block = F.avg_pool2d(areas, 8)
        mask, outside = by_block[:, :1], by_block[:, 1:]
        whole = (mask > 0.99).to(x.dtype)
        ends = F.max_pool2d(mask, 3, 1, 1) > 0, F.max_pool2d(-mask, 3, 1, 1) > -0.5
        border = (((mask > 0) & (mask < 1)) | (ends[0] & ends[1])).to(x.dtype)
        for at, layer in enumerate(self.layers):
            if at == AROUND:
                means = [_mean(x, weight) for weight in (whole, outside, border)]
                x = x + self.means(torch.cat(means, dim=1))[:, :, None, None]
            x = x + F.gelu(layer(x))
        place = F.gelu(quarter + F.interpolate(self.place[0](x), scale_factor=2))
        place = F.gelu(half + F.interpolate(self.place[1](place), scale_factor=2))
        odds = F.pixel_shuffle(self.place[2](place), 2).float()
        degraded = F.avg_pool2d(odds.detach().sigmoid() * areas[:, :1], 8)
        weights = (mask, degraded, mask - degraded, border, outside)
        rest = 20 * (degraded < 0.3).to(x.dtype)
        most = (x - rest).amax(dim=(2, 3)).clamp(min=-10)
        attention = (self.heads(x) - rest).flatten(2).softmax(dim=2)
        attended = (x.flatten(2).unflatten(1, (HEADS, -1)) * attention[:, :, None]).sum(dim=3)
        means = [_mean(x, weight) for weight in weights]
        described = self.head(torch.cat([*means, most, attended.flatten(1), told], dim=1))
        return described, odds[:, 0]

    def coefficients(self, brightness: Tensor, table: Tensor) -> Tensor:
        """Return how large the coefficients of each block are, (b, 128, h / 8, w / 8)."""
        found = F.conv2d(brightness - 128, self.basis, stride=8)
        steps = torch.tanh(found.abs() / table[:, :, None, None])
        return torch.cat([torch.log(found.square() + 0.1) / 3 - 0.5, steps], dim=1)


@functools.cache
def _network() -> LossyEstimator:
    """Return the trained network."""
    with importlib.resources.files('hmaca_arch.weights').joinpath(WEIGHTS).open('rb') as file:
        weights = torch.load(file, weights_only=True)
    network = LossyEstimator().requires_grad_(False).eval()
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    return network


def estimate(image: np.ndarray, mask: np.ndarray, outside: np.ndarray, quality: int) -> Guess:
    """Tell what was done to a region.

    Args:
        image: (h, w, 1 or 3) of 0 to 255, 8 pixels wide and high at least; its first pixel begins a
            block of the JPEG.
        mask: (h, w) bool, one region.
        outside: (h, w) bool, what is not degraded.
        quality: of the JPEG.
    """
    place = window(mask).area
    planes = torch.from_numpy(planes_of(image[place]))
    areas = torch.from_numpy(np.stack([mask[place], outside[place]])).float()
    table = torch.from_numpy(table_of(quality).astype(np.float32).ravel())
    inputs = planes, areas, table, torch.tensor(float(quality))
    described, found = (one[0].double() for one in _network()(*(value[None] for value in inputs)))
    likely, sigmas = described[: len(KINDS)].softmax(dim=0), described[SIGMAS:SPREADS].exp()
    kind = KINDS[0 if likely[0] > NOTHING else int(likely.argmax())]
    at, most = (1, MOST_BLUR) if kind == 'blur' else (0, MOST_NOISE)
    sigma = float(sigmas[at].clamp(LEAST_SIGMA, most))
    spread = float(described[SPREADS + at].clamp(-4, 2).exp())
    odds = np.zeros(mask.shape)
    odds[place] = found.numpy()
    return Guess(kind, float(likely[KINDS.index(kind)]), sigma, spread, odds)
