"""Starting a run: what replaces `basicsr.utils.options.parse_options`.

Option files are read and checked as in `config`, processes are joined as in `distributed`, and a
user's mistake ends in one line.
"""

import os
import random
from argparse import Namespace
from pathlib import Path

import torch
from basicsr.utils import set_random_seed
from basicsr.utils.dist_util import get_dist_info

from hmaca_arch.config import files, presence, shipped
from hmaca_arch.config.completing import complete
from hmaca_arch.messages import refuse
from hmaca_arch.training import distributed


def parse(root_path: str, is_train: bool, args: Namespace) -> tuple[dict, Namespace]:
    """Read the option file into BasicSR's `opt`, join the other processes, and seed.

    Args:
        root_path: the folder below which `experiments/`, `results/` and `tb_logger/` go.
        is_train: `basicsr train` or `basicsr test`.
        args: the command line, as `commands.train.arguments` parses it.

    Returns:
        The options as BasicSR's pipelines expect them, and `args`.

    Raises:
        FileNotFoundError, ValueError: the file is missing or wrong, or asks for a device or data
            that do not exist.
    """
    args.opt = str(shipped.find(args.opt))  # BasicSR copies it into the experiment's folder
    options = files.resolve(args.opt, args.force_yml, is_train)
    if args.debug and not options['name'].startswith('debug'):
        options['name'] = 'debug_' + options['name']
    opt = complete(options, is_train, root_path)
    root = os.path.join(root_path, 'experiments' if is_train else 'results', opt['name'])
    resumes = args.auto_resume and any(Path(root, 'training_states').glob('*.state'))
    opt['dist'] = args.launcher != 'none'
    alone = [] if opt['dist'] else presence.not_in_one_process(opt)
    refuse([*presence.missing(opt, distributed=opt['dist'], resumes=resumes), *alone])

    if opt['num_gpu'] == 'auto':
        opt['num_gpu'] = torch.cuda.device_count()
    if opt['dist']:
        distributed.start(args.launcher, opt.get('dist_params'), use_gpu=opt['num_gpu'] > 0)
    opt['rank'], opt['world_size'] = get_dist_info()
    opt['auto_resume'] = args.auto_resume
    _seed(opt)
    _set_folders(opt, root)
    return opt, args


def _seed(opt: dict) -> None:
    """Seed the process and the data sets; validation does not depend on the run's seed."""
    if opt['manual_seed'] is None:
        opt['seed_drawn'] = True
        opt['manual_seed'] = distributed.from_first(random.randint(1, 10000))
    set_random_seed(opt['manual_seed'] + opt['rank'])
    for dataset in opt['datasets'].values():
        dataset.setdefault('seed', opt['manual_seed'] if dataset['phase'] == 'train' else 0)


def _set_folders(opt: dict, root: str) -> None:
    """Set the run's folders; a run with 'debug' in its name logs often, as in BasicSR."""
    is_train, path = opt['is_train'], opt['path']
    path['experiments_root' if is_train else 'results_root'] = path['log'] = root
    path['visualization'] = os.path.join(root, 'visualization')
    if is_train:
        path['models'] = os.path.join(root, 'models')
        path['training_states'] = os.path.join(root, 'training_states')
    if is_train and 'debug' in opt['name']:
        opt['logger'].update(print_freq=1, save_checkpoint_freq=8)
        if opt.get('val'):
            opt['val']['val_freq'] = 8
