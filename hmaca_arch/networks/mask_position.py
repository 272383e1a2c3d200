"""Where in its region a pixel lies, as features for a network.

Inside a region that is damaged evenly, a pixel looks the same wherever it lies. Its place says how
far away the undamaged pixels are. If blocks of one colour start at the region's corner, it also
says which part of its block the pixel is.

Distances to a mask's edge are known from inpainting: Dong et al., "Incremental Transformer
Structure Enhanced Image Inpainting with Masking Positional Encoding" (ZITS, CVPR 2022), section
3.3. The form here is this project's own: one distance for each of four directions, added to
HMANet's first features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FARTHEST = 32  # pixels: regions larger than those in training then look no different
UNIT = 4  # pixels
# The features are scaled by this, in units of the image. Louder ones drown the image's features at
# first, and noise is learned more slowly.
QUIET = 1 / 16


def edge_distances(mask: Tensor, farthest: int = FARTHEST) -> Tensor:
    """Count the masked pixels between each masked pixel and the nearest unmasked ones.

    The image's border is no edge. If no unmasked pixel comes before it, the distance is `farthest`.
    So if a crop cuts through the region, pixels on the cut side get `farthest`.

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
            # The nearest unmasked pixel has the largest place among this one and the `farthest`
            # pixels before it.
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

    It does not start at zero: from random features of the distances a network learns much faster
    (docs/results.md).

    Args:
        dim: channels of the result.
        img_range: what the network scales its image by.
    """

    def __init__(self, dim: int, img_range: float = 1.0) -> None:
        super().__init__(5, dim, kernel_size=3, padding=1)
        self.scale = img_range * QUIET

    def forward(self, mask: Tensor) -> Tensor:
        """Encode a mask: (b, 1, h, w) in [0, 1] -> (b, dim, h, w)."""
        distances = edge_distances(mask).to(mask.dtype) / UNIT
        return super().forward(self.scale * torch.cat([mask, distances], dim=1))
