"""Finding the checkpoint that a run resumes from, and deleting old ones."""

import glob
import os
from pathlib import Path

from basicsr.utils import check_resume

from hmaca_arch.files.atomic import replace
from hmaca_arch.files.torch_files import load_safely, read_checkpoint
from hmaca_arch.messages import one_line, printable, reason_of, say
from hmaca_arch.training import distributed
from hmaca_arch.training.locking import lock_experiment
from hmaca_arch.training.state_checks import check_state


def _iteration(path: Path) -> int:
    """Return the iteration in a state's name; -1 if it has none."""
    return int(path.stem) if path.stem.isdigit() else -1


def newest_checkpoint(states: Path, models: Path) -> tuple[Path, dict] | None:
    """Return the newest training state that loads and whose network loads too.

    Args:
        states: the folder training_states.
        models: the folder models.

    Returns:
        The state's path and content; None if there are no states at all.

    Raises:
        ValueError: there are states, but none is complete. Starting over is the user's decision.
    """
    broken = []
    for path in sorted(states.glob('*.state'), key=_iteration, reverse=True):
        try:
            state = load_safely(path)
            check_state(state)
            load_safely(models / f'net_g_{state["iter"]}.pth')
            return path, state
        except (PermissionError, MemoryError):
            raise
        except Exception as error:  # reading a torn file may raise anything
            broken.append(f'{path.name} ({type(error).__name__})')
            reason = one_line(error)[:200]
            say(f'Checkpoint {printable(path)} is not complete and is skipped: {reason}')
    if broken:
        raise ValueError(
            f'{states}: none of the checkpoints is complete: {", ".join(broken)}; '
            'move the experiment away to start over'
        )
    return None


def refuse_to_start_over(experiment: Path) -> None:
    """Raise an error if a run without checkpoint has been moved aside by a later start.

    Args:
        experiment: the folder of the run that is to be resumed.

    Raises:
        ValueError: there is such a run, so starting over may not be what the user wants.
    """
    pattern = f'{glob.escape(experiment.name)}_archived_*/training_states/*.state'
    earlier = sorted(path.parent.parent for path in experiment.parent.glob(pattern))
    if earlier:
        raise ValueError(
            f'{experiment} has no checkpoint, but an earlier run of this name was moved to '
            f'{earlier[-1]}: move it back to resume it, or start over without --auto_resume'
        )


def load_resume_state(opt: dict) -> dict | None:
    """Return the training state to resume from, the same on all processes; None for a new run.

    It replaces BasicSR's function of this name and loads to any device. `opt` is completed with
    what resuming changes: paths, `start_iter` and the seed.

    Args:
        opt: complete options; `auto_resume` or `path: resume_state` asks for a state.

    Raises:
        FileNotFoundError, ValueError: the state or weights beside it are missing or not complete.
    """
    states, models = Path(opt['path']['training_states']), Path(opt['path']['models'])
    if opt['rank'] == 0:
        lock_experiment(opt['path']['experiments_root'])
        for leftover in [*states.glob('*.tmp'), *models.glob('*.tmp')]:  # a kill during a save
            leftover.unlink()
    path, state = opt['path'].get('resume_state'), None
    if opt['auto_resume']:
        if opt['rank'] == 0:
            path, state = newest_checkpoint(states, models) or (path, None)
            if path is None:
                refuse_to_start_over(states.parent)
                say(f'No checkpoint in {printable(states)} yet: training starts at iteration 0.')
        path = distributed.from_first(path)
    if not path:
        return None
    state = _read_state(path) if state is None else state
    _take_seed(opt, state)
    _take_weights(opt, path, state)
    for folder in ('experiments_root', 'models', 'training_states', 'visualization'):
        os.makedirs(opt['path'][folder], exist_ok=True)
    opt['start_iter'] = state['iter']
    return state


def _read_state(path: str | Path) -> dict:
    try:
        state = load_safely(path)
        check_state(state)
        return state
    except Exception as error:  # reading another kind of file may raise anything
        reason = f'{type(error).__name__}: {reason_of(error, 150)}'
        raise ValueError(
            f'path:resume_state: {path} is not a whole training state ({reason})'
        ) from error


def _take_seed(opt: dict, state: dict) -> None:
    """Continue with the state's seed, if the option file has none and this run has drawn one."""
    if opt.pop('seed_drawn', False) and 'sampling' in state:
        drawn, opt['manual_seed'] = opt['manual_seed'], state['sampling']['seed']
        for dataset in opt['datasets'].values():
            if dataset['phase'] == 'train' and dataset['seed'] == drawn:
                dataset['seed'] = opt['manual_seed']


def _take_weights(opt: dict, path: str | Path, state: dict) -> None:
    """Point the options to the weights beside the state, and check that they can be read."""
    options = opt['path']
    options['resume_state'] = str(path)
    check_resume(opt, state['iter'])  # BasicSR sets pretrain_network_g
    ignored = options.get('ignore_resume_networks') or ()
    for network in opt:
        if network.startswith('network_') and network not in ignored:
            # The run may have begun with a file of another kind; these are its own.
            name = network.removeprefix('network_')
            options.update({f'param_key_{name}': 'params', f'strict_load_{name}': True})
    for key, weights in options.items():
        if key.startswith('pretrain_network') and weights:
            if not os.path.isfile(weights):
                raise FileNotFoundError(
                    f'{path} resumes with {key} {weights}, which does not exist'
                )
            # BasicSR leaves it to torch's version whether code in a file is executed.
            read_checkpoint(Path(weights))


def check_sampling(state: dict, now: dict[str, int | str | None]) -> None:
    """Refuse to resume from a state with another sequence of samples.

    Args:
        state: the training state.
        now: this run's `pictures` (number of images), `names` (a digest of theirs), `global_batch`
            and `seed`.

    Raises:
        ValueError: the state was trained with something else.
    """
    before = {**now, **state.get('sampling', {})}  # old states have no digest
    names = {'pictures': 'images'}
    changed = [
        f'{names.get(key, key)} {before[key]}, now {value}'
        for key, value in now.items()
        if before[key] != value
    ]
    if changed:
        raise ValueError(
            f'the run to resume was trained with {"; ".join(changed)}: its sequence of samples '
            'cannot be continued. Restore that (global_batch is batch_size_per_gpu times '
            'accum_iter times the processes), or start a run of another name with '
            'path: pretrain_network_g'
        )


def set_aside(states: Path, iteration: int) -> None:
    """Rename the states that are newer than the iteration that a run resumes from.

    They are torn, or of a branch that is abandoned. The next resume would take them for the newest,
    and `keep_last` would count them.
    """
    for path in states.glob('*.state'):
        if _iteration(path) > iteration:
            replace(path, path.with_suffix('.state.left'))
            say(
                f'{printable(path)} is newer than what is resumed: '
                f'renamed to {printable(path.name)}.left'
            )


def prune(models: Path, states: Path, keep_last: int, best: set[int]) -> None:
    """Delete all checkpoints but the newest `keep_last` and those of the iterations in `best`.

    A state goes before its weights, so that no state is left without them.
    """
    found = sorted(int(path.stem) for path in states.glob('*.state') if path.stem.isdigit())
    for iteration in found[:-keep_last]:
        if iteration not in best:
            (states / f'{iteration}.state').unlink()
            for weights in models.glob(f'*_{iteration}.pth'):
                weights.unlink()
