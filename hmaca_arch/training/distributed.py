"""Several processes, on one machine or many, with GPUs (nccl) or without (gloo).

BasicSR's own set-up assumes GPUs, always takes nccl, and needs Slurm's `scontrol`. Here a process
reads its rank and the meeting point from the variables of its launcher. torchrun sets RANK,
WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT. Slurm's srun sets SLURM_PROCID, SLURM_NTASKS,
SLURM_LOCALID and a list of hosts; the processes meet at the first host.
"""

import gc
import itertools
import logging
import os
import re
import warnings
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist
from torch.utils.data import DataLoader

from hmaca_arch.training import stopping

logger = logging.getLogger('hmaca_arch')

# Seconds to wait for the other processes. The slowest one's start, compilation and validation
# have to end within it.
TIMEOUT = 600
LAUNCH = {
    'pytorch': 'torchrun --nproc_per_node=N -m hmaca_arch train -opt FILE --launcher pytorch',
    'slurm': 'srun --ntasks=N python -m hmaca_arch train -opt FILE --launcher slurm',
}
LOST = (  # words in torch's errors about a process that is gone
    'gloo',
    'Connection closed by peer',
    'Connection reset by peer',
    'Timed out',
    'NCCL',
    'TCPStore',
)


def first_host(hosts: str) -> str:
    """Return the first host of a Slurm list: 'gpu[03-05,11],login' -> 'gpu03'.

    Raises:
        ValueError: this is no such list.
    """
    first = re.match(r'(?:[^,\[\]]|\[[^\]]*\])+', hosts)
    host = re.sub(r'\[(\w+)[^\]]*\]', r'\1', first[0]) if first else ''
    if not re.fullmatch(r'[\w.-]+', host):
        raise ValueError(
            f'cannot read the first host from the Slurm node list {hosts!r}: '
            'set MASTER_ADDR to the host of the first task'
        )
    return host


def _read_variables(launcher: str, *names: tuple[str, ...]) -> list[str]:
    """Return the values of environment variables, each the first of `names` that is set."""
    values, missing = [], []
    for alternatives in names:
        value = next((os.environ[name] for name in alternatives if os.environ.get(name)), None)
        if value is None:
            missing.append(alternatives[0])
        else:
            values.append(value)
    if missing:
        raise ValueError(
            f'--launcher {launcher}: {", ".join(missing)} is not set; '
            f'start the processes with: {LAUNCH[launcher]}'
        )
    return values


def read_rank(launcher: str, port: int | None = None) -> None:
    """Set torch's variables (RANK, WORLD_SIZE, ...) from those of the launcher.

    Args:
        launcher: `pytorch` or `slurm`.
        port: the port of the first process, under Slurm.

    Raises:
        ValueError: the launcher's variables are missing.
    """
    if launcher == 'slurm':
        _translate_slurm(port)
    _read_variables(launcher, ('RANK',), ('WORLD_SIZE',), ('MASTER_ADDR',), ('MASTER_PORT',))
    other_port = port is not None and str(port) != os.environ['MASTER_PORT']
    if launcher == 'pytorch' and other_port and os.environ['RANK'] == '0':
        logger.warning(
            'dist_params:port %s is not used: torchrun chooses the port (--master_port)', port
        )


def _translate_slurm(port: int | None) -> None:
    rank, world_size, local_rank, hosts = _read_variables(
        'slurm',
        ('SLURM_PROCID',),
        ('SLURM_STEP_NUM_TASKS', 'SLURM_NTASKS'),
        ('SLURM_LOCALID',),
        ('SLURM_STEP_NODELIST', 'SLURM_NODELIST', 'SLURM_JOB_NODELIST'),
    )
    os.environ.update(RANK=rank, WORLD_SIZE=world_size, LOCAL_RANK=local_rank)
    os.environ.setdefault('MASTER_ADDR', first_host(hosts))
    # Jobs that share a machine must not share a port.
    of_job = 29500 + int(os.environ.get('SLURM_JOB_ID', 0)) % 1000
    os.environ.setdefault('MASTER_PORT', str(of_job))
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)


def choose_gpu(launcher: str) -> None:
    """Make the GPU of this process the current one.

    Raises:
        ValueError: the machine has more processes than GPUs.
    """
    local, count = int(os.environ.get('LOCAL_RANK', 0)), torch.cuda.device_count()
    if launcher == 'slurm' and count == 1:
        local = 0  # Slurm has bound one GPU to each task
    if local >= count:
        raise ValueError(
            f'process {local + 1} of this machine has no GPU, torch sees {count}: '
            f'start {count} processes a machine'
        )
    torch.cuda.set_device(local)


def start(launcher: str, settings: dict[str, Any] | None, use_gpu: bool) -> None:
    """Join the group of processes.

    Args:
        launcher: `pytorch` (torchrun) or `slurm`.
        settings: the section `dist_params`: `backend` (default: nccl with GPUs, else gloo), `port`
            (Slurm only; torchrun has its own option) and `timeout` in seconds.
        use_gpu: whether each process uses a GPU.

    Raises:
        ValueError: that launcher did not start this process, there is no GPU left for it, or the
            other processes did not come.
    """
    settings = settings or {}
    backend = settings.get('backend') or ('nccl' if use_gpu else 'gloo')
    if backend == 'nccl' and not use_gpu:
        raise ValueError(
            'dist_params:backend: nccl needs GPUs (torch sees none, or num_gpu is 0); '
            'leave backend out: gloo is used on CPUs'
        )
    read_rank(launcher, settings.get('port'))
    if use_gpu:
        choose_gpu(launcher)
    timeout = float(settings.get('timeout', TIMEOUT))
    try:
        # torch goes on trying for longer than `timeout` to meet a process that has ended.
        with stopping.ending_at_once():
            dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    except RuntimeError as error:  # from the store at which the processes meet
        address = f'{os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]}'
        raise ValueError(
            f'the {os.environ["WORLD_SIZE"]} processes did not meet at {address} within '
            f'{timeout:g} seconds: one has ended, and says why, or cannot reach it '
            f'({str(error).splitlines()[0][:150]})'
        ) from error
    # The gradient of a bias table arrives transposed. Copying its few KiB costs nothing.
    warnings.filterwarnings('ignore', message='Grad strides do not match bucket view strides')
    if dist.get_rank() != 0:  # the first process reports for all, as BasicSR's logger does
        logger.setLevel(logging.ERROR)
        warnings.simplefilter('ignore')


def active() -> bool:
    """Tell whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return the rank of this process; 0 if it is alone."""
    return dist.get_rank() if active() else 0


def barrier() -> None:
    """Wait until every process is here."""
    if active():
        dist.barrier()


def from_first(value: Any) -> Any:
    """Return the first process's `value` on every process."""
    if not active():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def collect(values: list) -> list:
    """Return the lists of all processes, one after the other, on every process."""
    if not active():
        return values
    lists: list[list] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(lists, values)
    return list(itertools.chain.from_iterable(lists))


def largest(value: int) -> int:
    """Return the largest of the processes' values on every process."""
    if not active():
        return value
    box = torch.tensor(value, device='cuda' if dist.get_backend() == 'nccl' else 'cpu')
    dist.all_reduce(box, dist.ReduceOp.MAX)
    return int(box)


def mean(values: torch.Tensor) -> list[float]:
    """Return the mean of the processes' vectors on every process."""
    values = values.detach().clone()
    if active():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values.tolist()


def share(loader: DataLoader) -> tuple[Iterable[int], DataLoader]:
    """Return this process's share of a validation loader's images.

    Returns:
        The indices of the images in the data set, and a loader that gives them one by one.
    """
    dataset: Any = loader.dataset
    indices = range(rank(), len(dataset), dist.get_world_size())
    return indices, DataLoader(dataset, batch_size=1, sampler=indices, pin_memory=loader.pin_memory)


def finish() -> None:
    """Leave the group, all processes together.

    After an error it is not called: nobody waits, and the launcher ends the other processes.
    """
    if active():
        gc.collect()  # a model that is freed after the group may wait for a thread forever
        barrier()
        dist.destroy_process_group()


def lost_others(error: RuntimeError) -> bool:
    """Tell whether an error of torch's means that another process is gone or does not answer."""
    return active() and any(word in str(error) for word in LOST)
