"""What several tests share. Importing hmaca_arch first makes BasicSR importable."""

import copy
import gc
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest
import torch
import torch.distributed
import yaml

import hmaca_arch
from hmaca_arch import cli

ROOT = Path(__file__).resolve().parent.parent

GPU = torch.cuda.is_available()
if not GPU:  # Triton's kernels are interpreted then. Triton reads this once, when it is imported.
    os.environ['TRITON_INTERPRET'] = '1'

# The same examples each time, so that a failure is a change's and not chance's;
# --hypothesis-profile=default draws others.
hypothesis.settings.register_profile(
    'same', derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
# For a search: pytest tests/fuzz --hypothesis-profile=many.
hypothesis.settings.register_profile(
    'many',
    hypothesis.settings.get_profile('same'),
    derandomize=False,
    max_examples=2000,
    print_blob=True,
)
hypothesis.settings.load_profile('same')


@pytest.fixture(scope='session', autouse=True)
def _one_thread_a_worker():
    """The suite runs on several workers; threads beyond the cores only get in each other's way."""
    torch.set_num_threads(1)


@pytest.fixture(scope='session', autouse=True)
def _interruptible():
    """A shell that starts the suite in the background lets it ignore Ctrl-C, and with it the
    processes that tests interrupt.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def process_group(tmp_path):
    """Make a group of one process.

    It ends after the test's networks. Torch may hang if DistributedDataParallel outlives its group.
    """
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1
    )
    yield
    gc.collect()
    torch.distributed.destroy_process_group()


@pytest.fixture(
    params=[
        'cpu',
        pytest.param(
            'cuda', marks=[pytest.mark.cuda, pytest.mark.skipif(not GPU, reason='needs a GPU')]
        ),
    ]
)
def device(request):
    """Give each device that there is to a test of numbers; float32 is not rounded to TF32."""
    kinds = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [kind.allow_tf32 for kind in kinds]
    for kind in kinds:
        kind.allow_tf32 = False
    yield torch.device(request.param)
    for kind, allowed in zip(kinds, before):
        kind.allow_tf32 = allowed


@pytest.fixture
def on_device(device):
    """Make `device` the one that tensors and networks are made on."""
    with device:
        yield device


each_device = pytest.mark.usefixtures('on_device')


def make_triplets(root: Path, count: int, size: int = 32, seed: int = 0) -> Path:
    """Smooth random pictures, a square of noise in each: root/{lq,mask,gt}/NAME.png."""
    rng = np.random.default_rng(seed)
    for kind in ('lq', 'mask', 'gt'):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        gt = cv2.resize(
            rng.integers(0, 256, (4, 4, 3), dtype=np.uint8),
            (size, size),
            interpolation=cv2.INTER_CUBIC,
        )
        mask = np.zeros((size, size), np.uint8)
        y, x = rng.integers(0, size - size // 3, 2)
        mask[y : y + size // 3, x : x + size // 3] = 255
        noisy = np.clip(gt + rng.normal(0, 25, gt.shape), 0, 255).astype(np.uint8)
        lq = np.where(mask[..., None] > 0, noisy, gt)
        for kind, picture in (('lq', lq), ('mask', mask), ('gt', gt)):
            cv2.imwrite(str(root / kind / f'{i:04d}.png'), picture)
    return root


@pytest.fixture
def triplets(tmp_path) -> Path:
    """A folder with train and test triplets of 32x32."""
    make_triplets(tmp_path / 'data' / 'train', 6, seed=0)
    make_triplets(tmp_path / 'data' / 'test', 2, seed=1)
    return tmp_path / 'data'


def tiny_options(data: Path) -> dict:
    """Options of a run that takes seconds: a small HMACA on the triplets of `triplets`."""

    def dataset(part: str, **more) -> dict:
        roots = {f'dataroot_{kind}': str(data / part / kind) for kind in ('lq', 'mask', 'gt')}
        return {
            'name': f'tiny_{part}',
            'type': 'MaskedPairedImageDataset',
            **roots,
            'io_backend': {'type': 'disk'},
            **more,
        }

    return {
        'name': 'tiny',
        'model_type': 'MaskedRestorationModel',
        'num_gpu': int(torch.get_default_device().type == 'cuda'),
        'manual_seed': 0,
        'datasets': {
            'train': dataset('train', gt_size=16, use_hflip=True, use_rot=True, batch_size_per_gpu=4, num_worker_per_gpu=0),
            'val': dataset('test'),
        },
        'network_g': {
            'type': 'HMACA', 'embed_dim': 32, 'depths': [1], 'num_heads': [2], 'window_size': 8, 'interval_size': 4, 'drop_path_rate': 0,
        },
        'path': {'pretrain_network_g': None, 'resume_state': None},
        'train': {
            'optim_g': {'type': 'AdamW', 'lr': 1e-3},
            'scheduler': {'type': 'MultiStepLR', 'milestones': []},
            'total_iter': 5,
            'pixel_opt': {'type': 'AlphaMaskedL1Loss', 'alpha': 0.5},
        },
        'val': {
            'val_freq': 100,
            'save_img': False,
            'metrics': {
                'composite_psnr': {'type': 'calculate_composite_psnr'},
                'masked_psnr': {'type': 'calculate_masked_psnr'},
                'masked_ssim': {'type': 'calculate_masked_ssim'},
            },
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }  # fmt: skip


def write_options(path: Path, options: dict) -> Path:
    path.write_text(yaml.safe_dump(options, sort_keys=False), encoding='utf-8')
    return path


def command_line(*arguments) -> list[str]:
    return [sys.executable, '-m', 'hmaca_arch', *map(str, arguments)]


def environment() -> dict[str, str]:
    """For processes of the tests: this checkout is importable from any folder, one thread each."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    return {**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1'}


def basicsr(cwd: Path, *arguments, check: bool = True) -> subprocess.CompletedProcess:
    """Run the console command as a real process in `cwd`; output and errors together in `.stdout`."""
    result = subprocess.run(
        command_line(*arguments),
        cwd=cwd,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
    )
    if check and result.returncode:
        raise AssertionError(
            f'basicsr {" ".join(map(str, arguments))} ended with {result.returncode}:\n{result.stdout}'
        )
    return result


def killed(results: int, *arguments) -> None:
    """Run the console command in a process that kills itself, its workers alone left, once they
    have handed it so many results.
    """
    code = (
        'import os, signal, sys, hmaca_arch.cli\n'
        'from datasets_ext.parallel import Workers\n'
        f'left, real = list(range({results})), Workers.map\n'
        'def map(*args):\n'
        '    for result in real(*args):\n'
        '        left.pop() if left else os.kill(os.getpid(), signal.SIGKILL)\n'
        '        yield result\n'
        'Workers.map = map\n'
        'hmaca_arch.cli.main(sys.argv[1:])\n'
    )
    command = [sys.executable, '-c', code, *map(str, arguments)]
    # run() returns once nobody holds the pipe any more: the workers have noticed
    result = subprocess.run(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert result.returncode == -signal.SIGKILL, result.stdout


def status_of(command: str, *arguments) -> int:
    """Run `basicsr COMMAND ...` in this process; its exit status. Errors go to stderr."""
    with pytest.raises(SystemExit) as ended:
        cli.main([command, *map(str, arguments)])
    return ended.value.code or 0


@pytest.fixture
def basicsr_here(tmp_path, monkeypatch, capsys):
    """`basicsr COMMAND ...` in this process, below tmp_path: the exit status and the one line of
    the error ('' if it went well).
    """
    from basicsr.utils.logger import initialized_logger  # late: hmaca_arch makes it importable

    monkeypatch.chdir(tmp_path)

    def forget_logs() -> None:
        initialized_logger.clear()  # BasicSR opens a log file only once a process
        logging.getLogger('basicsr').handlers.clear()

    forget_logs()

    def run(command: str, *arguments) -> tuple[int, str]:
        forget_logs()
        with pytest.raises(SystemExit) as ended:
            cli.main([command, *map(str, arguments)])
        text = capsys.readouterr().err
        errors = [line for line in text.splitlines() if 'error: ' in line]
        assert 'Traceback' not in text and len(errors) == bool(ended.value.code), text
        return ended.value.code or 0, ''.join(errors)

    return run


@pytest.fixture(scope='session')
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A small HMACA with random weights that change a picture visibly, saved as a training saves
    it.
    """
    torch.manual_seed(0)
    network = hmaca_arch.HMACA(
        embed_dim=32,
        depths=[1],
        num_heads=[2],
        window_size=8,
        cross_attention='window',
        image_residual=True,
        drop_path_rate=0,
    )
    network.conv_last.reset_parameters()  # untrained, it is zero
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save({'params': {}, 'params_ema': network.state_dict()}, path)
    return path


def changed(opt, entries):
    """The options with {'section:key': value} in place; None values stay None, `...` removes."""
    opt = copy.deepcopy(opt)
    for place, value in entries.items():
        *sections, key = place.split(':')
        target = opt
        for section in sections:
            target = target[section]
        if value is ...:
            del target[key]
        else:
            target[key] = value
    return opt


@pytest.fixture
def region_batch():
    """Return pred, target and mask of three samples; the second has two regions, the third none."""
    torch.manual_seed(1)
    pred, target = torch.rand(2, 3, 3, 5, 6, dtype=torch.float64)
    mask = torch.zeros(3, 1, 5, 6, dtype=torch.float64)
    mask[0, 0, 1:3, 2:5] = 1
    mask[1, 0, 0, 0] = mask[1, 0, 4, 3] = 1
    return pred, target, mask
