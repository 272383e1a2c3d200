"""Several processes, on one machine or many, with GPUs (nccl) or without (gloo).

BasicSR's own set-up assumes GPUs, takes nccl whatever there is, and needs Slurm's `scontrol`. Here
a process takes its place from what its launcher set: torchrun (RANK, WORLD_SIZE, LOCAL_RANK,
MASTER_ADDR, MASTER_PORT) or Slurm's srun (SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID and the list of
hosts, whose first one the processes meet at).
"""

import logging
import os
import re
import warnings
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist
from torch.utils.data import DataLoader, Dataset

logger = logging.getLogger('hmaca_arch')

# seconds that a process waits for the others; they wait for the slowest one's validation, its start
# and its compiler
TIMEOUT = 600
LAUNCH = {
    'pytorch': 'start the processes with: torchrun --nproc_per_node=N -m hmaca_arch train -opt FILE --launcher pytorch',
    'slurm': 'start the processes with: srun --ntasks=N python -m hmaca_arch train -opt FILE --launcher slurm',
}


def first_host(hosts: str) -> str:
    """The first host of a Slurm list: 'gpu[03-05,11],login' -> 'gpu03'.

    Raises:
        ValueError: this is no such list.
    """
    first = re.match(r'(?:[^,\[\]]|\[[^\]]*\])+', hosts)
    host = re.sub(r'\[(\w+)[^\]]*\]', r'\1', first[0]) if first else ''
    if not re.fullmatch(r'[\w.-]+', host):
        raise ValueError(
            f'cannot read the first host from the Slurm node list {hosts!r}: set MASTER_ADDR to the host of the first task'
        )
    return host


def _from_launcher(launcher: str, variables: dict[str, tuple[str, ...]]) -> list[str]:
    values = [
        next((os.environ[name] for name in names if os.environ.get(name)), None)
        for names in variables.values()
    ]
    missing = [names[0] for names, value in zip(variables.values(), values) if value is None]
    if missing:
        raise ValueError(
            f'--launcher {launcher}: {", ".join(missing)} is not set; {LAUNCH[launcher]}'
        )
    return values


def place_of_process(launcher: str, port: int | None = None) -> None:
    """Make torch's own variables (RANK, ...) say where this process stands, whatever launched it.

    Raises:
        ValueError: the launcher's variables are missing.
    """
    if launcher == 'slurm':
        rank, world_size, local_rank, hosts = _from_launcher(
            launcher,
            {
                'rank': ('SLURM_PROCID',),
                'world size': ('SLURM_STEP_NUM_TASKS', 'SLURM_NTASKS'),
                'local rank': ('SLURM_LOCALID',),
                'hosts': ('SLURM_STEP_NODELIST', 'SLURM_NODELIST', 'SLURM_JOB_NODELIST'),
            },
        )
        os.environ.update(RANK=rank, WORLD_SIZE=world_size, LOCAL_RANK=local_rank)
        os.environ.setdefault('MASTER_ADDR', first_host(hosts))
        # jobs that share a machine must not meet at one port
        os.environ.setdefault(
            'MASTER_PORT', str(29500 + int(os.environ.get('SLURM_JOB_ID', 0)) % 1000)
        )
        if port is not None:
            os.environ['MASTER_PORT'] = str(port)
    _from_launcher(
        launcher, {name: (name,) for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')}
    )
    if (
        launcher == 'pytorch'
        and port is not None
        and os.environ['RANK'] == '0'
        and str(port) != os.environ['MASTER_PORT']
    ):
        logger.warning(
            "dist_params:port %s is not used: the port is torchrun's to choose (--master_port)",
            port,
        )


def choose_gpu(launcher: str) -> None:
    """Make the GPU that belongs to this process the current one."""
    local, count = int(os.environ.get('LOCAL_RANK', 0)), torch.cuda.device_count()
    if launcher == 'slurm' and count == 1:
        local = 0  # Slurm has bound one GPU to each task
    if local >= count:
        raise ValueError(
            f'process {local + 1} of this machine has no GPU, torch sees {count}: start {count} processes a machine'
        )
    torch.cuda.set_device(local)


def start(launcher: str, settings: dict[str, Any] | None, use_gpu: bool) -> None:
    """Join the group of processes.

    Args:
        launcher: `pytorch` (torchrun) or `slurm`.
        settings: the option file's `dist_params`: `backend` (nccl with GPUs, else gloo), `port`
            (Slurm only; torchrun has its own option) and `timeout` in seconds.
        use_gpu: one GPU a process.

    Raises:
        ValueError: not started by that launcher, no GPU left for this process, or the other
            processes did not come.
    """
    settings = settings or {}
    backend = settings.get('backend') or ('nccl' if use_gpu else 'gloo')
    if backend == 'nccl' and not use_gpu:
        raise ValueError(
            'dist_params:backend: nccl needs GPUs (torch sees none, or num_gpu is 0); leave backend out: gloo is used on CPUs'
        )
    place_of_process(launcher, settings.get('port'))
    if use_gpu:
        choose_gpu(launcher)
    timeout = float(settings.get('timeout', TIMEOUT))
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    except RuntimeError as error:  # of torch's store, at which the processes meet
        raise ValueError(
            f'the {os.environ["WORLD_SIZE"]} processes did not meet at {os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]} within '
            f'{timeout:g} seconds: one has ended, and says why, or cannot reach it ({str(error).splitlines()[0][:150]})'
        ) from error
    # Of a bias table, whose gradient arrives transposed: a few KiB, once a run, and nothing to be
    # done.
    warnings.filterwarnings('ignore', message='Grad strides do not match bucket view strides')
    if dist.get_rank() != 0:  # the first process speaks for all; BasicSR's logger knows by itself
        logger.setLevel(logging.ERROR)
        warnings.simplefilter('ignore')


def active() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    return dist.get_rank() if active() else 0


def barrier() -> None:
    """Wait until every process is here."""
    if active():
        dist.barrier()


def from_first(value: Any) -> Any:
    """The first process's `value`, on every process."""
    if not active():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def collect(values: list) -> list:
    """The lists of all processes, one after the other, on every process."""
    if not active():
        return values
    lists: list[list] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(lists, values)
    return [value for values in lists for value in values]


def largest(value: int) -> int:
    """The largest of the processes' values, on every process."""
    if not active():
        return value
    box = torch.tensor(value, device='cuda' if dist.get_backend() == 'nccl' else 'cpu')
    dist.all_reduce(box, dist.ReduceOp.MAX)
    return int(box)


def mean(values: torch.Tensor) -> list[float]:
    """The means over all processes of a vector of theirs, on every process."""
    values = values.detach().clone()
    if active():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values.tolist()


def share(loader: DataLoader) -> tuple[Iterable[int], DataLoader]:
    """This process's share of a validation loader's pictures: their numbers, and a loader of them
    one by one.
    """
    dataset: Dataset = loader.dataset
    numbers = range(rank(), len(dataset), dist.get_world_size())
    return numbers, DataLoader(dataset, batch_size=1, sampler=numbers, pin_memory=loader.pin_memory)


def finish() -> None:
    """Leave the group, all processes together. (After an error nobody waits: the launcher ends
    those who do.)
    """
    if active():
        barrier()
        dist.destroy_process_group()


def lost_others(error: RuntimeError) -> bool:
    """Whether this is torch saying that another process has gone, or does not answer."""
    words = (
        'gloo',
        'Connection closed by peer',
        'Connection reset by peer',
        'Timed out',
        'NCCL',
        'TCPStore',
    )
    return active() and any(word in str(error) for word in words)
