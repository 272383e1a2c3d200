"""The equations of Gaussian blur, y = A x, and their solution by conjugate gradients."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from hmaca_arch.degradation.description import Degradation

MOST = 400  # iterations of conjugate gradients in a data step
SELDOM = 8  # On CUDA, it is asked after so many iterations whether all is solved: asking waits.


class Operator(Protocol):
    """A linear map of images (b, c, h, w) that blurs."""

    @property
    def holds(self) -> Tensor:
        """Which equations hold, (b, 1, h, w) of 0 and 1."""

    def __call__(self, x: Tensor) -> Tensor:
        """Blur (b, c, h, w)."""

    def adjoint(self, x: Tensor) -> Tensor:
        """Apply the transpose, which is not the blur itself at the image's edge."""

    def power(self, laplacian: Tensor) -> Tensor:
        """Return the squared gains (b, 1, h, w) at the frequencies of a cosine transform.

        Args:
            laplacian: (h, w), the Laplacian's eigenvalues at these frequencies.
        """

    def inverse(self, x: Tensor, w: Tensor) -> Tensor:
        """Apply what is near (A'A + w)^-1, A with the rows that hold.

        Args:
            x: (b, c, h, w), 0 outside the region.
            w: (b, 1, 1, 1).
        """


def mirrored(length: int, reach: int) -> np.ndarray:
    """Return the pixels at -reach .. length + reach - 1 of a line that is mirrored at its ends."""
    place = np.arange(-reach, length + reach)
    if length == 1:
        return np.zeros_like(place)
    return np.abs((place + length - 1) % (2 * (length - 1)) - (length - 1))


def equations_hold(length: int, reach: int, low_edge: bool, high_edge: bool) -> np.ndarray:
    """Return for each row whether all that its kernel reaches is known, (length,) bool.

    Where an end is no edge of the image, the kernel must not leave the array.
    """
    rows = np.arange(length)
    return ((rows >= reach) | low_edge) & ((rows < length - reach) | high_edge)


@functools.lru_cache(maxsize=4096)
def blur_matrix(
    length: int, sigma: float, low_edge: bool = True, high_edge: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix (length, length) of a Gaussian blur along one side, float64.

    The second array is `equations_hold`. The kernel is cut at ceil(4 sigma), normalised, and
    mirrored at the ends (REFLECT_101).
    """
    reach = int(np.ceil(4 * sigma))
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    places = np.lib.stride_tricks.sliding_window_view(mirrored(length, reach), 2 * reach + 1)
    matrix = np.zeros((length, length))
    np.add.at(matrix, (np.arange(length)[:, None], places), kernel)
    return matrix, equations_hold(length, reach, low_edge, high_edge)


class Blur(NamedTuple):
    """The Gaussian blurs of a batch, an `Operator`.

    Attributes:
        vertical: (b, h, h), along columns.
        horizontal: (b, w, w), along rows.
        holds: (b, 1, h, w), which equations hold.
        sigma: (b, 1, 1, 1).
        down: eigenvalues (b, h) and eigenvectors (b, h, h) of A'A along columns, between the
            region's first row and its last one.
        across: the same along rows.
    """

    vertical: Tensor
    horizontal: Tensor
    holds: Tensor
    sigma: Tensor
    down: tuple[Tensor, Tensor]
    across: tuple[Tensor, Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """Blur (b, c, h, w)."""
        return self.vertical[:, None] @ x @ self.horizontal[:, None].mT

    def adjoint(self, x: Tensor) -> Tensor:
        """Apply the transpose, which is not the blur itself at the image's edge."""
        return self.vertical[:, None].mT @ x @ self.horizontal[:, None]

    def power(self, laplacian: Tensor) -> Tensor:
        """Return the squared gains, see `Operator`."""
        return torch.exp(-(self.sigma**2) * laplacian)

    def inverse(self, x: Tensor, w: Tensor) -> Tensor:
        """Apply (A'A + w)^-1, which is exact where the region is a rectangle."""
        (rows, vertical), (columns, horizontal) = self.down, self.across
        vertical, horizontal = vertical[:, None], horizontal[:, None]
        gain = rows[:, None, :, None] * columns[:, None, None, :]
        return vertical @ ((vertical.mT @ x @ horizontal) / (gain + w)) @ horizontal.mT


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
    region = (mask > 0)[:, 0]
    down = _decomposed(vertical, rows, region.any(dim=2), dtype)
    across = _decomposed(horizontal, columns, region.any(dim=1), dtype)
    holds = (rows[:, None, :, None] & columns[:, None, None, :] & (mask > 0)).to(dtype)
    sigma = torch.tensor([d.sigma for d in degradations]).to(holds).view(-1, 1, 1, 1)
    return Blur(vertical.to(dtype), horizontal.to(dtype), holds, sigma, down, across)


def _decomposed(
    matrix: Tensor, holds: Tensor, marked: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Decompose A'A along one side of the box of the region.

    Args:
        matrix: (b, n, n), the blur along this side.
        holds: (b, n), which equations hold.
        marked: (b, n), where the region has pixels.
        dtype: of the results.

    Returns:
        The eigenvalues (b, n) and eigenvectors (b, n, n).
    """
    count = marked.cumsum(dim=1)
    box = ((count > 0) & ((count < count[:, -1:]) | marked)).to(matrix)
    inside = (box * holds)[:, :, None] * matrix * box[:, None]
    values, vectors = torch.linalg.eigh(inside.mT @ inside)
    return values.clamp(min=0).to(dtype), vectors.to(dtype)


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
    every = SELDOM if right.is_cuda else 1
    for n in range(most):
        if n % every == 0 and bool((rho <= goal).all()):
            break  # what is solved stays as it is, also in iterations beyond
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
        ctx: Any, z: Tensor, y: Tensor, w: Tensor, region: Tensor, blur: Operator
    ) -> Tensor:
        """Solve by conjugate gradients; region (b, 1, h, w), the others as `Equations.solve`."""
        tolerance = 1e-6 if z.dtype == torch.float32 else 1e-13

        def solved(right: Tensor) -> Tensor:
            return conjugate_gradients(
                lambda x: region * blur.adjoint(blur.holds * blur(x)) + w * x,
                region * right,
                tolerance,
                MOST,
                lambda residual: region * blur.inverse(residual, w),
            )

        x = torch.where(region > 0, z, y)
        change = solved(blur.adjoint(blur.holds * (y - blur(x))))
        ctx.solved = solved
        ctx.save_for_backward(w, change)
        return x + change

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        """Return the gradients of z and w."""
        w, change = ctx.saved_tensors
        solved = ctx.solved(gradients[0])
        of_w = -(solved * change).sum(dim=(1, 2, 3), keepdim=True)
        return w * solved, None, of_w, None, None
