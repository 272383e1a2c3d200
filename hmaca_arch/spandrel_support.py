"""HMANet, HMACA and Unfolded for programs that load models with `spandrel`, such as ComfyUI.

    import spandrel
    from hmaca_arch import spandrel_support

    spandrel_support.install()
    model = spandrel.ModelLoader().load_from_file('net_g_latest.pth')  # also .safetensors

HMANet becomes an ImageModelDescriptor, HMACA and Unfolded become MaskedImageModelDescriptors. The
state dict alone decides: this project's checkpoints describe their network, and HMA's published
release has keys that no other network has. Checkpoints with `mask_input: channel` are not
supported.

The masked descriptor composites, as spandrel's LaMa does. Where the mask is 0 the image comes back
bit for bit, and a mask between 0 and 1 blends. A program that composites again gets the same image.
`descriptor.model(image, mask)` returns what the network itself returns.

There are no size requirements. The networks pad by themselves: they mirror the image and not the
mask, where spandrel would mirror both.
"""

from typing import Any

import torch
from torch import Tensor, nn

from hmaca_arch.compositing import composite
from hmaca_arch.networks.baselines import EXTRA
from hmaca_arch.networks.checkpoints import DESCRIPTION, decode
from hmaca_arch.networks.hmaca import HMANet
from hmaca_arch.networks.loading import build_network_from_state_dict
from hmaca_arch.networks.unfolded import Unfolded

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
        'hmaca_arch.spandrel_support needs the package spandrel, which cannot be imported '
        f'({error}): {EXTRA}'
    ) from error

# Only HMA's release has grid attention and fused convolutions beside the layers of SwinIR and HAT.
is_published_hma = KeyCondition.has_all(
    'conv_first.weight',
    'patch_embed.norm.weight',
    'layers.0.residual_group.blocks.0.fused_conv.weight',
    'layers.0.residual_group.gab.grid_attn.attn_transform1.pos.pos_proj.weight',
)


def described_network(state_dict: StateDict) -> str | None:
    """Return the class name in a state dict's description of its network.

    None if there is no description, or extra state of another program in its place.
    """
    state = state_dict.get(DESCRIPTION)
    if not isinstance(state, Tensor) or state.dtype != torch.uint8:
        return None
    try:
        return decode(state)['network']
    except ValueError:
        return None


def tags(settings: dict[str, Any]) -> list[str]:
    """Return a network's main settings for display: width, depths, window, use of the mask."""
    names = []
    if 'embed_dim' in settings:
        names.append(f'{settings["embed_dim"]}dim')
    if 'depths' in settings:
        names.append('x'.join(map(str, settings['depths'])) + ' blocks')
    if 'window_size' in settings:
        names.append(f'w{settings["window_size"]}')
    if settings.get('cross_attention', 'none') != 'none':
        names.append(settings['cross_attention'])
    return [*names, 'position'] if settings.get('mask_position') else names


def restore_composited(network: nn.Module, image: Tensor, mask: Tensor) -> Tensor:
    """Restore an image and composite the result.

    Args:
        network: takes an image and a mask, and keeps the size.
        image: (1, in_chans, h, w), with its degraded region.
        mask: (1, 1, h, w), above 0 in the region.

    Returns:
        The restored image, in the image's shape and type.
    """
    # Spandrel's masked call leaves gradients on, unlike its other one. Its clamp_ afterwards
    # forbids inference_mode.
    with torch.no_grad():
        return composite(network(image, mask), image, mask).to(image.dtype)


class HMANetArch(Architecture[HMANet]):
    """HMANet of any scale; its scale is 1 with `keep_size`."""

    def __init__(self) -> None:
        super().__init__(
            id='HMANet',
            detect=lambda weights: (
                described_network(weights) == 'HMANet' or is_published_hma(weights)
            ),
        )

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[HMANet]:
        """Build the network and describe it to spandrel."""
        network: Any = build_network_from_state_dict(state_dict)
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


class MaskedArch(Architecture[nn.Module]):
    """HMACA or Unfolded that keeps the size of its input; spandrel's masked models have no scale.

    Unfolded restores an unknown degradation there: spandrel has no place to say what was done.

    Args:
        name: of the network, and the architecture's id.
    """

    def __init__(self, name: str) -> None:
        super().__init__(id=name, detect=lambda weights: described_network(weights) == name)

    def load(self, state_dict: StateDict) -> MaskedImageModelDescriptor[nn.Module]:
        """Build the network and describe it to spandrel.

        Raises:
            UnsupportedModelError: the network changes the size of its input.
        """
        network: Any = build_network_from_state_dict(state_dict)
        inner = network.network if isinstance(network, Unfolded) else network
        scale = getattr(inner, 'output_scale', 1)
        if scale != 1:
            raise UnsupportedModelError(
                f'this {type(inner).__name__} enlarges images {scale} times (upscale without '
                "keep_size); spandrel's masked models keep the size of their input"
            )
        return MaskedImageModelDescriptor(
            network,
            state_dict,
            architecture=self,
            purpose='Inpainting',
            tags=tags(network.settings.get('inner', network.settings)),
            supports_half=True,
            supports_bfloat16=True,
            input_channels=network.in_chans,
            output_channels=network.in_chans,
            call_fn=restore_composited,
        )


def install(registry: ArchRegistry = MAIN_REGISTRY) -> None:
    """Add HMANet, HMACA and Unfolded to a registry of spandrel, by default to the main one.

    Every ModelLoader uses the main one. A second call does nothing. The networks come before all
    other architectures: they recognise nothing but their own files, and no looser rule can then
    take those.
    """
    others = tuple(support.architecture.id for support in registry)
    ours = (HMANetArch(), MaskedArch('HMACA'), MaskedArch('Unfolded'))
    supports = [ArchSupport.from_architecture(arch, before=others) for arch in ours]
    registry.add(*supports, ignore_duplicates=True)
