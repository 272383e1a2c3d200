"""What a run leaves beside its results: its options and its versions.

Everything is UTF-8, on Windows too.
"""

import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only

from hmaca_arch.config.yaml_files import dump
from hmaca_arch.files.atomic import write_atomically

PACKAGES = (
    'hmaca',
    'basicsr',
    'torch',
    'torchvision',
    'numpy',
    'opencv-python',
    'scikit-image',
    'lmdb',
    'einops',
    'spandrel',
)


@master_only
def copy_option_file(path: str, folder: str) -> None:
    """Copy an option file into the run's folder, below the time and the command line."""
    command = ' '.join(' '.join(sys.argv).split())  # arguments may hold line breaks
    head = f'# GENERATE TIME: {time.asctime()}\n# CMD:\n# {command}\n\n'
    target = os.path.join(folder, os.path.basename(path))
    write_atomically(target, head.encode(errors='backslashreplace') + Path(path).read_bytes())


@master_only
def start_wandb(opt: dict) -> None:
    """Start Weights & Biases, which copies what TensorBoard is given: scalars, and images too.

    BasicSR asks wandb for an id by a function that it no longer has. wandb makes one itself.

    Raises:
        ValueError: wandb refuses, for want of a login for example.
    """
    import wandb

    settings = opt['logger']['wandb']
    given = settings.get('resume_id')
    try:
        run = wandb.init(
            id=given,
            resume='allow' if given else None,
            name=opt['name'],
            config=opt,
            project=settings['project'],
            sync_tensorboard=True,
        )
    except wandb.errors.Error as error:
        raise ValueError(
            f'logger:wandb: {error}; `wandb login` once, or WANDB_MODE=offline'
        ) from None
    get_root_logger().info(f'wandb: project {settings["project"]}, id {run.id} (resume_id)')


def commit(source: Path) -> str | None:
    """Return a checkout's commit, with -dirty if a file has changed; None without git."""

    def git(*arguments: str) -> str:
        # --no-optional-locks: a kill must not leave a lock behind.
        command = ['git', '--no-optional-locks', '-C', str(source), *arguments]
        return subprocess.run(
            command, capture_output=True, encoding='utf-8', errors='replace'
        ).stdout.strip()

    try:
        head = git('rev-parse', '--short', 'HEAD')
        changes = git('status', '--porcelain', '--untracked-files=no')
    except OSError:
        return None
    if not head:
        return None
    return f'{head}-dirty' if changes else head


def versions() -> dict[str, str | None]:
    """Return the versions of Python, the packages and the code, and names of the machine."""
    found: dict[str, str | None] = {
        'python': platform.python_version(),
        'machine': platform.platform(),
    }
    if torch.cuda.is_available():
        found['gpu'] = torch.cuda.get_device_name()
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    found['torch'] = torch.__version__  # names the CUDA that it was built for
    source = Path(__file__).resolve().parents[2]
    if (source / '.git').exists():
        found['commit'] = commit(source)
    return found


@master_only
def record_run(opt: dict, folder: str) -> None:
    """Write what defines a run: `options_resolved.yml` and `versions.json`."""
    text = json.dumps(versions(), indent=2)
    write_atomically(os.path.join(folder, 'versions.json'), text.encode())
    options = dump(opt).encode(errors='surrogateescape')
    write_atomically(os.path.join(folder, 'options_resolved.yml'), options)
