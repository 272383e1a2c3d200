"""The Python API: what goes in comes out, restored inside the mask and bit-identical outside,
whatever the network does.
"""

import logging

import numpy as np
import pytest
import torch
from conftest import write_options
from PIL import Image
from torch import nn

import hmaca_arch
from hmaca_arch import inference
from hmaca_arch.config.files import read_network
from hmaca_arch.experiments.comparison import methods
from hmaca_arch.inference import Restorer, load_restorer
from hmaca_arch.networks import mask_input, registry
from hmaca_arch.restoring import batching


class Pointwise(nn.Module):
    """Knows what it has to return at each pixel: 1 - x. Remembers the shapes that it saw."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, lq):
        self.seen.append(tuple(lq.shape))
        return 1 - lq


class Fails(Pointwise):
    """Out of memory above a number of pixels."""

    def __init__(self, pixels: int, error: Exception):
        super().__init__()
        self.pixels, self.error = pixels, error

    def forward(self, lq):
        if lq.shape[0] * lq.shape[2] * lq.shape[3] > self.pixels:
            raise self.error
        return super().forward(lq)


def picture(*shape: int, dtype=np.uint8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        rng.random(shape).astype(dtype)
        if np.dtype(dtype).kind == 'f'
        else rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype)
    )


def square(height: int, width: int, top: int = 10, left: int = 12, side: int = 20) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + side, left : left + side] = 255
    return mask


@pytest.fixture(scope='module')
def tiny(tiny_checkpoint) -> Restorer:
    return load_restorer(tiny_checkpoint, device='cpu')


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize('channels', [(), (1,), (2,), (3,), (4,)])
def test_every_kind_of_picture_comes_back_as_it_went_in(dtype, channels):
    image, mask = picture(50, 40, *channels, dtype=dtype), square(50, 40)
    before, inside = image.copy(), mask > 0
    result = Restorer(Pointwise()).restore(image, mask)
    assert result.shape == image.shape and result.dtype == image.dtype
    np.testing.assert_array_equal(image, before)  # the caller's is left alone
    np.testing.assert_array_equal(result[~inside], image[~inside])
    colours = slice(None) if channels in ((), (1,), (3,)) else slice(0, channels[0] - 1)
    peak = np.iinfo(dtype).max if np.dtype(dtype).kind == 'u' else 1
    inverse = peak - image[inside].reshape(inside.sum(), -1)[:, colours]
    np.testing.assert_allclose(
        result[inside].reshape(inside.sum(), -1)[:, colours], inverse, atol=1e-3 if peak == 1 else 0
    )
    if channels in ((2,), (4,)):
        np.testing.assert_array_equal(result[..., -1], image[..., -1])


@pytest.mark.parametrize(
    'dtype', [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8]
)
def test_tensors(dtype):
    image = torch.rand(3, 50, 40).mul(255 if dtype == torch.uint8 else 1).to(dtype)
    mask = torch.from_numpy(square(50, 40) > 0)
    for given in (mask, mask[None], mask.float(), mask.numpy()):
        result = Restorer(Pointwise()).restore(image, given)
        assert result.shape == image.shape and result.dtype == dtype
        assert torch.equal(result[:, ~mask], image[:, ~mask]) and not torch.equal(
            result[:, mask], image[:, mask]
        )


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_bit_identical_outside_whatever_the_network_does(tiny, dtype):
    image, mask = picture(70, 90, 3, dtype=dtype), square(70, 90)
    for options in ({}, {'feather': 4}, {'soft_mask': True}, {'context': 0}, {'tile': 48}):
        result = tiny.restore(image, mask, **options)
        np.testing.assert_array_equal(result[mask == 0], image[mask == 0])
        assert (result[mask > 0] != image[mask > 0]).any()


@pytest.mark.parametrize('mode', ['L', 'LA', 'RGB', 'RGBA', 'I;16'])
def test_pil_images_come_back_as_they_went_in(mode):
    channels = {'L': (), 'I;16': ()}.get(mode, (len(mode),))
    pixels = picture(50, 40, *channels, dtype=np.uint16 if mode == 'I;16' else np.uint8)
    mask = square(50, 40)
    image = Image.fromarray(pixels)
    image.info['icc_profile'] = b'a profile'
    assert image.mode == mode
    for given in (mask, Image.fromarray(mask), Image.fromarray(mask).convert('1')):
        result = Restorer(Pointwise()).restore(image, given)
        assert isinstance(result, Image.Image) and result.mode == mode and result is not image
        assert result.info == {'icc_profile': b'a profile'}
        expected = Restorer(Pointwise()).restore(pixels, mask)
        np.testing.assert_array_equal(np.asarray(result), expected)
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_other_modes_of_pil_are_named():
    for mode in ('P', 'CMYK', '1', 'F'):
        with pytest.raises(ValueError, match=f"PIL's mode {mode}; expected L, LA, RGB"):
            Restorer(Pointwise()).restore(Image.new(mode, (40, 50)), square(50, 40))


def test_progress_is_told_tile_by_tile():
    mask = np.zeros((300, 400), np.uint8)
    mask[10:20, 10:20] = mask[10:20, 200:210] = mask[100:300, 100:300] = 255
    seen = []
    network = Pointwise()
    Restorer(network).restore(
        picture(300, 400, 3),
        mask,
        progress=lambda done, total: seen.append((done, total)),
        tile=100,
        batch=3,
    )
    tiles = sum(shape[0] for shape in network.seen)
    assert seen == [(done, tiles) for done in range(tiles + 1)] and tiles > 10
    seen.clear()
    Restorer(network).restore(
        picture(300, 400, 3), 0 * mask, progress=lambda *numbers: seen.append(numbers)
    )
    assert seen == [], 'nothing to do'


def test_an_exception_in_progress_cancels():
    class Cancelled(Exception):
        pass

    def cancel(done, total):
        if done == 2:
            raise Cancelled

    network = Pointwise()
    image, mask = picture(300, 300, 3), np.full((300, 300), 255, np.uint8)
    with pytest.raises(Cancelled):
        Restorer(network).restore(image, mask, progress=cancel, tile=100, batch=1)
    assert len(network.seen) == 2, 'no tile more'


def test_progress_starts_again_where_memory_runs_out():
    error = torch.OutOfMemoryError('CUDA out of memory')
    seen = []
    Restorer(Fails(100 * 100, error)).restore(
        picture(400, 400, 3),
        np.full((400, 400), 255, np.uint8),
        progress=lambda *numbers: seen.append(numbers),
        tile=192,
    )
    first, last = seen[0][1], seen[-1][1]
    assert seen == [(0, first), *((done, last) for done in range(last + 1))] and last > first


def test_views_with_any_strides():
    image, mask = picture(60, 90, 3), np.repeat(square(60, 90)[..., None], 3, axis=2)
    expected = Restorer(Pointwise()).restore(image, mask[..., 0])
    flipped = Restorer(Pointwise()).restore(image[::-1, ::-1], mask[::-1, ::-1, 1])
    np.testing.assert_array_equal(flipped[::-1, ::-1], expected)
    turned = Restorer(Pointwise()).restore(image.swapaxes(0, 1), mask[..., 2].T)
    np.testing.assert_array_equal(turned.swapaxes(0, 1), expected)


def test_the_crop_is_what_the_network_sees():
    network = Pointwise()
    Restorer(network).restore(picture(300, 400, 3), square(300, 400, top=5), context=16)
    # At the top there are 5 pixels, to the left 12. 41 rows are made 48, a multiple of 8.
    assert network.seen == [(1, 3, 48, 48)]


def test_the_network_gets_crop_and_mask_as_one_would_cut_them(tiny):
    image, mask = picture(90, 120, 3), square(90, 120, 30, 40)
    crop = slice(30 - 10, 50 + 10), slice(40 - 10, 60 + 10)
    lq = torch.from_numpy(image[crop]).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        output = (
            tiny.network(lq, torch.from_numpy(mask[crop] / np.float32(255))[None, None])[0]
            .permute(1, 2, 0)
            .numpy()
        )
    expected = image.copy()
    expected[30:50, 40:60] = np.rint(np.clip(output, 0, 1) * 255)[10:30, 10:30]
    np.testing.assert_array_equal(tiny.restore(image, mask, context=10), expected)


def test_every_region_of_equal_size_shares_batches_and_none_is_forgotten(tiny):
    image = picture(120, 300, 3)
    masks = [square(120, 300, 30, left) for left in (30, 110, 190)] + [square(120, 300, 80, 250, 7)]
    network = Pointwise()
    Restorer(network).restore(image, sum(masks), context=8, batch=2)
    assert network.seen == [(2, 3, 40, 40), (1, 3, 40, 40), (1, 3, 24, 24)]
    together = tiny.restore(image, sum(masks), context=8)
    for mask in masks:
        alone = tiny.restore(image, mask, context=8)
        # batches change the order of sums, and with it at most a rounding
        assert np.abs(alone[mask > 0].astype(int) - together[mask > 0]).max() <= 1


@pytest.mark.parametrize('form', ['global', 'window'])
def test_soft_and_binary_regions_in_one_picture(form):
    """One soft mask in a batch would put `global` cross attention into its dense form for all."""
    torch.manual_seed(0)
    network = hmaca_arch.HMACA(
        embed_dim=32, depths=[1], num_heads=[2], window_size=8, cross_attention=form
    )
    calls = []
    network.register_forward_pre_hook(
        lambda _, inputs, named: calls.append(named['mask'].unique().tolist()), with_kwargs=True
    )
    mask = np.zeros((60, 120), np.float32)
    mask[20:30, 20:30], mask[20:30, 80:90] = 1, 0.5
    image = picture(60, 120, 3, dtype=np.float32)
    restorer = Restorer(network)
    result = restorer.restore(image, mask, context=8, soft_mask=True)
    assert sorted(calls) == [[0, 0.5], [0, 1]]
    full = restorer.restore(image, mask > 0.4, context=8)
    np.testing.assert_allclose(result[20:30, 20:30], full[20:30, 20:30], atol=1e-6)
    assert not np.array_equal(result[20:30, 80:90], image[20:30, 80:90])


def test_spots_whose_crops_overlap_stay_masked_in_each_others():
    """Each is restored alone, from a crop in which the other is masked too."""
    seen = []

    class Sees(nn.Module):
        def forward(self, lq, mask):
            seen.extend(mask[:, 0].numpy())
            return 1 - lq

    image, mask = picture(200, 200, 3), np.zeros((200, 200), np.uint8)
    mask[50:92, 50:92] = mask[98:140, 98:140] = 255
    mask[60, 60] = 0
    done = Restorer(Sees()).run(image, mask, context=8)
    assert len(done.regions) == 2 and len(seen) == 2
    np.testing.assert_array_equal(seen[0], mask[39:103, 39:103] > 0)
    np.testing.assert_array_equal(seen[1], mask[87:151, 87:151] > 0)
    np.testing.assert_array_equal(done.image, np.where(mask[..., None] > 0, 255 - image, image))


def dust(height: int, width: int, count: int, seed: int = 0) -> np.ndarray:
    """Make a mask with spots of 3 to 12 pixels."""
    rng, mask = np.random.default_rng(seed), np.zeros((height, width), bool)
    for top, left, rows, columns in zip(
        rng.integers(0, height - 12, count),
        rng.integers(0, width - 12, count),
        *rng.integers(3, 13, (2, count)),
    ):
        mask[top : top + rows, left : left + columns] = True
    return mask


def test_dust_goes_through_the_network_as_small_crops_in_batches():
    network, image, mask = Pointwise(), picture(1200, 1600, 3), dust(1200, 1600, 60)
    done = Restorer(network).run(image, mask, batch=8)
    np.testing.assert_array_equal(done.image, np.where(mask[..., None], 255 - image, image))
    pixels = sum(count * height * width for count, _, height, width in network.seen)
    assert pixels <= 60 * 80 * 80 and len(network.seen) <= len(done.regions) / 3


class Sums(nn.Module):
    """Every pixel depends on all others of its crop and of the mask, and on nothing else."""

    def forward(self, lq, mask):
        colour = (lq * (1 - mask)).mean(dim=(2, 3), keepdim=True)
        return (0.3 * (1 - lq) + 0.5 * colour + 0.2 * mask.mean()).expand_as(lq)


@pytest.mark.parametrize('seed', range(3))
def test_a_region_far_from_others_is_restored_as_if_alone(seed):
    image, mask = picture(500, 700, 3), np.zeros((500, 700), bool)
    mask[20:31, 30:47] = True
    alone = Restorer(Sums()).restore(image, mask, batch=1)
    others = mask.copy()
    others[130:, 160:] = dust(370, 540, 25, seed)
    together = Restorer(Sums()).run(image, others, batch=1)
    assert len(together.regions) > 5
    np.testing.assert_array_equal(together.image[mask], alone[mask])
    np.testing.assert_array_equal(together.image[~others], image[~others])


def test_batches_and_the_order_of_regions_change_nothing_but_rounding(tiny, monkeypatch):
    image, mask = picture(300, 400, 3, dtype=np.float32), dust(300, 400, 25)
    mask[200:300, 250:400] = True
    settings = {'context': 16, 'tile': 64}
    alone = tiny.run(image, mask, batch=1, **settings)
    assert len(alone.regions) > 8
    together = tiny.restore(image, mask, batch=8, **settings)
    np.testing.assert_allclose(together, alone.image, atol=1e-5)
    find = inference.find_regions
    monkeypatch.setattr(inference, 'find_regions', lambda *given: find(*given)[::-1])
    turned = tiny.restore(image, mask, batch=1, **settings)
    np.testing.assert_array_equal(turned, alone.image)


def test_soft_masks_blend_and_hard_ones_have_a_threshold():
    image = np.zeros((20, 20, 3), np.uint8)
    mask = np.zeros((20, 20), np.uint8)
    mask[5], mask[6], mask[7] = 51, 128, 127
    soft = Restorer(Pointwise()).restore(image, mask, soft_mask=True)
    assert [soft[row, 0, 0] for row in (4, 5, 6, 7)] == [0, 51, 128, 127]
    hard = Restorer(Pointwise()).restore(image, mask)
    assert [hard[row, 0, 0] for row in (4, 5, 6, 7)] == [0, 0, 255, 0]


def test_feathering_fades_in_from_the_border():
    image = np.zeros((40, 40, 3), np.uint8)
    result = Restorer(Pointwise()).restore(image, square(40, 40), feather=3)
    assert result[20, 11:17, 0].tolist() == [0, 64, 128, 191, 255, 255]


def test_tiles_of_a_pointwise_network_leave_no_trace():
    network = Pointwise()
    image, mask = picture(230, 500, 3), np.full((230, 500), 255, np.uint8)
    result = Restorer(network).restore(image, mask, tile=100, batch=8)
    np.testing.assert_array_equal(result, 255 - image)
    assert {shape[2:] for shape in network.seen} == {(100, 100)}
    assert max(shape[0] for shape in network.seen) == 8
    network.seen.clear()
    Restorer(network).restore(image, mask, tile=100)
    assert {shape[0] for shape in network.seen} == {1}  # on a CPU, if nobody says


def test_tiles_without_masked_pixels_are_not_computed():
    mask = np.zeros((600, 600), np.uint8)
    mask[20:580, 20:23] = mask[20:23, 20:580] = 255  # an L: its box is the picture
    network = Pointwise()
    Restorer(network).restore(picture(600, 600, 3), mask, tile=100)
    assert sum(shape[0] for shape in network.seen) <= 20  # of 81


def test_blending_hides_the_borders_of_tiles(tiny, monkeypatch):
    """The network sees less around a tile's border. Put side by side, its tiles differ there by a
    step; blended, by a fraction of it.
    """
    yy, xx = np.mgrid[:144, :144]
    image = np.stack(
        [0.5 + 0.3 * np.sin(xx / 9) * np.cos(yy / 7), 0.4 + 0.002 * xx, 0.3 + 0.002 * yy], axis=2
    ).astype(np.float32)
    mask = np.ones((144, 144), bool)
    whole = tiny.restore(image, mask)

    def largest_step() -> float:
        return (
            np.abs(np.diff(tiny.restore(image, mask, tile=72) - whole, axis=1))
            .mean(axis=(0, 2))
            .max()
        )

    blended = largest_step()
    monkeypatch.setattr(batching, 'OVERLAP', 0)
    assert 0 < blended < 0.1 * largest_step()


def test_any_size(tiny):
    for height, width in ((1, 1), (1, 9), (7, 3), (33, 17)):
        image = picture(height, width, 3)
        assert (
            tiny.restore(image, np.full((height, width), 255, np.uint8), context=0).shape
            == image.shape
        )


@pytest.mark.parametrize(
    'error',
    [
        torch.OutOfMemoryError('CUDA out of memory'),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_halves_the_batch_then_the_tile_and_says_so(error):
    image, mask = picture(400, 400, 3), np.full((400, 400), 255, np.uint8)
    restorer = Restorer(Fails(100 * 100, error))
    done = restorer.run(image, mask, tile=192, batch=8)
    np.testing.assert_array_equal(done.image, 255 - image)
    assert [note.split(': ')[1] for note in done.notes if 'memory' in note] == [
        'batches of 4 instead of 8',
        'batches of 2 instead of 4',
        'batches of 1 instead of 2',
        'tiles of 96 pixels instead of 192',
    ]
    assert not any(
        'memory' in note for note in restorer.run(image, mask, tile=192, batch=8).notes
    )  # it has learned
    with pytest.raises(ValueError, match='out of memory on cpu even with one tile of'):
        Restorer(Fails(1000, error)).run(image, mask)


def test_other_errors_are_not_taken_for_memory():
    with pytest.raises(
        ValueError, match=r'the network failed on this image \(RuntimeError: broken\)'
    ):
        Restorer(Fails(0, RuntimeError('broken'))).restore(
            picture(20, 20, 3), square(20, 20, 5, 5, 4)
        )


class NotFinite(nn.Module):
    def __init__(self, always: bool):
        super().__init__()
        self.always = always

    def forward(self, lq):
        bad = self.always or torch.is_autocast_enabled('cpu')
        return torch.full_like(lq, torch.nan) if bad else 1 - lq


def test_what_is_not_finite_in_bf16_is_computed_again_in_fp32(caplog):
    image, mask = picture(40, 40, 3), square(40, 40)
    with caplog.at_level(logging.WARNING, 'hmaca_arch'):
        result = Restorer(NotFinite(always=False), precision='bf16').restore(image, mask)
    np.testing.assert_array_equal(result[mask > 0], 255 - image[mask > 0])
    assert 'computed again in fp32' in caplog.text
    for precision in ('bf16', 'fp32'):
        with pytest.raises(ValueError, match="network's output is not finite"):
            Restorer(NotFinite(always=True), precision=precision).restore(image, mask)


def test_bf16_is_close_to_fp32(tiny, tiny_checkpoint):
    image, mask = picture(64, 64, 3, dtype=np.float32), square(64, 64)
    result = load_restorer(tiny_checkpoint, device='cpu', precision='bf16').restore(image, mask)
    exact = tiny.restore(image, mask)
    assert 0 < np.abs(result - exact).max() < 0.05


@pytest.mark.parametrize(('precision', 'most'), [('fp32', 1), ('bf16', 6)])
def test_every_device_restores_as_a_cpu_in_float32(device, precision, most):
    image, mask = picture(70, 90, 3), square(70, 90)
    expected = load_restorer(device='cpu').restore(image, mask, 'unknown')
    restorer = load_restorer(device=str(device), precision=precision)
    result = restorer.restore(image, mask, 'unknown')
    assert (expected[mask > 0] != image[mask > 0]).any()
    assert (result[mask == 0] == image[mask == 0]).all()
    assert np.abs(result.astype(int) - expected).max() <= most


def test_networks_for_gray_pictures():
    network = hmaca_arch.HMANet(in_chans=1, embed_dim=32, depths=[1], num_heads=[2], window_size=8)
    image, mask = picture(40, 40), square(40, 40)
    assert Restorer(network).restore(image, mask).shape == (40, 40)
    with pytest.raises(ValueError, match='gray'):
        Restorer(network).restore(picture(40, 40, 3), mask)


@pytest.mark.parametrize(
    ('image', 'mask', 'options', 'message'),
    [
        (picture(40, 40, 3), square(40, 41), {}, 'the mask has 41x40 pixels, the image 40x40'),
        (picture(40, 40, 5), square(40, 40), {}, r'shape \(40, 40, 5\)'),
        (picture(40, 40, 3).astype(np.int32), square(40, 40), {}, 'type int32'),
        (picture(40, 40, 3).astype(np.float32), square(40, 40), {}, 'values from 0.0 to 255.0'),
        (np.full((40, 40, 3), np.nan), square(40, 40), {}, 'values from nan'),
        (torch.zeros(40, 40, 3), square(40, 40), {}, 'tensor of shape'),
        (picture(40, 40, 3), square(40, 40), {'context': -1}, 'context is -1'),
        (picture(40, 40, 3), square(40, 40), {'batch': 0}, 'batch is 0'),
        (picture(40, 40, 3), square(40, 40), {'tile': 20}, 'tile is 20'),
        (picture(40, 40, 3), square(40, 40), {'feather': 1.5}, 'feather is 1.5'),
    ],
)
def test_mistakes_are_named(image, mask, options, message):
    with pytest.raises(ValueError, match=message):
        Restorer(Pointwise()).restore(image, mask, **options)


def test_empty_and_full_masks_are_said(caplog):
    image = picture(30, 30, 3)
    with caplog.at_level(logging.WARNING, 'hmaca_arch'):
        result = Restorer(Pointwise()).restore(image, np.zeros((30, 30), bool))
        Restorer(Pointwise()).restore(image, np.ones((30, 30), bool))
    assert 'empty' in caplog.messages[0] and 'full' in caplog.messages[1]
    assert np.array_equal(result, image) and result is not image


def test_a_network_of_another_size_is_named():
    network = hmaca_arch.HMANet(embed_dim=32, depths=[1], num_heads=[2], window_size=8, upscale=2)
    with pytest.raises(ValueError, match='expected equal sizes'):
        Restorer(network).restore(picture(40, 40, 3), square(40, 40))


SWINIR = {
    'type': 'SwinIR',
    'embed_dim': 12,
    'depths': [2],
    'num_heads': [2],
    'window_size': 8,
    'upscale': 1,
    'upsampler': '',
}
OTHERS = {
    'SwinIR': SWINIR,
    'HAT': {
        **SWINIR,
        'type': 'HAT',
        'upsampler': 'pixelshuffle',
        'compress_ratio': 3,
        'squeeze_factor': 4,
    },
    'DRCT': {**SWINIR, 'type': 'DRCT', 'upsampler': 'pixelshuffle', 'gc': 4},
}


@pytest.mark.parametrize('name', OTHERS)
def test_mask_blind_networks_by_option_file(name, tmp_path):
    if name != 'SwinIR':
        pytest.importorskip('spandrel')
    section = OTHERS[name]
    network = registry.build(mask_input.network_section(section)).eval()
    torch.save({'params': network.state_dict()}, tmp_path / 'net.pth')
    options = write_options(tmp_path / 'train.yml', {'name': 'x', 'network_g': section})
    image, mask = picture(50, 61, 3), square(50, 61)
    for opt in (read_network(options), {'network_g': section}):
        result = load_restorer(tmp_path / 'net.pth', device='cpu', opt=opt).restore(image, mask)
        np.testing.assert_array_equal(result[mask == 0], image[mask == 0])
        assert (result[mask > 0] != image[mask > 0]).any()
    with pytest.raises(
        ValueError,
        match=r"opt is .*train.yml'\); expected the options themselves: opt=hmaca_arch.config.files.load",
    ):
        load_restorer(tmp_path / 'net.pth', device='cpu', opt=options)
    with pytest.raises(
        ValueError, match=r'net.pth: .*SwinIR, HAT, DRCT and others need the option file'
    ):
        load_restorer(tmp_path / 'net.pth', device='cpu')


def test_a_mask_channel_around_another_network_describes_itself_and_is_padded(tmp_path):
    network = mask_input.MaskInput(inner=SWINIR)
    torch.save({'params': network.state_dict()}, tmp_path / 'net.pth')
    restorer = load_restorer(tmp_path / 'net.pth', device='cpu')
    assert restorer.adapter.takes == ('mask',) and restorer.adapter.pad_to == 8
    assert restorer.restore(picture(50, 61, 3), square(50, 61)).shape == (50, 61, 3)
    section = {**SWINIR, 'mask_input': 'channel', 'pad_to': 16}
    network = registry.build(mask_input.network_section(section))
    torch.save({'params': network.state_dict()}, tmp_path / 'net.pth')
    assert load_restorer(tmp_path / 'net.pth', device='cpu').adapter.pad_to == 16, (
        "the option file's, though there is only the checkpoint"
    )
    assert methods.network(str(tmp_path / 'net.pth')).settings['network_g']['pad_to'] == 16


def test_mistakes_in_loading_are_named(tmp_path, tiny_checkpoint, monkeypatch):
    (tmp_path / 'text.pth').write_text('not weights')
    torch.save({'iter': 3}, tmp_path / 'state.pth')
    whole = tiny_checkpoint.read_bytes()
    (tmp_path / 'half.pth').write_bytes(whole[: len(whole) // 2])
    for name, message in (
        ('text.pth', 'text.pth: not a checkpoint'),
        ('half.pth', 'half.pth: not a checkpoint'),
        ('state.pth', 'state.pth: holds no weights'),
    ):
        with pytest.raises(ValueError, match=message) as error:
            load_restorer(tmp_path / name, device='cpu')
        assert '\n' not in str(error.value)
    with pytest.raises(FileNotFoundError, match='nowhere.pth does not exist'):
        load_restorer(tmp_path / 'nowhere.pth', device='cpu')
    with pytest.raises(ValueError, match='swinir|SwinIR|Missing|another'):
        load_restorer(tiny_checkpoint, device='cpu', opt={'network_g': SWINIR})
    with pytest.raises(ValueError, match='has no such setting'):
        load_restorer(tiny_checkpoint, device='cpu', opt={'network_g': {**SWINIR, 'embed_dims': 3}})
    with pytest.raises(ValueError, match='weights have to be given'):
        load_restorer(opt={'network_g': SWINIR}, device='cpu')
    with pytest.raises(ValueError, match="precision is 'fp8'"):
        load_restorer(tiny_checkpoint, device='cpu', precision='fp8')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match='sees no GPU'):
        load_restorer(tiny_checkpoint, device='cuda')


def test_the_shipped_weights_are_the_default(tiny_checkpoint, monkeypatch, tmp_path):
    monkeypatch.setattr(inference, 'SHIPPED_WEIGHTS', tiny_checkpoint)
    assert type(load_restorer(device='cpu').network).__name__ == 'HMACA'
    monkeypatch.setattr(inference, 'SHIPPED_WEIGHTS', tmp_path / 'missing.pth')
    with pytest.raises(FileNotFoundError, match='give some'):
        load_restorer(device='cpu')
