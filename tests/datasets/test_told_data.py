"""The degradation of each sample: it holds for the sample's own pixels after crops and flips."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from datasets_ext.make_dataset import make_dataset
from datasets_ext.make_lmdb import make_lmdb
from datasets_ext.manifest import degradation_of, read_degradations
from datasets_ext.recipe import Recipe
from hmaca_arch.degradation import Degradation, find_blocks, find_blur


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('clean')
    rng = np.random.default_rng(0)
    (root / 'gt').mkdir()
    for i in range(4):
        small = rng.integers(0, 256, (11, 12, 3), dtype=np.uint8)
        cv2.imwrite(
            str(root / 'gt' / f'{i}.png'),
            cv2.resize(small, (72, 66), interpolation=cv2.INTER_CUBIC),
        )
    return root


def on_the_fly(folder, **more) -> torch.utils.data.Dataset:
    return build_dataset(
        {'name': 'fly', 'type': 'MaskedDegradationDataset', 'phase': 'train', 'dataroot_gt': str(folder / 'gt'), 'gt_size': 40,
         'use_hflip': True, 'use_rot': True, 'region_size': [8, 30], **more}
    )  # fmt: skip


def residual(item: dict) -> float:
    """Return how far gt is from the sample's equations in grey levels; 0 where a crop left none."""
    told = Degradation.from_vector(item['degradation'].tolist())
    if told.kind == 'unknown':
        return 0
    gt, lq, mask = (item[key][None].double() for key in ('gt', 'lq', 'mask'))
    if told.kind == 'pix':
        blocks = find_blocks(mask, [told])
        flat = [image.transpose(0, 1).reshape(3, -1) for image in (gt, lq)]
        error = blocks.mean(flat[0])[0] - flat[1][:, blocks.colour]
    else:
        blur = find_blur(mask, [told], torch.float64)
        error = blur.holds * (blur(gt) - lq)
    return error.abs().max().item() * 255 if error.numel() else 0


@pytest.mark.parametrize('region', ['square', 'rectangles', 'ellipses', 'strokes', 'several'])
@pytest.mark.parametrize(
    'degradation',
    [
        {'type': 'pix', 'block': [2, 9], 'pool': 'both'},
        {'type': 'pix', 'block': [2, 9], 'pool': 'both', 'offset': 'any'},
        {'type': 'blur', 'sigma': [0.3, 2.0]},
    ],
    ids=['pix', 'pix anywhere', 'blur'],
)
def test_gt_solves_the_equations_of_every_sample(folder, region, degradation):
    dataset = on_the_fly(folder, degradation=degradation, region=region)
    for seed in range(6):
        dataset.seed = seed
        for item in (dataset[i] for i in range(4)):
            assert residual(item) <= 0.501


def test_noise_nothing_and_what_is_not_told(folder):
    dataset = on_the_fly(folder, degradation=[{'type': 'noise', 'sigma': 12}, 'none'])
    found = {str(Degradation.from_vector(dataset[i]['degradation'].tolist())) for i in range(4)}
    for seed in range(4):
        dataset.seed = seed
        for item in (dataset[i] for i in range(4)):
            told = Degradation.from_vector(item['degradation'].tolist())
            found.add(str(told))
            assert (told.kind == 'none') == torch.equal(item['lq'], item['gt'])
    assert found == {'noise:12', 'none'}
    hidden = on_the_fly(folder, degradation='noise', unknown=1)
    assert {Degradation.from_vector(hidden[i]['degradation'].tolist()).kind for i in range(4)} == {
        'unknown'
    }


def test_compression_before_and_after(folder):
    after = on_the_fly(folder, degradation='pix', compression={'after': 1, 'quality': [40, 60]})
    for i in range(4):
        item = after[i]
        told = Degradation.from_vector(item['degradation'].tolist())
        assert told.kind == 'pix' and 40 <= told.jpeg <= 60
        outside = item['mask'].expand_as(item['gt']) == 0
        assert torch.equal(item['gt'][outside], item['lq'][outside]) and not torch.equal(
            item['gt'], item['lq']
        )
    before = on_the_fly(folder, degradation='pix', compression={'before': 1})
    plain = on_the_fly(folder, degradation='pix')
    assert Degradation.from_vector(before[0]['degradation'].tolist()).jpeg == 0
    assert not torch.equal(before[0]['gt'], plain[0]['gt']) and residual(before[0]) <= 0.501


@pytest.mark.parametrize(
    ('setting', 'words'),
    [
        ({'compression': {'during': 1}}, 'compression: there is no'),
        ({'compression': {'after': 2}}, 'after is 2'),
        ({'compression': {'quality': [30, 101]}}, 'at most 100'),
        ({'compression': {'after': 1}, 'protocol': 'release'}, 'protocol release has its own JPEG'),
        ({'degradation': 'none', 'protocol': 'release'}, 'there is no'),
        ({'degradation': {'type': 'pix', 'offset': 'corner'}}, 'offset'),
    ],
)
def test_settings_that_cannot_work(setting, words):
    with pytest.raises(ValueError, match=words):
        Recipe(**{'degradation': 'pix', **setting})


def test_new_settings_leave_the_old_draws_as_they_were(folder):
    image = cv2.imread(str(folder / 'gt' / '0.png'))
    old, new = (
        Recipe(degradation='pix', **more)(image, np.random.default_rng(3))
        for more in ({}, {'compression': {'before': 0, 'after': 0}})
    )
    assert all(np.array_equal(a, b) for a, b in zip(old[:3], new[:3])) and old[3] == new[3]


@pytest.mark.parametrize('protocol', ['clean', 'release'])
def test_prepared_sets_tell_what_their_manifest_says(folder, tmp_path, protocol):
    make_dataset(
        folder / 'gt', tmp_path / 'set', protocol=protocol, degradation='pix', size=32, quiet=True
    )
    make_lmdb(tmp_path / 'set', quiet=True)
    moved = tmp_path / 'elsewhere'
    moved.mkdir()
    for kind in ('lq', 'mask', 'gt'):
        shutil.move(tmp_path / 'set' / f'{kind}.lmdb', moved / f'{kind}.lmdb')
    for root, ending, backend in ((tmp_path / 'set', '', 'disk'), (moved, '.lmdb', 'lmdb')):
        roots = {f'dataroot_{kind}': str(root / f'{kind}{ending}') for kind in ('lq', 'mask', 'gt')}
        how = {
            'name': 'set',
            'type': 'MaskedPairedImageDataset',
            'phase': 'val',
            'io_backend': {'type': backend},
        }
        dataset = build_dataset({**how, **roots})
        told = {str(Degradation.from_vector(dataset[i]['degradation'].tolist())) for i in range(4)}
        assert told == {'pix:5:centre' if protocol == 'clean' else 'unknown'}
        assert protocol == 'release' or max(residual(dataset[i]) for i in range(4)) <= 0.501


def test_manifests_that_are_none(tmp_path, caplog):
    assert read_degradations(str(tmp_path / 'gt')) == {}
    for text in (
        '{"name": "a"',
        '[]',
        '{"other": 1}',
        json.dumps({'name': 'a', 'degradations': [{'type': 'pix'}]}),
    ):
        (tmp_path / 'manifest.jsonl').write_text(text + '\n')
        assert read_degradations(str(tmp_path / 'gt')) == {}
        assert 'degradations are unknown' in caplog.text
        caplog.clear()


def test_records():
    two = {
        'degradations': [{'type': 'blur', 'sigma': 1.0}, {'type': 'noise', 'sigma': 3.0}],
        'jpeg_after': 50,
    }
    assert str(degradation_of(two)) == 'unknown+jpeg:50'
    assert str(degradation_of({'degradations': [{'type': 'blur', 'sigma': 1.5}]})) == 'blur:1.5'
    assert (
        str(degradation_of({'protocol': 'release', 'degradations': [{'type': 'pix', 'cells': 4}]}))
        == 'unknown'
    )
