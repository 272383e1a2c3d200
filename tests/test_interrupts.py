"""Ctrl-C once and twice, in real processes: what ends, with which line, and what is left."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from conftest import environment

pytestmark = pytest.mark.skipif(os.name == 'nt', reason='sends POSIX signals')

LEFT = 'a command: left at once; every file under its final name is whole\n'
# Bodies of commands. Each says when it is where a signal is to find it, and would not end by itself.
BEGUN = 'print("begun", flush=True)'
STUBBORN = f"""
try: {BEGUN}; time.sleep(600)
except BaseException: print("no", flush=True)
while True: time.sleep(1)
"""
# A library that does not return for minutes, and does not look at signals.
IN_C = f'{BEGUN}; hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)'
POLITE = f'{BEGUN}; time.sleep(600)'
OTHER_ERROR = f"""
try: {BEGUN}; time.sleep(600)
except BaseException: raise ImportError("numpy.core failed") from None
"""
IN_FINALLY = f"""
try: {BEGUN}; time.sleep(600)
finally: print("no", flush=True); time.sleep(600)
"""


def start(body: str) -> subprocess.Popen:
    """A process whose command is `body`, once it has begun."""
    code = (
        'import hashlib, multiprocessing, os, signal, sys, time\n'
        'from hmaca_arch import cli, interrupts\n'
        'def command():\n'
        f'{textwrap.indent(body, " ")}\n'
        'cli.end("a command", command)\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == 'begun\n'
    return process


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """Exit status and stderr."""
    _, errors = process.communicate(timeout=600)
    return process.returncode, errors


@pytest.mark.parametrize('body', [POLITE, OTHER_ERROR])
def test_once_is_one_line(body):
    """Also where a library makes another error of it."""
    process = start(body)
    os.kill(process.pid, signal.SIGINT)
    assert ended(process) == (130, 'a command: interrupted\n')


@pytest.mark.parametrize('body', [STUBBORN, IN_FINALLY])
def test_twice_ends_what_does_not_want_to(body):
    process = start(body)
    os.kill(process.pid, signal.SIGINT)
    assert process.stdout.readline() == 'no\n'
    os.kill(process.pid, signal.SIGINT)
    assert ended(process) == (130, LEFT)


def test_twice_ends_a_library_that_does_not_return():
    process = start(IN_C)
    for _ in range(2):
        time.sleep(0.3)  # two of one kind at once are one
        os.kill(process.pid, signal.SIGINT)
    assert ended(process) == (130, LEFT)


def test_children_are_ended_too_and_do_not_answer_a_terminals_signal(tmp_path):
    """A terminal signals the whole group; a child tells nobody of it a second time."""
    body = (
        'context = multiprocessing.get_context("fork")\n'
        'child = context.Process(target=time.sleep, args=(600,)); child.start()\n'
        f'open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))\n'
        f'{STUBBORN}'
    )
    process = start(body)
    child = int((tmp_path / 'pid').read_text('utf-8'))
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.readline() == 'no\n', 'one signal to all of them is one'
    assert Path(f'/proc/{child}').exists() or not Path('/proc/self').exists()
    os.killpg(process.pid, signal.SIGINT)
    assert ended(process) == (130, LEFT)
    deadline = time.time() + 600
    while alive(child) and time.time() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f'/proc/{pid}/stat')
    return not stat.exists() or stat.read_text('utf-8').rpartition(')')[2].split()[0] != 'Z'


def test_whoever_asks_is_called_before_a_process_leaves():
    process = start(f'interrupts.at_last(lambda: print("last", flush=True))\n{STUBBORN}')
    os.kill(process.pid, signal.SIGINT)
    assert process.stdout.readline() == 'no\n'
    os.kill(process.pid, signal.SIGINT)
    assert process.stdout.readline() == 'last\n' and ended(process)[0] == 130


def test_a_reader_that_stopped_reading_holds_nothing_up():
    """The line does not fit into the pipe: the process ends without it."""
    process = start(f'os.set_blocking(2, True)\n{STUBBORN}')
    os.kill(process.pid, signal.SIGINT)
    assert process.stdout.readline() == 'no\n'
    # Fill the pipe through a descriptor of the process's own stderr.
    full = os.open(f'/proc/{process.pid}/fd/2', os.O_WRONLY | os.O_NONBLOCK)
    try:
        while True:
            os.write(full, b'x' * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(full, True)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(240) == 130
    os.close(full)
    process.stdout.close(), process.stderr.close()


def test_ignored_stays_ignored():
    """nohup and `&` ignore it on purpose."""
    code = (
        'import os, signal\n'
        'signal.signal(signal.SIGINT, signal.SIG_IGN)\n'
        'from hmaca_arch import cli\n'
        'def command():\n'
        ' for _ in range(3): os.kill(os.getpid(), signal.SIGINT)\n'
        ' return 3\n'
        'cli.end("a command", command)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], env=environment(), capture_output=True)
    assert (done.returncode, done.stderr) == (3, b'')


INTERRUPT = 'os.kill(os.getpid(), signal.SIGINT)'


@pytest.mark.parametrize(
    ('place', 'status'),
    [
        ('cli.complete_streams', 130),  # before the command
        ('interrupts.socket.socketpair', 130),  # as watching begins
        ('interrupts.socket.socket.close', 130),  # as it ends
        ('interrupts.threading.Thread.join', -signal.SIGINT),  # and again, at the line
    ],
)
def test_while_nothing_watches_it_is_one_line_too(place, status):
    code = (
        'import os, signal\n'
        'from hmaca_arch import cli, interrupts\n'
        f'def interrupted(*_): {INTERRUPT}\n'
        f'{place} = interrupted\n'
        'cli.end("a command", lambda: 0)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], env=environment(), capture_output=True, text=True
    )
    lines = ['a command: interrupted\n']
    if status < 0:  # the second one may come before the line
        lines.append('')
    assert done.returncode == status and done.stderr in lines


def test_pythons_own_way_out_shows_no_traceback():
    code = (
        'import atexit, os, signal, time\n'
        'from hmaca_arch import cli\n'
        f'atexit.register(lambda: ({INTERRUPT}, time.sleep(600)))\n'
        'cli.end("a command", lambda: 0)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], env=environment(), capture_output=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b'')


def test_handlers_are_put_back():
    """A program that calls a command, or the tests themselves, keep what they had."""
    from hmaca_arch import interrupts

    before = signal.getsignal(signal.SIGINT)
    with interrupts.watched('a command'):
        assert interrupts.watching() and signal.getsignal(signal.SIGINT) is not before
        with interrupts.watched('another'):
            assert interrupts.watching()
        assert interrupts.watching()
    assert not interrupts.watching() and signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1
