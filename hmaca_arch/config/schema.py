"""What option files may say: the keys of each section, the kinds of their values, and what they
mean.

`checks.py` checks files against it, and `scripts/options_reference.py` writes docs/options.md and
options/schema.json from it. What a network, loss, metric, optimizer or schedule may be given is not
here: its constructor's signature says so. What models and data sets from elsewhere read besides is
not known here, and passes.
"""

from hmaca_arch.config.kinds import (
    ANY,
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
)  # fmt: skip

PHASES = ('train', 'val', 'test')  # and val_NAME, test_NAME
PROTOCOLS = {
    'clean': 'lq',
    'release': 'gt',
}  # and what the composite PSNR of each pastes outside the region
OWN_MODEL = 'MaskedRestorationModel'

FILE = {  # how a file is put together, before it is checked
    'base': either(TEXT, LIST).says('Option files to build on, each on top of those before it.', 'train_HMACA_light.yml', 'none'),
    'data': optional(TEXT).says(
        'The data set: a name from options/data, or the path of a data file of your own. Its file has the folders, and is merged on top '
        'of the bases. In texts `{data}` stands for its name.', 'imagenet_blur', 'none'),
}  # fmt: skip
DATA_FILE = {'datasets': SECTION, 'val': SECTION}  # what a data file may have

TOP = {
    'name': FOLDER_NAME.says('The experiment: results go to experiments/NAME and results/NAME.', 'train_HMACA1_{data}'),
    'model_type': TEXT.says("The model. This page is about this project's.", 'MaskedRestorationModel'),
    'protocol': choice('release', 'clean').says(
        'How the data were degraded. In texts `{protocol}` stands for it, and `{paste}` for what its metric pastes.', 'clean', 'none'),
    'num_gpu': either(choice('auto'), whole(0)).says('GPUs to use. `auto`: all there are. 0: the CPU.', 'auto', 'auto'),
    'manual_seed': optional(whole(0)).says('Seed of all random numbers. null: drawn at the start.', '0', 'null'),
    'scale': whole(1).says('Size of gt over size of lq. The masked data sets take 1 only.', '1', '1'),
    'find_unused_parameters': FLAG.says("torch's setting for several processes.", 'true', 'false'),
    'dist_params': optional(SECTION).says('How several processes talk.', '{timeout: 600}', 'none'),
    'datasets': SECTION.says('Sections `train`, `val` and `val_NAME`. `basicsr test` takes `val` and `test`.', '{train: ..., val: ...}'),
    'network_g': SECTION.says('The network: its `type` and settings.', '{type: HMACA, embed_dim: 96}'),
    'path': SECTION.says('Weights and states to begin with.', '{pretrain_network_g: ~}', '{}'),
    'train': SECTION.says('How it is trained. A test needs no such section.', '{total_iter: 1070, ...}'),
    'val': optional(SECTION).says('How it is validated and tested. null: a training without validation.', '{val_freq: 500}', 'none'),
    'logger': SECTION.says('What is logged and saved. A test needs no such section.', '{print_freq: 10, save_checkpoint_freq: 100}'),
}  # fmt: skip

DIST_PARAMS = {
    'backend': choice('nccl', 'gloo').says("torch's backend.", 'gloo', 'nccl with GPUs, else gloo'),
    'port': whole(1, 65535).says(
        "Port of the first process, under Slurm. Otherwise it is torchrun's.",
        '29500',
        "from the job's number",
    ),
    'timeout': number(1).says(
        'Seconds after which a process that does not answer is taken for lost.', '600', '600'
    ),
}

PATH = {
    'resume_state': optional(TEXT).says(
        'A training state to go on from. --auto_resume finds the newest.', '500.state', 'null'
    ),
    'ignore_resume_networks': LIST.says(
        'Networks that do not take their weights from beside the state.', '[network_g]', '[]'
    ),
}
PATH_OF_NETWORK = {  # {}: network_g; g; g
    'pretrain_{}': optional(TEXT).says('A checkpoint to begin with. A test measures it instead of what was trained.', 'model.pth', 'null'),
    'strict_load_{}': FLAG.says('Whether every weight has to be in the checkpoint.', 'true', 'true'),
    'param_key_{}': optional(TEXT).says(
        'Which weights of the checkpoint. null: the file is the weights.', 'params_ema', 'params (a test of what was trained: params_ema)'),
}  # fmt: skip

TRAIN = {
    'total_iter': whole(1).says('Iterations.', '1070'),
    'warmup_iter': whole(-1).says('Iterations over which the learning rate rises from 0. -1: none.', '50', '-1'),
    'optim_g': SECTION.says("Any optimizer of torch.optim by its name, with that class's arguments.", '{type: AdamW, lr: 1e-4}'),
    'scheduler': SECTION.says("BasicSR's schedules: MultiStepLR or CosineAnnealingRestartLR.", '{type: MultiStepLR, milestones: []}'),
    'pixel_opt': optional(SECTION).says('The loss.', '{type: AlphaMaskedL1Loss, alpha: 0.5}', 'none'),
    'perceptual_opt': optional(SECTION).says("BasicSR's PerceptualLoss, in addition or alone.", '{type: PerceptualLoss, ...}', 'none'),
    'ema_decay': number(0, 1).says(
        'Decay of the running average of the weights. It rises as (1 + n) / (10 + n). 0: no average.', '0.999', '0'),
}  # fmt: skip
TRAIN_OWN = {
    'composite': FLAG.says('Paste the prediction into lq before the loss, so that all gradient comes from the region.', 'true', 'false'),
    'amp': choice('bf16', 'fp16', False).says('Mixed precision of the network. Compositing and loss stay in float32.', 'bf16', 'false'),
    'accum_iter': whole(1).says(
        'Batches that one iteration takes its gradient from, one after the other. The batch grows, its memory does not.', '4', '1'),
    'grad_clip': optional(number(0)).says('Largest norm of the gradient. null or 0: any.', '1.0', 'null'),
    'compile': either(FLAG, SECTION).says("torch.compile of the training step; a section has torch.compile's arguments.", 'true', 'false'),
    'tf32': FLAG.says(
        'On a GPU: matrix products and convolutions round their inputs to TF32. false: both compute in float32.', 'true', 'false'),
    'fused_attention': FLAG.says(
        "On a GPU: attention of HMANet and HMACA in this project's own kernels, which need Triton. No GPU has run them yet.", 'true', 'false'),
    'deterministic': FLAG.says(
        'Only algorithms that repeat bit by bit. Slower. On a GPU an operation that has none is an error.', 'true', 'false'),
}  # fmt: skip

SCHEDULE = {  # BasicSR's schedules are not annotated
    'milestones': list_of(whole(0)).says(
        'MultiStepLR: iterations at which the rate is multiplied by gamma.', '[800]'
    ),
    'gamma': number(0).says('MultiStepLR: what the rate is multiplied by.', '0.5', '0.1'),
    'periods': list_of(whole(1)).says(
        'CosineAnnealingRestartLR: iterations of each period; together at least total_iter.',
        '[1500]',
    ),
    'restarts': list_of(whole(0)).says(
        'MultiStepLR: iterations at which the rate starts again.', '[500]', '[0]'
    ),
    'restart_weights': list_of(number(0)).says(
        'The rate at each restart, in units of the first.', '[1]', '[1]'
    ),
    'eta_min': number(0).says('CosineAnnealingRestartLR: the smallest rate.', '1e-6', '0'),
}

VAL = {
    'val_freq': whole(1).says('Validate every so many iterations. A test needs no such key.', '500'),
    'save_img': FLAG.says('Write the restored image and the strip lq, mask, restored, gt.', 'true', 'true in tests, else false'),
    'pbar': FLAG.says('Show a progress bar.', 'true', 'false'),
    'suffix': optional(TEXT).says("Ending of the written files' names.", 'last', "the experiment's name"),
    'metrics': optional(SECTION).says('Sections of any name, each a metric with its `type` and settings.',
                                      '{masked_psnr: {type: calculate_masked_psnr}}', 'none'),
}  # fmt: skip
VAL_OWN = {
    'composite': FLAG.says(
        'Paste the prediction into lq before measuring and saving.', 'true', 'true'
    ),
    'tb_images': whole(0).says('How many strips TensorBoard shows.', '4', '4'),
}

LOGGER = {
    'print_freq': whole(1).says('Log every so many iterations.', '10'),
    'save_checkpoint_freq': whole(1).says(
        'Save weights and state every so many iterations.', '100'
    ),
    'use_tb_logger': FLAG.says('Write TensorBoard files to tb_logger/.', 'true', 'false'),
    'wandb': optional(SECTION).says(
        'Copy to Weights & Biases what TensorBoard is given.', '{project: hmaca}', 'none'
    ),
}
LOGGER_OWN = {
    'keep_last': optional(whole(1)).says(
        'Keep only the newest so many checkpoints. null: all.', '3', 'null'
    ),
    'keep_best': FLAG.says(
        'Of those that would be deleted, keep the best by any metric.', 'true', 'false'
    ),
    'pbar': FLAG.says('Show the training as a progress bar, in a terminal.', 'true', 'false'),
}
WANDB = {
    'project': optional(TEXT).says('The project. null: no copy.', 'hmaca', 'null'),
    'resume_id': optional(TEXT).says('The run to go on with.', 'a1b2c3', 'null'),
}

NETWORK_OWN = {  # read by the model, not by the network
    'type': TEXT.says('The network.', 'HMACA'),
    'mask_input': choice('none', 'channel').says('`channel`: the mask is one more input channel of any network.', 'channel', 'none'),
    'pad_to': optional(whole(1)).says(
        'Pad images to multiples of it, and crop the result.', '16', "window_size; none for networks that pad by themselves"),
}  # fmt: skip

METRIC = {  # what the signatures of the metrics do not say
    'crop_border': whole(0).says('Pixels at each side that are not measured.', '4', '0'),
    'input_order': choice('HWC', 'CHW').says(
        "Set by the program to the images' layout.", 'HWC', 'HWC'
    ),
    'test_y_channel': FLAG.says('Measure luma alone.', 'true', 'false'),
    'paste': choice('lq', 'gt').says(
        'What replaces everything outside the mask. Protocol release needs gt, as its lq differs from gt there.',
        'gt',
        'lq',
    ),
    'width': number(0).says(
        'How far from the edge of the region is measured, in pixels.', '8', '8'
    ),
    'better': choice('higher', 'lower').says(
        'Which of two values is the better one.', 'lower', 'higher'
    ),
}

REQUIRED = {  # what the pipelines read without a default
    'train': ('total_iter', 'optim_g', 'scheduler'),
    'logger': ('print_freq', 'save_checkpoint_freq'),
    'val': ('val_freq',),
    'dataset': ('name', 'type'),
    'train data': ('batch_size_per_gpu', 'num_worker_per_gpu'),
}

DATASET = {  # what BasicSR's trainer and loader put into, or read from, any data set's section
    'name': FOLDER_NAME.says('Its results are listed under this name.', 'horse_pix_test'),
    'type': TEXT.says('The class.', 'MaskedPairedImageDataset'),
    'phase': choice(*PHASES).says('Set by the program.', 'train', "the section's"),
    'scale': whole(1).says('Set by the program.', '1', 'scale'),
    'batch_size_per_gpu': whole(1).says('Samples of a batch, in each process.', '10'),
    'num_worker_per_gpu': whole(0).says(
        'Processes that read images. 0: the training itself reads them.', '4'
    ),
    'dataset_enlarge_ratio': number(0.001).says('Lengthens an epoch.', '10', '1'),
    'use_shuffle': FLAG.says('Training data are always shuffled, by manual_seed.', 'true', 'true'),
    'pin_memory': FLAG.says("torch's setting: faster copies to a GPU.", 'true', 'false'),
    'persistent_workers': FLAG.says(
        'Keep the reading processes from epoch to epoch.', 'true', 'false'
    ),
    'prepare': TEXT.says(
        'What to run to make the data, for the message when they are missing.',
        'bash scripts/quickstart.sh',
        'none',
    ),
}
IO_BACKEND = {
    'type': choice('disk', 'lmdb').says(
        'Files in folders, or LMDB folders NAME.lmdb.', 'lmdb', 'disk'
    )
}
_MASKED = {
    'scale': choice(1).says('lq, mask and gt have one size.', '1', '1'),
    'io_backend': SECTION.says('`{type: disk}` or `{type: lmdb}`.', '{type: lmdb}', '{type: disk}'),
    'meta_info_file': optional(TEXT).says(
        'Use only the images that this file lists, in its order.', 'meta_info.txt', 'null'
    ),
    'channels': choice(1, 3).says(
        '3: RGB, gray images replicated. 1: gray, colours turned into luma.',
        '1',
        'what network_g takes',
    ),
    'gt_size': optional(whole(1)).says(
        'Side of random square crops in training, in pixels. null: whole images.', '48', 'null'
    ),
    'min_mask_ratio': number(0, 1).says(
        "What part of the mask's area a crop holds at least.", '0.9', '0.5'
    ),
    'use_hflip': FLAG.says('Random horizontal flips in training.', 'true', 'false'),
    'use_rot': FLAG.says('Random vertical flips and transpositions in training.', 'true', 'false'),
    'seed': whole(0).says(
        'Randomness comes from it and the number of the sample.',
        '0',
        'manual_seed in training, else 0',
    ),
}
_GT = TEXT.says(
    'Folder of the images to be restored to, or NAME.lmdb.', 'datasets/clean/horse_pix/train/gt'
)
DATASETS = {  # this project's, by type
    'MaskedPairedImageDataset': {
        **DATASET,
        **_MASKED,
        'dataroot_lq': TEXT.says('Folder of the degraded images, or NAME.lmdb.', 'datasets/clean/horse_pix/train/lq'),
        'dataroot_mask': TEXT.says('Folder of the masks, NAME.lmdb, or one file for every image.', 'datasets/clean/horse_pix/train/mask'),
        'dataroot_gt': _GT,
        'soft_mask': FLAG.says("Keep a mask's gray values. false: above 127 is 1, all else 0.", 'true', 'false'),
    },
    'MaskedDegradationDataset': {
        **DATASET,
        **_MASKED,
        'dataroot_gt': _GT,
        # `recipe.Recipe` checks these, and says what they mean
        'protocol': ANY, 'degradation': ANY, 'degradation_count': ANY, 'region': ANY, 'region_size': ANY, 'size': ANY, 'jpeg': ANY,
        'compression': ANY,
        'unknown': number(0, 1).says("How often a sample's degradation is not told to the network.", '0.15', '0'),
    },
}  # fmt: skip
