"""Settings, tiles and batches by hand; what goes wrong in a network."""

import numpy as np
import pytest
import torch

from hmaca_arch.degradation import Degradation
from hmaca_arch.restoring import batching
from hmaca_arch.restoring.batching import (
    CropNetwork,
    Crops,
    Sizes,
    check_settings,
    tile_degradation,
    usual_batch,
)
from hmaca_arch.restoring.regions import Box, Region

CPU = torch.device('cpu')


def test_the_least_of_each_setting():
    check_settings(0, 0, 1, 48)
    check_settings(9, 9, None, 10**6)
    for name, values, least in (
        ('context', (-1, 2, 1, 48), 0),
        ('feather', (0, -1, 1, 48), 0),
        ('batch', (0, 0, 0, 48), 1),
        ('tile', (0, 0, 1, 47), 48),
        ('context', (1.0, 0, 1, 48), 0),
        ('feather', (0, True, 1, 48), 0),
    ):
        with pytest.raises(ValueError) as caught:
            check_settings(*values)
        got = dict(zip(('context', 'feather', 'batch', 'tile'), values))[name]
        text = f'{name} is {got!r}; expected a whole number, at least {least}'
        assert str(caught.value) == text
    assert usual_batch(CPU) == 1 and usual_batch(torch.device('cuda')) == 8


def test_tiles_overlap_by_a_third_and_32_at_most():
    assert [batching._overlap(tile) for tile in (48, 95, 96, 400)] == [16, 31, 32, 32]


def piled(mask: np.ndarray, *regions: Region, tile: int = 48) -> list[list[tuple]]:
    told = [Degradation('blur', sigma=float(number + 1)) for number in range(len(regions))]
    crops = Crops(np.zeros((*mask.shape, 1), np.uint8), mask, regions, told)
    return [
        [(piece.number, piece.box, piece.last, piece.told.sigma) for piece in pile]
        for pile in batching._piles(crops, tile)
    ]


def test_crops_of_one_size_share_a_pile():
    mask = np.zeros((60, 200), np.uint8)
    mask[10:20, 10:20] = mask[10:20, 60:70] = mask[10:20, 110:125] = 1
    boxes = [Box(10, 10, 20, 20), Box(10, 60, 20, 70), Box(10, 110, 20, 125)]
    crops = [Box(6, 6, 24, 24), Box(6, 56, 24, 74), Box(6, 106, 24, 129)]
    regions = [Region(*pair) for pair in zip(boxes, crops)]
    assert piled(mask, *regions) == [
        [(0, crops[0], True, 1.0), (1, crops[1], True, 2.0)],
        [(2, crops[2], True, 3.0)],
    ]
    soft = mask.astype(np.float32)
    assert piled(soft, *regions) == piled(mask, *regions), 'no value between'
    soft[12, 62] = 0.5
    assert [len(pile) for pile in piled(soft, *regions)] == [1, 1, 1]


def test_the_last_tile_of_a_region_is_known():
    mask = np.ones((48, 100), np.uint8)
    region = Region(Box(0, 0, 48, 100), Box(0, 0, 48, 100))
    (pile,) = piled(mask, region)
    assert [piece[1].left for piece in pile] == [0, 26, 52]
    assert [piece[2] for piece in pile] == [False, False, True]


def test_what_holds_in_a_tile():
    mask = np.zeros((90, 100), np.uint8)
    mask[10:70, 20:90] = 1
    region = Region(Box(10, 20, 70, 90), Box(5, 10, 75, 95))
    told = Degradation('pix', block=8, pool='mean', anchor=('start', 'start'))
    whole = tile_degradation(told, mask, region, region.crop)
    assert whole == told.seen_from(5, 10, 75, 95, (90, 100))
    tile = Box(21, 40, 61, 80)
    cut = whole.cropped(mask[5:75, 10:95] > 0, 16, 30, 40, 40)
    assert tile_degradation(told, mask, region, tile) == cut


class Network(torch.nn.Module):
    """A network that does what it is told, and notes what it sees."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer, self.seen = answer, []

    def forward(self, lq, mask, degradation):
        self.seen.append((lq, mask, degradation))
        return self.answer(lq)


def restore(answer, channels=3, colours=None, precision='fp32', batch=8, notes=None, progress=None):
    """Restore two regions of one size -> the network and {(number, top): values}."""
    mask = np.zeros((20, 60), np.uint8)
    mask[6:10, 6:10] = mask[6:10, 36:40] = 1
    if colours is None:
        colours = np.full((20, 60, 3), 51, np.uint8)
    regions = [Region(Box(6, x, 10, x + 4), Box(0, x - 6, 16, x + 10)) for x in (6, 36)]
    network, found = Network(answer), {}
    crops = Crops(colours, mask, regions, [Degradation()] * 2)

    def rows(number, box, values):
        found[number, box.top] = values

    runner = CropNetwork(network, CPU, precision, channels)
    runner.restore(crops, Sizes(batch, 48), [] if notes is None else notes, rows, progress)
    return network, found


def test_what_the_network_sees_and_what_becomes_of_it():
    steps = []
    network, found = restore(lambda lq: lq * 6 - 1, progress=lambda *step: steps.append(step))
    ((lq, mask, degradation),) = network.seen
    assert lq.shape == (2, 3, 16, 16) and lq.dtype == mask.dtype == torch.float32
    assert mask.shape == (2, 1, 16, 16) and mask.sum() == 32 and len(degradation) == 2
    assert torch.allclose(lq, torch.tensor(0.2)) and lq.is_contiguous()
    assert steps == [(0, 2), (1, 2), (2, 2)]
    assert sorted(found) == [(0, 0), (1, 0)] and found[0, 0].shape == (16, 16, 3)
    np.testing.assert_allclose(found[0, 0], 0.2, rtol=1e-5)
    assert restore(lambda lq: lq - 9)[1][0, 0].max() == 0, 'cut to 0'
    assert restore(lambda lq: lq + 9)[1][0, 0].min() == 1, 'and to 1'
    assert len(restore(lambda lq: lq, batch=1)[0].seen) == 2


def test_gray_through_a_network_of_three_channels():
    gray = np.full((20, 60, 1), 51, np.uint8)
    add = torch.tensor([0.0, 0.3, 0.6])[:, None, None]
    network, found = restore(lambda lq: lq + add, colours=gray)
    assert network.seen[0][0].shape[1] == 3 and found[0, 0].shape == (16, 16, 1)
    np.testing.assert_allclose(found[0, 0], 0.5, rtol=1e-5)


@pytest.mark.parametrize('value', [-0.001, 1.001, float('nan'), float('inf')])
def test_values_that_an_image_does_not_have(value):
    colours = np.full((20, 60, 3), 0.5, np.float32)
    colours[0, 0, 0] = value
    with pytest.raises(ValueError, match=r'^the image has values from .* around the region; exp'):
        restore(lambda lq: lq, colours=colours)
    colours[0, 0, 0], colours[0, 1, 0] = 0, 1
    restore(lambda lq: lq, colours=colours)


def test_output_that_is_not_finite():
    notes = []
    with pytest.raises(ValueError, match=r"^the network's output is not finite; its weights are"):
        restore(lambda lq: lq / 0, notes=notes)
    assert notes == []

    def only_in_fp32(lq):
        low = torch.is_autocast_enabled('cpu')
        asked.append(low)
        return lq / 0 if low else lq

    asked = []
    _, found = restore(only_in_fp32, precision='bf16', notes=notes)
    assert asked == [True, False] and found[0, 0].max() < 0.21
    assert notes == ['output that was not finite in bf16 was computed again in fp32']


@pytest.mark.parametrize('kind', batching.FAILURES)
def test_what_a_network_raises_is_one_line(kind):
    def fails(lq):
        raise kind('bad\nsetting')

    with pytest.raises(ValueError) as caught:
        restore(fails)
    text = f'the network failed on this image ({kind.__name__}: bad'
    assert str(caught.value).startswith(text) and '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('error', 'memory'),
    [
        (torch.OutOfMemoryError('x'), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: y"), True),
        (RuntimeError('not enough memory: you tried'), True),
        (RuntimeError('MPS backend out of memory (z)'), True),
        (RuntimeError('memory'), False),
        (RuntimeError('MPS backend'), False),
    ],
)
def test_errors_of_memory(error, memory):
    assert batching._is_out_of_memory(error) is memory
