"""What the starts of equations tell: how blocks were coloured, and blur that is too wide."""

import importlib.util
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from skimage import data

from hmaca_arch.degradation import Degradation, pixels
from hmaca_arch.restoring.measuring import blur, measure, starts
from hmaca_arch.restoring.measuring.starts import (
    LEAST,
    decide_pool,
    describe,
    mean_step,
    unexplained,
)


def test_mean_steps_by_hand():
    image = np.zeros((4, 5, 3))
    image[1:3, 2:4] = 0.5
    region = image[..., 0] > 0
    image[1, 1] = 0.3  # one of eight pairs across the border differs by 0.2 instead of 0.5
    image[2, 3] = 0.4  # two of them by 0.4, and two of four pairs inside by 0.1
    border = (5 * 0.25 + 2 * 0.16 + 0.04) / 8
    assert mean_step(image, region, both=False) == pytest.approx(border + LEAST**2)
    assert mean_step(image, region, both=True) == pytest.approx(2 * 0.01 / 4 + LEAST**2)
    everywhere = np.ones((4, 5), bool)
    assert mean_step(image, everywhere, both=False) == LEAST**2, 'no border inside the image'


def waves(at):
    """Return an image of 128x128 with a region of 32x32 in blocks of 8, the region, the blocks."""
    rows, columns = np.indices((128, 128))
    image = (40 * np.sin(rows / 5) + 40 * np.sin(columns / 7) + 120).astype(np.uint8)[..., None]
    area = np.zeros((128, 128), bool)
    area[at[0] : at[0] + 32, at[1] : at[1] + 32] = True
    told = Degradation('pix', 8, 'centre', ('offset', 'offset'), (3, 5))
    return pixels.apply(image, area[..., None], told) / 255, area, told


def test_a_description_by_its_starts():
    given, area, told = waves((31, 27))
    numbers, (means, centres) = describe(given, area, ~area, told, 5.0)
    assert means.shape == centres.shape == (80, 80, 1), '24 pixels around'
    inner = np.zeros((80, 80), bool)
    inner[24:56, 24:56] = True
    border = [mean_step(start, inner, both=False) for start in (means, centres)]
    inside = [mean_step(start, inner, both=True) for start in (means, centres)]
    outside = mean_step(given, ~area, both=True), given[~area].var()
    expected = [border[0] / border[1], inside[0] / inside[1], *inside[1] / np.array(outside), 1]
    assert numbers == pytest.approx([np.tanh(1), *np.log(expected)], abs=1e-4)
    assert mean_step(centres, inner, both=True) > 0 and not np.allclose(means, centres)


@pytest.mark.parametrize('at', [(24, 24), (31, 27), (60, 40)])
def test_blocks_keep_their_place_in_the_part_that_is_looked_at(at):
    """Starts are interpolated in a crop. Moved by whole blocks, they are the same."""
    given, area, told = waves(at)
    moved, shifted = (np.roll(one, (8, 8), (0, 1))[:120, 8:] for one in (given, area))
    one, same = (describe(g, a, ~a, told, 0.0)[0] for g, a in ((given, area), (moved, shifted)))
    other = describe(given, area, ~area, replace(told, offset=(4, 5)), 0.0)[0]
    assert np.abs(one - same)[1:3].max() < 3e-3 < np.abs(one - other)[1:3].max()


def test_a_start_fits_better_if_told_the_right_pool():
    """Compare the ratio of both steps: the start for `centre` fits better in any case."""
    rows, columns = np.indices((80, 80)) - 39.5
    bowl = (0.1 * (rows**2 + columns**2)).clip(0, 255).astype(np.uint8)[..., None].repeat(3, 2)
    mask = np.zeros((80, 80, 1), bool)
    mask[24:56, 24:56] = True
    area, found = mask[..., 0], []
    for pool in ('mean', 'centre'):
        told = Degradation('pix', block=16, pool=pool)
        given = pixels.apply(bowl, mask, told) / 255
        found.append(describe(given, area, ~area, told, 0.0)[0])
    assert found[1][1] > found[0][1] + 0.1


def test_evidence_and_starts_decide_together(monkeypatch):
    given, area, told = waves((31, 27))
    odds = []
    for evidence in (-15.0, 0.0, 15.0):
        pool, size = decide_pool(given, area, ~area, told, evidence)
        odds.append(size if pool == 'centre' else -size)
    assert odds == sorted(odds) and odds[2] > odds[0] + 1
    for block, counts_as in ((4, 4), (12, 12), (32, 24)):
        numbers = np.array([0.5, 0.1, 0.2, 0.3, 0.4, np.log(block / 8)])
        monkeypatch.setattr(starts, 'describe', lambda *args, n=numbers: (n.copy(), []))
        weights = starts.SMALL if block == 4 else starts.WEIGHTS
        score = weights @ [*numbers[:5], np.log(counts_as / 8), 1]
        found = decide_pool(given, area, ~area, replace(told, block=block), 0.0)
        assert found == ('centre' if score > 0 else 'mean', pytest.approx(abs(score)))


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


def test_the_weights_are_fitted_by_a_script(monkeypatch):
    monkeypatch.setattr(sys, 'path', [*sys.path])
    spec = importlib.util.spec_from_file_location('train_pool', ROOT / 'scripts' / 'train_pool.py')
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    photo, rng = np.ascontiguousarray(data.astronaut()[60:188, 160:288]), np.random.default_rng(0)
    monkeypatch.setattr(script, 'pool_evidence', lambda *args: 3.0)
    described, truths, losses = zip(*script.sample(photo, rng))
    assert np.shape(described) == (2, len(starts.WEIGHTS) - 1) and truths == (0, 1)
    assert min(losses) > 0, 'the start for the right pool is nearer to the image'
    monkeypatch.setattr(script, 'pool_evidence', lambda *args: -starts.OPEN)
    assert not list(script.sample(photo, rng)), 'the evidence decides alone'
    x, truth = rng.normal(size=(4000, 2)), np.array([2.0, -1.0, 0.5])
    right = rng.random(4000) < 1 / (1 + np.exp(-(x @ truth[:2] + truth[2])))
    fitted = script.fit(np.r_[x, x], np.r_[right, ~right] * 1, np.repeat([1.0, 0.0], 4000))
    assert fitted == pytest.approx(truth, abs=0.2), 'what counts 0 changes nothing'


def bars(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Return soft stripes, (64, 64, 3) in grey levels, and a region."""
    stripes = low + (high - low) * (0.5 + 0.5 * np.sin(np.arange(64) * 0.9))
    image = np.broadcast_to(np.rint((stripes[:, None] + stripes) / 2)[..., None], (64, 64, 3))
    area = np.zeros((64, 64), bool)
    area[16:50, 12:48] = True
    return image.astype(np.uint8), area


@pytest.mark.parametrize('sigma', [0.7, 1.5, 2.0])
def test_a_blur_that_is_too_wide_overshoots_black_and_white(sigma):
    for low, high, overshoots in [(0, 255, True), (90, 160, False)]:
        image, area = bars(low, high)
        given = pixels.blur(image, area[..., None], sigma) / 255
        ways = [Degradation('blur', sigma=sigma * ratio) for ratio in (0.9, 1.0, 1.2)]
        narrower, right, wider = unexplained(given, area, ways)
        assert max(narrower, right) < 0.4
        assert bool(wider > 0.6) is overshoots


def test_too_wide_a_blur_counts_less():
    image, area = bars(0, 255)
    given = pixels.blur(image, area[..., None], 1.5).astype(float)
    for measured in (1.4, 1.5, 1.7):
        less, sigmas = blur._too_wide(given, area, measured), np.exp(blur.FINE)
        assert less[np.abs(sigmas - 1.4).argmin()] < 1
        assert less[np.abs(sigmas - 1.9).argmin()] > 5
        assert np.isfinite(less).all()


def test_an_even_region_is_explained_by_every_blur():
    image, area = bars(100, 100)
    assert (blur._too_wide(image.astype(float), area, 2.0) == 0).all()
