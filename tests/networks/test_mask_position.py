"""Where in its region a pixel lies: distances counted by hand, and what the network makes of them."""

import pytest
import torch
from conftest import each_device
from hypothesis import given, settings
from hypothesis import strategies as st

from hmaca_arch.networks.hmaca import HMACA, HMANet
from hmaca_arch.networks.loading import build_network_from_state_dict
from hmaca_arch.networks.mask_position import MaskPositionEncoder, edge_distances

SETTINGS = {
    'embed_dim': 32,
    'depths': [1],
    'num_heads': [2],
    'window_size': 4,
    'drop_path_rate': 0.0,
}


def counted(mask: torch.Tensor, farthest: int) -> torch.Tensor:
    """The definition: walk from each masked pixel until an unmasked one comes; the picture's border
    is none.
    """
    b, _, h, w = mask.shape
    result = torch.zeros(b, 4, h, w)
    for n in range(b):
        for y in range(h):
            for x in range(w):
                if mask[n, 0, y, x] <= 0:
                    continue
                for k, (dy, dx) in enumerate([(0, -1), (0, 1), (-1, 0), (1, 0)]):
                    i, j, steps = y + dy, x + dx, 0
                    while 0 <= i < h and 0 <= j < w and mask[n, 0, i, j] > 0:
                        i, j, steps = i + dy, j + dx, steps + 1
                    result[n, k, y, x] = (
                        min(steps, farthest) if 0 <= i < h and 0 <= j < w else farthest
                    )
    return result


@each_device
def test_any_masked_share_of_a_pixel_is_masked():
    mask = torch.tensor([[0.0, 0.1, 0.5, 1, 0]])[None, None]
    assert edge_distances(mask)[0, 0].tolist() == [[0, 0, 1, 2, 0]]


@each_device
def test_distances_by_hand():
    mask = torch.tensor([[0.0, 1, 1, 1, 0, 1]])[None, None]
    left, right, top, bottom = edge_distances(mask, farthest=9)[0]
    assert left.tolist() == [[0, 0, 1, 2, 0, 0]]
    assert right.tolist() == [[0, 2, 1, 0, 0, 9]], (
        'the last pixel has the border to its right, which is no edge'
    )
    assert top.tolist() == bottom.tolist() == [[0, 9, 9, 9, 0, 9]]


@settings(max_examples=30)
@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.floats(0, 1), st.integers(0, 999)
)
def test_distances_are_those_counted(h, w, farthest, share, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand(2, 1, h, w, generator=generator) < share).float()
    assert torch.equal(edge_distances(mask, farthest), counted(mask, farthest))


@each_device
def test_a_crop_that_cuts_the_region_sees_no_edge_there():
    mask = torch.zeros(1, 1, 20, 20)
    mask[..., 4:14, 4:14] = 1
    whole, crop = edge_distances(mask, 32), edge_distances(mask[..., 8:], 32)
    assert torch.equal(crop[:, 1:], whole[:, 1:, :, 8:]), (
        'to the right, up and down nothing changes'
    )
    assert (crop[:, 0][mask[:, 0, :, 8:] > 0] == 32).all(), 'to the left the edge is out of sight'


def network(**kwargs) -> HMACA:
    torch.manual_seed(0)
    return HMACA(**SETTINGS, **kwargs).eval()


@pytest.mark.parametrize('form', ['global', 'window', 'none'])
@each_device
def test_it_adds_to_the_network_without_it_and_learns(form):
    net = network(cross_attention=form, mask_position=True)
    torch.nn.init.zeros_(net.position_encoder.weight)
    torch.nn.init.zeros_(net.position_encoder.bias)
    lq, mask = torch.rand(2, 3, 13, 11), torch.zeros(2, 1, 13, 11)
    mask[..., 3:9, 2:8] = 1
    if form == 'none':
        plain = HMANet(**SETTINGS).eval()
        plain.load_state_dict(net.state_dict(), strict=False)
        expected = plain(lq)
    else:
        plain = network(cross_attention=form)
        plain.load_state_dict(net.state_dict(), strict=False)
        expected = plain(lq, mask)
    assert torch.equal(net(lq, mask), expected)
    net(lq, mask).square().mean().backward()
    assert net.position_encoder.weight.grad.abs().amax(dim=(0, 2, 3)).min() > 0, (
        'every feature gets a gradient'
    )


def test_the_place_of_the_mask_matters_and_its_checkpoint_says_so():
    net = network(cross_attention='none', mask_position=True)
    lq, masks = torch.rand(1, 3, 16, 16), torch.zeros(2, 1, 16, 16)
    masks[0, :, 2:8, 2:8] = masks[1, :, 8:14, 8:14] = 1
    one, other = net(lq, masks[:1]), net(lq, masks[1:])
    assert (one - other).abs().max() > 1e-3
    again = build_network_from_state_dict(net.state_dict())
    assert again.settings['mask_position'] is True and torch.equal(again(lq, masks[:1]), one)


def test_what_the_encoder_is_given():
    encoder = MaskPositionEncoder(2, img_range=32)
    torch.nn.init.zeros_(encoder.weight)
    torch.nn.init.zeros_(encoder.bias)
    encoder.weight.data[0, 0, 1, 1] = encoder.weight.data[1, 2, 1, 1] = (
        1  # the mask; the distance to the right
    )
    mask = torch.zeros(1, 1, 3, 40)
    mask[..., 2:38] = 1
    with torch.no_grad():
        masked, right = encoder(mask)[0]
    assert torch.equal(masked, 2 * mask[0, 0])
    assert right[1, [0, 2, 3, 36, 37, 38]].tolist() == [0, 16, 16, 0.5, 0, 0], (
        'a quarter a pixel, ending at 32 pixels; all twice as loud'
    )


def test_the_network_scales_position_as_its_picture():
    assert (
        network(cross_attention='none', mask_position=True, img_range=16.0).position_encoder.scale
        == 1
    )
    assert network(cross_attention='none', mask_position=True).position_encoder.scale == 1 / 16


@each_device
def test_recomputing_changes_no_gradient():
    grads = []
    for checkpointed in (False, True):
        net = network(
            cross_attention='window', mask_position=True, use_checkpoint=checkpointed
        ).train()
        torch.manual_seed(1)
        lq, mask = torch.rand(1, 3, 8, 8), (torch.rand(1, 1, 8, 8) > 0.5).float()
        net(lq, mask).square().mean().backward()
        grads.append(net.position_encoder.weight.grad)
    assert torch.equal(*grads) and grads[0].abs().max() > 0


@each_device
def test_half_precision_and_soft_masks():
    net = network(cross_attention='none', mask_position=True)
    lq, mask = torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16)
    full, half = net(lq, mask), net.bfloat16()(lq.bfloat16(), mask)
    assert half.dtype == torch.bfloat16 and (half.float() - full).abs().max() < 0.1


@pytest.mark.parametrize(
    'wrong, words',
    [
        ({'mask_position': 1}, 'mask_position is 1; expected true or false'),
        (
            {'cross_attention': 'none'},
            "cross_attention is 'none'; expected 'global' or 'window', or mask_position true",
        ),
    ],
)
def test_settings_that_cannot_work(wrong, words):
    with pytest.raises(ValueError, match=words):
        network(**wrong)
