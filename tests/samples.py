"""Small networks of others, and weights as the release of HMA names them."""

import torch

from hmaca_arch import HMANet

SMALL = {'embed_dim': 12, 'depths': [2], 'num_heads': [2], 'window_size': 4, 'upscale': 1}
SECTIONS = {
    'SwinIR': {'type': 'SwinIR', **SMALL},
    'HAT': {'type': 'HAT', 'squeeze_factor': 4, **SMALL},
    'DRCT': {'type': 'DRCT', 'gc': 4, 'upsampler': 'pixelshuffle', **SMALL},
    'NAFNet': {'type': 'NAFNet', 'width': 4, 'enc_blk_nums': [1, 1], 'dec_blk_nums': [1, 1]},
}

FROM_OURS = {  # our key -> the release's, for everything that is named differently; longest first
    'norm_first.': 'patch_embed.norm.',
    'norm_last.': 'norm.',
    '.gab.shifted_attn.': '.gab.window_attn_s.',
    '.gab.grid_attn.bias1.': '.gab.grid_attn.attn_transform1.pos.',
    '.gab.grid_attn.bias2.': '.gab.grid_attn.attn_transform2.pos.',
    '.gab.proj.': '.gab.fc.',
    '.bias_table': '.relative_position_bias_table',
    '.expand.': '.fused_conv.',
    '.reduce.': '.conv3_1x1.',
}


def as_release(network: HMANet) -> dict[str, torch.Tensor]:
    """A network's weights under the release's names, with a buffer that the release keeps and we do
    not.
    """
    weights = {}
    for key, value in network.state_dict().items():
        if key == '_extra_state':
            continue
        for ours, theirs in FROM_OURS.items():
            key = (
                theirs + key[len(ours) :]
                if key.startswith(ours)
                else key
                if ours.startswith('norm')
                else key.replace(ours, theirs)
            )
        parts = key.split('.')
        if parts[0] == 'groups':
            key = '.'.join(
                [
                    'layers',
                    parts[1],
                    *([] if parts[2] == 'conv' else ['residual_group']),
                    *parts[2:],
                ]
            )
        weights[key] = value.clone()
    weights['relative_position_index_SA'] = torch.zeros(16, 16, dtype=torch.long)
    return weights
