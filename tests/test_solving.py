"""`solve` where regions and blocks get in each other's way, and for images of every depth."""

import numpy as np
import pytest
import torch

from hmaca_arch.degradation import (
    Degradation,
    Equations,
    Kernel,
    degradations_of,
    find_blocks,
    pixels,
    solve,
)
from hmaca_arch.degradation import blur as blur_module
from hmaca_arch.degradation.blur import find_blur
from hmaca_arch.inference import Restorer

W = torch.full((1, 1, 1, 1), 0.01, dtype=torch.float64)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def batch(image: np.ndarray) -> torch.Tensor:
    """(h, w) or (h, w, c) -> (1, c, h, w) float64."""
    image = image.reshape(*image.shape[:2], -1).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float64))[None]


def overlapping() -> tuple[np.ndarray, list[np.ndarray]]:
    """An L, a bar in the L's box, and a square: the mask (h, w) and its regions."""
    regions = [np.zeros((26, 30), bool) for _ in range(3)]
    regions[0][2:20, 3:7] = regions[0][15:20, 3:22] = True
    regions[1][4:11, 10:26] = True
    regions[2][22:26, 24:30] = True
    return np.logical_or.reduce(regions), regions


def middles(length: int) -> list[int]:
    return sorted({(length - 1) // 2, length // 2})


def blocks_of(region: np.ndarray, block: int, pool: str) -> list[tuple[list, list, tuple]]:
    """By definition, in loops: of each block in a region's box the pixels whose mean is its colour,
    those of them that lie in the region, and a pixel that shows the colour.
    """
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    found = []
    for top in range(rows[0], rows[-1] + 1, block):
        for left in range(columns[0], columns[-1] + 1, block):
            height = min(block, rows[-1] + 1 - top)
            width = min(block, columns[-1] + 1 - left)
            every = [(top + y, left + x) for y in range(height) for x in range(width)]
            shown = [place for place in every if region[place]]
            terms = every
            if pool == 'centre':
                terms = [(top + y, left + x) for y in middles(height) for x in middles(width)]
            own = [place for place in terms if region[place]]
            if own:
                found.append((terms, own, shown[0]))
    return found


@pytest.mark.parametrize('pool', ['mean', 'centre'])
@pytest.mark.parametrize('block', [3, 4, 7])
def test_regions_whose_boxes_overlap_change_their_own_pixels_alone(rng, pool, block):
    """A block counts another region's pixels as they are in z, so that nothing is shifted twice."""
    mask, regions = overlapping()
    z, given = rng.random((2, *mask.shape))
    start = np.where(mask, z, given)
    expected = start.copy()
    for region in regions:
        for terms, own, shown in blocks_of(region, block, pool):
            missing = given[shown] * len(terms) - sum(start[place] for place in terms)
            for place in own:
                expected[place] += missing / len(own)
    told = Degradation('pix', block, pool)
    x = solve(batch(z), batch(given), batch(mask), [told], W)[0, 0].numpy()
    assert np.abs(x - expected).max() < 1e-12


@pytest.mark.parametrize('pool', ['mean', 'centre'])
def test_what_the_data_sets_degraded_in_overlapping_boxes_stays(rng, pool):
    clean = rng.integers(0, 256, (26, 30, 3), dtype=np.uint8)
    mask, regions = overlapping()
    told = Degradation('pix', 4, pool)
    given = pixels.apply(clean, mask[..., None], told)
    blocks = find_blocks(batch(mask), [told])
    assert len(blocks.colour) == sum(len(blocks_of(one, 4, pool)) for one in regions)
    mean, _ = blocks.mean(batch(clean).transpose(0, 1).reshape(3, -1))
    colour = batch(given).transpose(0, 1).reshape(3, -1)[:, blocks.colour]
    assert (mean - colour).abs().max() <= 0.501


@pytest.mark.parametrize('pool', ['mean', 'centre'])
@pytest.mark.parametrize('offset', [(0, 0), (3, 1), (-5, 9)])
def test_blocks_that_a_free_form_region_cuts_are_solved_as_dense_algebra_does(rng, pool, offset):
    """One grid over the image: regions share blocks, and the image's edge cuts some."""
    height, width, block = 19, 22, 5
    y, x = np.mgrid[:height, :width]
    mask = ((y - 8) ** 2 / 40 + (x - 9) ** 2 / 70 < 1) | (rng.random((height, width)) < 0.1)
    z, given = rng.random((2, height, width))
    start = np.where(mask, z, given).ravel()
    rows, residual = [], []
    for top in range(offset[0] % block - block, height, block):
        for left in range(offset[1] % block - block, width, block):
            part = np.s_[max(0, top) : top + block, max(0, left) : left + block]
            weights = np.zeros((height, width))
            places = np.argwhere(mask[part])
            if not len(places):
                continue
            if pool == 'mean':
                weights[part] = 1 / weights[part].size
            else:
                middle = [middles(length) for length in weights[part].shape]
                weights[part][np.ix_(*middle)] = 1 / len(middle[0]) / len(middle[1])
            if not weights[mask].any():
                continue
            rows.append(weights.ravel()[mask.ravel()])
            residual.append(given[part][tuple(places[0])] - weights.ravel() @ start)
    expected = start.copy()
    expected[mask.ravel()] += np.linalg.pinv(np.array(rows)) @ residual  # the least change
    told = Degradation('pix', block, pool, anchor=('offset', 'offset'), offset=offset)
    solved = solve(batch(z), batch(given), batch(mask), [told], W)
    assert np.abs(solved.numpy().ravel() - expected).max() < 1e-12


DEPTHS = {np.uint8: 255, np.uint16: 65535, np.float32: 1}


@pytest.mark.parametrize('depth', list(DEPTHS))
def test_float32_agrees_with_the_colours_of_every_depth(rng, depth):
    """The blocks of an image of 16 bits or floating point keep its precision."""
    top = DEPTHS[depth]
    clean, mask = rng.random((24, 24, 3)), np.zeros((24, 24), bool)
    mask[4:20, 4:20] = True
    means = clean.reshape(6, 4, 6, 4, 3).mean(axis=(1, 3)) * top
    given = np.where(
        mask[..., None],
        np.kron(means if top == 1 else np.rint(means), np.ones((4, 4, 1))),
        clean * top,
    ).astype(depth)
    y = batch(given / np.float32(top)).float()
    z = batch(rng.random((24, 24, 3))).float()
    told = [Degradation('pix', 4)]
    x = Equations(y, batch(mask).float(), told).solve(z, W.float())
    made = x[0].reshape(3, 6, 4, 6, 4).mean(dim=(2, 4))[:, 1:5, 1:5]
    assert (made - y[0, :, ::4, ::4][:, 1:5, 1:5]).abs().max() < 0.1 / 65535
    outside = ~torch.from_numpy(mask)
    assert torch.equal(x[..., outside], y[..., outside])
    blurred = pixels.gaussian(np.where(mask[..., None], 0.5, clean).astype(np.float32), 1.0)
    y = batch(np.where(mask[..., None], blurred, clean)).float()
    motion = Degradation('kernel', kernel=Kernel.of(np.eye(5)))
    for told in (Degradation('blur', sigma=1.0), motion):
        x, exact = (
            solve(z.to(kind), y.to(kind), batch(mask).to(kind), [told], W.to(kind))
            for kind in (torch.float32, torch.float64)
        )
        assert (x - exact).abs().max() < 1e-4


@pytest.mark.parametrize('depth', list(DEPTHS))
def test_the_restorer_solves_in_the_images_own_depth(rng, depth):
    """A network that is told everything and guesses noise: the blocks still keep their colours."""

    class Guesser(torch.nn.Module):
        def forward(self, lq, mask, degradation):
            guess = lq + 0.2 * torch.rand(lq.shape, generator=torch.Generator().manual_seed(1))
            equations = Equations(lq, mask, degradations_of(degradation, len(lq)))
            return equations.solve(guess - 0.1, torch.ones(len(lq), 1, 1, 1))

    top = DEPTHS[depth]
    clean, mask = 0.3 + 0.4 * rng.random((64, 64, 3)), np.zeros((64, 64), bool)
    mask[16:40, 8:48] = True
    means = clean.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3)) * top
    colours = np.kron(means if top == 1 else np.rint(means), np.ones((4, 4, 1)))
    given = np.where(mask[..., None], colours, clean * top).astype(depth)
    restored = Restorer(Guesser()).restore(given, mask, degradation='pix:4:mean')
    assert restored.dtype == depth and np.array_equal(restored[~mask], given[~mask])
    made = restored.reshape(16, 4, 16, 4, 3).astype(float).mean(axis=(1, 3))[4:10, 2:12]
    allowed = 0.51 if top > 1 else 1e-6  # each pixel is rounded once more
    assert np.abs(made - means[4:10, 2:12]).max() <= allowed + (0.5 if top > 1 else 0)
    assert np.abs(restored.astype(float) - given)[mask].max() > 0.05 * top


def test_an_estimate_that_explains_all_but_rounding_is_left_as_it_is(rng):
    """Else the rounding of a smooth region becomes waves, which a blur hides."""
    smooth = np.add.outer(np.linspace(20, 50, 64), np.linspace(0, 9, 64))[..., None]
    what, mask = Degradation('blur', sigma=3), np.zeros((64, 64, 1), bool)
    mask[16:48, 16:48] = True
    y = pixels.apply(np.rint(smooth).astype(np.uint8), mask, what, rng)
    equations = Equations(batch(y) / 255, batch(mask), [what])
    clean, small = batch(smooth) / 255, torch.full((1, 1, 1, 1), 1e-4, dtype=torch.float64)
    error = {}
    for name, w in (('small', small), ('least', torch.maximum(small, equations.least_w(clean)))):
        error[name] = float((equations.solve(clean, w) - clean)[0, 0, mask[..., 0]].std() * 255)
    assert error['small'] > 1 > 0.4 > error['least']
    assert float(equations.least_w(clean + 0.1)) < 1e-4
    for other in (Degradation('noise', sigma=9), Degradation('blur', sigma=3, jpeg=75)):
        assert float(Equations(batch(y) / 255, batch(mask), [other]).least_w(clean)) == 0


@pytest.mark.parametrize('edges', [(True,) * 4, (False,) * 4, (True, False, False, True)])
def test_a_blurred_rectangle_is_solved_in_closed_form(rng, edges):
    mask = torch.zeros(2, 1, 30, 26, dtype=torch.float64)
    mask[0, :, 3:21, 5:25] = mask[1, :, 10:12, :] = 1
    told = [Degradation('blur', sigma=sigma, edges=edges) for sigma in (0.8, 2.0)]
    blur = find_blur(mask, told, torch.float64)
    x = mask * torch.from_numpy(rng.normal(size=(2, 3, 30, 26)))
    w = torch.tensor([1e-3, 1e-2], dtype=torch.float64).view(-1, 1, 1, 1)
    product = mask * blur.adjoint(blur.holds * blur(x)) + w * x
    assert torch.allclose(blur.inverse(product, w), x, atol=1e-9)


@pytest.mark.parametrize('kernel', [None, Kernel.of(np.diag([1.0, 2, 1, 1, 1]))])
def test_a_blurred_region_of_any_shape_takes_few_iterations(rng, kernel, monkeypatch):
    """Without preconditioning it takes about 180."""
    y, x = np.mgrid[:64, :64]
    region = torch.from_numpy(np.hypot(y - 30, x - 34) < 22).float()[None, None]
    kind = {'kernel': kernel, 'kind': 'kernel'} if kernel else {'kind': 'blur', 'sigma': 1.5}
    told = [Degradation(**kind)]
    image = torch.from_numpy(rng.uniform(size=(1, 3, 64, 64))).float()
    asked = []
    solver = blur_module.conjugate_gradients
    monkeypatch.setattr(
        blur_module,
        'conjugate_gradients',
        lambda apply, *rest: solver(lambda v: asked.append(1) or apply(v), *rest),
    )
    Equations(image, region, told).solve(image.flip(2), torch.full((1, 1, 1, 1), 1e-3))
    assert 1 < len(asked) <= 60
