"""All equations of a batch, prepared once and solved at each step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hmaca_arch.degradation.blocks import find_blocks, solve_blocks
from hmaca_arch.degradation.blur import Operator, SolveBlur, find_blur
from hmaca_arch.degradation.convolution import find_convolutions
from hmaca_arch.degradation.description import KINDS, Degradation
from hmaca_arch.degradation.start import deblurred, smoothest

# Of the rounding's variance: what a residual has more is not told more exactly.
LEAST_EXCESS = 0.1
FIND = (('blur', find_blur), ('kernel', find_convolutions))


class Equations:
    """The equations of a batch, prepared once and solved at each step.

    Args:
        y: (b, c, h, w) in [0, 1], the degraded images.
        mask: (b, 1, h, w); above 0 is R.
        degradations: one for each image.
        weigh_rounding: weigh the rounding error of a block's colour (see `solve_blocks`), instead
            of taking it for exact.
    """

    def __init__(
        self,
        y: Tensor,
        mask: Tensor,
        degradations: Sequence[Degradation],
        weigh_rounding: bool = True,
    ) -> None:
        self.y, self.mask, self.degradations = y, mask > 0, degradations
        self.rows = {
            kind: [i for i, d in enumerate(degradations) if d.kind == kind] for kind in KINDS
        }
        self.blocks = find_blocks(mask, degradations)
        self.blurs: dict[str, Operator] = {
            kind: find(mask[self.rows[kind]], self._of(kind), y.dtype)
            for kind, find in FIND
            if self.rows[kind]
        }
        jpeg = torch.tensor([d.jpeg > 0 for d in degradations], device=y.device)
        self.jpeg = jpeg.view(-1, 1, 1, 1)
        self.variance = torch.tensor(
            [d.variance if weigh_rounding else 0 for d in degradations],
            dtype=y.dtype,
            device=y.device,
        )

    def _of(self, kind: str) -> list[Degradation]:
        """Return the degradations of one kind."""
        return [self.degradations[i] for i in self.rows[kind]]

    def known(self) -> Tensor:
        """Return how far y tells each pixel of R, (b, 1, h, w).

        That is 1 / (number of pixels that it averages) for the pool `centre`, else 0.
        """
        known = torch.zeros_like(self.y[:, :1]).reshape(-1)
        if len(self.blocks.colour):
            count = torch.bincount(self.blocks.group, minlength=len(self.blocks.colour))
            centre = torch.tensor(
                [d.pool == 'centre' for d in self.degradations], device=known.device
            )
            pixels = self.y.shape[2] * self.y.shape[3]
            value = centre[self.blocks.colour // pixels] / count
            inside = self.blocks.inside
            known = known.index_add(
                0, self.blocks.member[inside], value[self.blocks.group[inside]].to(known.dtype)
            )
        return known.view_as(self.y[:, :1])

    def solve(self, z: Tensor, w: Tensor) -> Tensor:
        """Return the images nearest to z (b, c, h, w) that agree with the equations.

        Outside R they are y.

        Args:
            z: the estimates.
            w: (b, 1, 1, 1) > 0, the equation's noise variance over the variance of z's error.
                Pixelization is exact and ignores it, unless JPEG follows.
        """
        x = torch.where(self.mask, z, self.y)
        x = solve_blocks(x, self.y, self.blocks, self.variance, torch.where(self.jpeg, w, 0))
        for kind in ('blur', 'kernel', 'noise', 'none'):
            rows = self.rows[kind]
            if not rows or (kind == 'none' and bool(self.jpeg[rows].all())):
                continue
            if kind in self.blurs:
                region = self.mask[rows].to(x.dtype)
                part = SolveBlur.apply(x[rows], self.y[rows], w[rows], region, self.blurs[kind])
            elif kind == 'noise':
                part = torch.where(
                    self.mask[rows],
                    (w[rows] * x[rows] + self.y[rows]) / (w[rows] + 1),
                    self.y[rows],
                )
            else:
                exact = ~self.jpeg[rows]
                part = torch.where(exact, self.y[rows], x[rows])
            x = x.index_copy(0, torch.tensor(rows, device=x.device), part)
        return x

    @torch.no_grad()
    def least_w(self, z: Tensor) -> Tensor:
        """Return a w for `solve` that leaves rounding errors of a blurred y where they are.

        Where z explains y but for its rounding, y has nothing to mend. With a w for the error that
        estimates usually have, `solve` would still fit the rounding. The blur hides most of what
        that takes, so that it becomes waves. Here w is the blur's mean squared gain, times the
        square of the rounding's variance over what the residual of z has more than that. The
        square lets only residuals near the rounding count.

        Args:
            z: (b, c, h, w).

        Returns:
            (b, 1, 1, 1); 0 where nothing is blurred, or JPEG's error is not known so well.
        """
        least = torch.zeros_like(z[:, :1, :1, :1])
        for kind, blur in self.blurs.items():
            rows = self.rows[kind]
            y = self.y[rows]
            residual = blur.holds * (blur(torch.where(self.mask[rows], z[rows], y)) - y)
            count = y.shape[1] * blur.holds.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)
            rounding = self.variance[rows].view(-1, 1, 1, 1) / 255**2
            more = residual.square().sum(dim=(1, 2, 3), keepdim=True) / count - rounding
            point = torch.zeros_like(y[:, :1])
            point[:, :, y.shape[2] // 2, y.shape[3] // 2] = 1
            gain = blur(point).square().sum(dim=(2, 3), keepdim=True)
            least[rows] = gain * (rounding / more.clamp(min=LEAST_EXCESS * rounding)).square()
        return torch.where(self.jpeg, 0, least)

    @torch.no_grad()
    def start(self) -> Tensor:
        """Return a first estimate.

        Pixelized regions are interpolated smoothly, blurred ones deblurred. Others are y.
        """
        x = self.y
        for kind, blur in self.blurs.items():
            rows = self.rows[kind]
            sharp = deblurred(self.y[rows], self.mask[rows], blur, self._of(kind))
            x = x.index_copy(0, torch.tensor(rows, device=x.device), sharp)
        rows = self.rows['pix']
        if rows:
            blocks = find_blocks(self.mask[rows].to(self.y.dtype), self._of('pix'))
            smooth = smoothest(self.y[rows], self.mask[rows], blocks, self.variance[rows])
            x = x.index_copy(0, torch.tensor(rows, device=x.device), smooth)
        return x


def solve(
    z: Tensor, y: Tensor, mask: Tensor, degradations: Sequence[Degradation], w: Tensor
) -> Tensor:
    """Return the images nearest to z that agree with the equations of y.

    See `Equations`. A block's colour is taken for exact.
    """
    return Equations(y, mask, degradations, weigh_rounding=False).solve(z, w)
