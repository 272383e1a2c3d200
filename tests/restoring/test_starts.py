"""How blocks were coloured is decided by the starts of both equations, if their colours do not."""

import numpy as np
import pytest
from skimage import data

from hmaca_arch.degradation import Degradation, pixels
from hmaca_arch.restoring.measuring import measure, starts
from hmaca_arch.restoring.measuring.starts import decide_pool, step_at_border, steps_of


def test_the_step_at_a_border_by_hand():
    image = np.zeros((4, 5, 3))
    image[1:3, 2:4] = 0.5
    region = image[..., 0] > 0
    image[1, 1] = 0.3  # one of eight pairs differs by 0.2 instead of 0.5
    assert step_at_border(image, region) == pytest.approx((7 * 0.25 + 0.04) / 8)
    assert step_at_border(image, np.ones((4, 5), bool)) == 0, 'no border inside the image'


def test_steps_and_evidence_decide_together(monkeypatch):
    found, nothing = Degradation('pix', block=8), np.zeros(0)

    def decided(evidence, mean, centre):
        monkeypatch.setattr(starts, 'steps_of', lambda image, area, ways: [mean, centre])
        return decide_pool(nothing, nothing, found, evidence)

    assert decided(0.0, 0.02, 0.01)[0] == 'centre' and decided(0.0, 0.01, 0.02)[0] == 'mean'
    assert decided(0.0, 0.01, 0.01)[0] == 'mean', 'the start for centre fits better in any case'
    assert decided(-15.0, 0.011, 0.01)[0] == 'mean' and decided(15.0, 0.011, 0.01)[0] == 'centre'
    odds = [decided(0.0, mean, 0.01)[1] for mean in (0.02, 0.04, 0.08)]
    assert odds == sorted(odds) and odds[0] > 0


def test_a_start_fits_better_if_told_the_right_pool():
    """Compare the ratio of both steps: the start for `centre` fits better in any case."""
    rows, columns = np.indices((80, 80)) - 39.5
    bowl = (0.1 * (rows**2 + columns**2)).clip(0, 255).astype(np.uint8)[..., None].repeat(3, 2)
    mask = np.zeros((80, 80, 1), bool)
    mask[24:56, 24:56] = True
    ways = [Degradation('pix', block=16, pool=pool) for pool in ('mean', 'centre')]
    ratios = []
    for truth in ways:
        given = pixels.apply(bowl, mask, truth, np.random.default_rng(0)) / 255
        mean, centre = steps_of(given, mask[..., 0], ways)
        ratios.append(mean / centre)
    assert ratios[1] > 1.1 * ratios[0]


def test_most_pools_of_photographs_are_right():
    right = []
    for image in (data.astronaut(), data.chelsea(), data.coffee(), data.rocket()):
        for top, left in ((90, 200), (160, 120), (200, 300)):
            crop = image[top - 48 : top + 96, left - 48 : left + 96]
            mask = np.zeros((*crop.shape[:2], 1), bool)
            mask[48:96, 48:96] = True
            for block in (8, 16):
                for pool in ('mean', 'centre'):
                    told = Degradation('pix', block=block, pool=pool)
                    given = pixels.apply(crop, mask, told, np.random.default_rng(0))
                    right.append(measure(given, mask)[0].degradation.pool == pool)
    assert len(right) == 48 and sum(right) >= 36
