"""Compare what onnxruntime computes of a file with PyTorch."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmaca_arch.export.graphs import Form, Size, graph, inner_network, shortest_side
from hmaca_arch.messages import how_to_install, reason_of

HALF = 'float16'  # in a file's metadata, under `precision`
SINGLE = 'float32'
# Limits, by measurement: the mean difference of sound files was 1e-7 in float32. In float16 it was
# about what float16 makes in PyTorch.
LEAST = 1e-5  # the mean difference that is always allowed, on [0, 1]
TIMES = 2  # as much as float16 makes in PyTorch is allowed
PEAK = 10  # times the limit of the mean is allowed for a single value


def import_onnxruntime() -> Any:
    """Import onnxruntime, and onnx, which the exporter needs.

    Raises:
        ValueError: one of them is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            f'{error.name or error} is missing; exporting needs onnx and onnxruntime: '
            f'{how_to_install("onnx")}'
        ) from error
    return onnxruntime


def open_session(path: Path) -> Any:
    """Open a file in onnxruntime, on the CPU.

    Raises:
        FileNotFoundError, ValueError: it is not there, or it is no ONNX file that can run.
    """
    onnxruntime = import_onnxruntime()
    if not path.is_file():
        raise FileNotFoundError(f'{path.absolute()} does not exist; expected an ONNX file')
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: in float16 it warns of what it does not fold
    try:
        return onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    except Exception as error:  # onnxruntime has one class for each kind of failure
        reason = reason_of(error, 200)
        raise ValueError(f'{path}: onnxruntime cannot open it ({reason})') from None


class Difference(NamedTuple):
    """How far onnxruntime's result of one image is from PyTorch's inside the mask, on [0, 1].

    Attributes:
        mean: absolute, over all values.
        largest: of all values.
        limit: of the mean. The largest may be `PEAK` times as large, and a step more.
        step: between two neighbouring values of the file's images, 0 for floating point.
    """

    mean: float
    largest: float
    limit: float
    step: float

    @property
    def share(self) -> float:
        """What part of its limit is reached, by the mean or by the largest; NaN if one is."""
        peak = (self.largest - self.step) / PEAK
        return float(np.max([self.mean, peak]) / self.limit)

    def __str__(self) -> str:
        """Say it, with the limits."""
        return (
            f'by {self.mean:.1e} on average ({self.limit:.1e} is allowed) and by at most '
            f'{self.largest:.1e} ({PEAK * self.limit + self.step:.1e})'
        )


def example(channels: int, size: Size) -> tuple[Tensor, Tensor]:
    """Return three images of random squares and their masks, float32 in [0, 1].

    Networks act strongly on flat squares: restoring pixelized regions is what they learn. The first
    two images have squares of 8 and 4 pixels and a rectangle as the mask. The third has single
    pixels, all of them masked. All values are levels of 8 bits.
    """
    h, w = size
    random = torch.Generator().manual_seed(0)
    images = []
    for side in (8, 4, 1):
        squares = torch.rand(1, channels, -(-h // side), -(-w // side), generator=random)
        images.append(F.interpolate(squares, scale_factor=float(side))[..., :h, :w])
    mask = torch.zeros(3, 1, h, w)
    mask[:2, :, h // 4 : h - h // 4, w // 4 : w - w // 4] = 1
    mask[2] = 1
    return (255 * torch.cat(images)).round() / 255, mask


def in_form(image: Tensor, mask: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    """Return images and masks of `example` as a file takes them."""
    if not form.uint8:
        return image, mask
    levels = (255 * image).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return levels, (255 * mask[:, 0]).to(torch.uint8)


def difference(session: Any, network: nn.Module, size: Size, form: Form) -> Difference:
    """Compare onnxruntime's results with PyTorch's in float32.

    One image alone is tried, and a batch of three.

    Args:
        session: of onnxruntime, with the file.
        network: in float32.
        size: of the images.
        form: of the file.

    Returns:
        What comes closest to its limit, of all images.

    Raises:
        ValueError: onnxruntime changes a pixel outside the mask.
    """
    image, mask = example(inner_network(network).in_chans, size)
    with torch.no_grad():
        result = graph(network, Form())(image, mask)
        rough = graph(network, Form(half=True))(image, mask) if form.half else result
    lq, masks = (one.numpy() for one in in_form(image, mask, form))
    expected = in_form(result, mask, form)[0].numpy()
    inside = np.broadcast_to(masks[..., None] if form.uint8 else masks, lq.shape) > 0
    step = 1 / 255 if form.uint8 else 0
    differences = []
    for count in (1, len(lq)):
        (restored,) = session.run(None, {'lq': lq[:count], 'mask': masks[:count]})
        outside = ~inside[:count]
        if not np.array_equal(restored[outside], lq[:count][outside]):
            raise ValueError(f'onnxruntime changes pixels outside the mask at {size[0]}x{size[1]}')
        for k in range(count):
            values = restored[k][inside[k]].astype(np.float64)
            off = np.abs(values - expected[k][inside[k]]) * (step or 1)
            half = (rough[k] - result[k]).abs()[mask[k].expand_as(rough[k]) > 0]
            limit = limit_of_mean(float(half.mean()), half.numel(), step)
            differences.append(Difference(float(off.mean()), float(off.max()), limit, step))
    # argmax takes NaN for the largest
    return differences[int(np.argmax([one.share for one in differences]))]


def limit_of_mean(half: float, count: int, step: float) -> float:
    """Return how large the mean difference of an image may be, on [0, 1].

    Rounding to levels leaves the mean of many values as it is, but scatters it for few.

    Args:
        half: the mean difference that float16 makes in PyTorch; 0 for a file of float32.
        count: of values.
        step: between two levels, 0 for floating point.
    """
    scattered = 3 * math.sqrt(half * step / count) + 2 * step / count
    return LEAST + TIMES * half + scattered


def check(
    session: Any, network: nn.Module, sizes: Sequence[Size], form: Form
) -> dict[Size, Difference]:
    """Compare at several sizes; see `difference`.

    Found is what moves the result clearly further than rounding does. Single tensors of the shipped
    weights were multiplied by 1.2: in float16 42 of 60 were found, for images of 8 bits 39. Sound
    files reach at most 0.56 of the limit. Not found are faults that hardly act on these images:
    most biases, tables of the attention, and in float16 small parts of a network that was hardly
    trained.

    Returns:
        {size: what comes closest to its limit}.

    Raises:
        ValueError: onnxruntime changes a pixel outside the mask, or differs by more than is
            allowed.
    """
    found = {size: difference(session, network, size, form) for size in sizes}
    for (h, w), one in found.items():
        if not one.share <= 1:  # True for NaN
            raise ValueError(f'onnxruntime differs from PyTorch at {h}x{w} {one}')
    return found


def sizes_to_try(network: nn.Module, size: Size | None) -> list[Size]:
    """Return the sizes at which a file is compared: its own, or three if it takes any.

    The first has two sides that occur nowhere else in the graph: it is traced.
    """
    if size:
        return [size]
    inner = inner_network(network)
    multiple, shortest = inner.multiple, shortest_side(inner)
    traced = (3 * multiple - 1, 4 * multiple - 2)
    return [traced, (shortest, 2 * traced[1]), (4 * multiple, shortest)]


def form_of(session: Any, path: Path) -> tuple[Form, Size | None]:
    """Return what form a file has, and the size that it takes, None if any.

    Raises:
        ValueError: it is not one that `basicsr export` wrote.
    """
    inputs = {one.name: one for one in session.get_inputs()}
    if set(inputs) != {'lq', 'mask'} or len(inputs['lq'].shape) != 4:
        raise ValueError(
            f'{path}: its inputs are {", ".join(sorted(inputs)) or "none"}; '
            'expected lq and mask, as `basicsr export` writes them'
        )
    uint8 = inputs['lq'].type == 'tensor(uint8)'
    shape = inputs['lq'].shape
    sides = shape[1:3] if uint8 else shape[2:4]
    fixed = all(isinstance(side, int) for side in sides)
    precision = session.get_modelmeta().custom_metadata_map.get('precision', SINGLE)
    return Form(uint8, precision == HALF), (sides[0], sides[1]) if fixed else None
