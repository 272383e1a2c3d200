"""The equations of the degradations against dense linear algebra, the data sets' own pixels, and
gradcheck.
"""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmaca_arch.degradation import (
    ANCHORS,
    FIELDS,
    KINDS,
    UNKNOWN,
    Degradation,
    Equations,
    Kernel,
    blur_matrix,
    degradations_of,
    find_blocks,
    find_blur,
    pixels,
    solve,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def region(height: int, width: int, *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """A mask (h, w) bool of boxes (top, left, bottom, right)."""
    mask = np.zeros((height, width), bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def batch(image: np.ndarray) -> torch.Tensor:
    """(h, w), (h, w, 1) or (h, w, 3) -> (1, c, h, w) float64, 8-bit values in [0, 1]."""
    image = image.reshape(*image.shape[:2], -1)
    scale = 255 if image.dtype == np.uint8 else 1
    return (
        torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float64))[None]
        / scale
    )


def trust(value: float) -> torch.Tensor:
    return torch.full((1, 1, 1, 1), value, dtype=torch.float64)


@pytest.mark.parametrize(
    'text',
    [
        'unknown',
        'none',
        'none+jpeg:75',
        'pix:8:mean',
        'pix:8:centre',
        'pix:8:centre@3,5',
        'blur:1.5',
        'noise:15',
        'blur:0.7+jpeg:30',
    ],
)
def test_text_and_vector_are_read_back(text):
    degradation = Degradation.parse(text)
    assert str(degradation) == text
    vector = degradation.vector()
    assert vector.dtype == np.float32 and vector.shape == (len(FIELDS),)
    again = Degradation.from_vector(vector)
    assert str(again) == text and np.array_equal(again.vector(), vector)


REFUSED = [
    '',
    'pix',
    'pix:8',
    'pix:0:mean',
    'pix:8:median',
    'blur:0',
    'blur:-1',
    'noise:1e9',
    'blur:1+jpeg:101',
    'auto',
    'x' * 1000,
]


@pytest.mark.parametrize('text', REFUSED)
def test_other_texts_are_refused_in_one_line(text):
    with pytest.raises(ValueError, match='degradation: got') as refused:
        Degradation.parse(text)
    assert '\n' not in str(refused.value) and len(str(refused.value)) < 300


def test_vectors_of_a_batch():
    assert degradations_of(None, 2) == [UNKNOWN, UNKNOWN]
    with pytest.raises(ValueError, match='expected'):
        degradations_of(torch.zeros(1, 3), 2)
    with pytest.raises(ValueError, match='exactly one'):
        degradations_of(torch.zeros(1, len(FIELDS)), 1)


BOXES = [(2, 3, 15, 20), (20, 1, 27, 9)]


@pytest.mark.parametrize('pool', ['mean', 'centre'])
@pytest.mark.parametrize('block', [1, 2, 5, 8])
@pytest.mark.parametrize('offset', [None, (3, 1)])
def test_the_sought_image_agrees_with_the_data_sets_blocks(rng, pool, block, offset):
    """Blocks made by the data sets: what was there before is a solution, up to rounding, so solving
    from it changes nothing more.
    """
    clean = rng.integers(0, 256, (32, 30, 3), dtype=np.uint8)
    mask = region(32, 30, *BOXES)
    if offset is None:
        degradation = Degradation('pix', block=block, pool=pool)
        given = pixels.pixelate(clean, mask[..., None], block, pool)
    else:
        offset = tuple(place % block for place in offset)
        degradation = Degradation(
            'pix', block=block, pool=pool, anchor=('offset', 'offset'), offset=offset
        )
        given = pixels.pixelate_grid(clean, mask[..., None], block, pool, offset)
    blocks = find_blocks(batch(mask), [degradation])
    mean, count = blocks.mean(batch(clean).transpose(0, 1).reshape(3, -1))
    colour = batch(given).transpose(0, 1).reshape(3, -1)[:, blocks.colour]
    assert len(blocks.colour) > 0 and (mean - colour).abs().max() <= 0.5 / 255 + 1e-9
    if pool == 'mean' and block > 1:
        assert count.max() == block**2


def dense_blocks(
    mask: np.ndarray, block: int, pool: str
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Rows of the equation matrix of the data sets' own blocks, and a pixel that shows each colour:
    by definition, in plain loops.
    """
    from datasets_ext.masks import components

    rows, shown = [], []
    for top, left, height, width, inside in components(mask[..., None]):
        for y in range(0, height, block):
            for x in range(0, width, block):
                cut = inside[y : y + block, x : x + block, 0]
                if not cut.any():
                    continue
                h, w = cut.shape
                weights = np.zeros(mask.shape)
                part = weights[top + y : top + y + h, left + x : left + x + w]
                if pool == 'mean':
                    part[:] = 1 / (h * w)
                else:
                    ys, xs = {(h - 1) // 2, h // 2}, {(w - 1) // 2, w // 2}
                    for i in ys:
                        for j in xs:
                            part[i, j] = 1 / (len(ys) * len(xs))
                if not weights[mask].any():
                    continue
                rows.append(weights.ravel())
                i, j = np.argwhere(cut)[0]
                shown.append((top + y + i, left + x + j))
    return np.array(rows), shown


@pytest.mark.parametrize('pool', ['mean', 'centre'])
@pytest.mark.parametrize('block', [2, 3, 5])
def test_blocks_are_solved_as_dense_algebra_does(rng, pool, block):
    mask = region(18, 17, (2, 3, 13, 15))
    mask[2:5, 3:6] = False  # a corner that is known: blocks hold known pixels
    z, given = rng.random((18, 17)), rng.random((18, 17))
    x = solve(
        batch(z),
        batch(given),
        batch(mask),
        [Degradation('pix', block=block, pool=pool)],
        trust(7.0),
    )[0, 0].numpy()
    equations, shown = dense_blocks(mask, block, pool)
    inside = mask.ravel()
    start = np.where(mask, z, given).ravel()
    residual = np.array([given[place] for place in shown]) - equations @ start
    expected = start.copy()
    expected[inside] += np.linalg.pinv(equations[:, inside]) @ residual  # the least change
    assert np.abs(x.ravel() - expected).max() < 1e-12


def test_blocks_that_several_regions_share_are_one_equation(rng):
    """Two equations for one block, or a pixel in two, would each shift it: the start was not
    finite.
    """
    mask = region(30, 30, (2, 2, 9, 9), (4, 12, 8, 20), (12, 3, 20, 15))
    given = rng.random((30, 30))
    for degradation in (
        Degradation('pix', block=20, pool='mean', anchor=('offset', 'offset'), edges=(False,) * 4),
        Degradation('pix', block=7, pool='mean', anchor=('offset', 'offset'), offset=(3, 5)),
        Degradation('pix', block=6, pool='centre'),
    ):
        blocks = find_blocks(batch(mask), [degradation])
        changed = blocks.member[blocks.inside]
        assert len(changed) == len(changed.unique()) > 0
        start = Equations(batch(given), batch(mask), [degradation]).start()
        assert torch.isfinite(start).all()
    nested = np.zeros((30, 30), bool)
    nested[5:25, 5:25] = True
    nested[8:22, 8:22] = False
    nested[12:16, 12:17] = True  # a region inside the box of another
    blocks = find_blocks(batch(nested), [Degradation('pix', block=5, pool='mean')])
    changed = blocks.member[blocks.inside]
    assert len(changed) == len(changed.unique()) == nested.sum()


def test_rounding_is_not_blown_up_where_little_of_a_block_is_unknown():
    """One unknown pixel in a block of 144: an error of 0.4 grey levels in the colour would be one
    of 58 in the pixel.
    """
    image = np.full((12, 12), 100 / 255)
    mask = region(12, 12, (0, 0, 1, 1))
    degradation = Degradation('pix', block=12, pool='mean', anchor=('offset', 'offset'))
    z = image.copy()
    image[0, 0] = 100.4 / 255
    exact = (
        solve(batch(z), batch(image), batch(mask), [degradation], trust(1.0))[0, 0, 0, 0].item()
        * 255
    )
    weighed = (
        Equations(batch(image), batch(mask), [degradation])
        .solve(batch(z), trust(1.0))[0, 0, 0, 0]
        .item()
        * 255
    )
    assert exact == pytest.approx(100 + 0.4 * 144) and abs(weighed - 100) < 5


@pytest.mark.parametrize('sigma', [0.3, 1.0, 2.5])
def test_blur_is_that_of_the_data_sets(rng, sigma):
    clean = rng.integers(0, 256, (24, 31, 3), dtype=np.uint8)
    mask = region(24, 31, (0, 5, 12, 25))
    given = pixels.blur(clean, mask[..., None], sigma)
    blur = find_blur(batch(mask), [Degradation('blur', sigma=sigma)], torch.float64)
    assert bool((blur.holds[0, 0].numpy() == mask).all())
    blurred = blur(batch(clean))[0].numpy().transpose(1, 2, 0) * 255
    assert np.abs(blurred - given)[mask].max() <= 0.501


@pytest.mark.parametrize(
    'edges', [(True, True, True, True), (False, True, True, False), (False, False, False, False)]
)
def test_the_adjoint_is_the_transpose(rng, edges):
    mask = region(13, 17, (0, 0, 13, 17))
    blur = find_blur(batch(mask), [Degradation('blur', sigma=1.2, edges=edges)], torch.float64)
    x, y = (batch(rng.standard_normal((13, 17))) for _ in range(2))
    assert (blur(x) * y).sum().item() == pytest.approx(
        (x * blur.adjoint(y)).sum().item(), abs=1e-12
    )
    matrix, holds = blur_matrix(13, 1.2, edges[0], edges[2])
    assert matrix.sum(axis=1) == pytest.approx(1)
    assert holds.tolist() == [(edges[0] or i >= 5) and (edges[2] or i < 8) for i in range(13)]


SIDES = st.integers(5, 12)


@given(
    st.integers(0, 2**31),
    SIDES,
    SIDES,
    st.floats(0.4, 2.5),
    st.tuples(*[st.booleans()] * 4),
    st.floats(0.001, 10),
)
@settings(max_examples=25)
def test_blur_is_solved_as_dense_algebra_does(seed, height, width, sigma, edges, w):
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < 0.6
    mask[height // 2, width // 2] = True
    degradation = Degradation('blur', sigma=sigma, edges=edges)
    z, y = rng.random((2, height, width))
    x = solve(batch(z), batch(y), batch(mask), [degradation], trust(w))[0, 0].numpy().ravel()
    rows, columns = (
        blur_matrix(height, sigma, edges[0], edges[2]),
        blur_matrix(width, sigma, edges[1], edges[3]),
    )
    inside = mask.ravel()
    holds = inside & np.outer(rows[1], columns[1]).ravel()
    matrix = np.kron(rows[0], columns[0])[holds]
    start = np.where(mask, z, y).ravel()
    part = matrix[:, inside]
    change = np.linalg.solve(
        part.T @ part + w * np.eye(inside.sum()), part.T @ (y.ravel()[holds] - matrix @ start)
    )
    expected = start.copy()
    expected[inside] += change
    assert np.abs(x - expected).max() < 1e-8


def test_noise_none_and_unknown(rng):
    mask = region(8, 8, (2, 2, 6, 6))
    z, given = rng.random((2, 8, 8))
    for text, expected in (
        ('noise:20', (3 * z + given) / 4),
        ('none', given),
        ('unknown', z),
        ('none+jpeg:50', z),
    ):
        x = solve(batch(z), batch(given), batch(mask), [Degradation.parse(text)], trust(3.0))[
            0, 0
        ].numpy()
        assert np.allclose(x[mask], expected[mask], atol=1e-12) and np.array_equal(
            x[~mask], given[~mask]
        )


def test_a_batch_is_solved_image_by_image(rng):
    texts = [
        'pix:3:mean',
        'blur:1',
        'noise:9',
        'unknown',
        'pix:4:centre',
        'blur:0.6+jpeg:60',
        'none',
        'pix:5:mean+jpeg:80',
    ]
    # smooth: of noise, conjugate gradients find no start within their iterations
    smooth = [cv2.GaussianBlur(rng.random((14, 15)), (0, 0), 3) for _ in range(6 * len(texts))]
    z, given = torch.from_numpy(np.reshape(smooth, (2, len(texts), 3, 14, 15)))
    mask = torch.from_numpy(rng.random((len(texts), 1, 14, 15)) < 0.5).double()
    w = torch.from_numpy(rng.uniform(0.01, 1, (len(texts), 1, 1, 1)))
    degradations = [Degradation.parse(text) for text in texts]
    together = Equations(given, mask, degradations)
    for function in (
        lambda e, i: e.solve(z[i], w[i]),
        lambda e, i: e.start(),
        lambda e, i: e.known(),
    ):
        alone = [
            function(Equations(given[i : i + 1], mask[i : i + 1], [d]), slice(i, i + 1))
            for i, d in enumerate(degradations)
        ]
        assert torch.allclose(function(together, slice(None)), torch.cat(alone), atol=1e-5)


@pytest.mark.parametrize(
    'text', ['pix:3:mean', 'pix:2:centre', 'pix:3:mean+jpeg:50', 'blur:1', 'noise:20', 'unknown']
)
def test_gradients(rng, text):
    mask = batch(region(7, 8, (1, 1, 6, 7)))
    given = batch(rng.random((7, 8)))
    z = batch(rng.random((7, 8))).requires_grad_()
    log_w = trust(-1.0).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z, w: solve(z, given, mask, [Degradation.parse(text)], w.exp()),
        (z, log_w),
        atol=1e-6,
    )


@pytest.mark.parametrize('pool', ['mean', 'centre'])
def test_what_is_told_moves_with_crops_flips_and_transposition(rng, pool):
    """The equations of a changed image are the changed equations: what was there before still
    solves them.
    """
    clean = rng.integers(0, 256, (40, 44, 3), dtype=np.uint8)
    mask = region(40, 44, (5, 6, 28, 29))
    given = pixels.pixelate(clean, mask[..., None], 5, pool)
    degradation = Degradation('pix', block=5, pool=pool)
    for top, left, size in ((0, 0, 40), (3, 4, 30), (10, 11, 16), (4, 12, 24)):
        moved = degradation.cropped(mask, top, left, size, size)
        images = [image[top : top + size, left : left + size] for image in (clean, mask, given)]
        for flip in ((), (0,), (1,), (0, 1)):
            told, shown = moved, images
            for axis in flip:
                told, shown = told.flipped(axis, size), [np.flip(image, axis) for image in shown]
            for turn in (False, True):
                if turn:
                    told, shown = told.transposed(), [image.swapaxes(0, 1) for image in shown]
                there, here, seen = shown
                blocks = find_blocks(batch(here), [told])
                flat = [batch(image).transpose(0, 1).reshape(3, -1) for image in (there, seen)]
                assert len(blocks.colour) >= 4
                assert (
                    blocks.mean(flat[0])[0] - flat[1][:, blocks.colour]
                ).abs().max() <= 0.5 / 255 + 1e-9


def test_several_regions_cut_by_a_crop_are_unknown():
    mask = region(40, 40, (2, 2, 12, 12), (20, 20, 33, 33))
    assert Degradation('pix', block=4).cropped(mask, 0, 0, 30, 30).kind == 'unknown'
    assert Degradation('pix', block=4).cropped(mask, 0, 0, 34, 34).kind == 'pix'
    assert Degradation('blur', sigma=2.0).cropped(mask, 4, 0, 30, 40).edges == (
        False,
        True,
        False,
        True,
    )


def test_the_start_interpolates_and_deblurs(rng):
    """On a smooth image the start is close to what was there, and agrees with the blocks."""
    y, x = np.mgrid[:40, :40] / 40
    clean = (
        np.rint(255 * (0.5 + 0.3 * np.sin(3 * x + 2 * y)))[..., None]
        .repeat(3, axis=2)
        .astype(np.uint8)
    )
    mask = region(40, 40, (10, 10, 30, 30))
    for degradation, degraded, share in (
        (
            Degradation('pix', block=5, pool='mean'),
            pixels.pixelate(clean, mask[..., None], 5, 'mean'),
            0.1,
        ),
        (
            Degradation('pix', block=5, pool='centre'),
            pixels.pixelate(clean, mask[..., None], 5, 'centre'),
            0.1,
        ),
        (Degradation('blur', sigma=2.0), pixels.blur(clean, mask[..., None], 2.0), 0.9),
    ):
        equations = Equations(batch(degraded), batch(mask), [degradation])
        start = equations.start()
        error, before = (
            (image - batch(clean))[0, 0].numpy()[mask] for image in (start, batch(degraded))
        )
        assert np.sqrt((error**2).mean()) < share * np.sqrt((before**2).mean())
        assert torch.equal(
            start[0, :, ~torch.from_numpy(mask)], batch(degraded)[0, :, ~torch.from_numpy(mask)]
        )


@given(
    st.integers(0, 2**31),
    st.sampled_from(KINDS),
    st.integers(1, 40),
    st.floats(0.05, 8),
    st.integers(0, 100),
)
@settings(max_examples=40)
def test_nothing_is_ever_not_finite(seed, kind, block, sigma, jpeg):
    rng = np.random.default_rng(seed)
    offset = tuple(int(place) for place in rng.integers(-50, 50, 2))
    anchor = tuple(str(rng.choice(ANCHORS)) for _ in range(2))
    pool = str(rng.choice(['mean', 'centre']))
    kernel = Kernel.of(rng.random((block % 4 * 2 + 1, 5)) + 0.01) if kind == 'kernel' else None
    degradation = Degradation(
        kind, block, pool, anchor=anchor, offset=offset, sigma=sigma, jpeg=jpeg, kernel=kernel
    )
    height, width = rng.integers(1, 20, 2)
    mask = torch.from_numpy(rng.random((1, 1, height, width)) < rng.random()).float()
    given = torch.from_numpy(rng.random((1, 3, height, width))).float()
    equations = Equations(given, mask, [degradation])
    z = equations.start().requires_grad_()
    x = equations.solve(z, torch.full((1, 1, 1, 1), float(10 ** rng.uniform(-5, 3))))
    x.square().sum().backward()
    assert torch.isfinite(x).all() and torch.isfinite(z.grad).all()
    assert torch.equal(x[mask.expand_as(x) == 0], given[mask.expand_as(x) == 0])
