"""HMANet and HMACA for programs that load models with `spandrel` (ComfyUI and chaiNNer among them).

    import spandrel
    from hmaca_arch import spandrel_support

    spandrel_support.install()
    model = spandrel.ModelLoader().load_from_file('net_g_latest.pth')  # also .safetensors

HMANet becomes an ImageModelDescriptor, HMACA a MaskedImageModelDescriptor. Both are recognised by
the state dict alone: ours describes itself, and HMA's published release by keys that only it has. A
checkpoint with `mask_input: channel` is neither, and stays unsupported.

The masked descriptor *composites*, as LaMa's in spandrel does: where the mask is 0 the picture
comes back bit for bit, and a mask between 0 and 1 blends. Programs that paste by themselves get the
same picture. `descriptor.model(image, mask)` is what the network itself returns.

Size requirements are none: the networks pad by themselves, mirroring the picture and not the mask
(spandrel would mirror both).
"""

from typing import Any

import torch
from torch import Tensor

from hmaca_arch.compositing import composite
from hmaca_arch.networks.baselines import EXTRA
from hmaca_arch.networks.checkpoints import DESCRIPTION, decode
from hmaca_arch.networks.hmaca import HMACA, HMANet
from hmaca_arch.networks.loading import build_network_from_state_dict

try:
    from spandrel import (
        MAIN_REGISTRY,
        Architecture,
        ArchRegistry,
        ArchSupport,
        ImageModelDescriptor,
        MaskedImageModelDescriptor,
        StateDict,
        UnsupportedModelError,
    )
    from spandrel.util import KeyCondition
except ImportError as error:
    raise ImportError(
        f'hmaca_arch.spandrel_support needs the package spandrel, which cannot be imported ({error}): {EXTRA}'
    ) from error

# The grid attention and the widened convolution of HMA's release; the layers around them are named
# as in SwinIR and HAT.
is_published_hma = KeyCondition.has_all(
    'conv_first.weight',
    'patch_embed.norm.weight',
    'layers.0.residual_group.blocks.0.fused_conv.weight',
    'layers.0.residual_group.gab.grid_attn.attn_transform1.pos.pos_proj.weight',
)


def described_network(state_dict: StateDict) -> str | None:
    """The class name in a state dict's description of itself; None if it has none, or another's
    extra state in its place.
    """
    state = state_dict.get(DESCRIPTION)
    if not isinstance(state, Tensor) or state.dtype != torch.uint8:
        return None
    try:
        return decode(state)['network']
    except ValueError:
        return None


def tags(settings: dict[str, Any]) -> list[str]:
    """What tells one network of an architecture from another, for people: width, depths, window,
    how the mask is seen.
    """
    names = [
        f'{settings["embed_dim"]}dim',
        'x'.join(map(str, settings['depths'])) + ' blocks',
        f'w{settings["window_size"]}',
    ]
    if settings.get('cross_attention', 'none') != 'none':
        names.append(settings['cross_attention'])
    return [*names, 'position'] if settings.get('mask_position') else names


def restore_composited(network: HMACA, image: Tensor, mask: Tensor) -> Tensor:
    """image (1, in_chans, h, w) with its masked region, mask (1, 1, h, w) > 0, restored; in the
    image's type.
    """
    # spandrel's masked call, unlike its other one, leaves gradients on; inference mode would forbid
    # its clamp_
    with torch.no_grad():
        return composite(network(image, mask), image, mask).to(image.dtype)


class HMANetArch(Architecture[HMANet]):
    """HMANet of any scale; with `keep_size` its scale is 1."""

    def __init__(self) -> None:
        super().__init__(
            id='HMANet',
            detect=lambda weights: (
                described_network(weights) == 'HMANet' or is_published_hma(weights)
            ),
        )

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[HMANet]:
        network = build_network_from_state_dict(state_dict)
        return ImageModelDescriptor(
            network,
            state_dict,
            architecture=self,
            purpose='Restoration' if network.output_scale == 1 else 'SR',
            tags=tags(network.settings),
            supports_half=True,
            supports_bfloat16=True,
            scale=network.output_scale,
            input_channels=network.in_chans,
            output_channels=network.in_chans,
        )


class HMACAArch(Architecture[HMACA]):
    """HMACA whose output has the size of its input; spandrel's masked models have no scale."""

    def __init__(self) -> None:
        super().__init__(id='HMACA', detect=lambda weights: described_network(weights) == 'HMACA')

    def load(self, state_dict: StateDict) -> MaskedImageModelDescriptor[HMACA]:
        network = build_network_from_state_dict(state_dict)
        if network.output_scale != 1:
            raise UnsupportedModelError(
                f"this HMACA enlarges pictures {network.output_scale} times (upscale without keep_size); spandrel's masked models return "
                'pictures of the size that they are given'
            )
        return MaskedImageModelDescriptor(
            network,
            state_dict,
            architecture=self,
            purpose='Inpainting',
            tags=tags(network.settings),
            supports_half=True,
            supports_bfloat16=True,
            input_channels=network.in_chans,
            output_channels=network.in_chans,
            call_fn=restore_composited,
        )


def install(registry: ArchRegistry = MAIN_REGISTRY) -> None:
    """Add HMANet and HMACA to a registry of spandrel, by default to that of every ModelLoader.
    Again does nothing.

    They are asked first: they recognise nothing but their own files, and no looser rule can then
    take those.
    """
    others = tuple(support.architecture.id for support in registry)
    registry.add(
        *(
            ArchSupport.from_architecture(arch, before=others)
            for arch in (HMANetArch(), HMACAArch())
        ),
        ignore_duplicates=True,
    )
