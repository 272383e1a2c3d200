"""Every command as on Windows and macOS: the processes that it starts are new interpreters, which
inherit nothing but what is sent to them, and Windows lacks signals and functions.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment, make_triplets, tiny_options, write_options

pytestmark = pytest.mark.slow
# As `basicsr` starts, on a system that has no fork. The count shows that processes were spawned.
CODE = """
import multiprocessing, multiprocessing.popen_spawn_posix as popen, os, signal, sys
sys.modules['resource'] = None
for module, names in (
    (signal, ('SIGUSR1', 'SIGUSR2', 'SIGHUP', 'SIGQUIT', 'pthread_sigmask')),
    (os, ('killpg', 'sched_getaffinity')),
):
    for name in names:
        if hasattr(module, name):  # macOS lacks some too
            delattr(module, name)
multiprocessing.set_start_method('spawn')
multiprocessing.get_all_start_methods = lambda: ['spawn']
def fork():
    raise OSError('this system has no fork')
os.fork = fork
started = popen.Popen._launch
def launch(self, process):
    with open('spawned', 'a') as file:
        file.write('x')
    return started(self, process)
popen.Popen._launch = launch
from hmaca_arch.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('spawn')
    make_triplets(folder / 'data' / 'train', 4, size=64)
    make_triplets(folder / 'data' / 'test', 2, size=64, seed=1)
    options = tiny_options(folder / 'data')
    options['train']['total_iter'] = 2
    options['datasets']['train']['num_worker_per_gpu'] = 2
    options['datasets']['val']['num_worker_per_gpu'] = 1
    write_options(folder / 'o.yml', options)
    return folder


def spawned(folder: Path, *arguments) -> int:
    """Run a command so; returns how many processes it started."""
    (folder / 'spawned').unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, '-c', CODE, *map(str, arguments)],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0 and 'Traceback' not in done.stdout, done.stdout
    return len((folder / 'spawned').read_text('utf-8')) if (folder / 'spawned').exists() else 0


@pytest.mark.skipif(os.name == 'nt', reason='there is nothing else there')
@pytest.mark.parametrize(
    ('least', 'command'),
    [
        (2, 'make-dataset data/train/gt -o made --protocol clean --degradation pix --size 64 --workers 2'),
        (2, 'make-lmdb data/test -o packed --workers 2'),
        (1, 'check -opt o.yml --data --workers 2'),
        (2, 'train -opt o.yml'),
        (0, 'test -opt o.yml'),
        (2, 'compare data/test -c telea --sheet 1 --resamples 10'),
        (0, 'restore -i data/test/lq -m data/test/mask -o restored --device cpu'),
        (0, 'estimate -i data/test/lq/0000.png -m data/test/mask/0000.png'),
        (0, 'tables --table 1 --report -o .'),
    ],
    ids=lambda value: str(value).split()[0],
)  # fmt: skip
def test_spawn(folder, least, command):
    assert spawned(folder, *command.split()) >= least
