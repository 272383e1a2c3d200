"""The queue of restorations: one runs at a time, in a separate thread."""

import logging
import math
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hmaca_arch.inference import CONTEXT
from hmaca_arch.messages import one_line
from hmaca_arch.page.guard import Refused
from hmaca_arch.page.uploads import Upload
from hmaca_arch.restoring.regions import Box

logger = logging.getLogger('hmaca_arch')

MOST_WAITING = 16  # jobs
MOST_WAITING_BY_SESSION = 4
MOST_KEPT = 500  # jobs that have ended
ABANDONED = 600  # seconds after which a job that nobody asks for is cancelled

WAITING, RUNNING, DONE, FAILED, CANCELLED = 'waiting', 'running', 'done', 'failed', 'cancelled'


class Cancelled(Exception):
    """The job was cancelled while it ran."""


@dataclass(frozen=True)
class Settings:
    """How to restore: as `Restorer.restore` takes it."""

    degradation: str = 'auto'
    context: int = CONTEXT
    feather: int = 0


@dataclass(eq=False)
class PageJob:
    """The restoration of one region of one image.

    Attributes:
        upload: the image.
        mask: (h, w) uint8, 1 = restore.
        settings: how to restore it.
        state: waiting, running, done, failed or cancelled.
        tiles: how many are done, and how many there are.
        error: why it failed, in one line.
        notes: what the user should know, a sentence each.
        regions: how many were restored.
        box: around the mask.
        id: its name in requests, which cannot be guessed.
        started: when it began to run, on the monotonic clock.
        seconds: how long it ran.
        asked: when its client last asked for it.
    """

    upload: Upload
    mask: np.ndarray
    settings: Settings
    state: str = WAITING
    tiles: tuple[int, int] = (0, 0)
    error: str = ''
    notes: list[str] = field(default_factory=list)
    regions: int = 0
    box: Box = field(default_factory=lambda: Box(0, 0, 0, 0))
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    started: float = 0
    seconds: float = 0
    asked: float = field(default_factory=time.monotonic)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def patch(self) -> Path:
        """The box's restored pixels and its mask, as numpy saves them."""
        return self.upload.folder / f'{self.id}.npz'

    @property
    def ended(self) -> bool:
        """Return whether nothing will change any more."""
        return self.state in (DONE, FAILED, CANCELLED)

    def progress(self, done: int, total: int) -> None:
        """Note how many tiles are done; raises Cancelled if the job should end."""
        self.tiles = (done, total)
        if self.stop.is_set() or time.monotonic() - self.asked > ABANDONED:
            raise Cancelled

    def seconds_left(self) -> int | None:
        """Estimate how long it still runs; None before the first tile is done."""
        done, total = self.tiles
        if self.state != RUNNING or not done:
            return None
        return math.ceil((time.monotonic() - self.started) / done * (total - done))


class Queue:
    """Jobs in the order in which they came.

    Args:
        work: restores one job: it fills in its box, regions and notes, and writes its patch. A
            ValueError or OSError is the user's to read.
    """

    def __init__(self, work: Callable[[PageJob], None]) -> None:
        self.work = work
        self.waiting: deque[PageJob] = deque()
        self.known: OrderedDict[str, PageJob] = OrderedDict()
        self.changed = threading.Condition()
        self.closed = False
        threading.Thread(target=self._run, name='restoring', daemon=True).start()

    def submit(self, job: PageJob) -> None:
        """Put a job at the end of the queue.

        Raises:
            Refused: too many wait already.
        """
        with self.changed:
            own = sum(other.upload.session == job.upload.session for other in self.waiting)
            if len(self.waiting) >= MOST_WAITING or own >= MOST_WAITING_BY_SESSION:
                raise Refused(503, 'too many restorations are waiting: try again later')
            job.upload.users += 1
            self.known[job.id] = job
            self.waiting.append(job)
            for old in [old for old in self.known.values() if old.ended][:-MOST_KEPT]:
                del self.known[old.id]
            self.changed.notify_all()

    def get(self, session: str, name: str) -> PageJob:
        """Return a session's job.

        Raises:
            Refused: there is no such job, or it is another session's.
        """
        job = self.known.get(name)
        if job is None or job.upload.session != session:
            raise Refused(404, 'this session has no such restoration')
        job.asked = time.monotonic()
        return job

    def cancel(self, job: PageJob) -> None:
        """End a job, at its next tile if it runs."""
        with self.changed:
            job.stop.set()
            if job in self.waiting:
                self.waiting.remove(job)
                self._end(job, CANCELLED)

    def before(self, job: PageJob) -> int:
        """Count the jobs that come before one that waits."""
        with self.changed:
            running = any(other.state == RUNNING for other in self.known.values())
            return running + self.waiting.index(job) if job in self.waiting else 0

    def close(self) -> None:
        """End all jobs."""
        with self.changed:
            self.closed = True
            for job in self.known.values():
                job.stop.set()
            self.changed.notify_all()

    def describe(self, job: PageJob) -> dict:
        """Describe a job for the page."""
        done, total = job.tiles
        return {
            'id': job.id,
            'state': job.state,
            'before': self.before(job),
            'done': done,
            'total': total,
            'seconds_left': job.seconds_left(),
            'seconds': round(job.seconds, 1),
            'error': job.error,
            'notes': job.notes,
            'regions': job.regions,
            'box': list(job.box),
        }

    def _end(self, job: PageJob, state: str) -> None:
        """Note that a job has ended. The state comes last, as others read it without the lock."""
        job.upload.users -= 1
        job.mask = job.mask[:0]  # it takes as many bytes as the image has pixels
        job.state = state

    def _run(self) -> None:
        while True:
            with self.changed:
                while not self.waiting and not self.closed:
                    self.changed.wait()
                if self.closed:
                    return
                job = self.waiting.popleft()
                job.state, job.started = RUNNING, time.monotonic()
            state = self._restore(job)
            with self.changed:
                job.seconds = time.monotonic() - job.started
                self._end(job, state)

    def _restore(self, job: PageJob) -> str:
        """Restore a job; returns the state in which it ends."""
        try:
            job.progress(0, 0)
            self.work(job)
            return CANCELLED if job.stop.is_set() else DONE
        except Cancelled:
            return CANCELLED
        except (ValueError, OSError, RuntimeError, MemoryError) as error:  # torch's, of memory too
            job.error = one_line(error)[:500]
        except Exception as error:
            # The thread has to live on, whatever happens to one job.
            logger.exception('the page could not restore an image')
            job.error = f'the restoration failed ({type(error).__name__}); the log says more'
        return FAILED
