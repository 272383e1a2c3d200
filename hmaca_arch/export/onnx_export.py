"""Export HMACA as an ONNX file and check it against PyTorch: `basicsr export`.

The graph takes `lq` (1, in_chans, h, w) in [0, 1] and `mask` (1, 1, h, w), 1 = restore. It returns
`restored`, composited: bit-equal to lq where the mask is 0. torch's tracing exporter makes it
(`dynamo=False`). The newer exporter takes longer, several times as long for dynamic sizes, and
needs onnxscript. `attend`, `strips` and `pad_to_multiple` compute the same in another form while
they are traced.

Three kinds of networks are refused. With `cross_attention: global` the number of keys depends on
the values of the mask, and the sizes in an ONNX graph may depend only on the sizes of its inputs.
For networks that enlarge there is nothing to composite with. Others than HMACA are not supported.
"""

import tempfile
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hmaca_arch.compositing import composite
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.messages import how_to_install, printable, say
from hmaca_arch.networks.hmaca import HMACA
from hmaca_arch.networks.loading import load_network

TOLERANCE = 1e-3  # on [0, 1]
OPSET = 18

Size = tuple[int, int]  # height and width in pixels


class Composited(nn.Module):
    """The exported function: the network's result, pasted into the image."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, lq: Tensor, mask: Tensor) -> Tensor:
        """Restore lq (b, c, h, w) where mask (b, 1, h, w) is above 0."""
        return composite(self.network(lq, mask), lq, mask)


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


def exportable(network: nn.Module) -> HMACA:
    """Return the network if it can be exported.

    Raises:
        ValueError: it cannot; the message says why.
    """
    if not isinstance(network, HMACA):
        raise ValueError(
            f'the checkpoint is of a network {type(network).__name__}; only HMACA can be exported'
        )
    if network.settings['cross_attention'] == 'global':
        raise ValueError(
            'the checkpoint has cross_attention: global, which cannot be exported: how many '
            'distinct neighbourhoods a mask has depends on its values, and the sizes in an ONNX '
            'graph may not. Only cross_attention: window or none can be exported'
        )
    if network.output_scale != 1:
        raise ValueError(
            f'the checkpoint enlarges {network.output_scale} times; '
            'only networks that keep the size can be exported'
        )
    return network


def shortest_side(network: HMACA) -> int:
    """Return the shortest side in pixels of a graph for any size.

    After padding there must be two windows, and less padding than pixels.
    """
    return network.multiple + 1


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


def example(network: HMACA, size: Size, full: bool) -> tuple[Tensor, Tensor]:
    """Return a random image, and a mask of all of it or of a rectangle inside."""
    h, w = size
    mask = torch.full((1, 1, h, w), float(full))
    mask[..., h // 4 : h - h // 4, w // 4 : w - w // 4] = 1
    return torch.rand(1, network.in_chans, h, w, generator=torch.Generator().manual_seed(0)), mask


def difference(session: Any, network: HMACA, size: Size) -> float:
    """Return the largest difference between onnxruntime's result and PyTorch's, on [0, 1].

    Raises:
        ValueError: onnxruntime changes a pixel outside the mask.
    """
    differences = []
    for full in (False, True):
        lq, mask = example(network, size, full)
        with torch.no_grad():
            expected = Composited(network)(lq, mask).numpy()
        (restored,) = session.run(None, {'lq': lq.numpy(), 'mask': mask.numpy()})
        outside = np.broadcast_to(mask.numpy() == 0, restored.shape)
        if not np.array_equal(restored[outside], lq.numpy()[outside]):
            raise ValueError(
                f'onnxruntime changes pixels outside the mask at {size[0]}x{size[1]}: '
                'the file is not written'
            )
        differences.append(np.abs(restored - expected).max())
    return float(np.max(differences))  # NaN, if one is


def export(
    network: nn.Module, path: Path, size: Size | None, tolerance: float = TOLERANCE
) -> dict[Size, float]:
    """Write a network as an ONNX file, if onnxruntime computes what PyTorch does.

    Args:
        network: HMACA with cross_attention window or none, in eval mode, float32, on the CPU.
        path: the file; weights inside. It stays as it was if anything fails.
        size: of the images; None for any sides from `shortest_side` on.
        tolerance: the largest difference allowed, on [0, 1].

    Returns:
        {size that was tried: largest difference}

    Raises:
        ValueError: the network cannot be exported, a package is missing, or results differ.
    """
    network = exportable(network)
    onnxruntime = import_onnxruntime()
    if size is not None and min(size) < 1:
        raise ValueError(
            f'the size is {size[0]} {size[1]}; expected height and width, at least 1 each'
        )
    multiple, shortest = network.multiple, shortest_side(network)
    # The example of a dynamic size has two sides that occur nowhere else in the graph.
    traced = size or (3 * multiple - 1, 4 * multiple - 2)
    cases = [size] if size else [traced, (shortest, 2 * traced[1]), (4 * multiple, shortest)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        temporary = Path(folder) / path.name
        _trace(network, temporary, traced, dynamic=size is None)
        session = onnxruntime.InferenceSession(temporary, providers=['CPUExecutionProvider'])
        found = {case: difference(session, network, case) for case in cases}
        worst = np.max(list(found.values()))
        if not worst <= tolerance:  # True for NaN
            raise ValueError(
                f'onnxruntime differs from PyTorch by {worst:.1e}, more than {tolerance:.0e}: '
                'the file is not written'
            )
        write_atomically(path, temporary.read_bytes())
    return found


def _trace(network: HMACA, path: Path, size: Size, dynamic: bool) -> None:
    # The tracer warns that it follows one branch. `difference` then measures at which sizes that
    # is right.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')
        names = ('lq', 'mask', 'restored')
        torch.onnx.export(
            Composited(without_norms_of_one(network)).eval(),
            example(network, size, full=False),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=['lq', 'mask'],
            output_names=['restored'],
            dynamic_axes={name: {2: 'h', 3: 'w'} for name in names} if dynamic else None,
        )


def export_file(weights: Path, output: Path, size: Size | None) -> None:
    """Export the network of a checkpoint, and print the differences.

    Args:
        weights: the checkpoint.
        output: the file to write.
        size: as for `export`.

    Raises:
        FileNotFoundError, ValueError: as for `export`, or a file or folder is missing.
    """
    if not output.parent.is_dir():
        raise FileNotFoundError(f'there is no folder {output.parent} to write {output.name} to')
    network = exportable(load_network(weights).network)
    for (h, w), worst in export(network, output, size).items():
        say(
            f'{h}x{w}: onnxruntime and PyTorch differ by at most {worst:.1e}; '
            'outside the mask nothing changes'
        )
    sides = '' if size else f', any sides from {shortest_side(network)} pixels on'
    say(f'{printable(output)}: {output.stat().st_size / 2**20:.1f} MiB{sides}')
