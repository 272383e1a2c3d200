"""Writing whole files or none, on systems that this one is not: each is simulated by the error
numbers that it gives.
"""

import errno
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hmaca_arch.files import atomic
from hmaca_arch.files.atomic import append, replace, write_atomically

CANNOT_SYNC = [errno.EINVAL, errno.EACCES, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EBADF]


@pytest.fixture(autouse=True)
def _in_an_instant(monkeypatch):
    monkeypatch.setattr(atomic, 'WAITS', (0,) * len(atomic.WAITS))


def failing(number: int, times: int = 10**9):
    """A stand-in for a function of `os` that fails with an error number so many times, then does
    nothing; and its calls.
    """
    calls = []

    def call(*arguments, **_):
        calls.append(arguments)
        if len(calls) <= times:
            raise OSError(number, os.strerror(number), str(arguments[0]))

    return call, calls


def test_what_is_written_is_there_and_nothing_else(tmp_path):
    path = tmp_path / 'file'
    write_atomically(path, lambda file: file.write(b'one'))
    write_atomically(str(path), b'two', durable=False)
    assert path.read_bytes() == b'two' and os.listdir(tmp_path) == ['file']
    write_atomically(path, b'')
    assert path.read_bytes() == b''


def test_a_relative_name_lies_below_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_atomically('file', b'one')
    write_atomically(Path('file'), b'two')
    assert (tmp_path / 'file').read_bytes() == b'two'


def test_rights_are_those_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / 'file', b'')
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'file').stat().st_mode) == 0o640


def test_the_temporary_file_lies_beside_the_final_one(tmp_path, monkeypatch):
    """Only within a file system is a rename atomic. It is hidden, so that nothing takes it for an
    image.
    """
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    found = []
    write_atomically(tmp_path / 'file.png', lambda file: found.append(Path(file.name).resolve()))
    assert found[0].parent == tmp_path
    assert re.fullmatch(r'\.[0-9a-f]{8}\.tmp', found[0].name)


@pytest.mark.skipif(
    not os.path.isdir('/proc/self/fd'), reason='descriptors are told apart by /proc'
)
def test_file_and_folder_are_flushed_in_this_order(tmp_path, monkeypatch):
    """Contents, then the name, then the folder that holds the name; all descriptors are closed."""
    done, opened = [], set()
    fsync, rename, close, open_folder = os.fsync, os.replace, os.close, os.open

    def noted_fsync(descriptor):
        target = Path(os.readlink(f'/proc/self/fd/{descriptor}'))
        done.append(('fsync', target.suffix, target.read_bytes() if target.is_file() else b''))
        fsync(descriptor)

    def noted_open(*args):
        opened.add(descriptor := open_folder(*args))
        return descriptor

    def noted_rename(old, new):
        done.append(('replace', Path(new).name))
        rename(old, new)

    monkeypatch.setattr(os, 'fsync', noted_fsync)
    monkeypatch.setattr(os, 'open', noted_open)
    monkeypatch.setattr(
        os, 'close', lambda descriptor: (opened.remove(descriptor), close(descriptor))
    )
    monkeypatch.setattr(os, 'replace', noted_rename)
    monkeypatch.chdir(tmp_path)
    write_atomically('file', b'all of it')
    assert done == [('fsync', '.tmp', b'all of it'), ('replace', 'file'), ('fsync', '', b'')]
    assert not opened
    done.clear()
    write_atomically('file', b'less', durable=False)
    assert done == [('replace', 'file')]


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize(
    'error', [OSError('in words only'), RuntimeError('odd'), ValueError('wrong'), Interrupted()]
)
def test_whatever_goes_wrong_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / 'file'
    path.write_bytes(b'old')

    def write(file):
        file.write(b'half')
        raise error

    with pytest.raises(type(error)) as caught:
        write_atomically(path, write)
    assert (
        caught.value is error and path.read_bytes() == b'old' and os.listdir(tmp_path) == ['file']
    )


def test_a_writer_that_closes_its_file_is_an_error_of_its_own(tmp_path):
    with pytest.raises(ValueError, match='closed file'):
        write_atomically(tmp_path / 'file', lambda file: file.close())
    assert not os.listdir(tmp_path)


def test_an_error_names_the_file_unless_it_names_another(tmp_path):
    def write(file):
        raise OSError(errno.EIO, 'broken')

    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / 'file', write)
    assert str(caught.value) == f"[Errno {errno.EIO}] broken: '{tmp_path / 'file'}'"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / 'file', lambda file: (tmp_path / 'source').read_bytes())
    assert caught.value.filename == str(tmp_path / 'source')
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / 'nowhere' / 'file', b'')
    assert str(caught.value).endswith(f": '{tmp_path / 'nowhere' / 'file'}'")


def test_a_folder_of_that_name_stays(tmp_path):
    (tmp_path / 'there').mkdir()
    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / 'there', b'1')
    assert caught.value.filename == str(tmp_path / 'there') and os.listdir(tmp_path) == ['there']


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    """As root a rename would put a file in the place of /dev/null."""
    os.mkfifo(tmp_path / 'pipe')
    reader = os.open(tmp_path / 'pipe', os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(tmp_path / 'pipe', b'text')
        assert os.read(reader, 9) == b'text' and os.listdir(tmp_path) == ['pipe']
    finally:
        os.close(reader)
    assert stat.S_ISFIFO((tmp_path / 'pipe').stat().st_mode)


# Windows


def test_windows_has_no_folder_handles(tmp_path, monkeypatch):
    """os.open of a folder gives EACCES there."""
    real = os.open

    def as_on_windows(path, *more):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, 'Permission denied', path)
        return real(path, *more)

    monkeypatch.setattr(os, 'open', as_on_windows)
    write_atomically(tmp_path / 'file', b'1')
    assert (tmp_path / 'file').read_bytes() == b'1' and os.listdir(tmp_path) == ['file']


@pytest.mark.parametrize('number', [errno.EACCES, errno.EPERM, errno.EBUSY])
def test_a_scanner_that_holds_the_file_is_waited_for(tmp_path, monkeypatch, number):
    refuse, calls = failing(number, times=3)
    real = os.replace
    monkeypatch.setattr(os, 'replace', lambda *names: (refuse(*names), real(*names)))
    write_atomically(tmp_path / 'file', b'1')
    assert (
        len(calls) == 4
        and (tmp_path / 'file').read_bytes() == b'1'
        and os.listdir(tmp_path) == ['file']
    )


def test_a_file_that_stays_open_is_an_error_in_the_end(tmp_path, monkeypatch):
    (tmp_path / 'file').write_bytes(b'old')
    refuse, calls = failing(errno.EACCES)
    monkeypatch.setattr(os, 'replace', refuse)
    with pytest.raises(PermissionError) as caught:
        write_atomically(tmp_path / 'file', b'new')
    assert str(caught.value) == f"[Errno {errno.EACCES}] Permission denied: '{tmp_path / 'file'}'"
    assert len(calls) == len(atomic.WAITS) + 1 and os.listdir(tmp_path) == ['file']
    assert (tmp_path / 'file').read_bytes() == b'old'


def test_what_is_no_open_file_is_not_waited_for(tmp_path, monkeypatch):
    refuse, calls = failing(errno.EIO)
    monkeypatch.setattr(os, 'replace', refuse)
    with pytest.raises(OSError):
        write_atomically(tmp_path / 'file', b'new')
    assert len(calls) == 1 and not os.listdir(tmp_path)


def test_a_temporary_file_that_a_scanner_holds_is_removed_once_it_is_free(tmp_path, monkeypatch):
    refuse, calls = failing(errno.EACCES, times=2)
    real = os.remove
    monkeypatch.setattr(os, 'remove', lambda name: (refuse(name), real(name)))
    with pytest.raises(RuntimeError, match='odd'):
        write_atomically(tmp_path / 'file', lambda file: (_ for _ in ()).throw(RuntimeError('odd')))
    assert len(calls) == 3 and not os.listdir(tmp_path)


def test_folders_are_renamed_patiently_too(tmp_path, monkeypatch):
    (tmp_path / 'old').mkdir()
    refuse, calls = failing(errno.EACCES, times=1)
    real = os.replace
    monkeypatch.setattr(os, 'replace', lambda *names: (refuse(*names), real(*names)))
    replace(tmp_path / 'old', tmp_path / 'new')
    assert len(calls) == 2 and os.listdir(tmp_path) == ['new']


# Shares, FUSE, full and read-only disks


@pytest.mark.parametrize('number', CANNOT_SYNC)
def test_a_file_system_without_sync_is_written_to(tmp_path, monkeypatch, number):
    call, calls = failing(number)
    monkeypatch.setattr(os, 'fsync', call)
    write_atomically(tmp_path / 'file', b'1')
    assert (
        len(calls) == 2
        and (tmp_path / 'file').read_bytes() == b'1'
        and os.listdir(tmp_path) == ['file']
    )


def test_a_disk_that_breaks_while_it_is_synced_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(
        os, 'fsync', lambda _: (_ for _ in ()).throw(OSError(errno.EIO, 'Input/output error'))
    )
    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / 'file', b'1')
    assert (
        caught.value.errno == errno.EIO
        and caught.value.filename == str(tmp_path / 'file')
        and not os.listdir(tmp_path)
    )


def test_a_disk_that_breaks_while_a_folder_is_synced_is_named(tmp_path, monkeypatch):
    """The file is in place by then, but a power cut may still take its name away."""
    real = os.fsync

    def fail(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, 'Input/output error')
        real(descriptor)

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / 'file', b'1')
    assert str(caught.value) == f"[Errno {errno.EIO}] Input/output error: '{tmp_path}'"


def test_no_hard_links_are_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'link', failing(errno.EPERM)[0])
    write_atomically(tmp_path / 'file', b'1')
    assert (tmp_path / 'file').read_bytes() == b'1'


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize('fails', ['write', 'fsync', 'replace'])
def test_a_full_disk_is_told_with_path_and_bytes(tmp_path, monkeypatch, number, fails):
    """Some systems find out only when they sync, or rename."""
    path = tmp_path / 'file'
    path.write_bytes(b'old')
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: SimpleNamespace(free=10))

    def fail(*_):
        raise OSError(number, 'No space left')

    if fails != 'write':
        monkeypatch.setattr(os, fails, fail)
        content, needed = b'x' * 12345, '12,345'
    else:
        content, needed = (
            lambda file: (file.write(b'x' * 2000), file.flush(), fail()),
            'more than 2,000',
        )
    with pytest.raises(OSError) as caught:
        write_atomically(path, content)
    assert (
        str(caught.value)
        == f"[Errno {number}] No space left ({needed} bytes to write, 10 bytes free): '{path}'"
    )
    assert path.read_bytes() == b'old' and os.listdir(tmp_path) == ['file']


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_a_disk_that_is_really_full(tmp_path, monkeypatch):
    """The kernel's own error comes when Python's buffer is flushed, and once more when the file is
    closed.
    """
    made = []

    def on_a_full_disk(path, mode):
        made.append(open(path, mode))  # noqa: SIM115 (closed below)
        return open('/dev/full', 'wb')

    monkeypatch.setattr(atomic, 'open', on_a_full_disk, raising=False)
    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / 'file', b'12345')
    made[0].close()
    assert caught.value.errno == errno.ENOSPC and '(5 bytes to write, ' in str(caught.value)
    assert caught.value.filename == str(tmp_path / 'file') and not os.listdir(tmp_path)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_a_log_on_a_full_disk_is_named(tmp_path, monkeypatch):
    path = tmp_path / 'log'
    append(path, 'ö\n')
    append(path, '2\n')
    assert path.read_bytes() == 'ö\n2\n'.encode()

    def on_a_full_disk(*_):
        return open('/dev/full', 'ab')

    monkeypatch.setattr(atomic, 'open', on_a_full_disk, raising=False)
    with pytest.raises(OSError) as caught:
        append(path, '12345')
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(path)
    assert '(5 bytes to write, ' in str(caught.value) and path.read_bytes() == 'ö\n2\n'.encode()


def test_a_read_only_disk_is_named(tmp_path, monkeypatch):
    def on_a_read_only_disk(path, mode):
        raise OSError(errno.EROFS, 'Read-only file system', path)

    monkeypatch.setattr(atomic, 'open', on_a_read_only_disk, raising=False)
    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / 'file', b'1')
    assert (
        str(caught.value) == f"[Errno {errno.EROFS}] Read-only file system: '{tmp_path / 'file'}'"
    )


def test_names_as_long_as_a_system_allows_are_written(tmp_path):
    for name in ('x' * 251 + '.png', 'ü' * 125 + '.png', os.fsdecode(b'\xff' * 251) + '.png'):
        write_atomically(tmp_path / name, b'1')
        assert (tmp_path / name).read_bytes() == b'1'
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize('name', ['x' * 256, '/'.join(['x' * 250] * 20)])
def test_a_path_that_is_too_long_is_named(tmp_path, name):
    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / name, b'1')
    assert (
        caught.value.errno == errno.ENAMETOOLONG
        and caught.value.filename == str(tmp_path / name)
        and not os.listdir(tmp_path)
    )


# In real processes, whose system is changed before the program is imported

SIMULATED = {
    'Windows: folders cannot be opened': (
        'def as_there(path, *more, real=os.open):\n'
        '    if os.path.isdir(path):\n'
        '        raise PermissionError(errno.EACCES, "Permission denied", path)\n'
        '    return real(path, *more)\n'
        'os.open = as_there\n'
    ),
    'shares: folders cannot be synced': (
        'def as_there(descriptor, real=os.fsync):\n'
        '    if stat.S_ISDIR(os.fstat(descriptor).st_mode):\n'
        '        raise OSError(errno.EINVAL, "Invalid argument")\n'
        '    return real(descriptor)\n'
        'os.fsync = as_there\n'
    ),
}


@pytest.fixture(params=SIMULATED, ids=['windows', 'share'])
def on_another_system(request, tmp_path):
    """Run `basicsr ...` in a process of its own, on that system, below tmp_path; returns it, ended."""
    from conftest import environment

    code = f'import errno, os, stat, sys\n{SIMULATED[request.param]}from hmaca_arch.cli import main\nmain(sys.argv[1:])\n'

    def run(*arguments) -> subprocess.CompletedProcess:
        command = [sys.executable, '-c', code, *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True
        )

    return run


@pytest.mark.slow
def test_restore_on_another_system(on_another_system, tmp_path, triplets, tiny_checkpoint):
    files = (
        '-i',
        triplets / 'test' / 'lq' / '0000.png',
        '-m',
        triplets / 'test' / 'mask' / '0000.png',
        '-o',
        'out.png',
    )
    done = on_another_system(
        'restore',
        *files,
        '--weights',
        tiny_checkpoint,
        '--device',
        'cpu',
        '--verify',
        '--json',
        'report.json',
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'out.png').is_file() and (tmp_path / 'report.json').is_file()


@pytest.mark.slow
def test_a_training_on_another_system(on_another_system, tmp_path, triplets):
    from conftest import tiny_options, write_options

    done = on_another_system(
        'train', '-opt', write_options(tmp_path / 'o.yml', tiny_options(triplets))
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / 'experiments' / 'tiny' / 'training_states' / '4.state').is_file()
    assert not list(tmp_path.rglob('*.tmp'))
