"""A process pool for the commands that make data.

Results come in order, memory is bounded, and no process outlives its parent.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2
import torch

Item = TypeVar('Item')
Result = TypeVar('Result')


def default_workers() -> int:
    """Return the number of cores that this process may use, at most 8."""
    if hasattr(os, 'sched_getaffinity'):
        return min(8, len(os.sched_getaffinity(0)))
    return min(8, os.cpu_count() or 1)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    # The pool is the parallelism, and OpenMP's threads do not survive a fork.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    parent = multiprocessing.parent_process()

    def exit_with_parent() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True).start()


class Workers:
    """A pool of processes, as a context manager.

        with Workers(2) as pool:
            for result in pool.map(function, items): ...

    Args:
        workers: number of processes.

    Raises:
        ValueError: `workers` is less than 1.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f'workers is {workers}, expected at least 1')
        self.ahead = 4 * workers
        # As a program that has chosen says; else what is quick on Linux and safe elsewhere.
        chosen = multiprocessing.get_start_method(allow_none=True)
        context = multiprocessing.get_context(
            chosen or ('fork' if sys.platform == 'linux' else 'spawn')
        )
        self.pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)

    def __enter__(self) -> 'Workers':
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield function(item) for each item in order, computed a few items ahead.

        Raises:
            OSError: a worker was killed. An exception of `function` is raised at its item's turn.
        """
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(self.pool.submit(function, item))
                if len(waiting) >= self.ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise OSError(
                'a worker process was killed, perhaps because memory ran out; try fewer --workers'
            ) from None
