"""What is told when the degradation is measured: by region, and only of the part of a mask that is
degraded.
"""

import numpy as np
import pytest
import torch
from skimage import data

from hmaca_arch.degradation import UNKNOWN, Degradation, degradations_of, pixels
from hmaca_arch.inference import Restorer
from hmaca_arch.restoring import telling
from hmaca_arch.restoring.measuring.measured import Measured
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


class Painter(Recorder):
    """A recorder that keeps the masks as well."""

    def __init__(self) -> None:
        super().__init__()
        self.masked = []

    def forward(self, lq, mask, degradation=None):
        self.masked += [int(one.sum()) for one in mask]
        return super().forward(lq, mask, degradation)


@pytest.mark.parametrize('context', [0, 32])
@pytest.mark.parametrize('degrade', ['blocks', 'blur'])
def test_of_a_mask_that_is_too_narrow_the_network_sees_all_that_is_degraded(
    photo, context, degrade
):
    degraded = box_mask(photo.shape, (100, 120, 150, 170))
    image = (
        pixels.pixelate(photo, degraded[..., None], 16, 'mean')
        if degrade == 'blocks'
        else pixels.blur(photo, degraded[..., None], 2.0)
    )
    painted = box_mask(photo.shape, (102, 121, 148, 169))
    network = Painter()
    done = Restorer(network).run(image, painted, context=context)
    assert network.masked[-1] == degraded.sum()
    assert (done.image[painted] == 0).all()
    assert np.array_equal(done.image[~painted], image[~painted])
    assert any('2 pixels too narrow' in note for note in done.notes)
    if degrade == 'blocks':  # of which the last two are cut
        assert network.told[-1].anchor == ('start', 'start')


def test_a_mask_that_is_far_too_narrow_tells_nothing(photo):
    degraded = box_mask(photo.shape, (100, 120, 164, 184))
    image, network = pixels.pixelate(photo, degraded[..., None], 16, 'mean'), Recorder()
    done = Restorer(network).run(image, box_mask(photo.shape, (112, 132, 152, 172)))
    assert any('12 pixels too narrow' in note for note in done.notes)
    assert network.told[-1].kind == 'unknown'


def test_a_mask_that_leaves_out_the_edge_is_not_full(photo):
    image = pixels.pixelate(photo, np.ones((300, 300, 1), bool), 8, 'mean')
    notes = Restorer(Recorder()).run(image, box_mask(photo.shape, (3, 3, 297, 297))).notes
    assert not any('full' in note for note in notes)


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


@pytest.mark.parametrize('quality', [None, 0, 7])
def test_each_region_is_judged_by_its_own_measurement(monkeypatch, quality):
    """Measurements are stand-ins, one for each region; each region is one pixel here."""
    none, blur, pix = (
        Degradation('none'),
        Degradation('blur', sigma=2.0),
        Degradation('pix', block=8),
    )
    lossy = Degradation('none', jpeg=80)
    given = [
        (none, 0.5, UNKNOWN if quality else False),  # sure that nothing is wrong
        (none, 0.49, UNKNOWN),
        (lossy, 0.9, UNKNOWN if quality else False),
        (blur, 0.5, blur),
        (blur, 0.49, UNKNOWN),
        (pix, 0.1, pix),
        (blur, 0.9, None),  # no pixel of it is degraded
        (pix, 0.9, pix),
    ]
    mask = np.zeros((40, 20), np.float32)
    places = [(1 + 4 * number, 3) for number in range(len(given))]
    found = []
    for place, (degradation, confidence, told) in zip(places, given):
        mask[place] = 0.1
        area = np.zeros(mask.shape, bool)
        area[place] = told is not None
        found.append(Measured(degradation, confidence, area, 0, f'words {place[0]}'))
    asked = []
    monkeypatch.setattr(telling, 'measure', lambda *given: asked.append(given) or found)
    image, corner = np.zeros((40, 20, 3)), Box(100, 200, 140, 220)
    seen = look(image, mask, corner, quality)
    assert asked[0][0] is image and asked[0][2:] == (quality, (100, 200))
    np.testing.assert_array_equal(asked[0][1], mask > 0)
    expected = [(place, told) for place, (*_, told) in zip(places, given) if told]
    assert [(one.box, one.degradation) for one in seen.told] == [
        (Box(100 + y, 200 + x, 101 + y, 201 + x), told) for (y, x), told in expected
    ]
    assert sorted(zip(*np.nonzero(seen.mask))) == [place for place, _ in expected]
    assert seen.notes == [
        f'measured at 203,{100 + y}: words {y}' for y, _ in places if y != places[6][0]
    ]
    found[:] = found[:1]
    seen = look(image, mask, corner)
    assert seen.notes[1:] == [telling.NOTHING] and not seen.mask.any() and not seen.told


def test_blur_before_jpeg_is_told_a_little_weaker():
    sigmas = []
    for kind, spread in (('blur', 0.2), ('blur', 0.0), ('noise', 0.2)):
        measured = Degradation(kind, sigma=2.0, jpeg=75)
        sigmas.append(Measured(measured, 1.0, np.ones((4, 4)), 0, '', spread).cautious.sigma)
    assert sigmas == [pytest.approx(2 * np.exp(-0.1), abs=1e-3), 2.0, 2.0]


def test_as_many_regions_as_are_measured(monkeypatch):
    monkeypatch.setattr(telling, 'measure', lambda *given: [])
    mask = np.zeros((3, 60), bool)
    mask[1, 1 : 2 * MOST : 2] = True
    assert look(np.zeros((3, 60, 3)), mask, Box(0, 0, 3, 60)).notes == []
    mask[1, 2 * MOST + 1] = True
    seen = look(np.zeros((3, 60, 3)), mask, Box(0, 0, 3, 60))
    assert seen.notes == [telling.too_many(MOST + 1)] and seen.mask.sum() == MOST + 1
    assert look(np.zeros((3, 60, 3)), 0 * mask, Box(0, 0, 3, 60)).notes == []
