"""Streams that nobody reads, that are full and that are closed, in real processes."""

import errno
import os
import subprocess
import sys

import pytest
from conftest import command_line, environment

from hmaca_arch import messages

HELP = ['--help'], ['--version']


def run(*arguments, shell: str, cwd=None) -> subprocess.CompletedProcess:
    """Run `basicsr ...` in a shell that redirects; `shell` has "$@" where the command stands."""
    return subprocess.run(
        ['bash', '-c', shell, 'bash', *command_line(*arguments)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize('arguments', [*HELP, ['restore', '--help']])  # argparse's as well
def test_a_reader_that_has_gone_is_no_error(arguments):
    # `sleep` keeps the writer waiting until `true` has ended, with the pipe's reading end.
    done = run(*arguments, shell='(sleep 0.5; "$@"; echo $? >&2) | true')
    assert done.stderr.split() == ['0'] and not done.stdout


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
@pytest.mark.parametrize('arguments', HELP)
def test_a_full_disk_behind_stdout_is_one_line(arguments):
    done = run(*arguments, shell='"$@" >/dev/full')
    assert done.returncode == 1
    assert done.stderr == "basicsr: error: [Errno 28] No space left on device: '<stdout>'\n"


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_a_full_disk_behind_stderr_leaves_the_status():
    assert run('nothing', shell='"$@" 2>/dev/full').returncode == 2


def test_messages_do_not_take_the_place_of_output():
    done = run('nothing', shell='"$@" 2>&-')
    assert done.returncode == 2 and not done.stdout + done.stderr


@pytest.mark.parametrize('closed', ['2>&-', '<&- >&- 2>&-'])
def test_images_are_restored_with_closed_streams(tmp_path, triplets, tiny_checkpoint, closed):
    arguments = '-i', triplets / 'test' / 'lq', '-m', triplets / 'test' / 'mask', '-o', 'out'
    arguments += '--weights', tiny_checkpoint, '--device', 'cpu'
    done = run('restore', *arguments, shell=f'"$@" {closed}', cwd=tmp_path)
    assert done.returncode == 0, done
    assert sorted(os.listdir(tmp_path / 'out')) == ['0000.png', '0001.png']


def test_no_file_gets_the_number_of_a_stream():
    code = (
        'import os; from hmaca_arch import messages; messages.complete_streams()\n'
        'assert os.open(os.devnull, os.O_RDONLY) > 2\n'
        'import sys; print("x"); print("x", file=sys.stderr)\n'
    )
    for closed in ('<&- >&- 2>&-', '2>&-', '>&-'):
        command = ['bash', '-c', f'"$@" {closed}', 'bash', sys.executable, '-c', code]
        assert subprocess.run(command, env=environment()).returncode == 0


def test_windows_says_it_with_another_number(tmp_path):
    class Gone:
        name = '<stdout>'

        def __init__(self, file):
            self.file, self.fileno = file, file.fileno

        def write(self, text):
            raise OSError(errno.EINVAL, 'Invalid argument')

    with open(tmp_path / 'file', 'w', encoding='utf-8') as file:
        messages.say('text', Gone(file))
        file.write('text')  # which goes nowhere now
    assert not (tmp_path / 'file').read_text('utf-8')
