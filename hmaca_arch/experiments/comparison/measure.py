"""Run one method over all images, in a fresh process, and measure it.

A fresh process keeps the memory and caches of one method out of another's figures.
"""

import importlib.util
import multiprocessing
import signal
import statistics
import sys
import time
from collections.abc import Callable, Collection
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.utils import tensor2img
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import default_collate
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from hmaca_arch.compositing import composite_image
from hmaca_arch.experiments.comparison.data import Data
from hmaca_arch.experiments.comparison.methods import Contender, NetworkRestorer, ReadyMethod
from hmaca_arch.messages import one_line, say
from hmaca_arch.metrics.masked import (
    WINDOW,
    calculate_boundary_psnr,
    calculate_composite_psnr,
    calculate_masked_psnr,
    calculate_masked_ssim,
)
from hmaca_arch.training import resources

METRICS = {  # key: (title, decimals)
    'composite_psnr': ('composite dB', 2),
    'masked_psnr': ('inside dB', 2),
    'boundary_psnr': ('boundary dB', 2),
    'masked_ssim': ('SSIM inside', 4),
    'lpips': ('LPIPS', 4),
}


@dataclass
class MethodFigures:
    """The figures of one method.

    Args:
        label: the method's.
        names: of the images.
        values: {metric: (images,)}.
        seconds: for each image.
        images: {name: (h, w, 3) BGR uint8, composited} of those that were asked for.
        parameters: of the network; None: it is none.
        macs: multiply-accumulates for the first image; None: it is no network.
        memory: MiB at the peak beyond what the libraries take (on a GPU: allocated by torch).
        side: height and width of the first image in pixels.
    """

    label: str
    names: list[str] = field(default_factory=list)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    images: dict[str, np.ndarray] = field(default_factory=dict)
    parameters: int | None = None
    macs: int | None = None
    memory: float | None = None
    side: tuple[int, ...] = (0, 0)

    @property
    def milliseconds(self) -> float:
        """The median over images."""
        return 1e3 * statistics.median(self.seconds)


def lpips_metric(device: str) -> Callable[[np.ndarray, np.ndarray], float] | None:
    """Return LPIPS (AlexNet) as a function of two BGR uint8 images (h, w, 3).

    It is None if the package `lpips` or its weights are missing.
    """
    if importlib.util.find_spec('lpips') is None:
        return None
    import lpips

    try:
        network = lpips.LPIPS(net='alex', verbose=False).to(device).eval()
    except OSError as error:  # it downloads AlexNet's weights when first used
        say(f'LPIPS is left out: its weights cannot be loaded ({one_line(error)})', file=sys.stderr)
        return None

    @torch.no_grad()
    def distance(first: np.ndarray, second: np.ndarray) -> float:
        tensors = []
        for image in (first, second):
            rgb = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
            tensors.append(rgb[None].to(device).float() / 127.5 - 1)
        return network(*tensors).item()

    return distance


def figures(
    restored: np.ndarray, gt: np.ndarray, lq: np.ndarray, mask: np.ndarray, paste: str
) -> dict[str, float]:
    """Return the metrics of an image as `basicsr test` computes them.

    Args:
        restored: (h, w, 3) BGR uint8, not composited.
        gt: (h, w, 3) BGR uint8.
        lq: (h, w, 3) BGR uint8.
        mask: (h, w) float in [0, 1].
        paste: what the composite PSNR pastes outside the region, lq or gt.
    """
    images = {'img': restored, 'img2': gt, 'lq': lq, 'mask': mask}
    large = min(mask.shape) >= WINDOW
    return {
        'composite_psnr': calculate_composite_psnr(**images, paste=paste),
        'masked_psnr': calculate_masked_psnr(**images),
        'boundary_psnr': calculate_boundary_psnr(**images),
        'masked_ssim': calculate_masked_ssim(**images) if large else float('nan'),
    }


def multiply_accumulates(restorer: NetworkRestorer, item: dict[str, Any]) -> int:
    """Count the multiply-accumulates of convolutions, matrix products and attention for an image.

    Padding counts too.
    """
    # torch counts none of its fused attention on a CPU. The MATH backend writes attention out as
    # two matrix products.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        restorer(item, {})
    return counter.get_total_flops() // 2


def peak_memory(device: str) -> float:
    """Return the peak memory so far in MiB: of this process, or allocated on the GPU."""
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resources.peak_memory()
    return float('nan') if peak is None else peak / 2**20


def measure(
    method: Contender,
    data: Data,
    device: str,
    threads: int | None = None,
    keep: Collection[str] = (),
) -> MethodFigures:
    """Restore and measure every image, in this process.

    Args:
        method: to be measured.
        data: the triplets.
        device: cpu, cuda, cuda:N or mps.
        threads: of torch and OpenCV; None: their own choice.
        keep: names of images to return.

    Raises:
        ValueError: naming the image or the weights.
    """
    if threads:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    dataset = data.dataset()
    if not len(dataset):
        raise ValueError(f'{data.folder}: no images found')
    perceptual = lpips_metric(device)
    first = default_collate([dataset[0]])
    tensor2img([first['lq']])  # libraries load parts of themselves when first used
    base = peak_memory(device)
    restorer = method.ready(device)
    result = MethodFigures(method.label, names=list(dataset.names), parameters=restorer.parameters)
    restorer(first, data.parameters_of(dataset.names[0]))  # the first call sets things up
    result.memory = peak_memory(device) - base
    rows = []
    bar = tqdm(dataset.names, desc=method.label, unit='image', disable=None, leave=False)
    for index, name in enumerate(bar):
        item = default_collate([dataset[index]])
        before, start = peak_memory(device), time.perf_counter()
        # tensor2img brings the result to the CPU, so the GPU has finished.
        restored = tensor2img([restorer(item, data.parameters_of(name))])
        result.seconds.append(time.perf_counter() - start)
        # Measuring takes memory too. It counts only where restoring raised the peak.
        if peak_memory(device) > before:
            result.memory = peak_memory(device) - base
        lq, gt = (tensor2img([item[key]]) for key in ('lq', 'gt'))
        mask = item['mask'][0, 0].numpy()
        rows.append(figures(restored, gt, lq, mask, data.paste))
        composited = composite_image(restored, lq, mask)
        if perceptual:
            rows[-1]['lpips'] = perceptual(composited, gt)
        if name in keep:
            result.images[name] = composited
    result.values = {metric: np.array([row[metric] for row in rows]) for metric in rows[0]}
    result.side = tuple(first['lq'].shape[-2:])
    if isinstance(restorer, NetworkRestorer):
        result.macs = multiply_accumulates(restorer, first)
    return result


def measure_in_process(
    context: multiprocessing.context.BaseContext, method: Contender, *arguments: Any
) -> MethodFigures:
    """Call `measure` in a new process.

    Args:
        context: of `clean_processes`.
        method: to be measured.
        arguments: the others of `measure`.

    Raises:
        OSError: the process was killed. What `measure` raises is raised here too.
    """
    # On Ctrl-C the process just ends. This one reports it.
    handling = (signal.SIGINT, signal.SIG_DFL)
    with ProcessPoolExecutor(
        1, mp_context=context, initializer=signal.signal, initargs=handling
    ) as pool:
        try:
            return pool.submit(measure, method, *arguments).result()
        except BrokenProcessPool:
            raise OSError(
                f'the process of {method.label} was killed, perhaps because memory ran out'
            ) from None


def clean_processes() -> multiprocessing.context.BaseContext:
    """Return a context whose processes have loaded the libraries and nothing else.

    torch's threads and a GPU's context do not survive a fork.
    """
    if 'forkserver' not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context('spawn')
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__, ReadyMethod.__module__])
    return context
