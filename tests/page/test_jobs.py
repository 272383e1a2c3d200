"""Test the queue of restorations: order, progress, cancelling, and that no job stops the others."""

import threading
import time

import numpy as np
import pytest

from hmaca_arch.page import jobs as module
from hmaca_arch.page.guard import Refused
from hmaca_arch.page.jobs import PageJob, Queue, Settings
from hmaca_arch.page.uploads import Upload


class Work:
    """Work of tiles, each of which waits until it is let go."""

    def __init__(self, tiles=3):
        self.tiles, self.done, self.at = tiles, [], threading.Condition()
        self.allowed = 0

    def __call__(self, job):
        for number in range(self.tiles):
            job.progress(number, self.tiles)
            with self.at:
                assert self.at.wait_for(lambda: self.allowed > 0, 60)
                self.allowed -= 1
        job.progress(self.tiles, self.tiles)
        self.done.append(job.upload.name)

    def allow(self, tiles):
        with self.at:
            self.allowed += tiles
            self.at.notify_all()


def job(folder, name='a', session='me'):
    upload = Upload(session, name, folder)
    return PageJob(upload, np.ones((4, 5), np.uint8), Settings())


def wait(condition):
    until = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def queue(work):
    queue = Queue(work)
    yield queue
    queue.close()
    work.allow(1000)


def test_jobs_run_one_after_the_other_and_know_their_place(queue, work, tmp_path):
    jobs = [job(tmp_path, name) for name in 'abc']
    for one in jobs:
        queue.submit(one)
    wait(lambda: jobs[0].tiles == (0, 3))
    assert [one.state for one in jobs] == ['running', 'waiting', 'waiting']
    assert [queue.before(one) for one in jobs] == [0, 1, 2]
    assert jobs[0].seconds_left() is None
    work.allow(1)
    wait(lambda: jobs[0].tiles == (1, 3))
    assert jobs[0].seconds_left() >= 1
    assert queue.describe(jobs[0]) | {'seconds_left': 0} == {
        'id': jobs[0].id,
        'state': 'running',
        'before': 0,
        'done': 1,
        'total': 3,
        'seconds_left': 0,
        'seconds': 0,
        'error': '',
        'notes': [],
        'regions': 0,
        'box': [0, 0, 0, 0],
    }
    work.allow(2)
    wait(lambda: jobs[0].ended)
    assert jobs[0].state == 'done' and jobs[0].upload.users == 0 and not jobs[0].mask.size
    wait(lambda: jobs[1].state == 'running')
    assert queue.before(jobs[2]) == 1
    work.allow(6)
    wait(lambda: jobs[2].ended)
    assert work.done == ['a', 'b', 'c']


def test_a_cancelled_job_ends_at_its_next_tile_and_the_next_one_runs(queue, work, tmp_path):
    first, second, third = jobs = [job(tmp_path, name) for name in 'abc']
    for one in jobs:
        queue.submit(one)
    wait(lambda: first.tiles == (0, 3))
    queue.cancel(second)
    assert second.state == 'cancelled' and second.upload.users == 0
    assert queue.before(third) == 1
    queue.cancel(first)
    assert first.state == 'running'
    work.allow(1)
    wait(lambda: first.ended)
    assert first.state == 'cancelled'
    work.allow(3)
    wait(lambda: third.ended)
    queue.cancel(third)  # too late
    assert third.state == 'done' and work.done == ['c']


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (ValueError('a line\nand another'), 'a line\\nand another'),
        (RuntimeError('out of memory'), 'out of memory'),
        (KeyError('a'), 'the restoration failed (KeyError)'),
    ],
)
def test_a_job_that_fails_says_why_and_stops_no_other(tmp_path, error, said):
    def work(job):
        if job.upload.name == 'a':
            raise error

    queue = Queue(work)
    first, second = job(tmp_path, 'a'), job(tmp_path, 'b')
    queue.submit(first)
    queue.submit(second)
    wait(lambda: second.ended)
    queue.close()
    assert (first.state, second.state) == ('failed', 'done') and said in first.error


def test_a_job_that_nobody_asks_for_ends(queue, work, tmp_path):
    first = job(tmp_path)
    queue.submit(first)
    wait(lambda: first.tiles == (0, 3))
    first.asked -= module.ABANDONED + 1
    work.allow(1)
    wait(lambda: first.ended)
    assert first.state == 'cancelled'


def test_asking_keeps_a_job(queue, work, tmp_path):
    first = job(tmp_path)
    queue.submit(first)
    wait(lambda: first.tiles == (0, 3))
    first.asked -= module.ABANDONED + 1
    assert queue.get('me', first.id) is first
    work.allow(3)
    wait(lambda: first.ended)
    assert first.state == 'done'


def test_too_many_jobs_are_refused(queue, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'MOST_WAITING', 5)
    monkeypatch.setattr(module, 'MOST_WAITING_BY_SESSION', 2)
    first = job(tmp_path, session='first')
    queue.submit(first)
    wait(lambda: first.state == 'running')
    accepted = []
    for session in 'aaabbbccc':
        try:
            queue.submit(job(tmp_path, session=session))
            accepted.append(session)
        except Refused as refusal:
            assert refusal.status == 503
    assert accepted == list('aabbc')


def test_jobs_are_their_sessions(queue, tmp_path):
    first = job(tmp_path)
    queue.submit(first)
    for session, name in [('you', first.id), ('me', 'other')]:
        with pytest.raises(Refused) as refusal:
            queue.get(session, name)
        assert refusal.value.status == 404


def test_jobs_that_ended_are_forgotten_at_last(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'MOST_KEPT', 2)
    queue = Queue(lambda job: None)
    jobs = [job(tmp_path, str(number)) for number in range(6)]
    for one in jobs:
        queue.submit(one)
        wait(lambda one=one: one.ended)
    queue.close()
    assert list(queue.known.values()) == jobs[3:]


def test_closing_ends_all(work, tmp_path):
    queue = Queue(work)
    first = job(tmp_path)
    queue.submit(first)
    wait(lambda: first.tiles == (0, 3))
    queue.close()
    work.allow(1)
    wait(lambda: first.ended)
    assert first.state == 'cancelled'
