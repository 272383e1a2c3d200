"""Every mistake in an option file is told, in one line with its place, before anything is built or
written.
"""

import logging
import os
from pathlib import Path

import pytest
import yaml
from basicsr.utils.logger import initialized_logger
from basicsr.utils.registry import DATASET_REGISTRY
from conftest import ROOT, changed, tiny_options, write_options

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch import cli
from hmaca_arch.commands.train import arguments
from hmaca_arch.config import checks as option_checks
from hmaca_arch.config import files as options
from hmaca_arch.messages import OptionError
from hmaca_arch.training import starting


def lines(opt, is_train=True, created=()):
    try:
        option_checks.check(opt, is_train, created)
    except OptionError as error:
        return error.lines
    return []


STOCK = {  # as BasicSR's own files for ESRGAN are
    'name': 'stock',
    'model_type': 'ESRGANModel',
    'scale': 4,
    'num_gpu': 0,
    'manual_seed': 0,
    'dist_params': {'backend': 'nccl', 'port': 29500},
    'datasets': {
        'train': {
            'name': 'a', 'type': 'PairedImageDataset', 'dataroot_gt': 'gt', 'dataroot_lq': 'lq', 'filename_tmpl': '{}',
            'meta_info_file': 'x.txt', 'io_backend': {'type': 'lmdb'}, 'gt_size': 128, 'use_hflip': True, 'use_rot': True,
            'use_shuffle': True, 'num_worker_per_gpu': 6, 'batch_size_per_gpu': 16, 'dataset_enlarge_ratio': 100, 'prefetch_mode': None,
            'mean': [0.5, 0.5, 0.5],
        },
        'val': {'name': 'b', 'type': 'PairedImageDataset', 'dataroot_gt': 'gt', 'dataroot_lq': 'lq', 'io_backend': {'type': 'disk'}},
    },
    'network_g': {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1},
    'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4},
    'path': {'pretrain_network_g': None, 'param_key_g': None, 'strict_load_g': True, 'strict_load_d': True, 'resume_state': None},
    'train': {
        'ema_decay': 0.999,
        'optim_g': {'type': 'Adam', 'lr': 1e-4, 'weight_decay': 0, 'betas': [0.9, 0.99]},
        'optim_d': {'type': 'Adam', 'lr': 1e-4, 'betas': [0.9, 0.99]},
        'scheduler': {'type': 'MultiStepLR', 'milestones': [50, 100], 'gamma': 0.5},
        'total_iter': 400, 'warmup_iter': -1,
        'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1e-2, 'reduction': 'mean'},
        'perceptual_opt': {
            'type': 'PerceptualLoss', 'layer_weights': {'conv5_4': 1}, 'vgg_type': 'vgg19', 'use_input_norm': True,
            'range_norm': False, 'perceptual_weight': 1.0, 'style_weight': 0, 'criterion': 'l1',
        },
        'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'real_label_val': 1.0, 'fake_label_val': 0.0, 'loss_weight': 5e-3},
        'net_d_iters': 1, 'net_d_init_iters': 0,
    },
    'val': {
        'val_freq': 5, 'save_img': False, 'suffix': None,
        'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4, 'test_y_channel': False, 'better': 'higher'}},
    },
    'logger': {
        'print_freq': 100, 'save_checkpoint_freq': 100, 'use_tb_logger': True, 'wandb': {'project': None, 'resume_id': None},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    'place, value, message',
    [
        ('nmae', 'x', 'nmae: there is no such setting (did you mean name?'),
        ('trian', {}, 'trian: there is no such setting (did you mean train?'),
        ('num_gpu', 'autp', "num_gpu: got 'autp', expected auto, or a whole number of at least 0 (did you mean auto?)"),
        ('name', 5, 'name: got 5, expected a name for a folder'),
        ('dist_params', {'prot': 1}, 'dist_params:prot: there is no such setting (did you mean port?'),
        ('path:pretrain_network_q', None, 'path:pretrain_network_q: there is no such setting (did you mean pretrain_network_g?'),
        ('path:masks', 'masks', 'path:masks: there is no such setting (known: '),
        ('path:strict_load_g', 'no', "path:strict_load_g: got 'no', expected true or false"),
        ('train:lr', 1.0, 'train:lr: there is no such setting (known: accum_iter, amp, '),
        ('train:total_iter', 'ten', "train:total_iter: got 'ten', expected a whole number of at least 1"),
        ('train:total_iter', ..., 'train:total_iter: is missing, expected a whole number of at least 1'),
        ('train:ema_decay', 2, 'train:ema_decay: got 2, expected a number from 0 to 1'),
        ('train:amp', 'bf61', "train:amp: got 'bf61', expected bf16, fp16 or false (did you mean bf16?)"),
        ('train:gan_opt', {'type': 'GANLoss', 'gan_type': 'vanilla'}, 'train:gan_opt: there is no such setting'),
        ('train:optim_g:lr', 'abc', "train:optim_g:lr: got 'abc', expected a number"),
        ('train:optim_g:lr', ..., 'train:optim_g:lr: is missing, AdamW needs it'),
        ('train:optim_g:lr', -1.0, 'train:optim_g: AdamW: Invalid learning rate: -1.0'),
        ('train:optim_g:betas', [0.9], 'train:optim_g:betas: got [0.9], expected a list of 2, each a number'),
        ('train:scheduler:milestones', 'x', "train:scheduler:milestones: got 'x', expected a list, each a whole number of at least 0"),
        ('train:pixel_opt:alpha', 3, 'train:pixel_opt: AlphaMaskedL1Loss: alpha is 3'),
        ('train:pixel_opt:inside', 'masc', "train:pixel_opt:inside: got 'masc', expected mask or bbox (did you mean mask?)"),
        ('train:pixel_opt', ..., 'train:pixel_opt: is missing'),
        ('val:val_frequency', 1, 'val:val_frequency: there is no such setting (did you mean val_freq?'),
        ('val:tb_images', -1, 'val:tb_images: got -1, expected a whole number of at least 0'),
        ('val:metrics:masked_psnr:crop_border', 'a', "val:metrics:masked_psnr:crop_border: got 'a', expected a whole number"),
        ('val:metrics:masked_psnr:better', 'hi', "val:metrics:masked_psnr:better: got 'hi', expected higher or lower"),
        ('val:metrics:masked_psnr', 'x', "val:metrics:masked_psnr: got 'x', expected a section"),
        ('logger:print_frq', 1, 'logger:print_frq: there is no such setting (did you mean print_freq?'),
        ('logger:use_tb_logger', 'yes', "logger:use_tb_logger: got 'yes', expected true or false"),
        ('logger:wandb', {'project': 'p'}, 'logger:use_tb_logger: wandb copies what TensorBoard is given'),
        ('datasets:train:use_hflp', True, 'datasets:train:use_hflp: there is no such setting (did you mean use_hflip?'),
        ('datasets:train:gt_size', 'big', "datasets:train:gt_size: got 'big', expected a whole number of at least 1, or null"),
        ('datasets:train:io_backend', {'type': 'lmbd'}, "io_backend:type: got 'lmbd', expected disk or lmdb (did you mean lmdb?)"),
        ('datasets:train:dataroot_mask', ..., 'datasets:train:dataroot_mask: is missing'),
        ('datasets:train:batch_size_per_gpu', ..., 'datasets:train:batch_size_per_gpu: is missing'),
        ('datasets:train:prefetch_mode', 'cuda', 'datasets:train:prefetch_mode: is no longer an option, worker processes'),
        ('datasets:train:use_shuffle', False, 'datasets:train:use_shuffle: got false, expected true'),
        ('datasets:val:persistent_workers', True, 'datasets:val:persistent_workers: for datasets:train alone'),
        ('datasets:vall', {}, 'datasets:vall: expected train, val or val_NAME (did you mean val?'),
        ('datasets:train_b', {}, 'datasets:train_b: expected train, val or val_NAME (did you mean train?'),
        ('network_f', {'type': 'HMACA'}, 'network_f: there is no such setting (did you mean network_g?'),
        ('name', 'ü' * 150, 'name: got '),
        ('protocol', 'relase', "protocol: got 'relase', expected release or clean (did you mean release?)"),
        ('train:optim_g', {'type': 'LBFGS', 'lr': 1.0}, "train:optim_g: LBFGS.step() missing 1 required positional argument: 'closure'"),
        ('train:optim_g', {'type': 'SparseAdam', 'lr': 1.0}, 'train:optim_g: SparseAdam'),
        ('train:compile', {'mod': 'default'}, 'train:compile:mod: torch.compile has no such setting (did you mean mode?'),
        ('val:metrics:psnr', {'type': 'calculate_psnr', 'crop_border': 0, 'input_order': 'HCW'}, "input_order: got 'HCW', expected HWC"),
        ('datasets:train', ..., 'datasets: there is no section train, got val'),
        ('scale', 2, 'scale: got 2, expected 1'),
        ('network_g:embed_dim', 'wide', "network_g:embed_dim: got 'wide', expected a whole number"),
        ('network_g:embed_dim', 50, 'network_g: HMACA: embed_dim is 50; expected a multiple of 4'),
        ('network_g:depths', [1, 'x'], "network_g:depths: got [1, 'x'], expected a list, each a whole number"),
        ('network_g:cross_attention', 'globel', "expected global, window or none (did you mean global?)"),
        ('network_g', 'HMACA', "network_g: got 'HMACA', expected a section"),
        ('logger', ..., 'logger: is missing, expected a section'),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_place_value_and_what_is_allowed(
    tmp_path, place, value, message
):
    found = lines(changed(tiny_options(tmp_path), {place: value}))
    assert len(found) == 1 and message in found[0] and '\n' not in found[0]


def test_what_is_right_passes(tmp_path):
    more = {
        'find_unused_parameters': False, 'dist_params': {'backend': 'gloo', 'timeout': 60}, 'path:strict_load_g': True, 'train:amp': 'bf16',
        'train:compile': {'backend': 'eager'}, 'train:grad_clip': None, 'train:ema_decay': 0.9, 'train:warmup_iter': -1,
        'val:metrics:masked_psnr:better': 'higher', 'val:suffix': None, 'path:param_key_g': None, 'datasets:train:gt_size': None,
    }  # fmt: skip
    assert lines(changed(tiny_options(tmp_path), more)) == []
    assert lines(changed(tiny_options(tmp_path), {'val': None})) == []
    assert (
        lines(
            changed(tiny_options(tmp_path), {'train': ..., 'logger': ..., 'datasets:train': ...}),
            is_train=False,
        )
        == []
    )
    assert (
        'val: got None' in lines(changed(tiny_options(tmp_path), {'val': None}), is_train=False)[0]
    )


def test_stock_models_data_sets_and_networks_are_usable_and_checked():
    assert lines(STOCK) == []
    assert (
        lines(changed(STOCK, {'train:net_d_itres': 1, 'datasets:train:use_hflp': True})) == []
    )  # they may read anything
    assert (
        'train:net_d_itres: there is no such'
        in lines(changed(STOCK, {'train:net_d_itres': 1}), created={'train:net_d_itres'})[0]
    )
    for place, message in (
        ('network_g:num_blok', 'did you mean num_block'), ('train:gan_opt:gan_tpye', 'did you mean gan_type'),
        ('val:metrics:psnr:crop_boarder', 'did you mean crop_border'),
    ):  # fmt: skip
        (found,) = lines(changed(STOCK, {place: 1}))
        assert found.startswith(place) and message in found
    for place, value, message in (
        ('network_g:num_in_ch', ..., 'network_g:num_in_ch: is missing, RRDBNet needs it'),
        ('network_g:num_feat', 'a', "network_g:num_feat: got 'a', expected a number"),
        (
            'train:pixel_opt:reduction',
            'meen',
            'train:pixel_opt: L1Loss: Unsupported reduction mode: meen',
        ),
        ('val:metrics:psnr:crop_border', ..., 'val:metrics:psnr:crop_border: is missing'),
    ):
        (found,) = lines(changed(STOCK, {place: value}))
        assert message in found


def test_a_data_set_from_elsewhere_reads_what_it_likes_but_overrides_do_not_invent_keys(tmp_path):
    @DATASET_REGISTRY.register()
    class Elsewhere:
        pass

    try:
        section = {
            'name': 'a',
            'type': 'Elsewhere',
            'its_own': 1,
            'batch_size_per_gpu': 1,
            'num_worker_per_gpu': 0,
        }
        opt = changed(tiny_options(tmp_path), {'datasets:train': section})
        assert lines(opt) == []
        assert (
            'datasets:train:its_own: there is no such'
            in lines(opt, created={'datasets:train:its_own'})[0]
        )
        assert (
            'batch_size_per_gpu: got 0'
            in lines(changed(opt, {'datasets:train:batch_size_per_gpu': 0}))[0]
        )
    finally:
        del DATASET_REGISTRY._obj_map['Elsewhere']


def test_overrides_are_not_evaluated_may_contain_equals_and_create_no_unknown_keys(
    tmp_path, triplets
):
    path = write_options(tmp_path / 'o.yml', tiny_options(triplets))
    opt = options.resolve(
        path,
        [
            'name=a=b',
            'datasets:train:prepare=run x=[1+1]',
            'train:ema_decay=0.9',
            'train:total_iter=3e2',
        ],
    )
    assert (
        opt['name'] == 'a=b'
        and opt['datasets']['train']['prepare'] == 'run x=[1+1]'
        and opt['train']['ema_decay'] == 0.9
    )
    assert opt['train']['total_iter'] == 300 and isinstance(opt['train']['total_iter'], int)
    target = tmp_path / 'evaluated'
    with pytest.raises(OptionError, match='train:total_iter: got "'):
        options.resolve(path, [f"train:total_iter=__import__('pathlib').Path('{target}').touch()"])
    assert not target.exists()
    with pytest.raises(
        OptionError, match='train:ema_decya: there is no such setting .did you mean ema_decay'
    ):
        options.resolve(path, ['train:ema_decya=0.9'])
    with pytest.raises(OptionError, match='train: got 5, expected a section'):
        options.resolve(path, ['train=5'])


@pytest.mark.parametrize('command', ['train', 'test', 'check'])
def test_all_mistakes_at_once_a_line_each_and_nothing_written(
    tmp_path, triplets, monkeypatch, capsys, command
):
    opt = changed(
        tiny_options(triplets),
        {'train:totl_iter': 1, 'val:val_freq': 'x', 'path:mask': 'y', 'network_g:embed_dim': 50},
    )
    path = write_options(tmp_path / 'o.yml', opt)
    cwd = tmp_path / 'cwd'
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    with pytest.raises(SystemExit) as end:
        cli.main([command, '-opt', str(path), '--force_yml', 'logger:print_freq=often'])
    found = capsys.readouterr().err.splitlines()
    assert end.value.code == 1 and list(cwd.iterdir()) == []
    assert all(line.startswith(f'basicsr {command}: error: ') for line in found)
    for place in ('train:totl_iter', 'val:val_freq', 'path:mask', 'network_g', 'logger:print_freq'):
        assert sum(f'error: {place}: ' in line for line in found) == 1
    assert len(found) == 5


def test_a_check_leaves_the_logger_to_the_run(tmp_path, triplets, monkeypatch, capsys):
    """BasicSR sets its logger up once: were it a check that does, the run would write no log file."""
    monkeypatch.setattr(logging.getLogger('basicsr'), 'handlers', [])
    initialized_logger.pop('basicsr', None)
    starting.parse(
        str(tmp_path),
        True,
        arguments(['-opt', str(write_options(tmp_path / 'o.yml', tiny_options(triplets)))]),
    )
    assert (
        lines(STOCK) == []
        and 'basicsr' not in initialized_logger
        and logging.getLogger('basicsr').handlers == []
    )
    assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize(
    'text, message',
    [('a: &a {b: *a}', 'contains itself'), ('base: 5', 'base: got 5'), ('[]', 'holds no options')],
)
def test_odd_files_end_in_a_line(tmp_path, text, message):
    (tmp_path / 'o.yml').write_text(text)
    with pytest.raises(ValueError, match=message):
        options.resolve(tmp_path / 'o.yml', [])


def test_an_empty_file_and_odd_keys_are_no_tracebacks(tmp_path):
    sections = 'datasets: {train: []}\nnetwork_g: {type: [1]}\ntrain: {scheduler: {type: {}}, optim_g: []}\n'
    (tmp_path / 'o.yml').write_text(sections)
    with pytest.raises(OptionError) as error:
        options.resolve(tmp_path / 'o.yml', [])
    for part in ('datasets:train: got []', 'network_g:type: there is no [1]', 'scheduler:type'):
        assert any(part in line for line in error.value.lines)


def test_print_gives_an_option_file_that_says_the_same(tmp_path, triplets, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'base.yml').write_text(yaml.safe_dump(tiny_options(triplets)))
    (tmp_path / 'o.yml').write_text(
        'base: base.yml\nname: printed\nprotocol: clean\ntrain: {total_iter: 7}\n'
    )
    with pytest.raises(SystemExit) as end:
        cli.main(['check', '-opt', 'o.yml', '--print', '--force_yml', 'train:optim_g:lr=1e-5'])
    out, err = capsys.readouterr()
    assert end.value.code == 0 and 'the options of this training are right' in err
    printed = yaml.safe_load(out)
    assert (
        printed['train']['total_iter'] == 7
        and float(printed['train']['optim_g']['lr']) == 1e-5
        and 'base' not in printed
    )
    Path('again.yml').write_text(out, encoding='utf-8')
    assert options.resolve('again.yml', []) == options.resolve('o.yml', ['train:optim_g:lr=1e-5'])


def test_check_says_what_is_not_there_yet_and_ends_well(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = write_options(tmp_path / 'o.yml', tiny_options(tmp_path / 'nowhere'))
    with pytest.raises(SystemExit) as end:
        cli.main(['check', '-opt', str(path)])
    out = capsys.readouterr().out
    assert (
        end.value.code == 0
        and out.count('not there yet: datasets:') == 2
        and 'network_g HMACA: ' in out
    )
    assert os.listdir(tmp_path) == ['o.yml']


def numbers(section, above=''):
    """The places of all numbers and lists."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from numbers(value, f'{above}{key}:')
        elif isinstance(value, int | float | list):
            yield f'{above}{key}'


@pytest.mark.parametrize('wrong', ['half', [['x']], -(10**30)])
def test_a_wrong_value_gets_one_line(wrong):
    """Also where a schema and a signature refuse it, or a signature and a limit of size."""
    opt = options.load(ROOT / 'options' / 'train_hmaca_horse_pix.yml')
    found = {place: lines(changed(opt, {place: wrong})) for place in numbers(opt)}
    assert {place: told for place, told in found.items() if len(told) > 1} == {}
    assert sum(map(len, found.values())) > 20
