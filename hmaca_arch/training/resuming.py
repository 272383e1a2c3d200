"""Finding what a run resumes from, and keeping other runs out of its folder."""

import glob
import os
from pathlib import Path
from typing import Any

from basicsr.utils import check_resume

from hmaca_arch.files import locks
from hmaca_arch.files.atomic import replace
from hmaca_arch.files.torch_files import load_safely, read_checkpoint
from hmaca_arch.messages import one_line, printable, say, show
from hmaca_arch.training import distributed

_locks: list[locks.Lock] = []  # that this process holds


def check_state(state: Any) -> None:
    """Raise a ValueError, KeyError or TypeError for what is no training state: a stranger's file
    may hold anything.
    """
    for key in ('epoch', 'iter'):
        number = state[key]
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**63:
            raise ValueError(f'{key} is {show(number)}; expected a whole number')
    for key in ('optimizers', 'schedulers'):
        if not isinstance(state[key], list) or not all(
            isinstance(part, dict) for part in state[key]
        ):
            raise ValueError(f'{key} is no list of states')
    for key in ('sampling', 'best', 'scaler'):
        if not isinstance(state.get(key, {}), dict):
            raise ValueError(f'{key} is {show(state[key])}; expected a section')


def newest_checkpoint(states: Path, models: Path) -> tuple[Path, dict] | None:
    """The newest training state that loads and whose networks load too, or None if there are no
    states at all.

    Raises:
        ValueError: there are states, but none of them is complete. Starting over is then the user's
            decision.
    """
    found = sorted(
        states.glob('*.state'),
        key=lambda path: int(path.stem) if path.stem.isdigit() else -1,
        reverse=True,
    )
    broken = []
    for path in found:
        try:
            state = load_safely(path)
            check_state(state)
            load_safely(models / f'net_g_{state["iter"]}.pth')
            return path, state
        except (PermissionError, MemoryError):
            raise
        except Exception as error:  # whatever a torn file makes the reader raise
            broken.append(f'{path.name} ({type(error).__name__})')
            say(
                f'Checkpoint {printable(path)} is not complete and is skipped: {one_line(error)[:200]}'
            )
    if broken:
        raise ValueError(
            f'{states}: none of the checkpoints is complete: {", ".join(broken)}; move the experiment away to start over'
        )
    return None


def refuse_to_forget(experiment: Path) -> None:
    """A run that is to be resumed, has no checkpoint, and was moved aside by a later start of its
    name, is not started over.

    Raises:
        ValueError: there is such a run.
    """
    pattern = f'{glob.escape(experiment.name)}_archived_*/training_states/*.state'
    earlier = sorted(path.parent.parent for path in experiment.parent.glob(pattern))
    if earlier:
        raise ValueError(
            f'{experiment} has no checkpoint, but an earlier run of this name was moved to {earlier[-1]}: move it back to resume it, '
            'or start over without --auto_resume'
        )


def lock_experiment(folder: str, doing: str = 'training under this name') -> None:
    """Keep other runs out of a run's folder until this one ends.

    The lock lies beside the folder: BasicSR would move the folder aside while a run goes on
    writing.

    Raises:
        ValueError: another process trains (or tests) under this name.
    """
    path = Path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    refusal = f'{folder}: another process is {doing}; wait for it, or choose another name'
    _locks.append(locks.take(path.with_name(f'.{path.name}.lock'), refusal))


def load_resume_state(opt: dict) -> dict | None:
    """As BasicSR's function of this name: from `--auto_resume` or `path: resume_state`, on any
    device, the same state on all processes.
    """
    states, models = Path(opt['path']['training_states']), Path(opt['path']['models'])
    path, state = opt['path'].get('resume_state'), None
    if opt['rank'] == 0:
        lock_experiment(opt['path']['experiments_root'])
        for leftover in [
            *states.glob('*.tmp'),
            *models.glob('*.tmp'),
        ]:  # of a run that was killed while it saved
            leftover.unlink()
    if opt['auto_resume']:
        if opt['rank'] == 0:
            path, state = newest_checkpoint(states, models) or (path, None)
            if path is None:
                refuse_to_forget(states.parent)
                say(f'No checkpoint in {printable(states)} yet: training starts at iteration 0.')
        path = distributed.from_first(path)
    if not path:
        return None
    if state is None:
        try:
            state = load_safely(path)
            check_state(state)
        except (
            Exception
        ) as error:  # whatever another kind of file, or a torn one, makes the reader raise
            reason = f'{type(error).__name__}: {" ".join(str(error).split())[:150]}'
            raise ValueError(
                f'path:resume_state: {path} is not a whole training state ({reason})'
            ) from error
    if (
        opt.pop('seed_drawn', False) and 'sampling' in state
    ):  # manual_seed is not in the file: go on with the one drawn at the start
        drawn, opt['manual_seed'] = opt['manual_seed'], state['sampling']['seed']
        for dataset in opt['datasets'].values():
            if dataset['phase'] == 'train' and dataset['seed'] == drawn:
                dataset['seed'] = opt['manual_seed']
    opt['path']['resume_state'] = str(path)
    check_resume(
        opt, state['iter']
    )  # BasicSR points pretrain_network_g at the weights beside the state
    for network in (
        key
        for key in opt
        if key.startswith('network_')
        and key not in (opt['path'].get('ignore_resume_networks') or ())
    ):
        name = network.removeprefix(
            'network_'
        )  # whatever kind of file the run began with, these are its own
        opt['path'].update({f'param_key_{name}': 'params', f'strict_load_{name}': True})
    for network, weights in (
        (key, value) for key, value in opt['path'].items() if key.startswith('pretrain_network')
    ):
        if weights and not os.path.isfile(weights):
            raise FileNotFoundError(
                f'{path} resumes with {network} {weights}, which does not exist'
            )
        if weights:
            read_checkpoint(
                Path(weights)
            )  # BasicSR leaves it to torch's version and environment whether code in it is executed
    for folder in ('experiments_root', 'models', 'training_states', 'visualization'):
        os.makedirs(opt['path'][folder], exist_ok=True)
    opt['start_iter'] = state['iter']
    return state


def check_sampling(state: dict, now: dict[str, int | str | None]) -> None:
    """Refuse to go on from a state with another sequence of samples.

    Raises:
        ValueError: `now` (pictures, names: a digest of theirs, global_batch, seed) is not what the
            state was trained with.
    """
    before = {**now, **state.get('sampling', {})}  # states from before there were digests have none
    changed = [
        f'{key} {before[key]}, now {value}' for key, value in now.items() if before[key] != value
    ]
    if changed:
        raise ValueError(
            f'the run to resume was trained with {"; ".join(changed)}: its sequence of samples cannot be continued. Restore that '
            '(global_batch is batch_size_per_gpu times accum_iter times the processes), or start a run of another name with '
            'path: pretrain_network_g'
        )


def set_aside(states: Path, iteration: int) -> None:
    """Rename the states after the iteration that a run goes on from: torn ones, or of a branch that
    is left. They would be taken for the
    newest by the next resume, and count for `keep_last`."""
    for path in states.glob('*.state'):
        if path.stem.isdigit() and int(path.stem) > iteration:
            replace(path, path.with_suffix('.state.left'))
            say(
                f'{printable(path)} is newer than what is resumed: renamed to {printable(path.name)}.left'
            )


def prune(models: Path, states: Path, keep_last: int, best: set[int]) -> None:
    """Delete all checkpoints but the newest `keep_last` and those of the iterations in `best`; a
    state goes before its weights.
    """
    found = sorted(int(path.stem) for path in states.glob('*.state') if path.stem.isdigit())
    for iteration in found[:-keep_last]:
        if iteration not in best:
            (states / f'{iteration}.state').unlink()
            for weights in models.glob(f'*_{iteration}.pth'):
                weights.unlink()


def unlock() -> None:
    """Let other runs use the names that this process locked."""
    while _locks:
        _locks.pop().release()
