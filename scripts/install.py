"""Install this checkout into the Python that runs this file, with the torch build that fits.

    python scripts/install.py               # CPU build without an NVIDIA driver, else CUDA
    python scripts/install.py --cpu demo    # CPU build, and the extra for the page in the browser

It needs only Python 3.10 or later and pip or uv, on any system. The versions are those of
constraints.txt.

No build environment is isolated. In an isolated one BasicSR's setup.py would fetch a second torch,
gigabytes, and fail on Python 3.13's changed `exec`, which old_exec/ works around.
"""

import argparse
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from platform import machine
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
OLD_EXEC = ROOT / 'scripts' / 'old_exec'
# The indexes that torch documents.
CPU_INDEX = 'https://download.pytorch.org/whl/cpu'
CUDA_INDEX = 'https://download.pytorch.org/whl/cu130'
# All packages together, with torch 2.13 on Linux: docs/install.md says how they were measured.
SIZES = {'cpu': '0.4 GB to download, 1.5 GB on disk', 'cuda': '2.9 GB to download, 5.6 GB on disk'}


class Choice(NamedTuple):
    """The torch build to install.

    build: cpu, cuda, or default (the only one that a system has). index: None for PyPI.
    """

    build: str
    reason: str
    index: str | None


def nvidia_driver() -> str | None:
    """Return the sign of an NVIDIA driver on this machine; None if there is none."""
    if Path('/proc/driver/nvidia').exists():
        return '/proc/driver/nvidia'
    if program := shutil.which('nvidia-smi'):
        listed = subprocess.run(
            [program, '-L'], capture_output=True, encoding='utf-8', errors='replace'
        )
        if listed.returncode == 0 and 'GPU' in listed.stdout:
            return 'nvidia-smi'
    return None


def answers(index: str) -> bool:
    """Return whether a package index can be reached within 10 seconds."""
    try:
        with urllib.request.urlopen(f'{index}/torch/', timeout=10):
            return True
    except OSError:
        return False


def choose(wanted: str | None, platform: str = sys.platform, processor: str = machine()) -> Choice:
    """Choose torch's build: `wanted` (cpu, cuda), or the one that fits the machine."""
    if platform == 'darwin':
        if processor == 'x86_64':
            raise SystemExit(
                'install.py: error: this is a Python for Intel Macs, and torch 2.4 and later have '
                'no build for them; expected a Mac with Apple silicon and a Python for it'
            )
        if wanted == 'cuda':
            raise SystemExit(
                'install.py: error: torch has no CUDA build for macOS; leave --cuda away'
            )
        return Choice('default', 'macOS has one build, for the CPU and Apple GPUs', None)
    driver = nvidia_driver()
    if wanted:
        reason = f'--{wanted}'
    elif driver:
        reason = f'an NVIDIA driver is here, says {driver}'
    else:
        reason = 'no NVIDIA driver: neither nvidia-smi nor /proc/driver/nvidia'
    build = wanted or ('cuda' if driver else 'cpu')
    on_pypi = 'cpu' if platform == 'win32' else 'cuda'
    if build == on_pypi:
        return Choice(build, reason, None)
    return Choice(build, reason, CPU_INDEX if build == 'cpu' else CUDA_INDEX)


def announce(choice: Choice) -> None:
    """Print what is chosen, why, and how large it is."""
    print(f'torch: the {choice.build} build ({choice.reason}).')
    if choice.build in SIZES:
        other = 'cuda' if choice.build == 'cpu' else 'cpu'
        print(
            f'All packages together: about {SIZES[choice.build]}; '
            f'with --{other} {SIZES[other]} (Linux, x86-64).'
        )


def installer() -> list[str]:
    """Return the command that installs into this Python: uv's if it is there, else pip's."""
    if uv := shutil.which('uv'):
        return [uv, 'pip', 'install', '--python', sys.executable]
    # PEP 517, as uv does it. Otherwise pip before 25.3 runs setup.py, which fetches a second torch.
    return [sys.executable, '-m', 'pip', '--disable-pip-version-check', 'install', '--use-pep517']


def commands(choice: Choice, extras: Sequence[str], editable: bool) -> list[list[str]]:
    """Return the arguments of each installer command, in order."""
    constraints = ['-c', str(ROOT / 'constraints.txt')]
    project = str(ROOT) + (f'[{",".join(extras)}]' if extras else '')
    # Without dependencies: that index lacks some. The last command fetches them.
    alone = ['--no-deps', *constraints, '--index-url', choice.index, 'torch', 'torchvision']
    return [
        *([alone] if choice.index else []),
        [*constraints, 'setuptools', 'wheel'],
        ['--no-build-isolation', *constraints, *(['-e'] if editable else []), project],
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Install, or exit with one line if the installer fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    build = parser.add_mutually_exclusive_group()
    build.add_argument(
        '--cpu', action='store_const', const='cpu', dest='build', help="torch's CPU build"
    )
    build.add_argument(
        '--cuda', action='store_const', const='cuda', dest='build', help="torch's CUDA build"
    )
    parser.add_argument(
        '-e',
        '--editable',
        action='store_true',
        help='run from this checkout, so that changes to it count',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='print the commands, and install nothing'
    )
    parser.add_argument(
        'extras',
        nargs='*',
        metavar='EXTRA',
        help='demo, compare, onnx, heic, jpeg, docs, test (see setup.py)',
    )
    args = parser.parse_args(argv)
    if sys.version_info < (3, 10):  # noqa: UP036 (an older Python may well run this file)
        version = sys.version.split()[0]
        raise SystemExit(f'install.py: error: this is Python {version}; expected 3.10 or later')
    choice = choose(args.build)
    announce(choice)
    if choice.index and not args.dry_run and not answers(choice.index):
        default = SIZES['cuda'] if choice.build == 'cpu' else SIZES['cpu']
        print(
            f'{choice.index} cannot be reached: '
            f'taking the build of the default index instead, about {default}.'
        )
        choice = choice._replace(index=None)
    path = os.pathsep.join(filter(None, (str(OLD_EXEC), os.environ.get('PYTHONPATH'))))
    for arguments in commands(choice, args.extras, args.editable):
        command = [*installer(), *arguments]
        print('+', ' '.join(command), flush=True)
        if not args.dry_run:
            done = subprocess.run(command, env={**os.environ, 'PYTHONPATH': path})
            if done.returncode:
                raise SystemExit(
                    f'install.py: error: the installation failed with status {done.returncode}; '
                    'the lines above say why'
                )


if __name__ == '__main__':
    main()
