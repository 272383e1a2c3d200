"""Processes of a training that `soak_kills` starts, kills and waits for."""

import contextlib
import faulthandler
import os
import random
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

from hmaca_arch import cli

PATIENCE = 300  # seconds in which what was not killed has to end by itself
ALLOWED = {  # statuses; 0 where it was at its end already
    'group': {-signal.SIGKILL, 0}, 'main': {-signal.SIGKILL, 0}, 'worker': {0, 1},
    'rank': {-signal.SIGKILL, 0, 1}, 'interrupt': {130, 0, 1, -signal.SIGINT},
    'terminate': {75, 0, -signal.SIGTERM},
}  # fmt: skip


class Failed(Exception):
    """Something that must not be, in a line."""


def start(folder: Path, options: Path, processes: int) -> list[int]:
    """Fork the processes of a run in a folder, each the leader of a session; return their ids."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    return [fork(folder, options, rank, processes, port) for rank in range(processes)]


def fork(folder: Path, options: Path, rank: int, processes: int, port: int) -> int:
    """Fork one process of a run."""
    pid = os.fork()
    if pid:
        while os.getpgid(pid) != pid:  # until then it has no group that could be killed
            time.sleep(0.001)
        return pid
    try:
        os.setsid()
        log = os.open(folder / 'output.txt', os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(folder)
        arguments = ['train', '-opt', str(options), '--auto_resume']
        if processes > 1:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
            os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
            arguments += ['--launcher', 'pytorch']
        # The soak's children ignore Ctrl-C; a command that a shell starts does not.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        faulthandler.register(signal.SIGUSR2)  # shows where a process hangs
        cli.main(arguments)
    except SystemExit as end:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def children(pid: int) -> list[int]:
    """Find the other processes of a process's session: its loaders' workers."""
    found = []
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = path.read_text('utf-8').rpartition(')')[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[3]) == pid and int(path.parent.name) != pid and fields[0] != 'Z':
            found.append(int(path.parent.name))
    return found


def running(pid: int) -> bool:
    """Return whether a process has not ended yet; it stays to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def wait(pids: list[int], what: str) -> list[int]:
    """Return exit statuses, below 0 for a signal; Failed if one does not end by itself."""
    deadline = time.time() + PATIENCE
    while any(map(running, pids)):
        if time.time() > deadline:
            show_and_kill([*pids, *(child for pid in pids for child in children(pid))])
            raise Failed(f'{what}: a process did not end within {PATIENCE} s')
        time.sleep(0.005)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def show_and_kill(pids: list[int]) -> None:
    """Let processes that hang write where they are to their run's output, and kill them."""
    for number in (signal.SIGUSR2, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(1)


def send(pid: int, number: int) -> None:
    if running(pid):  # else somebody else may have its number soon
        os.kill(pid, number)


def delivered(pid: int, number: int) -> None:
    """Wait until a process has a signal: until then a second one of its kind is no second one."""
    bit = 1 << (number - 1)
    while running(pid):
        status = dict(
            line.split(':\t', 1)
            for line in Path(f'/proc/{pid}/status').read_text('utf-8').splitlines()
            if ':\t' in line
        )
        if not (int(status.get('SigPnd', '0'), 16) | int(status.get('ShdPnd', '0'), 16)) & bit:
            return
        time.sleep(0.001)


def kill(kind: str, pids: list[int], rng: random.Random) -> tuple[list[int], float]:
    """Kill a run; return the exit statuses, and the seconds from the last signal to the end."""
    one = rng.choice(pids)
    if kind == 'group':
        for pid in pids:
            if running(pid):
                os.killpg(pid, signal.SIGKILL)
    elif kind == 'main':
        for pid in pids:
            send(pid, signal.SIGKILL)
    elif kind == 'worker':
        for worker in children(one)[:1]:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(worker, signal.SIGKILL)
    elif kind == 'rank':
        send(one, signal.SIGKILL)
    else:
        number = signal.SIGINT if kind == 'interrupt' else signal.SIGTERM
        for pid in pids:
            send(pid, number)
        if kind == 'interrupt':
            for pid in pids:
                delivered(pid, number)
            time.sleep(rng.choice((0, 0.05, 0.2, rng.uniform(0, 1))))
            for pid in pids:
                send(pid, number)
    since = time.time()
    statuses = wait(pids, kind)
    return statuses, time.time() - since
