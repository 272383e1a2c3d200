"""What an ONNX file computes: a network with its inputs and outputs as other programs have them."""

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hmaca_arch.compositing import composite
from hmaca_arch.networks.hmaca import HMACA, HMANet
from hmaca_arch.networks.unfolded import Unfolded

Size = tuple[int, int]  # height and width in pixels
MIDDLE = 127  # of 255: a mask of 8 bits restores what is above


class Form(NamedTuple):
    """How a file takes its images.

    Attributes:
        uint8: images are (n, h, w, c) and masks (n, h, w), both uint8. Otherwise images are
            (n, c, h, w) and masks (n, 1, h, w), both float32 in [0, 1].
        half: the network computes in float16. What is outside the mask stays exact.
    """

    uint8: bool = False
    half: bool = False


class Composited(nn.Module):
    """The network's result, pasted into the image: float32 in and out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, lq: Tensor, mask: Tensor) -> Tensor:
        """Restore lq (n, c, h, w) where mask (n, 1, h, w) is above 0."""
        precision = next(self.network.parameters()).dtype
        restored = self.network(lq.to(precision), mask.to(precision))
        return composite(restored.float().clamp(0, 1), lq, mask)


class OnBytes(nn.Module):
    """The same for images and masks of 8 bits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.composited = Composited(network)

    def forward(self, lq: Tensor, mask: Tensor) -> Tensor:
        """Restore lq (n, h, w, c) where mask (n, h, w) is above the middle; both uint8."""
        levels = lq.permute(0, 3, 1, 2).float()
        inside = (mask > MIDDLE)[:, None]
        restored = self.composited(levels / 255, inside.float())
        levels = torch.where(inside, torch.round(restored * 255), levels)
        return levels.permute(0, 2, 3, 1).to(torch.uint8)


def graph(network: nn.Module, form: Form) -> nn.Module:
    """Return what the file of a network computes, in eval mode, around a copy of it."""
    network = without_norms_of_one(network)
    if form.half:
        network = network.half()
    return (OnBytes if form.uint8 else Composited)(network).eval()


class NormOfOne(nn.Module):
    """A LayerNorm over a single value: its bias, whatever comes in.

    Narrow networks have some in the position bias of their grid attention. onnxruntime 1.23, the
    last one for Python 3.10, refuses the LayerNorm itself.
    """

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """Return the bias in the shape of x."""
        return 0 * x + self.bias


def without_norms_of_one(network: nn.Module) -> nn.Module:
    """Return a copy that computes the same with `NormOfOne` in place of such LayerNorms."""
    network = deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.LayerNorm) and tuple(child.normalized_shape) == (1,):
                setattr(module, name, NormOfOne(child.bias))
    return network


def inner_network(network: nn.Module) -> HMANet:
    """Return the network that windows and padding are of, if the whole can be exported.

    Raises:
        ValueError: it cannot; the message says why.
    """
    inner = network.network if isinstance(network, Unfolded) else network
    if not isinstance(inner, HMACA if inner is network else HMANet):
        name = type(network).__name__
        around = '' if inner is network else f' around {type(inner).__name__}'
        raise ValueError(
            f'the checkpoint is of a network {name}{around}; '
            'only HMACA, and Unfolded around HMACA or HMANet, can be exported'
        )
    if inner.settings.get('cross_attention') == 'global':
        raise ValueError(
            'the checkpoint has cross_attention: global, which cannot be exported: how many '
            'distinct neighbourhoods a mask has depends on its values, and the sizes in an ONNX '
            'graph may not. Only cross_attention: window or none can be exported'
        )
    if inner.output_scale != 1:
        raise ValueError(
            f'the checkpoint enlarges {inner.output_scale} times; '
            'only networks that keep the size can be exported'
        )
    return inner


def shortest_side(inner: HMANet) -> int:
    """Return the shortest side in pixels of a graph for any size.

    After padding there must be two windows, and less padding than pixels.
    """
    return inner.multiple + 1
