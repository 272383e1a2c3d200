"""Blur by a kernel that the user knows: read from a file, applied, solved, told."""

import json
import multiprocessing
import os
import pickle

import numpy as np
import pytest
import torch
from conftest import make_triplets
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import convolve
from skimage import data

from datasets_ext.manifest import degradation_of, read_degradations
from datasets_ext.masked_degradation_dataset import MaskedDegradationDataset
from datasets_ext.masked_paired_image_dataset import MaskedPairedImageDataset
from datasets_ext.recipe import Recipe
from hmaca_arch import cli
from hmaca_arch.degradation import Degradation, Equations, Kernel, pixels, solve
from hmaca_arch.degradation.convolution import find_convolutions
from hmaca_arch.degradation.kernel_files import read_degradation, read_kernel
from hmaca_arch.inference import Restorer
from hmaca_arch.networks.conditions import strengths
from hmaca_arch.networks.unfolded import Unfolded

COUNTS = np.array([[0, 0, 0, 0, 0], [3, 1, 1, 0, 0], [0, 0, 1, 2, 0]])
KERNEL = Kernel.of(COUNTS, 'k.png')
EDGES = [(True, True, True, True), (False, True, True, False), (False, False, False, False)]
INNER = {
    'type': 'HMACA',
    'embed_dim': 32,
    'depths': [1],
    'num_heads': [2],
    'window_size': 4,
    'interval_size': 2,
    'mlp_ratio': 1,
    'cross_attention': 'none',
    'mask_position': True,
    'image_residual': True,
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def told(edges=EDGES[0], kernel=KERNEL, jpeg=0) -> Degradation:
    return Degradation('kernel', kernel=kernel, edges=edges, jpeg=jpeg)


def as_batch(image: np.ndarray) -> torch.Tensor:
    """(h, w) or (h, w, c) -> (1, c, h, w) float64."""
    image = image.reshape(*image.shape[:2], -1).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float64))[None]


def save(path, values: np.ndarray, **settings) -> str:
    Image.fromarray(values).save(path, **settings)
    return str(path)


def dense(height: int, width: int, kernel: Kernel) -> np.ndarray:
    """The convolution as a matrix, by SciPy, pixel by pixel. SciPy calls REFLECT_101 `mirror`."""
    units = np.eye(height * width).reshape(-1, height, width)
    return np.array([convolve(unit, kernel.values, mode='mirror').ravel() for unit in units]).T


def inside_of(mask: np.ndarray, kernel: Kernel, edges) -> np.ndarray:
    """Masked pixels whose kernel stays inside the array, or leaves it at the image's own edge."""
    (height, width), (down, across) = mask.shape, (side // 2 for side in kernel.shape)
    top, left, bottom, right = edges
    found = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        rows = (top or y - down >= 0) and (bottom or y + down < height)
        found[y, x] = rows and (left or x - across >= 0) and (right or x + across < width)
    return found


def test_a_kernel_keeps_its_middle_and_sums_to_1():
    expected = COUNTS / 8
    assert KERNEL.values == pytest.approx(expected, abs=1e-5)
    assert Kernel.of(np.pad(COUNTS, 7)) == KERNEL, 'a black margin means nothing'
    assert Kernel.of(COUNTS * 9.25, 'other') == KERNEL, 'nor do scale and name'
    assert Kernel.of(COUNTS[:, 1:4]) != KERNEL
    x = np.arange(-30, 31)
    gauss = Kernel.of(np.exp(-(x[:, None] ** 2 + x**2) / (2 * 2.5**2)))
    assert gauss.sigma == pytest.approx(2.5, rel=1e-2)
    assert Kernel.from_text(KERNEL.text) == KERNEL and len(KERNEL.text) < 80


@pytest.mark.parametrize(
    ('values', 'line'),
    [
        (np.zeros((3, 3)), 'it is black'),
        (np.array([[1.0, -1.0, 2.0]]), 'below 0'),
        (np.full((3, 3), np.nan), 'not finite'),
        (np.ones((4, 3)), 'got 3x4 pixels, expected a grey image of odd sides'),
        (np.ones((1, 129)), 'got 129x1 pixels.*at most 127x127'),
        (np.ones(3), 'odd sides'),
    ],
)
def test_other_arrays_are_no_kernels(values, line):
    with pytest.raises(ValueError, match=line):
        Kernel.of(values)


@pytest.mark.parametrize(
    'text', ['', '3x3', '3x3:????', '3x3:AAAA', '-1x-1:eJwDAAAAAAE=', KERNEL.text[:-9]]
)
def test_a_damaged_manifest_has_no_kernel(text):
    with pytest.raises(ValueError, match='kernel: '):
        Kernel.from_text(text)


def test_a_point_of_light_becomes_the_kernel():
    image = np.zeros((15, 17, 1), np.uint8)
    image[6, 8] = 240
    result = pixels.apply(image, np.ones((15, 17, 1), bool), told())
    assert result[5:8, 6:11, 0].tolist() == (30 * COUNTS).tolist() and result.sum() == 240


@pytest.mark.parametrize('edges', EDGES)
def test_the_equations_are_those_of_the_data_sets(rng, edges):
    clean = rng.integers(0, 256, (14, 19, 3), dtype=np.uint8)
    mask = rng.random((14, 19, 1)) < 0.7
    made = pixels.apply(clean, mask, told())
    assert np.array_equal(made[~mask[..., 0]], clean[~mask[..., 0]])
    operator = find_convolutions(as_batch(mask), [told(edges)], torch.float64)
    holds = operator.holds[0, 0].numpy() > 0
    assert np.array_equal(holds, inside_of(mask[..., 0], KERNEL, edges)) and holds.any()
    blurred = operator(as_batch(clean))[0].numpy().transpose(1, 2, 0)
    assert np.abs(blurred - made)[holds].max() <= 0.501
    x, y = as_batch(rng.standard_normal((14, 19))), as_batch(rng.standard_normal((14, 19)))
    assert (operator(x) * y).sum().item() == pytest.approx(
        (x * operator.adjoint(y)).sum().item(), abs=1e-12
    )


@given(
    st.integers(0, 2**31),
    st.tuples(st.integers(5, 11), st.integers(5, 11)),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.tuples(*[st.booleans()] * 4),
    st.floats(0.003, 10),
)
@settings(max_examples=25)
def test_it_is_solved_as_dense_algebra_does(seed, shape, reach, edges, w):
    """Masks of several components that touch the image's edge; kernels that leave the array."""
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < 0.6
    mask[shape[0] // 2, shape[1] // 2] = True
    kernel = Kernel.of(rng.random([2 * side + 1 for side in reach]) + 0.01)
    z, y = rng.random((2, *shape))
    inside = mask.ravel()
    holds = inside_of(mask, kernel, edges).ravel()
    matrix = dense(*shape, kernel)[holds]
    start = np.where(mask, z, y).ravel()
    part = matrix[:, inside]
    expected = start.copy()
    expected[inside] += np.linalg.solve(
        part.T @ part + w * np.eye(inside.sum()), part.T @ (y.ravel()[holds] - matrix @ start)
    )
    trust = torch.full((1, 1, 1, 1), w, dtype=torch.float64)
    x = solve(as_batch(z), as_batch(y), as_batch(mask), [told(edges, kernel)], trust)
    assert np.abs(x.numpy().ravel() - expected).max() < 1e-8


def test_gradients(rng):
    mask, given = as_batch(rng.random((7, 8)) < 0.6), as_batch(rng.random((7, 8)))
    z = as_batch(rng.random((7, 8))).requires_grad_()
    log_w = torch.full((1, 1, 1, 1), -1.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda z, w: solve(z, given, mask, [told()], w.exp()), (z, log_w), atol=1e-6
    )


def test_kernels_of_several_sizes_share_a_batch(rng):
    point = told(kernel=Kernel.of(np.ones((1, 1))))
    several = [told(), point, told(EDGES[1]).flipped(0, 12), told().transposed()]
    mask = torch.from_numpy(rng.random((4, 1, 12, 13)) < 0.5).double()
    x = torch.from_numpy(rng.random((4, 2, 12, 13)))
    together = find_convolutions(mask, several, torch.float64)
    for i, one in enumerate(several):
        alone = find_convolutions(mask[i : i + 1], [one], torch.float64)
        assert torch.allclose(together(x)[i], alone(x[i : i + 1])[0])
        assert torch.equal(together.holds[i], alone.holds[0])
    assert torch.allclose(together(x)[1], x[1])


def test_its_power_is_that_of_a_gaussian_where_it_is_one():
    place = np.arange(-9, 10)
    kernel = Kernel.of(np.exp(-(place[:, None] ** 2 + place**2) / (2 * 1.5**2)))
    operator = find_convolutions(torch.ones(1, 1, 12, 15), [told(kernel=kernel)], torch.float64)
    rows, columns = (np.pi * np.arange(length) / length for length in (12, 15))
    power = operator.power(torch.zeros(12, 15, dtype=torch.float64))[0, 0].numpy()
    assert np.abs(power - np.exp(-(1.5**2) * (rows[:, None] ** 2 + columns**2))).max() < 1e-3


def test_a_kernel_turns_with_its_image(rng):
    clean = rng.integers(0, 256, (20, 23, 1), dtype=np.uint8)
    mask = np.zeros((20, 23, 1), bool)
    mask[4:15, 5:19] = True
    made = pixels.apply(clean, mask, told())
    for turn, turned in (
        (lambda a: a[::-1], told().flipped(0, 20)),
        (lambda a: a[:, ::-1], told().flipped(1, 23)),
        (lambda a: a.swapaxes(0, 1), told().transposed()),
    ):
        image, place, expected = (np.ascontiguousarray(turn(a)) for a in (clean, mask, made))
        assert np.array_equal(pixels.apply(image, place, turned), expected)
        again = Degradation.from_vector(turned.vector())
        assert again == turned and str(again).startswith('kernel:')
    assert told().flipped(0, 20).flipped(0, 20) == told() != told().flipped(0, 20)
    vector = told().vector()
    vector[-1] += 1
    with pytest.raises(ValueError, match='of a kernel, expected one that was read'):
        Degradation.from_vector(vector)


def test_the_start_undoes_motion():
    """The prior's mean regains most of what motion over 9 pixels took, in 8 bits."""
    clean = data.astronaut()[60:160, 180:280]
    mask = np.zeros((100, 100, 1), bool)
    mask[30:70, 30:70] = True
    motion = told(kernel=Kernel.of(np.eye(9)))
    made = pixels.apply(clean, mask, motion)
    before = np.square(made - clean.astype(float))[mask[..., 0]].mean()
    start = Equations(as_batch(made / 255), as_batch(mask), [motion]).start() * 255
    after = np.square(start[0].numpy().transpose(1, 2, 0) - clean)[mask[..., 0]].mean()
    assert after < before / 4, 'at least 6 dB'


def test_files_and_texts(tmp_path):
    name = save(tmp_path / 'k+1.png', (COUNTS * 80).astype(np.uint8))
    degradation = read_degradation(f' kernel:{name}+jpeg:75 ')
    assert (degradation.jpeg, degradation.kernel) == (75, KERNEL)
    assert str(degradation) == f'kernel:{name}+jpeg:75'
    assert str(read_degradation('blur:1.5')) == 'blur:1.5'
    for made in (
        save(tmp_path / 'deep.png', (COUNTS * 20000).astype(np.uint16)),
        save(tmp_path / 'rgb.bmp', np.repeat((COUNTS * 80)[..., None], 3, 2).astype(np.uint8)),
        save(tmp_path / 'float.tif', (COUNTS / 8).astype(np.float32)),
    ):
        assert np.abs(read_kernel(made).values - COUNTS / 8).max() < 0.01
    with pytest.raises(ValueError, match='degradation: got .kernel:'):
        Degradation.parse(f'kernel:{name}')  # a page or a node reads no files
    with pytest.raises(ValueError, match="got 'fog', expected kernel:FILE, pix:BLOCK"):
        read_degradation('fog')


def colours() -> np.ndarray:
    return np.array([[[9, 9, 9], [9, 0, 0], [0, 0, 0]]], np.uint8)


@pytest.mark.parametrize(
    ('name', 'content', 'line'),
    [
        ('black.png', np.zeros((3, 3), np.uint8), 'kernel: it is black'),
        ('large.png', np.ones((129, 129), np.uint8), 'kernel: got 129x129 pixels, expected'),
        ('huge.png', np.ones((2000, 2001), np.uint8), 'pixels'),
        ('even.png', np.ones((4, 4), np.uint8), 'kernel: got 4x4 pixels, expected'),
        ('colour.png', colours(), 'kernel: it has colours'),
        (
            'alpha.png',
            np.dstack([colours()[..., :1], [[9, 9, 0]]]).astype(np.uint8),
            'transparency',
        ),
        ('text.png', b'no image', 'cannot be read as an image'),
        ('missing.png', None, 'cannot be read: No such file'),
    ],
)  # fmt: skip
def test_what_is_no_kernel_gets_one_line(tmp_path, capsys, name, content, line):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save(path, content)
    image = save(tmp_path / 'image.png', np.zeros((20, 20, 3), np.uint8))
    arguments = ['restore', '-i', image, '--box', '2,2,9,9', '-o', str(tmp_path / 'o.png')]
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments, '--degradation', f'kernel:{path}'])
    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1 and len(said) == 1 and not (tmp_path / 'o.png').exists()
    assert said[0].startswith(f'basicsr restore: error: --degradation: {path}: ')
    assert line in said[0]
    with pytest.raises(ValueError, match='kernel: path is|' + line):
        Recipe(degradation={'type': 'kernel', 'path': str(path)})


def test_a_network_that_knows_blur_is_told_of_one_as_wide():
    like = torch.zeros(1, dtype=torch.float64)
    kernel, blur = strengths([told(), Degradation('blur', sigma=KERNEL.sigma)], like)
    assert torch.equal(kernel, blur) and KERNEL.sigma > 0


def test_the_command_restores_by_the_kernel(tmp_path, monkeypatch):
    """An untrained network is the identity, so what comes back agrees with the equation."""
    clean = data.astronaut()[60:124, 180:244]
    mask = np.zeros((64, 64, 1), bool)
    mask[20:44, 18:40] = True
    made = pixels.apply(clean, mask, told())
    restorer = Restorer(Unfolded(inner=INNER, steps=2))
    monkeypatch.setattr('hmaca_arch.commands.restore.load_restorer', lambda *_: restorer)
    name = save(tmp_path / 'k.png', (COUNTS * 80).astype(np.uint8))
    source = save(tmp_path / 'made.png', made)
    place = save(tmp_path / 'mask.png', mask[..., 0])
    out, report = tmp_path / 'o.png', tmp_path / 'report.json'
    with pytest.raises(SystemExit) as ended:
        cli.main(
            ['restore', '-i', source, '-m', place, '-o', str(out), '--json', str(report)]
            + ['--degradation', f'kernel:{name}']
        )
    assert ended.value.code == 0
    assert json.loads(report.read_text('utf-8'))['settings']['degradation'] == f'kernel:{name}'
    restored = np.asarray(Image.open(out))
    again = pixels.apply(restored, mask, told())
    assert np.abs(again.astype(int) - made)[mask[..., 0]].mean() < 1
    before, after = (np.square(x.astype(float) - clean).mean() for x in (made, restored))
    assert after < before / 2
    assert np.array_equal(
        restored, restorer.restore(made, mask[..., 0], degradation=f'kernel:{name}')
    )


@pytest.fixture
def kernels(tmp_path):
    """A folder of two kernels."""
    (tmp_path / 'kernels').mkdir()
    save(tmp_path / 'kernels' / 'a.png', (COUNTS * 80).astype(np.uint8))
    save(tmp_path / 'kernels' / 'b.png', (np.eye(7) * 255).astype(np.uint8))
    return tmp_path / 'kernels'


def made_elsewhere(pickled: bytes) -> tuple[np.ndarray, dict]:
    """Make a triplet in a process that has read no kernel."""
    image = data.chelsea()[:80, :80]
    lq, _, _, record = pickle.loads(pickled)(image, np.random.default_rng(3))
    return lq, record


def test_a_recipe_carries_its_kernels(kernels):
    recipe = Recipe(degradation={'type': 'kernel', 'path': str(kernels)}, size=64)
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        lq, record = pool.apply(made_elsewhere, (pickle.dumps(recipe),))
    expected, mask, gt, _ = recipe(data.chelsea()[:80, :80], np.random.default_rng(3))
    assert np.array_equal(lq, expected) and (lq != gt).any()
    degradation = degradation_of(json.loads(json.dumps(record)))
    assert str(degradation) in ('kernel:a.png', 'kernel:b.png')
    assert np.array_equal(pixels.apply(gt, mask, degradation), lq)


def test_data_sets_tell_the_network_of_the_kernel(kernels, tmp_path):
    make_triplets(tmp_path, 4, size=64)
    entry = {'type': 'kernel', 'path': str(kernels)}
    opt = {'name': 'x', 'phase': 'train', 'dataroot_gt': str(tmp_path / 'gt'), 'channels': 3}
    drawn = MaskedDegradationDataset(
        {**opt, 'type': 'MaskedDegradationDataset', 'protocol': 'clean', 'degradation': entry}
        | {'gt_size': 40, 'use_hflip': True, 'use_rot': True}
    )
    items = list(torch.utils.data.DataLoader(drawn, batch_size=4, num_workers=1))
    vectors = torch.cat([item['degradation'] for item in items]).tolist()
    found = [Degradation.from_vector(vector) for vector in vectors]
    assert {d.kind for d in found} == {'kernel'} and len({d.kernel for d in found}) > 1
    with pytest.raises(SystemExit) as ended:
        cli.main(
            ['make-dataset', str(tmp_path / 'gt'), '-o', str(tmp_path / 'made'), '--size', '48']
            + ['--protocol', 'clean', '--degradation', 'kernel', '--kernel', str(kernels)]
            + ['--workers', '1']
        )
    assert ended.value.code == 0
    told_of = read_degradations(str(tmp_path / 'made' / 'gt'))
    paired = MaskedPairedImageDataset(
        {'name': 'y', 'type': 'MaskedPairedImageDataset', 'phase': 'val', 'channels': 3}
        | {f'dataroot_{kind}': str(tmp_path / 'made' / kind) for kind in ('lq', 'gt', 'mask')}
    )
    for item in paired:
        degradation = Degradation.from_vector(item['degradation'].tolist())
        assert degradation == told_of[os.path.splitext(os.path.basename(item['gt_path']))[0]]
        lq, gt, mask = (
            (item[kind] * 255).round().byte().numpy().transpose(1, 2, 0)
            for kind in ('lq', 'gt', 'mask')
        )
        assert np.array_equal(pixels.apply(gt, mask > 0, degradation), lq)
