"""The equations of blur by any known kernel: a convolution, computed by Fourier transforms."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hmaca_arch.degradation.blur import equations_hold, mirrored
from hmaca_arch.degradation.description import Degradation

STEP = 32  # lengths of the transforms are multiples of it, which makes them fast


class Convolution(NamedTuple):
    """The convolutions of a batch, an `Operator`.

    Attributes:
        kernels: (b, 1, size, size) numpy float64, all of one size.
        rows: (height, h), copies the image's rows to those of an array that is mirrored at its
            edges and ends in zeros.
        columns: (width, w), the same for columns.
        spectrum: (b, 1, height, width // 2 + 1) complex, of the kernels.
        holds: (b, 1, h, w), which equations hold.
    """

    kernels: np.ndarray
    rows: Tensor
    columns: Tensor
    spectrum: Tensor
    holds: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Convolve (b, c, h, w)."""
        first, shape = self.kernels.shape[-1] - 1, (len(self.rows), len(self.columns))
        spectrum = torch.fft.rfft2(self.rows @ x @ self.columns.mT) * self.spectrum
        whole = torch.fft.irfft2(spectrum, s=shape)
        return whole[..., first : first + x.shape[2], first : first + x.shape[3]]

    def adjoint(self, x: Tensor) -> Tensor:
        """Apply the transpose."""
        first, shape = self.kernels.shape[-1] - 1, (len(self.rows), len(self.columns))
        whole = x.new_zeros(*x.shape[:2], *shape)
        whole[..., first : first + x.shape[2], first : first + x.shape[3]] = x
        spread = torch.fft.irfft2(torch.fft.rfft2(whole) * self.spectrum.conj(), s=shape)
        return self.rows.mT @ spread @ self.columns

    def inverse(self, x: Tensor, w: Tensor) -> Tensor:
        """Apply the inverse where all equations hold, in an array that ends in zeros."""
        height, width = x.shape[2:]
        shape = len(self.rows), len(self.columns)
        spectrum = torch.fft.rfft2(x, s=shape) / (self.spectrum.abs().square() + w)
        return torch.fft.irfft2(spectrum, s=shape)[..., :height, :width]

    def power(self, laplacian: Tensor) -> Tensor:
        """Return the squared gains at the frequencies of a cosine transform, (b, 1, h, w).

        A cosine is two waves, along both diagonals: this is the mean of their gains.
        """
        place = np.arange(self.kernels.shape[-1])
        down, across = (
            np.exp(-1j * np.pi / length * np.outer(np.arange(length), place))
            for length in laplacian.shape
        )
        both = [down @ self.kernels @ one.T for one in (across, across.conj())]
        return torch.from_numpy(sum(np.abs(one) ** 2 for one in both) / 2).to(laplacian)


def find_convolutions(
    mask: Tensor, degradations: Sequence[Degradation], dtype: torch.dtype
) -> Convolution:
    """Find the convolutions of a batch in which every image has a kernel; mask (b, 1, h, w)."""
    height, width = mask.shape[2:]
    values = [d.kernel.values for d in degradations if d.kernel is not None]
    reach = max(side // 2 for one in values for side in one.shape)
    kernels = np.zeros((len(values), 1, 2 * reach + 1, 2 * reach + 1))
    holds = np.zeros((len(values), 1, height, width), bool)
    for one, kernel, inside, d in zip(values, kernels[:, 0], holds[:, 0], degradations):
        down, across = (side // 2 for side in one.shape)
        kernel[reach - down : reach + down + 1, reach - across : reach + across + 1] = one
        rows = equations_hold(height, down, d.edges[0], d.edges[2])
        inside[:] = rows[:, None] & equations_hold(width, across, d.edges[1], d.edges[3])
    vertical, horizontal = (_mirroring(length, reach, dtype) for length in (height, width))
    spectrum = np.fft.rfft2(kernels, s=(len(vertical), len(horizontal)))
    return Convolution(
        kernels,
        vertical.to(mask.device),
        horizontal.to(mask.device),
        torch.from_numpy(spectrum).to(dtype.to_complex()).to(mask.device),
        (torch.from_numpy(holds).to(mask.device) & (mask > 0)).to(dtype),
    )


def _mirroring(length: int, reach: int, dtype: torch.dtype) -> Tensor:
    """Return the matrix that mirrors a line of pixels at its ends and adds zeros after it."""
    place = mirrored(length, reach)
    matrix = torch.zeros(-(-len(place) // STEP) * STEP, length, dtype=dtype)
    matrix[torch.arange(len(place)), torch.from_numpy(place)] = 1
    return matrix
