"""How a GPU computes: the precision of float32 products, and bit-wise repeatable algorithms.

On a CPU nothing here changes a result.
"""

import os

import torch


def use_tf32(allowed: bool, device: torch.device) -> None:
    """Allow or forbid a GPU to round the inputs of products to TF32 (10 bits of mantissa).

    torch's default is yes for convolutions and no for matrix products. Here both are the same: by
    default everything is computed in float32, as on a CPU.
    """
    if device.type == 'cuda':
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def repeat_exactly(device: torch.device) -> None:
    """Allow only algorithms that give the same bits each time.

    On a GPU an operation without one is an error, and attention kernels that add gradients in any
    order are disabled. A CPU repeats anyway, so torch only warns there.
    """
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    gpu = device.type == 'cuda'
    torch.use_deterministic_algorithms(True, warn_only=not gpu)
    if gpu:
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)
        torch.backends.cuda.enable_cudnn_sdp(False)
        torch.backends.cuda.enable_math_sdp(True)
