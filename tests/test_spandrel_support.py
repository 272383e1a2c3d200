"""HMANet and HMACA through spandrel's own ModelLoader, from saved files."""

import subprocess
import sys

import pytest
import torch
from basicsr.archs import build_network
from conftest import ROOT, environment
from safetensors.torch import save_file
from samples import SECTIONS, as_release

from hmaca_arch import HMACA, HMANet
from hmaca_arch.compositing import composite
from hmaca_arch.messages import how_to_install
from hmaca_arch.networks import mask_input
from hmaca_arch.networks.mask_keys import MaskEncoder
from hmaca_arch.networks.unfolded import Unfolded

spandrel = pytest.importorskip('spandrel')
from hmaca_arch import spandrel_support  # noqa: E402

ORIGINAL = (
    spandrel.MAIN_REGISTRY.copy()
)  # as spandrel made it: what is read before anything is installed
OURS = {'HMANet', 'HMACA', 'Unfolded'}
SMALL = {'embed_dim': 32, 'depths': (2,), 'num_heads': (2,), 'window_size': 4, 'mlp_ratio': 1.5}


@pytest.fixture(scope='module', autouse=True)
def _installed():
    spandrel_support.install()


def save(path, weights):
    """As BasicSR saves (.pth: both kinds of weights, those of the average being right), or plain
    (.safetensors).
    """
    if path.suffix == '.safetensors':
        save_file({key: value.contiguous() for key, value in weights.items()}, path)
    else:
        torch.save(
            {
                'params': {key: torch.zeros_like(value) for key, value in weights.items()},
                'params_ema': weights,
            },
            path,
        )
    return path


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
@pytest.mark.parametrize(
    ('settings', 'scale'),
    [
        ({}, 1),
        ({'upscale': 2}, 2),
        ({'upscale': 3, 'in_chans': 1}, 3),
        ({'upscale': 4}, 4),
        ({'upscale': 2, 'keep_size': True}, 1),
        ({'upscale': 4, 'keep_size': True, 'image_residual': True}, 1),
    ],
)
def test_hmanet_is_loaded_as_an_image_model(tmp_path, settings, scale, suffix):
    torch.manual_seed(0)
    network = HMANet(**SMALL, **settings).eval()
    if network.image_residual:
        network.conv_resize.reset_parameters()  # untrained, it is zero
    model = spandrel.ModelLoader().load_from_file(
        save(tmp_path / f'net.{suffix}', network.state_dict())
    )
    assert isinstance(model, spandrel.ImageModelDescriptor) and model.architecture.id == 'HMANet'
    assert (model.scale, model.purpose) == (scale, 'Restoration' if scale == 1 else 'SR')
    assert model.input_channels == model.output_channels == network.in_chans
    assert model.tags == ['32dim', '2 blocks', 'w4'] and model.model.settings == network.settings
    image = torch.rand(1, network.in_chans, 7, 10)
    with torch.no_grad():
        expected = network(image).clamp(0, 1)
    assert torch.equal(model(image), expected) and expected.shape[-2:] == (7 * scale, 10 * scale)


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
@pytest.mark.parametrize('form', ['global', 'window', 'position'])
def test_hmaca_is_loaded_as_a_masked_image_model(tmp_path, form, suffix):
    torch.manual_seed(0)
    seen = (
        {'cross_attention': 'none', 'mask_position': True}
        if form == 'position'
        else {'cross_attention': form}
    )
    network = HMACA(**SMALL, upscale=2, keep_size=True, **seen).eval()
    model = spandrel.ModelLoader().load_from_file(
        save(tmp_path / f'net.{suffix}', network.state_dict())
    )
    assert (
        isinstance(model, spandrel.MaskedImageModelDescriptor) and model.architecture.id == 'HMACA'
    )
    assert (model.scale, model.purpose, model.input_channels, model.tags[-1]) == (
        1,
        'Inpainting',
        3,
        form,
    )
    image, mask = torch.rand(1, 3, 9, 6), torch.zeros(1, 1, 9, 6)
    mask[..., 2:5, 1:4] = 1
    result = model(image, mask)
    with torch.no_grad():
        expected = composite(network(image, mask), image, mask).clamp(0, 1)
    assert torch.equal(result, expected) and not result.requires_grad
    outside = (mask == 0).expand_as(image)
    assert torch.equal(result[outside], image[outside]) and not torch.equal(
        result[~outside], image[~outside]
    )


@pytest.mark.parametrize(
    ('inner', 'tag'),
    [({'type': 'HMACA', **SMALL, 'cross_attention': 'window'}, 'window'), (SECTIONS['SwinIR'], '')],
)
def test_unfolded_is_loaded_and_restores_what_is_unknown(tmp_path, inner, tag):
    torch.manual_seed(0)
    network = Unfolded(inner={k: v for k, v in inner.items() if k != 'mask_input'}).eval()
    model = spandrel.ModelLoader().load_from_file(save(tmp_path / 'net.pth', network.state_dict()))
    assert isinstance(model, spandrel.MaskedImageModelDescriptor)
    assert model.architecture.id == 'Unfolded' and model.tags[-1].startswith(tag or 'w')
    image, mask = torch.rand(1, 3, 9, 10), torch.zeros(1, 1, 9, 10)
    mask[..., 2:5, 1:4] = 1
    with torch.no_grad():
        expected = network(image, mask).clamp(0, 1)
    assert torch.equal(model(image, mask), expected) and not torch.equal(expected, image)


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_published_hma_is_loaded(tmp_path, suffix):
    """Under the release's keys, which is all that says what it is."""
    torch.manual_seed(0)
    settings = {**SMALL, 'embed_dim': 64, 'num_heads': (4,)}
    network = HMANet(**settings, upscale=4, shifted_windows='strips').eval()
    model = spandrel.ModelLoader().load_from_file(
        save(tmp_path / f'HMA_SRx4.{suffix}', as_release(network))
    )
    assert (model.architecture.id, model.scale, model.purpose) == ('HMANet', 4, 'SR')
    image = torch.rand(1, 3, 8, 12)
    with torch.no_grad():
        assert torch.equal(model(image), network(image).clamp(0, 1))


@pytest.mark.parametrize('name', SECTIONS)
def test_other_networks_load_as_before(tmp_path, name):
    torch.manual_seed(0)
    path = save(
        tmp_path / 'net.pth', build_network(mask_input.network_section(SECTIONS[name])).state_dict()
    )
    before = spandrel.ModelLoader(registry=ORIGINAL).load_from_file(path)
    now = spandrel.ModelLoader().load_from_file(path)
    assert type(now.model) is type(before.model) and now.architecture.id == before.architecture.id
    assert now.architecture.id not in OURS
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(now(image), before(image))


def test_what_is_not_ours_is_not_taken():
    theirs = [
        support.detect for support in spandrel.MAIN_REGISTRY if support.architecture.id in OURS
    ]
    assert len(theirs) == len(OURS)
    inner = mask_input.network_section({**SECTIONS['SwinIR'], 'mask_input': 'channel'})
    states = [
        torch.tensor(list(b'{}'), dtype=torch.uint8),
        torch.zeros(3),
        {'version': 1},
        torch.tensor(200, dtype=torch.uint8),
    ]
    for weights in [
        build_network(inner).state_dict(),
        *({'_extra_state': state, 'conv_first.weight': torch.zeros(1)} for state in states),
    ]:
        assert not any(detect(weights) for detect in theirs)
        with pytest.raises(spandrel.UnsupportedModelError):
            spandrel.ModelLoader().load_from_state_dict(weights)


def test_ours_are_not_taken_by_looser_rules():
    """Every other architecture is asked later, and none recognises them."""
    order = [
        support.architecture.id for support in spandrel.MAIN_REGISTRY.architectures('detection')
    ]
    assert set(order[:3]) == OURS and len(order) == len(set(order)) == len(ORIGINAL) + 3
    for weights in (
        HMANet(**SMALL).state_dict(),
        HMACA(**SMALL).state_dict(),
        as_release(HMANet(**SMALL, shifted_windows='strips')),
    ):
        assert not [support.architecture.id for support in ORIGINAL if support.detect(weights)]


def test_installing_again_changes_nothing():
    before = spandrel.MAIN_REGISTRY.architectures('detection')
    spandrel_support.install()
    assert spandrel.MAIN_REGISTRY.architectures('detection') == before


def test_a_masked_model_that_enlarges_is_refused():
    with pytest.raises(spandrel.UnsupportedModelError, match='enlarges images 2 times'):
        spandrel.ModelLoader().load_from_state_dict(HMACA(**SMALL, upscale=2).state_dict())


@pytest.mark.parametrize('size', [(1, 1), (3, 2), (13, 5)])
def test_no_size_is_required(size):
    network = HMACA(**SMALL, cross_attention='window').eval()
    model = spandrel.ModelLoader().load_from_state_dict(network.state_dict())
    assert model.size_requirements.none and model(
        torch.rand(1, 3, *size), torch.ones(1, 1, *size)
    ).shape == (1, 3, *size)


@pytest.mark.parametrize('form', ['global', 'window', 'unfolded'])
@pytest.mark.parametrize(('dtype', 'close'), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_half_precision_is_what_the_descriptor_says(form, dtype, close):
    torch.manual_seed(0)
    if form == 'unfolded':
        network = Unfolded(inner={'type': 'HMACA', **SMALL}).eval()
    else:
        network = HMACA(**SMALL, cross_attention=form).eval()
    image, mask = torch.rand(1, 3, 16, 12).to(dtype), torch.zeros(1, 1, 16, 12, dtype=dtype)
    mask[..., 3:10, 2:9] = 1
    with torch.no_grad():
        expected = composite(
            network(image.float(), mask.float()), image.float(), mask.float()
        ).clamp(0, 1)
    result = (
        spandrel.ModelLoader().load_from_state_dict(network.state_dict()).to(dtype)(image, mask)
    )
    outside = (mask == 0).expand_as(image)
    assert result.dtype == dtype and torch.equal(result[outside], image[outside])
    torch.testing.assert_close(result.float(), expected, rtol=0, atol=close)


def test_a_large_mask_is_counted_in_half_precision():
    """More than 65504 equal neighbourhoods are infinitely many in float16."""
    mask = torch.zeros(1, 1, 300, 300)
    mask[..., 50:100, 50:100] = 1
    encoder = MaskEncoder(32)
    assert torch.equal(
        encoder.half().keys(mask.half()).log_count, encoder.float().keys(mask).log_count
    )


def test_without_spandrel_the_error_names_the_extra():
    code = "import sys; sys.modules['spandrel'] = None; import hmaca_arch.spandrel_support"
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, env=environment(), text=True, capture_output=True
    )
    assert result.returncode and result.stderr.splitlines()[-1].startswith('ImportError')
    assert how_to_install('compare') in result.stderr.splitlines()[-1]
