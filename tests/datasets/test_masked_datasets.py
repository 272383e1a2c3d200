"""Both data sets: their samples, their randomness, and their errors."""

import copy
import logging
import shutil
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from torch.utils.data import DataLoader, Sampler

import datasets_ext
from datasets_ext.make_lmdb import make_lmdb
from datasets_ext.sources import refuse_missing
from hmaca_arch.training.sampling import SampleIndex

KINDS = ('lq', 'mask', 'gt')


class Numbered(Sampler):
    def __init__(self, length: int, numbers) -> None:
        self.length, self.numbers = length, numbers

    def __iter__(self):
        return (SampleIndex(number % self.length, number) for number in self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(
        str(path), pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    )


def paired(root: Path, **more) -> dict:
    roots = {f'dataroot_{kind}': str(root / kind) for kind in KINDS}
    return {
        'name': 'set',
        'type': 'MaskedPairedImageDataset',
        'phase': 'train',
        **roots,
        'io_backend': {'type': 'disk'},
        **more,
    }


def packed(root: Path, **more) -> dict:
    return paired(
        root,
        **{f'dataroot_{kind}': str(root / f'{kind}.lmdb') for kind in KINDS},
        io_backend={'type': 'lmdb'},
        **more,
    )


def clean(root: Path, **more) -> dict:
    return {
        'name': 'fly',
        'type': 'MaskedDegradationDataset',
        'phase': 'train',
        'dataroot_gt': str(root / 'gt'),
        **more,
    }


@pytest.fixture(scope='module')
def made_once(tmp_path_factory) -> Path:
    """Five triplets of 24x30, and their LMDBs.

    Each gt pixel encodes its place: red is the row, green the column, blue the image.
    """
    folder = tmp_path_factory.mktemp('made')
    for i in range(5):
        rows, columns = np.mgrid[:24, :30]
        gt = np.dstack([rows * 8, columns * 8, np.full_like(rows, i * 50)]).astype(np.uint8)
        mask = np.zeros((24, 30), np.uint8)
        mask[3 + i : 11 + i, 5 + 2 * i : 13 + 2 * i] = 255
        write(folder / 'gt' / f'p{i}.png', gt)
        write(folder / 'lq' / f'p{i}.png', np.where(mask[..., None] > 0, 255 - gt, gt))
        write(folder / 'mask' / f'p{i}.png', mask)
    make_lmdb(folder, quiet=True)
    return folder


@pytest.fixture
def root(made_once, tmp_path) -> Path:
    return Path(shutil.copytree(made_once, tmp_path / 'data'))


def same(first: dict, second: dict, paths: bool = True) -> bool:
    return all(torch.equal(first[kind], second[kind]) for kind in KINDS) and (
        not paths or all(first[f'{kind}_path'] == second[f'{kind}_path'] for kind in KINDS)
    )


def test_an_item_is_the_triplet(root):
    dataset = build_dataset(paired(root, phase='val'))
    assert len(dataset) == 5
    item = dataset[2]
    assert {key: tuple(item[key].shape) for key in KINDS} == {
        'lq': (3, 24, 30),
        'gt': (3, 24, 30),
        'mask': (1, 24, 30),
    }
    assert all(item[key].dtype == torch.float32 and item[key].is_contiguous() for key in KINDS)
    assert item['gt'][:, 7, 9].mul(255).round().tolist() == [56, 72, 100]  # RGB
    assert torch.equal(item['mask'].unique(), torch.tensor([0.0, 1.0])) and item['mask'].sum() == 64
    inside = item['mask'].bool().expand(3, -1, -1)
    assert torch.equal(item['lq'][~inside], item['gt'][~inside])
    assert torch.allclose(item['lq'][inside], 1 - item['gt'][inside], atol=1e-6)
    assert [Path(item[f'{kind}_path']) for kind in KINDS] == [
        root / kind / 'p2.png' for kind in KINDS
    ]


@pytest.mark.parametrize('make', [paired, packed, clean])
def test_options_are_not_changed_and_can_be_used_twice(root, make):
    opt = make(root, gt_size=12)
    before = copy.deepcopy(opt)
    first = datasets_ext.__dict__[opt['type']](opt)
    item = first[0]
    assert opt == before
    assert first.opt is opt
    assert same(item, datasets_ext.__dict__[opt['type']](opt)[0])


def test_crops_hold_the_mask_and_move_all_three_alike(root):
    dataset = build_dataset(
        paired(root, gt_size=10, use_hflip=True, use_rot=True, min_mask_ratio=1)
    )
    positions, orientations = set(), set()
    for number in range(80):
        item = dataset[SampleIndex(number % 5, number)]
        assert item['gt'].shape == (3, 10, 10) and item['mask'].sum() == 64
        inside = item['mask'].bool().expand(3, -1, -1)
        assert torch.equal(item['lq'][~inside], item['gt'][~inside])
        assert torch.allclose(item['lq'][inside], 1 - item['gt'][inside], atol=1e-6)
        rows, columns = item['gt'][:2].mul(255 / 8).round()
        positions.add((int(rows.min()), int(columns.min())))
        corner = (
            rows[0, 0] > rows[-1, -1],
            columns[0, 0] > columns[-1, -1],
            rows[0, 0] == rows[0, 1],
        )
        orientations.add(tuple(bool(value) for value in corner))
    assert len(positions) > 15 and len(orientations) == 8


def test_min_mask_ratio_is_one_half_by_default(root):
    dataset = build_dataset(paired(root, gt_size=8))
    areas = [dataset[SampleIndex(0, number)]['mask'].sum() for number in range(100)]
    assert min(areas) >= 32 and min(areas) < 64


def test_validation_neither_crops_nor_flips(root):
    options = {'gt_size': 10, 'use_hflip': True, 'use_rot': True}
    for phase in ('val', 'test'):
        item = build_dataset(paired(root, phase=phase, **options))[3]
        assert same(item, build_dataset(paired(root, phase=phase))[3]) and item['gt'].shape == (
            3,
            24,
            30,
        )


@pytest.mark.parametrize('make', [paired, packed, clean])
def test_all_randomness_is_seed_and_number(root, make):
    def dataset(**more):
        return build_dataset(
            make(root, gt_size=12, use_hflip=True, use_rot=True, min_mask_ratio=0, **more)
        )

    first, again, other = dataset(seed=3), dataset(seed=3), dataset(seed=4)
    items = [first[SampleIndex(0, number)] for number in range(40)]
    backwards = [again[SampleIndex(0, number)] for number in reversed(range(40))][::-1]
    torch.manual_seed(5)
    np.random.seed(5)
    assert all(same(a, b) for a, b in zip(items, backwards))
    assert sum(same(a, other[SampleIndex(0, number)]) for number, a in enumerate(items)) < 5
    distinct = len(
        {item['lq'].numpy().tobytes() + item['mask'].numpy().tobytes() for item in items}
    )
    assert distinct >= 38  # 13 * 19 crops times 8 orientations: a collision can happen
    assert same(first[2], first[SampleIndex(2, 2)])  # without a number it is the index


def test_the_same_image_is_never_degraded_twice_alike(root):
    dataset = build_dataset(clean(root, degradation={'type': 'noise', 'sigma': [3, 25]}))
    assert (
        len({dataset[SampleIndex(1, number)]['lq'].numpy().tobytes() for number in range(200)})
        == 200
    )


def test_degradation_on_the_fly_keeps_the_outside(root):
    dataset = build_dataset(
        clean(
            root,
            region=['rectangles', 'strokes', 'ellipses', 'several'],
            region_size=[0.2, 0.6],
            gt_size=16,
        )
    )
    for number in range(30):
        item = dataset[SampleIndex(number % 5, number)]
        assert item['lq'].shape == (3, 16, 16)
        inside = item['mask'].bool().expand(3, -1, -1)
        assert torch.equal(item['lq'][~inside], item['gt'][~inside])
        assert (
            item['lq_path']
            == item['gt_path']
            == item['mask_path']
            == str(root / 'gt' / f'p{number % 5}.png')
        )


def test_degradation_protocol_release_halves_the_image(root):
    item = build_dataset(clean(root, phase='val', protocol='release', degradation='noise'))[0]
    assert item['gt'].shape == (3, 12, 15) and item['mask'].shape == (1, 12, 15)
    assert not torch.equal(item['lq'], item['gt'])


def test_degradation_validation_is_the_same_every_time(root):
    first, second = (
        build_dataset(clean(root, phase='val', degradation='noise', size=24, seed=7))
        for _ in range(2)
    )
    for index in (4, 0, 4, 2):
        assert same(first[index], second[index])


@pytest.mark.parametrize('make', [paired, packed, clean])
def test_workers_ranks_and_epochs_do_not_matter(root, make):
    dataset = build_dataset(make(root, gt_size=12, use_hflip=True, seed=1))

    def batches(workers: int, numbers, size: int):
        loader = DataLoader(
            dataset, batch_size=size, sampler=Numbered(5, numbers), num_workers=workers
        )
        return [dict(zip(item, row)) for item in loader for row in zip(*item.values())]

    alone = batches(0, range(12), 3)
    assert all(same(a, b) for a, b in zip(alone, batches(2, range(12), 3)))
    ranks = [batches(1, range(rank, 12, 2), 2) for rank in (0, 1)]
    assert all(same(alone[number], ranks[number % 2][number // 2]) for number in range(12))


def test_lmdb_gives_what_the_folder_gives(root):
    for phase in ('train', 'val'):
        folder, database = (
            build_dataset(make(root, phase=phase, gt_size=12)) for make in (paired, packed)
        )
        assert len(folder) == len(database)
        for index in range(5):
            assert same(folder[index], database[index], paths=False)
    assert database[1]['gt_path'] == database[1]['mask_path'] == 'p1'
    fly = build_dataset(clean(root, degradation='noise'))
    packed_fly = build_dataset(
        clean(
            root,
            degradation='noise',
            dataroot_gt=str(root / 'gt.lmdb'),
            io_backend={'type': 'lmdb'},
        )
    )
    assert same(fly[3], packed_fly[3], paths=False)


@pytest.mark.parametrize('make', [packed, clean])
def test_data_sets_travel_to_spawned_processes(root, make):
    dataset = build_dataset(make(root, gt_size=12))
    here = [dataset[i] for i in range(5)]  # also opens the LMDBs, which must not be in the pickle
    there = DataLoader(
        dataset, batch_size=None, num_workers=1, multiprocessing_context='spawn', timeout=600
    )
    assert all(same(a, b) for a, b in zip(here, there))


def test_one_lmdb_serves_many_data_sets_and_may_be_replaced(root):
    datasets = [build_dataset(packed(root, phase='val')) for _ in range(3)]
    before = [dataset[0]['gt'] for dataset in datasets]
    assert torch.equal(before[0], before[2])
    write(root / 'gt' / 'p0.png', np.full((24, 30, 3), 9, np.uint8))
    make_lmdb(root, overwrite=True, quiet=True)
    assert (datasets[0][0]['gt'] * 255 == 9).all()


def test_triplets_are_matched_by_stem_and_extra_files_are_ignored(root):
    lq = cv2.imread(str(root / 'lq' / 'p1.png'))
    (root / 'lq' / 'p1.png').unlink()
    cv2.imwrite(str(root / 'lq' / 'p1.webp'), lq, [cv2.IMWRITE_WEBP_QUALITY, 101])
    write(root / 'mask' / 'unused.png', np.zeros((3, 3), np.uint8))
    (root / 'gt' / '.DS_Store').write_bytes(b'')
    dataset = build_dataset(paired(root, phase='val'))
    assert len(dataset) == 5 and dataset[1]['lq_path'].endswith('p1.webp')
    assert dataset[1]['mask'].sum() == 64


def test_one_mask_for_every_image(root):
    dataset = build_dataset(paired(root, phase='val', dataroot_mask=str(root / 'mask' / 'p4.png')))
    assert torch.equal(dataset[0]['mask'], dataset[4]['mask']) and dataset[0]['mask_path'].endswith(
        'p4.png'
    )


@pytest.mark.parametrize('make', [paired, packed, clean])
def test_meta_info_file_selects(root, make):
    (root / 'meta.txt').write_text('p3.png (24,30,3) 1\np1.png (24,30,3)\n\n')
    dataset = build_dataset(make(root, phase='val', meta_info_file=str(root / 'meta.txt')))
    assert [Path(item['gt_path']).stem for item in (dataset[0], dataset[1])] == [
        'p3',
        'p1',
    ] and len(dataset) == 2
    (root / 'meta.txt').write_text('p3.png (24,30,3)\nnope.png (24,30,3)\n')
    with pytest.raises(ValueError, match='1 of 2 missing: nope'):
        build_dataset(make(root, meta_info_file=str(root / 'meta.txt')))
    with pytest.raises(FileNotFoundError, match='meta_info_file: /'):
        build_dataset(make(root, meta_info_file=str(root / 'none.txt')))


def test_soft_masks_keep_their_values(root):
    ramp = np.tile(np.linspace(0, 255, 30).astype(np.uint8), (24, 1))
    write(root / 'mask' / 'p0.png', ramp)
    soft = build_dataset(paired(root, phase='val', soft_mask=True))[0]['mask']
    assert torch.allclose(soft[0], torch.from_numpy(ramp / np.float32(255)))
    assert build_dataset(paired(root, phase='val'))[0]['mask'].unique().tolist() == [0, 1]
    crop = build_dataset(paired(root, soft_mask=True, gt_size=20, min_mask_ratio=0.7))[0]['mask']
    assert 0.7 * soft.sum() <= crop.sum() < soft.sum()


def test_16_bit_images_are_scaled_at_their_own_depth(root):
    gt = (np.random.default_rng(0).random((24, 30, 3)) * 65535).astype(np.uint16)
    cv2.imwrite(str(root / 'gt' / 'p0.png'), gt[..., ::-1])
    item = build_dataset(paired(root, phase='val'))[0]
    np.testing.assert_allclose(item['gt'].numpy(), gt.transpose(2, 0, 1) / 65535, atol=1e-7)
    fly = build_dataset(clean(root, phase='val'))[0]
    np.testing.assert_allclose(
        fly['gt'].numpy(), np.rint(gt / 257).transpose(2, 0, 1) / 255, atol=1e-7
    )


@pytest.mark.parametrize('value', [0, 255])
def test_empty_and_full_masks_are_legal(root, value):
    write(root / 'mask' / 'p0.png', np.full((24, 30), value, np.uint8))
    item = build_dataset(paired(root, gt_size=10, min_mask_ratio=1))[0]
    assert (item['mask'] == value / 255).all() and item['gt'].shape == (3, 10, 10)


@pytest.mark.parametrize('missing', ['lq', 'mask'])
def test_missing_partners_are_listed(root, missing):
    for i in (0, 3):
        (root / missing / f'p{i}.png').unlink()
    with pytest.raises(ValueError, match=rf'dataroot_{missing} .*2 of 5 missing: p0, p3'):
        build_dataset(paired(root))


def test_missing_folders_say_how_to_prepare_them(root):
    gone = root / 'elsewhere'
    with pytest.raises(FileNotFoundError) as caught:
        build_dataset(paired(root, dataroot_mask=str(gone), prepare='basicsr make-dataset x'))
    assert (
        str(caught.value)
        == f'dataroot_mask: {gone} does not exist; to prepare it: basicsr make-dataset x'
    )
    with pytest.raises(FileNotFoundError) as caught:
        build_dataset(clean(root, dataroot_gt=str(gone)))
    assert str(caught.value) == f'dataroot_gt: {gone} does not exist'


def test_lmdb_keys_must_agree(root):
    text = (root / 'mask.lmdb' / 'meta_info.txt').read_text().replace('p2.png', 'q2.png')
    (root / 'mask.lmdb' / 'meta_info.txt').write_text(text)
    with pytest.raises(
        ValueError, match='dataroot_mask and dataroot_gt: 2 keys are in one LMDB only: p2, q2'
    ):
        build_dataset(packed(root))
    for kind in ('lq', 'gt'):
        path = root / f'{kind}.lmdb' / 'meta_info.txt'
        path.write_text(path.read_text().replace('p2.png', 'q2.png'))
    with pytest.raises(
        ValueError, match=r'lmdb: key q2: listed in meta_info.txt but not in the database'
    ):
        build_dataset(packed(root, phase='val'))[4]


def test_an_lmdb_is_expected_to_be_one(root):
    with pytest.raises(ValueError, match=r'gt is not an LMDB of images'):
        build_dataset(clean(root, io_backend={'type': 'lmdb'}))


@pytest.mark.parametrize('make', [paired, clean])
def test_damaged_images_are_named(root, make):
    path = root / 'gt' / 'p1.png'
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ValueError, match=rf'^{path}: cannot be read as an image'):
        build_dataset(make(root))[1]


@pytest.mark.parametrize('kind', ['lq', 'mask'])
def test_sizes_that_differ_are_named(root, kind):
    write(root / kind / 'p1.png', np.zeros((24, 31), np.uint8))
    with pytest.raises(
        ValueError, match=rf'{kind}/p1.png: 24x31 pixels .* but gt, .*p1.png, has 24x30'
    ):
        build_dataset(paired(root))[1]


def test_images_smaller_than_the_crop_are_named(root):
    with pytest.raises(
        ValueError, match=r'p0.png: 24x30 pixels are too few for crops of gt_size 25'
    ):
        build_dataset(paired(root, gt_size=25))[0]
    with pytest.raises(ValueError, match=r'p0.png: the image is 24x30 .* 25x25 is needed'):
        build_dataset(clean(root, size=25))[0]


def test_jpeg_masks_are_warned_of(root, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    for i in range(5):
        write(
            root / 'jpegs' / f'p{i}.jpg',
            cv2.imread(str(root / 'mask' / f'p{i}.png'), cv2.IMREAD_GRAYSCALE),
        )
    with caplog.at_level('WARNING', logger='basicsr'):
        dataset = build_dataset(paired(root, phase='val', dataroot_mask=str(root / 'jpegs')))
    assert '5 masks are JPEG files' in caplog.text
    assert dataset[0]['mask'].sum() == 64


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'min_mask_ration': 0.5}, "no 'min_mask_ration' .did you mean min_mask_ratio"),
        ({'mean': [0.5]}, "no 'mean'"),
        ({'phase': 'training'}, 'did you mean train'),
        ({'io_backend': {'type': 'disc'}}, 'did you mean disk'),
        ({'scale': 2}, 'scale: got 2, expected 1'),
        ({'gt_size': 0}, 'gt_size: got 0'),
        ({'min_mask_ratio': 1.5}, 'min_mask_ratio: got 1.5'),
        ({'seed': -1}, 'seed: got -1'),
    ],
)
@pytest.mark.parametrize('make', [paired, clean])
def test_wrong_options_are_named(root, make, changes, message):
    with pytest.raises(ValueError, match=message):
        build_dataset(make(root, **changes))


def test_options_of_the_other_data_set_are_unknown(root):
    with pytest.raises(ValueError, match='soft_mask'):
        build_dataset(clean(root, soft_mask=True))
    with pytest.raises(ValueError, match='protocol'):
        build_dataset(paired(root, protocol='clean'))
    with pytest.raises(ValueError, match='dataroot_lq: got None'):
        build_dataset(paired(root, dataroot_lq=None))
    with pytest.raises(ValueError, match='is a file'):
        build_dataset(paired(root, dataroot_gt=str(root / 'gt' / 'p0.png')))


def test_names_that_look_the_same_are_explained():
    composed, apart = (unicodedata.normalize(form, 'é') for form in ('NFC', 'NFD'))
    refuse_missing([composed], [composed], 'there')
    for wanted, present in ((composed, apart), (apart, composed)):
        with pytest.raises(ValueError, match='1 of 1 missing: .*stored in another way: rename'):
            refuse_missing([wanted], [present], 'there')
    with pytest.raises(ValueError, match='1 of 1 missing: e$'):
        refuse_missing(['e'], [composed], 'there')
