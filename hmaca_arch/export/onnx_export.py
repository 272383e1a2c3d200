"""HMACA with `cross_attention: window` or `none` as an ONNX file, checked against PyTorch: `basicsr
export --help`.

The graph takes `lq` (1, in_chans, h, w) in [0, 1] and `mask` (1, 1, h, w), 1 = restore, and returns
`restored`, composited: bit-equal to lq where the mask is 0. It is made by torch's tracing exporter
(`dynamo=False`). The newer one, on top of torch.export, takes longer, for any size several times as
long, and needs onnxscript. What is traced computes the same in another form, as `attend`, `strips`
and `pad_to_multiple` say, and here a LayerNorm over one value is its bias.

Not exported, and refused: `cross_attention: global`, whose keys are the distinct neighbourhoods of
the mask, as many as the *values* of the mask say, while a graph's sizes may depend on its inputs'
sizes only; networks that enlarge (there is nothing to composite with); and networks other than
HMACA.
"""

import contextlib
import tempfile
import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hmaca_arch.compositing import composite
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.messages import how_to_install, printable, say
from hmaca_arch.networks import hmaca
from hmaca_arch.networks.loading import load_network

TOLERANCE = 1e-3
OPSET = 18


class Composited(nn.Module):
    """What the file computes: the network's result, pasted into the picture."""

    def __init__(self, network: hmaca.HMACA) -> None:
        super().__init__()
        self.network = network

    def forward(self, lq: Tensor, mask: Tensor) -> Tensor:
        return composite(self.network(lq, mask), lq, mask)


class NormOfOne(nn.Module):
    """A LayerNorm over a single value, as narrow networks have in their grid attention's position
    bias: its bias, whatever comes in.

    onnxruntime 1.23, the last one for Python 3.10, refuses the LayerNorm itself.
    """

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x + self.bias


def without_norms_of_one(network: nn.Module) -> nn.Module:
    """A copy that computes the same."""
    network = deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.LayerNorm) and tuple(child.normalized_shape) == (1,):
                setattr(module, name, NormOfOne(child.bias))
    return network


def refuse(network: nn.Module) -> None:
    """Raise a ValueError that says why, unless the network can be exported."""
    if not isinstance(network, hmaca.HMACA):
        raise ValueError(
            f'the checkpoint is of a network {type(network).__name__}; only HMACA can be exported'
        )
    if network.settings['cross_attention'] == 'global':
        raise ValueError(
            'the checkpoint has cross_attention: global, which cannot be exported: how many distinct neighbourhoods a mask has depends on '
            'its values, and the sizes in an ONNX graph may not. Only cross_attention: window or none can be exported'
        )
    if network.output_scale != 1:
        raise ValueError(
            f'the checkpoint enlarges {network.output_scale} times; only networks that keep the size can be exported'
        )


def shortest_side(network: hmaca.HMACA) -> int:
    """The shortest side of a graph for any size: two windows after padding, and less padding than
    there are pixels.
    """
    return network.multiple + 1


def needed() -> Any:
    """onnxruntime, after making sure that the exporter has what it needs too."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            f'{error.name or error} is missing; exporting needs onnx and onnxruntime: {how_to_install("onnx")}'
        ) from error
    return onnxruntime


def example(network: hmaca.HMACA, size: tuple[int, int], whole: bool) -> tuple[Tensor, Tensor]:
    """A random picture, and a mask of all of it or of a rectangle inside."""
    h, w = size
    mask = torch.full((1, 1, h, w), float(whole))
    mask[..., h // 4 : h - h // 4, w // 4 : w - w // 4] = 1
    return torch.rand(1, network.in_chans, h, w, generator=torch.Generator().manual_seed(0)), mask


def difference(session: Any, network: hmaca.HMACA, size: tuple[int, int]) -> float:
    """The largest difference of onnxruntime's result to PyTorch's, on [0, 1].

    Raises:
        ValueError: a pixel outside the mask is not what it was.
    """
    differences = []
    for whole in (False, True):
        lq, mask = example(network, size, whole)
        with torch.no_grad():
            expected = Composited(network)(lq, mask).numpy()
        (restored,) = session.run(None, {'lq': lq.numpy(), 'mask': mask.numpy()})
        outside = np.broadcast_to(mask.numpy() == 0, restored.shape)
        if not np.array_equal(restored[outside], lq.numpy()[outside]):
            raise ValueError(
                f'onnxruntime changes pixels outside the mask at {size[0]}x{size[1]}: the file is not written'
            )
        differences.append(np.abs(restored - expected).max())
    return float(np.max(differences))  # NaN, if one is


def export(
    network: hmaca.HMACA, path: Path, size: tuple[int, int] | None, tolerance: float = TOLERANCE
) -> dict[tuple[int, int], float]:
    """Write `network` as an ONNX file, unless onnxruntime computes something else than PyTorch.

    Args:
        network: HMACA with cross_attention window or none, in eval mode, float32, on the CPU.
        path: the file; weights inside. It is what it was before if anything fails.
        size: (h, w) of the pictures; None for any sides from `shortest_side` on.
        tolerance: the largest difference allowed, on [0, 1].

    Returns:
        The largest difference by size that was tried.

    Raises:
        ValueError: the network cannot be exported, a package is missing, or results differ.
    """
    refuse(network)
    onnxruntime = needed()
    if size is not None and min(size) < 1:
        raise ValueError(
            f'the size is {size[0]} {size[1]}; expected height and width, at least 1 each'
        )
    shortest = shortest_side(network)
    given = size or (
        3 * network.multiple - 1,
        4 * network.multiple - 2,
    )  # an example of a dynamic size: no side like another
    axes = None if size else {name: {2: 'h', 3: 'w'} for name in ('lq', 'mask', 'restored')}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        temporary = Path(folder) / path.name
        with quiet(), torch.no_grad():
            torch.onnx.export(
                Composited(without_norms_of_one(network)).eval(), example(network, given, whole=False), temporary,
                dynamo=False, opset_version=OPSET, input_names=['lq', 'mask'], output_names=['restored'], dynamic_axes=axes,
            )  # fmt: skip
        session = onnxruntime.InferenceSession(temporary, providers=['CPUExecutionProvider'])
        cases = (
            [size] if size else [given, (shortest, 2 * given[1]), (4 * network.multiple, shortest)]
        )
        found = {case: difference(session, network, case) for case in cases}
        worst = np.max(list(found.values()))
        if not worst <= tolerance:  # nor where it is NaN
            raise ValueError(
                f'onnxruntime differs from PyTorch by {worst:.1e}, more than {tolerance:.0e}: the file is not written'
            )
        write_atomically(path, temporary.read_bytes())
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the tracer's remarks that it follows one way through the code: at which sizes that is
    right is measured afterwards.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


def export_file(weights: Path, output: Path, size: tuple[int, int] | None) -> None:
    """Export the network of a checkpoint, and print what was found; arguments and errors as in
    `export`.
    """
    if not output.parent.is_dir():
        raise FileNotFoundError(f'there is no folder {output.parent} to write {output.name} to')
    network = load_network(weights).network
    for (h, w), worst in export(network, output, size).items():
        say(
            f'{h}x{w}: onnxruntime and PyTorch differ by at most {worst:.1e}; outside the mask nothing changes'
        )
    sides = '' if size else f', any sides from {shortest_side(network)} pixels on'
    say(f'{printable(output)}: {output.stat().st_size / 2**20:.1f} MiB{sides}')
