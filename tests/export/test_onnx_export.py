"""HMACA as an ONNX file: what onnxruntime computes, and what is refused."""

import sys

import numpy as np
import pytest
import torch
from conftest import status_of

from hmaca_arch import HMACA, HMANet
from hmaca_arch.compositing import composite
from hmaca_arch.export import onnx_export
from hmaca_arch.messages import how_to_install

SMALL = {
    'embed_dim': 32,
    'depths': (1,),
    'num_heads': (2,),
    'window_size': 4,
    'interval_size': 2,
    'mlp_ratio': 1.0,
}


def save(path, network):
    torch.save({'params': network.state_dict()}, path)
    return path


def run(tmp_path, network, *arguments):
    """The script on this network; its exit status and where the file should be."""
    output = tmp_path / 'net.onnx'
    return status_of(
        'export', '--weights', save(tmp_path / 'net.pth', network), '-o', output, *arguments
    ), output


def windowed(**more):
    torch.manual_seed(0)
    return HMACA(**{**SMALL, **more}, cross_attention='window').eval()


def check(path, network, shapes):
    """onnxruntime's result for a soft mask with an empty border, in a session of its own."""
    onnxruntime = pytest.importorskip('onnxruntime')
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    for shape in shapes:
        lq, mask = torch.rand(shape), torch.zeros(shape[0], 1, *shape[2:])
        mask[..., 1:-1, 1:-1] = torch.rand(mask[..., 1:-1, 1:-1].shape).round(decimals=1)
        with torch.no_grad():
            expected = composite(network(lq, mask), lq, mask).numpy()
        (restored,) = session.run(None, {'lq': lq.numpy(), 'mask': mask.numpy()})
        assert restored.dtype == np.float32 and np.abs(restored - expected).max() < 1e-5
        outside = (mask == 0).expand(shape).numpy()
        assert np.array_equal(restored[outside], lq.numpy()[outside]) and not np.array_equal(
            restored, lq.numpy()
        )


@pytest.fixture
def exporter():
    for name in ('onnx', 'onnxruntime'):
        pytest.importorskip(name, reason=f'{name} is not installed: {how_to_install("onnx")}')


@pytest.mark.usefixtures('exporter')
def test_a_fixed_size(tmp_path, capsys):
    network = windowed(image_residual=True)
    network.conv_last.reset_parameters()  # untrained, it is zero
    status, output = run(tmp_path, network, '--size', '7', '4')
    assert (
        status == 0 and '7x4: onnxruntime and PyTorch differ by at most' in capsys.readouterr().out
    )
    check(output, network, [(1, 3, 7, 4)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ['net.onnx', 'net.pth']


@pytest.mark.usefixtures('exporter')
def test_any_size(tmp_path, capsys):
    network = windowed(depths=(1, 1), num_heads=(2, 2))  # the second cross attention is shifted
    status, output = run(tmp_path, network, '--dynamic')
    assert status == 0 and 'any sides from 5 pixels on' in capsys.readouterr().out
    check(output, network, [(1, 3, 5, 5), (1, 3, 8, 21), (1, 3, 31, 16)])


@pytest.mark.usefixtures('exporter')
@pytest.mark.parametrize('form', ['window', 'none'])
def test_distances_to_the_regions_edge(tmp_path, form):
    torch.manual_seed(0)
    network = HMACA(**SMALL, cross_attention=form, mask_position=True).eval()
    status, output = run(tmp_path, network, '--dynamic')
    assert status == 0
    check(output, network, [(1, 3, 5, 5), (1, 3, 8, 41)])


def test_norms_of_one_value_are_their_bias():
    torch.manual_seed(0)
    network = windowed().double()
    norms = [
        module
        for module in network.modules()
        if isinstance(module, torch.nn.LayerNorm) and module.normalized_shape == (1,)
    ]
    assert len(norms) == 6, 'three in each of two biases of a narrow network'
    for norm in norms:
        torch.nn.init.normal_(norm.bias)
    lq, mask = torch.rand(1, 3, 16, 12).double(), torch.ones(1, 1, 16, 12).double()
    without = onnx_export.without_norms_of_one(network)
    assert not any(
        isinstance(module, torch.nn.LayerNorm) and module.normalized_shape == (1,)
        for module in without.modules()
    )
    assert torch.equal(without(lq, mask), network(lq, mask))


@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
@pytest.mark.parametrize('size', [(5, 5), (7, 11), (8, 12), (1, 3), (9, 4)])
def test_the_traced_form_computes_the_same(size):
    torch.manual_seed(0)
    network = (
        HMACA(**{**SMALL, 'depths': (2, 1), 'num_heads': (2, 2)}, cross_attention='window')
        .double()
        .eval()
    )
    lq, mask = (
        torch.rand(2, 3, *size, dtype=torch.float64),
        torch.rand(2, 1, *size, dtype=torch.float64),
    )
    with torch.no_grad():
        traced = torch.jit.trace(network, (lq, mask), check_trace=False)
        torch.testing.assert_close(traced(lq, mask), network(lq, mask), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ('network', 'says'),
    [
        (lambda: HMACA(**SMALL), 'cross_attention: global, which cannot be exported'),
        (lambda: windowed(upscale=2), 'enlarges 2 times'),
        (lambda: HMANet(**SMALL), 'network HMANet; only HMACA can be exported'),
    ],
)
def test_what_cannot_be_exported_is_said(tmp_path, capsys, network, says):
    status, output = run(tmp_path, network(), '--dynamic')
    error = capsys.readouterr().err
    assert status == 1 and says in error and error.count('\n') == 1 and not output.exists()


def test_missing_packages_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    monkeypatch.setitem(sys.modules, 'onnx', None)
    status, _ = run(tmp_path, windowed(), '--dynamic')
    assert status == 1 and how_to_install('onnx') in capsys.readouterr().err


@pytest.mark.parametrize('result', ['off', 'nan', 'outside'])
def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch, capsys, result):
    """The earlier file stays."""

    class Session:
        def __init__(self, *args, **kwargs):
            pass

        def run(self, names, inputs):
            wrong = {'off': 2e-3, 'nan': np.nan, 'outside': 1e-9}[result]
            where = inputs['mask'] == 0 if result == 'outside' else inputs['mask'] > 0
            lq = torch.from_numpy(inputs['lq'])
            with torch.no_grad():
                right = composite(
                    network(lq, torch.from_numpy(inputs['mask'])),
                    lq,
                    torch.from_numpy(inputs['mask']),
                ).numpy()
            return (np.where(where, right.astype(np.float64) + wrong, right),)

    network = windowed()
    monkeypatch.setattr(
        onnx_export,
        'import_onnxruntime',
        lambda: type('onnxruntime', (), {'InferenceSession': Session}),
    )
    monkeypatch.setattr(
        torch.onnx, 'export', lambda module, args, path, **kwargs: path.write_bytes(b'new')
    )
    (tmp_path / 'net.onnx').write_bytes(b'old')
    status, output = run(tmp_path, network, '--size', '9', '8')
    assert (
        status == 1
        and 'is not written' in capsys.readouterr().err
        and output.read_bytes() == b'old'
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ['net.onnx', 'net.pth']


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--weights', 'no.pth', '-o', 'x.onnx', '--dynamic'], 'no.pth does not exist'),
        (['--weights', 'bad.pth', '-o', 'x.onnx', '--dynamic'], 'bad.pth: not a checkpoint'),
        (['--weights', 'list.pth', '-o', 'x.onnx', '--dynamic'], 'list.pth: holds no weights'),
        (
            ['--weights', 'other.pth', '-o', 'x.onnx', '--dynamic'],
            'does not say which network it belongs to',
        ),
        (['--weights', 'good.pth', '-o', 'none/x.onnx', '--dynamic'], 'there is no folder none'),
        (
            ['--weights', 'good.pth', '-o', 'x.onnx', '--size', '0', '8'],
            'expected height and width, at least 1 each',
        ),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(onnx_export, 'import_onnxruntime', lambda: None)
    (tmp_path / 'bad.pth').write_bytes(b'not a checkpoint')
    torch.save([1], tmp_path / 'list.pth')
    torch.save({'weight': torch.zeros(1)}, tmp_path / 'other.pth')
    save(tmp_path / 'good.pth', windowed())
    assert status_of('export', *arguments) == 1
    error = capsys.readouterr().err
    assert says in error and error.count('\n') == 1 and error.startswith('basicsr export: error: ')
    assert not (tmp_path / 'x.onnx').exists()
