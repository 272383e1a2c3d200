"""The equations of Gaussian blur, y = A x, and their solution by conjugate gradients."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hmaca_arch.degradation.description import Degradation

MOST = 400  # iterations of conjugate gradients in a data step


@functools.lru_cache(maxsize=4096)
def blur_matrix(
    length: int, sigma: float, low_edge: bool = True, high_edge: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix (length, length) of a Gaussian blur along one side, float64.

    The second array says whether each row's equation holds. The kernel is cut at ceil(4 sigma),
    normalised, and mirrored at the ends (REFLECT_101). Where an end is no edge of the image, rows
    whose kernel leaves the array do not hold.
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
    """The blurs of a batch.

    There are matrices along columns (b, h, h) and rows (b, w, w), and which equations hold (b, 1,
    h, w).
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
        apply: maps (b, c, h, w) to the same shape.
        right: (b, c, h, w).
        tolerance: of the residual's norm, in the preconditioner's metric, relative to that of
            `right`.
        most: iterations.
        preconditioner: near the inverse of `apply`.
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


class SolveBlur(torch.autograd.Function):
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
        """Solve by conjugate gradients; arguments as `Equations.solve` and `Blur` have them."""
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
        """Return the gradients of z and w."""
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
