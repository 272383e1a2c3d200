"""Export HMACA as an ONNX file and check it against PyTorch: `basicsr export`.

The graph takes `lq` and `mask` (see `Form`) and returns `restored`, composited: equal to lq where
the mask is 0. torch's tracing exporter makes it (`dynamo=False`). The newer exporter takes longer,
several times as long for dynamic sizes, and needs onnxscript. `attend`, `strips` and
`pad_to_multiple` compute the same in another form while they are traced. An Unfolded network is
exported as it restores an unknown degradation.

Refused are `cross_attention: global`, whose number of keys depends on the values of the mask, where
the sizes in an ONNX graph may depend only on the sizes of its inputs; networks that enlarge, where
there is nothing to composite with; and other networks.
"""

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hmaca_arch import __version__
from hmaca_arch.export.checking import (
    HALF,
    SINGLE,
    Difference,
    check,
    example,
    form_of,
    import_onnxruntime,
    in_form,
    open_session,
    sizes_to_try,
)
from hmaca_arch.export.graphs import Form, Size, graph, inner_network, shortest_side
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.messages import printable, reason_of, say
from hmaca_arch.networks.loading import load_network

OPSET = 18
FORM = Form()


def export(
    network: nn.Module, path: Path, size: Size | None, form: Form = FORM
) -> dict[Size, Difference]:
    """Write a network as an ONNX file, if onnxruntime computes what PyTorch does.

    Args:
        network: see `inner_network`; in eval mode, float32, on the CPU.
        path: the file; weights inside. It stays as it was if anything fails.
        size: of the images; None for any sides from `shortest_side` on.
        form: see `Form`.

    Returns:
        {size that was tried: how far the results differ}

    Raises:
        ValueError: the network cannot be exported, a package is missing, or results differ.
    """
    inner_network(network)
    import_onnxruntime()
    if size is not None and min(size) < 1:
        raise ValueError(
            f'the size is {size[0]} {size[1]}; expected height and width, at least 1 each'
        )
    sizes = sizes_to_try(network, size)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        temporary = Path(folder) / path.name
        _trace(network, temporary, sizes[0], form, dynamic=size is None)
        _describe(temporary, network, form, dynamic=size is None)
        try:
            found = check(open_session(temporary), network, sizes, form)
        except ValueError as error:
            raise ValueError(f'{error}: the file is not written') from None
        write_atomically(path, temporary.read_bytes())
    return found


def _trace(network: nn.Module, path: Path, size: Size, form: Form, dynamic: bool) -> None:
    lq, mask = in_form(*example(inner_network(network).in_chans, size), form)
    image, of_mask = ({1: 'h', 2: 'w'},) * 2 if form.uint8 else ({2: 'h', 3: 'w'},) * 2
    axes = {'lq': image, 'mask': of_mask, 'restored': image}
    # The tracer warns that it follows one branch. `difference` then measures at which sizes that
    # is right.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            graph(network, form),
            (lq[:1], mask[:1]),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=['lq', 'mask'],
            output_names=['restored'],
            dynamic_axes={
                name: {0: 'n', **(sides if dynamic else {})} for name, sides in axes.items()
            },
        )


def _describe(path: Path, network: nn.Module, form: Form, dynamic: bool) -> None:
    """Write into a file what programs and people may want to know of it."""
    import onnx

    inner = inner_network(network)
    images = 'n h w c, uint8, 0 to 255' if form.uint8 else 'n c h w, float32, 0 to 1'
    model = onnx.load(path)
    model.producer_name, model.producer_version = 'hmaca', __version__
    model.doc_string = (
        'Restores the masked region of images; every pixel outside the mask stays as it is. '
        'White (1, or above 127 of 255) is restored.'
    )
    facts: dict[str, Any] = {
        'network': type(network).__name__,
        'settings': json.dumps(network.settings),
        'images': images,
        'channels': 'RGB' if inner.in_chans == 3 else str(inner.in_chans),
        'precision': HALF if form.half else SINGLE,
        'shortest_side': shortest_side(inner) if dynamic else '',
    }
    onnx.helper.set_model_props(model, {key: str(value) for key, value in facts.items() if value})
    onnx.save(model, path)


def export_file(weights: Path, output: Path, size: Size | None, form: Form = FORM) -> None:
    """Export the network of a checkpoint, and print the differences.

    Args:
        weights: the checkpoint.
        output: the file to write.
        size: as for `export`.
        form: as for `export`.

    Raises:
        FileNotFoundError, ValueError: as for `export`, or a file or folder is missing.
    """
    if not output.parent.is_dir():
        raise FileNotFoundError(f'there is no folder {output.parent} to write {output.name} to')
    network = load_network(weights).network
    _tell(export(network, output, size, form))
    sides = '' if size else f', any sides from {shortest_side(inner_network(network))} pixels on'
    say(f'{printable(output)}: {output.stat().st_size / 2**20:.1f} MiB{sides}')


def check_file(weights: Path, file: Path) -> None:
    """Compare an ONNX file with the checkpoint that it is of, and print the differences.

    Args:
        weights: the checkpoint.
        file: the ONNX file.

    Raises:
        FileNotFoundError, ValueError: it computes something else, or cannot be compared.
    """
    network = load_network(weights).network
    inner_network(network)
    session = open_session(file)
    form, size = form_of(session, file)
    try:
        found = check(session, network, sizes_to_try(network, size), form)
    except ValueError as error:
        raise ValueError(f'{file}: {error}') from None
    except Exception as error:  # onnxruntime's, where the network has other channels
        reason = reason_of(error, 200)
        raise ValueError(f'{file}: onnxruntime cannot run it ({reason})') from None
    _tell(found)
    say(f'{printable(file)}: computes what {printable(weights)} does')


def _tell(found: dict[Size, Difference]) -> None:
    for (h, w), one in found.items():
        say(f'{h}x{w}: onnxruntime and PyTorch differ {one}; outside the mask nothing changes')
