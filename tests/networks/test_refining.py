"""What follows the trained steps: the levels of passes, and coarser scales of noise."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import each_device

from hmaca_arch.degradation import Degradation
from hmaca_arch.inference import load_restorer
from hmaca_arch.networks import refining
from hmaca_arch.networks.refining import refine, refining_levels, with_coarser


def scene(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a clean image of even colours, and a region in it."""
    clean = torch.linspace(0.4, 0.6, 3)[None, :, None, None].expand(1, 3, height, width)
    region = torch.zeros(1, 1, height, width)
    region[:, :, 8:-9, 8:-9] = 1
    return clean.clone(), region


def perfect(clean: torch.Tensor):
    """Return a denoiser that knows the answer, and the levels that it is asked for."""
    asked = []

    def denoise(x: torch.Tensor, mask: torch.Tensor, level: float) -> torch.Tensor:
        asked.append((level, tuple(x.shape[2:])))
        return F.interpolate(clean, x.shape[2:], mode='area')

    return denoise, asked


@pytest.mark.parametrize(
    'told, levels',
    [
        ('pix:8:mean', [24, 12, 6, 3]),
        ('blur:1.5', [24, 12, 6, 3]),
        ('pix:7:centre', [6, 4.16, 2.88, 2]),
        ('pix:8:centre', []),
        ('noise:25', [5]),
        ('noise:25+jpeg:75', [5]),
        ('pix:7:mean+jpeg:75', []),
        ('blur:1.5+jpeg:90', []),
        ('none', []),
        ('unknown+jpeg:75', []),
    ],
)
def test_levels_fall(told, levels):
    assert refining_levels(Degradation.parse(told), 4) == pytest.approx(levels, abs=6e-3)
    assert refining_levels(Degradation.parse(told), 0) == []


@each_device
@pytest.mark.parametrize(
    'change, levels', [(20, [6, 2]), (8, [6, 2]), (4, [3, 1]), (1, [0.75, 0.5])]
)
def test_levels_are_lower_where_the_steps_changed_little(change, levels):
    clean, region = scene(40, 40)
    denoise, asked = perfect(clean)
    refine(
        denoise, clean + region * change / 255, clean, region, Degradation.parse('pix:4:centre'), 2
    )
    assert [level for level, _ in asked] == pytest.approx(levels, rel=1e-4)


@each_device
def test_near_black_and_white_noise_is_not_denoised_again():
    level = refining.LEFT * 10 / 255
    for value, moved in [(0.0, 0.0), (level, 0.0), (1.5 * level, 0.5), (0.2, 1.0), (1.0, 0.0)]:
        x = torch.full((1, 3, 15, 15), value)  # too small for coarser scales
        denoise, _ = perfect(x + 0.1)
        again = refine(denoise, x, x, torch.ones(1, 1, 15, 15), Degradation('noise', sigma=10), 1)
        assert torch.allclose(again - x, torch.full_like(x, 0.1 * moved), atol=1e-6), value


@each_device
def test_low_frequencies_are_mended_and_high_ones_stay():
    clean, region = scene(49, 60)
    columns, rows = torch.arange(60), torch.arange(49)[:, None]
    checks = 0.02 * (2.0 * ((columns + rows) % 2) - 1)
    denoise, asked = perfect(clean)
    x = clean + region * (0.05 + checks)
    mended = with_coarser(denoise, x, x, region, 10, scales=2)
    assert asked == [(5, (24, 30)), (2.5, (12, 15))]
    inside = (..., slice(12, -13), slice(12, -13))
    assert torch.allclose((mended - clean)[inside], checks[inside].expand(1, 3, -1, -1), atol=1e-6)
    assert torch.equal(mended * (1 - region), x * (1 - region))


@each_device
def test_where_noise_is_clipped_coarser_scales_do_not_count():
    clean, region = scene(48, 48)
    for value, kept in [(0.0, 1.0), (0.01, 1.0), (0.2, 0.0), (0.99, 1.0), (10 * 1.5 / 255, 0.5)]:
        x = torch.full_like(clean, value)
        denoise, _ = perfect(x + 0.1)
        change = (with_coarser(denoise, x, x, region, 10, scales=1) - x)[..., 20, 20] / 0.1
        assert torch.allclose(change, torch.full_like(change, 1 - kept), atol=1e-5), value


@each_device
def test_what_is_too_small_or_too_quiet_stays():
    def fails(*_: object) -> torch.Tensor:
        raise AssertionError('nothing is to be denoised')

    for height, width, sigma, scales in [(15, 40, 10, 2), (40, 40, 0.9, 2), (40, 40, 10, 0)]:
        x, y = torch.rand(2, 1, 3, height, width)
        mask = torch.ones(1, 1, height, width)
        assert with_coarser(fails, x, y, mask, sigma, scales) is x


def test_an_even_region_gets_quieter_with_the_weights_that_ship(monkeypatch):
    noise = np.random.default_rng(0).normal(0, 25, (64, 64, 3))
    image = np.full((64, 64, 3), 128.0)
    mask = np.zeros((64, 64), np.uint8)
    mask[12:52, 12:52] = 255
    noisy = np.where(mask[..., None] > 0, np.rint(image + noise), image).astype(np.uint8)
    restorer, left = load_restorer(None, 'cpu'), []
    for scales in (0, 2):
        monkeypatch.setattr(refining, 'SCALES', scales)
        restored = restorer.run(noisy, mask, degradation='noise:25').image
        left.append(np.square(restored[mask > 0] - 128.0).mean() ** 0.5)
    assert left[1] < 0.75 * left[0] < 2, left
