"""The embedding M of a mask (Eq. 5), and the short form in which all pixels can attend to it."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

PATTERNS = 2**9  # values that nine binary pixels can have


class MaskKeys(NamedTuple):
    """What cross attention attends to. It is computed once, and every block uses it.

    Attributes:
        embedding: `global`: (b or 1, keys, c). `window`: (b, h, w, c), padded like the image.
        log_count: (b, keys), the logarithm of how many pixels each key stands for, up to a constant
            of the sample. None: each stands for one.
    """

    embedding: Tensor
    log_count: Tensor | None = None


class MaskEncoder(nn.Conv2d):
    """M = conv3x3(mask), Eq. 5, for the attention over all pixels or over windows.

    M is a 3x3 convolution, so that of a binary mask has at most 2^9 distinct values, one for each
    3x3 neighbourhood. Attention over n equal keys with equal values is attention over one of them
    with log n added to its logit. So the 512 neighbourhoods stand in for all pixels *exactly*, each
    with the logarithm of how often the sample has it (-inf: never).

    Args:
        dim: channels of M.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(1, dim, kernel_size=3, padding=1)
        bits = torch.arange(PATTERNS)[:, None] >> torch.arange(9)
        patterns = (bits & 1).to(torch.get_default_dtype())
        self.patterns: Tensor
        self.register_buffer('patterns', patterns, persistent=False)  # (512, 9)

    def pixels(self, mask: Tensor) -> Tensor:
        """Compute M at every pixel: (b, 1, h, w) -> (b, h, w, c)."""
        return rearrange(self(mask), 'b c h w -> b h w c')

    def distinct(self, mask: Tensor, present_only: bool) -> MaskKeys:
        """Compute M for the 512 neighbourhoods, and count them in each sample.

        Args:
            mask: (b, 1, h, w), binary.
            present_only: leave out neighbourhoods that occur in no sample. 26 to 60 usually remain.
        """
        b = len(mask)
        masked = F.pad(mask[:, 0] != 0, (1, 1, 1, 1))
        around = masked.unfold(1, 3, 1).unfold(2, 3, 1).flatten(3)  # (b, h, w, 9)
        bits = around.short() << torch.arange(9, dtype=torch.short, device=mask.device)
        sample = torch.arange(b, device=mask.device)[:, None]
        index = (bits.sum(-1).flatten(1) + PATTERNS * sample).flatten()  # bit 3 dy + dx
        count = torch.zeros(PATTERNS * b, dtype=torch.long, device=mask.device)
        count = count.scatter_add_(0, index, torch.ones_like(index)).view(b, PATTERNS)
        # float16 ends at 65504 pixels
        count = count.to(torch.promote_types(self.patterns.dtype, torch.float32))
        patterns = self.patterns
        if present_only:
            used = count.any(dim=0)
            count, patterns = count[:, used], patterns[used]
        # Relative to the most frequent one: softmax does not care, and half precision keeps more.
        log_count = (count / count.amax(dim=1, keepdim=True)).log()
        return MaskKeys(F.linear(patterns, self.weight.flatten(1), self.bias)[None], log_count)

    def keys(self, mask: Tensor) -> MaskKeys:
        """Compute the keys of the global form, from a mask (b, 1, h, w) in [0, 1].

        Binary means exactly 0 or 1. One mask that is not sends the whole batch to the dense form.
        """
        if ((mask == 0) | (mask == 1)).all():
            # On a GPU, asking which ones occur would cost more than it saves.
            return self.distinct(mask, present_only=mask.is_cpu)
        return MaskKeys(self.pixels(mask).flatten(1, 2))
