"""The kernels of fused_attention against float64 and against torch's own; on a CPU in Triton's
interpreter.
"""

import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import GPU, environment
from reference import randomised

import hmaca_arch
from hmaca_arch.networks import biased_attention

triton = pytest.importorskip('triton', reason='needs Triton: pip install triton (Linux)')
fused_attention = pytest.importorskip('hmaca_arch.networks.fused_attention')

HALF = {'bfloat16': torch.bfloat16, 'float16': torch.float16}


@pytest.fixture(autouse=True)
def fused(monkeypatch, device):
    """The module, for CPUs too: interpreted, with bfloat16 as a GPU has it."""
    torch.manual_seed(0)
    if device.type == 'cpu':
        if GPU:
            pytest.skip('Triton was imported for the GPU')
        interpret_bfloat16(monkeypatch)
        monkeypatch.setattr(fused_attention, 'fits', lambda q, cols: True)
        for name, small in {'QUERIES': 16, 'KEYS': 32, 'PARTS': 2}.items():
            monkeypatch.setattr(fused_attention, name, small)  # several tiles in small windows
    yield fused_attention
    biased_attention.use_fused(False)


def interpret_bfloat16(monkeypatch) -> None:
    """Triton 3.9's interpreter cuts bfloat16 off instead of rounding, and multiplies its bits."""
    import triton.language as tl
    from triton.runtime import interpreter

    builder = interpreter.InterpreterBuilder
    real_cast, real_dot = builder.cast_impl, builder.create_dot

    def cast(self, source, kind):
        if (source.dtype.scalar, kind.scalar) != (tl.float32, tl.bfloat16):
            return real_cast(self, source, kind)
        rounded = torch.from_numpy(np.ascontiguousarray(source.data)).bfloat16()
        bits = rounded.view(torch.int16).numpy().view(np.uint16)
        return interpreter.TensorHandle(bits, kind.scalar)

    def dot(self, a, b, *more):
        exact = (
            self.cast_impl(t, tl.float32) if t.dtype.scalar == tl.bfloat16 else t for t in (a, b)
        )
        return real_dot(self, *exact, *more)

    monkeypatch.setattr(builder, 'cast_impl', cast)
    monkeypatch.setattr(builder, 'create_dot', dot)


def inputs(device, heads, n, rows, cols, d, table, dtype):
    """q, k, v and the gradient of the output, and a table for rectangles of at least this size."""
    tensors = [torch.randn(heads, n, rows * cols, d).to(device, dtype) for _ in range(4)]
    return *tensors, torch.randn(2 * table[0] - 1, 2 * table[1] - 1, heads).to(device)


def torch_attend(q, k, v, table, rows, cols):
    """torch's own kernel, with the bias expanded."""
    bias = biased_attention.expand_at_once(table.to(q.dtype), rows, cols)
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[:, None])


def results(attend, q, k, v, weight, table, rows, cols, dtype=None):
    """The output, and the gradients of q, k, v and table."""
    leaves = [
        t.detach().to(t.dtype if dtype is None else dtype, copy=True).requires_grad_()
        for t in (q, k, v, table)
    ]
    out = attend(*leaves, rows, cols)
    out.backward(weight.to(out.dtype))
    return [out.detach(), *(leaf.grad for leaf in leaves)]


def errors(ours, truth):
    return [float((a.double() - b).norm() / b.norm()) for a, b in zip(ours, truth)]


SHAPES = {  # heads, n, rows, cols, d, sides of the table
    'one tile': (2, 3, 4, 4, 16, (4, 4)),
    'half a window, odd sides': (1, 2, 3, 5, 8, (4, 7)),
    'several tiles, cut at the edge': (1, 3, 5, 7, 24, (5, 7)),
    'a row': (1, 1, 1, 20, 16, (1, 20)),
}


@pytest.mark.parametrize('shape', SHAPES.values(), ids=SHAPES)
def test_in_float32_as_in_float64(fused, device, shape):
    *sizes, table = shape
    rows, cols = sizes[2:4]
    given = inputs(device, *sizes, table, torch.float32)
    truth = results(torch_attend, *given, rows, cols, dtype=torch.float64)
    ours = results(fused.attend, *given, rows, cols)
    assert [t.shape for t in ours] == [t.shape for t in truth]
    assert max(errors(ours, truth)) < 1e-5


@pytest.mark.parametrize('dtype', HALF.values(), ids=HALF)
def test_in_half_precision_as_exact_as_torch(fused, device, dtype):
    given = inputs(device, 2, 2, 5, 7, 24, (5, 7), dtype)
    truth = results(torch_attend, *given, 5, 7, dtype=torch.float64)
    ours = results(fused.attend, *given, 5, 7)
    assert ours[0].dtype == ours[1].dtype == dtype and ours[4].dtype == torch.float32
    theirs = errors(results(torch_attend, *given, 5, 7), truth)
    assert all(a <= 1.2 * b for a, b in zip(errors(ours, truth), theirs, strict=True))


def test_two_runs_give_the_same_bits(fused, device):
    given = inputs(device, 1, 5, 2, 3, 16, (2, 3), torch.float32)
    first, second = (results(fused.attend, *given, 2, 3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))


def test_a_table_that_does_not_learn(fused, device):
    q, k, v, weight, table = inputs(device, 1, 2, 2, 3, 16, (2, 3), torch.float32)
    q.requires_grad_()
    fused.attend(q, k, v, table, 2, 3).backward(weight)
    (expected,) = torch.autograd.grad(torch_attend(q, k, v, table, 2, 3), q, weight)
    torch.testing.assert_close(q.grad, expected)


def test_a_network_trains_alike_with_and_without(fused, device):
    network = randomised(
        hmaca_arch.HMACA(
            embed_dim=32,
            depths=[2],
            num_heads=[2],
            window_size=4,
            cross_attention='window',
            drop_path_rate=0,
        ),
        0.1,
    )
    network = network.float().to(device)
    lq, mask = torch.rand(1, 3, 4, 8, device=device), torch.ones(1, 1, 4, 8, device=device)
    gradients, calls = {}, []
    real = fused.attend
    for on in (False, True):
        biased_attention.use_fused(on)
        fused.attend = lambda *given, on=on: (calls.append(on), real(*given))[1]
        try:
            loss = network(lq, mask).square().mean()
        finally:
            fused.attend = real
        gradients[on] = [loss, *torch.autograd.grad(loss, list(network.parameters()))]
    assert calls == [True] * len(calls) and len(calls) > 6
    scale = max(float(g.abs().max()) for g in gradients[False][1:])
    for ours, expected in zip(gradients[True], gradients[False]):
        assert (ours - expected).abs().max() < 1e-4 * scale


def test_without_gradients_torch_computes(fused, device, monkeypatch):
    q, k, v, _, table = inputs(device, 1, 1, 2, 2, 16, (2, 2), torch.float32)
    biased_attention.use_fused(True)
    monkeypatch.setattr(fused, 'attend', None)
    with torch.no_grad():
        biased_attention.attend(q, k, v, table, 2, 2)


# Compiles for a GPU on machines without one, which finds what the interpreter lets pass.
COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from hmaca_arch.networks import fused_attention as fused

constants = dict(ROWS=32, COLS=32, D=24, DEPTH=32, PRECISION='ieee')
tiles = dict(QUERIES=64, KEYS=64)
kernels = {fused._forward: tiles, fused._query_gradient: tiles, fused._key_gradient: tiles,
           fused._table_gradient: dict(WINDOWS_OF_PART=20, WIDTH=32)}
types = {'windows': 'i32', 'scale': 'fp32', **dict.fromkeys(('table', 'lse', 'delta', 'by_part'), '*fp32')}
for kernel, more in kernels.items():
    values = {**constants, **more}
    signature = {
        name: 'constexpr' if name in values else types.get(name, '*bf16') for name in kernel.arg_names
    }
    source = ASTSource(kernel, signature, values)
    compiled = triton.compile(source, target=GPUTarget('cuda', 90, 32))
    assert 'cubin' in compiled.asm
    print(kernel.__name__, compiled.metadata.shared)
"""


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu(tmp_path, device):
    if device.type == 'cuda':
        pytest.skip('they have run')
    env = {**environment(), 'TRITON_INTERPRET': '0', 'TRITON_CACHE_DIR': str(tmp_path)}
    result = subprocess.run(
        [sys.executable, '-c', COMPILE], env=env, text=True, capture_output=True
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 4
