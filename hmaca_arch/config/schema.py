"""The keys of each section of an option file: their values, meanings, examples and defaults.

`checks.py` checks files against this, and `scripts/options_reference.py` writes docs/options.md and
options/schema.json from it. The sections of data sets are in `dataset_schema.py`. The settings of a
network, loss, metric, optimizer or schedule are read from the signature of its constructor. Models
and data sets from elsewhere may read other keys, which are not checked.
"""

from hmaca_arch.config.kinds import (
    FLAG,
    FOLDER_NAME,
    LIST,
    SECTION,
    TEXT,
    choice,
    either,
    list_of,
    number,
    optional,
    whole,
)

OWN_MODEL = 'MaskedRestorationModel'
PROTOCOLS = {'clean': 'lq', 'release': 'gt'}  # what its composite PSNR pastes outside the region

FILE = {  # how a file is put together; gone before it is checked
    'base': either(TEXT, LIST).described(
        'Option files to build on, each on top of those before it.', 'train_HMACA_light.yml', 'none'
    ),
    'data': optional(TEXT).described(
        'The data set: a name from options/data, or the path of a data file of your own. The file '
        'names the folders and is merged on top of the bases. In texts `{data}` stands for its '
        'name.',
        'imagenet_blur',
        'none',
    ),
}
DATA_FILE = {'datasets': SECTION, 'val': SECTION}  # what a data file may hold

TOP = {
    'name': FOLDER_NAME.described(
        'The experiment: results go to experiments/NAME and results/NAME.', 'train_HMACA1_{data}'
    ),
    'model_type': TEXT.described(
        "The model. This page is about this project's.", 'MaskedRestorationModel'
    ),
    'protocol': choice('release', 'clean').described(
        'How the data were degraded. In texts `{protocol}` stands for it, and `{paste}` for what '
        'its metric pastes.',
        'clean',
        'none',
    ),
    'num_gpu': either(choice('auto'), whole(0)).described(
        'GPUs to use. `auto`: all there are. 0: the CPU.', 'auto', 'auto'
    ),
    'manual_seed': optional(whole(0)).described(
        'Seed of all random numbers. null: drawn at the start.', '0', 'null'
    ),
    'scale': whole(1).described(
        'Size of gt over size of lq. The masked data sets take 1 only.', '1', '1'
    ),
    'find_unused_parameters': FLAG.described(
        "torch's setting for several processes.", 'true', 'false'
    ),
    'dist_params': optional(SECTION).described(
        'How several processes communicate.', '{timeout: 600}', 'none'
    ),
    'datasets': SECTION.described(
        'Sections `train`, `val` and `val_NAME`. `basicsr test` takes `val` and `test`.',
        '{train: ..., val: ...}',
    ),
    'network_g': SECTION.described(
        'The network: its `type` and settings.', '{type: HMACA, embed_dim: 96}'
    ),
    'path': SECTION.described('Weights and states to begin with.', '{pretrain_network_g: ~}', '{}'),
    'train': SECTION.described(
        'How it is trained. A test needs no such section.', '{total_iter: 1070, ...}'
    ),
    'val': optional(SECTION).described(
        'How it is validated and tested. null: a training without validation.',
        '{val_freq: 500}',
        'none',
    ),
    'logger': SECTION.described(
        'What is logged and saved. A test needs no such section.',
        '{print_freq: 10, save_checkpoint_freq: 100}',
    ),
}

DIST_PARAMS = {
    'backend': choice('nccl', 'gloo').described(
        "torch's backend.", 'gloo', 'nccl with GPUs, else gloo'
    ),
    'port': whole(1, 65535).described(
        'Port of the first process, under Slurm. torchrun chooses its own.',
        '29500',
        "from the job's number",
    ),
    'timeout': number(1).described(
        'Seconds after which a process that does not answer counts as lost.', '600', '600'
    ),
}

PATH = {
    'resume_state': optional(TEXT).described(
        'A training state to resume from. --auto_resume finds the newest.', '500.state', 'null'
    ),
    'ignore_resume_networks': LIST.described(
        'Networks whose weights are not taken from beside the state.', '[network_g]', '[]'
    ),
}
PATH_OF_NETWORK = {  # {} stands for network_g; g; g
    'pretrain_{}': optional(TEXT).described(
        'A checkpoint to begin with. A test measures it instead of what was trained.',
        'model.pth',
        'null',
    ),
    'strict_load_{}': FLAG.described(
        'Whether every weight has to be in the checkpoint.', 'true', 'true'
    ),
    'param_key_{}': optional(TEXT).described(
        'Which weights of the checkpoint to load. null: the file is the weights.',
        'params_ema',
        'params (a test of what was trained: params_ema)',
    ),
}

TRAIN = {
    'total_iter': whole(1).described('Iterations.', '1070'),
    'warmup_iter': whole(-1).described(
        'Iterations over which the learning rate rises from 0. -1: none.', '50', '-1'
    ),
    'optim_g': SECTION.described(
        "Any optimizer of torch.optim by its name, with that class's arguments.",
        '{type: AdamW, lr: 1e-4}',
    ),
    'scheduler': SECTION.described(
        "BasicSR's schedules: MultiStepLR or CosineAnnealingRestartLR.",
        '{type: MultiStepLR, milestones: []}',
    ),
    'pixel_opt': optional(SECTION).described(
        'The loss.', '{type: AlphaMaskedL1Loss, alpha: 0.5}', 'none'
    ),
    'perceptual_opt': optional(SECTION).described(
        "BasicSR's PerceptualLoss, in addition or alone.", '{type: PerceptualLoss, ...}', 'none'
    ),
    'ema_decay': number(0, 1).described(
        'Decay of the running average of the weights. It rises as (1 + n) / (10 + n). '
        '0: no average.',
        '0.999',
        '0',
    ),
}
TRAIN_OWN = {  # this project's model only, as all sections that end in _OWN
    'composite': FLAG.described(
        'Paste the prediction into lq before the loss, so that only the region has a gradient.',
        'true',
        'false',
    ),
    'amp': choice('bf16', 'fp16', False).described(
        'Mixed precision of the network. Compositing and loss stay in float32.', 'bf16', 'false'
    ),
    'accum_iter': whole(1).described(
        'Batches whose gradients one iteration adds up. The effective batch grows, the memory '
        'does not.',
        '4',
        '1',
    ),
    'grad_clip': optional(number(0)).described(
        'Largest norm of the gradient. null or 0: no limit.', '1.0', 'null'
    ),
    'compile': either(FLAG, SECTION).described(
        "torch.compile of the training step; a section has torch.compile's arguments.",
        'true',
        'false',
    ),
    'tf32': FLAG.described(
        'On a GPU: matrix products and convolutions round their inputs to TF32. false: both '
        'compute in float32.',
        'true',
        'false',
    ),
    'fused_attention': FLAG.described(
        "On a GPU: compute the attention of HMANet and HMACA in this project's own kernels, which "
        'need Triton. On an H100 a step of HMACA+ takes 0.83 of the time.',
        'true',
        'false',
    ),
    'deterministic': FLAG.described(
        'Use only algorithms that repeat bit by bit. Slower. On a GPU an operation that has none '
        'is an error.',
        'true',
        'false',
    ),
}

SCHEDULE = {  # BasicSR's schedules have no annotations to read this from
    'milestones': list_of(whole(0)).described(
        'MultiStepLR: iterations at which the rate is multiplied by gamma.', '[800]'
    ),
    'gamma': number(0).described('MultiStepLR: factor at each milestone.', '0.5', '0.1'),
    'periods': list_of(whole(1)).described(
        'CosineAnnealingRestartLR: iterations of each period; together at least total_iter.',
        '[1500]',
    ),
    'restarts': list_of(whole(0)).described(
        'MultiStepLR: iterations at which the rate starts again.', '[500]', '[0]'
    ),
    'restart_weights': list_of(number(0)).described(
        'The rate at each restart, in units of the first.', '[1]', '[1]'
    ),
    'eta_min': number(0).described('CosineAnnealingRestartLR: the smallest rate.', '1e-6', '0'),
}

VAL = {
    'val_freq': whole(1).described(
        'Iterations between validations. A test needs no such key.', '500'
    ),
    'save_img': FLAG.described(
        'Save the restored image and the strip lq, mask, restored, gt.',
        'true',
        'true in tests, else false',
    ),
    'pbar': FLAG.described('Show a progress bar.', 'true', 'false'),
    'suffix': optional(TEXT).described(
        "Ending of the saved files' names.", 'last', "the experiment's name"
    ),
    'metrics': optional(SECTION).described(
        'Sections of any name, each a metric with its `type` and settings.',
        '{masked_psnr: {type: calculate_masked_psnr}}',
        'none',
    ),
}
VAL_OWN = {
    'composite': FLAG.described(
        'Paste the prediction into lq before measuring and saving.', 'true', 'true'
    ),
    'tb_images': whole(0).described('How many strips TensorBoard shows.', '4', '4'),
}

LOGGER = {
    'print_freq': whole(1).described('Iterations between lines of the log.', '10'),
    'save_checkpoint_freq': whole(1).described('Iterations between checkpoints.', '100'),
    'use_tb_logger': FLAG.described('Write TensorBoard files to tb_logger/.', 'true', 'false'),
    'wandb': optional(SECTION).described(
        'Copy what TensorBoard is given to Weights & Biases.', '{project: hmaca}', 'none'
    ),
}
LOGGER_OWN = {
    'keep_last': optional(whole(1)).described(
        'How many of the newest checkpoints to keep. null: all.', '3', 'null'
    ),
    'keep_best': FLAG.described(
        'Also keep the checkpoints that are best by a metric.', 'true', 'false'
    ),
    'pbar': FLAG.described('Show the training as a progress bar, in a terminal.', 'true', 'false'),
}
WANDB = {
    'project': optional(TEXT).described('The project. null: no copy.', 'hmaca', 'null'),
    'resume_id': optional(TEXT).described('The run to resume.', 'a1b2c3', 'null'),
}

NETWORK_OWN = {  # read by the model, not by the network
    'type': TEXT.described('The network.', 'HMACA'),
    'mask_input': choice('none', 'channel').described(
        '`channel`: the mask is one more input channel of any network.', 'channel', 'none'
    ),
    'pad_to': optional(whole(1)).described(
        'Pad images to multiples of it, and crop the result.',
        '16',
        'window_size; none for networks that pad by themselves',
    ),
}

METRIC = {  # what the signatures of the metrics do not say
    'crop_border': whole(0).described('Pixels at each side that are not measured.', '4', '0'),
    'input_order': choice('HWC', 'CHW').described(
        "Set by the program to the images' layout.", 'HWC', 'HWC'
    ),
    'test_y_channel': FLAG.described('Measure luma alone.', 'true', 'false'),
    'paste': choice('lq', 'gt').described(
        'What replaces everything outside the mask. Protocol release needs gt, as its lq differs '
        'from gt there.',
        'gt',
        'lq',
    ),
    'width': number(0).described(
        'Distance from the edge of the region that is measured, in pixels.', '8', '8'
    ),
    'better': choice('higher', 'lower').described(
        'Whether higher or lower values are better.', 'lower', 'higher'
    ),
}

REQUIRED = {  # what BasicSR's pipelines read without a default
    'train': ('total_iter', 'optim_g', 'scheduler'),
    'logger': ('print_freq', 'save_checkpoint_freq'),
    'val': ('val_freq',),
}
