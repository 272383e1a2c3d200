"""A pool of processes for the commands that make data: results in order, bounded memory, no process
left behind.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import cv2
import torch


def default_workers() -> int:
    """The cores this process may use, at most 8."""
    return min(
        8, len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    )


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    torch.set_num_threads(
        1
    )  # one thread each: the pool is the parallelism, and OpenMP's pool does not survive a fork
    cv2.setNumThreads(0)

    def leave_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)  # the parent was killed: nobody is left to tell this worker to end

    threading.Thread(target=leave_with_parent, daemon=True).start()


class Workers:
    """`workers` processes, as a context manager: `with Workers(2) as pool: for result in
    pool.map(function, items)`.

    Raises:
        ValueError: workers < 1.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f'workers is {workers}, expected at least 1')
        self.ahead = 4 * workers
        context = multiprocessing.get_context('fork' if sys.platform == 'linux' else 'spawn')
        self.pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)

    def __enter__(self) -> 'Workers':
        return self

    def __exit__(self, *_) -> None:
        self.pool.shutdown(cancel_futures=True)

    def map(self, function: Callable, items: Iterable) -> Iterator:
        """function(item) for each item, in order, computed a few items ahead.

        Raises:
            OSError: a worker was killed. Whatever `function` raises is raised here at its turn.
        """
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append(self.pool.submit(function, item))
                if len(waiting) >= self.ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise OSError(
                'a worker process was killed from outside, perhaps because memory ran out; try fewer --workers'
            ) from None
