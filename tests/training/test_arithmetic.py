"""What the options of a GPU's arithmetic switch; the GPU itself is not needed to see it."""

import pytest
import torch

from hmaca_arch.training import arithmetic

SDP = ('flash', 'mem_efficient', 'cudnn', 'math')


@pytest.fixture(autouse=True)
def switches_back(monkeypatch):
    """Leave torch as it was."""
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    flags = {name: getattr(torch.backends.cuda, f'{name}_sdp_enabled')() for name in SDP}
    precision = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    yield
    torch.use_deterministic_algorithms(False)
    for name, enabled in flags.items():
        getattr(torch.backends.cuda, f'enable_{name}_sdp')(enabled)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = precision
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = cudnn


@pytest.mark.parametrize('allowed', [True, False])
def test_products_and_convolutions_have_one_precision(allowed):
    arithmetic.use_tf32(allowed, torch.device('cuda'))
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (
        allowed,
        allowed,
    )


def test_a_cpu_is_left_alone():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    arithmetic.use_tf32(not before[0], torch.device('cpu'))
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


@pytest.mark.parametrize('device', ['cuda', 'cpu'])
def test_only_what_repeats_is_left(device):
    arithmetic.repeat_exactly(torch.device(device))
    assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
    assert torch.is_deterministic_algorithms_warn_only_enabled() == (device == 'cpu')
    if device == 'cuda':
        enabled = {name for name in SDP if getattr(torch.backends.cuda, f'{name}_sdp_enabled')()}
        assert enabled == {'math'}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_attention_with_a_bias_repeats_on_a_gpu():
    arithmetic.repeat_exactly(torch.device('cuda'))
    generator = torch.Generator('cuda').manual_seed(0)
    q, k, v = torch.rand(3, 512, 4, 64, 16, device='cuda', generator=generator)
    table = torch.rand(1, 4, 64, 64, device='cuda', generator=generator).requires_grad_()
    gradients = [
        torch.autograd.grad(
            torch.nn.functional.scaled_dot_product_attention(q, k, v, table).square().sum(), table
        )[0]
        for _ in range(5)
    ]
    assert all(torch.equal(gradients[0], other) for other in gradients)
