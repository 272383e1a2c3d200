"""How blocks were coloured is decided by restoring them both ways."""

import numpy as np
import pytest
import torch

from hmaca_arch.degradation import Degradation, degradations_of
from hmaca_arch.restoring.batching import CropNetwork, Crops, Sizes
from hmaca_arch.restoring.pools import decide_pools, step_at_border
from hmaca_arch.restoring.regions import Box, Region


def test_the_step_at_a_border_by_hand():
    image = np.zeros((4, 5, 3))
    image[1:3, 2:4] = 0.5
    region = image[..., 0] > 0
    image[1, 1] = 0.3  # one of eight pairs differs by 0.2 instead of 0.5
    assert step_at_border(image, region) == pytest.approx((7 * 0.25 + 0.04) / 8)
    assert step_at_border(image, np.ones((4, 5), bool)) == 0, 'no border inside the image'


class Grey(torch.nn.Module):
    """A network that restores everything to the gray around it, but one pool to another gray."""

    def __init__(self, wrong: str) -> None:
        super().__init__()
        self.wrong, self.calls = wrong, 0

    def forward(self, lq, mask, degradation):
        self.calls += 1
        grays = [
            0.8 if d.pool == self.wrong else 0.5 for d in degradations_of(degradation, len(lq))
        ]
        return torch.tensor(grays).view(-1, 1, 1, 1).expand_as(lq)


@pytest.mark.parametrize('wrong, right', [('mean', 'centre'), ('centre', 'mean')])
def test_what_fits_the_surroundings_is_chosen(wrong, right):
    region = Region(Box(8, 8, 24, 24), Box(0, 0, 32, 32))
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 1
    told = [Degradation('pix', block=8, pool=wrong)] * 2
    crops = Crops(np.full((32, 32, 3), 0.5, np.float32), mask, [region] * 2, told)
    network = Grey(wrong)
    restores = CropNetwork(network, torch.device('cpu'), 'fp32', 3)
    decided, notes = decide_pools(crops, [0.0, None], restores, Sizes(8, 192))
    assert [one.pool for one in decided.told] == [right, wrong], 'the second is not open'
    assert network.calls == 1 and len(notes) == 1 and 'restored both ways' in notes[0]
    small = Sizes(8, 15)
    assert decide_pools(crops, [0.0, None], restores, small) == (crops, []), 'too large'
