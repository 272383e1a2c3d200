#!/usr/bin/env python
"""Check, measure and train on a machine with a GPU and no network, in calls of a few minutes.

    call.py probe SECONDS                      checks, seconds of steps, attention
    call.py train OPTIONS SECONDS [ENTRY ...]  training, test, weights
    call.py finish OPTIONS SECONDS             test and weights of what there is

Run it in a checkout with the folder .gpu that pack.sh made. OPTIONS is an option file, by its path
or by its name as a shipped one. ENTRY is as in `--force_yml`, for example
`datasets:train:gt_size=64`. SECONDS is how long the call may take. What comes back lies in $OUT
(/tmp/out); what stays between calls lies in $RUN (/tmp/run). Each call continues what the last one
left.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

BEGIN = time.monotonic()
HERE = Path(__file__).resolve().parent
OUT, RUN = Path(os.environ.get('OUT', '/tmp/out')), Path(os.environ.get('RUN', '/tmp/run'))
START, END = 25, 75  # seconds kept for starting a training; for test and weights
CELLS = (  # the most telling first
    'HMACA+:bf16',
    'HMACA+:bf16:fused',
    'HMACA+:bf16:gt64:b40',
    'HMACA1:bf16',
    'HMACA+:bf16:gt64:b40:fused',
    'HMACA+:fp32',
    'HMACA+:tf32',
    'HMACA1:fp32',
    'HMACA+:bf16:ckpt',
    'HMA1:bf16',
)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    stages = parser.add_subparsers(dest='stage', required=True)
    probe = stages.add_parser('probe')
    probe.add_argument('seconds', type=int)
    for name in ('train', 'finish'):
        stage = stages.add_parser(name)
        stage.add_argument('options')
        stage.add_argument('seconds', type=int)
        stage.add_argument('--half', action='store_true', help='weights as float16')
        if name == 'train':
            stage.add_argument('entries', nargs='*', metavar='ENTRY')
            stage.add_argument('--batch', type=int, help='(the largest that fits and pays)')
            stage.add_argument('--iterations', type=int, help='(as many as fit into SECONDS)')
    return parser.parse_args()


def say(text: str) -> None:
    """Print a line with the seconds since the start."""
    print(f'[{time.monotonic() - BEGIN:4.0f} s] {text}', flush=True)


def left(args: argparse.Namespace, keep: float = 0) -> float:
    """Return the seconds that are left, less `keep`, and at least 1."""
    return max(1.0, args.seconds - (time.monotonic() - BEGIN) - keep)


def python(*arguments: object) -> list[str]:
    """Make the command line of a Python script or module."""
    return [sys.executable, *map(str, arguments)]


def run(command: list[str], seconds: float, log: Path | None = None) -> int:
    """Run a command in $RUN for at most so long; return its status, or 75 if it was stopped.

    It gets SIGTERM first, on which a training saves, and is killed 20 seconds later.
    """
    with open(log, 'a', encoding='utf-8') if log else open(os.devnull, 'w', encoding='utf-8') as to:
        process = subprocess.Popen(
            command, cwd=RUN, stdout=to if log else None, stderr=subprocess.STDOUT if log else None
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            try:
                return process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return 75


def install(code: Path) -> None:
    """Install the wheels into $RUN/site, once, and let all processes find them and the project."""
    site = RUN / 'site'
    if not (RUN / 'ready').exists():
        wheels = sorted((HERE.parent / 'whl').glob('*.whl'))
        if not wheels:
            raise SystemExit('nothing is installed here, and there is no folder .gpu beside this')
        say('install')
        pip = ['-m', 'pip', 'install', '-q', '--no-index', '--no-deps', '--no-compile']
        where = ['--no-cache-dir', '--upgrade', '--target', site]
        subprocess.run(python(*pip, *where, *wheels), check=True)
        shutil.copytree(HERE, RUN / 'kit', dirs_exist_ok=True)  # for calls without the folder .gpu
        (RUN / 'ready').touch()
    paths = [str(code), str(site), os.environ.get('PYTHONPATH', '')]
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, paths))
    os.environ.update(HMACA_CODE=str(code), PYTHONUNBUFFERED='1', PYTHONWARNINGS='ignore')


def unpack() -> list[Path]:
    """Put the packed images into $RUN/datasets, once; return the folders there."""
    packed, folder = HERE.parent / 'images.tar', RUN / 'datasets'
    if packed.exists() and not (RUN / 'unpacked').exists():
        say('images')
        safe = {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}  # from Python 3.11.4
        with tarfile.open(packed) as archive:
            archive.extractall(folder, **safe)
        (RUN / 'unpacked').touch()
    return [path for path in folder.glob('*') if path.is_dir()]


def data(described: dict, args: argparse.Namespace) -> None:
    """Make the paper's set that an option file names, if the packed images are horse2zebra.

    Raises:
        SystemExit: the option file's data are not here.
    """
    if not described['missing']:
        return
    horses = next((path for path in unpack() if (path / 'trainA').is_dir()), None)
    name = str(described['data'])
    if horses is None or not name.startswith('horse_'):
        there = ', '.join(path.name for path in unpack()) or 'nothing'
        raise SystemExit(f'{described["missing"][0]} is missing; datasets/ has: {there}')
    say(f'data set {name}')
    make = python('-m', 'hmaca_arch', 'make-dataset', '--protocol', described['protocol'])
    make += ['--degradation', name.removeprefix('horse_'), '--horse', str(horses)]
    make += ['-o', 'datasets', '--workers', str(max(1, (os.cpu_count() or 2) - 2))]
    if run(make, left(args, END)):
        raise SystemExit(f'{name} could not be made')


def probe(args: argparse.Namespace) -> None:
    """Run the checks, the steps and the attention, each for a share of the time."""
    say('checks')
    run(python(HERE / 'cuda_checks.py', '--out', RUN / 'checks.json'), min(80, left(args) / 2))
    say('steps')
    seconds = max(15, left(args) * 0.6)
    steps = python(HERE / 'step_bench.py', '--seconds', int(seconds - 12), '--out')
    run([*steps, str(RUN / 'steps.json'), '--profile', CELLS[0], '--cells', *CELLS], seconds + 20)
    say('attention')
    seconds = left(args, 8)
    bench = python(HERE / 'attention_bench.py', '--seconds', int(max(5, seconds - 15)), '--out')
    run([*bench, str(RUN / 'attention.json')], seconds)
    archive('probe', ['checks.json', 'steps.json', 'attention.json', 'profile.txt'])


def archive(name: str, files: list[str]) -> None:
    """Put what there is of these files below $RUN into $OUT/NAME.tar.gz."""
    with tarfile.open(OUT / f'{name}.tar.gz', 'w:gz') as tar:
        for file in files:
            if (RUN / file).exists():
                tar.add(RUN / file, file)


def plan(args: argparse.Namespace) -> dict:
    """Describe a training: name, data, entries. Measure it at the first call, with fit.py."""
    file = RUN / f'{Path(args.options).stem}.json'
    if not file.exists():
        if args.stage == 'finish':
            raise SystemExit(f'{file.name}: there is no such training here')
        fit = python(HERE / 'fit.py', '-opt', args.options)
        entries = ['--force_yml', *args.entries] if args.entries else []
        output = subprocess.run([*fit, '--describe', *entries], cwd=RUN, stdout=subprocess.PIPE)
        if output.returncode:
            raise SystemExit(1)
        data(json.loads(output.stdout), args)
        say('batch and iterations')
        fit += ['--seconds', str(int(left(args, START + END))), '--out', str(file)]
        fit += ['--batch', str(args.batch)] if args.batch else []
        fit += ['--iterations', str(args.iterations)] if args.iterations else []
        if run([*fit, *entries], left(args, END)) or not file.exists():
            raise SystemExit('the steps could not be measured')
    return json.loads(file.read_text(encoding='utf-8'))


def train(args: argparse.Namespace, planned: dict) -> None:
    """Train until it is done or the time is over; say how many crops were seen.

    A stopped training has saved itself: the next call on this machine continues it.
    """
    say(f'{planned["name"]}: {planned["iterations"]} iterations of {planned["batch"]} crops')
    log = RUN / f'{planned["name"]}.log'
    command = python('-m', 'hmaca_arch', 'train', '-opt', planned['path'], '--auto_resume')
    more = ['val=null', 'logger:use_tb_logger=false']
    more.append(f'logger:save_checkpoint_freq={max(1, planned["iterations"] // 5)}')
    more.append(f'logger:print_freq={max(1, min(10, planned["iterations"] // 10))}')
    status = run([*command, '--force_yml', *planned['entries'], *more], left(args, END), log)
    states = RUN / 'experiments' / planned['name'] / 'training_states'
    reached = max((int(path.stem) for path in states.glob('[0-9]*.state')), default=0)
    crops = reached * planned['batch']
    result = {'status': status, 'iterations': reached, 'crops': crops}
    (OUT / 'crops.json').write_text(json.dumps(result), encoding='utf-8')
    say(f'training ended with {status} (0: done; 75: stopped and saved): {crops:,} crops seen')
    tail = log.read_text(encoding='utf-8', errors='replace').splitlines()[-4:]
    print('\n'.join(line[:300] for line in tail), flush=True)
    shutil.copy(log, OUT)


def newest(name: str) -> Path:
    """Return the newest weights of a training."""
    models = RUN / 'experiments' / name / 'models'
    found = sorted(models.glob('net_g_*.pth'), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit(f'{name} has no weights yet')
    return found[-1]


def finish(args: argparse.Namespace, planned: dict) -> None:
    """Test in float32, and put weights in parts and logs into $OUT, also of a stopped training."""
    name = planned['name']
    weights = newest(name)
    say(f'test of {weights.name}')
    test = python('-m', 'hmaca_arch', 'test', '-opt', planned['path'], '--force_yml')
    exact = ['train:amp=false', 'val:pbar=false', 'val:save_img=true']
    exact.append(f'path:pretrain_network_g={weights}')
    run([*test, *planned['entries'], *exact], left(args, 10), RUN / f'{name}.test.log')
    say('weights and logs')
    half = ['--half'] if args.half else []
    subprocess.run(python(HERE / 'parts.py', 'split', weights, OUT, *half), check=True)
    files = [f'{name}.log', f'{name}.test.log', 'steps.json', 'checks.json']
    files.append(f'{Path(args.options).stem}.json')
    kept = ('.csv', '.json', '.jsonl', '.yml', '.log')
    for folder in (RUN / 'experiments' / name, RUN / 'results' / name):
        found = [path for path in sorted(folder.rglob('*')) if path.suffix in kept]
        found += sorted(folder.rglob('*_strip.png'))[:12]
        files += [str(path.relative_to(RUN)) for path in found]
    archive(name, files)


def main() -> None:
    """Run one stage."""
    args = parse()
    for folder in (OUT, RUN):
        folder.mkdir(parents=True, exist_ok=True)
    code = Path.cwd()
    if not (code / 'hmaca_arch').is_dir():
        raise SystemExit('run this in the root of a checkout')
    given = Path(getattr(args, 'options', ''))
    if given.is_file():
        args.options = str(given.resolve())  # the processes run in $RUN
    install(code)
    unpack()
    if args.stage == 'probe':
        probe(args)
    else:
        planned = plan(args)
        if args.stage == 'train':
            train(args, planned)
        finish(args, planned)
    say('end')


if __name__ == '__main__':
    main()
