"""What the restorer tells a network about the degradation, crop by crop."""

import numpy as np
import pytest
import torch

from hmaca_arch import cli
from hmaca_arch.degradation import Degradation, degradations_of, pixels
from hmaca_arch.inference import Restorer
from hmaca_arch.networks.unfolded import Unfolded

INNER = {
    'type': 'HMACA', 'embed_dim': 32, 'depths': [1], 'num_heads': [2], 'window_size': 4, 'interval_size': 2, 'mlp_ratio': 1,
    'cross_attention': 'none', 'mask_position': True, 'image_residual': True,
}  # fmt: skip


class Recorder(torch.nn.Module):
    """A network that returns its input and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told = []

    def forward(self, lq, mask, degradation=None):
        self.told += [
            (d, image[0].numpy()) for d, image in zip(degradations_of(degradation, len(lq)), mask)
        ]
        return lq


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (150, 170, 3), dtype=np.uint8)


def test_the_grid_and_the_edges_are_those_of_each_crop(image):
    mask = np.zeros(image.shape[:2], bool)
    mask[0:10, 30:44] = mask[100:117, 80:100] = True
    network = Recorder()
    restored = Restorer(network).restore(image, mask, context=8, degradation='pix:5:mean@3,4')
    assert np.array_equal(restored, image)
    assert [(str(d), d.edges) for d, _ in network.told] == [
        ('pix:5:mean@3,-17', (True, False, False, False)),
        ('pix:5:mean@-86,-66', (False, False, False, False)),
    ]
    network.told.clear()
    Restorer(network).restore(image, mask, context=200, degradation='blur:2+jpeg:80')
    assert [(str(d), d.edges) for d, _ in network.told] == [
        ('blur:2+jpeg:80', (True, True, True, True))
    ]


def test_a_crop_cuts_no_other_region_whose_blocks_count_from_its_box(image):
    """Nobody could tell from a part of the other region where its grid begins."""
    mask = np.zeros(image.shape[:2], bool)
    mask[20:60, 20:60] = mask[66:106, 66:106] = True
    for told, crops in (('pix:8:mean', 1), ('pix:8:mean@0,0', 2), ('blur:2', 2)):
        network = Recorder()
        Restorer(network).restore(image, mask, context=8, degradation=told)
        assert [d.kind for d, _ in network.told] == [told[: told.index(':')]] * crops


def test_tiles_of_a_large_region_keep_the_grid_of_its_corner(image):
    mask = np.zeros(image.shape[:2], bool)
    mask[11:141, 13:156] = True
    network = Recorder()
    Restorer(network).restore(image, mask, context=4, tile=64, degradation='pix:7:centre')
    assert len(network.told) > 4
    clean = image.copy()
    blurred = pixels.pixelate(clean, mask[..., None], 7, 'centre')
    for d, tile_mask in network.told:
        assert d.anchor == ('offset and box', 'offset and box') and tile_mask.shape == (64, 64)
    # the first tile begins 4 pixels before the region
    first = network.told[0][0]
    assert tuple(place % 7 for place in first.offset) == (4, 4)
    assert not np.array_equal(blurred, clean)


def test_a_told_network_solves_the_equation(image):
    """Also untrained: it begins as the identity, so what comes back agrees with the blocks."""
    smooth = np.zeros((64, 64, 3), np.uint8) + np.arange(64, dtype=np.uint8)[:, None, None] * 3
    mask = np.zeros((64, 64), bool)
    mask[20:40, 22:42] = True
    degraded = pixels.pixelate(smooth, mask[..., None], 5, 'mean')
    restorer = Restorer(Unfolded(inner=INNER, steps=1))
    told = restorer.restore(degraded, mask, context=16, degradation='pix:5:mean')
    error, unknown = (
        np.abs(image.astype(int) - smooth)[mask].mean()
        for image in (told, restorer.restore(degraded, mask, context=16, degradation='unknown'))
    )
    assert error < 0.5 < unknown
    assert np.array_equal(told[~mask], degraded[~mask])


def test_a_network_that_cannot_be_told_says_so(image):
    class Blind(torch.nn.Module):
        def forward(self, lq):
            return lq

    mask = np.zeros(image.shape[:2], bool)
    mask[5:9, 5:9] = True
    notes = Restorer(Blind()).run(image, mask, degradation='noise:20').notes
    assert notes == [
        'this network is not told the degradation (noise:20); it restores as if it were unknown'
    ]
    assert Restorer(Blind()).run(image, mask).notes == []
    with pytest.raises(ValueError, match='degradation: got'):
        Restorer(Blind()).run(image, mask, degradation='sharpen:3')


def test_of_an_image_gives_the_parsed_degradation():
    assert Degradation.parse('pix:5:mean@3,4').seen_from(2, 1, 8, 9, (8, 20)).offset == (1, 3)


def test_the_command_names_the_option_and_auto(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(
            ['restore', '-i', __file__, '-m', __file__, '-o', 'o.png', '--degradation', 'pix:8']
        )
    said = capsys.readouterr().err
    assert (
        ended.value.code == 1
        and "--degradation: got 'pix:8'" in said
        and said.endswith('; or auto\n')
    )
