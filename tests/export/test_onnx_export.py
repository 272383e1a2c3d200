"""HMACA as an ONNX file: onnxruntime's results, and what is refused."""

import json
import sys

import numpy as np
import pytest
import torch
from conftest import status_of

from hmaca_arch import HMACA, HMANet
from hmaca_arch.compositing import composite
from hmaca_arch.export import checking, graphs, onnx_export
from hmaca_arch.messages import how_to_install
from hmaca_arch.networks.unfolded import Unfolded

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
    """Run the command on this network; return its exit status and the path of the file."""
    output = tmp_path / 'net.onnx'
    return status_of(
        'export', '--weights', save(tmp_path / 'net.pth', network), '-o', output, *arguments
    ), output


def windowed(**more):
    torch.manual_seed(0)
    return HMACA(**{**SMALL, **more}, cross_attention='window').eval()


def check(path, network, shapes):
    """Compare onnxruntime's result with PyTorch's for a soft mask with an empty border."""
    onnxruntime = pytest.importorskip('onnxruntime')
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    for shape in shapes:
        lq, mask = torch.rand(shape), torch.zeros(shape[0], 1, *shape[2:])
        mask[..., 1:-1, 1:-1] = torch.rand(mask[..., 1:-1, 1:-1].shape).round(decimals=1)
        with torch.no_grad():
            expected = composite(network(lq, mask).clamp(0, 1), lq, mask).numpy()
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
    assert status == 0 and '7x4: onnxruntime and PyTorch differ by ' in capsys.readouterr().out
    check(output, network, [(1, 3, 7, 4), (3, 3, 7, 4)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ['net.onnx', 'net.pth']


@pytest.mark.slow
@pytest.mark.usefixtures('exporter')
def test_any_size(tmp_path, capsys):
    network = windowed(depths=(1, 1), num_heads=(2, 2))  # the second cross attention is shifted
    status, output = run(tmp_path, network, '--dynamic')
    assert status == 0 and 'any sides from 5 pixels on' in capsys.readouterr().out
    check(output, network, [(1, 3, 5, 5), (4, 3, 8, 21), (1, 3, 31, 16)])


@pytest.mark.usefixtures('exporter')
@pytest.mark.parametrize('form', ['window', 'none'])
def test_distances_to_the_regions_edge(tmp_path, form):
    torch.manual_seed(0)
    network = HMACA(**SMALL, cross_attention=form, mask_position=True).eval()
    status, output = run(tmp_path, network, '--dynamic')
    assert status == 0
    check(output, network, [(1, 3, 5, 5), (2, 3, 8, 41)])


def image_and_mask(n, h, w):
    """(n, h, w, 3) and (n, h, w) of 8 bits; a gray value on each side of the middle."""
    rng = np.random.default_rng(0)
    mask = np.zeros((n, h, w), np.uint8)
    mask[:, 1:-2, 2:-1] = 255
    mask[:, 2, 3], mask[:, 0, 0], mask[:, 3, 3] = 127, 128, 1
    return rng.integers(0, 256, (n, h, w, 3), dtype=np.uint8), mask


def restored_by_pytorch(network, image, mask):
    """In levels: the network sees a binary mask, and what is outside stays."""
    lq = torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255
    inside = torch.from_numpy(mask > 127)
    with torch.no_grad():
        output = network(lq, inside[:, None].float()).clamp(0, 1)
    levels = (255 * output).round().permute(0, 2, 3, 1).numpy()
    return np.where((mask > 127)[..., None], levels, image)


@pytest.mark.usefixtures('exporter')
@pytest.mark.parametrize('more', [[], pytest.param(['--fp16'], marks=pytest.mark.slow)])
def test_images_of_8_bits(tmp_path, more):
    network = windowed()
    status, output = run(tmp_path, network, '--dynamic', '--uint8', *more)
    session = checking.open_session(output)
    for shape in ((1, 9, 14), (3, 6, 7)):
        image, mask = image_and_mask(*shape)
        (restored,) = session.run(None, {'lq': image, 'mask': mask})
        expected = restored_by_pytorch(network, image, mask)
        assert restored.dtype == np.uint8 and status == 0
        assert np.array_equal(restored[mask <= 127], image[mask <= 127])
        assert np.abs(restored - expected).max() <= (1 if more else 0)
        assert not np.array_equal(restored, image)


@pytest.mark.usefixtures('exporter')
def test_half_precision_is_half_the_weights_and_exact_outside(tmp_path):
    onnx = pytest.importorskip('onnx')
    network = windowed(embed_dim=64)
    status, output = run(tmp_path, network, '--size', '8', '11', '--fp16')
    lq, mask = torch.rand(2, 3, 8, 11), torch.zeros(2, 1, 8, 11)
    mask[..., 2:6, 3:9] = 1
    session = checking.open_session(output)
    (restored,) = session.run(None, {'lq': lq.numpy(), 'mask': mask.numpy()})
    with torch.no_grad():
        expected = composite(network(lq, mask).clamp(0, 1), lq, mask).numpy()
    assert status == 0 and restored.dtype == np.float32
    outside = (mask == 0).expand_as(lq).numpy()
    assert np.array_equal(restored[outside], lq.numpy()[outside])
    assert 1e-6 < np.abs(restored - expected).max() < 5e-3
    kinds = {one.data_type for one in onnx.load(output).graph.initializer if one.dims}
    assert onnx.TensorProto.FLOAT16 in kinds and onnx.TensorProto.FLOAT not in kinds


@pytest.mark.usefixtures('exporter')
@pytest.mark.parametrize('inner', ['HMACA', pytest.param('HMANet', marks=pytest.mark.slow)])
def test_unfolded_restores_what_is_unknown(tmp_path, inner):
    torch.manual_seed(0)
    form = {'cross_attention': 'window'} if inner == 'HMACA' else {}
    network = Unfolded(inner={'type': inner, **SMALL, **form}).eval()
    status, output = run(tmp_path, network, '--dynamic')
    assert status == 0
    session = checking.open_session(output)
    lq, mask = torch.rand(3, 3, 7, 10), torch.zeros(3, 1, 7, 10)
    mask[0, :, 1:4, 2:8] = mask[1, :, 3:, :5] = 1
    with torch.no_grad():
        expected = network(lq, mask).clamp(0, 1).numpy()
    (restored,) = session.run(None, {'lq': lq.numpy(), 'mask': mask.numpy()})
    assert np.abs(restored - expected).max() < 1e-5
    assert np.array_equal(restored[2], lq[2].numpy()) and not np.array_equal(restored[0], lq[0])


@pytest.mark.usefixtures('exporter')
def test_a_file_says_what_it_is_and_can_be_checked(tmp_path, capsys):
    onnx = pytest.importorskip('onnx')
    network = windowed()
    status, output = run(tmp_path, network, '--dynamic')
    model = onnx.load(output)
    onnx.checker.check_model(model, full_check=True)
    facts = {one.key: one.value for one in model.metadata_props}
    assert facts.pop('settings') == json.dumps(network.settings)
    assert facts == {
        'network': 'HMACA',
        'images': 'n c h w, float32, 0 to 1',
        'channels': 'RGB',
        'precision': 'float32',
        'shortest_side': '5',
    }
    assert model.producer_name == 'hmaca' and model.opset_import[0].version == 18
    weights = tmp_path / 'net.pth'
    capsys.readouterr()
    assert status == status_of('export', '--weights', weights, '-o', output, '--check') == 0
    shown = capsys.readouterr().out
    assert shown.count('outside the mask nothing changes') == 3 and 'computes what' in shown
    other = windowed(image_residual=True)
    other.conv_last.reset_parameters()
    assert status_of(
        'export', '--weights', save(tmp_path / 'other.pth', other), '-o', output, '--check'
    )
    assert 'net.onnx: onnxruntime differs from PyTorch at 11x14 by' in capsys.readouterr().err


@pytest.mark.usefixtures('exporter')
def test_files_of_others_are_refused_by_the_check(tmp_path, capsys):
    onnx = pytest.importorskip('onnx')
    weights = save(tmp_path / 'net.pth', windowed())
    text = onnx.helper.make_tensor_value_info
    one = [text(name, onnx.TensorProto.FLOAT, [1]) for name in ('x', 'y')]
    node = onnx.helper.make_node('Identity', ['x'], ['y'])
    graph = onnx.helper.make_graph([node], 'g', one[:1], one[1:])
    opset = [onnx.helper.make_opsetid('', 18)]
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=opset)
    onnx.save(model, tmp_path / 'other.onnx')
    (tmp_path / 'text.onnx').write_bytes(b'no graph')
    for name, says in (
        ('other', 'its inputs are x; expected lq and mask'),
        ('text', 'onnxruntime cannot open it'),
    ):
        file = tmp_path / f'{name}.onnx'
        assert status_of('export', '--weights', weights, '-o', file, '--check') == 1
        error = capsys.readouterr().err
        assert f'{name}.onnx: {says}' in error and error.count('\n') == 1


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
    without = graphs.without_norms_of_one(network)
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
        (lambda: HMANet(**SMALL), 'network HMANet; only HMACA, and Unfolded around HMACA or'),
        (
            lambda: Unfolded(inner={'type': 'HMACA', **SMALL}),
            'cross_attention: global, which cannot be exported',
        ),
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


def acting():
    """Return a network that changes its input, untrained as it is."""
    network = windowed(image_residual=True)
    network.conv_last.reset_parameters()
    return network


@pytest.mark.usefixtures('exporter')
@pytest.mark.parametrize(
    'form',
    [
        ['--dynamic'],
        pytest.param(['--dynamic', '--uint8'], marks=pytest.mark.slow),
        pytest.param(['--size', '12', '20', '--fp16'], marks=pytest.mark.slow),
        pytest.param(['--dynamic', '--uint8', '--fp16'], marks=pytest.mark.slow),
    ],
    ids=' '.join,
)
def test_a_tensor_that_is_too_large_by_a_fifth_is_found(tmp_path, capsys, form):
    onnx = pytest.importorskip('onnx')
    status, output = run(tmp_path, acting(), *form)
    check = ['export', '--weights', tmp_path / 'net.pth', '-o', output, '--check']
    assert status == 0 and status_of(*check) == 0
    sound = output.read_bytes()
    capsys.readouterr()
    for name in ('conv_first.weight', 'conv_last.weight'):
        model = onnx.load_from_string(sound)
        (tensor,) = (one for one in model.graph.initializer if one.name.endswith(name))
        values = onnx.numpy_helper.to_array(tensor)
        larger = (1.2 * values.astype(np.float32)).astype(values.dtype)
        tensor.CopyFrom(onnx.numpy_helper.from_array(larger, tensor.name))
        onnx.save(model, output)
        assert status_of(*check) == 1, name
        error = capsys.readouterr().err
        assert 'net.onnx: onnxruntime differs from PyTorch at' in error and error.count('\n') == 1


class Session:
    """What PyTorch computes, as onnxruntime's session has it, with a fault."""

    def __init__(self, network, form, fault=lambda restored: restored):
        self.graph, self.fault = graphs.graph(network, form), fault

    def run(self, _, given):
        with torch.no_grad():
            restored = self.graph(torch.tensor(given['lq']), torch.tensor(given['mask'])).numpy()
        return [self.fault(restored)]


def in_a_batch(restored):
    restored[2:] = restored[2:].clip(0.2, 1)
    return restored


def in_one_value(restored):
    restored[0, 0, 6, 10] += 1e-3
    return restored


@pytest.mark.parametrize('fault', [in_a_batch, in_one_value])
def test_a_fault_in_a_batch_alone_or_in_one_value_is_found(fault):
    network, form, sizes = acting(), graphs.Form(), [(12, 20)]
    assert checking.check(Session(network, form), network, sizes, form)[12, 20].largest < 1e-6
    with pytest.raises(ValueError, match='differs from PyTorch at 12x20 by'):
        checking.check(Session(network, form, fault), network, sizes, form)


@pytest.mark.parametrize('uint8', [False, True])
def test_half_precision_as_pytorch_computes_it_takes_half_of_the_limit(uint8):
    network, form = acting(), graphs.Form(uint8, half=True)
    found = checking.difference(Session(network, form), network, (40, 48), form)
    assert 0.3 < found.share < 0.6


def test_the_limit_allows_few_values_a_level():
    assert checking.limit_of_mean(0, 100, 0) == 1e-5
    assert checking.limit_of_mean(1e-4, 100, 0) == pytest.approx(2.1e-4)
    assert checking.limit_of_mean(0, 100, 1 / 255) == pytest.approx(1e-5 + 2 / 255 / 100)
    # of 10000 values a mean of 1 / 2550 sets 1000 apart by a level, with a deviation of 32
    limit = checking.limit_of_mean(1 / 2550, 10000, 1 / 255) - 1e-5
    assert limit * 255 * 10000 == pytest.approx(2 * 1000 + 3 * 1000**0.5 + 2)


class Wrong(torch.nn.Module):
    """A graph that computes something else than the network."""

    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, lq, mask):
        if self.result == 'outside':
            return lq + 1e-6 * (1 + mask)  # a graph keeps the inputs that it uses
        return torch.where(mask > 0, lq * (np.nan if self.result == 'nan' else 0.5), lq)


@pytest.mark.usefixtures('exporter')
@pytest.mark.parametrize(
    ('result', 'says'),
    [
        ('off', 'onnxruntime differs from PyTorch at 9x8 by'),
        ('nan', 'onnxruntime differs from PyTorch at 9x8 by nan'),
        ('outside', 'onnxruntime changes pixels outside the mask at 9x8'),
    ],
)
def test_a_file_that_computes_something_else_is_not_written(
    tmp_path, monkeypatch, capsys, result, says
):
    """The earlier file stays."""
    monkeypatch.setattr(onnx_export, 'graph', lambda network, form: Wrong(result))
    (tmp_path / 'net.onnx').write_bytes(b'old')
    status, output = run(tmp_path, windowed(), '--size', '9', '8')
    error = capsys.readouterr().err
    assert status == 1 and says in error and error.endswith(': the file is not written\n')
    assert output.read_bytes() == b'old' and error.count('\n') == 1
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
        (['--weights', 'good.pth', '-o', 'x.onnx', '--check'], 'expected an ONNX file'),
        (['--weights', 'good.pth', '-o', 'x.onnx', '--check', '--fp16'], 'the file itself says so'),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(onnx_export, 'import_onnxruntime', lambda: None)
    monkeypatch.setattr(checking, 'import_onnxruntime', lambda: None)
    (tmp_path / 'bad.pth').write_bytes(b'not a checkpoint')
    torch.save([1], tmp_path / 'list.pth')
    torch.save({'weight': torch.zeros(1)}, tmp_path / 'other.pth')
    save(tmp_path / 'good.pth', windowed())
    assert status_of('export', *arguments) == 1
    error = capsys.readouterr().err
    assert says in error and error.count('\n') == 1 and error.startswith('basicsr export: error: ')
    assert not (tmp_path / 'x.onnx').exists()
