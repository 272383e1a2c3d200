"""How a GPU computes: in which precision float32 is multiplied, and whether a computation repeats
bit by bit.

On a CPU nothing here changes a result.
"""

import os

import torch


def use_tf32(allowed: bool, device: torch.device) -> None:
    """Let a GPU round what it multiplies to TF32 (10 bits of mantissa), or not.

    torch's own default is yes for convolutions and no for matrix products. Here both are the same:
    what an option file does not ask for is computed as on a CPU, in float32.
    """
    if device.type == 'cuda':
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def repeat_exactly(device: torch.device) -> None:
    """Let torch take only algorithms that give the same bits each time.

    On a GPU an operation without one is an error. Of the attention kernels, those that add
    gradients in any order are left out. A CPU repeats anyway; there torch only warns.
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
