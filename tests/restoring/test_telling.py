"""What is told when the degradation is measured: by region, and only of the part of a mask that is
degraded.
"""

import numpy as np
import pytest
import torch
from skimage import data

from hmaca_arch.degradation import UNKNOWN, Degradation, degradations_of, pixels
from hmaca_arch.inference import Restorer
from hmaca_arch.restoring.regions import Box
from hmaca_arch.restoring.telling import MOST, Told, look, told_of


class Recorder(torch.nn.Module):
    """A network that blackens what it may and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told = []

    def forward(self, lq, mask, degradation=None):
        self.told += degradations_of(degradation, len(lq))
        return torch.zeros_like(lq)


@pytest.fixture(scope='module')
def photo():
    return data.astronaut()[:300, 100:400]


def box_mask(shape, *boxes):
    mask = np.zeros(shape[:2], bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def test_a_mask_that_was_painted_too_wide_is_cut_to_what_is_degraded(photo):
    degraded = box_mask(photo.shape, (100, 120, 148, 168))
    painted = box_mask(photo.shape, (91, 113, 155, 171))
    image = pixels.pixelate(photo, degraded[..., None], 8, 'mean')
    network = Recorder()
    done = Restorer(network).run(image, painted)
    assert (done.image[degraded] == 0).all() and np.array_equal(
        done.image[~degraded], image[~degraded]
    )
    *_, told = network.told  # the others decided the pool
    assert (told.kind, told.block) == ('pix', 8) and {place % 8 for place in told.offset} == {0}
    assert any('blocks of 8 pixels' in note for note in done.notes)


def test_nothing_wrong_is_left_as_it_is_and_said(photo):
    network = Recorder()
    done = Restorer(network).run(photo, box_mask(photo.shape, (100, 120, 164, 184)))
    assert np.array_equal(done.image, photo) and not network.told and not done.regions
    assert done.notes[-1] == 'no degradation found: nothing is restored'


def test_regions_are_told_apart(photo):
    first, second = (
        box_mask(photo.shape, (20, 20, 80, 80)),
        box_mask(photo.shape, (200, 180, 264, 244)),
    )
    image = pixels.noise(photo, first[..., None], np.random.default_rng(0), 25.0)
    image = pixels.pixelate(image, second[..., None], 8, 'mean')
    network = Recorder()
    Restorer(network).run(image, first | second)
    kinds = {told.kind: told for told in network.told}
    assert set(kinds) == {'noise', 'pix'} and kinds['noise'].sigma == pytest.approx(25, rel=0.15)


def test_all_kinds_of_pixels_are_measured(photo):
    mask = box_mask(photo.shape, (100, 120, 148, 168))
    image = pixels.pixelate(photo, mask[..., None], 8, 'mean')
    deep = image.astype(np.uint16) * 257
    for version in (
        image,
        deep,
        (image / 255).astype(np.float32),
        image[..., 0],
        np.dstack([image, np.full_like(image[..., :1], 255)]),
    ):
        network = Recorder()
        Restorer(network).run(version, mask)
        assert {told.block for told in network.told} == {8}


def test_what_is_given_is_not_measured_and_too_many_are_unknown(photo):
    mask = box_mask(photo.shape, (100, 120, 148, 168))
    network = Recorder()
    Restorer(network).run(photo, mask, degradation='blur:2')
    assert [str(told) for told in network.told] == ['blur:2']
    specks = np.zeros(photo.shape[:2], bool)
    specks[::20, ::20] = True
    seen = look(photo, specks, Box(0, 0, *photo.shape[:2]))
    assert specks.sum() > MOST and np.array_equal(seen.mask, specks) and not seen.told
    assert seen.notes == [
        f'{specks.sum()} regions are too many to measure: their degradation is taken for unknown'
    ]


def test_what_one_crop_is_told_of_several_regions():
    here, there, far = Box(0, 0, 9, 9), Box(12, 12, 20, 20), Box(90, 90, 99, 99)
    noise = [Degradation('noise', sigma=sigma) for sigma in (10.0, 11.0, 20.0)]
    crop = Box(0, 0, 30, 30)
    assert told_of(crop, []) == UNKNOWN
    assert told_of(crop, [Told(here, noise[0]), Told(far, noise[2])]) == noise[0]
    assert told_of(crop, [Told(here, noise[0]), Told(there, noise[1])]) == Degradation(
        'noise', sigma=10.5
    )
    assert told_of(crop, [Told(here, noise[0]), Told(there, noise[2])]) == UNKNOWN
    assert (
        told_of(crop, [Told(here, noise[0]), Told(there, Degradation('blur', sigma=10.0))])
        == UNKNOWN
    )


def test_a_blurred_region_beside_an_unknown_one_is_unknown():
    blurred = Told(Box(0, 0, 8, 8), Degradation('blur', sigma=1.5))
    other = Told(Box(0, 10, 8, 18), Degradation())
    whole = Box(0, 0, 20, 20)
    assert told_of(whole, [other, blurred]) == told_of(whole, [blurred, other]) == Degradation()
    near = blurred._replace(degradation=Degradation('blur', sigma=1.6))
    assert told_of(whole, [blurred, near]).sigma == pytest.approx(1.55)
