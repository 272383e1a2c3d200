"""Slow, obvious oracles for the networks: the definitions, pixel by pixel, from a state dict and
settings.

Independent of the package: no roll, no window partition, no mask of regions, no
scaled_dot_product_attention, and dense cross attention. A picture is (b, h, w, c); `sd` maps names
to tensors; `at` is the prefix of a layer's names in it.
"""

import itertools
import math
from collections import defaultdict

import torch
from torch import nn


def randomised(module: nn.Module, std: float = 0.5) -> nn.Module:
    """In float64 with every parameter away from its start, so that no term is invisible."""
    module = module.double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)
    return module


def weights(module: nn.Module, at: str) -> dict[str, torch.Tensor]:
    return {f'{at}.{name}': value.detach() for name, value in module.state_dict().items()}


def assert_close(ours: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-10) -> None:
    """Relative to the scale of what is expected."""
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1e-30)


def linear(x, sd, at):
    y = x @ sd[f'{at}.weight'].T
    return y + sd[f'{at}.bias'] if f'{at}.bias' in sd else y


def layer_norm(x, sd, at):
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / (variance + 1e-5).sqrt() * sd[f'{at}.weight'] + sd[f'{at}.bias']


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def conv3x3(x, sd, at, stride=1):
    """3x3 convolution with one pixel of zeros around, one output pixel after the other."""
    weight, bias = sd[f'{at}.weight'], sd[f'{at}.bias']
    b, h, w, _ = x.shape
    padded = x.new_zeros(b, h + 2, w + 2, x.shape[3])
    padded[:, 1:-1, 1:-1] = x
    rows = []
    for y in range(0, h, stride):
        row = []
        for z in range(0, w, stride):
            patch = padded[:, y : y + 3, z : z + 3].permute(0, 3, 1, 2).reshape(b, -1)
            row.append(patch @ weight.reshape(len(weight), -1).T + bias)
        rows.append(torch.stack(row, dim=1))
    return torch.stack(rows, dim=1)


def attention(q, k, v, bias):
    """q (n, d), k and v (m, d), bias (n, m) -> (n, d)."""
    logits = q @ k.T / math.sqrt(q.shape[-1]) + bias
    weights = torch.exp(logits - logits.max(-1, keepdim=True).values)
    return weights / weights.sum(-1, keepdim=True) @ v


def multi_head(q, k, v, bias_of_head, heads):
    """q (n, c), k and v (m, c); bias_of_head(i) is (n, m)."""
    d = q.shape[-1] // heads
    parts = [slice(i * d, (i + 1) * d) for i in range(heads)]
    return torch.cat(
        [attention(q[:, p], k[:, p], v[:, p], bias_of_head(i)) for i, p in enumerate(parts)], dim=-1
    )


def offset_bias(positions, bias_by_offset):
    """(n, n) from a function of (dy, dx), query minus key."""
    return torch.stack(
        [
            torch.stack([bias_by_offset(qy - ky, qx - kx) for ky, kx in positions])
            for qy, qx in positions
        ]
    )


def band(rolled, length, size, shift):
    """The number of the band, of one side, that a rolled coordinate is in."""
    return 0 if shift == 0 or rolled < length - size else 1 if rolled < length - shift else 2


def window_attention(q, k, v, table, size, shift, strips=False):
    """(Shifted-)window attention without its projection; for strips the result is where the runs
    put it, before any roll back.
    """
    heads = table.shape[1]
    b, h, w, _ = q.shape
    groups = defaultdict(
        list
    )  # (window and region) -> [(pixel read, pixel written, position in the rolled picture)]
    for ry, rx in itertools.product(range(h), range(w)):  # rolled coordinates
        if strips:
            run, token = divmod(ry * w + rx, size * size)
            wy, wx = divmod(run, w // size)
            py, px = (
                wy * size + token // size,
                wx * size + token % size,
            )  # where the token stands in the window it is taken for
        else:
            py, px = ry, rx
        read = ((ry + shift) % h, (rx + shift) % w)
        written = (py, px) if strips else ((py + shift) % h, (px + shift) % w)
        key = (py // size, px // size, band(py, h, size, shift), band(px, w, size, shift))
        groups[key].append((read, written, (py, px)))
    out = torch.zeros_like(q)
    for members in groups.values():
        read, written, positions = zip(*members)
        for sample in range(b):
            tokens = [torch.stack([t[sample, y, x] for y, x in read]) for t in (q, k, v)]

            def bias(head, positions=positions):
                return offset_bias(
                    positions,
                    lambda dy, dx: table[(dy + size - 1) * (2 * size - 1) + dx + size - 1, head],
                )

            result = multi_head(*tokens, bias, heads)
            for (y, x), value in zip(written, result):
                out[sample, y, x] = value
    return out


def window_layer(qkv, sd, at, size, shift, strips=False):
    """WindowAttention: attention, projection, and for strips the roll over tokens and channels."""
    c = qkv.shape[-1] // 3
    out = window_attention(
        qkv[..., :c],
        qkv[..., c : 2 * c],
        qkv[..., 2 * c :],
        sd[f'{at}.bias_table'],
        size,
        shift,
        strips,
    )
    out = linear(out, sd, f'{at}.proj')
    if not strips:
        return out
    b, h, w, _ = out.shape
    flat, rolled = out.reshape(b, h * w, c), torch.zeros(b, h * w, c, dtype=out.dtype)
    for token, channel in itertools.product(range(h * w), range(c)):
        rolled[:, (token + shift) % (h * w), (channel + shift) % c] = flat[:, token, channel]
    return rolled.reshape(b, h, w, c)


def position_mlp(dy, dx, sd, at):
    x = linear(
        torch.tensor([dy, dx], dtype=sd[f'{at}.pos_proj.weight'].dtype), sd, f'{at}.pos_proj'
    )
    for stage in ('pos1', 'pos2', 'pos3'):
        x = linear(layer_norm(x, sd, f'{at}.{stage}.0').clamp(min=0), sd, f'{at}.{stage}.2')
    return x


def grid_layer(qkv, grid, sd, at, heads, interval):
    c = grid.shape[-1]
    b, h, w, _ = grid.shape
    positions = list(itertools.product(range(h // interval), range(w // interval)))
    biases = [
        offset_bias(positions, lambda dy, dx, name=name: position_mlp(dy, dx, sd, f'{at}.{name}'))
        for name in ('bias1', 'bias2')
    ]
    out = torch.zeros_like(grid)
    for sample, i, j in itertools.product(range(b), range(interval), range(interval)):
        pixels = [(y * interval + i, x * interval + j) for y, x in positions]
        tokens = torch.stack([qkv[sample, y, x] for y, x in pixels])
        q, k, v = tokens[:, :c], tokens[:, c : 2 * c], tokens[:, 2 * c :]
        g = torch.stack([grid[sample, y, x] for y, x in pixels])
        gathered = multi_head(g, k, v, lambda head: biases[0][..., head], heads)
        for (y, x), value in zip(
            pixels, multi_head(q, g, gathered, lambda head: biases[1][..., head], heads)
        ):
            out[sample, y, x] = value
    return out


def mlp(x, sd, at):
    return linear(gelu(linear(x, sd, f'{at}.fc1')), sd, f'{at}.fc2')


def fused_conv(x, sd, at):
    y = gelu(
        layer_norm(
            conv3x3(layer_norm(x, sd, f'{at}.pre_norm'), sd, f'{at}.expand'), sd, f'{at}.norm1'
        )
    )
    pointwise = {
        name: value.flatten(1) if value.ndim == 4 else value
        for name, value in sd.items()
        if name.startswith(f'{at}.')
    }
    squeezed = linear(y.mean((1, 2)), pointwise, f'{at}.se.fc1')
    gate = torch.sigmoid(linear(squeezed * torch.sigmoid(squeezed), pointwise, f'{at}.se.fc2'))
    return x + linear(y * gate[:, None, None], pointwise, f'{at}.reduce')


def fab(x, sd, at, size, shift):
    x = x + window_layer(
        linear(layer_norm(x, sd, f'{at}.norm1'), sd, f'{at}.qkv'), sd, f'{at}.attn', size, shift
    )
    return x + mlp(layer_norm(x, sd, f'{at}.norm2'), sd, f'{at}.mlp')


def gab(x, sd, at, heads, size, interval, strips):
    c = x.shape[-1]
    qkv = linear(x, sd, f'{at}.qkv')
    window = window_layer(qkv[..., : 3 * c // 4], sd, f'{at}.window_attn', size, 0)
    shifted = window_layer(
        qkv[..., 3 * c // 4 : 3 * c // 2], sd, f'{at}.shifted_attn', size, size // 2, strips
    )
    grid = grid_layer(
        qkv[..., 3 * c // 2 :],
        linear(x, sd, f'{at}.grid_proj'),
        sd,
        f'{at}.grid_attn',
        heads // 2,
        interval,
    )
    x = x + layer_norm(
        linear(torch.cat((window, shifted, grid), -1), sd, f'{at}.proj'), sd, f'{at}.norm1'
    )
    return x + layer_norm(mlp(x, sd, f'{at}.mlp'), sd, f'{at}.norm2')


def rhtb(x, sd, at, depth, heads, s):
    y, block = x, 0
    for i in range(depth):
        if i % 2 == 0:
            y, block = fused_conv(y, sd, f'{at}.blocks.{block}'), block + 1
        y = fab(
            y, sd, f'{at}.blocks.{block}', s['window_size'], s['window_size'] // 2 if i % 2 else 0
        )
        block += 1
    y = y + sd[f'{at}.scale'] * gab(
        y,
        sd,
        f'{at}.gab',
        heads,
        s['window_size'],
        s['interval_size'],
        s['shifted_windows'] == 'strips',
    )
    return (conv3x3(y, sd, f'{at}.conv') if s['resi_connection'] == '1conv' else y) + x


def cross_attention(x, mask, sd, at, i, s):
    """Dense: every pixel of the picture against every pixel of the mask (b, h, w, 1), which is
    padded for 'window' only.
    """
    heads = s['cross_attention_heads']
    m = conv3x3(mask, sd, 'mask_encoder')
    q = linear(
        layer_norm(x, sd, f'{at}.norm') if s['cross_attention_residual'] else x, sd, f'{at}.q'
    )
    k, v = linear(m, sd, f'{at}.k'), linear(m, sd, f'{at}.v')
    if s['cross_attention'] == 'global':
        samples = zip(q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2))
        out = torch.stack(
            [multi_head(*sample, lambda head: 0, heads) for sample in samples]
        ).view_as(x)
    else:
        out = window_attention(
            q, k, v, sd[f'{at}.bias_table'], s['window_size'], s['window_size'] // 2 if i % 2 else 0
        )
    out = linear(out, sd, f'{at}.proj')
    return x + out if s['cross_attention_residual'] else out


def padded_index(i, length, multiple):
    """Which pixel of a side stands at place i of the padded side: mirrored, or the last where there
    is too little to mirror.
    """
    padding = -length % multiple
    return i if i < length else 2 * (length - 1) - i if padding < length else length - 1


def pixel_shuffle(x, r):
    b, h, w, c = x.shape
    out = x.new_zeros(b, h * r, w * r, c // (r * r))
    for i, j in itertools.product(range(r), range(r)):
        out[:, i::r, j::r] = x[..., i * r + j :: r * r]
    return out


def network(sd, s, lq, mask=None):
    """HMANet, or HMACA where a mask (b, 1, h, w) is given, with settings s: (b, c, h, w) -> (b, c,
    h * scale, w * scale).
    """
    lq = lq.permute(0, 2, 3, 1)
    b, h, w, channels = lq.shape
    multiple = math.lcm(s['window_size'], s['interval_size'])
    rows = [padded_index(i, h, multiple) for i in range(math.ceil(h / multiple) * multiple)]
    cols = [padded_index(i, w, multiple) for i in range(math.ceil(w / multiple) * multiple)]
    if mask is not None:
        mask = mask.permute(0, 2, 3, 1)
        if s['cross_attention'] == 'window':
            padded = mask.new_zeros(b, len(rows), len(cols), 1)
            padded[:, :h, :w] = mask
            mask = padded
    mean = torch.tensor(
        (0.4488, 0.4371, 0.4040) if channels == 3 else (0.0,) * channels, dtype=torch.float32
    ).to(lq.dtype)
    shallow = conv3x3((lq[:, rows][:, :, cols] - mean) * s['img_range'], sd, 'conv_first')
    x = layer_norm(shallow, sd, 'norm_first')
    for i, (depth, heads) in enumerate(zip(s['depths'], s['num_heads'])):
        x = rhtb(x, sd, f'groups.{i}', depth, heads, s)
        if mask is not None:
            x = cross_attention(x, mask, sd, f'cross_attentions.{i}', i, s)
    x = layer_norm(x, sd, 'norm_last')
    x = (conv3x3(x, sd, 'conv_after_body') if s['resi_connection'] == '1conv' else x) + shallow
    x = conv3x3(x, sd, 'conv_before_upsample.0')
    x = torch.where(x < 0, 0.01 * x, x)
    scale = s['upscale']
    steps = [3] if scale == 3 else [2] * int(math.log2(scale))
    for i, r in enumerate(steps):
        x = pixel_shuffle(conv3x3(x, sd, f'upsample.{2 * i}'), r)
    x = conv3x3(x, sd, 'conv_last')
    if s['keep_size'] and scale > 1:
        x, scale = conv3x3(x, sd, 'conv_resize', stride=scale), 1
    x = x[:, : h * scale, : w * scale] / s['img_range']
    return (x + (lq if s['image_residual'] else mean)).permute(0, 3, 1, 2)
