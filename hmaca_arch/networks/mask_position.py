"""Where in its region a pixel lies, as features for a network.

Inside a region that is damaged evenly a pixel looks the same wherever it lies. Its place says how
far away the undamaged pixels are and, where blocks of one colour start at the region's corner,
which part of its block it is. Distances to a mask's edge are known from inpainting (masking
positional encoding in ZITS: Dong et al., "Incremental Transformer Structure Enhanced Image
Inpainting with Masking Positional Encoding", CVPR 2022, section 3.3). The form here, one distance
for each of four directions, added to HMANet's first features, is this project's own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# pixels: distances end here, so that regions larger than those in training look no different
FARTHEST = 32
UNIT = 4  # pixels
QUIET = (
    1 / 16
    # of the picture's scale: louder, the mask's features drown the picture's at first, and noise is
    # learned more slowly
)


def edge_distances(mask: Tensor, farthest: int = FARTHEST) -> Tensor:
    """How many masked pixels lie between a masked pixel and the nearest unmasked one in each of
    four directions.

    The picture's border is no edge: where no unmasked pixel comes before it, the distance is
    `farthest`, "none in sight". Where a crop cuts the region, it is that what its pixels are told
    on the cut side, instead of a wrong distance to a border that means nothing.

    Args:
        mask: (b, 1, h, w); above 0 is masked, however little.
        farthest: the largest distance, in pixels.

    Returns:
        (b, 4, h, w) to the left, right, top and bottom, whole numbers 0 .. farthest in float32; 0
        at unmasked pixels.
    """
    masked = mask > 0
    distances = []
    for axis, n in ((3, mask.shape[3]), (2, mask.shape[2])):
        place = torch.arange(n, device=mask.device, dtype=torch.float32).view(
            (1, 1, 1, n) if axis == 3 else (1, 1, n, 1)
        )
        for towards in (1, -1):
            # the nearest unmasked pixel is the one with the largest place among this one and the
            # `farthest` pixels before it
            unmasked = torch.where(masked, -1e6, towards * place)
            before, after = (farthest, 0) if towards == 1 else (0, farthest)
            padding, kernel = (
                ((before, after, 0, 0), (1, farthest + 1))
                if axis == 3
                else ((0, 0, before, after), (farthest + 1, 1))
            )
            nearest = F.max_pool2d(F.pad(unmasked, padding, value=-1e6), kernel, stride=1)
            distances.append((towards * place - nearest - 1).clamp(0, farthest))
    return torch.cat(distances, dim=1)


class MaskPositionEncoder(nn.Conv2d):
    """conv3x3 of the mask and its `edge_distances` (in units of 4 pixels), 5 channels -> dim.

    It does not start at zero, as an addition to a network might: from random features of the
    distances a network learns much faster (docs/results.md).

    Args:
        dim: channels of the result.
        img_range: what the network scales its picture to.
    """

    def __init__(self, dim: int, img_range: float = 1.0) -> None:
        super().__init__(5, dim, kernel_size=3, padding=1)
        self.scale = img_range * QUIET

    def forward(self, mask: Tensor) -> Tensor:
        """mask (b, 1, h, w) in [0, 1] -> (b, dim, h, w)."""
        return super().forward(
            self.scale * torch.cat([mask, edge_distances(mask).to(mask.dtype) / UNIT], dim=1)
        )
