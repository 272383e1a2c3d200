"""Compare what onnxruntime computes of a file with PyTorch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hmaca_arch.export.graphs import Form, Size, graph, inner_network, shortest_side
from hmaca_arch.messages import how_to_install, reason_of

HALF = 'float16'  # in a file's metadata, under `precision`
SINGLE = 'float32'


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


def example(channels: int, size: Size, form: Form) -> tuple[Tensor, Tensor]:
    """Return two random images, and the masks of a rectangle and of everything, in a form."""
    h, w = size
    mask = torch.zeros(2, 1, h, w)
    mask[0, :, h // 4 : h - h // 4, w // 4 : w - w // 4] = 1
    mask[1] = 1
    lq = torch.rand(2, channels, h, w, generator=torch.Generator().manual_seed(0))
    if not form.uint8:
        return lq, mask
    as_bytes = (255 * lq).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return as_bytes, (255 * mask[:, 0]).to(torch.uint8)


def difference(session: Any, network: nn.Module, size: Size, form: Form) -> float:
    """Return the largest difference between onnxruntime's result and PyTorch's, on [0, 1].

    One image alone is tried, and a batch of two.

    Args:
        session: of onnxruntime, with the file.
        network: in float32.
        size: of the images.
        form: of the file.

    Raises:
        ValueError: onnxruntime changes a pixel outside the mask.
    """
    lq, mask = example(inner_network(network).in_chans, size, form)
    with torch.no_grad():
        expected = graph(network, form._replace(half=False))(lq, mask)
    known = (mask == 0).unsqueeze(-1) if form.uint8 else mask == 0
    outside = known.expand(lq.shape).numpy()
    differences = []
    for count in (1, 2):
        given = {'lq': lq[:count].numpy(), 'mask': mask[:count].numpy()}
        (restored,) = session.run(None, given)
        if not np.array_equal(restored[outside[:count]], given['lq'][outside[:count]]):
            raise ValueError(f'onnxruntime changes pixels outside the mask at {size[0]}x{size[1]}')
        off = np.abs(restored.astype(np.float64) - expected[:count].numpy()).max()
        differences.append(off / 255 if form.uint8 else off)
    return float(np.max(differences))  # NaN, if one is


def check(session: Any, network: nn.Module, sizes: Sequence[Size], form: Form) -> dict[Size, float]:
    """Compare at several sizes; see `difference`.

    Returns:
        {size: largest difference}.

    Raises:
        ValueError: onnxruntime changes a pixel outside the mask, or differs by more than
            `Form.tolerance`.
    """
    found = {size: difference(session, network, size, form) for size in sizes}
    worst = np.max(list(found.values()))
    if not worst <= form.tolerance:  # True for NaN
        raise ValueError(
            f'onnxruntime differs from PyTorch by {worst:.1e}, more than {form.tolerance:.0e}'
        )
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
