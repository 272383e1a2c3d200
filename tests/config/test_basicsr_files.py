"""Option files as BasicSR publishes them: what it runs is accepted."""

import logging

import pytest
import yaml

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch.config import completing, files, presence
from hmaca_arch.messages import OptionError

SRRESNET = """
name: x
model_type: SRModel
scale: 4
num_gpu: 1
manual_seed: 0
datasets:
  train:
    name: DIV2K
    type: PairedImageDataset
    dataroot_gt: datasets/DIV2K/gt
    dataroot_lq: datasets/DIV2K/lq
    filename_tmpl: '{}'
    io_backend: {type: lmdb}
    gt_size: 128
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: 6
    batch_size_per_gpu: 16
    dataset_enlarge_ratio: 100
    prefetch_mode: ~
network_g: {type: MSRResNet, num_in_ch: 3, num_out_ch: 3, num_feat: 8, num_block: 1, upscale: 4}
path: {pretrain_network_g: ~, strict_load_g: true, resume_state: ~}
train:
  ema_decay: 0.999
  optim_g: {type: Adam, lr: !!float 2e-4, weight_decay: 0, betas: [0.9, 0.99]}
  scheduler: {type: CosineAnnealingRestartLR, periods: [250000, 250000], restart_weights: [1, 1], eta_min: !!float 1e-7}
  total_iter: 500000
  warmup_iter: -1
  pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}
logger: {print_freq: 100, save_checkpoint_freq: !!float 5e3, use_tb_logger: true, wandb: {project: ~, resume_id: ~}}
dist_params: {backend: nccl, port: 29500}
"""
CHANGES = {
    'a name without the suffix': 'model_type: RealESRNetModel\ngt_usm: true\nresize_prob: [0.2, 0.7, 0.1]\n'
    'val: {val_freq: !!float 1600, save_img: false}',
    'a data set without the suffix': 'datasets: {train: {name: x, type: RealESRGANDataset, dataroot_gt: x, meta_info: x, '
    'io_backend: {type: disk}, '
    'blur_kernel_size: 21, use_shuffle: true, num_worker_per_gpu: 1, batch_size_per_gpu: 1, gt_size: 8}}',
    'weights that are not there': 'network_g: {type: BasicVSR, num_feat: 8, num_block: 1, spynet_path: experiments/spynet.pth}',
}


def resolved(tmp_path, text: str, entries=()) -> dict:
    (tmp_path / 'o.yml').write_text(SRRESNET)
    (tmp_path / 'changed.yml').write_text(f'base: o.yml\n{text}\n')
    return files.resolve(tmp_path / 'changed.yml', list(entries), is_train=True)


@pytest.mark.parametrize('text', CHANGES.values(), ids=CHANGES)
def test_what_basicsr_runs_is_accepted_without_a_warning(tmp_path, text, caplog):
    options = resolved(tmp_path, text)
    assert not caplog.records
    assert options['logger']['save_checkpoint_freq'] == 5000 and isinstance(
        options['logger']['save_checkpoint_freq'], int
    )
    if 'val' in options:
        assert options['val']['val_freq'] == 1600 and isinstance(options['val']['val_freq'], int)


def test_weights_of_a_network_that_are_missing_are_named_before_a_run(tmp_path):
    options = resolved(tmp_path, CHANGES['weights that are not there'])
    lines = presence.missing(completing.complete(options, True, str(tmp_path)), open_data=False)
    assert any(
        'network_g:spynet_path: ' in line and 'spynet.pth does not exist' in line for line in lines
    )


def test_a_key_that_nothing_reads_is_a_warning(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    resolved(tmp_path, 'train: {accum_iter: 2, ema_dekay: 0.9}')
    assert [record.message.split(' (')[0] for record in caplog.records] == [
        'train:accum_iter: nothing reads it', 'train:ema_dekay: nothing reads it',
    ]  # fmt: skip
    with pytest.raises(OptionError, match='train:ema_dekay: there is no such setting'):
        resolved(tmp_path, '', ['train:ema_dekay=0.9'])


def test_what_basicsr_itself_cannot_run_is_refused(tmp_path):
    for text, message in (
        ('network_g: {type: MSRResNet, ema_decay: 0.9}', 'MSRResNet has no such setting'),
        ('model_type: NoModel', "there is no 'NoModel'"),
        ('train: {pixel_opt: {type: GANFeatLoss}}', "there is no 'GANFeatLoss'"),
    ):
        with pytest.raises(OptionError, match=message):
            resolved(tmp_path, text)


def test_the_files_here_are_yaml_of_basicsr_too():
    assert yaml.safe_load(SRRESNET)['logger']['save_checkpoint_freq'] == 5000.0
