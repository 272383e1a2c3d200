"""Networks of one channel: trained, validated, tested and used on gray images."""

import logging

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.logger import initialized_logger
from conftest import changed, make_triplets, tiny_options, write_options

import losses_ext  # noqa: F401
from datasets_ext import release_degradations
from datasets_ext.masked_degradation_dataset import MaskedDegradationDataset
from datasets_ext.masked_paired_image_dataset import MaskedPairedImageDataset
from hmaca_arch.commands.train import arguments
from hmaca_arch.config import checks
from hmaca_arch.degradation import pixels
from hmaca_arch.inference import load_restorer
from hmaca_arch.messages import OptionError
from hmaca_arch.training import pipeline as training

SWINIR = {
    'type': 'SwinIR', 'mask_input': 'channel', 'in_chans': 1, 'embed_dim': 12, 'depths': [2], 'num_heads': [2], 'window_size': 4,
    'img_size': 16, 'upscale': 1, 'upsampler': '', 'resi_connection': '1conv',
}  # fmt: skip

UNFOLDED = {
    'type': 'Unfolded',
    'steps': 1,
    'inner': {
        'type': 'HMACA',
        'in_chans': 1,
        'embed_dim': 32,
        'depths': [1],
        'num_heads': [2],
        'window_size': 8,
        'interval_size': 4,
        'drop_path_rate': 0,
    },
}


def run(folder, command, options):
    initialized_logger.clear()  # BasicSR opens a log file only once a process
    logging.getLogger('basicsr').handlers.clear()
    training.run_pipeline(
        command,
        arguments(['-opt', str(write_options(folder / 'o.yml', options))], command),
        str(folder),
    )


@pytest.mark.parametrize('network', ['HMACA', 'SwinIR', 'Unfolded'])
def test_from_training_to_a_restored_gray_file(tmp_path, network):
    make_triplets(tmp_path / 'data' / 'train', 3)
    make_triplets(tmp_path / 'data' / 'test', 1, seed=1)
    options = tiny_options(tmp_path / 'data')
    sections = {'HMACA': {**options['network_g'], 'in_chans': 1}, 'SwinIR': SWINIR}
    options['network_g'] = {**sections, 'Unfolded': UNFOLDED}[network]
    options['train']['total_iter'] = 2
    options['val'].update(val_freq=2, save_img=True)
    run(tmp_path, 'train', options)
    run(tmp_path, 'test', options)
    written = tmp_path / 'results' / 'tiny' / 'visualization' / 'tiny_test' / '0000_tiny.png'
    restored = cv2.imread(str(written), cv2.IMREAD_UNCHANGED)
    lq, mask = (
        cv2.imread(str(tmp_path / 'data' / 'test' / kind / '0000.png')) for kind in ('lq', 'mask')
    )
    lq, mask = cv2.cvtColor(lq, cv2.COLOR_BGR2GRAY), mask[..., 0]
    assert restored.ndim == 2 and np.array_equal(restored[mask == 0], lq[mask == 0])
    weights = tmp_path / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth'
    restorer = load_restorer(weights, 'cpu', opt=options if network == 'SwinIR' else None)
    assert restorer.channels == 1
    image = restorer.restore(lq, mask)
    assert image.shape == lq.shape and np.array_equal(image[mask == 0], lq[mask == 0])


def test_data_sets_give_the_luma_and_gray_stays_as_it_is(tmp_path):
    make_triplets(tmp_path, 1)
    roots = {f'dataroot_{kind}': str(tmp_path / kind) for kind in ('lq', 'mask', 'gt')}
    (item,) = MaskedPairedImageDataset(
        {'name': 'x', 'type': 'MaskedPairedImageDataset', 'phase': 'val', 'channels': 1, **roots}
    )
    assert item['lq'].shape == item['gt'].shape == item['mask'].shape == (1, 32, 32)
    blue, green, red = (
        cv2.imread(str(tmp_path / 'gt' / '0000.png')).astype(float).transpose(2, 0, 1)
    )
    expected = 0.299 * red + 0.587 * green + 0.114 * blue
    assert np.abs(255 * item['gt'][0].numpy() - expected).max() <= 0.51
    outside = item['mask'] == 0
    assert torch.equal(item['lq'][outside], item['gt'][outside])
    for peak, dtype in ((256, np.uint8), (65536, np.uint16)):
        gray = np.random.default_rng(0).integers(0, peak, (32, 32)).astype(dtype)
        cv2.imwrite(str(tmp_path / 'gt' / '0000.png'), gray)
        (item,) = MaskedPairedImageDataset(
            {
                'name': 'x',
                'type': 'MaskedPairedImageDataset',
                'phase': 'val',
                'channels': 1,
                **roots,
            }
        )
        assert np.array_equal(np.rint(item['gt'][0].numpy() * (peak - 1)), gray)


@pytest.mark.parametrize('protocol', ['clean', 'release'])
@pytest.mark.parametrize('kind', ['pix', 'blur', 'noise'])
def test_degradations_of_gray_images(tmp_path, protocol, kind):
    make_triplets(tmp_path, 1, size=64)
    more = (
        {'jpeg': 90}
        if protocol == 'release'
        else {'compression': {'before': 1, 'after': 1}, 'size': 48}
    )
    opt = {
        'name': 'x',
        'type': 'MaskedDegradationDataset',
        'phase': 'val',
        'dataroot_gt': str(tmp_path / 'gt'),
        'degradation': kind,
    }
    (item,) = MaskedDegradationDataset({**opt, 'protocol': protocol, 'channels': 1, **more})
    side = 32 if protocol == 'release' else 48
    assert item['lq'].shape == item['gt'].shape == (1, side, side)
    assert not torch.equal(item['lq'], item['gt'])


def test_a_gray_image_is_degraded_as_three_equal_channels(tmp_path):
    gray = np.random.default_rng(0).integers(0, 256, (24, 20, 1), dtype=np.uint8)
    mask = np.zeros((24, 20, 1), bool)
    mask[3:15, 4:19] = True
    colour = np.repeat(gray, 3, axis=2)
    for change in (
        lambda image: pixels.blur(image, mask, 1.5), lambda image: pixels.pixelate(image, mask, 4),
        lambda image: pixels.pixelate_grid(image, mask, 5, 'mean', (1, 2)), lambda image: release_degradations.release_blur(image, mask),
        lambda image: release_degradations.release_pixelate(image, mask), lambda image: release_degradations.release_resize(image, 12, 10),
        lambda image: release_degradations.square_of(image, 10),
    ):  # fmt: skip
        result = change(gray)
        assert result.ndim == 3 and np.array_equal(np.repeat(result, 3, axis=2), change(colour))
    assert np.abs(pixels.jpeg(gray, 90).astype(int) - pixels.jpeg(colour, 90)).max() <= 2


def test_what_cannot_work_is_a_mistake_of_the_option_file(tmp_path):
    options = tiny_options(tmp_path)
    for changes, line in (
        ({'network_g:in_chans': 2}, 'network_g:in_chans: got 2, expected 1 (gray) or 3 (RGB)'),
        (
            {'network_g:in_chans': 1, 'datasets:train:channels': 3},
            'datasets:train:channels: got 3, expected 1',
        ),
        ({'datasets:val:channels': 1}, 'datasets:val:channels: got 1, expected 3'),
    ):
        with pytest.raises(OptionError) as caught:
            checks.check(changed(options, changes))
        assert len(caught.value.lines) == 1 and caught.value.lines[0].startswith(line)
    checks.check(changed(options, {'network_g:in_chans': 1}))
    inner = {**UNFOLDED['inner'], 'in_chans': 2}
    with pytest.raises(OptionError, match='^network_g:inner:in_chans: got 2, expected 1'):
        checks.check(changed(options, {'network_g': {**UNFOLDED, 'inner': inner}}))
