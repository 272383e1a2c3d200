"""Two processes that want one folder: one is refused, with and without locks of the system."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import environment

from hmaca_arch.files import locks

posix = pytest.mark.skipif(os.name == 'nt', reason='POSIX locks')
# As a share without locks answers: run before the rest of a process.
NO_LOCKS = (
    'import errno, fcntl\n'
    'def lockf(*_): raise OSError(errno.ENOLCK, "No locks available")\n'
    'fcntl.lockf = lockf\n'
)
HOLD = (
    'import sys, time\n'
    'from pathlib import Path\n'
    'from hmaca_arch.files import locks\n'
    'with locks.only_here(Path(sys.argv[1])):\n'
    '    print("held", flush=True)\n'
    '    sys.stdin.readline()\n'
)


def hold(folder: Path, before: str = '') -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, '-c', before + HOLD, str(folder)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    if not line:
        raise ValueError(process.communicate()[1].splitlines()[-1])
    return process


def end(process: subprocess.Popen) -> None:
    _, errors = process.communicate('\n', timeout=600)
    assert process.returncode == 0, errors


@posix
@pytest.mark.parametrize('before', ['', NO_LOCKS])
def test_one_holds_the_other_is_refused_and_nothing_is_left(tmp_path, before):
    first = hold(tmp_path, before)
    who = f'another process writes there.*process {first.pid} on {socket.gethostname()}'
    with pytest.raises(ValueError, match=who):
        hold(tmp_path, before)
    end(first)
    end(hold(tmp_path, before))
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize('before', ['', NO_LOCKS])
def test_a_killed_one_holds_nothing(tmp_path, before):
    first = hold(tmp_path, before)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    first.communicate()
    end(hold(tmp_path, before))


@posix
def test_many_at_once_and_one_holds(tmp_path):
    """Whoever holds it writes alone: a file that two wrote at once would show it."""
    code = (
        'import sys, time\n'
        'from pathlib import Path\n'
        'from hmaca_arch.files import locks\n'
        'folder, done = Path(sys.argv[1]), 0\n'
        'while done < 20:\n'
        '    try:\n'
        '        with locks.only_here(folder):\n'
        '            (folder / "inside").mkdir()\n'  # fails where somebody else is inside
        '            (folder / "inside").rmdir()\n'
        '            done += 1\n'
        '    except ValueError:\n'
        '        time.sleep(0.001)\n'
    )
    command = [sys.executable, '-c', code, str(tmp_path)]
    several = [
        subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in several:
        assert process.communicate(timeout=600)[1] == '' and process.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def without_locks(monkeypatch):
    monkeypatch.setattr(locks, '_lock', lambda descriptor: None)
    monkeypatch.setattr(locks, 'SETTLE', 0)


def claimed(folder: Path, text: str) -> Path:
    own = folder / f'{locks.NAME}.owner'
    own.write_text(text, encoding='utf-8')
    return own


def test_another_machines_claim_is_believed(tmp_path, without_locks):
    own = claimed(tmp_path, 'elsewhere 7 123\n')
    with pytest.raises(ValueError, match='process 7 on elsewhere; if that has ended, delete'):
        locks.take(tmp_path / locks.NAME, 'taken')
    assert own.exists()


@posix
def test_a_reused_number_is_not_that_process(tmp_path, without_locks):
    """The system gives a process's number to another one later."""
    if not Path('/proc/self/stat').exists():
        pytest.skip('nothing here says when a process began')
    claimed(tmp_path, f'{socket.gethostname()} {os.getpid()} 1\n')
    lock = locks.take(tmp_path / locks.NAME, 'taken')
    lock.release()
    claimed(tmp_path, f'{socket.gethostname()} {os.getpid()} {locks._started(os.getpid())}\n')
    with pytest.raises(ValueError, match='taken'):
        locks.take(tmp_path / locks.NAME, 'taken')


def test_the_beginning_of_a_process_is_its_22nd_number(monkeypatch):
    """Its name, the second, may hold spaces and brackets."""
    text = f'7 (a) b) {" ".join(map(str, range(3, 53)))}'
    monkeypatch.setattr(Path, 'read_text', lambda path, *_: f'{path} {text}')
    assert locks._started(7) == '22'
    text = '7 (a) S 1 2'
    assert locks._started(7) == '-'


def test_a_claim_cut_short_counts_for_a_minute(tmp_path, without_locks):
    own = claimed(tmp_path, '')
    with pytest.raises(ValueError, match='which one is not known'):
        locks.take(tmp_path / locks.NAME, 'taken')
    old = time.time() - 100
    os.utime(own, (old, old))
    locks.take(tmp_path / locks.NAME, 'taken').release()
    assert not own.exists()


@posix
def test_other_errors_of_locking_mean_there_are_none(tmp_path, monkeypatch):
    numbers = (
        errno.ENOLCK,
        errno.EOPNOTSUPP,
        errno.EINVAL,
        errno.ENOSYS,
        errno.EPERM,
        errno.EACCES,
    )
    for number in numbers:

        def refuse(*_, number=number):
            raise OSError(number, 'x')

        monkeypatch.setattr(locks.fcntl, 'lockf', refuse)
        assert locks._lock(-1) is None

    def held(*_):
        raise BlockingIOError(errno.EAGAIN, 'x')

    monkeypatch.setattr(locks.fcntl, 'lockf', held)
    assert locks._lock(-1) is False


@pytest.mark.parametrize('has_locks', [True, False])
def test_a_full_disk_is_told_with_the_path_and_nothing_is_left(tmp_path, monkeypatch, has_locks):
    if not has_locks:
        monkeypatch.setattr(locks, '_lock', lambda descriptor: None)
    monkeypatch.setattr(
        locks.os, 'write', lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, 'No space left'))
    )
    with pytest.raises(OSError, match=f'No space left: .{tmp_path / locks.NAME}') as caught:
        locks.take(tmp_path / locks.NAME, 'taken')
    assert caught.value.errno == errno.ENOSPC and list(tmp_path.iterdir()) == []


@posix
def test_names_from_a_strangers_file_are_shown_as_escapes(tmp_path, without_locks):
    claimed(tmp_path, 'a\x1b[31m 7 1\n')
    with pytest.raises(ValueError, match=r'process 7 on a\\x1b\[31m'):
        locks.take(tmp_path / locks.NAME, 'taken')


class Windows:
    """What a lock needs of msvcrt: one byte of an open file is locked once."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.error: OSError | None = None

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        self.calls.append((os.lseek(descriptor, 0, os.SEEK_CUR), mode, count))
        if self.error is not None:
            raise self.error


def test_on_windows_a_byte_behind_the_text_is_locked(tmp_path, monkeypatch):
    windows, path = Windows(), tmp_path / 'a'
    monkeypatch.setattr(locks.sys, 'platform', 'win32')
    monkeypatch.setattr(locks, 'msvcrt', windows, raising=False)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b'text')
    assert locks._lock(descriptor) is True
    assert windows.calls == [(1 << 20, windows.LK_NBLCK, 1)]
    assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0, 'the text is written at the start'
    for error, found in ((PermissionError(13, 'x'), False), (OSError(22, 'x'), None)):
        windows.error = error
        assert locks._lock(descriptor) is found
    order: list[str] = []
    monkeypatch.setattr(locks.os, 'close', lambda number: order.append(f'close {number}'))
    monkeypatch.setattr(Path, 'unlink', lambda path, **_: order.append('unlink'))
    locks.Lock(path, descriptor).release()
    assert order == [f'close {descriptor}', 'unlink']
    monkeypatch.setattr(locks.sys, 'platform', 'linux')
    order.clear()
    locks.Lock(path, descriptor).release()
    assert order == ['unlink', f'close {descriptor}']
    monkeypatch.undo()
    os.close(descriptor)


@posix
@pytest.mark.parametrize(
    ('text', 'answer', 'ended'),
    [
        ('here 7 5', None, False),
        ('here 7 6', None, True),
        ('here 7 5', ProcessLookupError(), True),
        ('here 7 6', PermissionError(1, 'x'), False),
        ('there 7 6', ProcessLookupError(), False),
    ],
)
def test_which_claims_are_of_processes_that_have_ended(tmp_path, monkeypatch, text, answer, ended):
    asked = []

    def kill(pid: int, number: int) -> None:
        asked.append((pid, number))
        if answer is not None:
            raise answer

    monkeypatch.setattr(locks.os, 'kill', kill)
    monkeypatch.setattr(locks.socket, 'gethostname', lambda: 'here')
    monkeypatch.setattr(locks, '_started', lambda pid: {7: '5'}[pid])
    path = tmp_path / 'a'
    path.write_text(text, encoding='utf-8')
    assert locks._has_ended(path) is ended
    assert asked == [(7, 0)] * text.startswith('here')
    monkeypatch.setattr(locks.sys, 'platform', 'win32')
    asked.clear()
    assert not locks._has_ended(path) and asked == [], 'os.kill would end it there'


@pytest.mark.parametrize('text', ['', 'here 7', 'here 7 5 9', 'here seven 5', b'\xff'])
def test_a_claim_that_is_no_claim_holds_for_a_minute_exactly(tmp_path, monkeypatch, text):
    path = tmp_path / 'a'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    os.utime(path, (1000, 1000))
    for now, ended in ((1000, False), (1060, False), (1060.5, True)):
        monkeypatch.setattr(locks.time, 'time', lambda now=now: now)
        assert locks._has_ended(path) is ended
    assert not locks._has_ended(tmp_path / 'b'), 'it is gone, and may be made by another'


def test_a_claim_says_who_made_it_and_is_looked_at_again(tmp_path, monkeypatch):
    waited, path = [], tmp_path / 'a'
    monkeypatch.setattr(locks.time, 'sleep', waited.append)
    lock = locks._claim(path, 'taken')
    own = tmp_path / 'a.owner'
    me = f'{socket.gethostname()} {os.getpid()} {locks._started(os.getpid())}\n'
    assert lock.path == own and own.read_text('utf-8') == me and waited == [locks.SETTLE]
    with pytest.raises(ValueError) as caught:
        locks._claim(path, 'taken')
    who = f'process {os.getpid()} on {socket.gethostname()}'
    assert str(caught.value) == f'taken ({who}; if that has ended, delete {own})'
    lock.release()
    assert list(tmp_path.iterdir()) == []

    def stolen(_):
        """Another process takes the claim for a dead one's and makes its own."""
        own.unlink()
        own.write_text('there 8 1\n', encoding='utf-8')

    monkeypatch.setattr(locks.time, 'sleep', stolen)
    with pytest.raises(ValueError) as caught:
        locks._claim(path, 'taken')
    assert str(caught.value).startswith('taken (process 8 on there; if that has ended, delete ')
    own.unlink()
    tries = []

    def gone(_):
        tries.append(own.unlink())

    monkeypatch.setattr(locks.time, 'sleep', gone)
    with pytest.raises(ValueError) as caught:
        locks._claim(path, 'taken')
    assert str(caught.value) == 'taken (which one is not known)' and len(tries) == 2


def test_an_error_while_locking_leaves_nothing_open(tmp_path, monkeypatch):
    closed = []

    def broken(descriptor):
        closed.append(descriptor)
        raise KeyboardInterrupt

    monkeypatch.setattr(locks, '_lock', broken)
    with pytest.raises(KeyboardInterrupt):
        locks.take(tmp_path / 'a', 'taken')
    with pytest.raises(OSError):
        os.fstat(closed[0])


@posix
def test_a_lock_that_is_held_names_its_holder(tmp_path, monkeypatch):
    (tmp_path / locks.NAME).write_text('there 8 1\n', encoding='utf-8')
    monkeypatch.setattr(locks, '_lock', lambda descriptor: False)
    with pytest.raises(ValueError) as caught, locks.only_here(tmp_path):
        pass
    assert str(caught.value) == (
        f'{tmp_path}: another process writes there; wait for it, or choose another '
        '(process 8 on there)'
    )
    monkeypatch.undo()
    with locks.only_here(tmp_path):
        text = (tmp_path / locks.NAME).read_text('utf-8')
        assert text == f'{socket.gethostname()} {os.getpid()} {locks._started(os.getpid())}\n'
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize('has_locks', [True, False])
def test_whoever_may_write_in_a_folder_may_lock_it(tmp_path, monkeypatch, has_locks):
    if not has_locks:
        monkeypatch.setattr(locks, '_lock', lambda descriptor: None)
        monkeypatch.setattr(locks, 'SETTLE', 0)
    before = os.umask(0)
    try:
        lock = locks.take(tmp_path / 'a', 'taken')
    finally:
        os.umask(before)
    assert lock.path.stat().st_mode & 0o777 == 0o666
    lock.release()


@posix
def test_what_an_earlier_holder_wrote_is_gone(tmp_path):
    (tmp_path / 'a').write_text('x' * 999, encoding='utf-8')
    lock = locks.take(tmp_path / 'a', 'taken')
    me = f'{socket.gethostname()} {os.getpid()} {locks._started(os.getpid())}\n'
    assert (tmp_path / 'a').read_text('utf-8') == me
    lock.release()


def test_a_holder_whose_name_is_no_text_is_named(tmp_path):
    path = tmp_path / 'a'
    for content, name in (
        (b'h\xff 8 1\n', 'process 8 on h\ufffd'),
        (b'8 1\n', 'which one is not known'),
    ):
        path.write_bytes(content)
        assert locks._holder(path) == name
