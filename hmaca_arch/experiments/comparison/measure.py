"""Runs one method over all pictures in a process of its own, so that neither memory nor caches of
another count.
"""

import importlib.util
import multiprocessing
import signal
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

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
from hmaca_arch.experiments.comparison.methods import Method, NetworkRestorer, Restorer
from hmaca_arch.messages import one_line, say
from hmaca_arch.metrics import (
    calculate_boundary_psnr,
    calculate_composite_psnr,
    calculate_masked_psnr,
    calculate_masked_ssim,
)

METRICS = {  # key: (title, decimals)
    'composite_psnr': ('composite dB', 2),
    'masked_psnr': ('inside dB', 2),
    'boundary_psnr': ('boundary dB', 2),
    'masked_ssim': ('SSIM inside', 4),
    'lpips': ('LPIPS', 4),
}


@dataclass
class Result:
    """Of one method.

    names: of the pictures. values: {metric: (pictures,)}. seconds: of each picture. pictures:
    {name: (h, w, 3) BGR uint8, composited} of those that were asked for. parameters, macs: None
    where there are none; macs are those of the first picture, of `side` pixels. memory: MiB beyond
    what the libraries take, at the peak (on a GPU: what torch allocated there).
    """

    label: str
    names: list[str] = field(default_factory=list)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    parameters: int | None = None
    macs: int | None = None
    memory: float | None = None
    side: tuple[int, int] = (0, 0)

    @property
    def milliseconds(self) -> float:
        """The median over pictures."""
        return 1e3 * statistics.median(self.seconds)


def lpips_metric(device: str) -> Callable[[np.ndarray, np.ndarray], float] | None:
    """LPIPS (AlexNet) of two BGR uint8 pictures; None where the package `lpips` or its weights are
    missing.
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
        tensors = [
            torch.from_numpy(np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1)))[None]
            for picture in (first, second)
        ]
        return network(*(tensor.to(device).float() / 127.5 - 1 for tensor in tensors)).item()

    return distance


def figures(
    restored: np.ndarray, gt: np.ndarray, lq: np.ndarray, mask: np.ndarray, paste: str
) -> dict[str, float]:
    """The metrics of a picture as `basicsr test` takes them: BGR uint8, the mask (h, w) float in
    [0, 1].
    """
    pictures = {'img': restored, 'img2': gt, 'lq': lq, 'mask': mask}
    return {
        'composite_psnr': calculate_composite_psnr(**pictures, paste=paste),
        'masked_psnr': calculate_masked_psnr(**pictures),
        'boundary_psnr': calculate_boundary_psnr(**pictures),
        'masked_ssim': calculate_masked_ssim(**pictures) if min(mask.shape) >= 11 else float('nan'),
    }


def multiply_accumulates(restorer: NetworkRestorer, item: dict) -> int:
    """Of one picture, padding included: those of convolutions, matrix products and attention, as
    torch counts them.
    """
    # torch counts none of its fused attention on a CPU; written out, attention is two matrix
    # products
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        restorer(item, {})
    return counter.get_total_flops() // 2


def peak_memory(device: str) -> float:
    """MiB so far: of this process, or allocated on the GPU."""
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return float('nan')
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == 'darwin' else 2**10
    )


def measure(
    method: Method, data: Data, device: str, threads: int | None = None, shown: tuple[str, ...] = ()
) -> Result:
    """Restore and measure every picture, here.

    Args:
        method, data: what, on what.
        device: cpu, cuda, cuda:N or mps.
        threads: of torch and OpenCV; None: as they choose.
        shown: pictures to return.

    Raises:
        ValueError: naming the picture or the weights.
    """
    if threads:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    dataset = data.dataset()
    if not len(dataset):
        raise ValueError(f'{data.folder}: no pictures found')
    perceptual = lpips_metric(device)
    tensor2img(
        [default_collate([dataset[0]])['lq']]
    )  # libraries load parts of themselves when first used
    base = peak_memory(device)
    restorer = method.ready(device)
    result = Result(method.label, names=list(dataset.names), parameters=restorer.parameters)
    rows = []
    for index in tqdm(
        range(len(dataset)), desc=method.label, unit='picture', disable=None, leave=False
    ):
        name, item = dataset.names[index], default_collate([dataset[index]])
        if index == 0:
            restorer(item, data.known_of(name))  # a first call sets things up
        before, start = peak_memory(device), time.perf_counter()
        restored = tensor2img(
            [restorer(item, data.known_of(name))]
        )  # brings it to the CPU: the GPU is done
        result.seconds.append(time.perf_counter() - start)
        if (
            index == 0 or peak_memory(device) > before
        ):  # measuring takes memory as well, and is not the method's
            result.memory = peak_memory(device) - base
        lq, gt, mask = (
            tensor2img([item['lq']]),
            tensor2img([item['gt']]),
            item['mask'][0, 0].numpy(),
        )
        row = figures(restored, gt, lq, mask, data.paste)
        composited = composite_image(restored, lq, mask)
        if perceptual:
            row['lpips'] = perceptual(composited, gt)
        rows.append(row)
        if name in shown:
            result.pictures[name] = composited
    result.values = {metric: np.array([row[metric] for row in rows]) for metric in rows[0]}
    item = default_collate([dataset[0]])
    result.side = tuple(item['lq'].shape[-2:])
    result.macs = (
        multiply_accumulates(restorer, item) if isinstance(restorer, NetworkRestorer) else None
    )
    return result


def in_process(context: multiprocessing.context.BaseContext, *arguments) -> Result:
    """`measure` in a new process.

    Raises:
        What `measure` raises; OSError: the process was killed.
    """
    # on Ctrl-C it just ends; the first process says so
    with ProcessPoolExecutor(
        1, mp_context=context, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_DFL)
    ) as pool:
        try:
            return pool.submit(_registered, *arguments).result()
        except BrokenProcessPool:
            raise OSError(
                f'the process of {arguments[0].label} was killed from outside, perhaps because memory ran out'
            ) from None


def _registered(*arguments) -> Result:
    import datasets_ext  # noqa: F401  (registers the data set in this process)

    return measure(*arguments)


def clean_processes() -> multiprocessing.context.BaseContext:
    """Processes that have the libraries loaded and nothing else: torch's threads and a GPU's
    context do not survive a fork.
    """
    if 'forkserver' not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context('spawn')
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__, 'datasets_ext', Restorer.__module__])
    return context
