"""The keys of a data set's section: their values, meanings, examples and defaults; see `schema`."""

from hmaca_arch.config.kinds import (
    ANY,
    FLAG,
    FOLDER_NAME,
    SECTION,
    TEXT,
    choice,
    number,
    optional,
    whole,
)

PHASES = ('train', 'val', 'test')  # and val_NAME, test_NAME

DATASET = {  # what BasicSR's trainer and loader read from any data set's section, or set there
    'name': FOLDER_NAME.described('Its results are listed under this name.', 'horse_pix_test'),
    'type': TEXT.described('The class.', 'MaskedPairedImageDataset'),
    'phase': choice(*PHASES).described('Set by the program.', 'train', "the section's"),
    'scale': whole(1).described('Set by the program.', '1', 'scale'),
    'batch_size_per_gpu': whole(1).described('Samples of a batch, in each process.', '10'),
    'num_worker_per_gpu': whole(0).described(
        'Worker processes that read images. 0: the training process reads them.', '4'
    ),
    'dataset_enlarge_ratio': number(0.001).described('Lengthens an epoch.', '10', '1'),
    'use_shuffle': FLAG.described(
        'Training data are always shuffled, by manual_seed.', 'true', 'true'
    ),
    'pin_memory': FLAG.described("torch's setting: faster copies to a GPU.", 'true', 'false'),
    'persistent_workers': FLAG.described(
        'Keep the worker processes from epoch to epoch.', 'true', 'false'
    ),
    'prepare': TEXT.described(
        'What to run to make the data, for the message when they are missing.',
        'bash scripts/quickstart.sh',
        'none',
    ),
}
REQUIRED = ('name', 'type')
REQUIRED_IN_TRAINING = ('batch_size_per_gpu', 'num_worker_per_gpu')

IO_BACKEND = {
    'type': choice('disk', 'lmdb').described(
        'Files in folders, or LMDB folders NAME.lmdb.', 'lmdb', 'disk'
    )
}

_MASKED = {
    'scale': choice(1).described('lq, mask and gt have one size.', '1', '1'),
    'io_backend': SECTION.described(
        '`{type: disk}` or `{type: lmdb}`.', '{type: lmdb}', '{type: disk}'
    ),
    'meta_info_file': optional(TEXT).described(
        'Use only the images that this file lists, in its order.', 'meta_info.txt', 'null'
    ),
    'channels': choice(1, 3).described(
        '3: RGB, gray images replicated. 1: gray, colours turned into luma.',
        '1',
        'what network_g takes',
    ),
    'gt_size': optional(whole(1)).described(
        'Side of random square crops in training, in pixels. null: whole images.', '48', 'null'
    ),
    'min_mask_ratio': number(0, 1).described(
        "Smallest part of the mask's area that a crop holds.", '0.9', '0.5'
    ),
    'use_hflip': FLAG.described('Random horizontal flips in training.', 'true', 'false'),
    'use_rot': FLAG.described(
        'Random vertical flips and transpositions in training.', 'true', 'false'
    ),
    'seed': whole(0).described(
        'Random numbers come from it and the number of the sample.',
        '0',
        'manual_seed in training, else 0',
    ),
}
_GT = TEXT.described(
    'Folder of the ground truth images, or NAME.lmdb.', 'datasets/clean/horse_pix/train/gt'
)
DATASETS = {  # this project's, by type
    'MaskedPairedImageDataset': {
        **DATASET,
        **_MASKED,
        'dataroot_lq': TEXT.described(
            'Folder of the degraded images, or NAME.lmdb.', 'datasets/clean/horse_pix/train/lq'
        ),
        'dataroot_mask': TEXT.described(
            'Folder of the masks, NAME.lmdb, or one file for every image.',
            'datasets/clean/horse_pix/train/mask',
        ),
        'dataroot_gt': _GT,
        'soft_mask': FLAG.described(
            "Keep a mask's gray values. false: above 127 is 1, all else 0.", 'true', 'false'
        ),
    },
    'MaskedDegradationDataset': {
        **DATASET,
        **_MASKED,
        'dataroot_gt': _GT,
        # `datasets_ext.recipe.Recipe` checks and documents these.
        **dict.fromkeys(('protocol', 'degradation', 'degradation_count', 'compression'), ANY),
        **dict.fromkeys(('region', 'region_size', 'size', 'jpeg'), ANY),
        'unknown': number(0, 1).described(
            'How often the network is not given the degradation of a sample.', '0.15', '0'
        ),
    },
}
