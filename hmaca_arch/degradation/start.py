"""First estimates of an unfolded network: smooth interpolation of blocks, and deblurring."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hmaca_arch.degradation.blocks import Blocks, by_pixel, solve_blocks
from hmaca_arch.degradation.blur import Operator, conjugate_gradients
from hmaca_arch.degradation.description import Degradation

# exponent of the Laplacian in the prior of `start`: that of the kernel exp(-(d / L)^0.8) in two
# dimensions
SMOOTHNESS = 1.4
SHARPNESS = 2  # of the prior, over what unit differences ask for; chosen on training images


@functools.lru_cache(maxsize=64)
def _cosines(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the orthonormal DCT-II matrix and the Laplacian's eigenvalues along one side."""
    k, n = np.arange(length)[:, None], np.arange(length)
    matrix = np.cos(np.pi * k * (2 * n + 1) / (2 * length)) * np.sqrt(2 / length)
    matrix[0] /= np.sqrt(2)
    return matrix, 2 - 2 * np.cos(np.pi * np.arange(length) / length)


class Prior:
    """A Gaussian process over an array of pixels.

    Its precision is the Laplacian to the power SMOOTHNESS, mirrored at the array's sides.
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
        y: (b, c, h, w) in [0, 1].
        mask: (b, 1, h, w) bool.
        blocks: of these images.
        variance: see `solve_blocks`.
    """
    prior = Prior(y)

    def agree(x: Tensor) -> Tensor:
        """Return the part of a change that keeps what lies outside R and every block's mean."""
        x = x * mask
        flat = by_pixel(x)
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
def deblurred(
    y: Tensor, mask: Tensor, blur: Operator, degradations: Sequence[Degradation]
) -> Tensor:
    """Return the mean of the prior, given the blurred y inside R and y outside.

    Inside, y is rounded to 8 bits or compressed.
    """
    prior = Prior(y)
    given, y = y, _mixed(y, COLOURS)
    noise = torch.tensor([d.variance / 255**2 for d in degradations]).to(y).view(-1, 1, 1, 1)
    variance = noise / _neighbours(y, ~mask).clamp(min=noise)
    inverse = 1 / (blur.power(prior.laplacian) + variance * (prior.precision + prior.least))

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
    """Return the mean square difference of neighbouring known pixels, (b, c, 1, 1)."""
    total = count = torch.zeros((), dtype=image.dtype, device=image.device)
    for axis in (2, 3):
        both = known.narrow(axis, 1, known.shape[axis] - 1) & known.narrow(
            axis, 0, known.shape[axis] - 1
        )
        total = total + (image.diff(dim=axis).square() * both).sum(dim=(2, 3), keepdim=True)
        count = count + both.sum(dim=(2, 3), keepdim=True)
    return total / count.clamp(min=1)
